//! A second implementation of SASL: the crate `rsasl`, which shares no code with ours above the hash functions. One side of
//! an exchange, step by step; and the same as a program with the lines of GNU SASL's `gsasl`.
//!
//! For SCRAM with SHA-512, and bound to TLS, which few programs have. Left out: its DIGEST-MD5, which does not exist, and
//! its GSSAPI, which is by the same libraries as ours.

mod program;

use std::{fmt, sync::Arc};

use anyhow::{Context as _, Result, bail};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    mechanisms::{
        external::EXTERNAL,
        plain::PLAIN,
        scram::{
            SCRAM_SHA1, SCRAM_SHA1_PLUS, SCRAM_SHA256, SCRAM_SHA256_PLUS, SCRAM_SHA512,
            SCRAM_SHA512_PLUS, properties::ScramStoredPassword, tools,
        },
    },
    prelude::{
        ChannelBindingCallback, Mechanism, MessageSent, Registry, SASLClient, SASLConfig,
        SASLServer, Session, SessionError, State, Validation,
    },
    property::{AuthId, AuthzId, OverrideCBType, Password},
    validate::{NoValidation, Validate, ValidationError},
};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

pub use self::program::run;

/// The mechanisms it is asked for.
const MECHANISMS: [Mechanism; 8] = [
    EXTERNAL,
    SCRAM_SHA512_PLUS,
    SCRAM_SHA256_PLUS,
    SCRAM_SHA1_PLUS,
    SCRAM_SHA512,
    SCRAM_SHA256,
    SCRAM_SHA1,
    PLAIN,
];

/// As its server: how often the hash is applied, and to which salt.
const ITERATIONS: u32 = 4096;
const SALT: [u8; 16] = *b"salt of an other";

/// What it knows, as either side.
#[derive(Clone)]
pub struct Account {
    /// The registered name of the mechanism.
    pub mechanism: String,
    /// Whose account it is.
    pub username: String,
    /// The password.
    pub password: String,
    /// As the client: the identity to act as.
    pub authzid: Option<String>,
    /// As the server: what the outer layer is taken to prove (EXTERNAL).
    pub external: Option<String>,
    /// The type of channel binding, and the data of its connection.
    pub channel_binding: Option<(String, Vec<u8>)>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} for {:?})", self.mechanism, self.username)
    }
}

/// One side of an exchange.
pub struct Side(Either);

enum Either {
    Client(Session<NoValidation, Connection>),
    Server(Session<LetIn, Connection>),
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Either::Client(_) => "Side(client)",
            Either::Server(_) => "Side(server)",
        })
    }
}

/// What a step comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Stepped {
    /// A message, and it goes on.
    Message(Vec<u8>),
    /// Content, with perhaps a last message; the server with whom it has let in.
    Content(Option<Vec<u8>>, Option<String>),
}

impl Side {
    /// The side that proves who it is.
    pub fn client(account: Account) -> Result<Self> {
        let mechanism = mechanism(&account.mechanism)?;
        let config = config(account.clone(), mechanism, true)?;
        let client = SASLClient::with_cb(config, Connection(account.channel_binding));
        let session = client.start_suggested(&[mechanism.mechanism])?;
        Ok(Self(Either::Client(session)))
    }

    /// The side that asks.
    pub fn server(account: Account) -> Result<Self> {
        let mechanism = mechanism(&account.mechanism)?;
        let config = config(account.clone(), mechanism, false)?;
        let server = SASLServer::<LetIn, _>::with_cb(config, Connection(account.channel_binding));
        let session = server.start_suggested(mechanism.mechanism)?;
        Ok(Self(Either::Server(session)))
    }

    /// Takes the other side's message; `None` begins. An error is a no.
    pub fn step(&mut self, input: Option<&[u8]>) -> Result<Stepped> {
        let mut message = Vec::new();
        let (state, let_in) = match &mut self.0 {
            Either::Client(session) => (session.step(input, &mut message)?, None),
            Either::Server(session) => {
                let state = session.step(input, &mut message)?;
                (state, session.validation())
            }
        };
        match state {
            State::Running => Ok(Stepped::Message(message)),
            // Its server is at the end of its words, whether it believes or not.
            State::Finished(_) if matches!(self.0, Either::Server(_)) && let_in.is_none() => {
                bail!("it does not believe: {}", String::from_utf8_lossy(&message))
            }
            State::Finished(MessageSent::Yes) => Ok(Stepped::Content(Some(message), let_in)),
            State::Finished(MessageSent::No) => Ok(Stepped::Content(None, let_in)),
        }
    }
}

fn mechanism(name: &str) -> Result<Mechanism> {
    let mut known = MECHANISMS.into_iter();
    known
        .find(|mechanism| mechanism.mechanism.as_str() == name)
        .with_context(|| format!("rsasl has no {name}"))
}

/// With this mechanism and no other: which of several it takes is not what it is here for.
fn config(account: Account, mechanism: Mechanism, client: bool) -> Result<Arc<SASLConfig>> {
    // Its registries live for ever; one for each exchange is little.
    let registry = Registry::with_mechanisms(vec![mechanism].leak());
    let stored = match client {
        true => None,
        false => Stored::of(&account)?,
    };
    let builder = SASLConfig::builder().with_registry(registry);
    Ok(builder.with_callback(Answers { account, stored })?)
}

/// The connection below, as far as SASL sees it.
struct Connection(Option<(String, Vec<u8>)>);

impl ChannelBindingCallback for Connection {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        let (kind, data) = self.0.as_ref()?;
        (kind == name).then_some(data)
    }
}

/// The server's answer: whom it lets in.
struct LetIn;

impl Validation for LetIn {
    type Value = String;
}

/// What SCRAM's server keeps, made by `rsasl`'s own functions.
struct Stored {
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Stored {
    fn of(account: &Account) -> Result<Option<Self>> {
        macro_rules! derive {
            ($hash:ty) => {{
                let mut salted = Default::default();
                let password = account.password.as_bytes();
                tools::hash_password::<$hash>(password, ITERATIONS, &SALT, &mut salted);
                let (client_key, server_key) = tools::derive_keys::<$hash>(salted.as_slice());
                Self {
                    stored_key: <$hash>::digest(client_key).to_vec(),
                    server_key: server_key.to_vec(),
                }
            }};
        }
        let Some(hash) = account.mechanism.strip_prefix("SCRAM-") else {
            return Ok(None);
        };
        Ok(Some(match hash.trim_end_matches("-PLUS") {
            "SHA-1" => derive!(Sha1),
            "SHA-256" => derive!(Sha256),
            "SHA-512" => derive!(Sha512),
            other => bail!("no hash function {other}"),
        }))
    }
}

/// Answers what its mechanisms ask the application.
struct Answers {
    account: Account,
    stored: Option<Stored>,
}

impl SessionCallback for Answers {
    fn callback(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let account = &self.account;
        if let Some(stored) = &self.stored {
            if context.get_ref::<AuthId>() == Some(&account.username) {
                let Stored {
                    stored_key,
                    server_key,
                } = stored;
                let keys = ScramStoredPassword::new(ITERATIONS, &SALT, stored_key, server_key);
                request.satisfy::<ScramStoredPassword<'static>>(&keys)?;
            }
            return Ok(());
        }
        request.satisfy::<AuthId>(&account.username)?;
        request.satisfy::<Password>(account.password.as_bytes())?;
        if let Some(authzid) = &account.authzid {
            request.satisfy::<AuthzId>(authzid)?;
        }
        if let Some((kind, _)) = &account.channel_binding {
            request.satisfy::<OverrideCBType>(kind)?;
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.account.channel_binding.is_some()
    }

    fn validate(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let asked = context
            .get_ref::<AuthzId>()
            .filter(|authzid| !authzid.is_empty());
        let username = context.get_ref::<AuthId>();
        let proved = match session.mechanism().mechanism.as_str() {
            "EXTERNAL" => self.account.external.as_deref(),
            "PLAIN" => {
                let given = context.get_ref::<Password>();
                username.filter(|_| given == Some(self.account.password.as_bytes()))
            }
            _ => username,
        };
        if let Some(proved) = proved.filter(|proved| asked.is_none_or(|asked| asked == *proved)) {
            validate.finalize::<LetIn>(proved.to_owned());
        }
        Ok(())
    }
}
