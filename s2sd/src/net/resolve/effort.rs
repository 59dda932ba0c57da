//! What a look-up may cost until its answer is proved or refuted by DNSSEC (RFC 4035 §5).
//!
//! The library validates each set of records in a message and asks whatever that takes. It puts no end to it: signatures of
//! a zone that lead from one to the next make millions of questions of one, and it validates records that come
//! unasked, too. So between it and the name servers stands [`Bounded`], which asks each question once, one at a time, only
//! so many for one look-up, and hands on what is needed of an answer.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hickory_resolver::{
    net::{
        DnsError, NetError,
        xfer::{DnsHandle, DnsResponseStream, FirstAnswer as _},
    },
    proto::{
        dnssec::rdata::{DNSSECRData, RRSIG},
        op::{DnsRequest, DnsResponse, Query},
        rr::{Name, RData, Record, RecordType},
    },
};
use tokio::{sync::Semaphore, task_local};

/// So many questions go to the name servers for one look-up: keys and delegations of each zone above each name, and where
/// zones end. Eight zones take sixteen.
const MAX_ASKED: usize = 64;
/// So often the library wants to know something for one look-up, also what is known already.
const MAX_WANTED: usize = 128;
/// Records of one message; of more none is looked at.
const MAX_RECORDS: usize = 256;
/// Sets of records in one message: eight aliases, the answer, and proofs of what there is not.
const MAX_SETS: usize = 24;
/// Signatures of one set that are tried: by two keys of two algorithms each.
const MAX_SIGNATURES: usize = 4;
/// So many proofs are remembered; half a KiB each.
pub(super) const REMEMBERED: usize = 1024;

task_local! {
    /// That of the look-up for which this task asks. The library has no other way to hand it on.
    static EFFORT: Arc<Effort>;
}

/// What was done for one look-up.
struct Effort {
    /// One question at a time, so that a look-up has no more sockets than are kept for it.
    turn: Semaphore,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    wanted: usize,
    asked: usize,
    /// By question, and whether the name servers were to look at the proofs themselves.
    known: HashMap<(Query, bool), Result<DnsResponse, NetError>>,
}

/// All questions in there are for one look-up.
pub(super) async fn of_one_look_up<T>(look_up: impl Future<Output = T>) -> T {
    let effort = Effort {
        turn: Semaphore::new(1),
        done: Mutex::default(),
    };
    EFFORT.scope(Arc::new(effort), look_up).await
}

/// Name servers, asked for the proof of an answer.
#[derive(Clone)]
pub(super) struct Bounded<H> {
    servers: H,
    /// They look at proofs themselves.
    check: bool,
}

impl<H> Bounded<H> {
    pub(super) fn checking(servers: H) -> Self {
        let check = true;
        Self { servers, check }
    }

    pub(super) fn unchecking(servers: H) -> Self {
        let check = false;
        Self { servers, check }
    }
}

impl<H: DnsHandle> DnsHandle for Bounded<H> {
    type Response = DnsResponseStream;
    type Runtime = H::Runtime;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let Ok(effort) = EFFORT.try_with(Arc::clone) else {
            return NetError::from("this proof belongs to no look-up").into();
        };
        let Self { servers, check } = self.clone();
        let asking = async move { effort.ask(&servers, check, request).await };
        Box::pin(asking).into()
    }
}

impl Effort {
    async fn ask(
        &self,
        servers: &impl DnsHandle,
        check: bool,
        request: DnsRequest,
    ) -> Result<DnsResponse, NetError> {
        let Some(query) = request.queries.first().cloned() else {
            return Err(NetError::from("no question"));
        };
        let question = (query, check);
        {
            let mut done = self.done();
            if done.wanted == MAX_WANTED {
                return Err(NetError::from("to prove it takes too much"));
            }
            done.wanted += 1;
        }
        let Ok(_turn) = self.turn.acquire().await else {
            return Err(NetError::from("the look-up is over"));
        };
        {
            let mut done = self.done();
            if let Some(known) = done.known.get(&question) {
                return known.clone();
            }
            if done.asked == MAX_ASKED {
                return Err(NetError::from("to prove it takes too many questions"));
            }
            done.asked += 1;
        }
        let answer = needed(servers.send(request).first_answer().await);
        self.done().known.insert(question, answer.clone());
        answer
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of an answer is looked at.
fn needed(answer: Result<DnsResponse, NetError>) -> Result<DnsResponse, NetError> {
    match answer {
        Ok(mut answer) => {
            // We ask for addresses by themselves.
            answer.additionals.clear();
            are_few(answer.answers.iter().chain(&answer.authorities))?;
            few_signatures(&mut answer.answers);
            few_signatures(&mut answer.authorities);
            Ok(answer)
        }
        // An absence is proved likewise.
        Err(NetError::Dns(DnsError::NoRecordsFound(mut none))) => {
            if let Some(authorities) = none.authorities.take() {
                are_few(authorities.iter())?;
                let mut authorities = authorities.to_vec();
                few_signatures(&mut authorities);
                none.authorities = Some(authorities.into());
            }
            Err(none.into())
        }
        Err(why) => Err(why),
    }
}

fn are_few<'r>(records: impl Iterator<Item = &'r Record> + Clone) -> Result<(), NetError> {
    if records.clone().nth(MAX_RECORDS).is_some() {
        return Err(NetError::from("more records than are proved"));
    }
    let unsigned = records.filter(|record| signature(record).is_none());
    let sets: HashSet<(&Name, RecordType)> = unsigned
        .map(|record| (&record.name, record.record_type()))
        .collect();
    match sets.len() > MAX_SETS {
        true => Err(NetError::from("more sets of records than are proved")),
        false => Ok(()),
    }
}

fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
}

fn few_signatures(records: &mut Vec<Record>) {
    let mut seen: HashMap<(Name, RecordType), usize> = HashMap::new();
    records.retain(|record| {
        let Some(signature) = signature(record) else {
            return true;
        };
        let covered = (record.name.clone(), signature.input().type_covered);
        let count = seen.entry(covered).or_default();
        *count += 1;
        *count <= MAX_SIGNATURES
    });
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::{
        dnssec::{Algorithm, rdata::sig::SigInput},
        op::Message,
        rr::{SerialNumber, rdata::A},
    };

    use super::*;

    fn address(name: &str) -> Record {
        let name = Name::from_ascii(name).unwrap();
        Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1)))
    }

    fn signature_of(name: &str, tag: u16) -> Record {
        let name = Name::from_ascii(name).unwrap();
        let input = SigInput {
            type_covered: RecordType::A,
            algorithm: Algorithm::ED25519,
            num_labels: name.num_labels(),
            original_ttl: 60,
            sig_expiration: SerialNumber::new(2),
            sig_inception: SerialNumber::new(1),
            key_tag: tag,
            signer_name: Name::root(),
        };
        let data = DNSSECRData::RRSIG(RRSIG::from_sig(input, vec![0; 64]));
        Record::from_rdata(name, 60, RData::DNSSEC(data))
    }

    fn looked_at(fill: impl FnOnce(&mut Message)) -> Result<(usize, usize, usize), String> {
        let mut message = Message::query();
        fill(&mut message);
        let answer = DnsResponse::from_message(message.into_response()).unwrap();
        let answer = needed(Ok(answer)).map_err(|why| why.to_string())?;
        let [answers, authorities] = [&answer.answers, &answer.authorities].map(Vec::len);
        Ok((answers, authorities, answer.additionals.len()))
    }

    #[test]
    fn of_a_message_is_looked_at_what_a_proof_needs() {
        let said = looked_at(|message| {
            message.add_answers((0..9).map(|tag| signature_of("a.test.", tag)));
            message.add_answer(signature_of("b.test.", 0));
            message.add_answers([address("a.test."), address("b.test.")]);
            message.add_authorities((0..5).map(|tag| signature_of("c.test.", tag)));
            message.add_additionals([address("d.test."), address("e.test.")]);
        });
        assert_eq!(said, Ok((MAX_SIGNATURES + 1 + 2, MAX_SIGNATURES, 0)));
        let sets = |count: usize| {
            looked_at(|message| {
                message.add_authorities((0..count).map(|nth| address(&format!("x{nth}.test."))));
            })
        };
        assert_eq!(sets(MAX_SETS), Ok((0, MAX_SETS, 0)));
        sets(MAX_SETS + 1).unwrap_err();
        let records = |count: usize| {
            looked_at(|message| message.insert_answers(vec![address("a.test."); count]))
        };
        assert_eq!(records(MAX_RECORDS), Ok((MAX_RECORDS, 0, 0)));
        records(MAX_RECORDS + 1).unwrap_err();
    }
}
