//! The order of look-ups: one for all that ask the same, few at the same time, and some of those for ourselves.
//!
//! A look-up without an answer holds its sockets for seconds, and unauthenticated peers choose names that have no
//! answer.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use xmpp_stream::Domain;

use super::cache::{Asker, Found};
use crate::net::turns;
use crate::network::Network;
use crate::protocol::budget::registration;

/// Look-ups at the same time, if there are enough descriptors.
pub(super) const MAX_LOOK_UPS: usize = 64;

/// Turns to look something up.
#[derive(Debug)]
pub(super) struct Turns {
    /// For all askers: networks in rotation.
    all: turns::Turns,
    /// A quarter, beyond these, for ourselves.
    ours: Semaphore,
    our_owners: InUse<String, turns::Turns>,
    /// For ourselves, for names below the same registered one: an eighth of both.
    one_of_ours: usize,
    owners: InUse<String, turns::Turns>,
    /// For unauthenticated peers, for names below the same registered one: an eighth of those for all.
    one_owners: usize,
    sites: InUse<Network, turns::Turns>,
    /// For unauthenticated peers of one site, for any names: a quarter of those for all.
    one_sites: usize,
}

/// It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _one: One<'a>,
    _owner: Option<(turns::Turn, Share<'a, String, turns::Turns>)>,
    _site: Option<(turns::Turn, Share<'a, Network, turns::Turns>)>,
}

#[derive(Debug)]
enum One<'a> {
    Ours { _permit: SemaphorePermit<'a> },
    OfAll { _turn: turns::Turn },
}

impl Turns {
    /// Turns for so many look-ups at the same time.
    pub(super) fn new(look_ups: usize) -> Self {
        let look_ups = look_ups.min(MAX_LOOK_UPS);
        let ours = (look_ups / 4).max(1);
        let all = look_ups.saturating_sub(ours).max(1);
        Self {
            all: turns::Turns::new(all),
            ours: Semaphore::new(ours),
            our_owners: InUse::default(),
            one_of_ours: (look_ups / 8).max(1),
            owners: InUse::default(),
            one_owners: (all / 8).max(1),
            sites: InUse::default(),
            one_sites: (all / 4).max(1),
        }
    }

    /// Waits until there is one. `place` is the address of the unauthenticated peer.
    pub(super) async fn take(&self, name: &Name, asker: Asker, place: IpAddr) -> Turn<'_> {
        match asker {
            Asker::Us => {
                // The owner of a name chooses whether it is answered, and can make our components write to many of its
                // names.
                let turns = || turns::Turns::new(self.one_of_ours);
                let owner = self.our_owners.get(owner(name), turns);
                let turn = owner.take(place).await;
                let one = tokio::select! {
                    biased;
                    // It is never closed.
                    Ok(permit) = self.ours.acquire() => One::Ours { _permit: permit },
                    turn = self.all.take(place) => One::OfAll { _turn: turn },
                };
                Turn {
                    _one: one,
                    _owner: Some((turn, owner)),
                    _site: None,
                }
            }
            Asker::Unauthenticated => {
                // First the site's own: while a peer waits for that, it holds no turn that others wait for.
                let turns = || turns::Turns::new(self.one_sites);
                let site = self.sites.get(Network::site(place), turns);
                let own = site.take(place).await;
                let turns = || turns::Turns::new(self.one_owners);
                let owner = self.owners.get(owner(name), turns);
                let turn = owner.take(place).await;
                let one = self.all.take(place).await;
                Turn {
                    _one: One::OfAll { _turn: one },
                    _owner: Some((turn, owner)),
                    _site: Some((own, site)),
                }
            }
        }
    }
}

/// The registered name that this name is below, as far as we can tell.
fn owner(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    let text = text.trim_end_matches('.');
    // What begins with an underscore is below the name of a machine.
    let mut from = text;
    while let Some((label, rest)) = from.split_once('.')
        && label.starts_with('_')
    {
        from = rest;
    }
    match Domain::parse(from) {
        Ok(domain) => registration(&domain).to_owned(),
        Err(_) => text.to_owned(),
    }
}

/// Look-ups that are going on. The task whose turn it is looks up; if it goes away, the next waiting task does.
#[derive(Debug, Default)]
pub(super) struct Running(InUse<Question, OnceCell<Found>>);

/// A name, a type, and the asker's network: our look-ups do not wait behind an unauthenticated peer's turn, and those
/// of one site not behind another's.
pub(super) type Question = (Name, RecordType, Option<Network>);

impl Running {
    /// The one that is going on for the same askers, or a new one.
    pub(super) fn join(
        &self,
        name: &Name,
        kind: RecordType,
        asker: Asker,
        place: IpAddr,
    ) -> Share<'_, Question, OnceCell<Found>> {
        let site = match asker {
            Asker::Us => None,
            Asker::Unauthenticated => Some(Network::site(place)),
        };
        let question = (name.to_lowercase(), kind, site);
        self.0.get(question, OnceCell::new)
    }

    /// The result of the one that is going on for ourselves. None: there is none, or we no longer want it. An
    /// unauthenticated peer does not continue it, since it has neither our turn nor our time.
    pub(super) async fn of_ours(&self, name: &Name, kind: RecordType) -> Option<Found> {
        let ours = self.0.find(&(name.to_lowercase(), kind, None))?;
        let given_up = || async { Err(()) };
        ours.get_or_try_init(given_up).await.ok().cloned()
    }
}

/// Values that exist as long as a task has a share of them.
#[derive(Debug)]
pub(super) struct InUse<K, V>(Mutex<HashMap<K, Arc<V>>>);

/// A share of a value.
#[derive(Debug)]
pub(super) struct Share<'a, K: Eq + Hash, V> {
    all: &'a InUse<K, V>,
    key: K,
    value: Arc<V>,
}

impl<K, V> Default for InUse<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> InUse<K, V> {
    fn find(&self, key: &K) -> Option<Share<'_, K, V>>
    where
        K: Clone,
    {
        let value = Arc::clone(self.lock().get(key)?);
        let key = key.clone();
        Some(Share {
            all: self,
            key,
            value,
        })
    }

    fn get(&self, key: K, new: impl FnOnce() -> V) -> Share<'_, K, V>
    where
        K: Clone,
    {
        let mut all = self.lock();
        let value = all.entry(key.clone()).or_insert_with(|| Arc::new(new()));
        let value = Arc::clone(value);
        Share {
            all: self,
            key,
            value,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> std::ops::Deref for Share<'_, K, V> {
    type Target = Arc<V>;

    fn deref(&self) -> &Arc<V> {
        &self.value
    }
}

impl<K: Eq + Hash, V> Drop for Share<'_, K, V> {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        // One is this share's and one is the table's. New ones are made under the lock.
        if Arc::strong_count(&self.value) <= 2 {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        task::{JoinSet, unconstrained},
        time::{Instant, sleep, timeout},
    };

    use super::*;
    use crate::protocol::plan::ResolveError;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// An address in a site of its own.
    fn site(n: usize) -> IpAddr {
        Ipv4Addr::new(192, 0, u8::try_from(n).unwrap(), 1).into()
    }

    /// A turn that is there at once.
    async fn turn<'a>(turns: &'a Turns, text: &str, asker: Asker) -> Option<Turn<'a>> {
        turn_at(turns, text, asker, HERE).await
    }

    async fn turn_at<'a>(
        turns: &'a Turns,
        text: &str,
        asker: Asker,
        place: IpAddr,
    ) -> Option<Turn<'a>> {
        let name = name(text);
        let take = unconstrained(turns.take(&name, asker, place));
        timeout(Duration::ZERO, take).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_owners_names_take_few_turns_and_all_strangers_leave_some_to_us() {
        for (look_ups, all, ours, one_owners) in [
            (MAX_LOOK_UPS, 48, 16, 6),
            (usize::MAX, 48, 16, 6),
            (32, 24, 8, 3),
            (4, 3, 1, 1),
        ] {
            let turns = Turns::new(look_ups);
            divided(&turns, all, ours, one_owners).await;
        }
    }

    async fn divided(turns: &Turns, all: usize, ours: usize, one_owners: usize) {
        let mut held = Vec::new();
        for n in 0..one_owners {
            let text = format!("_xmpp-server._tcp.d{n}.Evil.test.");
            let one = turn_at(turns, &text, Asker::Unauthenticated, site(n)).await;
            held.push(one.unwrap());
        }
        assert!(
            turn(turns, "x.evil.test.", Asker::Unauthenticated)
                .await
                .is_none()
        );
        // One site has a quarter, whatever it asks for.
        let mut own = 0;
        while let Some(one) = turn(turns, &format!("o{own}.test."), Asker::Unauthenticated).await {
            held.push(one);
            own += 1;
        }
        assert_eq!(own, (all / 4).max(1));
        let mut others = 0;
        let (asker, name) = (Asker::Unauthenticated, |n| format!("p{n}.test."));
        while let Some(one) = turn_at(turns, &name(others), asker, site(100 + others)).await {
            held.push(one);
            others += 1;
        }
        assert_eq!(held.len(), all);
        // One owner has an eighth of ours, and strangers' take nothing of it.
        let mut own = 0;
        while let Some(one) = turn(turns, &format!("x{own}.evil.test."), Asker::Us).await {
            held.push(one);
            own += 1;
        }
        assert_eq!(own, ((all + ours) / 8).max(1));
        for n in own..ours {
            let name = format!("own{n}.test.");
            held.push(turn(turns, &name, Asker::Us).await.unwrap());
        }
        assert!(turn(turns, "one-more.test.", Asker::Us).await.is_none());
        drop(held);
        assert!(turns.owners.lock().is_empty() && turns.sites.lock().is_empty());
        assert!(turns.our_owners.lock().is_empty());
        assert!(
            turn(turns, "x.evil.test.", Asker::Unauthenticated)
                .await
                .is_some()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_waits_for_its_own_look_ups_and_for_one_of_each_other() {
        for names in [
            |n| format!("d{n}.evil{n}.test."),
            |n| format!("d{n}.evil.test."),
        ] {
            let turns = Arc::new(Turns::new(4));
            let mut crowd = JoinSet::new();
            let take = async |turns: Arc<Turns>, name: String, place: IpAddr| {
                let name = Name::from_ascii(name).unwrap();
                let turn = turns.take(&name, Asker::Unauthenticated, place).await;
                sleep(Duration::from_secs(5)).await;
                drop(turn);
            };
            for n in 0..60 {
                let turns = Arc::clone(&turns);
                crowd.spawn(async move { take(turns, names(n), HERE).await });
            }
            sleep(Duration::from_millis(1)).await;
            let began = Instant::now();
            let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
            take(Arc::clone(&turns), names(60), other).await;
            let took = began.elapsed();
            assert!(took <= Duration::from_secs(15), "{took:?}");
            crowd.abort_all();
        }
    }

    #[test]
    fn what_one_owner_has_is_told_by_the_registered_name() {
        for (text, whose) in [
            ("_xmpp-server._tcp.a.b.Evil.test.", "evil.test"),
            ("_5269._tcp.x.evil.test.", "evil.test"),
            ("a.evil.co.uk.", "evil.co.uk"),
            ("test.", "test"),
        ] {
            assert_eq!(owner(&name(text)), whose);
        }
    }

    #[tokio::test]
    async fn who_asks_the_same_shares_a_look_up_and_nothing_is_left_of_it() {
        let running = Running::default();
        let (a, kind) = (name("a.test."), RecordType::A);
        let first = running.join(&a, kind, Asker::Unauthenticated, HERE);
        let second = running.join(&name("A.test."), kind, Asker::Unauthenticated, HERE);
        assert!(Arc::ptr_eq(&first, &second));
        let elsewhere = running.join(&a, kind, Asker::Unauthenticated, site(1));
        assert!(!Arc::ptr_eq(&first, &elsewhere));
        let ours = running.join(&a, kind, Asker::Us, HERE);
        assert!(!Arc::ptr_eq(&first, &ours));
        let other = running.join(&a, RecordType::AAAA, Asker::Us, HERE);
        assert!(!Arc::ptr_eq(&other, &ours));
        drop(first);
        assert_eq!(running.0.lock().len(), 4);
        drop((second, elsewhere, ours, other));
        assert!(running.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_stranger_waits_for_what_we_ask_and_does_not_go_on_with_it_in_our_turn() {
        let running = Arc::new(Running::default());
        let (a, kind) = (name("a.test."), RecordType::A);
        assert_eq!(running.of_ours(&a, kind).await, None);
        for answered in [true, false] {
            let (begun, begins) = tokio::sync::oneshot::channel();
            let (answer, answered_by) = tokio::sync::oneshot::channel();
            let ours = {
                let (running, a) = (Arc::clone(&running), a.clone());
                tokio::spawn(async move {
                    let mine = running.join(&a, kind, Asker::Us, HERE);
                    let look_up = || async {
                        begun.send(()).unwrap();
                        answered_by.await.unwrap()
                    };
                    mine.get_or_init(look_up).await.clone()
                })
            };
            begins.await.unwrap();
            let stranger = {
                let (running, a) = (Arc::clone(&running), a.clone());
                tokio::spawn(async move { running.of_ours(&a, kind).await })
            };
            tokio::task::yield_now().await;
            let found: Found = Err(ResolveError::Exhausted);
            if answered {
                answer.send(found.clone()).unwrap();
                assert_eq!(ours.await.unwrap(), found);
                assert_eq!(stranger.await.unwrap(), Some(found));
            } else {
                ours.abort();
                assert_eq!(stranger.await.unwrap(), None);
            }
            assert!(running.0.lock().is_empty());
        }
    }
}
