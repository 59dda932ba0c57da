//! GSSAPI (RFC 4752) between two daemons, and ([`hostile`]) against one that is attacked, in a Kerberos realm that is made
//! for the test: MIT's `krb5-kdc` and `krb5-admin-server` must be installed.
#![cfg(feature = "gssapi")]
#![allow(clippy::unwrap_used)]

mod hostile;
#[path = "../../../xmpp-sasl/tests/gssapi/realm.rs"]
mod realm;

use std::{collections::HashSet, path::Path, time::Duration};

use realm::{NAME, SILENT, file_name, old_file_name, silent_kdc, silent_keytab};
use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::{
    attack_setup::arrives,
    checks::{self, Check, Other, Plan},
    daemon_pair::{came_back, federate, start},
    world::{Daemon, TIMEOUT},
};
use tokio::{
    net::{TcpListener, UdpSocket},
    time::timeout,
};

const GRACE: Duration = Duration::from_millis(100);

const A: &str = "xmpp/a.test";
const B: &str = "xmpp/b.test";

/// Runs `body` in a process of its own where there is a realm with these principals.
#[track_caller]
fn within(name: &str, principals: &[&str], body: impl AsyncFnOnce(&Path)) {
    realm::within(name, principals, |directory| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body(directory));
        // A thread may still wait for a KDC that never answers.
        runtime.shutdown_background();
    });
}

fn keytab(realm: &Path, principal: &str) -> String {
    realm.join(file_name(principal)).display().to_string()
}

/// The entry of a daemon for another, with one keytab for both directions.
fn entry(realm: &Path, own: &str, other: &str, lines: &str) -> String {
    let keytab = keytab(realm, own);
    format!(
        "[[peer]]\ndomain = '{other}'\nauth = ['gssapi']\n{lines}\n\
         credentials = {{ gssapi = {{ keytab = '{keytab}' }} }}\n\
         accept = {{ gssapi = {{ keytab = '{keytab}' }} }}\n"
    )
}

fn daemons(realm: &Path, lines: &str) -> [Daemon; 2] {
    [("a.test", A, "b.test"), ("b.test", B, "a.test")].map(|(domain, own, other)| {
        Daemon::serving(domain).tables(&entry(realm, own, other, lines))
    })
}

#[test]
fn two_daemons_that_a_kdc_knows_federate() {
    within(
        "two_daemons_that_a_kdc_knows_federate",
        &[A, B],
        async |realm| {
            federate(daemons(realm, "")).await;
            federate(daemons(realm, "").map(Daemon::direct_tls)).await;
            federate(daemons(realm, "tls = 'disabled'").map(Daemon::without_tls)).await;
        },
    );
}

#[test]
fn a_principal_of_any_name_speaks_for_whom_it_is_listed() {
    let name = "a_principal_of_any_name_speaks_for_whom_it_is_listed";
    within(name, &["s2s", B], async |realm| {
        let (own, theirs) = (keytab(realm, "s2s"), keytab(realm, B));
        let a = format!(
            "[[peer]]\ndomain = 'b.test'\nauth = ['gssapi']\ncredentials = {{ gssapi = \
             {{ keytab = '{own}', principal = 's2s@{NAME}', service = '{B}@{NAME}' }} }}\n"
        );
        let b = |listed: &str| {
            format!(
                "[[peer]]\ndomain = 'a.test'\nauth = ['gssapi']\n\
                 accept = {{ gssapi = {{ keytab = '{theirs}' }}{listed} }}\n"
            )
        };
        for (listed, believed) in [
            (format!(", principals = ['{A}@{NAME}', 's2s@{NAME}']"), true),
            (
                format!(", principals = ['{A}@{NAME}', 's2s@{SILENT}']"),
                false,
            ),
            (String::new(), false),
        ] {
            let daemons = [
                Daemon::serving("a.test").tables(&a),
                Daemon::serving("b.test").tables(&b(&listed)),
            ];
            let (_world, mut a, mut b) = start(daemons).await;
            if believed {
                let message = chat("a.test", "b.test");
                a.send(message).await.unwrap();
                arrives(&mut b, "one").await.unwrap();
            } else {
                let findings =
                    checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE);
                came_back(&findings.await, "cancel", "GSSAPI (not-authorized)");
            }
        }
    });
}

fn chat(from: &str, to: &str) -> String {
    format!("<message from='x@{from}' to='x@{to}' id='one'/>")
}

#[test]
fn who_is_refused_hears_why() {
    within(
        "who_is_refused_hears_why",
        &[A, B, "xmpp/c.test"],
        async |realm| {
            // What comes back where `a.test` says this.
            let refused = async |own: &str, more: &str| {
                let a = format!(
                    "[queue]\ngive_up = '1s'\n[[peer]]\ndomain = 'b.test'\nauth = ['gssapi']\n\
                 credentials = {{ {more} gssapi = {{ {own} }} }}\n"
                );
                let [_, b] = daemons(realm, "");
                let (_world, mut a, mut b) = start([Daemon::serving("a.test").tables(&a), b]).await;
                checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await
            };
            let right = format!("keytab = '{}'", keytab(realm, A));
            // Another principal of the realm,
            let other = format!(
                "keytab = '{}', principal = 'xmpp/c.test@{NAME}'",
                keytab(realm, "xmpp/c.test")
            );
            came_back(
                &refused(&other, "").await,
                "cancel",
                "GSSAPI (not-authorized)",
            );
            // the right one, to act as another domain,
            let findings = refused(&right, "authzid = 'c.test',").await;
            came_back(&findings, "cancel", "GSSAPI (invalid-authzid)");
            // with a key that is no longer its own: the KDC gives it no ticket,
            let old = format!("keytab = '{}'", realm.join(old_file_name(A)).display());
            came_back(
                &refused(&old, "").await,
                "wait",
                "no Kerberos ticket for the other server (",
            );
            // and for a service that the KDC does not know.
            let unknown = format!("{right}, service = 'xmpp/nobody.test@{NAME}'");
            came_back(&refused(&unknown, "").await, "wait", "nobody.test");
        },
    );
}

#[test]
fn a_keytab_without_the_key_of_the_ticket_is_not_authorized() {
    let name = "a_keytab_without_the_key_of_the_ticket_is_not_authorized";
    within(name, &[A, B, "xmpp/c.test"], async |realm| {
        let old = realm.join(old_file_name(B)).display().to_string();
        for wrong in [old, keytab(realm, "xmpp/c.test")] {
            let [a, _] = daemons(realm, "");
            let b = format!(
                "[[peer]]\ndomain = 'a.test'\nauth = ['gssapi']\n\
                 accept = {{ gssapi = {{ keytab = '{wrong}' }} }}\n"
            );
            let (_world, mut a, mut b) = start([a, Daemon::serving("b.test").tables(&b)]).await;
            let findings =
                checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await;
            came_back(&findings, "cancel", "GSSAPI (not-authorized)");
        }
    });
}

#[test]
fn without_a_ticket_what_else_is_allowed_follows() {
    let name = "without_a_ticket_what_else_is_allowed_follows";
    within(name, &[A], async |realm| {
        // Nobody made a principal for b.test, but there is a keytab that it offers GSSAPI with.
        let keytab = keytab(realm, A);
        let daemons = [("a.test", "b.test"), ("b.test", "a.test")].map(|(own, other)| {
            Daemon::serving(own).tables(&format!(
                "[[peer]]\ndomain = '{other}'\nauth = ['gssapi', 'dialback']\n\
                 credentials = {{ gssapi = {{ keytab = '{keytab}', principal = '{A}@{NAME}' }} }}\n\
                 accept = {{ gssapi = {{ keytab = '{keytab}' }} }}\n"
            ))
        });
        let (_world, mut a, mut b) = start(daemons).await;
        a.send(chat("a.test", "b.test")).await.unwrap();
        arrives(&mut b, "one").await.unwrap();
    });
}

/// A KDC that takes questions and never answers holds up whom it was asked about, and nobody else.
#[test]
fn a_kdc_that_does_not_answer_delays_no_other_peer() {
    let name = "a_kdc_that_does_not_answer_delays_no_other_peer";
    within(name, &[A, B], async |realm| {
        let (own, theirs) = (silent_keytab(realm, A), keytab(realm, B));
        let own = own.display();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let many = 2 * processors + 2;
        let silent = silent_kdc(realm);
        let questions = UdpSocket::bind(silent).await.unwrap();
        let _more_questions = TcpListener::bind(silent).await.unwrap();
        let a = format!(
            "[[peer]]\ndomain = '*.many.test'\nauth = ['gssapi']\n\
             credentials = {{ gssapi = {{ keytab = '{own}', principal = '{A}@{SILENT}' }} }}\n\
             [[peer]]\ndomain = 'b.test'\nauth = ['scram']\n\
             credentials = {{ username = 'a.test', password = 'correct horse' }}\n\
             accept = {{ username = 'b.test', password = 'correct horse' }}\n"
        );
        let b = format!(
            "[[peer]]\ndomain = 'a.test'\nauth = ['gssapi', 'scram']\n\
             credentials = {{ username = 'b.test', password = 'correct horse' }}\n\
             accept = {{ username = 'a.test', password = 'correct horse', \
             gssapi = {{ keytab = '{theirs}' }} }}\n"
        );
        let names: Vec<String> = (0..many).map(|at| format!("x{at}.many.test")).collect();
        let b = Daemon::serving("b.test").tables(&b);
        let b = names.iter().fold(b, |b, name| b.and(name));
        let leaf = names
            .iter()
            .fold(Leaf::domain("b.test"), |leaf, name| leaf.dns(name));
        let daemons = [Daemon::serving("a.test").tables(&a), b.certificate(leaf)];
        let (_world, mut a, mut b) = start(daemons).await;
        for name in &names {
            a.send(chat("a.test", name)).await.unwrap();
        }
        // As many wait for it as there are processors.
        let mut asked = HashSet::new();
        while asked.len() < processors {
            let question = timeout(TIMEOUT, questions.recv_from(&mut [0; 64])).await;
            asked.insert(question.expect("the KDC is asked").unwrap().1);
        }
        let plan = Plan {
            checks: vec![Check::Message],
            within: TIMEOUT,
            ..Plan::default()
        };
        let findings = checks::run(&mut a, Other::ComponentClient(&mut b), &plan).await;
        let failed: Vec<_> = findings.iter().filter(|f| f.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    });
}
