//! The side that asks, and proves itself once it is satisfied.

use subtle::ConstantTimeEq;

use super::digest::Secret;
use super::directives::Malformed;
use super::message::{CHALLENGE_BOUND, Challenge, Response, Rspauth};
use super::{NAME, NONCE, decode, digest_uri, nonce};
use crate::{Failure, Host, Identity, Password, Server, ServerStep};

pub(crate) fn server(realms: Vec<String>, service: &str, host: &str) -> Option<Box<dyn Server>> {
    let asking = ServerStart {
        realms,
        digest_uri: digest_uri(service, host),
    };
    // Every nonce has the same length. Realms that make the challenge too long cannot be offered.
    let challenge = Challenge::write(&asking.realms, &nonce([0; NONCE]));
    (challenge.len() < CHALLENGE_BOUND).then(|| Box::new(asking) as Box<dyn Server>)
}

#[derive(Debug)]
pub(super) struct ServerStart {
    pub(super) realms: Vec<String>,
    pub(super) digest_uri: String,
}

impl Server for ServerStart {
    fn name(&self) -> &'static str {
        NAME
    }

    /// An initial response is an attempt at subsequent authentication. §2.2.2: "If the server does not support
    /// subsequent authentication, then it sends a digest-challenge".
    fn step(self: Box<Self>, _: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let mut octets = [0; NONCE];
        host.random(&mut octets);
        let nonce = nonce(octets);
        let challenge = Challenge::write(&self.realms, &nonce);
        ServerStep::Challenge(
            challenge,
            Box::new(AwaitResponse {
                asked: *self,
                nonce,
            }),
        )
    }
}

#[derive(Debug)]
pub(super) struct AwaitResponse {
    pub(super) asked: ServerStart,
    pub(super) nonce: String,
}

impl Server for AwaitResponse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, host: &mut dyn Host) -> ServerStep {
        let judged = input
            .ok_or(Failure::MalformedRequest)
            .and_then(|message| self.judge(message, host));
        match judged {
            Ok((proof, identity)) => {
                ServerStep::Challenge(proof, Box::new(AwaitAcceptance { identity }))
            }
            Err(failure) => ServerStep::Failure(failure),
        }
    }
}

impl AwaitResponse {
    /// Our proof and the peer's identity, if the response is right (§2.1.3).
    fn judge(&self, message: &[u8], host: &mut dyn Host) -> Result<(Vec<u8>, Identity), Failure> {
        let response = Response::parse(message)?;
        let username = decode(&response.username, response.utf8)?;
        let realm = response
            .realm
            .as_deref()
            .map(|realm| decode(realm, response.utf8))
            .transpose()?;
        // "encoded in UTF-8", whatever the charset. RFC 6120 §6.6: empty is the same as absent.
        let authzid = response
            .authzid
            .clone()
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| Failure::MalformedRequest)?;
        let authzid = authzid.filter(|authzid| !authzid.is_empty());
        // "its value MUST be one of the alternatives in qop-options": we offered one.
        if !response.qop.eq_ignore_ascii_case(b"auth") {
            return Err(Failure::MalformedRequest);
        }

        // The nonce is ours and fresh, so a response seen before has another; its count is 1 for that reason.
        let ours = response.nonce == self.nonce.as_bytes()
            && response.nc == b"00000001"
            && response
                .digest_uri
                .eq_ignore_ascii_case(self.asked.digest_uri.as_bytes())
            && (self.asked.realms.is_empty()
                || realm
                    .as_ref()
                    .is_some_and(|realm| self.asked.realms.contains(realm)));
        if !ours {
            return Err(Failure::NotAuthorized);
        }

        let password = host.password(&username, realm.as_deref());
        // An unknown name takes the same time as a wrong password.
        let known = password.is_some();
        let password = password.unwrap_or_else(|| Password::new(""));
        let secret = Secret::new(
            &username,
            realm.as_deref().unwrap_or_default(),
            password.as_str(),
        );
        let parameters = response.parameters();
        let right: bool = parameters
            .response(&secret)
            .ct_eq(&response.response)
            .into();
        if !(known && right) {
            return Err(Failure::NotAuthorized);
        }

        host.authorize(&username, authzid.as_deref())?;
        let proof = Rspauth::write(&parameters.rspauth(&secret));
        Ok((
            proof,
            Identity {
                authcid: Some(username),
                authzid,
                mechanism: NAME,
            },
        ))
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::MalformedRequest
    }
}

/// The peer has proved itself and has our proof; is it satisfied?
#[derive(Debug)]
struct AwaitAcceptance {
    identity: Identity,
}

impl Server for AwaitAcceptance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn step(self: Box<Self>, input: Option<&[u8]>, _: &mut dyn Host) -> ServerStep {
        match input {
            Some([] | [b'\n']) => ServerStep::Success {
                identity: self.identity,
                data: None,
            },
            Some(_) | None => ServerStep::Failure(Failure::MalformedRequest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        Accounts, account, await_response, check_response, example, response_with,
    };
    use super::super::vectors::{VECTORS, Vector};
    use super::*;
    use crate::ServerOptions;

    fn server(options: &ServerOptions) -> Option<Box<dyn Server>> {
        crate::server(NAME, options).ok()
    }

    #[test]
    fn a_right_response_is_right_only_here_and_now() {
        let vector = example();
        check_response(vector, &response_with(vector, |_| ()), Ok(()));
        let refused = |change: fn(&mut Response)| {
            check_response(
                vector,
                &response_with(vector, change),
                Err(Failure::NotAuthorized),
            );
        };
        refused(|r| r.nonce = b"OA6MG9tEQGm2hh".to_vec());
        refused(|r| r.nc = b"00000002".to_vec());
        refused(|r| r.nc = b"00000000".to_vec());
        refused(|r| r.realm = Some(b"another.example".to_vec()));
        refused(|r| r.realm = None);
        refused(|r| r.username = b"nobody.example".to_vec());
        // DIGEST-MD5 is asked of the receiving domain; RFC 3920 §6.6 prints the initiating one.
        refused(|r| r.digest_uri = b"xmpp/example.com".to_vec());
        refused(|r| r.digest_uri = b"imap/example.org".to_vec());
        refused(|r| r.digest_uri = b"xmpp/example.org/example.org".to_vec());
        refused(|r| r.digest_uri = b"xmpp/".to_vec());
    }

    #[test]
    fn the_digest_uri_may_differ_in_case() {
        let vector = example();
        check_response(
            vector,
            &response_with(vector, |r| r.digest_uri = b"XMPP/Example.ORG".to_vec()),
            Ok(()),
        );
        check_response(
            vector,
            &response_with(vector, |r| r.qop = b"AUTH".to_vec()),
            Ok(()),
        );
    }

    #[test]
    fn a_quality_of_protection_that_was_not_offered_is_malformed() {
        let vector = example();
        for qop in [
            b"auth-int".as_slice(),
            b"auth-conf",
            b"auth,auth-int",
            b"token",
        ] {
            let message = response_with(vector, |r| r.qop = qop.to_vec());
            check_response(vector, &message, Err(Failure::MalformedRequest));
        }
    }

    #[test]
    fn later_counts_and_layers_of_the_vectors_are_refused() {
        for vector in VECTORS
            .iter()
            .filter(|vector| vector.nc != "00000001" || vector.qop != "auth")
        {
            let response = Response {
                username: vector.username.into(),
                realm: Some(vector.realm.into()),
                nonce: vector.nonce.into(),
                cnonce: vector.cnonce.into(),
                nc: vector.nc.into(),
                qop: vector.qop.into(),
                digest_uri: vector.digest_uri.into(),
                response: vector.response.as_bytes().try_into().unwrap(),
                utf8: true,
                authzid: vector.authzid.map(Into::into),
            };
            let want = if vector.qop == "auth" {
                Failure::NotAuthorized
            } else {
                Failure::MalformedRequest
            };
            check_response(vector, &response.write(), Err(want));
        }
    }

    #[test]
    fn a_wrong_password_and_an_unknown_name_look_the_same() {
        let vector = example();
        let message = response_with(vector, |_| ());
        let mut wrong = Accounts::new(vector.username, "Secret");
        let mut unknown = Accounts::new("someone.else", vector.password);
        for host in [&mut wrong, &mut unknown] {
            let step = await_response(vector).step(Some(&message), host);
            assert!(matches!(step, ServerStep::Failure(Failure::NotAuthorized)));
            assert_eq!(host.asked_password.len(), 1);
            assert!(host.asked_authzid.is_empty());
        }
    }

    #[test]
    fn an_empty_password_is_not_the_password_of_an_unknown_name() {
        let mut vector = Vector {
            ..VECTORS.into_iter().next().unwrap()
        };
        vector.password = "";
        let challenge = Challenge::write(&[vector.realm.to_owned()], vector.nonce);
        let (message, _) = account(&vector).answer(&challenge, vector.cnonce).unwrap();
        check_response(&vector, &message, Ok(()));
        let mut host = Accounts {
            password: None,
            ..Accounts::new(vector.username, "")
        };
        assert!(matches!(
            await_response(&vector).step(Some(&message), &mut host),
            ServerStep::Failure(Failure::NotAuthorized)
        ));
    }

    #[test]
    fn the_host_decides_about_the_authzid_before_we_prove_ourselves() {
        let vector = example();
        let message = response_with(vector, |_| ());
        let mut host = Accounts {
            authorize: Err(Failure::InvalidAuthzid),
            ..Accounts::new(vector.username, vector.password)
        };
        let step = await_response(vector).step(Some(&message), &mut host);
        assert!(matches!(step, ServerStep::Failure(Failure::InvalidAuthzid)));
        assert_eq!(host.asked_authzid, [Some("example.com".to_owned())]);
    }

    #[test]
    fn an_empty_authzid_is_none() {
        let vector = example();
        let message = response_with(vector, |r| r.authzid = Some(vec![]));
        let mut host = Accounts::new(vector.username, vector.password);
        assert!(matches!(
            await_response(vector).step(Some(&message), &mut host),
            ServerStep::Challenge(..)
        ));
        assert_eq!(host.asked_authzid, [None]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_malformed_where_utf_8_was_promised() {
        let vector = example();
        let message = response_with(vector, |_| ());
        let text = String::from_utf8(message).unwrap();
        for (from, to) in [
            ("username=\"", "username=\"\u{0}"),
            ("realm=\"", "realm=\"\u{0}"),
            ("authzid=\"", "authzid=\"\u{0}"),
        ] {
            assert!(text.contains(from));
            let message: Vec<u8> = text
                .replace(from, to)
                .bytes()
                .map(|byte| if byte == 0 { 0xff } else { byte })
                .collect();
            check_response(vector, &message, Err(Failure::MalformedRequest));
        }
    }

    #[test]
    fn nothing_else_may_follow_our_proof() {
        let accept = || {
            Box::new(AwaitAcceptance {
                identity: Identity {
                    authcid: None,
                    authzid: None,
                    mechanism: NAME,
                },
            })
        };
        let mut host = Accounts::new("", "");
        assert!(matches!(
            accept().step(Some(b""), &mut host),
            ServerStep::Success { .. }
        ));
        assert!(matches!(
            accept().step(Some(b"\n"), &mut host),
            ServerStep::Success { .. }
        ));
        assert!(matches!(
            accept().step(Some(b"x"), &mut host),
            ServerStep::Failure(Failure::MalformedRequest)
        ));
        assert!(matches!(
            accept().step(None, &mut host),
            ServerStep::Failure(Failure::MalformedRequest)
        ));
    }

    #[test]
    fn the_challenge_is_that_of_the_seed() {
        let mut host = Accounts::new("", "");
        let options = ServerOptions {
            realms: vec!["somerealm".into()],
            ..ServerOptions::new("xmpp", "example.com")
        };
        let ServerStep::Challenge(challenge, _) = server(&options).unwrap().step(None, &mut host)
        else {
            panic!()
        };
        let want = r#"realm="somerealm",nonce="BwcHBwcHBwcHBwcHBwcHBwcH",qop="auth",charset=utf-8,algorithm=md5-sess"#;
        assert_eq!(String::from_utf8(challenge).unwrap(), want);
        // An initial response would be subsequent authentication, which is answered by a challenge.
        assert!(matches!(
            server(&options).unwrap().step(Some(b"nc=2"), &mut host),
            ServerStep::Challenge(..)
        ));
    }

    #[test]
    fn realms_that_do_not_fit_a_challenge_are_not_offered() {
        let with = |length| ServerOptions {
            realms: vec!["r".repeat(length)],
            ..ServerOptions::new("xmpp", "example.com")
        };
        let overhead = Challenge::write(&[String::new()], &nonce([0; NONCE])).len();
        assert!(server(&with(2047 - overhead)).is_some());
        assert!(server(&with(2048 - overhead)).is_none());
    }
}
