//! SASL (RFC 4422) mechanisms as values without I/O, both sides, one file each.
//!
//! A [`Client`] is the side that proves who it is, a [`Server`] the side that asks. Each is a boxed value: a
//! message goes in, and out comes the next message together with the next value, or an end. An end has no next
//! value, so a finished or failed exchange cannot be stepped again. No socket, no clock, no global state; random
//! numbers, passwords and decisions are asked of the caller through [`Random`] and [`Host`]. Two exceptions: for GSSAPI the
//! system's Kerberos libraries read keytabs and ask the KDC ([`gssapi`]), and KERBEROS_V4 reads the system's clock unless it
//! is given another ([`kerberos_v4::Clock`]).
//!
//! | mechanism | specification | what it proves | when to use it |
//! |---|---|---|---|
//! | `EXTERNAL` | RFC 4422 appendix A, XEP-0178 | what the outer layer proved, a TLS certificate as a rule | between servers, always first |
//! | `DIGEST-MD5` | RFC 2831 (historic: RFC 6331) | that both sides know a password, without sending it | only with old peers, by agreement |
//! | `GSSAPI` | RFC 4752, XEP-0233 | that a Kerberos KDC knows both sides | where there is a realm; cargo feature `gssapi` |
//! | `KERBEROS_V4` | RFC 2222 §7.1, historic and breakable | that both sides have a DES key | never by itself; see [`kerberos_v4`] |
//!
//! [`client()`] and [`server()`] make one by its registered name, [`select`] chooses among the names that a server
//! offers. The module `wire` has the XML forms of RFC 6120 §6.4 (cargo feature `xmpp`, on by default); without it the crate
//! knows nothing of XMPP.
//!
//! # Long computations
//!
//! `step` runs to its end in the calling thread. The values are `Send + 'static` and passed by value, so a driver
//! that must not block can move one, its input and its host to another thread for that step and get back what
//! comes next. Neither mechanism that exists now needs this: they compute for microseconds.
//!
//! # Example
//!
//! Both ends of one exchange:
//!
//! ```
//! use xmpp_sasl::*;
//!
//! struct Accounts;
//! impl Host for Accounts {
//!     fn random(&mut self, out: &mut [u8]) { getrandom::fill(out).expect("the system has random numbers") }
//!     fn password(&mut self, authcid: &str, _realm: Option<&str>) -> Option<Password> {
//!         (authcid == "capulet.example").then(|| Password::new("romeo"))
//!     }
//!     fn authorize(&mut self, authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
//!         if authzid.is_none_or(|authzid| authzid == authcid) { Ok(()) } else { Err(Failure::InvalidAuthzid) }
//!     }
//!     fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> { Err(Failure::NotAuthorized) }
//! }
//!
//! let credentials = ClientCredentials {
//!     username: Some("capulet.example".into()),
//!     password: Some(Password::new("romeo")),
//!     ..ClientCredentials::new("xmpp", "montague.example")
//! };
//! let mut random = |out: &mut [u8]| getrandom::fill(out).expect("the system has random numbers");
//! let mut client = select(&["KERBEROS_V4", "DIGEST-MD5"], &["EXTERNAL", "DIGEST-MD5"], &credentials, None).unwrap();
//! let mut server = server(client.name(), &ServerOptions::new("xmpp", "montague.example")).unwrap();
//!
//! let mut to_client = ClientInput::Start;
//! let mut message;
//! let identity = loop {
//!     let to_server = match client.step(to_client, &mut random) {
//!         ClientStep::Respond(data, next) => { client = next; Some(data) }
//!         ClientStep::Wait(next) => { client = next; None }
//!         other => panic!("{other:?}"),
//!     };
//!     match server.step(to_server.as_deref(), &mut Accounts) {
//!         ServerStep::Challenge(data, next) => { server = next; message = data; to_client = ClientInput::Challenge(&message) }
//!         ServerStep::Success { identity, data } => {
//!             let end = client.step(ClientInput::Success(data.as_deref()), &mut random);
//!             assert!(matches!(end, ClientStep::Authenticated));
//!             break identity;
//!         }
//!         ServerStep::Failure(failure) => panic!("{failure:?}"),
//!     }
//! };
//! assert_eq!(identity.authcid.as_deref(), Some("capulet.example"));
//! ```

// With the feature there is one file that has it, `gssapi/credential.rs`.
#![cfg_attr(not(feature = "gssapi"), forbid(unsafe_code))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod adapter;
mod channel_binding;
mod client;
mod failure;
mod offer;
mod password;
mod registry;
mod saslprep;
mod secret;
mod server;

// Mechanisms: one line here, one in `registry`, one file.
mod anonymous;
mod digest_md5;
mod external;
pub mod gssapi;
pub mod kerberos_v4;
mod plain;
mod scram;

#[cfg(feature = "xmpp")]
pub mod wire;

pub use channel_binding::{ChannelBindingType, ChannelBindings};
pub use client::{Client, ClientCredentials, ClientError, ClientInput, ClientStep, Random};
pub use failure::Failure;
pub use offer::Offer;
pub use password::Password;
pub use registry::{NoMechanism, STRENGTH, built_without, client, names, select, server};
pub use scram::{
    BadScramKeys, IterationBounds, Pbkdf2Sha512, SaltedPassword, ScramError, ScramHash, ScramKeys,
    ScramParameters, Sha512,
};
pub use secret::ServerSecret;
pub use server::{Host, Identity, Server, ServerOptions, ServerStep};

/// The README's examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
