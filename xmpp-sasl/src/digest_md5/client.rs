//! The side that proves itself first, and wants proof in return.

use std::fmt;

use subtle::ConstantTimeEq;

use super::digest::{HexDigest, Secret, latin1};
use super::directives::Malformed;
use super::message::{Challenge, RESPONSE_BOUND, Response, Rspauth};
use super::{NAME, NONCE, decode, digest_uri, nonce};
use crate::mechanism::AwaitOutcome;
use crate::{Client, ClientError, ClientInput, ClientStep, Password, Random};

pub(crate) fn client(account: Account) -> Box<dyn Client> {
    Box::new(ClientStart { account })
}

/// Whose password for which service.
#[derive(Debug)]
pub(crate) struct Account {
    pub(super) username: String,
    pub(super) password: Password,
    pub(super) realm: Option<String>,
    pub(super) authzid: Option<String>,
    pub(super) host: String,
    pub(super) digest_uri: String,
}

impl Account {
    /// An account at a service on a host.
    pub(crate) fn new(username: String, password: Password, service: &str, host: &str) -> Self {
        Self {
            username,
            password,
            realm: None,
            authzid: None,
            host: host.to_owned(),
            digest_uri: digest_uri(service, host),
        }
    }

    /// In this realm, and to act as this identity.
    pub(crate) fn with(self, realm: Option<String>, authzid: Option<String>) -> Self {
        Self {
            realm,
            // RFC 6120 §6.6: an empty one is the same as none. It would be hashed differently.
            authzid: authzid.filter(|authzid| !authzid.is_empty()),
            ..self
        }
    }
}

#[derive(Debug)]
struct ClientStart {
    account: Account,
}

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Start => ClientStep::Wait(Box::new(AwaitChallenge {
                account: self.account,
            })),
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

#[derive(Debug)]
struct AwaitChallenge {
    account: Account,
}

impl Client for AwaitChallenge {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, random: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Challenge(challenge) => {
                let mut octets = [0; NONCE];
                random.fill(&mut octets);
                match self.account.answer(challenge, &nonce(octets)) {
                    Ok((response, next)) => ClientStep::Respond(response, Box::new(next)),
                    Err(error) => ClientStep::Abort(error),
                }
            }
            ClientInput::Success(_) => ClientStep::Abort(ClientError::ServerNotAuthenticated),
            ClientInput::Start => ClientStep::Abort(ClientError::Unexpected),
        }
    }
}

impl Account {
    pub(super) fn answer(
        &self,
        challenge: &[u8],
        cnonce: &str,
    ) -> Result<(Vec<u8>, AwaitProof), ClientError> {
        let challenge = Challenge::parse(challenge)?;
        if !challenge.auth {
            return Err(ClientError::Unsupported("a security layer"));
        }
        let encode = |text: &str, what| match (challenge.utf8, latin1(text)) {
            (true, _) => Ok(text.as_bytes().to_vec()),
            (false, Some(octets)) => Ok(octets.to_vec()),
            (false, None) => Err(ClientError::NotEncodable(what)),
        };
        if !challenge.utf8 && latin1(self.password.as_str()).is_none() {
            return Err(ClientError::NotEncodable(
                "the password is not in ISO 8859-1, and the server knows nothing else",
            ));
        }
        let (realm, realm_octets) = match self.choose_realm(&challenge)? {
            (realm, Some(octets)) => (realm, octets),
            (realm, None) => {
                let octets = encode(
                    &realm,
                    "the realm is not in ISO 8859-1, and the server knows nothing else",
                )?;
                (realm, octets)
            }
        };

        let mut response = Response {
            username: encode(
                &self.username,
                "the name is not in ISO 8859-1, and the server knows nothing else",
            )?,
            realm: Some(realm_octets),
            nonce: challenge.nonce,
            cnonce: cnonce.into(),
            nc: b"00000001".to_vec(),
            qop: b"auth".to_vec(),
            digest_uri: self.digest_uri.clone().into_bytes(),
            response: [0; 32],
            utf8: challenge.utf8,
            authzid: self.authzid.clone().map(String::into_bytes),
        };
        let secret = Secret::new(&self.username, &realm, self.password.as_str());
        let expected = response.parameters().rspauth(&secret);
        response.response = response.parameters().response(&secret);
        let message = response.write();
        if message.len() >= RESPONSE_BOUND {
            return Err(ClientError::NotEncodable(
                "the response would be 4096 bytes or longer",
            ));
        }
        Ok((message, AwaitProof { expected }))
    }

    /// The realm, and its octets if the server named it. §2.1.1 leaves the choice, and a default, to us.
    fn choose_realm(
        &self,
        challenge: &Challenge,
    ) -> Result<(String, Option<Vec<u8>>), ClientError> {
        let mut offered = Vec::new();
        for octets in &challenge.realms {
            offered.push((decode(octets, challenge.utf8)?, octets.clone()));
        }
        let find = |wanted: &str| offered.iter().find(|(realm, _)| realm == wanted).cloned();
        let chosen = match &self.realm {
            Some(realm) if offered.is_empty() => return Ok((realm.clone(), None)),
            Some(realm) => find(realm).ok_or(ClientError::RealmNotOffered)?,
            None => match find(&self.host).or_else(|| offered.first().cloned()) {
                Some(chosen) => chosen,
                None => return Ok((self.host.clone(), None)),
            },
        };
        Ok((chosen.0, Some(chosen.1)))
    }
}

/// The response is out; now the server has to show that it knows the password too.
pub(super) struct AwaitProof {
    pub(super) expected: HexDigest,
}

impl AwaitProof {
    pub(super) fn check(&self, message: &[u8]) -> Result<(), ClientError> {
        let proof = Rspauth::parse(message)?;
        if proof.ct_eq(&self.expected).into() {
            Ok(())
        } else {
            Err(ClientError::ServerNotAuthenticated)
        }
    }
}

impl Client for AwaitProof {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Challenge(message) => match self.check(message) {
                Ok(()) => ClientStep::Respond(Vec::new(), Box::new(AwaitOutcome(NAME))),
                Err(error) => ClientStep::Abort(error),
            },
            // RFC 6120 §6.4.6 lets a server save a round trip and send its proof with success.
            ClientInput::Success(Some(message)) => match self.check(message) {
                Ok(()) => ClientStep::Authenticated,
                Err(error) => ClientStep::Abort(error),
            },
            ClientInput::Success(None) => ClientStep::Abort(ClientError::ServerNotAuthenticated),
            ClientInput::Start => ClientStep::Abort(ClientError::Unexpected),
        }
    }
}

impl fmt::Debug for AwaitProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitProof")
    }
}

impl From<Malformed> for ClientError {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Malformed(why)
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{AwaitResponse, ServerStart};
    use super::super::tests::{Accounts, account, example};
    use super::*;
    use crate::{ClientCredentials, Server, ServerStep};

    fn client(credentials: &ClientCredentials) -> Option<Box<dyn Client>> {
        crate::client(NAME, credentials).ok()
    }

    #[track_caller]
    fn check_realm(
        configured: Option<&str>,
        offered: &str,
        want: Result<Option<&[u8]>, ClientError>,
    ) {
        let account = Account {
            realm: configured.map(str::to_owned),
            host: "host.example".into(),
            ..account(example())
        };
        let challenge = format!("{offered}nonce=\"n\",charset=utf-8,algorithm=md5-sess");
        let got = account
            .answer(challenge.as_bytes(), "c")
            .map(|(message, _)| Response::parse(&message).unwrap().realm);
        assert_eq!(got, want.map(|realm| realm.map(<[u8]>::to_vec)));
    }

    #[test]
    fn the_realm_is_the_configured_one_or_the_host_or_the_first() {
        check_realm(Some("b"), "realm=\"a\",realm=\"b\",", Ok(Some(b"b")));
        check_realm(
            Some("c"),
            "realm=\"a\",realm=\"b\",",
            Err(ClientError::RealmNotOffered),
        );
        check_realm(Some("c"), "", Ok(Some(b"c")));
        check_realm(
            None,
            "realm=\"a\",realm=\"host.example\",",
            Ok(Some(b"host.example")),
        );
        check_realm(None, "realm=\"a\",realm=\"b\",", Ok(Some(b"a")));
        check_realm(None, "realm=\"\\\"\\\\\",", Ok(Some(b"\"\\")));
        check_realm(None, "", Ok(Some(b"host.example")));
    }

    #[test]
    fn without_utf_8_everything_is_in_iso_8859_1() {
        let challenge = b"realm=\"\xe9chec\",nonce=\"n\",algorithm=md5-sess";
        let latin = Account {
            username: "ré".into(),
            password: Password::new("päss"),
            realm: None,
            ..account(example())
        };
        let (message, _) = latin.answer(challenge, "c").unwrap();
        let response = Response::parse(&message).unwrap();
        assert!(!response.utf8);
        assert_eq!(response.username, b"r\xe9");
        assert_eq!(response.realm.as_deref(), Some(b"\xe9chec".as_slice()));

        // The other side understands: the same octets are hashed as with UTF-8.
        let asked = ServerStart {
            realms: vec!["échec".into()],
            digest_uri: latin.digest_uri.clone(),
        };
        let server = Box::new(AwaitResponse {
            asked,
            nonce: "n".into(),
        });
        let mut host = Accounts::new("ré", "päss");
        assert!(matches!(
            server.step(Some(&message), &mut host),
            ServerStep::Challenge(..)
        ));

        for cyrillic in [
            Account {
                username: "Иchris".into(),
                ..account(example())
            },
            Account {
                password: Password::new("Иsecret"),
                ..account(example())
            },
            Account {
                realm: Some("Иrealm".into()),
                ..account(example())
            },
        ] {
            let answer = cyrillic
                .answer(b"nonce=\"n\",algorithm=md5-sess", "c")
                .map(|(message, _)| message);
            assert!(
                matches!(answer, Err(ClientError::NotEncodable(_))),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn a_challenge_that_asks_for_more_is_refused() {
        let answer = |challenge: &[u8]| {
            account(example())
                .answer(challenge, "c")
                .map(|_| ())
                .unwrap_err()
        };
        let only_layers = b"nonce=\"n\",qop=\"auth-int\",algorithm=md5-sess";
        assert_eq!(
            answer(only_layers),
            ClientError::Unsupported("a security layer")
        );
        assert!(matches!(
            answer(b"nonce=\"n\",algorithm=md5"),
            ClientError::Malformed(_)
        ));
        assert!(matches!(
            answer(b"nonce=\"n\",charset=utf-8,algorithm=md5-sess,realm=\"\xff\""),
            ClientError::Malformed(_)
        ));
        let long = Account {
            username: "\"".repeat(2000),
            realm: None,
            ..account(example())
        };
        let challenge = b"nonce=\"n\",charset=utf-8,algorithm=md5-sess";
        assert!(matches!(
            long.answer(challenge, "c"),
            Err(ClientError::NotEncodable(_))
        ));
    }

    #[test]
    fn only_the_right_proof_satisfies_the_client() {
        let proof = format!("rspauth={}", example().rspauth);
        let wait = || {
            let challenge = example().challenge.unwrap().as_bytes();
            Box::new(
                account(example())
                    .answer(challenge, example().cnonce)
                    .unwrap()
                    .1,
            )
        };
        let mut random = |_: &mut [u8]| unreachable!();
        let mut step = |input: ClientInput<'_>| wait().step(input, &mut random);
        let abort = |step| match step {
            ClientStep::Abort(error) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(
            step(ClientInput::Challenge(proof.as_bytes())),
            ClientStep::Respond(..)
        ));
        assert!(matches!(
            step(ClientInput::Success(Some(proof.as_bytes()))),
            ClientStep::Authenticated
        ));
        assert_eq!(
            abort(step(ClientInput::Success(None))),
            ClientError::ServerNotAuthenticated
        );
        assert_eq!(abort(step(ClientInput::Start)), ClientError::Unexpected);
        assert!(matches!(
            abort(step(ClientInput::Success(Some(b"")))),
            ClientError::Malformed(_)
        ));
        // Our own response, sent back.
        let mirrored = format!("rspauth={}", example().response);
        assert_eq!(
            abort(step(ClientInput::Challenge(mirrored.as_bytes()))),
            ClientError::ServerNotAuthenticated
        );
        assert_eq!(
            abort(step(ClientInput::Success(Some(mirrored.as_bytes())))),
            ClientError::ServerNotAuthenticated
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let credentials = ClientCredentials {
            username: Some("chris".into()),
            password: Some(Password::new("opensesame")),
            ..ClientCredentials::new("xmpp", "example.org")
        };
        let mut random = |out: &mut [u8]| out.fill(1);
        let start = client(&credentials).unwrap();
        let mut shown = format!("{credentials:?} {start:?}");
        let ClientStep::Wait(next) = start.step(ClientInput::Start, &mut random) else {
            panic!()
        };
        shown += &format!("{next:?}");
        let step = next.step(
            ClientInput::Challenge(b"nonce=\"n\",charset=utf-8,algorithm=md5-sess"),
            &mut random,
        );
        shown += &format!("{step:?}");
        assert!(shown.contains("AwaitProof"));
        assert!(!shown.contains("opensesame"), "{shown}");
    }
}
