//! A web server on loopback that answers what it is told to: for documents that domains publish about their certificates.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, bail};
use s2sd::tools::demo::ca::Issued;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::tls;

/// What it answers, by path. Whatever is not in it is not found; what is empty is never answered.
pub type Pages = HashMap<String, String>;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct Https {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    pages: Arc<Mutex<Pages>>,
    task: JoinHandle<()>,
}

/// A whole answer with this document.
pub fn document(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A whole answer that leads elsewhere.
pub fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

impl Https {
    /// Starts one on loopback that shows this certificate.
    pub async fn start(issued: &Issued) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(tls::web_server(&issued.into())?);
        let (asked, pages) = (Arc::default(), Arc::default());
        let (log, answers) = (Arc::clone(&asked), Arc::clone(&pages));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, log, answers) =
                    (acceptor.clone(), Arc::clone(&log), Arc::clone(&answers));
                tokio::spawn(async move {
                    // A client that breaks off is the test's affair.
                    let _ = serve(&acceptor, client, &log, &answers).await;
                });
            }
        });
        Ok(Self {
            addr,
            asked,
            pages,
            task,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on this is the answer to a question for this path.
    pub fn page(&self, path: &str, answer: &str) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(path.to_owned(), answer.to_owned());
    }

    /// What was asked for, in order: `host path`.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    acceptor: &TlsAcceptor,
    client: TcpStream,
    log: &Mutex<Vec<String>>,
    pages: &Mutex<Pages>,
) -> anyhow::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let Some(("GET", rest)) = head.split_once(' ') else {
        bail!("not a question: {head}");
    };
    let path = rest.split(' ').next().unwrap_or_default();
    let host = head.lines().find_map(|line| {
        let (name, host) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("host").then_some(host)
    });
    let host = host.context("no host")?;
    let asked = format!("{host} {path}");
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);
    let answer = {
        let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.get(path).cloned()
    };
    match answer.as_deref() {
        Some("") => std::future::pending().await,
        Some(answer) => client.write_all(answer.as_bytes()).await?,
        None => {
            let nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            client.write_all(nothing.as_bytes()).await?;
        }
    }
    client.shutdown().await?;
    Ok(())
}
