//! The DNS cache: RFC 1035 §7.4, RFC 2308 §5. It also holds failures, for a few seconds.
//!
//! The cache is bounded in bytes. Answers to questions that unauthenticated peers caused are kept for minutes and have
//! a share of their own, so that they cannot push out what our own streams need.

use std::{collections::HashMap, mem::size_of, sync::Arc, time::Duration};

use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::Instant;

use crate::net::resolve::rdata::Rdata;
use crate::protocol::plan::{ResolveError, Security};

/// After the operator of a zone repairs it, s2sd should notice soon.
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
/// s2sd asks for a record with a TTL of a year again after a day.
const POSITIVE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// s2sd asks again after five minutes for records that only unauthenticated peers wanted.
const UNAUTHENTICATED_TTL: Duration = Duration::from_secs(5 * 60);
/// Unauthenticated peers get a failure from the cache for this long. Our own lanes have pauses of their own between
/// attempts.
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// In bytes, all together.
const CAPACITY: usize = 8 << 20;
/// In bytes, of it what only unauthenticated peers wanted to know.
const UNAUTHENTICATED: usize = 4 << 20;

/// The cause of a question.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Asker {
    /// For ourselves: we have something to send there, or an operator wants to know.
    Us,
    /// An unauthenticated peer that names a domain.
    Unauthenticated,
}

/// The end of a chain of aliases: all records of one kind that are used, or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DnsReply {
    pub(super) records: Arc<[Rdata]>,
    /// The weakest link.
    pub(super) security: Security,
}

/// The result of a look-up.
pub(super) type Found = Result<DnsReply, ResolveError>;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// Their size.
    bytes: Bytes,
    /// How many there ever were.
    count: u64,
}

type Key = (Name, RecordType);

#[derive(Debug, Default)]
struct Bytes {
    ours: usize,
    unauthenticated: usize,
}

#[derive(Debug)]
struct Entry {
    found: Found,
    /// As long as it is good for us,
    until: Instant,
    /// and for unauthenticated peers.
    soon: Instant,
    asker: Asker,
    cost: usize,
    /// Its number, in the order of arrival.
    number: u64,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        match self.asker {
            Asker::Us => self.until <= now,
            Asker::Unauthenticated => self.soon <= now,
        }
    }
}

impl Bytes {
    fn of(&mut self, asker: Asker) -> &mut usize {
        match asker {
            Asker::Us => &mut self.ours,
            Asker::Unauthenticated => &mut self.unauthenticated,
        }
    }
}

impl Cache {
    /// The answer in the cache. With `validated`, only a validated one.
    pub(super) fn get(
        &mut self,
        name: &Name,
        kind: RecordType,
        validated: bool,
        asker: Asker,
        now: Instant,
    ) -> Option<Found> {
        let entry = self.entries.get_mut(&(name.to_lowercase(), kind))?;
        match (&entry.found, asker) {
            (Ok(reply), _) if validated && reply.security <= Security::Unvalidated => return None,
            (Err(_), Asker::Us) => return None,
            (Ok(_) | Err(_), _) => {}
        }
        match asker {
            Asker::Us if entry.until <= now => return None,
            Asker::Unauthenticated if entry.is_over(now) => return None,
            Asker::Us if entry.asker == Asker::Unauthenticated => {
                // Now we need it, too.
                entry.asker = Asker::Us;
                self.bytes.unauthenticated -= entry.cost;
                self.bytes.ours += entry.cost;
            }
            Asker::Us | Asker::Unauthenticated => {}
        }
        Some(entry.found.clone())
    }

    pub(super) fn keep(
        &mut self,
        name: &Name,
        kind: RecordType,
        found: &Found,
        ttl: Duration,
        asker: Asker,
        now: Instant,
    ) {
        let (most, asker) = match found {
            Ok(reply) if reply.records.is_empty() => (NEGATIVE_TTL, asker),
            Ok(_) => (POSITIVE_TTL, asker),
            // Only questions of unauthenticated peers hear of it.
            Err(ResolveError::Failed(_) | ResolveError::Unanswered(_)) => {
                (FAILURE_TTL, Asker::Unauthenticated)
            }
            // There was an answer. It costs no waiting to look whether it has been mended.
            Err(_) => return,
        };
        let ttl = ttl.min(most);
        if ttl.is_zero() {
            return;
        }
        let key = (name.to_lowercase(), kind);
        let known = self.entries.get(&key);
        if found.is_err() && known.is_some_and(|known| known.found.is_ok() && known.until > now) {
            return;
        }
        self.remove(&key);
        let cost = cost(&key, found);
        self.make_room(asker, cost, now);
        *self.bytes.of(asker) += cost;
        self.count += 1;
        let entry = Entry {
            found: found.clone(),
            until: now + ttl,
            soon: now + ttl.min(UNAUTHENTICATED_TTL),
            asker,
            cost,
            number: self.count,
        };
        self.entries.insert(key, entry);
    }

    /// Keeps only answers with records.
    pub(super) fn forget_failures(&mut self) {
        let Self { entries, bytes, .. } = self;
        entries.retain(|_, entry| {
            let stays = matches!(&entry.found, Ok(reply) if !reply.records.is_empty());
            if !stays {
                *bytes.of(entry.asker) -= entry.cost;
            }
            stays
        });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            *self.bytes.of(entry.asker) -= entry.cost;
        }
    }

    /// Removes expired answers first, then the oldest. For an unauthenticated peer it removes only such peers' answers;
    /// for us it removes ours only if theirs are not enough.
    fn make_room(&mut self, asker: Asker, cost: usize, now: Instant) {
        let fits = |bytes: &Bytes, cost| {
            let all = bytes.ours + bytes.unauthenticated + cost <= CAPACITY;
            match asker {
                Asker::Us => all,
                Asker::Unauthenticated => all && bytes.unauthenticated + cost <= UNAUTHENTICATED,
            }
        };
        if fits(&self.bytes, cost) {
            return;
        }
        let Self { entries, bytes, .. } = self;
        entries.retain(|_, entry| {
            let stays = !entry.is_over(now);
            if !stays {
                *bytes.of(entry.asker) -= entry.cost;
            }
            stays
        });
        // Not one by one: to find the oldest costs a look at all.
        let some = cost + UNAUTHENTICATED / 8;
        let mut oldest: Vec<(bool, u64, Key)> = Vec::new();
        if !fits(&self.bytes, some) {
            let all = self.entries.iter().map(|(key, entry)| {
                let ours = entry.asker == Asker::Us;
                (ours, entry.number, key.clone())
            });
            oldest.extend(all);
            oldest.sort_unstable_by_key(|(ours, number, _)| (*ours, *number));
        }
        for (ours, _, key) in oldest {
            if fits(&self.bytes, some) || ours && asker == Asker::Unauthenticated {
                break;
            }
            self.remove(&key);
        }
    }
}

/// What an answer takes, about and rather more: the table is up to half empty.
fn cost((name, _): &Key, found: &Found) -> usize {
    let slot = 2 * (size_of::<(Key, Entry)>() + 1);
    let name = 2 * name.len() + 32;
    let found = match found {
        Ok(reply) => reply.records.iter().map(Rdata::cost).sum::<usize>() + 32,
        Err(why) => why.to_string().len() + 32,
    };
    slot + name + found
}

#[cfg(test)]
mod tests;
