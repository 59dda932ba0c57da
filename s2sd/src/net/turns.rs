//! Turns for work that costs processor time before the peer is known: TLS handshakes, judging certificates, and steps
//! of SASL; and for the elements of streams.
//!
//! A handshake takes a turn for each of its steps and gives it back while it waits for the peer, so a silent peer holds
//! no turn. There is one turn less than there are processors, so that something is left for all other tasks. Turns go
//! round among sites, and within a site among its hosts: a thousand handshakes of one network delay another by a few
//! steps, not by a thousand.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

use crate::network::Network;
use crate::protocol::admission::rotation::{Line, Queue, Rotation};

type Waiting = Rotation<Network, Rotation<Network, Line<oneshot::Sender<Turn>>>>;

/// The turns, and the tasks that wait for one. Bounded by the connections.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// How many turns followed each other.
    row: usize,
    waiting: Waiting,
}

/// A runtime with one thread polls for I/O when it is idle, or after 61 tasks. A handshake costs as much as many tasks,
/// so turns step aside more often.
const ROW: usize = 8;

/// May use a processor until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Turns>);

impl Turns {
    /// Turns for so many at the same time.
    pub(crate) fn new(free: usize) -> Self {
        let waiting = Waiting::default();
        Self(Arc::new(Mutex::new(State {
            free,
            row: 0,
            waiting,
        })))
    }

    /// A part of this machine's processors.
    pub(crate) fn of_this_machine() -> Self {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(all.saturating_sub(1).max(1))
    }

    /// All of this machine's processors.
    pub(crate) fn of_all_processors() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Half of this machine's processors.
    pub(crate) fn half_of_this_machine() -> Self {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new((all / 2).max(1))
    }

    /// Does the work on a thread of its own, in one turn. Work that has begun is finished, and keeps its turn until then,
    /// also where it is not wanted any more.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.take(address).await.compute(work).await
    }

    /// Waits for a turn.
    pub(crate) async fn take(&self, address: IpAddr) -> Turn {
        let next = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.free > 0 {
                state.free -= 1;
                return Turn(Some(self.clone()));
            }
            let (give, next) = oneshot::channel();
            let place = (Network::site(address), (Network::host(address), ()));
            state.waiting.push(place, give);
            next
        };
        // The other end is dropped only with the turns themselves, of which this is one.
        next.await.unwrap_or(Turn(None))
    }

    /// Whether enough turns followed each other to let the runtime poll for I/O, and the tasks that it wakes queue up
    /// here.
    fn is_long(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.row = (state.row + 1) % ROW;
        state.row == 0
    }

    /// Drives a future step by step, each in a turn of its own.
    pub(crate) async fn drive<F: Future>(&self, address: IpAddr, future: F) -> F::Output {
        let mut future = pin!(future);
        let bell = Arc::new(Bell(Notify::new()));
        let waker = Waker::from(Arc::clone(&bell));
        loop {
            let turn = self.take(address).await;
            let step = future.as_mut().poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(output) = step {
                return output;
            }
            if self.is_long() {
                // Tasks that have become ready meanwhile go first.
                yield_now().await;
            }
            drop(turn);
            bell.0.notified().await;
        }
    }
}

/// Remembers that a future was woken, also while its task waits for something else.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Drives a future in a turn, which is given back as soon as the future has to wait.
pub(crate) async fn during<F: Future>(turn: &mut Option<Turn>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let step = future.as_mut().poll(cx);
        if step.is_pending() {
            *turn = None;
        }
        step
    })
    .await
}

impl Turn {
    /// See [`Turns::compute`].
    pub(crate) async fn compute<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let done = tokio::task::spawn_blocking(move || {
            let _turn = self;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Drop for Turn {
    /// The next one's turn. One that waits no more is passed over.
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        let mut state = turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(next) = state.waiting.pop() else {
                state.free += 1;
                return;
            };
            match next.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                // It must not be dropped here, where the lock is held.
                Err(mut back) => back.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_thousand_of_one_site_delay_another_by_one_turn() {
        let turns = Turns::new(1);
        let first = turns.take(address("192.0.2.1")).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let mut wait = |who: &'static str, from: &str| {
            let (turns, order, from) = (turns.clone(), Arc::clone(&order), address(from));
            let arrived = Arc::clone(&arrived);
            tasks.spawn(async move {
                arrived.fetch_add(1, Ordering::Relaxed);
                let _turn = turns.take(from).await;
                order.lock().unwrap().push(who);
                yield_now().await;
            });
        };
        for number in 0..1000 {
            wait("crowd", &format!("192.0.2.{}", number % 250));
        }
        wait("other site", "198.51.100.1");
        wait("same site", "192.0.2.251");
        while arrived.load(Ordering::Relaxed) < 1002 {
            yield_now().await;
        }
        drop(first);
        tasks.join_all().await;
        let order = order.lock().unwrap();
        let place = |who| order.iter().position(|it| *it == who).unwrap();
        assert_eq!(order.len(), 1002);
        assert!(place("other site") < 2, "{}", place("other site"));
        // After one of each host of its site.
        assert!(place("same site") < 260, "{}", place("same site"));
    }

    #[tokio::test]
    async fn work_that_has_begun_keeps_its_turn_until_it_is_done() {
        let turns = Turns::new(1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let work = move || {
            let _ = began.send(());
            let _ = held.recv();
        };
        let (working, from) = (turns.clone(), address("192.0.2.1"));
        let wanted = tokio::spawn(async move { working.compute(from, work).await });
        begun.await.unwrap();
        wanted.abort();
        assert!(wanted.await.unwrap_err().is_cancelled());
        let mut next = Box::pin(turns.compute(address("198.51.100.1"), || 7));
        assert!(timeout(Duration::from_millis(1), &mut next).await.is_err());
        drop(release);
        assert_eq!(next.await, 7);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_nobody_up() {
        let turns = Turns::new(1);
        let held = turns.take(address("192.0.2.1")).await;
        let moment = Duration::from_millis(1);
        for _ in 0..3 {
            let waiting = turns.take(address("2001:db8::1"));
            assert!(timeout(moment, waiting).await.is_err());
        }
        let patient = turns.take(address("192.0.2.1"));
        let (patient, ()) = tokio::join!(patient, async { drop(held) });
        // One that was given its turn and left before it looked.
        let mut late = Box::pin(turns.take(address("192.0.2.9")));
        assert!(timeout(moment, &mut late).await.is_err());
        drop(patient);
        drop(late);
        let again = timeout(Duration::from_secs(10), turns.take(address("192.0.2.1")));
        drop(again.await.unwrap());
        let state = turns.0.lock().unwrap();
        assert!(state.free == 1 && state.waiting.is_empty());
    }

    #[tokio::test]
    async fn a_future_that_is_woken_while_it_has_no_turn_goes_on() {
        let turns = Turns::new(1);
        let mut left = 5;
        let hasty = poll_fn(|cx| {
            left -= 1;
            cx.waker().wake_by_ref();
            match left {
                0 => Poll::Ready("done"),
                _ => Poll::Pending,
            }
        });
        let driven = turns.drive(address("192.0.2.1"), hasty);
        let driven = timeout(Duration::from_secs(10), driven).await;
        assert_eq!(driven, Ok("done"));
    }

    #[tokio::test]
    async fn who_has_a_turn_gives_it_back_when_it_has_to_wait() {
        let (turns, from) = (Turns::new(1), address("192.0.2.1"));
        let (wake, woken) = oneshot::channel();
        let mut turn = Some(turns.take(from).await);
        assert_eq!(during(&mut turn, async { 1 }).await, 1);
        assert!(turn.is_some());
        let other = async {
            drop(turns.take(address("192.0.2.2")).await);
            wake.send(2).unwrap();
        };
        let (waited, ()) = tokio::join!(during(&mut turn, woken), other);
        assert!(waited == Ok(2) && turn.is_none());
    }

    #[tokio::test]
    async fn a_future_that_waits_holds_no_turn() {
        let turns = Turns::new(1);
        let (wake, woken) = oneshot::channel();
        let driven = turns.drive(address("192.0.2.1"), woken);
        let other = async {
            yield_now().await;
            drop(turns.take(address("192.0.2.2")).await);
            wake.send("awake").unwrap();
        };
        let (driven, ()) = tokio::join!(driven, other);
        assert_eq!(driven, Ok("awake"));
    }
}
