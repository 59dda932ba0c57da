//! A socket with our codec for reading and plain text for writing: what every driver here is built on.
//!
//! Writing is text so that a script can also say what no correct program would say. Reading has no limits worth
//! the name: what a server sends to the lab is the server's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::BytesMut;
use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::Decoder;
use xmpp_stream::{Codec, Element, Excess, Frame, StreamHeader, XmlLimits};

/// A stream of bytes, encrypted or not.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// One connection.
pub struct Wire {
    /// `None` only while a TLS handshake has it, or after one failed.
    socket: Option<Box<dyn Socket>>,
    codec: Codec,
    unread: BytesMut,
    tls: Option<String>,
    asked_for: Option<String>,
    /// How often spaces came between elements.
    spaces: usize,
    transcript: Transcript,
}

/// What came.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stream header.
    Header(StreamHeader),
    /// A first-level element.
    Element(Element),
    /// `</stream:stream>`.
    Footer,
    /// The other side closed, or broke, the connection.
    Closed,
    /// Nothing came in time.
    Nothing,
}

impl Wire {
    /// Connects by TCP.
    pub async fn connect(addr: SocketAddr, within: Duration) -> anyhow::Result<Self> {
        let stream = timeout(within, TcpStream::connect(addr))
            .await
            .map_err(|_| anyhow::anyhow!("no connection to {addr} within {within:?}"))?
            .with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// The same from this address: on loopback each of 127.0.0.0/8 is ours.
    pub async fn connect_from(
        source: Ipv4Addr,
        addr: SocketAddr,
        within: Duration,
    ) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = timeout(within, socket.connect(addr))
            .await
            .map_err(|_| anyhow::anyhow!("no connection to {addr} within {within:?}"))?
            .with_context(|| format!("cannot connect from {source} to {addr}"))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Speaks over a connection that exists.
    pub fn over(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            socket: Some(Box::new(socket)),
            codec: Codec::new(limits()),
            unread: BytesMut::new(),
            tls: None,
            asked_for: None,
            spaces: 0,
            transcript: Transcript::default(),
        }
    }

    /// How often spaces came between elements, which [`Wire::next`] passes over.
    pub fn spaces(&self) -> usize {
        self.spaces
    }

    /// Sends this text, whatever it is.
    pub async fn send(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let text = text.as_ref();
        self.transcript.note('>', text);
        let socket = self.socket.as_mut().context("there is no connection")?;
        // An ocean of text and a peer that reads none of it must not hang a test.
        timeout(Duration::from_secs(60), async {
            socket.write_all(text).await?;
            socket.flush().await
        })
        .await
        .context("the other side reads nothing")?
        .context("cannot send")
    }

    /// The next thing that comes; keepalives are passed over. An error is text that our codec does not take.
    pub async fn next(&mut self, within: Duration) -> anyhow::Result<Event> {
        let deadline = Instant::now() + within;
        loop {
            let frame = self.codec.decode(&mut self.unread);
            match frame.context("what came is not XMPP")? {
                Some(Frame::Header(header)) => {
                    let mut text = BytesMut::new();
                    header.write(&mut text);
                    self.transcript.note('<', &text);
                    return Ok(Event::Header(header));
                }
                Some(Frame::Element(element)) => {
                    self.transcript.note('<', element.bytes());
                    return Ok(Event::Element(element));
                }
                Some(Frame::Footer) => {
                    self.transcript.note('<', b"</stream:stream>");
                    return Ok(Event::Footer);
                }
                Some(Frame::Refused(refused)) => {
                    bail!("what came is refused: {}", refused.why())
                }
                Some(Frame::Whitespace) => {
                    self.spaces += 1;
                    continue;
                }
                Some(_) => continue,
                None => {}
            }
            let Some(socket) = self.socket.as_mut() else {
                return Ok(Event::Closed);
            };
            match timeout_at(deadline, socket.read_buf(&mut self.unread)).await {
                Err(_) => return Ok(Event::Nothing),
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => {
                    self.transcript.note('<', b"(closed)");
                    return Ok(Event::Closed);
                }
            }
        }
    }

    /// From now on a new stream begins (RFC 6120 §4.3.3).
    pub fn restart(&mut self) {
        self.codec = Codec::new(limits());
    }

    /// TLS as the side that connects.
    pub async fn tls_client(
        &mut self,
        config: Arc<ClientConfig>,
        name: &str,
        within: Duration,
    ) -> anyhow::Result<()> {
        let name = ServerName::try_from(name.to_owned())?;
        let socket = self.clean_socket()?;
        let stream = timeout(within, TlsConnector::from(config).connect(name, socket))
            .await
            .context("no TLS in time")?
            .context("the TLS handshake failed")?;
        let version = stream.get_ref().1.protocol_version();
        self.now_tls(Box::new(stream), version)
    }

    /// TLS as the side that listens.
    pub async fn tls_server(
        &mut self,
        config: Arc<ServerConfig>,
        within: Duration,
    ) -> anyhow::Result<()> {
        let socket = self.clean_socket()?;
        let stream = timeout(within, TlsAcceptor::from(config).accept(socket))
            .await
            .context("no TLS in time")?
            .context("the TLS handshake failed")?;
        let session = stream.get_ref().1;
        self.asked_for = session.server_name().map(str::to_owned);
        let version = session.protocol_version();
        self.now_tls(Box::new(stream), version)
    }

    fn clean_socket(&mut self) -> anyhow::Result<Box<dyn Socket>> {
        // RFC 6120 §5.3.3: not even whitespace may stand between <proceed/> and the handshake.
        if !self.unread.is_empty() {
            bail!("plain text came before TLS: {:?}", self.unread);
        }
        self.socket.take().context("there is no connection")
    }

    fn now_tls(
        &mut self,
        socket: Box<dyn Socket>,
        version: Option<rustls::ProtocolVersion>,
    ) -> anyhow::Result<()> {
        let version = version.and_then(|v| v.as_str()).unwrap_or("TLS");
        self.transcript.note('=', version.as_bytes());
        self.tls = Some(version.to_owned());
        self.socket = Some(socket);
        self.restart();
        Ok(())
    }

    /// The name that the other side gave in the handshake (SNI), where this one listened.
    pub fn asked_for(&self) -> Option<&str> {
        self.asked_for.as_deref()
    }

    /// The TLS version, once there is TLS: `TLSv1_3`.
    pub fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }

    /// What was said so far: `> sent`, `< received`, `= TLS`, one a line.
    pub fn transcript(&self) -> &[String] {
        &self.transcript.lines
    }
}

/// What went over a wire, up to a bound.
#[derive(Debug, Default)]
struct Transcript {
    lines: Vec<String>,
}

impl Transcript {
    /// More than this is no scenario but traffic, and is not kept.
    const LINES: usize = 200;
    const LINE: usize = 4096;

    fn note(&mut self, direction: char, bytes: &[u8]) {
        if !tracing::enabled!(tracing::Level::TRACE) && self.lines.len() >= Self::LINES {
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        tracing::trace!("{direction} {text}");
        if self.lines.len() < Self::LINES {
            let text: String = text.chars().take(Self::LINE).collect();
            self.lines.push(format!("{direction} {text}"));
        }
    }
}

fn limits() -> XmlLimits {
    XmlLimits::after_authentication()
        .with_header_bytes(16 << 20)
        .with_excess(Excess::EndsStream)
        .with_element_bytes(64 << 20)
        .with_depth(1000)
        .with_attributes(1000)
        .with_namespaces(1000)
}
