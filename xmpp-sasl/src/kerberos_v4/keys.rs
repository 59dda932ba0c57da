//! Who is who, and the keys that two sides share.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::Key;

/// A Kerberos 4 principal, written `name.instance@REALM`, or `name@REALM` where the instance is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    pub(super) name: String,
    pub(super) instance: String,
    pub(super) realm: String,
}

/// The longest part of a principal: MIT's `ANAME_SZ`, `INST_SZ` and `REALM_SZ` are 40 with the NUL.
const PART_BOUND: usize = 39;

impl Principal {
    /// From its parts: up to 39 printable ASCII characters each, no `@`, and no `.` but in the realm.
    pub fn new(name: &str, instance: &str, realm: &str) -> Result<Self, BadPrincipal> {
        let plain = |part: &str| {
            part.len() <= PART_BOUND && part.bytes().all(|b| b.is_ascii_graphic() && b != b'@')
        };
        let good = [name, instance, realm].into_iter().all(plain)
            && !name.is_empty()
            && !realm.is_empty()
            && !name.contains('.')
            && !instance.contains('.');
        good.then(|| Self {
            name: name.to_owned(),
            instance: instance.to_owned(),
            realm: realm.to_owned(),
        })
        .ok_or(BadPrincipal)
    }

    /// Whether this is the principal of a service on a host: RFC 2222 §7.1 wants "service.hostname@realm", the hostname
    /// being "the first component of the host name of the server with all letters in lower case". The realm is free.
    pub fn is_service(&self, service: &str, host: &str) -> bool {
        let first = host.split('.').next().unwrap_or_default();
        self.name == service && self.instance == first.to_ascii_lowercase()
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.instance.is_empty() {
            write!(f, ".{}", self.instance)?;
        }
        write!(f, "@{}", self.realm)
    }
}

impl FromStr for Principal {
    type Err = BadPrincipal;

    fn from_str(text: &str) -> Result<Self, BadPrincipal> {
        let (who, realm) = text.split_once('@').ok_or(BadPrincipal)?;
        let (name, instance) = who.split_once('.').unwrap_or((who, ""));
        Self::new(name, instance, realm)
    }
}

/// Not a Kerberos 4 principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a principal of the form name.instance@REALM, with at most {PART_BOUND} characters in each part"
)]
pub struct BadPrincipal;

/// The key of a service, shared with one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKey {
    /// The client that may show tickets under this key.
    pub client: Principal,
    /// The service to which it shows them.
    pub service: Principal,
    /// The key version number.
    pub version: u8,
    /// The key.
    pub key: Key,
}

/// The keys that one side shares with others, and the clock that tickets are made and judged by.
///
/// As a text file, one key a line, for both directions:
///
/// ```
/// # use xmpp_sasl::kerberos_v4::Keys;
/// let keys = Keys::parse("
/// ## client                     service                         version  key (16 hexadecimal digits, odd parity)
/// xmpp.capulet@CAPULET.EXAMPLE  xmpp.montague@MONTAGUE.EXAMPLE  1        133457799bbcdff1
/// xmpp.montague@MONTAGUE.EXAMPLE  xmpp.capulet@CAPULET.EXAMPLE  1        0123456789abcdef
/// ")?;
/// assert!(keys.to("xmpp", "montague.example").is_some());
/// # Ok::<(), xmpp_sasl::kerberos_v4::BadKeys>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    keys: Vec<SharedKey>,
    clock: Clock,
}

impl Keys {
    /// From the text of a key file. What follows `#` is a comment.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut keys = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| BadKeys {
                line: index + 1,
                what,
            };
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(client) = words.next() else {
                continue;
            };
            let (Some(service), Some(version), Some(key), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err(wrong("not a client, a service, a key version and a key"));
            };
            let client = client
                .parse()
                .map_err(|_| wrong("the client is not a principal"))?;
            let service = service
                .parse()
                .map_err(|_| wrong("the service is not a principal"))?;
            let version = version
                .parse()
                .map_err(|_| wrong("the key version is not a number from 0 to 255"))?;
            let key = hexadecimal(key).ok_or(wrong("the key is not 16 hexadecimal digits"))?;
            let key = Key::new(*key).ok_or(wrong(
                "the key is not a DES key with odd parity, or a weak one",
            ))?;
            let entry = SharedKey {
                client,
                service,
                version,
                key,
            };
            keys.add(entry).map_err(wrong)?;
        }
        Ok(keys)
    }

    /// Adds a key, unless it is there already. Refused if another client has the same: each could then speak for the
    /// other.
    pub fn add(&mut self, key: SharedKey) -> Result<(), &'static str> {
        for other in &self.keys {
            if *other == key {
                return Ok(());
            }
            let same = other.key == key.key;
            if same && other.client != key.client {
                return Err("another client has the same key");
            }
            if other.client == key.client
                && other.service == key.service
                && other.version == key.version
            {
                return Err("there is another key of this version for the same two");
            }
        }
        self.keys.push(key);
        Ok(())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &SharedKey> {
        self.keys.iter()
    }

    /// Adds all keys of another table.
    pub fn extend(&mut self, other: &Self) -> Result<(), &'static str> {
        other.iter().try_for_each(|key| self.add(key.clone()))
    }

    /// The newest key for speaking to this service.
    pub fn to(&self, service: &str, host: &str) -> Option<&SharedKey> {
        self.of(service, host).max_by_key(|key| key.version)
    }

    /// The keys under which clients may show tickets to this service. Their clients are who can be authenticated.
    pub fn of(&self, service: &str, host: &str) -> impl Iterator<Item = &SharedKey> {
        self.iter()
            .filter(move |key| key.service.is_service(service, host))
    }

    /// Uses another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn hexadecimal(text: &str) -> Option<Zeroizing<[u8; 8]>> {
    let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(Zeroizing::new(number.to_be_bytes()))
}

/// Why a key file is refused. Says nothing of the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
#[non_exhaustive]
pub struct BadKeys {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Seconds since 1970, asked when a ticket is made or judged. By default the system's clock.
#[derive(Clone, Copy)]
pub struct Clock(pub fn() -> u64);

impl Clock {
    pub(super) fn now(self) -> u64 {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        })
    }
}

/// Clocks are not told apart.
impl PartialEq for Clock {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Clock {}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_read_as_they_are_written() {
        for text in ["xmpp.capulet@CAPULET.EXAMPLE", "juliet@CAPULET.EXAMPLE"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        let long = "x".repeat(40);
        for bad in [
            "",
            "xmpp",
            "@R",
            "a@",
            ".i@R",
            "a.b.c@R",
            "a@b@c",
            "a b@R",
            "ä@R",
            "a.\0@R",
            &format!("{long}@R"),
            &format!("a.{long}@R"),
            &format!("a@{long}"),
        ] {
            assert_eq!(bad.parse::<Principal>(), Err(BadPrincipal), "{bad}");
        }
    }

    #[test]
    fn a_service_is_named_by_the_first_component_of_its_host() {
        let principal: Principal = "xmpp.montague@MONTAGUE.EXAMPLE".parse().unwrap();
        assert!(principal.is_service("xmpp", "montague.example"));
        assert!(principal.is_service("xmpp", "Montague.example"));
        assert!(!principal.is_service("imap", "montague.example"));
        assert!(!principal.is_service("xmpp", "chat.montague.example"));
        assert!(!principal.is_service("xmpp", ""));
    }

    #[track_caller]
    fn refused(text: &str, line: usize, part: &str) {
        let error = Keys::parse(text).unwrap_err();
        assert_eq!(error.line, line);
        assert!(error.what.contains(part), "{error}");
        assert!(!error.to_string().contains("133457799bbcdff"), "{error}");
    }

    #[test]
    fn a_key_file_with_a_fault_is_refused_and_the_fault_named() {
        let good = "a@A b.c@B 1 133457799bbcdff1";
        assert_eq!(Keys::parse(good).unwrap().keys.len(), 1);
        assert!(Keys::parse("# nothing\n\n  \n").unwrap().is_empty());
        refused("a@A b.c@B 1", 1, "not a client");
        refused("a@A b.c@B 1 133457799bbcdff1 x", 1, "not a client");
        refused("\nA b.c@B 1 133457799bbcdff1", 2, "client");
        refused("a@A b 1 133457799bbcdff1", 1, "service");
        refused("a@A b.c@B 256 133457799bbcdff1", 1, "version");
        refused("a@A b.c@B 1 133457799bbcdff", 1, "hexadecimal");
        refused("a@A b.c@B 1 +33457799bbcdff1", 1, "hexadecimal");
        refused("a@A b.c@B 1 133457799bbcdff0", 1, "parity");
        refused("a@A b.c@B 1 0101010101010101", 1, "weak");
        refused(
            &format!("{good}\nb@A b.c@B 1 133457799bbcdff1"),
            2,
            "same key",
        );
        refused(
            &format!("{good}\na@A b.c@B 1 0123456789abcdef"),
            2,
            "version",
        );
    }

    #[test]
    fn the_newest_key_is_used() {
        let keys = Keys::parse(
            "a@A xmpp.b@B 1 133457799bbcdff1\na@A xmpp.b@B 2 0123456789abcdef\na@A xmpp.c@C 3 0123456789abcdef",
        );
        let keys = keys.unwrap();
        assert_eq!(keys.to("xmpp", "b.example").unwrap().version, 2);
        assert_eq!(keys.to("xmpp", "d.example"), None);
    }

    #[test]
    fn tables_are_joined_if_they_agree() {
        let mut one = Keys::parse("a@A xmpp.b@B 1 133457799bbcdff1").unwrap();
        let two = "c@C xmpp.b@B 1 0123456789abcdef\nb@B xmpp.c@C 1 fedcba9876543210";
        let two = Keys::parse(two).unwrap();
        for _ in 0..2 {
            assert_eq!(one.extend(&two), Ok(()));
            assert_eq!(one.iter().count(), 3);
        }
        assert_eq!(one.of("xmpp", "b.example").count(), 2);
        assert_eq!(one.of("xmpp", "c.example").count(), 1);
        let other = Keys::parse("a@A xmpp.b@B 1 fedcba9876543210").unwrap();
        assert!(one.extend(&other).is_err());
    }
}
