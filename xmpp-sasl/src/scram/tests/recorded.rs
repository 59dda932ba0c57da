//! The messages of other implementations.

use super::*;

/// The client that a vector's first message is from.
pub(super) fn initiating(vector: &Vector, first: &ClientFirst<'_>) -> ClientStart {
    let data = || hex(vector.binding.unwrap());
    ClientStart {
        name: name(vector.mechanism),
        binding: match first.flag {
            BindingFlag::None => Binding::None,
            BindingFlag::NotOffered => Binding::NotOffered,
            BindingFlag::Bound(kind) => {
                Binding::Bound(ChannelBindingType::from_name(kind).unwrap(), data())
            }
        },
        username: vector.username.to_owned(),
        secret: Secret::Password(Password::new(vector.password)),
        authzid: vector.authzid.map(str::to_owned),
        offer: Offer::default(),
        withheld: false,
        bounds: IterationBounds::default(),
    }
}

fn check_client(vector: &Vector) {
    let name = vector.name;
    let first = ClientFirst::parse(vector.client_first.as_bytes()).unwrap();
    let (message, waiting) = initiating(vector, &first)
        .begin(first.nonce.to_owned())
        .unwrap();
    assert_eq!(
        String::from_utf8(message).unwrap(),
        vector.client_first,
        "{name}"
    );
    let (message, waiting) = match waiting.answer(vector.server_first.as_bytes()) {
        Ok(answer) => answer,
        Err(error) => {
            assert!(vector.expect == Expect::AcceptByServer, "{name}: {error}");
            return;
        }
    };
    let answered = String::from_utf8(message).unwrap();
    // Two have an extension in the last message, and others a proof that is wrong on purpose.
    let right = matches!(vector.expect, Expect::Accept | Expect::RejectByClient);
    if right && !vector.client_final.contains(",x=") {
        assert_eq!(answered, vector.client_final, "{name}");
    } else {
        assert_ne!(answered, vector.client_final, "{name}");
        return;
    }
    let Some(signature) = vector.server_final else {
        return;
    };
    let end = Box::new(waiting).step(
        ClientInput::Success(Some(signature.as_bytes())),
        &mut none(),
    );
    match (end, vector.expect) {
        (ClientStep::Authenticated, Expect::Accept) => {}
        (ClientStep::Abort(ClientError::ServerNotAuthenticated), Expect::RejectByClient) => {}
        (end, _) => panic!("{name}: {end:?}"),
    }
}

/// The server that a vector's last message is for.
pub(super) fn await_proof(vector: &Vector) -> AwaitProof {
    let first = ClientFirst::parse(vector.client_first.as_bytes()).unwrap();
    let challenge = ServerFirst::parse(vector.server_first.as_bytes()).unwrap();
    let hash = name(vector.mechanism).hash;
    let iterations = challenge.iterations.unwrap();
    let salt = &challenge.salt;
    let salted = if vector.expect == Expect::Unprepared {
        SaltedPassword::derive_prepared(hash, vector.password, salt, iterations)
    } else {
        SaltedPassword::derive(hash, &Password::new(vector.password), salt, iterations)
    };
    let data = hex(vector.binding.unwrap_or_default());
    AwaitProof {
        name: name(vector.mechanism),
        cbind_input: cbind_input(first.gs2_header, &data),
        bare: first.bare.to_owned(),
        challenge: vector.server_first.to_owned(),
        nonce: challenge.nonce.to_owned(),
        username: first.username,
        authzid: first.authzid,
        keys: ScramKeys::of(&salted.unwrap()),
        known: 1.into(),
        says_why: false,
    }
}

fn check_server(vector: &Vector) {
    let name = vector.name;
    let mut host = Accounts::default();
    let waiting = Box::new(await_proof(vector));
    let step = waiting.step(Some(vector.client_final.as_bytes()), &mut host);
    match (step, vector.expect) {
        (ServerStep::Failure(Failure::NotAuthorized), Expect::RejectByServer) => {}
        (ServerStep::Success { identity, data }, expect) if expect != Expect::RejectByServer => {
            let signature = String::from_utf8(data.unwrap()).unwrap();
            assert_eq!(identity.mechanism, vector.mechanism);
            assert_eq!(identity.authzid.as_deref(), vector.authzid);
            if expect == Expect::RejectByClient {
                assert_ne!(Some(signature.as_str()), vector.server_final);
            } else if let Some(want) = vector.server_final {
                assert_eq!(signature, want, "{name}");
            }
        }
        (step, _) => panic!("{name}: {step:?}"),
    }
}

fn check_vectors(mechanism: &str, want: usize) {
    let vectors = VECTORS
        .iter()
        .filter(|vector| vector.mechanism.trim_end_matches("-PLUS") == mechanism);
    let mut seen = 0;
    for vector in vectors {
        if vector.expect != Expect::Unprepared {
            check_client(vector);
        }
        check_server(vector);
        seen += 1;
    }
    assert_eq!(seen, want);
}

#[test]
fn vectors_with_sha_1() {
    check_vectors("SCRAM-SHA-1", 28);
}

#[test]
fn vectors_with_sha_256() {
    check_vectors("SCRAM-SHA-256", 18);
}

#[test]
fn vectors_with_sha_512() {
    check_vectors("SCRAM-SHA-512", 4);
}
