//! A component (XEP-0114) as small as it can be: it attaches, sends bytes, and hands out the stanzas that come.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::codec::Decoder as _;
use xmpp_stream::component::Connecting;
use xmpp_stream::{Codec, ContentNamespace, Element, Frame, XmlLimits};

use super::DemoError;

const TIMEOUT: Duration = Duration::from_secs(5);

/// What it says goes in here.
pub(super) struct Mouth(OwnedWriteHalf);

/// What it hears comes out here.
pub(super) struct Ear {
    tcp: OwnedReadHalf,
    codec: Codec,
    unread: BytesMut,
}

/// Attaches, as this domain, with this secret.
pub(super) async fn attach(
    daemon: SocketAddr,
    domain: &str,
    secret: &str,
) -> Result<(Mouth, Ear), DemoError> {
    let tcp = TcpStream::connect(daemon).await?;
    tcp.set_nodelay(true)?;
    let (read, write) = tcp.into_split();
    let mut mouth = Mouth(write);
    let mut ear = Ear {
        tcp: read,
        codec: Codec::new(XmlLimits::after_authentication())
            .with_content_namespace(ContentNamespace::Component),
        unread: BytesMut::new(),
    };
    let (connecting, header) = Connecting::new(domain, secret);
    let mut bytes = BytesMut::new();
    header.write(&mut bytes);
    mouth.say(&bytes).await?;
    let Some(Frame::Header(header)) = timeout(TIMEOUT, ear.frame()).await?? else {
        return Err("the component was not answered".into());
    };
    let refused = |error| format!("the component was refused: {error:?}");
    let (accepted, handshake) = connecting.header(&header).map_err(refused)?;
    mouth.say(&handshake).await?;
    match timeout(TIMEOUT, ear.frame()).await?? {
        Some(Frame::Element(element)) => accepted.element(&element).map_err(refused)?,
        _ => return Err("the component was not let in".into()),
    }
    Ok((mouth, ear))
}

impl Mouth {
    /// Sends bytes: whole stanzas.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> Result<(), DemoError> {
        Ok(self.0.write_all(bytes).await?)
    }
}

impl Ear {
    /// The next stanza; `None` when the daemon closes the stream.
    pub(super) async fn hear(&mut self) -> Result<Option<Element>, DemoError> {
        loop {
            match self.frame().await? {
                Some(Frame::Element(element)) => return Ok(Some(element)),
                Some(Frame::Header(_) | Frame::Footer) | None => return Ok(None),
                Some(_) => {}
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<Frame>, DemoError> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.unread)? {
                return Ok(Some(frame));
            }
            self.unread.reserve(64 * 1024);
            if self.tcp.read_buf(&mut self.unread).await? == 0 {
                return Ok(None);
            }
        }
    }
}
