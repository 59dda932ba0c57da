//! The exchange against the values of other implementations, and what the tests of both sides share.

use super::client::Account;
use super::digest::{Parameters, Secret};
use super::message::{Challenge, Response, Rspauth};
use super::server::{AwaitResponse, ServerStart};
use super::vectors::{VECTORS, Vector};
use super::*;
use crate::{
    Client, ClientError, ClientInput, ClientStep, Failure, Host, Identity, Password, Server,
    ServerStep,
};

/// One account, and what was asked about it.
pub(super) struct Accounts<'a> {
    pub(super) username: &'a str,
    pub(super) password: Option<&'a str>,
    pub(super) asked_password: Vec<Option<String>>,
    pub(super) asked_authzid: Vec<Option<String>>,
    pub(super) authorize: Result<(), Failure>,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(username: &'a str, password: &'a str) -> Self {
        Self {
            username,
            password: Some(password),
            asked_password: vec![],
            asked_authzid: vec![],
            authorize: Ok(()),
        }
    }
}

impl Host for Accounts<'_> {
    fn random(&mut self, out: &mut [u8]) {
        out.fill(7);
    }

    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
        self.asked_password.push(realm.map(str::to_owned));
        self.password
            .filter(|_| authcid == self.username)
            .map(Password::new)
    }

    fn authorize(&mut self, _: &str, authzid: Option<&str>) -> Result<(), Failure> {
        self.asked_authzid.push(authzid.map(str::to_owned));
        self.authorize
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}

pub(super) fn account(vector: &Vector) -> Account {
    Account {
        username: vector.username.to_owned(),
        password: Password::new(vector.password),
        realm: Some(vector.realm.to_owned()),
        authzid: vector.authzid.map(str::to_owned),
        host: "unused.example".to_owned(),
        digest_uri: vector.digest_uri.to_owned(),
    }
}

pub(super) fn await_response(vector: &Vector) -> Box<AwaitResponse> {
    let asked = ServerStart {
        realms: vec![vector.realm.to_owned()],
        digest_uri: vector.digest_uri.to_owned(),
    };
    Box::new(AwaitResponse {
        asked,
        nonce: vector.nonce.to_owned(),
    })
}

pub(super) fn example() -> &'static Vector {
    VECTORS
        .iter()
        .find(|vector| vector.name == "gsasl-s2s-domain-authzid")
        .unwrap()
}

/// A response that is right in all but what `change` makes of it; the digest is computed over the change.
pub(super) fn response_with(vector: &Vector, change: impl FnOnce(&mut Response)) -> Vec<u8> {
    let (message, _) = account(vector)
        .answer(vector.challenge.unwrap().as_bytes(), vector.cnonce)
        .unwrap();
    let mut response = Response::parse(&message).unwrap();
    change(&mut response);
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let realm = text(response.realm.as_deref().unwrap_or_default());
    let secret = Secret::new(&text(&response.username), &realm, vector.password);
    response.response = response.parameters().response(&secret);
    response.write()
}

#[track_caller]
pub(super) fn check_response(vector: &Vector, message: &[u8], want: Result<(), Failure>) {
    let mut host = Accounts::new(vector.username, vector.password);
    match (await_response(vector).step(Some(message), &mut host), want) {
        (ServerStep::Challenge(..), Ok(())) => {}
        (ServerStep::Failure(failure), Err(want)) => assert_eq!(failure, want),
        (step, want) => panic!("{step:?}, not {want:?}"),
    }
}

// Positive vectors.

#[test]
fn every_vector_has_its_digests() {
    for vector in &VECTORS {
        // §2.1.2.1: with a security layer, which we do not do, A2 ends in 32 zeros. It is the only difference.
        let layer = if vector.qop == "auth" {
            ""
        } else {
            ":00000000000000000000000000000000"
        };
        let parameters = Parameters {
            nonce: vector.nonce.as_bytes(),
            cnonce: vector.cnonce.as_bytes(),
            nc: vector.nc.as_bytes(),
            qop: vector.qop.as_bytes(),
            digest_uri: &[vector.digest_uri, layer].concat().into_bytes(),
            authzid: vector.authzid.map(str::as_bytes),
        };
        let secret = Secret::new(vector.username, vector.realm, vector.password);
        assert_eq!(
            parameters.response(&secret),
            vector.response.as_bytes(),
            "{}",
            vector.name
        );
        assert_eq!(
            parameters.rspauth(&secret),
            vector.rspauth.as_bytes(),
            "{}",
            vector.name
        );
    }
}

#[test]
fn our_client_answers_their_challenges() {
    let mut answered = 0;
    for vector in VECTORS
        .iter()
        .filter(|vector| vector.nc == "00000001" && vector.qop == "auth")
    {
        let Some(challenge) = vector.challenge else {
            continue;
        };
        answered += 1;
        let (message, next) = account(vector)
            .answer(challenge.as_bytes(), vector.cnonce)
            .unwrap();
        let response = Response::parse(&message).unwrap();
        assert_eq!(
            response.response,
            vector.response.as_bytes(),
            "{}",
            vector.name
        );
        assert!(response.utf8, "{}", vector.name);

        let proof = format!("rspauth={}", vector.rspauth);
        let mut random = |_: &mut [u8]| unreachable!();
        let step = Box::new(next).step(ClientInput::Challenge(proof.as_bytes()), &mut random);
        let ClientStep::Respond(last, next) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert!(last.is_empty());
        assert!(matches!(
            next.step(ClientInput::Success(None), &mut random),
            ClientStep::Authenticated
        ));
    }
    assert_eq!(answered, 14);
}

#[test]
fn our_server_accepts_their_responses() {
    let mut accepted = 0;
    for vector in &VECTORS {
        let Some(message) = vector.client_message else {
            continue;
        };
        accepted += 1;
        let mut host = Accounts::new(vector.username, vector.password);
        let step = await_response(vector).step(Some(message.as_bytes()), &mut host);
        let ServerStep::Challenge(proof, next) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            format!("rspauth={}", vector.rspauth),
            "{}",
            vector.name
        );
        let ServerStep::Success {
            identity,
            data: None,
        } = next.step(Some(b""), &mut host)
        else {
            panic!()
        };
        let want = Identity {
            authcid: Some(vector.username.to_owned()),
            authzid: vector.authzid.map(str::to_owned),
            mechanism: "DIGEST-MD5",
        };
        assert_eq!(identity, want);
        assert_eq!(host.asked_authzid, [vector.authzid.map(str::to_owned)]);
        assert_eq!(host.asked_password, [Some(vector.realm.to_owned())]);
    }
    assert_eq!(accepted, 12);
}

#[test]
fn vectors_without_messages_pass_between_our_own_ends() {
    for vector in VECTORS
        .iter()
        .filter(|vector| vector.nc == "00000001" && vector.qop == "auth")
    {
        let challenge = Challenge::write(&[vector.realm.to_owned()], vector.nonce);
        let (message, _) = account(vector).answer(&challenge, vector.cnonce).unwrap();
        let mut host = Accounts::new(vector.username, vector.password);
        let step = await_response(vector).step(Some(&message), &mut host);
        let ServerStep::Challenge(proof, _) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            format!("rspauth={}", vector.rspauth),
            "{}",
            vector.name
        );
    }
}

// RFC 3920 prints the `response` and `rspauth` of RFC 2831's IMAP example (user chris at elwood.innosoft.com) in its own
// exchanges, where they cannot verify with any password known. It is good for reading, and as a refusal.

struct Broken {
    username: &'static str,
    digest_uri: &'static str,
    challenge: &'static str,
    response: &'static str,
    right_response: &'static str,
    right_rspauth: &'static str,
}

const RFC_3920: [Broken; 2] = [
    // §6.5, client to server.
    Broken {
        username: "somenode",
        digest_uri: "xmpp/example.com",
        challenge: "cmVhbG09InNvbWVyZWFsbSIsbm9uY2U9Ik9BNk1HOXRFUUdtMmhoIixxb3A9ImF1dGgiLGNoYXJzZXQ9dXRmLTgsYWxnb3JpdGhtPW1kNS1zZXNzCg==",
        response: "dXNlcm5hbWU9InNvbWVub2RlIixyZWFsbT0ic29tZXJlYWxtIixub25jZT0iT0E2TUc5dEVRR20yaGgiLGNub25jZT0iT0E2TUhYaDZWcVRyUmsiLG5jPTAwMDAwMDAxLHFvcD1hdXRoLGRpZ2VzdC11cmk9InhtcHAvZXhhbXBsZS5jb20iLHJlc3BvbnNlPWQzODhkYWQ5MGQ0YmJkNzYwYTE1MjMyMWYyMTQzYWY3LGNoYXJzZXQ9dXRmLTgK",
        right_response: "bcd3bf09ea08e8eac894e126fe733713",
        right_rspauth: "562f859abce5b7d9b3fba16b45be1c56",
    },
    // §6.6, server to server.
    Broken {
        username: "example.org",
        digest_uri: "xmpp/example.org",
        challenge: "cmVhbG09InNvbWVyZWFsbSIsbm9uY2U9Ik9BNk1HOXRFUUdtMmhoIixxb3A9ImF1dGgiLGNoYXJzZXQ9dXRmLTgsYWxnb3JpdGhtPW1kNS1zZXNz",
        response: "dXNlcm5hbWU9ImV4YW1wbGUub3JnIixyZWFsbT0ic29tZXJlYWxtIixub25jZT0iT0E2TUc5dEVRR20yaGgiLGNub25jZT0iT0E2TUhYaDZWcVRyUmsiLG5jPTAwMDAwMDAxLHFvcD1hdXRoLGRpZ2VzdC11cmk9InhtcHAvZXhhbXBsZS5vcmciLHJlc3BvbnNlPWQzODhkYWQ5MGQ0YmJkNzYwYTE1MjMyMWYyMTQzYWY3LGNoYXJzZXQ9dXRmLTgK",
        right_response: "62719bcf90a3a6dce9e9564c2ba05f4e",
        right_rspauth: "eb0e3b49b7af8e4a7d3c7ffc8a40f866",
    },
];

const RFC_3920_RSPAUTH: &str = "cnNwYXV0aD1lYTQwZjYwMzM1YzQyN2I1NTI3Yjg0ZGJhYmNkZmZmZAo=";

#[test]
fn the_exchange_printed_in_rfc_3920_is_read_but_not_believed() {
    for broken in &RFC_3920 {
        let vector = Vector {
            name: "",
            username: broken.username,
            realm: "somerealm",
            password: "secret",
            authzid: None,
            nonce: "OA6MG9tEQGm2hh",
            cnonce: "OA6MHXh6VqTrRk",
            nc: "00000001",
            qop: "auth",
            digest_uri: broken.digest_uri,
            response: broken.right_response,
            rspauth: broken.right_rspauth,
            challenge: None,
            client_message: None,
        };
        let printed = STANDARD.decode(broken.response).unwrap();
        assert_eq!(
            Response::parse(&printed).unwrap().response,
            *b"d388dad90d4bbd760a152321f2143af7"
        );
        check_response(&vector, &printed, Err(Failure::NotAuthorized));

        let (right, next) = account(&vector)
            .answer(&STANDARD.decode(broken.challenge).unwrap(), vector.cnonce)
            .unwrap();
        assert_eq!(
            Response::parse(&right).unwrap().response,
            broken.right_response.as_bytes()
        );
        assert_eq!(next.expected, broken.right_rspauth.as_bytes());
        check_response(&vector, &right, Ok(()));

        let proof = STANDARD.decode(RFC_3920_RSPAUTH).unwrap();
        assert_eq!(
            Rspauth::parse(&proof),
            Ok(*b"ea40f60335c427b5527b84dbabcdfffd")
        );
        assert_eq!(next.check(&proof), Err(ClientError::ServerNotAuthenticated));
    }
}
