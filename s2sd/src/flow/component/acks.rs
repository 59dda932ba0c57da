//! A component that says what it has taken, and is told what became of what it sent (XEP-0198).

use std::time::{Duration, Instant};

use tracing::info;
use xmpp_stream::stream_management::{
    Enabled, ErrorReply, Failed, Nonza, NonzaError, ReceiveLimits, SendLimits, SendWindow,
};
use xmpp_stream::{Condition, Element, StanzaCondition, StreamError};

use super::Serving;
use crate::closed::{By, Cause, Closed};
use crate::config::Queue;
use crate::protocol::receipts::{Receipts, Unsettled};
use crate::protocol::stanza::Stanza;

/// How often is looked for something to say that nobody asked for.
const EVERY: Duration = Duration::from_millis(500);
/// A component that acknowledges nothing for this long is gone.
const SILENT: Duration = Duration::from_secs(60);
/// So many stanzas of a component may be on the way.
const UNSETTLED: u32 = 65_536;

/// Both counters of a component's stream.
#[derive(Debug)]
pub(super) struct Acks {
    sent: SendWindow<Stanza>,
    /// So much of it was asked about.
    asked: u64,
    /// When the component last acknowledged something, or had nothing to acknowledge.
    heard: Instant,
    received: Receipts,
    /// When to look.
    look: Instant,
}

impl Acks {
    fn new(queue: &Queue, now: Instant) -> Self {
        let stanzas = u32::try_from(queue.stanzas).unwrap_or(u32::MAX);
        Self {
            sent: SendWindow::new(SendLimits::new(stanzas, queue.bytes)),
            asked: 0,
            heard: now,
            received: Receipts::new(ReceiveLimits::new(UNSETTLED)),
            look: now + EVERY,
        }
    }

    /// Whether a stanza of this size may be sent.
    pub(super) fn has_room(&self, size: usize) -> bool {
        self.sent.has_room(size)
    }

    /// A stanza is being sent. Who sends it asked for room.
    pub(super) fn sent(&mut self, stanza: Stanza, now: Instant) {
        if self.sent.is_empty() {
            self.heard = now;
        }
        let size = stanza.size();
        let _ = self.sent.push(stanza, size);
    }

    /// Whether to ask what has arrived; then it counts as asked.
    pub(super) fn asks(&mut self) -> bool {
        let asks = self.sent.wants_request();
        if asks {
            self.ask();
        }
        asks
    }

    fn ask(&mut self) {
        self.sent.requested();
        self.asked = self.sent.sent();
    }

    /// Whether more of the component's stanzas may come.
    pub(super) fn may_read(&self) -> bool {
        !self.received.is_full()
    }

    /// A stanza came. `None` where it was not asked whether it may.
    pub(super) fn receive(&self) -> Option<Unsettled> {
        self.received.receive().ok()
    }

    /// When there may be something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = !self.sent.is_empty() || self.received.unsettled() > 0;
        waits.then_some(self.look)
    }

    /// What was sent and is not acknowledged, oldest first.
    pub(super) fn unacknowledged(self) -> impl ExactSizeIterator<Item = Stanza> {
        self.sent.into_unacknowledged()
    }
}

impl Serving<'_> {
    /// An element of stream management.
    pub(super) fn managed(&mut self, read: Result<Nonza, NonzaError>) -> Result<(), Closed> {
        let nonza = match read {
            Ok(nonza) => nonza,
            Err(error) => match error.reply() {
                ErrorReply::Failed(failed) => {
                    self.say(&Nonza::Failed(failed));
                    return Ok(());
                }
                ErrorReply::Close(told) => return Err(self.refuses(&told, error.to_string())),
                _ => {
                    return Err({
                        let told = StreamError::new(Condition::InvalidXml);
                        self.refuses(&told, error.to_string())
                    });
                }
            },
        };
        let failed = |condition| Nonza::Failed(Failed::new(condition));
        match (nonza, &mut self.acks) {
            (Nonza::Enable(_), None) => {
                self.acks = Some(Acks::new(&self.snapshot.config.queue, Instant::now()));
                self.speak();
                let domain = self.attached.domain();
                self.router.components().acknowledges(domain, true);
                // A component has another connection as soon as it wants one: there is nothing to resume.
                self.say(&Nonza::Enabled(Enabled::new()));
                info!(domain = %self.attached.domain(), "the component acknowledges what it takes");
            }
            (Nonza::Enable(_), Some(_)) => self.say(&failed(StanzaCondition::UnexpectedRequest)),
            (Nonza::Resume(_), _) => self.say(&failed(StanzaCondition::ItemNotFound)),
            (Nonza::Request, Some(acks)) => {
                let h = acks.received.ack();
                self.say(&Nonza::Ack { h });
            }
            (Nonza::Ack { h }, Some(acks)) => {
                let mut taken = Vec::new();
                match acks.sent.acknowledge(h, &mut taken) {
                    Ok(_) => acks.heard = Instant::now(),
                    Err(error) => {
                        return Err(self.refuses(&error.stream_error(), error.to_string()));
                    }
                }
                for stanza in taken {
                    self.queue.settled(stanza.size());
                }
            }
            (Nonza::Request | Nonza::Ack { .. }, None) => {
                self.ignore("an acknowledgement before <enable/>");
            }
            // Nonza::Enabled, Nonza::Resumed, Nonza::Failed.
            _ => {
                self.ignore("an answer to what was not asked");
            }
        }
        Ok(())
    }

    /// What there is to say though nobody asked.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Closed> {
        let Some(acks) = &mut self.acks else {
            return Ok(());
        };
        acks.look = now + EVERY;
        if !acks.sent.is_empty() && now.duration_since(acks.heard) >= SILENT {
            return Err(Closed {
                by: By::Us,
                cause: Cause::Timeout("the component acknowledges nothing"),
            });
        }
        let asks = acks.asked < acks.sent.sent() && !acks.sent.is_empty();
        if asks {
            acks.ask();
        }
        let news = acks.received.news();
        if asks {
            self.say(&Nonza::Request);
        }
        if let Some(h) = news {
            self.say(&Nonza::Ack { h });
        }
        // What waited in the buffer because too much was on the way.
        self.read()
    }

    /// The same where it is much, after something was read.
    pub(super) fn tell_much(&mut self) {
        if let Some(h) = self
            .acks
            .as_ref()
            .and_then(|acks| acks.received.much_news())
        {
            self.say(&Nonza::Ack { h });
        }
    }

    pub(super) fn say(&mut self, nonza: &Nonza) {
        if !self.is_ending {
            self.conn.send(&nonza.to_bytes());
        }
    }

    fn refuses(&mut self, error: &StreamError, what: String) -> Closed {
        self.last_words(error);
        Closed {
            by: By::Us,
            cause: Cause::Protocol(error.condition, what.into()),
        }
    }

    /// Whether the component's elements are heard now.
    pub(super) fn may_read(&self) -> bool {
        self.acks.as_ref().is_none_or(Acks::may_read)
    }
}

/// An element of stream management, if it is one.
pub(super) fn read(element: &Element) -> Option<Result<Nonza, NonzaError>> {
    Nonza::from_element(element).transpose()
}
