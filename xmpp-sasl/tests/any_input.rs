//! What no order of messages may do, tried with many.
//!
//! Random bytes alone never get past the first check, and a test of them would be green for ever. So every script
//! here is made of honest messages for the exchange at hand, damaged honest messages and noise, and each property
//! says at its end that it reached the state it guards.

#![cfg(feature = "xmpp")]
#![allow(clippy::unwrap_used)]

mod attack;

use std::cell::Cell;

use attack::{
    Denial, HOST, MUTUAL, Move, PASSWORD, PROVING, Sender, TestHost, USER, attack_client,
    attack_server, credentials, options, pass,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use xmpp_sasl::*;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let directives =
        "(username|realm|nonce|cnonce|nc|qop|response|rspauth)=\"?[a-z0-9,\\\\\"]{0,40}\"?";
    let attributes = "([npyacrsivemhx]=?[A-Za-z0-9+/=]{0,30},?){1,6}";
    let one = prop_oneof![
        12 => Just(Move::Honest),
        2 => (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, with)| Move::Changed(at.index(1000), with)),
        1 => (0..400_usize).prop_map(Move::Cut),
        1 => vec(any::<u8>(), 1..10).prop_map(Move::More),
        1 => Just(Move::Repeat),
        1 => Just(Move::Mirror),
        1 => Just(Move::Nothing),
        1 => vec(any::<u8>(), 0..60).prop_map(Move::Noise),
        1 => directives.prop_map(|text| Move::Noise(text.into_bytes())),
        1 => attributes.prop_map(|text| Move::Noise(text.into_bytes())),
    ];
    vec(one, 1..8)
}

#[test]
fn the_honest_script_is_let_in_by_an_open_host() {
    for mechanism in PROVING {
        let identity = pass(mechanism, 1, |_, _, message| message).unwrap();
        assert_eq!(identity.mechanism, mechanism);
        assert_eq!(identity.authzid.as_deref(), Some(USER));
        // A reason that this mechanism does not ask for keeps nobody out, so the scripts do reach yes.
        let honest = vec![Move::Honest; 3];
        let indifferent = match mechanism {
            "EXTERNAL" => Denial::Unknown,
            "SCRAM-SHA-512-PLUS" | "SCRAM-SHA-256-PLUS" | "SCRAM-SHA-1-PLUS" => continue,
            _ => Denial::OtherConnection,
        };
        assert!(attack_server(mechanism, indifferent, &honest).open);
    }
}

#[test]
fn every_mechanism_is_among_those_tried() {
    for name in names() {
        // They prove nothing, or have a file of their own.
        let elsewhere = ["ANONYMOUS", "KERBEROS_V4", "GSSAPI"].contains(&name);
        assert!(elsewhere || PROVING.contains(&name), "{name}");
    }
}

#[track_caller]
fn nobody_gets_in(mechanism: &str, why: Denial) {
    let reached = Cell::new(0);
    runner(500)
        .run(&moves(), |script| {
            let outcome = attack_server(mechanism, why, &script);
            prop_assert!(!outcome.open, "{mechanism} {why:?}: it opened");
            reached.set(reached.get() + u32::from(outcome.is_at_the_last_check(mechanism)));
            Ok(())
        })
        .unwrap();
    assert!(
        reached.get() > 50,
        "{mechanism} {why:?}: only {} of 500 scripts came to the last check",
        reached.get()
    );
}

#[test]
fn who_is_not_allowed_does_not_get_in() {
    for mechanism in PROVING {
        nobody_gets_in(mechanism, Denial::NotAllowed);
    }
    if cfg!(feature = "anonymous") {
        nobody_gets_in("ANONYMOUS", Denial::NotAllowed);
    }
}

#[test]
fn who_has_the_wrong_password_does_not_get_in() {
    for mechanism in PROVING.into_iter().filter(|name| *name != "EXTERNAL") {
        nobody_gets_in(mechanism, Denial::OtherSecret("wherefore art thou?"));
        nobody_gets_in(mechanism, Denial::OtherSecret(""));
    }
}

#[test]
fn who_is_unknown_does_not_get_in() {
    for mechanism in PROVING.into_iter().filter(|name| *name != "EXTERNAL") {
        nobody_gets_in(mechanism, Denial::Unknown);
    }
}

#[test]
fn who_is_on_another_connection_does_not_get_in_by_plus() {
    for mechanism in PROVING.into_iter().filter(|name| name.ends_with("-PLUS")) {
        nobody_gets_in(mechanism, Denial::OtherConnection);
    }
}

#[test]
fn a_server_that_does_not_know_the_password_satisfies_no_client() {
    let script = moves().prop_flat_map(|moves| {
        let ends = vec(prop::bool::weighted(0.3), moves.len());
        ends.prop_map(move |ends| moves.iter().cloned().zip(ends).collect::<Vec<_>>())
    });
    for mechanism in MUTUAL {
        let reached = Cell::new(0);
        runner(500)
            .run(&script, |script| {
                let (satisfied, answers) = attack_client(mechanism, &script);
                // More than one answer would mean that it took a proof for good.
                prop_assert!(!satisfied && answers <= 1, "{mechanism}: {answers}");
                reached.set(reached.get() + answers);
                Ok(())
            })
            .unwrap();
        assert!(
            reached.get() > 50,
            "{mechanism}: only {} of 500 clients waited for the proof",
            reached.get()
        );
    }
}

/// The honest messages of an exchange.
fn transcript(mechanism: &str, seed: u64) -> Vec<(Sender, Vec<u8>)> {
    let mut messages = Vec::new();
    let end = pass(mechanism, seed, |_, from, message| {
        messages.push((from, message.clone()));
        message
    });
    assert!(end.is_some());
    messages
}

/// An exchange in which the message with this number is another.
fn with(mechanism: &str, number: usize, other: &[u8]) -> Option<Identity> {
    let mut changed = false;
    let end = pass(mechanism, 1, |at, _, message| {
        if at == number {
            changed = true;
            other.to_vec()
        } else {
            message
        }
    });
    assert!(changed, "the message was never sent");
    end
}

/// All but DIGEST-MD5, where not every byte has a meaning.
fn exact() -> impl Iterator<Item = &'static str> {
    PROVING.into_iter().filter(|name| *name != "DIGEST-MD5")
}

#[test]
fn one_changed_byte_in_any_message_is_noticed() {
    for mechanism in exact() {
        for (number, (_, message)) in transcript(mechanism, 1).into_iter().enumerate() {
            for at in 0..message.len() {
                for mask in [0x01, 0x20, 0x80] {
                    let mut changed = message.clone();
                    changed[at] ^= mask;
                    let end = with(mechanism, number, &changed);
                    assert_eq!(end, None, "{mechanism}, message {number}, byte {at}");
                }
            }
        }
    }
}

#[test]
fn a_message_that_is_cut_or_goes_on_is_noticed() {
    for mechanism in exact() {
        for (number, (_, message)) in transcript(mechanism, 1).into_iter().enumerate() {
            for length in 0..message.len() {
                let end = with(mechanism, number, &message[..length]);
                assert_eq!(end, None, "{mechanism}, message {number}, cut to {length}");
            }
            for more in [b",".as_slice(), b"=", b"\0", b"a", b",x=y"] {
                // RFC 5802 §7: unknown attributes are ignored after the server's signature, which is over them.
                let harmless = mechanism.starts_with("SCRAM") && number == 3 && more == b",x=y";
                let end = with(mechanism, number, &[message.as_slice(), more].concat());
                assert_eq!(end.is_some(), harmless, "{mechanism}, message {number}");
            }
        }
    }
}

#[test]
fn a_message_of_another_exchange_is_noticed() {
    for mechanism in MUTUAL {
        let (first, second) = (transcript(mechanism, 1), transcript(mechanism, 100));
        let mut fresh = 0;
        for (number, (one, other)) in first.iter().zip(&second).enumerate() {
            if one != other {
                fresh += 1;
                let end = with(mechanism, number, &other.1);
                assert_eq!(end, None, "{mechanism}, message {number}");
            }
        }
        assert!(fresh >= 3, "{mechanism}: {fresh}");
    }
}

#[test]
fn a_recorded_client_is_not_let_in_again() {
    for mechanism in MUTUAL {
        let recorded = transcript(mechanism, 1);
        let ours = recorded
            .iter()
            .filter(|(from, _)| *from == Sender::Client)
            .map(|(_, message)| message);
        let mut host = TestHost::open(50);
        let mut asking = server(mechanism, &options(Denial::NotAllowed)).unwrap();
        if mechanism == "DIGEST-MD5" {
            let ServerStep::Challenge(_, next) = asking.step(None, &mut host) else {
                panic!("no challenge")
            };
            asking = next;
        }
        let mut end = None;
        for message in ours {
            match asking.step(Some(message), &mut host) {
                ServerStep::Challenge(_, next) => asking = next,
                ServerStep::Failure(failure) => {
                    end = Some(failure);
                    break;
                }
                ServerStep::Success { .. } => panic!("{mechanism}: it opened"),
            }
        }
        assert_eq!(end, Some(Failure::NotAuthorized), "{mechanism}");
    }
}

#[test]
fn a_step_that_comes_twice_is_noticed() {
    for mechanism in exact() {
        let messages = transcript(mechanism, 1);
        for number in 2..messages.len() {
            // What the same side sent before.
            let end = with(mechanism, number, &messages[number - 2].1);
            assert_eq!(end, None, "{mechanism}, message {number}");
        }
        for number in 1..messages.len() {
            // What the other side sent.
            let end = with(mechanism, number, &messages[number - 1].1);
            assert_eq!(end, None, "{mechanism}, message {number}");
        }
    }
}

/// DIGEST-MD5 has names in either case, and directives that say what is so anyway.
#[test]
fn no_changed_byte_of_a_digest_md5_response_changes_what_is_believed() {
    let messages = transcript("DIGEST-MD5", 1);
    let response = &messages[1].1;
    let right = pass("DIGEST-MD5", 1, |_, _, message| message);
    let (mut refused, mut same) = (0, 0);
    for at in 0..response.len() {
        for bit in 0..8 {
            let mut changed = response.clone();
            changed[at] ^= 1 << bit;
            match with("DIGEST-MD5", 1, &changed) {
                None => refused += 1,
                accepted => {
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
        let cut = with("DIGEST-MD5", 1, &response[..length]);
        assert!(cut.is_none() || cut == right);
    }
}

// The bodies of the fuzz targets, with what proptest finds.

#[test]
fn the_fuzz_target_of_servers() {
    runner(3000)
        .run(&vec(any::<u8>(), 0..200), |data| {
            attack::bodies::server(&data);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_fuzz_target_of_clients() {
    runner(3000)
        .run(&vec(any::<u8>(), 0..200), |data| {
            attack::bodies::client(&data);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_fuzz_target_of_the_wire() {
    let name = "(auth|challenge|response|abort|success|failure)";
    let attributes =
        "( (mechanism|xmlns|xml:lang)='(PLAIN|urn:ietf:params:xml:ns:xmpp-sasl|en)'){0,3}";
    let content = "([A-Za-z0-9+/]{4}){0,5}=?|<(not-authorized|text|x)/>|<text>[a-z<&]{0,9}</text>|[a-z= ]{0,9}";
    let element = (name, attributes, content).prop_map(|(name, attributes, content)| {
        format!("<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'{attributes}>{content}</{name}>")
    });
    let read = Cell::new(0);
    runner(3000)
        .run(&element, |element| {
            attack::bodies::wire(element.as_bytes());
            let context = xmpp_stream::Context::new(xmpp_stream::ContentNamespace::Server);
            let parsed = xmpp_stream::Element::parse(element.into_bytes(), &context);
            let nonza = parsed
                .ok()
                .and_then(|element| wire::Nonza::from_element(&element));
            read.set(read.get() + u32::from(matches!(nonza, Some(Ok(_)))));
            Ok(())
        })
        .unwrap();
    assert!(read.get() > 300, "only {} were read", read.get());
    runner(500)
        .run(&vec(any::<u8>(), 0..100), |data| {
            attack::bodies::wire(&data);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_fuzz_target_of_stored_keys() {
    let good = ScramKeys::derive(ScramHash::Sha1, &Password::new(PASSWORD), b"salt", 9).unwrap();
    let good = good.to_text().to_string();
    let one = (any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    runner(3000)
        .run(&vec(one, 0..3), |changes| {
            let mut text = good.clone().into_bytes();
            for (at, byte, cut) in changes {
                let at = at.index(text.len().max(1));
                match text.get_mut(at) {
                    Some(_) if cut => text.truncate(at),
                    Some(place) => *place = byte,
                    None => {}
                }
            }
            attack::bodies::keys(&text);
            Ok(())
        })
        .unwrap();
    assert_eq!(credentials().host, HOST);
}
