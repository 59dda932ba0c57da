//! The side that asks: whose ticket is it, and does the sender know its session key now?

use subtle::ConstantTimeEq;

use super::message::{Authenticator, Last, Proof, Request, Ticket};
use super::{Key, Keys, LAST_BOUND, NAME, NO_LAYER, Principal, SKEW, SharedKey};
use crate::{Failure, Host, Identity, Server, ServerStep};

pub(crate) fn server(keys: Keys, service: String, host: String) -> Option<Box<dyn Server>> {
    (!keys.is_empty()).then(|| {
        Box::new(ServerStart(Acceptor {
            keys,
            service,
            host,
        })) as Box<dyn Server>
    })
}

/// What requests are judged by.
#[derive(Debug)]
struct Acceptor {
    keys: Keys,
    service: String,
    host: String,
}

#[derive(Debug)]
struct ServerStart(Acceptor);

impl Server for ServerStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        // RFC 4422 §3.3: a mechanism in which the server goes first has no initial response.
        if input.is_some() {
            return ServerStep::Failure(Failure::MalformedRequest);
        }
        let mut octets = [0; 4];
        host.random(&mut octets);
        let next = AwaitRequest {
            acceptor: self.0,
            challenge: u32::from_be_bytes(octets),
        };
        ServerStep::Challenge(octets.to_vec(), Box::new(next))
    }
}

#[derive(Debug)]
struct AwaitRequest {
    acceptor: Acceptor,
    challenge: u32,
}

impl Server for AwaitRequest {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, _: &mut dyn Host) -> ServerStep {
        let judged = input
            .and_then(Request::parse)
            .ok_or(Failure::MalformedRequest)
            .and_then(|request| self.acceptor.judge(&request, self.challenge));
        match judged {
            Ok((service, ticket)) => {
                let proof = Proof {
                    number: self.challenge.wrapping_add(1),
                    layers: NO_LAYER,
                };
                let next = AwaitLast {
                    challenge: self.challenge,
                    session: ticket.session.clone(),
                    client: ticket.client,
                    service,
                };
                let proof = proof.seal(&next.session);
                ServerStep::Challenge(proof.to_vec(), Box::new(next))
            }
            Err(failure) => ServerStep::Failure(failure),
        }
    }
}

impl Acceptor {
    /// The ticket, if it is good and the sender knows the session key, and the principal of ours that it is for.
    fn judge(&self, request: &Request<'_>, challenge: u32) -> Result<(Principal, Ticket), Failure> {
        let (service, ticket) = self.open(request).ok_or(Failure::NotAuthorized)?;
        let authenticator =
            Authenticator::open(request.authenticator, &ticket.session, request.order)
                .ok_or(Failure::NotAuthorized)?;
        let fresh: bool = authenticator.checksum.ct_eq(&challenge).into();
        if !fresh || authenticator.client != ticket.client {
            return Err(Failure::NotAuthorized);
        }
        // The clocks come last, so that only who has the session key learns of them.
        let now = self.keys.clock().now();
        if now > ticket.expires().saturating_add(SKEW) {
            return Err(Failure::CredentialsExpired);
        }
        if u64::from(ticket.issued) > now.saturating_add(SKEW)
            || u64::from(authenticator.seconds).abs_diff(now) > SKEW
        {
            return Err(Failure::NotAuthorized);
        }
        Ok((service, ticket))
    }

    /// A ticket has no check value. That it is sealed with a key shows in what it says: our own name, the name of the
    /// client that the key is shared with, and zeros.
    fn open(&self, request: &Request<'_>) -> Option<(Principal, Ticket)> {
        let fits =
            |key: &&SharedKey| key.service.realm == request.realm && key.version == request.version;
        let keys = self.keys.of(&self.service, &self.host);
        keys.filter(fits).find_map(|shared| {
            let ticket = Ticket::open(request.ticket, &shared.key)?;
            let right = ticket.service == shared.service.name
                && ticket.instance == shared.service.instance
                && ticket.client == shared.client;
            right.then(|| (shared.service.clone(), ticket))
        })
    }
}

/// Our own proof is out.
#[derive(Debug)]
pub(super) struct AwaitLast {
    pub(super) challenge: u32,
    pub(super) session: Key,
    pub(super) client: Principal,
    pub(super) service: Principal,
}

impl Server for AwaitLast {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let judged = input
            .filter(|message| message.len() <= LAST_BOUND)
            .ok_or(Failure::MalformedRequest)
            .and_then(|message| self.judge(message, host));
        match judged {
            Ok(identity) => ServerStep::Success {
                identity,
                data: None,
            },
            Err(failure) => ServerStep::Failure(failure),
        }
    }
}

impl AwaitLast {
    fn judge(&self, message: &[u8], host: &mut dyn Host) -> Result<Identity, Failure> {
        // Sealed with another key it looks like noise, so noise is not told from a wrong key.
        let last = Last::open(message, &self.session).ok_or(Failure::NotAuthorized)?;
        let right: bool = last.number.ct_eq(&self.challenge).into();
        if !right {
            return Err(Failure::NotAuthorized);
        }
        if last.layer != NO_LAYER {
            return Err(Failure::MalformedRequest);
        }
        let authzid = Some(last.authzid).filter(|authzid| !authzid.is_empty());
        let client = self.client.to_string();
        host.authorize_principal(&client, &self.service.to_string(), authzid.as_deref())?;
        Ok(Identity {
            authcid: Some(client),
            authzid,
            mechanism: NAME,
        })
    }
}
