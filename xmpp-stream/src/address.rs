//! Addresses (RFC 7622), prepared once where they enter.
//!
//! Domains are the same if their A-labels are (RFC 5890 §2.3.2.1), whichever form they came in.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use crate::precis;

/// A text that is not an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a valid XMPP address")]
pub struct BadAddress;

/// A prepared domainpart (RFC 7622 §3.2). Cheap to clone; compared by its A-labels.
#[derive(Clone)]
pub struct Domain {
    ascii: Arc<str>,
    /// Only where it differs.
    unicode: Option<Arc<str>>,
    is_ip: bool,
}

impl Domain {
    /// Prepares a domainpart: a domain name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let ascii = prepare(text)?;
        let is_ip = ascii.starts_with('[') || ascii.parse::<Ipv4Addr>().is_ok();
        let unicode = if !is_ip && ascii.split('.').any(|label| label.starts_with("xn--")) {
            let (unicode, result) =
                Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
            result.map_err(|_| BadAddress)?;
            Some(unicode.into())
        } else {
            None
        };
        Ok(Self {
            ascii: ascii.into(),
            unicode,
            is_ip,
        })
    }

    /// With U-labels, as it is put on the wire (RFC 7622 §3.2.1).
    pub fn as_str(&self) -> &str {
        self.unicode.as_ref().unwrap_or(&self.ascii)
    }

    /// With A-labels: for DNS, TLS and certificates.
    pub fn ascii(&self) -> &str {
        &self.ascii
    }

    /// Is it an address and not a name?
    pub fn is_ip(&self) -> bool {
        self.is_ip
    }

    /// Does this text, as found on the wire, name this domain? Costs nothing where it is the same
    /// text.
    pub fn is_named_by(&self, text: &str) -> bool {
        text == &*self.ascii
            || self.unicode.as_deref() == Some(text)
            || prepare(text).is_ok_and(|ascii| ascii == *self.ascii)
    }

    /// Is this an address of the domain, and spelt as it should be? Costs little where it is and is ASCII.
    pub fn spelling(&self, address: &str) -> Spelling {
        let (local, domain, resource) = split_jid(address);
        let same = domain == self.as_str();
        if same && local.is_none_or(is_plain_local) && resource.is_none_or(is_plain_resource) {
            return Spelling::Prepared;
        }
        if !same && !self.is_named_by(domain) {
            return Spelling::Elsewhere;
        }
        match Jid::parse(address) {
            Ok(jid) if jid.as_str() == address => Spelling::Prepared,
            Ok(jid) => Spelling::Other(jid),
            Err(BadAddress) => Spelling::Malformed,
        }
    }
}

/// How an address is spelt that is held against a domain ([`Domain::spelling`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// It is an address of the domain, and its own prepared form (RFC 7622 §3).
    Prepared,
    /// It is an address of the domain, and this is its prepared form.
    Other(Jid),
    /// It is none of this domain, whatever else it may be.
    Elsewhere,
    /// It names the domain, but is no address.
    Malformed,
}

/// Surely a localpart, and its own prepared form (RFC 7622 §3.3).
fn is_plain_local(text: &str) -> bool {
    is_local_in_ascii(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_local_in_ascii(text: &str) -> bool {
    const FORBIDDEN: &[u8] = b"\"&'/:<>@";
    (1..=precis::LONGEST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !FORBIDDEN.contains(&byte))
}

/// Surely a resourcepart, and its own prepared form (RFC 7622 §3.4).
fn is_plain_resource(text: &str) -> bool {
    (1..=precis::LONGEST).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// The A-label form.
fn prepare(text: &str) -> Result<Cow<'_, str>, BadAddress> {
    if let Some(address) = text.strip_prefix('[') {
        return literal(address).ok_or(BadAddress);
    }
    // RFC 7622 §3.2: a final dot is stripped.
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.parse::<Ipv4Addr>().is_ok() {
        return Ok(Cow::Borrowed(text));
    }
    let mut lowered = Cow::Borrowed(text);
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        lowered = Cow::Owned(text.to_ascii_lowercase());
    }
    if lowered.is_ascii() && !lowered.split('.').any(|label| label.starts_with("xn--")) {
        return if is_host(&lowered) {
            Ok(lowered)
        } else {
            Err(BadAddress)
        };
    }
    if lowered.contains(is_ignored) {
        return Err(BadAddress);
    }
    let ascii = Uts46::new()
        .to_ascii(
            lowered.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::Check,
            DnsLength::Ignore,
        )
        .map_err(|_| BadAddress)?;
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
    if is_host(ascii) {
        Ok(Cow::Owned(ascii.to_owned()))
    } else {
        Err(BadAddress)
    }
}

/// UTS 46 drops these; IDNA 2008 has no place for them (RFC 5892 §2.3), and RFC 5895 maps none of them away: a name that
/// shows as another one is none.
fn is_ignored(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Letters, digits, hyphens and (as in `_xmpp.example`, which exists) underscores; no empty label,
/// none of more than 63 bytes, 253 in all (RFC 1035 §2.3.4).
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// What follows `[`: an IPv6 address, perhaps with a zone (RFC 6874 §2).
fn literal(text: &str) -> Option<Cow<'static, str>> {
    let inner = text.strip_suffix(']')?;
    let (address, zone) = match inner.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (inner, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    match zone {
        None => Some(format!("[{address}]").into()),
        Some(zone) => {
            let good = !zone.is_empty()
                && zone.len() <= 64
                && zone
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            good.then(|| format!("[{address}%{zone}]").into())
        }
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.ascii == other.ascii
    }
}

impl Eq for Domain {}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.ascii.cmp(&other.ascii)
    }
}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ascii.hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for Domain {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        Self::parse(text)
    }
}

/// Splits an address into localpart, domainpart and resourcepart without preparing them
/// (RFC 7622 §3.1): the resource begins after the first `/`, the domain after the first `@` before
/// that.
///
/// ```
/// use xmpp_stream::split_jid;
///
/// assert_eq!(split_jid("a@b/c@d/e"), (Some("a"), "b", Some("c@d/e")));
/// assert_eq!(split_jid("b"), (None, "b", None));
/// ```
pub fn split_jid(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    match bare.split_once('@') {
        Some((local, domain)) => (Some(local), domain, resource),
        None => (None, bare, resource),
    }
}

/// A prepared address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    text: String,
    local: Option<usize>,
    domain: Domain,
    resource: Option<usize>,
}

impl Jid {
    /// Prepares an address (RFC 7622 §3).
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let (local, domain, resource) = split_jid(text);
        let domain = Domain::parse(domain)?;
        let mut prepared = String::with_capacity(text.len());
        let local = match local {
            None => None,
            Some(local) => {
                prepared.push_str(&prepare_local(local)?);
                let end = prepared.len();
                prepared.push('@');
                Some(end)
            }
        };
        prepared.push_str(domain.as_str());
        let resource = match resource {
            None => None,
            Some(resource) => {
                prepared.push('/');
                let start = prepared.len();
                prepared.push_str(&prepare_resource(resource)?);
                Some(start)
            }
        };
        Ok(Self {
            text: prepared,
            local,
            domain,
            resource,
        })
    }

    /// The localpart.
    pub fn local(&self) -> Option<&str> {
        self.local.and_then(|end| self.text.get(..end))
    }

    /// The domainpart.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The resourcepart.
    pub fn resource(&self) -> Option<&str> {
        self.resource.and_then(|start| self.text.get(start..))
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// RFC 7622 §3.3.
fn prepare_local(text: &str) -> Result<Cow<'_, str>, BadAddress> {
    match (text.is_ascii(), is_local_in_ascii(text)) {
        (true, true) if is_plain_local(text) => Ok(text.into()),
        (true, true) => Ok(text.to_ascii_lowercase().into()),
        (true, false) => Err(BadAddress),
        (false, _) => precis::localpart(text).map(Cow::Owned).ok_or(BadAddress),
    }
}

/// RFC 7622 §3.4.
fn prepare_resource(text: &str) -> Result<Cow<'_, str>, BadAddress> {
    match (text.is_ascii(), is_plain_resource(text)) {
        (true, true) => Ok(text.into()),
        (true, false) => Err(BadAddress),
        (false, _) => precis::resourcepart(text).map(Cow::Owned).ok_or(BadAddress),
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl FromStr for Jid {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        Self::parse(text)
    }
}
