//! A stream to an authoritative server takes questions as they come, and each has its own answer.

use xmpp_dialback::{Key, Pair, Question, Verdict};

use super::*;

/// A stream from `a.test` to `b.test`'s authoritative server that may be asked.
struct QuestionStream {
    outbound: Result<Box<Outbound>, Closed>,
    codec: Codec,
    effects: Vec<OutboundEffect>,
}

fn started(effects: &mut Vec<OutboundEffect>) -> Box<Outbound> {
    let call = Call {
        encrypt: false,
        snapshot: snapshot("a.test", ""),
        pair: DomainPair {
            local: Domain::parse("a.test").unwrap(),
            remote: Domain::parse("b.test").unwrap(),
        },
        purpose: Purpose::Verify,
        excluded: Vec::new(),
    };
    let random = Box::new(Counting(1));
    Outbound::start(call, random, Transport::Plain, Instant::now(), effects)
}

fn asking() -> QuestionStream {
    let mut effects = Vec::new();
    let mut asking = QuestionStream {
        outbound: Ok(started(&mut effects)),
        codec: Codec::new(XmlLimits::before_authentication())
            .with_content_namespace(ContentNamespace::Server),
        effects,
    };
    asking.hears(
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='b.test' to='a.test' id='b' version='1.0'>\
         <stream:features/>",
    );
    assert!(matches!(asking.effects.pop(), Some(OutboundEffect::MayAsk)));
    asking.effects.clear();
    asking
}

fn question(local: &str, id: &str, key: &str) -> Question {
    Question {
        pair: Pair::new("b.test", local),
        stream_id: id.to_owned(),
        key: Key::from_text(key),
    }
}

impl QuestionStream {
    fn event(&mut self, event: OutboundEvent) {
        let ended = Closed {
            by: crate::closed::By::Us,
            cause: Cause::Idle,
        };
        let outbound = std::mem::replace(&mut self.outbound, Err(ended)).unwrap();
        self.outbound = outbound.handle(event, &mut self.effects);
    }

    fn cause(self) -> Cause {
        self.outbound.err().expect("it ended").cause
    }

    fn hears(&mut self, text: &str) {
        let mut bytes = BytesMut::from(text);
        while let Some(frame) = self.codec.decode(&mut bytes).unwrap() {
            self.event(OutboundEvent::Frame(frame));
        }
    }

    fn ask(&mut self, local: &str, id: &str, key: &str) {
        self.event(OutboundEvent::Ask(question(local, id, key)));
    }

    /// What became known, as `id verdict`.
    fn answers(&mut self) -> Vec<String> {
        let effects = std::mem::take(&mut self.effects).into_iter();
        let answered = effects.filter_map(|effect| match effect {
            OutboundEffect::Answered(pair, id, verdict) => {
                assert_eq!(pair.sender, "b.test");
                let verdict = match verdict {
                    Verdict::Valid => "valid",
                    Verdict::Invalid => "invalid",
                    Verdict::Error(_) => "error",
                };
                Some(format!("{} {id} {verdict}", pair.target))
            }
            _ => None,
        });
        answered.collect()
    }
}

#[test]
fn a_stream_takes_questions_one_after_the_other_and_each_answer_is_its_own() {
    let mut stream = asking();
    // It may stay open as long as somebody wants to know.
    assert_eq!(stream.outbound.as_ref().unwrap().deadline(), None);
    stream.ask("a.test", "1", "k");
    stream.ask("two.test", "1", "k");
    stream.hears("<db:verify from='b.test' to='two.test' id='1' type='valid'/>");
    assert_eq!(stream.answers(), ["two.test 1 valid"]);
    stream.ask("a.test", "2", "k");
    stream.hears(
        "<db:verify from='b.test' to='a.test' id='2' type='invalid'/>\
         <db:verify from='b.test' to='a.test' id='1' type='valid'/>",
    );
    assert_eq!(stream.answers(), ["a.test 2 invalid", "a.test 1 valid"]);
    stream.event(OutboundEvent::Tick);
    stream.event(OutboundEvent::Done);
    assert_eq!(stream.cause(), Cause::Finished);
}

#[test]
fn an_answer_counts_once_and_for_one_key() {
    let mut stream = asking();
    stream.ask("a.test", "1", "good");
    stream.effects.clear();
    // The first one's answer would be taken for this one's.
    stream.ask("a.test", "1", "bad");
    assert!(matches!(
        &stream.effects[..],
        [OutboundEffect::NotAsked(question)] if question.key.as_str() == "bad"
    ));
    let valid = "<db:verify from='b.test' to='a.test' id='1' type='valid'/>";
    stream.hears(valid);
    assert_eq!(stream.answers(), ["a.test 1 valid"]);
    stream.hears(valid);
    assert!(stream.answers().is_empty());
    assert_eq!(stream.cause().name(), "protocol");
}

/// RFC 3920 §8.3: old servers end the stream, and do not say whose key was wrong.
#[test]
fn a_stream_error_answers_all_or_none_of_several_questions() {
    let error = |name: &str| {
        format!(
            "<stream:error><{name} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        )
    };
    for (name, ids, answers) in [
        ("invalid-id", &["1"][..], &["a.test 1 invalid"][..]),
        ("invalid-id", &["1", "2"], &[]),
        (
            "host-unknown",
            &["1", "2"],
            &["a.test 1 error", "a.test 2 error"],
        ),
    ] {
        let mut stream = asking();
        for id in ids {
            stream.ask("a.test", id, "k");
        }
        stream.hears(&error(name));
        assert_eq!(stream.answers(), answers, "{name}");
        assert_eq!(stream.cause().name(), "stream-error");
    }
}

#[test]
fn nothing_is_asked_before_its_time() {
    let mut effects = Vec::new();
    let outbound = started(&mut effects);
    effects.clear();
    let event = OutboundEvent::Ask(question("a.test", "1", "k"));
    assert!(outbound.handle(event, &mut effects).is_ok());
    assert!(matches!(&effects[..], [OutboundEffect::NotAsked(_)]));
}
