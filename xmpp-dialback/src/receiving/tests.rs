//! What the Receiving Server does with each kind of request and answer.

use super::*;
use crate::Key;

const LIMITS: DialbackLimits = DialbackLimits {
    pairs: 3,
    failures: 2,
};

fn pair(n: usize) -> Pair {
    Pair::new(format!("{n}.capulet.example"), "montague.example")
}

fn ask(stream: &mut Receiving, n: usize) -> Result<Question, RefusedRequest> {
    let request = Request {
        pair: pair(n),
        key: Key::from_text("key"),
    };
    stream.request(request, "id")
}

fn error(condition: ErrorCondition) -> Verdict {
    Verdict::Error(DialbackError::new(condition))
}

#[track_caller]
fn open(reply: DialbackReply, condition: ErrorCondition) {
    assert_eq!(reply.close, None);
    match reply.verdict {
        Verdict::Error(error) => assert_eq!(error.condition, condition),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn ended(reply: DialbackReply) {
    assert_eq!(reply, policy_violation(CloseStream::PolicyViolation));
}

#[test]
fn the_question_holds_pair_id_and_key_of_the_request() {
    let mut stream = Receiving::new(LIMITS);
    let question = ask(&mut stream, 1).unwrap();
    assert_eq!(question.pair, pair(1));
    assert_eq!(question.stream_id, "id");
    assert_eq!(question.key.as_str(), "key");
    assert_eq!(stream.waiting().collect::<Vec<_>>(), [pair(1)]);
}

#[test]
fn an_answer_without_a_question_is_unsolicited() {
    let mut stream = Receiving::new(LIMITS);
    stream.answered(&pair(1), Verdict::Valid).unwrap_err();
    ask(&mut stream, 1).unwrap();
    stream.answered(&pair(2), Verdict::Valid).unwrap_err();
    let swapped = Pair::new(pair(1).target, pair(1).sender);
    stream.answered(&swapped, Verdict::Valid).unwrap_err();
    assert!(
        ![&pair(1), &pair(2), &swapped]
            .map(|p| stream.is_proved(p))
            .contains(&true)
    );
}

#[test]
fn a_second_answer_is_unsolicited_and_the_pair_stays_proved() {
    let mut stream = Receiving::new(LIMITS);
    ask(&mut stream, 1).unwrap();
    let _ = stream.answered(&pair(1), Verdict::Valid).unwrap();
    stream.answered(&pair(1), Verdict::Invalid).unwrap_err();
    assert!(stream.is_proved(&pair(1)));
}

#[test]
fn a_second_request_for_a_proved_pair_asks_nobody_and_changes_nothing() {
    let mut stream = Receiving::new(LIMITS);
    ask(&mut stream, 1).unwrap();
    let _ = stream.answered(&pair(1), Verdict::Valid).unwrap();
    for _ in 0..100 {
        let refusal = ask(&mut stream, 1).unwrap_err();
        assert_eq!(refusal.why, RefusalReason::Proved);
        assert_eq!(refusal.reply.verdict, Verdict::Valid);
        assert_eq!(refusal.reply.close, None);
    }
    assert!(stream.is_proved(&pair(1)));
    assert_eq!(stream.waiting().count(), 0);
}

#[test]
fn a_second_key_while_the_first_waits_ends_the_stream() {
    let mut stream = Receiving::new(LIMITS);
    ask(&mut stream, 1).unwrap();
    let refusal = ask(&mut stream, 1).unwrap_err();
    assert_eq!(refusal.why, RefusalReason::Waiting);
    ended(refusal.reply);
    stream.answered(&pair(1), Verdict::Valid).unwrap_err();
    assert_eq!(ask(&mut stream, 2).unwrap_err().why, RefusalReason::Closing);
}

#[test]
fn invalid_ends_a_stream_on_which_nothing_else_is_proved() {
    let mut stream = Receiving::new(LIMITS);
    ask(&mut stream, 1).unwrap();
    ask(&mut stream, 2).unwrap();
    let reply = stream.answered(&pair(1), Verdict::Invalid).unwrap();
    assert_eq!(
        (reply.verdict, reply.close),
        (Verdict::Invalid, Some(CloseStream::Invalid))
    );
    // Too late for the other one.
    stream.answered(&pair(2), Verdict::Valid).unwrap_err();
    assert!(!stream.is_proved(&pair(2)));
    stream.proved_by_other_means(&pair(3));
    assert!(!stream.is_proved(&pair(3)));
}

#[test]
fn invalid_spares_a_stream_on_which_another_pair_is_proved() {
    let by_dialback = |stream: &mut Receiving| {
        ask(stream, 1).unwrap();
        let _ = stream.answered(&pair(1), Verdict::Valid).unwrap();
    };
    let by_sasl = |stream: &mut Receiving| stream.proved_by_other_means(&pair(1));
    let ways: [&dyn Fn(&mut Receiving); 2] = [&by_dialback, &by_sasl];
    for prove in ways {
        let mut stream = Receiving::new(LIMITS);
        prove(&mut stream);
        ask(&mut stream, 2).unwrap();
        let reply = stream.answered(&pair(2), Verdict::Invalid).unwrap();
        open(reply, ErrorCondition::Forbidden);
        assert!(stream.is_proved(&pair(1)) && !stream.is_proved(&pair(2)));
    }
}

#[test]
fn errors_on_the_way_to_the_authoritative_server_leave_the_stream_open() {
    let mut stream = Receiving::new(DialbackLimits {
        pairs: 3,
        failures: 9,
    });
    for (said, told) in [
        (
            ErrorCondition::ItemNotFound,
            ErrorCondition::RemoteServerNotFound,
        ),
        (
            ErrorCondition::PolicyViolation,
            ErrorCondition::RemoteServerNotFound,
        ),
        (
            ErrorCondition::RemoteConnectionFailed,
            ErrorCondition::RemoteConnectionFailed,
        ),
        (
            ErrorCondition::RemoteServerTimeout,
            ErrorCondition::RemoteServerTimeout,
        ),
    ] {
        ask(&mut stream, 1).unwrap();
        open(stream.answered(&pair(1), error(said)).unwrap(), told);
    }
    ask(&mut stream, 1).unwrap();
    let _ = stream.answered(&pair(1), Verdict::Valid).unwrap();
    assert!(stream.is_proved(&pair(1)));
}

#[test]
fn pairs_over_the_bound_are_refused_and_the_stream_goes_on() {
    let mut stream = Receiving::new(LIMITS);
    for n in 1..=3 {
        ask(&mut stream, n).unwrap();
    }
    let refusal = ask(&mut stream, 4).unwrap_err();
    assert_eq!(refusal.why, RefusalReason::TooManyPairs);
    open(refusal.reply, ErrorCondition::ResourceConstraint);
    for n in 1..=3 {
        let _ = stream.answered(&pair(n), Verdict::Valid).unwrap();
    }
    assert_eq!(
        ask(&mut stream, 4).unwrap_err().why,
        RefusalReason::TooManyPairs
    );
    // Whoever does not listen meets the bound for failures.
    let refusal = ask(&mut stream, 4).unwrap_err();
    assert_eq!(refusal.why, RefusalReason::TooManyFailures);
    ended(refusal.reply);
    assert!(!stream.is_proved(&pair(1)));
}

#[test]
fn failures_over_the_bound_end_the_stream_before_anybody_is_asked() {
    let mut stream = Receiving::new(LIMITS);
    for _ in 0..LIMITS.failures {
        ask(&mut stream, 1).unwrap();
        let reply = stream.answered(&pair(1), error(ErrorCondition::RemoteServerTimeout));
        open(reply.unwrap(), ErrorCondition::RemoteServerTimeout);
    }
    let refusal = ask(&mut stream, 2).unwrap_err();
    assert_eq!(refusal.why, RefusalReason::TooManyFailures);
    ended(refusal.reply);
}

#[test]
fn failures_of_our_own_policy_count_too() {
    let mut stream = Receiving::new(LIMITS);
    let unknown = || DialbackError::new(ErrorCondition::ItemNotFound);
    for _ in 0..LIMITS.failures {
        open(stream.refuse(unknown()), ErrorCondition::ItemNotFound);
    }
    ended(stream.refuse(unknown()));
}

#[test]
fn all_that_waits_fails_at_once() {
    let mut stream = Receiving::new(LIMITS);
    for n in 1..=3 {
        ask(&mut stream, n).unwrap();
    }
    let _ = stream.answered(&pair(2), Verdict::Valid).unwrap();
    let why = DialbackError::new(ErrorCondition::RemoteServerTimeout);
    let failed = stream.fail_all(&why);
    assert_eq!(failed.len(), 2);
    for ((failed, reply), n) in failed.into_iter().zip([1, 3]) {
        assert_eq!(failed, pair(n));
        open(reply, ErrorCondition::RemoteServerTimeout);
    }
    assert_eq!(stream.waiting().count(), 0);
    assert!(stream.is_proved(&pair(2)));
    stream.answered(&pair(1), Verdict::Valid).unwrap_err();
}

#[test]
fn failing_all_stops_at_the_reply_that_ends_the_stream() {
    let mut stream = Receiving::new(DialbackLimits {
        pairs: 9,
        failures: 1,
    });
    for n in 1..=3 {
        ask(&mut stream, n).unwrap();
    }
    let why = DialbackError::new(ErrorCondition::RemoteConnectionFailed);
    let mut failed = stream.fail_all(&why);
    assert_eq!(failed.len(), 2);
    ended(failed.pop().unwrap().1);
}

#[test]
fn what_is_no_domain_is_not_acceptable() {
    let mut stream = Receiving::new(LIMITS);
    let request = Request {
        pair: Pair::new("a b", "montague.example"),
        key: Key::from_text("key"),
    };
    let refusal = stream.request(request, "id").unwrap_err();
    assert_eq!(refusal.why, RefusalReason::NotADomain);
    open(refusal.reply, ErrorCondition::NotAcceptable);
}

#[test]
fn want_of_room_is_no_failure_and_the_key_may_come_again() {
    let mut stream = Receiving::new(LIMITS);
    for _ in 0..LIMITS.failures * 2 {
        ask(&mut stream, 1).unwrap();
        let reply = stream.not_asked(&pair(1), "busy").unwrap();
        open(reply, ErrorCondition::ResourceConstraint);
        open(
            stream.constrained("busy"),
            ErrorCondition::ResourceConstraint,
        );
    }
    // Nothing waits, so no answer counts.
    stream.not_asked(&pair(1), "busy").unwrap_err();
    stream.answered(&pair(1), Verdict::Valid).unwrap_err();
    ask(&mut stream, 1).unwrap();
    let reply = stream.answered(&pair(1), Verdict::Valid).unwrap();
    assert_eq!(reply.verdict, Verdict::Valid);
    stream.not_asked(&pair(1), "busy").unwrap_err();
    assert!(stream.is_proved(&pair(1)));
}
