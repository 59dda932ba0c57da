//! A zone that is signed, and answers that are not what was signed: RFC 7673 §3, between daemons. What the DNS alone says
//! to each case is tested in s2sd; here is what comes back to the sender, and that nothing arrives.
#![allow(clippy::unwrap_used)]

use s2sd::closed::CAUSE_NAMESPACE;
use s2sd::tools::demo::zone::Flaw;
use s2sd_tests::{
    checks::{self, Other, Plan},
    world::{Daemon, TIMEOUT, World},
};
use xmpp_stream::{Writer, ns};

const HASTE: &str = "[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }\n";
const SRV: &str = "_xmpp-server._tcp.b.test";

/// `a.test` and `b.test`, in a zone that is signed; `a.test` with this `dnssec`.
async fn world(dnssec: &str) -> World {
    let mut world = World::signed().unwrap();
    let a = Daemon::serving("a.test").tables(HASTE).dnssec(dnssec);
    world.start(a).await.unwrap();
    world.start(Daemon::serving("b.test")).await.unwrap();
    world
}

/// The condition, the cause and the text of what comes back for a message to `b.test`, where nothing arrives.
async fn comes_back(world: &World) -> (String, String, String) {
    let mut a = world.component("a.test").await.unwrap();
    let b = world.component("b.test").await.unwrap();
    let message = Writer::new("message")
        .attr("from", a.address())
        .attr("to", b.address())
        .attr("id", "1");
    a.send(message.finish()).await.unwrap();
    let error = a.expect("the error", TIMEOUT, |_| true).await.unwrap();
    let tree = error.tree();
    let error = tree.elements().find(|child| child.name == "error").unwrap();
    let condition = error
        .elements()
        .find(|child| child.namespace == ns::STANZA_ERRORS);
    let kind = error.attr("type").unwrap();
    let cause = error.child(CAUSE_NAMESPACE, "cause").unwrap();
    (
        format!("{} {kind}", condition.unwrap().name),
        cause.attr("name").unwrap().to_owned(),
        error.child(ns::STANZA_ERRORS, "text").unwrap().text(),
    )
}

async fn federates(world: &World) {
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let findings = checks::run(&mut a, Other::ComponentClient(&mut b), &Plan::default()).await;
    for finding in findings {
        assert_eq!(finding.outcome, Ok(()), "{}", finding.to_json());
    }
}

#[tokio::test]
async fn daemons_federate_where_everything_is_signed_and_is_required_to_be() {
    let mut world = World::signed().unwrap();
    for domain in ["a.test", "b.test"] {
        let daemon = Daemon::serving(domain).dnssec("require");
        world.start(daemon).await.unwrap();
    }
    world.change_zone(|zone| zone.zone("test").zone("b.test"));
    federates(&world).await;
}

#[tokio::test]
async fn an_unsigned_zone_is_in_the_way_of_who_requires_signatures_only() {
    let mut world = world("use").await;
    world.change_zone(|zone| zone.unsigned("test"));
    federates(&world).await;

    let mut world = self::world("require").await;
    world.change_zone(|zone| zone.unsigned("b.test"));
    let (condition, cause, text) = comes_back(&world).await;
    assert_eq!(
        (condition.as_str(), cause.as_str()),
        ("policy-violation cancel", "policy")
    );
    assert_eq!(
        text,
        format!(
            "its DNS answers are not signed by DNSSEC ({SRV}), and `dns.dnssec` requires that here"
        )
    );
}

#[tokio::test]
async fn an_answer_that_is_refuted_comes_back_with_its_name_and_what_to_do() {
    for (flaw, want) in [
        (
            Flaw::Broken,
            "its signature is not that of the keys of the root; the zone has to be signed anew",
        ),
        (Flaw::Expired, "; the zone has to be signed anew"),
        (Flaw::Early, "; a clock is wrong, there or here"),
        (
            Flaw::Stripped,
            "it is not signed, though its zone is; either a name server on the way takes signatures away",
        ),
    ] {
        let mut world = world("use").await;
        world.change_zone(|zone| zone.flaw(SRV, flaw));
        let (condition, cause, text) = comes_back(&world).await;
        assert_eq!(
            (condition.as_str(), cause.as_str()),
            ("remote-server-timeout wait", "dnssec")
        );
        assert!(
            text.starts_with(&format!("DNSSEC refutes an answer of the DNS: {SRV} SRV: ")),
            "{text}"
        );
        assert!(text.contains(want), "{text}");
        // Repaired, it goes at once.
        world.change_zone(|zone| zone.without_flaw(SRV));
        federates(&world).await;
    }
    let mut world = world("use").await;
    world.change_zone(|zone| zone.wrong_ds("b.test"));
    let (_, cause, text) = comes_back(&world).await;
    assert_eq!(cause, "dnssec");
    assert!(
        text.contains("the keys of b.test are not those that the zone above vouches for"),
        "{text}"
    );
}

#[tokio::test]
async fn a_place_whose_address_is_refuted_is_passed_over() {
    // Of the two places the first in any order: at the second nobody listens.
    let with_another = |world: &mut World, flaw: Flaw| {
        world.change_zone(|zone| {
            zone.srv(SRV, 1, 0, 9, "bad.b.test")
                .a("bad.b.test", [127, 0, 0, 1].into())
                .flaw("bad.b.test", flaw)
        });
        world.host("b.test").unwrap()
    };
    let mut world = world("use").await;
    with_another(&mut world, Flaw::Broken);
    federates(&world).await;

    let mut world = self::world("use").await;
    let host = with_another(&mut world, Flaw::Expired);
    world.change_zone(|zone| zone.flaw(&host, Flaw::Stripped));
    let mut asked = world.dns().watch();
    let (condition, cause, text) = comes_back(&world).await;
    assert_eq!(
        (condition.as_str(), cause.as_str()),
        ("remote-server-timeout wait", "dnssec")
    );
    assert!(text.contains("bad.b.test A"), "{text}");
    let mut lines = Vec::new();
    while let Ok(line) = asked.try_recv() {
        lines.push(line);
    }
    for place in [host.as_str(), "bad.b.test"] {
        assert!(lines.contains(&format!("{place} A")), "{lines:?}");
    }
}
