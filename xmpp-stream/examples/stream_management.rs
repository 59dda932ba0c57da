//! A component (XEP-0114) with stream management (XEP-0198) over any byte stream: its messages survive the connection.
//!
//! ```text
//! cargo run -p xmpp-stream --example stream_management
//! ```
//!
//! [`Managed`] is the client half. The server here is a thread that reads some messages and cuts the connection.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};
use xmpp_stream::component::{Accepting, Connecting};
use xmpp_stream::stream_management::{
    Enable, Enabled, Failed, Nonza, ReceiveLimits, ReceiveWindow, Received, Resume, Resumed,
    SendLimits, SendWindow, SmId,
};
use xmpp_stream::{
    Codec, ContentNamespace, DecodeError, Element, Frame, StanzaCondition, Writer, XmlLimits,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const DOMAIN: &str = "bot.example";
const SECRET: &str = "secret";

/// A stream of frames over a stream of bytes.
pub(crate) struct Connection<S> {
    io: S,
    codec: Codec,
    unread: BytesMut,
}

impl<S: Read + Write> Connection<S> {
    fn new(io: S) -> Self {
        let codec = Codec::new(XmlLimits::after_authentication())
            .with_content_namespace(ContentNamespace::Component);
        Self {
            io,
            codec,
            unread: BytesMut::new(),
        }
    }

    /// The component's handshake.
    pub(crate) fn attach(io: S) -> Outcome<Self> {
        let mut connection = Self::new(io);
        let (connecting, header) = Connecting::new(DOMAIN, SECRET);
        connection.send(Frame::Header(header))?;
        let Some(Frame::Header(header)) = connection.next()? else {
            return Err("no stream header".into());
        };
        let (accepting, handshake) = connecting.header(&header)?;
        connection.send(handshake)?;
        accepting.element(&connection.element()?)?;
        Ok(connection)
    }

    fn send<T>(&mut self, item: T) -> Outcome<()>
    where
        Codec: Encoder<T, Error = DecodeError>,
    {
        let mut out = BytesMut::new();
        self.codec.encode(item, &mut out)?;
        Ok(self.io.write_all(&out)?)
    }

    fn next(&mut self) -> Outcome<Option<Frame>> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.unread)? {
                return Ok(Some(frame));
            }
            let mut some = [0; 4_096];
            match self.io.read(&mut some)? {
                0 => return Ok(None),
                count => self
                    .unread
                    .extend_from_slice(some.get(..count).unwrap_or_default()),
            }
        }
    }

    fn element(&mut self) -> Outcome<Element> {
        loop {
            match self.next()? {
                Some(Frame::Element(element)) => return Ok(element),
                Some(Frame::Footer) | None => return Err("the stream ended".into()),
                Some(_) => {}
            }
        }
    }
}

/// The client half of stream management: what outlives a connection.
pub(crate) struct Managed {
    sent: SendWindow<Bytes>,
    received: ReceiveWindow,
    id: SmId,
}

impl Managed {
    /// Asks for it, after the handshake.
    pub(crate) fn enable<S: Read + Write>(connection: &mut Connection<S>) -> Outcome<Self> {
        connection.send(Nonza::Enable(Enable::new().with_resume()).to_writer())?;
        // Our count begins now (§4): 1,000 stanzas and 1 MiB are what we keep for the server.
        let sent = SendWindow::new(SendLimits::new(1_000, 1 << 20).with_request_every(5));
        let answer = connection.element()?;
        match Nonza::from_element(&answer)? {
            Some(Nonza::Enabled(Enabled {
                id: Some(id),
                resume: true,
                ..
            })) => Ok(Self {
                sent,
                received: ReceiveWindow::new(ReceiveLimits::new(1_000)),
                id,
            }),
            other => Err(format!("not resumable: {other:?}").into()),
        }
    }

    /// Sends a stanza, and keeps it until the server has it. Waits for the server where too much is not acknowledged.
    pub(crate) fn send<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        stanza: Bytes,
    ) -> Outcome<()> {
        while !self.sent.has_room(stanza.len()) {
            self.read(connection)?;
        }
        self.sent.push(stanza.clone(), stanza.len())?;
        connection.send(stanza)?;
        if self.sent.wants_request() {
            self.request(connection)?;
        }
        Ok(())
    }

    /// Waits until the server has everything.
    pub(crate) fn flush<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Outcome<()> {
        self.request(connection)?;
        while !self.sent.is_empty() {
            self.read(connection)?;
        }
        Ok(())
    }

    /// A new connection: what the server has not got goes again.
    pub(crate) fn resume<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
    ) -> Outcome<usize> {
        let resume = Resume::new(self.id.clone(), self.received.resume());
        connection.send(Nonza::Resume(resume).to_writer())?;
        let answer = connection.element()?;
        let Some(Nonza::Resumed(Resumed { h, .. })) = Nonza::from_element(&answer)? else {
            // Now all of `self.sent.into_unacknowledged()` would go by a new stream, with a delay stamp (XEP-0203).
            return Err("the server does not know the stream any more".into());
        };
        self.sent.resume(h, &mut Vec::new())?;
        for stanza in self.sent.unacknowledged() {
            connection.send(stanza.clone())?;
        }
        Ok(self.sent.len())
    }

    fn request<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Outcome<()> {
        self.sent.requested();
        connection.send(Nonza::Request.to_writer())
    }

    /// Reads one element. A stanza counts as handled as soon as it is here: this program does nothing with it.
    fn read<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Outcome<()> {
        let element = connection.element()?;
        match Nonza::from_element(&element)? {
            Some(Nonza::Ack { h }) => {
                self.sent.acknowledge(h, &mut Vec::new())?;
            }
            Some(Nonza::Request) => {
                let h = self.received.ack();
                connection.send(Nonza::Ack { h }.to_writer())?;
            }
            None if element.stanza_kind().is_some() => {
                if let Received::New(receipt) = self.received.receive()? {
                    self.received.settle(receipt);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The server: reads until `read` messages came on each connection, and cuts it without a word.
fn serve(listener: &TcpListener, read: &[usize]) -> Outcome<Vec<String>> {
    let id = SmId::new("the-only-one").ok_or("no id")?;
    let mut window = ReceiveWindow::new(ReceiveLimits::new(1_000));
    let mut taken = Vec::new();
    for read in read {
        let mut connection = Connection::new(listener.accept()?.0);
        let Some(Frame::Header(header)) = connection.next()? else {
            return Err("no stream header".into());
        };
        let (handshake, header) = Accepting::new().header(&header, "an-unpredictable-id")?;
        connection.send(Frame::Header(header))?;
        let answer = handshake.element(&connection.element()?, SECRET)?;
        connection.send(answer)?;
        let mut left = *read;
        while left > 0 {
            let Ok(element) = connection.element() else {
                break;
            };
            let answer = match Nonza::from_element(&element)? {
                Some(Nonza::Enable(_)) => Nonza::Enabled(Enabled::new().with_resume(id.clone())),
                Some(Nonza::Resume(resume)) if resume.previd == id => {
                    Nonza::Resumed(Resumed::new(id.clone(), window.resume()))
                }
                Some(Nonza::Resume(_)) => Nonza::Failed(Failed::new(StanzaCondition::ItemNotFound)),
                Some(Nonza::Request) => Nonza::Ack { h: window.ack() },
                _ => {
                    left -= 1;
                    if let Received::New(receipt) = window.receive()? {
                        taken.push(element.id().unwrap_or_default().into_owned());
                        window.settle(receipt);
                    }
                    continue;
                }
            };
            connection.send(answer.to_writer())?;
        }
    }
    Ok(taken)
}

/// Sends 20 messages over a connection that breaks after seven. Says how many went twice, and what the server has.
pub(crate) fn demonstrate() -> Outcome<(usize, Vec<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || serve(&listener, &[7, usize::MAX]));

    let mut connection = Connection::attach(TcpStream::connect(address)?)?;
    let mut managed = Managed::enable(&mut connection)?;
    let mut again = 0;
    for number in 0..20 {
        let message = Writer::new("message")
            .attr("id", number.to_string())
            .attr("from", DOMAIN)
            .attr("to", "montague.example")
            .finish();
        // A message that could not be written is in the window: the resumption sends it.
        if managed.send(&mut connection, message).is_err() {
            connection = Connection::attach(TcpStream::connect(address)?)?;
            again += managed.resume(&mut connection)?;
        }
    }
    if managed.flush(&mut connection).is_err() {
        connection = Connection::attach(TcpStream::connect(address)?)?;
        again += managed.resume(&mut connection)?;
        managed.flush(&mut connection)?;
    }
    drop(connection);
    let taken = server.join().map_err(|_| "the server failed")??;
    Ok((again, taken))
}

fn main() -> Outcome<()> {
    let (again, taken) = demonstrate()?;
    println!("the connection broke, and {again} messages went again");
    println!("the server has, in this order: {}", taken.join(" "));
    Ok(())
}
