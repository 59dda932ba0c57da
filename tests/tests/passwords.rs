//! Two daemons federate by a password: by which mechanism, over what, and what comes of a wrong one.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd_tests::{
    checks::{self, Finding, Other, Plan},
    world::{Daemon, SOON, World},
};
use xmpp_sasl::{Password, ScramHash, ScramKeys};

const GRACE: Duration = Duration::from_millis(100);

/// The entry of a daemon that says and wants to hear the same.
fn entry(other: &str, own: &str, lines: &str) -> String {
    format!(
        "[[peer]]\ndomain = '{other}'\n{lines}\n\
         credentials = {{ username = '{own}', password = 'correct horse' }}\n\
         accept = {{ username = '{other}', password = 'correct horse' }}\n"
    )
}

fn daemons(lines: &str) -> [Daemon; 2] {
    [("a.test", "b.test"), ("b.test", "a.test")]
        .map(|(own, other)| Daemon::serving(own).tables(&entry(other, own, lines)))
}

async fn federate([a, b]: [Daemon; 2]) {
    let mut world = World::new().unwrap();
    world.start(a).await.unwrap();
    world.start(b).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let plan = Plan {
        within: SOON,
        ..Plan::default()
    };
    let findings = checks::run(&mut a, Other::Party(&mut b), &plan).await;
    let failed: Vec<_> = findings.iter().filter(|f| f.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn scram_sha_256_plus_over_starttls() {
    federate(daemons("auth = ['scram-sha-256-plus']")).await;
}

#[tokio::test]
async fn scram_sha_512_plus_over_direct_tls() {
    let daemons = daemons("auth = ['scram-sha-512-plus']");
    federate(daemons.map(Daemon::direct_tls)).await;
}

#[tokio::test]
async fn scram_sha_256_without_tls_where_the_entries_say_so() {
    let daemons = daemons("tls = 'disabled'\nauth = ['scram-sha-256']");
    federate(daemons.map(Daemon::without_tls)).await;
}

#[tokio::test]
async fn plain_over_tls() {
    federate(daemons("auth = ['plain']")).await;
}

#[tokio::test]
async fn keys_in_place_of_passwords() {
    let password = Password::new("correct horse");
    let keys = |salt: &[u8]| {
        [ScramHash::Sha1, ScramHash::Sha256]
            .map(|hash| ScramKeys::derive(hash, &password, salt, 4096).unwrap())
            .map(|keys| keys.to_text().to_string())
            .join("\n")
    };
    let daemons = [("a.test", "b.test"), ("b.test", "a.test")].map(|(own, other)| {
        let entry = format!(
            "[[peer]]\ndomain = '{other}'\nauth = ['scram']\n\
             credentials = {{ username = '{own}', password = 'correct horse' }}\n\
             accept = {{ username = '{other}', scram_file = 'peer.scram' }}\n"
        );
        Daemon::serving(own)
            .tables(&entry)
            .file("peer.scram", &keys(own.as_bytes()))
    });
    federate(daemons).await;
}

/// What comes back where `a.test` says `credentials`.
async fn refused(credentials: &str) -> Vec<Finding> {
    let [_, b] = daemons("auth = ['scram', 'plain']");
    let a = Daemon::serving("a.test").tables(&format!(
        "[[peer]]\ndomain = 'b.test'\nauth = ['scram', 'plain']\ncredentials = {{ {credentials} }}\n"
    ));
    let mut world = World::new().unwrap();
    world.start(a).await.unwrap();
    world.start(b).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    checks::refused(&mut a, Other::Party(&mut b), &[], SOON, GRACE).await
}

#[track_caller]
fn check(findings: &[Finding], words: &str) {
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert_eq!(finding.outcome, Ok(()));
        let json = finding.to_json();
        assert_eq!(json["condition"], "remote-server-timeout", "{json}");
        assert_eq!(json["type"], "cancel", "{json}");
        let text = json["text"].as_str().unwrap_or_default();
        assert!(text.contains(words), "{text:?} without {words:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_comes_back_as_that() {
    let findings = refused("username = 'a.test', password = 'battery staple'").await;
    check(&findings, "not-authorized");
}

#[tokio::test]
async fn a_name_that_nobody_has_comes_back_as_a_wrong_password() {
    let findings = refused("username = 'nobody', password = 'correct horse'").await;
    check(&findings, "not-authorized");
}

#[tokio::test]
async fn another_domain_comes_back_as_invalid_authzid() {
    let credentials = "username = 'a.test', password = 'correct horse', authzid = 'c.test'";
    check(&refused(credentials).await, "invalid-authzid");
}
