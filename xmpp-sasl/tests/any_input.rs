//! What no order of messages may do, tried with many.
//!
//! Random bytes alone never get past the first check, and a test of them would be green for ever. So every script
//! here is made of honest messages for the exchange at hand, damaged honest messages and noise, and each property
//! says at its end that it reached the state it guards.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use xmpp_sasl::*;

const USER: &str = "capulet.example";
const HOST: &str = "montague.example";
const PASSWORD: &str = "wherefore art thou";

/// What one side does with the message that the honest exchange has at this point.
#[derive(Debug, Clone)]
enum Move {
    Honest,
    /// The honest one with a byte changed.
    Changed(usize, u8),
    /// The honest one, cut.
    Cut(usize),
    /// What was sent before, again.
    Repeat,
    /// What the other side sent, sent back.
    Mirror,
    Nothing,
    Noise(Vec<u8>),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => Just(Move::Honest),
        2 => (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, with)| Move::Changed(at.index(1000), with)),
        1 => (0..400_usize).prop_map(Move::Cut),
        1 => Just(Move::Repeat),
        1 => Just(Move::Mirror),
        1 => Just(Move::Nothing),
        1 => vec(any::<u8>(), 0..60).prop_map(Move::Noise),
        1 => "(username|realm|nonce|cnonce|nc|qop|response|rspauth)=\"?[a-z0-9,\\\\\"]{0,40}\"?".prop_map(|text| Move::Noise(text.into_bytes())),
    ];
    vec(one, 1..8)
}

impl Move {
    /// `None`: send nothing where nothing is possible.
    fn message(&self, honest: &[u8], before: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Honest => Some(honest.to_vec()),
            Self::Changed(at, with) => {
                let mut message = honest.to_vec();
                let length = message.len().max(1);
                if let Some(byte) = message.get_mut(at % length) {
                    *byte ^= with;
                }
                Some(message)
            }
            Self::Cut(length) => Some(honest.get(..*length).unwrap_or(honest).to_vec()),
            Self::Repeat => Some(before.to_vec()),
            Self::Mirror => Some(theirs.to_vec()),
            Self::Nothing => None,
            Self::Noise(noise) => Some(noise.clone()),
        }
    }
}

fn credentials() -> ClientCredentials {
    ClientCredentials {
        username: Some(USER.to_owned()),
        password: Some(Password::new(PASSWORD)),
        authzid: Some(USER.to_owned()),
        certificate: true,
        ..ClientCredentials::new("xmpp", HOST)
    }
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

/// Why an application lets nobody in. One reason at a time, so that each has to hold by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Why {
    NotAllowed,
    OtherPassword(&'static str),
    Unknown,
    NoCertificate,
}

/// An application that lets nobody in, and counts how often it had to say why.
struct Closed {
    random: Counter,
    why: Why,
    asked: u32,
}

impl Closed {
    fn says_no(&mut self, why: Why) -> bool {
        self.asked += u32::from(self.why == why);
        self.why == why
    }
}

impl Host for Closed {
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, authcid: &str, _: Option<&str>) -> Option<Password> {
        if authcid != USER || self.says_no(Why::Unknown) {
            return None;
        }
        if let Why::OtherPassword(password) = self.why {
            self.asked += 1;
            return Some(Password::new(password));
        }
        Some(Password::new(PASSWORD))
    }

    fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        if self.says_no(Why::NotAllowed) {
            Err(Failure::InvalidAuthzid)
        } else {
            Ok(())
        }
    }

    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        if self.says_no(Why::NoCertificate) {
            return Err(Failure::NotAuthorized);
        }
        let authzid = authzid.map(str::to_owned);
        Ok(Identity {
            authcid: None,
            authzid,
            mechanism: "EXTERNAL",
        })
    }
}

/// Runs a script against the asking side. True if it let the peer in; `asked`: how often the host was asked.
fn attack_server(mechanism: &str, why: Why, script: &[Move]) -> (bool, u32) {
    let mut host = Closed {
        random: Counter(1),
        why,
        asked: 0,
    };
    let mut random = Counter(2);
    let mut asking = server(mechanism, &ServerOptions::new("xmpp", HOST)).unwrap();
    let mut proving = Some(client(mechanism, &credentials()).unwrap());
    let (mut before, mut theirs) = (Vec::new(), Vec::new());
    for (round, step) in script.iter().enumerate() {
        let input = if round == 0 {
            ClientInput::Start
        } else {
            ClientInput::Challenge(&theirs)
        };
        let (honest, next) = match proving.take().map(|client| client.step(input, &mut random)) {
            Some(ClientStep::Respond(message, next)) => (Some(message), Some(next)),
            Some(ClientStep::Wait(next)) => (None, Some(next)),
            Some(ClientStep::Authenticated | ClientStep::Abort(_)) | None => {
                (Some(Vec::new()), None)
            }
        };
        proving = next;
        let message = match (step, &honest) {
            (Move::Honest, None) => None,
            (step, honest) => step.message(honest.as_deref().unwrap_or_default(), &before, &theirs),
        };
        before = honest.unwrap_or_default();
        match asking.step(message.as_deref(), &mut host) {
            ServerStep::Challenge(challenge, next) => (asking, theirs) = (next, challenge),
            ServerStep::Success { .. } => return (true, host.asked),
            ServerStep::Failure(_) => break,
        }
    }
    (false, host.asked)
}

#[track_caller]
fn nobody_gets_in(mechanism: &str, why: Why) {
    let reached = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 2000,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&moves(), |script| {
            let (open, asked) = attack_server(mechanism, why, &script);
            reached.set(reached.get() + asked);
            prop_assert!(!open, "it opened");
            Ok(())
        })
        .unwrap();
    // The last state before yes is the one in which the host is asked.
    assert!(
        reached.get() > 100,
        "only {} of 2000 scripts came to the last question",
        reached.get()
    );
}

#[test]
fn the_honest_script_opens_a_door_that_is_open() {
    let honest = vec![Move::Honest; 3];
    let (open, _) = attack_server("DIGEST-MD5", Why::NoCertificate, &honest);
    assert!(open);
    let (open, _) = attack_server("EXTERNAL", Why::Unknown, &honest);
    assert!(open);
}

#[test]
fn who_is_not_allowed_does_not_get_in_by_digest_md5() {
    nobody_gets_in("DIGEST-MD5", Why::NotAllowed);
}

#[test]
fn who_has_the_wrong_password_does_not_get_in_by_digest_md5() {
    nobody_gets_in("DIGEST-MD5", Why::OtherPassword("wherefore art thou?"));
    nobody_gets_in("DIGEST-MD5", Why::OtherPassword(""));
}

#[test]
fn who_is_unknown_does_not_get_in_by_digest_md5() {
    nobody_gets_in("DIGEST-MD5", Why::Unknown);
}

#[test]
fn who_has_no_certificate_does_not_get_in_by_external() {
    nobody_gets_in("EXTERNAL", Why::NoCertificate);
}

/// An application that knows the account, for the honest part of an exchange.
struct Open {
    random: Counter,
    password: &'static str,
}

impl Host for Open {
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        Some(Password::new(self.password))
    }

    fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        Ok(())
    }

    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        let authzid = authzid.map(str::to_owned);
        Ok(Identity {
            authcid: None,
            authzid,
            mechanism: "EXTERNAL",
        })
    }
}

/// Runs a script as the asking side, which does not know the password, against a client. The number is how many
/// responses the client gave.
fn attack_client(script: &[(Move, bool)]) -> (bool, u32) {
    let mut random = Counter(3);
    let mut host = Open {
        random: Counter(4),
        password: "guess",
    };
    let ClientStep::Wait(mut proving) = client("DIGEST-MD5", &credentials())
        .unwrap()
        .step(ClientInput::Start, &mut random)
    else {
        panic!("DIGEST-MD5 has no initial response")
    };
    let honest = server("DIGEST-MD5", &ServerOptions::new("xmpp", HOST)).unwrap();
    let ServerStep::Challenge(first, _) = honest.step(None, &mut host) else {
        panic!("no challenge")
    };
    // The best that a server without the password can say at the second step: a proof with another one.
    let guess = b"rspauth=0123456789abcdef0123456789abcdef".to_vec();
    let (mut before, mut theirs, mut responses) = (Vec::new(), Vec::new(), 0);
    for (round, (step, success)) in script.iter().enumerate() {
        let honest = if round == 0 { &first } else { &guess };
        let message = step.message(honest, &before, &theirs);
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
fn a_server_that_does_not_know_the_password_satisfies_no_client() {
    let reached = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 2000,
        failure_persistence: None,
        ..Config::default()
    });
    let script = moves().prop_flat_map(|moves| {
        let ends = vec(prop::bool::weighted(0.2), moves.len());
        ends.prop_map(move |ends| moves.iter().cloned().zip(ends).collect::<Vec<_>>())
    });
    runner
        .run(&script, |script| {
            let (satisfied, responses) = attack_client(&script);
            // More than one response would mean that it took a proof for good.
            prop_assert!(!satisfied && responses <= 1);
            reached.set(reached.get() + responses);
            Ok(())
        })
        .unwrap();
    assert!(
        reached.get() > 100,
        "only {} of 2000 clients waited for the proof",
        reached.get()
    );
}

#[test]
fn no_changed_byte_of_a_response_changes_what_is_believed() {
    let options = ServerOptions::new("xmpp", HOST);
    let begin = || {
        let mut host = Open {
            random: Counter(5),
            password: PASSWORD,
        };
        let step = server("DIGEST-MD5", &options)
            .unwrap()
            .step(None, &mut host);
        let ServerStep::Challenge(challenge, asking) = step else {
            panic!("{step:?}")
        };
        (host, challenge, asking)
    };
    let mut random = Counter(6);
    let (_, challenge, _) = begin();
    let start = client("DIGEST-MD5", &credentials())
        .unwrap()
        .step(ClientInput::Start, &mut random);
    let ClientStep::Wait(proving) = start else {
        panic!("{start:?}")
    };
    let answer = proving.step(ClientInput::Challenge(&challenge), &mut random);
    let ClientStep::Respond(response, _) = answer else {
        panic!("{answer:?}")
    };

    let judge = |message: &[u8]| {
        let (mut host, _, asking) = begin();
        match asking.step(Some(message), &mut host) {
            ServerStep::Challenge(proof, next) => match next.step(Some(b""), &mut host) {
                ServerStep::Success { identity, .. } => Some((proof, identity)),
                _ => None,
            },
            _ => None,
        }
    };
    let right = judge(&response).unwrap();
    assert_eq!(right.1.authcid.as_deref(), Some(USER));
    let (mut refused, mut same) = (0, 0);
    for at in 0..response.len() {
        for bit in 0..8 {
            let mut changed = response.clone();
            changed[at] ^= 1 << bit;
            match judge(&changed) {
                None => refused += 1,
                // A directive name in the other case, or the name of one that has its default value.
                Some(accepted) => {
                    same += 1;
                    assert_eq!(accepted, right, "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
    }
    assert!(
        refused > 9 * same,
        "{refused} refused, {same} with the same meaning"
    );
    for length in 0..response.len() {
        let cut = judge(&response[..length]);
        assert!(cut.is_none() || cut.as_ref() == Some(&right));
    }
}

#[test]
fn a_response_is_worth_nothing_in_another_exchange() {
    let options = ServerOptions::new("xmpp", HOST);
    let mut host = Open {
        random: Counter(7),
        password: PASSWORD,
    };
    let mut random = Counter(8);
    let mut begin = || match server("DIGEST-MD5", &options)
        .unwrap()
        .step(None, &mut host)
    {
        ServerStep::Challenge(challenge, asking) => (challenge, asking),
        step => panic!("{step:?}"),
    };
    let (first_challenge, first) = begin();
    let (second_challenge, second) = begin();
    assert_ne!(first_challenge, second_challenge);
    let ClientStep::Wait(proving) = client("DIGEST-MD5", &credentials())
        .unwrap()
        .step(ClientInput::Start, &mut random)
    else {
        panic!("DIGEST-MD5 has no initial response")
    };
    let ClientStep::Respond(response, _) =
        proving.step(ClientInput::Challenge(&first_challenge), &mut random)
    else {
        panic!("no response")
    };
    assert!(matches!(
        first.step(Some(&response), &mut host),
        ServerStep::Challenge(..)
    ));
    assert!(matches!(
        second.step(Some(&response), &mut host),
        ServerStep::Failure(Failure::NotAuthorized)
    ));
}
