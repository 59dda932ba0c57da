//! TLS: nothing said in clear counts within, a certificate counts for the domain it names and no other, and where TLS is
//! required there is no way round it (RFC 6120 §5, §13.7; XEP-0178; XEP-0368).
#![allow(clippy::unwrap_used)]

use s2sd::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use s2sd_tests::{
    attack_setup,
    authoritative::Says,
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    peer::{Peer, header_text, initial_header},
    tls::{TlsIdentity, picky},
    wire::Event,
    world::{Daemon, TIMEOUT, World},
};
use xmpp_stream::{Condition, DialbackFeature, Element, Features, StanzaKind, StreamHeader, ns};

async fn here(daemon: Daemon) -> (World, BackgroundTraffic, ComponentClient) {
    attack_setup::start(daemon).await.unwrap()
}

fn daemon() -> Daemon {
    BackgroundTraffic::daemon("here.test")
}

fn message(from: &str, to: &str, id: &str) -> String {
    format!("<message from='{from}' to='{to}' id='{id}'/>")
}

fn external(authzid: &str) -> String {
    format!(
        "<auth xmlns='{}' mechanism='EXTERNAL'>{authzid}</auth>",
        ns::SASL
    )
}

async fn next_error(peer: &mut Peer) -> Condition {
    match peer.expect_stream_error().await {
        Ok(error) => error.condition,
        Err(error) => panic!("{error:#}\n{:#?}", peer.transcript()),
    }
}

async fn arrives(component: &mut ComponentClient, id: &str) -> Element {
    let next = component
        .expect("a stanza", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(next.id().as_deref(), Some(id), "{next:?}");
    next
}

/// An error came back for what the component sent, for this cause.
async fn comes_back(component: &mut ComponentClient, id: &str, cause: &str) {
    let error = arrives(component, id).await;
    assert_eq!(error.type_attr().as_deref(), Some("error"));
    let wanted = format!("<cause xmlns='urn:s2sd:cause:0' name='{cause}'/>");
    let text = String::from_utf8_lossy(error.bytes()).into_owned();
    assert!(text.contains(&wanted), "{cause}: {text}");
}

/// The first thing that arrives is a message from a peer that proves itself, so nothing forged did.
async fn nothing_arrived(world: &World, component: &mut ComponentClient) {
    let good = world.identity("good.test");
    let mut peer = encrypted(world, false, "good.test", Some(&good)).await;
    peer.open("good.test", "here.test").await.unwrap();
    peer.send(external("=")).await.unwrap();
    peer.expect(ns::SASL, "success").await.unwrap();
    peer.restart();
    peer.open("good.test", "here.test").await.unwrap();
    let first = message("good.test", "here.test", "the first");
    peer.send(first).await.unwrap();
    arrives(component, "the first").await;
}

/// A peer up to TLS, by STARTTLS or at once, with or without a certificate.
async fn encrypted(
    world: &World,
    direct: bool,
    from: &str,
    identity: Option<&TlsIdentity>,
) -> Peer {
    if direct {
        let mut peer = world.connect_direct("here.test").await.unwrap();
        peer.direct_tls("here.test", identity).await.unwrap();
        return peer;
    }
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open(from, "here.test").await.unwrap();
    peer.starttls("here.test", identity).await.unwrap();
    peer
}

fn starttls() -> Features {
    Features::new().with_starttls(true)
}

fn dialback() -> Features {
    Features::new().with_dialback(DialbackFeature::with_errors())
}

/// CVE-2011-0411 and its kin.
#[tokio::test]
async fn plain_text_after_starttls_is_refused_and_never_read_as_if_it_were_encrypted() {
    let (mut world, background_traffic, mut component) =
        here(daemon().policy("tls = 'optional'")).await;
    let _evil = world.authoritative("evil.test", Says::Valid, None).await;
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    for injected in [
        " ",
        "\n",
        "<message from='evil.test' to='here.test' id='injected'/>",
        "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>",
        "</stream:stream>",
        "<",
    ] {
        // Even if the peer was believed before.
        for proved in [false, true] {
            let mut peer = world.connect("here.test").await.unwrap();
            peer.open("evil.test", "here.test").await.unwrap();
            if proved {
                let verdict = peer.dialback("evil.test", "here.test", "k").await;
                assert_eq!(verdict.unwrap(), "valid");
            }
            peer.send(starttls.to_owned() + injected).await.unwrap();
            let next = match peer.next().await.unwrap() {
                Event::Element(element) if element.is(ns::TLS, "proceed") => {
                    next_error(&mut peer).await
                }
                Event::Element(element) => {
                    peer.expect_end().await.unwrap();
                    xmpp_stream::StreamError::from_element(&element)
                        .unwrap()
                        .condition
                }
                other => panic!("{injected:?}: {other:?}"),
            };
            assert_eq!(next, Condition::PolicyViolation, "{injected:?}");
        }
        // The same a little later, in the place of a handshake.
        let mut peer = world.connect("here.test").await.unwrap();
        peer.open("evil.test", "here.test").await.unwrap();
        peer.send(starttls).await.unwrap();
        peer.expect(ns::TLS, "proceed").await.unwrap();
        peer.send(injected.to_owned() + &"x".repeat(100))
            .await
            .unwrap();
        while !matches!(peer.next().await, Ok(Event::Closed) | Err(_)) {}
    }
    nothing_arrived(&world, &mut component).await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn plain_text_after_proceed_ends_the_attempt() {
    let policy = "tls = 'optional'\nauth = ['external', 'dialback']";
    // It may be another one the next time, so that what waits is not given up at once.
    let daemon = daemon().policy(policy).tables("[queue]\ngive_up = '2s'\n");
    let (mut world, background_traffic, mut component) = here(daemon).await;
    for (number, injected) in [" ", "<stream:features/>", "<"].into_iter().enumerate() {
        let domain = format!("evil{number}.test");
        let server = world.listen(&domain).await.unwrap();
        component
            .send(message("here.test", &domain, &domain))
            .await
            .unwrap();
        let mut there = server.accept().await.unwrap();
        there.answer_open("there", &starttls()).await.unwrap();
        there.expect(ns::TLS, "starttls").await.unwrap();
        let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        there.send(proceed.to_owned() + injected).await.unwrap();
        // RFC 6120 §5.4.3.1: not even an error is said in clear any more.
        there.expect_closed().await.unwrap();
        comes_back(&mut component, &domain, "protocol").await;
    }
    background_traffic.was_well().await.unwrap();
}

/// Certificates that do not prove this domain.
fn bad_certificates(world: &World, domain: &str) -> Vec<(&'static str, Issued)> {
    let good = Leaf::domain(domain);
    let stranger = Authority::new("a stranger");
    let mut all = vec![
        ("unknown authority", stranger.issue(&good)),
        ("self-signed", Issued::self_signed(&good)),
    ];
    for (what, leaf) in [
        ("expired", good.clone().validity(Validity::Expired)),
        ("not yet valid", good.clone().validity(Validity::NotYet)),
        ("wrong purpose", good.clone().purpose(Purpose::Client)),
        ("another name", Leaf::domain("other.test")),
        ("its host's name", Leaf::domain(&format!("host.{domain}"))),
        ("a longer name", Leaf::domain(&format!("x{domain}"))),
        ("a wildcard below", Leaf::domain(&format!("*.{domain}"))),
        (
            "a partial wildcard",
            Leaf::domain(&format!("{}*.test", &domain[..2])),
        ),
        (
            "another service",
            Leaf::default().srv(&format!("_imap.{domain}")),
        ),
        (
            "an address with a local part",
            Leaf::default().xmpp_addr(&format!("x@{domain}")),
        ),
        ("a common name only", Leaf::default().common_name(domain)),
        (
            "a common name that looks like more",
            Leaf::domain("other.test").common_name(&format!("x,CN={domain}")),
        ),
    ] {
        all.push((what, world.issue(&leaf)));
    }
    all.push(("of version 1", of_version_1(domain)));
    let unknown = Leaf::domain(domain).unknown_extension();
    all.push(("with an unknown extension", world.issue(&unknown)));
    all
}

fn of_version_1(domain: &str) -> Issued {
    Issued::self_signed(&Leaf::domain(domain)).version_1()
}

/// What TLS asks of a certificate is its key; the rest is policy's.
#[tokio::test]
async fn a_certificate_that_no_library_reads_falls_back_to_dialback_where_policy_has_it() {
    let policy = "tls = 'optional'\nverify = 'dialback'\nauth = ['external', 'dialback']";
    let (mut world, mut background_traffic, mut component) = here(daemon().policy(policy)).await;
    let unknown = world.issue(&Leaf::domain("old.test").unknown_extension());
    for issued in [of_version_1("old.test"), unknown] {
        let identity = TlsIdentity::from(&issued);
        // It calls us.
        let asked = world.authoritative("old.test", Says::Valid, None).await;
        let mut peer = encrypted(&world, false, "old.test", Some(&identity)).await;
        let opened = peer.open("old.test", "here.test").await.unwrap();
        assert!(opened.features.mechanisms.is_empty());
        let verdict = peer.dialback("old.test", "here.test", "k").await.unwrap();
        assert_eq!(verdict, "valid");
        peer.send(message("old.test", "here.test", "1"))
            .await
            .unwrap();
        arrives(&mut component, "1").await;
        drop((asked, peer));
        // We call it.
        let server = world.listen("old.test").await.unwrap();
        component
            .send(message("here.test", "old.test", "2"))
            .await
            .unwrap();
        let mut there = server.accept().await.unwrap();
        there.answer_open("there", &starttls()).await.unwrap();
        there.accept_starttls(&identity).await.unwrap();
        there.answer_open("within", &dialback()).await.unwrap();
        there.expect(ns::DIALBACK, "result").await.unwrap();
        let valid = "<db:result from='old.test' to='here.test' type='valid'/>";
        there.send(valid).await.unwrap();
        there.expect_stanza(StanzaKind::Message).await.unwrap();
        there.send("</stream:stream>").await.unwrap();
        there.expect_end().await.unwrap();
        background_traffic.is_well().await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_bad_certificate_is_refused_on_every_way_in() {
    let daemon = daemon()
        .direct_tls()
        .policy("auth = ['external', 'dialback']");
    let (mut world, mut background_traffic, mut component) = here(daemon).await;
    let evil = world.authoritative("evil.test", Says::Valid, None).await;
    for (what, issued) in bad_certificates(&world, "evil.test") {
        let identity = TlsIdentity::from(&issued);
        for direct in [false, true] {
            let mut peer = encrypted(&world, direct, "evil.test", Some(&identity)).await;
            // It does not wait to hear what is offered.
            let header = header_text(&initial_header(Some("evil.test"), "here.test"));
            let rest = external("=")
                + "<db:result from='evil.test' to='here.test'>k</db:result>"
                + &message("evil.test", "here.test", "forged");
            peer.send([&header[..], rest.as_bytes()].concat())
                .await
                .unwrap();
            peer.expect_header().await.unwrap();
            let error = peer.expect_stream_error().await;
            let error = error.unwrap_or_else(|error| panic!("{what} {direct}: {error:#}"));
            assert_eq!(error.condition, Condition::NotAuthorized, "{what} {direct}");
            assert!(error.text.is_some(), "{what}");

            // An old header asks for no features; the key is judged by the certificate all the same.
            let mut peer = encrypted(&world, direct, "evil.test", Some(&identity)).await;
            let header = StreamHeader {
                version: None,
                ..initial_header(Some("evil.test"), "here.test")
            };
            peer.send(header_text(&header)).await.unwrap();
            peer.expect_header().await.unwrap();
            let verdict = peer.dialback("evil.test", "here.test", "k").await;
            assert_eq!(verdict.unwrap(), "error", "{what} {direct}");
            let forged = message("evil.test", "here.test", "forged");
            peer.send(forged).await.unwrap();
            assert_eq!(next_error(&mut peer).await, Condition::NotAuthorized);
        }
        background_traffic.is_well().await.unwrap();
    }
    assert_eq!(evil.unwrap().asked(), []);
    nothing_arrived(&world, &mut component).await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_bad_certificate_ends_the_attempt_before_anything_is_said() {
    let daemon = daemon().policy("auth = ['external', 'dialback']");
    let (mut world, mut background_traffic, mut component) = here(daemon).await;
    for service in ["_xmpp-server", "_xmpps-server"] {
        for number in 0.. {
            // A domain of its own for each, since the last failure is remembered for a while.
            let domain = format!("evil{number}{service}.test").replace('_', "-");
            let mut all = bad_certificates(&world, &domain);
            if number == all.len() {
                break;
            }
            let (what, issued) = all.swap_remove(number);
            let identity = TlsIdentity::from(&issued);
            let server = world.listen(&domain).await.unwrap();
            world.lead(service, &domain, server.addr().unwrap());
            component
                .send(message("here.test", &domain, &domain))
                .await
                .unwrap();
            let mut there = server.accept().await.unwrap();
            if service == "_xmpp-server" {
                there.answer_open("there", &starttls()).await.unwrap();
                there.accept_starttls(&identity).await.unwrap();
            } else {
                there.accept_direct_tls(&identity).await.unwrap();
            }
            match there.next().await {
                Ok(Event::Closed) => {}
                other => panic!("{what} {service}: {other:?}"),
            }
            comes_back(&mut component, &domain, "certificate").await;
            background_traffic.is_well().await.unwrap();
        }
    }
    background_traffic.was_well().await.unwrap();
}

/// OpenSSL's and others' servers can be told to check a client's certificate within the handshake.
#[tokio::test]
async fn a_server_that_breaks_off_over_our_certificate_is_called_again_without_it() {
    let policy = "auth = ['external', 'dialback']";
    let (mut world, background_traffic, mut component) = here(daemon().policy(policy)).await;
    for (number, version) in [&rustls::version::TLS12, &rustls::version::TLS13]
        .into_iter()
        .enumerate()
    {
        let domain = format!("picky{number}.test");
        let picky = picky(&world.identity(&domain), version).unwrap();
        let server = world.listen(&domain).await.unwrap();
        component
            .send(message("here.test", &domain, &domain))
            .await
            .unwrap();
        let mut there = server.accept().await.unwrap();
        there.answer_open("there", &starttls()).await.unwrap();
        there.expect(ns::TLS, "starttls").await.unwrap();
        let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        there.send(proceed).await.unwrap();
        assert!(there.accept_tls(picky.clone()).await.is_err());
        let mut there = server.accept().await.unwrap();
        there.answer_open("again", &starttls()).await.unwrap();
        there.expect(ns::TLS, "starttls").await.unwrap();
        there.send(proceed).await.unwrap();
        there.accept_tls(picky).await.unwrap();
        let mut offer = dialback();
        offer.mechanisms = vec!["EXTERNAL".to_owned()];
        there.answer_open("within", &offer).await.unwrap();
        there.expect(ns::DIALBACK, "result").await.unwrap();
        let valid = format!("<db:result from='{domain}' to='here.test' type='valid'/>");
        there.send(valid).await.unwrap();
        there.expect_stanza(StanzaKind::Message).await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

/// Where only dialback may prove us, there is no reason to show one.
#[tokio::test]
async fn our_certificate_is_shown_only_where_external_may_prove_us() {
    for (auth, is_shown, outcome) in [
        ("['dialback']", false, None),
        ("['external', 'dialback']", true, None),
        ("['external']", true, Some("certificate-refused")),
    ] {
        let daemon = daemon().policy(&format!("auth = {auth}"));
        let (mut world, background_traffic, mut component) = here(daemon).await;
        let picky = picky(&world.identity("picky.test"), &rustls::version::TLS13).unwrap();
        let server = world.listen("picky.test").await.unwrap();
        world.lead("_xmpps-server", "picky.test", server.addr().unwrap());
        component
            .send(message("here.test", "picky.test", "1"))
            .await
            .unwrap();
        let mut there = server.accept().await.unwrap();
        assert_eq!(there.accept_tls(picky).await.is_err(), is_shown, "{auth}");
        if let Some(cause) = outcome {
            comes_back(&mut component, "1", cause).await;
        }
        background_traffic.was_well().await.unwrap();
    }
}

#[tokio::test]
async fn external_that_was_not_offered_proves_nothing() {
    let policy = "tls = 'optional'\nverify = 'dialback'\nauth = ['external', 'dialback']";
    let (world, background_traffic, mut component) = here(daemon().policy(policy)).await;
    let good = world.identity("other.test");
    let bad = TlsIdentity::from(&Issued::self_signed(&Leaf::domain("evil.test")));
    for (what, tls, identity) in [
        ("in clear", false, None),
        ("without a certificate", true, None),
        ("with another's certificate", true, Some(&good)),
        ("with a bad certificate", true, Some(&bad)),
    ] {
        for authzid in ["=", "ZXZpbC50ZXN0", ""] {
            let mut peer = match tls {
                true => encrypted(&world, false, "evil.test", identity).await,
                false => world.connect("here.test").await.unwrap(),
            };
            let opened = peer.open("evil.test", "here.test").await.unwrap();
            assert!(opened.features.mechanisms.is_empty(), "{what}");
            peer.send(external(authzid)).await.unwrap();
            let failure = peer.expect(ns::SASL, "failure").await.unwrap();
            let named = failure
                .tree()
                .child(ns::SASL, "invalid-mechanism")
                .is_some();
            assert!(named, "{what}: {failure:?}");
            peer.send(message("evil.test", "here.test", "forged"))
                .await
                .unwrap();
            assert_eq!(next_error(&mut peer).await, Condition::NotAuthorized);
        }
    }
    nothing_arrived(&world, &mut component).await;
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn external_that_is_offered_in_clear_is_not_used() {
    let policy = "tls = 'optional'\nauth = ['external', 'dialback']";
    let (mut world, background_traffic, mut component) = here(daemon().policy(policy)).await;
    let server = world.listen("evil.test").await.unwrap();
    component
        .send(message("here.test", "evil.test", "1"))
        .await
        .unwrap();
    let mut there = server.accept().await.unwrap();
    let features = dialback().with_mechanisms(["EXTERNAL", "PLAIN"]);
    there.answer_open("there", &features).await.unwrap();
    there.expect(ns::DIALBACK, "result").await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_certificate_speaks_for_its_domain_and_no_other() {
    let (mut world, background_traffic, mut component) = here(daemon()).await;
    let victim = world.authoritative("victim.test", Says::Valid, None).await;
    let identity = world.identity("evil.test");
    // It may not act as another,
    let mut peer = encrypted(&world, false, "evil.test", Some(&identity)).await;
    let opened = peer.open("evil.test", "here.test").await.unwrap();
    assert_eq!(opened.features.mechanisms, ["EXTERNAL"]);
    peer.send(external("dmljdGltLnRlc3Q=")).await.unwrap();
    let failure = peer.expect(ns::SASL, "failure").await.unwrap();
    assert!(failure.tree().child(ns::SASL, "invalid-authzid").is_some());
    peer.expect_end().await.unwrap();
    // nor say that it is, in any other way.
    let mut peer = encrypted(&world, false, "evil.test", Some(&identity)).await;
    peer.open("evil.test", "here.test").await.unwrap();
    peer.send(external("ZXZpbC50ZXN0")).await.unwrap();
    peer.expect(ns::SASL, "success").await.unwrap();
    peer.restart();
    peer.open("evil.test", "here.test").await.unwrap();
    peer.send(message("evil.test", "here.test", "mine"))
        .await
        .unwrap();
    arrives(&mut component, "mine").await;
    let verdict = peer.dialback("victim.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    peer.send(message("victim.test", "here.test", "forged"))
        .await
        .unwrap();
    assert_eq!(next_error(&mut peer).await, Condition::InvalidFrom);
    // The second header cannot be another's either.
    let mut peer = encrypted(&world, false, "evil.test", Some(&identity)).await;
    peer.open("evil.test", "here.test").await.unwrap();
    peer.send(external("=")).await.unwrap();
    peer.expect(ns::SASL, "success").await.unwrap();
    peer.restart();
    peer.send_header(Some("victim.test"), "here.test")
        .await
        .unwrap();
    peer.expect_header().await.unwrap();
    assert_eq!(next_error(&mut peer).await, Condition::InvalidFrom);
    assert_eq!(victim.unwrap().asked(), []);
    nothing_arrived(&world, &mut component).await;
    background_traffic.was_well().await.unwrap();
}

/// Whose certificate it is, is asked about the domain that is asserted; not about the other one, nor the last one.
#[tokio::test]
async fn two_domains_here_and_two_there_are_each_judged_for_themselves() {
    let leaf = Leaf::domain("here.test").dns("also.here.test");
    let daemon = daemon()
        .and("also.here.test")
        .certificate(leaf)
        .policy("auth = ['external']");
    let (mut world, background_traffic, mut component) = here(daemon).await;
    let mut also = world
        .component_for(
            "here.test",
            "also.here.test",
            s2sd_tests::component_client::Behaviour::Quiet,
        )
        .await
        .unwrap();
    let mut number = 0;
    for local in ["here.test", "also.here.test"] {
        for good in [true, false] {
            for first in [true, false] {
                // Names of their own for each, since the last failure is remembered for a while.
                number += 1;
                let both = [format!("a{number}.test"), format!("b{number}.test")];
                let (remote, named) = match (good, first) {
                    (true, true) => (&both[0], &both[0]),
                    (true, false) => (&both[1], &both[1]),
                    (false, true) => (&both[0], &both[1]),
                    (false, false) => (&both[1], &both[0]),
                };
                let what = format!("{named} as {remote} to {local}");
                let identity = &world.identity(named);
                let mut peer = world.connect("here.test").await.unwrap();
                peer.open(remote, local).await.unwrap();
                peer.starttls(local, Some(identity)).await.unwrap();
                peer.send_header(Some(remote), local).await.unwrap();
                peer.expect_header().await.unwrap();
                if good {
                    let features = peer.expect_features().await.unwrap();
                    assert_eq!(features.mechanisms, ["EXTERNAL"], "{what}");
                } else {
                    assert_eq!(next_error(&mut peer).await, Condition::NotAuthorized);
                }

                let listener = world.listen(remote).await.unwrap();
                let component = match local {
                    "here.test" => &mut component,
                    _ => &mut also,
                };
                component.send(message(local, remote, &what)).await.unwrap();
                let mut there = listener.accept().await.unwrap();
                let header = there.answer_open("there", &starttls()).await.unwrap();
                assert_eq!(header.from.as_deref(), Some(local));
                there.accept_starttls(identity).await.unwrap();
                if good {
                    let header = there.answer_open("there", &Features::default()).await;
                    assert_eq!(header.unwrap().from.as_deref(), Some(local));
                    comes_back(component, &what, "no-mechanism").await;
                } else {
                    there.expect_closed().await.unwrap();
                    comes_back(component, &what, "certificate").await;
                }
            }
        }
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn required_tls_never_falls_back_to_plain_text() {
    let daemon = daemon()
        .policy("auth = ['external', 'dialback']")
        .tables("[queue]\ngive_up = '1s'\nbackoff = { first = '10ms', max = '10ms' }\n");
    let (mut world, background_traffic, mut component) = here(daemon).await;
    // Not offered.
    let server = world.listen("a.test").await.unwrap();
    let secret = message("here.test", "a.test", "1");
    component.send(secret).await.unwrap();
    let mut there = server.accept().await.unwrap();
    there.answer_open("there", &dialback()).await.unwrap();
    there.expect_end().await.unwrap();
    comes_back(&mut component, "1", "tls-not-offered").await;
    // Not even possible.
    let server = world.listen("b.test").await.unwrap();
    let secret = message("here.test", "b.test", "2");
    component.send(secret).await.unwrap();
    let mut there = server.accept().await.unwrap();
    there.expect_header().await.unwrap();
    let old = StreamHeader {
        version: None,
        id: Some("there".to_owned()),
        ..initial_header(Some("b.test"), "here.test")
    };
    there.send(header_text(&old)).await.unwrap();
    there.expect_end().await.unwrap();
    comes_back(&mut component, "2", "tls-not-offered").await;
    // Offered and refused, or broken: every further attempt asks for it again, to the end.
    for (domain, broken) in [("c.test", false), ("d.test", true)] {
        let server = world.listen(domain).await.unwrap();
        let secret = message("here.test", domain, domain);
        component.send(secret).await.unwrap();
        let mut attempts = 0;
        let error = loop {
            let error = tokio::select! {
                error = component.expect("an error", TIMEOUT, |_| true) => error.unwrap(),
                there = server.accept() => {
                    attempts += 1;
                    let mut there = there.unwrap();
                    there.answer_open("there", &starttls()).await.unwrap();
                    there.expect(ns::TLS, "starttls").await.unwrap();
                    if broken {
                        let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
                        there.send(proceed).await.unwrap();
                        // What comes is the beginning of a handshake, which is no XML.
                        assert!(there.next().await.is_err());
                        there.send("<stream:features/>".repeat(10)).await.unwrap();
                    } else {
                        let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
                        there.send(failure).await.unwrap();
                        there.expect_end().await.unwrap();
                    }
                    continue;
                }
            };
            break error;
        };
        assert!(attempts > 1, "{domain}: {attempts}");
        assert_eq!(error.id().as_deref(), Some(domain), "{error:?}");
    }
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn plain_text_on_the_listener_with_tls_and_tls_on_the_one_without_hurt_nobody() {
    let (world, mut background_traffic, _component) = here(daemon().direct_tls()).await;
    let mut peer = world.connect_direct("here.test").await.unwrap();
    peer.send_header(Some("evil.test"), "here.test")
        .await
        .unwrap();
    while !matches!(peer.next().await, Ok(Event::Closed) | Err(_)) {}
    background_traffic.is_well().await.unwrap();
    let mut peer = world.connect("here.test").await.unwrap();
    assert!(peer.direct_tls("here.test", None).await.is_err());
    background_traffic.was_well().await.unwrap();
}
