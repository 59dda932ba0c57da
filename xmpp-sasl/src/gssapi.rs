//! GSSAPI (RFC 4752): Kerberos version 5, by the system's libraries.
//!
//! The mechanism exists in builds with the cargo feature `gssapi`, which needs MIT's libraries (on Debian `apt-get install
//! libkrb5-dev pkg-config clang libclang-dev`). The types of this module exist always, so that a program can read its
//! configuration in either build; [`crate::built_without`] says what is missing.
//!
//! ```text
//! initiating                               asking
//!     |  AP-REQ                               |
//!     |-------------------------------------->|
//!     |  AP-REP (mutual authentication)       |
//!     |<--------------------------------------|
//!     |  (empty)                              |
//!     |-------------------------------------->|
//!     |  wrapped: the security layers there are
//!     |<--------------------------------------|
//!     |  wrapped: none of them, authzid       |
//!     |-------------------------------------->|
//!     |  success                              |
//!     |<--------------------------------------|
//! ```
//!
//! Both sides take their keys from keytab files of their own, named in the credentials and the options; the environment
//! of the process (`KRB5_KTNAME` and so on) is only read by the libraries where nothing is named, and never changed. What
//! they read always is `krb5.conf`. By default that lets them ask the DNS for the canonical name of the service's host;
//! set `dns_canonicalize_hostname = false` there (RFC 4752 §5: "SHOULD NOT canonicalize … using an insecure or untrusted
//! directory service").
//!
//! **The first step of the initiating side talks to the KDC and waits for it**, and both sides read files. The values
//! say so ([`crate::Client::is_heavy`]); step them where waiting is allowed.
//!
//! Left out: security layers (integrity, confidentiality; TLS does that), channel binding (§5 has none), delegation.

use std::path::PathBuf;

#[cfg(feature = "gssapi")]
mod client;
#[cfg(feature = "gssapi")]
mod credential;
#[cfg(any(feature = "gssapi", test))]
mod layers;
#[cfg(feature = "gssapi")]
mod server;

#[cfg(feature = "gssapi")]
pub(crate) use client::client;
#[cfg(feature = "gssapi")]
pub(crate) use server::server;

pub(crate) const NAME: &str = "GSSAPI";

/// What to do about a build in which the mechanism does not exist.
pub(crate) const MISSING: &str = "this build has no Kerberos; build it with the cargo feature `gssapi`, which needs the \
     MIT libraries (Debian: apt-get install libkrb5-dev pkg-config clang libclang-dev)";

/// How many tokens a side sends at most, and how long they may be. Kerberos has one each.
#[cfg(feature = "gssapi")]
const TOKENS: u8 = 4;
#[cfg(feature = "gssapi")]
const TOKEN_BOUND: usize = 64 * 1024;

/// What the initiating side proves itself with, and for which service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Initiator {
    /// Who we are: `xmpp/capulet.example@CAPULET.EXAMPLE`. `None`: the first entry of the keytab, or whose tickets the
    /// default credential cache holds.
    pub principal: Option<String>,
    /// The keytab with our key. Tickets are fetched with it as needed and kept in memory. `None`: what the libraries
    /// find by themselves, a credential cache filled by `kinit` as a rule.
    pub keytab: Option<PathBuf>,
    /// The principal of the service, in full. `None`: `service@host` of the credentials, which the libraries translate to
    /// `service/host@REALM`. Needed for hosts that are not written in ASCII, and for the three parts of XEP-0233 §3,
    /// `xmpp/auth42.us.example.com/example.com@EXAMPLE.COM`.
    pub service: Option<String>,
}

/// What the asking side judges tickets with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acceptor {
    /// The keytab with the key of the service. `None`: the system's.
    pub keytab: Option<PathBuf>,
    /// The principal that tickets must be for, in full. `None`: `service/host@REALM` or `service/…/host@REALM`
    /// (XEP-0233 §3) with the service and the host of the options, in any realm that the keytab has a key of.
    pub service: Option<String>,
}

impl Initiator {
    /// Tries to get the credentials, which asks the KDC unless they are at hand. The text says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        #[cfg(feature = "gssapi")]
        return credential::initiator(self)
            .and_then(|credential| credential.lifetime().map_err(|error| error.to_string()))
            .map(drop);
        #[cfg(not(feature = "gssapi"))]
        Err(MISSING.to_owned())
    }
}

impl Acceptor {
    /// Tries to read the keytab. §3.2: "A server MUST NOT advertise support … unless it has acceptor credential". The
    /// text says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        #[cfg(feature = "gssapi")]
        return credential::acceptor(self).map(drop);
        #[cfg(not(feature = "gssapi"))]
        Err(MISSING.to_owned())
    }

    /// Whether this principal, which a ticket is for, is what clients of ours ask for.
    #[cfg(any(feature = "gssapi", test))]
    fn is_ours(&self, principal: &str, service: &str, host: &str) -> bool {
        if let Some(ours) = &self.service {
            return principal == ours;
        }
        let Some((name, _)) = split(principal) else {
            return false;
        };
        let parts: Vec<&str> = name.split('/').collect();
        match parts[..] {
            [first, last] | [first, _, last] => first == service && last == host,
            _ => false,
        }
    }
}

/// Whether `principal` is the obvious one of a service on a domain, in the same realm as `ours`: for
/// [`crate::Host::authorize_principal`], where nothing else says who may act for a domain.
///
/// ```
/// use xmpp_sasl::gssapi::is_service_of;
/// let ours = "xmpp/montague.example@VERONA";
/// assert!(is_service_of("xmpp/capulet.example@VERONA", ours, "xmpp", "capulet.example"));
/// assert!(!is_service_of("xmpp/capulet.example@MANTUA", ours, "xmpp", "capulet.example"));
/// assert!(!is_service_of("host/capulet.example@VERONA", ours, "xmpp", "capulet.example"));
/// ```
pub fn is_service_of(principal: &str, ours: &str, service: &str, domain: &str) -> bool {
    match (split(principal), split(ours)) {
        (Some((name, realm)), Some((_, our_realm))) => {
            realm == our_realm
                && !domain.contains('/')
                && name.split_once('/') == Some((service, domain))
        }
        _ => false,
    }
}

/// A principal's name and realm. Characters that have to be quoted in it are in no name of a host.
fn split(principal: &str) -> Option<(&str, &str)> {
    let (name, realm) = principal.split_once('@')?;
    let plain = !principal.contains('\\') && !realm.contains('@') && !realm.is_empty();
    plain.then_some((name, realm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_that_of_a_domain_only_in_our_realm() {
        let check = |principal| {
            is_service_of(
                principal,
                "xmpp/montague.example@VERONA",
                "xmpp",
                "capulet.example",
            )
        };
        assert!(check("xmpp/capulet.example@VERONA"));
        for other in [
            "xmpp/capulet.example@MANTUA",
            "xmpp/capulet.example@verona",
            "xmpp/capulet.example",
            "xmpp/capulet.example@",
            "xmpp/capulet.example@VERONA@VERONA",
            "xmpp/Capulet.example@VERONA",
            "xmpp/x/capulet.example@VERONA",
            "xmpp\\/capulet.example@VERONA",
            "host/capulet.example@VERONA",
            "xmpp@VERONA",
            "capulet.example@VERONA",
            "",
        ] {
            assert!(!check(other), "{other}");
        }
        assert!(!is_service_of("xmpp/a/b@R", "xmpp/c@R", "xmpp", "a/b"));
        assert!(!is_service_of("xmpp/a@", "xmpp/c@", "xmpp", "a"));
    }

    #[test]
    fn tickets_are_for_the_service_on_the_host() {
        let check = |acceptor: &Acceptor, principal| {
            acceptor.is_ours(principal, "xmpp", "montague.example")
        };
        let any = Acceptor::default();
        assert!(check(&any, "xmpp/montague.example@VERONA"));
        assert!(check(
            &any,
            "xmpp/node1.verona.example/montague.example@VERONA"
        ));
        for other in [
            "xmpp/chat.montague.example@VERONA",
            "imap/montague.example@VERONA",
            "xmpp/montague.example/node1@VERONA",
            "xmpp/a/b/montague.example@VERONA",
            "montague.example@VERONA",
            "xmpp/montague.example",
        ] {
            assert!(!check(&any, other), "{other}");
        }
        let named = Acceptor {
            service: Some("xmpp/cluster@VERONA".to_owned()),
            ..Acceptor::default()
        };
        assert!(check(&named, "xmpp/cluster@VERONA"));
        assert!(!check(&named, "xmpp/montague.example@VERONA"));
    }

    #[cfg(not(feature = "gssapi"))]
    #[test]
    fn a_build_without_it_says_how_to_get_it() {
        assert!(
            Acceptor::default()
                .check()
                .unwrap_err()
                .contains("libkrb5-dev")
        );
        assert!(
            Initiator::default()
                .check()
                .unwrap_err()
                .contains("`gssapi`")
        );
    }
}
