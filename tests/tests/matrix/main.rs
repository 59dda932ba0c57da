//! Every combination of `tls`, certificate, `verify` and dialback on one side against every one on the other, over
//! STARTTLS and over direct TLS: what comes of it is what the [oracle] says.
//!
//! `S2SD_MATRIX` runs only cases whose name has all of its words: `S2SD_MATRIX="starttls optional-missing-strict-on ->
//! required"`. A case that fails is told in a line, and what its daemons said in those below.
#![allow(clippy::unwrap_used)]

mod oracle;

use std::{collections::BTreeMap, fmt, time::Duration};

use oracle::{Certificate, Endpoint, Expectation, Proof, Refusal, Side, SrvRecord, outcome};
use s2sd::tools::demo::ca::{Authority, Leaf};
use s2sd_tests::{
    deliveries::{Delivery, End, Meeting, Seen},
    world::{Daemon, World},
};

/// Which way the receiving side is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    StartTls,
    Direct,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartTls => "starttls",
            Self::Direct => "direct",
        })
    }
}

/// Where the DNS leads for it. Over direct TLS a receiving domain without a certificate has no listener; an initiating
/// one, which is asked about its keys, is then found without TLS.
fn srv(way: Way, role: Role, side: Side) -> SrvRecord {
    match (way, role, side.certificate) {
        (Way::StartTls, _, _) | (Way::Direct, Role::Initiating, Certificate::Missing) => {
            SrvRecord::StartTls
        }
        (Way::Direct, Role::Receiving, Certificate::Missing) => SrvRecord::Nowhere,
        (Way::Direct, _, _) => SrvRecord::Direct,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Initiating,
    Receiving,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    from: Side,
    to: Side,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.way, self.from, self.to)
    }
}

impl Case {
    fn delivery(&self) -> Delivery {
        Delivery {
            from: domain(self.way, Role::Initiating, self.from),
            to: domain(self.way, Role::Receiving, self.to),
        }
    }

    fn expected(&self) -> Expectation {
        let endpoint = |role, side| Endpoint {
            side,
            srv: srv(self.way, role, side),
        };
        let from = endpoint(Role::Initiating, self.from);
        outcome(from, endpoint(Role::Receiving, self.to))
    }
}

/// The log is that of both tests, and tells their domains apart.
fn domain(way: Way, role: Role, side: Side) -> String {
    match role {
        Role::Initiating => format!("{side}.{way}.from.test"),
        Role::Receiving => format!("{side}.{way}.to.test"),
    }
}

fn daemon(way: Way, role: Role, side: Side, nobody: &Authority) -> Daemon {
    let name = domain(way, role, side);
    let auth = match side.dialback {
        true => "['external', 'dialback']",
        false => "['external']",
    };
    let words = side.to_string();
    let mut words = words.split('-');
    let tls = words.next().unwrap();
    let verify = words.nth(1).unwrap();
    let daemon = Daemon::serving(&name).policy(&format!(
        "tls = '{tls}'\nverify = '{verify}'\nauth = {auth}"
    ));
    let daemon = match side.certificate {
        Certificate::Missing => daemon.without_certificate(),
        Certificate::Invalid => daemon.certificate_from(nobody.issue(&Leaf::domain(&name))),
        Certificate::Valid => daemon,
    };
    match srv(way, role, side) {
        SrvRecord::Direct => daemon.direct_tls(),
        SrvRecord::StartTls | SrvRecord::Nowhere => daemon,
    }
}

/// How a stream that federates is reported, and what becomes of a message where none does.
fn check(expected: &Expectation, seen: &Seen) -> Result<(), String> {
    let want = match expected {
        Expectation::Federates { tls, proof } => {
            let method = match proof {
                Proof::External => "EXTERNAL",
                Proof::Dialback => "dialback",
            };
            let tls = if *tls { "TLS 1.3" } else { "none" };
            let streams = vec![(method.to_owned(), tls.to_owned())];
            let want = Seen {
                end: End::Arrived,
                outgoing: streams.clone(),
                incoming: streams,
                asked: *proof == Proof::Dialback,
            };
            if *seen == want {
                return Ok(());
            }
            want.to_string()
        }
        Expectation::No(refusal) => {
            let (condition, kind, cause, words) = returned(refusal);
            let quiet = seen.outgoing.is_empty() && seen.incoming.is_empty() && !seen.asked;
            if let End::Returned(got) = &seen.end
                && quiet
                && (got.condition.as_str(), got.kind.as_str()) == (condition, kind)
                && got.cause == cause
                && words.iter().all(|words| got.text.contains(words))
            {
                return Ok(());
            }
            format!(
                "returned, {condition} {kind}, {cause}, with the words {words:?}, and no stream"
            )
        }
    };
    Err(format!("expected {want}; got {seen}"))
}

/// Condition, type, cause and words of the error in which a message comes back.
fn returned(refusal: &Refusal) -> (&'static str, &'static str, &'static str, Vec<&'static str>) {
    let timeout = |cause, words| ("remote-server-timeout", "cancel", cause, vec![words]);
    let stream_error = |condition, words| {
        let words = vec!["the other server ended the stream with", condition, words];
        ("remote-server-timeout", "cancel", "stream-error", words)
    };
    match refusal {
        Refusal::NoService => (
            "remote-server-not-found",
            "cancel",
            "no-service",
            vec!["DNS says that it has no server-to-server service"],
        ),
        Refusal::TlsNotOffered => timeout(
            "tls-not-offered",
            "encryption is required and the other server does not offer it",
        ),
        Refusal::TlsDisabled => (
            "policy-violation",
            "cancel",
            "policy",
            vec!["the other server requires encryption, which is switched off for it here"],
        ),
        Refusal::ReceiversCertificate => timeout(
            "certificate",
            "no authority trusted here signed its certificate",
        ),
        Refusal::InitiatorsCertificate => stream_error(
            "not-authorized",
            "no authority trusted here signed your certificate",
        ),
        Refusal::NothingCounts => stream_error(
            "policy-violation",
            "no certificate was shown, and nothing else is accepted as proof here",
        ),
        Refusal::NothingWithoutTls => stream_error(
            "policy-violation",
            "what is accepted here as proof needs encryption, which this domain does not offer",
        ),
        Refusal::NoMethod => timeout(
            "no-mechanism",
            "no way to authenticate that is allowed here",
        ),
        Refusal::DialbackIsOff => timeout(
            "dialback",
            "policy-violation: server dialback is not accepted from this domain",
        ),
        // Why is for the other side's log: who sent the key hears a condition and one sentence.
        Refusal::CallBack(why) => {
            let words = match **why {
                Refusal::NoService => {
                    "remote-server-not-found: the authoritative server was not found"
                }
                _ => {
                    "remote-connection-failed: no connection to the authoritative server could be made"
                }
            };
            timeout("dialback", words)
        }
    }
}

/// The kinds of ends that the cases are counted by.
fn kind(outcome: &Expectation) -> &'static str {
    match outcome {
        Expectation::No(_) => "no connection",
        Expectation::Federates { tls, proof } => match (tls, proof) {
            (false, Proof::Dialback) => "plain + dialback",
            (true, Proof::Dialback) => "TLS + dialback",
            (true, Proof::External) => "TLS + EXTERNAL",
            (false, Proof::External) => unreachable!("the oracle knows no EXTERNAL without TLS"),
        },
    }
}

const CONFIGURATION: &str = "configuration error";

/// No round waits this long; it is there so that a message that is lost is told and not waited for.
const ROUND: Duration = Duration::from_secs(60);

async fn matrix(way: Way) -> BTreeMap<&'static str, usize> {
    let words = std::env::var("S2SD_MATRIX").unwrap_or_default();
    let wanted = |case: &Case| {
        let name = case.to_string();
        words.split_whitespace().all(|word| name.contains(word))
    };
    let good: Vec<Side> = Side::all()
        .filter(|side| side.faults().is_empty())
        .collect();
    let cases = |from: Side| good.iter().map(move |to| Case { way, from, to: *to });
    let (mut world, mut meeting) = (World::new().unwrap(), Meeting::default());
    let nobody = Authority::new("an authority that nobody trusts");
    for &side in &good {
        for role in [Role::Initiating, Role::Receiving] {
            let mut all = good.iter().copied().flat_map(cases);
            let takes_part = |case: Case| match role {
                Role::Initiating => case.from == side && wanted(&case),
                Role::Receiving => case.to == side && wanted(&case),
            };
            if !all.any(takes_part) {
                continue;
            }
            let srv = srv(way, role, side);
            let name = domain(way, role, side);
            world.start(daemon(way, role, side, &nobody)).await.unwrap();
            let plain = format!("_xmpp-server._tcp.{name}");
            if srv != SrvRecord::StartTls {
                world.change_zone(|zone| zone.without(&plain).service_absent(&plain));
            }
            meeting.attach(&world, &name).await.unwrap();
        }
    }

    let mut counts = BTreeMap::new();
    let mut arrived = Vec::new();
    let mut failed = Vec::new();
    // In each round everybody writes to somebody else.
    for round in 0..good.len() {
        let order = good.iter().zip(good.iter().cycle().skip(round));
        let cases: Vec<Case> = order
            .map(|(&from, &to)| Case { way, from, to })
            .filter(wanted)
            .collect();
        let deliveries: Vec<Delivery> = cases.iter().map(Case::delivery).collect();
        let seen = meeting.all(&deliveries, ROUND).await.unwrap();
        for ((case, delivery), seen) in cases.iter().zip(&deliveries).zip(seen) {
            let expected = case.expected();
            *counts.entry(kind(&expected)).or_insert(0) += 1;
            if let Expectation::Federates { .. } = expected {
                arrived.push(delivery.clone());
            }
            if let Err(why) = check(&expected, &seen) {
                failed.push(format!("{case}: {why}\n{}", meeting.log(Some(delivery))));
            }
        }
    }
    // Nothing came twice or late.
    arrived.sort();
    let at_last = meeting.end(&mut world).await.unwrap();
    report(&failed);
    assert_eq!(at_last, arrived);
    counts
}

fn report(failed: &[String]) {
    // Logs are long, and one cause makes many cases fail.
    for (at, case) in failed.iter().enumerate() {
        let lines = if at < 5 { usize::MAX } else { 1 };
        for line in case.lines().take(lines) {
            println!("{line}");
        }
    }
    assert!(failed.is_empty(), "{} cases failed", failed.len());
}

fn told(way: Way, counts: &BTreeMap<&'static str, usize>) -> bool {
    println!("{way}: {counts:?}");
    // One case alone has no counts to compare.
    std::env::var_os("S2SD_MATRIX").is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_policy_meets_every_other_over_starttls() {
    let counts = matrix(Way::StartTls).await;
    if told(Way::StartTls, &counts) {
        let kinds: Vec<_> = counts.keys().copied().collect();
        assert_eq!(
            kinds,
            [
                "TLS + EXTERNAL",
                "TLS + dialback",
                "no connection",
                "plain + dialback"
            ]
        );
        assert_eq!(counts.values().sum::<usize>(), 21 * 21);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_policy_meets_every_other_over_direct_tls() {
    let counts = matrix(Way::Direct).await;
    if told(Way::Direct, &counts) {
        let kinds: Vec<_> = counts.keys().copied().collect();
        assert_eq!(kinds, ["TLS + EXTERNAL", "TLS + dialback", "no connection"]);
        assert_eq!(counts.values().sum::<usize>(), 21 * 21);
    }
}

/// Of the 36 × 36 combinations those with one of these on either side: no daemon starts with them.
#[tokio::test]
async fn combinations_that_contradict_themselves_are_configuration_errors() {
    let nobody = Authority::new("an authority that nobody trusts");
    let mut world = World::new().unwrap();
    let (mut wrong, mut all) = (0, 0);
    for side in Side::all() {
        all += 1;
        let faults = side.faults();
        for way in [Way::StartTls, Way::Direct] {
            let role = Role::Receiving;
            let started = world.start(daemon(way, role, side, &nobody)).await;
            let said = started.err().map(|error| error.to_string());
            assert_eq!(said.is_some(), !faults.is_empty(), "{side}: {said:?}");
            let said = said.unwrap_or_default();
            for fault in &faults {
                assert!(said.contains(fault), "{side}: {said:?} without {fault:?}");
            }
        }
        wrong += usize::from(!faults.is_empty());
    }
    println!(
        "{CONFIGURATION}: {wrong} of {all} on one side, {} of {} pairs",
        all * all - (all - wrong) * (all - wrong),
        all * all
    );
    assert_eq!((wrong, all), (15, 36));
}
