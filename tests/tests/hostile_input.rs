//! Whatever a peer sends that it may not send, at whatever point: the stream error that RFC 6120 names, the end of the
//! stream, the end of the connection, and nothing else happens to anybody.
#![allow(clippy::unwrap_used)]

use s2sd_tests::{
    authoritative::{Authoritative, Says},
    background_traffic::BackgroundTraffic,
    peer::Peer,
    wire::Event,
    world::World,
};
use xmpp_stream::{Condition, StreamError, ns};

/// How far the peer got before it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Connected.
    TheFirstByte,
    /// Headers and features were exchanged in clear.
    TheOpenStream,
    /// The same within TLS.
    Encrypted,
    /// `evil.test` is proved by dialback.
    Proved,
}

use At::{Encrypted, Proved, TheFirstByte, TheOpenStream};

struct Stage {
    world: World,
    background_traffic: BackgroundTraffic,
    _authoritative: Authoritative,
}

impl Stage {
    async fn with_tls(tls: &str) -> Self {
        let mut world = World::new().unwrap();
        let policy = format!("tls = '{tls}'\nauth = ['external', 'dialback']");
        world
            .start(BackgroundTraffic::daemon("here.test").policy(&policy))
            .await
            .unwrap();
        let authoritative = world
            .authoritative("evil.test", Says::Valid, Some(world.identity("evil.test")))
            .await
            .unwrap();
        Self {
            background_traffic: BackgroundTraffic::beside(&mut world, "here.test")
                .await
                .unwrap(),
            _authoritative: authoritative,
            world,
        }
    }

    async fn peer(&self, at: At) -> Peer {
        let mut peer = self.world.connect("here.test").await.unwrap();
        if at == TheFirstByte {
            return peer;
        }
        peer.open("evil.test", "here.test").await.unwrap();
        if at == Encrypted {
            peer.starttls("here.test", None).await.unwrap();
            peer.open("evil.test", "here.test").await.unwrap();
        }
        if at == Proved {
            let verdict = peer
                .dialback("evil.test", "here.test", "key")
                .await
                .unwrap();
            assert_eq!(verdict, "valid");
        }
        peer
    }

    /// The answer to these bytes, which must be a stream error and the end.
    async fn answer(&mut self, at: At, bytes: &[u8]) -> StreamError {
        let what = format!("{at:?}: {}", excerpt(bytes));
        let mut peer = self.peer(at).await;
        // The daemon need not read all of it.
        let _ = peer.send(bytes).await;
        let error = match the_error(&mut peer, at).await {
            Ok(error) => error,
            Err(why) => panic!("{what}: {why:#}\n{:#?}", peer.transcript()),
        };
        if let Err(why) = self.background_traffic.is_well().await {
            panic!("{what}: {why:#}");
        }
        error
    }

    async fn check(&mut self, at: &[At], bytes: impl AsRef<[u8]>, condition: Condition) {
        for &at in at {
            let error = self.answer(at, bytes.as_ref()).await;
            let what = excerpt(bytes.as_ref());
            assert_eq!(error.condition, condition, "{at:?}: {what}: {error:?}");
            // Whoever has to mend it wants more than a word.
            assert!(error.text.is_some(), "{at:?}: {what}: {error:?}");
        }
    }
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(100).collect()
}

/// A stream error, the end of the stream, the end of the connection; at the beginning a header before it, and features
/// where the header was good.
async fn the_error(peer: &mut Peer, at: At) -> anyhow::Result<StreamError> {
    if at == TheFirstByte {
        peer.expect_header().await?;
    }
    loop {
        match peer.next().await? {
            Event::Element(element) if element.is(ns::STREAMS, "features") => {}
            Event::Element(element) => {
                let error = StreamError::from_element(&element)
                    .ok_or_else(|| anyhow::anyhow!("no stream error but {element:?}"))?;
                peer.expect_end().await?;
                return Ok(error);
            }
            other => anyhow::bail!("no stream error but {other:?}"),
        }
    }
}

const EVERYWHERE: [At; 3] = [TheOpenStream, Encrypted, Proved];

const STREAM: &str = "xmlns:stream='http://etherx.jabber.org/streams'";

fn header(attributes: &str) -> String {
    format!("<stream:stream {STREAM} xmlns='jabber:server' {attributes}>")
}

#[tokio::test]
async fn what_is_no_stream_is_refused_after_a_header_of_our_own() {
    let mut stage = Stage::with_tls("optional").await;
    let first = [TheFirstByte];
    let good = "to='here.test' from='evil.test' version='1.0'";
    let http: &[u8] = b"GET / HTTP/1.1\r\nHost: here.test\r\n\r\n";
    let client_hello: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (bytes, condition) in [
        (http, Condition::NotWellFormed),
        (client_hello, Condition::NotWellFormed),
        (b"\0\0\0\0", Condition::UnsupportedEncoding),
        (b"\xff\xfe<\0", Condition::UnsupportedEncoding),
    ] {
        stage.check(&first, bytes, condition).await;
    }
    for (text, condition) in [
        ("<a/>".to_owned(), Condition::InvalidNamespace),
        ("<!DOCTYPE x []>".to_owned(), Condition::RestrictedXml),
        ("<!-- hello -->".to_owned(), Condition::RestrictedXml),
        ("<?xml-stylesheet a?>".to_owned(), Condition::RestrictedXml),
        (
            "<?xml version='1.0' encoding='ISO-8859-1'?>".to_owned() + &header(good),
            Condition::UnsupportedEncoding,
        ),
        (
            format!("<stream:stream {STREAM} xmlns='jabber:client' {good}>"),
            Condition::InvalidNamespace,
        ),
        (
            format!("<stream:stream {STREAM} xmlns='jabber:component:accept' to='here.test'>"),
            Condition::InvalidNamespace,
        ),
        (
            format!("<stream:stream {STREAM} {good}>"),
            Condition::InvalidNamespace,
        ),
        (
            format!("<stream:stream xmlns:stream='urn:x' xmlns='jabber:server' {good}>"),
            Condition::InvalidNamespace,
        ),
        (
            format!(
                "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:server' {good}>"
            ),
            Condition::BadNamespacePrefix,
        ),
        (
            format!("<stream:flow {STREAM} xmlns='jabber:server' {good}>"),
            Condition::BadFormat,
        ),
        (
            header("to='here.test' version='new'"),
            Condition::UnsupportedVersion,
        ),
        (
            header("from='evil.test' version='1.0'"),
            Condition::ImproperAddressing,
        ),
        (
            header("to='elsewhere.test' from='evil.test' version='1.0'"),
            Condition::HostUnknown,
        ),
        (
            header("to='xhere.test' from='evil.test'"),
            Condition::HostUnknown,
        ),
        (
            header("to='user@here.test' version='1.0'"),
            Condition::HostUnknown,
        ),
        (header("to='' version='1.0'"), Condition::HostUnknown),
        (
            header("to='here.test' from='evil test' version='1.0'"),
            Condition::InvalidFrom,
        ),
        (
            header("to='here.test' from='' version='1.0'"),
            Condition::InvalidFrom,
        ),
    ] {
        stage.check(&first, text, condition).await;
    }
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_is_no_xml_or_too_much_xml_is_refused_at_every_point() {
    let mut stage = Stage::with_tls("optional").await;
    let not_utf8: &[u8] = b"<message><body>\xc3\x28</body></message>";
    let not_utf8_in_a_name: &[u8] = b"<message><b\xff/></message>";
    for (bytes, condition) in [
        (not_utf8, Condition::UnsupportedEncoding),
        (not_utf8_in_a_name, Condition::UnsupportedEncoding),
        (b"<message>\0</message>", Condition::NotWellFormed),
        (b"<message>\x0c</message>", Condition::NotWellFormed),
        (b"<message></presence>", Condition::NotWellFormed),
        (b"<message a='1' a='2'/>", Condition::NotWellFormed),
        (b"<message a=1/>", Condition::NotWellFormed),
        (
            b"<message xmlns='jabber:server' xmlns='jabber:server'/>",
            Condition::NotWellFormed,
        ),
        (b"<message xmlns:xml='urn:x'/>", Condition::NotWellFormed),
        (b"<message xmlns:xmlns='urn:x'/>", Condition::NotWellFormed),
        (b"<message xmlns:x=''/>", Condition::NotWellFormed),
        (b"<x:message/>", Condition::NotWellFormed),
        (b"<message><x:y/></message>", Condition::NotWellFormed),
        (b"<message x:y='1'/>", Condition::NotWellFormed),
        (b"<message>&#0;</message>", Condition::NotWellFormed),
        (b"<message>a ]]> b</message>", Condition::NotWellFormed),
        (b"<message to='<'/>", Condition::NotWellFormed),
        (b"</message>", Condition::NotWellFormed),
        (b"</stream:streams>", Condition::NotWellFormed),
        (b"hello", Condition::BadFormat),
        (b"<![CDATA[hello]]>", Condition::BadFormat),
        (b"&#32;", Condition::BadFormat),
        (b"<!-- hello -->", Condition::RestrictedXml),
        (
            b"<message><!-- hello --></message>",
            Condition::RestrictedXml,
        ),
        (b"<?php ?>", Condition::RestrictedXml),
        (b"<message><?php ?></message>", Condition::RestrictedXml),
        (
            b"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>",
            Condition::RestrictedXml,
        ),
        (b"<message><!DOCTYPE x></message>", Condition::RestrictedXml),
        (b"<message>&lol;</message>", Condition::RestrictedXml),
        (b"<message to='&lol;'/>", Condition::RestrictedXml),
    ] {
        stage.check(&EVERYWHERE, bytes, condition).await;
    }
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_is_not_for_a_stream_of_servers_is_refused_at_every_point() {
    let mut stage = Stage::with_tls("optional").await;
    let message = "to='here.test' from='evil.test'";
    for (text, condition) in [
        ("<unknown/>".to_owned(), Condition::UnsupportedStanzaType),
        (
            "<x xmlns='urn:x'/>".to_owned(),
            Condition::UnsupportedStanzaType,
        ),
        (
            format!("<message xmlns='jabber:client' {message}/>"),
            Condition::UnsupportedStanzaType,
        ),
        (
            format!("<message xmlns='' {message}/>"),
            Condition::UnsupportedStanzaType,
        ),
        (
            format!("<db:result xmlns:db='urn:x' {message}>key</db:result>"),
            Condition::UnsupportedStanzaType,
        ),
        (
            format!("<result {message}>key</result>"),
            Condition::UnsupportedStanzaType,
        ),
        (
            format!("<db:other {message}>key</db:other>"),
            Condition::UnsupportedStanzaType,
        ),
        (
            "<stream:features/>".to_owned(),
            Condition::UnsupportedStanzaType,
        ),
        (
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
            Condition::UnsupportedStanzaType,
        ),
    ] {
        let is_known = text.contains(":other") || text.contains("xmpp-tls");
        let is_stanza = text.contains("jabber:client");
        for at in EVERYWHERE {
            match at {
                // One of what it knows nothing of is ignored, and a flood is not; a stanza but for its namespace bounces.
                Proved if is_stanza => {}
                Proved if !is_known => stage.check(&[at], text.repeat(12), condition).await,
                _ => stage.check(&[at], &text, condition).await,
            }
        }
    }
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stanza_before_any_proof_is_not_authorized() {
    let mut stage = Stage::with_tls("optional").await;
    let unproved = [TheOpenStream, Encrypted];
    for stanza in [
        "<message to='here.test' from='evil.test'/>",
        "<presence to='here.test' from='evil.test'/>",
        "<iq type='get' id='1' to='here.test' from='evil.test'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<s:message xmlns:s='jabber:server' to='here.test' from='evil.test'/>",
        "<message/>",
    ] {
        stage
            .check(&unproved, stanza, Condition::NotAuthorized)
            .await;
        // The key is with the authoritative server, and that is no proof yet.
        let hasty =
            "<db:result from='evil.test' to='here.test'>key</db:result>".to_owned() + stanza;
        stage
            .check(&unproved, hasty, Condition::NotAuthorized)
            .await;
    }
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_stanza_says_truly_from_whom_it_is_and_to_whom() {
    let mut stage = Stage::with_tls("optional").await;
    for (stanza, condition) in [
        ("<message to='here.test'/>", Condition::ImproperAddressing),
        ("<message from='evil.test'/>", Condition::ImproperAddressing),
        (
            "<message from='evil.test' to=''/>",
            Condition::ImproperAddressing,
        ),
        (
            "<message from='' to='here.test'/>",
            Condition::ImproperAddressing,
        ),
        (
            "<message from='victim.test' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='x@victim.test/evil.test' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='evil.test@victim.test' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        // Names are equal or they are not; none contains another.
        (
            "<message from='x.evil.test' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='xevil.test' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='evil.tes' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='here.test' to='here.test'/>",
            Condition::InvalidFrom,
        ),
        (
            "<message from='evil.test' to='elsewhere.test'/>",
            Condition::HostUnknown,
        ),
        (
            "<message from='evil.test' to='x.here.test'/>",
            Condition::HostUnknown,
        ),
        // Served here, but the pair is not proved.
        (
            "<message from='evil.test' to='calm.here.test'/>",
            Condition::NotAuthorized,
        ),
    ] {
        stage.check(&[Proved], stanza, condition).await;
    }
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_refused_while_it_arrives() {
    let mut stage = Stage::with_tls("optional").await;
    let unproved = [TheOpenStream, Encrypted];
    let deep = "<x>".repeat(1_000_000);
    let attributes: String = (0..10_000).map(|n| format!(" a{n}='{n}'")).collect();
    let namespaces: String = (0..10_000)
        .map(|n| format!("<x xmlns:n{n}='urn:{n}'>"))
        .collect();
    let long_name = "<".to_owned() + &"x".repeat(10_000_000);
    let long_value = "<x y='".to_owned() + &"x".repeat(10_000_000);
    let long_text = "<message><body>".to_owned() + &"x".repeat(10_000_000);
    let many = "<db:verify from='evil.test' to='here.test' id='1'>key</db:verify>".repeat(33);
    let blanks = " ".repeat(65 << 10);
    for bytes in [
        deep.clone(),
        format!("<x{attributes}/>"),
        namespaces.clone(),
        long_name.clone(),
        long_value.clone(),
        long_text.clone(),
        blanks.clone(),
    ] {
        stage
            .check(&unproved, &bytes, Condition::PolicyViolation)
            .await;
    }
    for bytes in [deep, namespaces.repeat(4), long_name, long_value, long_text] {
        stage
            .check(&[Proved], &bytes, Condition::PolicyViolation)
            .await;
    }
    // What is whole and no stanza is ignored, as long as it is not many.
    let many_such = format!("<x{attributes}/>").repeat(12);
    stage
        .check(&[Proved], many_such, Condition::UnsupportedStanzaType)
        .await;
    for bytes in [
        header(&attributes),
        header(&format!("to='{}'", "x".repeat(10_000_000))),
        "<".to_owned() + &"x".repeat(10_000_000),
        " ".repeat(65 << 10),
    ] {
        stage
            .check(&[TheFirstByte], &bytes, Condition::PolicyViolation)
            .await;
    }
    // Thirty-two are answered, the next is one too many.
    let mut peer = stage.peer(TheOpenStream).await;
    peer.send(&many).await.unwrap();
    for _ in 0..32 {
        let answer = peer.expect(ns::DIALBACK, "verify").await.unwrap();
        assert_eq!(answer.type_attr().as_deref(), Some("invalid"));
    }
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_called_so() {
    let mut stage = Stage::with_tls("optional").await;
    let element = |bytes| format!("<message><body>{}</body></message>", "x".repeat(bytes));
    for (at, text) in [
        (TheOpenStream, element(17 << 10)),
        (Proved, element(513 << 10)),
    ] {
        let error = stage.answer(at, text.as_bytes()).await;
        let too_big = (ns::APP_ERRORS.to_owned(), "stanza-too-big".to_owned());
        assert_eq!(error.application, Some(too_big), "{at:?}");
    }
    stage.background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn where_tls_is_required_nothing_comes_before_it() {
    let mut stage = Stage::with_tls("required").await;
    for (text, condition) in [
        (
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
            Condition::PolicyViolation,
        ),
        (
            "<db:verify from='evil.test' to='here.test' id='1'>key</db:verify>",
            Condition::PolicyViolation,
        ),
        (
            "<message to='here.test' from='evil.test'/>",
            Condition::NotAuthorized,
        ),
        (
            "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
            Condition::UnsupportedStanzaType,
        ),
    ] {
        stage.check(&[TheOpenStream], text, condition).await;
    }
    let old = header("to='here.test' from='evil.test'");
    stage
        .check(&[TheFirstByte], old, Condition::PolicyViolation)
        .await;
    // XEP-0220 §2.5 has an error of its own, and the stream goes on.
    let mut peer = stage.peer(TheOpenStream).await;
    let verdict = peer
        .dialback("evil.test", "here.test", "key")
        .await
        .unwrap();
    assert_eq!(verdict, "error");
    peer.starttls("here.test", None).await.unwrap();
    peer.open("evil.test", "here.test").await.unwrap();
    let verdict = peer
        .dialback("evil.test", "here.test", "key")
        .await
        .unwrap();
    assert_eq!(verdict, "valid");
    stage.background_traffic.was_well().await.unwrap();
}
