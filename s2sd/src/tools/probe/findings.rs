//! What a probe saw, step by step, as plain values: from them the verdict is drawn and the report is written.
//!
//! The names of the fields are those of `--json`, which docs/probe.md describes. Times are in milliseconds there.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use xmpp_dialback::ErrorCondition;
use xmpp_sasl::Failure;

use crate::closed::Cause;
use crate::peer_text::PeerText;
use crate::protocol::plan::{ResolveError, Security};
use crate::trust::bad_certificate::BadCertificate;

/// Everything that was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The domain that was asked about.
    pub domain: String,
    /// The domain in our headers; `None`: they have no `from`.
    pub from: Option<String>,
    /// What we can prove ourselves with.
    pub own: Own,
    /// The rule for the domain, and what of it counted.
    pub rule: AppliedPolicy,
    /// `dnssec` in `[dns]`.
    pub dnssec: &'static str,
    /// What the DNS says of its services.
    pub lookups: Vec<Lookup>,
    /// Why there is no place to go to.
    #[serde(serialize_with = "resolve_error")]
    pub unresolved: Option<ResolveError>,
    /// The targets, in the order in which a server tries them.
    pub places: Vec<TargetReport>,
    /// Time was over before everything was seen.
    pub cut_short: bool,
    /// How long it all took.
    #[serde(serialize_with = "ms", rename = "ms")]
    pub took: Duration,
}

/// What we can prove ourselves with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Own {
    /// There was a configuration.
    pub configured: bool,
    /// There is a certificate to show.
    pub certificate: bool,
    /// What a strict peer will hold against it.
    pub certificate_fault: Option<String>,
    /// Why no key of dialback can be made, if none can.
    pub no_dialback: Option<String>,
    /// Where the DNS leads servers that look for us.
    pub found_at: Vec<String>,
    /// Why they do not find us.
    #[serde(serialize_with = "resolve_error")]
    pub not_found: Option<ResolveError>,
}

/// The rule for the domain.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AppliedPolicy {
    /// Its name: `[policy]`, `[[peer]] legacy.example`.
    pub name: String,
    /// `tls`.
    pub tls: &'static str,
    /// `min_tls`.
    pub min_tls: &'static str,
    /// `require_ems`.
    pub require_ems: bool,
    /// `auth`.
    pub auth: Vec<&'static str>,
    /// `verify`.
    pub verify: &'static str,
    /// `dane`.
    pub dane: &'static str,
    /// `posh`.
    pub posh: bool,
    /// `connect` says where to go, and not the DNS.
    pub connect: bool,
    /// `proxy`, without its password.
    pub proxy: Option<String>,
    /// `max_stanza`.
    pub max_stanza: usize,
    /// Why the domain may not federate with us.
    pub denied: Option<String>,
}

/// One question to the DNS.
#[derive(Clone, Debug, Serialize)]
pub struct Lookup {
    /// The name that was asked for.
    pub name: String,
    /// The type of record.
    pub kind: &'static str,
    /// The records, as a zone file has them.
    pub records: Vec<PeerText>,
    /// Why there are none.
    pub failed: Option<PeerText>,
    /// What DNSSEC says of it.
    pub dnssec: Dnssec,
    /// How long it took.
    #[serde(serialize_with = "ms", rename = "ms")]
    pub took: Duration,
}

/// How an answer is signed (RFC 4035 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dnssec {
    /// Not checked: `dnssec = "off"`, or the name server removes the signatures.
    Unchecked,
    /// It is signed, down from the root.
    Secure,
    /// The zone is not signed.
    Insecure,
    /// It is not what its zone has signed.
    Bogus,
}

impl From<Security> for Dnssec {
    fn from(security: Security) -> Self {
        match security {
            Security::Unvalidated => Self::Unchecked,
            Security::Insecure => Self::Insecure,
            Security::Secure => Self::Secure,
        }
    }
}

impl From<&ResolveError> for Dnssec {
    fn from(error: &ResolveError) -> Self {
        match error {
            ResolveError::Bogus(_) => Self::Bogus,
            ResolveError::Unsigned(_) => Self::Insecure,
            ResolveError::NoService
            | ResolveError::NotFound
            | ResolveError::NoHost(_)
            | ResolveError::Onion
            | ResolveError::Failed(_)
            | ResolveError::Unanswered(_)
            | ResolveError::Exhausted => Self::Unchecked,
        }
    }
}

impl Dnssec {
    /// The word for it, where there is something to say.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchecked => "",
            Self::Secure => "signed",
            Self::Insecure => "not signed",
            Self::Bogus => "bogus",
        }
    }
}

/// One target, and the attempts there.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// `host:port`, `tls://host:port`.
    pub target: String,
    /// The host alone.
    #[serde(skip)]
    pub host: String,
    /// TLS from the first byte (XEP-0368).
    pub direct_tls: bool,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What DNSSEC says of them.
    pub dnssec: Dnssec,
    /// Why it has none.
    #[serde(serialize_with = "resolve_error")]
    pub unresolved: Option<ResolveError>,
    /// How long it took to know.
    #[serde(serialize_with = "ms", rename = "lookup_ms")]
    pub took: Duration,
    /// The records of its certificate (RFC 6698); only asked for if the rest is signed.
    pub tlsa: Option<Lookup>,
    /// One connection after the other, address by address.
    pub attempts: Vec<AttemptReport>,
}

/// What a connection was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// To authenticate, and to send a ping.
    #[default]
    Federate,
    /// Only to see the offer: we have nothing to authenticate with.
    Look,
    /// To try dialback too, where something else was proved already.
    Dialback,
}

/// The first bytes, if they are not a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Garbage {
    /// TLS: the port wants a handshake at once. It says which kind of record it was.
    Tls(&'static str),
    /// Something else, as it begins, after its protocol's name where that is known.
    Other(PeerText),
}

impl Garbage {
    /// In words, the peer's own among them.
    pub fn words(&self) -> PeerText {
        match self {
            Self::Tls(record) => (*record).into(),
            Self::Other(text) => text.clone(),
        }
    }
}

/// One connection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AttemptReport {
    /// Where to.
    pub address: String,
    /// What for.
    pub aim: Aim,
    /// How long it took until TCP stood.
    #[serde(serialize_with = "maybe_ms", rename = "connect_ms")]
    pub connected: Option<Duration>,
    /// Why it does not stand.
    pub unconnected: Option<Unconnected>,
    /// The first bytes, if they were not a stream.
    pub garbage: Option<Garbage>,
    /// What the stream is for, if not for servers.
    pub meant_for: Option<MeantFor>,
    /// The peer's headers, one for each stream.
    pub headers: Vec<Header>,
    /// Its offers, in the order in which they came.
    pub features: Vec<Offer>,
    /// TLS, if there is.
    pub tls: Option<Tls>,
    /// Why there is none, although it was begun.
    pub no_tls: Option<NoTls>,
    /// The methods that were tried, in order.
    pub proofs: Vec<Proof>,
    /// After a proof.
    pub ping: Option<Ping>,
    /// How it ended; `None`: well, or it did not end in time.
    #[serde(serialize_with = "cause")]
    pub ended: Option<Cause>,
    /// It was still going on when time was over.
    pub unfinished: bool,
    /// How long it took.
    #[serde(serialize_with = "ms", rename = "ms")]
    pub took: Duration,
}

impl AttemptReport {
    /// The method that proved us.
    pub fn proved(&self) -> Option<&'static str> {
        let proved = |proof: &&Proof| proof.outcome == ProofOutcome::Proved;
        self.proofs
            .iter()
            .find(proved)
            .map(|proof: &Proof| proof.method)
    }

    /// The last offer: over TLS, if there is TLS, and after a proof, if there is one.
    pub fn offer(&self) -> Option<&Offer> {
        self.features.last()
    }
}

/// What a stream is for that is not for servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeantFor {
    /// `jabber:client`.
    Clients,
    /// `jabber:component:accept`.
    Components,
    /// Another content namespace.
    Others,
}

/// Why there is no TCP connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unconnected {
    /// What happened, by the kind of error.
    pub why: ConnectFailure,
    /// In words.
    #[serde(rename = "text")]
    pub said: PeerText,
}

/// The ways in which a connection does not come to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectFailure {
    /// It is no public address, and others are left out here.
    NotPublic,
    /// Nothing listens there, or a firewall says so.
    Refused,
    /// No answer.
    Silent,
    /// There is no way to it from here.
    NoRoute,
    /// The proxy does not get there, or is not there.
    Proxy,
    /// Our own address cannot be used.
    Source,
    /// This process, or this machine, has no file descriptor left.
    Descriptors,
    /// Something else.
    Other,
}

/// A stream header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Header {
    /// The domain that answers.
    pub from: Option<PeerText>,
    /// Has it an id?
    pub id: bool,
    /// `None`: from before XMPP 1.0.
    pub version: Option<String>,
    /// From our header to the answer.
    #[serde(serialize_with = "ms", rename = "ms")]
    pub took: Duration,
}

/// Stream features.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Offer {
    /// They came over TLS.
    pub encrypted: bool,
    /// `true`: required.
    pub starttls: Option<bool>,
    /// Of SASL.
    pub mechanisms: Vec<PeerText>,
    /// XEP-0440.
    pub channel_bindings: Option<Vec<PeerText>>,
    /// Dialback is announced; `true`: with errors.
    pub dialback: Option<bool>,
    /// XEP-0478.
    pub max_bytes: Option<u64>,
    /// XEP-0478.
    pub idle_seconds: Option<u64>,
    /// Others: namespace and name.
    pub other: Vec<(PeerText, PeerText)>,
}

/// A TLS connection.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    /// `TLS 1.3`.
    pub version: &'static str,
    /// `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// `X25519MLKEM768`.
    pub group: Option<String>,
    /// The server asked for a certificate of ours.
    pub asked: bool,
    /// It was shown one.
    pub shown: bool,
    /// How long the handshake took.
    #[serde(serialize_with = "ms", rename = "ms")]
    pub took: Duration,
    /// The certificates, the server's own first.
    pub chain: Vec<Shown>,
    /// What they prove.
    pub identity: Option<CertificateCheck>,
}

/// A certificate as it was shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Shown {
    /// Its subject.
    pub subject: PeerText,
    /// Its issuer.
    pub issuer: PeerText,
    /// The names that count between servers: dNSName, SRVName, xmppAddr.
    pub names: Vec<PeerText>,
    /// Its first day.
    pub not_before: String,
    /// Its last.
    pub not_after: String,
    /// Days until then; negative: since then.
    pub days_left: i64,
    /// SHA-256 of the whole, in hexadecimal.
    pub sha256: String,
}

/// What the certificate proves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CertificateCheck {
    /// It proves the domain.
    pub good: bool,
    /// The kind of proof: `PKIX`, `DANE`, …; `nothing`.
    pub trust: String,
    /// The name, record or key; or the fault.
    pub because: PeerText,
    /// The fault.
    #[serde(skip)]
    pub bad: Option<BadCertificate>,
}

/// Why a TLS handshake failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NoTls {
    /// By kind.
    pub why: Unsecured,
    /// In words.
    #[serde(rename = "text")]
    pub said: PeerText,
}

/// The ways in which a handshake fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsecured {
    /// The other side does not speak TLS there.
    NotTls,
    /// No version in common.
    Version,
    /// TLS 1.2 without the extended master secret.
    NoEms,
    /// No cipher, group or signature in common.
    NothingInCommon,
    /// It has no certificate for the name.
    Name,
    /// It refuses our certificate.
    OurCertificate,
    /// It wants one, and got none.
    WantsCertificate,
    /// It went away.
    Closed,
    /// Something else.
    Other,
}

/// A method of authentication that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// `EXTERNAL`, `dialback`.
    pub method: &'static str,
    /// The outcome.
    #[serde(serialize_with = "outcome")]
    pub outcome: ProofOutcome,
    /// From the first word to the last.
    #[serde(serialize_with = "ms", rename = "ms")]
    pub took: Duration,
}

/// The outcome of a method.
#[derive(Clone, PartialEq, Debug)]
pub enum ProofOutcome {
    /// We are believed.
    Proved,
    /// SASL `<failure/>`, with its text.
    Refused(Failure, Option<PeerText>),
    /// Dialback: our authoritative server does not know the key.
    Invalid,
    /// Dialback: it could not be asked, or is not wanted; with its text.
    Error(ErrorCondition, Option<PeerText>),
    /// No outcome: the stream ended.
    Unknown,
}

/// A ping (XEP-0199) and the end of the stream after it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ping {
    /// The peer ended the stream in good order after it, so it took the ping.
    #[serde(serialize_with = "maybe_ms", rename = "taken_ms")]
    pub taken: Option<Duration>,
    /// It was answered on this stream, which few servers do.
    #[serde(serialize_with = "maybe_ms", rename = "answered_ms")]
    pub answered: Option<Duration>,
    /// The stream ended by this error instead.
    pub error: Option<PeerText>,
}

fn ms<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Tenths are as exact as a network is.
    serializer.serialize_f64((took.as_secs_f64() * 10_000.0).round() / 10.0)
}

fn maybe_ms<S: Serializer>(took: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match took {
        Some(took) => ms(took, serializer),
        None => serializer.serialize_none(),
    }
}

fn resolve_error<S: Serializer>(
    error: &Option<ResolveError>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    error
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

fn cause<S: Serializer>(cause: &Option<Cause>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(cause) = cause else {
        return serializer.serialize_none();
    };
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("cause", cause.name())?;
    map.serialize_entry("text", &cause.to_string())?;
    map.end()
}

fn outcome<S: Serializer>(outcome: &ProofOutcome, serializer: S) -> Result<S::Ok, S::Error> {
    let (word, text) = outcome.words();
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("result", word)?;
    map.serialize_entry("text", &text)?;
    map.end()
}

impl ProofOutcome {
    /// A word for it, and what the peer said.
    pub fn words(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Proved => ("proved", None),
            Self::Refused(failure, said) => (
                "refused",
                Some(match said {
                    Some(said) => format!("{} ({said})", failure.name()),
                    None => failure.name().to_owned(),
                }),
            ),
            Self::Invalid => ("invalid", None),
            Self::Error(condition, said) => (
                "error",
                Some(match said {
                    Some(said) => format!("{condition}: {said}"),
                    None => condition.to_string(),
                }),
            ),
            Self::Unknown => ("unknown", None),
        }
    }
}
