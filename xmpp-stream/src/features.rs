//! `<stream:features/>` (RFC 6120 §4.3.2), typed.

use bytes::Bytes;

use crate::{Element, Tree, Writer, ns};

/// What the receiving side offers or demands. Features are added to XMPP all the time, so make one by [`Features::new`].
///
/// ```
/// use xmpp_stream::{DialbackFeature, Features};
///
/// let features = Features::new()
///     .with_mechanisms(["EXTERNAL"])
///     .with_dialback(DialbackFeature::with_errors());
/// assert_eq!(features.mechanisms, ["EXTERNAL"]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Features {
    /// STARTTLS is offered, and `true` if nothing else is possible before (RFC 6120 §5.3.1).
    pub starttls: Option<bool>,
    /// SASL mechanisms, as offered (RFC 6120 §6.3.3).
    pub mechanisms: Vec<String>,
    /// The channel-binding types that SASL can use here (XEP-0440), as offered.
    pub channel_bindings: Option<Vec<String>>,
    /// Dialback (XEP-0220 §2.4).
    pub dialback: Option<DialbackFeature>,
    /// Limits (XEP-0478 §3.1).
    pub limits: Option<StreamLimits>,
    /// The stream can carry stanzas in both directions (XEP-0288 §2.1).
    pub bidi: bool,
    /// Namespace and name of all others, in order.
    pub other: Vec<(String, String)>,
}

/// The dialback feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DialbackFeature {
    /// Dialback errors are understood (XEP-0220 §2.5).
    pub errors: bool,
}

/// What the receiving side is willing to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct StreamLimits {
    /// Bytes of a first-level element.
    pub max_bytes: Option<u64>,
    /// Seconds without traffic after which it closes.
    pub idle_seconds: Option<u64>,
}

impl DialbackFeature {
    /// Dialback, and its errors are understood.
    pub fn with_errors() -> Self {
        Self { errors: true }
    }

    /// Dialback, without errors.
    pub fn without_errors() -> Self {
        Self { errors: false }
    }
}

impl StreamLimits {
    /// No limits are announced.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// With this [`idle_seconds`](Self::idle_seconds).
    #[must_use]
    pub fn with_idle_seconds(mut self, seconds: u64) -> Self {
        self.idle_seconds = Some(seconds);
        self
    }

    fn read(limits: &Tree) -> Self {
        let number = |name| limits.child(ns::LIMITS, name)?.text().trim().parse().ok();
        Self {
            max_bytes: number("max-bytes"),
            idle_seconds: number("idle-seconds"),
        }
    }

    fn writer(&self) -> Writer {
        let mut element = Writer::new("limits").xmlns(ns::LIMITS);
        let numbers = [
            ("max-bytes", self.max_bytes),
            ("idle-seconds", self.idle_seconds),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                element = element.child(Writer::new(name).text(&number.to_string()));
            }
        }
        element
    }
}

/// `<bidi/>`: the side that opened the stream asks for stanzas in both directions on it (XEP-0288 §2.2).
///
/// ```
/// use xmpp_stream::{Bidi, StreamLimits};
///
/// let bidi = Bidi::new().with_limits(StreamLimits::new().with_max_bytes(262_144));
/// assert_eq!(
///     bidi.to_bytes(),
///     "<bidi xmlns='urn:xmpp:bidi'><limits xmlns='urn:xmpp:stream-limits:0'>\
///      <max-bytes>262144</max-bytes></limits></bidi>"
/// );
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Bidi {
    /// What the side that opened the stream is willing to read on it, since it sends no features (XEP-0478 §3.2).
    pub limits: Option<StreamLimits>,
}

impl Bidi {
    /// Without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces limits.
    #[must_use]
    pub fn with_limits(mut self, limits: StreamLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Reads `<bidi/>`; `None` for other elements, the stream feature of the same name among them.
    pub fn from_element(element: &Element) -> Option<Self> {
        if !element.is(ns::BIDI, "bidi") {
            return None;
        }
        let tree = element.tree();
        let limits = tree.child(ns::LIMITS, "limits").map(StreamLimits::read);
        Some(Self { limits })
    }

    /// `<bidi xmlns='urn:xmpp:bidi'/>`, with the limits in it.
    pub fn to_bytes(&self) -> Bytes {
        let mut bidi = Writer::new("bidi").xmlns(ns::BIDI);
        if let Some(limits) = self.limits {
            bidi = bidi.child(limits.writer());
        }
        bidi.finish()
    }
}

impl Features {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers STARTTLS, and demands it if `required`.
    #[must_use]
    pub fn with_starttls(mut self, required: bool) -> Self {
        self.starttls = Some(required);
        self
    }

    /// Offers these SASL mechanisms, in place of others.
    #[must_use]
    pub fn with_mechanisms(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.mechanisms = names.into_iter().map(Into::into).collect();
        self
    }

    /// Offers these channel-binding types, in place of others.
    #[must_use]
    pub fn with_channel_bindings(
        mut self,
        types: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.channel_bindings = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// Offers dialback.
    #[must_use]
    pub fn with_dialback(mut self, dialback: DialbackFeature) -> Self {
        self.dialback = Some(dialback);
        self
    }

    /// Announces limits.
    #[must_use]
    pub fn with_limits(mut self, limits: StreamLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Offers stanzas in both directions on one stream.
    #[must_use]
    pub fn with_bidi(mut self) -> Self {
        self.bidi = true;
        self
    }

    /// One more, an empty element of this namespace and name.
    #[must_use]
    pub fn with_other(mut self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        self.other.push((namespace.into(), name.into()));
        self
    }

    /// Reads `<stream:features/>`; `None` for other elements.
    pub fn from_element(element: &Element) -> Option<Self> {
        if !element.is(ns::STREAMS, "features") {
            return None;
        }
        let mut features = Self::default();
        for child in element.tree().elements() {
            match (child.namespace.as_str(), child.name.as_str()) {
                (ns::TLS, "starttls") => {
                    features.starttls = Some(child.child(ns::TLS, "required").is_some());
                }
                (ns::SASL, "mechanisms") => {
                    features.mechanisms = child
                        .children_named(ns::SASL, "mechanism")
                        .map(|mechanism| mechanism.text().trim().to_owned())
                        .collect();
                }
                (ns::SASL_CHANNEL_BINDING, "sasl-channel-binding") => {
                    let types = child.children_named(ns::SASL_CHANNEL_BINDING, "channel-binding");
                    let types = types.filter_map(|kind| kind.attr("type").map(str::to_owned));
                    features.channel_bindings = Some(types.collect());
                }
                (ns::DIALBACK_FEATURE, "dialback") => {
                    features.dialback = Some(DialbackFeature {
                        errors: child.child(ns::DIALBACK_FEATURE, "errors").is_some(),
                    });
                }
                (ns::LIMITS, "limits") => features.limits = Some(StreamLimits::read(child)),
                (ns::BIDI_FEATURE, "bidi") => features.bidi = true,
                (namespace, name) => features.other.push((namespace.into(), name.into())),
            }
        }
        Some(features)
    }

    /// `<stream:features>…</stream:features>`, for a stream that declares the prefix `stream`.
    pub fn to_bytes(&self) -> Bytes {
        let mut features = Writer::new("stream:features");
        if let Some(required) = self.starttls {
            let mut starttls = Writer::new("starttls").xmlns(ns::TLS);
            if required {
                starttls = starttls.child(Writer::new("required"));
            }
            features = features.child(starttls);
        }
        if !self.mechanisms.is_empty() {
            let mut mechanisms = Writer::new("mechanisms").xmlns(ns::SASL);
            for mechanism in &self.mechanisms {
                mechanisms = mechanisms.child(Writer::new("mechanism").text(mechanism));
            }
            features = features.child(mechanisms);
        }
        if let Some(types) = &self.channel_bindings {
            let mut offered = Writer::new("sasl-channel-binding").xmlns(ns::SASL_CHANNEL_BINDING);
            for kind in types {
                offered = offered.child(Writer::new("channel-binding").attr("type", kind));
            }
            features = features.child(offered);
        }
        if let Some(DialbackFeature { errors }) = self.dialback {
            let mut dialback = Writer::new("dialback").xmlns(ns::DIALBACK_FEATURE);
            if errors {
                dialback = dialback.child(Writer::new("errors"));
            }
            features = features.child(dialback);
        }
        if let Some(limits) = self.limits {
            features = features.child(limits.writer());
        }
        if self.bidi {
            features = features.child(Writer::new("bidi").xmlns(ns::BIDI_FEATURE));
        }
        for (namespace, name) in &self.other {
            features = features.child(Writer::new(name.as_str()).xmlns(namespace));
        }
        features.finish()
    }
}
