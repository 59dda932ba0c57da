//! What the server does not take, and what it does not tell.

use super::recorded::await_proof;
use super::*;

#[test]
fn a_name_that_nobody_has_looks_like_one_that_somebody_has() {
    let asked = |username: &str, secret: Option<&str>, stored: bool| {
        let mut exchange = Exchange::new("SCRAM-SHA-256");
        exchange.options.secret = secret.map(ServerSecret::new);
        exchange.credentials.username = Some(username.to_owned());
        if stored {
            let password = Password::new("wherefore");
            let salt = b"another salt ...";
            exchange.host.keys = ScramKeys::derive(ScramHash::Sha256, &password, salt, 2).ok();
        }
        let (_, _, step) = exchange.first();
        let ServerStep::Challenge(challenge, _) = step else {
            panic!("{step:?}")
        };
        let first = ServerFirst::parse(&challenge).unwrap();
        (first.salt, first.iterations)
    };
    for stored in [false, true] {
        let (known, unknown) = (
            asked(USER, Some("secret"), stored),
            asked("nobody", Some("secret"), stored),
        );
        // The same length and count, the same each time, and another for another name.
        assert_eq!((known.0.len(), known.1), (unknown.0.len(), unknown.1));
        assert_eq!(known, asked(USER, Some("secret"), stored));
        assert_eq!(unknown, asked("nobody", Some("secret"), stored));
        assert_ne!(unknown, asked("nobody else", Some("secret"), stored));
        assert_ne!(unknown, asked("nobody", Some("another secret"), stored));
        // Looks alike, is alike.
        assert_eq!(unknown, asked("no\u{ad}body", Some("secret"), stored));
    }
    // Without a secret both are random, where keys are made from passwords.
    assert_ne!(asked(USER, None, false), asked(USER, None, false));
    assert_ne!(asked("nobody", None, false), asked("nobody", None, false));
}

#[test]
fn the_default_for_keys_takes_as_long_for_a_name_that_nobody_has() {
    /// A host that knows passwords only, and counts.
    struct Passwords;
    impl Host for Passwords {
        fn random(&mut self, out: &mut [u8]) {
            getrandom::fill(out).unwrap();
        }
        fn password(&mut self, authcid: &str, _: Option<&str>) -> Option<Password> {
            (authcid == USER).then(|| Password::new("wherefore"))
        }
        fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
            Ok(())
        }
        fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
            unreachable!()
        }
    }
    let parameters = ScramParameters {
        hash: ScramHash::Sha1,
        salt: b"salt".to_vec(),
        iterations: 3000,
    };
    let time = |name: &str| {
        let began = Instant::now();
        let keys = Passwords.scram_keys(name, &parameters);
        assert_eq!(keys.is_some(), name == USER);
        began.elapsed()
    };
    let (known, unknown): (Vec<_>, Vec<_>) = (0..9).map(|_| (time(USER), time("nobody"))).unzip();
    // A shortcut would be a thousand times faster; the machine may be busy.
    let (known, unknown) = (known.iter().min(), unknown.iter().min());
    assert!(unknown > known.map(|known| *known / 10).as_ref());
}

#[test]
fn keys_of_another_hash_are_nobodys() {
    let mut exchange = Exchange::new("SCRAM-SHA-256");
    let password = Password::new("wherefore");
    exchange.host.keys = ScramKeys::derive(ScramHash::Sha1, &password, b"salt", 2).ok();
    assert_eq!(
        exchange.run().unwrap_err(),
        End::Server(Failure::NotAuthorized)
    );
}

#[test]
fn a_refusal_is_explained_only_where_that_is_wanted() {
    let run = |change: fn(&mut Exchange)| {
        let mut exchange = Exchange::new("SCRAM-SHA-256-PLUS");
        exchange.options.scram_errors = true;
        change(&mut exchange);
        exchange.run().map(|_| ()).unwrap_err()
    };
    let refused = |error| End::Client(ClientError::Refused(error));
    assert_eq!(
        run(|exchange| exchange.credentials.password = Some(Password::new("wrong"))),
        refused(ScramError::InvalidProof)
    );
    // Not "unknown-user".
    assert_eq!(
        run(|exchange| exchange.host.password = None),
        refused(ScramError::InvalidProof)
    );
    assert_eq!(
        run(|exchange| {
            exchange.credentials.channel_bindings =
                ChannelBindings::none().with(ChannelBindingType::TlsExporter, *b"other");
        }),
        refused(ScramError::ChannelBindingsDontMatch)
    );
    // In answer to the first message, too.
    assert_eq!(
        run(|exchange| {
            exchange.credentials.channel_bindings =
                ChannelBindings::none().with(ChannelBindingType::TlsUnique, *b"other");
        }),
        refused(ScramError::UnsupportedChannelBindingType)
    );
    assert_eq!(
        run(|exchange| exchange.host.authorize = Some(Failure::InvalidAuthzid)),
        refused(ScramError::OtherError)
    );
}

#[test]
fn what_the_server_is_sent_last_is_right_in_every_part() {
    // esl/fast_scram.
    let vector = &VECTORS[0];
    let end = |message: &str| {
        let waiting = Box::new(await_proof(vector));
        match waiting.step(Some(message.as_bytes()), &mut Accounts::default()) {
            ServerStep::Failure(failure) => failure,
            step => panic!("{step:?}"),
        }
    };
    let nonce = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
    let proof = "p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    let no = Failure::NotAuthorized;
    assert_eq!(
        end(&format!(
            "c=biws,r=bad_nonce_FgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,{proof}"
        )),
        no
    );
    assert_eq!(end(&format!("c=eSws,{nonce},{proof}")), no);
    assert_eq!(end(&format!("c=biws,{nonce},p=d3JvbmdfcHJvb2Y=")), no);
    assert_eq!(
        end(&format!("c=biws,{nonce},p=v0X8v3Bz2T0CJGbJQyF0X+HI4TsA")),
        no
    );
    assert_eq!(end(&format!("c=biws,{nonce},x=y,{proof}")), no);
    let malformed = Failure::MalformedRequest;
    assert_eq!(end(&format!("c=biws,{nonce},p=wrong_proof")), malformed);
    assert_eq!(end(&format!("c=biws,{nonce}")), malformed);
    assert_eq!(end(&format!("c=biws,{nonce},")), malformed);
    assert_eq!(end(&format!("{nonce},{proof}")), malformed);
    assert_eq!(end(&format!("c=biws,{nonce},m=x,{proof}")), malformed);
    let waiting = Box::new(await_proof(vector));
    assert!(matches!(
        waiting.step(None, &mut Accounts::default()),
        ServerStep::Failure(Failure::MalformedRequest)
    ));
}

#[test]
fn debug_shows_no_secret() {
    let mut exchange = Exchange::new("SCRAM-SHA-256-PLUS");
    exchange.options.secret = Some(ServerSecret::new(*b"ssshhh"));
    let mut shown = format!("{:?} {:?}", exchange.credentials, exchange.options);
    let mut random = |out: &mut [u8]| out.fill(1);
    let client = crate::client(exchange.name, &exchange.credentials).unwrap();
    let server = crate::server(exchange.name, &exchange.options).unwrap();
    shown += &format!("{client:?} {server:?}");
    let ClientStep::Respond(message, client) = client.step(ClientInput::Start, &mut random) else {
        panic!("no initial response")
    };
    let step = server.step(Some(&message), &mut exchange.host);
    shown += &format!("{client:?} {step:?}");
    let ServerStep::Challenge(challenge, server) = step else {
        panic!("{step:?}")
    };
    let step = client.step(ClientInput::Challenge(&challenge), &mut random);
    shown += &format!("{step:?}");
    let ClientStep::Respond(response, _) = step else {
        panic!("{step:?}")
    };
    shown += &format!("{:?}", server.step(Some(&response), &mut exchange.host));
    for state in ["AwaitChallenge", "AwaitProof", "AwaitSignature", "Success"] {
        assert!(shown.contains(state), "{shown}");
    }
    for secret in ["wherefore", "ssshhh", "[7, 7", "[115"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn each_check_holds_by_itself() {
    // Signed as it should be, by somebody who knows the password.
    let vector = &VECTORS[0];
    let sign = |without_proof: &str| {
        let waiting = await_proof(vector);
        let password = Password::new(vector.password);
        let (salt, count) = (waiting.keys.salt(), waiting.keys.iterations());
        let salted = SaltedPassword::derive(ScramHash::Sha1, &password, salt, count).unwrap();
        let keys = salted.keys();
        let signed = auth_message(&waiting.bare, &waiting.challenge, without_proof);
        let signature = ScramHash::Sha1.hmac(&keys.stored_key, signed.as_bytes());
        let proof = STANDARD.encode(xor(&keys.client_key, &signature).as_slice());
        format!("{without_proof},p={proof}")
    };
    let end = |message: &str, known: u8| {
        let mut waiting = Box::new(await_proof(vector));
        waiting.known = known.into();
        match waiting.step(Some(message.as_bytes()), &mut Accounts::default()) {
            ServerStep::Success { .. } => Ok(()),
            ServerStep::Failure(failure) => Err(failure),
            step => panic!("{step:?}"),
        }
    };
    let nonce = "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
    let right = sign(&format!("c=biws,r={nonce}"));
    let no = Err(Failure::NotAuthorized);
    assert_eq!(right, vector.client_final);
    assert_eq!(end(&right, 1), Ok(()));
    assert_eq!(end(&sign(&format!("c=biws,r={nonce},x=y")), 1), Ok(()));
    assert_eq!(end(&sign(&format!("c=biws,r={nonce}4")), 1), no);
    assert_eq!(end(&sign("c=biws,r=fyko+d2lbbFgONRv9qkxdawL"), 1), no);
    // "y" instead of "n", and the base64 of "n,," in another form.
    assert_eq!(end(&sign(&format!("c=eSws,r={nonce}")), 1), no);
    assert_eq!(end(&sign(&format!("c=biwt,r={nonce}")), 1), no);
    // The keys are nobody's, even if they fit.
    assert_eq!(end(&right, 0), no);
}
