//! Dialback's answers: the one counts that the server gives which was asked, to the question that was asked, once; whatever
//! comes instead fails the request at once (XEP-0220 §2).
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd_tests::{
    attack_setup::{self, is_refused, message, nothing_arrived},
    authoritative::Says,
    wire::Event,
    world::RawServer,
};
use xmpp_stream::{Condition, DialbackFeature, Features, ns};

const POLICY: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

/// The attack of 2012 on jabberd2 and others (CVE-2012-3525).
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_refused() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let _silent = world
        .authoritative("evil.test", Says::Silence, None)
        .await
        .unwrap();
    for kind in ["valid", "invalid", "error"] {
        for (from, to) in [
            ("evil.test", "here.test"),
            ("here.test", "evil.test"),
            ("victim.test", "here.test"),
            ("elsewhere.test", "evil.test"),
        ] {
            for waiting in [false, true] {
                for name in ["result", "verify"] {
                    let mut peer = world.connect("here.test").await.unwrap();
                    let opened = peer.open("evil.test", "here.test").await.unwrap();
                    let id = opened.header.id.unwrap();
                    if waiting {
                        let request = "<db:result from='evil.test' to='here.test'>key</db:result>";
                        peer.send(request).await.unwrap();
                    }
                    let id = match name {
                        "verify" => format!("id='{id}'"),
                        _ => String::new(),
                    };
                    let answer = format!("<db:{name} from='{from}' to='{to}' {id} type='{kind}'/>");
                    let forged = message(from, "forged");
                    // The stanza must not be looked at, wherever the stream ends.
                    peer.send(answer + &forged).await.unwrap();
                    is_refused(&mut peer, Condition::InvalidFrom).await.unwrap();
                }
            }
        }
    }
    nothing_arrived(&mut world, &mut component).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

/// Says this where it is asked about a key.
async fn say_instead(server: RawServer, answer: impl Fn(&str) -> Option<String>) {
    let mut peer = server.accept().await.unwrap();
    peer.answer_open("there", &dialback()).await.unwrap();
    let question = peer.expect(ns::DIALBACK, "verify").await.unwrap();
    let id = question.id().unwrap();
    match answer(&id) {
        Some(answer) => peer.send(answer).await.unwrap(),
        None => drop(peer.send("</stream:stream>").await),
    }
    // The daemon may have something to say about it; it is read so that the end is a quiet one.
    while let Ok(Event::Header(_) | Event::Element(_)) = peer.next().await {}
}

fn dialback() -> Features {
    Features::new().with_dialback(DialbackFeature::with_errors())
}

#[tokio::test]
async fn the_answer_counts_that_is_for_the_question_and_fails_it_at_once_otherwise() {
    // Far longer than the test may take.
    let daemon = attack_setup::daemon()
        .policy(POLICY)
        .tables("[limits]\ndialback = '60s'\n");
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let began = Instant::now();
    let pair = "from='evil.test' to='here.test'";
    for answer in [
        Some(format!("<db:verify {pair} id='another' type='valid'/>")),
        Some("<db:verify from='here.test' to='evil.test' id='ID' type='valid'/>".to_owned()),
        Some("<db:verify from='victim.test' to='here.test' id='ID' type='valid'/>".to_owned()),
        Some("<db:verify from='evil.test' to='calm.here.test' id='ID' type='valid'/>".to_owned()),
        Some(format!("<db:verify {pair} type='valid'/>")),
        Some(format!("<db:verify {pair} id='ID' type='VALID'/>")),
        Some(format!("<db:verify {pair} id='ID'>valid</db:verify>")),
        Some(format!("<db:result {pair} type='valid'/>")),
        Some(format!("<verify {pair} id='ID' type='valid'/>")),
        Some(format!(
            "<db:verify xmlns:db='urn:x' {pair} id='ID' type='valid'/>"
        )),
        Some("not even XML".to_owned()),
        Some(
            "<stream:error><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             </stream:error></stream:stream>"
                .to_owned(),
        ),
        // It closes the stream.
        None,
    ] {
        let server = world.listen("evil.test").await.unwrap();
        let mut peer = attack_setup::open(&world).await.unwrap();
        let said = answer.clone();
        let (verdict, ()) = tokio::join!(
            peer.dialback("evil.test", "here.test", "key"),
            say_instead(server, |id| answer
                .as_ref()
                .map(|text| text.replace("ID", id)))
        );
        assert_eq!(verdict.unwrap(), "error", "{said:?}");
        peer.send(message("evil.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::NotAuthorized)
            .await
            .unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "something waited"
    );
    nothing_arrived(&mut world, &mut component).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_an_error_with_its_reason() {
    let daemon = attack_setup::daemon()
        .policy(POLICY)
        .tables("[limits]\ndialback = '1s'\n");
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let closed = world.listen("closed.test").await.unwrap();
    drop(closed);
    world.change_zone(|zone| zone.service_absent("_xmpp-server._tcp.absent.test"));
    let silent = world
        .authoritative("silent.test", Says::Silence, None)
        .await;
    // Accepts, and never says a word.
    let mute = world.listen("mute.test").await.unwrap();
    let began = Instant::now();
    for (domain, condition) in [
        ("unknown.test", "remote-server-not-found"),
        ("absent.test", "remote-server-not-found"),
        ("closed.test", "remote-connection-failed"),
        ("silent.test", "remote-server-timeout"),
        ("mute.test", "remote-server-timeout"),
    ] {
        let mut peer = attack_setup::open(&world).await.unwrap();
        let request = format!("<db:result from='{domain}' to='here.test'>key</db:result>");
        peer.send(request).await.unwrap();
        let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
        assert_eq!(answer.type_attr().as_deref(), Some("error"), "{domain}");
        let tree = answer.tree();
        let error = tree.elements().next().unwrap();
        let named = error.child(ns::STANZA_ERRORS, condition);
        assert!(named.is_some(), "{domain}: {answer:?}");
        // The stream is open for another try.
        let verify = "<db:verify from='evil.test' to='here.test' id='1'>key</db:verify>";
        peer.send(verify).await.unwrap();
        peer.expect(ns::DIALBACK, "verify").await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(8), "something waited");
    assert_eq!(silent.unwrap().asked().len(), 1);
    drop(mute);
    background_traffic.was_well().await.unwrap();
}

/// RFC 6120 §5.4.3.3: what was said in clear is forgotten with TLS, and so is the question that came of it.
#[tokio::test]
async fn an_answer_to_a_question_from_before_tls_proves_nothing_within() {
    let daemon = attack_setup::daemon().policy(POLICY);
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let server = world.listen("evil.test").await.unwrap();
    let request = |key| format!("<db:result from='evil.test' to='here.test'>{key}</db:result>");
    let answer = |id: &str, kind: &str| {
        format!("<db:verify from='evil.test' to='here.test' id='{id}' type='{kind}'/>")
    };
    for (asked_again, late) in [(false, false), (true, false), (true, true)] {
        let mut peer = attack_setup::open(&world).await.unwrap();
        peer.send(request("good")).await.unwrap();
        let mut first = server.accept().await.unwrap();
        first.answer_open("first", &dialback()).await.unwrap();
        let question = first.expect(ns::DIALBACK, "verify").await.unwrap();
        peer.starttls("here.test", None).await.unwrap();
        let answers = async {
            // Perhaps nobody listens any more.
            let _ = first.send(answer(&question.id().unwrap(), "valid")).await;
            while let Ok(Event::Header(_) | Event::Element(_)) = first.next().await {}
        };
        let mut answers = std::pin::pin!(answers);
        if !late {
            answers.as_mut().await;
        }
        peer.open("evil.test", "here.test").await.unwrap();
        if asked_again {
            peer.send(request("bad")).await.unwrap();
            let mut second = server.accept().await.unwrap();
            second.answer_open("second", &dialback()).await.unwrap();
            let question = second.expect(ns::DIALBACK, "verify").await.unwrap();
            if late {
                // To a question about the same pair, and yet not to this one.
                answers.await;
            }
            let answer = answer(&question.id().unwrap(), "invalid");
            second.send(answer).await.unwrap();
            let result = peer.expect(ns::DIALBACK, "result").await.unwrap();
            assert_eq!(result.type_attr().as_deref(), Some("invalid"));
            peer.expect_end().await.unwrap();
        } else {
            peer.send(message("evil.test", "forged")).await.unwrap();
            is_refused(&mut peer, Condition::NotAuthorized)
                .await
                .unwrap();
        }
    }
    nothing_arrived(&mut world, &mut component).await.unwrap();
    background_traffic.was_well().await.unwrap();
}

/// A peer that comes and goes leaves no questions behind, however long they might wait for an answer.
#[tokio::test]
async fn a_question_ends_with_the_stream_that_it_was_for() {
    let daemon = attack_setup::daemon()
        .policy(POLICY)
        .tables("[limits]\ndialback = '60s'\n");
    let (mut world, background_traffic, _component) = attack_setup::start(daemon).await.unwrap();
    let server = world.listen("evil.test").await.unwrap();
    let mut peer = attack_setup::open(&world).await.unwrap();
    let request = "<db:result from='evil.test' to='here.test'>key</db:result>";
    peer.send(request).await.unwrap();
    let mut there = server.accept().await.unwrap();
    there.answer_open("there", &dialback()).await.unwrap();
    there.expect(ns::DIALBACK, "verify").await.unwrap();
    drop(peer);
    match there.next().await.unwrap() {
        Event::Closed => {}
        Event::Footer => there.expect_closed().await.unwrap(),
        other => panic!("{other:?}"),
    }
    background_traffic.was_well().await.unwrap();
}

/// What the server says that the component's message made the daemon connect to, and what the daemon says to that.
async fn answered_with(answer: &str) -> (Vec<String>, Option<Condition>) {
    let daemon = attack_setup::daemon()
        .policy(POLICY)
        .tables("[queue]\nbackoff = { first = '60s', max = '60s' }\n");
    let (mut world, background_traffic, mut component) = attack_setup::start(daemon).await.unwrap();
    let server = world.listen("evil.test").await.unwrap();
    component
        .send("<message from='here.test' to='evil.test' id='secret'/>")
        .await
        .unwrap();
    let mut there = server.accept().await.unwrap();
    there.answer_open("there", &dialback()).await.unwrap();
    there.expect(ns::DIALBACK, "result").await.unwrap();
    there.send(answer).await.unwrap();
    let mut stanzas = Vec::new();
    let condition = loop {
        match there.next().await.unwrap() {
            Event::Element(element) => match xmpp_stream::StreamError::from_element(&element) {
                Some(error) => {
                    there.expect_end().await.unwrap();
                    break Some(error.condition);
                }
                None => stanzas.push(element.id().unwrap_or_default().into_owned()),
            },
            Event::Footer => break None,
            other => panic!("{other:?}"),
        }
    };
    background_traffic.was_well().await.unwrap();
    (stanzas, condition)
}

#[tokio::test]
async fn our_key_is_answered_for_our_pair_or_nothing_is_sent() {
    for (answer, condition) in [
        (
            "<db:result from='here.test' to='evil.test' type='valid'/>",
            Condition::InvalidFrom,
        ),
        (
            "<db:result from='victim.test' to='here.test' type='valid'/>",
            Condition::InvalidFrom,
        ),
        (
            "<db:result from='evil.test' to='calm.here.test' type='valid'/>",
            Condition::InvalidFrom,
        ),
        (
            "<db:verify from='evil.test' to='here.test' id='there' type='valid'/>",
            Condition::InvalidFrom,
        ),
        (
            "<db:result xmlns:db='urn:x' from='evil.test' to='here.test' type='valid'/>",
            Condition::UnsupportedStanzaType,
        ),
        (
            "<db:result from='evil.test' to='here.test'>valid</db:result>",
            Condition::UnsupportedStanzaType,
        ),
        (
            "<message from='evil.test' to='here.test'/>",
            Condition::NotAuthorized,
        ),
    ] {
        assert_eq!(
            answered_with(answer).await,
            (vec![], Some(condition)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_second_answer_is_refused_and_a_stanza_on_the_stream_we_made_goes_nowhere() {
    let valid =
        "<x:result xmlns:x='jabber:server:dialback' from='evil.test' to='here.test' type='valid'/>";
    let (_, condition) = answered_with(&valid.repeat(2)).await;
    assert_eq!(condition, Some(Condition::InvalidFrom));
    // The end tag is answered with ours: the stream went on until then.
    let message = "<message from='evil.test' to='here.test'/></stream:stream>";
    let (_, condition) = answered_with(&(valid.to_owned() + message)).await;
    assert_eq!(condition, None);
}
