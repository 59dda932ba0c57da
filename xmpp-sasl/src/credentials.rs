//! What each side brings to an exchange, whatever the mechanism. Only the registry reads it: a row takes out what its
//! mechanism needs.

use crate::{
    ChannelBindingType, ChannelBindings, IterationBounds, Offer, Password, SaltedPassword,
    ServerSecret, gssapi, kerberos_v4,
};

/// What the proving side has to prove itself with. A mechanism that lacks something here is not used.
///
/// Each mechanism that is added may bring a field, so make one by [`ClientCredentials::new`]:
///
/// ```
/// let credentials = xmpp_sasl::ClientCredentials::new("imap", "mail.example").with_password("juliet", "r0m30");
/// assert_eq!(credentials.username.as_deref(), Some("juliet"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
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
    /// The host of the service. Between XMPP servers: the receiving domain.
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

    /// With this [`username`](Self::username), for keys or a [`SaltedPassword`] in place of a password.
    #[must_use]
    pub fn with_username(mut self, name: impl Into<String>) -> Self {
        self.username = Some(name.into());
        self
    }

    /// With this [`username`](Self::username) and this [`password`](Self::password).
    #[must_use]
    pub fn with_password(mut self, name: impl Into<String>, password: impl Into<Password>) -> Self {
        self.username = Some(name.into());
        self.password = Some(password.into());
        self
    }

    /// With this [`realm`](Self::realm).
    #[must_use]
    pub fn with_realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// With this [`authzid`](Self::authzid).
    #[must_use]
    pub fn with_authzid(mut self, authzid: impl Into<String>) -> Self {
        self.authzid = Some(authzid.into());
        self
    }

    /// With a [`certificate`](Self::certificate) that the outer layer has shown.
    #[must_use]
    pub fn with_certificate(mut self) -> Self {
        self.certificate = true;
        self
    }

    /// With these keys for [`KERBEROS_V4`](Self::kerberos_v4).
    #[must_use]
    pub fn with_kerberos_v4(mut self, keys: kerberos_v4::Keys) -> Self {
        self.kerberos_v4 = Some(keys);
        self
    }

    /// With these [`channel_bindings`](Self::channel_bindings).
    #[must_use]
    pub fn with_channel_bindings(mut self, bindings: ChannelBindings) -> Self {
        self.channel_bindings = bindings;
        self
    }

    /// With this [`offer`](Self::offer).
    #[must_use]
    pub fn with_offer(mut self, offer: Offer) -> Self {
        self.offer = offer;
        self
    }

    /// With this [`salted_password`](Self::salted_password).
    #[must_use]
    pub fn with_salted_password(mut self, salted: SaltedPassword) -> Self {
        self.salted_password = Some(salted);
        self
    }

    /// With these bounds of [`iterations`](Self::iterations).
    #[must_use]
    pub fn with_iterations(mut self, bounds: IterationBounds) -> Self {
        self.iterations = bounds;
        self
    }

    /// With this [`trace`](Self::trace).
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// With these tickets for [`GSSAPI`](Self::gssapi).
    #[must_use]
    pub fn with_gssapi(mut self, initiator: gssapi::Initiator) -> Self {
        self.gssapi = Some(initiator);
        self
    }

    /// XEP-0440 §3, rule 6: the server offers channel binding and names its types, but none that there is data of, not
    /// even `tls-server-end-point`, which every server has (rule 1). An attacker may have changed the list, to have the
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

/// What the asking side says of itself. Each mechanism that is added may bring a field, so make one by
/// [`ServerOptions::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Makes the salts that SCRAM shows for unknown names, the same each time. `None`: they are random, and with
    /// stored keys a peer that tries a name twice learns whether it exists.
    pub secret: Option<ServerSecret>,
    /// The iteration count where SCRAM keys are derived from a password, or shown for an unknown name.
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

    /// With these [`realms`](Self::realms), in place of others.
    #[must_use]
    pub fn with_realms(mut self, realms: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.realms = realms.into_iter().map(Into::into).collect();
        self
    }

    /// With these keys for [`KERBEROS_V4`](Self::kerberos_v4).
    #[must_use]
    pub fn with_kerberos_v4(mut self, keys: kerberos_v4::Keys) -> Self {
        self.kerberos_v4 = Some(keys);
        self
    }

    /// With these [`channel_bindings`](Self::channel_bindings).
    #[must_use]
    pub fn with_channel_bindings(mut self, bindings: ChannelBindings) -> Self {
        self.channel_bindings = bindings;
        self
    }

    /// With this [`offer`](Self::offer).
    #[must_use]
    pub fn with_offer(mut self, offer: Offer) -> Self {
        self.offer = offer;
        self
    }

    /// With this [`secret`](Self::secret).
    #[must_use]
    pub fn with_secret(mut self, secret: ServerSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// With this count of [`iterations`](Self::iterations).
    #[must_use]
    pub fn with_iterations(mut self, count: u32) -> Self {
        self.iterations = count;
        self
    }

    /// SCRAM says why it refuses ([`scram_errors`](Self::scram_errors)).
    #[must_use]
    pub fn with_scram_errors(mut self) -> Self {
        self.scram_errors = true;
        self
    }

    /// With this keytab for [`GSSAPI`](Self::gssapi).
    #[must_use]
    pub fn with_gssapi(mut self, acceptor: gssapi::Acceptor) -> Self {
        self.gssapi = Some(acceptor);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings() -> ChannelBindings {
        ChannelBindings::none().with(ChannelBindingType::TlsExporter, *b"data")
    }

    #[test]
    fn what_is_said_of_credentials_is_in_them() {
        let bounds = IterationBounds { min: 1, max: 2 };
        let found = ClientCredentials::new("xmpp", "b.example")
            .with_password("juliet", "r0m30")
            .with_realm("realm")
            .with_authzid("a.example")
            .with_certificate()
            .with_kerberos_v4(kerberos_v4::Keys::default())
            .with_channel_bindings(bindings())
            .with_offer(Offer::new(["PLAIN"]))
            .with_iterations(bounds)
            .with_trace("trace")
            .with_gssapi(gssapi::Initiator::default());
        let want = ClientCredentials {
            username: Some("juliet".to_owned()),
            password: Some("r0m30".into()),
            realm: Some("realm".to_owned()),
            authzid: Some("a.example".to_owned()),
            service: "xmpp".to_owned(),
            host: "b.example".to_owned(),
            certificate: true,
            kerberos_v4: Some(kerberos_v4::Keys::default()),
            channel_bindings: bindings(),
            offer: Offer::new(["PLAIN"]),
            salted_password: None,
            iterations: bounds,
            trace: Some("trace".to_owned()),
            gssapi: Some(gssapi::Initiator::default()),
        };
        assert_eq!(found, want);
        let other = found.with_username("nurse");
        assert_eq!(other.username.as_deref(), Some("nurse"));
        assert_eq!(other.realm, want.realm);
    }

    #[test]
    fn what_is_said_of_a_server_is_in_its_options() {
        let found = ServerOptions::new("xmpp", "b.example")
            .with_realms(["one", "two"])
            .with_kerberos_v4(kerberos_v4::Keys::default())
            .with_channel_bindings(bindings())
            .with_offer(Offer::new(["PLAIN"]))
            .with_secret(ServerSecret::new(*b"a secret"))
            .with_iterations(5000)
            .with_scram_errors()
            .with_gssapi(gssapi::Acceptor::default());
        let want = ServerOptions {
            service: "xmpp".to_owned(),
            host: "b.example".to_owned(),
            realms: vec!["one".to_owned(), "two".to_owned()],
            kerberos_v4: Some(kerberos_v4::Keys::default()),
            channel_bindings: bindings(),
            offer: Offer::new(["PLAIN"]),
            secret: Some(ServerSecret::new(*b"a secret")),
            iterations: 5000,
            scram_errors: true,
            gssapi: Some(gssapi::Acceptor::default()),
        };
        assert_eq!(found, want);
    }
}
