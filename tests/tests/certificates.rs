//! Certificates while a daemon runs: which one is shown, what becomes of streams when it is renewed, and what counts
//! once it was revoked.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, ServerName};
use s2sd::tools::demo::ca::{Authority, Issued, Leaf};
use s2sd_tests::{
    checks::{self, Check, Finding, Other, Plan},
    component_client::ComponentClient,
    peer::{header_text, initial_header},
    tls,
    world::{Daemon, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use xmpp_stream::Features;

const GRACE: Duration = Duration::from_millis(100);
const EXTERNAL: &str = "auth = ['external']";

async fn pass(a: &mut ComponentClient, b: &mut ComponentClient) {
    let plan = Plan {
        checks: vec![Check::Message, Check::Ping],
        within: TIMEOUT,
        ..Plan::default()
    };
    for finding in checks::run(a, Other::ComponentClient(b), &plan).await {
        assert_eq!(finding.outcome, Ok(()));
    }
}

#[track_caller]
fn refused(findings: &[Finding], words: &str) {
    assert_eq!(findings.len(), 2);
    for finding in findings {
        let json = finding.to_json();
        assert_eq!(finding.outcome, Ok(()), "{json}");
        assert_eq!(json["condition"], "remote-server-timeout", "{json}");
        assert_eq!(json["type"], "cancel", "{json}");
        assert!(json["text"].as_str().unwrap().contains(words), "{json}");
    }
}

/// What a server shows to a client that names this domain in the handshake, and that one in its stream header.
/// Without a header, TLS comes first (XEP-0368).
async fn shown(
    addr: std::net::SocketAddr,
    sni: Option<&str>,
    to: Option<&str>,
) -> CertificateDer<'static> {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    if let Some(to) = to {
        let header = header_text(&initial_header(Some("a.test"), to));
        tcp.write_all(&header).await.unwrap();
        until(&mut tcp, "</stream:features>").await;
        tcp.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            .await
            .unwrap();
        until(
            &mut tcp,
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        )
        .await;
    }
    let mut config = (*tls::client(None, to.is_none()).unwrap()).clone();
    config.enable_sni = sni.is_some();
    let name = ServerName::try_from(sni.unwrap_or("unnamed.test").to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let stream = tokio::time::timeout(TIMEOUT, connecting)
        .await
        .unwrap()
        .unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone()
}

async fn until(tcp: &mut TcpStream, text: &str) {
    let mut heard = Vec::new();
    while !heard.ends_with(text.as_bytes()) {
        let mut byte = [0];
        tcp.read_exact(&mut byte).await.unwrap();
        heard.push(byte[0]);
    }
}

#[tokio::test]
async fn the_name_in_the_handshake_chooses_the_certificate_and_else_the_stream() {
    let mut world = World::new().unwrap();
    let own = ["b.test", "c.test"].map(|name| world.issue(&Leaf::domain(name)));
    world.write("b.test", "c.pem", &own[1].chain_pem).unwrap();
    world.write("b.test", "c.key", &own[1].key_pem).unwrap();
    let daemon = Daemon::serving("b.test")
        .certificate_from(own[0].clone())
        .direct_tls()
        .tables("[[domain]]\nname = 'c.test'\ncertificate = 'c.pem'\nkey = 'c.key'");
    world.start(daemon).await.unwrap();
    let running = world.daemon("b.test").unwrap();
    let [b, c] = own.map(|issued| issued.chain()[0].clone());
    let (direct, plain) = (running.s2s_tls[0], running.s2s[0]);
    for (addr, sni, to, want) in [
        (direct, Some("b.test"), None, &b),
        (direct, Some("c.test"), None, &c),
        (direct, Some("C.Test"), None, &c),
        // Whom nobody names is the first.
        (direct, None, None, &b),
        (plain, Some("b.test"), Some("b.test"), &b),
        (plain, Some("c.test"), Some("c.test"), &c),
        (plain, None, Some("b.test"), &b),
        (plain, None, Some("c.test"), &c),
        // A name that is none of ours leaves it to the stream.
        (plain, Some("x.test"), Some("c.test"), &c),
    ] {
        let got = shown(addr, sni, to).await;
        assert_eq!(got, *want, "{addr}, {sni:?}, {to:?}");
    }
}

/// RFC 6120 §5.4.3.1, XEP-0368 §3 rule 6: not for the machine that was found.
#[tokio::test]
async fn a_server_is_asked_for_the_certificate_of_the_domain_that_is_meant() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let tls = Features::new().with_starttls(true);
    for (domain, direct) in [("b.test", false), ("c.test", true)] {
        let server = world.listen(domain).await.unwrap();
        if direct {
            world.lead("_xmpps-server", domain, server.addr().unwrap());
        }
        let message = format!("<message from='a.test' to='{domain}' id='1'/>");
        a.send(message).await.unwrap();
        let mut peer = server.accept().await.unwrap();
        let identity = world.identity(domain);
        if direct {
            peer.accept_direct_tls(&identity).await.unwrap();
        } else {
            peer.answer_open("1", &tls).await.unwrap();
            peer.accept_starttls(&identity).await.unwrap();
        }
        assert_eq!(peer.asked_for(), Some(domain));
    }
}

/// Without `from` the certificate says who it is, and that domain's own rules whether it is believed.
#[tokio::test]
async fn a_name_that_its_own_entry_does_not_believe_is_not_offered_external() {
    let mut world = World::new().unwrap();
    let other = Authority::new("somebody else");
    let daemon = Daemon::serving("b.test")
        .file("other.pem", other.pem())
        .tables("[[peer]]\ndomain = 'a.test'\ntrust = ['other.pem']");
    world.start(daemon).await.unwrap();
    for (domain, offered) in [("a.test", false), ("c.test", true)] {
        let mut peer = world.connect("b.test").await.unwrap();
        peer.send_header(None, "b.test").await.unwrap();
        peer.expect_header().await.unwrap();
        peer.expect_features().await.unwrap();
        let identity = world.identity(domain);
        peer.starttls("b.test", Some(&identity)).await.unwrap();
        peer.send_header(None, "b.test").await.unwrap();
        peer.expect_header().await.unwrap();
        let features = peer.expect_features().await.unwrap();
        let external = features.mechanisms.iter().any(|name| name == "EXTERNAL");
        assert_eq!(external, offered, "{domain}: {features:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on_and_open_streams_go_on() {
    let mut world = World::new().unwrap();
    for domain in ["a.test", "b.test"] {
        let daemon = Daemon::serving(domain).policy(EXTERNAL);
        world.start(daemon).await.unwrap();
    }
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    pass(&mut a, &mut b).await;
    let asked = world.dns().asked().len();
    let running = world.daemon("b.test").unwrap();
    let before = shown(running.s2s[0], Some("b.test"), Some("b.test")).await;
    // Of another length: the clock of the file system may not tell.
    let renewed = world.issue(&Leaf::domain("b.test").dns("longer.b.test"));
    renew(&world, &renewed);
    running.look_at_certificates();
    let after = shown(running.s2s[0], Some("b.test"), Some("b.test")).await;
    assert_ne!(before, after);
    assert_eq!(after, renewed.chain()[0]);
    pass(&mut a, &mut b).await;
    assert_eq!(world.dns().asked().len(), asked, "a new stream was made");

    // What is bad on the disk is not taken.
    world.write("b.test", "chain.pem", "nothing").unwrap();
    running.look_at_certificates();
    let still = shown(running.s2s[0], Some("b.test"), Some("b.test")).await;
    assert_eq!(still, after);
    pass(&mut a, &mut b).await;
    assert_eq!(world.dns().asked().len(), asked, "a new stream was made");
}

fn renew(world: &World, issued: &Issued) {
    world
        .write("b.test", "chain.pem", &issued.chain_pem)
        .unwrap();
    world.write("b.test", "key.pem", &issued.key_pem).unwrap();
}

/// Dialback is allowed and does not help: a revoked certificate is a bad one.
#[tokio::test]
async fn a_revoked_certificate_is_refused_in_both_directions() {
    let mut world = World::new().unwrap();
    let revoked = world.issue(&Leaf::domain("a.test"));
    world
        .write("b.test", "world.crl", &world.revoke(&[&revoked]))
        .unwrap();
    let a = Daemon::serving("a.test").certificate_from(revoked);
    world.start(a).await.unwrap();
    let b = Daemon::serving("b.test").policy("crl = ['world.crl']");
    world.start(b).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    // b.test judges the server that comes,
    let findings =
        checks::refused(&mut a, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await;
    refused(&findings, "revoked");
    // and the server that it comes to.
    let findings =
        checks::refused(&mut b, Other::ComponentClient(&mut a), &[], TIMEOUT, GRACE).await;
    refused(&findings, "revoked");
}

#[tokio::test]
async fn a_certificate_that_is_revoked_while_the_daemon_runs_counts_no_more() {
    let mut world = World::new().unwrap();
    let [of_a, of_c] = ["a.test", "c.test"].map(|name| world.issue(&Leaf::domain(name)));
    world
        .write("b.test", "world.crl", &world.revoke(&[]))
        .unwrap();
    for (domain, issued) in [("a.test", &of_a), ("c.test", &of_c)] {
        let daemon = Daemon::serving(domain)
            .certificate_from(issued.clone())
            .policy(EXTERNAL);
        world.start(daemon).await.unwrap();
    }
    let policy = format!("{EXTERNAL}\ncrl = ['world.crl']");
    let daemon = Daemon::serving("b.test").policy(&policy);
    world.start(daemon).await.unwrap();
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let mut c = world.component("c.test").await.unwrap();
    pass(&mut a, &mut b).await;
    let list = world.revoke(&[&of_a, &of_c]);
    world.write("b.test", "world.crl", &list).unwrap();
    world.daemon("b.test").unwrap().look_at_certificates();
    // Those that are open are judged again: hostile_certificates.rs.
    // A new one is judged now.
    let findings =
        checks::refused(&mut c, Other::ComponentClient(&mut b), &[], TIMEOUT, GRACE).await;
    refused(&findings, "revoked");
}

/// Without `from` the certificate says who it is, and then that domain's own rules say whether it is.
#[tokio::test]
async fn whom_a_certificate_names_is_believed_by_its_own_rules_only() {
    let other = s2sd::tools::demo::ca::Authority::new("an authority for one peer");
    for (rules, offered) in [("", true), ("trust = ['other.pem']\n", false)] {
        let mut world = World::new().unwrap();
        let entry = format!("[[peer]]\ndomain = 'b.test'\n{rules}");
        let daemon = Daemon::serving("a.test")
            .file("other.pem", other.pem())
            .tables(&entry);
        world.start(daemon).await.unwrap();
        let mut peer = world.connect("a.test").await.unwrap();
        peer.open("b.test", "a.test").await.unwrap();
        let identity = world.identity("b.test");
        peer.starttls("a.test", Some(&identity)).await.unwrap();
        peer.send_header(None, "a.test").await.unwrap();
        peer.expect_header().await.unwrap();
        let features = peer.expect_features().await.unwrap();
        let external = features.mechanisms.iter().any(|name| name == "EXTERNAL");
        assert_eq!(external, offered, "{features:?}");
    }
}

#[tokio::test]
async fn who_does_not_wait_for_our_judgement_is_heard_after_it() {
    let mut world = World::new().unwrap();
    world.start(Daemon::serving("a.test")).await.unwrap();
    let mut peer = world.connect("a.test").await.unwrap();
    peer.open("b.test", "a.test").await.unwrap();
    let identity = world.identity("b.test");
    peer.starttls("a.test", Some(&identity)).await.unwrap();
    let mut hasty = header_text(&initial_header(Some("b.test"), "a.test")).to_vec();
    hasty.extend_from_slice(
        b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
    );
    peer.send(hasty).await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    peer.expect(xmpp_stream::ns::SASL, "success").await.unwrap();
}
