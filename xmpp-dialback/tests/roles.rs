//! The three roles of XEP-0220 against each other, honest and dishonest.
#![allow(clippy::unwrap_used)]

use xmpp_dialback::{
    CloseStream, DialbackError, DialbackLimits, DialbackReply, ErrorCondition, Initiating, Pair,
    Question, Receiving, Request, RequestOutcome, Secret, Verdict, Verifying, verify,
};

const CAPULET: &str = "capulet.example";
const MONTAGUE: &str = "montague.example";
const EVIL: &str = "evil.example";

/// The response header's id on the stream between the two servers under test.
const ID: &str = "D60000229F";

/// An initiating server, the authoritative server that shares its secret, and a receiving server.
struct Scene {
    secret: Secret,
    initiating: Initiating,
    receiving: Receiving,
}

impl Scene {
    fn new() -> Self {
        Self {
            secret: Secret::new("s3cr3tf0rd14lb4ck"),
            initiating: Initiating::new(64),
            receiving: Receiving::new(DialbackLimits::default()),
        }
    }

    fn ask(&mut self, pair: &Pair) -> Request {
        self.initiating
            .request(pair.clone(), ID, &self.secret)
            .unwrap()
    }

    /// Steps 2 and 3 over an honest stream to this authoritative server.
    fn judge(&self, authoritative: &Secret, question: Question) -> Verdict {
        let mut stream = Verifying::new(question.clone());
        let said = verify(authoritative, &question);
        stream
            .answer(&question.pair, &question.stream_id, said)
            .unwrap()
    }

    /// All four steps for a request that may have been tampered with on the way to the receiving server.
    fn run(&mut self, request: Request) -> DialbackReply {
        let pair = request.pair.clone();
        let question = self.receiving.request(request, ID).unwrap();
        let verdict = self.judge(&self.secret.clone(), question);
        self.receiving.answered(&pair, verdict).unwrap()
    }

    #[track_caller]
    fn refused(&mut self, request: Request) {
        let pair = request.pair.clone();
        let reply = self.run(request);
        assert_eq!(reply.verdict, Verdict::Invalid);
        assert_eq!(reply.close, Some(CloseStream::Invalid));
        assert!(!self.receiving.is_proved(&pair));
    }
}

fn pair() -> Pair {
    Pair::new(CAPULET, MONTAGUE)
}

#[test]
fn an_honest_server_is_proved_in_one_direction() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let reply = scene.run(request);
    assert_eq!(reply.close, None);
    let outcome = scene.initiating.answer(&pair(), reply.verdict);
    assert_eq!(outcome, Ok(RequestOutcome::Proved));
    assert!(scene.initiating.is_proved(&pair()));
    assert!(scene.receiving.is_proved(&pair()));
    // XEP-0220 §2.3, and the last line of RFC 3920 §8.3's account: the other direction is another run.
    let back = Pair::new(MONTAGUE, CAPULET);
    assert!(!scene.initiating.is_proved(&back));
    assert!(!scene.receiving.is_proved(&back));
}

#[test]
fn several_pairs_are_proved_one_by_one_on_one_stream() {
    let mut scene = Scene::new();
    scene.initiating.set_errors_announced(true);
    let pairs = [
        pair(),
        Pair::new("rooms.capulet.example", MONTAGUE),
        Pair::new(CAPULET, "chat.montague.example"),
    ];
    let requests = pairs.clone().map(|pair| scene.ask(&pair));
    for (pair, request) in pairs.iter().zip(requests) {
        assert!(!scene.receiving.is_proved(pair));
        let reply = scene.run(request);
        scene.initiating.answer(pair, reply.verdict).unwrap();
        assert!(scene.receiving.is_proved(pair) && scene.initiating.is_proved(pair));
    }
    // Sender and target of two proved pairs do not make a third.
    let mixed = Pair::new("rooms.capulet.example", "chat.montague.example");
    assert!(!scene.receiving.is_proved(&mixed));
}

#[test]
fn a_key_for_another_sender_is_refused() {
    let mut scene = Scene::new();
    let key = scene.ask(&Pair::new(EVIL, MONTAGUE)).key;
    scene.refused(Request { pair: pair(), key });
}

#[test]
fn a_key_for_another_target_is_refused() {
    let mut scene = Scene::new();
    // evil.example got this key from capulet.example, choosing the stream id itself, and passes it on.
    let key = scene.ask(&Pair::new(CAPULET, EVIL)).key;
    scene.refused(Request { pair: pair(), key });
}

#[test]
fn a_key_for_another_stream_is_refused() {
    let mut scene = Scene::new();
    let key = scene.secret.key(&pair(), "417GAF25");
    scene.refused(Request { pair: pair(), key });
}

#[test]
fn a_key_for_the_reverse_pair_is_refused() {
    let mut scene = Scene::new();
    let key = scene.secret.key(&Pair::new(MONTAGUE, CAPULET), ID);
    scene.refused(Request { pair: pair(), key });
}

#[test]
fn a_key_made_with_another_secret_is_refused() {
    let mut scene = Scene::new();
    let key = Secret::new("guessed").key(&pair(), ID);
    scene.refused(Request { pair: pair(), key });
}

#[test]
fn a_request_with_to_and_from_swapped_proves_neither_pair() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let swapped = Request {
        pair: Pair::new(MONTAGUE, CAPULET),
        ..request
    };
    scene.refused(swapped);
    assert!(!scene.receiving.is_proved(&pair()));
}

// The header says `from='capulet.example'`, the request names the attacker's own domain, which is
// honestly proved. It proves nothing about the header's domain.
#[test]
fn proving_ones_own_domain_proves_no_other() {
    let mut scene = Scene::new();
    let own = Pair::new(EVIL, MONTAGUE);
    let request = scene.ask(&own);
    assert_eq!(scene.run(request).verdict, Verdict::Valid);
    assert!(scene.receiving.is_proved(&own));
    assert!(!scene.receiving.is_proved(&pair()));
}

#[test]
fn an_answer_with_a_changed_id_is_unsolicited() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let question = scene.receiving.request(request, ID).unwrap();
    let mut stream = Verifying::new(question);
    for id in ["417GAF25", "", "d60000229f", " D60000229F"] {
        stream.answer(&pair(), id, Verdict::Valid).unwrap_err();
    }
    assert_eq!(stream.waiting(), 1);
    assert!(!scene.receiving.is_proved(&pair()));
}

#[test]
fn an_answer_with_to_and_from_swapped_is_unsolicited() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let question = scene.receiving.request(request, ID).unwrap();
    let swapped = Pair::new(MONTAGUE, CAPULET);
    let mut stream = Verifying::new(question);
    stream.answer(&swapped, ID, Verdict::Valid).unwrap_err();
    scene
        .receiving
        .answered(&swapped, Verdict::Valid)
        .unwrap_err();
    scene
        .initiating
        .answer(&swapped, Verdict::Valid)
        .unwrap_err();
    assert!(!scene.receiving.is_proved(&pair()) && !scene.initiating.is_proved(&pair()));
}

#[test]
fn an_answer_on_another_stream_is_unsolicited() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    scene.receiving.request(request, ID).unwrap();
    // The attacker is authoritative for its own domain, so it is asked too, and answers for capulet.
    let own = Question {
        pair: Pair::new(EVIL, MONTAGUE),
        stream_id: ID.to_owned(),
        key: scene.secret.key(&pair(), ID),
    };
    let mut to_evil = Verifying::new(own);
    to_evil.answer(&pair(), ID, Verdict::Valid).unwrap_err();
    // And a stream of the same two servers on which nothing was asked.
    let mut other = Receiving::new(DialbackLimits::default());
    other.answered(&pair(), Verdict::Valid).unwrap_err();
    let mut other = Initiating::new(64);
    other.answer(&pair(), Verdict::Valid).unwrap_err();
}

#[test]
fn a_second_answer_of_the_authoritative_server_is_unsolicited() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let question = scene.receiving.request(request, ID).unwrap();
    let mut stream = Verifying::new(question);
    stream.answer(&pair(), ID, Verdict::Valid).unwrap();
    stream.answer(&pair(), ID, Verdict::Invalid).unwrap_err();
}

#[test]
fn a_second_result_for_a_proved_pair_changes_neither_side() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let verdict = scene.run(request.clone()).verdict;
    scene.initiating.answer(&pair(), verdict).unwrap();

    let again = scene.receiving.request(request, ID).unwrap_err();
    assert_eq!(again.reply.verdict, Verdict::Valid);
    let forged = Request {
        pair: pair(),
        key: Secret::new("guessed").key(&pair(), ID),
    };
    scene.receiving.request(forged, ID).unwrap_err();
    for verdict in [Verdict::Valid, Verdict::Invalid] {
        scene.initiating.answer(&pair(), verdict).unwrap_err();
    }
    assert!(scene.receiving.is_proved(&pair()) && scene.initiating.is_proved(&pair()));
}

#[test]
fn the_wrong_authoritative_server_calls_a_good_key_invalid() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    let question = scene.receiving.request(request, ID).unwrap();
    let verdict = scene.judge(&Secret::new("another network's"), question);
    let reply = scene.receiving.answered(&pair(), verdict).unwrap();
    assert_eq!(reply.close, Some(CloseStream::Invalid));
    let outcome = scene.initiating.answer(&pair(), reply.verdict);
    assert_eq!(outcome, Ok(RequestOutcome::Invalid));
}

#[test]
fn one_bad_sender_among_good_ones_costs_only_itself() {
    let mut scene = Scene::new();
    let request = scene.ask(&pair());
    assert_eq!(scene.run(request).verdict, Verdict::Valid);
    scene.initiating.answer(&pair(), Verdict::Valid).unwrap();

    let bad = Pair::new("rooms.capulet.example", MONTAGUE);
    scene.ask(&bad);
    let key = Secret::new("guessed").key(&bad, ID);
    let pair_and_key = Request {
        pair: bad.clone(),
        key,
    };
    let reply = scene.run(pair_and_key);
    assert_eq!(reply.close, None);
    let forbidden = DialbackError::new(ErrorCondition::Forbidden);
    let outcome = scene.initiating.answer(&bad, reply.verdict);
    assert_eq!(outcome, Ok(RequestOutcome::Failed(forbidden)));
    assert!(scene.receiving.is_proved(&pair()) && scene.initiating.is_proved(&pair()));
    assert!(!scene.receiving.is_proved(&bad) && !scene.initiating.is_proved(&bad));
}

#[test]
fn waiting_requests_fail_at_once_when_the_stream_to_the_authoritative_server_closes() {
    let mut scene = Scene::new();
    let (one, two) = (pair(), Pair::new("rooms.capulet.example", MONTAGUE));
    let questions = [&one, &two].map(|pair| {
        let request = scene.ask(pair);
        scene.receiving.request(request, ID).unwrap()
    });
    let [first, second] = questions;
    let mut stream = Verifying::new(first);
    stream.ask(second).unwrap();

    let lost = DialbackError::new(ErrorCondition::RemoteServerTimeout)
        .with_text("the authoritative server closed the stream");
    for question in stream.fail_all() {
        let verdict = Verdict::Error(lost.clone());
        let reply = scene.receiving.answered(&question.pair, verdict).unwrap();
        assert_eq!(reply.close, None);
        let outcome = scene.initiating.answer(&question.pair, reply.verdict);
        assert_eq!(outcome, Ok(RequestOutcome::Failed(lost.clone())));
    }
    assert_eq!(scene.receiving.waiting().count(), 0);
    assert_eq!(scene.initiating.waiting().count(), 0);
}

#[test]
fn sixty_four_pairs_fit_and_the_next_learns_why_not() {
    let mut scene = Scene::new();
    let mut initiating = Initiating::new(1000);
    for n in 0..64 {
        let pair = Pair::new(format!("{n}.capulet.example"), MONTAGUE);
        let request = initiating.request(pair, ID, &scene.secret).unwrap();
        assert_eq!(scene.run(request).verdict, Verdict::Valid);
    }
    let pair = Pair::new("65.capulet.example", MONTAGUE);
    let request = initiating.request(pair, ID, &scene.secret).unwrap();
    let refusal = scene.receiving.request(request, ID).unwrap_err();
    assert_eq!(refusal.reply.close, None);
    let Verdict::Error(error) = refusal.reply.verdict else {
        panic!("{refusal:?}");
    };
    assert_eq!(error.condition, ErrorCondition::ResourceConstraint);
    assert!(scene.receiving.proves("0.capulet.example", MONTAGUE));
}
