//! What SCRAM makes of a password: what a server keeps instead of it (RFC 5802 §3), with its text (RFC 5803), and what
//! a client keeps ([`SaltedPassword`]). It stands below the mechanisms, since [`crate::Host`] speaks of it.

mod error;
mod hash;
mod salted;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use self::error::BadScramKeys;
use self::error::check_parameters;
pub use self::hash::ScramHash;
pub(crate) use self::hash::SecretBytes;
use self::salted::ProvingKeys;
pub use self::salted::SaltedPassword;
pub(crate) use self::salted::prepare;
use crate::Password;

/// How many iterations of the hash are enough, and how many are too many.
///
/// Below the lower bound, who listens guesses passwords quickly; above the upper one, the peer has us compute for
/// minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IterationBounds {
    /// The fewest that are accepted.
    pub min: u32,
    /// The most that are accepted.
    pub max: u32,
}

impl IterationBounds {
    /// Whether this count is within.
    pub fn contains(&self, iterations: u32) -> bool {
        (self.min..=self.max).contains(&iterations)
    }
}

impl Default for IterationBounds {
    /// From 4096, what RFC 5802 §5.1 asks servers to announce at least, to a million: about a second.
    fn default() -> Self {
        Self {
            min: 4096,
            max: 1_000_000,
        }
    }
}

/// What a server needs to know of a password for SCRAM, and nothing more: `StoredKey` and `ServerKey` with the salt
/// and the iteration count they were made with.
///
/// Who steals it cannot log in with it (but can guess passwords, and can pretend to be this server). Its memory is
/// wiped and `Debug` shows none of it.
#[derive(Clone)]
pub struct ScramKeys {
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: SecretBytes,
    server_key: SecretBytes,
}

impl ScramKeys {
    /// From a password. Computes as long as `iterations` says.
    ///
    /// The salt should be random, at least 16 bytes, and another one for every account.
    pub fn derive(
        hash: ScramHash,
        password: &Password,
        salt: &[u8],
        iterations: u32,
    ) -> Result<Self, BadScramKeys> {
        SaltedPassword::derive(hash, password, salt, iterations).map(|salted| Self::of(&salted))
    }

    /// From a salted password, where that is what was kept.
    pub fn of(salted: &SaltedPassword) -> Self {
        let ProvingKeys {
            stored_key,
            server_key,
            ..
        } = salted.keys();
        Self {
            hash: salted.hash,
            salt: salted.salt.clone(),
            iterations: salted.iterations,
            stored_key,
            server_key,
        }
    }

    /// From the keys themselves, as a database may hold them.
    pub fn new(
        hash: ScramHash,
        salt: &[u8],
        iterations: u32,
        stored_key: &[u8],
        server_key: &[u8],
    ) -> Result<Self, BadScramKeys> {
        check_parameters(salt, iterations)?;
        if [stored_key, server_key]
            .iter()
            .any(|key| key.len() != hash.length())
        {
            return Err(BadScramKeys::Encoding);
        }
        Ok(Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: Zeroizing::new(stored_key.to_vec()),
            server_key: Zeroizing::new(server_key.to_vec()),
        })
    }

    /// Reads the form of RFC 5803 (`SCRAM-SHA-256$4096:SALT$STORED-KEY:SERVER-KEY`, also what PostgreSQL keeps), with
    /// the default bounds for the iteration count.
    pub fn parse(text: &str) -> Result<Self, BadScramKeys> {
        Self::parse_within(text, IterationBounds::default())
    }

    /// Reads the form of RFC 5803, with these bounds: its §3 warns of counts that are too high.
    pub fn parse_within(text: &str, bounds: IterationBounds) -> Result<Self, BadScramKeys> {
        // RFC 3112 §3 allows spaces around the parts.
        let mut parts = text.split('$').map(|part| part.trim_matches(' '));
        let (Some(scheme), Some(info), Some(value), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadScramKeys::Form);
        };
        let hash = ScramHash::ALL
            .into_iter()
            .find(|hash| hash.mechanism() == scheme)
            .ok_or(BadScramKeys::Hash)?;
        let (count, salt) = info.split_once(':').ok_or(BadScramKeys::Form)?;
        let (stored_key, server_key) = value.split_once(':').ok_or(BadScramKeys::Form)?;
        let iterations = positive_number(count)
            .ok_or(BadScramKeys::Form)?
            .filter(|count| bounds.contains(*count))
            .ok_or(BadScramKeys::Iterations {
                min: bounds.min,
                max: bounds.max,
            })?;
        let decode = |text: &str| {
            STANDARD
                .decode(text)
                .map(Zeroizing::new)
                .map_err(|_| BadScramKeys::Encoding)
        };
        Self::new(
            hash,
            &decode(salt)?,
            iterations,
            &decode(stored_key)?,
            &decode(server_key)?,
        )
    }

    /// Writes the form of RFC 5803. To be kept like a password; hence no `Display`.
    pub fn to_text(&self) -> Zeroizing<String> {
        let encode = |bytes: &[u8]| Zeroizing::new(STANDARD.encode(bytes));
        let (stored_key, server_key) = (encode(&self.stored_key), encode(&self.server_key));
        Zeroizing::new(format!(
            "{}${}:{}${}:{}",
            self.hash.mechanism(),
            self.iterations,
            STANDARD.encode(&self.salt),
            stored_key.as_str(),
            server_key.as_str(),
        ))
    }

    /// Whether this is the password they were made from. Computes as long as the iteration count says.
    ///
    /// For PLAIN on a server that keeps no passwords; the bounds of the count are the business of who stored it.
    pub fn is_of(&self, password: &Password) -> bool {
        Self::derive(self.hash, password, &self.salt, self.iterations)
            .is_ok_and(|keys| keys == *self)
    }

    /// The hash function.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The iteration count.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(crate) fn stored_key(&self) -> &[u8] {
        &self.stored_key
    }

    pub(crate) fn server_key(&self) -> &[u8] {
        &self.server_key
    }
}

impl PartialEq for ScramKeys {
    fn eq(&self, other: &Self) -> bool {
        let secrets =
            self.stored_key.ct_eq(&other.stored_key) & self.server_key.ct_eq(&other.server_key);
        self.hash == other.hash
            && self.salt == other.salt
            && self.iterations == other.iterations
            && bool::from(secrets)
    }
}

impl Eq for ScramKeys {}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScramKeys({}, {} iterations)",
            self.hash.mechanism(),
            self.iterations
        )
    }
}

/// With which salt and count keys would be made for a name that has none: the argument of [`crate::Host::scram_keys`].
/// An unknown name shows the peer exactly these.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScramParameters {
    /// The hash function of the mechanism.
    pub hash: ScramHash,
    /// The salt: the same one each time for the same name, if [`crate::ServerOptions::secret`] is set.
    pub salt: Vec<u8>,
    /// The iteration count: [`crate::ServerOptions::iterations`].
    pub iterations: u32,
}

impl ScramParameters {
    /// Makes keys from a password. Computes as long as the count says.
    pub fn derive(&self, password: &Password) -> Result<ScramKeys, BadScramKeys> {
        ScramKeys::derive(self.hash, password, &self.salt, self.iterations)
    }
}

/// `posit-number = %x31-39 *DIGIT`; the inner `None` if it is one, but too large to count.
pub(crate) fn positive_number(text: &str) -> Option<Option<u32>> {
    let well_formed = text.starts_with(|first: char| matches!(first, '1'..='9'))
        && text.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 §3, as PostgreSQL and LDAP would keep it.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_text_of_rfc_5803() {
        let keys = ScramKeys::parse(PENCIL).unwrap();
        let made = ScramKeys::derive(
            ScramHash::Sha256,
            &Password::new("pencil"),
            keys.salt(),
            4096,
        )
        .unwrap();
        assert_eq!(keys, made);
        assert!(keys.is_of(&Password::new("pencil")));
        assert!(!keys.is_of(&Password::new("pencil2")));
        assert!(!keys.is_of(&Password::new("\u{7}")));
        assert_eq!(made.to_text().as_str(), PENCIL);
        // A key that is another is another.
        let other = ScramKeys::parse(&PENCIL.replace(":wfPL", ":wfPM")).unwrap();
        assert!(!other.is_of(&Password::new("pencil")));
    }

    #[track_caller]
    fn check(text: &str, want: BadScramKeys) {
        assert_eq!(ScramKeys::parse(text), Err(want), "{text}");
    }

    #[test]
    fn what_is_not_of_that_form_is_refused() {
        use BadScramKeys::*;
        let spaced = PENCIL.replace('$', " $ ");
        assert_eq!(ScramKeys::parse(&spaced), ScramKeys::parse(PENCIL));
        let bounds = Iterations {
            min: 4096,
            max: 1_000_000,
        };
        check("", Form);
        check("SCRAM-SHA-256$4096:c2FsdA==", Form);
        check(&format!("{PENCIL}$"), Form);
        check(&PENCIL.replace("4096:", "4096,"), Form);
        check(&PENCIL.replace("4096", "04096"), Form);
        check(&PENCIL.replace("4096", "-4096"), Form);
        check(&PENCIL.replace("4096", "+4096"), Form);
        check(&PENCIL.replace("4096", ""), Form);
        check(&PENCIL.replace("4096", "4095"), bounds);
        check(&PENCIL.replace("4096", "1000001"), bounds);
        check(&PENCIL.replace("4096", "99999999999999999999"), bounds);
        check(&PENCIL.replace("SHA-256", "SHA-1"), Encoding);
        check(&PENCIL.replace("SHA-256", "SHA-256-PLUS"), Hash);
        check(&PENCIL.replace("SHA-256", "MD5"), Hash);
        check(&PENCIL.replace("gQ==", "gQ="), Encoding);
        check(&PENCIL.replace("gQ==", "gR=="), Encoding);
        check(&PENCIL.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""), Encoding);
        check(&PENCIL.replace("=:", ":"), Encoding);
        let wide = IterationBounds { min: 1, max: 5000 };
        let weak = PENCIL.replace("4096", "1");
        assert_eq!(
            ScramKeys::parse_within(&weak, wide).unwrap().iterations(),
            1
        );
    }

    #[test]
    fn keys_are_not_made_from_nothing() {
        let pencil = Password::new("pencil");
        let derive = |password: &Password, salt: &[u8], iterations| {
            ScramKeys::derive(ScramHash::Sha1, password, salt, iterations).unwrap_err()
        };
        assert_eq!(derive(&pencil, b"", 4096), BadScramKeys::Encoding);
        assert!(matches!(
            derive(&pencil, b"salt", 0),
            BadScramKeys::Iterations { .. }
        ));
        assert_eq!(
            derive(&Password::new("a\u{1f511}"), b"salt", 1),
            BadScramKeys::Password
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = ScramKeys::parse(PENCIL).unwrap();
        assert_eq!(
            format!("{keys:?}"),
            "ScramKeys(SCRAM-SHA-256, 4096 iterations)"
        );
    }
}
