//! Why a password, a salt and a count make no keys.

/// Why there are no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadScramKeys {
    /// Not the form of RFC 5803.
    #[error("not of the form SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY")]
    Form,
    /// A hash function that is not known here.
    #[error("none of SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512")]
    Hash,
    /// An iteration count outside the bounds.
    #[error("the iteration count is not between {min} and {max}")]
    Iterations {
        /// The fewest that are accepted.
        min: u32,
        /// The most that are accepted.
        max: u32,
    },
    /// Bad base64, no salt, or a key that is not as long as the hash.
    #[error("the salt or a key is not what this hash function makes")]
    Encoding,
    /// SASLprep (RFC 4013) does not allow the password.
    #[error("the password has characters that SASLprep does not allow")]
    Password,
}

/// There is a salt, and at least one iteration.
pub(super) fn check_parameters(salt: &[u8], iterations: u32) -> Result<(), BadScramKeys> {
    match (salt, iterations) {
        ([], _) => Err(BadScramKeys::Encoding),
        (_, 0) => Err(BadScramKeys::Iterations {
            min: 1,
            max: u32::MAX,
        }),
        _ => Ok(()),
    }
}
