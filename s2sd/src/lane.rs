//! The way from one served domain to one remote domain, as a value: what waits, whether there is a stream, when to try
//! again, what to give up.
//!
//! Order holds because there is one queue and only its head leaves. Whoever drives it opens streams, keeps time and
//! throws the dice for the back-off's jitter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::closed::Cause;
use crate::stanza::Stanza;

/// What a lane is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
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
    patience: Patience,
    state: State,
    waiting: VecDeque<(Instant, Stanza)>,
    failures: u32,
}

#[derive(Debug)]
enum State {
    /// No stream, and nobody asked for one. After a failure the lane is kept until then, lest the next stanza start
    /// the back-off anew.
    Idle { forget: Option<Instant> },
    /// A stream is being made. The last failure, should time run out meanwhile.
    Connecting(Option<Cause>),
    /// There is a stream.
    Up { since: Instant },
    /// The last attempt failed.
    Resting { until: Instant, cause: Cause },
}

/// What can happen to a lane.
#[derive(Debug)]
pub enum LaneEvent {
    /// The router has a stanza for it.
    Stanza(Stanza),
    /// A stream was made.
    Connected,
    /// None could be made. The number is a throw of the dice, for jitter.
    Failed(Cause, u32),
    /// The stream ended. What it had not written comes back, oldest first.
    Ended(Cause, Vec<Stanza>, u32),
    /// The deadline passed.
    Tick,
    /// The remote domain connected to us: it is alive.
    PeerAlive,
    /// Time is up: give everything back.
    GiveUp(Cause),
}

/// What the driver has to do.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, into a list that is kept"
)]
pub enum LaneEffect {
    /// Make a stream.
    Connect,
    /// Tell the sender.
    Bounce(Stanza, Cause),
}

/// A stream that lived this long was a good one: its end starts the back-off anew.
const GOOD: Duration = Duration::from_secs(60);

impl Lane {
    /// An idle lane.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            state: State::Idle { forget: None },
            waiting: VecDeque::new(),
            failures: 0,
        }
    }

    /// One event.
    pub fn handle(&mut self, now: Instant, event: LaneEvent, out: &mut Vec<LaneEffect>) {
        match event {
            LaneEvent::Stanza(stanza) => self.on_stanza(now, stanza, out),
            LaneEvent::Connected => self.state = State::Up { since: now },
            LaneEvent::Failed(cause, dice) => {
                if cause.is_permanent()
                    || matches!(cause, Cause::Dns(_) | Cause::Dnssec(_)) && self.failures > 0
                {
                    self.bounce_all(&cause, out);
                }
                self.rest(now, cause, dice);
                self.expire(now, out);
            }
            LaneEvent::Ended(cause, unwritten, dice) => {
                for stanza in unwritten.into_iter().rev() {
                    self.waiting.push_front((now, stanza));
                }
                self.on_end(now, cause, dice, out);
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
            LaneEvent::GiveUp(cause) => {
                self.state = State::Idle { forget: None };
                self.bounce_all(&cause, out);
            }
        }
    }

    /// The next stanza to write. Only with a stream.
    pub fn pop(&mut self) -> Option<Stanza> {
        match self.state {
            State::Up { .. } => self.waiting.pop_front().map(|(_, stanza)| stanza),
            _ => None,
        }
    }

    /// When [`LaneEvent::Tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let oldest = self
            .waiting
            .front()
            .map(|(since, _)| *since + self.patience.give_up);
        match &self.state {
            State::Up { .. } => None,
            State::Idle { forget } => *forget,
            State::Connecting(_) => oldest,
            State::Resting { until, .. } => {
                Some(oldest.map_or(*until, |oldest| oldest.min(*until)))
            }
        }
    }

    /// Whether the lane can be forgotten: nothing waits, there is no stream, and no failure to remember.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && matches!(self.state, State::Idle { forget: None })
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
        if let State::Resting { cause, .. } = &self.state
            && cause.is_permanent()
        {
            out.push(LaneEffect::Bounce(stanza, cause.clone()));
            return;
        }
        // Without a stream it will wait, and must not keep the buffer it was read into alive.
        let stanza = if self.is_up() {
            stanza
        } else {
            stanza.compact()
        };
        self.waiting.push_back((now, stanza));
        if matches!(self.state, State::Idle { .. }) {
            self.state = State::Connecting(None);
            out.push(LaneEffect::Connect);
        }
    }

    fn on_end(&mut self, now: Instant, cause: Cause, dice: u32, out: &mut Vec<LaneEffect>) {
        if let State::Up { since } = self.state
            && now.duration_since(since) >= GOOD
        {
            self.failures = 0;
        }
        let peaceful = matches!(cause, Cause::Finished | Cause::Idle | Cause::Shutdown);
        if peaceful && self.failures == 0 {
            self.state = State::Idle { forget: None };
            if !self.waiting.is_empty() {
                // Counted: a peer that takes streams only to close them must not be dialled in a circle.
                self.failures = 1;
                self.state = State::Connecting(Some(cause));
                out.push(LaneEffect::Connect);
            }
        } else {
            self.rest(now, cause, dice);
        }
    }

    fn rest(&mut self, now: Instant, cause: Cause, dice: u32) {
        let doubled = self
            .patience
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let pause = doubled.min(self.patience.max);
        // Jitter: up to a quarter less, so that many lanes to one lost server do not return together.
        let jitter = pause.mul_f64(f64::from(dice) / f64::from(u32::MAX) / 4.0);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting {
            until: now + (pause - jitter),
            cause,
        };
    }

    fn wake(&mut self, now: Instant, out: &mut Vec<LaneEffect>) {
        let forget = (self.failures > 0).then(|| now + self.patience.max);
        let last = match std::mem::replace(&mut self.state, State::Idle { forget }) {
            State::Resting { cause, .. } => Some(cause),
            _ => None,
        };
        if !self.waiting.is_empty() {
            self.state = State::Connecting(last);
            out.push(LaneEffect::Connect);
        }
    }

    fn expire(&mut self, now: Instant, out: &mut Vec<LaneEffect>) {
        let cause = match &self.state {
            State::Idle { .. } | State::Up { .. } => return,
            State::Connecting(cause) => {
                cause.clone().unwrap_or(Cause::Timeout("no stream in time"))
            }
            State::Resting { cause, .. } => cause.clone(),
        };
        while let Some((since, _)) = self.waiting.front() {
            if now.duration_since(*since) < self.patience.give_up {
                break;
            }
            if let Some((_, stanza)) = self.waiting.pop_front() {
                out.push(LaneEffect::Bounce(stanza, cause.clone()));
            }
        }
    }

    fn bounce_all(&mut self, cause: &Cause, out: &mut Vec<LaneEffect>) {
        out.extend(
            self.waiting
                .drain(..)
                .map(|(_, stanza)| LaneEffect::Bounce(stanza, cause.clone())),
        );
    }
}

#[cfg(test)]
mod tests;
