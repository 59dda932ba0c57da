//! Loading and reloading, and what is said when it goes wrong.

use std::{fs, path::PathBuf};

use rustls::pki_types::CertificateDer;

use super::*;

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let local = domain("a.example");
    let before = tls.server(None, MinTls::V1_2);
    let show = |server| {
        let client = tls.client(&local, MinTls::V1_2, false);
        async move {
            let (client, server) = shaken(client, server, "a.example").await;
            let chain =
                |certificates: Option<&[CertificateDer<'static>]>| certificates.unwrap()[0].clone();
            let by_client = chain(client.get_ref().1.peer_certificates());
            (by_client, chain(server.get_ref().1.peer_certificates()))
        }
    };
    let (old, _) = show(Arc::clone(&before)).await;
    assert!(!tls.has_changed());
    assert_eq!(tls.reload(), []);
    // A new chain, and for a moment still the old key.
    let new = fixture
        .authority
        .issue(&Leaf::domain("a.example").dns("new.a.example"));
    fs::write(fixture.files("a.example").chain, &new.chain_pem).unwrap();
    assert!(tls.has_changed());
    let report = tls.reload();
    assert!(matches!(&report[..], [Reloaded::Kept(_)]), "{report:?}");
    assert!(
        report[0]
            .to_string()
            .starts_with("not reloaded, what was loaded before stays: "),
        "{}",
        report[0]
    );
    assert!(!tls.has_changed(), "a bad file is reported once");
    assert_eq!(
        show(tls.server(None, MinTls::V1_2)).await,
        (old.clone(), old.clone())
    );
    // And the new key.
    fs::write(fixture.files("a.example").key, &new.key_pem).unwrap();
    let report = tls.reload();
    assert_eq!(
        report,
        [Reloaded::Changed("the certificate of a.example".to_owned())]
    );
    let (by_client, by_server) = show(tls.server(None, MinTls::V1_2)).await;
    assert_eq!(by_client, new.chain()[0]);
    assert_eq!(by_server, new.chain()[0]);
    assert_ne!(by_client, old);
    // A handshake that had begun ends with what it began with.
    assert_eq!(show(before).await.0, old);
}

#[tokio::test(start_paused = true)]
async fn a_watched_file_needs_no_signal() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let watch = tls.watch(std::time::Duration::from_secs(60), |news| {
        let _ = told.send(news);
    });
    let change = async {
        tokio::time::sleep(std::time::Duration::from_secs(100)).await;
        let new = fixture
            .authority
            .issue(&Leaf::domain("a.example").dns("longer.a.example"));
        fixture.write("a.example", &new);
        heard.recv().await
    };
    let news = tokio::select! {
        news = change => news,
        () = watch => None,
    };
    assert!(matches!(news, Some(Reloaded::Changed(_))), "{news:?}");
}

#[test]
fn roots_are_reloaded_too() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let issued = fixture.authority.issue(&Leaf::domain("a.example"));
    let chain = PeerChain::new(&issued.chain());
    assert!(
        fixture
            .judged(&tls, chain.as_ref(), "a.example")
            .is_certified()
    );
    fs::write(fixture.path("root.pem"), Authority::new("another").pem()).unwrap();
    assert_eq!(
        tls.reload(),
        [Reloaded::TrustStore(
            "the trusted certificate authorities".to_owned()
        )]
    );
    assert!(
        !fixture
            .judged(&tls, chain.as_ref(), "a.example")
            .is_certified()
    );
    fs::write(fixture.path("root.pem"), "nothing").unwrap();
    assert!(matches!(&tls.reload()[..], [Reloaded::Kept(_)]));
    assert_eq!(tls.roots(&fixture.config.policy).len(), 1);
}

#[test]
fn lists_of_revoked_certificates_are_reloaded_too() {
    let mut fixture = TlsFixture::new(&["a.example"]);
    let list = fixture.path("root.crl");
    fs::write(&list, fixture.authority.revoke(&[], Validity::Now)).unwrap();
    let policy = Policy {
        crl: vec![list.clone()],
        ..(*fixture.config.policy).clone()
    };
    fixture.config.policy = Arc::new(policy);
    let tls = fixture.tls();
    let issued = fixture.authority.issue(&Leaf::domain("a.example"));
    let chain = PeerChain::new(&issued.chain());
    let judged = || fixture.judged(&tls, chain.as_ref(), "a.example");
    assert!(judged().is_certified());
    let revoking = fixture.authority.revoke(&[&issued], Validity::Expired);
    fs::write(&list, revoking).unwrap();
    assert!(tls.has_changed());
    assert!(matches!(&tls.reload()[..], [Reloaded::TrustStore(_)]));
    assert_eq!(judged(), Because::Bad(BadCertificate::Revoked).into());
    let warnings = tls.warnings(UnixTime::now());
    let [TlsWarning::Soon(text)] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert!(
        text.contains("root.crl: a newer list was to come by"),
        "{text}"
    );
    // What cannot be read does not undo what was read.
    fs::write(&list, "nothing").unwrap();
    assert!(matches!(&tls.reload()[..], [Reloaded::Kept(_)]));
    assert_eq!(judged(), Because::Bad(BadCertificate::Revoked).into());
    assert_eq!(
        fixture.faults(),
        [
            "the trusted certificate authorities: root.crl: holds no certificate revocation list (X509 CRL) in PEM"
        ]
    );
}

#[test]
fn another_configuration_is_taken_as_a_whole_or_not_at_all() {
    let mut fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let more = TlsFixture::new(&["b.example"]);
    fixture.config.domains.extend(more.config.domains.clone());
    assert_eq!(tls.reconfigure(&fixture.config), Ok(Vec::new()));
    assert!(tls.has_certificate(&domain("b.example")));
    fixture.config.domains.remove(0);
    fs::remove_file(more.files("b.example").key).unwrap();
    // What is bad was good before: it stays. What is gone from the configuration goes.
    let report = tls.reconfigure(&fixture.config).unwrap();
    assert!(matches!(&report[..], [Reloaded::Kept(_)]), "{report:?}");
    assert!(!tls.has_certificate(&domain("a.example")));
    // What is bad and new refuses the whole.
    let mut worse = fixture.config.clone();
    worse.domains[0].name = domain("c.example");
    assert_eq!(tls.reconfigure(&worse).unwrap_err().len(), 1);
    assert!(tls.has_certificate(&domain("b.example")));
    assert!(!tls.has_certificate(&domain("c.example")));
}

#[test]
fn an_unknown_policy_trusts_nobody() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let policy = Policy {
        trust: TrustStore::Files(vec![PathBuf::from("/elsewhere.pem")]),
        ..Policy::default()
    };
    assert!(tls.roots(&policy).is_empty());
}

#[test]
fn every_fault_says_which_file_and_why() {
    let fixture = TlsFixture::new(&[
        "a.example",
        "b.example",
        "c.example",
        "d.example",
        "e.example",
    ]);
    let write = |name: &str, text: &str| fs::write(fixture.path(name), text).unwrap();
    fs::remove_file(fixture.path("a.example.pem")).unwrap();
    write("b.example.key", "no key");
    write(
        "c.example.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    fs::copy(fixture.path("e.example.key"), fixture.path("d.example.key")).unwrap();
    write(
        "e.example.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    write("root.pem", "");
    let faults = fixture.faults();
    let (last, rest) = faults[4..].split_first().unwrap();
    assert_eq!(
        faults[..4],
        [
            "the certificate of a.example: a.example.pem: does not exist",
            "the certificate of b.example: b.example.key: holds no private key in PEM",
            "the certificate of c.example: c.example.key: the key is encrypted, and a daemon has no passphrase \
             for it",
            "the certificate of d.example: d.example.pem: is not for the key in d.example.key",
        ]
    );
    assert!(
        last.starts_with("the certificate of e.example: e.example.pem: is not PEM"),
        "{last}"
    );
    assert_eq!(
        rest,
        ["the trusted certificate authorities: root.pem: holds no certificate in PEM"]
    );
}

#[test]
fn a_chain_in_the_wrong_order_is_told_as_such() {
    let fixture = TlsFixture::new(&["a.example"]);
    let issued = fixture.authority.issue(&Leaf::domain("a.example"));
    let reversed = fixture.authority.pem().to_owned() + &issued.chain_pem;
    let files = fixture.files("a.example");
    fs::write(files.chain, reversed).unwrap();
    fs::write(files.key, &issued.key_pem).unwrap();
    assert_eq!(
        fixture.faults(),
        [
            "the certificate of a.example: a.example.pem: certificate number 2 is the one for a.example.key; it \
          has to be the first"
        ]
    );
}

#[test]
fn our_own_certificates_are_looked_at_as_a_peer_would() {
    use crate::tools::demo::ca::{Purpose, Validity};

    let fixture = TlsFixture::new(&["a.example", "b.example", "c.example", "d.example"]);
    let issue = |name: &str, leaf: Leaf| fixture.write(name, &fixture.authority.issue(&leaf));
    issue(
        "b.example",
        Leaf::domain("b.example").validity(Validity::Expired),
    );
    issue("c.example", Leaf::domain("b.example"));
    issue(
        "d.example",
        Leaf::domain("d.example").purpose(Purpose::Client),
    );
    let tls = fixture.tls();
    let now = UnixTime::now();
    let own = tls.own_certificates(now);
    let (good, bad) = own.split_first().unwrap();
    assert_eq!(good.fault, None);
    assert_eq!(good.file, fixture.path("a.example.pem"));
    let days_left = (good.not_after.as_secs() - now.as_secs()) / 86_400;
    assert!((89..=90).contains(&days_left), "{days_left}");
    assert!(matches!(bad[0].fault, Some(BadCertificate::Expired { .. })));
    assert!(matches!(
        bad[1].fault,
        Some(BadCertificate::WrongName { .. })
    ));
    assert_eq!(bad[2].fault, Some(BadCertificate::WrongPurpose));
}

#[test]
fn the_systems_authorities_can_be_asked_for() {
    // How many there are depends on the machine; that they load does not.
    let tls = Tls::load(&Config::default()).unwrap();
    let known = rustls_native_certs::load_native_certs().certs.len();
    assert!(tls.roots(&Policy::default()).len() <= known);
    assert!(!tls.has_certificate(&domain("a.example")));
}
