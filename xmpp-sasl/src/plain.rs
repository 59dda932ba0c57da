//! PLAIN (RFC 4616): the password itself, for the other side to keep or to lose. Only inside TLS, and only where
//! nothing better is known.

use crate::mechanism::AwaitOutcome;
use crate::{
    Client, ClientError, ClientInput, ClientStep, Failure, Host, Identity, Password, Random,
    Server, ServerStep, saslprep,
};

pub(crate) const NAME: &str = "PLAIN";

/// No message is longer. §2 asks for 255 octets at least in each of the three.
const MESSAGE_BOUND: usize = 8192;

pub(crate) fn client(
    authzid: Option<String>,
    username: String,
    password: Password,
) -> Box<dyn Client> {
    Box::new(ClientStart {
        authzid: authzid.unwrap_or_default(),
        username,
        password,
    })
}

pub(crate) fn server() -> Box<dyn Server> {
    Box::new(ServerStart::First)
}

#[derive(Debug)]
struct ClientStart {
    authzid: String,
    username: String,
    password: Password,
}

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Start => match self.message() {
                Ok(message) => ClientStep::Respond(message, Box::new(AwaitOutcome(NAME))),
                Err(error) => ClientStep::Abort(error),
            },
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

impl ClientStart {
    /// `message = [authzid] UTF8NUL authcid UTF8NUL passwd`
    fn message(&self) -> Result<Vec<u8>, ClientError> {
        let parts = [
            self.authzid.as_str(),
            self.username.as_str(),
            self.password.as_str(),
        ];
        if parts.iter().any(|part| part.contains('\0')) {
            return Err(ClientError::NotEncodable(
                "there is a NUL in a name or in the password",
            ));
        }
        if self.username.is_empty() || self.password.is_empty() {
            return Err(ClientError::NotEncodable(
                "the name or the password is empty",
            ));
        }
        let message = parts.map(str::as_bytes).join(&0);
        if message.len() > MESSAGE_BOUND {
            return Err(ClientError::NotEncodable("the message would be too long"));
        }
        Ok(message)
    }
}

#[derive(Debug)]
enum ServerStart {
    First,
    /// The empty challenge is out.
    Challenged,
}

impl Server for ServerStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        match (*self, input) {
            (_, Some(message)) => match judge(message, host) {
                Ok(identity) => ServerStep::Success {
                    identity,
                    data: None,
                },
                Err(failure) => ServerStep::Failure(failure),
            },
            (Self::First, None) => ServerStep::Challenge(Vec::new(), Box::new(Self::Challenged)),
            (Self::Challenged, None) => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

fn judge(message: &[u8], host: &mut dyn Host) -> Result<Identity, Failure> {
    let text = std::str::from_utf8(message)
        .ok()
        .filter(|text| text.len() <= MESSAGE_BOUND)
        .ok_or(Failure::MalformedRequest)?;
    let mut parts = text.split('\0');
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::MalformedRequest);
    };
    if authcid.is_empty() || password.is_empty() {
        return Err(Failure::MalformedRequest);
    }
    // §2: "if preparation fails or results in an empty string, verification SHALL fail."
    let authcid = saslprep::name(authcid).ok_or(Failure::NotAuthorized)?;
    if !host.check_password(&authcid, &Password::new(password)) {
        return Err(Failure::NotAuthorized);
    }
    let authzid = (!authzid.is_empty()).then_some(authzid);
    host.authorize(&authcid, authzid)?;
    Ok(Identity {
        authcid: Some(authcid.into_owned()),
        authzid: authzid.map(str::to_owned),
        mechanism: NAME,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientCredentials;

    fn client(credentials: &ClientCredentials) -> Option<Box<dyn Client>> {
        crate::client(NAME, credentials).ok()
    }

    struct Accounts(&'static [(&'static str, &'static str)]);

    impl Host for Accounts {
        fn random(&mut self, _: &mut [u8]) {
            unreachable!("PLAIN needs no random numbers")
        }

        fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
            assert_eq!(realm, None);
            let (_, password) = self.0.iter().find(|(name, _)| *name == authcid)?;
            Some(Password::new(*password))
        }

        fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
            match authzid {
                Some(authzid) if authzid != authcid && authzid != "Ursel" => {
                    Err(Failure::InvalidAuthzid)
                }
                _ => Ok(()),
            }
        }

        fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
            Err(Failure::NotAuthorized)
        }
    }

    const ACCOUNTS: &[(&str, &str)] = &[
        ("tim", "tanstaaftanstaaf"),
        ("Kurt", "xipj3plmq"),
        ("juliet", "r0m30myr0m30"),
        ("example.com", "secret"),
        ("Иchris", "päss€"),
        ("IX", "pass word"),
        ("emoji", "🔑"),
    ];

    #[track_caller]
    fn check(message: &[u8], want: Result<(&str, Option<&str>), Failure>) {
        for challenged in [false, true] {
            let mut server: Box<dyn Server> = Box::new(ServerStart::First);
            if challenged {
                let ServerStep::Challenge(challenge, next) =
                    server.step(None, &mut Accounts(ACCOUNTS))
                else {
                    panic!("no challenge")
                };
                assert!(challenge.is_empty());
                server = next;
            }
            let got = match server.step(Some(message), &mut Accounts(ACCOUNTS)) {
                ServerStep::Success { identity, data } => {
                    assert_eq!((identity.mechanism, data), ("PLAIN", None));
                    Ok((identity.authcid.unwrap(), identity.authzid))
                }
                ServerStep::Failure(failure) => Err(failure),
                ServerStep::Challenge(..) => panic!("another challenge"),
            };
            let want =
                want.map(|(authcid, authzid)| (authcid.to_owned(), authzid.map(str::to_owned)));
            assert_eq!(got, want, "{}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn right_names_and_passwords_get_in() {
        // RFC 4616 §4, RFC 6120 §6.4.2, and two made.
        check(b"\0tim\0tanstaaftanstaaf", Ok(("tim", None)));
        check(b"Ursel\0Kurt\0xipj3plmq", Ok(("Kurt", Some("Ursel"))));
        check(b"\0juliet\0r0m30myr0m30", Ok(("juliet", None)));
        check(
            b"example.com\0example.com\0secret",
            Ok(("example.com", Some("example.com"))),
        );
        check("\0Иchris\0päss€".as_bytes(), Ok(("Иchris", None)));
        // SASLprep makes one of what looks alike.
        check("\0Ⅸ\0pass\u{a0}word".as_bytes(), Ok(("IX", None)));
    }

    #[test]
    fn wrong_ones_do_not() {
        let no = Err(Failure::NotAuthorized);
        check(b"\0tim\0tanstaaf", no);
        check(b"\0tim\0tanstaaftanstaafl", no);
        check(b"\0Tim\0tanstaaftanstaaf", no);
        check(b"\0nobody\0nothing", no);
        check(b"\0ti\x07m\0tanstaaftanstaaf", no);
        check("\0tim\0\u{ad}".as_bytes(), no);
        // SASLprep has no stored form for it.
        check("\0emoji\0🔑".as_bytes(), no);
        check(b"tim\0Kurt\0xipj3plmq", Err(Failure::InvalidAuthzid));
        // The password decides first: who may act as whom is nobody's business.
        check(b"tim\0Kurt\0wrong", no);
    }

    #[test]
    fn what_does_not_have_three_parts_is_malformed() {
        for message in [
            b"Ursel\0Kurt\0xipj3plmq\0".as_slice(),
            b"\0Ursel\0Kurt\0xipj3plmq",
            b"Kurt\0xipj3plmq",
            b"Kurt",
            b"",
            b"\0\0secret",
            b"\0user\0",
            b"\0user\xff\0secret",
            &[b'a'; MESSAGE_BOUND + 1],
        ] {
            check(message, Err(Failure::MalformedRequest));
        }
        let server = Box::new(ServerStart::Challenged);
        assert!(matches!(
            server.step(None, &mut Accounts(ACCOUNTS)),
            ServerStep::Failure(Failure::MalformedRequest)
        ));
    }

    fn credentials(authzid: Option<&str>, username: &str, password: &str) -> ClientCredentials {
        ClientCredentials {
            authzid: authzid.map(str::to_owned),
            username: Some(username.to_owned()),
            password: Some(Password::new(password)),
            ..ClientCredentials::new("xmpp", "example.org")
        }
    }

    fn start(credentials: &ClientCredentials) -> ClientStep {
        let mut random = |_: &mut [u8]| unreachable!();
        client(credentials)
            .unwrap()
            .step(ClientInput::Start, &mut random)
    }

    #[test]
    fn a_client_says_it_all_at_once() {
        for (authzid, username, password, want) in [
            (None, "tim", "tanstaaftanstaaf", "\0tim\0tanstaaftanstaaf"),
            (Some("Ursel"), "Kurt", "xipj3plmq", "Ursel\0Kurt\0xipj3plmq"),
            (Some(""), "Иchris", "päss€", "\0Иchris\0päss€"),
        ] {
            let step = start(&credentials(authzid, username, password));
            assert!(!format!("{step:?}").contains(password));
            let ClientStep::Respond(message, next) = step else {
                panic!("{step:?}")
            };
            assert_eq!(message, want.as_bytes());
            let step = next.step(ClientInput::Success(None), &mut |_: &mut [u8]| ());
            assert!(matches!(step, ClientStep::Authenticated));
        }
        assert!(client(&ClientCredentials::new("xmpp", "example.org")).is_none());
    }

    #[test]
    fn a_message_is_as_long_as_the_bound_and_no_longer() {
        let rest = "\0tim\0".len();
        for (length, fits) in [
            (MESSAGE_BOUND - rest, true),
            (MESSAGE_BOUND - rest + 1, false),
        ] {
            let step = start(&credentials(None, "tim", &"a".repeat(length)));
            assert_eq!(matches!(step, ClientStep::Respond(..)), fits, "{step:?}");
        }
    }

    #[test]
    fn a_client_does_not_say_what_would_be_read_as_something_else() {
        for (authzid, username, password) in [
            (Some("a\0b"), "tim", "secret"),
            (None, "t\0im", "secret"),
            (None, "tim", "sec\0ret"),
            (None, "", "secret"),
            (None, "tim", ""),
            (None, "tim", "a".repeat(MESSAGE_BOUND).as_str()),
        ] {
            let step = start(&credentials(authzid, username, password));
            assert!(
                matches!(step, ClientStep::Abort(ClientError::NotEncodable(_))),
                "{step:?}"
            );
        }
    }

    #[test]
    fn a_client_expects_nothing_but_success() {
        let mut random = |_: &mut [u8]| unreachable!();
        for input in [
            ClientInput::Start,
            ClientInput::Challenge(b""),
            ClientInput::Success(Some(b"x")),
        ] {
            let ClientStep::Respond(_, next) = start(&credentials(None, "tim", "secret")) else {
                panic!()
            };
            let step = next.step(input, &mut random);
            assert!(matches!(step, ClientStep::Abort(ClientError::Unexpected)));
        }
        let early = client(&credentials(None, "tim", "secret"))
            .unwrap()
            .step(ClientInput::Success(None), &mut random);
        assert!(matches!(early, ClientStep::Abort(ClientError::Unexpected)));
    }
}
