use super::*;
use crate::{ChannelBindingType, ChannelBindings, ClientInput, ClientStep, Password};

fn credentials(certificate: bool, password: bool) -> ClientCredentials {
    ClientCredentials {
        username: Some("capulet.example".to_owned()),
        password: password.then(|| Password::new("romeo")),
        certificate,
        ..ClientCredentials::new("xmpp", "montague.example")
    }
}

fn bound() -> ChannelBindings {
    ChannelBindings::none().with(ChannelBindingType::TlsExporter, *b"data")
}

const BOTH: [&str; 2] = ["EXTERNAL", "DIGEST-MD5"];

#[track_caller]
fn check(
    offered: &[&str],
    allowed: &[&str],
    credentials: &ClientCredentials,
    pin: Option<&str>,
    want: Result<&str, ()>,
) {
    let got = select(offered, allowed, credentials, pin);
    assert_eq!(
        got.as_ref().map(|client| client.name()).map_err(|_| ()),
        want,
        "{got:?}"
    );
}

#[test]
fn every_name_has_both_sides() {
    let keys = "a@A xmpp.montague@MONTAGUE.EXAMPLE 1 133457799bbcdff1";
    let keys = kerberos_v4::Keys::parse(keys).unwrap();
    let mut all = credentials(true, true);
    all.kerberos_v4 = Some(keys.clone());
    all.gssapi = Some(gssapi::Initiator::default());
    let mut options = ServerOptions::new("xmpp", "montague.example");
    options.kerberos_v4 = Some(keys);
    all.channel_bindings = bound();
    options.channel_bindings = bound();
    options.gssapi = Some(gssapi::Acceptor::default());
    for name in names() {
        assert_eq!(client(name, &all).unwrap().name(), name);
        assert_eq!(server(name, &options).unwrap().name(), name);
        // RFC 4422 §3.1: 1*20 of upper-case letters, digits, hyphen and underscore.
        assert!((1..=20).contains(&name.len()));
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b))
        );
    }
    for unknown in ["KERBEROS_V5", "digest-md5", "EXTERNAL ", ""] {
        assert_eq!(client(unknown, &all).unwrap_err(), Unavailable::Unknown);
        assert_eq!(server(unknown, &options).unwrap_err(), Unavailable::Unknown);
    }
    let options = ServerOptions::new("xmpp", "montague.example");
    for (name, is_built) in [("KERBEROS_V4", true), ("GSSAPI", cfg!(feature = "gssapi"))] {
        let want = match is_built {
            true => Unavailable::Unprovided,
            false => Unavailable::NotBuilt(gssapi::MISSING),
        };
        assert_eq!(client(name, &credentials(true, true)).unwrap_err(), want);
        assert_eq!(server(name, &options).unwrap_err(), want);
    }
}

#[test]
fn a_build_says_what_it_is_without() {
    for name in names() {
        assert_eq!(built_without(name), None);
    }
    assert_eq!(built_without("NTLM"), None);
    assert_eq!(built_without("GSSAPI").is_some(), !cfg!(feature = "gssapi"));
    let without = built_without("ANONYMOUS").is_some();
    assert_eq!(without, !cfg!(feature = "anonymous"));
}

#[test]
fn names_are_in_the_order_of_their_strength() {
    let mut all = STRENGTH.iter();
    for name in names() {
        assert!(all.any(|strong| *strong == name), "{name}");
    }
}

#[test]
fn plus_is_used_where_there_is_something_to_bind_to() {
    let offered = ["PLAIN", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"];
    let without = credentials(false, true);
    let with = ClientCredentials {
        channel_bindings: bound(),
        ..without.clone()
    };
    check(&offered, STRENGTH, &with, None, Ok("SCRAM-SHA-1-PLUS"));
    check(&offered, STRENGTH, &without, None, Ok("SCRAM-SHA-512"));
    // The server has none of the types that we have.
    let mut other = with.clone();
    other.offer.channel_bindings = Some(vec!["tls-unique".to_owned()]);
    check(&offered, STRENGTH, &other, None, Ok("SCRAM-SHA-512"));
    let pin = Some("SCRAM-SHA-1-PLUS");
    check(&offered, STRENGTH, &with, pin, Ok("SCRAM-SHA-1-PLUS"));
    check(&offered, STRENGTH, &without, pin, Err(()));
    check(&["SCRAM-SHA-512"], STRENGTH, &with, pin, Err(()));
    check(&["PLAIN"], STRENGTH, &with, None, Ok("PLAIN"));
    check(&["PLAIN"], &STRENGTH[..8], &with, None, Err(()));
}

#[test]
fn the_exchange_is_told_what_was_offered() {
    let with = ClientCredentials {
        channel_bindings: bound(),
        ..credentials(false, true)
    };
    let first = |offered: &[&str], allowed: &[&str]| {
        let client = select(offered, allowed, &with, None).unwrap();
        match client.step(ClientInput::Start, &mut |_: &mut [u8]| ()) {
            ClientStep::Respond(message, _) => String::from_utf8(message).unwrap(),
            step => panic!("{step:?}"),
        }
    };
    let bare = ["SCRAM-SHA-1"];
    // RFC 5802 §6: what the client thinks of the server's channel binding.
    assert!(first(&bare, STRENGTH).starts_with("y,,"));
    assert!(first(&["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], &bare).starts_with("n,,"));
    assert!(first(&["SCRAM-SHA-1-PLUS"], STRENGTH).starts_with("p=tls-exporter,,"));
}

#[test]
fn the_order_is_ours_and_not_that_of_the_offer() {
    let all = credentials(true, true);
    check(
        &["EXTERNAL", "DIGEST-MD5"],
        &BOTH,
        &all,
        None,
        Ok("EXTERNAL"),
    );
    check(
        &["DIGEST-MD5", "EXTERNAL"],
        &BOTH,
        &all,
        None,
        Ok("EXTERNAL"),
    );
    check(
        &["DIGEST-MD5", "EXTERNAL"],
        &["DIGEST-MD5", "EXTERNAL"],
        &all,
        None,
        Ok("DIGEST-MD5"),
    );
    check(
        &["DIGEST-MD5", "EXTERNAL"],
        &["DIGEST-MD5"],
        &all,
        None,
        Ok("DIGEST-MD5"),
    );
}

#[test]
fn unknown_names_are_passed_over() {
    let all = credentials(true, true);
    check(
        &["KERBEROS_V4", "DIGEST-MD5"],
        &["KERBEROS_V4", "DIGEST-MD5"],
        &all,
        None,
        Ok("DIGEST-MD5"),
    );
    check(
        &["KERBEROS_V4"],
        &["KERBEROS_V4", "DIGEST-MD5"],
        &all,
        None,
        Err(()),
    );
    check(&["external", "X-\u{0}"], &BOTH, &all, None, Err(()));
}

#[test]
fn mechanisms_without_credentials_are_passed_over() {
    check(
        &BOTH,
        &BOTH,
        &credentials(false, true),
        None,
        Ok("DIGEST-MD5"),
    );
    check(
        &BOTH,
        &BOTH,
        &credentials(true, false),
        None,
        Ok("EXTERNAL"),
    );
    check(&BOTH, &BOTH, &credentials(false, false), None, Err(()));
}

#[test]
fn nothing_weaker_than_the_pin_is_chosen() {
    let all = credentials(true, true);
    check(&BOTH, &BOTH, &all, Some("EXTERNAL"), Ok("EXTERNAL"));
    check(&BOTH, &BOTH, &all, Some("DIGEST-MD5"), Ok("EXTERNAL"));
    check(
        &["DIGEST-MD5"],
        &BOTH,
        &all,
        Some("DIGEST-MD5"),
        Ok("DIGEST-MD5"),
    );
    check(&["DIGEST-MD5"], &BOTH, &all, Some("EXTERNAL"), Err(()));
    check(&[], &BOTH, &all, Some("EXTERNAL"), Err(()));
    // Without the credentials for what was pinned, what is left is weaker all the same.
    check(
        &BOTH,
        &BOTH,
        &credentials(false, true),
        Some("EXTERNAL"),
        Err(()),
    );
    check(&BOTH, &BOTH, &all, Some("KERBEROS_V4"), Err(()));
}

#[test]
fn the_error_says_what_was_offered() {
    let error = |offered: &[&str], pin| {
        select(offered, &BOTH, &credentials(true, true), pin)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(&["PLAIN", "KERBEROS_V4"], None),
        "none of the offered mechanisms can be used (offered: PLAIN, KERBEROS_V4)"
    );
    assert_eq!(
        error(&[], None),
        "none of the offered mechanisms can be used (offered: nothing)"
    );
    assert_eq!(
        error(&["DIGEST-MD5"], Some("EXTERNAL")),
        "the offer lacks EXTERNAL or better, which this peer must offer (offered: DIGEST-MD5)"
    );
}

#[test]
fn an_exchange_can_move_to_another_thread() {
    fn movable<T: Send + 'static>() {}
    movable::<Box<dyn Client>>();
    movable::<Box<dyn Server>>();
    movable::<crate::ClientStep>();
    movable::<crate::ServerStep>();
}
