//! What a SASL exchange is bound to in TLS: `tls-exporter` (RFC 9266) and `tls-server-end-point` (RFC 5929 §4).
//!
//! Left out: `tls-unique`, which TLS 1.3 does not have. The exporter of TLS 1.2 binds to one session only where its
//! handshake has the extended master secret (RFC 7627; RFC 9266 §2). The library does not say whether it has: it counts
//! where we insisted on it.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use xmpp_sasl::{ChannelBindingType, ChannelBindings};

/// RFC 9266 §4.2.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What there is to bind to: the keying material exported with [`EXPORTER_LABEL`], 32 bytes and an empty context, and
/// the certificate that the server of the connection showed.
pub fn channel_bindings(
    exported: Option<[u8; 32]>,
    server: Option<&CertificateDer<'_>>,
) -> ChannelBindings {
    let mut bindings = ChannelBindings::none();
    if let Some(exported) = exported {
        bindings = bindings.with(ChannelBindingType::TlsExporter, exported);
    }
    if let Some(hash) = server.and_then(end_point) {
        bindings = bindings.with(ChannelBindingType::TlsServerEndPoint, hash);
    }
    bindings
}

/// RFC 5929 §4.1: the hash function is that of the certificate's signature, SHA-256 in place of MD5 and SHA-1, and where
/// the signature uses none of its own (Ed25519) the type is undefined.
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let hash = match SignatureAlgorithm::try_from(algorithm).ok()? {
        SignatureAlgorithm::RSASSA_PSS(parameters) => {
            hash_of_oid(&parameters.hash_algorithm_oid().to_id_string())?
        }
        _ => hash_of_signature(&algorithm.algorithm.to_id_string())?,
    };
    Some(match hash {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// RFC 8017 appendix A.2.4 (`…WithRSAEncryption`), RFC 5758 §3.2 (`ecdsa-with-…`).
fn hash_of_signature(oid: &str) -> Option<Hash> {
    match oid {
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(Hash::Sha256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Hash::Sha384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Hash::Sha512),
        _ => None,
    }
}

/// The hash functions themselves, as RSASSA-PSS names them (RFC 8017 appendix A.2.3).
fn hash_of_oid(oid: &str) -> Option<Hash> {
    match oid {
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Some(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Some(Hash::Sha512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_hashes_are_replaced_and_none_is_made_up() {
        // sha1WithRSAEncryption, ecdsa-with-SHA384, Ed25519.
        assert_eq!(
            hash_of_signature("1.2.840.113549.1.1.5"),
            Some(Hash::Sha256)
        );
        assert_eq!(hash_of_signature("1.2.840.10045.4.3.3"), Some(Hash::Sha384));
        assert_eq!(hash_of_signature("1.3.101.112"), None);
        assert_eq!(hash_of_oid("2.16.840.1.101.3.4.2.3"), Some(Hash::Sha512));
    }

    #[test]
    fn the_end_point_is_the_hash_of_the_whole_certificate() {
        let key = rcgen::KeyPair::generate().unwrap(); // ECDSA with SHA-256
        let parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let bindings = channel_bindings(Some([1; 32]), Some(certificate.der()));
        assert_eq!(
            bindings.get(ChannelBindingType::TlsServerEndPoint),
            Some(Sha256::digest(certificate.der()).as_slice())
        );
        assert_eq!(
            bindings.get(ChannelBindingType::TlsExporter),
            Some([1; 32].as_slice())
        );
        let none = channel_bindings(None, Some(&CertificateDer::from(vec![1, 2, 3])));
        assert!(none.is_empty());
    }
}
