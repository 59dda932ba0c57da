//! The domains that a certificate proves, and the fault of one that proves none: RFC 6120 §13.7.2, XEP-0178.
//!
//! Pure: the chain, the roots and the time are arguments. The handshake accepted any certificate (its signature shows
//! that the peer holds the key, no more); this module decides what it proves.
//!
//! The purpose is serverAuth in both directions: since 2026 public authorities issue no certificate with clientAuth for
//! servers, and a server that opens the connection is still a server.

use std::{sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::{
    asn1_rs::FromDer,
    certificate::{Validity, X509Certificate},
    oid_registry::OID_X509_EXT_NAME_CONSTRAINTS,
    time::ASN1Time,
};
use xmpp_stream::Domain;

use super::bad_certificate::{BadCertificate, Day, Whose, wrong_name};
use super::certificate_name::{CertificateName, Unreadable, identities};
use super::chain::{PeerChain, Work};
use super::revocation::Revocations;
use super::roots::Roots;
use crate::peer_text::PeerText;

/// The domain that the chain proves if the peer asserted none: only if its names stand for exactly one.
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
pub(crate) fn verified(
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

impl Roots {
    /// Whether everything that PKIX asks of a web server's certificate holds for this one and this host.
    ///
    /// # Errors
    ///
    /// What does not.
    pub(crate) fn vouch_for(
        &self,
        chain: &PeerChain,
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), BadCertificate> {
        let found = verified(chain, self, now)?;
        let leaf = EndEntityCert::try_from(chain.leaf()).map_err(|error| bad(error, chain))?;
        leaf.verify_is_valid_for_subject_name(host)
            .map_err(|_| wrong_name(&host.to_str(), &found))
    }
}

/// The identities of a chain that one of the anchors vouches for by an accepted path, and the value of `accept`.
pub(crate) fn vouched<T>(
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
    // An authority that may sign only certain DNS names: the library has checked that for dNSNames, but not for the
    // otherNames. So otherNames do not count below such an authority.
    if is_constrained(&path) {
        found.retain(|identity| matches!(identity, CertificateName::Dns(_)));
    }
    Ok((found, accepted))
}

/// Checks that need no chain: time and purpose. There are no others for a peer's own certificate among the roots, most
/// often a self-signed one, and for our own certificates.
pub(crate) fn judge_alone(
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
        return Err(BadCertificate::Expired {
            whose,
            on: Day::of(on),
        });
    }
    if now < from {
        let from = Day::of(from);
        return Err(BadCertificate::NotYetValid { whose, from });
    }
    match certificate.extended_key_usage().map_err(|_| Unreadable)? {
        Some(usage) if !usage.value.server_auth => Err(BadCertificate::WrongPurpose),
        _ => Ok(()),
    }
}

/// The same, and that it is on no revocation list.
pub(crate) fn judge_for_itself(
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
pub(crate) fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
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
                // If we cannot read it, we do not take it for unconstrained.
                Err(_) => true,
            }
        })
}

pub(crate) fn bad(error: webpki::Error, chain: &PeerChain) -> BadCertificate {
    use webpki::Error as E;
    let whose = |limit: fn(&Validity) -> ASN1Time, time: UnixTime| match X509Certificate::from_der(
        chain.leaf(),
    ) {
        Ok((_, leaf)) if unix_time(limit(leaf.validity())) != time => Whose::Issuer,
        _ => Whose::Own,
    };
    match error {
        E::CertExpired { not_after, .. } => BadCertificate::Expired {
            whose: whose(|validity| validity.not_after, not_after),
            on: Day::of(not_after),
        },
        E::CertNotValidYet { not_before, .. } => BadCertificate::NotYetValid {
            whose: whose(|validity| validity.not_before, not_before),
            from: Day::of(not_before),
        },
        // `openssl req -x509` makes self-signed certificates that call themselves an authority's.
        E::UnknownIssuer | E::CaUsedAsEndEntity if is_self_issued(chain.leaf()) => {
            BadCertificate::SelfSigned
        }
        E::CaUsedAsEndEntity => BadCertificate::Authority,
        E::UnknownIssuer => BadCertificate::UnknownIssuer {
            issuer: issuer(chain.leaf()),
            sent: 1 + chain.intermediates().len(),
        },
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => BadCertificate::WrongPurpose,
        E::CertRevoked => BadCertificate::Revoked,
        // The list is ours, and so is the fault. Still, without it we do not know whether the certificate is good.
        E::InvalidCrlSignatureForPublicKey
        | E::IssuerNotCrlSigner
        | E::UnsupportedCrlSignatureAlgorithmContext(_)
        | E::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            BadCertificate::ListOfAnother
        }
        E::InvalidSignatureForPublicKey => BadCertificate::Signature,
        E::EndEntityUsedAsCa => BadCertificate::SignedByServer,
        E::NameConstraintViolation => BadCertificate::NameConstraints,
        E::PathLenConstraintViolated
        | E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => BadCertificate::TooDeep,
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => BadCertificate::Algorithm,
        E::UnsupportedCertVersion => BadCertificate::Version,
        E::UnsupportedCriticalExtension => BadCertificate::CriticalExtension,
        E::BadDer
        | E::BadDerTime
        | E::ExtensionValueInvalid
        | E::InvalidCertValidity
        | E::InvalidSerialNumber
        | E::MalformedExtensions
        | E::MalformedDnsIdentifier
        | E::SignatureAlgorithmMismatch
        | E::TrailingData(_) => BadCertificate::Malformed,
        // The library's enum grows; its texts are short and say nothing about us.
        error => BadCertificate::Other(error.to_string().into()),
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
