//! The exchange against the values of other implementations, and against what must not work.

use super::vectors::{VECTORS, Vector};
use super::*;

/// One account, and what was asked about it.
struct Accounts<'a> {
    username: &'a str,
    password: Option<&'a str>,
    asked_password: Vec<Option<String>>,
    asked_authzid: Vec<Option<String>>,
    authorize: Result<(), Failure>,
}

impl<'a> Accounts<'a> {
    fn new(username: &'a str, password: &'a str) -> Self {
        Self {
            username,
            password: Some(password),
            asked_password: vec![],
            asked_authzid: vec![],
            authorize: Ok(()),
        }
    }
}

impl Host for Accounts<'_> {
    fn random(&mut self, out: &mut [u8]) {
        out.fill(7);
    }

    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
        self.asked_password.push(realm.map(str::to_owned));
        self.password
            .filter(|_| authcid == self.username)
            .map(Password::new)
    }

    fn authorize(&mut self, _: &str, authzid: Option<&str>) -> Result<(), Failure> {
        self.asked_authzid.push(authzid.map(str::to_owned));
        self.authorize
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}

fn account(vector: &Vector) -> Account {
    Account {
        username: vector.username.to_owned(),
        password: Password::new(vector.password),
        realm: Some(vector.realm.to_owned()),
        authzid: vector.authzid.map(str::to_owned),
        host: "unused.example".to_owned(),
        digest_uri: vector.digest_uri.to_owned(),
    }
}

fn await_response(vector: &Vector) -> Box<AwaitResponse> {
    let asked = Asking {
        realms: vec![vector.realm.to_owned()],
        digest_uri: vector.digest_uri.to_owned(),
    };
    Box::new(AwaitResponse {
        asked,
        nonce: vector.nonce.to_owned(),
    })
}

fn example() -> &'static Vector {
    VECTORS
        .iter()
        .find(|vector| vector.name == "gsasl-s2s-domain-authzid")
        .unwrap()
}

/// A response that is right in all but what `change` makes of it; the digest is computed over the change.
fn response_with(vector: &Vector, change: impl FnOnce(&mut Response)) -> Vec<u8> {
    let (message, _) = account(vector)
        .answer(vector.challenge.unwrap().as_bytes(), vector.cnonce)
        .unwrap();
    let mut response = Response::parse(&message).unwrap();
    change(&mut response);
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let realm = text(response.realm.as_deref().unwrap_or_default());
    let secret = Secret::new(&text(&response.username), &realm, vector.password);
    response.response = response.parameters().response(&secret);
    response.write()
}

#[track_caller]
fn check_response(vector: &Vector, message: &[u8], want: Result<(), Failure>) {
    let mut host = Accounts::new(vector.username, vector.password);
    match (await_response(vector).step(Some(message), &mut host), want) {
        (ServerStep::Challenge(..), Ok(())) => {}
        (ServerStep::Failure(failure), Err(want)) => assert_eq!(failure, want),
        (step, want) => panic!("{step:?}, not {want:?}"),
    }
}

// Positive vectors.

#[test]
fn every_vector_has_its_digests() {
    for vector in &VECTORS {
        // §2.1.2.1: with a security layer, which we do not do, A2 ends in 32 zeros. It is the only difference.
        let layer = if vector.qop == "auth" {
            ""
        } else {
            ":00000000000000000000000000000000"
        };
        let parameters = Parameters {
            nonce: vector.nonce.as_bytes(),
            cnonce: vector.cnonce.as_bytes(),
            nc: vector.nc.as_bytes(),
            qop: vector.qop.as_bytes(),
            digest_uri: &[vector.digest_uri, layer].concat().into_bytes(),
            authzid: vector.authzid.map(str::as_bytes),
        };
        let secret = Secret::new(vector.username, vector.realm, vector.password);
        assert_eq!(
            parameters.response(&secret),
            vector.response.as_bytes(),
            "{}",
            vector.name
        );
        assert_eq!(
            parameters.rspauth(&secret),
            vector.rspauth.as_bytes(),
            "{}",
            vector.name
        );
    }
}

#[test]
fn our_client_answers_their_challenges() {
    let mut answered = 0;
    for vector in VECTORS
        .iter()
        .filter(|vector| vector.nc == "00000001" && vector.qop == "auth")
    {
        let Some(challenge) = vector.challenge else {
            continue;
        };
        answered += 1;
        let (message, next) = account(vector)
            .answer(challenge.as_bytes(), vector.cnonce)
            .unwrap();
        let response = Response::parse(&message).unwrap();
        assert_eq!(
            response.response,
            vector.response.as_bytes(),
            "{}",
            vector.name
        );
        assert!(response.utf8, "{}", vector.name);

        let proof = format!("rspauth={}", vector.rspauth);
        let mut random = |_: &mut [u8]| unreachable!();
        let step = Box::new(next).step(ClientInput::Challenge(proof.as_bytes()), &mut random);
        let ClientStep::Respond(last, next) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert!(last.is_empty());
        assert!(matches!(
            next.step(ClientInput::Success(None), &mut random),
            ClientStep::Authenticated
        ));
    }
    assert_eq!(answered, 14);
}

#[test]
fn our_server_accepts_their_responses() {
    let mut accepted = 0;
    for vector in &VECTORS {
        let Some(message) = vector.client_message else {
            continue;
        };
        accepted += 1;
        let mut host = Accounts::new(vector.username, vector.password);
        let step = await_response(vector).step(Some(message.as_bytes()), &mut host);
        let ServerStep::Challenge(proof, next) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            format!("rspauth={}", vector.rspauth),
            "{}",
            vector.name
        );
        let ServerStep::Success {
            identity,
            data: None,
        } = next.step(Some(b""), &mut host)
        else {
            panic!()
        };
        let want = Identity {
            authcid: Some(vector.username.to_owned()),
            authzid: vector.authzid.map(str::to_owned),
            mechanism: "DIGEST-MD5",
        };
        assert_eq!(identity, want);
        assert_eq!(host.asked_authzid, [vector.authzid.map(str::to_owned)]);
        assert_eq!(host.asked_password, [Some(vector.realm.to_owned())]);
    }
    assert_eq!(accepted, 12);
}

#[test]
fn vectors_without_messages_pass_between_our_own_ends() {
    for vector in VECTORS
        .iter()
        .filter(|vector| vector.nc == "00000001" && vector.qop == "auth")
    {
        let challenge = Challenge::write(&[vector.realm.to_owned()], vector.nonce);
        let (message, _) = account(vector).answer(&challenge, vector.cnonce).unwrap();
        let mut host = Accounts::new(vector.username, vector.password);
        let step = await_response(vector).step(Some(&message), &mut host);
        let ServerStep::Challenge(proof, _) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            format!("rspauth={}", vector.rspauth),
            "{}",
            vector.name
        );
    }
}

// RFC 3920 prints the `response` and `rspauth` of RFC 2831's IMAP example (user chris at elwood.innosoft.com) in its own
// exchanges, where they cannot verify with any password known. It is good for reading, and as a refusal.

struct Broken {
    username: &'static str,
    digest_uri: &'static str,
    challenge: &'static str,
    response: &'static str,
    right_response: &'static str,
    right_rspauth: &'static str,
}

const RFC_3920: [Broken; 2] = [
    // §6.5, client to server.
    Broken {
        username: "somenode",
        digest_uri: "xmpp/example.com",
        challenge: "cmVhbG09InNvbWVyZWFsbSIsbm9uY2U9Ik9BNk1HOXRFUUdtMmhoIixxb3A9ImF1dGgiLGNoYXJzZXQ9dXRmLTgsYWxnb3JpdGhtPW1kNS1zZXNzCg==",
        response: "dXNlcm5hbWU9InNvbWVub2RlIixyZWFsbT0ic29tZXJlYWxtIixub25jZT0iT0E2TUc5dEVRR20yaGgiLGNub25jZT0iT0E2TUhYaDZWcVRyUmsiLG5jPTAwMDAwMDAxLHFvcD1hdXRoLGRpZ2VzdC11cmk9InhtcHAvZXhhbXBsZS5jb20iLHJlc3BvbnNlPWQzODhkYWQ5MGQ0YmJkNzYwYTE1MjMyMWYyMTQzYWY3LGNoYXJzZXQ9dXRmLTgK",
        right_response: "bcd3bf09ea08e8eac894e126fe733713",
        right_rspauth: "562f859abce5b7d9b3fba16b45be1c56",
    },
    // §6.6, server to server.
    Broken {
        username: "example.org",
        digest_uri: "xmpp/example.org",
        challenge: "cmVhbG09InNvbWVyZWFsbSIsbm9uY2U9Ik9BNk1HOXRFUUdtMmhoIixxb3A9ImF1dGgiLGNoYXJzZXQ9dXRmLTgsYWxnb3JpdGhtPW1kNS1zZXNz",
        response: "dXNlcm5hbWU9ImV4YW1wbGUub3JnIixyZWFsbT0ic29tZXJlYWxtIixub25jZT0iT0E2TUc5dEVRR20yaGgiLGNub25jZT0iT0E2TUhYaDZWcVRyUmsiLG5jPTAwMDAwMDAxLHFvcD1hdXRoLGRpZ2VzdC11cmk9InhtcHAvZXhhbXBsZS5vcmciLHJlc3BvbnNlPWQzODhkYWQ5MGQ0YmJkNzYwYTE1MjMyMWYyMTQzYWY3LGNoYXJzZXQ9dXRmLTgK",
        right_response: "62719bcf90a3a6dce9e9564c2ba05f4e",
        right_rspauth: "eb0e3b49b7af8e4a7d3c7ffc8a40f866",
    },
];

const RFC_3920_RSPAUTH: &str = "cnNwYXV0aD1lYTQwZjYwMzM1YzQyN2I1NTI3Yjg0ZGJhYmNkZmZmZAo=";

#[test]
fn the_exchange_printed_in_rfc_3920_is_read_but_not_believed() {
    for broken in &RFC_3920 {
        let vector = Vector {
            name: "",
            username: broken.username,
            realm: "somerealm",
            password: "secret",
            authzid: None,
            nonce: "OA6MG9tEQGm2hh",
            cnonce: "OA6MHXh6VqTrRk",
            nc: "00000001",
            qop: "auth",
            digest_uri: broken.digest_uri,
            response: broken.right_response,
            rspauth: broken.right_rspauth,
            challenge: None,
            client_message: None,
        };
        let printed = STANDARD.decode(broken.response).unwrap();
        assert_eq!(
            Response::parse(&printed).unwrap().response,
            *b"d388dad90d4bbd760a152321f2143af7"
        );
        check_response(&vector, &printed, Err(Failure::NotAuthorized));

        let (right, next) = account(&vector)
            .answer(&STANDARD.decode(broken.challenge).unwrap(), vector.cnonce)
            .unwrap();
        assert_eq!(
            Response::parse(&right).unwrap().response,
            broken.right_response.as_bytes()
        );
        assert_eq!(next.expected, broken.right_rspauth.as_bytes());
        check_response(&vector, &right, Ok(()));

        let proof = STANDARD.decode(RFC_3920_RSPAUTH).unwrap();
        assert_eq!(
            Rspauth::parse(&proof),
            Ok(*b"ea40f60335c427b5527b84dbabcdfffd")
        );
        assert_eq!(next.check(&proof), Err(ClientError::ServerNotAuthenticated));
    }
}

// What the asking side refuses.

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

// What the initiating side refuses.

#[track_caller]
fn check_realm(configured: Option<&str>, offered: &str, want: Result<Option<&[u8]>, ClientError>) {
    let account = Account {
        realm: configured.map(str::to_owned),
        host: "host.example".into(),
        ..account(example())
    };
    let challenge = format!("{offered}nonce=\"n\",charset=utf-8,algorithm=md5-sess");
    let got = account
        .answer(challenge.as_bytes(), "c")
        .map(|(message, _)| Response::parse(&message).unwrap().realm);
    assert_eq!(got, want.map(|realm| realm.map(<[u8]>::to_vec)));
}

#[test]
fn the_realm_is_the_configured_one_or_the_host_or_the_first() {
    check_realm(Some("b"), "realm=\"a\",realm=\"b\",", Ok(Some(b"b")));
    check_realm(
        Some("c"),
        "realm=\"a\",realm=\"b\",",
        Err(ClientError::RealmNotOffered),
    );
    check_realm(Some("c"), "", Ok(Some(b"c")));
    check_realm(
        None,
        "realm=\"a\",realm=\"host.example\",",
        Ok(Some(b"host.example")),
    );
    check_realm(None, "realm=\"a\",realm=\"b\",", Ok(Some(b"a")));
    check_realm(None, "realm=\"\\\"\\\\\",", Ok(Some(b"\"\\")));
    check_realm(None, "", Ok(Some(b"host.example")));
}

#[test]
fn without_utf_8_everything_is_in_iso_8859_1() {
    let challenge = b"realm=\"\xe9chec\",nonce=\"n\",algorithm=md5-sess";
    let latin = Account {
        username: "ré".into(),
        password: Password::new("päss"),
        realm: None,
        ..account(example())
    };
    let (message, _) = latin.answer(challenge, "c").unwrap();
    let response = Response::parse(&message).unwrap();
    assert!(!response.utf8);
    assert_eq!(response.username, b"r\xe9");
    assert_eq!(response.realm.as_deref(), Some(b"\xe9chec".as_slice()));

    // The other side understands: the same octets are hashed as with UTF-8.
    let asked = Asking {
        realms: vec!["échec".into()],
        digest_uri: latin.digest_uri.clone(),
    };
    let server = Box::new(AwaitResponse {
        asked,
        nonce: "n".into(),
    });
    let mut host = Accounts::new("ré", "päss");
    assert!(matches!(
        server.step(Some(&message), &mut host),
        ServerStep::Challenge(..)
    ));

    for cyrillic in [
        Account {
            username: "Иchris".into(),
            ..account(example())
        },
        Account {
            password: Password::new("Иsecret"),
            ..account(example())
        },
        Account {
            realm: Some("Иrealm".into()),
            ..account(example())
        },
    ] {
        let answer = cyrillic
            .answer(b"nonce=\"n\",algorithm=md5-sess", "c")
            .map(|(message, _)| message);
        assert!(
            matches!(answer, Err(ClientError::NotEncodable(_))),
            "{answer:?}"
        );
    }
}

#[test]
fn a_challenge_that_asks_for_more_is_refused() {
    let answer = |challenge: &[u8]| {
        account(example())
            .answer(challenge, "c")
            .map(|_| ())
            .unwrap_err()
    };
    let only_layers = b"nonce=\"n\",qop=\"auth-int\",algorithm=md5-sess";
    assert_eq!(
        answer(only_layers),
        ClientError::Unsupported("a security layer")
    );
    assert!(matches!(
        answer(b"nonce=\"n\",algorithm=md5"),
        ClientError::Malformed(_)
    ));
    assert!(matches!(
        answer(b"nonce=\"n\",charset=utf-8,algorithm=md5-sess,realm=\"\xff\""),
        ClientError::Malformed(_)
    ));
    let long = Account {
        username: "\"".repeat(2000),
        realm: None,
        ..account(example())
    };
    let challenge = b"nonce=\"n\",charset=utf-8,algorithm=md5-sess";
    assert!(matches!(
        long.answer(challenge, "c"),
        Err(ClientError::NotEncodable(_))
    ));
}

#[test]
fn only_the_right_proof_satisfies_the_client() {
    let proof = format!("rspauth={}", example().rspauth);
    let wait = || {
        let challenge = example().challenge.unwrap().as_bytes();
        Box::new(
            account(example())
                .answer(challenge, example().cnonce)
                .unwrap()
                .1,
        )
    };
    let mut random = |_: &mut [u8]| unreachable!();
    let mut step = |input: ClientInput<'_>| wait().step(input, &mut random);
    let abort = |step| match step {
        ClientStep::Abort(error) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        step(ClientInput::Challenge(proof.as_bytes())),
        ClientStep::Respond(..)
    ));
    assert!(matches!(
        step(ClientInput::Success(Some(proof.as_bytes()))),
        ClientStep::Authenticated
    ));
    assert_eq!(
        abort(step(ClientInput::Success(None))),
        ClientError::ServerNotAuthenticated
    );
    assert_eq!(abort(step(ClientInput::Start)), ClientError::Unexpected);
    assert!(matches!(
        abort(step(ClientInput::Success(Some(b"")))),
        ClientError::Malformed(_)
    ));
    // Our own response, sent back.
    let mirrored = format!("rspauth={}", example().response);
    assert_eq!(
        abort(step(ClientInput::Challenge(mirrored.as_bytes()))),
        ClientError::ServerNotAuthenticated
    );
    assert_eq!(
        abort(step(ClientInput::Success(Some(mirrored.as_bytes())))),
        ClientError::ServerNotAuthenticated
    );
}

#[test]
fn debug_shows_no_secret() {
    let credentials = ClientCredentials {
        username: Some("chris".into()),
        password: Some(Password::new("opensesame")),
        ..ClientCredentials::new("xmpp", "example.org")
    };
    let mut random = |out: &mut [u8]| out.fill(1);
    let start = client(&credentials).unwrap();
    let mut shown = format!("{credentials:?} {start:?}");
    let ClientStep::Wait(next) = start.step(ClientInput::Start, &mut random) else {
        panic!()
    };
    shown += &format!("{next:?}");
    let step = next.step(
        ClientInput::Challenge(b"nonce=\"n\",charset=utf-8,algorithm=md5-sess"),
        &mut random,
    );
    shown += &format!("{step:?}");
    assert!(shown.contains("AwaitProof"));
    assert!(!shown.contains("opensesame"), "{shown}");
}
