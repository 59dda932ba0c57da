//! The arithmetic of DIGEST-MD5 (RFC 2831 §2.1.2.1).

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// 16 octets as 32 lower-case hexadecimal digits.
pub(super) type HexDigest = [u8; 32];

/// `H( { username-value, ":", realm-value, ":", passwd } )`: as good as the password in its realm.
pub(super) struct Secret(Zeroizing<[u8; 16]>);

impl Secret {
    pub(super) fn new(username: &str, realm: &str, password: &str) -> Self {
        let mut hash = Md5::new();
        hash.update(octets(username));
        hash.update(b":");
        hash.update(octets(realm));
        hash.update(b":");
        hash.update(octets(password));
        Self(Zeroizing::new(hash.finalize().into()))
    }
}

/// What both sides know of an exchange when they compute, as it was on the wire.
pub(super) struct Parameters<'a> {
    pub(super) nonce: &'a [u8],
    pub(super) cnonce: &'a [u8],
    pub(super) nc: &'a [u8],
    pub(super) qop: &'a [u8],
    pub(super) digest_uri: &'a [u8],
    pub(super) authzid: Option<&'a [u8]>,
}

impl Parameters<'_> {
    /// What the initiating side sends: `response`.
    pub(super) fn response(&self, secret: &Secret) -> HexDigest {
        self.response_value(secret, b"AUTHENTICATE:")
    }

    /// What the server sends: `rspauth` (§2.1.3).
    pub(super) fn rspauth(&self, secret: &Secret) -> HexDigest {
        self.response_value(secret, b":")
    }

    fn response_value(&self, secret: &Secret, method: &[u8]) -> HexDigest {
        let mut a1 = Md5::new();
        a1.update(secret.0.as_slice());
        a1.update(b":");
        a1.update(self.nonce);
        a1.update(b":");
        a1.update(self.cnonce);
        if let Some(authzid) = self.authzid {
            a1.update(b":");
            a1.update(authzid);
        }

        let mut a2 = Md5::new();
        a2.update(method);
        a2.update(self.digest_uri);

        let session_key = Zeroizing::new(hex(a1.finalize().into()));
        let mut value = Md5::new();
        value.update(session_key.as_slice());
        for part in [self.nonce, self.nc, self.cnonce, self.qop] {
            value.update(b":");
            value.update(part);
        }
        value.update(b":");
        value.update(hex(a2.finalize().into()));
        hex(value.finalize().into())
    }
}

/// The octets of a text that are hashed: ISO 8859-1 where every character has a place in it, else UTF-8.
///
/// The rule's words ("either username-value or passwd") leave open whether one text depends on the other. The code
/// of RFC 2831 §8 converts each by itself, and so do Cyrus SASL and GNU SASL.
fn octets(text: &str) -> Zeroizing<Vec<u8>> {
    latin1(text).unwrap_or_else(|| Zeroizing::new(text.as_bytes().to_vec()))
}

/// The text in ISO 8859-1, if it can be written in it.
pub(super) fn latin1(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // With the room reserved, nothing is moved and left behind unwiped.
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
    for character in text.chars() {
        octets.push(u8::try_from(character).ok()?);
    }
    Some(octets)
}

fn hex(octets: [u8; 16]) -> HexDigest {
    let mut out = [0; 32];
    HEXLOWER.encode_mut(&octets, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_hash_of_gsasl() {
        // GNU SASL, lib/digest-md5/test-parser.c: sixteen octets `Q` in place of the hash of name, realm and password.
        let secret = Secret(Zeroizing::new([0x51; 16]));
        let parameters = Parameters {
            nonce: b"nonce",
            cnonce: b"cnonce",
            nc: b"00000001",
            qop: b"auth",
            digest_uri: b"digesturi",
            authzid: Some(b"authzid"),
        };
        assert_eq!(
            &parameters.rspauth(&secret),
            b"6a204da26b9888ee40bb3052ff056a67"
        );
        assert_eq!(
            &parameters.response(&secret),
            b"6c1f58bfa46e9c225b93745c84204efd"
        );
    }

    #[test]
    fn each_text_is_converted_by_itself() {
        assert_eq!(octets("päss").as_slice(), b"p\xe4ss");
        assert_eq!(octets("ÿ").as_slice(), b"\xff");
        assert_eq!(octets("Āä").as_slice(), "Āä".as_bytes());
        assert_eq!(octets("").as_slice(), b"");
    }
}
