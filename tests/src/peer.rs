//! A scripted peer: speaks the server protocol word by word, as the initiating or the receiving server, right or
//! wrong. Every wait has a limit.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use xmpp_stream::{
    ContentNamespace, Element, Features, StanzaKind, StreamError, StreamHeader, Version, Writer, ns,
};

use crate::{
    tls::{self, TlsIdentity},
    wire::{Event, Wire},
};

/// One connection of a scripted peer.
pub struct Peer {
    wire: Wire,
    peer_timeout: Duration,
}

/// How long a peer waits for what must come, unless told otherwise.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(10);

impl Peer {
    /// Connects by TCP.
    pub async fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self::over(Wire::connect(addr, PEER_TIMEOUT).await?))
    }

    /// The same from this address of our own.
    pub async fn connect_from(source: Ipv4Addr, addr: SocketAddr) -> anyhow::Result<Self> {
        let wire = Wire::connect_from(source, addr, PEER_TIMEOUT).await?;
        Ok(Self::over(wire))
    }

    /// Takes the next connection.
    pub async fn accept(listener: &TcpListener) -> anyhow::Result<Self> {
        let accepted = tokio::time::timeout(PEER_TIMEOUT, listener.accept()).await;
        let (stream, _) = accepted.context("nobody connects")??;
        stream.set_nodelay(true)?;
        Ok(Self::over(Wire::over(stream)))
    }

    /// Speaks over a connection that exists.
    pub fn over(wire: Wire) -> Self {
        Self {
            wire,
            peer_timeout: PEER_TIMEOUT,
        }
    }

    /// Waits so long for what must come.
    #[must_use]
    pub fn with_timeout(self, peer_timeout: Duration) -> Self {
        Self {
            peer_timeout,
            ..self
        }
    }

    /// Sends this text, whatever it is.
    pub async fn send(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
        self.wire.send(text).await
    }

    /// The next thing that comes.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        self.wire.next(self.peer_timeout).await
    }

    /// The next thing that comes within this time.
    pub async fn next_within(&mut self, within: Duration) -> anyhow::Result<Event> {
        self.wire.next(within).await
    }

    /// Sends a header of XMPP 1.0 with `xmlns:db`, as a correct initiating server does.
    pub async fn send_header(&mut self, from: Option<&str>, to: &str) -> anyhow::Result<()> {
        self.send(header_text(&initial_header(from, to))).await
    }

    /// Opens a stream: header, header, and features if the other side speaks XMPP 1.0.
    pub async fn open(&mut self, from: &str, to: &str) -> anyhow::Result<Opened> {
        self.send_header(Some(from), to).await?;
        let header = self.expect_header().await?;
        let features = match header.is_xmpp_1() {
            true => self.expect_features().await?,
            false => Features::default(),
        };
        Ok(Opened { header, features })
    }

    /// Answers a stream that is opened to us: header, header, and these features if it speaks XMPP 1.0.
    /// Gives the header that came.
    pub async fn answer_open(
        &mut self,
        id: &str,
        features: &Features,
    ) -> anyhow::Result<StreamHeader> {
        let header = self.expect_header().await?;
        self.send(header_text(&answering_header(&header, id)))
            .await?;
        if header.is_xmpp_1() {
            self.send(features.to_bytes()).await?;
        }
        Ok(header)
    }

    /// After this a new stream begins on the same connection (RFC 6120 §4.3.3).
    pub fn restart(&mut self) {
        self.wire.restart();
    }

    /// The next thing must be a stream header.
    pub async fn expect_header(&mut self) -> anyhow::Result<StreamHeader> {
        match self.next().await? {
            Event::Header(header) => Ok(header),
            other => bail!("no stream header but {other:?}"),
        }
    }

    /// The next thing must be features.
    pub async fn expect_features(&mut self) -> anyhow::Result<Features> {
        let element = self.expect(ns::STREAMS, "features").await?;
        Features::from_element(&element).context("no features")
    }

    /// The next thing must be this element.
    pub async fn expect(&mut self, namespace: &str, name: &str) -> anyhow::Result<Element> {
        match self.next().await? {
            Event::Element(element) if element.is(namespace, name) => Ok(element),
            other => bail!("no {name} of {namespace} but {other:?}"),
        }
    }

    /// The next thing must be a stanza of this kind.
    pub async fn expect_stanza(&mut self, kind: StanzaKind) -> anyhow::Result<Element> {
        match self.next().await? {
            Event::Element(element) if element.stanza_kind() == Some(kind) => Ok(element),
            other => bail!("no {} but {other:?}", kind.name()),
        }
    }

    /// The next things must be a stream error, `</stream:stream>` and the end of the connection.
    pub async fn expect_stream_error(&mut self) -> anyhow::Result<StreamError> {
        let element = self.expect(ns::STREAMS, "error").await?;
        let error = StreamError::from_element(&element).context("no stream error")?;
        self.expect_end().await.map(|()| error)
    }

    /// The next things must be `</stream:stream>` and the end of the connection. (RFC 6120 §4.4: the other side may
    /// wait for our own footer first; it is sent.)
    pub async fn expect_end(&mut self) -> anyhow::Result<()> {
        match self.next().await? {
            Event::Footer => {}
            other => bail!("no </stream:stream> but {other:?}"),
        }
        // It may have closed already.
        let _ = self.send("</stream:stream>").await;
        self.expect_closed().await
    }

    /// The connection must end.
    pub async fn expect_closed(&mut self) -> anyhow::Result<()> {
        match self.next().await? {
            Event::Closed => Ok(()),
            other => bail!("the connection does not end, but {other:?}"),
        }
    }

    /// Nothing may come in this time.
    pub async fn expect_nothing(&mut self, during: Duration) -> anyhow::Result<()> {
        match self.wire.next(during).await? {
            Event::Nothing => Ok(()),
            other => bail!("not silent, but {other:?}"),
        }
    }

    /// STARTTLS as the initiating server, after features that offer it (RFC 6120 §5). A new stream is next.
    pub async fn starttls(
        &mut self,
        to: &str,
        identity: Option<&TlsIdentity>,
    ) -> anyhow::Result<()> {
        self.send(Writer::new("starttls").xmlns(ns::TLS).finish())
            .await?;
        self.expect(ns::TLS, "proceed").await?;
        let config = tls::client(identity, false)?;
        self.wire.tls_client(config, to, self.peer_timeout).await
    }

    /// Direct TLS as the initiating server (XEP-0368).
    pub async fn direct_tls(
        &mut self,
        to: &str,
        identity: Option<&TlsIdentity>,
    ) -> anyhow::Result<()> {
        let config = tls::client(identity, true)?;
        self.wire.tls_client(config, to, self.peer_timeout).await
    }

    /// STARTTLS as the receiving server, after features that offer it.
    pub async fn accept_starttls(&mut self, identity: &TlsIdentity) -> anyhow::Result<()> {
        self.expect(ns::TLS, "starttls").await?;
        self.proceed(identity).await
    }

    /// The rest of [`Peer::accept_starttls`], when `<starttls/>` was read already.
    pub async fn proceed(&mut self, identity: &TlsIdentity) -> anyhow::Result<()> {
        self.send(Writer::new("proceed").xmlns(ns::TLS).finish())
            .await?;
        self.accept_direct_tls(identity).await
    }

    /// TLS at once, as the receiving server.
    pub async fn accept_direct_tls(&mut self, identity: &TlsIdentity) -> anyhow::Result<()> {
        let config = tls::server(identity)?;
        self.wire.tls_server(config, self.peer_timeout).await
    }

    /// The same, in a way of the caller's own.
    pub async fn accept_tls(&mut self, config: Arc<ServerConfig>) -> anyhow::Result<()> {
        self.wire.tls_server(config, self.peer_timeout).await
    }

    /// Dialback as the initiating server with a key that may be anything. Gives the type of the answer.
    pub async fn dialback(&mut self, from: &str, to: &str, key: &str) -> anyhow::Result<String> {
        self.send(dialback_request(from, to, key)).await?;
        let answer = self.expect(ns::DIALBACK, "result").await?;
        ensure!(
            answer.from().as_deref() == Some(to) && answer.to().as_deref() == Some(from),
            "an answer for another pair: {answer:?}"
        );
        Ok(answer.type_attr().unwrap_or_default().into_owned())
    }

    /// The name that the other side gave in the handshake (SNI), where this one listened.
    pub fn asked_for(&self) -> Option<&str> {
        self.wire.asked_for()
    }

    /// The TLS version, once there is TLS.
    pub fn tls(&self) -> Option<&str> {
        self.wire.tls()
    }

    /// How often spaces came between elements.
    pub fn spaces(&self) -> usize {
        self.wire.spaces()
    }

    /// What was said so far.
    pub fn transcript(&self) -> &[String] {
        self.wire.transcript()
    }
}

/// What came when a stream was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The header of the answer.
    pub header: StreamHeader,
    /// The features; empty if the header has no version.
    pub features: Features,
}

/// The header of an initiating server that speaks XMPP 1.0 and dialback.
pub fn initial_header(from: Option<&str>, to: &str) -> StreamHeader {
    StreamHeader {
        to: Some(to.to_owned()),
        from: from.map(str::to_owned),
        ..StreamHeader::new(ContentNamespace::Server).with_dialback()
    }
}

/// The header that answers one: addresses turned round, a version only if that had one (RFC 6120 §4.7.5).
pub fn answering_header(header: &StreamHeader, id: &str) -> StreamHeader {
    StreamHeader {
        to: header.from.clone(),
        from: header.to.clone(),
        id: Some(id.to_owned()),
        version: header.is_xmpp_1().then_some(Version { major: 1, minor: 0 }),
        ..StreamHeader::new(ContentNamespace::Server).with_dialback()
    }
}

/// A header as text.
pub fn header_text(header: &StreamHeader) -> Bytes {
    let mut text = BytesMut::new();
    header.write(&mut text);
    text.freeze()
}

/// `db:result` with a key (XEP-0220 §2.1.1).
pub fn dialback_request(from: &str, to: &str, key: &str) -> Bytes {
    Writer::new("db:result")
        .attr("from", from)
        .attr("to", to)
        .text(key)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2sd::tools::demo::ca::{Authority, Leaf};

    fn pair() -> (Peer, Peer) {
        let (left, right) = tokio::io::duplex(64 << 10);
        let peer = |half| Peer::over(Wire::over(half)).with_timeout(Duration::from_secs(5));
        (peer(left), peer(right))
    }

    #[tokio::test]
    async fn two_peers_open_a_stream_with_starttls_and_a_stream_within() {
        let authority = Authority::new("root");
        let [a, b] = ["a.test", "b.test"]
            .map(|name| TlsIdentity::from(&authority.issue(&Leaf::domain(name))));
        let (mut initiating, mut receiving) = pair();
        let offer = Features::new().with_starttls(true);
        let initiate = async {
            let opened = initiating.open("a.test", "b.test").await?;
            ensure!(opened.features == offer);
            ensure!(opened.header.from.as_deref() == Some("b.test"));
            initiating.starttls("b.test", Some(&a)).await?;
            let opened = initiating.open("a.test", "b.test").await?;
            ensure!(opened.features == Features::default());
            initiating.dialback("a.test", "b.test", "1234").await
        };
        let receive = async {
            let header = receiving.answer_open("one", &offer).await?;
            ensure!(header.from.as_deref() == Some("a.test"));
            receiving.accept_starttls(&b).await?;
            receiving.answer_open("two", &Features::default()).await?;
            let request = receiving.expect(ns::DIALBACK, "result").await?;
            ensure!(request.text() == "1234");
            receiving
                .send("<db:result from='b.test' to='a.test' type='invalid'/>")
                .await
        };
        let (said, received) = tokio::join!(initiate, receive);
        received.unwrap();
        assert_eq!(said.unwrap(), "invalid");
        assert_eq!(initiating.tls(), Some("TLSv1_3"));
        assert_eq!(initiating.transcript().len(), receiving.transcript().len());
    }

    #[tokio::test]
    async fn a_stream_error_is_an_error_a_footer_and_the_end() {
        let (mut initiating, mut receiving) = pair();
        let receive = async {
            receiving.answer_open("one", &Features::default()).await?;
            let error = StreamError::new(xmpp_stream::Condition::HostUnknown);
            receiving.send(error.to_bytes()).await?;
            receiving.send("</stream:stream>").await?;
            drop(receiving);
            anyhow::Ok(())
        };
        let initiate = async {
            initiating.open("a.test", "b.test").await?;
            initiating.expect_stream_error().await
        };
        let (error, received) = tokio::join!(initiate, receive);
        received.unwrap();
        assert_eq!(
            error.unwrap().condition,
            xmpp_stream::Condition::HostUnknown
        );
    }

    #[tokio::test]
    async fn text_before_tls_is_noticed() {
        let authority = Authority::new("root");
        let identity = TlsIdentity::from(&authority.issue(&Leaf::domain("b.test")));
        let (mut initiating, mut receiving) = pair();
        initiating.send_header(None, "b.test").await.unwrap();
        initiating
            .send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/> <message/>")
            .await
            .unwrap();
        receiving.expect_header().await.unwrap();
        let error = receiving.accept_starttls(&identity).await.unwrap_err();
        assert!(
            error.to_string().contains("plain text came before TLS"),
            "{error}"
        );
    }
}
