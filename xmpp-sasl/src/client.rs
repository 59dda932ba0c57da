//! The side that proves who it is: trait, inputs, outputs, credentials.

use std::fmt;

use crate::{
    ChannelBindingType, ChannelBindings, IterationBounds, Offer, Password, SaltedPassword,
    ScramError, gssapi, kerberos_v4,
};

/// Where random bytes come from. Closures `FnMut(&mut [u8])` are one.
///
/// Must be a cryptographic source such as the operating system's; mechanisms make their nonces from it.
pub trait Random {
    /// Fills the whole slice.
    fn fill(&mut self, out: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, out: &mut [u8]) {
        self(out);
    }
}

/// One exchange, seen from the side that proves who it is. Made by [`crate::client()`] or [`crate::select`].
///
/// `Debug` shows the state, never a secret.
pub trait Client: Send + fmt::Debug {
    /// The registered name of the mechanism.
    fn name(&self) -> &'static str;

    /// Whether the next step may compute for long, milliseconds to about a second, as the server says (SCRAM); or wait
    /// for an answer from the network (GSSAPI).
    ///
    /// A driver that must not block moves this value, the input and a source of random numbers to a thread for such
    /// work (tokio's `spawn_blocking`) and takes back what comes of it.
    fn is_heavy(&self) -> bool {
        false
    }

    /// One step. The first input is [`ClientInput::Start`], the others are what the server sent.
    fn step(self: Box<Self>, input: ClientInput<'_>, random: &mut dyn Random) -> ClientStep;
}

/// What a [`Client`] is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientInput<'a> {
    /// Begin: is there an initial response?
    Start,
    /// A challenge from the server, decoded.
    Challenge(&'a [u8]),
    /// The server says it succeeded, perhaps with additional data (RFC 4422 §3.6).
    Success(Option<&'a [u8]>),
}

/// What a [`Client`] wants next.
pub enum ClientStep {
    /// Send this: after [`ClientInput::Start`] as the initial response, else as the response.
    Respond(Vec<u8>, Box<dyn Client>),
    /// After [`ClientInput::Start`]: name the mechanism without an initial response.
    Wait(Box<dyn Client>),
    /// Both sides are satisfied: what the server had to prove, it has proved.
    Authenticated,
    /// Do not go on. Where the exchange is still open, abort it; where the server said success, close.
    Abort(ClientError),
}

/// Why a client will not go on. The server's fault, but for [`ClientError::NotEncodable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The challenge breaks the syntax of the mechanism.
    #[error("the challenge is malformed: {0}")]
    Malformed(&'static str),
    /// A challenge or a success where the mechanism has none.
    #[error("the server sent something that this mechanism does not have at this point")]
    Unexpected,
    /// The server asks for a quality of protection, an algorithm or a character set that we do not do.
    #[error("the server asks for {0}, which is not supported")]
    Unsupported(&'static str),
    /// The realm that we have a password for is not among those the server has.
    #[error("the server does not offer the realm of our credentials")]
    RealmNotOffered,
    /// A name or password cannot be written in what the server understands, or the answer would be too long.
    #[error("our credentials cannot be expressed: {0}")]
    NotEncodable(&'static str),
    /// The server did not prove that it knows the secret: it is not the server we have an account with.
    #[error("the server could not prove that it knows the shared secret")]
    ServerNotAuthenticated,
    /// The list of mechanisms or channel-binding types that we saw is not the one that the server sent (XEP-0474):
    /// somebody changed it on the way.
    #[error("what the server offered was changed on the way to us")]
    OfferChanged,
    /// The server has channel binding, but of no type that exists here, and does not prove what it offered
    /// ([`ClientCredentials::binding_is_withheld`]).
    #[error("{}", WITHHELD)]
    BindingWithheld,
    /// The server says inside the exchange why it does not let us in (RFC 5802 §5.1, `e=`).
    #[error("the server refuses: {0}")]
    Refused(ScramError),
    /// GSSAPI: there are no credentials to use, the KDC does not know the service, or it does not answer.
    #[error("Kerberos: {0}")]
    Kerberos(String),
}

/// What the proving side has to prove itself with. A mechanism that lacks something here is not used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCredentials {
    /// Whose password it is (the authentication identity).
    pub username: Option<String>,
    /// The shared secret.
    pub password: Option<Password>,
    /// The realm that the account is in. `None`: take what the server offers.
    pub realm: Option<String>,
    /// Act as this identity. `None`: the one that belongs to the credentials.
    pub authzid: Option<String>,
    /// The registered name of the service, such as `xmpp`.
    pub service: String,
    /// The host the service is asked of. Between XMPP servers: the receiving domain.
    pub host: String,
    /// Whether the outer layer has shown a certificate (or the like) of ours, so that EXTERNAL can work.
    pub certificate: bool,
    /// KERBEROS_V4: the keys that services share with us. `None`: that mechanism is not used.
    pub kerberos_v4: Option<kerberos_v4::Keys>,
    /// What binds the exchange to the outer layer, for the mechanisms in `-PLUS`.
    pub channel_bindings: ChannelBindings,
    /// What the server advertised. [`crate::select`] fills in the mechanisms; the channel-binding types (XEP-0440)
    /// are for the caller to add. With it SCRAM notices an offer that was changed on the way (XEP-0474).
    pub offer: Offer,
    /// SCRAM: what was made of the password before. Where the server names another salt or count, the password is
    /// used; where there is none, that is the end.
    pub salted_password: Option<SaltedPassword>,
    /// How many iterations of the hash a server may ask for (SCRAM).
    pub iterations: IterationBounds,
    /// ANONYMOUS: what the server may keep of us, as an e-mail address. `None`: nothing.
    pub trace: Option<String>,
    /// GSSAPI: whose tickets to show. `None`: that mechanism is not used.
    pub gssapi: Option<gssapi::Initiator>,
}

impl ClientCredentials {
    /// No credentials yet, for this service on this host.
    pub fn new(service: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            host: host.into(),
            ..Self::default()
        }
    }

    /// XEP-0440 §3, rule 6: the server offers channel binding and names its types, but none that there is data of, not
    /// even `tls-server-end-point`, which every server has (rule 1). Somebody may have changed the list, to have the
    /// password without it. PLAIN and DIGEST-MD5 do not exist then; SCRAM goes on only if the server proves that the
    /// list is its own (XEP-0474 §7).
    pub fn binding_is_withheld(&self) -> bool {
        let Some(types) = &self.offer.channel_bindings else {
            return false;
        };
        let end_point = ChannelBindingType::TlsServerEndPoint;
        let known = |name: &String| {
            self.channel_bindings
                .types()
                .chain([end_point])
                .any(|kind| kind.name() == name)
        };
        !self.channel_bindings.is_empty() && self.offer.has_plus() && !types.iter().any(known)
    }
}

/// [`ClientError::BindingWithheld`] in words.
const WITHHELD: &str = "the server offers channel binding of no type that exists here, not even tls-server-end-point: \
                        somebody may have changed its offer";

// What is sent may be a password (PLAIN) or let one be guessed: only lengths are shown.

impl fmt::Debug for ClientInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("Start"),
            Self::Challenge(data) => write!(f, "Challenge({} bytes)", data.len()),
            Self::Success(None) => f.write_str("Success"),
            Self::Success(Some(data)) => write!(f, "Success({} bytes)", data.len()),
        }
    }
}

impl fmt::Debug for ClientStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(data, next) => write!(f, "Respond({} bytes, {next:?})", data.len()),
            Self::Wait(next) => write!(f, "Wait({next:?})"),
            Self::Authenticated => f.write_str("Authenticated"),
            Self::Abort(error) => write!(f, "Abort({error:?})"),
        }
    }
}

/// The end of an exchange in which the client of this mechanism has said it all, and has seen what proof there is: the
/// server says yes, or something that it must not. None of the mechanisms has data with success left by then.
#[derive(Debug)]
pub(crate) struct AwaitOutcome(pub(crate) &'static str);

impl Client for AwaitOutcome {
    fn name(&self) -> &'static str {
        self.0
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
