//! The parameters that a handshake agreed on, for logs and pages.

use rustls::{CipherSuite, CommonState, ProtocolVersion};

use super::chain::PeerChain;

/// The version whose keys always depend on the whole handshake.
pub const TLS_1_3: &str = "TLS 1.3";

/// What a TLS connection is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFacts {
    /// `TLS 1.3` or `TLS 1.2`.
    pub version: &'static str,
    /// As IANA names it: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The key exchange: `X25519MLKEM768`, `X25519`, `secp256r1` …
    pub group: Option<String>,
}

impl std::fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)?;
        match &self.group {
            Some(group) => write!(f, " {group}"),
            None => Ok(()),
        }
    }
}

/// What became of our certificate in a handshake of an outgoing connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientAuth {
    /// The server asked for one (CertificateRequest).
    pub asked: bool,
    /// It was shown: there was one, with a key of a kind that the server takes.
    pub shown: bool,
}

/// Describes a connection after its handshake.
pub fn describe(connection: &CommonState) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TLS_1_3,
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let cipher = match connection.negotiated_cipher_suite() {
        Some(suite) => iana_name(suite.suite()),
        None => String::new(),
    };
    let group = connection
        .negotiated_key_exchange_group()
        .map(|group| format!("{:?}", group.name()));
    TlsFacts {
        version,
        cipher,
        group,
    }
}

/// rustls has the version in the names of those of TLS 1.3.
fn iana_name(suite: CipherSuite) -> String {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256".to_owned(),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384".to_owned(),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256".to_owned(),
        other => format!("{other:?}"),
    }
}

impl PeerChain {
    /// What the peer showed on this connection.
    pub fn of(connection: &CommonState) -> Option<Self> {
        connection.peer_certificates().and_then(Self::new)
    }
}
