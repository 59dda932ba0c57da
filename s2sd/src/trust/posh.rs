//! The document that a web server publishes about certificates (POSH): RFC 7711 §3 and §6.
//!
//! Pure: the caller has fetched the document, and checked that it came from the domain. Known are SHA-256 and SHA-512;
//! fingerprints by other hash functions are ignored.

use std::{fmt, time::Duration};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256, Sha512};

/// How many fingerprints of a document count.
const MAX_FINGERPRINTS: usize = 64;
/// A document that says that it is good for a year is fetched again after a day (RFC 7711 §6).
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// RFC 7711 §3.1 has examples with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A fetched document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Document {
    /// RFC 7711 §3.1: the certificates themselves.
    Fingerprints(Fingerprints),
    /// RFC 7711 §3.2: where they are.
    Reference {
        /// The address, an `https` one if the domain means well.
        url: String,
        /// For how long that holds.
        lifetime: Duration,
    },
}

/// The certificates that a domain's servers may show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprints {
    certificates: Vec<Fingerprint>,
    lifetime: Duration,
}

/// A certificate by its hashes, one of them at least.
#[derive(Clone, PartialEq, Eq)]
struct Fingerprint {
    sha256: Option<Vec<u8>>,
    sha512: Option<Vec<u8>>,
}

/// Why a document is of no use. The text speaks of it as "the document".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Useless {
    /// It is no JSON, or no object.
    #[error("the document is no JSON object")]
    NotJson,
    /// It is neither kind, or both.
    #[error("the document has to have \"fingerprints\" or \"url\", and has neither or both")]
    Neither,
    /// It is not what RFC 7711 defines.
    #[error("\"{0}\" in the document is not what it has to be")]
    Malformed(&'static str),
    /// It has no fingerprint that we can compare with a certificate.
    #[error("no fingerprint in the document is one of SHA-256 or SHA-512")]
    NoFingerprint,
    /// It says that it does not hold (any more): RFC 7711 §3.1, §3.2.
    #[error("the document says that it has expired (\"expires\" is 0)")]
    Expired,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// It is not what RFC 7711 says, or does not hold.
    pub fn parse(text: &[u8]) -> Result<Self, Useless> {
        let Ok(Value::Object(document)) = serde_json::from_slice(text) else {
            return Err(Useless::NotJson);
        };
        match (document.get("fingerprints"), document.get("url")) {
            (Some(fingerprints), None) => {
                let Value::Array(all) = fingerprints else {
                    return Err(Useless::Malformed("fingerprints"));
                };
                let certificates = all.iter().take(MAX_FINGERPRINTS).map(Fingerprint::parse);
                let certificates: Vec<_> = certificates.collect::<Result<_, _>>()?;
                let certificates: Vec<_> = certificates.into_iter().flatten().collect();
                if certificates.is_empty() {
                    return Err(Useless::NoFingerprint);
                }
                let lifetime = lifetime(&document)?;
                Ok(Self::Fingerprints(Fingerprints {
                    certificates,
                    lifetime,
                }))
            }
            (None, Some(Value::String(url))) => Ok(Self::Reference {
                url: url.clone(),
                lifetime: lifetime(&document)?,
            }),
            (None, Some(_)) => Err(Useless::Malformed("url")),
            (None, None) | (Some(_), Some(_)) => Err(Useless::Neither),
        }
    }
}

fn lifetime(document: &Map<String, Value>) -> Result<Duration, Useless> {
    let seconds = document.get("expires").and_then(Value::as_u64);
    match seconds {
        None => Err(Useless::Malformed("expires")),
        Some(0) => Err(Useless::Expired),
        Some(seconds) => Ok(Duration::from_secs(seconds).min(LONGEST)),
    }
}

impl Fingerprint {
    /// `None`: by functions that are not known here.
    fn parse(descriptor: &Value) -> Result<Option<Self>, Useless> {
        const MALFORMED: Useless = Useless::Malformed("fingerprints");
        let Value::Object(descriptor) = descriptor else {
            return Err(MALFORMED);
        };
        let hash = |name, length| match descriptor.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => match BASE64.decode(text) {
                Ok(hash) if hash.len() == length => Ok(Some(hash)),
                _ => Err(MALFORMED),
            },
            Some(_) => Err(MALFORMED),
        };
        let sha256 = hash("sha-256", Sha256::output_size())?;
        let sha512 = hash("sha-512", Sha512::output_size())?;
        Ok((sha256.is_some() || sha512.is_some()).then_some(Self { sha256, sha512 }))
    }

    fn size(&self) -> usize {
        // Each on the heap, and what the allocator adds.
        let hash = |hash: &Option<Vec<u8>>| hash.as_ref().map_or(0, |hash| hash.capacity() + 16);
        size_of::<Self>() + hash(&self.sha256) + hash(&self.sha512)
    }

    /// All the hashes in a descriptor are of one certificate.
    fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        let is = |hash: &Option<Vec<u8>>, own: &[u8]| hash.as_ref().is_none_or(|hash| hash == own);
        is(&self.sha256, &Sha256::digest(certificate))
            && is(&self.sha512, &Sha512::digest(certificate))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.sha256.as_ref().or(self.sha512.as_ref());
        f.write_str(&BASE64.encode(hash.map_or(&[][..], Vec::as_slice)))
    }
}

impl Fingerprints {
    /// Is this certificate among them (RFC 7711 §3.3)?
    pub fn have(&self, certificate: &CertificateDer<'_>) -> bool {
        let mut all = self.certificates.iter();
        all.any(|fingerprint| fingerprint.is_of(certificate))
    }

    /// About how many bytes they take in memory.
    pub fn size(&self) -> usize {
        self.certificates.iter().map(Fingerprint::size).sum()
    }

    /// For how long they hold.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// The same, by a reference that is good for this long (RFC 7711 §6: the lower of the two).
    #[must_use]
    pub fn within(self, lifetime: Duration) -> Self {
        let lifetime = self.lifetime.min(lifetime);
        Self { lifetime, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = b"not a certificate, but bytes all the same";

    fn certificate() -> CertificateDer<'static> {
        CertificateDer::from(CERTIFICATE)
    }

    fn sha256() -> String {
        BASE64.encode(Sha256::digest(CERTIFICATE))
    }

    fn sha512() -> String {
        BASE64.encode(Sha512::digest(CERTIFICATE))
    }

    #[track_caller]
    fn fingerprints(text: &str) -> Fingerprints {
        match Document::parse(text.as_bytes()) {
            Ok(Document::Fingerprints(fingerprints)) => fingerprints,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_certificate_is_known_by_each_of_its_hashes() {
        let (one, two) = (sha256(), sha512());
        let bare = one.trim_end_matches('=');
        for descriptor in [
            format!("{{\"sha-256\":\"{one}\"}}"),
            format!("{{\"sha-256\":\"{bare}\"}}"),
            format!("{{\"sha-512\":\"{two}\",\"sha-1\":\"what\"}}"),
            format!("{{\"sha-256\":\"{one}\",\"sha-512\":\"{two}\"}}"),
            format!("{{\"sha3-256\":\"x\"}},{{\"sha-256\":\"{one}\"}}"),
        ] {
            let text = format!("{{\"fingerprints\":[{descriptor}],\"expires\":60}}");
            assert!(fingerprints(&text).have(&certificate()), "{text}");
            let other = CertificateDer::from(&b"another"[..]);
            assert!(!fingerprints(&text).have(&other), "{text}");
        }
        // Half right is wrong.
        let other = BASE64.encode(Sha512::digest(b"another"));
        let text = format!(
            "{{\"fingerprints\":[{{\"sha-256\":\"{one}\",\"sha-512\":\"{other}\"}}],\"expires\":60}}"
        );
        assert!(!fingerprints(&text).have(&certificate()));
    }

    #[test]
    fn the_example_of_the_rfc_is_understood() {
        let text = r#"{ "fingerprints": [
            { "sha-256": "4/mggdlVx8A3pvHAWW5sD+qJyMtUHgiRuPjVC48N0XQ",
              "sha-512": "25N+1hB2Vo42l9lSGqw+n3BKFhDHsyork8ou+D9B43TXeJ1J81mdQEDqm39oR/EHkPBDDG1y5+AG94Kec0xVqA==" },
            { "sha-256": "otyLADSKjRDjVpj8X7/hmCAD5C7Qe+PedcmYV7cUncE=",
              "sha-512": "MbBD+ausTGJisEXKSynROWrMfHP2xvBnmI79Pr/KXnDyLN+13Jof8/Uq9fj5HZG8Rk1E2fclcivpGdijUsvHRg==" }
        ], "expires": 806400 }"#;
        let all = fingerprints(text);
        assert_eq!(all.certificates.len(), 2);
        assert_eq!(all.lifetime(), LONGEST);
        assert_eq!(all.within(Duration::from_secs(9)).lifetime().as_secs(), 9);
        let text =
            br#"{"url":"https://hosting.example.net/.well-known/posh/spice.json","expires":86400}"#;
        let Ok(Document::Reference { url, lifetime }) = Document::parse(text) else {
            panic!("no reference");
        };
        assert_eq!(
            url,
            "https://hosting.example.net/.well-known/posh/spice.json"
        );
        assert_eq!(lifetime, LONGEST);
    }

    #[test]
    fn what_is_no_document_says_why() {
        let one = sha256();
        let good = format!("[{{\"sha-256\":\"{one}\"}}]");
        for (text, want) in [
            (String::new(), Useless::NotJson),
            ("[]".to_owned(), Useless::NotJson),
            ("[".repeat(100_000), Useless::NotJson),
            ("{\"expires\":1}".to_owned(), Useless::Neither),
            (
                format!("{{\"fingerprints\":{good},\"url\":\"https://x\",\"expires\":1}}"),
                Useless::Neither,
            ),
            (
                format!("{{\"fingerprints\":{good}}}"),
                Useless::Malformed("expires"),
            ),
            (
                format!("{{\"fingerprints\":{good},\"expires\":-1}}"),
                Useless::Malformed("expires"),
            ),
            (
                format!("{{\"fingerprints\":{good},\"expires\":1.5}}"),
                Useless::Malformed("expires"),
            ),
            (
                format!("{{\"fingerprints\":{good},\"expires\":0}}"),
                Useless::Expired,
            ),
            (
                "{\"url\":\"https://x\",\"expires\":0}".to_owned(),
                Useless::Expired,
            ),
            (
                "{\"url\":5,\"expires\":1}".to_owned(),
                Useless::Malformed("url"),
            ),
            (
                "{\"fingerprints\":[],\"expires\":1}".to_owned(),
                Useless::NoFingerprint,
            ),
            (
                "{\"fingerprints\":[{\"md5\":\"eA==\"}],\"expires\":1}".to_owned(),
                Useless::NoFingerprint,
            ),
            (
                "{\"fingerprints\":[{\"sha-256\":\"eA==\"}],\"expires\":1}".to_owned(),
                Useless::Malformed("fingerprints"),
            ),
            (
                "{\"fingerprints\":[\"x\"],\"expires\":1}".to_owned(),
                Useless::Malformed("fingerprints"),
            ),
        ] {
            let got = Document::parse(text.as_bytes());
            assert_eq!(got, Err(want), "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn of_too_many_fingerprints_the_first_count() {
        let (one, other) = (sha256(), BASE64.encode(Sha256::digest(b"another")));
        let mut all = vec![format!("{{\"sha-256\":\"{other}\"}}"); MAX_FINGERPRINTS];
        all.push(format!("{{\"sha-256\":\"{one}\"}}"));
        let text = format!("{{\"fingerprints\":[{}],\"expires\":1}}", all.join(","));
        assert!(!fingerprints(&text).have(&certificate()));
    }
}
