//! Signing the zone: RFC 4034, RFC 4035 §2 and §3.1, on the fly and with one key for all zones, so that tests can change
//! them at any time. Absence is proved by NSEC; NSEC3 is left out.

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hickory_resolver::proto::{
    dnssec::{
        DigestType, SigningKey as _, TBS,
        crypto::Ed25519SigningKey,
        rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG, sig::SigInput},
    },
    rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber, rdata::NS},
};

use super::{Zone, absolute, key, start_of_authority, wildcard_at};

/// The key of all zones. Nothing here is for production: it lives in memory.
#[derive(Clone)]
pub struct ZoneKey(Arc<Pair>);

struct Pair {
    secret: Ed25519SigningKey,
    dnskey: DNSKEY,
    tag: u16,
}

const SIGNING: &str =
    "the system has random numbers for an Ed25519 key, and what this file writes can be signed";
/// RFC 4034 §2.1.1: Zone Key and Secure Entry Point.
const FLAGS: u16 = 0x0101;
/// A day, in seconds.
const DAY: u32 = 24 * 60 * 60;

impl ZoneKey {
    /// A new one.
    pub fn generate() -> Self {
        let pair = Ed25519SigningKey::generate_pkcs8().expect(SIGNING);
        let secret = Ed25519SigningKey::from_pkcs8(&pair).expect(SIGNING);
        let public = secret.to_public_key().expect(SIGNING);
        let dnskey = DNSKEY::with_flags(FLAGS, public);
        Self(Arc::new(Pair {
            tag: dnskey.calculate_key_tag().expect(SIGNING),
            secret,
            dnskey,
        }))
    }

    /// The key of the root, as `dns.trust_anchor` and other resolvers read it.
    pub fn anchor(&self) -> String {
        format!(". IN DNSKEY {}\n", self.0.dnskey)
    }
}

/// The same key.
impl PartialEq for ZoneKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.dnskey == other.0.dnskey
    }
}

impl Eq for ZoneKey {}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneKey({})", self.0.tag)
    }
}

/// How a zone is delegated by the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Signed,
    Unsigned,
    WrongDs,
}

impl Cut {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "signed" => Some(Self::Signed),
            "unsigned" => Some(Self::Unsigned),
            "wrong-ds" => Some(Self::WrongDs),
            _ => None,
        }
    }
}

/// What is wrong with the signatures that a name is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They are of something else.
    Broken,
    /// They were of yesterday.
    Expired,
    /// They are of tomorrow.
    Early,
    /// They are not there, nor proofs of absence.
    Stripped,
}

impl Flaw {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "broken" => Some(Self::Broken),
            "expired" => Some(Self::Expired),
            "early" => Some(Self::Early),
            "stripped" => Some(Self::Stripped),
            _ => None,
        }
    }
}

impl Zone {
    /// Signs everything with this key, the root first: its [`ZoneKey::anchor`] is what a resolver has to know.
    #[must_use]
    pub fn signed(self, key: &ZoneKey) -> Self {
        let key = Some(key.clone());
        Self { key, ..self }
    }

    /// Signs nothing any more.
    #[must_use]
    pub fn without_signatures(self) -> Self {
        Self { key: None, ..self }
    }

    /// What is at and below this name is a zone of its own, signed and properly delegated.
    #[must_use]
    pub fn zone(self, apex: &str) -> Self {
        self.cut(apex, Cut::Signed)
    }

    /// A zone without signatures, which the zone above proves.
    #[must_use]
    pub fn unsigned(self, apex: &str) -> Self {
        self.cut(apex, Cut::Unsigned)
    }

    /// A zone whose key is not the one that the zone above vouches for.
    #[must_use]
    pub fn wrong_ds(self, apex: &str) -> Self {
        self.cut(apex, Cut::WrongDs)
    }

    /// The signatures for this name are wrong; for `NAME TYPE` those of one type, and the proof that there is none.
    #[must_use]
    pub fn flaw(mut self, name: &str, flaw: Flaw) -> Self {
        self.flaws.insert(key(name), flaw);
        self
    }

    /// The signatures for this name are right again.
    #[must_use]
    pub fn without_flaw(mut self, name: &str) -> Self {
        self.flaws.remove(&key(name));
        self
    }

    /// As a name server that validates: SERVFAIL for what has a flaw, unless the CD bit switches validation off.
    #[must_use]
    pub fn checked(self) -> Self {
        let checks = true;
        Self { checks, ..self }
    }

    pub(super) fn flaw_of(&self, text: &str, kind: RecordType) -> Option<Flaw> {
        let of_kind = || self.flaws.get(&key(&format!("{text} {kind}")));
        self.flaws.get(text).or_else(of_kind).copied()
    }

    fn cut(mut self, apex: &str, cut: Cut) -> Self {
        self.cuts.insert(key(apex), cut);
        self
    }

    pub(super) fn is_apex(&self, name: &str) -> bool {
        name.is_empty() || self.cuts.contains_key(name)
    }

    /// The zone that a name is in. The records that delegate a zone are in the one above.
    fn zone_of(&self, name: &str, kind: RecordType) -> String {
        let mut rest = match (kind, name.split_once('.')) {
            (RecordType::DS, Some((_, parent))) => parent,
            (RecordType::DS, None) => "",
            _ => name,
        };
        loop {
            if self.is_apex(rest) {
                return rest.to_owned();
            }
            rest = rest.split_once('.').map_or("", |(_, parent)| parent);
        }
    }

    /// The key with which a zone is signed; of one below a zone without signatures too.
    fn key_of(&self, zone: &str) -> Option<&ZoneKey> {
        match self.cuts.get(zone) {
            Some(Cut::Unsigned) => None,
            Some(Cut::Signed | Cut::WrongDs) | None => self.key.as_ref(),
        }
    }

    /// What a zone has at its apex because it is one, and the zone above it about it.
    pub(super) fn of_apex(&self, name: &Name, text: &str, kind: RecordType) -> Vec<Record> {
        let (Some(key), true) = (&self.key, self.is_apex(text)) else {
            return Vec::new();
        };
        let data = match kind {
            RecordType::SOA => return vec![start_of_authority(name.clone(), self.ttl)],
            RecordType::NS => Some(RData::NS(NS(name.clone()))),
            RecordType::DNSKEY => self
                .key_of(text)
                .map(|key| RData::DNSSEC(DNSSECRData::DNSKEY(key.0.dnskey.clone()))),
            RecordType::DS => self.ds(name, text, key),
            _ => None,
        };
        data.map(|data| Record::from_rdata(name.clone(), self.ttl, data))
            .into_iter()
            .collect()
    }

    fn ds(&self, name: &Name, text: &str, key: &ZoneKey) -> Option<RData> {
        let kind = DigestType::SHA256;
        let digest = match self.cuts.get(text)? {
            Cut::Unsigned => return None,
            Cut::Signed => key.0.dnskey.to_digest(name, kind).ok()?.as_ref().to_vec(),
            Cut::WrongDs => vec![0; 32],
        };
        let algorithm = key.0.secret.algorithm();
        let ds = DS::new(key.0.tag, algorithm, kind, digest);
        Some(RData::DNSSEC(DNSSECRData::DS(ds)))
    }

    /// The signature for records of one kind, which belong to `owner` and are shown as those of `shown`; another name
    /// where it is a wildcard.
    pub(super) fn signature(
        &self,
        owner: &Name,
        shown: &Name,
        records: &[Record],
    ) -> Option<Record> {
        let kind = records.first()?.record_type();
        let flaw = self.flaw_of(&key(&shown.to_ascii()), kind);
        let zone = self.zone_of(&key(&owner.to_ascii()), kind);
        self.sign(&zone, owner, records, flaw)
    }

    fn sign(
        &self,
        zone: &str,
        owner: &Name,
        records: &[Record],
        flaw: Option<Flaw>,
    ) -> Option<Record> {
        let kind = records.first()?.record_type();
        let pair = &self.key_of(zone)?.0;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let now = u32::try_from(now.as_secs()).ok()?;
        let (from, until) = match flaw {
            Some(Flaw::Stripped) => return None,
            Some(Flaw::Expired) => (now - 3 * DAY, now - DAY),
            Some(Flaw::Early) => (now + DAY, now + 3 * DAY),
            Some(Flaw::Broken) | None => (now - DAY, now + DAY),
        };
        let input = SigInput {
            type_covered: kind,
            algorithm: pair.secret.algorithm(),
            num_labels: owner.num_labels(),
            original_ttl: self.ttl,
            sig_expiration: SerialNumber::new(until),
            sig_inception: SerialNumber::new(from),
            key_tag: pair.tag,
            signer_name: absolute(zone)?,
        };
        let mut of_owner = records.to_vec();
        of_owner
            .iter_mut()
            .for_each(|record| record.name = owner.clone());
        let bytes = TBS::from_input(owner, DNSClass::IN, &input, of_owner.iter()).ok()?;
        let mut signature = pair.secret.sign(&bytes).ok()?;
        if let (Some(Flaw::Broken), Some(first)) = (flaw, signature.first_mut()) {
            *first ^= 1;
        }
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        let shown = records.first()?.name.clone();
        Some(Record::from_rdata(shown, self.ttl, data))
    }

    /// RFC 4035 §3.1.3: the answer where there are no records. `wildcard` is the one that has other records.
    pub(super) fn absence(
        &self,
        name: &Name,
        text: &str,
        kind: RecordType,
        wildcard: Option<&str>,
        signs: bool,
    ) -> Vec<Record> {
        let zone = self.zone_of(text, kind);
        let flaw = self.flaw_of(text, kind);
        let Some(apex) = absolute(&zone) else {
            return Vec::new();
        };
        let soa = start_of_authority(apex, self.ttl);
        if !signs || self.key.is_none() {
            return vec![soa];
        }
        let signature = self.sign(&zone, &soa.name, std::slice::from_ref(&soa), flaw);
        let mut said: Vec<Record> = signature.into_iter().chain([soa]).collect();
        let mut owners = vec![text.to_owned()];
        match wildcard {
            Some(wildcard) => owners.push(wildcard.to_owned()),
            None if self.exists(text) || self.is_apex(text) => {}
            None => owners.push(wildcard_at(self.closest_encloser(text))),
        }
        said.extend(self.denials(name, &zone, &owners, flaw));
        said
    }

    /// RFC 4035 §3.1.3.3: a record made of a wildcard comes with a proof that the name itself is not there.
    pub(super) fn nothing_nearer(&self, name: &Name, text: &str, kind: RecordType) -> Vec<Record> {
        let flaw = self.flaw_of(text, kind);
        let zone = self.zone_of(text, RecordType::A);
        self.denials(name, &zone, &[text.to_owned()], flaw)
    }

    /// The NSEC records at or before these names, each once, with their signatures.
    fn denials(
        &self,
        name: &Name,
        zone: &str,
        owners: &[String],
        flaw: Option<Flaw>,
    ) -> Vec<Record> {
        if self.key_of(zone).is_none() || flaw == Some(Flaw::Stripped) {
            return Vec::new();
        }
        let names = self.names_of(zone);
        let mut denials = Vec::new();
        for denied in owners {
            let denied = absolute(denied).unwrap_or_else(|| name.clone());
            let before = names.range(..=denied).next_back();
            // The apex is before all names of its zone.
            let Some(owner) = before.or(names.first()) else {
                continue;
            };
            let after = names.iter().find(|name| *name > owner).or(names.first());
            let kinds = self.kinds_at(&key(&owner.to_ascii()), zone);
            let nsec = NSEC::new_cover_self(after.unwrap_or(owner).clone(), kinds);
            let data = RData::DNSSEC(DNSSECRData::NSEC(nsec));
            let record = Record::from_rdata(owner.clone(), self.ttl, data);
            if denials.contains(&record) {
                continue;
            }
            denials.extend(self.sign(zone, owner, std::slice::from_ref(&record), flaw));
            denials.push(record);
        }
        denials
    }

    /// All names of a zone that have records, and those of the zones that it delegates.
    fn names_of(&self, zone: &str) -> BTreeSet<Name> {
        let owners = self
            .names
            .iter()
            .filter(|(_, node)| !node.records.is_empty());
        let own = owners
            .map(|(name, _)| name.as_str())
            .filter(|name| self.zone_of(name, RecordType::A) == zone);
        let delegated = self
            .cuts
            .keys()
            .map(String::as_str)
            .filter(|apex| self.zone_of(apex, RecordType::DS) == zone);
        own.chain(delegated)
            .chain([zone])
            .filter_map(absolute)
            .collect()
    }

    fn kinds_at(&self, name: &str, zone: &str) -> Vec<RecordType> {
        if name != zone
            && let Some(cut) = self.cuts.get(name)
        {
            return match cut {
                Cut::Unsigned => vec![RecordType::NS],
                Cut::Signed | Cut::WrongDs => vec![RecordType::NS, RecordType::DS],
            };
        }
        let records = self.names.get(name).into_iter();
        let mut kinds: Vec<RecordType> = records
            .flat_map(|node| &node.records)
            .map(super::Data::kind)
            .collect();
        if name == zone {
            kinds.extend([RecordType::SOA, RecordType::NS, RecordType::DNSKEY]);
        }
        kinds
    }
}
