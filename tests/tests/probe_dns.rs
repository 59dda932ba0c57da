//! `s2sd probe`, asked from a.test why federation with b.test works or does not: what signed zones say of places and of
//! certificates (RFC 7673).
#![allow(clippy::unwrap_used)]

use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd::tools::demo::zone::Flaw;
use s2sd::tools::probe::Report;
use s2sd::tools::probe::findings::{Dnssec, Lookup};
use s2sd::tools::probe::verdict::Side;
use s2sd::trust::Tlsa;
use s2sd_tests::{
    verdict::{faulty, works},
    world::{Daemon, World},
};

const SRV: &str = "_xmpp-server._tcp.b.test";

/// Both daemons, in a zone that is signed; b.test with this certificate.
async fn world(a: &Daemon, issued: &Issued) -> World {
    let mut world = World::signed().unwrap();
    world.start(a.clone()).await.unwrap();
    let b = Daemon::serving("b.test").certificate_from(issued.clone());
    // Whom it calls back is judged as elsewhere.
    world.start(b.dnssec("off")).await.unwrap();
    world
}

fn a_test() -> Daemon {
    Daemon::serving("a.test")
}

/// Nobody signed it but its own key.
fn own() -> Issued {
    Issued::self_signed(&Leaf::domain("b.test"))
}

/// DANE-EE, this very certificate.
fn record(issued: &Issued) -> Tlsa {
    Tlsa::new(3, 0, 0, issued.chain()[0].to_vec()).unwrap()
}

fn tlsa(report: &Report) -> Option<&Lookup> {
    report.findings.places[0].tlsa.as_ref()
}

#[tokio::test]
async fn a_certificate_that_the_zone_names() {
    let (a, issued) = (a_test(), own());
    let mut world = world(&a, &issued).await;
    world.tlsa("b.test", &record(&issued)).unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    works(&report, "EXTERNAL");
    let place = &report.findings.places[0];
    assert_eq!(place.dnssec, Dnssec::Secure);
    assert_eq!(report.findings.lookups[0].dnssec, Dnssec::Secure);
    let tlsa = tlsa(&report).unwrap();
    assert!(tlsa.records[0].starts_with("3 0 0 "), "{tlsa:?}");
    let tls = place.attempts[0].tls.as_ref().unwrap();
    let identity = tls.identity.as_ref().unwrap();
    assert_eq!((identity.good, identity.trust.as_str()), (true, "DANE"));
    assert!(identity.because.starts_with("TLSA 3 0 0"), "{identity:?}");
}

#[tokio::test]
async fn a_certificate_that_is_not_the_one_that_the_zone_names() {
    let (a, issued) = (a_test(), own());
    let mut world = world(&a, &issued).await;
    world.tlsa("b.test", &record(&own())).unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = [
        "`dane = \"use\"` in [policy]",
        "publish this certificate at _",
    ];
    faulty(&report, "certificate-not-in-tlsa", Side::Peer, &words);
}

#[tokio::test]
async fn a_zone_that_names_no_certificate_where_it_has_to() {
    let a = a_test().policy("dane = 'require'");
    let world = world(&a, &own()).await;
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = ["`dane = \"require\"` in [policy]", "publish TLSA records"];
    faulty(&report, "certificate-no-tlsa", Side::Peer, &words);
    assert!(tlsa(&report).unwrap().records.is_empty());
}

#[tokio::test]
async fn answers_that_are_not_what_was_signed() {
    let a = a_test();
    let mut world = world(&a, &own()).await;
    world.change_zone(|zone| zone.flaw(SRV, Flaw::Expired));
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = ["have its zone signed anew", "`dnssec = \"use\"` in [dns]"];
    faulty(&report, "dnssec-bogus", Side::Peer, &words);
    assert_eq!(report.findings.lookups[0].dnssec, Dnssec::Bogus);
}

#[tokio::test]
async fn answers_that_are_not_signed_where_they_have_to_be() {
    let a = a_test().dnssec("require");
    let mut world = world(&a, &own()).await;
    world.change_zone(|zone| zone.unsigned("b.test"));
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = ["`dnssec = \"require\"` in [dns]", "sign the zone"];
    faulty(&report, "dnssec-unsigned", Side::Us, &words);
}
