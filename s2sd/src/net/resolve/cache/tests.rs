//! What is kept, for how long, for whom, and how much of it.

use super::*;
use crate::protocol::plan::Srv;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn reply(records: usize, security: Security) -> Found {
    let record = Rdata::Address([127, 0, 0, 1].into());
    Ok(DnsReply {
        records: vec![record; records].into(),
        security,
    })
}

fn failure() -> Found {
    Err(ResolveError::Failed("SERVFAIL".into()))
}

const MINUTE: Duration = Duration::from_secs(60);
const A: RecordType = RecordType::A;

fn knows(cache: &mut Cache, name_: &str, asker: Asker, now: Instant) -> bool {
    cache.get(&name(name_), A, true, asker, now).is_some()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_good_for_its_time_and_an_absence_for_a_minute() {
    let mut cache = Cache::default();
    let start = Instant::now();
    let (some, none) = (reply(1, Security::Insecure), reply(0, Security::Insecure));
    for (name_, found, ttl) in [
        ("A.example.", &some, MINUTE * 10),
        ("b.example.", &none, MINUTE * 10),
        ("c.example.", &some, Duration::ZERO),
        ("d.example.", &some, MINUTE * 60 * 24 * 365),
    ] {
        cache.keep(&name(name_), A, found, ttl, Asker::Us, start);
    }
    for (name, until) in [
        ("a.example.", MINUTE * 10),
        ("b.example.", MINUTE),
        ("d.example.", MINUTE * 60 * 24),
    ] {
        for asker in [Asker::Us, Asker::Unauthenticated] {
            let just_before = start + until - Duration::from_secs(1);
            assert!(knows(&mut cache, name, asker, just_before), "{name}");
            assert!(!knows(&mut cache, name, asker, start + until), "{name}");
        }
    }
    assert!(!knows(&mut cache, "c.example.", Asker::Us, start));
    let other = cache.get(
        &name("a.example."),
        RecordType::AAAA,
        true,
        Asker::Us,
        start,
    );
    assert_eq!(other, None);
}

#[tokio::test]
async fn what_failed_or_was_not_there_can_be_forgotten_and_what_is_there_stays() {
    let mut cache = Cache::default();
    let now = Instant::now();
    for (name_, found) in [
        ("a.example.", reply(1, Security::Insecure)),
        ("b.example.", reply(0, Security::Insecure)),
        ("c.example.", failure()),
    ] {
        cache.keep(&name(name_), A, &found, MINUTE, Asker::Unauthenticated, now);
        assert!(knows(&mut cache, name_, Asker::Unauthenticated, now));
    }
    cache.forget_failures();
    let a = (name("a.example."), A);
    let cost = cache.entries[&a].cost;
    assert_eq!(
        (cache.entries.len(), cache.bytes.unauthenticated),
        (1, cost)
    );
}

#[tokio::test]
async fn what_nobody_validated_does_not_stand_for_what_is_to_be() {
    let mut cache = Cache::default();
    let now = Instant::now();
    let reply = reply(1, Security::Unvalidated);
    let a = name("a.example.");
    cache.keep(&a, A, &reply, MINUTE, Asker::Us, now);
    assert_eq!(cache.get(&a, A, true, Asker::Us, now), None);
    assert_eq!(cache.get(&a, A, false, Asker::Us, now), Some(reply));
}

#[tokio::test(start_paused = true)]
async fn what_only_strangers_asked_for_is_good_for_minutes_until_we_use_it() {
    let mut cache = Cache::default();
    let start = Instant::now();
    let found = reply(1, Security::Insecure);
    for name_ in ["a.example.", "b.example."] {
        cache.keep(
            &name(name_),
            A,
            &found,
            MINUTE * 60,
            Asker::Unauthenticated,
            start,
        );
    }
    let later = start + MINUTE * 5;
    assert!(knows(
        &mut cache,
        "a.example.",
        Asker::Unauthenticated,
        later - MINUTE
    ));
    assert!(knows(&mut cache, "b.example.", Asker::Us, later - MINUTE));
    assert!(!knows(
        &mut cache,
        "a.example.",
        Asker::Unauthenticated,
        later
    ));
    assert!(knows(
        &mut cache,
        "b.example.",
        Asker::Unauthenticated,
        later
    ));
    assert!(knows(
        &mut cache,
        "b.example.",
        Asker::Us,
        start + MINUTE * 59
    ));
}

#[tokio::test(start_paused = true)]
async fn that_there_was_no_answer_is_remembered_for_seconds_and_for_strangers_only() {
    let mut cache = Cache::default();
    let start = Instant::now();
    for asker in [Asker::Us, Asker::Unauthenticated] {
        cache.keep(
            &name("a.example."),
            A,
            &failure(),
            FAILURE_TTL,
            asker,
            start,
        );
        assert!(knows(
            &mut cache,
            "a.example.",
            Asker::Unauthenticated,
            start
        ));
        assert!(!knows(&mut cache, "a.example.", Asker::Us, start));
        assert!(!knows(
            &mut cache,
            "a.example.",
            Asker::Unauthenticated,
            start + FAILURE_TTL
        ));
    }
    // An answer that is refuted is none, and there was no wait for it.
    let refuted = Err(ResolveError::Bogus("it is not signed".into()));
    cache.keep(
        &name("b.example."),
        A,
        &refuted,
        FAILURE_TTL,
        Asker::Us,
        start,
    );
    assert!(!knows(
        &mut cache,
        "b.example.",
        Asker::Unauthenticated,
        start
    ));
    // It does not push out an answer.
    let found = reply(1, Security::Insecure);
    cache.keep(&name("a.example."), A, &found, MINUTE, Asker::Us, start);
    cache.keep(
        &name("a.example."),
        A,
        &failure(),
        FAILURE_TTL,
        Asker::Unauthenticated,
        start,
    );
    assert!(knows(&mut cache, "a.example.", Asker::Us, start));
}

/// 64 SRV records with names as long as names can be.
fn large() -> Found {
    let srv = Srv {
        priority: 0,
        weight: 0,
        port: 0,
        target: "x".repeat(253),
    };
    Ok(DnsReply {
        records: vec![Rdata::Srv(srv); 64].into(),
        security: Security::Insecure,
    })
}

#[tokio::test]
async fn there_is_an_end_to_what_is_kept_in_bytes() {
    for (found, least) in [
        (large(), 150),
        (reply(1, Security::Insecure), 5_000),
        (failure(), 5_000),
    ] {
        for asker in [Asker::Us, Asker::Unauthenticated] {
            let mut cache = Cache::default();
            let now = Instant::now();
            for n in 0..30_000 {
                let name = name(&format!("n{n}.example."));
                cache.keep(&name, A, &found, MINUTE, asker, now);
                let cost: usize = cache.bytes.ours + cache.bytes.unauthenticated;
                assert!(cost <= CAPACITY && cache.bytes.unauthenticated <= UNAUTHENTICATED);
            }
            let cost: usize = cache.entries.values().map(|entry| entry.cost).sum();
            assert_eq!(cost, cache.bytes.ours + cache.bytes.unauthenticated);
            assert!(cache.entries.len() > least, "{}", cache.entries.len());
            assert!(cache.entries.contains_key(&(name("n29999.example."), A)));
        }
    }
}

#[tokio::test]
async fn strangers_push_out_what_strangers_wanted_to_know_and_nothing_of_ours() {
    let mut cache = Cache::default();
    let now = Instant::now();
    let found = reply(1, Security::Insecure);
    for n in 0..3000 {
        let name = name(&format!("ours{n}.example."));
        cache.keep(&name, A, &found, MINUTE, Asker::Us, now);
    }
    for n in 0..3000 {
        let name = name(&format!("theirs{n}.example."));
        cache.keep(&name, A, &large(), MINUTE, Asker::Unauthenticated, now);
    }
    for n in 0..3000 {
        assert!(knows(
            &mut cache,
            &format!("ours{n}.example."),
            Asker::Us,
            now
        ));
    }
    // We push out theirs first.
    for n in 0..300 {
        let name = name(&format!("large{n}.example."));
        cache.keep(&name, A, &large(), MINUTE, Asker::Us, now);
    }
    assert!(knows(&mut cache, "ours0.example.", Asker::Us, now));
}

#[tokio::test]
async fn what_is_over_goes_first() {
    let mut cache = Cache::default();
    let now = Instant::now();
    let found = large();
    for n in 0..300 {
        let ttl = if n % 2 == 0 { MINUTE } else { MINUTE * 3 };
        let name = name(&format!("n{n}.example."));
        cache.keep(&name, A, &found, ttl, Asker::Us, now);
    }
    let later = now + MINUTE * 2;
    for n in 0..220 {
        let name = name(&format!("m{n}.example."));
        cache.keep(&name, A, &found, MINUTE, Asker::Us, later);
    }
    assert!(cache.bytes.ours <= CAPACITY);
    assert!(knows(&mut cache, "n1.example.", Asker::Us, later));
    assert!(knows(&mut cache, "n299.example.", Asker::Us, later));
    assert!(!cache.entries.contains_key(&(name("n298.example."), A)));
}
