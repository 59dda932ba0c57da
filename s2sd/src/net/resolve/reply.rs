//! What one message of a name server says to one question, and how far DNSSEC proves it: RFC 1034 §3.6.2, RFC 6672
//! (DNAME), RFC 4035 §5. The records in it have been validated one by one; here is decided which of them matter.

use std::time::Duration;

use hickory_resolver::proto::{
    dnssec::{
        Proof,
        rdata::{DNSSECRData, RRSIG},
    },
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType, SerialNumber},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use rustls::pki_types::UnixTime;

use crate::net::resolve::rdata::Rdata;
use crate::peer_text::PeerText;
use crate::protocol::plan::Security;
use crate::trust::Day;

/// How many aliases are followed in one message,
const MAX_ALIASES: usize = 8;
/// and how many messages s2sd asks for one after the other. A recursive name server sends all of them at once; s2sd
/// asks only for those that need a proof of their own, and a peer's domain has twenty-four hosts of two families.
pub(super) const MAX_MESSAGES: usize = 4;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) what: What,
    pub(super) security: Security,
    /// For how long.
    pub(super) ttl: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// The records that were asked for.
    Records(Vec<Rdata>),
    /// The name is an alias of this one, and the message has no records of it.
    Alias(Name),
    /// There are none.
    Nothing,
}

/// An answer that s2sd cannot rely on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bogus {
    /// The name and the type.
    pub(super) about: PeerText,
    /// What is wrong.
    pub(super) why: Flaw,
}

/// Why an answer is not proved.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Flaw {
    /// A signature that should be there is not.
    Unsigned,
    /// It has no proof that there is no such record.
    NoProof,
    /// The signature's time is over.
    Expired(Day),
    /// The signature's time has not begun.
    NotYet(Day),
    /// There is a signature in its time, by a key of this zone, and it is not right; or the key is not.
    Wrong(Name),
}

/// The result for the records in a message that deny others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Denial {
    /// They were not validated, and neither were the others.
    Unvalidated,
    /// They prove what the message is about, or it needs none.
    Proved,
    /// They might, and cost more to look at than is allowed (RFC 9276 §3.2).
    Costly,
    /// They do not.
    Refuted,
}

/// Reads what a message says to a question.
pub(super) fn read(
    message: &Message,
    name: &Name,
    kind: RecordType,
    denial: Denial,
) -> Result<Said, Bogus> {
    let validated = denial != Denial::Unvalidated;
    let mut security = match validated {
        true => Security::Secure,
        false => Security::Unvalidated,
    };
    // A record from a wildcard needs a proof that no nearer name exists (RFC 4035 §5.3.4).
    let nearest = |name: &Name, of: RecordType, security: Security| match denial {
        Denial::Unvalidated | Denial::Proved => Ok(security),
        _ if !expanded(message, name, of) => Ok(security),
        Denial::Costly => Ok(security.min(Security::Insecure)),
        Denial::Refuted => match nothing_nearer(message, name, of) {
            true => Ok(security),
            false => Err(unproved(message, name, kind)),
        },
    };
    let mut ttl = Duration::MAX;
    let mut current = name.clone();
    let mut aliased = false;
    for _ in 0..=MAX_ALIASES {
        // The look for a nearer name than a wildcard was for the name in the question only.
        if aliased
            && (expanded(message, &current, kind) || expanded(message, &current, RecordType::CNAME))
        {
            break;
        }
        let found: Vec<&Record> = of(message, &current, kind).collect();
        if !found.is_empty() {
            for record in &found {
                let proved = proof(message, record, validated)?;
                security = security.min(proved);
                ttl = ttl.min(lifetime(record));
            }
            security = nearest(&current, kind, security)?;
            let what = What::Records(Rdata::used(found.iter().map(|record| &record.data)));
            return Ok(Said {
                what,
                security,
                ttl,
            });
        }
        let alias = of(message, &current, RecordType::CNAME).next();
        let Some((alias, target)) = alias.and_then(|alias| Some((alias, target(alias)?))) else {
            break;
        };
        security = security.min(proof(message, alias, validated)?);
        ttl = ttl.min(lifetime(alias));
        security = nearest(&current, RecordType::CNAME, security)?;
        current = target.clone();
        aliased = true;
    }
    if aliased {
        let what = What::Alias(current);
        return Ok(Said {
            what,
            security,
            ttl,
        });
    }
    let proved = match denial {
        Denial::Unvalidated => Security::Unvalidated,
        Denial::Refuted => return Err(unproved(message, name, kind)),
        Denial::Costly => Security::Insecure,
        Denial::Proved => absence(message, name, kind)?,
    };
    Ok(Said {
        what: What::Nothing,
        security: security.min(proved),
        ttl: negative_ttl(message),
    })
}

/// Does this answer speak of absence at all? SERVFAIL, REFUSED and so on do not.
pub(super) fn is_answer(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn of<'m>(message: &'m Message, name: &Name, kind: RecordType) -> impl Iterator<Item = &'m Record> {
    let is_it = move |record: &&Record| record.name == *name && record.record_type() == kind;
    message.answers.iter().filter(is_it)
}

fn target(alias: &Record) -> Option<&Name> {
    match &alias.data {
        RData::CNAME(target) => Some(&target.0),
        _ => None,
    }
}

fn lifetime(record: &Record) -> Duration {
    Duration::from_secs(record.ttl.into())
}

/// How far a record is proved.
fn proof(message: &Message, record: &Record, validated: bool) -> Result<Security, Bogus> {
    if !validated {
        return Ok(Security::Unvalidated);
    }
    match record.proof {
        Proof::Secure => Ok(Security::Secure),
        Proof::Insecure => Ok(Security::Insecure),
        Proof::Bogus | Proof::Indeterminate => match synthesized(message, record) {
            Some(security) => Ok(security),
            None => Err(flawed(message, record)),
        },
    }
}

/// RFC 6672 §5.3.1: the CNAME that a DNAME makes of a name is not signed; the DNAME is.
fn synthesized(message: &Message, alias: &Record) -> Option<Security> {
    let made = target(alias)?;
    message.answers.iter().find_map(|record| {
        let security = match record.proof {
            Proof::Secure => Security::Secure,
            Proof::Insecure => Security::Insecure,
            Proof::Bogus | Proof::Indeterminate => return None,
        };
        let RData::Unknown { code, rdata } = &record.data else {
            return None;
        };
        let below = record.name.zone_of(&alias.name) && record.name != alias.name;
        if *code != RecordType::DNAME || !below {
            return None;
        }
        let to = Name::read(&mut BinDecoder::new(&rdata.anything)).ok()?;
        let labels = alias
            .name
            .iter()
            .count()
            .checked_sub(record.name.iter().count())?;
        let front: Vec<&[u8]> = alias.name.iter().take(labels).collect();
        let expected = Name::from_labels(front).ok()?.append_domain(&to).ok()?;
        (expected == *made).then_some(security)
    })
}

/// Was this made of a wildcard (RFC 4034 §3.1.3)?
fn expanded(message: &Message, name: &Name, kind: RecordType) -> bool {
    signatures(&message.answers, name, kind)
        .any(|signature| signature.input().num_labels < name.num_labels())
}

/// RFC 4035 §5.3.4: of the names between this one and the wildcard's parent, the next one to that parent does not
/// exist, so no name is nearer than the wildcard. The library wants a proof that the wildcard itself does not exist.
fn nothing_nearer(message: &Message, name: &Name, kind: RecordType) -> bool {
    let mut made = signatures(&message.answers, name, kind);
    let (Some(signature), None) = (made.next(), made.next()) else {
        return false;
    };
    let made = signature.input();
    if made.num_labels >= name.num_labels() {
        return false;
    }
    let next = name.trim_to(usize::from(made.num_labels) + 1);
    message.authorities.iter().any(|record| {
        let RData::DNSSEC(DNSSECRData::NSEC(nsec)) = &record.data else {
            return false;
        };
        let (owner, after) = (&record.name, nsec.next_domain_name());
        let wraps = after <= owner;
        let kinds = nsec.type_set();
        // RFC 6840 §4.1: at a zone cut or a DNAME, the record denies no name below.
        let elsewhere = kinds.contains(RecordType::DNAME)
            || kinds.contains(RecordType::NS) && !kinds.contains(RecordType::SOA);
        record.proof == Proof::Secure
            && signatures(&message.authorities, owner, RecordType::NSEC)
                .any(|signature| signature.input().signer_name == made.signer_name)
            && !(elsewhere && owner.zone_of(&next))
            && *owner < next
            && (next < *after || wraps && made.signer_name.zone_of(&next))
            && !next.zone_of(after)
    })
}

fn signatures<'m>(
    records: &'m [Record],
    name: &Name,
    kind: RecordType,
) -> impl Iterator<Item = &'m RRSIG> {
    let name = name.clone();
    records.iter().filter_map(move |record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature))
            if record.name == name && signature.input().type_covered == kind =>
        {
            Some(signature)
        }
        _ => None,
    })
}

/// How far it is proved that there is no such record. That a proof is one of this name has been looked at, except where
/// all of it comes from a zone without signatures: then the name has to be in that zone, or anybody could say so.
fn absence(message: &Message, name: &Name, kind: RecordType) -> Result<Security, Bogus> {
    let is_proof = |record: &Record| {
        record.proof == Proof::Secure
            && matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3)
    };
    if message.authorities.iter().any(is_proof) {
        return Ok(Security::Secure);
    }
    let all_insecure = |record: &Record| record.proof == Proof::Insecure;
    let nothing_but = message.authorities.iter().all(all_insecure);
    let in_zone = |record: &Record| record.name.zone_of(name);
    match message.authorities.is_empty() || !nothing_but || message.authorities.iter().any(in_zone)
    {
        true => Ok(Security::Insecure),
        false => Err(unproved(message, name, kind)),
    }
}

fn negative_ttl(message: &Message) -> Duration {
    let soa = message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
    Duration::from_secs(soa.unwrap_or(0).into())
}

/// Why a record is not proved.
fn flawed(message: &Message, record: &Record) -> Bogus {
    let found = signatures(&message.answers, &record.name, record.record_type());
    Bogus {
        about: shown(&record.name, record.record_type()),
        why: flaw(found).unwrap_or(Flaw::Unsigned),
    }
}

/// Why an absence is not proved.
fn unproved(message: &Message, name: &Name, kind: RecordType) -> Bogus {
    let flawed = message.authorities.iter().find(|record| {
        matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3)
            && record.proof != Proof::Secure
    });
    let why = flawed.and_then(|record| {
        let kind = record.record_type();
        flaw(signatures(&message.authorities, &record.name, kind))
    });
    Bogus {
        about: shown(name, kind),
        why: why.unwrap_or(Flaw::NoProof),
    }
}

/// `_xmpp-server._tcp.example.org SRV`, without the dot of the root.
fn shown(name: &Name, kind: RecordType) -> PeerText {
    let mut name = name.clone();
    name.set_fqdn(false);
    PeerText::quoting(&format!("{name} {kind}"))
}

fn flaw<'m>(signatures: impl Iterator<Item = &'m RRSIG>) -> Option<Flaw> {
    // RFC 4034 §3.1.5: serial numbers, which go round in 2106.
    let now = SerialNumber::new(UnixTime::now().as_secs() as u32);
    let day = |time: SerialNumber| {
        Day::of(UnixTime::since_unix_epoch(Duration::from_secs(
            time.get().into(),
        )))
    };
    let mut wrong = None;
    for signature in signatures {
        let input = signature.input();
        let flaw = if input.sig_expiration < now {
            Flaw::Expired(day(input.sig_expiration))
        } else if input.sig_inception > now {
            Flaw::NotYet(day(input.sig_inception))
        } else {
            return Some(Flaw::Wrong(input.signer_name.clone()));
        };
        wrong.get_or_insert(flaw);
    }
    wrong
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod attack;
#[cfg(test)]
mod tests;
