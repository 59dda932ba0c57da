//! A daemon that is attacked: whose ticket it believes, and who does not notice.

use std::path::Path;

use s2sd_tests::{
    attack_setup::{self, arrives, is_refused, log_in, message},
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    peer::Peer,
    world::World,
};
use xmpp_sasl::{Client, ClientCredentials, Failure, gssapi::Initiator};
use xmpp_stream::{Condition, ns};

use crate::realm::{FOREIGN, NAME, file_name};
use crate::{A, B, keytab, within};

const HERE: &str = "xmpp/here.test";

/// A daemon that `a.test` and `b.test` may come to without TLS, and `secure.test` may not.
async fn here(realm: &Path) -> (World, BackgroundTraffic, ComponentClient) {
    let keytab = keytab(realm, HERE);
    let entry = |domain: &str, tls: &str| {
        format!(
            "[[peer]]\ndomain = '{domain}'\ntls = '{tls}'\nauth = ['gssapi']\n\
             accept = {{ gssapi = {{ keytab = '{keytab}' }} }}\n"
        )
    };
    let tables = entry("a.test", "disabled")
        + &entry("b.test", "disabled")
        + &entry("secure.test", "required");
    let daemon = attack_setup::daemon()
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables(&tables);
    attack_setup::start(daemon).await.unwrap()
}

fn client(realm: &Path, principal: &str, authzid: Option<&str>) -> Box<dyn Client> {
    let mut credentials = ClientCredentials::new("xmpp", "here.test").with_gssapi(Initiator {
        principal: Some(format!("{principal}@{NAME}")),
        keytab: Some(realm.join(file_name(principal))),
        service: None,
    });
    credentials.authzid = authzid.map(str::to_owned);
    xmpp_sasl::client("GSSAPI", &credentials).unwrap()
}

async fn open(world: &World, from: Option<&str>) -> Peer {
    attack_setup::offered(world, from, "GSSAPI").await.unwrap()
}

#[test]
fn a_ticket_proves_the_peer_whose_it_is_and_no_other() {
    let name = "hostile::a_ticket_proves_the_peer_whose_it_is_and_no_other";
    let principals = [A, B, HERE, "xmpp/secure.test", "host/a.test", "ali"];
    within(name, &principals, async |realm| {
        let (world, background_traffic, mut component) = here(realm).await;
        for (from, authzid) in [(None, None), (Some("a.test"), None), (None, Some("a.test"))] {
            let mut peer = open(&world, from).await;
            log_in(&mut peer, client(realm, A, authzid))
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
        // The ticket of another peer, of another service on its host, of a person, of one who may not come without TLS,
        // of this server itself,
        for (from, principal) in [
            (Some("a.test"), B),
            (Some("b.test"), A),
            (Some("a.test"), "host/a.test"),
            (None, "host/a.test"),
            (Some("a.test"), "ali"),
            (None, "ali"),
            (None, "xmpp/secure.test"),
            (Some("a.test"), HERE),
            (None, HERE),
        ] {
            let mut peer = open(&world, from).await;
            let failed = log_in(&mut peer, client(realm, principal, None))
                .await
                .unwrap();
            assert_eq!(failed, Err(Failure::NotAuthorized), "{from:?} {principal}");
            peer.send(message("a.test", "forged")).await.unwrap();
            is_refused(&mut peer, Condition::NotAuthorized)
                .await
                .unwrap();
        }
        // and to act as another.
        for from in [None, Some("a.test")] {
            for authzid in ["b.test", "here.test", "x@a.test", "xa.test", "secure.test"] {
                let mut peer = open(&world, from).await;
                let failed = log_in(&mut peer, client(realm, A, Some(authzid)))
                    .await
                    .unwrap();
                assert_eq!(failed, Err(Failure::InvalidAuthzid), "{authzid}");
                peer.expect_end().await.unwrap();
            }
        }
        background_traffic.was_well().await.unwrap();
    });
}

/// A realm that has keys in common with ours can name its principals as it likes.
#[test]
fn a_principal_of_another_realm_is_believed_by_its_full_name_only() {
    let name = "hostile::a_principal_of_another_realm_is_believed_by_its_full_name_only";
    let foreign = format!("{A}@{FOREIGN}");
    within(name, &[A, HERE, &foreign], async |realm| {
        let keytab = keytab(realm, HERE);
        let credentials = ClientCredentials::new("xmpp", "here.test").with_gssapi(Initiator {
            principal: Some(foreign.clone()),
            keytab: Some(realm.join(file_name(&foreign))),
            service: Some(format!("{HERE}@{NAME}")),
        });
        for (listed, believed) in [
            (String::new(), false),
            (format!(", principals = ['{A}@{NAME}']"), false),
            (format!(", principals = ['{foreign}']"), true),
        ] {
            let daemon = attack_setup::daemon()
                .policy("tls = 'optional'\nauth = ['external', 'dialback']")
                .tables(&format!(
                    "[[peer]]\ndomain = 'a.test'\ntls = 'disabled'\nauth = ['gssapi']\n\
                     accept = {{ gssapi = {{ keytab = '{keytab}' }}{listed} }}\n"
                ));
            let (world, background_traffic, _component) =
                attack_setup::start(daemon).await.unwrap();
            for from in [None, Some("a.test")] {
                let mut peer = open(&world, from).await;
                let client = xmpp_sasl::client("GSSAPI", &credentials).unwrap();
                let outcome = log_in(&mut peer, client).await.unwrap();
                // That there is a ticket at all shows where it is believed.
                assert_eq!(outcome.is_ok(), believed, "{from:?} {listed}");
                let refused = outcome.err();
                assert!(
                    refused.is_none_or(|it| it == Failure::NotAuthorized),
                    "{refused:?}"
                );
                // A list has nobody in it who is not on it.
                if believed {
                    let mut peer = open(&world, from).await;
                    let own = log_in(&mut peer, self::client(realm, A, None))
                        .await
                        .unwrap();
                    assert_eq!(own, Err(Failure::NotAuthorized));
                }
            }
            background_traffic.was_well().await.unwrap();
        }
    });
}

#[test]
fn what_was_heard_is_good_for_no_other_stream() {
    let name = "hostile::what_was_heard_is_good_for_no_other_stream";
    within(name, &[A, HERE], async |realm| {
        let (world, background_traffic, mut component) = here(realm).await;
        let mut peer = open(&world, Some("a.test")).await;
        log_in(&mut peer, client(realm, A, None))
            .await
            .unwrap()
            .unwrap();
        let said = |name: &str| -> Vec<String> {
            let begins = format!("> <{name}");
            let lines = peer.transcript().iter();
            lines
                .filter(|line| line.starts_with(&begins))
                .map(|line| line[2..].to_owned())
                .collect()
        };
        let (auth, responses) = (said("auth"), said("response"));
        assert_eq!(
            (auth.len(), responses.len()),
            (1, 2),
            "{:?}",
            peer.transcript()
        );
        drop(peer);
        for from in [None, Some("a.test")] {
            // The same ticket with the same authenticator was seen before.
            let mut peer = open(&world, from).await;
            peer.send(&auth[0]).await.unwrap();
            let failure = peer.expect(ns::SASL, "failure").await.unwrap();
            assert!(
                failure.tree().child(ns::SASL, "not-authorized").is_some(),
                "{failure:?}"
            );
            // What was sealed for another context opens in none.
            let empty = format!("<auth xmlns='{}' mechanism='GSSAPI'/>", ns::SASL);
            for words in &responses {
                let mut peer = open(&world, from).await;
                peer.send(&empty).await.unwrap();
                peer.expect(ns::SASL, "challenge").await.unwrap();
                peer.send(words).await.unwrap();
                peer.expect(ns::SASL, "failure").await.unwrap();
            }
        }
        let mut peer = open(&world, Some("a.test")).await;
        log_in(&mut peer, client(realm, A, None))
            .await
            .unwrap()
            .unwrap();
        peer.send_header(Some("a.test"), "here.test").await.unwrap();
        peer.expect_header().await.unwrap();
        peer.expect_features().await.unwrap();
        peer.send(message("a.test", "the first")).await.unwrap();
        arrives(&mut component, "the first").await.unwrap();
        background_traffic.was_well().await.unwrap();
    });
}

#[test]
fn a_keytab_that_is_gone_is_a_failure_for_a_time() {
    let name = "hostile::a_keytab_that_is_gone_is_a_failure_for_a_time";
    within(name, &[A, HERE], async |realm| {
        let (world, background_traffic, _component) = here(realm).await;
        let (there, away) = (realm.join(file_name(HERE)), realm.join("away"));
        std::fs::rename(&there, &away).unwrap();
        let mut peer = open(&world, Some("a.test")).await;
        let failed = log_in(&mut peer, client(realm, A, None)).await.unwrap();
        assert_eq!(failed, Err(Failure::TemporaryAuthFailure));
        // Back again, and on the same stream, it counts at once.
        std::fs::rename(&away, &there).unwrap();
        log_in(&mut peer, client(realm, A, None))
            .await
            .unwrap()
            .unwrap();
        background_traffic.was_well().await.unwrap();
    });
}
