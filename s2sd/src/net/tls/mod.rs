//! TLS between servers: what we show, what we accept in a handshake, and what it proves afterwards.
//!
//! The handshake asks for a certificate and accepts any. [`judge`](crate::trust::judge) decides later, when the
//! asserted domain is known, and the policy says what follows from a bad certificate. Absent on purpose: 0-RTT, session
//! resumption (see `config.rs`), OCSP.

mod accept_any;
pub mod binding;
mod config;
mod files;
mod reload;
mod warnings;

pub use config::{ByName, IfAsked, OwnCertificate, Tls, server_name};
pub use reload::Reloaded;
pub use warnings::TlsWarning;

#[cfg(test)]
mod tests;
