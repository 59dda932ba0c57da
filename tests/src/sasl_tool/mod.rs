//! Our SASL mechanisms against the programs of other implementations: GNU SASL's `gsasl`, and the sample client and
//! server of Cyrus SASL. The program runs as our child and speaks its line protocol; we are the other side.
//!
//! Not here: security layers. Both programs are content with none.

mod dialect;
mod program;

use std::{fmt, time::Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xmpp_sasl::{
    ChannelBindings, Client, ClientCredentials, ClientInput, ClientStep, Failure, Host, Identity,
    Password, Server, ServerOptions, ServerStep, client, gssapi, server,
};

use self::dialect::{Dialect, Heard};
pub use self::{dialect::Style, program::Prompt};

/// What the exchange is about.
#[derive(Debug)]
pub struct Exchange {
    /// The registered name of the mechanism.
    pub mechanism: String,
    /// Whose account it is. GSSAPI: the principal. ANONYMOUS: the trace.
    pub username: String,
    /// The password that we know.
    pub password: Option<Password>,
    /// Act as this identity.
    pub authzid: Option<String>,
    /// The host of the service `xmpp`.
    pub host: String,
    /// EXTERNAL: what the outer layer is taken to prove, without there being one.
    pub external: Option<String>,
    /// The mechanisms in `-PLUS`: what the connection below is taken to be, without there being one.
    pub channel_bindings: ChannelBindings,
}

/// The program on the other side.
#[derive(Debug)]
pub struct Tool {
    /// How its lines look.
    pub style: Style,
    /// It and its arguments.
    pub command: Vec<String>,
    /// What to type where it asks for a password.
    pub prompt: Option<Prompt>,
}

/// What came of an exchange.
#[derive(Debug)]
pub struct ToolOutcome {
    /// What we say.
    ours: Ours,
    /// The program's exit code; `None` if it did not end by itself.
    status: Option<i32>,
    /// What it said besides the exchange.
    said: Vec<String>,
}

/// How our side ended.
#[derive(Debug)]
enum Ours {
    /// We let the program in, as this identity.
    LetIn(Identity),
    /// The program let us in, and has proved what it must.
    Authenticated,
    /// We refuse the program.
    Refuse(Failure),
    /// The program refuses us.
    Refused,
    /// Something else than an answer.
    Broken(String),
}

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LetIn(_) | Self::Authenticated => f.write_str("authenticated"),
            Self::Refuse(failure) => write!(f, "{failure}"),
            Self::Refused => f.write_str("refused"),
            Self::Broken(why) => write!(f, "broken: {why}"),
        }
    }
}

impl ToolOutcome {
    /// Did both sides come to a good end?
    pub fn is_well(&self) -> bool {
        matches!(self.ours, Ours::LetIn(_) | Ours::Authenticated) && self.status == Some(0)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let identity = match &self.ours {
            Ours::LetIn(identity) => identity.authcid.as_ref().or(identity.authzid.as_ref()),
            _ => None,
        };
        json!({
            "ok": self.is_well(),
            "ours": self.ours.to_string(),
            "identity": identity,
            "status": self.status,
            "said": self.said,
        })
    }
}

/// We prove ourselves to the program.
pub fn prove(exchange: &Exchange, tool: &Tool, deadline: Instant) -> Result<ToolOutcome> {
    let mut credentials = ClientCredentials::new("xmpp", &exchange.host)
        .with_username(&exchange.username)
        .with_trace(&exchange.username)
        // What the libraries find by themselves.
        .with_gssapi(gssapi::Initiator::default())
        .with_channel_bindings(exchange.channel_bindings.clone());
    credentials.password = exchange.password.clone();
    credentials.authzid = exchange.authzid.clone();
    credentials.certificate = exchange.external.is_some();
    let client = client(&exchange.mechanism, &credentials).context("we cannot do that")?;
    let mut dialect = Dialect::start(tool, deadline)?;
    let ours = log_in(client, &mut dialect).unwrap_or_else(|error| broken(&error));
    Ok(ended(ours, dialect))
}

/// The program proves itself to us.
pub fn ask(exchange: &Exchange, tool: &Tool, deadline: Instant) -> Result<ToolOutcome> {
    let mut options = ServerOptions::new("xmpp", &exchange.host);
    options.gssapi = Some(gssapi::Acceptor::default());
    options.channel_bindings = exchange.channel_bindings.clone();
    let server = server(&exchange.mechanism, &options).context("we cannot do that")?;
    let mut dialect = Dialect::start(tool, deadline)?;
    let mut host = Account(exchange);
    let ours = let_in(server, &mut host, &mut dialect).unwrap_or_else(|error| broken(&error));
    Ok(ended(ours, dialect))
}

fn broken(error: &anyhow::Error) -> Ours {
    Ours::Broken(format!("{error:#}"))
}

fn ended(ours: Ours, dialect: Dialect) -> ToolOutcome {
    let (status, said) = dialect.close();
    ToolOutcome { ours, status, said }
}

fn log_in(client: Box<dyn Client>, dialect: &mut Dialect) -> Result<Ours> {
    let name = client.name();
    let mut client = match client.step(ClientInput::Start, &mut random) {
        ClientStep::Respond(data, next) => {
            dialect.choose(name, Some(&data))?;
            next
        }
        ClientStep::Wait(next) => {
            dialect.choose(name, None)?;
            next
        }
        step => bail!("it cannot begin with {step:?}"),
    };
    loop {
        let step = match dialect.challenge()? {
            Heard::Data(challenge) => client.step(ClientInput::Challenge(&challenge), &mut random),
            Heard::Success => client.step(ClientInput::Success(None), &mut random),
            Heard::Failure => return Ok(Ours::Refused),
        };
        client = match step {
            ClientStep::Respond(data, next) => {
                dialect.respond(&data)?;
                next
            }
            ClientStep::Wait(_) => bail!("it has nothing to say to a challenge"),
            ClientStep::Authenticated => return Ok(Ours::Authenticated),
            ClientStep::Abort(error) => bail!("we go no further: {error}"),
        };
    }
}

fn let_in(server: Box<dyn Server>, host: &mut Account<'_>, dialect: &mut Dialect) -> Result<Ours> {
    let name = server.name();
    let mut input = dialect.chosen(name)?;
    let mut server = server;
    loop {
        match server.step(input.as_deref(), host) {
            ServerStep::Challenge(data, next) => {
                server = next;
                match dialect.ask(&data)? {
                    Heard::Data(response) => input = Some(response),
                    // It ends only when we do not answer.
                    Heard::Success | Heard::Failure => bail!("it has ended before its time"),
                }
            }
            ServerStep::Success { identity, data } => {
                dialect.let_in(data.as_deref())?;
                return Ok(Ours::LetIn(identity));
            }
            ServerStep::Failure(failure) => return Ok(Ours::Refuse(failure)),
        }
    }
}

fn random(out: &mut [u8]) {
    getrandom::fill(out).expect("the system has random numbers");
}

/// The one account that there is.
struct Account<'a>(&'a Exchange);

impl Host for Account<'_> {
    fn random(&mut self, out: &mut [u8]) {
        random(out);
    }

    fn password(&mut self, authcid: &str, _realm: Option<&str>) -> Option<Password> {
        let known = authcid == self.0.username;
        self.0.password.clone().filter(|_| known)
    }

    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        match authzid.is_none_or(|authzid| authzid == authcid) {
            true => Ok(()),
            false => Err(Failure::InvalidAuthzid),
        }
    }

    fn authorize_principal(
        &mut self,
        principal: &str,
        _ours: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        if principal != self.0.username {
            return Err(Failure::NotAuthorized);
        }
        // In its realm it may be called by its name alone.
        let name = principal.split('@').next();
        match authzid.is_none_or(|authzid| Some(authzid) == name || authzid == principal) {
            true => Ok(()),
            false => Err(Failure::InvalidAuthzid),
        }
    }

    fn anonymous(&mut self, trace: Option<&str>) -> Result<Identity, Failure> {
        // RFC 4505 §2: an address or a token. Cyrus SASL makes an address of it, with its machine's name.
        let name = trace.and_then(|trace| trace.split('@').next());
        let known = name.filter(|name| *name == self.0.username);
        known
            .ok_or(Failure::NotAuthorized)
            .map(|name| Identity::new().with_authzid(name))
    }

    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        let proved = self.0.external.as_deref().ok_or(Failure::NotAuthorized)?;
        let identity = Identity::new().with_authcid(proved);
        match authzid {
            None => Ok(identity),
            Some(authzid) if authzid == proved => Ok(identity.with_authzid(authzid)),
            Some(_) => Err(Failure::InvalidAuthzid),
        }
    }
}

#[cfg(test)]
mod tests;
