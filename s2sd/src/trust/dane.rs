//! What TLSA records say about a certificate (DANE): RFC 6698 §2.1 and §4.1, RFC 7671 §4, §5 and §9, RFC 7673 §4.
//!
//! Pure: the records are an argument, and the caller has checked that DNSSEC proves them. Left out: raw public keys
//! (RFC 7250), and fetching a certificate that is neither shown nor in the record (RFC 7671 §5.2.2).

use std::{cmp::Reverse, fmt};

use data_encoding::HEXLOWER;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256, Sha512};
use webpki::{EndEntityCert, VerifiedPath, anchor_from_trusted_cert, spki_for_anchor};
use x509_parser::{
    asn1_rs::{Any, FromDer},
    certificate::X509Certificate,
    x509::SubjectPublicKeyInfo,
};
use xmpp_stream::Domain;

use crate::trust::bad_certificate::{BadCertificate, LARGEST};
use crate::trust::certificate_name::CertificateName;
use crate::trust::chain::{ChainLimits, Marked, PeerChain, Shown, Work};
use crate::trust::pkix::{verified, vouched};
use crate::trust::roots::Roots;

/// How many records of one name count; otherwise the owner of a zone could make us search for a long time.
const MAX_RECORDS: usize = 32;
/// How much of the data is printed.
const BYTES_SHOWN: usize = 4;

/// What a record speaks of (RFC 6698 §2.1.1; the names are those of RFC 7218 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Usage {
    /// PKIX-TA: only what this authority signed, besides all that PKIX asks.
    PkixTa = 0,
    /// PKIX-EE: only this certificate, besides all that PKIX asks.
    PkixEe = 1,
    /// DANE-TA: this authority is to be trusted for the server.
    DaneTa = 2,
    /// DANE-EE: this certificate is the server's.
    DaneEe = 3,
}

/// Which part of a certificate (RFC 6698 §2.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Selector {
    /// All of it.
    Cert = 0,
    /// Its subjectPublicKeyInfo.
    Spki = 1,
}

/// How that part is given (RFC 6698 §2.1.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Matching {
    /// As it is.
    Exact = 0,
    /// Its SHA-256 hash.
    Sha256 = 1,
    /// Its SHA-512 hash.
    Sha512 = 2,
}

/// One TLSA record that can be used. Prints as `3 1 1 ab12cd34…`.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Tlsa {
    /// What it speaks of.
    pub usage: Usage,
    /// Which part of a certificate it has.
    pub selector: Selector,
    /// How it has it.
    pub matching: Matching,
    /// That part, or its hash.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// At most 32 of these records, in an order of their own.
    pub(crate) fn that_count(records: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut records: Vec<Self> = records.into_iter().collect();
        // Their order has no meaning, and must not decide which of them are left out.
        records.sort_by(|a, b| {
            let order = |tlsa: &Self| (Reverse(tlsa.usage), tlsa.selector as u8, tlsa.matching);
            order(a).cmp(&order(b)).then_with(|| a.data.cmp(&b.data))
        });
        records.dedup();
        records.truncate(MAX_RECORDS);
        records
    }

    /// Takes a record as it is in the DNS. `None`: one of its numbers is not known, or its data cannot be of the kind
    /// that the numbers say; it counts as absent (RFC 6698 §4.1).
    pub fn new(usage: u8, selector: u8, matching: u8, data: Vec<u8>) -> Option<Self> {
        let usage = match usage {
            0 => Usage::PkixTa,
            1 => Usage::PkixEe,
            2 => Usage::DaneTa,
            3 => Usage::DaneEe,
            _ => return None,
        };
        let selector = match selector {
            0 => Selector::Cert,
            1 => Selector::Spki,
            _ => return None,
        };
        let (matching, well_formed) = match matching {
            // Data that is larger than a chain may be matches none of its certificates.
            0 => (
                Matching::Exact,
                data.len() <= LARGEST && is_der(selector, &data),
            ),
            1 => (Matching::Sha256, data.len() == Sha256::output_size()),
            2 => (Matching::Sha512, data.len() == Sha512::output_size()),
            _ => return None,
        };
        well_formed.then_some(Self {
            usage,
            selector,
            matching,
            data,
        })
    }

    /// The record for this certificate; `None` if it is not a certificate. To publish it, write `3 1 1` and then all of
    /// [`Tlsa::hex`].
    pub fn of(
        usage: Usage,
        selector: Selector,
        matching: Matching,
        certificate: &CertificateDer<'_>,
    ) -> Option<Self> {
        let spki = spki_for_anchor(&anchor_from_trusted_cert(certificate).ok()?);
        let selected: &[u8] = match selector {
            Selector::Cert => certificate,
            Selector::Spki => &spki,
        };
        Some(Self {
            usage,
            selector,
            matching,
            data: match matching {
                Matching::Exact => selected.to_vec(),
                Matching::Sha256 => Sha256::digest(selected).to_vec(),
                Matching::Sha512 => Sha512::digest(selected).to_vec(),
            },
        })
    }

    /// All of the data, as zone files have it.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.data)
    }

    /// Does it speak of this certificate?
    fn is_of(&self, marked: &Marked) -> bool {
        let (selected, hashed): (&[u8], _) = match self.selector {
            Selector::Cert => (&marked.certificate, 0),
            Selector::Spki => (&marked.spki, 1),
        };
        match self.matching {
            Matching::Exact => self.data == selected,
            Matching::Sha256 => self.data == marked.hashes()[hashed].sha256,
            Matching::Sha512 => self.data == marked.hashes()[hashed].sha512,
        }
    }
}

impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usage, selector) = (self.usage as u8, self.selector as u8);
        write!(f, "{usage} {selector} {} ", self.matching as u8)?;
        let shown = self.data.get(..BYTES_SHOWN).unwrap_or(&self.data);
        f.write_str(&HEXLOWER.encode(shown))?;
        match self.data.len() > BYTES_SHOWN {
            true => f.write_str("…"),
            false => Ok(()),
        }
    }
}

/// A record with the data of matching type 0 that cannot be parsed would never match; it is malformed.
fn is_der(selector: Selector, data: &[u8]) -> bool {
    match selector {
        Selector::Cert => X509Certificate::from_der(data).is_ok_and(|(rest, _)| rest.is_empty()),
        Selector::Spki => {
            SubjectPublicKeyInfo::from_der(data).is_ok_and(|(rest, _)| rest.is_empty())
        }
    }
}

/// The records of one name, all of them usable and proved by DNSSEC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsaSet {
    /// Where they are: `_5269._tcp.xmpp.example`.
    pub name: String,
    /// DANE-EE first; never empty if [`TlsaSet::new`] made it.
    pub records: Vec<Tlsa>,
}

impl TlsaSet {
    /// The usable ones among the records of a name; `None` if there is none. At most 32 count.
    pub fn new(name: &str, records: impl IntoIterator<Item = Tlsa>) -> Option<Self> {
        let records = Tlsa::that_count(records);
        (!records.is_empty()).then(|| Self {
            name: name.to_owned(),
            records,
        })
    }

    /// RFC 7671 §9: among records of one usage and selector the strongest hash counts, and the whole thing always.
    fn strongest(&self) -> impl Iterator<Item = &Tlsa> {
        self.records.iter().filter(|record| {
            let alike = |other: &&Tlsa| {
                (other.usage, other.selector) == (record.usage, record.selector)
                    && other.matching > record.matching
            };
            record.matching == Matching::Exact || !self.records.iter().any(|other| alike(&other))
        })
    }

    fn of(&self, usage: Usage) -> impl Iterator<Item = &Tlsa> {
        self.strongest().filter(move |record| record.usage == usage)
    }
}

/// What usable records say about a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Matched {
    /// The certificate is the server's, and PKIX does not matter: by DANE-EE, or by DANE-TA with a path to the
    /// authority of this record and one of the names.
    Proves(Tlsa),
    /// The certificate is one that PKIX-TA or PKIX-EE allows, and PKIX holds for it and for one of the names.
    Constrains(Tlsa),
}

/// The record of the set that matches the chain. `None`: it is not the server's certificate, since the set has usable
/// records and none of them matches.
///
/// `names` are the reference identifiers (RFC 7673 §4): the domain, and the target's name if the SRV answer is proved.
/// With DANE-EE neither they nor `now` matter (RFC 7671 §5.1). `roots` are for PKIX-TA and PKIX-EE. A certificate on
/// their revocation lists is not an authority of DANE-TA either.
pub fn matches(
    set: &TlsaSet,
    chain: &PeerChain,
    roots: &Roots,
    names: &[Domain],
    now: UnixTime,
) -> Option<Matched> {
    let mut question = Question::new(chain, roots, now);
    question.matches(set, names).ok().flatten()
}

fn named(found: &[CertificateName], names: &[Domain]) -> bool {
    let is_one = |identity: &CertificateName| names.iter().any(|name| identity.names(name));
    found.iter().any(is_one)
}

/// What a path to an authority proves, and the record that the authority is from.
type Vouched<'s> = Option<(Vec<CertificateName>, &'s Tlsa)>;

/// A chain that is compared with the records of several servers. Their cost together is bounded, and for equal records
/// s2sd searches for paths once.
pub(crate) struct Question<'s> {
    chain: &'s PeerChain,
    roots: &'s Roots,
    now: UnixTime,
    work: Work,
    known: Vec<(Usage, &'s TlsaSet, Vouched<'s>)>,
}

impl<'s> Question<'s> {
    pub(crate) fn new(chain: &'s PeerChain, roots: &'s Roots, now: UnixTime) -> Self {
        Self {
            chain,
            roots,
            now,
            work: Work::default(),
            known: Vec::new(),
        }
    }

    /// [`matches`], for one of the servers.
    ///
    /// # Errors
    ///
    /// To find out takes too long.
    pub(crate) fn matches(
        &mut self,
        set: &'s TlsaSet,
        names: &[Domain],
    ) -> Result<Option<Matched>, BadCertificate> {
        self.chain.is_bounded()?;
        if let Some(record) = self.by_ee(set, Usage::DaneEe) {
            return Ok(Some(Matched::Proves(record.clone())));
        }
        if let Some(record) = self.by_authority(set, Usage::DaneTa, names)? {
            return Ok(Some(Matched::Proves(record.clone())));
        }
        if let Some(record) = self.by_ee(set, Usage::PkixEe)
            && let Ok(found) = verified(self.chain, self.roots, self.now)
            && named(&found, names)
        {
            return Ok(Some(Matched::Constrains(record.clone())));
        }
        let record = self.by_authority(set, Usage::PkixTa, names)?;
        Ok(record.map(|record| Matched::Constrains(record.clone())))
    }

    /// RFC 7671 §5.1, §5.3. The key is the one with which the handshake was signed.
    fn by_ee(&self, set: &'s TlsaSet, usage: Usage) -> Option<&'s Tlsa> {
        let own = self.chain.own()?;
        set.of(usage).find(|record| record.is_of(own))
    }

    fn by_authority(
        &mut self,
        set: &'s TlsaSet,
        usage: Usage,
        names: &[Domain],
    ) -> Result<Option<&'s Tlsa>, BadCertificate> {
        if set.of(usage).next().is_none() {
            return Ok(None);
        }
        let same = |known: &&(Usage, &TlsaSet, Vouched<'s>)| {
            known.0 == usage && known.1.records == set.records
        };
        let vouched = match self.known.iter().find(same) {
            Some((.., vouched)) => vouched.as_ref(),
            None => {
                let vouched = match usage {
                    Usage::DaneTa => self.by_dane_ta(set),
                    _ => self.by_pkix_ta(set),
                };
                let vouched = match vouched {
                    Err(BadCertificate::Tangled) => return Err(BadCertificate::Tangled),
                    vouched => vouched.ok(),
                };
                self.known.push((usage, set, vouched));
                self.known.last().and_then(|(.., vouched)| vouched.as_ref())
            }
        };
        let named = vouched.filter(|(found, _)| named(found, names));
        Ok(named.map(|(_, record)| *record))
    }

    /// RFC 7671 §5.4: a path to a root, through a certificate that a record has or to a root that it has.
    fn by_pkix_ta(
        &mut self,
        set: &'s TlsaSet,
    ) -> Result<(Vec<CertificateName>, &'s Tlsa), BadCertificate> {
        let (chain, roots, now) = (self.chain, self.roots, self.now);
        let record_of = |marked: &Marked| set.of(Usage::PkixTa).find(|record| record.is_of(marked));
        let allowed = roots.marked();
        let allowed = allowed.filter_map(|(root, anchor)| Some((record_of(root)?, anchor)));
        let allowed: Vec<(&Tlsa, &TrustAnchor<'_>)> = allowed.collect();
        if !allowed.is_empty() {
            let anchors = allowed.iter().map(|(_, anchor)| (*anchor).clone());
            let anchors: Vec<TrustAnchor<'_>> = anchors.collect();
            let of_root = |path: &VerifiedPath<'_>| {
                let of = allowed.iter().find(|(_, root)| *root == path.anchor())?;
                Some(of.0)
            };
            let work = &mut self.work;
            let found = vouched(chain, &anchors, roots.revoked(), now, work, of_root);
            if !matches!(&found, Err(bad) if *bad != BadCertificate::Tangled) {
                return found;
            }
        }
        let between = chain.above();
        let between = between.filter_map(|shown| Some((record_of(&shown.marked)?, &shown.marked)));
        let between: Vec<(&Tlsa, &Marked)> = between.collect();
        if between.is_empty() {
            return Err(BadCertificate::Malformed);
        }
        let through = |path: &VerifiedPath<'_>| {
            path.intermediate_certificates().find_map(|certificate| {
                let der = certificate.der();
                let of = between.iter().find(|(_, marked)| marked.certificate == der);
                of.map(|(record, _)| *record)
            })
        };
        let (anchors, work) = (roots.anchors(), &mut self.work);
        vouched(chain, anchors, roots.revoked(), now, work, through)
    }

    /// RFC 7671 §5.2: a path to a certificate that a record has, or to a key (§5.2.3).
    fn by_dane_ta(
        &mut self,
        set: &'s TlsaSet,
    ) -> Result<(Vec<CertificateName>, &'s Tlsa), BadCertificate> {
        let (chain, now) = (self.chain, self.now);
        let mut authorities: Vec<Authority<'s>> = Vec::new();
        for record in set.of(Usage::DaneTa) {
            let before = authorities.len();
            let shown = chain.above().filter(|shown| record.is_of(&shown.marked));
            for shown in shown {
                self.work.spend(AUTHORITY)?;
                authorities.extend(Authority::shown(record, shown));
            }
            if authorities.len() == before && record.matching == Matching::Exact {
                let made = 1 + chain.intermediates().len();
                let made = u32::try_from(made).unwrap_or(u32::MAX);
                self.work.spend(made.saturating_mul(AUTHORITY))?;
                authorities.extend(Authority::published(record, chain));
            }
        }
        let anchors: Vec<TrustAnchor<'_>> = authorities
            .iter()
            .map(|authority| authority.anchor.clone())
            .collect();
        let record_of = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            authorities
                .iter()
                .find(|authority| authority.is_at_the_end_of(path, between, now))
                .map(|authority| authority.record)
        };
        let (revoked, work) = (self.roots.revoked(), &mut self.work);
        vouched(chain, &anchors, revoked, now, work, record_of)
    }
}

/// The cost of making an authority of a record, in units of [`Work`].
const AUTHORITY: u32 = 1;

/// An authority that a record of DANE-TA speaks of.
struct Authority<'s> {
    record: &'s Tlsa,
    anchor: TrustAnchor<'static>,
    /// None where no more than the key is known.
    limits: Option<ChainLimits>,
}

impl<'s> Authority<'s> {
    /// An authority whose certificate the server shows.
    fn shown(record: &'s Tlsa, shown: &Shown) -> Option<Self> {
        Some(Self {
            record,
            anchor: shown.anchor.clone()?,
            limits: Some(shown.limits.clone()?),
        })
    }

    /// An authority that is not in the chain, only in the record: as a certificate, which has to be enough (RFC 7671
    /// §5.2.2), or as a key, which is then tried as the issuer of the shown certificates (§5.2.3).
    fn published(record: &'s Tlsa, chain: &PeerChain) -> Vec<Self> {
        match record.selector {
            Selector::Cert => {
                let certificate = CertificateDer::from(record.data.as_slice());
                let anchor = anchor_from_trusted_cert(&certificate).ok();
                let authority = anchor.and_then(|anchor| {
                    Some(Self {
                        record,
                        anchor: anchor.to_owned(),
                        limits: Some(ChainLimits::of(&certificate)?),
                    })
                });
                authority.into_iter().collect()
            }
            Selector::Spki => {
                let Ok((_, key)) = Any::from_der(&record.data) else {
                    return Vec::new();
                };
                let shown = std::iter::once(chain.leaf()).chain(chain.intermediates());
                let anchors = shown.filter_map(|certificate| {
                    let certificate = EndEntityCert::try_from(certificate).ok()?;
                    let anchor = TrustAnchor {
                        subject: certificate.issuer().into(),
                        subject_public_key_info: key.data.into(),
                        name_constraints: None,
                    };
                    Some(anchor.to_owned())
                });
                anchors
                    .map(|anchor| Self {
                        record,
                        anchor,
                        limits: None,
                    })
                    .collect()
            }
        }
    }

    /// RFC 7671 §5.2.1: with the limits in its certificate. PKIX takes only the name and key of an anchor.
    fn is_at_the_end_of(&self, path: &VerifiedPath<'_>, between: usize, now: UnixTime) -> bool {
        self.anchor == *path.anchor()
            && self
                .limits
                .as_ref()
                .is_none_or(|limits| limits.allow(between, now))
    }
}

#[cfg(test)]
mod tests;
