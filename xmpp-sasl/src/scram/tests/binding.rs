//! Channel binding, and what was on offer (XEP-0474).

use super::*;

/// What becomes of this flag under this name, where -PLUS is on offer or is not.
#[track_caller]
fn check_flag(flag: &str, name: &'static str, offer: &[&str], want: Result<(), Failure>) {
    let exchange = Exchange::new("SCRAM-SHA-1-PLUS");
    let options = ServerOptions {
        offer: Offer::new(offer.iter().copied()),
        ..exchange.options
    };
    let message = format!("{flag},,n=user,r=fyko");
    let mut host = exchange.host;
    let got = match crate::server(name, &options)
        .unwrap()
        .step(Some(message.as_bytes()), &mut host)
    {
        ServerStep::Challenge(..) => Ok(()),
        ServerStep::Failure(failure) => Err(failure),
        step => panic!("{step:?}"),
    };
    assert_eq!(got, want, "{flag} {name} {offer:?}");
}

#[test]
fn the_flag_has_to_fit_the_name_and_the_offer() {
    let both = ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"];
    let no = Err(Failure::NotAuthorized);
    let malformed = Err(Failure::MalformedRequest);
    check_flag("n", "SCRAM-SHA-1", &both, Ok(()));
    // The client saw no -PLUS, and it was there: RFC 5802 §6.
    check_flag("y", "SCRAM-SHA-1", &both, no);
    check_flag("y", "SCRAM-SHA-1", &["SCRAM-SHA-1"], Ok(()));
    check_flag(
        "y",
        "SCRAM-SHA-1",
        &["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"],
        no,
    );
    // Unknown what was offered, but there is something to bind to.
    check_flag("y", "SCRAM-SHA-1", &[], no);
    check_flag("p=tls-exporter", "SCRAM-SHA-1", &both, malformed);
    check_flag("p=tls-exporter", "SCRAM-SHA-1-PLUS", &both, Ok(()));
    check_flag("p=tls-server-end-point", "SCRAM-SHA-1-PLUS", &both, Ok(()));
    // Known, but not to be had here; and not known.
    check_flag("p=tls-unique", "SCRAM-SHA-1-PLUS", &both, no);
    check_flag("p=tls-sourdough", "SCRAM-SHA-1-PLUS", &both, no);
    check_flag("n", "SCRAM-SHA-1-PLUS", &both, malformed);
    check_flag("y", "SCRAM-SHA-1-PLUS", &both, no);
    check_flag("y", "SCRAM-SHA-1-PLUS", &["SCRAM-SHA-1"], malformed);
}

#[test]
fn without_anything_to_bind_to_there_is_no_plus() {
    let plain = Exchange::new("SCRAM-SHA-256");
    assert!(crate::server("SCRAM-SHA-256-PLUS", &plain.options).is_err());
    assert!(crate::client("SCRAM-SHA-256-PLUS", &plain.credentials).is_err());
    let mut bound = Exchange::new("SCRAM-SHA-256-PLUS");
    bound.credentials.offer =
        Offer::new(["SCRAM-SHA-256-PLUS"]).with_channel_bindings(["tls-unique"]);
    assert!(crate::client("SCRAM-SHA-256-PLUS", &bound.credentials).is_err());
}

/// The flag that our client sends with this name, to a server with this offer.
#[track_caller]
fn check_client_flag(name: &'static str, offer: Offer, want: &str) {
    let mut exchange = Exchange::new("SCRAM-SHA-256-PLUS");
    exchange.credentials.offer = offer;
    let client = crate::client(name, &exchange.credentials).unwrap();
    let ClientStep::Respond(message, _) = client.step(ClientInput::Start, &mut |_: &mut [u8]| ())
    else {
        panic!("no initial response")
    };
    let message = String::from_utf8(message).unwrap();
    assert!(message.starts_with(&format!("{want},,n=")), "{message}");
}

#[test]
fn the_client_binds_to_the_strongest_that_both_have() {
    let (bare, plus) = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS");
    let both = Offer::new([bare, plus]);
    let with = |types: &[&str]| both.clone().with_channel_bindings(types.iter().copied());
    check_client_flag(plus, both.clone(), "p=tls-exporter");
    check_client_flag(
        plus,
        with(&["tls-server-end-point", "tls-exporter"]),
        "p=tls-exporter",
    );
    check_client_flag(
        plus,
        with(&["tls-unique", "tls-server-end-point"]),
        "p=tls-server-end-point",
    );
    // XEP-0474 §7: nothing in common. The exchange goes on only if the offer is proved.
    check_client_flag(bare, with(&["tls-unique"]), "n");
    check_client_flag(bare, both, "n");
    // The server seems to have none. If it has, it will say so.
    check_client_flag(bare, Offer::new([bare]), "y");
    check_client_flag(bare, Offer::default(), "n");
}

#[test]
fn a_man_in_the_middle_of_two_connections_is_found_out() {
    for kind in ["tls-exporter", "tls-server-end-point"] {
        let mut exchange = Exchange::new("SCRAM-SHA-256-PLUS");
        exchange.credentials.offer =
            Offer::new(["SCRAM-SHA-256-PLUS"]).with_channel_bindings([kind]);
        let kind = ChannelBindingType::from_name(kind).unwrap();
        let other = ChannelBindings::none().with(kind, [9; 32]);
        exchange.credentials.channel_bindings = other;
        assert_eq!(
            exchange.run().unwrap_err(),
            End::Server(Failure::NotAuthorized)
        );
    }
}

// XEP-0474.

#[test]
fn an_offer_that_was_changed_on_the_way_is_noticed() {
    let offer = Offer::new(["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
        .with_channel_bindings(["tls-exporter"]);
    let run = |seen: Offer| {
        let mut exchange = Exchange::new("SCRAM-SHA-1");
        exchange.options.offer = offer.clone();
        exchange.credentials.offer = seen;
        exchange.run().map(|_| ())
    };
    assert_eq!(run(offer.clone()), Ok(()));
    let mut sorted_otherwise = offer.clone();
    sorted_otherwise.mechanisms.reverse();
    assert_eq!(run(sorted_otherwise), Ok(()));
    // Who does not say what it saw cannot compare, and the server goes on.
    assert_eq!(run(Offer::default()), Ok(()));
    let changed = Err(End::Client(ClientError::OfferChanged));
    assert_eq!(run(Offer::new(["SCRAM-SHA-1"])), changed);
    let mut stripped = offer.clone();
    stripped.channel_bindings = None;
    assert_eq!(run(stripped), changed);
    let mut weakened = offer.clone();
    weakened.channel_bindings = Some(vec!["tls-sourdough".to_owned()]);
    assert_eq!(run(weakened), changed);
}

/// XEP-0440 §3, rule 6, as XEP-0474 §7 has it.
#[test]
fn types_that_no_server_would_send_alone_end_the_exchange_unless_they_are_proved() {
    let both = Offer::new(["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]);
    let odd = both.clone().with_channel_bindings(["tls-sourdough"]);
    let run = |sent: &Offer, seen: &Offer| {
        let mut exchange = Exchange::new("SCRAM-SHA-1");
        exchange.options.offer = sent.clone();
        exchange.credentials.offer = seen.clone();
        let kind = ChannelBindingType::TlsExporter;
        exchange.credentials.channel_bindings = ChannelBindings::none().with(kind, [1; 32]);
        exchange.run().map(|_| ())
    };
    let withheld = Err(End::Client(ClientError::BindingWithheld));
    assert_eq!(run(&Offer::default(), &odd), withheld);
    assert_eq!(run(&odd, &odd), Ok(()));
    let whole = both.clone().with_channel_bindings(["tls-exporter"]);
    let changed = Err(End::Client(ClientError::OfferChanged));
    assert_eq!(run(&whole, &odd), changed);
    // Every server has this one; that there is no data of it here is nobody's attack.
    let plain = both.clone().with_channel_bindings(["tls-server-end-point"]);
    assert_eq!(run(&Offer::default(), &plain), Ok(()));
    assert_eq!(run(&Offer::default(), &both), Ok(()));
}

#[test]
fn nor_is_the_password_given_to_plain_or_digest_md5_then() {
    let mut credentials = Exchange::new("SCRAM-SHA-1-PLUS").credentials;
    let names = ["SCRAM-SHA-1-PLUS", "DIGEST-MD5", "PLAIN"];
    let exist = |credentials: &ClientCredentials| {
        names.map(|name| crate::client(name, credentials).is_ok())
    };
    credentials.offer = Offer::new(names).with_channel_bindings(["tls-sourdough"]);
    assert_eq!(exist(&credentials), [false, false, false]);
    credentials.offer = Offer::new(names).with_channel_bindings(["tls-exporter"]);
    assert_eq!(exist(&credentials), [true, true, true]);
    // Without a -PLUS the types say nothing, and without TLS there is nothing to be bound to.
    credentials.offer = Offer::new(["PLAIN"]).with_channel_bindings(["tls-sourdough"]);
    assert!(crate::client("PLAIN", &credentials).is_ok());
    credentials.offer = Offer::new(names).with_channel_bindings(["tls-sourdough"]);
    credentials.channel_bindings = ChannelBindings::none();
    assert_eq!(exist(&credentials), [false, true, true]);
}

#[test]
fn the_hash_that_is_sent_is_that_of_xep_0474() {
    let mut exchange = Exchange::new("SCRAM-SHA-1-PLUS");
    let offer = Offer::new(["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"])
        .with_channel_bindings(["tls-server-end-point", "tls-exporter"]);
    exchange.options.offer = offer;
    let (_, _, step) = exchange.first();
    let ServerStep::Challenge(challenge, _) = step else {
        panic!("{step:?}")
    };
    let challenge = String::from_utf8(challenge).unwrap();
    assert!(
        challenge.ends_with(",h=G6k/rBLDqgOhRRaCuuatSDFkJ08="),
        "{challenge}"
    );
}

#[test]
fn an_attacker_cannot_write_the_hash_anew() {
    // What the client saw is put into the challenge: it is satisfied, and signs another challenge than the server's.
    let mut exchange = Exchange::new("SCRAM-SHA-1");
    exchange.options.offer = Offer::new(["SCRAM-SHA-1", "SCRAM-SHA-512"]);
    exchange.credentials.offer = Offer::new(["SCRAM-SHA-1"]);
    for forged in [
        downgrade_protection(&exchange.credentials.offer, ScramHash::Sha1),
        None,
    ] {
        let (_, client, step) = exchange.first();
        let ServerStep::Challenge(challenge, server) = step else {
            panic!("{step:?}")
        };
        let challenge = String::from_utf8(challenge).unwrap();
        let (rest, _) = challenge.split_once(",h=").unwrap();
        let forged = forged.map_or(String::new(), |hash| format!(",h={hash}"));
        let forged = format!("{rest}{forged}");
        let step = client.step(ClientInput::Challenge(forged.as_bytes()), &mut none());
        let ClientStep::Respond(response, _) = step else {
            panic!("{step:?}")
        };
        let end = server.step(Some(&response), &mut exchange.host);
        assert!(matches!(end, ServerStep::Failure(Failure::NotAuthorized)));
    }
}
