//! The peer's acknowledgements of what it has taken (XEP-0198), and our requests for them.

use std::time::Instant;

use tracing::{debug, trace};
use xmpp_stream::StreamError;
use xmpp_stream::stream_management::{ErrorReply, Nonza, NonzaError};

use super::{Sending, Writing};
use crate::net::conn::Conn;
use crate::protocol::acks::{Acks, Silent};
use crate::protocol::receipts::Unsettled;

/// The counts of both sides do not agree any more: the error for the peer, and what it was.
pub(crate) struct Miscounted(pub(crate) StreamError, pub(crate) String);

impl Sending {
    /// An element of stream management, on a stream on which both sides count.
    pub(crate) fn managed(
        &mut self,
        writing: &mut Writing,
        conn: &mut Conn,
        read: Result<Nonza, NonzaError>,
    ) -> Result<(), Miscounted> {
        let nonza = match read {
            Ok(nonza) => nonza,
            Err(error) => match error.reply() {
                ErrorReply::Close(told) => return Err(Miscounted(told, error.to_string())),
                // What it asks for is ours to ask.
                _ => return Ok(()),
            },
        };
        match (nonza, &mut writing.acks) {
            (Nonza::Request, Some(_)) if writing.is_over => {}
            (Nonza::Request, Some(acks)) => conn.send(&acks.ack().to_bytes()),
            (Nonza::Ack { h }, Some(acks)) => {
                let mut taken = Vec::new();
                let counted = acks.acknowledged(h, Instant::now(), &mut taken);
                counted.map_err(|error| Miscounted(error.stream_error(), error.to_string()))?;
                trace!(
                    h,
                    stanzas = taken.len(),
                    "the other server has taken stanzas"
                );
                taken.iter().for_each(|leaving| self.lanes.settled(leaving));
            }
            // It does not count after all.
            (Nonza::Failed(_), acks) => {
                let taken = acks.take().map(Acks::unacknowledged);
                for leaving in taken.into_iter().flatten() {
                    self.lanes.settled(&leaving);
                }
            }
            (Nonza::Enabled(_), Some(_)) => debug!("the other server acknowledges what it takes"),
            _ => {}
        }
        Ok(())
    }
}

impl Writing {
    /// A stanza of the peer's came. What is settled when this is dropped, if both sides count.
    pub(crate) fn receive(&self) -> Option<Unsettled> {
        self.acks.as_ref()?.receive()
    }

    /// Whether more of the peer's stanzas may come.
    pub(crate) fn may_count(&self) -> bool {
        self.acks.as_ref().is_none_or(Acks::may_read)
    }

    /// When there may be something to say about the counts.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.acks.as_ref()?.deadline()
    }

    /// Says it.
    pub(crate) fn look(&mut self, conn: &mut Conn) -> Result<(), Silent> {
        if let Some(acks) = &mut self.acks {
            for nonza in acks.look(Instant::now())? {
                if !self.is_over {
                    conn.send(&nonza.to_bytes());
                }
            }
        }
        Ok(())
    }

    /// The same after something was sent or read.
    pub(crate) fn ask(&mut self, conn: &mut Conn) {
        if let Some(acks) = self.acks.as_mut().filter(|_| !self.is_over) {
            if acks.asks() {
                conn.send(&Nonza::Request.to_bytes());
            }
            if let Some(ack) = acks.much() {
                conn.send(&ack.to_bytes());
            }
        }
    }
}
