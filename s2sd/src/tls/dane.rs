//! What TLSA records say about a certificate (DANE): RFC 6698 §2.1 and §4.1, RFC 7671 §4, §5 and §9, RFC 7673 §4.
//!
//! Pure: the records are given, and whoever gives them has seen to it that they are proved by DNSSEC. Left out: raw
//! public keys (RFC 7250), and fetching a certificate that is neither shown nor in the record (RFC 7671 §5.2.2).

use std::{
    cmp::Reverse,
    fmt::{self, Write as _},
};

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256, Sha512};
use webpki::{EndEntityCert, VerifiedPath, anchor_from_trusted_cert, spki_for_anchor};
use x509_parser::{
    asn1_rs::{Any, FromDer},
    certificate::X509Certificate,
    time::ASN1Time,
    x509::SubjectPublicKeyInfo,
};
use xmpp_stream::Domain;

use super::{
    identity::Identity,
    trust::{PeerChain, Roots, verified, vouched},
};

/// How many records of one name count; whoever owns a zone could otherwise have us search for a long time.
const MAX_RECORDS: usize = 32;
/// How many certificates above the peer's own are looked at.
const MAX_ABOVE: usize = 16;
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
        // In which order they came is of no meaning; what is left out must not depend on it.
        records.sort_by(|a, b| {
            let order = |tlsa: &Self| (Reverse(tlsa.usage), tlsa.selector as u8, tlsa.matching);
            order(a).cmp(&order(b)).then_with(|| a.data.cmp(&b.data))
        });
        records.dedup();
        records.truncate(MAX_RECORDS);
        records
    }

    /// Takes a record as it is in the DNS. `None`: one of its numbers is not known, or its data cannot be what it says
    /// to be; it counts as absent (RFC 6698 §4.1).
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
            0 => (Matching::Exact, is_der(selector, &data)),
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

    /// The record that would speak of this certificate; `None` for what is no certificate. To be published, it reads
    /// `3 1 1` and then all of [`Tlsa::hex`].
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
        let mut hex = String::with_capacity(self.data.len() * 2);
        for byte in &self.data {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// Does it speak of what is selected here?
    fn is_of(&self, certificate: &CertificateDer<'_>, spki: &SubjectPublicKeyInfoDer<'_>) -> bool {
        let selected: &[u8] = match self.selector {
            Selector::Cert => certificate,
            Selector::Spki => spki,
        };
        match self.matching {
            Matching::Exact => self.data == selected,
            Matching::Sha256 => self.data == Sha256::digest(selected).as_slice(),
            Matching::Sha512 => self.data == Sha512::digest(selected).as_slice(),
        }
    }
}

impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (usage, selector) = (self.usage as u8, self.selector as u8);
        write!(f, "{usage} {selector} {} ", self.matching as u8)?;
        for byte in self.data.iter().take(BYTES_SHOWN) {
            write!(f, "{byte:02x}")?;
        }
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
    /// The certificate is the server's, whatever PKIX says of it: by DANE-EE, or by DANE-TA with a path to the
    /// authority of this record and one of the names.
    Proves(Tlsa),
    /// The certificate is one that PKIX-TA or PKIX-EE allows, and PKIX holds for it and for one of the names.
    Constrains(Tlsa),
}

/// Which record of the set matches the chain. `None`: it is not the server's certificate, since the set has usable
/// records and none of them matches.
///
/// `names` are the reference identifiers (RFC 7673 §4): the domain, and the target's name where the SRV answer is
/// proved. With DANE-EE neither they nor `now` matter (RFC 7671 §5.1). `roots` are for PKIX-TA and PKIX-EE; what they
/// say is revoked is no authority's of DANE-TA either.
pub fn matches(
    set: &TlsaSet,
    chain: &PeerChain,
    roots: &Roots,
    names: &[Domain],
    now: UnixTime,
) -> Option<Matched> {
    let proves = || by_dane_ee(set, chain).or_else(|| by_dane_ta(set, chain, roots, names, now));
    let constrains = || {
        by_pkix_ee(set, chain, roots, names, now)
            .or_else(|| by_pkix_ta(set, chain, roots, names, now))
    };
    let proved = proves().map(|record| Matched::Proves(record.clone()));
    proved.or_else(|| constrains().map(|record| Matched::Constrains(record.clone())))
}

fn named(found: &[Identity], names: &[Domain]) -> bool {
    let is_one = |identity: &Identity| names.iter().any(|name| identity.names(name));
    found.iter().any(is_one)
}

/// The key is the one with which the handshake was signed, read by the same parser.
fn leaf_is(record: &Tlsa, chain: &PeerChain) -> bool {
    EndEntityCert::try_from(chain.leaf())
        .is_ok_and(|leaf| record.is_of(chain.leaf(), &leaf.subject_public_key_info()))
}

/// RFC 7671 §5.1.
fn by_dane_ee<'s>(set: &'s TlsaSet, chain: &PeerChain) -> Option<&'s Tlsa> {
    set.of(Usage::DaneEe).find(|record| leaf_is(record, chain))
}

/// RFC 7671 §5.3.
fn by_pkix_ee<'s>(
    set: &'s TlsaSet,
    chain: &PeerChain,
    roots: &Roots,
    names: &[Domain],
    now: UnixTime,
) -> Option<&'s Tlsa> {
    let record = set
        .of(Usage::PkixEe)
        .find(|record| leaf_is(record, chain))?;
    let found = verified(chain, roots, now).ok()?;
    named(&found, names).then_some(record)
}

/// RFC 7671 §5.4: a path to a root, through a certificate that a record has or to a root that it has.
fn by_pkix_ta<'s>(
    set: &'s TlsaSet,
    chain: &PeerChain,
    roots: &Roots,
    names: &[Domain],
    now: UnixTime,
) -> Option<&'s Tlsa> {
    set.of(Usage::PkixTa).next()?;
    let record_of = |certificate: &CertificateDer<'_>| {
        let anchor = anchor_from_trusted_cert(certificate).ok()?;
        let spki = spki_for_anchor(&anchor);
        set.of(Usage::PkixTa)
            .find(|record| record.is_of(certificate, &spki))
    };
    let allowed: Vec<(&Tlsa, TrustAnchor<'_>)> = roots
        .certificates()
        .filter_map(|root| Some((record_of(root)?, anchor_from_trusted_cert(root).ok()?)))
        .collect();
    let anchors: Vec<TrustAnchor<'_>> = allowed.iter().map(|(_, anchor)| anchor.clone()).collect();
    let of_root = |path: &VerifiedPath<'_>| {
        let of = allowed.iter().find(|(_, root)| root == path.anchor())?;
        Some(of.0)
    };
    let through = |path: &VerifiedPath<'_>| {
        path.intermediate_certificates()
            .find_map(|certificate| record_of(&certificate.der()))
    };
    vouched(chain, &anchors, roots.revoked(), now, of_root)
        .or_else(|_| vouched(chain, roots.anchors(), roots.revoked(), now, through))
        .ok()
        .filter(|(found, _)| named(found, names))
        .map(|(_, record)| record)
}

/// RFC 7671 §5.2: a path to a certificate that a record has, or to a key (§5.2.3).
fn by_dane_ta<'s>(
    set: &'s TlsaSet,
    chain: &PeerChain,
    roots: &Roots,
    names: &[Domain],
    now: UnixTime,
) -> Option<&'s Tlsa> {
    let mut authorities: Vec<Authority<'s>> = Vec::new();
    for record in set.of(Usage::DaneTa) {
        let before = authorities.len();
        authorities.extend(above(chain).filter_map(|shown| Authority::shown(record, shown)));
        if authorities.len() == before && record.matching == Matching::Exact {
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
    vouched(chain, &anchors, roots.revoked(), now, record_of)
        .ok()
        .filter(|(found, _)| named(found, names))
        .map(|(_, record)| record)
}

fn above(chain: &PeerChain) -> impl Iterator<Item = &CertificateDer<'static>> {
    chain.intermediates().iter().take(MAX_ABOVE)
}

/// An authority that a record of DANE-TA speaks of.
struct Authority<'s> {
    record: &'s Tlsa,
    anchor: TrustAnchor<'static>,
    /// None where no more than the key is known.
    limits: Option<Limits>,
}

/// What an authority's certificate says of itself.
struct Limits {
    from: ASN1Time,
    until: ASN1Time,
    is_authority: bool,
    /// How many authorities may stand between it and the server (RFC 5280 §4.2.1.9).
    between: Option<u32>,
}

impl<'s> Authority<'s> {
    /// One whose certificate the server shows, if the record speaks of it.
    fn shown(record: &'s Tlsa, certificate: &CertificateDer<'_>) -> Option<Self> {
        let anchor = anchor_from_trusted_cert(certificate).ok()?;
        record
            .is_of(certificate, &spki_for_anchor(&anchor))
            .then_some(())?;
        Some(Self {
            record,
            anchor: anchor.to_owned(),
            limits: Some(Limits::of(certificate)?),
        })
    }

    /// One that the server does not show, but the record itself: as a certificate, which has to be enough (RFC 7671
    /// §5.2.2), or as a key, which is then tried as the issuer of what is shown (§5.2.3).
    fn published(record: &'s Tlsa, chain: &PeerChain) -> Vec<Self> {
        let anchors = match record.selector {
            Selector::Cert => {
                let certificate = CertificateDer::from(record.data.as_slice());
                return Self::shown(record, &certificate).into_iter().collect();
            }
            Selector::Spki => {
                let Ok((_, key)) = Any::from_der(&record.data) else {
                    return Vec::new();
                };
                let shown = [chain.leaf()].into_iter().chain(above(chain));
                shown.filter_map(|certificate| {
                    let certificate = EndEntityCert::try_from(certificate).ok()?;
                    let anchor = TrustAnchor {
                        subject: certificate.issuer().into(),
                        subject_public_key_info: key.data.into(),
                        name_constraints: None,
                    };
                    Some(anchor.to_owned())
                })
            }
        };
        anchors
            .map(|anchor| Self {
                record,
                anchor,
                limits: None,
            })
            .collect()
    }

    /// RFC 7671 §5.2.1: with what its certificate says of itself. PKIX asks nothing of an anchor but its name and key.
    fn is_at_the_end_of(&self, path: &VerifiedPath<'_>, between: usize, now: UnixTime) -> bool {
        self.anchor == *path.anchor()
            && self
                .limits
                .as_ref()
                .is_none_or(|limits| limits.allow(between, now))
    }
}

impl Limits {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
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

    fn allow(&self, between: usize, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let between = u32::try_from(between).unwrap_or(u32::MAX);
        self.is_authority
            && (self.from.timestamp()..=self.until.timestamp()).contains(&now)
            && self.between.is_none_or(|most| between <= most)
    }
}

#[cfg(test)]
mod tests;
