//! Two daemons federate by a password: by which mechanism, over what, and what comes of a wrong one.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd_tests::{
    checks::{self, Finding, Other},
    daemon_pair::{came_back, federate, start},
    world::{Daemon, TIMEOUT},
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
    let (_world, mut a, mut b) = start([a, b]).await;
    checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await
}

#[tokio::test]
async fn a_wrong_password_comes_back_as_that() {
    let findings = refused("username = 'a.test', password = 'battery staple'").await;
    came_back(&findings, "cancel", "not-authorized");
}

#[tokio::test]
async fn a_name_that_nobody_has_comes_back_as_a_wrong_password() {
    let findings = refused("username = 'nobody', password = 'correct horse'").await;
    came_back(&findings, "cancel", "not-authorized");
}

#[tokio::test]
async fn another_domain_comes_back_as_invalid_authzid() {
    let credentials = "username = 'a.test', password = 'correct horse', authzid = 'c.test'";
    came_back(&refused(credentials).await, "cancel", "invalid-authzid");
}
