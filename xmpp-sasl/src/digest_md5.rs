//! DIGEST-MD5 (RFC 2831; made historic by RFC 6331): both sides show that they know a password without sending it.
//!
//! ```text
//! initiating                                asking
//!     |  (no initial response)                 |
//!     |--------------------------------------->|
//!     |  realm, nonce, qop, charset, algorithm |
//!     |<---------------------------------------|
//!     |  username, cnonce, response, …         |
//!     |--------------------------------------->|
//!     |  rspauth                               |
//!     |<---------------------------------------|
//!     |  (empty)                               |
//!     |--------------------------------------->|
//!     |  success                               |
//!     |<---------------------------------------|
//! ```
//!
//! Left out: security layers (`auth-int`, `auth-conf`) and subsequent authentication (§2.2), which XMPP has no use for.

mod client;
mod digest;
mod directives;
mod message;
mod server;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) use self::client::{Account, client};
use self::digest::Parameters;
use self::directives::Malformed;
use self::message::Response;
pub(crate) use self::server::server;

pub(crate) const NAME: &str = "DIGEST-MD5";

/// §2.1.2: `serv-type "/" host`. Between XMPP servers the host is the receiving domain, the stream's `to`.
fn digest_uri(service: &str, host: &str) -> String {
    format!("{service}/{host}")
}

/// Random octets in a nonce or cnonce; §2.1.1 recommends 8 or more. A multiple of 3 needs no padding.
const NONCE: usize = 18;

fn nonce(octets: [u8; NONCE]) -> String {
    STANDARD.encode(octets)
}

/// The text of a name or realm. Without `charset=utf-8` it is ISO 8859-1.
fn decode(octets: &[u8], utf8: bool) -> Result<String, Malformed> {
    match std::str::from_utf8(octets) {
        // COMPAT(Cyrus SASL 2.1.28): its client sends UTF-8 without saying so. Real ISO 8859-1 text outside ASCII is
        // hardly ever UTF-8 by accident. `our_server_accepts_their_responses`
        Ok(text) => Ok(text.to_owned()),
        Err(_) if utf8 => Err(Malformed("a name is not in UTF-8")),
        Err(_) => Ok(octets.iter().map(|&octet| char::from(octet)).collect()),
    }
}

impl Response {
    fn parameters(&self) -> Parameters<'_> {
        Parameters {
            nonce: &self.nonce,
            cnonce: &self.cnonce,
            nc: &self.nc,
            qop: &self.qop,
            digest_uri: &self.digest_uri,
            authzid: self.authzid.as_deref(),
        }
    }
}
