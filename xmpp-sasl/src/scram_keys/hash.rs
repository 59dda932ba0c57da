//! The hash functions of SCRAM.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// Bytes that can be misused when known: wiped when dropped.
pub(crate) type SecretBytes = Zeroizing<Vec<u8>>;

/// A hash function that SCRAM is registered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ScramHash {
    /// RFC 5802. No attack on SHA-1 reaches its use here, yet there are better.
    Sha1,
    /// RFC 7677.
    Sha256,
    /// draft-melnikov-scram-sha-512, as widely implemented.
    Sha512,
}

impl ScramHash {
    /// All of them, weakest first.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name of the mechanism without channel binding. Stored keys carry it too (RFC 5803).
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The name of the mechanism with channel binding.
    pub const fn mechanism_plus(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1-PLUS",
            Self::Sha256 => "SCRAM-SHA-256-PLUS",
            Self::Sha512 => "SCRAM-SHA-512-PLUS",
        }
    }

    /// Bytes in what it makes.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    pub(crate) fn hash(self, data: &[u8]) -> SecretBytes {
        Zeroizing::new(match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        })
    }

    pub(crate) fn hmac(self, key: &[u8], data: &[u8]) -> SecretBytes {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(key, data),
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, data),
        }
    }

    /// `Hi(str, salt, i)` of RFC 5802 §2.2: PBKDF2 with HMAC, one block. As long as the count says.
    pub(crate) fn derive(self, prepared: &str, salt: &[u8], iterations: u32) -> SecretBytes {
        let password = prepared.as_bytes();
        let mut derived = Zeroizing::new(vec![0; self.length()]);
        let out = derived.as_mut_slice();
        match self {
            Self::Sha1 => pbkdf2::pbkdf2::<Hmac<Sha1>>(password, salt, iterations, out),
            Self::Sha256 => pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, iterations, out),
            Self::Sha512 => pbkdf2::pbkdf2::<Hmac<Sha512>>(password, salt, iterations, out),
        }
        .expect("HMAC takes keys of any length (RFC 2104 §3)");
        derived
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> SecretBytes {
    let mac = <M as Mac>::new_from_slice(key);
    let mut mac = mac.expect("HMAC takes keys of any length (RFC 2104 §3)");
    mac.update(data);
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn lengths_are_those_of_the_hashes() {
        for hash in ScramHash::ALL {
            assert_eq!(hash.hash(b"").len(), hash.length());
            assert_eq!(hash.hmac(b"", b"").len(), hash.length());
            assert_eq!(hash.derive("", b"salt", 1).len(), hash.length());
        }
    }

    #[test]
    fn hashes_and_macs_are_those_of_the_rfcs() {
        // RFC 6234 §8.5, TEST1; RFC 2202 §3, RFC 4231 §4.3, test case 2.
        let (key, data) = (b"Jefe", b"what do ya want for nothing?");
        for (hash, digest, mac) in [
            (
                ScramHash::Sha1,
                "a9993e364706816aba3e25717850c26c9cd0d89d",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                ScramHash::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                ScramHash::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(hex(&hash.hash(b"abc")), digest);
            assert_eq!(hex(&hash.hmac(key, data)), mac);
        }
    }

    #[test]
    fn derived_keys_are_those_of_rfc_6070() {
        // §2, the second vector.
        let derived = ScramHash::Sha1.derive("password", b"salt", 2);
        assert_eq!(hex(&derived), "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
    }
}
