//! Dialback proves exactly the pair whose key was asked about, by the answer of the server that was asked, on the stream
//! where it was asked (XEP-0220, XEP-0185).
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd_tests::{
    authoritative::Says,
    bystander::Bystander,
    party::Party,
    peer::{Peer, header_text, initial_header},
    wire::Event,
    world::{Daemon, RawServer, SOON, World},
};
use xmpp_dialback::{Pair, Secret};
use xmpp_stream::{Condition, DialbackFeature, Features, StreamHeader, ns};

const POLICY: &str = "tls = 'optional'\nauth = ['external', 'dialback']";

/// A daemon for `here.test` with a component, and a bystander.
async fn here(daemon: Daemon) -> (World, Bystander, Party) {
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    let bystander = Bystander::beside(&mut world, "here.test").await.unwrap();
    let component = world.component("here.test").await.unwrap();
    (world, bystander, component)
}

async fn open(world: &World) -> Peer {
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("evil.test", "here.test").await.unwrap();
    peer
}

fn message(from: &str, id: &str) -> String {
    format!("<message from='{from}' to='here.test' id='{id}'/>")
}

/// What arrives next at the component is this, so nothing did before it.
async fn arrives(component: &mut Party, id: &str) {
    let next = component.expect("a stanza", SOON, |_| true).await.unwrap();
    assert_eq!(next.id().as_deref(), Some(id), "{next:?}");
}

/// Nothing that was not proved arrived: a good peer's message is the first.
async fn nothing_arrived(world: &mut World, component: &mut Party) {
    let _good = world
        .authoritative("good.test", Says::Valid, None)
        .await
        .unwrap();
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("good.test", "here.test").await.unwrap();
    let verdict = peer.dialback("good.test", "here.test", "key").await;
    assert_eq!(verdict.unwrap(), "valid");
    peer.send(message("good.test", "the first")).await.unwrap();
    arrives(component, "the first").await;
}

async fn is_refused(peer: &mut Peer, condition: Condition) {
    match peer.expect_stream_error().await {
        Ok(error) => assert_eq!(error.condition, condition, "{:#?}", peer.transcript()),
        Err(error) => panic!("{error:#}\n{:#?}", peer.transcript()),
    }
}

#[tokio::test]
async fn the_key_proves_its_sender_whatever_the_header_says() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
    let _evil = world.authoritative("evil.test", Says::Valid, None).await;
    let victim = world.authoritative("victim.test", Says::Valid, None).await;
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("victim.test", "here.test").await.unwrap();
    let verdict = peer.dialback("evil.test", "here.test", "key").await;
    assert_eq!(verdict.unwrap(), "valid");
    peer.send(message("evil.test", "mine")).await.unwrap();
    arrives(&mut component, "mine").await;
    peer.send(message("victim.test", "forged")).await.unwrap();
    is_refused(&mut peer, Condition::InvalidFrom).await;
    assert_eq!(victim.unwrap().asked(), []);
    nothing_arrived(&mut world, &mut component).await;
    bystander.was_well().await.unwrap();
}

/// The attack of 2012 on jabberd2 and others (CVE-2012-3525).
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_refused() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
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
                    is_refused(&mut peer, Condition::InvalidFrom).await;
                }
            }
        }
    }
    nothing_arrived(&mut world, &mut component).await;
    bystander.was_well().await.unwrap();
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
    Features {
        dialback: Some(DialbackFeature { errors: true }),
        ..Features::default()
    }
}

#[tokio::test]
async fn the_answer_counts_that_is_for_the_question_and_fails_it_at_once_otherwise() {
    // Far longer than the test may take.
    let daemon = Bystander::daemon("here.test")
        .policy(POLICY)
        .tables("[limits]\ndialback = '60s'\n");
    let (mut world, bystander, mut component) = here(daemon).await;
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
        let mut peer = open(&world).await;
        let said = answer.clone();
        let (verdict, ()) = tokio::join!(
            peer.dialback("evil.test", "here.test", "key"),
            say_instead(server, |id| answer
                .as_ref()
                .map(|text| text.replace("ID", id)))
        );
        assert_eq!(verdict.unwrap(), "error", "{said:?}");
        peer.send(message("evil.test", "forged")).await.unwrap();
        is_refused(&mut peer, Condition::NotAuthorized).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "something waited"
    );
    nothing_arrived(&mut world, &mut component).await;
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_an_error_with_its_reason() {
    let daemon = Bystander::daemon("here.test")
        .policy(POLICY)
        .tables("[limits]\ndialback = '1s'\n");
    let (mut world, bystander, _component) = here(daemon).await;
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
        let mut peer = open(&world).await;
        let request = format!("<db:result from='{domain}' to='here.test'>key</db:result>");
        peer.send(request).await.unwrap();
        let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
        assert_eq!(answer.kind().as_deref(), Some("error"), "{domain}");
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
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn a_key_is_good_for_its_pair_and_its_stream_only() {
    let daemon = Bystander::daemon("here.test")
        .and("other.here.test")
        .policy(POLICY)
        .tables("[dialback]\nsecret = 's3cr3tf0rd14lb4ck'\n");
    let (world, bystander, _component) = here(daemon).await;
    let secret = Secret::new("s3cr3tf0rd14lb4ck");
    let key = |sender: &str, target: &str, id: &str| {
        let pair = Pair::new(sender, target);
        secret.key(&pair, id).as_str().to_owned()
    };
    let good = key("here.test", "evil.test", "id");
    let mut peer = open(&world).await;
    for (sender, target, id, key, kind) in [
        ("here.test", "evil.test", "id", good.clone(), "valid"),
        ("here.test", "evil.test", "ID", good.clone(), "invalid"),
        ("here.test", "victim.test", "id", good.clone(), "invalid"),
        (
            "other.here.test",
            "evil.test",
            "id",
            good.clone(),
            "invalid",
        ),
        (
            "here.test",
            "evil.test",
            "id",
            good.to_uppercase(),
            "invalid",
        ),
        ("here.test", "evil.test", "id", String::new(), "invalid"),
        (
            "here.test",
            "evil.test",
            "id",
            good[..63].to_owned(),
            "invalid",
        ),
        ("elsewhere.test", "evil.test", "id", good, "error"),
        // The wrong number attack: the same bytes, split elsewhere.
        (
            "here.test",
            "evil.test",
            "i",
            key("here.test", "devil.test", ""),
            "invalid",
        ),
    ] {
        peer.send(format!(
            "<db:verify from='{target}' to='{sender}' id='{id}'>{key}</db:verify>"
        ))
        .await
        .unwrap();
        let answer = match peer.next().await.unwrap() {
            Event::Element(answer) => answer,
            other => panic!("{sender} {target} {id:?}: {other:?}"),
        };
        assert_eq!(
            answer.kind().as_deref(),
            Some(kind),
            "{sender} {target} {id:?}"
        );
    }
    bystander.was_well().await.unwrap();
}

/// The evil server lets the victim's server make a key for the stream that it opened itself elsewhere: it chooses the
/// stream id, but it cannot choose the pair.
#[tokio::test]
async fn a_key_that_was_lured_out_of_a_server_proves_nothing_elsewhere() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
    world
        .start(Daemon::serving("victim.test").policy(POLICY))
        .await
        .unwrap();
    let mut victim = world.component("victim.test").await.unwrap();
    let lure = world.listen("evil.test").await.unwrap();
    let mut peer = world.connect("here.test").await.unwrap();
    let opened = peer.open("victim.test", "here.test").await.unwrap();
    let id = opened.header.id.unwrap();
    victim
        .send("<message from='victim.test' to='evil.test'/>")
        .await
        .unwrap();
    let mut lured = lure.accept().await.unwrap();
    lured.answer_open(&id, &dialback()).await.unwrap();
    let key = lured.expect(ns::DIALBACK, "result").await.unwrap().text();
    let verdict = peer.dialback("victim.test", "here.test", &key).await;
    assert_eq!(verdict.unwrap(), "invalid");
    peer.expect_end().await.unwrap();
    nothing_arrived(&mut world, &mut component).await;
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn an_element_is_of_dialback_by_its_namespace_and_not_by_its_prefix() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
    let _evil = world.authoritative("evil.test", Says::Valid, None).await;
    for (number, request) in [
        "<x:result xmlns:x='jabber:server:dialback' from='evil.test' to='here.test'>k</x:result>",
        "<result xmlns='jabber:server:dialback' from='evil.test' to='here.test'>k</result>",
    ]
    .into_iter()
    .enumerate()
    {
        let mut peer = open(&world).await;
        peer.send(request).await.unwrap();
        let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
        assert_eq!(answer.kind().as_deref(), Some("valid"));
        let id = number.to_string();
        peer.send(message("evil.test", &id)).await.unwrap();
        arrives(&mut component, &id).await;
    }
    // The prefix is declared, for something else.
    let mut peer = world.connect("here.test").await.unwrap();
    let mut header = initial_header(Some("evil.test"), "here.test");
    header.prefixes = vec![("db".to_owned(), "urn:x".to_owned())];
    peer.send(header_text(&header)).await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    peer.send("<db:result from='evil.test' to='here.test'>k</db:result>")
        .await
        .unwrap();
    is_refused(&mut peer, Condition::UnsupportedStanzaType).await;
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn failures_and_pairs_of_a_stream_are_counted() {
    let daemon = Bystander::daemon("here.test")
        .policy(POLICY)
        .tables("[limits]\ndialback_failures = 3\npairs_per_stream = 2\n");
    let (mut world, bystander, _component) = here(daemon).await;
    let failing = world.authoritative("fails.test", Says::Error, None).await;
    let mut good = Vec::new();
    for domain in ["a.test", "b.test", "c.test"] {
        good.push(
            world
                .authoritative(domain, Says::Valid, None)
                .await
                .unwrap(),
        );
    }
    let mut peer = open(&world).await;
    for _ in 0..3 {
        let verdict = peer.dialback("fails.test", "here.test", "k").await;
        assert_eq!(verdict.unwrap(), "error");
    }
    let verdict = peer.dialback("fails.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    is_refused(&mut peer, Condition::PolicyViolation).await;
    assert_eq!(failing.unwrap().asked().len(), 3);

    let mut peer = open(&world).await;
    for (domain, kind) in [
        ("a.test", "valid"),
        ("b.test", "valid"),
        ("c.test", "error"),
    ] {
        let verdict = peer.dialback(domain, "here.test", "k").await;
        assert_eq!(verdict.unwrap(), kind, "{domain}");
    }
    assert_eq!(good[2].asked(), []);
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn a_second_key_while_the_first_is_looked_at_ends_the_stream() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
    let _evil = world.authoritative("evil.test", Says::Silence, None).await;
    let mut peer = open(&world).await;
    let request = |key| format!("<db:result from='evil.test' to='here.test'>{key}</db:result>");
    peer.send(request("good") + &request("bad")).await.unwrap();
    let answer = peer.expect(ns::DIALBACK, "result").await.unwrap();
    assert_eq!(answer.kind().as_deref(), Some("error"));
    is_refused(&mut peer, Condition::PolicyViolation).await;
    nothing_arrived(&mut world, &mut component).await;
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn an_invalid_key_ends_a_stream_on_which_nothing_is_proved_and_no_other() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
    let _good = world.authoritative("evil.test", Says::Valid, None).await;
    let _bad = world
        .authoritative("victim.test", Says::Invalid, None)
        .await;
    let mut peer = open(&world).await;
    let verdict = peer.dialback("victim.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "invalid");
    peer.expect_end().await.unwrap();

    let mut peer = open(&world).await;
    let verdict = peer.dialback("evil.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "valid");
    let verdict = peer.dialback("victim.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    peer.send(message("evil.test", "still")).await.unwrap();
    arrives(&mut component, "still").await;
    bystander.was_well().await.unwrap();
}

/// RFC 6120 §5.4.3.3: what was said in clear is forgotten with TLS, and so is the question that came of it.
#[tokio::test]
async fn an_answer_to_a_question_from_before_tls_proves_nothing_within() {
    let daemon = Bystander::daemon("here.test").policy(POLICY);
    let (mut world, bystander, mut component) = here(daemon).await;
    let server = world.listen("evil.test").await.unwrap();
    let request = |key| format!("<db:result from='evil.test' to='here.test'>{key}</db:result>");
    let answer = |id: &str, kind: &str| {
        format!("<db:verify from='evil.test' to='here.test' id='{id}' type='{kind}'/>")
    };
    for asked_again in [false, true] {
        let mut peer = open(&world).await;
        peer.send(request("good")).await.unwrap();
        let mut first = server.accept().await.unwrap();
        first.answer_open("first", &dialback()).await.unwrap();
        let question = first.expect(ns::DIALBACK, "verify").await.unwrap();
        peer.starttls("here.test", None).await.unwrap();
        // Perhaps nobody listens any more.
        let _ = first.send(answer(&question.id().unwrap(), "valid")).await;
        while let Ok(Event::Header(_) | Event::Element(_)) = first.next().await {}
        peer.open("evil.test", "here.test").await.unwrap();
        if asked_again {
            peer.send(request("bad")).await.unwrap();
            let mut second = server.accept().await.unwrap();
            second.answer_open("second", &dialback()).await.unwrap();
            let question = second.expect(ns::DIALBACK, "verify").await.unwrap();
            let answer = answer(&question.id().unwrap(), "invalid");
            second.send(answer).await.unwrap();
            let result = peer.expect(ns::DIALBACK, "result").await.unwrap();
            assert_eq!(result.kind().as_deref(), Some("invalid"));
            peer.expect_end().await.unwrap();
        } else {
            peer.send(message("evil.test", "forged")).await.unwrap();
            is_refused(&mut peer, Condition::NotAuthorized).await;
        }
    }
    nothing_arrived(&mut world, &mut component).await;
    bystander.was_well().await.unwrap();
}

/// A peer that comes and goes leaves no questions behind, however long they might wait for an answer.
#[tokio::test]
async fn a_question_ends_with_the_stream_that_it_was_for() {
    let daemon = Bystander::daemon("here.test")
        .policy(POLICY)
        .tables("[limits]\ndialback = '60s'\n");
    let (mut world, bystander, _component) = here(daemon).await;
    let server = world.listen("evil.test").await.unwrap();
    let mut peer = open(&world).await;
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
    bystander.was_well().await.unwrap();
}

#[tokio::test]
async fn dialback_that_is_switched_off_is_neither_offered_nor_taken_nor_tried() {
    let daemon = Bystander::daemon("here.test").policy("tls = 'optional'\nauth = ['external']");
    let (mut world, bystander, mut component) = here(daemon).await;
    let evil = world.authoritative("evil.test", Says::Valid, None).await;
    let mut peer = world.connect("here.test").await.unwrap();
    let opened = peer.open("evil.test", "here.test").await.unwrap();
    assert_eq!(opened.features.dialback, None);
    let verdict = peer.dialback("evil.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    peer.send(message("evil.test", "forged")).await.unwrap();
    is_refused(&mut peer, Condition::NotAuthorized).await;
    // Nor without a version.
    let mut peer = world.connect("here.test").await.unwrap();
    let header = StreamHeader {
        version: None,
        ..initial_header(Some("evil.test"), "here.test")
    };
    peer.send(header_text(&header)).await.unwrap();
    peer.expect_header().await.unwrap();
    let verdict = peer.dialback("evil.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
    assert_eq!(evil.unwrap().asked(), []);
    // Nor by us.
    for (domain, version) in [("new.test", true), ("old.test", false)] {
        let server = world.listen(domain).await.unwrap();
        component
            .send(format!(
                "<message from='here.test' to='{domain}' id='{domain}'/>"
            ))
            .await
            .unwrap();
        let mut there = server.accept().await.unwrap();
        if version {
            there.answer_open("there", &dialback()).await.unwrap();
        } else {
            there.expect_header().await.unwrap();
            let header = StreamHeader {
                id: Some("there".to_owned()),
                version: None,
                ..initial_header(Some(domain), "here.test")
            };
            there.send(header_text(&header)).await.unwrap();
        }
        there.expect_end().await.unwrap();
        arrives(&mut component, domain).await;
    }
    bystander.was_well().await.unwrap();
}

/// What the server says that the component's message made the daemon connect to, and what the daemon says to that.
async fn answered_with(answer: &str) -> (Vec<String>, Option<Condition>) {
    let daemon = Bystander::daemon("here.test")
        .policy(POLICY)
        .tables("[queue]\nbackoff = { first = '60s', max = '60s' }\n");
    let (mut world, bystander, mut component) = here(daemon).await;
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
    bystander.was_well().await.unwrap();
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
async fn a_second_answer_and_a_stanza_on_the_stream_we_made_are_refused() {
    let valid =
        "<x:result xmlns:x='jabber:server:dialback' from='evil.test' to='here.test' type='valid'/>";
    let (_, condition) = answered_with(&valid.repeat(2)).await;
    assert_eq!(condition, Some(Condition::InvalidFrom));
    let message = "<message from='evil.test' to='here.test'/>";
    let (_, condition) = answered_with(&(valid.to_owned() + message)).await;
    assert_eq!(condition, Some(Condition::NotAuthorized));
}
