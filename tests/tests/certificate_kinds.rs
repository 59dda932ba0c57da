//! Kinds of certificates, one policy: what each is worth to a server that is connected to and to one that connects, and
//! the words in which the other side's operator learns what is wrong with it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use s2sd_tests::{
    deliveries::{Delivery, End, Meeting, Seen},
    world::{Daemon, World},
};

/// What a certificate is worth.
#[derive(Clone, Copy, Debug)]
enum Worth {
    Good,
    /// Beginning and end of the reason, as it is told to the certificate's owner.
    Bad(&'static str, &'static str),
}
use Worth::{Bad, Good};

struct Kind {
    name: &'static str,
    domain: &'static str,
    certificate: Issued,
    worth: Worth,
}

const NO_AUTHORITY: &str = "no authority trusted here signed your certificate (its issuer is \"CN=";
const MISSING: &str = "either that authority is not trusted, or an intermediate certificate is missing from the 1 you sent";

fn kinds(world: &World) -> Vec<Kind> {
    let unknown = Authority::new("somebody else");
    let middle = world.intermediate("the middle");
    let constrained = world.intermediate_for("the constrained", "allowed.test");
    let mut kinds = Vec::new();
    let mut kind = |name, domain, certificate, worth| {
        kinds.push(Kind {
            name,
            domain,
            certificate,
            worth,
        });
    };
    let signed = |leaf: Leaf| world.issue(&leaf);
    let plain = |domain: &str| Leaf::domain(domain);

    let leaf = plain("expired.test").validity(Validity::Expired);
    let expired = Bad("your certificate expired on 20", "");
    kind("expired", "expired.test", signed(leaf), expired);
    let leaf = plain("early.test").validity(Validity::NotYet);
    let early = Bad("your certificate is not valid before 20", "");
    kind("not yet valid", "early.test", signed(leaf), early);
    let wrong = Bad(
        "your certificate is not for name.test: it has dNSName other.test",
        "",
    );
    kind(
        "wrong name",
        "name.test",
        signed(plain("other.test")),
        wrong,
    );
    let certificate = Issued::self_signed(&plain("self.test").common_name("self.test"));
    let worth = Bad("your certificate is self-signed", "");
    kind("self-signed", "self.test", certificate, worth);
    let certificate = unknown.issue(&plain("unknown.test"));
    let worth = Bad(NO_AUTHORITY, MISSING);
    kind("unknown authority", "unknown.test", certificate, worth);
    let certificate = middle.issue(&plain("middle.test"));
    kind("intermediate", "middle.test", certificate, Good);
    let certificate = middle.issue(&plain("gap.test")).without_intermediates();
    let worth = Bad(NO_AUTHORITY, MISSING);
    kind("missing intermediate", "gap.test", certificate, worth);

    let leaf = plain("server.test").purpose(Purpose::Server);
    kind("serverAuth only", "server.test", signed(leaf), Good);
    let leaf = plain("client.test").purpose(Purpose::Client);
    let worth = Bad(
        "your certificate is not for servers (its extended key usage lacks serverAuth)",
        "",
    );
    kind("clientAuth only", "client.test", signed(leaf), worth);
    let leaf = plain("any.test").purpose(Purpose::None);
    kind("no extended key usage", "any.test", signed(leaf), Good);

    let leaf = Leaf::default().common_name("cn.test");
    let nameless = Bad(
        "your certificate is not for cn.test: it has no dNSName, SRVName or xmppAddr (the common name",
        "does not count)",
    );
    kind("common name only", "cn.test", signed(leaf), nameless);
    let leaf = Leaf::default().srv("_xmpp-server.srv.test");
    kind("SRVName only", "srv.test", signed(leaf), Good);
    let leaf = Leaf::default().srv("_xmpp-client.users.test");
    let worth = Bad(
        "your certificate is not for users.test: it has no dNSName, SRVName or xmppAddr",
        "",
    );
    kind(
        "SRVName of another service",
        "users.test",
        signed(leaf),
        worth,
    );
    let leaf = Leaf::default().xmpp_addr("addr.test");
    kind("xmppAddr only", "addr.test", signed(leaf), Good);

    let leaf = plain("*.wild.test");
    kind("wildcard", "a.wild.test", signed(leaf.clone()), Good);
    let worth = Bad(
        "your certificate is not for wild.test: it has dNSName *.wild.test",
        "",
    );
    kind("wildcard above", "wild.test", signed(leaf.clone()), worth);
    let worth = Bad(
        "your certificate is not for b.a.wild.test: it has dNSName *.wild.test",
        "",
    );
    kind("wildcard two below", "b.a.wild.test", signed(leaf), worth);
    let worth = Bad("your certificate is not for part.wild.test: it has ", "");
    kind(
        "half a wildcard",
        "part.wild.test",
        signed(plain("pa*.wild.test")),
        worth,
    );
    let leaf = Leaf::default().srv("_xmpp-server.*.wild.test");
    let worth = Bad("your certificate is not for srv.wild.test: it has ", "");
    kind(
        "wildcard in an SRVName",
        "srv.wild.test",
        signed(leaf),
        worth,
    );

    let leaf = plain("xn--bcher-kva.test");
    kind("IDN", "bücher.test", signed(leaf), Good);
    let leaf = Leaf::default().xmpp_addr("mücke.test");
    kind("IDN in an xmppAddr", "mücke.test", signed(leaf), Good);
    let leaf = Leaf::default().srv("_xmpp-server.xn--mhle-0ra.test");
    kind("IDN in an SRVName", "mühle.test", signed(leaf), Good);
    let leaf = plain("*.xn--bcher-kva.test");
    kind(
        "IDN under a wildcard",
        "größe.bücher.test",
        signed(leaf),
        Good,
    );

    let certificate = constrained.issue(&plain("x.allowed.test"));
    kind(
        "within name constraints",
        "x.allowed.test",
        certificate,
        Good,
    );
    let certificate = constrained.issue(&plain("outside.test"));
    let worth = Bad("your certificate", "");
    kind(
        "outside of name constraints",
        "outside.test",
        certificate,
        worth,
    );
    let certificate = constrained.issue(&Leaf::default().xmpp_addr("y.allowed.test"));
    let worth = Bad("your certificate is not for y.allowed.test: it has ", "");
    kind(
        "a name that constraints do not reach",
        "y.allowed.test",
        certificate,
        worth,
    );
    kinds
}

/// One that says `verify = "strict"`, one that says `verify = "dialback"`.
const JUDGES: [(&str, &str); 2] = [
    ("strict.judge.test", "strict"),
    ("lenient.judge.test", "dialback"),
];

fn federates(method: &str) -> Seen {
    let streams = vec![(method.to_owned(), "TLS 1.3".to_owned())];
    Seen {
        end: End::Arrived,
        outgoing: streams.clone(),
        incoming: streams,
        asked: method == "dialback",
    }
}

/// What is wrong with the message of this delivery, if anything is.
fn fault(seen: &Seen, worth: Worth, verify: &str, judge_connects: bool) -> Option<String> {
    let want = match (worth, verify) {
        (Good, _) => federates("EXTERNAL"),
        // The judge's own certificate is good, and proves it to whoever that server is.
        (Bad(..), "dialback") if judge_connects => federates("EXTERNAL"),
        (Bad(..), "dialback") => federates("dialback"),
        (Bad(begins, ends), _) => {
            let (cause, begins, ends) = match judge_connects {
                // Said of the other server, to our own user.
                true => (
                    "certificate",
                    begins.replace("your ", "its "),
                    ends.replace(" you ", " it "),
                ),
                false => ("stream-error", begins.to_owned(), ends.to_owned()),
            };
            return match &seen.end {
                End::Returned(got)
                    if got.cause == cause
                        && (got.condition.as_str(), got.kind.as_str())
                            == ("remote-server-timeout", "cancel")
                        && got.text.contains(&begins)
                        && got
                            .text
                            .trim_end_matches(')')
                            .ends_with(ends.trim_end_matches(')'))
                        && (judge_connects || got.text.contains("not-authorized"))
                        && (&seen.outgoing, &seen.incoming) == (&vec![], &vec![])
                        && !seen.asked =>
                {
                    None
                }
                _ => Some(format!(
                    "expected {cause}: {begins:?} … {ends:?}; got {seen}"
                )),
            };
        }
    };
    (*seen != want).then(|| format!("expected {want}; got {seen}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_certificate_counts_for_what_it_is_in_both_directions() {
    let (mut world, mut meeting) = (World::new().unwrap(), Meeting::default());
    let kinds = kinds(&world);
    for kind in &kinds {
        let daemon = Daemon::serving(kind.domain).certificate_from(kind.certificate.clone());
        world.start(daemon).await.unwrap();
        meeting.attach(&world, kind.domain).await.unwrap();
    }
    for (domain, verify) in JUDGES {
        // What each direction is worth by itself, so that neither is carried by a stream of the other.
        let policy = format!("verify = '{verify}'\nbidi = false");
        let daemon = Daemon::serving(domain).policy(&policy);
        world.start(daemon).await.unwrap();
        meeting.attach(&world, domain).await.unwrap();
    }
    let mut cases = Vec::new();
    let mut deliveries = Vec::new();
    for kind in &kinds {
        for (judge, verify) in JUDGES {
            for judge_connects in [false, true] {
                let (from, to) = match judge_connects {
                    true => (judge, kind.domain),
                    false => (kind.domain, judge),
                };
                let (from, to) = (from.to_owned(), to.to_owned());
                deliveries.push(Delivery { from, to });
                cases.push((kind, verify, judge_connects));
            }
        }
    }
    let seen = meeting
        .all(&deliveries, Duration::from_secs(60))
        .await
        .unwrap();
    let mut failed = Vec::new();
    let mut arrived = Vec::new();
    for ((case, delivery), seen) in cases.iter().zip(&deliveries).zip(&seen) {
        let (kind, verify, judge_connects) = case;
        if let Some(why) = fault(seen, kind.worth, verify, *judge_connects) {
            let which = if *judge_connects {
                "connects to it"
            } else {
                "is connected to by it"
            };
            failed.push(format!("{}, verify = {verify:?} {which}: {why}", kind.name));
        }
        if seen.end == End::Arrived {
            arrived.push(delivery.clone());
        }
    }
    arrived.sort();
    assert_eq!(meeting.end(&mut world).await.unwrap(), arrived);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let good = kinds
        .iter()
        .filter(|kind| matches!(kind.worth, Good))
        .count();
    println!(
        "{} kinds, of which {good} are good; {} cases",
        kinds.len(),
        cases.len()
    );
    assert!(good > 0 && good < kinds.len());
}
