//! The side that proves who it is, behind [`sasl::client::Mechanism`].

use std::fmt;
use std::marker::PhantomData;

use sasl::client::MechanismError;
use sasl::common::{Credentials, Identity, Password as SaslPassword, Secret};

use super::{Hash, Stream, bindings, scram_name};
use crate::{
    Client, ClientCredentials, ClientError, ClientInput, ClientStep, Password, SaltedPassword,
    ScramHash, names,
};

/// SCRAM, in `-PLUS` where there is data to bind to: in the place of `sasl::client::mechanisms::Scram`.
pub type Scram<H> = Adapter<kind::Scram<H>>;
/// PLAIN: in the place of `sasl::client::mechanisms::Plain`.
pub type Plain = Adapter<kind::Plain>;
/// ANONYMOUS: in the place of `sasl::client::mechanisms::Anonymous`.
pub type Anonymous = Adapter<kind::Anonymous>;
/// EXTERNAL. The username, if there is one, is the authorization identity.
pub type External = Adapter<kind::External>;

/// A mechanism of this crate behind [`sasl::client::Mechanism`].
///
/// `K` says which one [`sasl::client::Mechanism::from_credentials`] makes: one of [`kind`], and by default the
/// strongest that the credentials do for, whatever the server has to say to that.
pub struct Adapter<K = kind::Strongest> {
    name: &'static str,
    /// What is sent first.
    initial: Vec<u8>,
    /// `None`: it is over, well or not.
    exchange: Option<Box<dyn Client>>,
    authenticated: bool,
    error: Option<ClientError>,
    random: Stream,
    kind: PhantomData<fn() -> K>,
}

impl Adapter {
    /// Puts an exchange that has not begun behind the trait.
    pub fn of(client: Box<dyn Client>) -> Result<Self, MechanismError> {
        Self::begin(client)
    }
}

impl<K> Adapter<K> {
    fn begin(client: Box<dyn Client>) -> Result<Self, MechanismError> {
        let mut random = Stream::seed().map_err(|_| MechanismError::CannotGenerateNonce)?;
        let name = client.name();
        let (initial, exchange) = match client.step(ClientInput::Start, &mut random) {
            ClientStep::Respond(initial, next) => (initial, next),
            ClientStep::Wait(next) => (Vec::new(), next),
            ClientStep::Authenticated => return Err(MechanismError::InvalidState),
            ClientStep::Abort(error) => return Err(challenge_error(&error)),
        };
        Ok(Self {
            name,
            initial,
            exchange: Some(exchange),
            authenticated: false,
            error: None,
            random,
            kind: PhantomData,
        })
    }

    /// Whether both sides have proved what they had to. Not before this is true has the server proved anything.
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// What went wrong, in this crate's words, which are more precise.
    pub fn error(&self) -> Option<&ClientError> {
        self.error.as_ref()
    }

    fn step(&mut self, input: ClientInput<'_>) -> Result<Option<Vec<u8>>, Ended> {
        let exchange = self.exchange.take().ok_or(Ended::Before)?;
        match exchange.step(input, &mut self.random) {
            ClientStep::Respond(response, next) => {
                self.exchange = Some(next);
                Ok(Some(response))
            }
            ClientStep::Wait(next) => {
                self.exchange = Some(next);
                Ok(None)
            }
            ClientStep::Authenticated => {
                self.authenticated = true;
                Ok(None)
            }
            ClientStep::Abort(error) => {
                self.error = Some(error.clone());
                Err(Ended::Now(error))
            }
        }
    }
}

enum Ended {
    Before,
    Now(ClientError),
}

fn challenge_error(error: &ClientError) -> MechanismError {
    match error {
        ClientError::Malformed(_) => MechanismError::CannotDecodeChallenge,
        ClientError::ServerNotAuthenticated => MechanismError::InvalidSignatureInSuccessResponse,
        ClientError::Unexpected
        | ClientError::Unsupported(_)
        | ClientError::RealmNotOffered
        | ClientError::NotEncodable(_)
        | ClientError::OfferChanged
        | ClientError::BindingWithheld
        | ClientError::Kerberos(_)
        | ClientError::Refused(_) => MechanismError::InvalidState,
    }
}

impl<K: kind::Kind> sasl::client::Mechanism for Adapter<K> {
    fn name(&self) -> &str {
        self.name
    }

    fn from_credentials(credentials: Credentials) -> Result<Self, MechanismError> {
        K::client(credentials).and_then(Self::begin)
    }

    fn initial(&mut self) -> Vec<u8> {
        self.initial.clone()
    }

    fn response(&mut self, challenge: &[u8]) -> Result<Vec<u8>, MechanismError> {
        match self.step(ClientInput::Challenge(challenge)) {
            Ok(response) => Ok(response.unwrap_or_default()),
            Err(Ended::Now(error)) => Err(challenge_error(&error)),
            Err(Ended::Before) => Err(MechanismError::InvalidState),
        }
    }

    /// Has to be called, with empty data if the server sent none, and has to succeed.
    fn success(&mut self, data: &[u8]) -> Result<(), MechanismError> {
        let data = (!data.is_empty()).then_some(data);
        match self.step(ClientInput::Success(data)) {
            Ok(_) if self.authenticated => Ok(()),
            Err(Ended::Now(ClientError::Malformed(_))) => {
                Err(MechanismError::CannotDecodeSuccessResponse)
            }
            Err(Ended::Now(ClientError::ServerNotAuthenticated)) if data.is_none() => {
                Err(MechanismError::NoSignatureInSuccessResponse)
            }
            Err(Ended::Now(error)) => Err(challenge_error(&error)),
            Ok(_) | Err(Ended::Before) => Err(MechanismError::InvalidState),
        }
    }
}

impl<K> fmt::Debug for Adapter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("name", &self.name)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

/// Which mechanism [`sasl::client::Mechanism::from_credentials`] makes.
pub mod kind {
    use super::*;

    /// SCRAM with this hash function.
    #[derive(Debug)]
    pub struct Scram<H>(PhantomData<fn() -> H>);
    /// PLAIN.
    #[derive(Debug)]
    pub struct Plain;
    /// ANONYMOUS.
    #[derive(Debug)]
    pub struct Anonymous;
    /// EXTERNAL.
    #[derive(Debug)]
    pub struct External;
    /// The strongest that the credentials do for.
    #[derive(Debug)]
    pub struct Strongest;

    /// One of the types in this module.
    pub trait Kind {
        #[doc(hidden)]
        fn client(credentials: Credentials) -> Result<Box<dyn Client>, MechanismError>;
    }

    impl<H: Hash> Kind for Scram<H> {
        fn client(credentials: Credentials) -> Result<Box<dyn Client>, MechanismError> {
            if credentials.identity == Identity::None {
                return Err(MechanismError::ScramRequiresUsername);
            }
            let ours = ours(credentials);
            let name = scram_name(H::HASH, &ours.channel_bindings);
            crate::client(name, &ours).map_err(|_| MechanismError::ScramRequiresPassword)
        }
    }

    impl Kind for Plain {
        fn client(credentials: Credentials) -> Result<Box<dyn Client>, MechanismError> {
            if credentials.identity == Identity::None {
                return Err(MechanismError::PlainRequiresUsername);
            }
            crate::client("PLAIN", &ours(credentials))
                .map_err(|_| MechanismError::PlainRequiresPlaintextPassword)
        }
    }

    impl Kind for Anonymous {
        fn client(credentials: Credentials) -> Result<Box<dyn Client>, MechanismError> {
            if credentials.identity != Identity::None || credentials.secret != Secret::None {
                return Err(MechanismError::AnonymousRequiresNoCredentials);
            }
            crate::client("ANONYMOUS", &ours(credentials)).map_err(|_| MechanismError::InvalidState)
        }
    }

    impl Kind for External {
        fn client(credentials: Credentials) -> Result<Box<dyn Client>, MechanismError> {
            let mut ours = ours(credentials);
            ours.certificate = true;
            ours.authzid = ours.username.take();
            crate::client("EXTERNAL", &ours).map_err(|_| MechanismError::InvalidState)
        }
    }

    impl Kind for Strongest {
        fn client(credentials: Credentials) -> Result<Box<dyn Client>, MechanismError> {
            let ours = ours(credentials);
            names()
                // It needs a host, which these credentials do not have.
                .filter(|name| *name != "DIGEST-MD5")
                .find_map(|name| crate::client(name, &ours).ok())
                .ok_or(MechanismError::InvalidState)
        }
    }
}

fn ours(credentials: Credentials) -> ClientCredentials {
    let (mut password, mut salted) = (None, None);
    match credentials.secret {
        Secret::None => {}
        Secret::Password(SaslPassword::Plain(text)) => password = Some(Password::new(text)),
        Secret::Password(SaslPassword::Pbkdf2 {
            method,
            salt,
            iterations,
            data,
        }) => {
            let data = zeroize::Zeroizing::new(data);
            salted = ScramHash::ALL
                .into_iter()
                .find(|hash| hash.mechanism().strip_prefix("SCRAM-") == Some(&method))
                .and_then(|hash| SaltedPassword::new(hash, &salt, iterations, &data).ok());
        }
    }
    let name = match credentials.identity {
        Identity::None => None,
        Identity::Username(name) => Some(name),
    };
    ClientCredentials {
        username: name,
        password,
        salted_password: salted,
        channel_bindings: bindings(credentials.channel_binding),
        ..ClientCredentials::new("", "")
    }
}
