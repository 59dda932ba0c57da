//! A connection: TCP or TLS under the codec, driven from one task.
//!
//! Reading and writing make progress together: a peer that does not read must not keep us from seeing that it closed
//! the stream. The read buffer is given back while there is nothing to read.
//!
//! The account of the other end pays for what a connection holds. If the account is at its limit, the connection stops
//! reading, or ends if an element is too large to wait for; see [`Conn::progress`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::net::metered::Metered;
use crate::protocol::budget::{Account, Charge};
use crate::protocol::counters::Counters;
use crate::trust::PeerChain;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsStream;
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;
use xmpp_stream::{Boundary, Codec, DecodeError, Frame, XmlLimits};

/// How much is read at once.
const READ: usize = 32 * 1024;
/// The same for an unauthenticated peer, in clear, and of what TLS decrypts. There may be many at the same time, each
/// with little to send.
const READ_OF_STRANGER: usize = 4 * 1024;
const TURN_OF_STRANGER: usize = 1024;
/// An unauthenticated peer has this long to read our last bytes once the server stops.
const UNPROVED_CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// How much s2sd reads and discards from a peer after a stream is over,
pub(crate) const MAX_DISCARD: usize = 16 * 1024 * 1024;
/// and from an unauthenticated peer.
const HEAR_STRANGER_OUT: usize = 1024 * 1024;
/// From here on nothing is taken from a queue until the socket has taken some: the bound of the write buffer, give or
/// take one stanza.
pub(crate) const ENOUGH_TO_WRITE: usize = 256 * 1024;
/// The cost of an idle connection: its task and its codec. It covers this much of the bytes read, too, so that a little
/// can be read on every connection, however much else its owner holds.
const IDLE: usize = 16 * 1024;
const SMALL: usize = 4 * 1024;
/// The cost of a TLS session besides, and the bytes that rustls encrypts before the socket has room for them.
const SESSION: usize = 16 * 1024;
const ENCRYPTED: usize = RECORD + 1024;
/// So much TLS is given at a time: what fits one record.
const RECORD: usize = 16 * 1024;
/// A connection that is not read from for lack of memory is tried again so often.
const AGAIN: Duration = Duration::from_millis(200);

/// What the bytes go through.
#[derive(Debug)]
pub(crate) enum Io {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<Metered>>),
    /// Empty: a handshake took the TCP stream, and did not give it back.
    Taken,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    io: Io,
    codec: Codec,
    read: BytesMut,
    write: BytesMut,
    taken: u64,
    /// What TLS has of the next bytes, and the socket not yet all of.
    encrypted: usize,
    received: u64,
    /// What comes and goes is counted here.
    counters: Arc<Counters>,
    /// How many had come when the codec last gave memory back.
    released: u64,
    peer: SocketAddr,
    /// What all this costs, as it was when something last happened.
    charge: Charge,
    /// How large the read buffer is, with what was taken from it.
    allocated: usize,
    /// Since when an element that is not whole has been there, not counting the time it was not asked for.
    begun: Option<Instant>,
    /// Until then nothing is read, for lack of memory.
    later: Option<Pin<Box<Sleep>>>,
    /// The peer's chain in the TLS handshake, from the first call that asks for it: the results of its checks stay with
    /// it.
    shown: Option<PeerChain>,
}

/// What [`Conn::progress`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is something to decode.
    Read,
    /// Everything queued was written.
    Written,
    /// The peer will send no more.
    End,
    /// There is no memory for the rest of an element that has begun.
    Overfull,
}

/// What a connection takes from an account before it is there; `None`: the owner may have no more.
pub(crate) fn admit(account: &Account) -> Option<Charge> {
    account.take(IDLE + SESSION)
}

impl Conn {
    /// A new connection, which this pays for.
    pub(crate) fn new(io: Io, peer: SocketAddr, codec: Codec, charge: Charge) -> Self {
        let mut this = Self {
            charge,
            allocated: 0,
            begun: None,
            later: None,
            shown: None,
            io,
            codec,
            read: BytesMut::new(),
            write: BytesMut::new(),
            taken: 0,
            encrypted: 0,
            received: 0,
            counters: Arc::new(Counters::new(Instant::now())),
            released: 0,
            peer,
        };
        this.count();
        this
    }

    /// The other end is known now, and this account pays. `false`: the account is at its limit.
    pub(crate) fn pass_to(&mut self, account: &Account) -> bool {
        self.charge.pass_to(account)
    }

    /// The same for an account that is always let in.
    pub(crate) fn belongs_to(&mut self, account: &Account) {
        self.charge = account.force(0);
        self.count();
    }

    /// What comes and goes from now on is counted here.
    pub(crate) fn count_with(&mut self, counters: Arc<Counters>) {
        self.counters = counters;
    }

    /// Where the stream's stanzas are counted.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The account that pays for the connection.
    pub(crate) fn payer(&self) -> &Account {
        self.charge.account()
    }

    /// The other end's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The TLS session, if there is one.
    pub(crate) fn tls(&self) -> Option<&TlsStream<Metered>> {
        match &self.io {
            Io::Plain(_) | Io::Taken => None,
            Io::Tls(tls) => Some(tls),
        }
    }

    /// The certificates that the peer showed in the TLS handshake.
    pub(crate) fn shown(&mut self) -> Option<PeerChain> {
        if self.shown.is_none() {
            let (_, session) = self.tls()?.get_ref();
            self.shown = session.peer_certificates().and_then(PeerChain::new);
        }
        self.shown.clone()
    }

    /// The next frame of what was read.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        let frame = self.codec.decode(&mut self.read);
        self.begun = match &frame {
            Ok(None) if !self.read.is_empty() => self.begun.or_else(|| Some(Instant::now())),
            _ => None,
        };
        frame
    }

    /// The start tag of the element that could not be read, as far as it came.
    pub(crate) fn broken(&self) -> &[u8] {
        self.codec.broken()
    }

    /// When the element that has begun must be whole, if it has so much time.
    pub(crate) fn whole_until(&self, time: Duration) -> Option<Instant> {
        self.begun.map(|begun| begun + time)
    }

    /// Whether an element has begun that is not whole.
    pub(crate) fn is_within(&self) -> bool {
        self.begun.is_some()
    }

    /// The bytes that came and are not decoded.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.read
    }

    /// The same stream under other limits.
    pub(crate) fn set_limits(&mut self, limits: XmlLimits) {
        self.codec.set_limits(limits);
    }

    /// A new stream over the same connection (RFC 6120 §4.3.3).
    pub(crate) fn restart(&mut self, limits: XmlLimits) {
        self.codec.restart();
        self.codec.set_limits(limits);
    }

    /// Where to append what is to be written.
    pub(crate) fn out(&mut self) -> &mut BytesMut {
        &mut self.write
    }

    /// Queues bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.write.extend_from_slice(bytes);
    }

    /// Whether to queue more now: always, if the queue is empty.
    pub(crate) fn has_room(&self) -> bool {
        self.write.is_empty()
            || self.write.len() < ENOUGH_TO_WRITE && self.charge.may_be(self.cost())
    }

    /// Forgets the queued bytes that the socket has not taken.
    pub(crate) fn discard(&mut self) {
        self.write = BytesMut::new();
    }

    /// How many bytes were queued since the beginning, counted at their end.
    pub(crate) fn queued(&self) -> u64 {
        self.taken + (self.encrypted + self.write.len()) as u64
    }

    /// How many of them the socket has taken.
    pub(crate) fn written(&self) -> u64 {
        self.taken
    }

    /// How many bytes came since the beginning.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether everything queued was written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.write.is_empty() && self.encrypted == 0
    }

    /// Writes the queued bytes, and reads unless `reading` is false (a pause: TCP then slows the peer down). Safe to
    /// drop.
    ///
    /// While the other end's account is at its limit, nothing is read but a few bytes. If so much of one element is
    /// there that it would hold memory for long, the stream is [`Overfull`](Progress::Overfull).
    pub(crate) async fn progress(&mut self, reading: bool) -> io::Result<Progress> {
        std::future::poll_fn(|cx| self.poll_progress(cx, reading)).await
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<io::Result<Progress>> {
        let taken = self.taken;
        let written = match self.poll_write(cx) {
            Poll::Ready(Ok(wrote)) => wrote,
            // A peer that broke off may have sent a reason, which says more than the failed write.
            Poll::Ready(Err(error)) => {
                return Poll::Ready(match self.poll_read(cx, SMALL) {
                    Poll::Ready(Ok(read)) if read > 0 => Ok(Progress::Read),
                    Poll::Ready(Err(said)) => Err(said),
                    Poll::Ready(Ok(_)) | Poll::Pending => Err(error),
                });
            }
            // Reported before the socket has taken all: a caller that keeps writing would otherwise never learn that
            // some is gone.
            Poll::Pending => self.taken > taken,
        };
        if !reading {
            // While we do not read, the peer's time for the rest does not run.
            self.begun = self.begun.map(|_| Instant::now());
        } else if let Poll::Ready(room) = self.poll_room(cx) {
            let Some(room) = room else {
                return Poll::Ready(Ok(Progress::Overfull));
            };
            if let Poll::Ready(read) = self.poll_read(cx, room)? {
                return Poll::Ready(Ok(if read == 0 {
                    Progress::End
                } else {
                    Progress::Read
                }));
            }
        }
        self.count();
        if written {
            Poll::Ready(Ok(Progress::Written))
        } else {
            Poll::Pending
        }
    }

    /// Whether its limits are still those of an unauthenticated peer.
    fn is_strangers(&self) -> bool {
        self.codec.limits().total_bytes.is_some()
    }

    /// What all this costs.
    fn cost(&self) -> usize {
        self.cost_with(self.allocated)
    }

    fn cost_with(&self, allocated: usize) -> usize {
        let tls = match &self.io {
            Io::Plain(_) | Io::Taken => 0,
            Io::Tls(_) if self.is_flushed() => SESSION,
            Io::Tls(_) => SESSION + ENCRYPTED,
        };
        IDLE + tls + allocated.saturating_sub(SMALL) + self.write.capacity()
    }

    /// Charges the account for the bytes that are there.
    fn count(&mut self) {
        let cost = self.cost();
        self.charge.force(cost);
    }

    /// How much may be read now. `None`: less than is needed, and more is there than may wait.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if let Some(later) = &mut self.later {
            ready!(later.as_mut().poll(cx));
            self.later = None;
        }
        let len = self.read.len();
        // As a vector grows.
        let grown = |this: &Self| match this.read.capacity() - len >= READ {
            true => this.cost(),
            false => this.cost_with((this.allocated * 2).max(len + READ)),
        };
        if self.charge.resize(grown(self)) {
            return Poll::Ready(Some(READ));
        }
        self.fit();
        if self.charge.resize(grown(self)) {
            Poll::Ready(Some(READ))
        } else if len < SMALL {
            Poll::Ready(Some(SMALL - len))
        } else if len > READ {
            Poll::Ready(None)
        } else {
            self.later = Some(Box::pin(sleep(AGAIN)));
            self.poll_room(cx)
        }
    }

    /// The read buffer shrinks to the bytes in it.
    fn fit(&mut self) {
        if self.allocated > self.read.len() {
            self.read = BytesMut::from(&self.read[..]);
            self.allocated = self.read.capacity();
            self.count();
        }
    }

    /// `Ready(true)`: some bytes were written and none are left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let had = !self.is_flushed();
        loop {
            // TLS takes bytes that the socket has no room for, so they count as taken only once the socket has all of a
            // record. The peer cannot use a part of a record, so this is exact if the connection breaks.
            if self.encrypted > 0 {
                ready!(self.io.as_write()?.poll_flush(cx))?;
                let taken = std::mem::take(&mut self.encrypted);
                self.took(taken);
            }
            if self.write.is_empty() {
                break;
            }
            let is_tls = matches!(self.io, Io::Tls(_));
            let most = self
                .write
                .len()
                .min(if is_tls { RECORD } else { usize::MAX });
            let wrote = ready!(self.io.as_write()?.poll_write(cx, &self.write[..most]))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.write.advance(wrote);
            match is_tls {
                true => self.encrypted = wrote,
                false => self.took(wrote),
            }
        }
        if had {
            self.write = BytesMut::new();
        }
        Poll::Ready(Ok(had))
    }

    /// The socket took so many bytes.
    fn took(&mut self, count: usize) {
        self.taken += count as u64;
        self.counters.bytes_out(count as u64, Instant::now());
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let (room, turn) = match self.is_strangers() {
            true => (room.min(READ_OF_STRANGER), TURN_OF_STRANGER),
            false => (room, READ),
        };
        self.read.reserve(room);
        self.allocated = self.allocated.max(self.read.capacity());
        let read = match &mut self.io {
            Io::Plain(tcp) => poll_read_buf(Pin::new(tcp), cx, &mut self.read),
            Io::Tls(tls) => {
                tls.get_mut().0.turn(turn);
                let read = poll_read_buf(Pin::new(tls.as_mut()), cx, &mut self.read);
                if let Poll::Ready(Ok(count)) = &read {
                    tls.get_mut().0.carried(*count);
                }
                read
            }
            Io::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        if let Poll::Ready(Ok(count)) = &read {
            self.received += *count as u64;
            self.counters.bytes_in(*count as u64, Instant::now());
        }
        if read.is_pending() {
            if self.read.is_empty() {
                self.read = BytesMut::new();
                self.allocated = 0;
                if self.released != self.received {
                    self.released = self.received;
                    self.codec.release();
                }
            } else if self.allocated / 4 > self.read.len().max(READ) {
                // A long element was there before.
                self.fit();
            }
        }
        read
    }

    /// Proof that all bytes from the peer have been read, as a TLS upgrade needs (RFC 6120 §5.4.3.3).
    pub(crate) fn boundary(&mut self) -> Result<Boundary, DecodeError> {
        self.codec.boundary(&self.read)
    }

    /// The bare TCP stream for a TLS handshake, whose [`Boundary`] was proved. `None`: there is TLS already, or the
    /// stream was taken before.
    pub(crate) fn take_tcp(&mut self, _clean: Boundary) -> Option<(TcpStream, SocketAddr)> {
        match std::mem::replace(&mut self.io, Io::Taken) {
            Io::Plain(tcp) => Some((tcp, self.peer)),
            other => {
                self.io = other;
                None
            }
        }
    }

    /// Writes all that is queued.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_write(cx))
            .await
            .map(|_| ())
    }

    /// Closes for any reason: writes the rest, and reads until the peer ends. The kernel resets a socket that is closed
    /// while bytes come or are unread, and a reset discards our last bytes, and the stanzas before them.
    pub(crate) async fn close(&mut self, within: Duration) {
        // The bytes that were not decoded will not be.
        self.read = BytesMut::new();
        self.allocated = 0;
        self.count();
        let most = match self.is_strangers() {
            true => HEAR_STRANGER_OUT,
            false => MAX_DISCARD,
        };
        let mut rest = vec![0; SMALL];
        let (mut is_shut, mut is_over, mut heard) = (false, false, 0);
        // Both at once: the peer may read no more before it has written all.
        let goodbye = std::future::poll_fn(|cx| {
            if !is_shut && let Poll::Ready(shut) = self.poll_shut(cx) {
                is_shut = true;
                is_over |= shut.is_err();
            }
            while !is_over && let Poll::Ready(read) = self.io.poll_skip(cx, &mut rest) {
                let read = read.unwrap_or(0);
                heard += read;
                is_over = read == 0 || heard >= most;
            }
            match is_shut && is_over {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        // In any case the connection is over.
        let _ = timeout(within, goodbye).await;
    }

    /// The same with an unauthenticated peer. It has no stanza on the way that could be lost, so a stop does not wait
    /// for it.
    pub(crate) async fn close_unproved(&mut self, within: Duration, stop: &CancellationToken) {
        let stopping = async {
            stop.cancelled().await;
            sleep(UNPROVED_CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.close(within) => {}
            () = stopping => {}
        }
    }

    /// Writes the queued bytes and ends our direction (TLS `close_notify`, then TCP). That is enough if none of them
    /// counts as sent; else see [`Conn::close`].
    pub(crate) async fn shut(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_shut(cx)).await
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx))?;
        self.io.as_write()?.poll_shutdown(cx)
    }
}

impl Io {
    fn as_write(&mut self) -> io::Result<Pin<&mut (dyn AsyncWrite + Unpin)>> {
        match self {
            Self::Plain(tcp) => Ok(Pin::new(tcp)),
            Self::Tls(tls) => Ok(Pin::new(tls.as_mut())),
            Self::Taken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Reads past what comes, however it is encrypted.
    fn poll_skip(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0.tcp(),
            Self::Taken => return Poll::Ready(Ok(0)),
        };
        let mut into = ReadBuf::new(into);
        ready!(Pin::new(tcp).poll_read(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    }
}

#[cfg(test)]
mod tests;
