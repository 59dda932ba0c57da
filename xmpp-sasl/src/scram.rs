//! SCRAM (RFC 5802, RFC 7677): both sides show that they know a password, the server without keeping it.
//!
//! ```text
//! initiating                                   asking
//!     |  gs2-header, n=name, r=nonce              |
//!     |------------------------------------------>|
//!     |  r=both nonces, s=salt, i=count [, h=…]   |
//!     |<------------------------------------------|
//!     |  c=gs2-header and binding, r=, p=proof    |
//!     |------------------------------------------>|
//!     |  v=signature (with success)               |
//!     |<------------------------------------------|
//! ```
//!
//! The names that end in `-PLUS` bind the exchange to the TLS connection below: a man in the middle, who has two, is
//! found out. `h=` is XEP-0474: the exchange proves what was on offer, too. Left out: mandatory extensions, of which
//! there are none.

mod client;
mod error;
mod message;
mod server;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) use self::client::{Claim, client};
pub(crate) use self::server::{Options, server};
use crate::scram_keys::SecretBytes;
use crate::{Offer, ScramHash};

pub(crate) const SHA_1: Name = Name::new(ScramHash::Sha1);
pub(crate) const SHA_1_PLUS: Name = SHA_1.plus();
pub(crate) const SHA_256: Name = Name::new(ScramHash::Sha256);
pub(crate) const SHA_256_PLUS: Name = SHA_256.plus();
pub(crate) const SHA_512: Name = Name::new(ScramHash::Sha512);
pub(crate) const SHA_512_PLUS: Name = SHA_512.plus();

/// Which of the family it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    hash: ScramHash,
    plus: bool,
}

impl Name {
    const fn new(hash: ScramHash) -> Self {
        Self { hash, plus: false }
    }

    const fn plus(self) -> Self {
        Self { plus: true, ..self }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        if self.plus {
            self.hash.mechanism_plus()
        } else {
            self.hash.mechanism()
        }
    }
}

/// Random octets in either nonce. A multiple of 3 needs no padding.
const NONCE: usize = 18;

fn nonce(octets: [u8; NONCE]) -> String {
    STANDARD.encode(octets)
}

/// `c=`: the GS2 header and the data of the connection, in base64.
fn cbind_input(gs2_header: &str, data: &[u8]) -> String {
    STANDARD.encode([gs2_header.as_bytes(), data].concat())
}

/// `AuthMessage` (§3): what both sides sign.
fn auth_message(client_first_bare: &str, server_first: &str, without_proof: &str) -> String {
    [client_first_bare, server_first, without_proof].join(",")
}

/// XEP-0474 §6.1: `h=`, if it is known what was on offer.
fn downgrade_protection(offer: &Offer, hash: ScramHash) -> Option<String> {
    offer
        .downgrade_protection()
        .map(|text| STANDARD.encode(hash.hash(text.as_bytes()).as_slice()))
}

/// `ClientProof := ClientKey XOR ClientSignature`, and back again.
fn xor(left: &[u8], right: &[u8]) -> SecretBytes {
    zeroize::Zeroizing::new(left.iter().zip(right).map(|(a, b)| a ^ b).collect())
}
