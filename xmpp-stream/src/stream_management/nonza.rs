//! The elements of stream management as types, and as they are written (XEP-0198 §3–§6; the schema is §13).

use std::fmt;

use bytes::Bytes;

use crate::{Domain, StanzaCondition, Writer, ns};

/// An element of stream management. They are no stanzas, and neither count nor are acknowledged (§1).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Nonza {
    /// Asks for stream management (§3).
    Enable(Enable),
    /// Stream management is on (§3).
    Enabled(Enabled),
    /// `<r/>`, asks for `<a/>` (§4).
    Request,
    /// `<a/>`, acknowledges stanzas (§4).
    Ack {
        /// How many stanzas were handled, modulo 2^32.
        h: u32,
    },
    /// Asks for the resumption of a stream (§5).
    Resume(Resume),
    /// The stream is resumed (§5).
    Resumed(Resumed),
    /// `<enable/>` or `<resume/>` was refused (§6).
    Failed(Failed),
}

/// `<enable/>` (§3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Enable {
    /// The stream is to be resumable (§5).
    pub resume: bool,
    /// For how many seconds it should be. More than `u32::MAX` is read as `u32::MAX`.
    pub max: Option<u32>,
}

/// `<enabled/>` (§3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Enabled {
    /// The stream's id. With `resume` there is one.
    pub id: Option<SmId>,
    /// The stream can be resumed (§5).
    pub resume: bool,
    /// For how many seconds. More than `u32::MAX` is read as `u32::MAX`.
    pub max: Option<u32>,
    /// Where to connect to resume it; the usual places come after it.
    pub location: Option<Location>,
}

/// `<resume/>` (§5).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Resume {
    /// The id of the stream.
    pub previd: SmId,
    /// How many stanzas its sender has handled, modulo 2^32.
    pub h: u32,
}

/// `<resumed/>` (§5).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Resumed {
    /// The id of the stream.
    pub previd: SmId,
    /// How many stanzas its sender has handled, modulo 2^32.
    pub h: u32,
}

/// `<failed/>` (§5, §6).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Failed {
    /// Why, where a condition of RFC 6120 §8.3.3 is there.
    pub condition: Option<StanzaCondition>,
    /// How many stanzas were handled on a stream that was known and cannot be resumed any more, modulo 2^32.
    pub h: Option<u32>,
}

/// The id of a resumable stream, the SM-ID of §5: opaque, not empty, and at most [`SmId::MAX_BYTES`] long.
///
/// It is no secret: it may resume a stream only for the entity that proved itself again (§10).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SmId(Box<str>);

impl SmId {
    /// "SHOULD NOT be longer than 4000 bytes" (§5).
    pub const MAX_BYTES: usize = 4_000;

    /// `None` if it is empty or too long.
    pub fn new(id: &str) -> Option<Self> {
        (1..=Self::MAX_BYTES)
            .contains(&id.len())
            .then(|| Self(id.into()))
    }

    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where to connect to resume a stream (§3): a name or an address, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Location {
    /// A domain name, an IPv4 address, or an IPv6 address in brackets.
    pub host: Domain,
    /// The port. Without it the port is the usual one.
    pub port: Option<u16>,
}

impl Location {
    /// The longest domainpart (RFC 7622 §3.2), a colon, and a port.
    pub const MAX_BYTES: usize = 1_023 + 6;

    /// At this host and port.
    pub fn new(host: Domain, port: Option<u16>) -> Self {
        Self { host, port }
    }

    /// Reads `host:port`, `host`, `[address]:port` (RFC 6120 §4.9.3.19).
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > Self::MAX_BYTES {
            return None;
        }
        // The colons of an IPv6 address are within its brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(number(port)?)),
            _ => (text, None),
        };
        Some(Self {
            host: Domain::parse(host).ok()?,
            port: match port {
                Some(port) => Some(u16::try_from(port).ok().filter(|port| *port > 0)?),
                None => None,
            },
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host.as_str())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Enable {
    /// Stream management without resumption.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream is to be resumable.
    #[must_use]
    pub fn with_resume(mut self) -> Self {
        self.resume = true;
        self
    }

    /// For so many seconds, at best.
    #[must_use]
    pub fn with_max(mut self, seconds: u32) -> Self {
        self.max = Some(seconds);
        self
    }
}

impl Enabled {
    /// Stream management without resumption.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream can be resumed by this id.
    #[must_use]
    pub fn with_resume(mut self, id: SmId) -> Self {
        self.id = Some(id);
        self.resume = true;
        self
    }

    /// For so many seconds.
    #[must_use]
    pub fn with_max(mut self, seconds: u32) -> Self {
        self.max = Some(seconds);
        self
    }

    /// At this place, if the peer can reach it.
    #[must_use]
    pub fn with_location(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }
}

impl Resume {
    /// The stream, and how many of its stanzas we have handled.
    pub fn new(previd: SmId, h: u32) -> Self {
        Self { previd, h }
    }
}

impl Resumed {
    /// The stream, and how many of its stanzas we have handled.
    pub fn new(previd: SmId, h: u32) -> Self {
        Self { previd, h }
    }
}

impl Failed {
    /// With this condition.
    pub fn new(condition: StanzaCondition) -> Self {
        Self {
            condition: Some(condition),
            h: None,
        }
    }

    /// So many stanzas were handled on the stream that cannot be resumed any more.
    #[must_use]
    pub fn with_h(mut self, h: u32) -> Self {
        self.h = Some(h);
        self
    }
}

impl Nonza {
    /// The element, to be written.
    pub fn to_writer(&self) -> Writer {
        match self {
            Self::Enable(Enable { resume, max }) => {
                let element = Writer::new("enable").xmlns(ns::STREAM_MANAGEMENT);
                let element = element.attr_opt("resume", resume.then_some("true"));
                element.attr_opt("max", max.map(|seconds| seconds.to_string()))
            }
            Self::Enabled(Enabled {
                id,
                resume,
                max,
                location,
            }) => Writer::new("enabled")
                .xmlns(ns::STREAM_MANAGEMENT)
                .attr_opt("id", id.as_ref().map(SmId::as_str))
                .attr_opt("resume", resume.then_some("true"))
                .attr_opt("max", max.map(|seconds| seconds.to_string()))
                .attr_opt("location", location.as_ref().map(Location::to_string)),
            Self::Request => Writer::new("r").xmlns(ns::STREAM_MANAGEMENT),
            Self::Ack { h } => Writer::new("a")
                .xmlns(ns::STREAM_MANAGEMENT)
                .attr("h", h.to_string()),
            Self::Resume(Resume { previd, h }) => resumption("resume", previd, *h),
            Self::Resumed(Resumed { previd, h }) => resumption("resumed", previd, *h),
            Self::Failed(Failed { condition, h }) => {
                let element = Writer::new("failed").xmlns(ns::STREAM_MANAGEMENT);
                let element = element.attr_opt("h", h.map(|h| h.to_string()));
                match condition {
                    Some(condition) => {
                        element.child(Writer::new(condition.name()).xmlns(ns::STANZA_ERRORS))
                    }
                    None => element,
                }
            }
        }
    }

    /// The element as bytes.
    pub fn to_bytes(&self) -> Bytes {
        self.to_writer().finish()
    }
}

fn resumption(name: &str, previd: &SmId, h: u32) -> Writer {
    Writer::new(name)
        .xmlns(ns::STREAM_MANAGEMENT)
        .attr("previd", previd.as_str())
        .attr("h", h.to_string())
}

/// Digits and nothing else. What has more of them than fit counts as the largest number.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}
