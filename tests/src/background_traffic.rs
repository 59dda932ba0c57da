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
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, timeout},
};

use crate::{
    component,
    fake_peer::FakePeer,
    peer::Peer,
    wire::{Event, Wire},
    world::{Daemon, SECRET, TIMEOUT, World},
};

/// The well-behaved peer's domain.
pub const PEER: &str = "calm.test";
/// The served domain that it writes to.
pub const HERE: &str = "calm.here.test";

/// How often a message goes round.
const PACE: Duration = Duration::from_millis(5);

/// Messages that go round, until [`BackgroundTraffic::is_well`] or the drop.
#[derive(Debug)]
pub struct BackgroundTraffic {
    task: JoinHandle<anyhow::Result<()>>,
    rounds: watch::Receiver<u64>,
    stop: Arc<AtomicBool>,
}

impl BackgroundTraffic {
    /// A daemon that serves this domain, and one for the background traffic, whose peer proves itself by plain dialback.
    pub fn daemon(domain: &str) -> Daemon {
        Daemon::serving(domain).and(HERE).tables(&format!(
            "[[peer]]\ndomain = '{PEER}'\ntls = 'disabled'\nauth = ['dialback']\n"
        ))
    }

    /// Begins beside the daemon, which [`BackgroundTraffic::daemon`] described. One round is done when this returns.
    pub async fn beside(world: &mut World, daemon: &str) -> anyhow::Result<Self> {
        let fake_peer = FakePeer::at(world, PEER).await?;
        let incoming = fake_peer.proved(world, daemon, HERE).await?;
        let addr = *world
            .daemon(daemon)?
            .components
            .first()
            .context("no component listener")?;
        let component = component::attach(addr, HERE, SECRET, TIMEOUT).await?;
        let (told, rounds) = watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let going = Round {
            incoming,
            component,
            fake_peer,
            connection: None,
        };
        let stopping = Arc::clone(&stop);
        let task = tokio::spawn(async move { going.round_and_round(&told, &stopping).await });
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
        let waited = timeout(TIMEOUT, self.rounds.wait_for(|done| *done >= now + rounds)).await;
        if !matches!(waited, Ok(Ok(_))) {
            if self.task.is_finished() {
                (&mut self.task).await??;
            }
            bail!("the bystander noticed: no message goes round any more");
        }
        Ok(())
    }
}

impl Drop for BackgroundTraffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Round {
    /// From the peer to the daemon.
    incoming: Peer,
    component: Wire,
    fake_peer: FakePeer,
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
        match self.component.next(TIMEOUT).await? {
            Event::Element(got) if got.id().as_deref() == Some(&id) => {}
            other => bail!("message {id} did not arrive, but {other:?}"),
        }
        self.component
            .send(format!(
                "<message from='y@{HERE}' to='x@{PEER}' id='{id}'><body>and back</body></message>"
            ))
            .await?;
        let got = self.fake_peer.next().await?;
        ensure!(
            got.stanza.id().as_deref() == Some(&id),
            "not message {id}, but {got:?}"
        );
        ensure!(
            *self.connection.get_or_insert(got.connection) == got.connection,
            "the daemon made a new connection"
        );
        // Nothing is said on the stream that the peer made, least of all an error.
        match self.incoming.next_within(Duration::ZERO).await? {
            Event::Nothing => Ok(()),
            other => bail!("the daemon says {other:?}"),
        }
    }
}
