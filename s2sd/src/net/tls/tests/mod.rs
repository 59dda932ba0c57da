//! What the tests of TLS share: domains with certificates in a directory, and handshakes over a pipe in memory.

mod files;
mod handshake;
mod written;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{ClientConfig, ServerConfig, pki_types::UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use xmpp_stream::Domain;

use super::*;
use crate::config::{CertificateFiles, Config, MinTls, Policy, ServedDomain, TrustStore};
use crate::tools::demo::ca::{Authority, Issued, Leaf, Validity};
use crate::trust::{
    BadCertificate, Because, Evidence, Judgement, PeerChain, describe, identities, judge,
};

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// A directory with certificates, a configuration that names them, and the authority that signed them.
struct TlsFixture {
    authority: Authority,
    directory: PathBuf,
    config: Config,
}

impl TlsFixture {
    fn new(domains: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("s2sd-tls-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let authority = Authority::new("root");
        let root = directory.join("root.pem");
        fs::write(&root, authority.pem()).unwrap();
        let policy = Policy {
            trust: TrustStore::Files(vec![root]),
            ..Policy::default()
        };
        let mut fixture = Self {
            authority,
            directory,
            config: Config {
                policy: Arc::new(policy),
                ..Config::default()
            },
        };
        for name in domains {
            fixture.issue(name);
            let certificate = Some(fixture.files(name));
            fixture.config.domains.push(ServedDomain {
                name: domain(name),
                certificate,
                component: None,
                contact: Vec::new(),
            });
        }
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn files(&self, name: &str) -> CertificateFiles {
        CertificateFiles {
            chain: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        }
    }

    fn write(&self, name: &str, issued: &Issued) {
        let files = self.files(name);
        fs::write(files.chain, &issued.chain_pem).unwrap();
        fs::write(files.key, &issued.key_pem).unwrap();
    }

    fn issue(&self, name: &str) {
        self.write(
            name,
            &self.authority.issue(&Leaf::domain(domain(name).ascii())),
        );
    }

    /// What was wrong when loading, without the directory.
    fn faults(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.display());
        let faults = Tls::load(&self.config).unwrap_err();
        faults
            .iter()
            .map(|fault| fault.replace(&directory, ""))
            .collect()
    }

    fn tls(&self) -> Tls {
        Tls::load(&self.config).unwrap()
    }

    fn judged(&self, tls: &Tls, chain: Option<&PeerChain>, name: &str) -> Judgement {
        let roots = tls.roots(&self.config.policy);
        judge(&Evidence::new(
            chain,
            &roots,
            &domain(name),
            UnixTime::now(),
        ))
    }
}

impl Drop for TlsFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

type Pipe = tokio::io::DuplexStream;

/// A handshake; gives both ends.
async fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> (
    std::io::Result<client::TlsStream<Pipe>>,
    std::io::Result<server::TlsStream<Pipe>>,
) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = server_name(&domain(name)).unwrap();
    tokio::join!(
        TlsConnector::from(client).connect(name, ours),
        TlsAcceptor::from(server).accept(theirs)
    )
}

/// A handshake that succeeds.
async fn shaken(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> (client::TlsStream<Pipe>, server::TlsStream<Pipe>) {
    let (client, server) = shake(client, server, name).await;
    (client.unwrap(), server.unwrap())
}
