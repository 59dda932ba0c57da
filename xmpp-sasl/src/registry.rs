//! The mechanisms that exist, by name, and the choice between them.

use crate::{Client, ClientCredentials, Server, ServerOptions, digest_md5, external};

/// One row of the registry.
pub(crate) struct Mechanism {
    pub(crate) name: &'static str,
    pub(crate) client: fn(&ClientCredentials) -> Option<Box<dyn Client>>,
    pub(crate) server: fn(&ServerOptions) -> Option<Box<dyn Server>>,
}

const MECHANISMS: [Mechanism; 2] = [external::MECHANISM, digest_md5::MECHANISM];

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
