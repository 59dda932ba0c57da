//! The mechanisms that exist, by name, and the choice between them.

#[cfg(feature = "anonymous")]
use crate::anonymous;
use crate::{
    Client, ClientCredentials, Offer, Password, Server, ServerOptions, digest_md5, external,
    gssapi, kerberos_v4, plain, scram,
};

/// One row of the registry: the name, and how each side's data are taken out of what there is. `None`: they are not
/// there, so the mechanism does not exist.
struct Mechanism {
    name: &'static str,
    client: fn(&ClientCredentials) -> Option<Box<dyn Client>>,
    server: fn(&ServerOptions) -> Option<Box<dyn Server>>,
}

/// In the order of [`STRENGTH`].
const MECHANISMS: &[Mechanism] = &[
    Mechanism {
        name: external::NAME,
        client: |with| {
            let shown = with.certificate.then(|| with.authzid.clone());
            external::client(shown?)
        },
        server: |_| Some(external::server()),
    },
    #[cfg(feature = "gssapi")]
    Mechanism {
        name: gssapi::NAME,
        client: |with| {
            let initiator = with.gssapi.clone()?;
            gssapi::client(initiator, &with.service, &with.host, with.authzid.clone())
        },
        server: |with| {
            let acceptor = with.gssapi.clone()?;
            let (service, host) = (with.service.clone(), with.host.clone());
            Some(gssapi::server(acceptor, service, host))
        },
    },
    Mechanism {
        name: scram::SHA_512_PLUS.as_str(),
        client: |with| scram::client(scram::SHA_512_PLUS, scram_claim(with)?),
        server: |with| scram::server(scram::SHA_512_PLUS, scram_options(with)),
    },
    Mechanism {
        name: scram::SHA_256_PLUS.as_str(),
        client: |with| scram::client(scram::SHA_256_PLUS, scram_claim(with)?),
        server: |with| scram::server(scram::SHA_256_PLUS, scram_options(with)),
    },
    Mechanism {
        name: scram::SHA_1_PLUS.as_str(),
        client: |with| scram::client(scram::SHA_1_PLUS, scram_claim(with)?),
        server: |with| scram::server(scram::SHA_1_PLUS, scram_options(with)),
    },
    Mechanism {
        name: scram::SHA_512.as_str(),
        client: |with| scram::client(scram::SHA_512, scram_claim(with)?),
        server: |with| scram::server(scram::SHA_512, scram_options(with)),
    },
    Mechanism {
        name: scram::SHA_256.as_str(),
        client: |with| scram::client(scram::SHA_256, scram_claim(with)?),
        server: |with| scram::server(scram::SHA_256, scram_options(with)),
    },
    Mechanism {
        name: scram::SHA_1.as_str(),
        client: |with| scram::client(scram::SHA_1, scram_claim(with)?),
        server: |with| scram::server(scram::SHA_1, scram_options(with)),
    },
    Mechanism {
        name: digest_md5::NAME,
        client: |with| {
            let (username, password) = given_password(with)?;
            let account = digest_md5::Account::new(username, password, &with.service, &with.host)
                .with(with.realm.clone(), with.authzid.clone());
            Some(digest_md5::client(account))
        },
        server: |with| digest_md5::server(with.realms.clone(), &with.service, &with.host),
    },
    Mechanism {
        name: kerberos_v4::NAME,
        client: |with| {
            let keys = with.kerberos_v4.as_ref()?;
            kerberos_v4::client(keys, &with.service, &with.host, with.authzid.clone())
        },
        server: |with| {
            let keys = with.kerberos_v4.clone()?;
            kerberos_v4::server(keys, with.service.clone(), with.host.clone())
        },
    },
    Mechanism {
        name: plain::NAME,
        client: |with| {
            let (username, password) = given_password(with)?;
            Some(plain::client(with.authzid.clone(), username, password))
        },
        server: |_| Some(plain::server()),
    },
    #[cfg(feature = "anonymous")]
    Mechanism {
        name: anonymous::NAME,
        client: |with| anonymous::client(with.trace.clone()),
        server: |_| Some(anonymous::server()),
    },
];

/// A name and a password for the mechanisms that cannot prove what was on offer
/// ([`ClientCredentials::binding_is_withheld`]).
fn given_password(with: &ClientCredentials) -> Option<(String, Password)> {
    let account = with.username.clone().zip(with.password.clone());
    account.filter(|_| !with.binding_is_withheld())
}

fn scram_claim(with: &ClientCredentials) -> Option<scram::Claim> {
    Some(scram::Claim {
        username: with.username.clone()?,
        password: with.password.clone(),
        salted: with.salted_password.clone(),
        authzid: with.authzid.clone(),
        bindings: with.channel_bindings.clone(),
        offer: with.offer.clone(),
        withheld: with.binding_is_withheld(),
        bounds: with.iterations,
    })
}

fn scram_options(with: &ServerOptions) -> scram::Options {
    scram::Options {
        bindings: with.channel_bindings.clone(),
        offer: with.offer.clone(),
        secret: with.secret.clone(),
        iterations: with.iterations,
        says_why: with.scram_errors,
    }
}

/// All names that this crate knows, whether they are in this build or not, strongest first.
///
/// First what is proved by something better than a password; then what is bound to the connection below, so that
/// no attacker can sit in between; then what does not give the password away; then what does; last what proves nothing.
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

/// The proving side of the mechanism with this name.
pub fn client(name: &str, credentials: &ClientCredentials) -> Result<Box<dyn Client>, Unavailable> {
    (find(name)?.client)(credentials).ok_or(Unavailable::Unprovided)
}

/// The asking side of the mechanism with this name.
pub fn server(name: &str, options: &ServerOptions) -> Result<Box<dyn Server>, Unavailable> {
    (find(name)?.server)(options).ok_or(Unavailable::Unprovided)
}

/// Why [`client`] and [`server`] make nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// No mechanism here has this name. Names are compared as they are registered, in capitals; [`names`] lists them.
    #[error("there is no mechanism of this name")]
    Unknown,
    /// The mechanism exists, but not in this build: switch on the cargo feature that the text names.
    #[error("{0}")]
    NotBuilt(&'static str),
    /// The credentials or options lack what the mechanism needs, a password, a certificate, keys or data to bind to;
    /// or they have something that it cannot express. Fill in the field that is named after it.
    #[error("the credentials or options do not do for this mechanism")]
    Unprovided,
}

/// What to do about a mechanism that exists, but not in this build; `None` for all others.
pub fn built_without(name: &str) -> Option<&'static str> {
    match find(name) {
        Err(Unavailable::NotBuilt(how)) => Some(how),
        _ => None,
    }
}

/// What to do about a build without ANONYMOUS.
const NO_ANONYMOUS: &str =
    "this build has no ANONYMOUS; build it with the cargo feature `anonymous`";

fn find(name: &str) -> Result<&'static Mechanism, Unavailable> {
    let built = MECHANISMS.iter().find(|mechanism| mechanism.name == name);
    built.ok_or(match name {
        gssapi::NAME => Unavailable::NotBuilt(gssapi::MISSING),
        "ANONYMOUS" => Unavailable::NotBuilt(NO_ANONYMOUS),
        _ => Unavailable::Unknown,
    })
}

/// Chooses a mechanism: the first of `allowed` that the server offered, that exists here, and that we have
/// credentials for.
///
/// `allowed` is the caller's policy, strongest first. Unknown names are passed over in either list. So are
/// the names in `-PLUS` if there is nothing to bind to ([`ClientCredentials::channel_bindings`]), or nothing of the
/// types that the server advertised; and PLAIN and DIGEST-MD5 where the list of types is one that no server sends
/// ([`ClientCredentials::binding_is_withheld`]).
///
/// The exchange gets the offer, so that it can notice a list that was changed on the way (XEP-0474).
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
        .find_map(|name| client(name, credentials).ok())
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
#[non_exhaustive]
pub enum NoMechanism {
    /// Nothing on offer is allowed, known and provided with credentials.
    #[error("none of the offered mechanisms can be used (offered: {})", list(.offered))]
    NoneFits {
        /// What the server offered.
        offered: Vec<String>,
    },
    /// The offer holds nothing as strong as what was pinned: an attacker may have stripped it.
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
mod tests;
