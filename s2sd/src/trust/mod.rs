//! What a certificate proves: its names, the proofs for it (PKIX, DANE, POSH), its faults, and the judgement that
//! follows. The inputs (certificates, answers of the DNS, documents, the time) are arguments.

pub(crate) mod alert;
pub mod bad_certificate;
pub mod certificate_name;
pub(crate) mod chain;
pub mod dane;
pub mod facts;
pub mod inquiry;
pub mod judgement;
pub mod pkix;
pub mod posh;
pub(crate) mod revocation;
pub(crate) mod roots;
pub mod strict;

pub(crate) use alert::{in_words, is_about_certificate};
pub use bad_certificate::{BadCertificate, Day, Whose};
pub use certificate_name::{CertificateName, Unreadable, identities};
pub use chain::PeerChain;
pub use dane::{Matched, Matching, Selector, Tlsa, TlsaSet, Usage};
pub use facts::{ClientAuth, TlsFacts, describe};
pub use judgement::{Because, Evidence, Judgement, TargetEvidence, TrustLevel, judge};
pub use pkix::sole_identity;
pub use revocation::Revocations;
pub use roots::Roots;
pub use strict::Remark;
