//! A SOCKS5 proxy that knows names which no DNS knows, and remembers what it was asked.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The proxy. Dropping it ends it.
#[derive(Debug)]
pub struct Socks {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What it knows and wants.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Where a place (`host:port`, as asked for) is.
    pub places: HashMap<String, SocketAddr>,
    /// Who may ask; nobody has to say who it is if this is empty.
    pub login: Option<(String, String)>,
}

impl Socks {
    /// Starts one on loopback.
    pub async fn start(rules: Rules) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (rules, log) = (rules.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    // A client that breaks off is the test's affair.
                    let _ = serve(client, &rules, &log).await;
                });
            }
        });
        Ok(Self { addr, asked, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The places that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    rules: &Rules,
    log: &Mutex<Vec<String>>,
) -> anyhow::Result<()> {
    ensure!(client.read_u8().await? == 5, "not SOCKS5");
    let offered = string(&mut client).await?;
    let wanted = if rules.login.is_some() { 2 } else { 0 };
    if !offered.contains(&wanted) {
        client.write_all(&[5, 0xff]).await?;
        return Ok(());
    }
    client.write_all(&[5, wanted]).await?;
    if let Some((username, password)) = &rules.login {
        ensure!(client.read_u8().await? == 1, "not RFC 1929");
        let said = (string(&mut client).await?, string(&mut client).await?);
        let good = said.0 == username.as_bytes() && said.1 == password.as_bytes();
        client.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(());
        }
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let host = match head {
        [5, 1, 0, 1] => Ipv4Addr::from(client.read_u32().await?).to_string(),
        [5, 1, 0, 3] => String::from_utf8(string(&mut client).await?)?,
        other => bail!("not understood: {other:?}"),
    };
    let place = format!("{host}:{}", client.read_u16().await?);
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(place.clone());
    let Some(addr) = rules.places.get(&place) else {
        client.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        return Ok(());
    };
    let mut server = TcpStream::connect(addr).await.context("the place")?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// As many bytes as the first one says.
async fn string(client: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}
