//! SASL (RFC 4422) mechanisms as values without I/O, both sides, one file each.
//!
//! A [`Client`] is the side that proves who it is, a [`Server`] the side that asks. Each is a boxed value: a
//! message goes in, and out comes the next message together with the next value, or an end. An end has no next
//! value, so a finished or failed exchange cannot be stepped again. No socket, no clock, no global state; the
//! caller provides random numbers, passwords and decisions through [`Random`] and [`Host`]. Two exceptions: for GSSAPI the
//! system's Kerberos libraries read keytabs and ask the KDC ([`gssapi`]), and KERBEROS_V4 reads the system's clock unless it
//! is given another ([`kerberos_v4::Clock`]).
//!
//! | mechanism | specification | what it proves | when to use it |
//! |---|---|---|---|
//! | `EXTERNAL` | RFC 4422 appendix A, XEP-0178 | what the outer layer proved, a TLS certificate as a rule | between servers, always first |
//! | `GSSAPI` | RFC 4752, XEP-0233 | that a Kerberos KDC knows both sides | where there is a realm; cargo feature `gssapi` |
//! | `SCRAM-SHA-512-PLUS`, `SCRAM-SHA-256-PLUS`, `SCRAM-SHA-1-PLUS` | RFC 5802, RFC 7677, RFC 9266 | that both sides know a password, the server without keeping it, and that they are the two ends of one TLS connection | with a password, wherever there is TLS |
//! | `SCRAM-SHA-512`, `SCRAM-SHA-256`, `SCRAM-SHA-1` | RFC 5802, RFC 7677 | that both sides know a password, the server without keeping it | with a password, where the other side or the outer layer has no channel binding |
//! | `DIGEST-MD5` | RFC 2831 (historic: RFC 6331) | that both sides know a password, without sending it | only with old peers, by agreement |
//! | `KERBEROS_V4` | RFC 2222 §7.1, historic and breakable | that both sides have a DES key | never by itself; see [`kerberos_v4`] |
//! | `PLAIN` | RFC 4616 | that the client knows a password, which it gives away; nothing about the server | inside TLS to a server that is known, where nothing better is |
//! | `ANONYMOUS` | RFC 4505 | nothing | for guests, where guests are wanted; never between servers; cargo feature `anonymous` |
//!
//! [`client()`] and [`server()`] make one by its registered name, [`select`] chooses among the names that a server
//! offers. The module `wire` has the XML forms of RFC 6120 §6.4 (cargo feature `xmpp`, on by default); without it the crate
//! knows nothing of XMPP.
//!
//! # Passwords on the server
//!
//! For SCRAM a server keeps [`ScramKeys`] (RFC 5803) and answers [`Host::scram_keys`] with them; a thief
//! cannot log in with them. A host that knows passwords need not do anything: keys are derived from
//! [`Host::password`] each time. With [`ServerOptions::secret`] a peer cannot tell an unknown name
//! from a known one: it sees the same kind of salt each time, and fails at the same place.
//!
//! # Channel binding and changed offers
//!
//! [`ClientCredentials::channel_bindings`] and [`ServerOptions::channel_bindings`] say what there is to bind to; without
//! it the names in `-PLUS` do not exist. [`select`] tells the exchange what was offered, and [`ServerOptions::offer`]
//! tells the server's side; SCRAM then notices on either side when an attacker took something off the list on its way
//! (RFC 5802 §6, XEP-0474), and the exchange fails. A list of channel-binding types that no server sends gets no password
//! at all ([`ClientCredentials::binding_is_withheld`]).
//!
//! # Long computations
//!
//! `step` runs to its end in the calling thread. Most steps take microseconds; SCRAM's take as long as the iteration
//! count says, from milliseconds to about a second, and GSSAPI's may ask a KDC. [`Client::is_heavy`] and
//! [`Server::is_heavy`] say so before. The values are `Send + 'static` and passed by value, so a driver that must not
//! block moves one, its input and its host to another thread for that step and gets back what comes next:
//!
//! ```
//! use xmpp_sasl::*;
//!
//! /// With tokio, `spawn_blocking` in the place of `spawn`, and `.await` in that of `join`.
//! fn step(client: Box<dyn Client>, challenge: Vec<u8>) -> ClientStep {
//!     let step = move || {
//!         client.step(ClientInput::Challenge(&challenge), &mut OsRandom)
//!     };
//!     std::thread::spawn(step).join().expect("a step does not panic")
//! }
//! ```
//!
//! On the server only deriving keys from a password is heavy. A client may keep a [`SaltedPassword`] for the next time.
//!
//! # Code written for the crate `sasl`
//!
//! The module `adapter` (cargo feature `sasl`) has our mechanisms behind the traits of that crate, and says what is different.
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
//!     fn password(&mut self, authcid: &str, _realm: Option<&str>) -> Option<Password> {
//!         (authcid == "capulet.example").then(|| "romeo".into())
//!     }
//! }
//!
//! let credentials = ClientCredentials::new("xmpp", "montague.example").with_password("capulet.example", "romeo");
//! let mut random = OsRandom;
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

#[cfg(feature = "sasl")]
pub mod adapter;
mod channel_binding;
mod credentials;
mod failure;
mod mechanism;
mod offer;
mod password;
mod registry;
mod saslprep;
mod scram_error;
mod scram_keys;
mod secret;

// Mechanisms: one line here, one row in `registry`, one file.
#[cfg(feature = "anonymous")]
mod anonymous;
mod digest_md5;
mod external;
pub mod gssapi;
pub mod kerberos_v4;
mod plain;
mod scram;

#[cfg(feature = "xmpp")]
pub mod wire;

#[cfg(feature = "sasl")]
pub use adapter::{Pbkdf2Sha512, Sha512};
pub use channel_binding::{ChannelBindingType, ChannelBindings};
pub use credentials::{ClientCredentials, ServerOptions};
pub use failure::Failure;
pub use mechanism::{
    Client, ClientError, ClientInput, ClientStep, Host, Identity, OsRandom, Random, Server,
    ServerStep,
};
pub use offer::Offer;
pub use password::Password;
pub use registry::{
    NoMechanism, STRENGTH, Unavailable, built_without, client, names, select, server,
};
pub use scram_error::ScramError;
pub use scram_keys::{
    BadScramKeys, IterationBounds, SaltedPassword, ScramHash, ScramKeys, ScramParameters,
};
pub use secret::ServerSecret;

/// The README's examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
