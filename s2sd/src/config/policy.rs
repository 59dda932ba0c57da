//! How a peer is treated: what may count as proof of who it is, and how it is reached.
//!
//! `[policy]` holds for everybody, a `[[peer]]` entry for whom its pattern matches. Both end as the same
//! [`Policy`], complete in itself: whoever applies one need not know where it came from.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc};

use xmpp_sasl::{
    Password, ScramKeys,
    gssapi::{self, Acceptor, Initiator},
    kerberos_v4,
};
use xmpp_stream::Domain;

use super::{Agreement, Limits, Method, Over, Proxy};

/// How the streams with one peer are secured and proved.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether TLS is used.
    pub tls: TlsMode,
    /// The oldest TLS version that is spoken.
    pub min_tls: MinTls,
    /// Whether TLS 1.2 needs the extended master secret (RFC 7627).
    pub require_ems: bool,
    /// What counts as proof, strongest first, in the order of the configuration.
    pub auth: Vec<Method>,
    /// What a bad certificate means.
    pub verify: Verify,
    /// Whether what signed zones say of a certificate counts.
    pub dane: Dane,
    /// Whether what a domain publishes about certificates by HTTPS counts.
    pub posh: bool,
    /// Whom we believe when they sign a certificate.
    pub trust: TrustStore,
    /// Files with lists of what these took back.
    pub crl: Vec<PathBuf>,
    /// Bytes of the largest stanza taken from this peer.
    pub max_stanza: usize,
    /// Stanzas taken from this peer in a second, over all its streams; 0: no limit.
    pub stanzas_per_second: usize,
    /// Bytes, likewise.
    pub bytes_per_second: usize,
    /// To which addresses we connect where the DNS leads.
    pub addresses: Addresses,
    /// Our addresses to connect from; empty: the system chooses.
    pub source: Vec<IpAddr>,
    /// Through whom we connect; none: nobody.
    pub proxy: Option<Proxy>,
    /// Where to connect instead of asking the DNS; empty: ask the DNS.
    pub connect: Vec<Connect>,
    /// What we prove ourselves with where something was agreed on with the peer: a password, Kerberos.
    pub credentials: Option<PeerCredentials>,
    /// What the peer proves itself with, likewise.
    pub accept: Option<PeerAccept>,
    /// The rule's name, for people: `[policy]` or `[[peer]] legacy.example`.
    pub rule: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tls: TlsMode::Required,
            min_tls: MinTls::V1_2,
            require_ems: true,
            auth: vec![Method::External, Method::Dialback],
            verify: Verify::Strict,
            dane: Dane::Use,
            posh: false,
            trust: TrustStore::System,
            crl: Vec::new(),
            max_stanza: Limits::default().max_stanza,
            stanzas_per_second: 0,
            bytes_per_second: 0,
            addresses: Addresses::Public,
            source: Vec::new(),
            proxy: None,
            connect: Vec::new(),
            credentials: None,
            accept: None,
            rule: "[policy]".to_owned(),
        }
    }
}

impl Policy {
    /// May this method prove the peer?
    pub fn allows(&self, method: Method) -> bool {
        self.auth.contains(&method)
    }

    /// May it on a stream like this one, with or without TLS?
    pub fn allows_over(&self, method: Method, tls: bool) -> bool {
        self.allows(method)
            && match method.over() {
                Over::Anything => true,
                // Without TLS only where the peer entry itself switches TLS off; with `optional` after TLS only.
                Over::TlsOrAgreed => tls != (self.tls == TlsMode::Disabled),
                Over::Tls => tls && self.tls != TlsMode::Disabled,
            }
    }

    /// Whether a peer is treated alike by both. What we prove ourselves with is not looked into: where there is any, this
    /// says no.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let Self {
            tls,
            min_tls,
            require_ems,
            auth,
            verify,
            dane,
            posh,
            trust,
            crl,
            // What the peer may send has no part in whether there is a stream to it.
            max_stanza: _,
            stanzas_per_second: _,
            bytes_per_second: _,
            addresses,
            source,
            proxy,
            connect,
            credentials,
            accept: _,
            rule: _,
        } = self;
        *tls == other.tls
            && *min_tls == other.min_tls
            && *require_ems == other.require_ems
            && *auth == other.auth
            && *verify == other.verify
            && *dane == other.dane
            && *posh == other.posh
            && *trust == other.trust
            && *crl == other.crl
            && *addresses == other.addresses
            && *source == other.source
            && *connect == other.connect
            && proxy.is_none()
            && other.proxy.is_none()
            && credentials.is_none()
            && other.credentials.is_none()
    }

    /// What a handshake with the peer must have at least.
    pub fn tls_floor(&self) -> TlsFloor {
        TlsFloor {
            min: self.min_tls,
            ems: self.require_ems,
        }
    }

    /// May the peer prove itself by this method, which was agreed on, on such a stream, and do we have what it takes to
    /// see it?
    pub fn accepts_over(&self, method: Method, tls: bool) -> bool {
        let accepts = |accept: &PeerAccept| accept.does_for(method);
        self.accept.as_ref().is_some_and(accepts) && self.allows_over(method, tls)
    }
}

/// Whether TLS is used with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TlsMode {
    /// Neither offered nor used.
    Disabled,
    /// Used when the other side offers it; a failed handshake ends the attempt.
    Optional,
    /// Nothing else is negotiated before it (RFC 6120 §5.3.1).
    Required,
}

impl TlsMode {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum MinTls {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl MinTls {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// What a TLS handshake must have at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TlsFloor {
    /// The oldest version.
    pub min: MinTls,
    /// With TLS 1.2 the extended master secret (RFC 7627), without which two sessions may have the same one.
    pub ems: bool,
}

/// With the extended master secret.
impl From<MinTls> for TlsFloor {
    fn from(min: MinTls) -> Self {
        Self { min, ems: true }
    }
}

/// What a certificate that is shown and not good means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verify {
    /// It ends the attempt.
    Strict,
    /// Dialback has to prove the domain instead.
    Dialback,
}

impl Verify {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Dialback => "dialback",
        }
    }
}

/// Whether the DNS has a say about certificates, where DNSSEC proves what it says (RFC 7673).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Dane {
    /// It has not.
    Off,
    /// Where a domain publishes TLSA records, its certificate has to match one.
    Use,
    /// A domain has to publish TLSA records.
    Require,
}

impl Dane {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Use => "use",
            Self::Require => "require",
        }
    }
}

/// To which addresses we connect where the DNS leads. What `connect` names is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Addresses {
    /// Those that all machines reach.
    Public,
    /// All.
    Any,
}

impl Addresses {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Any => "any",
        }
    }
}

/// Whose signature under a certificate is believed.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum TrustStore {
    /// The authorities the operating system trusts.
    System,
    /// Those in these PEM files, and no others.
    Files(Vec<PathBuf>),
}

/// An address to connect to instead of what the DNS says.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Connect {
    /// A host name or an IP address (without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS from the first byte (`tls://host:port`).
    pub direct_tls: bool,
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.direct_tls { "tls://" } else { "" };
        if self.host.contains(':') {
            write!(f, "{scheme}[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}{}:{}", self.host, self.port)
        }
    }
}

/// What we prove ourselves with, one thing at least.
#[derive(Clone, Debug, Default)]
pub struct PeerCredentials {
    /// For the mechanisms that use a password.
    pub account: Option<Account>,
    /// The identity to act as; none: the one that follows from what is proved.
    pub authzid: Option<String>,
    /// For GSSAPI. Without a principal it is that of the domain we speak for.
    pub gssapi: Option<Initiator>,
    /// For KERBEROS_V4.
    pub kerberos_v4: Option<kerberos_v4::Keys>,
}

/// Who we say we are where the peer wants a password.
#[derive(Clone, Debug)]
pub struct Account {
    /// The authentication identity.
    pub username: String,
    /// Its password.
    pub password: Password,
    /// The realm to pick; none: the one offered, or the peer's domain.
    pub realm: Option<String>,
}

impl PeerCredentials {
    /// Are they enough for this method?
    pub fn do_for(&self, method: Method) -> bool {
        method.agreement().is_some_and(|agreement| match agreement {
            Agreement::Password => self.account.is_some(),
            Agreement::Realm => self.gssapi.is_some(),
            Agreement::Key => self.kerberos_v4.is_some(),
        })
    }

    /// For GSSAPI, in this domain's name.
    pub fn initiator(&self, local: &Domain) -> Option<Initiator> {
        let initiator = self.gssapi.clone()?;
        // In the realm that krb5.conf has as the default one.
        let own = || format!("xmpp/{}", local.ascii());
        Some(Initiator {
            principal: initiator.principal.or_else(|| Some(own())),
            ..initiator
        })
    }
}

/// What the peer proves itself with, one thing at least.
#[derive(Clone, Debug, Default)]
pub struct PeerAccept {
    /// For the mechanisms that use a password.
    pub account: Option<KnownAccount>,
    /// For GSSAPI.
    pub gssapi: Option<Tickets>,
    /// For KERBEROS_V4: whoever has one of these keys is the peer.
    pub kerberos_v4: Option<kerberos_v4::Keys>,
}

/// Who the peer says it is where we want a password.
#[derive(Clone, Debug)]
pub struct KnownAccount {
    /// The authentication identity.
    pub username: String,
    /// What we know of its password.
    pub known: Known,
    /// The realm it must name; none: any realm that we offered.
    pub realm: Option<String>,
}

/// Whose Kerberos tickets are the peer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tickets {
    /// What they are judged with.
    pub acceptor: Acceptor,
    /// The principals, in full. Empty: `xmpp/DOMAIN@REALM` with the peer's domain and the realm of our own principal.
    pub principals: Vec<String>,
}

impl PeerAccept {
    /// Is it enough to see this method's proof?
    pub fn does_for(&self, method: Method) -> bool {
        method.agreement().is_some_and(|agreement| match agreement {
            Agreement::Password => self
                .account
                .as_ref()
                .is_some_and(|account| account.known.does_for(method)),
            Agreement::Realm => self.gssapi.is_some(),
            Agreement::Key => self.kerberos_v4.is_some(),
        })
    }
}

impl Tickets {
    /// May `principal`, who showed a ticket for our principal `ours`, speak for this domain?
    pub fn are_of(&self, domain: &Domain, principal: &str, ours: &str) -> bool {
        if self.principals.is_empty() {
            // Of our own realm only: another one, that ours has keys in common with, may call anybody what it likes.
            gssapi::is_service_of(principal, ours, "xmpp", domain.ascii())
        } else {
            self.principals.iter().any(|known| known == principal)
        }
    }
}

/// What we know of the password of a peer.
#[derive(Clone, Debug)]
pub enum Known {
    /// The password.
    Password(Password),
    /// The keys that SCRAM makes of it, at most one for each hash function.
    Keys(Vec<ScramKeys>),
}

impl Known {
    /// Is it enough for this mechanism?
    pub fn does_for(&self, method: Method) -> bool {
        match self {
            Self::Password(_) => method.is_password(),
            Self::Keys(keys) => match method.hash() {
                Some(hash) => keys.iter().any(|keys| keys.hash() == hash),
                None => method == Method::Plain,
            },
        }
    }
}

/// One `[[peer]]` entry: for whom, and what.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Whom the entry is for.
    pub pattern: Pattern,
    /// The rules, completed from `[policy]`.
    pub policy: Arc<Policy>,
}

/// The domains that a `[[peer]]` entry, or a word of `allow` or `deny`, is for.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Pattern {
    /// `*`: all there are. Not in a `[[peer]]`.
    Everyone,
    /// Exactly this domain.
    Exactly(Domain),
    /// `*.example.net`: every domain below this one, at any depth, not the domain itself.
    Below(Domain),
}

impl Pattern {
    /// Is this domain among them?
    pub fn matches(&self, domain: &Domain) -> bool {
        match self {
            Self::Everyone => true,
            Self::Exactly(own) => own == domain,
            // On a label boundary: `badexample.net` is not below `example.net`.
            Self::Below(parent) => domain
                .ascii()
                .strip_suffix(parent.ascii())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }

    /// Does it match whatever `other` matches?
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Everyone => self == other,
            Self::Exactly(domain) => self.matches(domain),
            Self::Below(parent) => {
                self == other || (!matches!(self, Self::Exactly(_)) && self.matches(parent))
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("*"),
            Self::Exactly(domain) => write!(f, "{domain}"),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}
