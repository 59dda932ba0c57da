//! POSH documents (RFC 7711).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::CertificateDer;
use s2sd::trust::posh::Document;
use sha2::{Digest as _, Sha256, Sha512};

use super::{Bytes, Reached};

const CERTIFICATE: &[u8] = b"a certificate";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A document is read or refused, holds for a day at most, and speaks for a certificate only with its hash in it.
pub(crate) fn posh(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    read(data, &mut reached);
    // Deeper, for who does not know the names.
    let mut bytes = Bytes(data);
    let hashes = [
        STANDARD.encode(Sha256::digest(CERTIFICATE)),
        STANDARD.encode(Sha512::digest(CERTIFICATE)),
        STANDARD.encode(Sha256::digest(b"another")),
        "AAAA".to_owned(),
        String::from_utf8_lossy(bytes.some()).into_owned(),
    ];
    let mut fingerprints = Vec::new();
    let count = match bytes.byte() {
        few @ ..200 => few % 3,
        many => many % 70,
    };
    for _ in 0..count {
        let (name, hash) = (*bytes.of(&["sha-256", "sha-512", "md5"]), bytes.of(&hashes));
        fingerprints.push(serde_json::json!({ name: hash }));
    }
    let expires = *bytes.of(&[0u64, 1, 3600, u64::MAX]);
    let mut document = serde_json::Map::new();
    if !bytes.byte().is_multiple_of(4) {
        document.insert("fingerprints".to_owned(), fingerprints.into());
    }
    if bytes.byte().is_multiple_of(4) {
        let url = String::from_utf8_lossy(bytes.some()).into_owned();
        document.insert("url".to_owned(), url.into());
    }
    document.insert("expires".to_owned(), expires.into());
    read(
        serde_json::Value::from(document).to_string().as_bytes(),
        &mut reached,
    );
    reached
}

fn read(text: &[u8], reached: &mut Reached) {
    match Document::parse(text) {
        Ok(Document::Fingerprints(fingerprints)) => {
            assert!(fingerprints.lifetime() <= DAY && !fingerprints.lifetime().is_zero());
            reached.insert("fingerprints");
            if fingerprints.have(&CertificateDer::from(CERTIFICATE)) {
                let text = String::from_utf8_lossy(text);
                let hash256 = STANDARD.encode(Sha256::digest(CERTIFICATE));
                let hash512 = STANDARD.encode(Sha512::digest(CERTIFICATE));
                let has = |hash: &str| text.contains(hash.trim_end_matches('='));
                // JSON may write `/` and every other character in other ways.
                assert!(
                    has(&hash256) || has(&hash512) || text.contains('\\'),
                    "{text}"
                );
                reached.insert("speaks for it");
            }
        }
        Ok(Document::Reference { lifetime, .. }) => {
            assert!(lifetime <= DAY && !lifetime.is_zero());
            reached.insert("reference");
        }
        Err(why) => {
            assert!(!why.to_string().is_empty());
            reached.insert("refused");
        }
    }
}
