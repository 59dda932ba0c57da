//! The side that asks for proof: trait, outputs, and what it needs of the application.

use std::fmt;

use crate::{
    ChannelBindings, Failure, Offer, Password, ScramKeys, ScramParameters, ServerSecret, gssapi,
    kerberos_v4, saslprep,
};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose credentials they were, where that is a name.
    pub authcid: Option<String>,
    /// The identity the peer asked to act as, allowed by [`Host::authorize`] or [`Host::external`]. `None`: its own.
    pub authzid: Option<String>,
    /// The mechanism that proved it.
    pub mechanism: &'static str,
}

/// What the asking side knows and decides; mechanisms ask, the application answers.
pub trait Host {
    /// Fills the slice from a cryptographic source.
    fn random(&mut self, out: &mut [u8]);

    /// The password of this name. `realm` is what the peer named: one of [`ServerOptions::realms`], or whatever it
    /// likes if that is empty. An unknown name and a wrong password look the same to the peer.
    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password>;

    /// The stored keys of this name, for SCRAM with the hash function in `unknown`.
    ///
    /// As it stands it derives them from [`Host::password`], as slowly for a name that nobody has. Who keeps keys
    /// instead of passwords overrides it; a `None` then makes the exchange go on with the salt and the count in
    /// `unknown`, and fail at its end like a wrong password. For the peer not to tell the two apart, set
    /// [`ServerOptions::secret`], and [`ServerOptions::iterations`] to the count of the stored keys.
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
        saslprep::same_password(password.as_ref(), given)
    }

    /// ANONYMOUS: as whom may somebody come in who says no more than this (RFC 4505)? Nobody, unless overridden.
    ///
    /// What the peer says about itself proves nothing.
    fn anonymous(&mut self, _trace: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }

    /// May this name, now proved, act as `authzid` (`None`: as itself)? A no is [`Failure::InvalidAuthzid`] as a
    /// rule, or [`Failure::NotAuthorized`] where the peer should not learn more.
    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure>;

    /// Kerberos: may the client with this principal, now proved, act as `authzid`? `ours` is the principal of this
    /// service that the client asked for, by which a realm is known to be the own one. The default asks
    /// [`Host::authorize`].
    fn authorize_principal(
        &mut self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        let _ = ours;
        self.authorize(principal, authzid)
    }

    /// Why a mechanism failed, where the peer is told less: for the log, as a keytab that cannot be read is the
    /// operator's to repair. It holds no secret, but may hold text that the peer chose.
    fn explain(&mut self, why: &str) {
        let _ = why;
    }

    /// EXTERNAL: the identity that the outer layer proves for this `authzid` (`None`: the one it stands for).
    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure>;
}

/// What the asking side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The registered name of the service, such as `xmpp`.
    pub service: String,
    /// The host that the service is: between XMPP servers, the receiving domain.
    pub host: String,
    /// The realms to choose from. Empty: none is offered, and the peer may name any.
    pub realms: Vec<String>,
    /// KERBEROS_V4: the keys that we share with clients. `None`: that mechanism does not exist here.
    pub kerberos_v4: Option<kerberos_v4::Keys>,
    /// What binds the exchange to the outer layer. Empty: the mechanisms in `-PLUS` do not exist on this connection.
    pub channel_bindings: ChannelBindings,
    /// What was advertised on this connection, so that SCRAM can prove it (XEP-0474) and can see whether a `-PLUS`
    /// was taken off the list on the way. Unknown: nothing is proved, and a `-PLUS` counts as advertised where there
    /// is something to bind to.
    pub offer: Offer,
    /// Makes the salts that SCRAM shows for names that nobody has, the same each time. `None`: they are random, and
    /// with stored keys such a name can be told from one that somebody has by asking twice.
    pub secret: Option<ServerSecret>,
    /// The iteration count where SCRAM keys are derived from a password, or shown for a name that nobody has.
    pub iterations: u32,
    /// Whether SCRAM says inside the exchange why it refuses (RFC 5802 §5.1, `e=`). XMPP has `<failure/>` for that.
    pub scram_errors: bool,
    /// GSSAPI: the keytab that tickets are judged with. `None`: that mechanism does not exist here.
    pub gssapi: Option<gssapi::Acceptor>,
}

impl ServerOptions {
    /// A service on a host, with the host's name as the only realm, nothing to bind to, and 10,000 iterations.
    pub fn new(service: impl Into<String>, host: impl Into<String>) -> Self {
        let host = host.into();
        Self {
            service: service.into(),
            realms: vec![host.clone()],
            host,
            kerberos_v4: None,
            channel_bindings: ChannelBindings::none(),
            offer: Offer::default(),
            secret: None,
            iterations: 10_000,
            scram_errors: false,
            gssapi: None,
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
