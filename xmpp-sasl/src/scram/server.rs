//! The side that asks, knows no password, and proves that it knows the account.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};

use super::error::Refusal;
use super::message::{BindingFlag, ClientFinal, ClientFirst};
use super::{NONCE, Name, auth_message, cbind_input, downgrade_protection, nonce, xor};
use crate::saslprep;
use crate::{
    ChannelBindingType, ChannelBindings, Failure, Host, Identity, Offer, ScramError, ScramHash,
    ScramKeys, ScramParameters, Server, ServerSecret, ServerStep,
};

/// What a server has, and what it said of itself.
pub(crate) struct Options {
    pub(crate) bindings: ChannelBindings,
    pub(crate) offer: Offer,
    pub(crate) secret: Option<ServerSecret>,
    pub(crate) iterations: u32,
    pub(crate) says_why: bool,
}

pub(crate) fn server(name: Name, options: Options) -> Option<Box<dyn Server>> {
    // There is nothing to bind to, so the -PLUS form does not exist here.
    if name.plus && options.bindings.is_empty() {
        return None;
    }
    // §6: whether the server "supports channel binding" in the eyes of the client.
    let offers_plus = if options.offer.is_known() {
        options.offer.has_plus()
    } else {
        !options.bindings.is_empty()
    };
    Some(Box::new(ServerStart {
        name,
        bindings: options.bindings,
        offers_plus,
        downgrade_protection: downgrade_protection(&options.offer, name.hash),
        secret: options.secret,
        iterations: options.iterations.max(1),
        says_why: options.says_why,
    }))
}

#[derive(Debug, Clone)]
struct ServerStart {
    name: Name,
    bindings: ChannelBindings,
    offers_plus: bool,
    downgrade_protection: Option<String>,
    secret: Option<ServerSecret>,
    iterations: u32,
    says_why: bool,
}

impl Server for ServerStart {
    fn name(&self) -> &'static str {
        self.name.as_str()
    }

    fn is_heavy(&self) -> bool {
        true
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let Some(message) = input else {
            // RFC 4422 §3: a mechanism in which the client speaks first, without an initial response.
            return ServerStep::Challenge(Vec::new(), Box::new(AwaitFirst(*self)));
        };
        let says_why = self.says_why;
        let name = self.name;
        match (*self).challenge(message, host) {
            Ok((challenge, next)) => ServerStep::Challenge(challenge, Box::new(next)),
            Err(refusal) => refuse(name, refusal, says_why),
        }
    }
}

/// The empty challenge is out.
#[derive(Debug)]
struct AwaitFirst(ServerStart);

impl Server for AwaitFirst {
    fn name(&self) -> &'static str {
        self.0.name.as_str()
    }

    fn is_heavy(&self) -> bool {
        true
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        match input {
            Some(message) => Box::new(self.0).step(Some(message), host),
            None => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

impl ServerStart {
    fn challenge(
        self,
        message: &[u8],
        host: &mut dyn Host,
    ) -> Result<(Vec<u8>, AwaitProof), Refusal> {
        let first = ClientFirst::parse(message)?;
        let data = self.binding_data(first.flag)?;
        let username = saslprep::name(&first.username).ok_or(Refusal {
            failure: Failure::MalformedRequest,
            error: ScramError::InvalidUsernameEncoding,
        })?;

        let mut octets = [0; NONCE];
        host.random(&mut octets);
        let nonce = format!("{}{}", first.nonce, nonce(octets));
        let parameters = ScramParameters {
            hash: self.name.hash,
            salt: self.salt(&username, host),
            iterations: self.iterations,
        };
        // An unknown name goes the same way as a known one, to the last check.
        let keys = host
            .scram_keys(&username, &parameters)
            .filter(|keys| keys.hash() == parameters.hash);
        let known = keys.is_some();
        let keys = match keys {
            Some(keys) => keys,
            None => decoy(&parameters, host).ok_or(Refusal {
                failure: Failure::TemporaryAuthFailure,
                error: ScramError::OtherError,
            })?,
        };

        let mut challenge = format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(keys.salt()),
            keys.iterations()
        );
        if let Some(hash) = &self.downgrade_protection {
            challenge.push_str(",h=");
            challenge.push_str(hash);
        }
        let next = AwaitProof {
            cbind_input: cbind_input(first.gs2_header, &data),
            bare: first.bare.to_owned(),
            challenge: challenge.clone(),
            nonce,
            username: username.into_owned(),
            authzid: first.authzid,
            keys,
            known: Choice::from(u8::from(known)),
            name: self.name,
            says_why: self.says_why,
        };
        Ok((challenge.into_bytes(), next))
    }

    /// §6: what the client's flag asks for, if that can be had under this name.
    fn binding_data(&self, flag: BindingFlag<'_>) -> Result<Vec<u8>, Refusal> {
        let refused = |failure, error| Err(Refusal { failure, error });
        match flag {
            BindingFlag::None if !self.name.plus => Ok(Vec::new()),
            // It saw no -PLUS where we offered one: an attacker took it away.
            BindingFlag::NotOffered if self.offers_plus => refused(
                Failure::NotAuthorized,
                ScramError::ServerDoesSupportChannelBinding,
            ),
            BindingFlag::NotOffered if !self.name.plus => Ok(Vec::new()),
            BindingFlag::None | BindingFlag::NotOffered => {
                refused(Failure::MalformedRequest, ScramError::OtherError)
            }
            BindingFlag::Bound(_) if !self.name.plus => refused(
                Failure::MalformedRequest,
                ScramError::ChannelBindingNotSupported,
            ),
            BindingFlag::Bound(kind) => {
                match ChannelBindingType::from_name(kind).and_then(|kind| self.bindings.get(kind)) {
                    Some(data) => Ok(data.to_vec()),
                    None => refused(
                        Failure::NotAuthorized,
                        ScramError::UnsupportedChannelBindingType,
                    ),
                }
            }
        }
    }

    /// Of the name and the server's secret; without a secret, of chance.
    fn salt(&self, username: &str, host: &mut dyn Host) -> Vec<u8> {
        let mut salt = vec![0; 16];
        match &self.secret {
            None => host.random(&mut salt),
            Some(secret) => {
                let of = ["salt", self.name.hash.mechanism(), username].join("\0");
                let mac = ScramHash::Sha256.hmac(secret.as_bytes(), of.as_bytes());
                salt.iter_mut()
                    .zip(mac.iter())
                    .for_each(|(to, from)| *to = *from);
            }
        }
        salt
    }
}

/// Keys that no password has.
fn decoy(parameters: &ScramParameters, host: &mut dyn Host) -> Option<ScramKeys> {
    let mut keys = vec![0; 2 * parameters.hash.length()];
    host.random(&mut keys);
    let (stored_key, server_key) = keys.split_at(parameters.hash.length());
    ScramKeys::new(
        parameters.hash,
        &parameters.salt,
        parameters.iterations,
        stored_key,
        server_key,
    )
    .ok()
}

/// The challenge is out.
pub(super) struct AwaitProof {
    pub(super) name: Name,
    pub(super) cbind_input: String,
    /// `client-first-message-bare`, as it came.
    pub(super) bare: String,
    /// `server-first-message`.
    pub(super) challenge: String,
    pub(super) nonce: String,
    pub(super) username: String,
    pub(super) authzid: Option<String>,
    pub(super) keys: ScramKeys,
    /// Whether the keys are those of a known name.
    pub(super) known: Choice,
    pub(super) says_why: bool,
}

impl Server for AwaitProof {
    fn name(&self) -> &'static str {
        self.name.as_str()
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let Some(message) = input else {
            return ServerStep::Failure(Failure::MalformedRequest);
        };
        match self.judge(message) {
            Ok(signature) => match host.authorize(&self.username, self.authzid.as_deref()) {
                Ok(()) => ServerStep::Success {
                    identity: Identity {
                        authcid: Some(self.username),
                        authzid: self.authzid,
                        mechanism: self.name.as_str(),
                    },
                    data: Some(signature),
                },
                Err(failure) => {
                    let error = ScramError::OtherError;
                    refuse(self.name, Refusal { failure, error }, self.says_why)
                }
            },
            Err(refusal) => refuse(self.name, refusal, self.says_why),
        }
    }
}

impl AwaitProof {
    /// Our signature, if the proof is right (§3).
    fn judge(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let refused = |error| {
            Err(Refusal {
                failure: Failure::NotAuthorized,
                error,
            })
        };
        let last = ClientFinal::parse(message)?;
        if last.nonce != self.nonce {
            return refused(ScramError::OtherError);
        }
        // §6: "The server MUST always validate the client's "c=" field."
        let bound = last
            .channel_binding
            .as_bytes()
            .ct_eq(self.cbind_input.as_bytes());
        if !bool::from(bound) {
            return refused(ScramError::ChannelBindingsDontMatch);
        }

        let hash = self.keys.hash();
        let signed = auth_message(&self.bare, &self.challenge, last.without_proof);
        let signature = hash.hmac(self.keys.stored_key(), signed.as_bytes());
        let client_key = xor(&last.proof, &signature);
        // A proof that is too short or too long makes no key at all.
        let right = last.proof.len().ct_eq(&hash.length())
            & hash.hash(&client_key).ct_eq(self.keys.stored_key());
        if !bool::from(right & self.known) {
            return refused(ScramError::InvalidProof);
        }
        let signature = hash.hmac(self.keys.server_key(), signed.as_bytes());
        Ok(format!("v={}", STANDARD.encode(signature.as_slice())).into_bytes())
    }
}

impl fmt::Debug for AwaitProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitProof({})", self.name.as_str())
    }
}

fn refuse(name: Name, refusal: Refusal, says_why: bool) -> ServerStep {
    if says_why {
        let message = format!("e={}", refusal.error).into_bytes();
        let failure = refusal.failure;
        ServerStep::Challenge(message, Box::new(Refused { name, failure }))
    } else {
        ServerStep::Failure(refusal.failure)
    }
}

/// `e=` is out; whatever comes now, the answer is no.
#[derive(Debug)]
struct Refused {
    name: Name,
    failure: Failure,
}

impl Server for Refused {
    fn name(&self) -> &'static str {
        self.name.as_str()
    }

    fn step(self: Box<Self>, _: Option<&[u8]>, _: &mut dyn Host) -> ServerStep {
        ServerStep::Failure(self.failure)
    }
}
