//! How a daemon gets out: from an address of its own, through a proxy, and never past the DNS to an onion service.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, net::IpAddr, time::Duration};

use s2sd_tests::{
    checks::{self, Check, Finding, Other, Plan},
    socks::{Rules, Socks},
    world::{Daemon, TIMEOUT, World},
};
use tokio::{net::TcpListener, time::timeout};

const GRACE: Duration = Duration::from_millis(100);

async fn federate(world: &World, a: &str, b: &str) {
    let mut a = world.component(a).await.unwrap();
    let mut b = world.component(b).await.unwrap();
    let plan = Plan {
        checks: vec![Check::Message, Check::Ping],
        within: TIMEOUT,
        ..Plan::default()
    };
    for finding in checks::run(&mut a, Other::ComponentClient(&mut b), &plan).await {
        assert_eq!(finding.outcome, Ok(()));
    }
}

async fn refused(world: &World, to: &str) -> Vec<Finding> {
    let mut a = world.component("a.test").await.unwrap();
    let findings = checks::refused(&mut a, Other::Host(to), &[], TIMEOUT, GRACE).await;
    assert_eq!(findings.len(), 2);
    findings
}

#[track_caller]
fn check(findings: &[Finding], condition: &str, kind: &str, words: &str) {
    for finding in findings {
        let json = finding.to_json();
        assert_eq!(finding.outcome, Ok(()), "{json}");
        assert_eq!(json["condition"], condition, "{json}");
        assert_eq!(json["type"], kind, "{json}");
        assert!(json["text"].as_str().unwrap().contains(words), "{json}");
    }
}

/// A daemon for `a.test` with these lines in `[policy]` that gives up soon.
fn a_test(policy: &str) -> Daemon {
    Daemon::serving("a.test")
        .policy(policy)
        .tables("[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }")
}

/// Its name leads somewhere in the DNS too: a question for it would be answered, and noticed.
#[tokio::test]
async fn an_onion_service_is_reached_through_the_proxy_and_the_dns_hears_nothing_of_it() {
    let mut world = World::new().unwrap();
    // The answers come by a stream of their own, for which somebody asks the DNS.
    let external = "auth = ['external']\nbidi = false";
    let onion = Daemon::serving("b.onion").policy(external);
    world.start(onion).await.unwrap();
    let place = world.daemon("b.onion").unwrap().s2s[0];
    let proxy = Socks::start(Rules {
        places: HashMap::from([("b.onion:5269".to_owned(), place)]),
        login: None,
    });
    let proxy = proxy.await.unwrap();
    let peer = format!(
        "[[peer]]\ndomain = '*.onion'\nproxy = 'socks5://{}'",
        proxy.addr()
    );
    let a = Daemon::serving("a.test").policy(external).tables(&peer);
    world.start(a).await.unwrap();
    federate(&world, "a.test", "b.onion").await;
    assert_eq!(proxy.asked(), ["b.onion:5269"]);
    let asked = world.dns().asked();
    assert!(
        asked.iter().any(|name| name.contains("a.test")),
        "{asked:?}"
    );
    assert!(
        !asked.iter().any(|name| name.contains("onion")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_onion_service_is_out_of_reach_without_a_proxy_and_the_dns_is_not_asked() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let _listener = world.listen("b.onion").await.unwrap();
    check(
        &refused(&world, "b.onion").await,
        "remote-server-not-found",
        "cancel",
        "a .onion name is reached through Tor only, and no `proxy` is configured for it",
    );
    assert_eq!(world.dns().asked(), Vec::<String>::new());
}

/// Neither by way of an SRV record, nor by way of `connect`.
#[tokio::test]
async fn a_way_that_leads_to_an_onion_service_does_not_lead_to_the_dns() {
    let mut world = World::new().unwrap();
    let peer = "[[peer]]\ndomain = 'c.test'\nconnect = ['x.onion:5269']";
    world
        .start(Daemon::serving("a.test").tables(peer))
        .await
        .unwrap();
    world.change_zone(|zone| {
        zone.srv("_xmpp-server._tcp.b.test", 0, 0, 5269, "x.onion")
            .a("x.onion", [127, 0, 0, 1].into())
    });
    for domain in ["b.test", "c.test"] {
        check(
            &refused(&world, domain).await,
            "remote-server-not-found",
            "cancel",
            ".onion",
        );
    }
    let asked = world.dns().asked();
    assert!(
        !asked.iter().any(|name| name.contains("onion")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn names_are_resolved_by_the_proxy_which_is_told_who_asks() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("b.test")).await.unwrap();
    let place = world.daemon("b.test").unwrap().s2s[0];
    let named = format!("host-{}.b.test:{}", place.port(), place.port());
    let proxy = Socks::start(Rules {
        places: HashMap::from([(named.clone(), place)]),
        login: Some(("juliet".to_owned(), "r0m:o@".to_owned())),
    });
    let proxy = proxy.await.unwrap();
    let uri = format!("socks5://juliet:r0m%3Ao%40@{}", proxy.addr());
    // Its own questions about keys go through the proxy too.
    let policy = format!("proxy = '{uri}'\nauth = ['external']");
    world
        .start(Daemon::serving("a.test").policy(&policy))
        .await
        .unwrap();
    federate(&world, "a.test", "b.test").await;
    assert_eq!(proxy.asked(), [named]);
    let asked = world.dns().asked();
    assert!(asked.contains(&"_xmpp-server._tcp.b.test SRV".to_owned()));
    assert!(
        !asked
            .iter()
            .any(|name| name.starts_with("host-") && name.contains("b.test")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn what_the_proxy_says_is_told_without_its_password() {
    let login = Some(("juliet".to_owned(), "romeo".to_owned()));
    for (user, places, words) in [
        ("juliet:romeo", HashMap::new(), "host unreachable"),
        (
            "juliet:secret",
            HashMap::new(),
            "does not accept our user name",
        ),
    ] {
        let mut world = World::new().unwrap();
        let _listener = world.listen("b.test").await.unwrap();
        let login = login.clone();
        let proxy = Socks::start(Rules { places, login }).await.unwrap();
        let policy = format!("proxy = 'socks5://{user}@{}'", proxy.addr());
        world.start(a_test(&policy)).await.unwrap();
        let findings = refused(&world, "b.test").await;
        check(&findings, "remote-server-timeout", "wait", words);
        let text = findings[0].to_json()["text"].to_string();
        let through = format!("through socks5://juliet:…@{}", proxy.addr());
        assert!(text.contains(&through), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn nobody_is_connected_to_past_a_proxy_that_is_down() {
    let mut world = World::new().unwrap();
    let listener = world.listen("b.test").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let policy = format!("proxy = 'socks5://{}'", gone.local_addr().unwrap());
    drop(gone);
    world.start(a_test(&policy)).await.unwrap();
    check(
        &refused(&world, "b.test").await,
        "remote-server-timeout",
        "wait",
        "connection refused",
    );
    assert!(timeout(GRACE, listener.accept()).await.is_err());
}

#[tokio::test]
async fn connections_are_from_the_source_of_the_policy() {
    let mut world = World::new().unwrap();
    let source = "source = ['::1', '127.0.0.2']";
    let peer = "[[peer]]\ndomain = 'c.test'\nsource = ['127.0.0.3']";
    world.start(a_test(source).tables(peer)).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    for (domain, want) in [("b.test", "127.0.0.2"), ("c.test", "127.0.0.3")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        world.lead("_xmpp-server", domain, addr);
        let ping = checks::refused(&mut a, Other::Host(domain), &[], TIMEOUT, GRACE);
        let from = async {
            let (_stream, from) = listener.accept().await.unwrap();
            from.ip()
        };
        tokio::select! {
            from = from => assert_eq!(from, want.parse::<IpAddr>().unwrap()),
            findings = ping => panic!("no connection: {findings:?}"),
        }
    }
}

#[tokio::test]
async fn a_family_without_a_source_is_not_used() {
    let mut world = World::new().unwrap();
    let listener = world.listen("b.test").await.unwrap();
    world.start(a_test("source = ['::1']")).await.unwrap();
    check(
        &refused(&world, "b.test").await,
        "remote-server-timeout",
        "wait",
        "`source` in the policy has no IPv4 address",
    );
    assert!(timeout(GRACE, listener.accept()).await.is_err());
}
