//! What the proving side makes of a password (RFC 5802 §3), and may keep for the next time (§5.1).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::{BadScramKeys, check_parameters};
use super::hash::{ScramHash, SecretBytes};
use crate::Password;
use crate::saslprep::{Unassigned, saslprep};

/// `SaltedPassword`: a password after as many iterations of the hash, for one salt and one count.
///
/// Instead of the password in [`crate::ClientCredentials::salted_password`] it saves the long computation, as long as
/// the server names the same salt and count. As good as the password for logging in there. Its memory is wiped and
/// `Debug` shows none of it.
#[derive(Clone)]
pub struct SaltedPassword {
    pub(super) hash: ScramHash,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    bytes: SecretBytes,
}

impl SaltedPassword {
    /// From a password. Computes as long as `iterations` says.
    pub fn derive(
        hash: ScramHash,
        password: &Password,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, BadScramKeys> {
        Self::derive_prepared(hash, &prepare(password)?, salt, iterations)
    }

    pub(crate) fn derive_prepared(
        hash: ScramHash,
        prepared: &str,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, BadScramKeys> {
        check_parameters(salt, iterations)?;
        Ok(Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            bytes: hash.derive(prepared, salt, iterations),
        })
    }

    /// From what was kept.
    pub fn new(
        hash: ScramHash,
        salt: &[u8],
        iterations: u32,
        bytes: &[u8],
    ) -> Result<Self, BadScramKeys> {
        check_parameters(salt, iterations)?;
        if bytes.len() != hash.length() {
            return Err(BadScramKeys::Encoding);
        }
        Ok(Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            bytes: Zeroizing::new(bytes.to_vec()),
        })
    }

    /// The bytes, for keeping them as one keeps a password.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash function.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// Whether a server that names these can be answered with it.
    pub(crate) fn is_for(&self, hash: ScramHash, salt: &[u8], iterations: u32) -> bool {
        self.hash == hash && self.salt == salt && self.iterations == iterations
    }

    pub(crate) fn keys(&self) -> ProvingKeys {
        let client_key = self.hash.hmac(&self.bytes, b"Client Key");
        ProvingKeys {
            stored_key: self.hash.hash(&client_key),
            server_key: self.hash.hmac(&self.bytes, b"Server Key"),
            client_key,
        }
    }
}

impl PartialEq for SaltedPassword {
    fn eq(&self, other: &Self) -> bool {
        self.is_for(other.hash, &other.salt, other.iterations)
            && bool::from(self.bytes.ct_eq(&other.bytes))
    }
}

impl Eq for SaltedPassword {}

impl fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SaltedPassword({}, {} iterations)",
            self.hash.mechanism(),
            self.iterations
        )
    }
}

/// The keys of both sides.
pub(crate) struct ProvingKeys {
    pub(crate) client_key: SecretBytes,
    pub(crate) stored_key: SecretBytes,
    pub(crate) server_key: SecretBytes,
}

/// `Normalize(password)`: SASLprep, as a stored string (§2.2).
pub(crate) fn prepare(password: &Password) -> Result<Zeroizing<String>, BadScramKeys> {
    saslprep(password.as_str(), Unassigned::Refused).map_err(|_| BadScramKeys::Password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_what_was_derived() {
        let password = Password::new("pencil");
        let derived = SaltedPassword::derive(ScramHash::Sha1, &password, b"salt", 2).unwrap();
        let kept = SaltedPassword::new(ScramHash::Sha1, b"salt", 2, derived.as_bytes()).unwrap();
        assert_eq!(kept, derived);
        assert_eq!(
            SaltedPassword::new(ScramHash::Sha1, b"salt", 2, b"short"),
            Err(BadScramKeys::Encoding)
        );
        assert_eq!(
            SaltedPassword::new(ScramHash::Sha1, b"", 2, derived.as_bytes()),
            Err(BadScramKeys::Encoding)
        );
        assert_eq!(
            format!("{kept:?}"),
            "SaltedPassword(SCRAM-SHA-1, 2 iterations)"
        );
    }
}
