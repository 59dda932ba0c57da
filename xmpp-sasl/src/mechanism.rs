//! What a mechanism is, seen from outside: the traits of both sides, what goes in, what comes out, and what the asking
//! side needs of the application. The mechanisms implement it and know nothing else of the crate's surface.

use std::fmt;

use crate::{Failure, Password, ScramError, ScramKeys, ScramParameters};

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

/// The operating system's random numbers, as most programs want them.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    ///
    /// If the operating system has no random numbers, which no program can go on without.
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system has random numbers");
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

/// The input of a [`Client`].
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
#[non_exhaustive]
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
    /// an attacker changed it on the way.
    #[error("what the server offered was changed on the way to us")]
    OfferChanged,
    /// The server has channel binding, but of no type that exists here, and does not prove what it offered
    /// ([`crate::ClientCredentials::binding_is_withheld`]).
    #[error("{}", WITHHELD)]
    BindingWithheld,
    /// The server says inside the exchange why it does not let us in (RFC 5802 §5.1, `e=`).
    #[error("the server refuses: {0}")]
    Refused(ScramError),
    /// GSSAPI: there are no credentials to use, the KDC does not know the service, or it does not answer.
    #[error("Kerberos: {0}")]
    Kerberos(String),
}

/// [`ClientError::BindingWithheld`] in words.
const WITHHELD: &str = "the server offers channel binding of no type that exists here, not even tls-server-end-point: \
                        an attacker may have changed its offer";

/// One exchange, seen from the side that asks. Made by [`crate::server()`].
///
/// `Debug` shows the state, never a secret.
pub trait Server: Send + fmt::Debug {
    /// The registered name of the mechanism.
    fn name(&self) -> &'static str;

    /// Whether the next step may compute for long, that is: whether it asks [`Host::scram_keys`], which derives keys
    /// from a password unless the host has stored ones; or reads files (GSSAPI).
    ///
    /// A driver that must not block moves this value, the input and its host to a thread for such work (tokio's
    /// `spawn_blocking`) and takes back what comes of it; or it keeps keys, and SCRAM is not heavy.
    fn is_heavy(&self) -> bool {
        false
    }

    /// One step. The first input is the initial response or `None` if there is none; later ones are always `Some`.
    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep;
}

/// What a [`Server`] wants next.
pub enum ServerStep {
    /// Send this challenge (it may be empty) and wait for the response.
    Challenge(Vec<u8>, Box<dyn Server>),
    /// It is proved.
    Success {
        /// Who the peer is.
        identity: Identity,
        /// Additional data with success (RFC 4422 §3.6).
        data: Option<Vec<u8>>,
    },
    /// It is not proved.
    Failure(Failure),
}

/// Who a peer proved to be.
///
/// ```
/// use xmpp_sasl::Identity;
///
/// let guest = Identity::new().with_authcid("guest-1");
/// assert_eq!(guest.authcid.as_deref(), Some("guest-1"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Identity {
    /// Whose credentials they were, where that is a name.
    pub authcid: Option<String>,
    /// The identity the peer asked to act as, allowed by [`Host::authorize`] or [`Host::external`]. `None`: its own.
    pub authzid: Option<String>,
    /// The mechanism that proved it. The mechanism fills it in.
    pub mechanism: &'static str,
}

impl Identity {
    /// Without a name yet, for [`Host::external`] and [`Host::anonymous`].
    pub fn new() -> Self {
        Self::default()
    }

    /// With this [`authcid`](Self::authcid).
    #[must_use]
    pub fn with_authcid(mut self, authcid: impl Into<String>) -> Self {
        self.authcid = Some(authcid.into());
        self
    }

    /// With this [`authzid`](Self::authzid).
    #[must_use]
    pub fn with_authzid(mut self, authzid: impl Into<String>) -> Self {
        self.authzid = Some(authzid.into());
        self
    }
}

/// What the asking side knows and decides; mechanisms ask, the application answers.
///
/// Each method has a default that knows nothing and refuses, so write only what your mechanisms use:
///
/// | mechanism | asks |
/// |---|---|
/// | PLAIN | [`check_password`](Host::check_password), which asks [`password`](Host::password) unless overridden |
/// | SCRAM | [`scram_keys`](Host::scram_keys), which asks [`password`](Host::password) unless overridden |
/// | DIGEST-MD5 | [`password`](Host::password) |
/// | EXTERNAL | [`external`](Host::external) |
/// | GSSAPI, KERBEROS_V4 | [`authorize_principal`](Host::authorize_principal) |
/// | ANONYMOUS | [`anonymous`](Host::anonymous) |
///
/// With a password the peer is then itself; for more, or less, override [`authorize`](Host::authorize).
///
/// ```
/// use xmpp_sasl::{Host, Password, ServerOptions, ServerStep, server};
///
/// struct Accounts;
/// impl Host for Accounts {
///     fn password(&mut self, name: &str, _realm: Option<&str>) -> Option<Password> {
///         (name == "juliet").then(|| "r0m30".into())
///     }
/// }
///
/// let exchange = server("PLAIN", &ServerOptions::new("imap", "mail.example"))?;
/// let step = exchange.step(Some(b"\0juliet\0r0m30"), &mut Accounts);
/// assert!(matches!(step, ServerStep::Success { .. }));
/// # Ok::<(), xmpp_sasl::Unavailable>(())
/// ```
pub trait Host {
    /// Fills the slice from a cryptographic source. As it stands that is the operating system's ([`OsRandom`]).
    fn random(&mut self, out: &mut [u8]) {
        OsRandom.fill(out);
    }

    /// The password of this name. `realm` is what the peer named: one of [`crate::ServerOptions::realms`], or whatever it
    /// likes if that is empty. An unknown name and a wrong password look the same to the peer.
    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
        let _ = (authcid, realm);
        None
    }

    /// The stored keys of this name, for SCRAM with the hash function in `unknown`.
    ///
    /// As it stands it derives them from [`Host::password`], as slowly for an unknown name. A host that keeps keys
    /// instead of passwords overrides it; a `None` then makes the exchange go on with the salt and the count in
    /// `unknown`, and fail at its end like a wrong password. For the peer not to tell the two apart, set
    /// [`crate::ServerOptions::secret`], and [`crate::ServerOptions::iterations`] to the count of the stored keys.
    fn scram_keys(&mut self, authcid: &str, unknown: &ScramParameters) -> Option<ScramKeys> {
        let password = self.password(authcid, None);
        let known = password.is_some();
        let keys = unknown.derive(&password.unwrap_or_else(|| Password::new("")));
        keys.ok().filter(|_| known)
    }

    /// Whether this is the password of this name, for PLAIN.
    ///
    /// As it stands it compares with [`Host::password`], both prepared with SASLprep (RFC 4616 §2). Who keeps
    /// something else overrides it; [`ScramKeys::is_of`] is for stored keys.
    fn check_password(&mut self, authcid: &str, given: &Password) -> bool {
        let password = self.password(authcid, None);
        Password::is_same(password.as_ref(), given)
    }

    /// ANONYMOUS: the identity of a peer that says no more than this (RFC 4505). Refuses, unless overridden.
    ///
    /// What the peer says about itself proves nothing.
    fn anonymous(&mut self, _trace: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }

    /// May this name, now proved, act as `authzid` (`None`: as itself)? A no is [`Failure::InvalidAuthzid`] as a
    /// rule, or [`Failure::NotAuthorized`] where the peer should not learn more. As it stands a name may act as itself
    /// only.
    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        if authzid.is_none_or(|authzid| authzid == authcid) {
            Ok(())
        } else {
            Err(Failure::InvalidAuthzid)
        }
    }

    /// Kerberos: may the client with this principal, now proved, act as `authzid`? `ours` is the principal of this
    /// service that the client asked for, by which a realm is known to be the own one. As it stands it refuses: that
    /// a realm knows a principal does not make it one of yours ([`crate::gssapi::is_service_of`] says it of domains).
    fn authorize_principal(
        &mut self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        let _ = (principal, ours, authzid);
        Err(Failure::NotAuthorized)
    }

    /// Why a mechanism failed, where the peer learns less: for the log, as a keytab that cannot be read is the
    /// operator's to repair. It holds no secret, but may hold text that the peer chose.
    fn explain(&mut self, why: &str) {
        let _ = why;
    }

    /// EXTERNAL: the identity that the outer layer proves for this `authzid` (`None`: the one it stands for). As it
    /// stands it proves nothing.
    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        let _ = authzid;
        Err(Failure::NotAuthorized)
    }
}

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

impl fmt::Debug for ServerStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenge(data, next) => write!(f, "Challenge({} bytes, {next:?})", data.len()),
            Self::Success { identity, data } => {
                write!(
                    f,
                    "Success({identity:?}, {:?} bytes)",
                    data.as_ref().map(Vec::len)
                )
            }
            Self::Failure(failure) => write!(f, "Failure({failure:?})"),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Overrides nothing.
    struct Silent;
    impl Host for Silent {}

    #[test]
    fn a_host_that_says_nothing_lets_nobody_in() {
        let mut host = Silent;
        assert_eq!(host.password("a", None), None);
        assert!(!host.check_password("a", &Password::new("")));
        assert_eq!(host.external(None).unwrap_err(), Failure::NotAuthorized);
        assert_eq!(host.anonymous(None).unwrap_err(), Failure::NotAuthorized);
        let principal = host.authorize_principal("a@A", "xmpp/b@A", None);
        assert_eq!(principal, Err(Failure::NotAuthorized));
        let unknown = ScramParameters {
            hash: crate::ScramHash::Sha1,
            salt: b"salt".to_vec(),
            iterations: 1,
        };
        assert_eq!(host.scram_keys("a", &unknown), None);
        assert_eq!(host.authorize("a", Some("a")), Ok(()));
        assert_eq!(host.authorize("a", None), Ok(()));
        assert_eq!(host.authorize("a", Some("b")), Err(Failure::InvalidAuthzid));
        let (mut one, mut other) = ([0; 16], [0; 16]);
        host.random(&mut one);
        OsRandom.fill(&mut other);
        assert!(one != [0; 16] && other != [0; 16] && one != other);
    }
}
