//! A password: wiped when dropped, never printed, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::saslprep::{Unassigned, saslprep};

/// A shared secret in characters.
///
/// Its memory is overwritten when it is dropped, `Debug` shows nothing of it, and comparing two takes as long
/// wherever they differ (their lengths are no secret).
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes over the text. A `String` is not copied, so nothing of it is left behind.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the one that was given, both prepared with SASLprep (RFC 4616 §2): what PLAIN asks.
    pub fn is_same_as(&self, given: &Self) -> bool {
        Self::is_same(Some(self), given)
    }

    /// The same, where perhaps no password is kept, which takes as long.
    pub(crate) fn is_same(kept: Option<&Self>, given: &Self) -> bool {
        let prepare = |password: &Self, unassigned| {
            saslprep(password.as_str(), unassigned)
                .ok()
                .filter(|text| !text.is_empty())
        };
        // "the presented ... as a query string, the stored ... as a stored string".
        let Some(given) = prepare(given, Unassigned::Allowed) else {
            return false;
        };
        let known = kept.is_some();
        let kept = kept.map_or_else(
            || Some(given.clone()),
            |kept| prepare(kept, Unassigned::Refused),
        );
        kept.is_some_and(|kept| (kept.as_bytes().ct_eq(given.as_bytes())).into()) && known
    }

    /// Whether SASLprep (RFC 4013) allows it, as a stored string: SCRAM and PLAIN can do nothing with another.
    pub fn is_preparable(&self) -> bool {
        saslprep(self.as_str(), Unassigned::Refused).is_ok()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Copies the text; what it was copied from is not wiped.
impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Password::new("secret")), "Password(…)");
    }

    #[test]
    fn what_saslprep_does_not_allow_is_known_before() {
        for (text, want) in [
            ("secret", true),
            ("I\u{ad}X", true),
            ("\u{7}", false),
            ("\u{1f511}", false),
            ("\u{627}1", false),
        ] {
            assert_eq!(
                Password::new(text).is_preparable(),
                want,
                "{}",
                text.escape_unicode()
            );
        }
    }

    #[test]
    fn equal_texts_are_equal() {
        assert_eq!(Password::new("secret"), Password::new("secret"));
        assert_eq!(
            Password::from("secret"),
            Password::from("secret".to_owned())
        );
        assert_ne!(Password::new("secret"), Password::new("Secret"));
        assert_ne!(Password::new("secret"), Password::new("secret "));
    }
}
