//! The side that asks, behind [`sasl::server::Mechanism`].

use std::fmt;
use std::marker::PhantomData;

use data_encoding::HEXLOWER;
use sasl::common::{ChannelBinding, Identity as SaslIdentity};
use sasl::secret::{self, Pbkdf2Secret};
use sasl::server::{MechanismError, Provider, Response, Validator, ValidatorError};
use zeroize::Zeroize;

use super::{Hash, Stream, bindings, scram_name};
use crate::{
    Failure, Host, Identity, Password, Random, SaltedPassword, ScramKeys, ScramParameters, Server,
    ServerOptions, ServerStep,
};

/// SCRAM, in `-PLUS` where there is data to bind to: in the place of `sasl::server::mechanisms::Scram`.
pub type Scram<H, P> = Adapter<Provided<H, P>>;
/// PLAIN: in the place of `sasl::server::mechanisms::Plain`.
pub type Plain<V> = Adapter<Validated<V>>;
/// ANONYMOUS: in the place of `sasl::server::mechanisms::Anonymous`.
pub type Anonymous = Adapter<AnonymousHost>;

/// A mechanism of this crate behind [`sasl::server::Mechanism`].
#[derive(Debug)]
pub struct Adapter<H> {
    name: &'static str,
    exchange: Exchange,
    host: H,
}

#[derive(Debug)]
enum Exchange {
    /// Nothing has been said.
    New(Box<dyn Server>),
    Begun(Box<dyn Server>),
    /// There were no random numbers.
    Unable(MechanismError),
    Over,
}

impl<H: Host> Adapter<H> {
    /// Puts an exchange that has not begun behind the trait. The host answers its questions.
    pub fn of(server: Box<dyn Server>, host: H) -> Self {
        Self {
            name: server.name(),
            exchange: Exchange::New(server),
            host,
        }
    }

    /// The host, for what it has learnt.
    pub fn host(&self) -> &H {
        &self.host
    }

    fn named(name: &str, options: &ServerOptions, host: impl FnOnce(Stream) -> H) -> Self {
        let exchange = crate::server(name, options)
            .expect("it was registered under this name, and there is what it binds to");
        let (stream, unable) = match Stream::seed() {
            Ok(stream) => (stream, None),
            Err(error) => (Stream::unseeded(), Some(error)),
        };
        let mut adapter = Self::of(exchange, host(stream));
        if let Some(error) = unable {
            adapter.exchange = Exchange::Unable(error);
        }
        adapter
    }
}

impl<H: Hash, P> Scram<H, P>
where
    P: Provider<H::Secret>,
    H::Secret: Pbkdf2Secret,
{
    /// With the salted passwords of this provider. `channel_binding` is what the server sees of the connection; with
    /// `None` and `Unsupported` it has nothing to bind to, and offers no `-PLUS`.
    ///
    /// For a server that offers both names, and for salts of unknown names that are the same each time:
    /// [`Scram::with_options`].
    pub fn new(provider: P, channel_binding: ChannelBinding) -> Self {
        let channel_bindings = bindings(channel_binding);
        let name = scram_name(H::HASH, &channel_bindings);
        let options = ServerOptions {
            channel_bindings,
            ..ServerOptions::new("", "")
        };
        Self::named(name, &options, |random| Provided::new(provider, random))
    }

    /// With all options there are; `plus` if that is what the client chose. `None` if there is nothing to bind to
    /// then.
    pub fn with_options(provider: P, plus: bool, options: &ServerOptions) -> Option<Self> {
        let name = if plus {
            H::HASH.mechanism_plus()
        } else {
            H::HASH.mechanism()
        };
        crate::server(name, options).ok()?;
        Some(Self::named(name, options, |random| {
            Provided::new(provider, random)
        }))
    }
}

impl<V: Validator<secret::Plain>> Plain<V> {
    /// With the judgement of this validator.
    pub fn new(validator: V) -> Self {
        Self::named("PLAIN", &ServerOptions::new("", ""), |_| Validated {
            validator,
        })
    }
}

impl Anonymous {
    /// Lets every peer in, each under another random name of 32 hexadecimal digits.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self::named("ANONYMOUS", &ServerOptions::new("", ""), AnonymousHost)
    }
}

impl<H: Host> sasl::server::Mechanism for Adapter<H> {
    fn name(&self) -> &str {
        self.name
    }

    /// An empty first payload is no initial response, but for the mechanisms in which it says something.
    fn respond(&mut self, payload: &[u8]) -> Result<Response, MechanismError> {
        let (exchange, input) = match std::mem::replace(&mut self.exchange, Exchange::Over) {
            Exchange::New(exchange) => {
                let speaks = matches!(self.name, "EXTERNAL" | "ANONYMOUS");
                let input = (speaks || !payload.is_empty()).then_some(payload);
                (exchange, input)
            }
            Exchange::Begun(exchange) => (exchange, Some(payload)),
            Exchange::Unable(error) => return Err(error),
            Exchange::Over => return Err(MechanismError::SaslSessionAlreadyOver),
        };
        match exchange.step(input, &mut self.host) {
            ServerStep::Challenge(challenge, next) => {
                self.exchange = Exchange::Begun(next);
                Ok(Response::Proceed(challenge))
            }
            // The one it acts as.
            ServerStep::Success { identity, data } => {
                let name = identity.authzid.or(identity.authcid);
                let identity = name.map_or(SaslIdentity::None, SaslIdentity::Username);
                Ok(Response::Success(identity, data.unwrap_or_default()))
            }
            ServerStep::Failure(failure) => Err(error(failure)),
        }
    }
}

fn error(failure: Failure) -> MechanismError {
    match failure {
        Failure::IncorrectEncoding | Failure::MalformedRequest => {
            MechanismError::FailedToDecodeMessage
        }
        Failure::Aborted
        | Failure::AccountDisabled
        | Failure::CredentialsExpired
        | Failure::EncryptionRequired
        | Failure::InvalidAuthzid
        | Failure::InvalidMechanism
        | Failure::MechanismTooWeak
        | Failure::NotAuthorized
        | Failure::TemporaryAuthFailure => MechanismError::AuthenticationFailed,
    }
}

/// Each user as itself.
fn as_oneself(authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
    match authzid {
        Some(authzid) if authzid != authcid => Err(Failure::InvalidAuthzid),
        _ => Ok(()),
    }
}

/// A [`Provider`] of salted passwords as a [`Host`].
pub struct Provided<H, P> {
    provider: P,
    random: Stream,
    hash: PhantomData<fn() -> H>,
}

impl<H, P> Provided<H, P> {
    fn new(provider: P, random: Stream) -> Self {
        Self {
            provider,
            random,
            hash: PhantomData,
        }
    }
}

impl<H, P> Host for Provided<H, P>
where
    H: Hash,
    P: Provider<H::Secret>,
    H::Secret: Pbkdf2Secret,
{
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        None
    }

    fn scram_keys(&mut self, authcid: &str, _: &ScramParameters) -> Option<ScramKeys> {
        let secret = self
            .provider
            .provide(&SaslIdentity::Username(authcid.to_owned()))
            .ok()?;
        let salted =
            SaltedPassword::new(H::HASH, secret.salt(), secret.iterations(), secret.digest());
        salted.ok().map(|salted| ScramKeys::of(&salted))
    }

    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        as_oneself(authcid, authzid)
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}

impl<H, P> fmt::Debug for Provided<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provided")
    }
}

/// A [`Validator`] of passwords as a [`Host`].
pub struct Validated<V> {
    validator: V,
}

impl<V: Validator<secret::Plain>> Host for Validated<V> {
    /// PLAIN needs none.
    fn random(&mut self, _: &mut [u8]) {}

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        None
    }

    fn check_password(&mut self, authcid: &str, given: &Password) -> bool {
        let mut given = secret::Plain(given.as_str().to_owned());
        let name = SaslIdentity::Username(authcid.to_owned());
        let judged: Result<(), ValidatorError> = self.validator.validate(&name, &given);
        given.0.zeroize();
        judged.is_ok()
    }

    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        as_oneself(authcid, authzid)
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}

impl<V> fmt::Debug for Validated<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validated")
    }
}

/// A [`Host`] that lets every peer in by ANONYMOUS, and none by another mechanism.
#[derive(Debug)]
pub struct AnonymousHost(Stream);

impl Host for AnonymousHost {
    fn random(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        None
    }

    fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        Err(Failure::NotAuthorized)
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }

    fn anonymous(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        let mut octets = [0; 16];
        self.0.fill(&mut octets);
        let name = HEXLOWER.encode(&octets);
        Ok(Identity {
            authcid: Some(name),
            authzid: None,
            mechanism: "ANONYMOUS",
        })
    }
}
