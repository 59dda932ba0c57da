//! KERBEROS_V4 (RFC 2222 §7.1) between two daemons, and against one that is attacked. There is no KDC: the keys stand in files.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd_tests::{
    attack_setup::{self, arrives, is_refused, log_in, message},
    background_traffic::BackgroundTraffic,
    checks::{self, Finding, Other},
    component_client::ComponentClient,
    daemon_pair::{came_back, federate, start},
    peer::Peer,
    world::{Daemon, TIMEOUT, World},
};
use xmpp_sasl::{Client, ClientCredentials, Failure, kerberos_v4::Keys};
use xmpp_stream::{Condition, ns};

const GRACE: Duration = Duration::from_millis(100);

const A_TO_B: &str = "xmpp.a@A xmpp.b@B 1 133457799bbcdff1\n";
const B_TO_A: &str = "xmpp.b@B xmpp.a@A 1 0123456789abcdef\n";
const WRONG: &str = "xmpp.a@A xmpp.b@B 1 fedcba9876543210\n";

/// The entry of a daemon for another, with one file of keys for both directions.
fn entry(other: &str, lines: &str) -> String {
    format!(
        "[[peer]]\ndomain = '{other}'\nauth = ['kerberos-v4']\n{lines}\n\
         credentials = {{ kerberos-v4 = {{ key_file = 'v4.keys' }} }}\n\
         accept = {{ kerberos-v4 = {{ key_file = 'v4.keys' }} }}\n"
    )
}

fn daemons(lines: &str) -> [Daemon; 2] {
    [("a.test", "b.test"), ("b.test", "a.test")].map(|(own, other)| {
        Daemon::serving(own)
            .tables(&entry(other, lines))
            .file("v4.keys", &format!("{A_TO_B}{B_TO_A}"))
    })
}

#[tokio::test]
async fn over_starttls() {
    federate(daemons("")).await;
}

#[tokio::test]
async fn over_direct_tls() {
    federate(daemons("").map(Daemon::direct_tls)).await;
}

#[tokio::test]
async fn without_tls_where_the_entries_say_so() {
    federate(daemons("tls = 'disabled'").map(Daemon::without_tls)).await;
}

/// What comes back where `a.test` has these keys and says this besides.
async fn refused(keys: &str, more: &str) -> Vec<Finding> {
    let [_, b] = daemons("");
    let a = Daemon::serving("a.test")
        .file("v4.keys", keys)
        .tables(&format!(
            "[[peer]]\ndomain = 'b.test'\nauth = ['kerberos-v4']\n\
         credentials = {{ {more}kerberos-v4 = {{ key_file = 'v4.keys' }} }}\n"
        ));
    let (_world, mut a, mut b) = start([a, b]).await;
    checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await
}

#[tokio::test]
async fn a_wrong_key_comes_back_as_not_authorized() {
    came_back(
        &refused(WRONG, "").await,
        "cancel",
        "KERBEROS_V4 (not-authorized)",
    );
}

#[tokio::test]
async fn another_principal_comes_back_as_not_authorized() {
    let other = A_TO_B.replace("xmpp.a@A", "xmpp.c@A");
    came_back(
        &refused(&other, "").await,
        "cancel",
        "KERBEROS_V4 (not-authorized)",
    );
}

#[tokio::test]
async fn another_domain_comes_back_as_invalid_authzid() {
    let findings = refused(A_TO_B, "authzid = 'c.test', ").await;
    came_back(&findings, "cancel", "KERBEROS_V4 (invalid-authzid)");
}

/// A daemon that `a.test` and `b.test` may come to without TLS, and `secure.test` may not.
async fn here() -> (World, BackgroundTraffic, ComponentClient) {
    let entry = |domain: &str, tls: &str| {
        format!(
            "[[peer]]\ndomain = '{domain}'\ntls = '{tls}'\nauth = ['kerberos-v4']\n\
             accept = {{ kerberos-v4 = {{ key_file = '{domain}.keys' }} }}\n"
        )
    };
    let tables = entry("a.test", "disabled")
        + &entry("b.test", "disabled")
        + &entry("secure.test", "required");
    let daemon = attack_setup::daemon()
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(&tables)
        .file("a.test.keys", OF_A)
        .file("b.test.keys", OF_B)
        .file("secure.test.keys", OF_SECURE);
    attack_setup::start(daemon).await.unwrap()
}

const OF_A: &str = "xmpp.a@A xmpp.here@HERE 1 133457799bbcdff1";
const OF_B: &str = "xmpp.b@B xmpp.here@HERE 1 0123456789abcdef";
const OF_SECURE: &str = "xmpp.secure@S xmpp.here@HERE 1 fedcba9876543210";

fn client(keys: &str, authzid: Option<&str>) -> Box<dyn Client> {
    let mut credentials =
        ClientCredentials::new("xmpp", "here.test").with_kerberos_v4(Keys::parse(keys).unwrap());
    credentials.authzid = authzid.map(str::to_owned);
    xmpp_sasl::client("KERBEROS_V4", &credentials).unwrap()
}

async fn open(world: &World, from: Option<&str>) -> Peer {
    attack_setup::offered(world, from, "KERBEROS_V4")
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_proves_the_peer_whose_it_is_and_no_other() {
    let (world, background_traffic, mut component) = here().await;
    for (from, authzid) in [(None, None), (Some("a.test"), None), (None, Some("a.test"))] {
        let mut peer = open(&world, from).await;
        log_in(&mut peer, client(OF_A, authzid))
            .await
            .unwrap()
            .unwrap();
        peer.send_header(from, "here.test").await.unwrap();
        peer.expect_header().await.unwrap();
        peer.expect_features().await.unwrap();
        peer.send(message("a.test", "mine")).await.unwrap();
        arrives(&mut component, "mine").await.unwrap();
        peer.send(message("b.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::InvalidFrom).await.unwrap();
    }
    // The right key of the wrong peer, a name that is not the key's, a key that is nobody's, a peer that may not come
    // without TLS,
    let named = OF_A.replace("xmpp.a@A", "xmpp.b@B");
    let nobodys = OF_A.replace("133457799bbcdff1", "fedcba9876543210");
    for (from, keys) in [
        (Some("a.test"), OF_B),
        (Some("b.test"), OF_A),
        (None, &named),
        (Some("b.test"), &named),
        (None, &nobodys),
        (Some("a.test"), &nobodys),
        (None, OF_SECURE),
    ] {
        let mut peer = open(&world, from).await;
        let failed = log_in(&mut peer, client(keys, None)).await.unwrap();
        assert_eq!(failed, Err(Failure::NotAuthorized), "{from:?} {keys}");
        peer.send(message("a.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::NotAuthorized)
            .await
            .unwrap();
    }
    // and to act as another.
    for from in [None, Some("a.test")] {
        for authzid in ["b.test", "here.test", "x@a.test", "xa.test", "secure.test"] {
            let mut peer = open(&world, from).await;
            let failed = log_in(&mut peer, client(OF_A, Some(authzid)))
                .await
                .unwrap();
            assert_eq!(failed, Err(Failure::InvalidAuthzid), "{authzid}");
            peer.expect_end().await.unwrap();
        }
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_was_heard_is_good_for_no_other_stream() {
    let (world, background_traffic, mut component) = here().await;
    let mut peer = open(&world, Some("a.test")).await;
    log_in(&mut peer, client(OF_A, None))
        .await
        .unwrap()
        .unwrap();
    let heard: Vec<String> = peer
        .transcript()
        .iter()
        .filter_map(|line| line.strip_prefix("> <response"))
        .map(|rest| format!("<response{rest}"))
        .collect();
    assert_eq!(heard.len(), 2, "{:?}", peer.transcript());
    drop(peer);
    let auth = format!("<auth xmlns='{}' mechanism='KERBEROS_V4'/>", ns::SASL);
    for from in [None, Some("a.test")] {
        for words in [&heard[..], &heard[1..]] {
            let mut peer = open(&world, from).await;
            peer.send(&auth).await.unwrap();
            peer.expect(ns::SASL, "challenge").await.unwrap();
            peer.send(&words[0]).await.unwrap();
            let failure = peer.expect(ns::SASL, "failure").await.unwrap();
            let named = failure.tree().elements().next().unwrap().name.clone();
            assert!(
                ["not-authorized", "malformed-request"].contains(&&*named),
                "{named}"
            );
        }
    }
    // Who has the key gets in after all that, and nothing else arrived.
    let mut peer = open(&world, Some("a.test")).await;
    log_in(&mut peer, client(OF_A, None))
        .await
        .unwrap()
        .unwrap();
    peer.send_header(Some("a.test"), "here.test").await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    peer.send(message("a.test", "the first")).await.unwrap();
    arrives(&mut component, "the first").await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn guessing_ends_after_a_few_attempts() {
    let (world, background_traffic, _component) = here().await;
    let mut peer = open(&world, Some("a.test")).await;
    for _ in 0..4 {
        let failed = log_in(&mut peer, client(OF_B, None)).await.unwrap();
        assert_eq!(failed, Err(Failure::NotAuthorized));
    }
    is_refused(&mut peer, Condition::PolicyViolation)
        .await
        .unwrap();
    background_traffic.was_well().await.unwrap();
}
