//! What signed zones say of certificates, between daemons and in both directions: RFC 7673, RFC 7712 §5.1. What the log,
//! the bounce and the error to the peer say of it is the same value.
#![allow(clippy::unwrap_used)]

#[path = "log/mod.rs"]
mod log;

use s2sd::tools::demo::ca::{Authority, Issued, Leaf};
use s2sd::tools::demo::zone::Flaw;
use s2sd::trust::Tlsa;
use s2sd_tests::{
    checks::{self, Check, Other, Plan},
    peer::Peer,
    tls::TlsIdentity,
    wire::Event,
    world::{Daemon, TIMEOUT, World},
};
use sha2::{Digest as _, Sha256};
use xmpp_stream::{Features, StanzaKind, StreamError, Writer, ns};

// Each direction has a stream of its own, on which its server is judged.
const EXTERNAL: &str = "auth = ['external']\nbidi = false";
const REQUIRE: &str = "auth = ['external']\nbidi = false\ndane = 'require'";
const HASTE: &str = "[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }\n";

fn daemon(domain: &str, policy: &str) -> Daemon {
    Daemon::serving(domain).policy(policy).tables(HASTE)
}

/// A record of the first certificate (usages 1 and 3) or of the last one that is shown (0 and 2).
fn record(usage: u8, issued: &Issued) -> Tlsa {
    let chain = issued.chain();
    let of = if usage % 2 == 1 {
        &chain[0]
    } else {
        chain.last().unwrap()
    };
    Tlsa::new(usage, 0, 1, Sha256::digest(of).to_vec()).unwrap()
}

/// Messages go both ways, so that each side has judged the other twice: called and calling.
async fn federate(world: &World, one: &str, other: &str) {
    let mut a = world.component(one).await.unwrap();
    let mut b = world.component(other).await.unwrap();
    let plan = Plan {
        checks: vec![Check::Message],
        within: TIMEOUT,
        ..Plan::default()
    };
    for finding in checks::run(&mut a, Other::ComponentClient(&mut b), &plan).await {
        assert_eq!(finding.outcome, Ok(()), "{}", finding.to_json());
    }
}

/// The cause and the text of what comes back for a message.
async fn comes_back(world: &World, from: &str, to: &str) -> (String, String) {
    let mut a = world.component(from).await.unwrap();
    let message = Writer::new("message")
        .attr("from", a.address())
        .attr("to", to)
        .attr("id", "1");
    a.send(message.finish()).await.unwrap();
    let error = a.expect("the error", TIMEOUT, |_| true).await.unwrap();
    let tree = error.tree();
    let error = tree.elements().find(|child| child.name == "error").unwrap();
    let cause = error.child(s2sd::closed::CAUSE_NAMESPACE, "cause").unwrap();
    (
        cause.attr("name").unwrap().to_owned(),
        error.child(ns::STANZA_ERRORS, "text").unwrap().text(),
    )
}

/// A raw peer that shows this certificate and says that it is `from`: what it is offered, or how it is refused.
async fn call(
    world: &World,
    to: &str,
    from: &str,
    identity: &TlsIdentity,
) -> (Peer, Result<Features, StreamError>) {
    let mut peer = called(world, to, from, identity).await;
    peer.expect_header().await.unwrap();
    let Event::Element(element) = peer.next().await.unwrap() else {
        panic!("neither features nor an error");
    };
    let outcome = match StreamError::from_element(&element) {
        Some(error) => Err(error),
        None => Ok(Features::from_element(&element).unwrap()),
    };
    (peer, outcome)
}

/// The same, up to its header.
async fn called(world: &World, to: &str, from: &str, identity: &TlsIdentity) -> Peer {
    let mut peer = world.connect(to).await.unwrap();
    peer.open(from, to).await.unwrap();
    peer.starttls(to, Some(identity)).await.unwrap();
    peer.send_header(Some(from), to).await.unwrap();
    peer
}

#[track_caller]
fn offered(outcome: &Result<Features, StreamError>) {
    let features = outcome.as_ref().unwrap();
    assert_eq!(features.mechanisms, ["EXTERNAL"]);
}

#[track_caller]
fn refused(outcome: &Result<Features, StreamError>, words: &str) {
    let error = outcome.as_ref().unwrap_err();
    assert_eq!(error.condition.name(), "not-authorized");
    let text = error.text.as_deref().unwrap_or_default();
    assert!(text.contains(words), "{text}");
}

#[tokio::test]
async fn certificates_that_no_authority_signed_are_good_both_ways_where_the_zone_has_them() {
    let log = log::log();
    for policy in [EXTERNAL, REQUIRE] {
        let mut world = World::signed().unwrap();
        for domain in ["one.test", "two.test"] {
            let issued = Issued::self_signed(&Leaf::domain(domain));
            let daemon = daemon(domain, policy).certificate_from(issued.clone());
            world.start(daemon).await.unwrap();
            world.tlsa(domain, &record(3, &issued)).unwrap();
        }
        federate(&world, "one.test", "two.test").await;
    }
    for way in ["outgoing", "incoming"] {
        for domain in ["one.test", "two.test"] {
            let line = log.line(&[
                &format!("{way} stream authenticated"),
                &format!("remote={domain}"),
            ]);
            assert!(
                line.contains("trust=\"DANE\" because=\"TLSA 3 0 1 "),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn an_authority_of_the_zones_own_is_good_both_ways() {
    let log = log::log();
    let mut world = World::signed().unwrap();
    let own = Authority::new("an authority nobody knows");
    let middle = own.intermediate("its intermediate");
    for domain in ["taone.test", "tatwo.test"] {
        let issued = middle.issue(&Leaf::domain(domain));
        let daemon = daemon(domain, EXTERNAL).certificate_from(issued.clone());
        world.start(daemon).await.unwrap();
        world.tlsa(domain, &record(2, &issued)).unwrap();
    }
    federate(&world, "taone.test", "tatwo.test").await;
    let line = log.line(&["incoming stream authenticated", "remote=taone.test"]);
    assert!(line.contains("because=\"TLSA 2 0 1 "), "{line}");
}

#[tokio::test]
async fn what_the_zone_does_not_have_is_bad_both_ways_whoever_signed_it() {
    let mut world = World::signed().unwrap();
    world.start(daemon("a.test", EXTERNAL)).await.unwrap();
    world.start(daemon("b.test", EXTERNAL)).await.unwrap();
    let other = world.issue(&Leaf::domain("b.test"));
    let shown = world.identity("b.test");
    let (_peer, outcome) = call(&world, "a.test", "b.test", &shown).await;
    offered(&outcome);

    world.tlsa("b.test", &record(3, &other)).unwrap();
    let (cause, text) = comes_back(&world, "a.test", "x@b.test").await;
    assert_eq!(cause, "certificate");
    assert!(
        text.contains("its certificate matches no TLSA record at _"),
        "{text}"
    );
    let (_peer, outcome) = call(&world, "a.test", "b.test", &shown).await;
    refused(&outcome, "your certificate matches no TLSA record at _");
    // The one that the zone has is welcome.
    let (_peer, outcome) = call(&world, "a.test", "b.test", &TlsIdentity::from(&other)).await;
    offered(&outcome);
}

#[tokio::test]
async fn a_record_narrows_what_an_authority_may_say() {
    let mut world = World::signed().unwrap();
    world.start(daemon("a.test", EXTERNAL)).await.unwrap();
    world.start(daemon("b.test", EXTERNAL)).await.unwrap();
    let (one, other) = (
        world.issue(&Leaf::domain("b.test")),
        world.issue(&Leaf::domain("b.test")),
    );
    let own = Issued::self_signed(&Leaf::domain("b.test"));
    world.tlsa("b.test", &record(1, &one)).unwrap();
    world.tlsa("b.test", &record(1, &own)).unwrap();
    let (_peer, outcome) = call(&world, "a.test", "b.test", &TlsIdentity::from(&one)).await;
    offered(&outcome);
    for shown in [&other, &own] {
        let (_peer, outcome) = call(&world, "a.test", "b.test", &TlsIdentity::from(shown)).await;
        refused(&outcome, "your certificate matches no TLSA record at _");
    }
}

/// `b.test` is hosted: its SRV record leads to `hosting.test`, and that is the name in the certificate.
async fn hosted(sign: bool, names: [&str; 2]) -> World {
    let mut world = World::signed().unwrap();
    let [a, b] = names;
    world.start(daemon(a, EXTERNAL)).await.unwrap();
    let leaf = Leaf::domain("hosting.test");
    world
        .start(daemon(b, EXTERNAL).certificate(leaf))
        .await
        .unwrap();
    let port = world.daemon(b).unwrap().s2s[0].port();
    let srv = format!("_xmpp-server._tcp.{b}");
    world.change_zone(|zone| {
        let zone = zone
            .without(&srv)
            .srv(&srv, 0, 0, port, "hosting.test")
            .a("hosting.test", [127, 0, 0, 1].into());
        if sign { zone } else { zone.unsigned(b) }
    });
    world
}

#[tokio::test]
async fn where_signed_srv_records_lead_a_server_may_have_its_own_name_both_ways() {
    let log = log::log();
    let world = hosted(true, ["guest.test", "tenant.test"]).await;
    federate(&world, "guest.test", "tenant.test").await;
    for way in ["outgoing", "incoming"] {
        let line = log.line(&[&format!("{way} stream authenticated"), "remote=tenant.test"]);
        let want =
            "trust=\"delegated\" because=\"dNSName hosting.test, where its SRV records lead\"";
        assert!(line.contains(want), "{line}");
    }
}

#[tokio::test]
async fn where_srv_records_are_not_signed_it_may_not() {
    let world = hosted(false, ["a.test", "b.test"]).await;
    let (cause, text) = comes_back(&world, "a.test", "x@b.test").await;
    assert_eq!(cause, "certificate");
    let words = "certificate is not for b.test: it has dNSName hosting.test";
    assert!(text.contains(words), "{text}");
    let (_peer, outcome) = call(&world, "a.test", "b.test", &world.identity("hosting.test")).await;
    refused(&outcome, words);
}

#[tokio::test]
async fn proofs_that_are_refuted_expired_or_missing_count_against_who_calls() {
    let mut world = World::signed().unwrap();
    world.start(daemon("a.test", EXTERNAL)).await.unwrap();
    world.start(daemon("b.test", EXTERNAL)).await.unwrap();
    let issued = world.issue(&Leaf::domain("b.test"));
    let shown = TlsIdentity::from(&issued);
    let host = world.host("b.test").unwrap();
    let port = world.daemon("b.test").unwrap().s2s[0].port();
    let records = format!("_{port}._tcp.{host}");
    world.tlsa("b.test", &record(3, &issued)).unwrap();
    // Why is in our log, and not for whoever made us ask.
    let cannot = |outcome: &Result<Features, StreamError>| {
        refused(
            outcome,
            "whether your DNS says another certificate is the right one cannot be told",
        );
        let text = outcome.as_ref().unwrap_err().text.as_deref();
        assert!(text.unwrap_or_default().ends_with("told"), "{text:?}");
    };
    for name in ["_xmpp-server._tcp.b.test", &host, &records] {
        for flaw in [Flaw::Broken, Flaw::Expired, Flaw::Stripped] {
            world.change_zone(|zone| zone.flaw(name, flaw));
            let (_peer, outcome) = call(&world, "a.test", "b.test", &shown).await;
            cannot(&outcome);
            world.change_zone(|zone| zone.without_flaw(name));
        }
    }
    let (_peer, outcome) = call(&world, "a.test", "b.test", &shown).await;
    offered(&outcome);
    // That there was no answer is remembered for seconds: the last question first.
    for name in [&records, &host, "_xmpp-server._tcp.b.test"] {
        world.change_zone(|zone| zone.fails(name));
        let (_peer, outcome) = call(&world, "a.test", "b.test", &shown).await;
        cannot(&outcome);
    }
}

#[tokio::test]
async fn a_record_that_is_refuted_keeps_us_away() {
    let mut world = World::signed().unwrap();
    world.start(daemon("a.test", EXTERNAL)).await.unwrap();
    world.start(daemon("b.test", EXTERNAL)).await.unwrap();
    let other = Issued::self_signed(&Leaf::domain("b.test"));
    world.tlsa("b.test", &record(3, &other)).unwrap();
    let host = world.host("b.test").unwrap();
    let port = world.daemon("b.test").unwrap().s2s[0].port();
    let records = format!("_{port}._tcp.{host}");
    world.change_zone(|zone| zone.flaw(&records, Flaw::Expired));
    let (cause, text) = comes_back(&world, "a.test", "x@b.test").await;
    assert_eq!(cause, "dnssec");
    assert!(text.contains(&format!("{records} TLSA")), "{text}");
}

#[tokio::test]
async fn without_signatures_an_authority_is_enough_unless_records_are_required() {
    for (policy, want) in [
        (EXTERNAL, None),
        (
            REQUIRE,
            Some("publishes no TLSA records that DNSSEC proves"),
        ),
    ] {
        let mut world = World::signed().unwrap();
        world.start(daemon("a.test", policy)).await.unwrap();
        world.start(daemon("b.test", EXTERNAL)).await.unwrap();
        // Not those of the certificate; but who knows who wrote them.
        let other = Issued::self_signed(&Leaf::domain("b.test"));
        world.tlsa("b.test", &record(3, &other)).unwrap();
        world.change_zone(|zone| zone.unsigned("b.test"));
        let (_peer, outcome) = call(&world, "a.test", "b.test", &world.identity("b.test")).await;
        match want {
            None => {
                offered(&outcome);
                federate(&world, "a.test", "b.test").await;
            }
            Some(words) => {
                refused(&outcome, words);
                let (cause, text) = comes_back(&world, "a.test", "x@b.test").await;
                assert_eq!(cause, "certificate");
                assert!(text.contains(words), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn where_the_zone_names_the_certificate_tls_is_not_a_matter_of_choice() {
    let mut world = World::signed().unwrap();
    let policy = "tls = 'optional'\nauth = ['external', 'dialback']";
    world.start(daemon("a.test", policy)).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let issued = world.issue(&Leaf::domain("b.test"));
    world.tlsa("b.test", &record(3, &issued)).unwrap();
    let answering = async {
        let mut peer = server.accept().await.unwrap();
        peer.answer_open("1", &Features::default()).await.unwrap();
        peer.expect_end().await.unwrap();
    };
    let ((), (cause, _)) = tokio::join!(answering, comes_back(&world, "a.test", "x@b.test"));
    assert_eq!(cause, "tls-not-offered");
}

#[tokio::test]
async fn whom_the_dns_keeps_waiting_waits_alone() {
    let mut world = World::signed().unwrap();
    world.start(daemon("a.test", EXTERNAL)).await.unwrap();
    world.start(daemon("b.test", EXTERNAL)).await.unwrap();
    world.change_zone(|zone| zone.silent("_xmpp-server._tcp.slow.test"));
    let mut slow = called(&world, "a.test", "slow.test", &world.identity("slow.test")).await;
    // Somebody else is not kept waiting, nor is who has proved something already.
    federate(&world, "a.test", "b.test").await;
    let both = Leaf::domain("quick.test").dns("slow.test");
    let shown = TlsIdentity::from(&world.issue(&both));
    let (mut quick, outcome) = call(&world, "a.test", "quick.test", &shown).await;
    offered(&outcome);
    quick
        .send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
        .await
        .unwrap();
    quick.expect(ns::SASL, "success").await.unwrap();
    quick.restart();
    quick.open("quick.test", "a.test").await.unwrap();
    quick
        .send("<db:result xmlns:db='jabber:server:dialback' from='slow.test' to='a.test'>key</db:result>")
        .await
        .unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let message = format!("<message from='x@quick.test' to='{}' id='q'/>", a.address());
    quick.send(message).await.unwrap();
    a.expect("the message", TIMEOUT, |element| {
        element.stanza_kind() == Some(StanzaKind::Message)
    })
    .await
    .unwrap();
    // Not a word to those who wait.
    for peer in [&mut slow, &mut quick] {
        peer.expect_nothing(std::time::Duration::ZERO)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_about_a_stranger_is_bounded() {
    let mut world = World::signed().unwrap();
    world.start(daemon("a.test", EXTERNAL)).await.unwrap();
    let name = "_xmpp-server._tcp.many.test";
    world.change_zone(|zone| {
        (0..200_u16).fold(zone, |zone, at| {
            let host = format!("h{at}.many.test");
            zone.srv(name, 0, 0, 5269, &host)
                .a(&host, [127, 0, 0, 1].into())
        })
    });
    let shown = world.identity("many.test");
    let (_peer, outcome) = call(&world, "a.test", "many.test", &shown).await;
    offered(&outcome);
    let asked = world.dns().asked();
    let records = asked.iter().filter(|line| line.ends_with(" TLSA")).count();
    assert_eq!(records, 24, "{asked:?}");
}
