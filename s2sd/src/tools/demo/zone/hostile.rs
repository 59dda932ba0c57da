//! What an owner of a zone can do to those who want its answers proved. The tests of what that costs use it.

use hickory_resolver::proto::{
    dnssec::{
        Algorithm, DigestType, PublicKeyBuf,
        rdata::{DNSKEY, DNSSECRData, DS, RRSIG, sig::SigInput},
    },
    op::{Message, Query},
    rr::{RData, Record, RecordType, SerialNumber, rdata::A},
};

use super::{Zone, absolute, key};

/// How the answers for a name and for all below it are made costly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costly {
    /// With each come addresses of so many other names, far below, none of them signed.
    Stuffed(u16),
    /// Each has so many signatures, of it and of all zones above it, up to this one; none is right.
    Circles(u16),
}

/// So deep are the names that answers are stuffed with.
const DEPTH: usize = 40;

impl Zone {
    /// What is answered at and below this name is costly.
    #[must_use]
    pub fn costly(mut self, apex: &str, how: Costly) -> Self {
        self.costly.insert(key(apex), how);
        self
    }

    pub(super) fn make_costly(&self, query: &Query, answer: &mut Message) {
        let asked = key(&query.name.to_ascii());
        let is_below = |apex: &str| {
            let front = asked.strip_suffix(apex);
            front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        let Some((apex, how)) = self.costly.iter().find(|(apex, _)| is_below(apex)) else {
            return;
        };
        match *how {
            Costly::Stuffed(count) => {
                let deep = format!("{}{apex}", "d.".repeat(DEPTH));
                let names = (0..count).filter_map(|nth| absolute(&format!("x{nth}.{deep}")));
                let address = RData::A(A::new(192, 0, 2, 1));
                let records = names.map(|name| Record::from_rdata(name, 60, address.clone()));
                answer.add_additionals(records);
            }
            Costly::Circles(count) => circles(query, apex, count, answer),
        }
    }
}

/// Every name below is a zone, with a key that the zone above vouches for.
fn circles(query: &Query, apex: &str, count: u16, answer: &mut Message) {
    let data = match query.query_type {
        RecordType::DNSKEY => {
            let public = PublicKeyBuf::new(vec![7; 64], Algorithm::ECDSAP256SHA256);
            DNSSECRData::DNSKEY(DNSKEY::with_flags(0x0101, public))
        }
        RecordType::DS => {
            let algorithm = Algorithm::ECDSAP256SHA256;
            DNSSECRData::DS(DS::new(7, algorithm, DigestType::SHA256, vec![7; 32]))
        }
        _ if answer.answers.is_empty() => return,
        _ => return sign(query, apex, count, answer),
    };
    answer.answers.clear();
    answer.authorities.clear();
    let record = Record::from_rdata(query.name.clone(), 60, RData::DNSSEC(data));
    answer.add_answer(record);
    sign(query, apex, count, answer);
}

fn sign(query: &Query, apex: &str, count: u16, answer: &mut Message) {
    answer
        .answers
        .retain(|record| record.record_type() != RecordType::RRSIG);
    let least = absolute(apex).map_or(0, |apex| apex.num_labels());
    let mut signer = query.name.clone();
    for nth in 0..count {
        let input = SigInput {
            type_covered: query.query_type,
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: query.name.num_labels(),
            original_ttl: 60,
            sig_expiration: SerialNumber::new(u32::MAX / 2),
            sig_inception: SerialNumber::new(0),
            key_tag: nth,
            signer_name: signer.clone(),
        };
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, vec![7; 64])));
        answer.add_answer(Record::from_rdata(query.name.clone(), 60, data));
        if signer.num_labels() > least {
            signer = signer.base_name();
        }
    }
}
