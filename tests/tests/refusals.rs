//! What a daemon sends comes back as exactly one error, with the right condition and a text that helps, and nothing
//! arrives.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd::tools::demo::ca::{Authority, Leaf, Validity};
use s2sd_tests::{
    authoritative::Says,
    checks::{self, Finding, Other},
    world::{Daemon, TIMEOUT, World},
};
use xmpp_dialback::Secret;

const GRACE: Duration = Duration::from_millis(100);
const EXTERNAL: &str = "auth = ['external']";

/// What comes back to the component of `a.test` for a message and a ping to `b.test`.
async fn bounced(world: &World, to: &str) -> Vec<Finding> {
    let mut a = world.component("a.test").await.unwrap();
    checks::refused(&mut a, Other::Host(to), &[], TIMEOUT, GRACE).await
}

#[track_caller]
fn check(findings: &[Finding], condition: &str, kind: &str, words: &str) {
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert_eq!(finding.outcome, Ok(()));
        let json = finding.to_json();
        assert_eq!(
            (json["condition"].as_str(), json["type"].as_str()),
            (Some(condition), Some(kind)),
            "{json}"
        );
        let text = json["text"].as_str().unwrap_or_default();
        assert!(text.contains(words), "{text:?} without {words:?}");
    }
}

/// `a.test` as given writes to `b.test` as given; nothing may arrive there.
async fn refused(a: Daemon, b: Daemon) -> Vec<Finding> {
    let mut world = World::new().unwrap();
    world.start(a).await.unwrap();
    world.start(b).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await
}

#[tokio::test]
async fn a_domain_that_the_dns_does_not_know_is_not_found() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let findings = bounced(&world, "nowhere.test").await;
    check(&findings, "remote-server-not-found", "cancel", "DNS");
}

#[tokio::test]
async fn a_service_that_is_decidedly_absent_is_not_found() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    world.change_zone(|zone| {
        zone.service_absent("_xmpp-server._tcp.b.test")
            .a("b.test", [127, 0, 0, 1].into())
    });
    check(
        &bounced(&world, "b.test").await,
        "remote-server-not-found",
        "cancel",
        "",
    );
}

#[tokio::test]
async fn a_server_that_is_down_is_a_timeout_to_try_again() {
    let mut world = World::new().unwrap();
    world
        .start(
            Daemon::serving("a.test")
                .tables("[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }"),
        )
        .await
        .unwrap();
    let listener = world.listen("b.test").await.unwrap();
    drop(listener);
    check(
        &bounced(&world, "b.test").await,
        "remote-server-timeout",
        "wait",
        "",
    );
}

#[tokio::test]
async fn a_host_that_the_peer_does_not_serve_is_refused() {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test"] {
        world
            .start(Daemon::serving(domain).without_tls())
            .await
            .unwrap();
    }
    let b = world.daemon("b.test").unwrap().s2s[0];
    world.lead("_xmpp-server", "c.test", b);
    let findings = bounced(&world, "c.test").await;
    check(&findings, "remote-server-timeout", "cancel", "");
}

/// The certificate of `b.test` is judged by the daemon that connects.
#[tokio::test]
async fn a_wrong_certificate_of_the_receiving_server_ends_the_attempt() {
    let table = [
        (Leaf::domain("c.test"), "c.test"),
        (
            Leaf::domain("b.test").validity(Validity::Expired),
            "expired",
        ),
        (Leaf::domain("b.test").validity(Validity::NotYet), "not"),
    ];
    for (leaf, words) in table {
        let a = Daemon::serving("a.test").policy(EXTERNAL);
        let b = Daemon::serving("b.test").certificate(leaf).policy(EXTERNAL);
        check(
            &refused(a, b).await,
            "remote-server-timeout",
            "cancel",
            words,
        );
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_ends_the_attempt() {
    let stranger = Authority::new("stranger").issue(&Leaf::domain("b.test"));
    let a = Daemon::serving("a.test").policy(EXTERNAL);
    let b = Daemon::serving("b.test")
        .certificate_from(stranger)
        .policy(EXTERNAL);
    check(&refused(a, b).await, "remote-server-timeout", "cancel", "");
}

/// The certificate of `a.test` is judged by the daemon that is connected to.
#[tokio::test]
async fn a_wrong_certificate_of_the_initiating_server_is_refused() {
    let table = [
        Leaf::domain("c.test"),
        Leaf::domain("a.test").validity(Validity::Expired),
    ];
    for leaf in table {
        let a = Daemon::serving("a.test").certificate(leaf).policy(EXTERNAL);
        let b = Daemon::serving("b.test").policy(EXTERNAL);
        check(&refused(a, b).await, "remote-server-timeout", "cancel", "");
    }
}

/// Under `verify = "strict"` dialback does not help a bad certificate.
#[tokio::test]
async fn dialback_does_not_make_up_for_a_wrong_certificate() {
    let a = Daemon::serving("a.test").certificate(Leaf::domain("c.test"));
    let b = Daemon::serving("b.test");
    check(&refused(a, b).await, "remote-server-timeout", "cancel", "");
}

#[tokio::test]
async fn a_peer_without_tls_is_refused_where_tls_is_required() {
    let a = Daemon::serving("a.test");
    let b = Daemon::serving("b.test").without_tls();
    check(&refused(a, b).await, "remote-server-timeout", "cancel", "");
}

#[tokio::test]
async fn a_peer_that_requires_tls_is_refused_where_tls_is_disabled() {
    let a = Daemon::serving("a.test").without_tls();
    let b = Daemon::serving("b.test");
    let findings = refused(a, b).await;
    check(
        &findings,
        "policy-violation",
        "cancel",
        "requires encryption",
    );
}

/// The zone leads `a.test` to a server that does not know our secret.
#[tokio::test]
async fn a_key_of_another_secret_is_refused() {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test"] {
        world
            .start(Daemon::serving(domain).without_tls())
            .await
            .unwrap();
    }
    let says = Says::Secret(Secret::new("another secret"));
    let authority = world.authoritative("a.test", says, None).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let findings =
        checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await;
    check(&findings, "remote-server-timeout", "cancel", "key");
    let asked = authority.asked();
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|asked| asked.verdict == Some(xmpp_dialback::Verdict::Invalid))
    );
}
