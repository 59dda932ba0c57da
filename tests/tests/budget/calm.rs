//! An innocent peer that knocks all the time from an address of its own, and how long it waits for the daemon's header.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use s2sd_tests::{peer::Peer, wire::Event, wire::Wire};
use tokio::{net::TcpSocket, runtime, time::timeout};

/// Its address, which is in each line of the log that is about it.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
/// How often it comes.
const PACE: Duration = Duration::from_millis(20);
/// It does not wait longer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The peer, in a thread of its own, so that it does not wait for the attacker.
pub(crate) struct Calm {
    delays: Arc<Mutex<Vec<Duration>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Calm {
    pub(crate) fn begins(at: SocketAddr) -> Self {
        let (delays, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (found, stopping) = (Arc::clone(&delays), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                while !stopping.load(Ordering::Acquire) {
                    let began = Instant::now();
                    let _ = timeout(TIMEOUT, header(at)).await;
                    let took = began.elapsed();
                    note(&found, took);
                    tokio::time::sleep(PACE.saturating_sub(took)).await;
                }
            });
        });
        Self {
            delays,
            stop,
            thread,
        }
    }

    /// It has come so often.
    pub(crate) async fn came(&self, times: usize) {
        while self.delays.lock().unwrap().len() < times {
            tokio::time::sleep(PACE).await;
        }
    }

    /// The delays so far are another's.
    pub(crate) fn take(&self) -> Delays {
        let taken = std::mem::take(&mut *self.delays.lock().unwrap());
        Delays::of(taken)
    }

    /// The delays since the last time, once the knock that is under way is answered too.
    pub(crate) fn ends(self) -> Delays {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap();
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        Delays::of(delays.clone())
    }
}

/// Whoever would have come while this one waited would have waited as well.
fn note(delays: &Mutex<Vec<Duration>>, took: Duration) {
    let mut delays = delays.lock().unwrap();
    let mut one = took;
    loop {
        delays.push(one);
        match one.checked_sub(PACE) {
            Some(rest) if !rest.is_zero() => one = rest,
            _ => break,
        }
    }
}

/// Connects, sends a header, and waits for the answer.
async fn header(at: SocketAddr) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((ADDRESS, 0).into())?;
    let stream = socket.connect(at).await?;
    stream.set_nodelay(true)?;
    let mut peer = Peer::over(Wire::over(stream)).with_timeout(TIMEOUT);
    peer.send_header(Some("calm.test"), crate::HERE).await?;
    match peer.next().await? {
        Event::Header(_) => Ok(()),
        // It waits for the whole of its patience: nothing is worse.
        _ => std::future::pending().await,
    }
}

/// What it waited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    pub(crate) median: Duration,
    /// Nine of ten were not longer.
    pub(crate) ninth: Duration,
    pub(crate) longest: Duration,
}

impl Delays {
    fn of(mut delays: Vec<Duration>) -> Self {
        delays.sort_unstable();
        let at = |tenths: usize| {
            let index = (delays.len() * tenths / 10).min(delays.len().saturating_sub(1));
            delays.get(index).copied().unwrap_or_default()
        };
        Self {
            median: at(5),
            ninth: at(9),
            longest: at(10),
        }
    }
}
