//! EXTERNAL: the outer layer has proved it already (RFC 4422 appendix A; XEP-0178 for XMPP).
//!
//! What the certificate stands for is the application's to say ([`Host::external`]); this file only carries the
//! authorization identity.

use crate::registry::Mechanism;
use crate::{
    Client, ClientCredentials, ClientError, ClientInput, ClientStep, Failure, Host, Random, Server,
    ServerOptions, ServerStep,
};

const NAME: &str = "EXTERNAL";

pub(crate) const MECHANISM: Mechanism = Mechanism {
    name: NAME,
    client,
    server,
};

fn client(credentials: &ClientCredentials) -> Option<Box<dyn Client>> {
    // Appendix A.1: no NUL in an authorization identity.
    let authzid = credentials.authzid.clone().unwrap_or_default();
    (credentials.certificate && !authzid.contains('\0'))
        .then(|| Box::new(Initiating { authzid }) as Box<dyn Client>)
}

fn server(_: &ServerOptions) -> Option<Box<dyn Server>> {
    Some(Box::new(Asking::First))
}

/// Has not said anything yet.
#[derive(Debug)]
struct Initiating {
    authzid: String,
}

impl Client for Initiating {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            // "The client is expected to send data first"; empty means "as what I am".
            ClientInput::Start => {
                ClientStep::Respond(self.authzid.into_bytes(), Box::new(AwaitOutcome))
            }
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

/// Has said it all: "there are no additional challenges and responses", nor data with success.
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

#[derive(Debug)]
enum Asking {
    First,
    /// The empty challenge is out.
    Challenged,
}

impl Server for Asking {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        match (*self, input) {
            (_, Some(response)) => judge(response, host),
            (Self::First, None) => ServerStep::Challenge(Vec::new(), Box::new(Self::Challenged)),
            (Self::Challenged, None) => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

fn judge(response: &[u8], host: &mut dyn Host) -> ServerStep {
    let authzid = match std::str::from_utf8(response) {
        Ok(text) if !text.contains('\0') => text,
        Ok(_) | Err(_) => return ServerStep::Failure(Failure::MalformedRequest),
    };
    match host.external((!authzid.is_empty()).then_some(authzid)) {
        Ok(mut identity) => {
            identity.mechanism = NAME;
            ServerStep::Success {
                identity,
                data: None,
            }
        }
        Err(failure) => ServerStep::Failure(failure),
    }
}
