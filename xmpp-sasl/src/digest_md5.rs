//! DIGEST-MD5 (RFC 2831; made historic by RFC 6331): both sides show that they know a password without sending it.
//!
//! ```text
//! initiating                                asking
//!     |  (no initial response)                 |
//!     |--------------------------------------->|
//!     |  realm, nonce, qop, charset, algorithm |
//!     |<---------------------------------------|
//!     |  username, cnonce, response, …         |
//!     |--------------------------------------->|
//!     |  rspauth                               |
//!     |<---------------------------------------|
//!     |  (empty)                               |
//!     |--------------------------------------->|
//!     |  success                               |
//!     |<---------------------------------------|
//! ```
//!
//! Left out: security layers (`auth-int`, `auth-conf`) and subsequent authentication (§2.2), which XMPP has no use for.

mod digest;
mod directives;
mod message;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use self::digest::{HexDigest, Parameters, Secret, latin1};
use self::directives::Malformed;
use self::message::{CHALLENGE_BOUND, Challenge, RESPONSE_BOUND, Response, Rspauth};
use crate::registry::Mechanism;
use crate::{
    Client, ClientCredentials, ClientError, ClientInput, ClientStep, Failure, Host, Identity,
    Password, Random, Server, ServerOptions, ServerStep,
};

const NAME: &str = "DIGEST-MD5";

pub(crate) const MECHANISM: Mechanism = Mechanism {
    name: NAME,
    client,
    server,
};

fn client(credentials: &ClientCredentials) -> Option<Box<dyn Client>> {
    let account = Account {
        username: credentials.username.clone()?,
        password: credentials.password.clone()?,
        realm: credentials.realm.clone(),
        // RFC 6120 §6.6: an empty one is the same as none. It would be hashed differently.
        authzid: credentials
            .authzid
            .clone()
            .filter(|authzid| !authzid.is_empty()),
        host: credentials.host.clone(),
        digest_uri: digest_uri(&credentials.service, &credentials.host),
    };
    Some(Box::new(Initiating { account }))
}

fn server(options: &ServerOptions) -> Option<Box<dyn Server>> {
    let asking = Asking {
        realms: options.realms.clone(),
        digest_uri: digest_uri(&options.service, &options.host),
    };
    // Every nonce has the same length. Realms that make the challenge too long cannot be offered.
    let challenge = Challenge::write(&asking.realms, &nonce([0; NONCE]));
    (challenge.len() < CHALLENGE_BOUND).then(|| Box::new(asking) as Box<dyn Server>)
}

/// §2.1.2: `serv-type "/" host`. Between XMPP servers the host is the receiving domain, the stream's `to`.
fn digest_uri(service: &str, host: &str) -> String {
    format!("{service}/{host}")
}

/// Random octets in a nonce or cnonce; §2.1.1 recommends 8 or more. A multiple of 3 needs no padding.
const NONCE: usize = 18;

fn nonce(octets: [u8; NONCE]) -> String {
    STANDARD.encode(octets)
}

/// The text of a name or realm. Without `charset=utf-8` it is ISO 8859-1.
fn decode(octets: &[u8], utf8: bool) -> Result<String, Malformed> {
    match std::str::from_utf8(octets) {
        // COMPAT(Cyrus SASL 2.1.28): its client sends UTF-8 without saying so. Real ISO 8859-1 text outside ASCII is
        // hardly ever UTF-8 by accident.
        Ok(text) => Ok(text.to_owned()),
        Err(_) if utf8 => Err(Malformed("a name is not in UTF-8")),
        Err(_) => Ok(octets.iter().map(|&octet| char::from(octet)).collect()),
    }
}

// The initiating side.

#[derive(Debug)]
struct Account {
    username: String,
    password: Password,
    realm: Option<String>,
    authzid: Option<String>,
    host: String,
    digest_uri: String,
}

#[derive(Debug)]
struct Initiating {
    account: Account,
}

impl Client for Initiating {
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
    fn answer(&self, challenge: &[u8], cnonce: &str) -> Result<(Vec<u8>, AwaitProof), ClientError> {
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
struct AwaitProof {
    expected: HexDigest,
}

impl AwaitProof {
    fn check(&self, message: &[u8]) -> Result<(), ClientError> {
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
                Ok(()) => ClientStep::Respond(Vec::new(), Box::new(AwaitOutcome)),
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

/// The server has proved itself; has it accepted us?
#[derive(Debug)]
struct AwaitOutcome;

impl Client for AwaitOutcome {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Success(None | Some([])) => ClientStep::Authenticated,
            ClientInput::Success(Some(_)) | ClientInput::Challenge(_) | ClientInput::Start => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

impl From<Malformed> for ClientError {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Malformed(why)
    }
}

// The asking side.

#[derive(Debug)]
struct Asking {
    realms: Vec<String>,
    digest_uri: String,
}

impl Server for Asking {
    fn name(&self) -> &'static str {
        NAME
    }

    /// An initial response is an attempt at subsequent authentication. §2.2.2: "If the server does not support
    /// subsequent authentication, then it sends a digest-challenge".
    fn step(self: Box<Self>, _: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let mut octets = [0; NONCE];
        host.random(&mut octets);
        let nonce = nonce(octets);
        let challenge = Challenge::write(&self.realms, &nonce);
        ServerStep::Challenge(
            challenge,
            Box::new(AwaitResponse {
                asked: *self,
                nonce,
            }),
        )
    }
}

#[derive(Debug)]
struct AwaitResponse {
    asked: Asking,
    nonce: String,
}

impl Server for AwaitResponse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let judged = input
            .ok_or(Failure::MalformedRequest)
            .and_then(|message| self.judge(message, host));
        match judged {
            Ok((proof, identity)) => {
                ServerStep::Challenge(proof, Box::new(AwaitAcceptance { identity }))
            }
            Err(failure) => ServerStep::Failure(failure),
        }
    }
}

impl AwaitResponse {
    /// Our proof and the peer's identity, if the response is right (§2.1.3).
    fn judge(&self, message: &[u8], host: &mut dyn Host) -> Result<(Vec<u8>, Identity), Failure> {
        let response = Response::parse(message)?;
        let username = decode(&response.username, response.utf8)?;
        let realm = response
            .realm
            .as_deref()
            .map(|realm| decode(realm, response.utf8))
            .transpose()?;
        // "encoded in UTF-8", whatever the charset. RFC 6120 §6.6: empty is the same as absent.
        let authzid = response
            .authzid
            .clone()
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| Failure::MalformedRequest)?;
        let authzid = authzid.filter(|authzid| !authzid.is_empty());
        // "its value MUST be one of the alternatives in qop-options": we offered one.
        if !response.qop.eq_ignore_ascii_case(b"auth") {
            return Err(Failure::MalformedRequest);
        }

        // The nonce is ours and fresh, so a response seen before has another; its count is 1 for that reason.
        let ours = response.nonce == self.nonce.as_bytes()
            && response.nc == b"00000001"
            && response
                .digest_uri
                .eq_ignore_ascii_case(self.asked.digest_uri.as_bytes())
            && (self.asked.realms.is_empty()
                || realm
                    .as_ref()
                    .is_some_and(|realm| self.asked.realms.contains(realm)));
        if !ours {
            return Err(Failure::NotAuthorized);
        }

        let password = host.password(&username, realm.as_deref());
        // An unknown name takes the same time as a wrong password.
        let known = password.is_some();
        let password = password.unwrap_or_else(|| Password::new(""));
        let secret = Secret::new(
            &username,
            realm.as_deref().unwrap_or_default(),
            password.as_str(),
        );
        let parameters = response.parameters();
        let right: bool = parameters
            .response(&secret)
            .ct_eq(&response.response)
            .into();
        if !(known && right) {
            return Err(Failure::NotAuthorized);
        }

        host.authorize(&username, authzid.as_deref())?;
        let proof = Rspauth::write(&parameters.rspauth(&secret));
        Ok((
            proof,
            Identity {
                authcid: Some(username),
                authzid,
                mechanism: NAME,
            },
        ))
    }
}

impl Response {
    fn parameters(&self) -> Parameters<'_> {
        Parameters {
            nonce: &self.nonce,
            cnonce: &self.cnonce,
            nc: &self.nc,
            qop: &self.qop,
            digest_uri: &self.digest_uri,
            authzid: self.authzid.as_deref(),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::MalformedRequest
    }
}

/// The peer has proved itself and has our proof; is it satisfied?
#[derive(Debug)]
struct AwaitAcceptance {
    identity: Identity,
}

impl Server for AwaitAcceptance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, _: &mut dyn Host) -> ServerStep {
        match input {
            Some([] | [b'\n']) => ServerStep::Success {
                identity: self.identity,
                data: None,
            },
            Some(_) | None => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}
