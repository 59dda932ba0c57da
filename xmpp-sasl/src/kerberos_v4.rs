//! KERBEROS_V4 (RFC 2222 §7.1): a Kerberos version 4 ticket, and proof by both sides of knowing its session key.
//!
//! **Historic, and breakable.** Everything rests on DES, whose keys a determined stranger finds in hours from one
//! recorded exchange, and on PCBC, which does not protect what it encrypts against change. Kerberos 4 itself ended in
//! 2006. Use this to speak with what cannot speak anything else, on a wire that you trust otherwise, and name it in
//! your policy: nothing offers or chooses it by itself.
//!
//! ```text
//! initiating                                   asking
//!     |  (no initial response)                    |
//!     |------------------------------------------>|
//!     |  challenge, 4 octets                      |
//!     |<------------------------------------------|
//!     |  ticket, authenticator with the challenge |
//!     |------------------------------------------>|
//!     |  DES-ECB(challenge + 1, layers)           |
//!     |<------------------------------------------|
//!     |  DES-PCBC(challenge, layer, authzid)      |
//!     |------------------------------------------>|
//!     |  success                                  |
//!     |<------------------------------------------|
//! ```
//!
//! There is no KDC here. Both sides have the service's key in a [`Keys`] table, and the initiating side makes its
//! tickets itself; the format is the one of MIT's libkrb (`krb_create_ticket`, `krb_mk_req`, `krb_rd_req`), so a ticket
//! from a real KDC works too. Since a holder of a service key can make tickets in any name, every key in the table
//! belongs to one client, and tickets under it are believed for that client only.
//!
//! Left out: security layers (integrity, privacy), and the network address in tickets, which addresses behind
//! translators made useless.

mod client;
mod des;
mod keys;
mod message;
mod server;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub(crate) use client::client;
pub use des::Key;
pub use keys::{BadKeys, BadPrincipal, Clock, Keys, Principal, SharedKey};
pub(crate) use server::server;

pub(crate) const NAME: &str = "KERBEROS_V4";

/// §7.1: "No security layer", the only one here.
const NO_LAYER: u8 = 1;

/// How far clocks may be apart, in seconds. MIT's `CLOCK_SKEW`.
const SKEW: u64 = 300;

/// The longest last message: an authorization identity is at most a JID.
const LAST_BOUND: usize = 8 + 3071 + 8;
