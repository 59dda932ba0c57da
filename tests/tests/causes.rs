//! Each step on the way to a stream that can fail has a cause of its own in what comes back, and words for it.
#![allow(clippy::unwrap_used)]

use s2sd::closed::CAUSE_NAMESPACE;
use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::{
    peer::Peer,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use xmpp_stream::{Features, Writer, ns};

const HASTE: &str = "[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }\n";

/// What comes back to `a.test` for a message to `b.test`, while `server` plays that domain's server.
async fn comes_back(
    daemon: Daemon,
    mut server: impl AsyncFnMut(RawServer, &World),
) -> (String, String, String) {
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    let listener = world.listen("b.test").await.unwrap();
    let mut component = world.component("a.test").await.unwrap();
    let message = Writer::new("message")
        .attr("from", component.address())
        .attr("to", "b.test")
        .attr("id", "1");
    component.send(message.finish()).await.unwrap();
    let error = tokio::select! {
        error = component.expect("the error", TIMEOUT, |_| true) => error.unwrap(),
        () = server(listener, &world) => panic!("the server has left the stage"),
    };
    let tree = error.tree();
    let error = tree.elements().find(|child| child.name == "error").unwrap();
    let condition = error
        .elements()
        .find(|child| child.namespace == ns::STANZA_ERRORS);
    let cause = error.child(CAUSE_NAMESPACE, "cause").unwrap();
    (
        format!(
            "{} {}",
            condition.unwrap().name,
            error.attr("type").unwrap()
        ),
        cause.attr("name").unwrap().to_owned(),
        error.child(ns::STANZA_ERRORS, "text").unwrap().text(),
    )
}

#[track_caller]
fn check(came: &(String, String, String), condition: &str, cause: &str, words: &str) {
    let (got, name, text) = came;
    assert_eq!((got.as_str(), name.as_str()), (condition, cause), "{text}");
    assert!(text.contains(words), "{text:?} without {words:?}");
}

const WAIT: &str = "remote-server-timeout wait";
const CANCEL: &str = "remote-server-timeout cancel";

fn a_test(policy: &str) -> Daemon {
    Daemon::serving("a.test").policy(policy).tables(HASTE)
}

fn features(mechanisms: &[&str]) -> Features {
    Features::new().with_mechanisms(mechanisms.iter().copied())
}

fn tls() -> Features {
    Features::new().with_starttls(true)
}

/// Up to TLS, and then with these features.
async fn over_tls(listener: &RawServer, world: &World, features: &Features) -> Peer {
    let mut peer = listener.accept_at_leisure().await.unwrap();
    peer.answer_open("1", &tls()).await.unwrap();
    peer.accept_starttls(&world.identity("b.test"))
        .await
        .unwrap();
    peer.answer_open("2", features).await.unwrap();
    peer
}

/// Whoever it is that connects now, it is not the test that waits for it.
async fn for_ever() {
    std::future::pending().await
}

#[tokio::test]
async fn a_connection_that_breaks() {
    let came = comes_back(a_test(""), async |listener, _| {
        loop {
            drop(listener.accept_at_leisure().await.unwrap());
        }
    });
    check(&came.await, WAIT, "lost", "the connection was lost");
}

#[tokio::test]
async fn a_server_that_says_nothing() {
    let patient = "[limits]\nnegotiation = '1s'\n[queue]\ngive_up = '2s'";
    let daemon = Daemon::serving("a.test").tables(patient);
    let came = comes_back(daemon, async |listener, _| {
        let _silent = listener.accept_at_leisure().await.unwrap();
        for_ever().await
    });
    let words = "timed out: no answer to the stream header";
    check(&came.await, WAIT, "timeout", words);
}

#[tokio::test]
async fn a_handshake_that_fails() {
    let came = comes_back(a_test(""), async |listener, _| {
        loop {
            let mut peer = listener.accept_at_leisure().await.unwrap();
            peer.answer_open("1", &tls()).await.unwrap();
            peer.expect(ns::TLS, "starttls").await.unwrap();
            let proceed = Writer::new("proceed").xmlns(ns::TLS);
            peer.send(proceed.finish()).await.unwrap();
            // The ClientHello, which is no XML.
            let _ = peer.next().await;
            peer.send("this is no ServerHello").await.unwrap();
        }
    });
    check(&came.await, WAIT, "tls", "the TLS handshake failed");
}

#[tokio::test]
async fn a_server_without_the_tls_that_is_required() {
    let came = comes_back(a_test(""), async |listener, _| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.answer_open("1", &Features::default()).await.unwrap();
        for_ever().await
    });
    check(
        &came.await,
        CANCEL,
        "tls-not-offered",
        "encryption is required",
    );
}

#[tokio::test]
async fn a_certificate_for_somebody_else() {
    let came = comes_back(a_test(""), async |listener, world| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.answer_open("1", &tls()).await.unwrap();
        let other = world.issue(&Leaf::domain("your c.test"));
        peer.accept_starttls(&(&other).into()).await.unwrap();
        for_ever().await
    });
    let words = "the other server's certificate is not accepted: its certificate is not for b.test: \
                 it has dNSName your c.test";
    check(&came.await, CANCEL, "certificate", words);
}

#[tokio::test]
async fn a_server_that_offers_nothing_of_use() {
    let came = comes_back(a_test("auth = ['external']"), async |listener, world| {
        let _peer = over_tls(&listener, world, &features(&["PLAIN", "X-OTHER"])).await;
        for_ever().await
    });
    check(
        &came.await,
        CANCEL,
        "no-mechanism",
        "offers only PLAIN, X-OTHER",
    );
}

#[tokio::test]
async fn a_server_that_refuses_the_certificate() {
    let came = comes_back(a_test("auth = ['external']"), async |listener, world| {
        let mut peer = over_tls(&listener, world, &features(&["EXTERNAL"])).await;
        peer.expect(ns::SASL, "auth").await.unwrap();
        let failure = Writer::new("failure")
            .xmlns(ns::SASL)
            .child(Writer::new("not-authorized"));
        peer.send(failure.finish()).await.unwrap();
        for_ever().await
    });
    let words = "the other server refused EXTERNAL (not-authorized)";
    check(&came.await, CANCEL, "refused", words);
}

/// XEP-0220 §2.5: what waits is returned. Only what is temporary by its own words is waited for.
#[tokio::test]
async fn a_key_that_is_answered_with_an_error() {
    use xmpp_dialback::{DialbackError, ErrorCondition, Pair, Verdict, wire::Nonza};
    for (condition, kind, tables) in [
        (ErrorCondition::PolicyViolation, CANCEL, ""),
        (ErrorCondition::RemoteConnectionFailed, CANCEL, ""),
        (ErrorCondition::RemoteServerNotFound, CANCEL, ""),
        (ErrorCondition::RemoteServerTimeout, WAIT, HASTE),
        (ErrorCondition::ResourceConstraint, WAIT, HASTE),
    ] {
        let answer = Nonza::Result {
            pair: Pair::new("a.test", "b.test"),
            verdict: Verdict::Error(DialbackError::new(condition).with_text("their words")),
        };
        let plain = "tls = 'disabled'\nauth = ['dialback']";
        let daemon = Daemon::serving("a.test").policy(plain).tables(tables);
        let came = comes_back(daemon, async |listener, _| {
            loop {
                let mut peer = listener.accept_at_leisure().await.unwrap();
                peer.answer_open("1", &Features::default()).await.unwrap();
                peer.expect(ns::DIALBACK, "result").await.unwrap();
                peer.send(answer.to_bytes()).await.unwrap();
                let _ = peer.next().await;
            }
        });
        let words = format!("server dialback failed: {condition}: their words");
        check(&came.await, kind, "dialback", &words);
    }
}

#[tokio::test]
async fn a_domain_that_our_own_lists_do_not_admit() {
    let came = comes_back(a_test("deny = ['b.test']"), async |_, _| for_ever().await);
    let words = "b.test is not admitted: `deny` in [policy] has \"b.test\"";
    check(&came.await, "policy-violation cancel", "policy", words);
}
