//! TLS for scripted peers: shows what it is told to show and believes everybody. Who may be believed is the
//! business of what is tested.

use std::sync::Arc;

use anyhow::Context;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use s2sd::tools::demo::ca::Issued;

/// A certificate chain and its key.
#[derive(Debug)]
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl TlsIdentity {
    /// From PEM texts.
    pub fn from_pem(chain: &str, key: &str) -> anyhow::Result<Self> {
        Ok(Self {
            chain: CertificateDer::pem_slice_iter(chain.as_bytes())
                .collect::<Result<_, _>>()
                .context("the certificate chain is not PEM")?,
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).context("the key is not PEM")?,
        })
    }

    /// What is shown, whether or not it is a certificate that rustls would show by itself.
    fn shown(&self) -> anyhow::Result<Arc<SingleCertAndKey>> {
        let provider = aws_lc_rs::default_provider();
        let key = provider
            .key_provider
            .load_private_key(self.key.clone_key())?;
        let shown = CertifiedKey::new(self.chain.clone(), key);
        Ok(Arc::new(SingleCertAndKey::from(shown)))
    }
}

impl Clone for TlsIdentity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl From<&Issued> for TlsIdentity {
    fn from(issued: &Issued) -> Self {
        Self {
            chain: issued.chain(),
            key: issued.key(),
        }
    }
}

/// The ALPN protocol of server-to-server direct TLS (XEP-0368 §2).
const ALPN: &[u8] = b"xmpp-server";

/// For the side that connects. Without an identity it shows no certificate.
pub fn client(identity: Option<&TlsIdentity>, direct: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let trusting = Trusting::new();
    let builder = ClientConfig::builder_with_provider(trusting.provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(trusting);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.shown()?),
        None => builder.with_no_client_auth(),
    };
    if direct {
        config.alpn_protocols = vec![ALPN.to_vec()];
    }
    Ok(Arc::new(config))
}

/// For the side that listens: asks for a certificate and takes any or none.
pub fn server(identity: &TlsIdentity) -> anyhow::Result<Arc<ServerConfig>> {
    let trusting = Trusting::new();
    let mut config = ServerConfig::builder_with_provider(trusting.provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(trusting)
        .with_cert_resolver(identity.shown()?);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// For a server that asks for a certificate and breaks off over any: `version` of TLS alone.
pub fn picky(
    identity: &TlsIdentity,
    version: &'static rustls::SupportedProtocolVersion,
) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // An authority that signs nothing.
    let root = s2sd::tools::demo::ca::Authority::new("an authority of its own");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity.shown()?);
    Ok(Arc::new(config))
}

/// For a web server.
pub fn web_server(identity: &TlsIdentity) -> anyhow::Result<Arc<ServerConfig>> {
    let trusting = Trusting::new();
    let config = ServerConfig::builder_with_provider(trusting.provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Trusting {
    provider: Arc<CryptoProvider>,
}

impl Trusting {
    fn new() -> Arc<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        Arc::new(Self { provider })
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Trusting {
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
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
