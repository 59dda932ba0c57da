//! Streams that have nothing to do with an attack and must not notice it: a peer, a component and two connections
//! between them, over which messages go round all the time. That they are the same two connections at the end as at
//! the beginning is part of what is checked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, timeout},
};
use xmpp_dialback::{Verdict, wire::Nonza};
use xmpp_stream::{DialbackFeature, Element, Features, StanzaKind};

use crate::{
    component,
    peer::Peer,
    wire::{Event, Wire},
    world::{Daemon, RawServer, SECRET, SOON, World},
};

/// The well-behaved peer's domain.
pub const PEER: &str = "calm.test";
/// The served domain that it writes to.
pub const HERE: &str = "calm.here.test";

/// How often a message goes round.
const PACE: Duration = Duration::from_millis(5);

/// Messages that go round, until [`Bystander::is_well`] or the drop.
#[derive(Debug)]
pub struct Bystander {
    task: JoinHandle<anyhow::Result<()>>,
    rounds: watch::Receiver<u64>,
    stop: Arc<AtomicBool>,
}

impl Bystander {
    /// A daemon that serves this domain, and one for a bystander, whose peer proves itself by plain dialback.
    pub fn daemon(domain: &str) -> Daemon {
        Daemon::serving(domain).and(HERE).tables(&format!(
            "[[peer]]\ndomain = '{PEER}'\ntls = 'disabled'\nauth = ['dialback']\n"
        ))
    }

    /// Begins beside the daemon, which [`Bystander::daemon`] described. One round is done when this returns.
    pub async fn beside(world: &mut World, daemon: &str) -> anyhow::Result<Self> {
        let server = world.listen(PEER).await?;
        let (arrived, inbox) = mpsc::channel(64);
        let serving = tokio::spawn(serve(server, arrived));
        let mut incoming = world.connect(daemon).await?.with_patience(SOON);
        incoming.open(PEER, HERE).await?;
        let verdict = incoming.dialback(PEER, HERE, "a good key").await?;
        ensure!(
            verdict == "valid",
            "the bystander is not believed: {verdict}"
        );
        let addr = *world
            .daemon(daemon)?
            .components
            .first()
            .context("no component listener")?;
        let component = component::attach(addr, HERE, SECRET, SOON).await?;
        let (told, rounds) = watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let going = Round {
            incoming,
            component,
            inbox,
            connection: None,
        };
        let stopping = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let result = going.round_and_round(&told, &stopping).await;
            serving.abort();
            result
        });
        let mut this = Self { task, rounds, stop };
        this.more(1).await?;
        Ok(this)
    }

    /// Nothing happened to it: messages go round now as they did before, on the same connections.
    pub async fn is_well(&mut self) -> anyhow::Result<()> {
        self.more(2).await
    }

    /// The same, and the end of it.
    pub async fn was_well(mut self) -> anyhow::Result<()> {
        self.more(2).await?;
        self.stop.store(true, Ordering::Release);
        (&mut self.task).await?
    }

    async fn more(&mut self, rounds: u64) -> anyhow::Result<()> {
        let now = *self.rounds.borrow_and_update();
        let waited = timeout(SOON, self.rounds.wait_for(|done| *done >= now + rounds)).await;
        if !matches!(waited, Ok(Ok(_))) {
            if self.task.is_finished() {
                (&mut self.task).await??;
            }
            bail!("the bystander noticed: no message goes round any more");
        }
        Ok(())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Round {
    /// From the peer to the daemon.
    incoming: Peer,
    component: Wire,
    /// What the daemon sends to the peer, with the number of the connection it came by.
    inbox: mpsc::Receiver<(usize, Element)>,
    connection: Option<usize>,
}

impl Round {
    async fn round_and_round(
        mut self,
        told: &watch::Sender<u64>,
        stop: &AtomicBool,
    ) -> anyhow::Result<()> {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 1.. {
            self.round(round)
                .await
                .with_context(|| format!("the bystander noticed in round {round}"))?;
            told.send_replace(round);
            if stop.load(Ordering::Acquire) {
                break;
            }
            pace.tick().await;
        }
        Ok(())
    }

    async fn round(&mut self, round: u64) -> anyhow::Result<()> {
        let id = round.to_string();
        self.incoming
            .send(format!(
                "<message from='x@{PEER}' to='y@{HERE}' id='{id}'><body>there</body></message>"
            ))
            .await?;
        match self.component.next(SOON).await? {
            Event::Element(got) if got.id().as_deref() == Some(&id) => {}
            other => bail!("message {id} did not arrive, but {other:?}"),
        }
        self.component
            .send(format!(
                "<message from='y@{HERE}' to='x@{PEER}' id='{id}'><body>and back</body></message>"
            ))
            .await?;
        let got = timeout(SOON, self.inbox.recv()).await;
        let Ok(Some((connection, got))) = got else {
            bail!("message {id} did not come back");
        };
        ensure!(
            got.id().as_deref() == Some(&id),
            "not message {id}, but {got:?}"
        );
        ensure!(
            *self.connection.get_or_insert(connection) == connection,
            "the daemon made a new connection"
        );
        // Nothing is said on the stream that the peer made, least of all an error.
        match self.incoming.next_within(Duration::ZERO).await? {
            Event::Nothing => Ok(()),
            other => bail!("the daemon says {other:?}"),
        }
    }
}

/// The peer's own server: believes everybody, vouches for itself.
async fn serve(server: RawServer, arrived: mpsc::Sender<(usize, Element)>) {
    let mut connections = JoinSet::new();
    for connection in 0.. {
        // It waits as long as the test lasts.
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
    arrived: mpsc::Sender<(usize, Element)>,
) -> anyhow::Result<()> {
    let features = Features {
        dialback: Some(DialbackFeature { errors: true }),
        ..Features::default()
    };
    peer.answer_open(&format!("calm-{connection}"), &features)
        .await?;
    loop {
        let element = match peer.next_within(Duration::from_secs(3600)).await? {
            Event::Element(element) => element,
            Event::Footer => return peer.send("</stream:stream>").await,
            _ => return Ok(()),
        };
        let answer = match Nonza::from_element(&element) {
            Some(Ok(Nonza::Question(question))) => Nonza::Answer {
                pair: question.pair,
                stream_id: question.stream_id,
                verdict: Verdict::Valid,
            },
            Some(Ok(Nonza::Request(request))) => Nonza::Result {
                pair: request.pair,
                verdict: Verdict::Valid,
            },
            _ if element.stanza() == Some(StanzaKind::Message) => {
                arrived.send((connection, element)).await?;
                continue;
            }
            _ => bail!("the daemon says {element:?}"),
        };
        peer.send(answer.to_bytes()).await?;
    }
}
