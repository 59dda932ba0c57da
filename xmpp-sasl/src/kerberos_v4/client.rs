//! The side that has a ticket, which it makes itself, and wants proof in return.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::message::{Authenticator, Last, Order, Proof, Request, Ticket};
use super::{Clock, Key, Keys, LAST_BOUND, NAME, NO_LAYER, SharedKey};
use crate::mechanism::AwaitOutcome;
use crate::{Client, ClientError, ClientInput, ClientStep, Random};

/// An hour, in units of five minutes. It is used at once; some acceptors ask for a rest of more than five minutes.
const LIFE: u8 = 12;

pub(crate) fn client(
    keys: &Keys,
    service: &str,
    host: &str,
    authzid: Option<String>,
) -> Option<Box<dyn Client>> {
    let authzid = authzid.unwrap_or_default();
    let expressible = !authzid.contains('\0') && authzid.len() + 16 <= LAST_BOUND;
    let key = keys.to(service, host)?.clone();
    expressible.then(|| {
        Box::new(ClientStart(Claim {
            key,
            clock: keys.clock(),
            authzid,
        })) as Box<dyn Client>
    })
}

#[derive(Debug)]
struct Claim {
    key: SharedKey,
    clock: Clock,
    authzid: String,
}

#[derive(Debug)]
struct ClientStart(Claim);

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Start => ClientStep::Wait(Box::new(AwaitChallenge(self.0))),
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

#[derive(Debug)]
struct AwaitChallenge(Claim);

impl Client for AwaitChallenge {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, random: &mut dyn Random) -> ClientStep {
        let challenge = match input {
            ClientInput::Challenge(challenge) => challenge,
            ClientInput::Success(_) | ClientInput::Start => {
                return ClientStep::Abort(ClientError::Unexpected);
            }
        };
        let Ok(challenge) = challenge.try_into().map(u32::from_be_bytes) else {
            return ClientStep::Abort(ClientError::Malformed("a challenge has four octets"));
        };
        let mut octets = Zeroizing::new([0; 8]);
        random.fill(&mut *octets);
        let session = Key::from_random(&octets);
        let request = self.0.request(challenge, &session);
        let next = AwaitProof {
            challenge,
            session,
            authzid: self.0.authzid,
        };
        ClientStep::Respond(request, Box::new(next))
    }
}

impl Claim {
    fn request(&self, challenge: u32, session: &Key) -> Vec<u8> {
        // It ends in 2106.
        let now = u32::try_from(self.clock.now()).unwrap_or(u32::MAX);
        let SharedKey {
            client,
            service,
            version,
            key,
        } = &self.key;
        let ticket = Ticket {
            client: client.clone(),
            session: session.clone(),
            life: LIFE,
            issued: now,
            service: service.name.clone(),
            instance: service.instance.clone(),
        };
        let authenticator = Authenticator {
            client: client.clone(),
            checksum: challenge,
            seconds: now,
        };
        let request = Request {
            order: Order::Network,
            version: *version,
            realm: &service.realm,
            ticket: &ticket.seal(key),
            authenticator: &authenticator.seal(session),
        };
        request.write()
    }
}

#[derive(Debug)]
pub(super) struct AwaitProof {
    pub(super) challenge: u32,
    pub(super) session: Key,
    pub(super) authzid: String,
}

impl Client for AwaitProof {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        let challenge = match input {
            ClientInput::Challenge(challenge) => challenge,
            ClientInput::Success(_) | ClientInput::Start => {
                return ClientStep::Abort(ClientError::Unexpected);
            }
        };
        match self.answer(challenge) {
            Ok(response) => ClientStep::Respond(response, Box::new(AwaitOutcome(NAME))),
            Err(error) => ClientStep::Abort(error),
        }
    }
}

impl AwaitProof {
    fn answer(&self, challenge: &[u8]) -> Result<Vec<u8>, ClientError> {
        let block = challenge
            .try_into()
            .map_err(|_| ClientError::Malformed("the server's proof has eight octets"))?;
        let proof = Proof::open(block, &self.session);
        // §7.1: "if the first four octets of the un-encrypted data is equal to one plus the checksum".
        let right: bool = proof.number.ct_eq(&self.challenge.wrapping_add(1)).into();
        if !right {
            return Err(ClientError::ServerNotAuthenticated);
        }
        if proof.layers & NO_LAYER == 0 {
            return Err(ClientError::Unsupported("a security layer"));
        }
        let last = Last {
            number: self.challenge,
            layer: NO_LAYER,
            authzid: self.authzid.clone(),
        };
        Ok(last.seal(&self.session))
    }
}
