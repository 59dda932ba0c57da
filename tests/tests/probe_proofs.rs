//! `s2sd probe`, asked from a.test why federation with b.test works or does not: authentication, in both directions.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use s2sd::tools::demo::ca::{Authority, Issued, Leaf};
use s2sd::tools::probe::Report;
use s2sd::tools::probe::findings::ProofOutcome;
use s2sd::tools::probe::verdict::Side;
use s2sd_tests::{
    authoritative::Says,
    peer::Peer,
    tls::web_server,
    verdict::{faulty, works, works_but},
    world::{Daemon, RawServer, World},
};
use xmpp_stream::{Condition, Features, StanzaKind, StreamError, Writer, ns};

fn a_test() -> Daemon {
    Daemon::serving("a.test")
}

/// Both daemons in a world.
async fn world(a: &Daemon, b: &Daemon) -> World {
    let mut world = World::new().unwrap();
    world.start(a.clone()).await.unwrap();
    world.start(b.clone()).await.unwrap();
    world
}

async fn probed(a: Daemon, b: Daemon) -> Report {
    world(&a, &b).await.probe(&a, "b.test").await.unwrap()
}

async fn for_ever() {
    std::future::pending().await
}

/// What a probe says of b.test, whose server is played by `server`.
async fn played(a: Daemon, mut server: impl AsyncFnMut(RawServer, &World)) -> Report {
    let mut world = World::new().unwrap();
    world.start(a.clone()).await.unwrap();
    let listener = world.listen("b.test").await.unwrap();
    tokio::select! {
        report = world.probe(&a, "b.test") => report.unwrap(),
        () = server(listener, &world) => panic!("the server has left the stage"),
    }
}

fn starttls() -> Features {
    Features::new().with_starttls(true)
}

/// Up to TLS, and then with these mechanisms.
async fn offers(listener: &RawServer, world: &World, mechanisms: &[&str]) -> Peer {
    let mut peer = listener.accept_at_leisure().await.unwrap();
    peer.answer_open("1", &starttls()).await.unwrap();
    peer.accept_starttls(&world.identity("b.test"))
        .await
        .unwrap();
    let features = Features::new().with_mechanisms(mechanisms.iter().copied());
    peer.answer_open("2", &features).await.unwrap();
    peer
}

#[tokio::test]
async fn external_works_and_dialback_is_tried_beside_it() {
    let report = probed(a_test(), Daemon::serving("b.test")).await;
    works(&report, "EXTERNAL");
    let attempts = &report.findings.places[0].attempts;
    assert_eq!(attempts[1].proved(), Some("dialback"));
    for attempt in attempts {
        // The ping was taken: b.test is really up to stanzas.
        assert!(attempt.ping.as_ref().unwrap().taken.is_some());
    }
    let tls = attempts[0].tls.as_ref().unwrap();
    let identity = tls.identity.as_ref().unwrap();
    assert!(identity.good && identity.because.contains("dNSName b.test"));
    assert!(tls.group.is_some() && tls.cipher.starts_with("TLS_"));
    assert!(
        report
            .verdict
            .reason
            .rule
            .contains("[\"external\", \"dialback\"]")
    );
}

#[tokio::test]
async fn dialback_works() {
    let b = Daemon::serving("b.test").policy("auth = ['dialback']");
    works(&probed(a_test(), b).await, "dialback");
}

#[tokio::test]
async fn dialback_works_without_encryption() {
    let clear = |name| Daemon::serving(name).without_tls();
    works(&probed(clear("a.test"), clear("b.test")).await, "dialback");
}

#[tokio::test]
async fn direct_tls_works() {
    let report = probed(a_test(), Daemon::serving("b.test").direct_tls()).await;
    works(&report, "EXTERNAL");
    assert!(report.findings.places[0].direct_tls);
}

#[tokio::test]
async fn who_is_denied_here_is_not_even_asked() {
    let a = a_test().policy("deny = ['b.test']");
    let mut world = world(&a, &Daemon::serving("b.test")).await;
    let listener = world.listen("b.test").await.unwrap();
    let report = tokio::select! {
        report = world.probe(&a, "b.test") => report.unwrap(),
        _ = listener.accept_at_leisure() => panic!("somebody connects"),
    };
    let words = ["`deny` in [policy] has \"b.test\""];
    faulty(&report, "denied", Side::Us, &words);
}

#[tokio::test]
async fn a_peer_that_denies_us() {
    let b = Daemon::serving("b.test").policy("deny = ['a.test']");
    let words = ["policy-violation", "whether a.test is blocked"];
    faulty(
        &probed(a_test(), b).await,
        "peer-policy",
        Side::Peer,
        &words,
    );
}

#[tokio::test]
async fn a_certificate_that_the_peer_does_not_believe() {
    let a = a_test().certificate(Leaf::domain("other.test"));
    let report = probed(a, Daemon::serving("b.test")).await;
    let words = [
        "does not believe that we are a.test",
        "your certificate is not for a.test",
    ];
    faulty(&report, "not-believed", Side::Us, &words);
    assert_eq!(report.verdict.warnings[0].code.name(), "our-certificate");
}

#[tokio::test]
async fn nothing_is_offered_to_who_is_not_believed() {
    let a = a_test().policy("auth = ['external']");
    let report = played(a, async |listener, world| {
        let _peer = offers(&listener, world, &[]).await;
        for_ever().await
    });
    let words = [
        "not even EXTERNAL",
        "allow \"dialback\"",
        "`auth = [\"external\"]`",
    ];
    faulty(&report.await, "nothing-offered", Side::Us, &words);
}

/// TLS by a proxy in front of the server, as a rule.
#[tokio::test]
async fn a_certificate_that_is_not_asked_for_is_not_the_one_to_blame() {
    let a = a_test().policy("auth = ['external']");
    let report = played(a, async |listener, world| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.answer_open("1", &starttls()).await.unwrap();
        peer.expect(ns::TLS, "starttls").await.unwrap();
        peer.send(Writer::new("proceed").xmlns(ns::TLS).finish())
            .await
            .unwrap();
        let proxy = web_server(&world.identity("b.test")).unwrap();
        peer.accept_tls(proxy).await.unwrap();
        peer.answer_open("2", &Features::default()).await.unwrap();
        for_ever().await
    });
    let report = report.await;
    let words = ["did not ask for a certificate", "allow \"dialback\""];
    faulty(&report, "not-asked", Side::Peer, &words);
    assert!(!report.verdict.reason.change.contains("show a certificate"));
}

#[tokio::test]
async fn external_is_refused() {
    let a = a_test().policy("auth = ['external']");
    let report = played(a, async |listener, world| {
        let mut peer = offers(&listener, world, &["EXTERNAL"]).await;
        peer.expect(ns::SASL, "auth").await.unwrap();
        let failure = format!(
            "<failure xmlns='{}'><not-authorized/><text>no clientAuth</text></failure></stream:stream>",
            ns::SASL
        );
        peer.send(failure).await.unwrap();
        for_ever().await
    })
    .await;
    let words = [
        "not-authorized (no clientAuth)",
        "full chain",
        "RFC 6120 §6.5",
    ];
    faulty(&report, "external-refused", Side::Us, &words);
}

#[tokio::test]
async fn external_is_refused_and_dialback_does_instead() {
    let mut world = World::new().unwrap();
    let a = a_test();
    world.start(a.clone()).await.unwrap();
    let listener = world.listen("b.test").await.unwrap();
    let server = async {
        let mut peer = offers(&listener, &world, &["EXTERNAL"]).await;
        peer.expect(ns::SASL, "auth").await.unwrap();
        let failure = format!("<failure xmlns='{}'><not-authorized/></failure>", ns::SASL);
        peer.send(failure).await.unwrap();
        peer.expect(ns::DIALBACK, "result").await.unwrap();
        peer.send("<db:result from='b.test' to='a.test' type='valid'/>")
            .await
            .unwrap();
        peer.expect_stanza(StanzaKind::Iq).await.unwrap();
        peer.expect_end().await.unwrap();
        for_ever().await
    };
    let report = tokio::select! {
        report = world.probe(&a, "b.test") => report.unwrap(),
        () = server => panic!("for ever is over"),
    };
    let words: [&str; 1] = ["dialback did instead"];
    works_but(
        &report,
        "dialback",
        &[("external-refused", Side::Us, &words)],
    );
}

#[tokio::test]
async fn dialback_where_the_dns_leads_to_another_server_of_ours() {
    let (a, b) = (
        a_test(),
        Daemon::serving("b.test").policy("auth = ['dialback']"),
    );
    let mut world = world(&a, &b).await;
    let identity = world.identity("a.test");
    let _other = world
        .authoritative("a.test", Says::Invalid, Some(identity))
        .await
        .unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = ["does not know our key", "`secret` in [dialback]"];
    faulty(&report, "dialback-invalid", Side::Us, &words);
    let proofs = &report.findings.places[0].attempts[0].proofs;
    assert_eq!(proofs[0].outcome, ProofOutcome::Invalid);
}

#[tokio::test]
async fn dialback_without_a_way_back() {
    let (a, b) = (
        a_test(),
        Daemon::serving("b.test").policy("auth = ['dialback']"),
    );
    let mut world = world(&a, &b).await;
    // Where nobody listens any more.
    world.listen("a.test").await.unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = [
        "cannot connect to the server of a.test",
        "firewall lets others in",
    ];
    faulty(&report, "dialback-no-way-back", Side::Us, &words);
}

#[tokio::test]
async fn dialback_for_a_domain_that_is_not_in_the_dns() {
    let (a, b) = (
        a_test(),
        Daemon::serving("b.test").policy("auth = ['dialback']"),
    );
    let mut world = world(&a, &b).await;
    world.change_zone(|zone| zone.without("_xmpp-server._tcp.a.test"));
    let report = world.probe(&a, "b.test").await.unwrap();
    let words = [
        "does not find a.test in the DNS",
        "_xmpp-server._tcp.a.test",
    ];
    faulty(&report, "dialback-not-found", Side::Us, &words);
    let warnings = &report.verdict.warnings;
    assert!(
        warnings
            .iter()
            .any(|it| it.code.name() == "we-are-not-found"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn external_is_enough_but_the_answers_have_no_way_back() {
    let (a, b) = (a_test(), Daemon::serving("b.test"));
    let mut world = world(&a, &b).await;
    world.listen("a.test").await.unwrap();
    let report = world.probe(&a, "b.test").await.unwrap();
    let words: [&str; 1] = ["answers may not come back"];
    works_but(
        &report,
        "EXTERNAL",
        &[("dialback-no-way-back", Side::Us, &words)],
    );
}

#[tokio::test]
async fn a_password_that_is_refused() {
    let login = |user: &str, password: &str, what: &str| {
        format!(
            "[[peer]]\ndomain = '{user}'\nauth = ['scram-sha-256']\n\
             {what} = {{ username = 'us', password = '{password}' }}\n"
        )
    };
    let a = a_test().tables(&login("b.test", "one", "credentials"));
    let b = Daemon::serving("b.test").tables(&login("a.test", "two", "accept"));
    let words = ["refuses SCRAM-SHA-256", "`credentials` in [[peer]] b.test"];
    faulty(&probed(a, b).await, "password-refused", Side::Us, &words);
}

#[tokio::test]
async fn a_peer_that_takes_only_small_stanzas() {
    let b = Daemon::serving("b.test").policy("max_stanza = '12KiB'");
    let report = probed(a_test(), b).await;
    let words: [&str; 2] = ["no stanza larger than 12KiB", "XEP-0478"];
    works_but(&report, "EXTERNAL", &[("stanza-limit", Side::Peer, &words)]);
}

#[tokio::test]
async fn a_certificate_that_is_refused_in_the_handshake() {
    let report = played(a_test(), async |listener, world| {
        let mut peer = listener.accept_at_leisure().await.unwrap();
        peer.answer_open("1", &starttls()).await.unwrap();
        peer.expect(ns::TLS, "starttls").await.unwrap();
        let proceed = Writer::new("proceed").xmlns(ns::TLS);
        peer.send(proceed.finish()).await.unwrap();
        // It believes an authority that nobody else knows.
        let mut roots = RootCertStore::empty();
        let stranger = Authority::new("stranger");
        roots
            .add(CertificateDer::from_pem_slice(stranger.pem().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let issued = world.issue(&Leaf::domain("b.test"));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(issued.chain(), issued.key())
            .unwrap();
        peer.accept_tls(Arc::new(config)).await.unwrap_err();
        for_ever().await
    });
    let words = [
        "does not take our certificate in the TLS handshake",
        "full chain",
    ];
    faulty(&report.await, "our-certificate-refused", Side::Us, &words);
}

#[tokio::test]
async fn a_bad_certificate_that_does_not_count_is_told_of() {
    let a = a_test().policy("verify = 'dialback'");
    let issued = Issued::self_signed(&Leaf::domain("b.test"));
    let b = Daemon::serving("b.test").certificate_from(issued);
    let report = probed(a, b).await;
    let words: [&str; 2] = ["self-signed", "`verify = \"dialback\"` in [policy]"];
    let warning = ("certificate-self-signed", Side::Peer, &words[..]);
    works_but(&report, "EXTERNAL", &[warning]);
}

#[tokio::test]
async fn a_peer_that_takes_the_proof_and_no_stanza() {
    let report = played(a_test(), async |listener, world| {
        // Dialback is tried too, and after that nobody comes any more.
        let mut peer = offers(&listener, world, &["EXTERNAL"]).await;
        peer.expect(ns::SASL, "auth").await.unwrap();
        let success = Writer::new("success").xmlns(ns::SASL);
        peer.send(success.finish()).await.unwrap();
        peer.restart();
        peer.answer_open("3", &Features::default()).await.unwrap();
        peer.expect_stanza(StanzaKind::Iq).await.unwrap();
        let error = StreamError::new(Condition::InternalServerError).with_text("oops");
        peer.send(error.to_bytes()).await.unwrap();
        peer.send("</stream:stream>").await.unwrap();
        let mut peer = offers(&listener, world, &[]).await;
        peer.expect(ns::DIALBACK, "result").await.unwrap();
        peer.send("<db:result from='b.test' to='a.test' type='invalid'/>")
            .await
            .unwrap();
        for_ever().await
    });
    let words = ["at the first stanza", "internal-server-error (oops)"];
    faulty(&report.await, "ping-refused", Side::Peer, &words);
}
