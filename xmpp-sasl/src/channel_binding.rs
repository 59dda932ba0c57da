//! Channel binding (RFC 5056): data of the TLS connection below that both ends see alike, and a man in the middle
//! does not. How to get the data of a connection is the caller's business; this file only names and carries them.

use std::fmt;

/// A kind of channel binding (IANA "Channel-Binding Types"), strongest first.
///
/// `tls-exporter` comes first because it is unique to the connection in every version of TLS; `tls-unique` is so in
/// TLS 1.2 with the extended master secret only; `tls-server-end-point` names nothing but the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ChannelBindingType {
    /// RFC 9266: 32 bytes of keying material with the label `EXPORTER-Channel-Binding` and an empty context.
    TlsExporter,
    /// RFC 5929 §3: the first Finished message of the handshake; not defined for TLS 1.3.
    TlsUnique,
    /// RFC 5929 §4: the server's certificate, hashed as its signature is (MD5 and SHA-1: as SHA-256).
    TlsServerEndPoint,
}

impl ChannelBindingType {
    /// All of them, strongest first.
    pub const ALL: [Self; 3] = [Self::TlsExporter, Self::TlsUnique, Self::TlsServerEndPoint];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TlsExporter => "tls-exporter",
            Self::TlsUnique => "tls-unique",
            Self::TlsServerEndPoint => "tls-server-end-point",
        }
    }

    /// The one with this registered name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ChannelBindingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What there is to bind an exchange to the connection below. Empty where that is not TLS.
///
/// `Debug` shows the types and not the data.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelBindings(Vec<(ChannelBindingType, Vec<u8>)>);

impl ChannelBindings {
    /// Nothing to bind to.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// With the data of this type too. Empty data are no data (RFC 5802 §7: `cbind-data = 1*OCTET`).
    #[must_use]
    pub fn with(mut self, kind: ChannelBindingType, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        self.0.retain(|(have, _)| *have != kind);
        if !data.is_empty() {
            self.0.push((kind, data));
            self.0.sort_by_key(|(kind, _)| *kind);
        }
        self
    }

    /// The data of this type.
    pub fn get(&self, kind: ChannelBindingType) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(have, _)| *have == kind)
            .map(|(_, data)| data.as_slice())
    }

    /// The types there are data of, strongest first.
    pub fn types(&self) -> impl Iterator<Item = ChannelBindingType> {
        self.0.iter().map(|(kind, _)| *kind)
    }

    /// Whether there is nothing to bind to.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ChannelBindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.types()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_type() {
        for kind in ChannelBindingType::ALL {
            assert_eq!(ChannelBindingType::from_name(kind.name()), Some(kind));
        }
        assert_eq!(ChannelBindingType::from_name("tls-sourdough"), None);
    }

    #[test]
    fn the_strongest_comes_first_and_empty_data_not_at_all() {
        let bindings = ChannelBindings::none()
            .with(ChannelBindingType::TlsServerEndPoint, *b"certificate")
            .with(ChannelBindingType::TlsUnique, *b"")
            .with(ChannelBindingType::TlsExporter, *b"secret");
        let types: Vec<_> = bindings.types().collect();
        assert_eq!(
            types,
            [
                ChannelBindingType::TlsExporter,
                ChannelBindingType::TlsServerEndPoint
            ]
        );
        assert_eq!(
            bindings.get(ChannelBindingType::TlsExporter),
            Some(b"secret".as_slice())
        );
        assert_eq!(bindings.get(ChannelBindingType::TlsUnique), None);
        assert_eq!(format!("{bindings:?}"), "[TlsExporter, TlsServerEndPoint]");
        let replaced = bindings.with(ChannelBindingType::TlsExporter, *b"other");
        assert_eq!(
            replaced.get(ChannelBindingType::TlsExporter),
            Some(b"other".as_slice())
        );
        assert!(!replaced.is_empty() && ChannelBindings::none().is_empty());
    }
}
