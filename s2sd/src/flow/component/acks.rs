//! A component that acknowledges stanzas, and gets acknowledgements of its own (XEP-0198): without resumption, since a
//! component has another connection as soon as it wants one.

use std::time::Instant;

use tracing::info;
use xmpp_stream::stream_management::{Enabled, ErrorReply, Failed, Nonza, NonzaError};
use xmpp_stream::{Condition, StanzaCondition, StreamError};

use super::Serving;
use crate::closed::{By, Cause, Closed};
use crate::protocol::acks::{Acks, Silent};

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
                    let told = StreamError::new(Condition::InvalidXml);
                    return Err(self.refuses(&told, error.to_string()));
                }
            },
        };
        let failed = |condition| Nonza::Failed(Failed::new(condition));
        match (nonza, &mut self.acks) {
            (Nonza::Enable(_), None) => {
                let queue = &self.snapshot.config.queue;
                self.acks = Some(Acks::new(queue.stanzas, queue.bytes, Instant::now()));
                self.speak();
                let domain = self.attached.domain();
                self.router.components().acknowledges(domain, true);
                info!(%domain, "the component acknowledges what it takes");
                self.say(&Nonza::Enabled(Enabled::new()));
            }
            (Nonza::Enable(_), Some(_)) => self.say(&failed(StanzaCondition::UnexpectedRequest)),
            (Nonza::Resume(_), _) => self.say(&failed(StanzaCondition::ItemNotFound)),
            (Nonza::Request, Some(acks)) => {
                let ack = acks.ack();
                self.say(&ack);
            }
            (Nonza::Ack { h }, Some(acks)) => {
                let mut taken = Vec::new();
                if let Err(error) = acks.acknowledged(h, Instant::now(), &mut taken) {
                    return Err(self.refuses(&error.stream_error(), error.to_string()));
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

    /// Sends what is due without a request.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Closed> {
        let Some(acks) = &mut self.acks else {
            return Ok(());
        };
        match acks.look(now) {
            Ok(says) => says.iter().for_each(|nonza| self.say(nonza)),
            Err(Silent) => {
                return Err(Closed {
                    by: By::Us,
                    cause: Cause::Timeout("the component acknowledges nothing"),
                });
            }
        }
        // What waited in the buffer because too much was on the way.
        self.read()
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
