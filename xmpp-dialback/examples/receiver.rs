//! A server that accepts domains by dialback (XEP-0220), over sockets: the Receiving Server.
//!
//! ```text
//! cargo run -p xmpp-dialback --example receiver
//! ```
//!
//! The example also plays the server of capulet.example, which calls and answers for its keys, once with the right secret and
//! once with a guess. A server of yours finds it by DNS and speaks TLS first, if the other side has it.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};
use xmpp_dialback::wire::Nonza;
use xmpp_dialback::{DialbackLimits, Initiating, Pair, Receiving, Secret, Verifying, verify};
use xmpp_stream::{
    Codec, ContentNamespace, DecodeError, Element, Frame, StreamHeader, XmlLimits, ns,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    println!("capulet.example is {}", outcome("s3cr3tf0rd14lb4ck")?);
    println!("one who guesses is {}", outcome("a guess")?);
    Ok(())
}

/// What the receiver makes of a caller with this secret.
pub(crate) fn outcome(secret: &str) -> Result<&'static str> {
    let (listener, authoritative) = (listen()?, listen()?);
    let (address, asked) = (listener.local_addr()?, authoritative.local_addr()?);
    let answering = thread::spawn(move || answer(&authoritative));
    let receiving = thread::spawn(move || receive(&listener, asked));
    let caller = Secret::new(secret);
    let heard = thread::spawn(move || call(address, &caller));
    let proved = receiving.join().map_err(|_| "the receiver panicked")??;
    heard.join().map_err(|_| "the caller panicked")??;
    answering
        .join()
        .map_err(|_| "the asked server panicked")??;
    Ok(if proved { "proved" } else { "refused" })
}

/// The receiver: takes one key, asks about it, and says what came of it. True if the domain is proved.
fn receive(listener: &TcpListener, authoritative: SocketAddr) -> Result<bool> {
    let stream_id = "D60000229F"; // yours are unpredictable
    let mut stream = Stream::accept(listener, stream_id)?;
    let mut receiving = Receiving::new(DialbackLimits::default());

    let Nonza::Request(request) = stream.nonza()? else {
        return Err("the peer sent no key".into());
    };
    // Here `request.pair` is prepared (case, IDNA), and compared with the domains that are yours.
    let question = receiving.request(request, stream_id)?;

    let mut asked = Stream::connect(authoritative)?;
    let mut verifying = Verifying::new(question.clone());
    asked.send(Nonza::Question(question).to_bytes())?;
    let Nonza::Answer {
        pair,
        stream_id,
        verdict,
    } = asked.nonza()?
    else {
        return Err("the authoritative server sent no answer".into());
    };
    let verdict = verifying.answer(&pair, &stream_id, verdict)?;

    let reply = receiving.answered(&pair, verdict)?;
    let result = Nonza::Result {
        pair: pair.clone(),
        verdict: reply.verdict,
    };
    stream.send(result.to_bytes())?;
    Ok(receiving.is_proved(&pair))
}

/// The server of capulet.example, which answers for its keys.
fn answer(listener: &TcpListener) -> Result<()> {
    let mut stream = Stream::accept(listener, "417GAF25")?;
    let Nonza::Question(question) = stream.nonza()? else {
        return Err("no question".into());
    };
    let answer = Nonza::Answer {
        verdict: verify(&Secret::new("s3cr3tf0rd14lb4ck"), &question),
        pair: question.pair,
        stream_id: question.stream_id,
    };
    stream.send(answer.to_bytes())
}

/// A caller that claims to be capulet.example.
fn call(address: SocketAddr, secret: &Secret) -> Result<()> {
    let mut stream = Stream::connect(address)?;
    let mut initiating = Initiating::new(1);
    let pair = Pair::new("capulet.example", "montague.example");
    let request = initiating.request(pair, &stream.id, secret)?;
    stream.send(Nonza::Request(request).to_bytes())?;
    let Nonza::Result { pair, verdict } = stream.nonza()? else {
        return Err("no result".into());
    };
    initiating.answer(&pair, verdict)?;
    Ok(())
}

fn listen() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0")?)
}

/// A stream whose headers are exchanged. With tokio `Framed` takes its place.
struct Stream {
    socket: TcpStream,
    codec: Codec,
    buffer: BytesMut,
    /// What the accepting side called it.
    id: String,
}

impl Stream {
    fn over(socket: TcpStream) -> Self {
        Self {
            socket,
            codec: Codec::new(XmlLimits::before_authentication()),
            buffer: BytesMut::new(),
            id: String::new(),
        }
    }

    fn connect(address: SocketAddr) -> Result<Self> {
        let mut stream = Self::over(TcpStream::connect(address)?);
        let header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        stream.send(Frame::Header(header))?;
        let Frame::Header(header) = stream.next()? else {
            return Err("no stream header".into());
        };
        stream.id = header.id.unwrap_or_default();
        Ok(stream)
    }

    fn accept(listener: &TcpListener, id: &str) -> Result<Self> {
        let mut stream = Self::over(listener.accept()?.0);
        let Frame::Header(_) = stream.next()? else {
            return Err("no stream header".into());
        };
        let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        header.id = Some(id.to_owned());
        stream.send(Frame::Header(header))?;
        Ok(stream)
    }

    fn send<T>(&mut self, item: T) -> Result<()>
    where
        Codec: Encoder<T, Error = DecodeError>,
    {
        let mut out = BytesMut::new();
        self.codec.encode(item, &mut out)?;
        Ok(self.socket.write_all(&out)?)
    }

    fn nonza(&mut self) -> Result<Nonza> {
        let Frame::Element(element) = self.next()? else {
            return Err("no element".into());
        };
        let name = |element: &Element| format!("<{}/> is not dialback", element.name());
        let nonza = Nonza::from_element(&element).ok_or_else(|| name(&element))?;
        debug_assert_eq!(element.namespace(), ns::DIALBACK);
        Ok(nonza?)
    }

    fn next(&mut self) -> Result<Frame> {
        let mut bytes = [0; 1024];
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                return Ok(frame);
            }
            match self.socket.read(&mut bytes)? {
                0 => return Err("the connection ended".into()),
                count => self.buffer.extend_from_slice(&bytes[..count]),
            }
        }
    }
}
