//! What an attacker has: addresses of one network, a domain with its DNS and a certificate, and servers elsewhere.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::{
    peer::Peer,
    process::Process,
    tls::TlsIdentity,
    wire::{Event, Wire},
    world::World,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{JoinHandle, JoinSet},
};
use xmpp_stream::ns;

use crate::HERE;

/// An attack, which ends by itself or is ended.
pub(crate) type Attack =
    for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) process: Process,
    identity: Arc<TlsIdentity>,
    made: Arc<AtomicUsize>,
    elsewhere: Arc<AtomicUsize>,
    servers: Vec<JoinHandle<()>>,
}

/// What one connection of the attacker's needs.
#[derive(Clone)]
pub(crate) struct Attacker {
    at: SocketAddr,
    identity: Arc<TlsIdentity>,
    made: Arc<AtomicUsize>,
}

/// What a server elsewhere does with who comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Takes the connection, and says nothing.
    Silent,
    /// Closes the connection.
    Closes,
}

impl Stage {
    pub(crate) fn new(world: World, process: Process) -> anyhow::Result<Self> {
        let leaf = Leaf::domain("evil.test").dns("*.evil.test");
        let identity = Arc::new(TlsIdentity::from(&world.issue(&leaf)));
        Ok(Self {
            world,
            process,
            identity,
            made: Arc::default(),
            elsewhere: Arc::default(),
            servers: Vec::new(),
        })
    }

    pub(crate) fn attacker(&self) -> Attacker {
        Attacker {
            at: self.process.s2s,
            identity: Arc::clone(&self.identity),
            made: Arc::clone(&self.made),
        }
    }

    /// Connections that the attacker made.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::Acquire)
    }

    /// Connections that the daemon made to elsewhere.
    pub(crate) fn elsewhere(&self) -> usize {
        self.elsewhere.load(Ordering::Acquire)
    }

    /// Connections that nobody took, and that were counted in another way.
    pub(crate) fn seen_elsewhere(&self, more: usize) {
        self.elsewhere.fetch_add(more, Ordering::AcqRel);
    }

    pub(crate) async fn warm_up(&mut self) -> anyhow::Result<()> {
        let attacker = self.attacker();
        for n in 0..8 {
            attacker.proved("evil.test", n).await?;
        }
        self.made.store(0, Ordering::Release);
        Ok(())
    }

    /// A server elsewhere, on this address and port, that counts who comes.
    pub(crate) async fn listens(
        &mut self,
        at: (Ipv4Addr, u16),
        does: Elsewhere,
    ) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        let count = Arc::clone(&self.elsewhere);
        self.servers.push(tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::AcqRel);
                if does == Elsewhere::Silent {
                    held.push(stream);
                }
            }
        }));
        Ok(at)
    }

    /// The zone leads there for every domain below this one.
    pub(crate) fn lead_all(&mut self, above: &str, at: SocketAddr) {
        let host = format!("host.at.{above}");
        self.world.change_zone(|zone| {
            zone.srv(&format!("*.{above}"), 0, 0, at.port(), &host)
                .address(&host, at.ip())
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

/// The attacker's addresses are of one network.
pub(crate) fn source(nth: usize) -> Ipv4Addr {
    let last = u8::try_from(nth % 250).unwrap_or_default();
    Ipv4Addr::new(127, 66, 0, last + 1)
}

impl Attacker {
    /// Another certificate.
    pub(crate) fn showing(self, identity: TlsIdentity) -> Self {
        let identity = Arc::new(identity);
        Self { identity, ..self }
    }

    /// Where it is, for one who connects in another way.
    pub(crate) fn at(&self) -> SocketAddr {
        self.made.fetch_add(1, Ordering::AcqRel);
        self.at
    }

    pub(crate) async fn connect(&self, nth: usize) -> anyhow::Result<Peer> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((source(nth), 0).into())?;
        self.made.fetch_add(1, Ordering::AcqRel);
        let stream = socket.connect(self.at).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Peer::over(Wire::over(stream)))
    }

    /// Up to the features.
    pub(crate) async fn open(&self, from: &str, nth: usize) -> anyhow::Result<Peer> {
        let mut peer = self.connect(nth).await?;
        peer.open(from, HERE).await?;
        Ok(peer)
    }

    /// Up to the handshake, with or without a certificate.
    pub(crate) async fn tls(&self, from: &str, nth: usize, shown: bool) -> anyhow::Result<Peer> {
        let mut peer = self.open(from, nth).await?;
        let identity = shown.then_some(&*self.identity);
        peer.starttls(HERE, identity).await?;
        Ok(peer)
    }

    /// Up to where the new header of a peer that is proved is due.
    pub(crate) async fn succeeded(&self, from: &str, nth: usize) -> anyhow::Result<Peer> {
        let mut peer = self.tls(from, nth, true).await?;
        let opened = peer.open(from, HERE).await?;
        ensure!(
            opened.features.mechanisms.iter().any(|it| it == "EXTERNAL"),
            "{:?}",
            opened.features
        );
        peer.send(format!(
            "<auth xmlns='{}' mechanism='EXTERNAL'>=</auth>",
            ns::SASL
        ))
        .await?;
        peer.expect(ns::SASL, "success").await?;
        peer.restart();
        Ok(peer)
    }

    /// A proved stream.
    pub(crate) async fn proved(&self, from: &str, nth: usize) -> anyhow::Result<Peer> {
        let mut peer = self.succeeded(from, nth).await?;
        peer.open(from, HERE).await?;
        Ok(peer)
    }

    /// Many at once, a few at a time; those that were refused are left out.
    pub(crate) async fn many<T, F>(&self, count: usize, one: impl Fn(Self, usize) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        const AT_ONCE: usize = 32;
        let (mut all, mut coming) = (Vec::new(), JoinSet::new());
        for n in 0..count {
            coming.spawn(one(self.clone(), n));
            if coming.len() == AT_ONCE
                && let Some(Ok(Ok(done))) = coming.join_next().await
            {
                all.push(done);
            }
        }
        while let Some(ended) = coming.join_next().await {
            if let Ok(Ok(done)) = ended {
                all.push(done);
            }
        }
        all
    }
}

/// Reads until the stream ends, or for so long, and says how many elements came.
pub(crate) async fn hear(
    peer: &mut Peer,
    at_most: usize,
    within: Duration,
) -> anyhow::Result<usize> {
    let mut heard = 0;
    let until = tokio::time::Instant::now() + within;
    while heard < at_most {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        match peer.next_within(left).await {
            Ok(Event::Element(_)) => heard += 1,
            Ok(Event::Header(_)) => {}
            Ok(Event::Nothing | Event::Footer | Event::Closed) => break,
            Err(error) => bail!(error),
        }
    }
    Ok(heard)
}
