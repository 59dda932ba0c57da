//! The mechanisms that exist, by name, and the choice between them.

use crate::{
    Client, ClientCredentials, Offer, Server, ServerOptions, anonymous, digest_md5, external,
    gssapi, kerberos_v4, plain, scram,
};

/// One row of the registry.
pub(crate) struct Mechanism {
    pub(crate) name: &'static str,
    pub(crate) client: fn(&ClientCredentials) -> Option<Box<dyn Client>>,
    pub(crate) server: fn(&ServerOptions) -> Option<Box<dyn Server>>,
}

/// In the order of [`STRENGTH`].
const MECHANISMS: &[Mechanism] = &[
    external::MECHANISM,
    #[cfg(feature = "gssapi")]
    gssapi::MECHANISM,
    scram::SHA_512_PLUS,
    scram::SHA_256_PLUS,
    scram::SHA_1_PLUS,
    scram::SHA_512,
    scram::SHA_256,
    scram::SHA_1,
    digest_md5::MECHANISM,
    kerberos_v4::MECHANISM,
    plain::MECHANISM,
    anonymous::MECHANISM,
];

/// All names that this crate knows, whether they are in this build or not, strongest first.
///
/// First what is proved by something better than a password; then what is bound to the connection below, so that
/// nobody can sit in between; then what does not give the password away; then what does; last what proves nothing.
/// For [`select`], cut it where your policy ends: `STRENGTH` as a whole allows PLAIN and ANONYMOUS.
pub const STRENGTH: &[&str] = &[
    "EXTERNAL",
    "GSSAPI",
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "DIGEST-MD5",
    "KERBEROS_V4",
    "PLAIN",
    "ANONYMOUS",
];

/// The names of all mechanisms in this build, strongest first ([`STRENGTH`]).
pub fn names() -> impl Iterator<Item = &'static str> {
    MECHANISMS.iter().map(|mechanism| mechanism.name)
}

/// The proving side of the mechanism with this name. `None` if there is none or the credentials do not do for it.
pub fn client(name: &str, credentials: &ClientCredentials) -> Option<Box<dyn Client>> {
    (find(name)?.client)(credentials)
}

/// The asking side of the mechanism with this name. `None` if there is none or the options do not do for it.
pub fn server(name: &str, options: &ServerOptions) -> Option<Box<dyn Server>> {
    (find(name)?.server)(options)
}

/// What to do about a mechanism that exists, but not in this build; `None` for all others.
pub fn built_without(name: &str) -> Option<&'static str> {
    (name == gssapi::NAME && find(name).is_none()).then_some(gssapi::MISSING)
}

fn find(name: &str) -> Option<&'static Mechanism> {
    MECHANISMS.iter().find(|mechanism| mechanism.name == name)
}

/// Chooses a mechanism: the first of `allowed` that the server offered, that exists here, and that we have
/// credentials for.
///
/// `allowed` is the caller's policy, strongest first. Names nobody here knows are passed over in either list. So are
/// the names in `-PLUS` if there is nothing to bind to ([`ClientCredentials::channel_bindings`]), or nothing of the
/// types that the server advertised; and PLAIN and DIGEST-MD5 where the list of types is one that no server sends
/// ([`ClientCredentials::binding_is_withheld`]).
///
/// The exchange is told what was offered, so that it can notice a list that was changed on the way (XEP-0474).
///
/// The list that a server offers is not protected before TLS, and a man in the middle may strip it to its weakest
/// entry. `pin` is the name that worked, or was agreed on, before: nothing weaker is chosen then. If the offer has
/// nothing as strong left, that is [`NoMechanism::Stripped`] and not a reason to use less. A pin that is not in
/// `allowed` has no rank there, so nothing is as strong.
pub fn select(
    offered: &[impl AsRef<str>],
    allowed: &[impl AsRef<str>],
    credentials: &ClientCredentials,
    pin: Option<&str>,
) -> Result<Box<dyn Client>, NoMechanism> {
    let strong_enough = match pin {
        None => allowed.len(),
        Some(pin) => allowed
            .iter()
            .position(|name| name.as_ref() == pin)
            .map_or(0, |index| index + 1),
    };
    let is_offered = |name: &str| offered.iter().any(|offer| offer.as_ref() == name);
    let credentials = &ClientCredentials {
        offer: Offer {
            mechanisms: offered
                .iter()
                .map(|name| name.as_ref().to_owned())
                .collect(),
            channel_bindings: credentials.offer.channel_bindings.clone(),
        },
        ..credentials.clone()
    };
    allowed
        .iter()
        .take(strong_enough)
        .map(AsRef::as_ref)
        .filter(|name| is_offered(name))
        .find_map(|name| client(name, credentials))
        .ok_or_else(|| {
            let offered = offered
                .iter()
                .map(|name| name.as_ref().to_owned())
                .collect();
            match pin {
                None => NoMechanism::NoneFits { offered },
                Some(pin) => NoMechanism::Stripped {
                    pinned: pin.to_owned(),
                    offered,
                },
            }
        })
}

/// Why [`select`] chose nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMechanism {
    /// Nothing on offer is allowed, known and provided with credentials.
    #[error("none of the offered mechanisms can be used (offered: {})", list(.offered))]
    NoneFits {
        /// What the server offered.
        offered: Vec<String>,
    },
    /// The offer holds nothing as strong as what was pinned: somebody may have stripped it.
    #[error("the offer lacks {pinned} or better, which this peer must offer (offered: {})", list(.offered))]
    Stripped {
        /// What was pinned.
        pinned: String,
        /// What the server offered.
        offered: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
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
            assert!(client(unknown, &all).is_none());
            assert!(server(unknown, &options).is_none());
        }
        let options = ServerOptions::new("xmpp", "montague.example");
        for name in ["KERBEROS_V4", "GSSAPI"] {
            assert!(client(name, &credentials(true, true)).is_none());
            assert!(server(name, &options).is_none());
        }
    }

    #[test]
    fn a_build_says_what_it_is_without() {
        for name in names() {
            assert_eq!(built_without(name), None);
        }
        assert_eq!(built_without("NTLM"), None);
        assert_eq!(built_without("GSSAPI").is_some(), !cfg!(feature = "gssapi"));
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
}
