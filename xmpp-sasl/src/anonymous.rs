//! ANONYMOUS (RFC 4505): a peer that proves nothing, and may leave an address. Never between servers.

use stringprep::tables;

use crate::mechanism::AwaitOutcome;
use crate::saslprep::has_mixed_directions;
use crate::{
    Client, ClientError, ClientInput, ClientStep, Failure, Host, Random, Server, ServerStep,
};

pub(crate) const NAME: &str = "ANONYMOUS";

/// §2: `token = 1*255TCHAR`. An address is given no more.
const TRACE_BOUND: usize = 255;

/// `trace`: what the server may keep of us. There is no client that says what §3 does not allow.
pub(crate) fn client(trace: Option<String>) -> Option<Box<dyn Client>> {
    let trace = trace.unwrap_or_default();
    is_trace(&trace).then(|| Box::new(ClientStart { trace }) as Box<dyn Client>)
}

pub(crate) fn server() -> Box<dyn Server> {
    Box::new(ServerStart::First)
}

/// §3, the profile "trace": nothing is changed, and little is allowed.
fn is_trace(text: &str) -> bool {
    text.chars().count() <= TRACE_BOUND
        && !has_mixed_directions(text)
        && !text.chars().any(|character| {
            tables::ascii_control_character(character)
                || tables::non_ascii_control_character(character)
                || tables::private_use(character)
                || tables::non_character_code_point(character)
                || tables::surrogate_code(character)
                || tables::inappropriate_for_plain_text(character)
                || tables::change_display_properties_or_deprecated(character)
                || tables::tagging_character(character)
        })
}

#[derive(Debug)]
struct ClientStart {
    trace: String,
}

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Start => {
                ClientStep::Respond(self.trace.into_bytes(), Box::new(AwaitOutcome(NAME)))
            }
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
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
            (_, Some(message)) => judge(message, host),
            (Self::First, None) => ServerStep::Challenge(Vec::new(), Box::new(Self::Challenged)),
            (Self::Challenged, None) => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

fn judge(message: &[u8], host: &mut dyn Host) -> ServerStep {
    let trace = match std::str::from_utf8(message) {
        Ok(text) if is_trace(text) => text,
        Ok(_) | Err(_) => return ServerStep::Failure(Failure::MalformedRequest),
    };
    match host.anonymous((!trace.is_empty()).then_some(trace)) {
        Ok(mut identity) => {
            identity.mechanism = NAME;
            ServerStep::Success {
                identity,
                data: None,
            }
        }
        Err(failure) => ServerStep::Failure(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientCredentials, Identity, Password};

    fn client(credentials: &ClientCredentials) -> Option<Box<dyn Client>> {
        crate::client(NAME, credentials).ok()
    }

    struct AnonymousHost {
        open: bool,
    }

    impl Host for AnonymousHost {
        fn random(&mut self, _: &mut [u8]) {
            unreachable!("ANONYMOUS needs no random numbers")
        }

        fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
            unreachable!("ANONYMOUS needs no password")
        }

        fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
            unreachable!("anonymous() decides")
        }

        fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
            unreachable!("anonymous() decides")
        }

        fn anonymous(&mut self, trace: Option<&str>) -> Result<Identity, Failure> {
            let identity = Identity {
                authcid: Some("guest-1".to_owned()),
                authzid: trace.map(str::to_owned),
                mechanism: "",
            };
            self.open.then_some(identity).ok_or(Failure::NotAuthorized)
        }
    }

    #[track_caller]
    fn check(message: &[u8], open: bool, want: Result<Option<&str>, Failure>) {
        let server = server();
        let got = match server.step(Some(message), &mut AnonymousHost { open }) {
            ServerStep::Success { identity, data } => {
                assert_eq!((identity.mechanism, data), (NAME, None));
                Ok(identity.authzid)
            }
            ServerStep::Failure(failure) => Err(failure),
            ServerStep::Challenge(..) => panic!("a challenge"),
        };
        assert_eq!(got, want.map(|trace| trace.map(str::to_owned)));
    }

    #[test]
    fn a_guest_may_say_something_or_nothing() {
        check(b"", true, Ok(None));
        // RFC 4505 §4.
        check(b"sirhc", true, Ok(Some("sirhc")));
        check(b"chris@example.com", true, Ok(Some("chris@example.com")));
        check(
            "é".repeat(255).as_bytes(),
            true,
            Ok(Some("é".repeat(255).as_str())),
        );
        check("🔑".as_bytes(), true, Ok(Some("🔑")));
        check(
            "é".repeat(256).as_bytes(),
            true,
            Err(Failure::MalformedRequest),
        );
        check(b"a\0b", true, Err(Failure::MalformedRequest));
        check(b"a\xff", true, Err(Failure::MalformedRequest));
        check(
            "a\u{202e}b".as_bytes(),
            true,
            Err(Failure::MalformedRequest),
        );
        check("\u{627}a".as_bytes(), true, Err(Failure::MalformedRequest));
    }

    #[test]
    fn guests_come_in_only_where_the_application_says_so() {
        check(b"sirhc", false, Err(Failure::NotAuthorized));

        /// Says nothing of guests.
        struct Silent;
        impl Host for Silent {}
        let asking = Box::new(ServerStart::First);
        assert!(matches!(
            asking.step(Some(b""), &mut Silent),
            ServerStep::Failure(Failure::NotAuthorized)
        ));
    }

    #[test]
    fn without_an_initial_response_there_is_one_empty_challenge() {
        let mut host = AnonymousHost { open: true };
        let ServerStep::Challenge(challenge, next) =
            Box::new(ServerStart::First).step(None, &mut host)
        else {
            panic!("no challenge")
        };
        assert!(challenge.is_empty());
        assert!(matches!(
            next.step(Some(b""), &mut host),
            ServerStep::Success { .. }
        ));
        assert!(matches!(
            Box::new(ServerStart::Challenged).step(None, &mut host),
            ServerStep::Failure(Failure::MalformedRequest)
        ));
    }

    #[test]
    fn a_client_says_no_more_than_it_is_told_to() {
        let mut random = |_: &mut [u8]| unreachable!();
        let with = |trace: Option<&str>| ClientCredentials {
            username: Some("chris".to_owned()),
            trace: trace.map(str::to_owned),
            ..ClientCredentials::new("xmpp", "example.org")
        };
        for (trace, want) in [(None, ""), (Some("sirhc"), "sirhc")] {
            let step = client(&with(trace))
                .unwrap()
                .step(ClientInput::Start, &mut random);
            let ClientStep::Respond(message, next) = step else {
                panic!("{step:?}")
            };
            assert_eq!(message, want.as_bytes());
            let step = next.step(ClientInput::Success(None), &mut random);
            assert!(matches!(step, ClientStep::Authenticated));
        }
        assert!(client(&with(Some("a\nb"))).is_none());
        for input in [
            ClientInput::Start,
            ClientInput::Challenge(b""),
            ClientInput::Success(Some(b"x")),
        ] {
            let step = Box::new(AwaitOutcome(NAME)).step(input, &mut random);
            assert!(matches!(step, ClientStep::Abort(ClientError::Unexpected)));
        }
    }
}
