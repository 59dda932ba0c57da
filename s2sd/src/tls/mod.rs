//! TLS between servers: what we show, what we accept in a handshake, and what it is worth afterwards.
//!
//! The handshake asks for a certificate and accepts whatever comes; [`judge`] decides later, when the domain
//! that the peer asserts is known, and what a bad certificate means is the policy's affair. Absent on
//! purpose: 0-RTT, session resumption (see `config.rs`), OCSP.

mod accept_any;
pub(crate) mod alert;
pub mod bad_certificate;
pub mod binding;
pub mod certificate_name;
mod chain;
mod config;
pub mod dane;
pub mod facts;
mod files;
pub mod judgement;
pub mod posh;
mod reload;
mod revocation;
mod roots;
pub mod strict;
pub mod trust;
mod warnings;

pub(crate) use alert::{in_words, is_about_certificate};
pub use bad_certificate::{BadCertificate, Day, Whose};
pub use certificate_name::{CertificateName, Unreadable, identities};
pub use chain::PeerChain;
pub use config::{ByName, IfAsked, OwnCertificate, Tls, server_name};
pub use dane::{Matched, Matching, Selector, Tlsa, TlsaSet, Usage};
pub use facts::{ClientAuth, TlsFacts, describe};
pub use judgement::{Because, Evidence, Judgement, TargetEvidence, TrustLevel, judge};
pub use reload::Reloaded;
pub use revocation::Revocations;
pub use roots::Roots;
pub use strict::Remark;
pub use trust::sole_identity;
pub use warnings::TlsWarning;

#[cfg(test)]
mod tests;
