//! `s2sd probe`, asked from a.test about b.test, whose certificate nobody signed: what b.test publishes by HTTPS (RFC 7711).
//! The web server is behind a proxy, which is asked for port 443 as the network would be.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd::tools::probe::Report;
use s2sd::tools::probe::verdict::Side;
use s2sd_tests::{
    https::{Https, document},
    socks::{Rules, Socks},
    verdict::{faulty, works},
    world::{Daemon, World},
};
use sha2::{Digest as _, Sha256};

const PATH: &str = "/.well-known/posh/xmpp-server.json";

/// What is said of b.test, which shows `shown` and publishes `published`, to be believed for so many seconds.
async fn probed(shown: &Issued, published: &Issued, expires: u64) -> Report {
    let mut world = World::new().unwrap();
    let web = Https::start(&world.issue(&Leaf::domain("b.test")))
        .await
        .unwrap();
    let fingerprint = STANDARD.encode(Sha256::digest(&published.chain()[0]));
    let body =
        format!("{{\"fingerprints\":[{{\"sha-256\":\"{fingerprint}\"}}],\"expires\":{expires}}}");
    web.page(PATH, &document(&body));
    let b = Daemon::serving("b.test").certificate_from(shown.clone());
    world.start(b).await.unwrap();
    let own = world.daemon("b.test").unwrap().s2s[0];
    let machine = world.host("b.test").unwrap();
    let places = HashMap::from([
        ("b.test:443".to_owned(), web.addr()),
        (format!("{machine}:{}", own.port()), own),
    ]);
    let rules = Rules {
        places,
        login: None,
    };
    let proxy = Socks::start(rules).await.unwrap();
    let a = Daemon::serving("a.test").policy(&format!(
        "auth = ['external']\nposh = true\nproxy = 'socks5://{}'",
        proxy.addr()
    ));
    world.start(a.clone()).await.unwrap();
    world.probe(&a, "b.test").await.unwrap()
}

fn own() -> Issued {
    Issued::self_signed(&Leaf::domain("hosting.test"))
}

#[tokio::test]
async fn a_certificate_that_the_domain_publishes() {
    let shown = own();
    let report = probed(&shown, &shown, 600).await;
    works(&report, "EXTERNAL");
    let attempt = &report.findings.places[0].attempts[0];
    assert!(
        attempt.address.contains(" through socks5://"),
        "{attempt:?}"
    );
    let identity = attempt.tls.as_ref().unwrap().identity.as_ref().unwrap();
    assert_eq!((identity.good, identity.trust.as_str()), (true, "POSH"));
    assert!(identity.because.contains("https://b.test"), "{identity:?}");
}

#[tokio::test]
async fn a_document_that_has_expired_and_one_of_another_certificate() {
    let shown = own();
    let words = [
        "by POSH it is not known either",
        "has expired",
        "publish its fingerprint by POSH",
    ];
    let report = probed(&shown, &shown, 0).await;
    faulty(&report, "certificate-self-signed", Side::Peer, &words);
    let words = ["by POSH it is not known either", "RFC 7711"];
    let report = probed(&shown, &own(), 600).await;
    faulty(&report, "certificate-self-signed", Side::Peer, &words);
}
