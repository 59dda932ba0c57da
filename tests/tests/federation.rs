//! Two daemons federate: message, ping, presence and many messages in order, both ways, by each kind of proof.
#![allow(clippy::unwrap_used)]

use s2sd::tools::demo::ca::{Issued, Leaf, Purpose};
use s2sd_tests::{
    checks::{self, Other, Plan},
    world::{Daemon, TIMEOUT, World},
};

/// Stanzas pass between the components of `a.test` and `b.test`.
async fn federate(a: Daemon, b: Daemon) {
    let mut world = World::new().unwrap();
    world.start(a).await.unwrap();
    world.start(b).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let plan = Plan {
        within: TIMEOUT,
        ..Plan::default()
    };
    let findings = checks::run(&mut a, Other::ComponentClient(&mut b), &plan).await;
    let failed: Vec<_> = findings.iter().filter(|f| f.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(findings.len(), 8);
}

fn daemons(change: impl Fn(Daemon) -> Daemon) -> [Daemon; 2] {
    ["a.test", "b.test"].map(|domain| change(Daemon::serving(domain)))
}

#[tokio::test]
async fn by_dialback_on_plain_tcp() {
    let [a, b] = daemons(Daemon::without_tls);
    federate(a, b).await;
}

#[tokio::test]
async fn by_external_over_starttls() {
    let [a, b] = daemons(|daemon| daemon.policy("auth = ['external']"));
    federate(a, b).await;
}

#[tokio::test]
async fn by_external_over_direct_tls() {
    let [a, b] = daemons(|daemon| daemon.direct_tls().policy("auth = ['external']"));
    federate(a, b).await;
}

#[tokio::test]
async fn by_dialback_over_starttls_with_self_signed_certificates() {
    let [a, b] = ["a.test", "b.test"].map(|domain| {
        Daemon::serving(domain)
            .certificate_from(Issued::self_signed(&Leaf::domain(domain)))
            .policy("verify = 'dialback'\nauth = ['external', 'dialback']")
    });
    federate(a, b).await;
}

#[tokio::test]
async fn by_external_with_certificates_for_servers_only() {
    let [a, b] = ["a.test", "b.test"].map(|domain| {
        Daemon::serving(domain)
            .certificate(Leaf::domain(domain).purpose(Purpose::Server))
            .policy("auth = ['external']")
    });
    federate(a, b).await;
}

#[tokio::test]
async fn by_external_with_every_kind_of_name() {
    let a = Leaf::default().srv("_xmpp-server.a.test");
    let b = Leaf::default().xmpp_addr("b.test");
    let external = "auth = ['external']";
    federate(
        Daemon::serving("a.test").certificate(a).policy(external),
        Daemon::serving("b.test").certificate(b).policy(external),
    )
    .await;
}
