//! KERBEROS_V4: what no order of messages may do, tried with many; and both ends of what should work.
//!
//! Scripts are made of honest messages for the exchange at hand, damaged honest messages and noise, and each property
//! says at its end that it reached the state it guards.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use xmpp_sasl::kerberos_v4::{Clock, Keys};
use xmpp_sasl::*;

const NAME: &str = "KERBEROS_V4";
const CLIENT: &str = "xmpp.capulet@CAPULET.EXAMPLE";
const SERVICE: &str = "xmpp.montague@MONTAGUE.EXAMPLE";
const USER: &str = "capulet.example";
const HOST: &str = "montague.example";
const RIGHT: &str = "133457799bbcdff1";
const WRONG: &str = "0123456789abcdef";

fn keys(key: &str) -> Keys {
    Keys::parse(&format!("{CLIENT} {SERVICE} 1 {key}"))
        .unwrap()
        .with_clock(Clock(|| 1_700_000_000))
}

fn asking(key: &str) -> Box<dyn Server> {
    let mut options = ServerOptions::new("xmpp", HOST);
    options.kerberos_v4 = Some(keys(key));
    server(NAME, &options).unwrap()
}

fn proving(key: &str) -> Box<dyn Client> {
    let credentials = ClientCredentials::new("xmpp", HOST)
        .with_kerberos_v4(keys(key))
        .with_authzid(USER);
    client(NAME, &credentials).unwrap()
}

/// Random enough for a test, and the same each time.
struct Counter(u64);

impl Random for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

/// An application, and how often it was asked.
struct TestHost {
    random: Counter,
    open: bool,
    asked: u32,
}

impl TestHost {
    fn new(seed: u64, open: bool) -> Self {
        Self {
            random: Counter(seed),
            open,
            asked: 0,
        }
    }
}

impl Host for TestHost {
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        None
    }

    fn authorize_principal(
        &mut self,
        principal: &str,
        _: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        assert_eq!(principal, CLIENT);
        self.asked += 1;
        if self.open && authzid == Some(USER) {
            Ok(())
        } else {
            Err(Failure::InvalidAuthzid)
        }
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}

/// What one side does with the message that the honest exchange has at this point.
#[derive(Debug, Clone)]
enum Move {
    Honest,
    Changed(usize, u8),
    Cut(usize),
    Repeat,
    Mirror,
    Nothing,
    Noise(Vec<u8>),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => Just(Move::Honest),
        2 => (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, with)| Move::Changed(at.index(1000), with)),
        1 => (0..200_usize).prop_map(Move::Cut),
        1 => Just(Move::Repeat),
        1 => Just(Move::Mirror),
        1 => Just(Move::Nothing),
        1 => vec(any::<u8>(), 0..40).prop_map(Move::Noise),
        1 => vec(any::<[u8; 8]>(), 1..4).prop_map(|blocks| Move::Noise(blocks.concat())),
    ];
    vec(one, 1..8)
}

impl Move {
    fn message(&self, honest: Option<&[u8]>, before: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Honest => honest.map(<[u8]>::to_vec),
            Self::Changed(at, with) => {
                let mut message = honest?.to_vec();
                let length = message.len().max(1);
                if let Some(byte) = message.get_mut(at % length) {
                    *byte ^= with;
                }
                Some(message)
            }
            Self::Cut(length) => {
                honest.map(|honest| honest.get(..*length).unwrap_or(honest).to_vec())
            }
            Self::Repeat => Some(before.to_vec()),
            Self::Mirror => Some(theirs.to_vec()),
            Self::Nothing => None,
            Self::Noise(noise) => Some(noise.clone()),
        }
    }
}

/// How far a script came against the asking side.
#[derive(Debug, Default, PartialEq)]
struct Reached {
    let_in: bool,
    challenges: u32,
    asked: u32,
    /// Some message was not what the honest client sends.
    strayed: bool,
}

fn attack_server(key: &str, open: bool, script: &[Move]) -> Reached {
    let mut host = TestHost::new(1, open);
    let mut random = Counter(2);
    let mut asking = asking(RIGHT);
    let mut proving = Some(proving(key));
    let (mut before, mut theirs) = (Vec::new(), Vec::new());
    let mut reached = Reached::default();
    for (round, step) in script.iter().enumerate() {
        let input = if round == 0 {
            ClientInput::Start
        } else {
            ClientInput::Challenge(&theirs)
        };
        let (honest, next) = match proving.take().map(|client| client.step(input, &mut random)) {
            Some(ClientStep::Respond(message, next)) => (Some(message), Some(next)),
            Some(ClientStep::Wait(next)) => (None, Some(next)),
            _ => (Some(Vec::new()), None),
        };
        proving = next;
        let message = step.message(honest.as_deref(), &before, &theirs);
        reached.strayed |= message != honest;
        before = honest.unwrap_or_default();
        match asking.step(message.as_deref(), &mut host) {
            ServerStep::Challenge(challenge, next) => {
                (asking, theirs) = (next, challenge);
                reached.challenges += 1;
            }
            ServerStep::Success { .. } => {
                reached.let_in = true;
                break;
            }
            ServerStep::Failure(_) => break,
        }
    }
    reached.asked = host.asked;
    reached
}

fn property<S: Strategy>(strategy: &S, mut test: impl FnMut(S::Value)) {
    let mut runner = TestRunner::new(Config {
        cases: 2000,
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

#[test]
fn the_honest_script_is_let_in_by_an_open_host() {
    let reached = attack_server(RIGHT, true, &vec![Move::Honest; 3]);
    let want = Reached {
        let_in: true,
        challenges: 2,
        asked: 1,
        strayed: false,
    };
    assert_eq!(reached, want);
}

#[test]
fn who_is_not_allowed_does_not_get_in() {
    let asked = Cell::new(0);
    property(&moves(), |script| {
        let reached = attack_server(RIGHT, false, &script);
        assert!(!reached.let_in);
        asked.set(asked.get() + reached.asked);
    });
    assert!(
        asked.get() > 100,
        "only {} of 2000 came to the last question",
        asked.get()
    );
}

#[test]
fn who_has_another_key_does_not_get_past_the_request() {
    let challenged = Cell::new(0);
    property(&moves(), |script| {
        let reached = attack_server(WRONG, true, &script);
        assert!(!reached.let_in && reached.asked == 0 && reached.challenges < 2);
        challenged.set(challenged.get() + reached.challenges);
    });
    assert!(
        challenged.get() > 1000,
        "only {} of 2000 had a challenge",
        challenged.get()
    );
}

#[test]
fn only_the_honest_script_gets_in() {
    let let_in = Cell::new(0);
    property(&moves(), |script| {
        let reached = attack_server(RIGHT, true, &script);
        if reached.let_in {
            let_in.set(let_in.get() + 1);
            assert!(!reached.strayed, "{script:?}");
        }
    });
    assert!(let_in.get() > 50, "only {} of 2000 got in", let_in.get());
}

/// Runs a script as the asking side, which does not know the key, against a client. How many responses did it give?
fn attack_client(script: &[(Move, bool)]) -> (bool, u32) {
    let mut random = Counter(3);
    let mut host = TestHost::new(4, true);
    let ClientStep::Wait(mut proving) = proving(RIGHT).step(ClientInput::Start, &mut random) else {
        panic!("there is no initial response")
    };
    let ServerStep::Challenge(first, _) = asking(WRONG).step(None, &mut host) else {
        panic!("no challenge")
    };
    // The best that a server without the key can say at the second step: eight octets.
    let mut guess = vec![0; 8];
    host.random(&mut guess);
    let (mut before, mut theirs, mut responses) = (Vec::new(), Vec::new(), 0);
    for (round, (step, success)) in script.iter().enumerate() {
        let honest = if round == 0 { &first } else { &guess };
        let message = step.message(Some(honest), &before, &theirs);
        before.clone_from(honest);
        let input = match (&message, success) {
            (Some(message), false) => ClientInput::Challenge(message),
            (message, _) => ClientInput::Success(message.as_deref()),
        };
        match proving.step(input, &mut random) {
            ClientStep::Respond(message, next) => {
                responses += 1;
                (proving, theirs) = (next, message);
            }
            ClientStep::Wait(next) => proving = next,
            ClientStep::Authenticated => return (true, responses),
            ClientStep::Abort(_) => break,
        }
    }
    (false, responses)
}

#[test]
fn a_server_that_does_not_have_the_key_satisfies_no_client() {
    let waiting = Cell::new(0);
    let script = moves().prop_flat_map(|moves| {
        let ends = vec(prop::bool::weighted(0.2), moves.len());
        ends.prop_map(move |ends| moves.iter().cloned().zip(ends).collect::<Vec<_>>())
    });
    property(&script, |script| {
        let (satisfied, responses) = attack_client(&script);
        // More than one response would mean that it took a guess for the proof.
        assert!(!satisfied && responses <= 1);
        waiting.set(waiting.get() + responses);
    });
    assert!(
        waiting.get() > 100,
        "only {} of 2000 clients waited for the proof",
        waiting.get()
    );
}

#[test]
fn a_request_and_a_last_response_are_worth_nothing_in_another_exchange() {
    let mut host = TestHost::new(5, true);
    let mut random = Counter(6);
    let begin = |host: &mut TestHost| match asking(RIGHT).step(None, host) {
        ServerStep::Challenge(challenge, next) => (challenge, next),
        step => panic!("{step:?}"),
    };
    let (challenge, first) = begin(&mut host);
    let (_, second) = begin(&mut host);
    let ClientStep::Wait(client) = proving(RIGHT).step(ClientInput::Start, &mut random) else {
        panic!("there is no initial response")
    };
    let step = client.step(ClientInput::Challenge(&challenge), &mut random);
    let ClientStep::Respond(request, client) = step else {
        panic!("{step:?}")
    };
    let ServerStep::Challenge(proof, first) = first.step(Some(&request), &mut host) else {
        panic!("no proof")
    };
    assert!(matches!(
        second.step(Some(&request), &mut host),
        ServerStep::Failure(Failure::NotAuthorized)
    ));
    let step = client.step(ClientInput::Challenge(&proof), &mut random);
    let ClientStep::Respond(last, _) = step else {
        panic!("{step:?}")
    };
    // The same request in place of the last response, and the last response of an exchange with another session key.
    let (challenge, third) = begin(&mut host);
    let ClientStep::Wait(other) = proving(RIGHT).step(ClientInput::Start, &mut random) else {
        panic!("there is no initial response")
    };
    let step = other.step(ClientInput::Challenge(&challenge), &mut random);
    let ClientStep::Respond(request, _) = step else {
        panic!("{step:?}")
    };
    let ServerStep::Challenge(_, third) = third.step(Some(&request), &mut host) else {
        panic!("no proof")
    };
    assert!(matches!(
        third.step(Some(&last), &mut host),
        ServerStep::Failure(Failure::NotAuthorized)
    ));
    assert_eq!(host.asked, 0);
    assert!(matches!(
        first.step(Some(&last), &mut host),
        ServerStep::Success { .. }
    ));
}
