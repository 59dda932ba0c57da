//! A fake peer: another server played word by word that does everything right. It believes every dialback key,
//! vouches for its own, and shows what stanzas came, and by which connection.

use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use xmpp_dialback::{Verdict, wire::Nonza};
use xmpp_stream::{DialbackFeature, Element, Features};

use crate::{
    peer::Peer,
    wire::Event,
    world::{RawServer, TIMEOUT, World},
};

/// The fake peer. Its server stops when it is dropped.
#[derive(Debug)]
pub struct FakePeer {
    domain: String,
    inbox: mpsc::Receiver<Arrived>,
    serving: JoinHandle<()>,
}

/// A stanza that came.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// By which connection, counted from 0.
    pub connection: usize,
    /// The stanza.
    pub stanza: Element,
}

/// Stanzas that nobody asked for yet; beyond these the fake peer reads no further.
const INBOX: usize = 65_536;

impl FakePeer {
    /// Listens for its domain, where the zone then leads.
    pub async fn at(world: &mut World, domain: &str) -> anyhow::Result<Self> {
        let server = world.listen(domain).await?;
        Ok(Self::over(server, domain))
    }

    /// The same where somebody listens already.
    pub fn over(server: RawServer, domain: &str) -> Self {
        let (arrived, inbox) = mpsc::channel(INBOX);
        Self {
            domain: domain.to_owned(),
            inbox,
            serving: tokio::spawn(serve(server, arrived)),
        }
    }

    /// A stream to a daemon, in clear, on which the fake peer is proved to `to`.
    pub async fn proved(&self, world: &World, daemon: &str, to: &str) -> anyhow::Result<Peer> {
        let mut peer = world.connect(daemon).await?.with_timeout(TIMEOUT);
        peer.open(&self.domain, to).await?;
        let verdict = peer.dialback(&self.domain, to, "a good key").await?;
        ensure!(
            verdict == "valid",
            "the neighbour is not believed: {verdict}"
        );
        Ok(peer)
    }

    /// The next stanza that comes.
    pub async fn next(&mut self) -> anyhow::Result<Arrived> {
        match timeout(TIMEOUT, self.inbox.recv()).await {
            Ok(Some(arrived)) => Ok(arrived),
            _ => bail!("nothing comes to {}", self.domain),
        }
    }

    /// What came and was not asked for.
    pub fn left(&mut self) -> Vec<Element> {
        std::iter::from_fn(|| self.inbox.try_recv().ok())
            .map(|arrived| arrived.stanza)
            .collect()
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(server: RawServer, arrived: mpsc::Sender<Arrived>) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        let Ok(peer) = server.accept_at_leisure().await else {
            return;
        };
        connections.spawn(serve_one(peer, connection, arrived.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(
    mut peer: Peer,
    connection: usize,
    arrived: mpsc::Sender<Arrived>,
) -> anyhow::Result<()> {
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    peer.answer_open(&format!("neighbour-{connection}"), &features)
        .await?;
    loop {
        let element = match peer.next_within(Duration::from_secs(3600)).await? {
            Event::Element(element) => element,
            Event::Footer => return peer.send("</stream:stream>").await,
            _ => return Ok(()),
        };
        let answer = match believing(&element) {
            Some(answer) => answer,
            None if element.stanza_kind().is_some() => {
                let stanza = element;
                arrived.send(Arrived { connection, stanza }).await?;
                continue;
            }
            None => bail!("the daemon says {element:?}"),
        };
        peer.send(answer.to_bytes()).await?;
    }
}

/// What a server answers that believes every key.
pub fn believing(element: &Element) -> Option<Nonza> {
    match Nonza::from_element(element)?.ok()? {
        Nonza::Question(question) => Some(Nonza::Answer {
            pair: question.pair,
            stream_id: question.stream_id,
            verdict: Verdict::Valid,
        }),
        Nonza::Request(request) => Some(Nonza::Result {
            pair: request.pair,
            verdict: Verdict::Valid,
        }),
        _ => None,
    }
}
