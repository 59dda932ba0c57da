//! The side that shows a ticket (RFC 4752 §3.1), and wants the service to prove itself.

use std::fmt;

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, GSS_NT_KRB5_PRINCIPAL};

use super::layers::{self, BadOffer};
use super::{Initiator, NAME, TOKEN_BOUND, TOKENS, credential};
use crate::mechanism::AwaitOutcome;
use crate::{Client, ClientError, ClientInput, ClientStep, Random};

pub(crate) fn client(
    initiator: Initiator,
    service: &str,
    host: &str,
    authzid: Option<String>,
) -> Option<Box<dyn Client>> {
    let authzid = authzid.unwrap_or_default();
    (!authzid.contains('\0')).then(|| {
        Box::new(ClientStart {
            initiator,
            target: format!("{service}@{host}"),
            authzid,
        }) as Box<dyn Client>
    })
}

#[derive(Debug)]
struct ClientStart {
    initiator: Initiator,
    /// The service, host based.
    target: String,
    authzid: String,
}

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_heavy(&self) -> bool {
        true
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Start => (),
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                return ClientStep::Abort(ClientError::Unexpected);
            }
        }
        match self.context() {
            Ok(context) => {
                let establishing = Establishing {
                    context,
                    tokens: 0,
                    authzid: self.authzid,
                };
                establishing.token(None)
            }
            Err(error) => ClientStep::Abort(ClientError::Kerberos(error)),
        }
    }
}

impl ClientStart {
    fn context(&self) -> Result<ClientCtx, String> {
        let credential = credential::initiator(&self.initiator)?;
        let target = match &self.initiator.service {
            None => Name::new(self.target.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)),
            Some(principal) => Name::new(principal.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL)),
        };
        let target = target.map_err(|error| error.to_string())?;
        // "the client MUST pass the integ_req_flag of TRUE". Mutual authentication is our own wish: TLS alone does not
        // say that this is who the KDC knows.
        let flags = CtxFlags::GSS_C_INTEG_FLAG | CtxFlags::GSS_C_MUTUAL_FLAG;
        let mechanism = Some(GSS_MECH_KRB5);
        Ok(ClientCtx::new(Some(credential), target, flags, mechanism))
    }
}

/// A context, which is not for anybody's eyes.
struct Establishing {
    context: ClientCtx,
    /// How many tokens went out.
    tokens: u8,
    authzid: String,
}

impl fmt::Debug for Establishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Establishing({} tokens sent)", self.tokens)
    }
}

impl Client for Establishing {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_heavy(&self) -> bool {
        true
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Challenge(token) if token.len() > TOKEN_BOUND => {
                ClientStep::Abort(ClientError::Malformed("the token is too long"))
            }
            ClientInput::Challenge(token) => self.token(Some(token)),
            ClientInput::Success(_) | ClientInput::Start => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

impl Establishing {
    /// Takes the server's token, if there is one yet, and makes ours.
    fn token(mut self, theirs: Option<&[u8]>) -> ClientStep {
        let ours = match self.context.step(theirs, None) {
            Ok(ours) => ours.map(|token| token.to_vec()).unwrap_or_default(),
            // Before the server said anything it is a matter between us and the KDC.
            Err(error) if theirs.is_none() => {
                return ClientStep::Abort(ClientError::Kerberos(error.to_string()));
            }
            Err(_) => return ClientStep::Abort(ClientError::ServerNotAuthenticated),
        };
        if self.context.is_complete() {
            // "the client examines the context to ensure that it provides a level of protection permitted".
            let wanted = CtxFlags::GSS_C_INTEG_FLAG | CtxFlags::GSS_C_MUTUAL_FLAG;
            if !self
                .context
                .flags()
                .is_ok_and(|flags| flags.contains(wanted))
            {
                return ClientStep::Abort(ClientError::ServerNotAuthenticated);
            }
            let next = AwaitLayers {
                context: self.context,
                authzid: self.authzid,
            };
            return ClientStep::Respond(ours, Box::new(next));
        }
        self.tokens += 1;
        if self.tokens > TOKENS {
            return ClientStep::Abort(ClientError::Unexpected);
        }
        ClientStep::Respond(ours, Box::new(self))
    }
}

/// The server is authenticated; which security layers does it have?
struct AwaitLayers {
    context: ClientCtx,
    authzid: String,
}

impl fmt::Debug for AwaitLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitLayers")
    }
}

impl Client for AwaitLayers {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(mut self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        let wrapped = match input {
            ClientInput::Challenge(wrapped) => wrapped,
            ClientInput::Success(_) | ClientInput::Start => {
                return ClientStep::Abort(ClientError::Unexpected);
            }
        };
        match self.answer(wrapped) {
            Ok(response) => ClientStep::Respond(response, Box::new(AwaitOutcome(NAME))),
            Err(error) => ClientStep::Abort(error),
        }
    }
}

impl AwaitLayers {
    fn answer(&mut self, wrapped: &[u8]) -> Result<Vec<u8>, ClientError> {
        if wrapped.len() > TOKEN_BOUND {
            return Err(ClientError::Malformed("the offer of layers is too long"));
        }
        let offer = self
            .context
            .unwrap(wrapped)
            .map_err(|_| ClientError::ServerNotAuthenticated)?;
        let choice = layers::choose(&offer, &self.authzid).map_err(|bad| match bad {
            BadOffer::Malformed => ClientError::Malformed("not an offer of security layers"),
            BadOffer::LayerRequired => ClientError::Unsupported("a security layer"),
        })?;
        let wrapped = self.context.wrap(false, &choice);
        wrapped
            .map(|wrapped| wrapped.to_vec())
            .map_err(|error| ClientError::Kerberos(error.to_string()))
    }
}
