//! What the asking side advertised before the exchange, so that an exchange can show whether an attacker changed it on
//! the way (XEP-0474), and whether channel binding was on offer (RFC 5802 §6).

/// The mechanisms and the channel-binding types that were advertised, as they were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Offer {
    /// The names of the mechanisms. Empty: not known.
    pub mechanisms: Vec<String>,
    /// The channel-binding types (XEP-0440). `None`: none were advertised, which says nothing about them.
    pub channel_bindings: Option<Vec<String>>,
}

impl Offer {
    /// An offer of these mechanisms, without a list of channel-binding types.
    pub fn new(mechanisms: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            mechanisms: mechanisms.into_iter().map(Into::into).collect(),
            channel_bindings: None,
        }
    }

    /// With these channel-binding types (XEP-0440).
    #[must_use]
    pub fn with_channel_bindings(
        mut self,
        types: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.channel_bindings = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// Whether it is known what was advertised.
    pub fn is_known(&self) -> bool {
        !self.mechanisms.is_empty()
    }

    /// RFC 5802 §6: whether the asking side appears to support channel binding.
    pub(crate) fn has_plus(&self) -> bool {
        self.mechanisms.iter().any(|name| name.ends_with("-PLUS"))
    }

    /// XEP-0474 §6.1, steps 1 to 4: the string that is hashed. `None` if it is not known what was advertised.
    pub(crate) fn downgrade_protection(&self) -> Option<String> {
        let joined = |names: &[String]| {
            // "i;octet" is the order of bytes, which is that of `str`.
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.join("\u{1e}")
        };
        self.is_known().then(|| {
            let mut text = joined(&self.mechanisms);
            if let Some(types) = &self.channel_bindings {
                text.push('\u{1f}');
                text.push_str(&joined(types));
            }
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_of_xep_0474() {
        let offer = Offer::new(["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]);
        assert_eq!(
            offer.downgrade_protection().as_deref(),
            Some("SCRAM-SHA-1\u{1e}SCRAM-SHA-1-PLUS")
        );
        // The example of §6.3.
        let offer = offer.with_channel_bindings(["tls-server-end-point", "tls-exporter"]);
        assert_eq!(
            offer.downgrade_protection().as_deref(),
            Some("SCRAM-SHA-1\u{1e}SCRAM-SHA-1-PLUS\u{1f}tls-exporter\u{1e}tls-server-end-point")
        );
        // Advertised, and empty, is not the same as not advertised.
        let empty = Offer::new(["A"]).with_channel_bindings([""; 0]);
        assert_eq!(empty.downgrade_protection().as_deref(), Some("A\u{1f}"));
        assert_eq!(Offer::default().downgrade_protection(), None);
    }
}
