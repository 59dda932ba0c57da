//! The queue from one served domain to one remote domain, as a value: its stanzas, whether there is a stream, when to
//! try again, when to give up.
//!
//! Order holds because there is one queue and only its head leaves. The driver opens streams, keeps time and gives the
//! random numbers for the back-off's jitter.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use crate::closed::Cause;
use crate::protocol::stanza::Stanza;

mod report;

pub use report::{AGES, LaneReport};

/// What a lane is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// A stanza older than this is bounced.
    pub give_up: Duration,
    /// The first pause after a failure,
    pub first: Duration,
    /// doubling up to this.
    pub max: Duration,
}

/// A lane.
#[derive(Debug)]
pub struct Lane {
    backoff: Backoff,
    state: State,
    waiting: VecDeque<Waiting>,
    failures: u32,
    /// Since when every answer of the peer was that it does not want the pair.
    refused: Option<Instant>,
}

/// A stanza in a lane, also while a stream writes it.
#[derive(Debug)]
pub struct Waiting {
    /// The stanza.
    pub stanza: Stanza,
    /// When it was accepted. Its age counts from here in any case.
    since: Instant,
    /// How often the peer ended a stream while it was being written, and how.
    strikes: u8,
    /// A stream broke that had carried it, and the peer did not acknowledge it: it may have arrived.
    is_again: bool,
}

impl Waiting {
    /// It was sent, and is not acknowledged.
    pub(crate) fn may_have_arrived(self) -> Self {
        Self {
            is_again: true,
            ..self
        }
    }

    /// The same, with the time when it was accepted.
    pub(crate) fn delayed(self, now: Instant, clock: SystemTime) -> Self {
        let accepted = clock.checked_sub(now.duration_since(self.since));
        let by = self.stanza.sender().clone();
        let accepted = accepted.unwrap_or(SystemTime::UNIX_EPOCH);
        let stanza = self.stanza.delayed(&by, accepted);
        Self { stanza, ..self }
    }

    /// Whether it may have arrived before.
    pub(crate) fn is_again(&self) -> bool {
        self.is_again
    }

    /// What becomes of it when it is given up: what may have arrived is not bounced.
    fn given_up(self, cause: &Cause) -> LaneEffect {
        match self.is_again {
            true => LaneEffect::Unknown(self.stanza),
            false => LaneEffect::Bounce(self.stanza, cause.clone()),
        }
    }
}

/// How a stream ended that had written a part of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broke {
    /// The connection broke; we do not know at which end.
    Off,
    /// The other server closed it, or the connection.
    Closed,
}

#[derive(Debug)]
enum State {
    /// No stream, and no stanza that needs one. After a failure the lane stays until then, so that the next stanza does
    /// not start the back-off anew.
    Idle { forget: Option<Instant> },
    /// A stream is being made. The last failure, should time run out meanwhile.
    Connecting(Option<Cause>),
    /// There is a stream.
    Up { since: Instant },
    /// The last attempt failed. If it is `lasting`, no stanza waits for the next.
    Resting {
        until: Instant,
        cause: Cause,
        lasting: bool,
    },
}

/// What can happen to a lane.
#[derive(Debug)]
pub enum LaneEvent {
    /// The router has a stanza for it.
    Stanza(Stanza),
    /// A stream was made.
    Connected,
    /// None could be made.
    Failed {
        /// Why.
        cause: Cause,
        /// Whether the pair had a stream within hours.
        worked: bool,
        /// A random number, for jitter.
        random: u32,
    },
    /// The stream ended. The stanzas that it had not written come back, oldest first.
    Ended {
        /// Why.
        cause: Cause,
        /// The stanzas that the socket had not taken whole.
        unwritten: Vec<Waiting>,
        /// If it had taken a part of the first of these.
        begun: Option<Broke>,
        /// A random number, for jitter.
        random: u32,
    },
    /// The deadline passed.
    Tick,
    /// The remote domain connected to us: it is alive.
    PeerAlive,
    /// The configuration or the network changed, or the operator mended a fault: former failures no longer count. If an
    /// attempt is going on, the driver has to make it anew.
    Retry,
    /// Time is up: give everything back.
    GiveUp(Cause),
}

/// What the driver has to do.
#[derive(Debug)]
pub enum LaneEffect {
    /// Make a stream.
    Connect,
    /// Tell the sender.
    Bounce(Stanza, Cause),
    /// Count it: it is given up, and may have arrived. Its sender hears nothing.
    Unknown(Stanza),
}

/// A stream that lived this long was a good one: its end starts the back-off anew.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// A peer that may be starting up when it refuses the pair is believed when it still does after this time, and was there
/// all the while.
const SAID_AGAIN: Duration = Duration::from_secs(2 * 60);
/// So often a stream may end over one stanza: twice with an error,
const STRIKES: u8 = 6;
const BY_AN_ERROR: u8 = STRIKES / 2;
/// three times because the other server closes it.
const BY_CLOSING: u8 = STRIKES / 3;
/// How many steps of the back-off a lasting failure is believed without another attempt.
const LASTING_STEPS: u32 = 4;

impl Lane {
    /// An idle lane.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            state: State::Idle { forget: None },
            waiting: VecDeque::new(),
            failures: 0,
            refused: None,
        }
    }

    /// One event.
    pub fn handle(&mut self, now: Instant, event: LaneEvent, out: &mut Vec<LaneEffect>) {
        match event {
            LaneEvent::Stanza(stanza) => self.on_stanza(now, stanza, out),
            LaneEvent::Connected => {
                self.refused = None;
                self.state = State::Up { since: now };
            }
            LaneEvent::Failed {
                cause,
                worked,
                random,
            } => {
                let lasting = self.is_lasting(now, &cause, worked);
                if lasting {
                    self.bounce_all(&cause, out);
                }
                self.rest(now, cause, lasting, random);
                self.expire(now, out);
            }
            LaneEvent::Ended {
                cause,
                unwritten,
                begun,
                random,
            } => {
                for waiting in unwritten.into_iter().rev() {
                    self.waiting.push_front(waiting);
                }
                if let Some(broke) = begun {
                    self.blame_first(&cause, broke, out);
                }
                self.on_end(now, cause, random, out);
            }
            LaneEvent::Tick => {
                self.expire(now, out);
                if let State::Resting { until, .. } = &self.state
                    && *until <= now
                {
                    self.wake(now, out);
                }
                if let State::Idle {
                    forget: Some(forget),
                } = &self.state
                    && *forget <= now
                {
                    self.failures = 0;
                    self.state = State::Idle { forget: None };
                }
            }
            LaneEvent::PeerAlive => {
                self.failures = 0;
                match self.state {
                    State::Resting { .. } => self.wake(now, out),
                    State::Idle { .. } => self.state = State::Idle { forget: None },
                    State::Connecting(_) | State::Up { .. } => {}
                }
            }
            LaneEvent::Retry => self.forget_failures(out),
            LaneEvent::GiveUp(cause) => {
                self.state = State::Idle { forget: None };
                self.bounce_all(&cause, out);
            }
        }
    }

    /// The next stanza to write. Only with a stream.
    pub fn pop(&mut self) -> Option<Waiting> {
        match self.state {
            State::Up { .. } => {
                let next = self.waiting.pop_front();
                release(&mut self.waiting);
                next
            }
            _ => None,
        }
    }

    /// When [`LaneEvent::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let oldest = self
            .waiting
            .front()
            .map(|waiting| waiting.since + self.backoff.give_up);
        match &self.state {
            State::Up { .. } => None,
            State::Idle { forget } => *forget,
            State::Connecting(_) => oldest,
            State::Resting { until, .. } => {
                Some(oldest.map_or(*until, |oldest| oldest.min(*until)))
            }
        }
    }

    /// Whether to forget the lane: no stanza, no stream, and no failure to remember.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && matches!(self.state, State::Idle { forget: None })
    }

    /// Whether the last attempt failed, or an attempt after it is being made.
    pub fn is_failing(&self) -> bool {
        match self.state {
            State::Resting { .. } | State::Connecting(Some(_)) => true,
            State::Connecting(None) | State::Idle { .. } => self.failures > 0,
            State::Up { .. } => false,
        }
    }

    /// Whether it asked for a stream and has none yet.
    pub fn wants_stream(&self) -> bool {
        matches!(self.state, State::Connecting(_))
    }

    /// How many stanzas wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is a stream.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    fn on_stanza(&mut self, now: Instant, stanza: Stanza, out: &mut Vec<LaneEffect>) {
        if let State::Resting {
            cause,
            lasting: true,
            ..
        } = &self.state
        {
            out.push(LaneEffect::Bounce(stanza, cause.clone()));
            return;
        }
        self.waiting.push_back(Waiting {
            stanza,
            since: now,
            strikes: 0,
            is_again: false,
        });
        if matches!(self.state, State::Idle { .. }) {
            self.state = State::Connecting(None);
            out.push(LaneEffect::Connect);
        }
    }

    fn on_end(&mut self, now: Instant, cause: Cause, random: u32, out: &mut Vec<LaneEffect>) {
        if let State::Up { since } = self.state
            && now.duration_since(since) >= STABLE_AFTER
        {
            self.failures = 0;
        }
        // However a stream ended, that is no reason to keep others waiting, let alone to bounce them.
        if self.failures == 0 {
            self.state = State::Idle { forget: None };
            if !self.waiting.is_empty() {
                // Counted: a peer that takes streams only to close them must not be dialled in a circle.
                self.failures = 1;
                self.state = State::Connecting(Some(cause));
                out.push(LaneEffect::Connect);
            }
        } else {
            self.rest(now, cause, false, random);
        }
    }

    /// Whether the pair cannot work, so that waiting is pointless. Some causes say nothing about the pair, or come from
    /// a peer that may be starting up and with which the pair worked. These count only when they come again, from a
    /// server that answered every attempt meanwhile.
    fn is_lasting(&mut self, now: Instant, cause: &Cause, worked: bool) -> bool {
        if !cause.is_permanent() {
            self.refused = None;
            return false;
        }
        if cause.is_about_the_pair() && !(worked && cause.may_be_starting_up()) {
            return true;
        }
        let first = *self.refused.get_or_insert(now);
        now.duration_since(first) >= SAID_AGAIN
    }

    /// The first in the queue was being written when the stream ended. It is not sent for ever.
    fn blame_first(&mut self, cause: &Cause, broke: Broke, out: &mut Vec<LaneEffect>) {
        let (strikes, refusal) = match (cause.blames_a_stanza(), broke) {
            (Some(blame), _) => (BY_AN_ERROR, blame.into()),
            (None, Broke::Closed) => (BY_CLOSING, Cause::StanzaRefused(None)),
            (None, Broke::Off) => return,
        };
        if let Some(first) = self.waiting.front_mut() {
            first.strikes = first.strikes.saturating_add(strikes);
        }
        let is_out = |first: &Waiting| first.strikes >= STRIKES;
        if let Some(first) = pop_front_if(&mut self.waiting, is_out) {
            out.push(first.given_up(&refusal));
        }
    }

    /// A quarter of the first pause for the first failure, which may be over in a moment; then the first, doubling.
    fn rest(&mut self, now: Instant, cause: Cause, lasting: bool, random: u32) {
        let steps = match lasting {
            true => self.failures.min(LASTING_STEPS),
            false => self.failures,
        };
        let doubled = |steps: u32| {
            let factor = 1_u32.checked_shl(steps).unwrap_or(u32::MAX);
            self.backoff.first.saturating_mul(factor)
        };
        let pause = steps.checked_sub(1).map_or(self.backoff.first / 4, doubled);
        let pause = pause.min(self.backoff.max);
        // Jitter: up to a quarter less, so that many lanes to one lost server do not return together.
        let jitter = pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 4.0);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting {
            until: now + (pause - jitter),
            cause,
            lasting,
        };
    }

    fn wake(&mut self, now: Instant, out: &mut Vec<LaneEffect>) {
        let forget = (self.failures > 0).then(|| now + self.backoff.max);
        let last = match std::mem::replace(&mut self.state, State::Idle { forget }) {
            State::Resting { cause, .. } => Some(cause),
            _ => None,
        };
        if !self.waiting.is_empty() {
            self.state = State::Connecting(last);
            out.push(LaneEffect::Connect);
        }
    }

    fn forget_failures(&mut self, out: &mut Vec<LaneEffect>) {
        self.failures = 0;
        self.refused = None;
        match self.state {
            State::Up { .. } => return,
            State::Idle { .. } | State::Resting { .. } if self.waiting.is_empty() => {
                self.state = State::Idle { forget: None };
                return;
            }
            State::Idle { .. } | State::Resting { .. } | State::Connecting(_) => {}
        }
        self.state = State::Connecting(None);
        out.push(LaneEffect::Connect);
    }

    fn expire(&mut self, now: Instant, out: &mut Vec<LaneEffect>) {
        let cause = match &self.state {
            State::Idle { .. } | State::Up { .. } => return,
            State::Connecting(cause) => {
                cause.clone().unwrap_or(Cause::Timeout("no stream in time"))
            }
            State::Resting { cause, .. } => cause.clone(),
        };
        let give_up = self.backoff.give_up;
        let is_old = |first: &Waiting| now.duration_since(first.since) >= give_up;
        while let Some(old) = pop_front_if(&mut self.waiting, is_old) {
            out.push(old.given_up(&cause));
        }
        release(&mut self.waiting);
    }

    fn bounce_all(&mut self, cause: &Cause, out: &mut Vec<LaneEffect>) {
        out.extend(
            self.waiting
                .drain(..)
                .map(|waiting| waiting.given_up(cause)),
        );
        release(&mut self.waiting);
    }
}

/// An empty queue keeps no room for former stanzas, but for a few.
pub(crate) fn release<T>(queue: &mut VecDeque<T>) {
    const FEW: usize = 32;
    if queue.is_empty() && queue.capacity() > FEW {
        *queue = VecDeque::new();
    }
}

/// The first, if it is one of these.
pub(crate) fn pop_front_if<T>(queue: &mut VecDeque<T>, is_one: impl Fn(&T) -> bool) -> Option<T> {
    queue
        .front()
        .is_some_and(is_one)
        .then(|| queue.pop_front())?
}

#[cfg(test)]
mod tests;
