//! The mechanisms that exist, by name, and the choice between them.

use crate::{Client, ClientCredentials, Server, ServerOptions, digest_md5, external, kerberos_v4};

/// One row of the registry.
pub(crate) struct Mechanism {
    pub(crate) name: &'static str,
    pub(crate) client: fn(&ClientCredentials) -> Option<Box<dyn Client>>,
    pub(crate) server: fn(&ServerOptions) -> Option<Box<dyn Server>>,
}

const MECHANISMS: &[Mechanism] = &[
    external::MECHANISM,
    digest_md5::MECHANISM,
    kerberos_v4::MECHANISM,
];

/// The names of all mechanisms in this build, strongest first.
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

fn find(name: &str) -> Option<&'static Mechanism> {
    MECHANISMS.iter().find(|mechanism| mechanism.name == name)
}

/// Chooses a mechanism: the first of `allowed` that the server offered, that exists here, and that we have
/// credentials for.
///
/// `allowed` is the caller's policy, strongest first. Names nobody here knows are passed over in either list.
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
    use crate::Password;

    fn credentials(certificate: bool, password: bool) -> ClientCredentials {
        ClientCredentials {
            username: Some("capulet.example".to_owned()),
            password: password.then(|| Password::new("romeo")),
            certificate,
            ..ClientCredentials::new("xmpp", "montague.example")
        }
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
        let mut options = ServerOptions::new("xmpp", "montague.example");
        options.kerberos_v4 = Some(keys);
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
        assert!(client("KERBEROS_V4", &credentials(true, true)).is_none());
        assert!(server("KERBEROS_V4", &options).is_none());
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
