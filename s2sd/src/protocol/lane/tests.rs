//! The lane against scripts of failures, in virtual time.

use bytes::Bytes;
use xmpp_dialback::ErrorCondition;
use xmpp_stream::{Condition, ContentNamespace, Context, Element, StreamError};

use super::*;
use crate::closed::Unproved;

const SECOND: Duration = Duration::from_secs(1);

const BACKOFF: Backoff = Backoff {
    give_up: Duration::from_secs(120),
    first: Duration::from_secs(1),
    max: Duration::from_secs(300),
};

fn stanza(id: &str) -> Stanza {
    let text = format!("<message from='a@a.test' to='b@b.test' id='{id}'/>");
    let element =
        Element::parse(Bytes::from(text), &Context::new(ContentNamespace::Server)).unwrap();
    Stanza::own(element).unwrap()
}

fn id(stanza: &Stanza) -> String {
    stanza.element().id().unwrap().into_owned()
}

/// A lane, a clock, and what it did.
struct Script {
    lane: Lane,
    now: Instant,
    /// Whether the pair worked within hours.
    worked: bool,
    connects: usize,
    bounced: Vec<(String, &'static str)>,
}

impl Script {
    fn new() -> Self {
        Self {
            lane: Lane::new(BACKOFF),
            now: Instant::now(),
            worked: false,
            connects: 0,
            bounced: Vec::new(),
        }
    }

    fn tell(&mut self, event: LaneEvent) {
        let mut out = Vec::new();
        self.lane.handle(self.now, event, &mut out);
        for effect in out {
            match effect {
                LaneEffect::Connect => self.connects += 1,
                LaneEffect::Bounce(stanza, cause) => self.bounced.push((id(&stanza), cause.name())),
                LaneEffect::Unknown(stanza) => self.bounced.push((id(&stanza), "unknown")),
            }
        }
    }

    fn send(&mut self, id: &str) {
        self.tell(LaneEvent::Stanza(stanza(id)));
    }

    fn fail(&mut self, cause: Cause) {
        self.tell(LaneEvent::Failed {
            cause,
            worked: self.worked,
            random: 0,
        });
    }

    /// Sleeps as the driver does, until nothing is due before `until`.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.lane.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.tell(LaneEvent::Tick);
        }
        self.now = until;
    }

    fn written(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.lane.pop())
            .map(|waiting| id(&waiting.stanza))
            .collect()
    }

    /// The stream ends, while what waits is in its buffer, and a part of the first of it was written or nothing.
    fn end(&mut self, cause: Cause, begun: Option<Broke>) {
        self.worked = true;
        let unwritten: Vec<Waiting> = std::iter::from_fn(|| self.lane.pop()).collect();
        self.tell(LaneEvent::Ended {
            cause,
            unwritten,
            begun,
            random: 0,
        });
    }
}

fn said(condition: Condition) -> Cause {
    Cause::StreamError(StreamError::new(condition).into())
}

fn refused() -> Cause {
    Cause::Connect("refused".into())
}

#[test]
fn order_survives_connecting() {
    let mut script = Script::new();
    script.send("1");
    script.send("2");
    assert_eq!(script.connects, 1);
    assert!(
        script.written().is_empty(),
        "nothing is written without a stream"
    );
    script.tell(LaneEvent::Connected);
    script.send("3");
    assert_eq!(script.written(), ["1", "2", "3"]);
}

#[test]
fn what_was_not_written_goes_first_on_the_next_stream() {
    let mut script = Script::new();
    script.send("1");
    script.send("2");
    script.tell(LaneEvent::Connected);
    let unwritten = vec![script.lane.pop().unwrap(), script.lane.pop().unwrap()];
    script.send("3");
    script.tell(LaneEvent::Ended {
        cause: Cause::Finished,
        unwritten,
        begun: Some(Broke::Off),
        random: 0,
    });
    assert_eq!(script.connects, 2);
    script.tell(LaneEvent::Connected);
    assert_eq!(script.written(), ["1", "2", "3"]);
}

#[test]
fn what_may_have_arrived_goes_first_and_is_never_bounced() {
    let mut script = Script::new();
    script.send("1");
    script.send("2");
    script.tell(LaneEvent::Connected);
    let unwritten = vec![script.lane.pop().unwrap().may_have_arrived()];
    script.tell(LaneEvent::Ended {
        cause: Cause::Lost("".into()),
        unwritten,
        begun: None,
        random: 0,
    });
    script.tell(LaneEvent::Connected);
    let again = script.lane.pop().unwrap();
    assert!(again.is_again() && id(&again.stanza) == "1");
    let delayed = again.delayed(script.now, std::time::SystemTime::now());
    script.tell(LaneEvent::Ended {
        cause: Cause::Lost("".into()),
        unwritten: vec![delayed],
        begun: None,
        random: 0,
    });
    script.tell(LaneEvent::GiveUp(Cause::Shutdown));
    let given_up = [("1".to_owned(), "unknown"), ("2".to_owned(), "shutdown")];
    assert_eq!(script.bounced, given_up);
}

#[test]
fn what_may_have_arrived_is_not_bounced_for_what_a_later_stream_says_of_it() {
    let mut script = Script::new();
    script.send("1");
    script.tell(LaneEvent::Connected);
    let mut unwritten = vec![script.lane.pop().unwrap().may_have_arrived()];
    for _ in 0..2 {
        script.tell(LaneEvent::Ended {
            cause: said(Condition::PolicyViolation),
            unwritten,
            begun: Some(Broke::Closed),
            random: 0,
        });
        script.tell(LaneEvent::Connected);
        unwritten = std::iter::from_fn(|| script.lane.pop()).collect();
    }
    assert_eq!(script.bounced, [("1".to_owned(), "unknown")]);
}

#[test]
fn an_unreachable_peer_is_tried_at_growing_intervals_until_the_stanza_is_given_back() {
    let mut script = Script::new();
    script.send("1");
    let mut attempts = Vec::new();
    let began = script.now;
    for _ in 0..200 {
        if script.connects > attempts.len() {
            attempts.push(script.now.duration_since(began).as_millis());
            script.fail(refused());
        }
        script.pass(SECOND / 4);
    }
    script.pass(SECOND * 120);
    assert_eq!(attempts, [0, 250, 1250, 3250, 7250, 15250, 31250]);
    assert_eq!(script.bounced, [("1".to_owned(), "connect")]);
}

#[test]
fn a_stanza_is_given_back_once_and_at_its_time() {
    let mut script = Script::new();
    script.send("old");
    script.fail(refused());
    script.pass(SECOND * 60);
    script.send("young");
    script.fail(refused());
    script.pass(SECOND * 60);
    assert_eq!(script.bounced, [("old".to_owned(), "connect")]);
    script.pass(SECOND * 60);
    assert_eq!(
        script.bounced,
        [
            ("old".to_owned(), "connect"),
            ("young".to_owned(), "connect")
        ]
    );
}

#[test]
fn what_waits_while_no_stream_comes_to_be_is_given_back_too() {
    let mut script = Script::new();
    script.send("1");
    script.pass(SECOND * 121);
    assert_eq!(script.bounced, [("1".to_owned(), "timeout")]);
}

#[test]
fn a_permanent_failure_is_told_at_once_and_to_whoever_comes_next() {
    let mut script = Script::new();
    script.send("1");
    script.fail(Cause::NoService);
    script.send("2");
    assert_eq!(
        script.bounced,
        [
            ("1".to_owned(), "no-service"),
            ("2".to_owned(), "no-service")
        ]
    );
    assert_eq!(script.connects, 1);
    script.pass(SECOND);
    script.send("3");
    assert_eq!(script.connects, 2, "after the pause it is tried again");
}

#[test]
fn failures_are_remembered_although_nothing_waits() {
    let mut script = Script::new();
    let mut pauses = Vec::new();
    for round in 0..4 {
        script.send(&round.to_string());
        let began = script.now;
        script.fail(Cause::NoService);
        let until = script.lane.deadline().unwrap();
        pauses.push(until.duration_since(began).as_millis());
        script.pass(until.duration_since(began));
        assert!(!script.lane.is_done(), "the lane is kept to remember");
    }
    assert_eq!(pauses, [250, 1000, 2000, 4000]);
    script.pass(BACKOFF.max);
    assert!(script.lane.is_done(), "and forgotten in the end");
}

#[test]
fn the_pause_ends_when_the_peer_shows_itself() {
    let mut script = Script::new();
    script.send("1");
    for _ in 0..6 {
        script.fail(refused());
        script.pass(SECOND * 16);
    }
    let connects = script.connects;
    script.fail(refused());
    script.tell(LaneEvent::PeerAlive);
    assert_eq!(script.connects, connects + 1);
    script.fail(refused());
    let pause = script.lane.deadline().unwrap().duration_since(script.now);
    assert_eq!(pause, SECOND / 4, "and the back-off starts anew");
}

#[test]
fn jitter_shortens_the_pause_by_a_quarter_at_most() {
    let mut script = Script::new();
    script.send("1");
    script.tell(LaneEvent::Failed {
        cause: refused(),
        worked: false,
        random: u32::MAX,
    });
    let pause = script.lane.deadline().unwrap().duration_since(script.now);
    assert_eq!(pause, Duration::from_micros(187_500));
}

#[test]
fn a_peer_that_takes_streams_only_to_close_them_is_not_dialled_in_a_circle() {
    let mut script = Script::new();
    script.send("1");
    for _ in 0..50 {
        script.tell(LaneEvent::Connected);
        script.end(Cause::Finished, None);
    }
    assert!(script.connects <= 3, "{} connects", script.connects);
}

#[test]
fn a_week_without_a_peer_bounces_everything_and_holds_nothing() {
    let mut script = Script::new();
    let mut sent = 0;
    for hour in 0..(7 * 24) {
        script.send(&hour.to_string());
        sent += 1;
        for _ in 0..60 {
            let before = script.connects;
            script.pass(SECOND * 60);
            if script.connects > before || hour == 0 {
                script.fail(refused());
            }
        }
    }
    script.pass(SECOND * 3600);
    assert_eq!(script.bounced.len(), sent);
    assert_eq!(script.lane.waiting(), 0);
}

#[test]
fn giving_up_gives_everything_back() {
    let mut script = Script::new();
    script.send("1");
    script.send("2");
    script.tell(LaneEvent::GiveUp(Cause::Shutdown));
    assert_eq!(
        script.bounced,
        [("1".to_owned(), "shutdown"), ("2".to_owned(), "shutdown")]
    );
    assert!(script.lane.is_done());
}

/// Whatever ended it: one stanza, a fault of the peer's, the network.
#[test]
fn the_end_of_a_stream_bounces_nothing_and_the_next_is_made_at_once() {
    for cause in [
        said(Condition::NotAuthorized),
        said(Condition::HostUnknown),
        said(Condition::PolicyViolation),
        said(Condition::NotWellFormed),
        Cause::Protocol(Condition::UnsupportedStanzaType, "what it sent".into()),
        Cause::Lost("reset".into()),
        Cause::Timeout("it reads nothing"),
        Cause::Finished,
    ] {
        let mut script = Script::new();
        script.send("1");
        script.send("2");
        script.tell(LaneEvent::Connected);
        script.end(cause.clone(), None);
        assert_eq!(script.connects, 2, "{cause}");
        script.send("3");
        // And again, and a pause before the next.
        script.tell(LaneEvent::Connected);
        script.end(cause.clone(), None);
        script.send("4");
        script.pass(SECOND * 2);
        script.tell(LaneEvent::Connected);
        assert_eq!(script.written(), ["1", "2", "3", "4"], "{cause}");
        assert_eq!(script.bounced, [], "{cause}");
    }
}

#[test]
fn the_stanza_over_which_the_peer_ends_streams_is_bounced_and_the_others_go_on() {
    for condition in [
        Condition::PolicyViolation,
        Condition::NotWellFormed,
        Condition::InvalidXml,
        Condition::UnsupportedStanzaType,
        Condition::BadFormat,
        Condition::ResourceConstraint,
    ] {
        let mut script = Script::new();
        for id in ["bad", "good", "better"] {
            script.send(id);
        }
        script.tell(LaneEvent::Connected);
        script.end(said(condition), Some(Broke::Off));
        assert_eq!(script.bounced, [], "once may be by chance");
        script.tell(LaneEvent::Connected);
        script.end(said(condition), Some(Broke::Off));
        assert_eq!(script.bounced, [("bad".to_owned(), "stanza-refused")]);
        script.pass(SECOND * 2);
        script.tell(LaneEvent::Connected);
        assert_eq!(script.written(), ["good", "better"]);
    }
}

#[test]
fn a_stanza_that_was_not_begun_is_to_blame_for_nothing() {
    let mut script = Script::new();
    script.send("1");
    for _ in 0..5 {
        script.tell(LaneEvent::Connected);
        script.end(said(Condition::PolicyViolation), None);
        script.pass(SECOND * 10);
    }
    assert_eq!(script.bounced, []);
}

#[test]
fn the_age_of_a_stanza_counts_from_when_it_was_accepted() {
    let mut script = Script::new();
    script.send("1");
    script.tell(LaneEvent::Connected);
    script.pass(SECOND * 100);
    script.end(Cause::Lost("reset".into()), Some(Broke::Off));
    script.fail(refused());
    script.pass(SECOND * 21);
    assert_eq!(script.bounced, [("1".to_owned(), "connect")]);
}

/// A server that is back, and whose component is not: what it says of the pair it said the contrary of moments ago.
#[test]
fn who_worked_within_hours_and_refuses_the_pair_is_starting_up() {
    let item_not_found = Unproved::Error {
        condition: ErrorCondition::ItemNotFound,
        said: None,
    };
    for cause in [
        said(Condition::HostUnknown),
        said(Condition::NotAuthorized),
        said(Condition::RemoteConnectionFailed),
        Cause::Dialback(item_not_found, None),
        Cause::Dialback(Unproved::Invalid, None),
        Cause::Certificate("its own".into()),
        Cause::Protocol(Condition::NotWellFormed, "what it sent".into()),
        Cause::CertificateRefused("unknown CA".into()),
    ] {
        let mut script = Script::new();
        script.tell(LaneEvent::Connected);
        // The end of an idle stream as well as any other.
        script.end(Cause::Idle, None);
        script.pass(SECOND * 3600);
        script.send("1");
        script.fail(cause.clone());
        script.send("2");
        script.pass(SECOND * 20);
        script.fail(cause.clone());
        assert_eq!(script.bounced, [], "{cause}");
        script.tell(LaneEvent::Connected);
        assert_eq!(script.written(), ["1", "2"], "{cause}");
    }
}

/// The age at which a stanza is given back is no bound here.
fn patient() -> Script {
    let give_up = SECOND * 1000;
    Script {
        lane: Lane::new(Backoff { give_up, ..BACKOFF }),
        ..Script::new()
    }
}

#[test]
fn who_still_refuses_the_pair_two_minutes_later_means_it() {
    let mut script = patient();
    script.tell(LaneEvent::Connected);
    script.end(Cause::Finished, None);
    script.send("1");
    script.fail(said(Condition::HostUnknown));
    script.pass(SECOND * 119);
    script.fail(said(Condition::HostUnknown));
    assert_eq!(script.bounced, []);
    script.pass(SECOND * 2);
    script.send("2");
    script.fail(said(Condition::HostUnknown));
    let gone = |id: &str| (id.to_owned(), "stream-error");
    assert_eq!(script.bounced, [gone("1"), gone("2")]);
    // Who never worked is believed at once.
    let mut script = Script::new();
    script.send("1");
    script.fail(said(Condition::HostUnknown));
    assert_eq!(script.bounced, [gone("1")]);
}

/// A server that was away in between has started once more.
#[test]
fn what_a_server_says_that_comes_and_goes_is_not_believed() {
    let mut script = patient();
    script.worked = true;
    script.send("1");
    for _ in 0..5 {
        script.fail(said(Condition::HostUnknown));
        script.pass(SECOND * 100);
        script.fail(refused());
        script.pass(SECOND * 50);
    }
    assert_eq!(script.bounced, []);
}

/// That a server talks nonsense does not say that the pair cannot be.
#[test]
fn what_says_nothing_of_the_pair_is_waited_for_also_where_it_never_worked() {
    for cause in [
        Cause::Protocol(Condition::NotWellFormed, "what it sent".into()),
        Cause::Mechanism {
            mechanism: "SCRAM-SHA-1",
            what: "no proof".into(),
        },
        Cause::TooManyFailures,
        said(Condition::InvalidNamespace),
        Cause::Refused {
            mechanism: "EXTERNAL",
            failure: xmpp_sasl::Failure::Aborted,
        },
    ] {
        let mut script = patient();
        script.send("1");
        for _ in 0..3 {
            script.fail(cause.clone());
            script.pass(SECOND * 30);
        }
        assert_eq!(script.bounced, [], "{cause}");
        script.pass(SECOND * 31);
        script.fail(cause.clone());
        assert_eq!(script.bounced, [("1".to_owned(), cause.name())]);
    }
}

/// Whoever reads a part of it and closes, each time.
#[test]
fn the_stanza_over_which_the_peer_closes_the_connection_is_not_sent_for_ever() {
    for (causes, strikes) in [
        (vec![Cause::Finished], 3),
        (vec![Cause::Lost("reset".into())], 3),
        (vec![said(Condition::BadFormat), Cause::Finished], 3),
    ] {
        let mut script = Script::new();
        for id in ["bad", "good"] {
            script.send(id);
        }
        for strike in 0..strikes {
            assert_eq!(script.bounced, [], "after {strike} of {causes:?}");
            script.pass(SECOND * 4);
            script.tell(LaneEvent::Connected);
            let cause = causes.get(strike).or(causes.last()).unwrap();
            script.end(cause.clone(), Some(Broke::Closed));
        }
        assert_eq!(script.bounced, [("bad".to_owned(), "stanza-refused")]);
        script.pass(SECOND * 4);
        script.tell(LaneEvent::Connected);
        assert_eq!(script.written(), ["good"]);
    }
    // Where nobody knows who closed it, the way was bad and not the stanza.
    let mut script = Script::new();
    script.send("1");
    for _ in 0..10 {
        script.pass(SECOND * 10);
        script.tell(LaneEvent::Connected);
        script.end(Cause::Lost("timed out".into()), Some(Broke::Off));
    }
    assert_eq!(script.bounced, []);
}

/// A name server of ours that fails says nothing of the domain.
#[test]
fn what_is_wrong_here_is_waited_for() {
    for cause in [
        Cause::Dns("no answer".into()),
        Cause::Dnssec("expired".into()),
    ] {
        let mut script = Script::new();
        script.send("1");
        for _ in 0..4 {
            script.fail(cause.clone());
            script.pass(SECOND * 10);
        }
        assert_eq!(script.bounced, []);
        let error = cause.stanza_error();
        assert_eq!(
            error.condition,
            xmpp_stream::StanzaCondition::RemoteServerTimeout
        );
        assert_eq!(error.kind, xmpp_stream::ErrorType::Wait);
    }
}

#[test]
fn a_lasting_failure_is_not_believed_for_long() {
    let mut script = Script::new();
    for _ in 0..20 {
        script.send("1");
        script.fail(Cause::NoService);
        let pause = script.lane.deadline().unwrap().duration_since(script.now);
        assert!(pause <= SECOND * 8, "{pause:?}");
        script.pass(pause);
    }
}

#[test]
fn what_is_told_to_try_again_forgets_why_it_failed() {
    let mut script = Script::new();
    script.send("1");
    for _ in 0..10 {
        script.fail(Cause::Dns("no answer".into()));
        let due = script.lane.deadline().unwrap();
        script.now = due;
        script.tell(LaneEvent::Tick);
    }
    script.fail(Cause::Dns("no answer".into()));
    assert!(script.lane.is_failing());
    script.send("2");
    let before = script.connects;
    script.tell(LaneEvent::Retry);
    assert_eq!(script.connects, before + 1);
    assert!(!script.lane.is_failing());
    // While it connects: by the new rules.
    script.tell(LaneEvent::Retry);
    assert_eq!(script.connects, before + 2);
    // The pause is that of a first failure.
    script.fail(Cause::Connect("refused".into()));
    let pause = script.lane.deadline().unwrap() - script.now;
    assert!(pause <= BACKOFF.first, "{pause:?}");
    // A lasting one holds nobody up any more, either.
    script.fail(Cause::NoService);
    script.send("3");
    assert_eq!(
        script.bounced.last().unwrap(),
        &("3".to_owned(), "no-service")
    );
    script.tell(LaneEvent::Retry);
    assert!(script.lane.is_done());
    let bounced = script.bounced.len();
    script.send("4");
    assert_eq!(script.bounced.len(), bounced);
    script.tell(LaneEvent::Connected);
    script.tell(LaneEvent::Retry);
    assert!(script.lane.is_up());
}
