//! How many lines others can cause: so many at once of each kind from each network, then one a second; the rest is counted.
//!
//! A value without a clock. The number of lines left out comes with the next line of its kind from there, or by [`Limiter::due`].

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use tracing::Level;

/// One line in this time, of each kind from each network.
const SECOND: Duration = Duration::from_secs(1);
/// One line of each kind in this time from strangers, wherever they are;
const ANYWHERE: Duration = Duration::from_millis(100);
/// so many at once.
const ANYWHERE_AT_ONCE: u32 = 10;
/// Of so many kinds and networks it is known what was left out.
const MAX_SOURCES: usize = 1024;

/// Who causes a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// A peer that has proved nothing.
    Unauthenticated,
    /// A peer that has; its lines are too many only when it comes and goes.
    Peer,
}

impl By {
    /// How many lines may come at once.
    fn at_once(self) -> u32 {
        match self {
            Self::Unauthenticated => 1,
            Self::Peer => 100,
        }
    }
}

/// From where: the network that one party has, as a rule. `None`: from nowhere in particular.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Source(Option<IpAddr>);

impl Source {
    pub(super) const NOWHERE: Self = Self(None);

    /// The /24 of an IPv4 address, the /48 of an IPv6 address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                IpAddr::from([a, b, c, 0])
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
            }
        }))
    }
}

/// What is known of each kind `K` of line.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    sources: HashMap<(K, Source), Told>,
    kinds: HashMap<K, Kind>,
}

#[derive(Debug)]
struct Told {
    /// When all that was written is paid for by time.
    until: Instant,
    left_out: u64,
}

#[derive(Debug)]
struct Kind {
    level: Level,
    what: String,
    until: Instant,
    /// Of sources that are not known any more.
    left_out: u64,
}

/// Lines that were left out and not counted in the log yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    pub(super) level: Level,
    /// What they were like.
    pub(super) what: String,
    pub(super) lines: u64,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Self {
            sources: HashMap::new(),
            kinds: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Limiter<K> {
    /// Whether a line is written, and with how many more like it that were not.
    pub(super) fn admit(
        &mut self,
        from: (K, Source),
        by: By,
        level: Level,
        what: impl FnOnce() -> String,
        now: Instant,
    ) -> Option<u64> {
        let known = self.kinds.entry(from.0.clone()).or_insert_with(|| Kind {
            level,
            what: what(),
            until: now,
            left_out: 0,
        });
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&from) {
            known.left_out += 1;
            return None;
        }
        let told = self.sources.entry(from).or_insert(Told {
            until: now,
            left_out: 0,
        });
        let here = next(told.until, now, SECOND, by.at_once());
        let anywhere = match by {
            By::Unauthenticated => next(known.until, now, ANYWHERE, ANYWHERE_AT_ONCE),
            By::Peer => Some(known.until),
        };
        match (here, anywhere) {
            (Some(here), Some(anywhere)) => {
                told.until = here;
                known.until = anywhere;
                Some(std::mem::take(&mut told.left_out))
            }
            _ => {
                told.left_out += 1;
                None
            }
        }
    }

    /// What was left out and has no line to be said with. To be called every second.
    pub(super) fn due(&mut self, now: Instant) -> Vec<LeftOut> {
        let kinds = &mut self.kinds;
        self.sources.retain(|(kind, _), told| {
            let rests = told.until + SECOND <= now;
            if rests && let Some(kind) = kinds.get_mut(kind) {
                kind.left_out += told.left_out;
            }
            !rests
        });
        let left_out = kinds.values_mut().filter(|kind| kind.left_out > 0);
        let due = left_out.map(|kind| LeftOut {
            level: kind.level,
            what: kind.what.clone(),
            lines: std::mem::take(&mut kind.left_out),
        });
        due.collect()
    }
}

#[cfg(test)]
impl<K> Limiter<K> {
    /// As if so much time had gone by.
    pub(super) fn go_by(&mut self, time: Duration) {
        let sources = self.sources.values_mut().map(|told| &mut told.until);
        let kinds = self.kinds.values_mut().map(|kind| &mut kind.until);
        sources.chain(kinds).for_each(|until| *until -= time);
    }
}

/// Until when it is paid for, if one more may come now: `at_once`, and then one in each `pause`.
fn next(until: Instant, now: Instant, pause: Duration, at_once: u32) -> Option<Instant> {
    let ahead = until.saturating_duration_since(now);
    (ahead <= pause * (at_once - 1)).then(|| until.max(now) + pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(
        limiter: &mut Limiter<u32>,
        kind: u32,
        from: &str,
        by: By,
        now: Instant,
    ) -> Option<u64> {
        let source = Source::of(from.parse().unwrap());
        limiter.admit(
            (kind, source),
            by,
            Level::INFO,
            || format!("kind {kind}"),
            now,
        )
    }

    #[test]
    fn a_kind_from_a_network_has_a_line_a_second_and_the_next_counts_what_was_left_out() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for (at, kind, from, want) in [
            (0, 1, "192.0.2.1", Some(0)),
            (10, 1, "192.0.2.1", None),
            (20, 1, "192.0.2.200", None),
            (20, 1, "::ffff:192.0.2.3", None),
            // Another network, and another kind.
            (30, 1, "192.0.3.1", Some(0)),
            (30, 2, "192.0.2.1", Some(0)),
            (999, 1, "192.0.2.1", None),
            (1_000, 1, "192.0.2.1", Some(4)),
            (1_001, 1, "192.0.2.1", None),
            (9_000, 1, "192.0.2.1", Some(1)),
            (9_000, 1, "2001:db8:1::1", Some(0)),
            (9_001, 1, "2001:db8:1:ffff::1", None),
            (9_002, 1, "2001:db8:2::1", Some(0)),
        ] {
            let now = start + Duration::from_millis(at);
            let got = admit(&mut limiter, kind, from, By::Unauthenticated, now);
            assert_eq!(got, want, "{at} {kind} {from}");
        }
    }

    #[test]
    fn strangers_from_everywhere_have_ten_lines_of_a_kind_a_second() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let mut written = 0;
        for at in 0..10_000_u32 {
            let now = start + Duration::from_millis(at.into());
            let from = format!("10.{}.{}.1", at / 256, at % 256);
            written += u32::from(admit(&mut limiter, 1, &from, By::Unauthenticated, now).is_some());
            if at % 1_000 == 0 {
                limiter.due(now);
            }
        }
        assert!((90..=110).contains(&written), "{written}");
        assert!(limiter.sources.len() <= MAX_SOURCES);
    }

    #[test]
    fn a_peer_that_proved_itself_has_many_lines_at_once() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let mut admitted = || admit(&mut limiter, 1, "192.0.2.1", By::Peer, now).is_some();
        assert_eq!((0..1_000).filter(|_| admitted()).count(), 100);
        let next = admit(&mut limiter, 1, "192.0.2.1", By::Peer, now + SECOND);
        assert_eq!(next, Some(900));
    }

    #[test]
    fn nothing_that_was_left_out_is_forgotten() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let mut written = 0_u64;
        // More networks than are known.
        for at in 0..5_000_u32 {
            let from = format!("10.{}.{}.1", at / 256, at % 256);
            for _ in 0..2 {
                let more = admit(&mut limiter, 1, &from, By::Unauthenticated, start);
                written += more.map_or(0, |more| more + 1);
            }
        }
        assert_eq!(limiter.sources.len(), MAX_SOURCES);
        let counted = |due: Vec<LeftOut>| due.iter().map(|it| it.lines).sum::<u64>();
        let full = counted(limiter.due(start));
        let later = limiter.due(start + 2 * SECOND);
        assert_eq!(later[0].what, "kind 1");
        assert_eq!(written + full + counted(later), 10_000);
        assert!(limiter.sources.is_empty());
        assert_eq!(limiter.due(start + 3 * SECOND), []);
    }
}
