//! What no order of messages may do: scripts of honest, damaged, foreign and senseless messages against either side.
//! Each property says at its end that it reached the state it guards.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// What one side does with the message that the honest exchange has at this point.
#[derive(Debug, Clone)]
enum Move {
    Honest,
    Changed(usize, u8),
    Cut(usize),
    Repeat,
    Mirror,
    Empty,
    Nothing,
    Noise(Vec<u8>),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        12 => Just(Move::Honest),
        2 => (any::<usize>(), 1..=255_u8).prop_map(|(at, with)| Move::Changed(at, with)),
        1 => (0..900_usize).prop_map(Move::Cut),
        1 => Just(Move::Repeat),
        1 => Just(Move::Mirror),
        1 => Just(Move::Empty),
        1 => Just(Move::Nothing),
        1 => vec(any::<u8>(), 0..60).prop_map(Move::Noise),
    ];
    vec(one, 1..7)
}

impl Move {
    fn message(&self, honest: &[u8], before: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
        Some(match self {
            Self::Honest => honest.to_vec(),
            Self::Changed(at, with) => {
                let mut message = honest.to_vec();
                let length = message.len().max(1);
                if let Some(byte) = message.get_mut(at % length) {
                    *byte ^= with;
                }
                message
            }
            Self::Cut(length) => honest.get(..*length).unwrap_or(honest).to_vec(),
            Self::Repeat => before.to_vec(),
            Self::Mirror => theirs.to_vec(),
            Self::Empty => Vec::new(),
            Self::Nothing => return None,
            Self::Noise(noise) => noise.clone(),
        })
    }
}

fn property<S: Strategy>(strategy: &S, mut test: impl FnMut(S::Value)) {
    let mut runner = TestRunner::new(Config {
        cases: 500,
        failure_persistence: None,
        ..Config::default()
    });
    let test = std::cell::RefCell::new(&mut test);
    let ran = runner.run(strategy, |value| {
        test.borrow_mut()(value);
        Ok(())
    });
    ran.unwrap();
}

/// Runs a script against the asking side. True if it let the peer in.
fn attack_server(realm: &Path, acceptor: Acceptor, host: &mut Montague, script: &[Move]) -> bool {
    let mut asking = asking(acceptor);
    let mut proving = Some(proving(initiator(realm), None));
    let (mut before, mut theirs) = (Vec::new(), Vec::new());
    for (round, step) in script.iter().enumerate() {
        let input = if round == 0 {
            ClientInput::Start
        } else {
            ClientInput::Challenge(&theirs)
        };
        let stepped = proving
            .take()
            .map(|client| client.step(input, &mut no_random));
        let honest = match stepped {
            Some(ClientStep::Respond(message, next)) => {
                proving = Some(next);
                message
            }
            _ => Vec::new(),
        };
        let message = step.message(&honest, &before, &theirs);
        before = honest;
        match asking.step(message.as_deref(), host) {
            ServerStep::Challenge(challenge, next) => (asking, theirs) = (next, challenge),
            ServerStep::Success { .. } => return true,
            ServerStep::Failure(_) => return false,
        }
    }
    false
}

#[test]
fn who_is_not_allowed_does_not_get_in() {
    let name = "scripts::who_is_not_allowed_does_not_get_in";
    within(name, &[OURS, THEIRS], |realm| {
        let mut host = montague();
        assert!(attack_server(
            realm,
            acceptor(realm),
            &mut host,
            &vec![Move::Honest; 3]
        ));
        let mut host = montague();
        host.allowed = false;
        property(&moves(), |script| {
            assert!(!attack_server(realm, acceptor(realm), &mut host, &script));
        });
        assert!(
            host.asked > 30,
            "only {} of 500 came to the last question",
            host.asked
        );
    });
}

#[test]
fn a_ticket_under_another_key_opens_nothing() {
    let name = "scripts::a_ticket_under_another_key_opens_nothing";
    within(name, &[OURS, THEIRS], |realm| {
        let mut host = montague();
        let old = Acceptor {
            keytab: Some(realm.join(old_file_name(OURS))),
            service: None,
        };
        property(&moves(), |script| {
            assert!(!attack_server(realm, old.clone(), &mut host, &script));
        });
        assert_eq!(host.asked, 0);
        let judged = host.explained.len();
        assert!(judged > 200, "only {judged} tokens of 500 were judged");
    });
}

/// Runs a script as a server that has no key, with messages of another exchange of the same two. The number is how many
/// responses the client gave after its token.
fn attack_client(realm: &Path, script: &[(Move, bool)]) -> (bool, u32) {
    let (token, mut other) = start(proving(initiator(realm), None));
    let mut asking = Some(asking(acceptor(realm)));
    let mut said = token;
    let (mine, mut attacked) = start(proving(initiator(realm), None));
    let (mut before, mut theirs, mut responses) = (Vec::new(), mine, 0);
    for (step, success) in script {
        // What the real server says in the other exchange.
        let honest = match asking
            .take()
            .map(|asking| asking.step(Some(&said), &mut montague()))
        {
            Some(ServerStep::Challenge(honest, next)) => {
                asking = Some(next);
                honest
            }
            _ => Vec::new(),
        };
        if let ClientStep::Respond(message, next) =
            other.step(ClientInput::Challenge(&honest), &mut no_random)
        {
            (other, said) = (next, message);
        } else {
            (said, other) = start(proving(initiator(realm), None));
            asking = None;
        }
        let message = step.message(&honest, &before, &theirs);
        before = honest;
        let input = match (&message, success) {
            (Some(message), false) => ClientInput::Challenge(message),
            (message, _) => ClientInput::Success(message.as_deref()),
        };
        match attacked.step(input, &mut no_random) {
            ClientStep::Respond(message, next) => {
                responses += 1;
                (attacked, theirs) = (next, message);
            }
            ClientStep::Wait(next) => attacked = next,
            ClientStep::Authenticated => return (true, responses),
            ClientStep::Abort(_) => break,
        }
    }
    (false, responses)
}

#[test]
fn a_server_without_the_key_satisfies_no_client() {
    let name = "scripts::a_server_without_the_key_satisfies_no_client";
    within(name, &[OURS, THEIRS], |realm| {
        let judged = Cell::new(0);
        let script = moves().prop_flat_map(|moves| {
            let ends = vec(prop::bool::weighted(0.2), moves.len());
            ends.prop_map(move |ends| moves.iter().cloned().zip(ends).collect::<Vec<_>>())
        });
        property(&script, |script| {
            let (satisfied, responses) = attack_client(realm, &script);
            // A response to anything would mean that it was taken for the server's proof.
            assert!(!satisfied && responses == 0, "{script:?}");
            judged.set(judged.get() + u32::from(matches!(script[0], (Move::Honest, false))));
        });
        let judged = judged.get();
        assert!(
            judged > 100,
            "only {judged} of 500 clients judged the proof of another exchange"
        );
    });
}
