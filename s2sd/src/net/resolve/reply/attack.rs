//! What holds for any message of a name server: the body of a property test, and of the fuzz target `dns_answer`.

use hickory_resolver::proto::{
    dnssec::Proof,
    op::Message,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, NULL, SRV},
    },
    serialize::binary::BinEncodable as _,
};

use super::{Bogus, Denial, Said, What, read};
use crate::net::resolve::rdata::Rdata;
use crate::protocol::plan::Security;

const NAMES: [&str; 5] = [
    "x.load.example.",
    "load.example.",
    "y.example.",
    "*.load.example.",
    ".",
];
const KINDS: [RecordType; 3] = [RecordType::A, RecordType::SRV, RecordType::TLSA];
const PROOFS: [Proof; 4] = [
    Proof::Secure,
    Proof::Insecure,
    Proof::Bogus,
    Proof::Indeterminate,
];
const DENIALS: [Denial; 4] = [
    Denial::Unvalidated,
    Denial::Proved,
    Denial::Costly,
    Denial::Refuted,
];

/// What it came to.
pub type Reached = std::collections::BTreeSet<&'static str>;

/// s2sd reads from a message only what it asked for, and proved no better than the records are.
pub fn answer(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let mut rest = data.iter().copied();
    let mut byte = || usize::from(rest.next().unwrap_or_default());
    let kind = KINDS[byte() % KINDS.len()];
    let denial = DENIALS[byte() % DENIALS.len()];
    let name = |index: usize| Name::from_ascii(NAMES[index % NAMES.len()]).unwrap_or_default();
    // One that is made of words, and one that is the bytes themselves.
    let mut made = Message::query();
    for _ in 0..byte() % 8 {
        let (owner, what, proof) = (name(byte()), byte(), byte());
        let data = match what % 4 {
            0 if what.is_multiple_of(8) => RData::SRV(SRV::new(0, 0, 5269, name(what / 8))),
            0 => RData::A(A::new(192, 0, 2, u8::try_from(what).unwrap_or_default())),
            1 => RData::CNAME(CNAME(name(what / 4))),
            2 => RData::CNAME(CNAME(name(byte()))),
            _ => RData::Unknown {
                code: RecordType::DNAME,
                rdata: NULL::with(name(byte()).to_bytes().unwrap_or_default()),
            },
        };
        let mut record = Record::from_rdata(owner, 60, data);
        record.proof = PROOFS[proof % PROOFS.len()];
        match proof / 4 % 3 {
            0 => made.add_authority(record),
            _ => made.add_answer(record),
        };
    }
    holds(&made, kind, denial, &mut reached);
    if let Ok(message) = Message::from_vec(data.get(2..).unwrap_or_default()) {
        reached.insert("a message");
        holds(&message, kind, denial, &mut reached);
    }
    reached
}

fn holds(message: &Message, kind: RecordType, denial: Denial, reached: &mut Reached) {
    let asked = Name::from_ascii(NAMES[0]).unwrap_or_default();
    let said = match read(message, &asked, kind, denial) {
        Ok(said) => said,
        Err(Bogus { about, .. }) => {
            assert!(denial != Denial::Unvalidated, "nothing was looked at");
            assert!(!about.contains(char::is_control));
            reached.insert("bogus");
            return;
        }
    };
    let Said { what, security, .. } = said;
    assert_eq!(
        denial == Denial::Unvalidated,
        security == Security::Unvalidated
    );
    match what {
        What::Records(records) => {
            assert!(records.len() <= 64, "{} are kept", records.len());
            for used in &records {
                let (wanted, secure) = match used {
                    Rdata::Address(ip) => (
                        RecordType::A,
                        proved(message).any(|data| data.ip_addr() == Some(*ip)),
                    ),
                    Rdata::Srv(_) => (
                        RecordType::SRV,
                        proved(message).any(|data| matches!(data, RData::SRV(_))),
                    ),
                    Rdata::Tlsa(_) => (
                        RecordType::TLSA,
                        proved(message).any(|data| matches!(data, RData::TLSA(_))),
                    ),
                };
                assert_eq!(wanted, kind);
                assert!(
                    security != Security::Secure || secure,
                    "{used:?} is believed"
                );
            }
            reached.insert(match security {
                Security::Secure => "secure records",
                _ => "records",
            });
        }
        What::Alias(target) => {
            assert!(!message.answers.is_empty() && Name::is_fqdn(&target));
            reached.insert("alias");
        }
        What::Nothing => {
            reached.insert("nothing");
        }
    }
}

fn proved(message: &Message) -> impl Iterator<Item = &RData> {
    let proved = message.answers.iter();
    proved
        .filter(|record| record.proof == Proof::Secure)
        .map(|record| &record.data)
}
