//! A TCP connection under TLS, with bounds for reading: so much at once, and not much more than TLS makes of it.
//!
//! Records that carry nothing, or a byte each, and changes of keys (RFC 8446 §4.6.3) cost more processor time than
//! their content, and the layers above TLS do not see them. rustls ends a connection with many of them in a row; a byte
//! between them is enough for it to begin anew.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A record of one byte takes 23 (RFC 8446 §5.2): so much is no abuse, however little is in each.
const FOR_EACH: usize = 32;
/// So much more may have come,
const BURST: usize = 64 << 10;
/// which time makes good: so much in a second.
const A_SECOND: usize = 16 << 10;

/// The connection.
#[derive(Debug)]
pub(crate) struct Metered {
    tcp: TcpStream,
    /// How much is read before other tasks have their turn. None, during a handshake: as much as there is, uncounted.
    turn: Option<usize>,
    overhead: Overhead,
    /// How much may be read in all.
    left: Option<usize>,
}

/// How much more came than was in it.
#[derive(Debug)]
struct Overhead {
    bytes: usize,
    /// As of then.
    at: Instant,
}

impl Overhead {
    fn new(now: Instant) -> Self {
        Self { bytes: 0, at: now }
    }

    /// Counts bytes that came. `false`: too many for their content.
    fn came(&mut self, count: usize, now: Instant) -> bool {
        let gone_by = now.saturating_duration_since(self.at);
        let millis = usize::try_from(gone_by.as_millis()).unwrap_or(usize::MAX);
        let made_good = millis.saturating_mul(A_SECOND) / 1000;
        if made_good > 0 {
            self.bytes = self.bytes.saturating_sub(made_good);
            self.at = now;
        }
        self.bytes = self.bytes.saturating_add(count);
        self.bytes <= BURST
    }

    /// So many were in them.
    fn carried(&mut self, count: usize) {
        self.bytes = self.bytes.saturating_sub(count.saturating_mul(FOR_EACH));
    }
}

impl Metered {
    /// For a handshake and what follows it.
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            turn: None,
            overhead: Overhead::new(Instant::now()),
            left: None,
        }
    }

    /// The same with a bound for all that comes.
    pub(crate) fn at_most(tcp: TcpStream, bytes: usize) -> Self {
        let left = Some(bytes);
        Self {
            left,
            ..Self::new(tcp)
        }
    }

    /// So much may be read before others have their turn.
    pub(crate) fn turn(&mut self, bytes: usize) {
        self.turn = Some(bytes);
    }

    /// TLS gave so many bytes.
    pub(crate) fn carried(&mut self, count: usize) {
        self.overhead.carried(count);
    }

    /// The connection under it, for the time after TLS.
    pub(crate) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let turn = self.turn.unwrap_or(usize::MAX);
        if turn == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == Some(0) {
            return Poll::Ready(Err(io::Error::other("more came than is taken")));
        }
        let most = turn.min(self.left.unwrap_or(usize::MAX));
        let most = most.min(buf.remaining());
        let mut some = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut some))?;
        let count = some.filled().len();
        buf.advance(count);
        self.left = self.left.map(|left| left - count);
        if let Some(turn) = &mut self.turn {
            *turn -= count;
            if !self.overhead.came(count, Instant::now()) {
                let what = "the other side sends TLS records in which there is next to nothing";
                return Poll::Ready(Err(io::Error::other(what)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_carries_something_is_never_too_much_and_what_does_not_soon_is() {
        let mut now = Instant::now();
        let mut overhead = Overhead::new(now);
        // Single bytes, as fast as they come.
        for _ in 0..1_000_000 {
            assert!(overhead.came(23, now));
            overhead.carried(1);
        }
        let mut came = 0;
        while overhead.came(27, now) {
            came += 27;
        }
        assert!(came <= BURST && came > BURST - 64, "{came}");
        // Time makes it good, in steps of any length.
        for _ in 0..BURST * 1000 / A_SECOND * 11 / 10 {
            now += Duration::from_millis(1);
            overhead.came(0, now);
        }
        assert_eq!(overhead.bytes, 0);
        now += Duration::from_secs(1 << 40);
        assert!(overhead.came(BURST, now));
        assert!(!overhead.came(1, now));
    }

    #[tokio::test]
    async fn so_much_is_read_in_one_turn_and_so_much_in_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.write_all(&[b'x'; 1000]).await.unwrap();
        let mut metered = Metered::at_most(listener.accept().await.unwrap().0, 600);
        let mut some = [0; 1000];
        metered.turn(250);
        assert_eq!(metered.read(&mut some).await.unwrap(), 250);
        let others_have_their_turn = poll_fn(|cx| {
            let mut some = ReadBuf::new(&mut some);
            Poll::Ready(Pin::new(&mut metered).poll_read(cx, &mut some).is_pending())
        });
        assert!(others_have_their_turn.await);
        metered.turn(1000);
        assert_eq!(metered.read(&mut some).await.unwrap(), 350);
        let error = metered.read(&mut some).await.unwrap_err();
        assert_eq!(error.to_string(), "more came than is taken");
    }
}
