//! The exchange between our own ends, and what the tests share.

mod asked;
mod binding;
mod proving;
mod recorded;

use std::time::{Duration, Instant};

use super::client::{AwaitSignature, Binding, ClientStart, Secret};
use super::message::{BindingFlag, ClientFirst, ServerFirst};
use super::server::AwaitProof;
use super::vectors::{Expect, VECTORS, Vector};
use super::*;
use crate::{
    ChannelBindingType, ChannelBindings, Client, ClientCredentials, ClientError, ClientInput,
    ClientStep, Failure, Host, Identity, IterationBounds, Password, SaltedPassword, ScramError,
    ScramKeys, ScramParameters, Server, ServerOptions, ServerSecret, ServerStep,
};

/// Accounts with passwords, and what was asked about them.
#[derive(Debug, Default)]
struct Accounts {
    password: Option<&'static str>,
    /// Stored keys instead of the password.
    keys: Option<ScramKeys>,
    asked: Vec<String>,
    parameters: Vec<ScramParameters>,
    authorize: Option<Failure>,
}

const USER: &str = "capulet.example";

impl Host for Accounts {
    fn random(&mut self, out: &mut [u8]) {
        getrandom::fill(out).unwrap();
    }

    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
        assert_eq!(realm, None);
        self.asked.push(authcid.to_owned());
        self.password.filter(|_| authcid == USER).map(Password::new)
    }

    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        self.asked.push(format!("{authcid} as {authzid:?}"));
        self.authorize.map_or(Ok(()), Err)
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        unreachable!("SCRAM asks for no certificate")
    }

    fn scram_keys(&mut self, authcid: &str, unknown: &ScramParameters) -> Option<ScramKeys> {
        self.parameters.push(unknown.clone());
        if self.keys.is_some() {
            return self.keys.clone().filter(|_| authcid == USER);
        }
        let password = self.password(authcid, None)?;
        unknown.derive(&password).ok()
    }
}

fn name(mechanism: &str) -> Name {
    let (name, plus) = match mechanism.strip_suffix("-PLUS") {
        Some(name) => (name, true),
        None => (mechanism, false),
    };
    let hash = ScramHash::ALL
        .into_iter()
        .find(|hash| hash.mechanism() == name)
        .unwrap();
    Name { hash, plus }
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .unwrap()
}

fn none() -> impl FnMut(&mut [u8]) {
    |_: &mut [u8]| unreachable!("no random numbers here")
}

/// One honest exchange, with few iterations.
struct Exchange {
    name: &'static str,
    credentials: ClientCredentials,
    options: ServerOptions,
    host: Accounts,
}

impl Exchange {
    fn new(name: &'static str) -> Self {
        let bindings = ChannelBindings::none()
            .with(ChannelBindingType::TlsExporter, [7; 32])
            .with(ChannelBindingType::TlsServerEndPoint, [8; 32]);
        let plus = name.ends_with("-PLUS");
        Self {
            name,
            credentials: ClientCredentials {
                username: Some(USER.to_owned()),
                password: Some(Password::new("wherefore")),
                channel_bindings: if plus {
                    bindings.clone()
                } else {
                    ChannelBindings::none()
                },
                iterations: IterationBounds { min: 1, max: 10 },
                ..ClientCredentials::new("xmpp", "montague.example")
            },
            options: ServerOptions {
                channel_bindings: if plus {
                    bindings
                } else {
                    ChannelBindings::none()
                },
                iterations: 2,
                ..ServerOptions::new("xmpp", "montague.example")
            },
            host: Accounts {
                password: Some("wherefore"),
                ..Accounts::default()
            },
        }
    }

    /// The client's first message and what the server answers.
    fn first(&mut self) -> (String, Box<dyn Client>, ServerStep) {
        let client = crate::client(self.name, &self.credentials).unwrap();
        assert_eq!(client.name(), self.name);
        let mut random = |out: &mut [u8]| getrandom::fill(out).unwrap();
        let ClientStep::Respond(message, client) = client.step(ClientInput::Start, &mut random)
        else {
            panic!("no initial response")
        };
        let server = crate::server(self.name, &self.options).unwrap();
        assert_eq!(server.name(), self.name);
        assert!(server.is_heavy());
        let step = server.step(Some(&message), &mut self.host);
        (String::from_utf8(message).unwrap(), client, step)
    }

    /// To the end: what the server says, and whether the client is satisfied.
    fn run(mut self) -> Result<(Identity, Accounts), End> {
        let (_, client, step) = self.first();
        let (challenge, server) = match step {
            ServerStep::Challenge(challenge, server) => (challenge, server),
            ServerStep::Failure(failure) => return Err(End::Server(failure)),
            ServerStep::Success { .. } => panic!("too early"),
        };
        let (response, client) = match client.step(ClientInput::Challenge(&challenge), &mut none())
        {
            ClientStep::Respond(response, client) => (response, client),
            ClientStep::Abort(error) => return Err(End::Client(error)),
            step => panic!("{step:?}"),
        };
        assert!(!server.is_heavy() && !client.is_heavy());
        match server.step(Some(&response), &mut self.host) {
            ServerStep::Success { identity, data } => {
                // With success, or as a challenge.
                let success = ClientInput::Success(data.as_deref());
                match client.step(success, &mut none()) {
                    ClientStep::Authenticated => Ok((identity, self.host)),
                    step => panic!("{step:?}"),
                }
            }
            ServerStep::Failure(failure) => Err(End::Server(failure)),
            ServerStep::Challenge(message, server) => {
                let ClientStep::Abort(error) =
                    client.step(ClientInput::Challenge(&message), &mut none())
                else {
                    panic!("it goes on")
                };
                let end = server.step(Some(b""), &mut self.host);
                assert!(matches!(end, ServerStep::Failure(_)));
                Err(End::Client(error))
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum End {
    Server(Failure),
    Client(ClientError),
}

const NAMES: [&str; 6] = [
    "SCRAM-SHA-1",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-512-PLUS",
];

#[test]
fn both_ends_understand_each_other() {
    for name in NAMES {
        let (_, client, _) = Exchange::new(name).first();
        assert!(client.is_heavy());
        let mut exchange = Exchange::new(name);
        exchange.credentials.authzid = Some("x=y,z".to_owned());
        let (identity, host) = exchange.run().unwrap();
        assert_eq!(
            identity,
            Identity {
                authcid: Some(USER.to_owned()),
                authzid: Some("x=y,z".to_owned()),
                mechanism: name,
            }
        );
        assert_eq!(host.asked, [USER, "capulet.example as Some(\"x=y,z\")"]);
    }
}

#[test]
fn a_wrong_password_does_not_get_in() {
    for name in NAMES {
        let mut exchange = Exchange::new(name);
        exchange.credentials.password = Some(Password::new("Wherefore"));
        assert_eq!(
            exchange.run().unwrap_err(),
            End::Server(Failure::NotAuthorized)
        );
        let mut exchange = Exchange::new(name);
        exchange.host.password = None;
        assert_eq!(
            exchange.run().unwrap_err(),
            End::Server(Failure::NotAuthorized)
        );
    }
}

#[test]
fn who_may_not_act_as_somebody_is_told_so_after_the_proof_only() {
    let mut exchange = Exchange::new("SCRAM-SHA-256");
    exchange.host.authorize = Some(Failure::InvalidAuthzid);
    assert_eq!(
        exchange.run().unwrap_err(),
        End::Server(Failure::InvalidAuthzid)
    );
    let mut exchange = Exchange::new("SCRAM-SHA-256");
    exchange.host.authorize = Some(Failure::InvalidAuthzid);
    exchange.credentials.password = Some(Password::new("wrong"));
    assert_eq!(
        exchange.run().unwrap_err(),
        End::Server(Failure::NotAuthorized)
    );
}

#[test]
fn names_and_passwords_are_prepared_on_both_sides() {
    let mut exchange = Exchange::new("SCRAM-SHA-1");
    exchange.credentials.username = Some("capulet\u{ad}.example".to_owned());
    exchange.credentials.password = Some(Password::new("\u{2168}"));
    exchange.host.password = Some("IX");
    assert!(exchange.run().is_ok());

    let start = |username: &str, password: &str, authzid: Option<&str>| {
        let mut exchange = Exchange::new("SCRAM-SHA-1");
        exchange.credentials.username = Some(username.to_owned());
        exchange.credentials.password = Some(Password::new(password));
        exchange.credentials.authzid = authzid.map(str::to_owned);
        crate::client(exchange.name, &exchange.credentials)
            .unwrap()
            .step(ClientInput::Start, &mut |_: &mut [u8]| ())
    };
    for (username, password, authzid) in [
        ("", "secret", None),
        ("\u{ad}", "secret", None),
        ("a\u{7}", "secret", None),
        ("a", "sec\u{7}ret", None),
        ("a", "\u{1f511}", None),
        ("a", "secret", Some("a\0b")),
        ("a", "secret", Some("a".repeat(9000).as_str())),
    ] {
        let step = start(username, password, authzid);
        assert!(
            matches!(step, ClientStep::Abort(ClientError::NotEncodable(_))),
            "{step:?}"
        );
    }
}

#[test]
fn without_an_initial_response_there_is_one_empty_challenge() {
    let mut exchange = Exchange::new("SCRAM-SHA-1");
    let server = crate::server(exchange.name, &exchange.options).unwrap();
    let ServerStep::Challenge(challenge, server) = server.step(None, &mut exchange.host) else {
        panic!("no challenge")
    };
    assert!(challenge.is_empty() && server.is_heavy());
    let step = server.step(Some(b"n,,n=a,r=b"), &mut exchange.host);
    assert!(matches!(step, ServerStep::Challenge(..)));
    let server = crate::server(exchange.name, &exchange.options).unwrap();
    let ServerStep::Challenge(_, server) = server.step(None, &mut exchange.host) else {
        panic!("no challenge")
    };
    assert!(matches!(
        server.step(None, &mut exchange.host),
        ServerStep::Failure(Failure::MalformedRequest)
    ));
}
