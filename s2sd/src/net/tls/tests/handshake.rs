//! Handshakes: both ends of each are ours.

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig, pki_types::CertificateDer, sign::SingleCertAndKey};

use super::*;

/// The first dNSName of what the other side showed.
fn shown(certificates: Option<&[CertificateDer<'static>]>) -> Option<String> {
    let names = identities(certificates?.first()?).unwrap();
    names.first().map(ToString::to_string)
}

/// Makes the client of an old program: TLS 1.2 and nothing newer.
fn only_1_2(config: &Tls) -> Arc<ClientConfig> {
    let client = ClientConfig::builder_with_provider(Arc::clone(&config.provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(accept_any::AcceptAny(Arc::clone(
            &config.provider,
        ))))
        .with_no_client_auth();
    Arc::new(client)
}

#[tokio::test]
async fn both_sides_show_their_certificate_and_judge_the_others() {
    let fixture = TlsFixture::new(&["a.example", "b.example"]);
    let tls = fixture.tls();
    let (client, server) = shaken(
        tls.client(&domain("a.example"), MinTls::V1_2, false),
        tls.server(None, MinTls::V1_2),
        "b.example",
    )
    .await;
    let seen_by_client = PeerChain::of(client.get_ref().1);
    let seen_by_server = PeerChain::of(server.get_ref().1);
    let judged = |chain: &Option<PeerChain>, name| fixture.judged(&tls, chain.as_ref(), name);
    assert!(judged(&seen_by_client, "b.example").is_certified());
    assert!(judged(&seen_by_server, "a.example").is_certified());
    assert!(!judged(&seen_by_client, "a.example").is_certified());
    assert!(!judged(&seen_by_server, "b.example").is_certified());
    let facts = describe(server.get_ref().1);
    assert_eq!(
        facts.to_string(),
        "TLS 1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768"
    );
    assert_eq!(describe(client.get_ref().1), facts);
}

#[tokio::test]
async fn tls_1_2_is_spoken_unless_the_policy_wants_more() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let (client, server) =
        shaken(only_1_2(&tls), tls.server(None, MinTls::V1_2), "a.example").await;
    let facts = describe(client.get_ref().1);
    assert_eq!(facts.version, "TLS 1.2");
    assert!(facts.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{facts}");
    assert_eq!(PeerChain::of(server.get_ref().1), None);
    let (client, server) = shake(only_1_2(&tls), tls.server(None, MinTls::V1_3), "a.example").await;
    assert!(client.is_err() && server.is_err());
}

#[tokio::test]
async fn a_client_with_a_higher_floor_refuses_an_old_server() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let mut old = ServerConfig::builder_with_provider(Arc::clone(&tls.provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(Arc::new(accept_any::AcceptAny(Arc::clone(&tls.provider))))
        .with_cert_resolver(Arc::clone(&tls.server(None, MinTls::V1_2).cert_resolver));
    old.alpn_protocols = Vec::new();
    let old = Arc::new(old);
    let local = domain("a.example");
    for (min, is_good) in [(MinTls::V1_2, true), (MinTls::V1_3, false)] {
        let client = tls.client(&local, min, true);
        let (client, server) = shake(client, Arc::clone(&old), "a.example").await;
        assert_eq!(client.is_ok(), is_good);
        if let Ok(server) = server {
            // Over TLS 1.2 too, the certificate was asked for and shown.
            let chain = PeerChain::of(server.get_ref().1);
            assert!(
                fixture
                    .judged(&tls, chain.as_ref(), "a.example")
                    .is_certified()
            );
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in_and_proves_nothing() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    assert!(!tls.has_certificate(&domain("bare.example")));
    let (_, server) = shaken(
        tls.client(&domain("bare.example"), MinTls::V1_2, false),
        tls.server(None, MinTls::V1_2),
        "a.example",
    )
    .await;
    let chain = PeerChain::of(server.get_ref().1);
    assert_eq!(
        fixture.judged(&tls, chain.as_ref(), "bare.example"),
        Judgement::from(Because::NoCertificate)
    );
}

#[tokio::test]
async fn a_bad_certificate_does_not_break_the_handshake() {
    let fixture = TlsFixture::new(&["a.example"]);
    fixture.write(
        "a.example",
        &Issued::self_signed(&Leaf::domain("a.example")),
    );
    let tls = fixture.tls();
    let (client, server) = shaken(
        tls.client(&domain("a.example"), MinTls::V1_2, false),
        tls.server(None, MinTls::V1_2),
        "a.example",
    )
    .await;
    for chain in [
        PeerChain::of(client.get_ref().1),
        PeerChain::of(server.get_ref().1),
    ] {
        assert_eq!(
            fixture.judged(&tls, chain.as_ref(), "a.example"),
            Because::Bad(BadCertificate::SelfSigned).into()
        );
    }
}

/// A server's configuration that shows this, and a client's.
fn showing(tls: &Tls, issued: &Issued) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let key = tls.provider.key_provider.load_private_key(issued.key());
    let shown = rustls::sign::CertifiedKey::new(issued.chain(), key.unwrap());
    let shown = Arc::new(SingleCertAndKey::from(shown));
    let mut client = (*tls.client(&domain("x.example"), MinTls::V1_2, false)).clone();
    client.client_auth_cert_resolver = shown.clone();
    let mut server = (*tls.server(None, MinTls::V1_2)).clone();
    server.cert_resolver = shown;
    (Arc::new(client), Arc::new(server))
}

/// Version 1 has no extensions, and so no names that count; the library's check of signatures does not even read it.
#[tokio::test]
async fn a_certificate_of_version_1_does_not_break_the_handshake() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let issued = Issued::self_signed(&Leaf::domain("a.example")).version_1();
    let (old_client, old_server) = showing(&tls, &issued);
    let (_, server) = shaken(old_client, tls.server(None, MinTls::V1_2), "a.example").await;
    let ours = tls.client(&domain("x.example"), MinTls::V1_2, false);
    let (client, _) = shaken(ours, Arc::clone(&old_server), "a.example").await;
    let (older, _) = shaken(only_1_2(&tls), old_server, "a.example").await;
    for chain in [
        PeerChain::of(server.get_ref().1),
        PeerChain::of(client.get_ref().1),
        PeerChain::of(older.get_ref().1),
    ] {
        assert_eq!(chain.as_ref().unwrap().leaf(), &issued.chain()[0]);
        let judged = fixture.judged(&tls, chain.as_ref(), "a.example");
        assert!(judged.bad().is_some(), "{judged}");
    }
}

#[tokio::test]
async fn the_key_of_a_certificate_of_version_1_must_be_held_too() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let thief = Issued {
        key_pem: Issued::self_signed(&Leaf::domain("evil.example")).key_pem,
        ..Issued::self_signed(&Leaf::domain("a.example")).version_1()
    };
    let (client, server) = showing(&tls, &thief);
    let (_, refused) = shake(client, tls.server(None, MinTls::V1_2), "a.example").await;
    assert!(refused.is_err());
    let ours = tls.client(&domain("x.example"), MinTls::V1_2, false);
    assert!(
        shake(ours, Arc::clone(&server), "a.example")
            .await
            .0
            .is_err()
    );
    assert!(shake(only_1_2(&tls), server, "a.example").await.0.is_err());
}

#[tokio::test]
async fn whoever_shows_a_certificate_must_hold_its_key() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let good = fixture.authority.issue(&Leaf::domain("a.example"));
    let thief = fixture.authority.issue(&Leaf::domain("evil.example"));
    let key = tls
        .provider
        .key_provider
        .load_private_key(thief.key())
        .unwrap();
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(good.chain(), key));
    let stolen = Arc::new(SingleCertAndKey::from(stolen));
    // As a client.
    let mut client = (*tls.client(&domain("x.example"), MinTls::V1_2, false)).clone();
    client.client_auth_cert_resolver = stolen.clone();
    let (_, server) = shake(
        Arc::new(client),
        tls.server(None, MinTls::V1_2),
        "a.example",
    )
    .await;
    assert!(server.is_err());
    // As a server.
    let mut server = (*tls.server(None, MinTls::V1_2)).clone();
    server.cert_resolver = stolen;
    let client = tls.client(&domain("x.example"), MinTls::V1_2, false);
    let (client, _) = shake(client, Arc::new(server.clone()), "a.example").await;
    assert!(client.is_err());
    let (client, _) = shake(only_1_2(&tls), Arc::new(server), "a.example").await;
    assert!(client.is_err());
}

/// Which certificate is shown to a client that names `sni` while the stream is to `to`.
async fn chosen(tls: &Tls, sni: &str, to: Option<&str>) -> String {
    let to = to.map(domain);
    let (client, _) = shaken(
        tls.client(&domain("x.example"), MinTls::V1_2, false),
        tls.server(to.as_ref(), MinTls::V1_2),
        sni,
    )
    .await;
    shown(client.get_ref().1.peer_certificates()).unwrap()
}

#[tokio::test]
async fn the_name_in_the_handshake_chooses_the_certificate() {
    let fixture = TlsFixture::new(&["a.example", "b.example", "müller.example"]);
    let tls = fixture.tls();
    let b = Some("b.example");
    assert_eq!(chosen(&tls, "a.example", b).await, "dNSName a.example");
    assert_eq!(chosen(&tls, "b.example", None).await, "dNSName b.example");
    assert_eq!(
        chosen(&tls, "MÜLLER.example", b).await,
        "dNSName xn--mller-kva.example"
    );
    // A name that is not ours: the stream's `to`, else the first.
    assert_eq!(chosen(&tls, "c.example", b).await, "dNSName b.example");
    assert_eq!(chosen(&tls, "c.example", None).await, "dNSName a.example");
    assert_eq!(
        chosen(&tls, "c.example", Some("c.example")).await,
        "dNSName a.example"
    );
    // An address is not sent as a name.
    assert_eq!(chosen(&tls, "192.0.2.7", b).await, "dNSName b.example");
    assert_eq!(
        chosen(&tls, "[2001:db8::7]", None).await,
        "dNSName a.example"
    );
}

#[tokio::test]
async fn the_protocol_may_be_named_or_not_but_not_another() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let local = domain("a.example");
    for (direct, named) in [(true, Some(&b"xmpp-server"[..])), (false, None)] {
        let client = tls.client(&local, MinTls::V1_2, direct);
        let (client, server) = shaken(client, tls.server(None, MinTls::V1_2), "a.example").await;
        assert_eq!(client.get_ref().1.alpn_protocol(), named);
        assert_eq!(server.get_ref().1.alpn_protocol(), named);
    }
    let mut other = (*tls.client(&local, MinTls::V1_2, true)).clone();
    other.alpn_protocols = vec![b"xmpp-client".to_vec()];
    let (client, server) =
        shake(Arc::new(other), tls.server(None, MinTls::V1_2), "a.example").await;
    assert!(client.is_err() && server.is_err());
}

#[tokio::test]
async fn every_connection_is_a_full_handshake() {
    use rustls::HandshakeKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let client = tls.client(&domain("a.example"), MinTls::V1_2, false);
    for _ in 0..3 {
        let server = tls.server(None, MinTls::V1_2);
        let (mut client, mut server) = shaken(Arc::clone(&client), server, "a.example").await;
        server.write_all(b"x").await.unwrap();
        client.read_u8().await.unwrap();
        for kind in [
            client.get_ref().1.handshake_kind(),
            server.get_ref().1.handshake_kind(),
        ] {
            assert_ne!(kind, Some(HandshakeKind::Resumed));
        }
    }
}

#[test]
fn a_name_for_the_handshake_is_a_host_name_or_an_address() {
    let name = |text: &str| server_name(&domain(text)).unwrap().to_str().into_owned();
    assert_eq!(name("Müller.example"), "xn--mller-kva.example");
    assert_eq!(name("192.0.2.7"), "192.0.2.7");
    assert_eq!(name("[2001:db8::7]"), "2001:db8::7");
}
