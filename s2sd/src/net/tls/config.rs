//! rustls configurations from our own: our certificates, versions and options in a handshake.
//!
//! Sessions are not resumed, in either role. A resumed session shows the certificates of an earlier handshake: one that
//! has been replaced on disk since, or that of another of our domains. Streams between servers live long, so the saved
//! handshake would save little.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::{ResolvesClientCert, Resumption},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, DnsName, ServerName, UnixTime},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use xmpp_stream::Domain;

use crate::net::tls::accept_any::AcceptAny;
use crate::net::tls::files::{self, Stamps};
use crate::trust::bad_certificate::wrong_name;
use crate::trust::certificate_name::identities;
use crate::trust::pkix::{judge_alone, not_after};
use crate::trust::strict::{self, Remark};
use crate::trust::{BadCertificate, ClientAuth, PeerChain, Roots};
use crate::{
    config::{CertificateFiles, Config, MinTls, Policy, TlsFloor, TrustStore},
    host::Host,
};

/// XEP-0368 §3 rule 9.
const ALPN: &[u8] = b"xmpp-server";

/// Our certificates, the roots we trust, and the handshakes made from them. Cheap to use; [`Tls::reload`] replaces what
/// was loaded while connections run.
#[derive(Debug)]
pub struct Tls {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) loaded: ArcSwap<Loaded>,
    servers: PerVersion<ServerConfig>,
    clients: PerVersion<ClientConfig>,
}

/// A configuration for each floor of the version.
#[derive(Debug)]
struct PerVersion<T> {
    from_1_2: T,
    from_1_3: T,
}

impl<T> PerVersion<T> {
    fn new(make: impl Fn(&[&'static SupportedProtocolVersion]) -> T) -> Self {
        Self {
            from_1_2: make(&[&TLS13, &TLS12]),
            from_1_3: make(&[&TLS13]),
        }
    }

    fn get(&self, min: MinTls) -> &T {
        match min {
            MinTls::V1_2 => &self.from_1_2,
            MinTls::V1_3 => &self.from_1_3,
        }
    }
}

/// The content of all files at one moment.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) sources: Sources,
    /// By A-label.
    pub(super) keys: HashMap<String, Arc<CertifiedKey>>,
    pub(super) roots: HashMap<Trusted, Arc<Roots>>,
    pub(super) stamps: Stamps,
}

/// Which files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Sources {
    pub(super) certificates: Vec<(Domain, CertificateFiles)>,
    pub(super) trusts: Vec<Trusted>,
}

/// `trust` and `crl` of a policy.
pub(super) type Trusted = (TrustStore, Vec<PathBuf>);

fn trusted(policy: &Policy) -> Trusted {
    (policy.trust.clone(), policy.crl.clone())
}

impl Sources {
    pub(super) fn of(config: &Config) -> Self {
        let certificates = config.domains.iter().filter_map(|served| {
            let files = served.certificate.clone()?;
            Some((served.name.clone(), files))
        });
        let mut trusts = Vec::new();
        let peers = config.peers.iter().map(|peer| &peer.policy);
        for policy in std::iter::once(&config.policy).chain(peers) {
            let trusted = trusted(policy);
            if !trusts.contains(&trusted) {
                trusts.push(trusted);
            }
        }
        Self {
            certificates: certificates.collect(),
            trusts,
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self
            .certificates
            .iter()
            .flat_map(|(_, files)| [&files.chain, &files.key]);
        let trusted = self.trusts.iter().flat_map(|(trust, crl)| {
            let roots = match trust {
                TrustStore::System => [].iter(),
                TrustStore::Files(paths) => paths.iter(),
            };
            roots.chain(crl)
        });
        own.chain(trusted)
    }
}

/// One of our certificates, for people and for warnings before it runs out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnCertificate {
    /// The domain it is shown for.
    pub domain: Domain,
    /// The file it is from.
    pub file: PathBuf,
    /// The end of its time.
    pub not_after: UnixTime,
    /// The fault that a strict peer will find in it, independent of its authorities.
    pub fault: Option<BadCertificate>,
}

impl Tls {
    /// Reads every certificate, key and root that the configuration names.
    ///
    /// # Errors
    ///
    /// All faults at once, each with the domain or the policy, the file and the reason.
    pub fn load(config: &Config) -> Result<Self, Vec<String>> {
        let provider = Arc::new(provider());
        let tls = Self {
            servers: PerVersion::new(|versions| server_config(&provider, versions)),
            clients: PerVersion::new(|versions| client_config(&provider, versions)),
            loaded: ArcSwap::default(),
            provider,
        };
        tls.reconfigure(config)?;
        Ok(tls)
    }

    /// Can TLS be offered for this domain, and shown from it?
    pub fn has_certificate(&self, domain: &Domain) -> bool {
        self.loaded.load().keys.contains_key(domain.ascii())
    }

    /// Whether the certificate for one of our domains names another one too. `None` if the domain has no certificate.
    pub(crate) fn names(&self, shown_for: &Domain, also: &Domain) -> Option<bool> {
        let loaded = self.loaded.load();
        let key = loaded.keys.get(shown_for.ascii())?;
        let names = key.cert.first().and_then(|leaf| identities(leaf).ok());
        Some(names.is_some_and(|names| names.iter().any(|name| name.names(also))))
    }

    /// For a connection that we accept. The name in the handshake (SNI) chooses the certificate; without it,
    /// or if it names none of ours, the stream's `to` does, and before any stream the first domain.
    ///
    /// Asks the peer for a certificate and accepts any, and none: see [`judge`](crate::trust::judge). A peer may name the
    /// protocol (ALPN `xmpp-server`) or not.
    pub fn server(
        &self,
        fallback: Option<&Domain>,
        floor: impl Into<TlsFloor>,
    ) -> Arc<ServerConfig> {
        self.accepting(fallback, floor.into()).0
    }

    /// The same, with the choice of the certificate, to find out afterwards which one was shown.
    pub fn accepting(
        &self,
        fallback: Option<&Domain>,
        floor: TlsFloor,
    ) -> (Arc<ServerConfig>, Arc<ByName>) {
        let loaded = self.loaded.load_full();
        let mut config = self.servers.get(floor.min).clone();
        config.require_ems = floor.ems;
        let fallback = fallback.map(|domain| domain.ascii().to_owned());
        let by_name = Arc::new(ByName { loaded, fallback });
        config.cert_resolver = Arc::clone(&by_name) as Arc<dyn ResolvesServerCert>;
        (Arc::new(config), by_name)
    }

    /// For a connection that we open. The certificate of `shows` is shown, if it has one. Accepts any
    /// certificate: see [`judge`](crate::trust::judge). `direct` is TLS from the first byte (XEP-0368).
    pub fn client<'a>(
        &self,
        shows: impl Into<Option<&'a Domain>>,
        floor: impl Into<TlsFloor>,
        direct: bool,
    ) -> Arc<ClientConfig> {
        self.calling(shows.into(), floor.into(), direct).0
    }

    /// The same, with the record of what became of our certificate in the handshake.
    pub fn calling(
        &self,
        shows: Option<&Domain>,
        floor: TlsFloor,
        direct: bool,
    ) -> (Arc<ClientConfig>, Arc<IfAsked>) {
        let mut config = self.clients.get(floor.min).clone();
        config.require_ems = floor.ems;
        let loaded = self.loaded.load();
        let key = |domain: &Domain| loaded.keys.get(domain.ascii()).cloned();
        let if_asked = Arc::new(IfAsked {
            key: shows.and_then(key),
            asked: AtomicBool::new(false),
            shown: AtomicBool::new(false),
        });
        config.client_auth_cert_resolver = Arc::clone(&if_asked) as Arc<dyn ResolvesClientCert>;
        if direct {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        (Arc::new(config), if_asked)
    }

    /// The authorities that a policy trusts. A policy that was not in the configuration trusts none.
    pub fn roots(&self, policy: &Policy) -> Arc<Roots> {
        let loaded = self.loaded.load();
        let roots = loaded.roots.get(&trusted(policy));
        roots.cloned().unwrap_or_default()
    }

    /// A client of web servers, which shows no certificate of ours. It accepts any certificate: see
    /// [`Roots::vouch_for`](super::Roots::vouch_for), which is bounded where a handshake is not.
    pub(crate) fn web_client(&self, min: MinTls) -> Arc<ClientConfig> {
        let mut config = self.clients.get(min).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // No proof is bound to this connection, and old web servers lack the extended master secret.
        config.require_ems = false;
        Arc::new(config)
    }

    /// Our certificate chain for a domain.
    pub fn own_chain(&self, domain: &Domain) -> Option<PeerChain> {
        PeerChain::new(&self.loaded.load().keys.get(domain.ascii())?.cert)
    }

    /// The faults that others will find in our certificates, for each domain in the order of the configuration, and
    /// whether its certificate is for servers alone. See [`remarks`](crate::trust::strict::remarks).
    pub fn remarks(&self, now: UnixTime) -> Vec<(OwnCertificate, Vec<Remark>, bool)> {
        let known = self.all_authorities();
        let loaded = self.loaded.load();
        let own = self.own_certificates(now).into_iter();
        own.filter_map(|own| {
            let chain = &loaded.keys.get(own.domain.ascii())?.cert;
            let remarks = strict::remarks(chain, &own.domain, &known, now);
            let alone = strict::is_for_servers_alone(chain.first()?);
            Some((own, remarks, alone))
        })
        .collect()
    }

    /// Those of all policies, and those of the system: others trust some of them.
    fn all_authorities(&self) -> Roots {
        let loaded = self.loaded.load();
        let ours = loaded.roots.values().flat_map(|roots| roots.marked());
        let ours = ours.map(|(marked, _)| marked.certificate.clone());
        Roots::new(ours.chain(files::system())).0
    }

    /// Our certificates, in the order of the configuration.
    pub fn own_certificates(&self, now: UnixTime) -> Vec<OwnCertificate> {
        let loaded = self.loaded.load();
        let certificates = loaded.sources.certificates.iter();
        certificates
            .filter_map(|(domain, files)| {
                let leaf = loaded.keys.get(domain.ascii())?.cert.first()?;
                let names = identities(leaf).unwrap_or_default();
                let named = names.iter().any(|identity| identity.names(domain));
                let wrong_name = (!named).then(|| wrong_name(domain.as_str(), &names));
                Some(OwnCertificate {
                    domain: domain.clone(),
                    file: files.chain.clone(),
                    not_after: not_after(leaf)?,
                    fault: judge_alone(leaf, now).err().or(wrong_name),
                })
            })
            .collect()
    }
}

/// The name of the peer's domain for a handshake (XEP-0368 §3 rule 6); none for what cannot be one.
pub fn server_name(remote: &Domain) -> Option<ServerName<'static>> {
    match Host::parse(remote.ascii()) {
        Host::Address(address) => Some(ServerName::IpAddress(address.into())),
        Host::Name(name) => DnsName::try_from(name).ok().map(ServerName::DnsName),
    }
}

#[cfg(feature = "aws-lc-rs")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "aws-lc-rs"))]
compile_error!("s2sd needs a provider of cryptography: enable its feature aws-lc-rs");

const VERSIONS: &str = "the provider has cipher suites for TLS 1.2 and 1.3";

fn server_config(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let nobody = Arc::new(ByName {
        loaded: Arc::default(),
        fallback: None,
    });
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .expect(VERSIONS)
        .with_client_cert_verifier(Arc::new(AcceptAny(Arc::clone(provider))))
        .with_cert_resolver(nobody);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .expect(VERSIONS)
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny(Arc::clone(provider))))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

/// Shows our certificate to a server that asks for one, and remembers whether it did.
#[derive(Debug)]
pub struct IfAsked {
    key: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
    shown: AtomicBool,
}

impl IfAsked {
    /// What became of our certificate: known when the handshake is over.
    pub fn client_auth(&self) -> ClientAuth {
        ClientAuth {
            asked: self.asked.load(Ordering::Relaxed),
            shown: self.shown.load(Ordering::Relaxed),
        }
    }
}

impl ResolvesClientCert for IfAsked {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        let key = self.key.as_ref()?;
        let fits = key.key.choose_scheme(schemes).is_some();
        self.shown.store(fits, Ordering::Relaxed);
        Some(Arc::clone(key))
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

/// Chooses the certificate we show.
#[derive(Debug)]
pub struct ByName {
    loaded: Arc<Loaded>,
    fallback: Option<String>,
}

impl ByName {
    /// The certificate that is shown to a peer that asks for this name (SNI).
    pub fn leaf(&self, asked: Option<&str>) -> Option<&CertificateDer<'static>> {
        self.key(asked)?.cert.first()
    }

    fn key(&self, asked: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let keys = &self.loaded.keys;
        let named = asked.and_then(|name| keys.get(&name.to_ascii_lowercase()));
        let fallback = || keys.get(self.fallback.as_deref()?);
        // RFC 6066 §3 allows to go on with a name we do not know. The stream header will be answered by
        // `host-unknown`, which says more than a failed handshake.
        let first = || keys.get(self.loaded.sources.certificates.first()?.0.ascii());
        named.or_else(fallback).or_else(first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key(hello.server_name()).cloned()
    }
}
