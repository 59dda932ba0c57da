//! Answers of the DNS that are still good: RFC 1035 §7.4, RFC 2308 §5. What is no answer is not kept, and asked for again.

use std::{collections::HashMap, time::Duration};

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

use super::plan::Security;

/// Whoever repairs a zone should not wait long until we look again.
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
/// A record with a TTL of a year is asked for again after a day.
const POSITIVE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// In answers, not bytes.
const CAPACITY: usize = 8192;

/// The end of a chain of aliases: all records of one kind, or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) records: Vec<RData>,
    /// The weakest link.
    pub(super) security: Security,
}

/// The answers. No more than 8192: then those whose time is over go, and if there are none, any.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<(Name, RecordType), (Instant, Reply)>);

impl Kept {
    /// What is known. With `validated`, only what was validated counts.
    pub(super) fn get(
        &self,
        name: &Name,
        kind: RecordType,
        validated: bool,
        now: Instant,
    ) -> Option<Reply> {
        let (until, reply) = self.0.get(&(name.to_lowercase(), kind))?;
        let counts = *until > now && (!validated || reply.security > Security::Unvalidated);
        counts.then(|| reply.clone())
    }

    pub(super) fn keep(
        &mut self,
        name: &Name,
        kind: RecordType,
        reply: &Reply,
        ttl: Duration,
        now: Instant,
    ) {
        let most = match reply.records.is_empty() {
            true => NEGATIVE_TTL,
            false => POSITIVE_TTL,
        };
        let ttl = ttl.min(most);
        if ttl.is_zero() {
            return;
        }
        if self.0.len() >= CAPACITY {
            self.0.retain(|_, (until, _)| *until > now);
        }
        if self.0.len() >= CAPACITY {
            let mut rank = 0;
            self.0.retain(|_, _| {
                rank += 1;
                rank % 8 != 0
            });
        }
        let key = (name.to_lowercase(), kind);
        self.0.insert(key, (now + ttl, reply.clone()));
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::A;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn reply(records: usize, security: Security) -> Reply {
        Reply {
            records: vec![RData::A(A::new(127, 0, 0, 1)); records],
            security,
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_its_time_and_an_absence_for_a_minute() {
        let mut kept = Kept::default();
        let start = Instant::now();
        let (some, none) = (reply(1, Security::Insecure), reply(0, Security::Insecure));
        kept.keep(
            &name("A.example."),
            RecordType::A,
            &some,
            MINUTE * 10,
            start,
        );
        kept.keep(
            &name("b.example."),
            RecordType::A,
            &none,
            MINUTE * 10,
            start,
        );
        kept.keep(
            &name("c.example."),
            RecordType::A,
            &some,
            Duration::ZERO,
            start,
        );
        kept.keep(
            &name("d.example."),
            RecordType::A,
            &some,
            MINUTE * 60 * 24 * 365,
            start,
        );
        let known = |name_: &str, after| {
            kept.get(&name(name_), RecordType::A, true, start + after)
                .is_some()
        };
        for (name, until) in [
            ("a.example.", MINUTE * 10),
            ("b.example.", MINUTE),
            ("d.example.", MINUTE * 60 * 24),
        ] {
            assert!(known(name, until - Duration::from_secs(1)), "{name}");
            assert!(!known(name, until), "{name}");
        }
        assert!(!known("c.example.", Duration::ZERO));
        assert_eq!(
            kept.get(&name("a.example."), RecordType::AAAA, true, start),
            None
        );
    }

    #[tokio::test]
    async fn what_nobody_validated_does_not_stand_for_what_is_to_be() {
        let mut kept = Kept::default();
        let now = Instant::now();
        let reply = reply(1, Security::Unvalidated);
        kept.keep(&name("a.example."), RecordType::A, &reply, MINUTE, now);
        assert_eq!(
            kept.get(&name("a.example."), RecordType::A, true, now),
            None
        );
        assert_eq!(
            kept.get(&name("a.example."), RecordType::A, false, now),
            Some(reply)
        );
    }

    #[tokio::test]
    async fn there_is_an_end_to_what_is_kept() {
        let mut kept = Kept::default();
        let now = Instant::now();
        let reply = reply(1, Security::Insecure);
        for n in 0..CAPACITY {
            let ttl = if n % 2 == 0 { MINUTE } else { MINUTE * 3 };
            kept.keep(
                &name(&format!("n{n}.example.")),
                RecordType::A,
                &reply,
                ttl,
                now,
            );
        }
        assert_eq!(kept.0.len(), CAPACITY);
        // Those whose time is over go first.
        let later = now + MINUTE * 2;
        kept.keep(&name("one.example."), RecordType::A, &reply, MINUTE, later);
        assert_eq!(kept.0.len(), CAPACITY / 2 + 1);
        for n in 0..CAPACITY * 2 {
            kept.keep(
                &name(&format!("m{n}.example.")),
                RecordType::A,
                &reply,
                MINUTE,
                later,
            );
            assert!(kept.0.len() <= CAPACITY);
        }
        let last = name(&format!("m{}.example.", CAPACITY * 2 - 1));
        assert!(kept.get(&last, RecordType::A, true, later).is_some());
    }
}
