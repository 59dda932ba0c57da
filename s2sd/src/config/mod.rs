//! The configuration: what `s2sd.toml` says, checked and complete.
//!
//! A [`Config`] makes sense, and its users do not check it again: every value is parsed (no text where a [`Domain`] or
//! a [`Duration`](std::time::Duration) is meant), every default is filled in, and contradictions were refused.
//! `docs/config.md` describes the keys.

mod access;
mod addresses;
mod all;
mod check;
mod diagnostics;
mod host_and_port;
mod kerberos;
mod keys;
mod kind;
mod method;
mod places;
mod policy;
mod proxy;
mod read;
mod reader;
mod secret;
mod secret_file;
mod server;
mod table;
mod tables;
mod values;
mod wrong;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::{DeTable, DeValue};

use xmpp_stream::Domain;

#[cfg(test)]
pub(crate) use self::all::keys;
use self::secret::Exposure;
pub use self::{
    access::{Access, Denied},
    diagnostics::{Diagnostic, Diagnostics, Severity},
    method::{Agreement, Method, Over},
    places::{Connect, Pattern},
    policy::{
        Account, Addresses, Dane, Known, KnownAccount, MinTls, Peer, PeerAccept, PeerCredentials,
        Policy, Tickets, TlsFloor, TlsMode, TrustStore, Verify,
    },
    proxy::{Login, Proxy},
    secret::Secret,
    server::{Backoff, Dialback, Dns, Dnssec, Limits, Listen, Log, LogFormat, LogLevel, Queue},
};
pub(crate) use self::{
    kind::size_text, secret::DIALBACK_SECRET, table::Shown, values::parse_duration,
};

/// Everything the configuration file says.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the daemon keeps what it makes itself.
    pub data_dir: PathBuf,
    /// The addresses to listen on.
    pub listen: Listen,
    /// The domains served here.
    pub domains: Vec<ServedDomain>,
    /// The domains that may federate: `allow` and `deny` of `[policy]`.
    pub access: Access,
    /// The rules for a peer that matches no entry of `peers`.
    pub policy: Arc<Policy>,
    /// The exceptions; the first one that matches wins.
    pub peers: Vec<Peer>,
    /// Our side of dialback.
    pub dialback: Dialback,
    /// Name servers and DNSSEC.
    pub dns: Dns,
    /// Limits of size, number and time.
    pub limits: Limits,
    /// The queues: how much waits for a peer, and how long.
    pub queue: Queue,
    /// The log.
    pub log: Log,
}

/// With every default, and no domain served: the daemon refuses to run with it, tests fill it in.
impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: tables::TopKeys::default().data_dir,
            listen: Listen::default(),
            domains: Vec::new(),
            access: Access::default(),
            policy: Arc::default(),
            peers: Vec::new(),
            dialback: Dialback::default(),
            dns: Dns::default(),
            limits: Limits::default(),
            queue: Queue::default(),
            log: Log::default(),
        }
    }
}

/// A configuration, and the warnings about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// s2sd can use it.
    pub config: Config,
    /// The operator should look at these.
    pub warnings: Diagnostics,
}

impl Config {
    /// Reads a file. Every mistake in it is reported, not only the first.
    pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
        match Self::examine(path) {
            (Some(config), warnings) if warnings.has_no_fault() => Ok(Loaded { config, warnings }),
            (_, faults) => Err(faults),
        }
    }

    /// Reads a file to show it, not to run it: with faults, this is as much of it as makes sense.
    pub(crate) fn examine(path: &Path) -> (Option<Self>, Diagnostics) {
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) => {
                let title = format!("cannot be read: {}", secret_file::reason(&why));
                let faults = vec![Diagnostic::fault(None, title)];
                return (None, Diagnostics::new(&name, "", &[], faults));
            }
        };
        let base = path.parent().unwrap_or(Path::new(""));
        let (config, findings) = Self::read(&text, &name, base, secret::exposure(path));
        (Some(config), findings)
    }

    /// Reads a text that is called `name` in messages; relative names of files in it are below `base`.
    pub fn from_toml(text: &str, name: &str, base: &Path) -> Result<Loaded, Diagnostics> {
        let (config, warnings) = Self::read(text, name, base, None);
        match warnings.has_no_fault() {
            true => Ok(Loaded { config, warnings }),
            false => Err(warnings),
        }
    }

    /// All faults and warnings.
    fn read(text: &str, name: &str, base: &Path, public: Option<Exposure>) -> (Self, Diagnostics) {
        let (document, mistakes) = DeTable::parse_recoverable(text);
        let sink = reader::Sink::new(base, public, mistakes.is_empty(), all::KEYS);
        for mistake in mistakes {
            sink.add(Diagnostic::fault(mistake.span(), mistake.message()));
        }
        let config = read::config(&read::root(&document, &sink));
        let mut hidden = Vec::new();
        read::secret_spans(&DeValue::Table(document.get_ref().clone()), &mut hidden);
        let findings = Diagnostics::new(name, text, &hidden, sink.into_list());
        (config, findings)
    }

    /// The rules for a peer: those of the first `[[peer]]` that matches, else `[policy]`.
    pub fn policy_for(&self, remote: &Domain) -> Arc<Policy> {
        let peer = self.peers.iter().find(|peer| peer.pattern.matches(remote));
        Arc::clone(peer.map_or(&self.policy, |peer| &peer.policy))
    }

    /// Whether this domain has the same rules in both, so that a failure under the one is a failure under the other.
    pub(crate) fn treats_alike(&self, other: &Self, remote: &Domain) -> bool {
        self.admits(remote) == other.admits(remote)
            && self.policy_for(remote).is_like(&other.policy_for(remote))
    }

    /// May this domain federate with us? An IP address may only if a `[[peer]]` matches it: no DNS stands between the
    /// name and the address, so a peer that claims an address could send us to any.
    ///
    /// # Errors
    ///
    /// The reason why it may not.
    pub fn admits(&self, remote: &Domain) -> Result<(), Denied> {
        self.access.admits(remote)?;
        let is_for = |peer: &Peer| peer.pattern == Pattern::Exactly(remote.clone());
        match remote.is_ip() && !self.peers.iter().any(is_for) {
            true => Err(Denied::Address),
            false => Ok(()),
        }
    }

    /// The served domain of this name.
    pub fn served(&self, domain: &Domain) -> Option<&ServedDomain> {
        self.domains.iter().find(|served| served.name == *domain)
    }

    /// The peers that a stream without `from` may come from: the entries with `accept` for one domain. What s2sd offers
    /// on such a stream follows from these.
    pub fn accepting(&self) -> impl Iterator<Item = (&Domain, &Arc<Policy>)> {
        self.peers.iter().filter_map(|peer| match &peer.pattern {
            Pattern::Exactly(domain) if peer.policy.accept.is_some() => {
                Some((domain, &peer.policy))
            }
            _ => None,
        })
    }

    /// The peer that authenticates with this username. There is at most one.
    pub fn peer_accepting(&self, username: &str) -> Option<(&Domain, &Arc<Policy>)> {
        self.accepting().find(|(_, policy)| {
            let account = policy.accept.as_ref().and_then(|it| it.account.as_ref());
            account.is_some_and(|account| account.username == username)
        })
    }
}

/// A domain served here.
#[derive(Clone, Debug)]
pub struct ServedDomain {
    /// Its name.
    pub name: Domain,
    /// The certificate that we show in a TLS handshake. None: s2sd does not offer TLS for this domain.
    pub certificate: Option<CertificateFiles>,
    /// The component that may attach as this domain. None: only the built-in services answer.
    pub component: Option<ComponentAccount>,
    /// Addresses of the people behind it, as URIs (XEP-0157).
    pub contact: Vec<String>,
}

/// A certificate and its key, in PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate and what leads from it to a root.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a component must know to attach (XEP-0114).
#[derive(Clone, Debug)]
pub struct ComponentAccount {
    /// The shared secret.
    pub secret: Secret,
    /// Bytes of the largest stanza taken from it.
    pub max_stanza: usize,
    /// For this long messages for it are kept while it is away.
    pub hold: std::time::Duration,
}

#[cfg(test)]
mod tests;
