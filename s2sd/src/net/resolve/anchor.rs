//! The keys that DNSSEC begins with (RFC 4033 §2, "Trust Anchor"): the root's, or those in `dns.trust_anchor`.

use std::{fs, path::Path};

use hickory_resolver::proto::{
    dnssec::{TrustAnchors, Verifier as _},
    rr::{LowerName, Name},
    serialize::txt::{ParseError, trust_anchor},
};

/// Keys that s2sd believes without a proof.
pub(super) struct Anchors {
    pub(super) keys: TrustAnchors,
    /// The zones that they are of. Never empty.
    pub(super) zones: Vec<Name>,
}

impl Default for Anchors {
    /// IANA's keys of the root, as the library has them.
    fn default() -> Self {
        Self {
            keys: TrustAnchors::default(),
            zones: vec![Name::root()],
        }
    }
}

impl Anchors {
    /// Reads a file of DNSKEY records as zone files have them, and as `unbound-anchor` writes it.
    pub(super) fn load(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let entries = trust_anchor::Parser::new(text)
            .parse()
            .map_err(|error| match error {
                ParseError::UnsupportedRecordType(kind) => {
                    format!("a {kind} record cannot be a trust anchor here, a DNSKEY record can")
                }
                other => format!("it cannot be understood: {other}"),
            })?;
        let (mut keys, mut zones) = (TrustAnchors::empty(), Vec::new());
        for entry in entries {
            let trust_anchor::Entry::DNSKEY(record) = entry else {
                continue;
            };
            let algorithm = record.data().algorithm();
            if !algorithm.is_supported() {
                return Err(format!(
                    "a key in it is of the algorithm {}, which is not known here",
                    u8::from(algorithm)
                ));
            }
            let key = record.data().key();
            let key = key.map_err(|error| format!("a key in it cannot be used: {error}"))?;
            keys.insert_with_name(&*key, LowerName::new(record.name()));
            if !zones.contains(record.name()) {
                zones.push(record.name().clone());
            }
        }
        match zones.is_empty() {
            true => Err("it has no DNSKEY record".to_owned()),
            false => Ok(Self { keys, zones }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";

    fn zones(text: &str) -> Result<Vec<String>, String> {
        let anchors = Anchors::parse(text)?;
        Ok(anchors.zones.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keys_are_read_as_zone_files_have_them() {
        let text = format!(
            "; autotrust trust anchor file\n;;id: . 1\n. IN DNSKEY {KEY} ;{{id = 3613 (ksk), size = 256b}} ;;state=2\n\
             example. 3600 IN DNSKEY {KEY}\nexample. 3600 IN DNSKEY {KEY}\n"
        );
        assert_eq!(
            zones(&text),
            Ok(vec![".".to_owned(), "example.".to_owned()])
        );
    }

    #[test]
    fn what_is_no_key_is_refused_in_words() {
        let ds =
            ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";
        for (text, want) in [
            (
                ds.to_owned(),
                "a DS record cannot be a trust anchor here, a DNSKEY record can",
            ),
            (String::new(), "it has no DNSKEY record"),
            ("; nothing\n".to_owned(), "it has no DNSKEY record"),
        ] {
            assert_eq!(zones(&text), Err(want.to_owned()));
        }
        for text in [
            ". IN DNSKEY 257 3 15 !!",
            ". IN DNSKEY",
            ". IN DNSKEY 257 3 199 AAAA",
        ] {
            let error = zones(text).unwrap_err();
            assert!(
                error.starts_with("it cannot be understood: ") || error.starts_with("a key in it "),
                "{text}: {error}"
            );
        }
    }
}
