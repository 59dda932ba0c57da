//! What is being written to one connection: whose it is until the socket has taken it, and who is to blame for what follows.

use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use xmpp_stream::{ContentNamespace, Context, Element};

use crate::net::conn::{Conn, ENOUGH_TO_WRITE, Progress};
use crate::protocol::acks::Acks;
use crate::protocol::carried::Carried;
use crate::protocol::lane::Waiting;
use crate::protocol::stall::Stall;
use crate::protocol::stanza::Stanza;
use crate::protocol::suspects::Suspects;
use crate::protocol::unwritten::Unwritten;

/// What was given to an open stream.
pub(crate) struct Writing {
    /// Stanzas whose last byte the socket has not taken yet.
    pub(super) unwritten: Unwritten<Leaving>,
    /// Those that it has taken, where the peer acknowledges what it takes.
    pub(super) acks: Option<Acks<Leaving>>,
    /// When it last said anything.
    pub(crate) quiet_since: Instant,
    /// When it last carried what is not our own answer.
    pub(crate) used: Instant,
    /// When it last carried anything.
    pub(crate) answered: Instant,
    stall: Stall,
    pub(super) carried: Carried,
    pub(super) suspects: Suspects,
    /// The other server closed the connection.
    pub(super) cut: bool,
    /// Our end tag is written: nothing follows it.
    pub(crate) is_over: bool,
}

/// A stanza in the stream's buffer, and the place of its lane, as long as that is here.
pub(super) struct Leaving {
    pub(super) place: Option<usize>,
    pub(super) waiting: Waiting,
}

impl Writing {
    /// Nothing was written yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            unwritten: Unwritten::default(),
            acks: None,
            quiet_since: now,
            used: now,
            answered: now,
            stall: Stall::default(),
            carried: Carried::default(),
            suspects: Suspects::default(),
            cut: false,
            is_over: false,
        }
    }

    /// A stanza of the lane in this place goes into the connection's buffer.
    pub(super) fn write(&mut self, conn: &mut Conn, place: usize, waiting: Waiting) {
        let waiting = match waiting.is_again() {
            true => waiting.delayed(Instant::now(), SystemTime::now()),
            false => waiting,
        };
        let stanza = &waiting.stanza;
        let is_own = stanza.is_own();
        let begin = conn.queued();
        stanza
            .element()
            .write_for(ContentNamespace::Server, conn.out());
        let bytes = begin..conn.queued();
        self.carried.note(stanza.element());
        let place = Some(place);
        self.unwritten.push(bytes, Leaving { place, waiting });
        self.quiet_since = Instant::now();
        self.answered = self.quiet_since;
        if !is_own {
            self.used = self.quiet_since;
        }
    }

    /// A space, so that the peer sees that the stream is alive (RFC 6120 §4.6.1).
    pub(crate) fn keep_alive(&mut self, conn: &mut Conn) {
        conn.send(b" ");
        self.quiet_since = Instant::now();
    }

    /// When the stream is to be given up because the peer reads nothing, as things stand.
    pub(crate) fn stalled_at(&mut self, conn: &Conn, limit: Duration) -> Option<Instant> {
        let (written, queued) = (conn.written(), !conn.is_flushed());
        self.stall.deadline(Instant::now(), written, queued, limit)
    }

    /// Whether that time has come.
    pub(crate) fn is_stalled(&self, conn: &Conn, limit: Duration) -> bool {
        self.stall.is_over(Instant::now(), conn.written(), limit)
    }

    /// Whether the other server closed the connection, as far as this says.
    pub(crate) fn note(&mut self, progress: &Result<Progress, std::io::Error>) {
        self.cut = match progress {
            Ok(progress) => *progress == Progress::End,
            Err(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
            ),
        };
    }

    /// The peer sent a stanza on this stream. An error answers what it answers.
    pub(crate) fn came(&mut self, stanza: &Stanza) {
        self.used = Instant::now();
        // What was answered is blamed for nothing.
        self.carried.answered(stanza.element());
    }

    /// Whether more should be read of a stream that carries both directions. What waits for the peer to read it holds that up
    /// if it is answers of ours to what it sent, and not if it is stanzas: else both servers could wait for each other.
    pub(crate) fn may_read(&self, conn: &Conn) -> bool {
        let waiting = conn.queued() - conn.written();
        waiting.saturating_sub(self.unwritten.bytes()) < ENOUGH_TO_WRITE as u64
    }

    /// Whether an error answers what this stream carried: what stands for that, to be bounced.
    pub(crate) fn answered_by(&mut self, error: &Element) -> Option<Stanza> {
        own_stanza(self.carried.answered(error)?)
    }

    /// What is being written of the lane in this place.
    pub(super) fn of(&self, place: usize) -> impl Iterator<Item = &Waiting> {
        let taken = self.acks.iter().flat_map(Acks::iter);
        let leaving = taken.chain(self.unwritten.iter());
        let its = leaving.filter(move |leaving| leaving.place == Some(place));
        its.map(|leaving| &leaving.waiting)
    }

    /// Both sides count from here on.
    pub(crate) fn counts(&mut self, now: Instant) {
        self.acks = Some(Acks::without_bound(now));
    }

    /// The lane in this place is not here any more.
    pub(super) fn forget(&mut self, place: usize) {
        for leaving in self.acks.iter_mut().flat_map(Acks::iter_mut) {
            leaving.place = leaving.place.filter(|its| *its != place);
        }
        for leaving in self.unwritten.iter_mut() {
            leaving.place = leaving.place.filter(|its| *its != place);
        }
    }
}

/// What stands for a stanza that is gone, so that it can be answered.
pub(super) fn own_stanza(stub: Bytes) -> Option<Stanza> {
    let element = Element::parse(stub, &Context::new(ContentNamespace::Server)).ok()?;
    Stanza::own(element).ok()
}
