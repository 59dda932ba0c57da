//! The file descriptors of this server as a budget: how many each kind of use may take, and which goes without first.
//!
//! Connections and attempts to connect are counted. A part is kept back for what is not counted: two thirds of it for
//! look-ups, whose number its sockets bound; the rest for listeners, files and the admin's questions. When descriptors
//! run short, s2sd first refuses the questions that unauthenticated peers cause. Then it accepts no server any more,
//! and the kernel's backlog holds those that come. The streams for our own stanzas take the last ones.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tracing::warn;

use crate::config::Limits;

/// What a question may hold while no server answers: s2sd tries so many addresses of a host at the same time.
const QUESTION: usize = 8;
/// What a look-up may hold while no name server answers: it asks two at the same time, with EDNS and without, each from
/// two sockets.
pub(crate) const LOOK_UP: usize = 8;
/// So many source networks have to work together to use up what questions may have.
const NETWORKS: usize = 4;
/// An operator hears of a shortage so often.
const AGAIN: Duration = Duration::from_secs(60);

/// The kinds of use of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Servers that connect to us.
    Servers,
    /// What unauthenticated peers make us ask: authoritative servers, and what domains publish about their certificates.
    Questions,
    /// Streams for our own stanzas.
    Lanes,
    /// Our own components.
    Components,
}

impl Share {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::Servers,
        Self::Questions,
        Self::Lanes,
        Self::Components,
    ];

    /// For the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Questions => "questions",
            Self::Lanes => "lanes",
            Self::Components => "components",
        }
    }
}

/// How many would be enough for all that the limits allow: twice as many as servers that connect, since there may be one
/// outgoing for each.
pub(crate) fn wanted(limits: &Limits) -> usize {
    let servers = limits.inbound.saturating_mul(2);
    let ours = limits.components.saturating_add(768);
    match limits.descriptors {
        0 => servers.saturating_add(ours),
        most => most,
    }
}

/// How many look-ups there may be at the same time, so that their sockets fit into what is kept back for them.
pub(crate) fn look_ups(limits: &Limits) -> usize {
    Budget::new(allowed(limits.descriptors)).look_ups()
}

/// So many, or, where that is 0, as many as the system allows.
fn allowed(configured: usize) -> usize {
    let allowed = getrlimit(Resource::Nofile).current;
    let allowed = allowed.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    match configured {
        0 => allowed,
        configured => configured.min(allowed),
    }
}

/// The descriptors there are, and those that each use holds.
#[derive(Clone, Copy, Debug)]
struct Budget {
    kept_back: usize,
    most: usize,
    taken: [usize; 4],
}

impl Budget {
    /// Of all descriptors of the process. A quarter, but no more than 768, is kept back.
    fn new(descriptors: usize) -> Self {
        let kept_back = (descriptors / 4).clamp(32, 768);
        Self {
            kept_back,
            most: descriptors.saturating_sub(kept_back).max(QUESTION),
            taken: [0; 4],
        }
    }

    fn look_ups(&self) -> usize {
        self.kept_back * 2 / 3 / LOOK_UP
    }

    fn all(&self) -> usize {
        self.taken.iter().sum()
    }

    fn of(&self, share: Share) -> usize {
        self.taken.get(share as usize).copied().unwrap_or_default()
    }

    /// How many this share may have by itself, and how many all together while it takes more.
    fn bounds(&self, share: Share) -> (usize, usize) {
        let eighths = |count: usize| self.most / 8 * count + self.most % 8 * count / 8;
        match share {
            Share::Questions => (eighths(4), eighths(6)),
            Share::Servers => (eighths(5), eighths(7)),
            Share::Lanes => (self.most, self.most),
            // Their number has a bound of its own, and they are ours.
            Share::Components => (usize::MAX, usize::MAX),
        }
    }

    fn has_room(&self, share: Share, count: usize) -> bool {
        let (own, all) = self.bounds(share);
        self.of(share).saturating_add(count) <= own && self.all().saturating_add(count) <= all
    }

    fn change(&mut self, share: Share, change: impl FnOnce(usize) -> usize) {
        if let Some(taken) = self.taken.get_mut(share as usize) {
            *taken = change(*taken);
        }
    }
}

/// The budget of a server.
#[derive(Debug)]
pub(crate) struct Descriptors {
    budget: Mutex<Budget>,
    freed: Notify,
    told: Mutex<Option<Instant>>,
}

/// None is left for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this server has no file descriptors left for it")]
pub(crate) struct Exhausted;

/// As the system says it.
impl From<Exhausted> for io::Error {
    fn from(_: Exhausted) -> Self {
        Errno::MFILE.into()
    }
}

/// Whether the only fault is that this process, or this machine, has no descriptors left.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

impl Descriptors {
    /// A budget of so many, or, where that is 0, of as many as the system allows.
    pub(crate) fn new(configured: usize) -> Arc<Self> {
        Arc::new(Self {
            budget: Mutex::new(Budget::new(allowed(configured))),
            freed: Notify::new(),
            told: Mutex::default(),
        })
    }

    /// Takes some, if there are any for this.
    pub(crate) fn take(self: &Arc<Self>, share: Share, count: usize) -> Result<Permit, Exhausted> {
        let mut budget = self.lock();
        if !budget.has_room(share, count) {
            return Err(Exhausted);
        }
        budget.change(share, |taken| taken + count);
        drop(budget);
        Ok(Permit {
            held: Some((Arc::clone(self), share, count)),
        })
    }

    /// Takes one as soon as there is one for this use. The other uses do not wait behind it.
    pub(crate) async fn wait(self: &Arc<Self>, share: Share) -> Permit {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.take(share, 1) {
                Ok(permit) => return permit,
                Err(_) => {
                    self.tell("no connection is accepted until one ends");
                    freed.await;
                }
            }
        }
    }

    /// How many questions may wait at the same time so that there are descriptors for each, and how many of those for
    /// one source network.
    pub(crate) fn questions(&self) -> (usize, usize) {
        let (own, _) = self.lock().bounds(Share::Questions);
        let all = (own / QUESTION).max(1);
        (all, (all / NETWORKS).max(1))
    }

    /// How many servers may be connected at the same time. s2sd accepts one more to refuse it.
    pub(crate) fn servers(&self) -> usize {
        let (own, _) = self.lock().bounds(Share::Servers);
        own.saturating_sub(1).max(1)
    }

    /// How many are taken.
    pub(crate) fn taken(&self, share: Share) -> usize {
        self.lock().of(share)
    }

    /// Tells the operator that they have run out, now and then.
    pub(crate) fn tell(&self, consequence: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= AGAIN) {
            *told = Some(Instant::now());
            let budget = *self.lock();
            warn!(
                may = budget.most,
                servers = budget.of(Share::Servers),
                questions = budget.of(Share::Questions),
                lanes = budget.of(Share::Lanes),
                components = budget.of(Share::Components),
                "file descriptors have run out: {consequence}; raise LimitNOFILE, or lower `inbound` in [limits]"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Descriptors that are counted until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Permit {
    held: Option<(Arc<Descriptors>, Share, usize)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((descriptors, share, count)) = self.held.take() {
            let mut budget = descriptors.lock();
            budget.change(share, |taken| taken.saturating_sub(count));
            drop(budget);
            descriptors.freed.notify_waiters();
        }
    }
}

/// Counts the descriptors of one use. The default counts nothing: for commands that are not a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account(Option<(Arc<Descriptors>, Share)>);

impl Account {
    pub(crate) fn new(descriptors: &Arc<Descriptors>, share: Share) -> Self {
        Self(Some((Arc::clone(descriptors), share)))
    }

    /// Takes some, if there are any for this account.
    pub(crate) fn take(&self, count: usize) -> Result<Permit, Exhausted> {
        match &self.0 {
            Some((descriptors, share)) => descriptors.take(*share, count),
            None => Ok(Permit::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(descriptors: usize) -> Budget {
        Budget::new(descriptors)
    }

    fn fill(budget: &mut Budget, share: Share) -> usize {
        let before = budget.of(share);
        while budget.has_room(share, 1) {
            budget.change(share, |taken| taken + 1);
        }
        budget.of(share) - before
    }

    #[test]
    fn questions_go_without_first_then_servers_then_our_own_streams() {
        for descriptors in [64, 256, 1024, 20_000, 1 << 20] {
            let mut budget = budget(descriptors);
            fill(&mut budget, Share::Servers);
            fill(&mut budget, Share::Questions);
            // Whatever unauthenticated peers do, a quarter is left for our own streams,
            let taken = budget.all();
            assert!(taken * 4 <= budget.most * 3, "{budget:?}");
            // and when those have taken it, neither a server that leaves nor a question that ends makes room for another.
            assert_eq!(fill(&mut budget, Share::Lanes), budget.most - taken);
            for share in [Share::Servers, Share::Questions] {
                budget.change(share, |taken| taken - 1);
                assert!(!budget.has_room(share, 1), "{budget:?}");
            }
            assert!(budget.most < descriptors);
            assert!(budget.has_room(Share::Components, 1));
        }
    }

    #[test]
    fn what_look_ups_hold_fits_into_two_thirds_of_what_is_kept_back() {
        for descriptors in [0, 64, 256, 1024, 20_000, 1 << 20] {
            let budget = budget(descriptors);
            let sockets = budget.look_ups() * LOOK_UP;
            assert!(sockets * 3 <= budget.kept_back * 2, "{budget:?}");
            assert!(budget.look_ups() >= 2, "{budget:?}");
        }
    }

    #[test]
    fn as_many_servers_as_are_configured_fit_where_the_limit_was_raised_for_them() {
        let limits = Limits::default();
        let mut budget = budget(wanted(&limits));
        assert!(fill(&mut budget, Share::Servers) >= limits.inbound);
    }

    #[tokio::test]
    async fn who_waits_is_let_in_when_one_is_given_back() {
        let descriptors = Descriptors::new(64);
        let mut held = Vec::new();
        while let Ok(permit) = descriptors.take(Share::Servers, 1) {
            held.push(permit);
        }
        let mut waiting = std::pin::pin!(descriptors.wait(Share::Servers));
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(waiting.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await);
        held.pop();
        let _permit = waiting.await;
        assert_eq!(descriptors.taken(Share::Servers), held.len() + 1);
        held.clear();
    }

    #[test]
    fn the_systems_word_for_it_is_ours() {
        for number in [23, 24] {
            assert!(is_exhausted(&io::Error::from_raw_os_error(number)));
        }
        assert!(is_exhausted(&Exhausted.into()));
        assert!(!is_exhausted(&io::ErrorKind::ConnectionRefused.into()));
    }
}
