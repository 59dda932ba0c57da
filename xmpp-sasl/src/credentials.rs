//! What each side brings to an exchange, whatever the mechanism. Only the registry reads it: a row takes out what its
//! mechanism needs.

use crate::{
    ChannelBindingType, ChannelBindings, IterationBounds, Offer, Password, SaltedPassword,
    ServerSecret, gssapi, kerberos_v4,
};

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
