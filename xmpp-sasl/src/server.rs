//! The side that asks for proof: trait, outputs, and what it needs of the application.

use std::fmt;

use crate::{Failure, Password, kerberos_v4};

/// One exchange, seen from the side that asks. Made by [`crate::server`].
///
/// `Debug` shows the state, never a secret.
pub trait Server: Send + fmt::Debug {
    /// The registered name of the mechanism.
    fn name(&self) -> &'static str;

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
}

impl ServerOptions {
    /// A service on a host, with the host's name as the only realm.
    pub fn new(service: impl Into<String>, host: impl Into<String>) -> Self {
        let host = host.into();
        Self {
            service: service.into(),
            realms: vec![host.clone()],
            host,
            kerberos_v4: None,
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
