//! What a server makes salts of for names that it does not know.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret of the server, for what must look random to others and be the same each time.
///
/// Any secret bytes, 16 or more of them, and the same after a restart. Its memory is wiped when it
/// is dropped, and `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ServerSecret(Zeroizing<Vec<u8>>);

impl ServerSecret {
    /// Takes over the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for ServerSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ServerSecret {}

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        let secret = ServerSecret::new(*b"ssshhh");
        assert_eq!(format!("{secret:?}"), "ServerSecret(…)");
        assert_eq!(secret, ServerSecret::new(*b"ssshhh"));
        assert_ne!(secret, ServerSecret::new(*b"sshhh"));
    }
}
