//! What a certificate proves, and what is wrong with one that proves nothing: RFC 6120 §13.7.2, XEP-0178.
//!
//! Pure: the chain, the roots and the time are arguments. The handshake accepted any certificate (its
//! signature shows that the peer holds the key, no more); this decides what it is worth.
//!
//! The purpose asked for is serverAuth in both directions: since 2026 public authorities issue no certificate
//! with clientAuth for servers, and a server is a server also where it opens the connection.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::{
    asn1_rs::FromDer,
    certificate::{Validity, X509Certificate},
    oid_registry::OID_X509_EXT_NAME_CONSTRAINTS,
    time::ASN1Time,
};
use xmpp_stream::Domain;

use super::identity::{Identity, Unreadable, identities};
use super::revocation::Revocations;
use crate::peer_text::PeerText;

/// The certificates a peer showed in the handshake, its own first. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerChain(Arc<[CertificateDer<'static>]>);

impl PeerChain {
    /// What the handshake gave; none if there is no certificate in it.
    pub fn new(certificates: &[CertificateDer<'static>]) -> Option<Self> {
        (!certificates.is_empty()).then(|| Self(certificates.into()))
    }

    /// The peer's own certificate.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.0[0]
    }

    /// What should lead from it to a root.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.0[1..]
    }
}

/// The authorities whose signature counts, and single certificates that count by themselves.
#[derive(Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: HashSet<CertificateDer<'static>>,
    revoked: Revocations,
}

impl Roots {
    /// Takes certificates as roots. The second value counts those that cannot be one.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> (Self, usize) {
        let mut roots = Self::default();
        let mut refused = 0;
        for certificate in certificates {
            match webpki::anchor_from_trusted_cert(&certificate) {
                Ok(anchor) => {
                    roots.anchors.push(anchor.to_owned());
                    roots.certificates.insert(certificate);
                }
                Err(_) => refused += 1,
            }
        }
        (roots, refused)
    }

    /// The same, of whose certificates these were taken back.
    #[must_use]
    pub fn without(self, revoked: Revocations) -> Self {
        Self { revoked, ..self }
    }

    /// What paths may end in.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The same as certificates.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.certificates.iter()
    }

    /// Whether everything that PKIX asks of a server's certificate holds for this one, but for its names.
    ///
    /// # Errors
    ///
    /// What does not.
    pub(crate) fn vouch_for(&self, chain: &PeerChain, now: UnixTime) -> Result<(), BadCertificate> {
        verified(chain, self, now).map(|_| ())
    }

    /// The lists of what was taken back.
    pub(super) fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Is nobody trusted?
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

/// The same certificates and lists in any order are the same roots.
impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates && self.revoked == other.revoked
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.len())
    }
}

/// What is wrong with a certificate. The text speaks to the operator of the server that showed it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCertificate {
    /// The time of the certificate, or of one in its chain, is over.
    #[error("{} expired on {on}", .whose.text())]
    Expired {
        /// Which one.
        whose: Whose,
        /// Its notAfter.
        on: Day,
    },
    /// The time of the certificate, or of one in its chain, has not begun.
    #[error("{} is not valid before {from}", .whose.text())]
    NotYetValid {
        /// Which one.
        whose: Whose,
        /// Its notBefore.
        from: Day,
    },
    /// No trusted authority signed it, as far as the chain shows.
    #[error(
        "no authority trusted here signed your certificate (its issuer is \"{issuer}\"): either that \
         authority is not trusted, or an intermediate certificate is missing from the {sent} you sent"
    )]
    UnknownIssuer {
        /// The issuer's distinguished name.
        issuer: PeerText,
        /// How many certificates were shown.
        sent: usize,
    },
    /// It is signed by its own key.
    #[error("your certificate is self-signed")]
    SelfSigned,
    /// It is another server's.
    #[error("your certificate is not for {domain}: {}", names(.found))]
    WrongName {
        /// The domain that was to be proved.
        domain: PeerText,
        /// The names it has instead.
        found: Vec<PeerText>,
    },
    /// Its extended key usage excludes servers.
    #[error("your certificate is not for servers (its extended key usage lacks serverAuth)")]
    WrongPurpose,
    /// The authority that signed it, or one in its chain, took it back.
    #[error("your certificate, or one in the chain above it, has been revoked by its issuer")]
    Revoked,
    /// The domain publishes which certificate it is, and it is another one (RFC 7673 §4.2).
    #[error("your certificate matches no TLSA record at {at}")]
    NotInTlsa {
        /// Where the records are.
        at: PeerText,
    },
    /// The domain does not publish which one it is.
    #[error("your domain publishes no TLSA records that DNSSEC proves, and here they are required")]
    NoTlsa,
    /// Whether it does cannot be told, so that the certificate is not believed (RFC 7673 §3.1, §3.4).
    #[error("whether your DNS says another certificate is the right one cannot be told: {0}")]
    Untold(PeerText),
    /// It is bad for one reason, and a document that the domain may publish by HTTPS does not make it good. What came of
    /// asking for the document is not for who had us ask.
    #[error("{pkix}; and by POSH it is not known either")]
    NorPosh {
        /// The reason.
        pkix: Box<BadCertificate>,
        /// What is with the document.
        posh: PeerText,
    },
    /// It cannot be parsed.
    #[error("your certificate is malformed")]
    Malformed,
    /// Anything else.
    #[error("{0}")]
    Other(PeerText),
}

impl BadCertificate {
    /// The same for others than the operator of that server: in our log, and in what comes back to a sender.
    pub fn of_it(&self) -> String {
        if let Self::NorPosh { pkix, posh } = self {
            return format!(
                "{}; and by POSH it is not known either: {posh}",
                pkix.of_it()
            );
        }
        let text = self.to_string();
        // The names in it are the peer's own words, and may be any.
        let end = text.find([':', '"', '(']).unwrap_or(text.len());
        let (ours, rest) = text.split_at(end);
        let ours = ours
            .replace("above yours", "above its own")
            .replace("your ", "its ");
        ours + &rest.replace(" you sent", " it sent")
    }
}

/// Whose certificate is out of its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The server's own.
    Own,
    /// One above it.
    Issuer,
}

impl Whose {
    fn text(self) -> &'static str {
        match self {
            Self::Own => "your certificate",
            Self::Issuer => "a certificate in the chain above yours",
        }
    }
}

/// A day in UTC; prints as `2026-03-31`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Day(UnixTime);

impl Day {
    pub(crate) fn of(time: UnixTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        match ASN1Time::from_timestamp(seconds) {
            Ok(time) => {
                let time = time.to_datetime();
                let month = u8::from(time.month());
                write!(f, "{:04}-{month:02}-{:02}", time.year(), time.day())
            }
            Err(_) => f.write_str("an unknown day"),
        }
    }
}

/// A certificate can hold thousands of names; a log line cannot.
const NAMES_SHOWN: usize = 8;

fn names(found: &[PeerText]) -> String {
    if found.is_empty() {
        return "it has no dNSName, SRVName or xmppAddr (the common name does not count)"
            .to_owned();
    }
    let shown = &found[..found.len().min(NAMES_SHOWN)];
    let mut text = format!("it has {}", shown.join(", "));
    if found.len() > shown.len() {
        text.push_str(&format!(" and {} more", found.len() - shown.len()));
    }
    text
}

/// The domain that the chain proves when nobody asserted one: only if its names stand for exactly one.
pub fn sole_identity(chain: Option<&PeerChain>, roots: &Roots, now: UnixTime) -> Option<Domain> {
    let found = verified(chain?, roots, now).ok()?;
    let mut sole = None;
    for identity in &found {
        let domain = identity.domain()?;
        match &sole {
            None => sole = Some(domain),
            Some(known) if *known == domain => {}
            Some(_) => return None,
        }
    }
    sole
}

/// The identities of a chain that a root vouches for.
pub(super) fn verified(
    chain: &PeerChain,
    roots: &Roots,
    now: UnixTime,
) -> Result<Vec<Identity>, BadCertificate> {
    if roots.certificates.contains(chain.leaf()) {
        judge_for_itself(chain.leaf(), roots, now)?;
        return Ok(identities(chain.leaf())?);
    }
    let (found, ()) = vouched(chain, &roots.anchors, &roots.revoked, now, |_| Some(()))?;
    Ok(found)
}

/// The identities of a chain that one of the anchors vouches for by a path that is accepted, and what it is accepted as.
pub(super) fn vouched<T>(
    chain: &PeerChain,
    anchors: &[TrustAnchor<'_>],
    revoked: &Revocations,
    now: UnixTime,
    accept: impl Fn(&VerifiedPath<'_>) -> Option<T>,
) -> Result<(Vec<Identity>, T), BadCertificate> {
    let leaf = EndEntityCert::try_from(chain.leaf()).map_err(|error| bad(error, chain))?;
    let accepted = |path: &VerifiedPath<'_>| accept(path).ok_or(webpki::Error::UnknownIssuer);
    let path = revoked.asked(|revocation| {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            anchors,
            chain.intermediates(),
            now,
            KeyUsage::server_auth(),
            revocation,
            Some(&|path| accepted(path).map(|_| ())),
        )
    });
    let path = path.map_err(|error| bad(error, chain))?;
    let accepted = accepted(&path).map_err(|error| bad(error, chain))?;
    let mut found = identities(chain.leaf())?;
    // An authority that was only allowed to sign certain DNS names has had that checked for dNSNames. Nothing
    // checks it for the otherNames, so below such an authority they do not count.
    if is_constrained(&path) {
        found.retain(|identity| matches!(identity, Identity::Dns(_)));
    }
    Ok((found, accepted))
}

/// What can be said of a certificate without its chain: time and purpose. This is all for a peer's own
/// certificate that somebody put among the roots, most often a self-signed one; and all we know of our own.
pub(super) fn judge_alone(
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> Result<(), BadCertificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| Unreadable)?;
    let whose = Whose::Own;
    let (from, on) = (
        unix_time(certificate.validity().not_before),
        unix_time(certificate.validity().not_after),
    );
    if now > on {
        return Err(BadCertificate::Expired { whose, on: Day(on) });
    }
    if now < from {
        let from = Day(from);
        return Err(BadCertificate::NotYetValid { whose, from });
    }
    match certificate.extended_key_usage().map_err(|_| Unreadable)? {
        Some(usage) if !usage.value.server_auth => Err(BadCertificate::WrongPurpose),
        _ => Ok(()),
    }
}

/// The same, and that it is on no list of what was taken back.
pub(super) fn judge_for_itself(
    certificate: &CertificateDer<'_>,
    roots: &Roots,
    now: UnixTime,
) -> Result<(), BadCertificate> {
    judge_alone(certificate, now)?;
    match EndEntityCert::try_from(certificate).map(|leaf| roots.revoked.has(&leaf)) {
        Ok(true) => Err(BadCertificate::Revoked),
        _ => Ok(()),
    }
}

/// The end of a certificate's time.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(unix_time(certificate.validity().not_after))
}

fn unix_time(time: ASN1Time) -> UnixTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn is_constrained(path: &VerifiedPath<'_>) -> bool {
    path.anchor().name_constraints.is_some()
        || path.intermediate_certificates().any(|certificate| {
            match X509Certificate::from_der(&certificate.der()) {
                Ok((_, certificate)) => certificate
                    .extensions()
                    .iter()
                    .any(|extension| extension.oid == OID_X509_EXT_NAME_CONSTRAINTS),
                // What we cannot read, we do not take for unconstrained.
                Err(_) => true,
            }
        })
}

impl From<Unreadable> for BadCertificate {
    fn from(Unreadable: Unreadable) -> Self {
        Self::Malformed
    }
}

fn bad(error: webpki::Error, chain: &PeerChain) -> BadCertificate {
    use webpki::Error as E;
    let other = |text: &str| BadCertificate::Other(text.into());
    let whose = |limit: fn(&Validity) -> ASN1Time, time: UnixTime| match X509Certificate::from_der(
        chain.leaf(),
    ) {
        Ok((_, leaf)) if unix_time(limit(leaf.validity())) != time => Whose::Issuer,
        _ => Whose::Own,
    };
    match error {
        E::CertExpired { not_after, .. } => BadCertificate::Expired {
            whose: whose(|validity| validity.not_after, not_after),
            on: Day(not_after),
        },
        E::CertNotValidYet { not_before, .. } => BadCertificate::NotYetValid {
            whose: whose(|validity| validity.not_before, not_before),
            from: Day(not_before),
        },
        // `openssl req -x509` makes self-signed certificates that call themselves an authority's.
        E::UnknownIssuer | E::CaUsedAsEndEntity if is_self_issued(chain.leaf()) => {
            BadCertificate::SelfSigned
        }
        E::CaUsedAsEndEntity => other("your certificate is an authority's, not a server's"),
        E::UnknownIssuer => BadCertificate::UnknownIssuer {
            issuer: issuer(chain.leaf()),
            sent: chain.0.len(),
        },
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => BadCertificate::WrongPurpose,
        E::CertRevoked => BadCertificate::Revoked,
        // The list is ours, and so is the fault; yet nobody can say that the certificate still counts.
        E::InvalidCrlSignatureForPublicKey
        | E::IssuerNotCrlSigner
        | E::UnsupportedCrlSignatureAlgorithmContext(_)
        | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => other(
            "whether your certificate has been revoked cannot be told: the list that is configured here in the name \
             of its issuer is not signed by it",
        ),
        E::InvalidSignatureForPublicKey => {
            other("a signature in your certificate's chain is not that of its issuer's key")
        }
        E::EndEntityUsedAsCa => {
            other("your certificate was signed by a certificate that is not an authority's")
        }
        E::NameConstraintViolation => {
            other("your certificate's issuer is not allowed to certify the names in it")
        }
        E::PathLenConstraintViolated
        | E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => {
            other("your certificate's chain is longer or more tangled than is allowed")
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            other("your certificate's chain uses a signature algorithm that is not accepted")
        }
        E::UnsupportedCertVersion => {
            other("your certificate is not an X.509 version 3 certificate")
        }
        E::UnsupportedCriticalExtension => {
            other("your certificate has a critical extension that is not understood")
        }
        E::BadDer
        | E::BadDerTime
        | E::ExtensionValueInvalid
        | E::InvalidCertValidity
        | E::InvalidSerialNumber
        | E::MalformedExtensions
        | E::MalformedDnsIdentifier
        | E::SignatureAlgorithmMismatch
        | E::TrailingData(_) => BadCertificate::Malformed,
        // The enum of the library grows; its texts are short and say nothing of us.
        error => BadCertificate::Other(format!("your certificate is not accepted: {error}").into()),
    }
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        certificate.subject().as_raw() == certificate.issuer().as_raw()
    })
}

fn issuer(certificate: &CertificateDer<'_>) -> PeerText {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) => PeerText::new(&certificate.issuer().to_string()),
        Err(_) => PeerText::default(),
    }
}

#[cfg(test)]
mod tests;
