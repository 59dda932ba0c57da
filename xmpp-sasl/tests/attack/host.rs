//! Applications: one that lets nobody in, for a reason, and one that lets in who is right.

use xmpp_sasl::kerberos_v4::{Clock, Keys};
use xmpp_sasl::{
    ChannelBindingType, ChannelBindings, ClientCredentials, Failure, Host, Identity,
    IterationBounds, Password, Random, ServerOptions, ServerSecret,
};

use super::{HOST, PASSWORD, USER};

/// Random enough for a test, and the same each time.
pub(crate) struct Counter(pub(crate) u64);

impl Random for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

/// Why an application lets nobody in. One reason at a time, so that each has to hold by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Denial {
    /// What is proved does not allow anything.
    NotAllowed,
    OtherSecret(&'static str),
    Unknown,
    /// The server is at the end of another connection than the client.
    OtherConnection,
}

/// Answers the questions of mechanisms, and counts how often it had to give its reason.
pub(crate) struct TestHost {
    random: Counter,
    why: Option<Denial>,
    pub(crate) asked: u32,
}

impl TestHost {
    pub(crate) fn closed(seed: u64, why: Denial) -> Self {
        Self {
            random: Counter(seed),
            why: Some(why),
            asked: 0,
        }
    }

    pub(crate) fn open(seed: u64) -> Self {
        Self {
            random: Counter(seed),
            why: None,
            asked: 0,
        }
    }

    fn says_no(&mut self, why: Denial) -> bool {
        let no = self.why == Some(why);
        self.asked += u32::from(no);
        no
    }
}

impl Host for TestHost {
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, authcid: &str, _: Option<&str>) -> Option<Password> {
        if authcid != USER || self.says_no(Denial::Unknown) {
            return None;
        }
        // It is asked of the exchange and not of the host.
        self.says_no(Denial::OtherConnection);
        if let Some(Denial::OtherSecret(password)) = self.why {
            self.asked += 1;
            return Some(Password::new(password));
        }
        Some(Password::new(PASSWORD))
    }

    fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        let name = if authcid == PRINCIPAL { USER } else { authcid };
        if self.says_no(Denial::NotAllowed) || authzid.is_some_and(|authzid| authzid != name) {
            Err(Failure::InvalidAuthzid)
        } else {
            Ok(())
        }
    }

    fn authorize_principal(
        &mut self,
        principal: &str,
        _: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        self.authorize(principal, authzid)
    }

    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        match authzid {
            Some(USER) if !self.says_no(Denial::NotAllowed) => {
                Ok(Identity::new().with_authzid(USER))
            }
            _ => Err(Failure::NotAuthorized),
        }
    }

    fn anonymous(&mut self, trace: Option<&str>) -> Result<Identity, Failure> {
        if self.says_no(Denial::NotAllowed) {
            return Err(Failure::NotAuthorized);
        }
        let mut identity = Identity::new();
        identity.authzid = trace.map(str::to_owned);
        Ok(identity)
    }
}

/// KERBEROS_V4: the name of the proving side.
const PRINCIPAL: &str = "xmpp.capulet@CAPULET.EXAMPLE";

fn kerberos_v4(key: &str) -> Option<Keys> {
    let keys = format!("{PRINCIPAL} xmpp.montague@MONTAGUE.EXAMPLE 1 {key}");
    let keys = Keys::parse(&keys).expect("it is well-formed");
    Some(keys.with_clock(Clock(|| 1_700_000_000)))
}

const KEY: &str = "133457799bbcdff1";

fn bindings(data: u8) -> ChannelBindings {
    ChannelBindings::none()
        .with(ChannelBindingType::TlsExporter, [data; 32])
        .with(ChannelBindingType::TlsServerEndPoint, [data; 32])
}

pub(crate) fn credentials() -> ClientCredentials {
    let mut credentials = ClientCredentials::new("xmpp", HOST)
        .with_password(USER, PASSWORD)
        .with_authzid(USER)
        .with_certificate()
        .with_channel_bindings(bindings(1))
        // Computing is not what is tested here.
        .with_iterations(IterationBounds { min: 1, max: 9 });
    credentials.kerberos_v4 = kerberos_v4(KEY);
    credentials
}

pub(crate) fn options(why: Denial) -> ServerOptions {
    let connection = if why == Denial::OtherConnection { 2 } else { 1 };
    let mut options = ServerOptions::new("xmpp", HOST)
        .with_channel_bindings(bindings(connection))
        .with_secret(ServerSecret::new(*b"of the server"))
        .with_iterations(1);
    options.kerberos_v4 = kerberos_v4(match why {
        Denial::OtherSecret(_) => "0123456789abcdef",
        Denial::NotAllowed | Denial::Unknown | Denial::OtherConnection => KEY,
    });
    options
}
