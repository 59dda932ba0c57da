//! The side that a ticket is shown to (RFC 4752 §3.2).

use std::fmt;

use libgssapi::context::{CtxFlags, SecurityContext, ServerCtx};
use libgssapi::error::{Error, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::GSS_MECH_KRB5;

use super::{Acceptor, NAME, TOKEN_BOUND, TOKENS, credential, layers};
use crate::{Failure, Host, Identity, Server, ServerStep};

pub(crate) fn server(acceptor: Acceptor, service: String, host: String) -> Box<dyn Server> {
    Box::new(ServerStart {
        acceptor,
        service,
        host,
        challenged: false,
    })
}

#[derive(Debug)]
struct ServerStart {
    acceptor: Acceptor,
    service: String,
    host: String,
    /// The empty challenge is out.
    challenged: bool,
}

impl Server for ServerStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_heavy(&self) -> bool {
        true
    }

    fn step(mut self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        // §3: "client goes first". RFC 4422 §3.3 has an empty challenge for a client that did not.
        let Some(token) = input else {
            if self.challenged {
                return ServerStep::Failure(Failure::MalformedRequest);
            }
            self.challenged = true;
            return ServerStep::Challenge(Vec::new(), self);
        };
        match credential::acceptor(&self.acceptor) {
            Ok(credential) => {
                let establishing = Establishing {
                    context: ServerCtx::new(Some(credential)),
                    tokens: 0,
                    asked: *self,
                };
                establishing.token(token, host)
            }
            // Ours to repair; another try may find it repaired.
            Err(error) => {
                host.explain(&error);
                ServerStep::Failure(Failure::TemporaryAuthFailure)
            }
        }
    }
}

/// A context, which is not for anybody's eyes.
struct Establishing {
    context: ServerCtx,
    /// How many tokens went out.
    tokens: u8,
    asked: ServerStart,
}

impl fmt::Debug for Establishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Establishing({} tokens sent)", self.tokens)
    }
}

impl Server for Establishing {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_heavy(&self) -> bool {
        true
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        match input {
            Some(token) => self.token(token, host),
            None => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

impl Establishing {
    fn token(mut self, theirs: &[u8], host: &mut dyn Host) -> ServerStep {
        if theirs.is_empty() || theirs.len() > TOKEN_BOUND {
            return ServerStep::Failure(Failure::MalformedRequest);
        }
        let ours = match self.context.step(theirs, None) {
            Ok(ours) => ours.map(|token| token.to_vec()).unwrap_or_default(),
            Err(error) => {
                host.explain(&error.to_string());
                return ServerStep::Failure(failure(error));
            }
        };
        if !self.context.is_complete() {
            self.tokens += 1;
            if self.tokens > TOKENS {
                return ServerStep::Failure(Failure::NotAuthorized);
            }
            return ServerStep::Challenge(ours, Box::new(self));
        }
        match self.established() {
            Ok(established) if ours.is_empty() => established.offer(host),
            Ok(established) => ServerStep::Challenge(ours, Box::new(AwaitEmpty(established))),
            Err(why) => {
                host.explain(&why);
                ServerStep::Failure(Failure::NotAuthorized)
            }
        }
    }

    /// Looks at what the libraries are satisfied with.
    fn established(self) -> Result<Established, String> {
        let text = |error: Error| error.to_string();
        let client = principal(&self.context.source_name().map_err(text)?)?;
        let ours = principal(&self.context.target_name().map_err(text)?)?;
        // "the server SHOULD verify that the negotiated GSS-API mechanism is indeed Kerberos V5".
        if self.context.mechanism().map_err(text)? != GSS_MECH_KRB5 {
            return Err("the mechanism is not Kerberos 5".to_owned());
        }
        let flags = self.context.flags().map_err(text)?;
        if !flags.contains(CtxFlags::GSS_C_INTEG_FLAG) || flags.contains(CtxFlags::GSS_C_ANON_FLAG)
        {
            return Err(format!(
                "{client} asked for no integrity, or to be anonymous"
            ));
        }
        // "the server SHOULD also check … that the target_name used by the client matches".
        let ServerStart {
            acceptor,
            service,
            host,
            ..
        } = &self.asked;
        if !acceptor.is_ours(&ours, service, host) {
            return Err(format!(
                "{client} has a ticket for {ours}, which is not {service}@{host}"
            ));
        }
        Ok(Established {
            context: self.context,
            client,
            ours,
        })
    }
}

fn principal(name: &Name) -> Result<String, String> {
    let text = name.display_name().map_err(|error| error.to_string())?;
    String::from_utf8(text.to_vec()).map_err(|_| "a principal that is not in UTF-8".to_owned())
}

/// The failure for the peer, of a token that was not accepted.
fn failure(error: Error) -> Failure {
    // The upper half is calling errors and routine errors; the latter are a number, not flags.
    let routine = error.major.bits() & 0x00ff_0000;
    if routine == MajorFlags::GSS_S_DEFECTIVE_TOKEN.bits() {
        Failure::MalformedRequest
    } else if routine == MajorFlags::GSS_S_CREDENTIALS_EXPIRED.bits() {
        Failure::CredentialsExpired
    } else if routine == MajorFlags::GSS_S_NO_CRED.bits() {
        Failure::TemporaryAuthFailure
    } else {
        Failure::NotAuthorized
    }
}

/// The client is authenticated.
struct Established {
    context: ServerCtx,
    client: String,
    /// The principal of ours that it has a ticket for.
    ours: String,
}

impl Established {
    fn offer(mut self, host: &mut dyn Host) -> ServerStep {
        match self.context.wrap(false, &layers::OFFER) {
            Ok(offer) => ServerStep::Challenge(offer.to_vec(), Box::new(AwaitChoice(self))),
            Err(error) => {
                host.explain(&error.to_string());
                ServerStep::Failure(Failure::TemporaryAuthFailure)
            }
        }
    }
}

/// "the server returns it to the client in a challenge and expects a reply from the client with no data".
struct AwaitEmpty(Established);

impl fmt::Debug for AwaitEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitEmpty({})", self.0.client)
    }
}

impl Server for AwaitEmpty {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        match input {
            Some([]) => self.0.offer(host),
            Some(_) | None => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

/// Our security layers (none) are out.
struct AwaitChoice(Established);

impl fmt::Debug for AwaitChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitChoice({})", self.0.client)
    }
}

impl Server for AwaitChoice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let judged = input
            .filter(|wrapped| wrapped.len() <= TOKEN_BOUND)
            .ok_or(Failure::MalformedRequest)
            .and_then(|wrapped| self.0.judge(wrapped, host));
        match judged {
            Ok(identity) => ServerStep::Success {
                identity,
                data: None,
            },
            Err(failure) => ServerStep::Failure(failure),
        }
    }
}

impl Established {
    fn judge(mut self, wrapped: &[u8], host: &mut dyn Host) -> Result<Identity, Failure> {
        let choice = self.context.unwrap(wrapped).map_err(|error| {
            host.explain(&error.to_string());
            failure(error)
        })?;
        let authzid = layers::chosen(&choice).ok_or(Failure::MalformedRequest)?;
        let authzid = (!authzid.is_empty()).then(|| authzid.to_owned());
        host.authorize_principal(&self.client, &self.ours, authzid.as_deref())?;
        Ok(Identity {
            authcid: Some(self.client),
            authzid,
            mechanism: NAME,
        })
    }
}
