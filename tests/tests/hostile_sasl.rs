//! Passwords: each proves the peer whose it is, to the server that asked, once (RFC 2831, RFC 6120 §6).
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    attack_setup::{self, arrives, is_refused, message},
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    peer::{Peer, initial_header},
    world::World,
};
use xmpp_sasl::{ClientCredentials, Failure};
use xmpp_stream::{Condition, ns};

const TABLES: &str = "\
    [limits]\nsasl_retries = 3\n\
    [[peer]]\ndomain = 'a.test'\ntls = 'disabled'\nauth = ['digest-md5']\n\
    accept = { username = 'user-a', password = 'pass-a' }\n\
    credentials = { username = 'x', password = 'x' }\n\
    [[peer]]\ndomain = 'b.test'\ntls = 'disabled'\nauth = ['digest-md5']\n\
    accept = { username = 'user-b', password = 'pass-b', realm = 'b-realm' }\n\
    credentials = { username = 'x', password = 'x' }\n\
    [[peer]]\ndomain = 'secure.test'\ntls = 'required'\nauth = ['digest-md5']\n\
    accept = { username = 'user-s', password = 'pass-s' }\n\
    credentials = { username = 'x', password = 'x' }\n\
    [[peer]]\ndomain = 'victim.test'\ntls = 'required'\nverify = 'dialback'\n\
    auth = ['scram-sha-256', 'dialback']\n\
    accept = { username = 'user-v', password = 'pass-v' }\n\
    credentials = { username = 'x', password = 'x' }\n";

async fn here() -> (World, BackgroundTraffic, ComponentClient) {
    let policy = "tls = 'optional'\nauth = ['external', 'dialback']";
    let daemon = attack_setup::daemon().policy(policy).tables(TABLES);
    attack_setup::start(daemon).await.unwrap()
}

fn credentials(username: &str, password: &str) -> ClientCredentials {
    ClientCredentials::new("xmpp", "here.test").with_password(username, password)
}

async fn open(world: &World, from: Option<&str>) -> Peer {
    let mut peer = world.connect("here.test").await.unwrap();
    peer.send_header(from, "here.test").await.unwrap();
    peer.expect_header().await.unwrap();
    let features = peer.expect_features().await.unwrap();
    assert_eq!(features.mechanisms, ["DIGEST-MD5"]);
    peer
}

/// The whole exchange. `Ok`: success, and the stream is new.
async fn log_in(peer: &mut Peer, credentials: &ClientCredentials) -> Result<(), Failure> {
    let client = xmpp_sasl::client("DIGEST-MD5", credentials).unwrap();
    attack_setup::log_in(peer, client).await.unwrap()
}

async fn reopen(peer: &mut Peer, from: Option<&str>) {
    peer.send_header(from, "here.test").await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
}

#[tokio::test]
async fn a_password_proves_the_peer_whose_it_is_and_no_other() {
    let (world, background_traffic, mut component) = here().await;
    for from in [None, Some("a.test")] {
        let mut peer = open(&world, from).await;
        log_in(&mut peer, &credentials("user-a", "pass-a"))
            .await
            .unwrap();
        reopen(&mut peer, from).await;
        peer.send(message("a.test", "mine")).await.unwrap();
        arrives(&mut component, "mine").await.unwrap();
        peer.send(message("b.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::InvalidFrom).await.unwrap();
    }
    // A realm belongs to it.
    for (realm, proved) in [("b-realm", true), ("here.test", false)] {
        let mut peer = open(&world, None).await;
        let credentials = credentials("user-b", "pass-b").with_realm(realm);
        let result = log_in(&mut peer, &credentials).await;
        assert_eq!(result.is_ok(), proved, "{realm}");
    }
    // The right password of the wrong peer,
    for (from, credentials) in [
        (Some("a.test"), credentials("user-b", "pass-b")),
        (Some("b.test"), credentials("user-a", "pass-a")),
        (Some("a.test"), credentials("user-a", "pass-b")),
        (None, credentials("user-a", "pass-b")),
        (None, credentials("a.test", "pass-a")),
        (None, credentials("", "")),
        // of a peer that may not come without TLS,
        (None, credentials("user-s", "pass-s")),
    ] {
        let mut peer = open(&world, from).await;
        let failed = log_in(&mut peer, &credentials).await;
        assert_eq!(failed, Err(Failure::NotAuthorized), "{credentials:?}");
        peer.send(message("a.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::NotAuthorized)
            .await
            .unwrap();
    }
    // and to act as another.
    for from in [None, Some("a.test")] {
        for authzid in ["b.test", "here.test", "x@a.test", "xa.test"] {
            let mut peer = open(&world, from).await;
            let credentials = credentials("user-a", "pass-a").with_authzid(authzid);
            let failed = log_in(&mut peer, &credentials).await;
            assert_eq!(failed, Err(Failure::InvalidAuthzid), "{authzid}");
            peer.expect_end().await.unwrap();
        }
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn the_new_stream_is_that_of_whom_the_password_proved() {
    let (world, background_traffic, _component) = here().await;
    for from in [None, Some("a.test")] {
        let mut peer = open(&world, from).await;
        log_in(&mut peer, &credentials("user-a", "pass-a"))
            .await
            .unwrap();
        peer.send_header(Some("b.test"), "here.test").await.unwrap();
        peer.expect_header().await.unwrap();
        is_refused(&mut peer, Condition::InvalidFrom).await.unwrap();
    }
    // Nor is it to another domain than the first.
    let mut peer = open(&world, None).await;
    log_in(&mut peer, &credentials("user-a", "pass-a"))
        .await
        .unwrap();
    let header = initial_header(Some("a.test"), "calm.here.test");
    peer.send(s2sd_tests::peer::header_text(&header))
        .await
        .unwrap();
    peer.expect_header().await.unwrap();
    is_refused(&mut peer, Condition::HostUnknown).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_response_is_good_once_for_the_challenge_it_answers() {
    let (world, background_traffic, mut component) = here().await;
    // Somebody listened to a whole exchange.
    let mut peer = open(&world, Some("a.test")).await;
    log_in(&mut peer, &credentials("user-a", "pass-a"))
        .await
        .unwrap();
    let heard = peer
        .transcript()
        .iter()
        .filter_map(|line| line.strip_prefix("> <response"))
        .map(|rest| format!("<response{rest}"))
        .next()
        .unwrap();
    drop(peer);
    let auth = format!("<auth xmlns='{}' mechanism='DIGEST-MD5'/>", ns::SASL);
    for from in [None, Some("a.test"), Some("b.test")] {
        let mut peer = open(&world, from).await;
        peer.send(&auth).await.unwrap();
        peer.expect(ns::SASL, "challenge").await.unwrap();
        peer.send(&heard).await.unwrap();
        let failure = peer.expect(ns::SASL, "failure").await.unwrap();
        let named = failure.tree().elements().next().unwrap().name.clone();
        assert!(
            ["not-authorized", "malformed-request"].contains(&&*named),
            "{named}"
        );
        // Not without a challenge either.
        let mut peer = open(&world, from).await;
        peer.send(&heard).await.unwrap();
        peer.expect(ns::SASL, "failure").await.unwrap();
    }
    let mut peer = open(&world, Some("a.test")).await;
    log_in(&mut peer, &credentials("user-a", "pass-a"))
        .await
        .unwrap();
    reopen(&mut peer, Some("a.test")).await;
    peer.send(message("a.test", "the first")).await.unwrap();
    arrives(&mut component, "the first").await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn guessing_ends_after_a_few_attempts() {
    let (world, background_traffic, _component) = here().await;
    let mut peer = open(&world, Some("a.test")).await;
    for attempt in 0..4 {
        let guess = credentials("user-a", &format!("guess {attempt}"));
        let failed = log_in(&mut peer, &guess).await;
        assert_eq!(failed, Err(Failure::NotAuthorized));
    }
    is_refused(&mut peer, Condition::PolicyViolation)
        .await
        .unwrap();
    // One who mistypes may still get in.
    let mut peer = open(&world, Some("a.test")).await;
    let failed = log_in(&mut peer, &credentials("user-a", "guess")).await;
    assert_eq!(failed, Err(Failure::NotAuthorized));
    log_in(&mut peer, &credentials("user-a", "pass-a"))
        .await
        .unwrap();
    reopen(&mut peer, Some("a.test")).await;
    background_traffic.was_well().await.unwrap();
}

/// SCRAM looks a username up before anything is proved. Whose it is must not outlive the exchange.
#[tokio::test]
async fn a_name_that_was_only_named_is_no_name_for_the_next_mechanism() {
    let (world, background_traffic, mut component) = here().await;
    let evil = world.identity("evil.test");
    let external = |authzid: &str| {
        format!(
            "<auth xmlns='{}' mechanism='EXTERNAL'>{authzid}</auth>",
            ns::SASL
        )
    };
    for authzid in ["=", "dmljdGltLnRlc3Q="] {
        let mut peer = world.connect("here.test").await.unwrap();
        peer.send_header(None, "here.test").await.unwrap();
        peer.expect_header().await.unwrap();
        peer.expect_features().await.unwrap();
        peer.starttls("here.test", Some(&evil)).await.unwrap();
        peer.send_header(None, "here.test").await.unwrap();
        peer.expect_header().await.unwrap();
        let offered = peer.expect_features().await.unwrap().mechanisms;
        for mechanism in ["EXTERNAL", "SCRAM-SHA-256"] {
            assert!(offered.iter().any(|name| name == mechanism), "{offered:?}");
        }
        // "n,,n=user-v,r=rOprNGfwEbeRWgbNEkqO"
        let named = "biwsbj11c2VyLXYscj1yT3ByTkdmd0ViZVJXZ2JORWtxTw==";
        let auth = format!(
            "<auth xmlns='{}' mechanism='SCRAM-SHA-256'>{named}</auth>",
            ns::SASL
        );
        peer.send(auth).await.unwrap();
        peer.expect(ns::SASL, "challenge").await.unwrap();
        peer.send(external(authzid)).await.unwrap();
        if authzid != "=" {
            let failure = peer.expect(ns::SASL, "failure").await.unwrap();
            let named = failure.tree().child(ns::SASL, "invalid-authzid").is_some();
            assert!(named, "{failure:?}");
            continue;
        }
        peer.expect(ns::SASL, "success").await.unwrap();
        peer.restart();
        reopen(&mut peer, None).await;
        peer.send(message("evil.test", "mine")).await.unwrap();
        arrives(&mut component, "mine").await.unwrap();
        peer.send(message("victim.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::InvalidFrom).await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}
