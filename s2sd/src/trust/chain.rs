//! The certificates that a peer shows, and a bound on the work that they may cause.
//!
//! webpki searches for a path by names. The peer chooses the names, and a few certificates that all have the same one
//! make webpki try them in every order. So a chain is bounded in number and in size, and each search in [`Work`]: it
//! counts beforehand what the search costs at most, and refuses a chain that would cost more.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256, Sha512};
use webpki::{EndEntityCert, anchor_from_trusted_cert, spki_for_anchor};
use x509_parser::{
    asn1_rs::FromDer, certificate::X509Certificate, extensions::ParsedExtension, time::ASN1Time,
};

use super::bad_certificate::{BadCertificate, LARGEST, MAX_CERTIFICATES};
use super::certificate_name::CertificateName;

/// For how long it is remembered what authorities say of a chain.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Of how many sets of authorities.
const OPINIONS: usize = 4;

/// The certificates a peer showed in the handshake, its own first. Never empty.
#[derive(Clone)]
pub struct PeerChain(Arc<Chain>);

struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    excess: Option<BadCertificate>,
    opinions: Mutex<Vec<Opinion>>,
    shown: OnceLock<Vec<Option<Shown>>>,
}

/// What these authorities say of the chain, without regard to the domain.
struct Opinion {
    of: Arc<()>,
    since: UnixTime,
    found: Result<Arc<[CertificateName]>, BadCertificate>,
}

impl PeerChain {
    /// What the handshake gave; none if there is no certificate in it. Of a chain that is over a bound only the first
    /// certificates are kept, for people to see: it is never judged.
    pub fn new(certificates: &[CertificateDer<'static>]) -> Option<Self> {
        let own = certificates.first()?;
        let bytes: usize = certificates.iter().map(|one| one.len()).sum();
        let excess = if certificates.len() > MAX_CERTIFICATES {
            let sent = certificates.len();
            Some(BadCertificate::TooMany { sent })
        } else if bytes > LARGEST {
            Some(BadCertificate::TooLarge { bytes })
        } else {
            None
        };
        let mut kept = own.len();
        let mut fits = |one: &&CertificateDer<'_>| {
            kept += one.len();
            kept <= LARGEST
        };
        let above = certificates.iter().take(MAX_CERTIFICATES).skip(1);
        let above = above.take_while(|one| fits(one));
        Some(Self(Arc::new(Chain {
            certificates: std::iter::once(own).chain(above).cloned().collect(),
            excess,
            opinions: Mutex::default(),
            shown: OnceLock::new(),
        })))
    }

    /// Whether both share the results of checks.
    #[cfg(test)]
    pub(crate) fn is_one_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The peer's own certificate.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.0.certificates[0]
    }

    /// What should lead from it to a root.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates[1..]
    }

    /// Of how many certificates, or bytes of them, there are too many, if so.
    pub(crate) fn is_bounded(&self) -> Result<(), BadCertificate> {
        self.0.excess.clone().map_or(Ok(()), Err)
    }

    /// What `judge` finds, once for these authorities: an answer of the last hour is given again.
    pub(crate) fn opinion(
        &self,
        of: &Arc<()>,
        now: UnixTime,
        judge: impl FnOnce() -> Result<Vec<CertificateName>, BadCertificate>,
    ) -> Result<Arc<[CertificateName]>, BadCertificate> {
        let mut opinions = self
            .0
            .opinions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let age = |one: &Opinion| now.as_secs().checked_sub(one.since.as_secs());
        opinions.retain(|one| age(one).is_some_and(|age| age < REMEMBERED.as_secs()));
        if let Some(known) = opinions.iter().find(|one| Arc::ptr_eq(&one.of, of)) {
            return known.found.clone();
        }
        let found = judge().map(Arc::from);
        if opinions.len() >= OPINIONS {
            opinions.remove(0);
        }
        opinions.push(Opinion {
            of: Arc::clone(of),
            since: now,
            found: found.clone(),
        });
        found
    }

    /// The peer's own certificate, as records of the DNS may speak of it.
    pub(crate) fn own(&self) -> Option<&Marked> {
        self.shown().first()?.as_ref().map(|shown| &shown.marked)
    }

    /// Those above it that can be authorities.
    pub(crate) fn above(&self) -> impl Iterator<Item = &Shown> {
        self.shown().iter().skip(1).flatten()
    }

    fn shown(&self) -> &[Option<Shown>] {
        self.0.shown.get_or_init(|| {
            // The peer's own key signed the handshake; the same parser reads it.
            let own = EndEntityCert::try_from(self.leaf()).ok();
            let own = own.map(|own| own.subject_public_key_info());
            let own = own.map(|spki| Shown::new(self.leaf(), spki, None));
            let above = self.intermediates().iter().map(|certificate| {
                let anchor = anchor_from_trusted_cert(certificate).ok()?.to_owned();
                let spki = spki_for_anchor(&anchor);
                Some(Shown::new(certificate, spki, Some(anchor)))
            });
            std::iter::once(own).chain(above).collect()
        })
    }
}

impl PartialEq for PeerChain {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.certificates, &self.0.excess) == (&other.0.certificates, &other.0.excess)
    }
}

impl Eq for PeerChain {}

impl fmt::Debug for PeerChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerChain({})", self.0.certificates.len())
    }
}

/// A certificate of a chain, read once.
pub(crate) struct Shown {
    pub(crate) marked: Marked,
    /// As an authority: none for the peer's own.
    pub(crate) anchor: Option<TrustAnchor<'static>>,
    /// The limits that it has as an authority.
    pub(crate) limits: Option<ChainLimits>,
}

impl Shown {
    fn new(
        certificate: &CertificateDer<'_>,
        spki: SubjectPublicKeyInfoDer<'static>,
        anchor: Option<TrustAnchor<'static>>,
    ) -> Self {
        Self {
            limits: anchor.as_ref().and_then(|_| ChainLimits::of(certificate)),
            marked: Marked::new(certificate.clone().into_owned(), spki),
            anchor,
        }
    }
}

/// A certificate and its key, with the hashes that DNS records use for them, computed once for any number of records.
pub(crate) struct Marked {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) spki: SubjectPublicKeyInfoDer<'static>,
    hashes: OnceLock<[Hashes; 2]>,
}

/// Of one thing.
pub(crate) struct Hashes {
    pub(crate) sha256: [u8; 32],
    pub(crate) sha512: [u8; 64],
}

impl Hashes {
    fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: Sha256::digest(bytes).into(),
            sha512: Sha512::digest(bytes).into(),
        }
    }
}

impl Marked {
    pub(crate) fn new(
        certificate: CertificateDer<'static>,
        spki: SubjectPublicKeyInfoDer<'static>,
    ) -> Self {
        Self {
            certificate,
            spki,
            hashes: OnceLock::new(),
        }
    }

    /// Of the certificate, and of its key.
    pub(crate) fn hashes(&self) -> &[Hashes; 2] {
        let make = || [Hashes::of(&self.certificate), Hashes::of(&self.spki)];
        self.hashes.get_or_init(make)
    }
}

/// What an authority's certificate says of itself.
#[derive(Clone)]
pub(crate) struct ChainLimits {
    from: ASN1Time,
    until: ASN1Time,
    is_authority: bool,
    /// How many authorities may stand between it and the server (RFC 5280 §4.2.1.9).
    between: Option<u32>,
}

impl ChainLimits {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let constraints = certificate.basic_constraints().ok()?;
        Some(Self {
            from: certificate.validity().not_before,
            until: certificate.validity().not_after,
            // Of version 1 certificates there are authorities that do not say so.
            is_authority: constraints.as_ref().is_none_or(|said| said.value.ca),
            between: constraints.and_then(|said| said.value.path_len_constraint),
        })
    }

    pub(crate) fn allow(&self, between: usize, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let between = u32::try_from(between).unwrap_or(u32::MAX);
        self.is_authority
            && (self.from.timestamp()..=self.until.timestamp()).contains(&now)
            && self.between.is_none_or(|most| between <= most)
    }
}

/// What searches for paths may still cost, in units of about 40 µs on a processor of 2020.
///
/// The worst that was measured: 80 µs for a step that reads 16 KiB of small extensions again, 780 µs for a signature by
/// an RSA key of 8192 bits with the largest exponent, 65 ns for a name compared with a name constraint.
pub(crate) struct Work(u32);

/// For one search that is remembered, and for all others of one judgement.
const WORK: u32 = 192;
/// One step of the search: all certificates of the chain are read again.
const STEP: u32 = 2;
/// Names compared for one unit.
const COMPARED: usize = 600;
/// How many certificates webpki takes between the peer's own and a root.
const DEPTH: usize = 6;

impl Default for Work {
    fn default() -> Self {
        Self(WORK)
    }
}

impl Work {
    /// Takes this much of what is left.
    pub(crate) fn spend(&mut self, units: u32) -> Result<(), BadCertificate> {
        match self.0.checked_sub(units) {
            Some(left) => self.0 = left,
            None => return Err(BadCertificate::Tangled),
        }
        Ok(())
    }

    /// Takes what webpki needs at most to search this chain for a path to one of the anchors. `lists`: whether it
    /// checks revocation lists.
    pub(crate) fn search(
        &mut self,
        chain: &PeerChain,
        anchors: &[TrustAnchor<'_>],
        lists: bool,
    ) -> Result<(), BadCertificate> {
        let all = || std::iter::once(chain.leaf()).chain(chain.intermediates());
        let links: Vec<Option<Link<'_>>> = all().map(Link::new).collect();
        let constrained = anchors.iter().any(|it| it.name_constraints.is_some())
            || all().any(|it| mentions_constraints(it));
        let counted = all().map(|it| {
            if constrained {
                Names::of(it)
            } else {
                Names(0, 0)
            }
        });
        let names = counted.fold(Names(0, 0), |a, b| Names(a.0 + b.0, a.1 + b.1));
        let search = Search {
            links,
            anchors,
            names,
            // A list is signed, too.
            times: if lists { 2 } else { 1 },
        };
        match search.links.first() {
            Some(Some(own)) => search.walk(&mut vec![own], 0, self),
            // It will be found malformed at once.
            _ => Ok(()),
        }
    }
}

struct Search<'a> {
    links: Vec<Option<Link<'a>>>,
    anchors: &'a [TrustAnchor<'a>],
    names: Names,
    times: u32,
}

/// What ties a certificate to others.
struct Link<'a> {
    certificate: EndEntityCert<'a>,
    spki: SubjectPublicKeyInfoDer<'static>,
}

impl<'a> Link<'a> {
    fn new(certificate: &'a CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let spki = certificate.subject_public_key_info();
        Some(Self { certificate, spki })
    }
}

impl Search<'_> {
    /// As webpki walks, but for what makes it end earlier: a path that is good, and a certificate that may not be an
    /// authority's. `signatures` is what those below the last certificate of the path cost.
    fn walk<'l>(
        &'l self,
        path: &mut Vec<&'l Link<'l>>,
        signatures: u32,
        work: &mut Work,
    ) -> Result<(), BadCertificate> {
        work.spend(STEP)?;
        let Some(issuer) = path.last().map(|head| head.certificate.issuer()) else {
            return Ok(());
        };
        for anchor in self.anchors {
            if anchor.subject.as_ref() == issuer {
                let verified = signature(&anchor.subject_public_key_info) + signatures;
                let own = anchor.name_constraints.as_ref().map_or(0, |own| own.len());
                let constraints = self.names.1 + own / LEAST_CONSTRAINT;
                let compared = self.names.0.saturating_mul(constraints) / COMPARED;
                let compared = u32::try_from(compared).unwrap_or(u32::MAX);
                work.spend(compared.saturating_add(verified * self.times))?;
            }
        }
        if path.len() > DEPTH {
            return Ok(());
        }
        for next in self.links.iter().skip(1).flatten() {
            let subject = next.certificate.subject();
            let is_next =
                |one: &&Link<'_>| one.spki == next.spki && one.certificate.subject() == subject;
            if subject == issuer && !path.iter().any(is_next) {
                path.push(next);
                self.walk(path, signatures + signature(&next.spki), work)?;
                path.pop();
            }
        }
        Ok(())
    }
}

/// The cost of checking a signature by this key: in RSA the square of its length.
fn signature(spki: &[u8]) -> u32 {
    let length = u32::try_from(spki.len()).unwrap_or(u32::MAX).min(1 << 14);
    4 + length * length / (1 << 16)
}

/// How many names a certificate has, and how many constraints of names.
struct Names(usize, usize);

/// The least that a name, or a constraint, takes.
const LEAST_NAME: usize = 3;
const LEAST_CONSTRAINT: usize = 5;

impl Names {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let unread = Self(
            certificate.len() / LEAST_NAME,
            certificate.len() / LEAST_CONSTRAINT,
        );
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return unread;
        };
        let mut counted = Self(0, 0);
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    counted.0 += names.general_names.len();
                }
                ParsedExtension::NameConstraints(names) => {
                    let subtrees = [&names.permitted_subtrees, &names.excluded_subtrees];
                    counted.1 += subtrees
                        .iter()
                        .filter_map(|it| it.as_ref())
                        .map(Vec::len)
                        .sum::<usize>();
                }
                ParsedExtension::ParseError { .. } => return unread,
                _ => {}
            }
        }
        counted
    }
}

/// id-ce-nameConstraints (RFC 5280 §4.2.1.10), somewhere in it.
fn mentions_constraints(certificate: &[u8]) -> bool {
    const OID: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x1e];
    certificate.windows(OID.len()).any(|window| window == OID)
}

#[cfg(test)]
mod tests;
