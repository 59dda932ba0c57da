//! The questions that wait for each authoritative server, how many there may be, and the servers that could not be
//! reached a moment ago.
//!
//! Pure: the asker is a type of the caller's, and the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use xmpp_dialback::DialbackError;
use xmpp_stream::Domain;

use crate::network::Network;

/// How long a server that could not be reached is remembered: a moment, so that an operator who repairs it need not
/// wait.
const REMEMBERED: Duration = Duration::from_secs(5);
/// So many servers that could not be reached are remembered.
const MOST_REMEMBERED: usize = 1024;
/// What one site may have of all questions: a quarter, however many of the networks in it ask.
const SITES: usize = 4;

/// How many questions may wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In all.
    pub(super) all: usize,
    /// For keys that came from one source network.
    pub(super) network: usize,
}

/// The networks that a key came from: one that a single party has, as a rule, and one that it can easily have.
fn networks(address: IpAddr) -> [Network; 2] {
    [Network::host(address), Network::site(address)]
}

/// A server, and the site that the keys to ask about came from. The questions that one site causes may wait behind many
/// others of that site, but not the keys of another site.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Authority {
    pub(super) remote: Domain,
    site: Network,
}

impl Authority {
    /// Of this domain, for keys that came from there.
    pub(super) fn new(remote: Domain, from: IpAddr) -> Self {
        let site = Network::site(from);
        Self { remote, site }
    }
}

/// The waiting questions, and the failures. `Q` is a waiting question with its asker; `S` belongs to the task that asks
/// a server.
#[derive(Debug)]
pub(super) struct Book<Q, S> {
    /// The servers that tasks are asking, and the next questions for them.
    servers: HashMap<Authority, Server<Q, S>>,
    /// Questions that are not answered: in all, and by where the key came from.
    pending: usize,
    networks: HashMap<Network, usize>,
    failures: Failures,
}

#[derive(Debug)]
struct Server<Q, S> {
    asker: S,
    waiting: VecDeque<(Domain, Q)>,
}

impl<Q, S> Default for Book<Q, S> {
    fn default() -> Self {
        Self {
            servers: HashMap::new(),
            pending: 0,
            networks: HashMap::new(),
            failures: Failures::default(),
        }
    }
}

/// What becomes of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entered<S> {
    /// It waits, and the caller has to begin to ask this server.
    First(S),
    /// It waits with others for a server that is being asked.
    Joined(S),
    /// The server could not be reached a moment ago, with this error.
    Known(DialbackError),
    /// There is no room for it.
    Full,
}

impl<Q, S: Clone + Default> Book<Q, S> {
    /// A question for the server of `remote`, about a key for `local`, from there. Where it waits, it is to be
    /// [`left`](Self::left) once.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        bounds: Bounds,
        from: IpAddr,
        (local, remote): (Domain, Domain),
        question: Q,
    ) -> Entered<S> {
        let authority = Authority::new(remote, from);
        if let Some(error) = self.failures.known(now, &authority, &local) {
            return Entered::Known(error);
        }
        let [host, site] = networks(from);
        let count = |network| self.networks.get(&network).copied().unwrap_or_default();
        if self.pending >= bounds.all
            || count(host) >= bounds.network
            || count(site) >= bounds.network.max(bounds.all / SITES)
        {
            return Entered::Full;
        }
        self.pending += 1;
        for network in [host, site] {
            *self.networks.entry(network).or_default() += 1;
        }
        match self.servers.get_mut(&authority) {
            Some(server) => {
                server.waiting.push_back((local, question));
                Entered::Joined(server.asker.clone())
            }
            None => {
                let asker = S::default();
                let server = Server {
                    asker: asker.clone(),
                    waiting: [(local, question)].into(),
                };
                self.servers.insert(authority, server);
                Entered::First(asker)
            }
        }
    }

    /// A question from there waits no more.
    pub(super) fn left(&mut self, from: IpAddr) {
        self.pending = self.pending.saturating_sub(1);
        for network in networks(from) {
            if let Some(count) = self.networks.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    self.networks.remove(&network);
                }
            }
        }
    }

    /// The next question for a server.
    pub(super) fn next(&mut self, authority: &Authority) -> Option<Q> {
        let (_, question) = self.servers.get_mut(authority)?.waiting.pop_front()?;
        Some(question)
    }

    /// The question that waits longest, and our domain to ask as. Forgets those without an asker.
    pub(super) fn first(
        &mut self,
        authority: &Authority,
        wanted: impl Fn(&Q) -> bool,
    ) -> Option<(Domain, &Q)> {
        let Server { waiting, .. } = self.servers.get_mut(authority)?;
        waiting.retain(|(_, question)| wanted(question));
        let (local, question) = waiting.front()?;
        Some((local.clone(), question))
    }

    /// The same. If no question waits, the task for this server ends.
    pub(super) fn first_or_end(
        &mut self,
        authority: &Authority,
        wanted: impl Fn(&Q) -> bool,
    ) -> Option<(Domain, &Q)> {
        if self.first(authority, &wanted).is_none() {
            self.servers.remove(authority);
        }
        self.first(authority, wanted)
    }

    /// What waits for a server, about keys for one of our domains, or for any.
    pub(super) fn take(&mut self, authority: &Authority, local: Option<&Domain>) -> Vec<Q> {
        let Some(Server { waiting, .. }) = self.servers.get_mut(authority) else {
            return Vec::new();
        };
        let (taken, rest) = std::mem::take(waiting)
            .into_iter()
            .partition(|(of, _)| local.is_none_or(|local| of == local));
        *waiting = rest;
        let taken: VecDeque<(Domain, Q)> = taken;
        taken.into_iter().map(|(_, question)| question).collect()
    }

    /// The server could not be reached: as any of our domains, or as this one.
    pub(super) fn remember(
        &mut self,
        now: Instant,
        authority: &Authority,
        local: Option<&Domain>,
        error: DialbackError,
    ) {
        self.failures
            .keep(now, (authority.clone(), local.cloned()), error);
    }

    /// That the servers of these domains could not be reached is forgotten.
    pub(super) fn forget_failures(&mut self, is_meant: impl Fn(&Domain) -> bool) {
        self.failures.forget(is_meant);
    }

    /// The task for this server ends. Returns the questions that wait.
    pub(super) fn end(&mut self, authority: &Authority) -> Vec<Q> {
        let server = self.servers.remove(authority);
        let waiting = server.into_iter().flat_map(|server| server.waiting);
        waiting.map(|(_, question)| question).collect()
    }

    /// How many wait for an answer.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }
}

/// A server, and as which domain of ours it was not to be reached; none: as any.
type Failed = (Authority, Option<Domain>);

/// Servers that could not be reached. All are remembered for the same time, so the first are the oldest.
#[derive(Debug, Default)]
struct Failures {
    known: HashMap<Failed, (Instant, DialbackError)>,
    in_order: VecDeque<(Instant, Failed)>,
}

impl Failures {
    fn known(
        &mut self,
        now: Instant,
        authority: &Authority,
        local: &Domain,
    ) -> Option<DialbackError> {
        while let Some((until, _)) = self.in_order.front()
            && (*until <= now || self.in_order.len() > MOST_REMEMBERED)
        {
            let Some((until, server)) = self.in_order.pop_front() else {
                break;
            };
            // It may have failed again since.
            if self.known.get(&server).is_some_and(|(of, _)| *of == until) {
                self.known.remove(&server);
            }
        }
        let find = |local| self.known.get(&(authority.clone(), local));
        let (_, error) = find(None).or_else(|| find(Some(local.clone())))?;
        Some(error.clone())
    }

    /// Their places in the order go in their time.
    fn forget(&mut self, is_meant: impl Fn(&Domain) -> bool) {
        self.known
            .retain(|(authority, _), _| !is_meant(&authority.remote));
    }

    fn keep(&mut self, now: Instant, server: Failed, error: DialbackError) {
        let until = now + REMEMBERED;
        self.in_order.push_back((until, server.clone()));
        self.known.insert(server, (until, error));
        if self.in_order.len() > MOST_REMEMBERED
            && let Some((until, oldest)) = self.in_order.pop_front()
            && self.known.get(&oldest).is_some_and(|(of, _)| *of == until)
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xmpp_dialback::ErrorCondition;

    const BOUNDS: Bounds = Bounds {
        all: 16,
        network: 2,
    };
    const HERE: &str = "here.example";

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn authority(name: &str, from: &str) -> Authority {
        Authority::new(domain(name), from.parse().unwrap())
    }

    fn error() -> DialbackError {
        DialbackError::new(ErrorCondition::RemoteConnectionFailed)
    }

    /// A book, and a clock that stands.
    struct Fixture {
        book: Book<u32, ()>,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let book = Book::default();
            let now = Instant::now();
            Self { book, now }
        }

        fn enter(&mut self, from: &str, local: &str, remote: &str, question: u32) -> Entered<()> {
            let pair = (domain(local), domain(remote));
            let from = from.parse().unwrap();
            self.book.enter(self.now, BOUNDS, from, pair, question)
        }
    }

    #[test]
    fn one_asks_for_all_who_want_to_know_of_the_same_server() {
        let mut fixture = Fixture::new();
        assert_eq!(
            fixture.enter("192.0.2.1", HERE, "a.example", 1),
            Entered::First(())
        );
        assert_eq!(
            fixture.enter("192.0.2.1", "two.example", "a.example", 2),
            Entered::Joined(())
        );
        assert_eq!(
            fixture.enter("192.0.2.2", HERE, "b.example", 3),
            Entered::First(())
        );
        let [a, b] = ["a.example", "b.example"].map(|name| authority(name, "192.0.2.1"));
        assert_eq!(fixture.book.first(&a, |_| true), Some((domain(HERE), &1)));
        // Nobody wants the first one any more.
        assert_eq!(
            fixture.book.first(&a, |question| *question != 1),
            Some((domain("two.example"), &2))
        );
        assert_eq!(fixture.book.next(&a), Some(2));
        assert_eq!(fixture.book.next(&a), None);
        // It is still being asked there, so who comes now joins.
        assert_eq!(
            fixture.enter("192.0.2.2", HERE, "a.example", 4),
            Entered::Joined(())
        );
        assert_eq!(fixture.book.end(&a), [4]);
        assert_eq!(fixture.book.first_or_end(&b, |_| false), None);
        fixture.book.left("192.0.2.1".parse().unwrap());
        assert_eq!(
            fixture.enter("192.0.2.1", HERE, "b.example", 5),
            Entered::First(())
        );
    }

    #[test]
    fn what_waits_for_one_site_is_not_waited_for_by_another() {
        let mut fixture = Fixture::new();
        for (from, entered) in [
            ("192.0.2.1", Entered::First(())),
            ("192.0.2.2", Entered::Joined(())),
            ("198.51.100.1", Entered::First(())),
        ] {
            assert_eq!(fixture.enter(from, HERE, "a.example", 1), entered);
        }
        let [one, other] = ["192.0.2.9", "198.51.100.9"].map(|from| authority("a.example", from));
        assert_eq!(fixture.book.take(&one, None).len(), 2);
        assert_eq!(fixture.book.end(&other).len(), 1);
    }

    #[test]
    fn a_network_has_so_many_and_all_together_have_so_many() {
        let mut fixture = Fixture::new();
        let joined = |entered| matches!(entered, Entered::First(()) | Entered::Joined(()));
        // The same network in each line.
        for addresses in [
            ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"],
        ] {
            let [one, two, three] = addresses;
            assert!(joined(fixture.enter(one, HERE, "a.example", 0)));
            assert!(joined(fixture.enter(two, HERE, "b.example", 0)));
            assert_eq!(fixture.enter(three, HERE, "c.example", 0), Entered::Full);
            fixture.book.left(one.parse().unwrap());
            assert!(joined(fixture.enter(three, HERE, "c.example", 0)));
        }
        // A quarter of all is what a wider one has.
        assert!(joined(fixture.enter("192.0.2.2", HERE, "a.example", 0)));
        assert!(joined(fixture.enter("192.0.2.3", HERE, "a.example", 0)));
        assert_eq!(
            fixture.enter("192.0.2.4", HERE, "a.example", 0),
            Entered::Full
        );
        assert!(joined(fixture.enter(
            "2001:db8:0:1::1",
            HERE,
            "a.example",
            0
        )));
        assert!(joined(fixture.enter(
            "2001:db8:0:2::1",
            HERE,
            "a.example",
            0
        )));
        assert_eq!(
            fixture.enter("2001:db8:0:3::1", HERE, "a.example", 0),
            Entered::Full
        );
        for net in 0..8 {
            let from = format!("198.51.{net}.1");
            assert!(joined(fixture.enter(&from, HERE, "a.example", 0)));
        }
        assert_eq!(fixture.book.pending(), BOUNDS.all);
        assert_eq!(
            fixture.enter("203.0.113.1", HERE, "a.example", 0),
            Entered::Full
        );
        // Who left is forgotten.
        for net in 0..8 {
            fixture
                .book
                .left(format!("198.51.{net}.1").parse().unwrap());
        }
        assert!(fixture.book.networks.len() <= 10);
    }

    #[test]
    fn a_server_that_was_not_reached_is_not_tried_again_at_once() {
        let mut fixture = Fixture::new();
        let [a, b] = ["a.example", "b.example"].map(|name| authority(name, "192.0.2.1"));
        fixture.book.remember(fixture.now, &a, None, error());
        fixture
            .book
            .remember(fixture.now, &b, Some(&domain(HERE)), error());
        let from = "192.0.2.1";
        for local in [HERE, "two.example"] {
            assert_eq!(
                fixture.enter(from, local, "a.example", 1),
                Entered::Known(error())
            );
        }
        // Refused as one of our domains is not refused as another.
        assert_eq!(
            fixture.enter(from, HERE, "b.example", 1),
            Entered::Known(error())
        );
        assert_eq!(
            fixture.enter(from, "two.example", "b.example", 1),
            Entered::First(())
        );
        // What keys from elsewhere come to may be another matter.
        assert_eq!(
            fixture.enter("198.51.100.1", HERE, "a.example", 1),
            Entered::First(())
        );
        fixture.now += REMEMBERED;
        assert_eq!(
            fixture.enter(from, HERE, "a.example", 1),
            Entered::First(())
        );
    }

    #[test]
    fn that_a_server_was_not_reached_is_forgotten_by_those_who_are_meant() {
        let mut fixture = Fixture::new();
        let from = "192.0.2.1";
        for name in ["a.example", "b.example"] {
            let authority = authority(name, from);
            fixture
                .book
                .remember(fixture.now, &authority, None, error());
        }
        let meant = domain("a.example");
        fixture.book.forget_failures(|domain| *domain == meant);
        assert_eq!(
            fixture.enter(from, HERE, "a.example", 1),
            Entered::First(())
        );
        assert_eq!(
            fixture.enter(from, HERE, "b.example", 1),
            Entered::Known(error())
        );
    }

    #[test]
    fn strangers_make_it_remember_so_much_and_no_more() {
        let mut fixture = Fixture::new();
        for at in 0..MOST_REMEMBERED * 2 {
            fixture.now += Duration::from_micros(1);
            let remote = authority(&format!("d{at}.example"), "192.0.2.1");
            fixture.book.remember(fixture.now, &remote, None, error());
            // The same again is one.
            fixture.book.remember(fixture.now, &remote, None, error());
        }
        assert!(fixture.book.failures.known.len() <= MOST_REMEMBERED);
        assert!(fixture.book.failures.in_order.len() <= MOST_REMEMBERED);
        let last = format!("d{}.example", MOST_REMEMBERED * 2 - 1);
        assert_eq!(
            fixture.enter("192.0.2.1", HERE, &last, 1),
            Entered::Known(error())
        );
        assert_eq!(
            fixture.enter("192.0.2.1", HERE, "d0.example", 1),
            Entered::First(())
        );
        fixture.now += REMEMBERED;
        assert_eq!(
            fixture.enter("192.0.2.1", HERE, &last, 1),
            Entered::First(())
        );
        assert!(fixture.book.failures.known.is_empty());
    }

    #[test]
    fn what_fails_for_one_of_our_domains_is_taken_for_that_one() {
        let mut fixture = Fixture::new();
        let a = authority("a.example", "192.0.2.1");
        for (from, local, question) in [
            ("192.0.2.1", HERE, 1),
            ("192.0.2.1", "two.example", 2),
            ("192.0.2.9", HERE, 3),
        ] {
            fixture.enter(from, local, "a.example", question);
        }
        assert_eq!(fixture.book.take(&a, Some(&domain(HERE))), [1, 3]);
        assert_eq!(fixture.book.take(&a, None), [2]);
        assert!(fixture.book.take(&a, None).is_empty());
    }
}
