//! What a certificate proves, and what is wrong with one that proves nothing: RFC 6120 §13.7.2, XEP-0178.
//!
//! Pure: the chain, the roots and the time are arguments. The handshake accepted any certificate (its
//! signature shows that the peer holds the key, no more); this decides what it is worth.
//!
//! The purpose asked for is serverAuth in both directions: since 2026 public authorities issue no certificate
//! with clientAuth for servers, and a server is a server also where it opens the connection.

use std::{fmt, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::{
    asn1_rs::FromDer,
    certificate::{Validity, X509Certificate},
    oid_registry::OID_X509_EXT_NAME_CONSTRAINTS,
    time::ASN1Time,
};
use xmpp_stream::Domain;

use super::certificate_name::{CertificateName, Unreadable, identities};
use super::chain::{LARGEST, MAX_CERTIFICATES, PeerChain, Work};
use super::revocation::Revocations;
use super::roots::Roots;
use crate::peer_text::PeerText;

/// What is wrong with a certificate. The text speaks to the operator of the server that showed it, and says nothing of
/// what came of look-ups and fetches that the server made us do: [`BadCertificate::of_it`] does.
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
    #[error("your certificate is not for {domain}: {}", names(.found, *.more))]
    WrongName {
        /// The domain that was to be proved.
        domain: PeerText,
        /// The names it has instead, the first of them.
        found: Vec<PeerText>,
        /// How many others it has.
        more: usize,
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
    #[error("whether your DNS says another certificate is the right one cannot be told")]
    Untold(PeerText),
    /// It is bad for one reason, and a document that the domain may publish by HTTPS does not make it good. What came of
    /// asking for the document is not for who had us ask.
    #[error("{pkix}; and by POSH it is not known either")]
    NorPosh {
        /// The reason.
        pkix: Box<BadCertificate>,
        /// What is with the document.
        posh: PeerText,
        /// Whether it was read.
        read: bool,
    },
    /// More certificates came with it than are looked at.
    #[error(
        "your certificate chain is too long: you sent {sent} certificates, and at most {MAX_CERTIFICATES} are taken"
    )]
    TooMany {
        /// How many were shown.
        sent: usize,
    },
    /// They are larger together than what is looked at.
    #[error(
        "your certificate chain is too large: you sent {bytes} bytes of certificates, and at most {LARGEST} are taken"
    )]
    TooLarge {
        /// How large they are together.
        bytes: usize,
    },
    /// To find out whether it is good takes too long.
    #[error(
        "your certificate chain is too tangled: there are too many ways to put together the certificates that you sent, \
         or too many names and constraints in them"
    )]
    Tangled,
    /// It cannot be parsed.
    #[error("your certificate is malformed")]
    Malformed,
    /// Anything else.
    #[error("{0}")]
    Other(PeerText),
}

impl BadCertificate {
    /// Whether something is wrong with the certificate. Else it is not known to be good, since what was asked did not
    /// answer.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Untold(_) | Self::NorPosh { read: false, .. })
    }

    /// The same for others than the operator of that server: in our log, and in what comes back to a sender.
    pub fn of_it(&self) -> String {
        if let Self::NorPosh { pkix, posh, .. } = self {
            return format!(
                "{}; and by POSH it is not known either: {posh}",
                pkix.of_it()
            );
        }
        if let Self::Untold(why) = self {
            return format!(
                "whether its DNS says another certificate is the right one cannot be told: {why}"
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

fn names(found: &[PeerText], more: usize) -> String {
    if found.is_empty() {
        return "it has no dNSName, SRVName or xmppAddr (the common name does not count)"
            .to_owned();
    }
    let mut text = format!("it has {}", found.join(", "));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// The certificate has these names and not the one that was to be proved.
pub(super) fn wrong_name(wanted: &str, found: &[CertificateName]) -> BadCertificate {
    let shown = found.iter().take(NAMES_SHOWN);
    BadCertificate::WrongName {
        domain: PeerText::new(wanted),
        found: shown.map(CertificateName::shown).collect(),
        more: found.len().saturating_sub(NAMES_SHOWN),
    }
}

/// The domain that the chain proves when nobody asserted one: only if its names stand for exactly one.
pub fn sole_identity(chain: Option<&PeerChain>, roots: &Roots, now: UnixTime) -> Option<Domain> {
    let found = verified(chain?, roots, now).ok()?;
    let mut sole = None;
    for identity in found.iter() {
        let domain = identity.domain()?;
        match &sole {
            None => sole = Some(domain),
            Some(known) if *known == domain => {}
            Some(_) => return None,
        }
    }
    sole
}

/// The identities of a chain that a root vouches for. Found out once for a connection.
pub(super) fn verified(
    chain: &PeerChain,
    roots: &Roots,
    now: UnixTime,
) -> Result<Arc<[CertificateName]>, BadCertificate> {
    chain.is_bounded()?;
    chain.opinion(roots.token(), now, || {
        if roots.has(chain.leaf()) {
            judge_for_itself(chain.leaf(), roots, now)?;
            return Ok(identities(chain.leaf())?);
        }
        let (anchors, mut work) = (roots.anchors(), Work::default());
        let found = vouched(
            chain,
            anchors,
            roots.revoked(),
            now,
            &mut work,
            |_| Some(()),
        )?;
        Ok(found.0)
    })
}

/// The identities of a chain that one of the anchors vouches for by a path that is accepted, and what it is accepted as.
pub(super) fn vouched<T>(
    chain: &PeerChain,
    anchors: &[TrustAnchor<'_>],
    revoked: &Revocations,
    now: UnixTime,
    work: &mut Work,
    accept: impl Fn(&VerifiedPath<'_>) -> Option<T>,
) -> Result<(Vec<CertificateName>, T), BadCertificate> {
    chain.is_bounded()?;
    work.search(chain, anchors, !revoked.is_empty())?;
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
        found.retain(|identity| matches!(identity, CertificateName::Dns(_)));
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
    match EndEntityCert::try_from(certificate).map(|leaf| roots.revoked().has(&leaf)) {
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

pub(super) fn bad(error: webpki::Error, chain: &PeerChain) -> BadCertificate {
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
            sent: 1 + chain.intermediates().len(),
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

/// A distinguished name can be as long as the certificate.
const NAME_SHOWN: usize = 1024;

fn issuer(certificate: &CertificateDer<'_>) -> PeerText {
    match X509Certificate::from_der(certificate) {
        Ok((_, certificate)) if certificate.issuer().as_raw().len() <= NAME_SHOWN => {
            PeerText::new(&certificate.issuer().to_string())
        }
        Ok(_) => "a name that is too long".into(),
        Err(_) => PeerText::default(),
    }
}

#[cfg(test)]
mod tests;
