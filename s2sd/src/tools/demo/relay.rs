//! A relay between the daemons: it copies bytes both ways, unchanged, and reads a copy of what is not encrypted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::Decoder as _;
use xmpp_stream::{Codec, Frame, XmlLimits, ns};

use super::{Event, Events, Side};

/// What was seen on a connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// They are counted from 1, in the order they were made.
    pub(super) connection: usize,
    /// Who made the connection.
    pub(super) caller: Side,
    /// Who said it.
    pub(super) from: Side,
    pub(super) said: Said,
}

impl Wire {
    /// The bytes of a frame; of other things none.
    pub(super) fn raw(&self) -> &[u8] {
        match &self.said {
            Said::Frame(_, raw) => raw,
            _ => &[],
        }
    }
}

/// What was said.
#[derive(Debug)]
pub(super) enum Said {
    /// The connection was made; the other side sees this address.
    Dialled(SocketAddr),
    /// Something of XMPP, and the bytes it was.
    Frame(Frame, Bytes),
    /// How TLS begins, with the name the client asks for (RFC 6066 §3).
    ClientHello(Option<String>),
    /// So many bytes that only the ends can read.
    Encrypted(usize),
    /// Neither XMPP nor TLS.
    Unreadable(String),
}

/// Stands before one daemon. It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to the daemon of `callee`, for the other one. `count` is shared by the relays of a scene.
    pub(super) async fn start(
        callee: Side,
        daemon: SocketAddr,
        count: Arc<AtomicUsize>,
        events: Events,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let connection = count.fetch_add(1, Ordering::Relaxed) + 1;
                let tap = Tap::new(connection, callee.other(), events.clone());
                // Where it breaks, the daemons notice.
                connections.spawn(async move { carry(near, daemon, tap).await.ok() });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(near: TcpStream, daemon: SocketAddr, tap: Tap) -> io::Result<()> {
    let far = TcpStream::connect(daemon).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let caller = tap.caller;
    tap.tell(caller, Said::Dialled(far.local_addr()?));
    let tap = Mutex::new(tap);
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    tokio::try_join!(
        copy(from_near, to_far, &tap, caller),
        copy(from_far, to_near, &tap, caller.other()),
    )?;
    Ok(())
}

/// It reports what it read before it passes it on, so that an answer is never reported before its question.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    tap: &Mutex<Tap>,
    sender: Side,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        let (read, _) = bytes.split_at(read);
        if read.is_empty() {
            return to.shutdown().await;
        }
        tap.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .hear(sender, read);
        to.write_all(read).await?;
    }
}

/// Reads along.
struct Tap {
    connection: usize,
    caller: Side,
    events: Events,
    state: State,
    from_caller: Ear,
    from_callee: Ear,
}

enum State {
    Readable,
    /// `<proceed/>` was said: what comes next is how TLS begins.
    HelloExpected(Box<Acceptor>),
    Hidden,
}

/// One direction.
struct Ear {
    codec: Codec,
    unread: BytesMut,
    /// The bytes of the frame that is on its way, as far as the codec took them.
    taken: BytesMut,
}

impl Ear {
    fn new() -> Self {
        Self {
            codec: Codec::new(XmlLimits::after_authentication()),
            unread: BytesMut::new(),
            taken: BytesMut::new(),
        }
    }

    fn next(&mut self) -> Result<Option<(Frame, Bytes)>, String> {
        let before = self.unread.clone();
        let frame = self
            .codec
            .decode(&mut self.unread)
            .map_err(|error| error.to_string())?;
        let (taken, _) = before.split_at(before.len().saturating_sub(self.unread.len()));
        self.taken.extend_from_slice(taken);
        Ok(frame.map(|frame| (frame, self.taken.split().freeze())))
    }
}

impl Tap {
    fn new(connection: usize, caller: Side, events: Events) -> Self {
        Self {
            connection,
            caller,
            events,
            state: State::Readable,
            from_caller: Ear::new(),
            from_callee: Ear::new(),
        }
    }

    fn tell(&self, from: Side, said: Said) {
        let wire = Wire {
            connection: self.connection,
            caller: self.caller,
            from,
            said,
        };
        // Without a listener the scene is over.
        let _ = self.events.send(Event::Wire(wire));
    }

    fn hear(&mut self, from: Side, bytes: &[u8]) {
        match &mut self.state {
            State::Readable => self.read(from, bytes),
            State::HelloExpected(acceptor) => {
                let mut rest = bytes;
                let hello = match acceptor.read_tls(&mut rest) {
                    Ok(_) => acceptor.accept(),
                    Err(_) => Ok(None),
                };
                match hello {
                    Ok(None) => {}
                    Ok(Some(accepted)) => {
                        let name = accepted.client_hello().server_name().map(str::to_owned);
                        self.tell(from, Said::ClientHello(name));
                        self.state = State::Hidden;
                    }
                    Err((error, _)) => {
                        self.tell(from, Said::Unreadable(error.to_string()));
                        self.state = State::Hidden;
                    }
                }
            }
            State::Hidden => self.tell(from, Said::Encrypted(bytes.len())),
        }
    }

    fn read(&mut self, from: Side, bytes: &[u8]) {
        self.ear(from).unread.extend_from_slice(bytes);
        loop {
            match self.ear(from).next() {
                Ok(None) => return,
                Ok(Some((frame, raw))) => {
                    if let Frame::Element(element) = &frame {
                        if element.is(ns::SASL, "success") {
                            // RFC 6120 §6.4.6: a new stream begins, both ways.
                            self.from_caller.codec.restart();
                            self.from_callee.codec.restart();
                        } else if element.is(ns::TLS, "proceed") {
                            self.state = State::HelloExpected(Box::default());
                        }
                    }
                    self.tell(from, Said::Frame(frame, raw));
                }
                Err(what) => {
                    self.tell(from, Said::Unreadable(what));
                    self.state = State::Hidden;
                    return;
                }
            }
        }
    }

    fn ear(&mut self, from: Side) -> &mut Ear {
        if from == self.caller {
            &mut self.from_caller
        } else {
            &mut self.from_callee
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// What taps tell of these words, each with its side and connection. Capulet makes the second connection.
    pub(crate) fn wires(script: &[(usize, Side, &str)], size: usize) -> Vec<Wire> {
        let (events, mut seen) = mpsc::unbounded_channel();
        let mut taps = [Side::Montague, Side::Capulet].map(|caller| (caller, None));
        for (connection, from, text) in script {
            let (caller, tap) = &mut taps[connection - 1];
            let tap = tap.get_or_insert_with(|| {
                let tap = Tap::new(*connection, *caller, events.clone());
                tap.tell(*caller, Said::Dialled(([127, 0, 0, 1], 1).into()));
                tap
            });
            for part in text.as_bytes().chunks(size) {
                tap.hear(*from, part);
            }
        }
        let mut wires = Vec::new();
        while let Ok(event) = seen.try_recv() {
            let Event::Wire(wire) = event else {
                panic!("{event:?}")
            };
            wires.push(wire);
        }
        wires
    }

    /// What a tap tells of one connection, in short.
    fn heard(script: &[(Side, &str)], size: usize) -> Vec<String> {
        let script: Vec<_> = script
            .iter()
            .map(|(from, text)| (1, *from, *text))
            .collect();
        let told = wires(&script, size).into_iter().skip(1);
        told.map(|wire| match wire.said {
            Said::Frame(Frame::Whitespace, _) => "white space".to_owned(),
            Said::Frame(_, raw) => String::from_utf8(raw.to_vec()).unwrap(),
            other => format!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn frames_are_told_as_they_were_written_however_they_come() {
        let header = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";
        let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
        for size in [1, 7, 1000] {
            let told = heard(
                &[
                    (Side::Montague, header),
                    (Side::Capulet, header),
                    (Side::Capulet, success),
                    (Side::Montague, header),
                    (Side::Montague, "<a b='c'/></stream:stream>"),
                ],
                size,
            );
            assert_eq!(
                told,
                [
                    header,
                    header,
                    success,
                    header,
                    "<a b='c'/>",
                    "</stream:stream>"
                ]
            );
        }
    }

    #[test]
    fn what_follows_proceed_is_not_xml() {
        let header =
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>";
        let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        let told = heard(
            &[
                (Side::Capulet, header),
                (Side::Capulet, proceed),
                (Side::Montague, "<a/>"),
                (Side::Capulet, "<b/>"),
            ],
            1000,
        );
        assert_eq!(
            told.get(..2),
            Some([header.to_owned(), proceed.to_owned()].as_slice())
        );
        assert!(!told.iter().any(|line| line.starts_with("<a")), "{told:?}");
    }
}
