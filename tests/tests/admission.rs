//! Who may federate at all: `allow` and `deny`, in both directions and on every way to a proof.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd_tests::{
    authoritative::Says,
    checks::{self, Check, Other, Plan},
    component::attach,
    component_client::ComponentClient,
    peer::{Peer, header_text, initial_header},
    wire::Event,
    world::{Daemon, SECRET, TIMEOUT, World},
};
use tokio::time::timeout;
use xmpp_stream::{Condition, StanzaCondition, StanzaError, StreamError, StreamHeader, Writer, ns};

const GRACE: Duration = Duration::from_millis(100);

async fn world(daemon: Daemon) -> (World, ComponentClient) {
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    let component = world.component("b.test").await.unwrap();
    (world, component)
}

async fn pass(a: &mut ComponentClient, b: &mut ComponentClient) {
    let plan = Plan {
        checks: vec![Check::Message, Check::Ping],
        within: TIMEOUT,
        ..Plan::default()
    };
    for finding in checks::run(a, Other::ComponentClient(b), &plan).await {
        assert_eq!(finding.outcome, Ok(()));
    }
}

/// A message and a ping to `a.test` come back with `policy-violation`, and nobody looks for it.
async fn nothing_gets_out(policy: &str, because: &str) {
    let (mut world, mut b) = world(Daemon::serving("b.test").policy(policy)).await;
    let listener = world.listen("a.test").await.unwrap();
    let findings = checks::refused(&mut b, Other::Host("a.test"), &[], TIMEOUT, GRACE).await;
    for finding in &findings {
        let json = finding.to_json();
        assert_eq!(finding.outcome, Ok(()), "{json}");
        assert_eq!(json["condition"], "policy-violation", "{json}");
        assert_eq!(json["type"], "cancel", "{json}");
        assert!(json["text"].as_str().unwrap().contains(because), "{json}");
    }
    assert_eq!(findings.len(), 2);
    assert_eq!(world.dns().asked(), Vec::<String>::new());
    assert_eq!(world.daemon("b.test").unwrap().lanes(), 0);
    drop(listener);
}

#[tokio::test]
async fn what_is_for_a_denied_domain_comes_back_without_a_look_up() {
    nothing_gets_out("deny = ['a.test']", "`deny` in [policy] has \"a.test\"").await;
    nothing_gets_out("deny = ['*']", "`deny` in [policy] has \"*\"").await;
}

#[tokio::test]
async fn what_is_for_a_domain_that_is_not_allowed_comes_back_without_a_look_up() {
    nothing_gets_out("allow = ['*.test']\ndeny = ['*.test']", "deny").await;
    nothing_gets_out("allow = ['x.test', '*.a.test']", "`allow` in [policy]").await;
}

#[tokio::test]
async fn who_is_allowed_federates() {
    let mut world = World::new().unwrap();
    for (domain, other) in [("a.test", "b.test"), ("b.test", "a.test")] {
        let policy = format!("allow = ['{other}', '*.{other}']\ndeny = ['*.test.{other}']");
        let daemon = Daemon::serving(domain).policy(&policy);
        world.start(daemon).await.unwrap();
    }
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    pass(&mut a, &mut b).await;
}

async fn is_refused(mut peer: Peer, header: &StreamHeader) {
    peer.send(header_text(header)).await.unwrap();
    peer.expect_header().await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    let text = error.text.unwrap();
    assert!(
        text.contains("does not federate with your domain"),
        "{text}"
    );
}

#[tokio::test]
async fn a_denied_domain_is_refused_at_its_header() {
    let daemon = Daemon::serving("b.test")
        .policy("deny = ['a.test', '*.müller.test']")
        .direct_tls();
    let (world, _b) = world(daemon).await;
    let from = |from| initial_header(Some(from), "b.test");
    for name in ["a.test", "A.Test", "x.müller.test", "x.xn--mller-kva.test"] {
        is_refused(world.connect("b.test").await.unwrap(), &from(name)).await;
    }
    let old = StreamHeader {
        version: None,
        ..from("a.test")
    };
    is_refused(world.connect("b.test").await.unwrap(), &old).await;
    let mut direct = world.connect_direct("b.test").await.unwrap();
    let identity = world.identity("a.test");
    direct.direct_tls("b.test", Some(&identity)).await.unwrap();
    is_refused(direct, &from("a.test")).await;
    assert_eq!(world.dns().asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_denied_domain_that_comes_under_another_name_is_refused_at_its_key() {
    let daemon = Daemon::serving("b.test")
        .without_tls()
        .policy("deny = ['a.test']");
    let (mut world, mut b) = world(daemon).await;
    let authority = world
        .authoritative("a.test", Says::Valid, None)
        .await
        .unwrap();
    for from in [None, Some("c.test")] {
        let mut peer = world.connect("b.test").await.unwrap();
        peer.send_header(from, "b.test").await.unwrap();
        peer.expect_header().await.unwrap();
        peer.expect_features().await.unwrap();
        let answer = peer.dialback("a.test", "b.test", "a key").await.unwrap();
        assert_eq!(answer, "error");
        let said = peer.transcript().concat();
        assert!(said.contains("policy-violation"), "{said}");
    }
    assert!(authority.asked().is_empty());
    assert!(b.collect(GRACE).await.is_empty());
}

#[tokio::test]
async fn a_denied_domain_without_from_is_refused_once_its_certificate_names_it() {
    let daemon = Daemon::serving("b.test").policy("deny = ['a.test']");
    let (world, _b) = world(daemon).await;
    let mut peer = world.connect("b.test").await.unwrap();
    peer.send_header(None, "b.test").await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    let identity = world.identity("a.test");
    peer.starttls("b.test", Some(&identity)).await.unwrap();
    peer.send_header(None, "b.test").await.unwrap();
    peer.expect_header().await.unwrap();
    let features = peer.expect_features().await.unwrap();
    assert_eq!(features.mechanisms, ["EXTERNAL"]);
    let auth = Writer::new("auth")
        .xmlns(ns::SASL)
        .attr("mechanism", "EXTERNAL")
        .text("=");
    peer.send(auth.finish()).await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
}

/// A raw peer that has proved a domain to `b.test`.
async fn proved(world: &mut World, domain: &str) -> Peer {
    let authority = world.authoritative(domain, Says::Valid, None).await;
    let _authority = authority.unwrap();
    let mut peer = world.connect("b.test").await.unwrap();
    peer.open(domain, "b.test").await.unwrap();
    let answer = peer.dialback(domain, "b.test", "a key").await.unwrap();
    assert_eq!(answer, "valid");
    peer
}

#[tokio::test]
async fn a_denial_that_is_reloaded_ends_incoming_streams_and_no_others() {
    let daemon = || Daemon::serving("b.test").without_tls();
    let (mut world, mut b) = world(daemon()).await;
    let mut denied = proved(&mut world, "a.test").await;
    let mut other = proved(&mut world, "c.test").await;
    world.reload(&daemon().policy("deny = ['a.test']")).unwrap();
    let error = denied.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    let message = Writer::new("message")
        .attr("from", "c.test")
        .attr("to", "b.test")
        .attr("id", "one");
    other.send(message.finish()).await.unwrap();
    let came = b.expect("the message", TIMEOUT, |_| true).await.unwrap();
    assert_eq!(came.from().as_deref(), Some("c.test"));
}

#[tokio::test]
async fn a_denial_that_is_reloaded_ends_outgoing_streams_and_no_others() {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test", "c.test"] {
        world.start(Daemon::serving(domain)).await.unwrap();
    }
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let mut c = world.component("c.test").await.unwrap();
    pass(&mut a, &mut b).await;
    pass(&mut c, &mut b).await;
    let running = world.daemon("b.test").unwrap();
    assert_eq!(running.lanes(), 2);
    let asked = world.dns().asked().len();
    let denying = Daemon::serving("b.test").policy("deny = ['a.test']");
    world.reload(&denying).unwrap();
    let closed = async {
        while running.lanes() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, closed).await.unwrap();
    pass(&mut c, &mut b).await;
    assert_eq!(world.dns().asked().len(), asked, "a new stream was made");
}

/// A lane that waits for its next attempt when the domain is denied does not make it.
#[tokio::test]
async fn a_denial_that_is_reloaded_ends_what_waits() {
    let patient = || Daemon::serving("b.test").tables("[queue]\nbackoff = { first = '100ms' }");
    let (mut world, mut b) = world(patient()).await;
    drop(world.listen("a.test").await.unwrap());
    let send = Writer::new("message")
        .attr("from", b.address())
        .attr("to", "a.test")
        .attr("id", "one")
        .finish();
    b.send(send).await.unwrap();
    // The first attempt was made: the zone was asked.
    let asked = async {
        while world.dns().asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TIMEOUT, asked).await.unwrap();
    let denying = patient().policy("deny = ['a.test']");
    assert_eq!(world.reload(&denying).unwrap(), Vec::<String>::new());
    let answer = b
        .expect("the bounce", TIMEOUT, |found| {
            found.id().as_deref() == Some("one")
        })
        .await
        .unwrap();
    let error = StanzaError::from_element(&answer).unwrap();
    assert_eq!(error.condition, StanzaCondition::PolicyViolation);
}

/// A stream that waits for a component's room hears a reload all the same: what waits ends, nothing more is delivered.
async fn is_denied_while_it_waits(denied: &str) {
    let daemon = |deny: &str| {
        Daemon::serving("b.test")
            .policy(&format!("tls = 'optional'\n{deny}"))
            .tables("[queue]\nstanzas = 10\ngive_up = '10m'\n")
    };
    let mut world = World::new().unwrap();
    world.start(daemon("")).await.unwrap();
    let mut authorities = Vec::new();
    for domain in ["a.test", "c.test"] {
        let authority = world.authoritative(domain, Says::Valid, None).await;
        authorities.push(authority.unwrap());
    }
    let addr = world.daemon("b.test").unwrap().components[0];
    let mut component = attach(addr, "b.test", SECRET, TIMEOUT).await.unwrap();
    let mut peer = world.connect("b.test").await.unwrap();
    peer.open("a.test", "b.test").await.unwrap();
    for domain in ["a.test", "c.test"] {
        let verdict = peer.dialback(domain, "b.test", "key").await.unwrap();
        assert_eq!(verdict, "valid");
    }
    // The component reads nothing until the peer cannot write any more.
    let text = format!(
        "<message from='a.test' to='b.test'><body>{}</body></message>",
        "x".repeat(10_000)
    )
    .repeat(10);
    let mut sent = 0;
    while let Ok(well) = timeout(Duration::from_secs(1), peer.send(&text)).await {
        well.unwrap();
        sent += 10;
        assert!(sent < 100_000, "it waits for nobody");
    }
    let deny = format!("deny = ['{denied}']");
    world.reload(&daemon(&deny)).unwrap();
    let error = peer.expect(ns::STREAMS, "error").await.unwrap();
    let error = StreamError::from_element(&error).unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    // What was on its way to the component arrives, and nothing that came after.
    let mut arrived = 0;
    while let Event::Element(_) = component.next(Duration::from_secs(1)).await.unwrap() {
        arrived += 1;
    }
    assert!(arrived < sent, "{arrived} of {sent}");
}

#[tokio::test]
async fn a_domain_that_is_denied_while_its_stanza_waits_loses_its_stream_at_once() {
    is_denied_while_it_waits("a.test").await;
}

#[tokio::test]
async fn a_stream_that_waits_is_closed_when_another_of_its_domains_is_denied() {
    is_denied_while_it_waits("c.test").await;
}
