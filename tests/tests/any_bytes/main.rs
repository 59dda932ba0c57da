//! What reads bytes from outside, on any bytes: no panic, and what has to be true of each. The bodies are those of the
//! fuzz targets. Each test sees that its body comes to what it guards.
#![allow(clippy::unwrap_used)]

mod bodies;

use bodies::Reached;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::cell::RefCell;

/// Runs a body on many inputs; it must have come to all of this.
fn comes_to<S>(cases: u32, inputs: S, body: fn(&[u8]) -> Reached, wanted: &[&'static str])
where
    S: Strategy<Value = Vec<u8>>,
{
    let reached = RefCell::new(Reached::new());
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    });
    let result = runner.run(&inputs, |input| {
        reached.borrow_mut().extend(body(&input));
        Ok(())
    });
    result.unwrap();
    let reached = reached.into_inner();
    let missing: Vec<_> = wanted.iter().filter(|it| !reached.contains(*it)).collect();
    assert!(missing.is_empty(), "never: {missing:?}, only {reached:?}");
}

fn any_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

/// Words put together, after some free bytes.
fn words(before: usize, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        20 => proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => any_bytes(4),
    ];
    (vec(any::<u8>(), before), vec(word, 0..14)).prop_map(|(mut bytes, words)| {
        bytes.extend(words.concat());
        bytes
    })
}

#[test]
fn any_bytes_in_any_pieces_have_one_verdict_and_elements_stand_by_themselves() {
    const WORDS: &[&str] = &[
        "<message to='a@b.test' from='c.test'><body>x &lt; y</body></message>",
        "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<a/>",
        "<a>",
        "</a>",
        "<p:x xmlns:p='u'>",
        "</p:x>",
        " ",
        "text",
        "é",
        "<![CDATA[x]]>",
        "&amp;",
        "<!--",
        "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>",
        "</stream:stream>",
        "<presence xml:lang='de' ",
        "xmlns='jabber:server'",
        ">",
        "/>",
    ];
    let wanted = ["header", "element", "child", "footer", "refused"];
    comes_to(1500, words(2, WORDS), bodies::xml::decoder, &wanted);
}

#[test]
fn features_are_written_as_they_were_read() {
    const WORDS: &[&str] = &[
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>",
        "<required/>",
        "</starttls>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>",
        "<mechanism>EXTERNAL</mechanism>",
        "</mechanisms>",
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism> A </mechanism></mechanisms>",
        "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>",
        "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>1</max-bytes></limits>",
        "<limits xmlns='urn:xmpp:stream-limits:0'><idle-seconds>-1</idle-seconds></limits>",
        "<bidi xmlns='urn:xmpp:features:bidi'/>",
        "</stream:features>",
    ];
    let wanted = [
        "starttls",
        "mechanisms",
        "dialback",
        "limits",
        "bidi",
        "refused",
    ];
    comes_to(1500, words(0, WORDS), bodies::xml::features, &wanted);
}

#[test]
fn elements_of_dialback_are_written_as_they_were_read() {
    let wanted = ["request", "result", "question", "answer", "refused"];
    comes_to(1500, any_bytes(120), bodies::xml::dialback, &wanted);
}

#[test]
fn no_order_of_words_proves_or_delivers_what_nobody_vouches_for() {
    let wanted = [
        "certified",
        "vouched for",
        "delivered",
        "asked",
        "inverse",
        "tls",
        "closed",
    ];
    comes_to(3000, any_bytes(200), bodies::inbound::body, &wanted);
}

#[test]
fn no_order_of_words_opens_a_stream_to_which_nobody_said_yes() {
    let wanted = [
        "by SASL",
        "by dialback",
        "answered",
        "inverse",
        "delivered",
        "tls",
        "closed",
    ];
    comes_to(3000, any_bytes(200), bodies::outbound::body, &wanted);
}

#[test]
fn a_certificate_proves_a_domain_only_by_its_name() {
    let wanted = ["certified", "not certified", "alone"];
    comes_to(1500, any_bytes(60), bodies::certificate::names, &wanted);
}

#[test]
fn any_bytes_are_a_certificate_that_proves_nothing() {
    let wanted = ["read", "unreadable"];
    comes_to(1500, any_bytes(60), bodies::certificate::bytes, &wanted);
}

#[test]
fn a_document_speaks_only_for_what_is_in_it() {
    let wanted = ["fingerprints", "speaks for it", "reference", "refused"];
    comes_to(1500, any_bytes(150), bodies::document::posh, &wanted);
}

#[test]
fn a_configuration_is_taken_or_refused_in_words_and_shows_no_secret() {
    comes_to(
        1500,
        any_bytes(40),
        bodies::configuration::body,
        &["taken", "refused"],
    );
}
