//! Messages that are changed, cut, sent again or taken from another exchange.

use super::*;

/// An exchange up to before a message of the client's: the token (0), the empty one (1), the choice (2).
struct Half {
    proving: Box<dyn Client>,
    asking: Box<dyn Server>,
    host: Montague,
    /// What the client says next.
    message: Vec<u8>,
    /// What the server said last.
    theirs: Vec<u8>,
}

fn half(realm: &Path, messages: usize) -> Half {
    let (message, proving) = start(proving(initiator(realm), None));
    let mut half = Half {
        proving,
        asking: asking(acceptor(realm)),
        host: montague(),
        message,
        theirs: Vec::new(),
    };
    for _ in 0..messages {
        let ServerStep::Challenge(theirs, asking) =
            half.asking.step(Some(&half.message), &mut half.host)
        else {
            panic!("{:?}", half.host.explained)
        };
        let step = half
            .proving
            .step(ClientInput::Challenge(&theirs), &mut no_random);
        let ClientStep::Respond(message, proving) = step else {
            panic!("{step:?}")
        };
        half = Half {
            proving,
            asking,
            host: half.host,
            message,
            theirs,
        };
    }
    half
}

impl Half {
    #[track_caller]
    fn refuses(mut self, message: &[u8]) -> Failure {
        match self.asking.step(Some(message), &mut self.host) {
            ServerStep::Failure(failure) => failure,
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn no_changed_byte_changes_what_is_believed() {
    within(
        "damage::no_changed_byte_changes_what_is_believed",
        &[OURS, THEIRS],
        |realm| {
            // The token: what is not protected by its own check value says nothing about who it is.
            let honest = half(realm, 0).message;
            let (mut refused, mut same) = (0, 0);
            for at in 0..honest.len() {
                let mut half = half(realm, 0);
                let mut token = half.message.clone();
                let at = at.min(token.len() - 1);
                token[at] ^= 1 << (at % 8);
                match half.asking.step(Some(&token), &mut half.host) {
                    ServerStep::Failure(_) => refused += 1,
                    ServerStep::Challenge(theirs, next) => {
                        match finish(half.proving, next, theirs, &mut half.host) {
                            Err(_) => refused += 1,
                            Ok(identity) => {
                                same += 1;
                                assert_eq!(
                                    identity.authcid,
                                    Some(format!("{THEIRS}@{}", realm::NAME))
                                );
                            }
                        }
                    }
                    step => panic!("{step:?}"),
                }
            }
            assert!(
                refused > 10 * same,
                "{refused} refused, {same} with the same meaning"
            );

            // The server's proof, its offer, and the client's choice. The latter two have octets that turn the rest
            // round, by whole turns too (RFC 4121 §4.2.5).
            for messages in [0, 1] {
                let length = answered(half(realm, messages)).1.len();
                let mut taken = 0;
                for at in 0..length {
                    let (proving, mut theirs) = answered(half(realm, messages));
                    let at = at.min(theirs.len() - 1);
                    theirs[at] ^= 1 << (at % 8);
                    match proving.step(ClientInput::Challenge(&theirs), &mut no_random) {
                        ClientStep::Abort(ClientError::ServerNotAuthenticated) => {}
                        ClientStep::Respond(..) => taken += 1,
                        step => panic!("octet {at}: {step:?}"),
                    }
                }
                assert!(taken * 10 < length, "{taken} of {length}");
            }
            let length = half(realm, 2).message.len();
            let mut same = 0;
            for at in 0..length {
                let mut half = half(realm, 2);
                let at = at.min(half.message.len() - 1);
                half.message[at] ^= 1 << (at % 8);
                match half.asking.step(Some(&half.message), &mut half.host) {
                    ServerStep::Failure(_) => {}
                    ServerStep::Success { identity, .. } => {
                        same += 1;
                        assert_eq!(identity.authzid, None);
                    }
                    step => panic!("{step:?}"),
                }
            }
            assert!(same <= 2, "{same} of {length}");
        },
    );
}

/// The server's answer to what the client says next, and the client that waits for it.
fn answered(half: Half) -> (Box<dyn Client>, Vec<u8>) {
    let mut host = montague();
    match half.asking.step(Some(&half.message), &mut host) {
        ServerStep::Challenge(theirs, _) => (half.proving, theirs),
        step => panic!("{step:?}"),
    }
}

fn finish(
    proving: Box<dyn Client>,
    asking: Box<dyn Server>,
    theirs: Vec<u8>,
    host: &mut Montague,
) -> Result<Identity, Failure> {
    match proving.step(ClientInput::Challenge(&theirs), &mut no_random) {
        ClientStep::Respond(message, proving) => match asking.step(Some(&message), host) {
            ServerStep::Challenge(theirs, asking) => finish(proving, asking, theirs, host),
            ServerStep::Success { identity, .. } => Ok(identity),
            ServerStep::Failure(failure) => Err(failure),
        },
        ClientStep::Abort(_) => Err(Failure::Aborted),
        step => panic!("{step:?}"),
    }
}

#[test]
fn what_is_cut_repeated_or_from_another_exchange_is_refused() {
    within(
        "damage::what_is_cut_repeated_or_from_another_exchange_is_refused",
        &[OURS, THEIRS],
        |realm| {
            let token = half(realm, 0).message;
            for length in 0..token.len() {
                let half = half(realm, 0);
                let cut = half.message[..length.min(half.message.len() - 1)].to_vec();
                half.refuses(&cut);
            }
            assert_eq!(half(realm, 0).refuses(b""), Failure::MalformedRequest);
            assert_eq!(
                half(realm, 0).refuses(&[0x60; 70_000]),
                Failure::MalformedRequest
            );

            // A replay: the token is good, and was seen.
            let mut first = half(realm, 0);
            let token = first.message.clone();
            assert!(matches!(
                first.asking.step(Some(&token), &mut first.host),
                ServerStep::Challenge(..)
            ));
            assert_eq!(half(realm, 0).refuses(&token), Failure::NotAuthorized);

            // After the token nothing is wanted but an empty message.
            let again = half(realm, 1);
            let theirs = again.theirs.clone();
            assert_eq!(again.refuses(&theirs), Failure::MalformedRequest);
            assert_eq!(half(realm, 1).refuses(b"x"), Failure::MalformedRequest);

            // The choice: another exchange's, our own offer sent back, cut, empty.
            let other = half(realm, 2).message;
            half(realm, 2).refuses(&other);
            let mirror = half(realm, 2);
            let theirs = mirror.theirs.clone();
            mirror.refuses(&theirs);
            for length in 0..other.len() {
                let half = half(realm, 2);
                let cut = half.message[..length].to_vec();
                half.refuses(&cut);
            }
            assert_eq!(half(realm, 2).host.asked, 0);
        },
    );
}

#[test]
fn a_server_that_says_success_too_early_is_not_believed() {
    within(
        "damage::a_server_that_says_success_too_early_is_not_believed",
        &[OURS, THEIRS],
        |realm| {
            for messages in [0, 1] {
                for data in [None, Some(&b""[..])] {
                    let early = half(realm, messages)
                        .proving
                        .step(ClientInput::Success(data), &mut no_random);
                    assert!(
                        matches!(early, ClientStep::Abort(ClientError::Unexpected)),
                        "{early:?}"
                    );
                }
            }
            // After its choice the client has seen the server's proof; additional data is not part of it.
            let late = half(realm, 2)
                .proving
                .step(ClientInput::Success(Some(b"x")), &mut no_random);
            assert!(
                matches!(late, ClientStep::Abort(ClientError::Unexpected)),
                "{late:?}"
            );
        },
    );
}
