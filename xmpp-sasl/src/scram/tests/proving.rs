//! What the client does not take.

use super::recorded::initiating;
use super::*;

#[test]
fn the_client_checks_nonce_and_count_before_it_computes() {
    let answer = |challenge: &str, bounds: IterationBounds| {
        let vector = &VECTORS[0];
        let first = ClientFirst::parse(vector.client_first.as_bytes()).unwrap();
        let mut client = initiating(vector, &first);
        client.bounds = bounds;
        let (_, waiting) = client.begin(first.nonce.to_owned()).unwrap();
        waiting
            .answer(challenge.as_bytes())
            .map(|_| ())
            .unwrap_err()
    };
    let usual = IterationBounds::default();
    let nonce = "fyko+d2lbbFgONRv9qkxdawL";
    let began = Instant::now();
    // esl/fast_scram, ongres/scram.
    for wrong in [
        "clientreceiveswrongnonce3rfcNHYJY1ZVvWVs7j",
        "EVIL",
        nonce,
        &nonce[1..],
    ] {
        let error = answer(&format!("r={wrong},s=QSXCR+Q6sek8bf92,i=4096"), usual);
        assert!(matches!(error, ClientError::Malformed(_)), "{error:?}");
    }
    let count = |count: &str, bounds| answer(&format!("r={nonce}3,s=QSXC,i={count}"), bounds);
    let low = ClientError::Unsupported("too low an iteration count");
    let high = ClientError::Unsupported("too high an iteration count");
    assert_eq!(count("1", usual), low);
    assert_eq!(count("4095", usual), low);
    for many in [
        "1000001",
        "2147483647",
        "4294967295",
        "99999999999999999999",
    ] {
        assert_eq!(count(many, usual), high);
    }
    let narrow = IterationBounds {
        min: 5000,
        max: 6000,
    };
    assert_eq!(count("4096", narrow), low);
    assert_eq!(count("6001", narrow), high);
    // Nine minutes of computing were asked for.
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn only_the_right_signature_satisfies_the_client() {
    let vector = &VECTORS[0];
    let signed = || {
        let first = ClientFirst::parse(vector.client_first.as_bytes()).unwrap();
        let waiting = initiating(vector, &first)
            .begin(first.nonce.to_owned())
            .unwrap()
            .1;
        let (_, next): (_, AwaitSignature) =
            waiting.answer(vector.server_first.as_bytes()).unwrap();
        Box::new(next)
    };
    let abort = |input: ClientInput<'_>| match signed().step(input, &mut none()) {
        ClientStep::Abort(error) => error,
        step => panic!("{step:?}"),
    };
    let right = vector.server_final.unwrap().as_bytes();
    // In a protocol without data with success it is one more challenge.
    let ClientStep::Respond(last, next) = signed().step(ClientInput::Challenge(right), &mut none())
    else {
        panic!("not satisfied")
    };
    assert!(last.is_empty());
    assert!(matches!(
        next.step(ClientInput::Success(None), &mut none()),
        ClientStep::Authenticated
    ));
    let ClientStep::Respond(_, next) = signed().step(ClientInput::Challenge(right), &mut none())
    else {
        panic!("not satisfied")
    };
    assert!(matches!(
        next.step(ClientInput::Success(Some(right)), &mut none()),
        ClientStep::Abort(ClientError::Unexpected)
    ));

    let not_the_server = ClientError::ServerNotAuthenticated;
    assert_eq!(abort(ClientInput::Success(None)), not_the_server);
    assert_eq!(
        abort(ClientInput::Success(Some(b"v=d3Jvbmdfc2lnbmF0dXJl"))),
        not_the_server
    );
    assert_eq!(
        abort(ClientInput::Challenge(b"v=d3Jvbmdfc2lnbmF0dXJl")),
        not_the_server
    );
    assert_eq!(
        abort(ClientInput::Success(Some(b"e=invalid-proof"))),
        ClientError::Refused(ScramError::InvalidProof)
    );
    for message in [
        b"x=abc".as_slice(),
        b"",
        b"v=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ",
    ] {
        assert!(matches!(
            abort(ClientInput::Success(Some(message))),
            ClientError::Malformed(_)
        ));
    }
    assert_eq!(abort(ClientInput::Start), ClientError::Unexpected);
}

#[test]
fn success_before_the_signature_is_none() {
    let mut exchange = Exchange::new("SCRAM-SHA-1");
    for input in [
        ClientInput::Success(None),
        ClientInput::Success(Some(b"v=AAAA")),
    ] {
        let (_, client, _) = exchange.first();
        assert!(matches!(
            client.step(input, &mut none()),
            ClientStep::Abort(ClientError::ServerNotAuthenticated)
        ));
    }
    let (_, client, _) = exchange.first();
    assert!(matches!(
        client.step(ClientInput::Challenge(b"e=no-resources"), &mut none()),
        ClientStep::Abort(ClientError::Refused(ScramError::NoResources))
    ));
}

#[test]
fn what_was_derived_before_is_good_for_its_own_salt_and_count() {
    let run = |kept: Option<(&[u8], u32)>, password: bool, hash: ScramHash| {
        let mut exchange = Exchange::new("SCRAM-SHA-256");
        let right = Password::new("wherefore");
        exchange.host.keys = ScramKeys::derive(ScramHash::Sha256, &right, b"salt", 2).ok();
        exchange.credentials.password = password.then(|| right.clone());
        exchange.credentials.salted_password =
            kept.and_then(|(salt, count)| SaltedPassword::derive(hash, &right, salt, count).ok());
        exchange.run().map(|_| ())
    };
    let another = Err(End::Client(ClientError::Unsupported(
        "another salt or count than ours",
    )));
    let sha_256 = ScramHash::Sha256;
    assert_eq!(run(Some((b"salt", 2)), false, sha_256), Ok(()));
    assert_eq!(run(Some((b"pepper", 2)), false, sha_256), another);
    assert_eq!(run(Some((b"salt", 3)), false, sha_256), another);
    // With the password at hand it is derived anew.
    assert_eq!(run(Some((b"pepper", 2)), true, sha_256), Ok(()));
    assert_eq!(run(Some((b"salt", 2)), true, ScramHash::Sha1), Ok(()));
    let mut credentials = Exchange::new("SCRAM-SHA-1").credentials;
    let password = credentials.password.take().unwrap();
    credentials.salted_password =
        SaltedPassword::derive(ScramHash::Sha256, &password, b"salt", 2).ok();
    assert!(crate::client("SCRAM-SHA-1", &credentials).is_err());
    let light = crate::client("SCRAM-SHA-256", &credentials).unwrap();
    let step = light.step(ClientInput::Start, &mut |_: &mut [u8]| ());
    assert!(matches!(step, ClientStep::Respond(_, next) if !next.is_heavy()));
}
