//! Whatever a server says to us that we connected to: the stream error that fits and the end, one error for whoever
//! wrote there, and no trouble for anybody else.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use s2sd_tests::{
    attack_setup,
    background_traffic::BackgroundTraffic,
    peer::{Peer, answering_header, header_text},
    wire::Event,
    world::TIMEOUT,
};
use xmpp_stream::{Condition, DialbackFeature, Features, StreamError, StreamHeader, ns};

/// When it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Instead of a header.
    Header,
    /// Instead of features.
    Features,
    /// Instead of an answer to our key.
    Answer,
    /// On the stream that it believes.
    Open,
}

use At::{Answer, Header, Open};

/// What the daemon says to these bytes.
async fn answered(peer: &mut Peer, at: At, bytes: &[u8]) -> anyhow::Result<Condition> {
    let header = peer.expect_header().await?;
    if at != Header {
        let header = answering_header(&header, "there");
        peer.send(header_text(&header)).await?;
    }
    if matches!(at, Answer | Open) {
        let features = Features::new().with_dialback(DialbackFeature::with_errors());
        peer.send(features.to_bytes()).await?;
        let key = peer.expect(ns::DIALBACK, "result").await?;
        if at == Open {
            let (from, to) = (key.to().unwrap(), key.from().unwrap());
            let valid = format!("<db:result from='{from}' to='{to}' type='valid'/>");
            peer.send(valid).await?;
        }
    }
    // The daemon need not read all of it.
    let _ = peer.send(bytes).await;
    loop {
        match peer.next().await? {
            Event::Element(element) => {
                if let Some(error) = StreamError::from_element(&element) {
                    peer.expect_end().await?;
                    return Ok(error.condition);
                }
            }
            other => anyhow::bail!("no stream error but {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_other_server_may_not_say_ends_the_stream() {
    let daemon = BackgroundTraffic::daemon("here.test")
        .policy("tls = 'optional'\nauth = ['dialback']")
        .tables("[queue]\ngive_up = '3s'\n");
    let (mut world, mut background_traffic, mut component) =
        attack_setup::start(daemon).await.unwrap();
    let header = |change: fn(&mut StreamHeader)| {
        let mut header = StreamHeader {
            id: Some("there".to_owned()),
            ..s2sd_tests::peer::initial_header(None, "here.test")
        };
        change(&mut header);
        header_text(&header).to_vec()
    };
    let features = |bytes: &str| bytes.as_bytes().to_vec();
    let everywhere = [At::Features, Answer, Open];
    let negotiating = [At::Features, Answer];
    let mut number = 0;
    let (mut given_up, mut to_blame) = (BTreeSet::new(), BTreeSet::new());
    for (at, bytes, condition) in [
        (
            &[Header][..],
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Condition::NotWellFormed,
        ),
        (
            &[Header],
            b"220 mail.test ESMTP\r\n".to_vec(),
            Condition::NotWellFormed,
        ),
        (
            &[Header],
            b"\x15\x03\x01\0\x02\x02\x46".to_vec(),
            Condition::NotWellFormed,
        ),
        (
            &[Header],
            b"\0\0\0\0".to_vec(),
            Condition::UnsupportedEncoding,
        ),
        (
            &[Header],
            features("<stream:features/>"),
            Condition::NotWellFormed,
        ),
        (
            &[Header],
            features("<features xmlns='http://etherx.jabber.org/streams'/>"),
            Condition::BadFormat,
        ),
        (
            &[Header],
            "x".repeat(10_000_000).into_bytes(),
            Condition::NotWellFormed,
        ),
        (
            &[Header],
            ("<".to_owned() + &"x".repeat(10_000_000)).into_bytes(),
            Condition::PolicyViolation,
        ),
        (
            &[Header],
            " ".repeat(10_000_000).into_bytes(),
            Condition::PolicyViolation,
        ),
        (
            &[Header],
            header(|header| header.content = xmpp_stream::ContentNamespace::Client),
            Condition::InvalidNamespace,
        ),
        (
            &everywhere,
            b"<message>\xc3\x28</message>".to_vec(),
            Condition::UnsupportedEncoding,
        ),
        (&everywhere, features("<!-- -->"), Condition::RestrictedXml),
        (
            &everywhere,
            features("<!DOCTYPE x>"),
            Condition::RestrictedXml,
        ),
        (
            &everywhere,
            features("<a>&lol;</a>"),
            Condition::RestrictedXml,
        ),
        (&everywhere, features("hello"), Condition::BadFormat),
        (&everywhere, features("<a></b>"), Condition::NotWellFormed),
        (&everywhere, features("<x:a/>"), Condition::NotWellFormed),
        (
            &everywhere,
            "<a>".repeat(1_000_000).into_bytes(),
            Condition::PolicyViolation,
        ),
        (
            &everywhere,
            ("<stream:features>".to_owned() + &"x".repeat(10_000_000)).into_bytes(),
            Condition::PolicyViolation,
        ),
        (
            &negotiating,
            features("<x xmlns='urn:x'/>"),
            Condition::UnsupportedStanzaType,
        ),
        (
            &negotiating,
            "<message/>".repeat(2).into_bytes(),
            Condition::NotAuthorized,
        ),
        // One is passed over, see one_bad_stanza.rs.
        (
            &[Open],
            features(&"<x xmlns='urn:x'/>".repeat(20)),
            Condition::PolicyViolation,
        ),
    ] {
        for &at in at {
            number += 1;
            let domain = format!("evil{number}.test");
            let what: String = String::from_utf8_lossy(&bytes).chars().take(80).collect();
            let server = world.listen(&domain).await.unwrap();
            let message = format!("<message from='here.test' to='{domain}' id='{domain}'/>");
            component.send(message).await.unwrap();
            let mut peer = server.accept().await.unwrap();
            match answered(&mut peer, at, &bytes).await {
                Ok(found) => assert_eq!(found, condition, "{at:?}: {what}"),
                Err(error) => panic!("{at:?}: {what}: {error:#}\n{:#?}", peer.transcript()),
            }
            match at {
                // It had gone, and its sender hears that only where it may have been the reason.
                Open => to_blame.insert(domain),
                Header | At::Features | Answer => given_up.insert(domain),
            };
            background_traffic.is_well().await.unwrap();
        }
    }
    // All of it comes back, after the time in which the server could have mended its ways.
    while !given_up.is_empty() {
        let next = component
            .expect("an error", TIMEOUT, |_| true)
            .await
            .unwrap();
        let id = next.id().unwrap();
        assert!(
            given_up.remove(&*id) || to_blame.remove(&*id),
            "{given_up:?}: {next:?}"
        );
        assert_eq!(next.type_attr().as_deref(), Some("error"));
    }
    background_traffic.was_well().await.unwrap();
}

/// A zone that leads back to us, or round in a circle, is a server that does not serve the domain.
#[tokio::test]
async fn a_domain_that_leads_back_to_us_is_refused_by_us() {
    let daemon =
        BackgroundTraffic::daemon("here.test").policy("tls = 'optional'\nauth = ['dialback']");
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let own = world.daemon("here.test").unwrap().s2s[0];
    world.lead("_xmpp-server", "mirror.test", own);
    component
        .send("<message from='here.test' to='mirror.test' id='1'/>")
        .await
        .unwrap();
    let error = component
        .expect("an error", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(error.type_attr().as_deref(), Some("error"));
    // As one who proves itself, too.
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("mirror.test", "here.test").await.unwrap();
    let verdict = peer
        .dialback("mirror.test", "here.test", "key")
        .await
        .unwrap();
    assert_eq!(verdict, "error");
    for from in ["here.test", "calm.here.test"] {
        let mut peer = world.connect("here.test").await.unwrap();
        peer.open("evil.test", "here.test").await.unwrap();
        let verdict = peer.dialback(from, "here.test", "key").await.unwrap();
        assert_eq!(verdict, "error", "{from}");
    }
    background_traffic.was_well().await.unwrap();
}
