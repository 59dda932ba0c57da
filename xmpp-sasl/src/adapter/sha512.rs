//! SHA-512 for the crate `sasl`, which has none: one more of its [`ScramProvider`]s.

use hmac::digest::InvalidLength;
use sasl::common::Password as SaslPassword;
use sasl::common::scram::{DeriveError, ScramProvider};

use crate::ScramHash;

/// [`ScramProvider`] for SCRAM-SHA-512 and SCRAM-SHA-512-PLUS.
#[derive(Debug, Clone, Copy)]
pub struct Sha512;

impl ScramProvider for Sha512 {
    type Secret = Pbkdf2Sha512;

    fn name() -> &'static str {
        "SHA-512"
    }

    fn hash(data: &[u8]) -> Vec<u8> {
        ScramHash::Sha512.hash(data).to_vec()
    }

    fn hmac(data: &[u8], key: &[u8]) -> Result<Vec<u8>, InvalidLength> {
        Ok(ScramHash::Sha512.hmac(key, data).to_vec())
    }

    /// A password that was derived before is good for the salt and the count it was derived with, and no other.
    fn derive(
        password: &SaslPassword,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Vec<u8>, DeriveError> {
        match password {
            SaslPassword::Plain(plain) => {
                Ok(ScramHash::Sha512.derive(plain, salt, iterations).to_vec())
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
    use crate::adapter::Hash;
    use sasl::common::scram::{Sha1, Sha256};

    #[test]
    fn hashes_are_those_of_the_providers() {
        fn agree<H: Hash>() {
            let hash = H::HASH;
            assert_eq!(hash.mechanism(), format!("SCRAM-{}", H::name()));
            assert_eq!(*hash.hash(b"data"), H::hash(b"data"));
            // Their arguments stand the other way round.
            assert_eq!(
                *hash.hmac(b"key", b"data"),
                H::hmac(b"data", b"key").unwrap()
            );
            let password = SaslPassword::Plain("password".to_owned());
            let derived = H::derive(&password, b"salt", 3).unwrap();
            assert_eq!(*hash.derive("password", b"salt", 3), derived);
        }
        agree::<Sha1>();
        agree::<Sha256>();
        agree::<Sha512>();
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
