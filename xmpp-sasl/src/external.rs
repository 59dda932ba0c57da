//! EXTERNAL: the outer layer has proved it already (RFC 4422 appendix A; XEP-0178 for XMPP).
//!
//! What the certificate stands for is the application's to say ([`Host::external`]); this file only carries the
//! authorization identity.

use crate::mechanism::AwaitOutcome;
use crate::{
    Client, ClientError, ClientInput, ClientStep, Failure, Host, Random, Server, ServerStep,
};

pub(crate) const NAME: &str = "EXTERNAL";

/// For a connection on which the outer layer has shown who we are.
pub(crate) fn client(authzid: Option<String>) -> Option<Box<dyn Client>> {
    // Appendix A.1: no NUL in an authorization identity.
    let authzid = authzid.unwrap_or_default();
    (!authzid.contains('\0')).then(|| Box::new(ClientStart { authzid }) as Box<dyn Client>)
}

pub(crate) fn server() -> Box<dyn Server> {
    Box::new(ServerStart::First)
}

/// Has not said anything yet.
#[derive(Debug)]
struct ClientStart {
    authzid: String,
}

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            // "The client is expected to send data first"; empty means "as what I am".
            ClientInput::Start => {
                ClientStep::Respond(self.authzid.into_bytes(), Box::new(AwaitOutcome(NAME)))
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
            (_, Some(response)) => judge(response, host),
            (Self::First, None) => ServerStep::Challenge(Vec::new(), Box::new(Self::Challenged)),
            (Self::Challenged, None) => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

fn judge(response: &[u8], host: &mut dyn Host) -> ServerStep {
    let authzid = match std::str::from_utf8(response) {
        Ok(text) if !text.contains('\0') => text,
        Ok(_) | Err(_) => return ServerStep::Failure(Failure::MalformedRequest),
    };
    match host.external((!authzid.is_empty()).then_some(authzid)) {
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

    /// A certificate for `example.org`, as an outer layer would judge it.
    #[derive(Default)]
    struct Certificate {
        asked: Vec<Option<String>>,
    }

    impl Host for Certificate {
        fn random(&mut self, _: &mut [u8]) {
            unreachable!("EXTERNAL needs no random numbers")
        }

        fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
            unreachable!("EXTERNAL needs no password")
        }

        fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
            unreachable!("external() decides")
        }

        fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
            self.asked.push(authzid.map(str::to_owned));
            match authzid {
                None | Some("example.org") => Ok(Identity {
                    authcid: Some("example.org".to_owned()),
                    authzid: authzid.map(str::to_owned),
                    mechanism: "",
                }),
                Some(_) => Err(Failure::InvalidAuthzid),
            }
        }
    }

    #[track_caller]
    fn check(response: &[u8], want: Result<Option<&str>, Failure>) {
        // With the initial response, and after an empty challenge: the outcome is the same.
        for challenged in [false, true] {
            let mut server = server();
            let mut host = Certificate::default();
            if challenged {
                let ServerStep::Challenge(challenge, next) = server.step(None, &mut host) else {
                    panic!("no challenge")
                };
                assert!(challenge.is_empty());
                server = next;
            }
            let got = match server.step(Some(response), &mut host) {
                ServerStep::Success { identity, data } => {
                    assert_eq!((identity.mechanism, data), ("EXTERNAL", None));
                    assert_eq!(host.asked, std::slice::from_ref(&identity.authzid));
                    Ok(identity.authzid)
                }
                ServerStep::Failure(failure) => Err(failure),
                ServerStep::Challenge(..) => panic!("another challenge"),
            };
            assert_eq!(got, want.map(|authzid| authzid.map(str::to_owned)));
        }
    }

    #[test]
    fn the_authzid_is_empty_or_one_that_the_outer_layer_proves() {
        check(b"", Ok(None));
        check(b"example.org", Ok(Some("example.org")));
        check(b"example.net", Err(Failure::InvalidAuthzid));
        check(b"juliet@example.com", Err(Failure::InvalidAuthzid));
        // RFC 4422 appendix A.1: UTF-8 without NUL.
        check(b"exa\0mple.org", Err(Failure::MalformedRequest));
        check(b"\xff\xfe", Err(Failure::MalformedRequest));
    }

    #[test]
    fn a_server_does_not_challenge_twice() {
        let mut host = Certificate::default();
        let server = Box::new(ServerStart::Challenged);
        let step = server.step(None, &mut host);
        assert!(matches!(
            step,
            ServerStep::Failure(Failure::MalformedRequest)
        ));
    }

    fn credentials(authzid: Option<&str>) -> ClientCredentials {
        ClientCredentials {
            certificate: true,
            authzid: authzid.map(str::to_owned),
            ..ClientCredentials::new("xmpp", "example.com")
        }
    }

    #[test]
    fn a_client_says_its_authzid_first() {
        let mut random = |_: &mut [u8]| unreachable!();
        for (authzid, want) in [
            (None, ""),
            (Some(""), ""),
            (Some("example.org"), "example.org"),
        ] {
            let step = client(&credentials(authzid))
                .unwrap()
                .step(ClientInput::Start, &mut random);
            let ClientStep::Respond(response, next) = step else {
                panic!("{step:?}")
            };
            assert_eq!(response, want.as_bytes());
            let step = next.step(ClientInput::Success(None), &mut random);
            assert!(matches!(step, ClientStep::Authenticated));
        }
    }

    #[test]
    fn a_client_expects_nothing_but_success() {
        let mut random = |_: &mut [u8]| unreachable!();
        let started = || match client(&credentials(None))
            .unwrap()
            .step(ClientInput::Start, &mut |_: &mut [u8]| ())
        {
            ClientStep::Respond(_, next) => next,
            step => panic!("{step:?}"),
        };
        for input in [
            ClientInput::Start,
            ClientInput::Challenge(b""),
            ClientInput::Success(Some(b"x")),
        ] {
            let step = started().step(input, &mut random);
            assert!(
                matches!(step, ClientStep::Abort(ClientError::Unexpected)),
                "{step:?}"
            );
        }
        let early = client(&credentials(None))
            .unwrap()
            .step(ClientInput::Success(None), &mut random);
        assert!(matches!(early, ClientStep::Abort(ClientError::Unexpected)));
    }

    #[test]
    fn a_client_needs_a_certificate_and_an_authzid_that_can_be_said() {
        let without = ClientCredentials {
            certificate: false,
            ..credentials(None)
        };
        assert!(client(&without).is_none());
        assert!(client(&credentials(Some("a\0b"))).is_none());
    }
}
