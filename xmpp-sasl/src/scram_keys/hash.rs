//! The hash functions of SCRAM, through the `sasl` crate's [`ScramProvider`]; SHA-512 is one more of its kind.

use hmac::digest::InvalidLength;
use hmac::{Hmac, Mac};
use sasl::common::Password as SaslPassword;
use sasl::common::scram::{DeriveError, ScramProvider, Sha1, Sha256};
use sha2::Digest;
use zeroize::{Zeroize, Zeroizing};

/// Bytes that can be misused when known: wiped when dropped.
pub(crate) type SecretBytes = Zeroizing<Vec<u8>>;

/// A hash function that SCRAM is registered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
            Self::Sha1 => Sha1::hash(data),
            Self::Sha256 => Sha256::hash(data),
            Self::Sha512 => Sha512::hash(data),
        })
    }

    pub(crate) fn hmac(self, key: &[u8], data: &[u8]) -> SecretBytes {
        let mac = match self {
            Self::Sha1 => Sha1::hmac(data, key),
            Self::Sha256 => Sha256::hmac(data, key),
            Self::Sha512 => Sha512::hmac(data, key),
        };
        Zeroizing::new(mac.expect("HMAC takes keys of any length (RFC 2104 §3)"))
    }

    /// `Hi(str, salt, i)` of RFC 5802 §2.2: PBKDF2 with HMAC, one block. As long as the count says.
    pub(crate) fn derive(self, prepared: &str, salt: &[u8], iterations: u32) -> SecretBytes {
        let mut password = SaslPassword::Plain(prepared.to_owned());
        let derived = match self {
            Self::Sha1 => Sha1::derive(&password, salt, iterations),
            Self::Sha256 => Sha256::derive(&password, salt, iterations),
            Self::Sha512 => Sha512::derive(&password, salt, iterations),
        };
        if let SaslPassword::Plain(text) = &mut password {
            text.zeroize();
        }
        Zeroizing::new(
            derived.expect("a plain password fits every hash, and HMAC takes any length"),
        )
    }
}

/// SHA-512 for the `sasl` crate, which has none: [`ScramProvider`] for SCRAM-SHA-512 and SCRAM-SHA-512-PLUS.
#[derive(Debug, Clone, Copy)]
pub struct Sha512;

impl ScramProvider for Sha512 {
    type Secret = Pbkdf2Sha512;

    fn name() -> &'static str {
        "SHA-512"
    }

    fn hash(data: &[u8]) -> Vec<u8> {
        sha2::Sha512::digest(data).to_vec()
    }

    fn hmac(data: &[u8], key: &[u8]) -> Result<Vec<u8>, InvalidLength> {
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(key)?;
        mac.update(data);
        Ok(mac.finalize().into_bytes().to_vec())
    }

    /// A password that was derived before is good for the salt and the count it was derived with, and no other.
    fn derive(
        password: &SaslPassword,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Vec<u8>, DeriveError> {
        match password {
            SaslPassword::Plain(plain) => {
                let mut derived = vec![0; 64];
                pbkdf2::pbkdf2::<Hmac<sha2::Sha512>>(
                    plain.as_bytes(),
                    salt,
                    iterations,
                    &mut derived,
                )?;
                Ok(derived)
            }
            SaslPassword::Pbkdf2 { method, .. } if method != Self::name() => Err(
                DeriveError::IncompatibleHashingMethod(method.clone(), Self::name().to_owned()),
            ),
            SaslPassword::Pbkdf2 { salt: have, .. } if have != salt => {
                Err(DeriveError::IncorrectSalt)
            }
            SaslPassword::Pbkdf2 {
                iterations: have, ..
            } if *have != iterations => {
                Err(DeriveError::IncompatibleIterationCount(*have, iterations))
            }
            SaslPassword::Pbkdf2 { data, .. } => Ok(data.clone()),
        }
    }
}

/// A salted password for [`Sha512`], beside the `sasl` crate's `Pbkdf2Sha1` and `Pbkdf2Sha256`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pbkdf2Sha512 {
    /// What it was salted with.
    pub salt: Vec<u8>,
    /// How often it was hashed.
    pub iterations: u32,
    /// What came of it: as good as the password.
    pub digest: Vec<u8>,
}

impl sasl::secret::Secret for Pbkdf2Sha512 {}

impl sasl::secret::Pbkdf2Secret for Pbkdf2Sha512 {
    fn salt(&self) -> &[u8] {
        &self.salt
    }

    fn iterations(&self) -> u32 {
        self.iterations
    }

    fn digest(&self) -> &[u8] {
        &self.digest
    }
}

impl std::fmt::Debug for Pbkdf2Sha512 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pbkdf2Sha512({} iterations)", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn names_and_lengths_are_those_of_the_providers() {
        for hash in ScramHash::ALL {
            assert_eq!(hash.hash(b"").len(), hash.length());
            assert_eq!(hash.hmac(b"", b"").len(), hash.length());
            assert_eq!(hash.derive("", b"salt", 1).len(), hash.length());
        }
        assert_eq!(
            ScramHash::Sha1.mechanism(),
            format!("SCRAM-{}", Sha1::name())
        );
        assert_eq!(
            ScramHash::Sha256.mechanism(),
            format!("SCRAM-{}", Sha256::name())
        );
        assert_eq!(
            ScramHash::Sha512.mechanism(),
            format!("SCRAM-{}", Sha512::name())
        );
    }

    #[test]
    fn sha_512_by_the_book() {
        // RFC 6234 §8.5, TEST1 and RFC 4231 §4.3.
        assert_eq!(
            Sha512::hash(b"abc"),
            hex(
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            )
        );
        assert_eq!(
            Sha512::hmac(b"what do ya want for nothing?", b"Jefe").unwrap(),
            hex(
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            )
        );
    }

    #[test]
    fn a_derived_password_is_good_for_its_own_salt_and_count() {
        let derived = |method: &str| SaslPassword::Pbkdf2 {
            method: method.to_owned(),
            salt: b"salt".to_vec(),
            iterations: 5,
            data: b"data".to_vec(),
        };
        assert_eq!(
            Sha512::derive(&derived("SHA-512"), b"salt", 5),
            Ok(b"data".to_vec())
        );
        assert_eq!(
            Sha512::derive(&derived("SHA-512"), b"pepper", 5),
            Err(DeriveError::IncorrectSalt)
        );
        assert_eq!(
            Sha512::derive(&derived("SHA-512"), b"salt", 6),
            Err(DeriveError::IncompatibleIterationCount(5, 6))
        );
        assert!(matches!(
            Sha512::derive(&derived("SHA-1"), b"salt", 5),
            Err(DeriveError::IncompatibleHashingMethod(..))
        ));
    }
}
