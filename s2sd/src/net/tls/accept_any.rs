//! A handshake that accepts any certificate, and none, in both roles.
//!
//! It still proves possession: it checks the signature over the handshake, so the peer holds the key of the certificate
//! it shows. s2sd judges the certificate afterwards (`trust.rs`), because a handshake cannot fall back to dialback, and
//! because the receiving side does not yet know which domain the peer will assert.
//!
//! For the same reason only the key is taken out of the certificate here. The library's own check reads all of it, and
//! refuses what it would not believe either: an X.509 version 1 certificate, or a critical extension that it does not
//! know. Such a certificate proves nothing by its issuer, but a TLSA record can still name it, the configuration can
//! have it among the roots, and under `verify = "dialback"` the stream goes on without it.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::{Any, Class, FromDer as _};

#[derive(Debug)]
pub(super) struct AcceptAny(pub(super) Arc<CryptoProvider>);

/// The key of the certificate. Nothing after it is read: a handshake takes certificates of any size.
fn public_key<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    spki(certificate)
        .map(SubjectPublicKeyInfoDer::from)
        .ok_or_else(|| CertificateError::BadEncoding.into())
}

/// RFC 5280 §4.1: it follows serialNumber, signature, issuer, validity and subject, and before them there may be a version.
fn spki(certificate: &[u8]) -> Option<&[u8]> {
    const BEFORE: usize = 5;
    let inside = |der| Any::from_der(der).ok().map(|(_, any)| any.data);
    let mut rest = inside(inside(certificate)?)?;
    let (after, first) = Any::from_der(rest).ok()?;
    if first.class() == Class::ContextSpecific {
        rest = after;
    }
    for _ in 0..BEFORE {
        (rest, _) = Any::from_der(rest).ok()?;
    }
    let (after, _) = Any::from_der(rest).ok()?;
    rest.get(..rest.len() - after.len())
}

impl AcceptAny {
    /// RFC 5246 §7.4.1.4.1: a pair of hash and signature names no curve, so several algorithms may be meant by one scheme.
    fn verify_1_2(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(certificate)?;
        let bad = |_| Error::from(CertificateError::BadEncoding);
        let key = RawPublicKeyEntity::try_from(&key).map_err(bad)?;
        let mapping = self.0.signature_verification_algorithms.mapping.iter();
        let meant = mapping.filter(|(scheme, _)| *scheme == signature.scheme);
        for algorithm in meant.flat_map(|(_, algorithms)| *algorithms) {
            match key.verify_signature(*algorithm, message, signature.signature()) {
                Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
                Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
                Err(_) => return Err(CertificateError::BadSignature.into()),
            }
        }
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }
}

impl ClientCertVerifier for AcceptAny {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_1_2(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(certificate)?;
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}
