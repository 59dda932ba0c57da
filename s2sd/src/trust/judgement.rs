//! Why a peer is believed, or not: one value that the log, the bounce and everything else shows.
//!
//! Trust has degrees, so [`TrustLevel`] has an order; [`Because`] is the exact finding. [`judge`] judges a certificate
//! from [`Evidence`]; the proofs of SASL and dialback are on the same scale. Pure: the chain, the roots, the time and
//! the answers of the DNS are arguments.

use std::fmt;

use rustls::pki_types::UnixTime;
use xmpp_stream::Domain;

use super::bad_certificate::{BadCertificate, wrong_name};
use super::certificate_name::CertificateName;
use super::chain::PeerChain;
use super::dane::{Matched, Question, Tlsa, TlsaSet};
use super::roots::Roots;
use crate::config::Dane;
use crate::peer_text::PeerText;
use crate::trust::pkix;

/// How well it is known that a peer speaks for its domain: the kind of its proof, the best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum TrustLevel {
    /// A certificate was shown, and it is not one for the domain.
    Contradicted,
    /// There is no proof.
    Nothing,
    /// The server that the domain's DNS leads to confirms it (XEP-0220).
    Dialback,
    /// An authority vouches for the domain's web server, and that server for the very certificate (RFC 7711).
    Posh,
    /// An authority vouches for the domain.
    Pkix,
    /// An authority vouches for a server that the domain's DNS leads to, as DNSSEC proves (RFC 7673 §4.1).
    Delegated,
    /// The domain's DNS vouches for the very key or its authority, as DNSSEC proves (RFC 7673 §4.2).
    Dane,
    /// The operators of both sides vouch: they gave each other a password, or share a Kerberos realm.
    Agreed,
}

impl TrustLevel {
    /// The word for logs and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::Nothing => "nothing",
            Self::Dialback => "dialback",
            Self::Posh => "POSH",
            Self::Pkix => "PKIX",
            Self::Delegated => "delegated",
            Self::Dane => "DANE",
            Self::Agreed => "agreed",
        }
    }
}

impl fmt::Display for TrustLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The exact finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Because {
    /// The certificate is bad.
    Bad(BadCertificate),
    /// There is no TLS, so no certificate was shown.
    NoTls,
    /// No certificate was shown.
    NoCertificate,
    /// The domain's authoritative server knows the key.
    Dialback,
    /// We connected to the domain's authoritative server ourselves.
    Reached,
    /// The certificate is good and has the domain's name.
    Name {
        /// Which name: `dNSName *.example.org`.
        matched: PeerText,
    },
    /// The certificate is good and has the name of a server that the domain's SRV records lead to.
    Target {
        /// That name.
        matched: PeerText,
    },
    /// The certificate matches what a server of the domain's publishes.
    Tlsa {
        /// The record.
        record: Tlsa,
        /// Where it is: `_5269._tcp.xmpp.example`.
        at: PeerText,
    },
    /// The certificate is one of those that the domain publishes by HTTPS.
    Posh {
        /// Where.
        url: PeerText,
    },
    /// A SASL mechanism that rests on what both sides were given.
    Mechanism(&'static str),
}

impl Because {
    fn trust(&self) -> TrustLevel {
        match self {
            Self::Bad(_) => TrustLevel::Contradicted,
            Self::NoTls | Self::NoCertificate => TrustLevel::Nothing,
            Self::Dialback | Self::Reached => TrustLevel::Dialback,
            Self::Name { .. } => TrustLevel::Pkix,
            Self::Target { .. } => TrustLevel::Delegated,
            Self::Tlsa { .. } => TrustLevel::Dane,
            Self::Posh { .. } => TrustLevel::Posh,
            Self::Mechanism(_) => TrustLevel::Agreed,
        }
    }
}

/// For all readers but the operator of the other server, whose certificate it is.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => bad.of_it().fmt(f),
            Self::NoTls => f.write_str("no encryption"),
            Self::NoCertificate => f.write_str("no certificate was shown"),
            Self::Dialback => f.write_str("its authoritative server knows the key"),
            Self::Reached => f.write_str("the domain's DNS leads to this server"),
            Self::Name { matched } => f.write_str(matched),
            Self::Target { matched } => write!(f, "{matched}, where its SRV records lead"),
            Self::Tlsa { record, at } => write!(f, "TLSA {record} at {at}"),
            Self::Posh { url } => f.write_str(url),
            Self::Mechanism(name) => f.write_str(name),
        }
    }
}

/// How well a peer is known, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    trust: TrustLevel,
    because: Because,
}

impl Judgement {
    /// How well the peer is known.
    pub fn trust(&self) -> TrustLevel {
        self.trust
    }

    /// Why.
    pub fn because(&self) -> &Because {
        &self.because
    }

    /// Does the certificate prove the domain?
    pub fn is_certified(&self) -> bool {
        match self.trust {
            TrustLevel::Contradicted
            | TrustLevel::Nothing
            | TrustLevel::Dialback
            | TrustLevel::Agreed => false,
            TrustLevel::Posh | TrustLevel::Pkix | TrustLevel::Delegated | TrustLevel::Dane => true,
        }
    }

    /// The fault of the certificate, if it has one.
    pub fn bad(&self) -> Option<&BadCertificate> {
        match &self.because {
            Because::Bad(bad) => Some(bad),
            _ => None,
        }
    }
}

/// The finding decides how well the peer is known.
impl From<Because> for Judgement {
    fn from(because: Because) -> Self {
        Self {
            trust: because.trust(),
            because,
        }
    }
}

/// `PKIX: dNSName example.org`.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.trust, self.because)
    }
}

/// A server of a domain's, as far as the DNS says which those are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetEvidence {
    /// Its name, where DNSSEC proves that the domain's SRV records lead to it.
    pub host: Option<Domain>,
    /// The records that it publishes about its certificate, if any. Or why a look-up failed: then s2sd must not use the
    /// server (RFC 7673 §3.4).
    pub tlsa: Result<Option<TlsaSet>, String>,
}

/// Everything that a certificate is judged by.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// The certificates from the handshake.
    pub chain: Option<&'a PeerChain>,
    /// The authorities whose signature counts.
    pub roots: &'a Roots,
    /// The domain to be proved.
    pub domain: &'a Domain,
    /// The time.
    pub now: UnixTime,
    /// Whether TLSA records decide.
    pub dane: Dane,
    /// The servers of the domain that may have shown the certificate: the one we connected to, or all there are.
    pub targets: &'a [TargetEvidence],
}

impl<'a> Evidence<'a> {
    /// A certificate and the authorities: all that PKIX needs, and no more.
    pub fn new(
        chain: Option<&'a PeerChain>,
        roots: &'a Roots,
        domain: &'a Domain,
        now: UnixTime,
    ) -> Self {
        Self {
            chain,
            roots,
            domain,
            now,
            dane: Dane::Off,
            targets: &[],
        }
    }
}

/// Does the certificate prove that the peer is `domain`, as far as this evidence shows?
///
/// The records of a signed zone come first. If they name another certificate, nothing else makes this one good (RFC
/// 7673 §4.2). If the peer connected to us, its certificate may be that of any of the domain's servers.
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    match evidence.chain {
        None => Because::NoCertificate.into(),
        Some(chain) => match weigh(evidence, chain) {
            Weighed::Settled(because) => because.into(),
            Weighed::Unvouched(bad) => Because::Bad(bad).into(),
        },
    }
}

/// What the evidence shows about a certificate.
pub(super) enum Weighed {
    /// Further evidence cannot change this.
    Settled(Because),
    /// No authority vouches for it, and what the domain publishes by HTTPS may stand for one (RFC 7711 §6, RFC 7712 §5).
    Unvouched(BadCertificate),
}

pub(super) fn weigh(evidence: &Evidence<'_>, chain: &PeerChain) -> Weighed {
    if let Err(bad) = chain.is_bounded() {
        return Weighed::Settled(Because::Bad(bad));
    }
    let targets = match evidence.dane {
        Dane::Off => &[],
        Dane::Use | Dane::Require => evidence.targets,
    };
    if let Some(because) = by_dane(evidence, chain, targets) {
        return Weighed::Settled(because);
    }
    if evidence.dane == Dane::Require {
        return Weighed::Settled(Because::Bad(BadCertificate::NoTlsa));
    }
    match by_pkix(evidence, chain, targets) {
        Ok(because) => Weighed::Settled(because),
        Err(bad) if may_be_posh(evidence, chain, &bad) => Weighed::Unvouched(bad),
        Err(bad) => Weighed::Settled(Because::Bad(bad)),
    }
}

/// `None`: no server publishes anything, or there is one that does not.
fn by_dane(
    evidence: &Evidence<'_>,
    chain: &PeerChain,
    targets: &[TargetEvidence],
) -> Option<Because> {
    let mut published = Vec::new();
    let mut question = Question::new(chain, evidence.roots, evidence.now);
    for target in targets {
        if let Ok(Some(set)) = &target.tlsa {
            let domain = [evidence.domain].into_iter().chain(&target.host);
            let names: Vec<Domain> = domain.cloned().collect();
            match question.matches(set, &names) {
                Ok(Some(Matched::Proves(record) | Matched::Constrains(record))) => {
                    let at = PeerText::new(&set.name);
                    return Some(Because::Tlsa { record, at });
                }
                Ok(None) => {}
                Err(bad) => return Some(Because::Bad(bad)),
            }
            published.push(set.name.as_str());
        }
    }
    if targets.is_empty() || targets.iter().any(|target| target.tlsa == Ok(None)) {
        return None;
    }
    let untold = targets.iter().find_map(|target| target.tlsa.as_ref().err());
    Some(Because::Bad(match untold {
        Some(why) if published.is_empty() => BadCertificate::Untold(why.as_str().into()),
        _ => BadCertificate::NotInTlsa {
            at: published.join(", ").into(),
        },
    }))
}

/// First all that PKIX needs, then the name: the domain's, or that of a server without records of its own.
fn by_pkix(
    evidence: &Evidence<'_>,
    chain: &PeerChain,
    targets: &[TargetEvidence],
) -> Result<Because, BadCertificate> {
    let found = pkix::verified(chain, evidence.roots, evidence.now)?;
    let named = |domain: &Domain| {
        let mut found = found.iter();
        found
            .find(|identity| identity.names(domain))
            .map(CertificateName::shown)
    };
    if let Some(matched) = named(evidence.domain) {
        return Ok(Because::Name { matched });
    }
    let unpublished = targets.iter().filter(|target| target.tlsa == Ok(None));
    let mut hosts = unpublished.filter_map(|target| target.host.as_ref());
    match hosts.find_map(named) {
        Some(matched) => Ok(Because::Target { matched }),
        None => Err(wrong_name(evidence.domain.as_str(), &found)),
    }
}

/// Whether it may help to ask what the domain publishes by HTTPS: not where the certificate is out of its time, or taken
/// back, or not what the DNS says (RFC 7711 §6, RFC 7712 §5).
fn may_be_posh(evidence: &Evidence<'_>, chain: &PeerChain, bad: &BadCertificate) -> bool {
    matches!(
        bad,
        BadCertificate::UnknownIssuer { .. }
            | BadCertificate::SelfSigned
            | BadCertificate::WrongName { .. }
    ) && pkix::judge_for_itself(chain.leaf(), evidence.roots, evidence.now).is_ok()
}

#[cfg(test)]
mod tests;
