//! A socket in frames. `Framed` of tokio-util with the traits of futures-util does the same.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder};
use xmpp_stream::{
    Codec, ContentNamespace, DecodeError, Element, Frame, StreamError, StreamHeader, XmlLimits,
};

use super::Result;

pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

pub(crate) struct Stream<S> {
    socket: S,
    pub(crate) codec: Codec,
    buffer: BytesMut,
}

impl<S: Socket> Stream<S> {
    pub(crate) fn new(socket: S) -> Self {
        let codec = Codec::new(XmlLimits::before_authentication());
        Self {
            socket,
            codec: codec.with_content_namespace(ContentNamespace::Server),
            buffer: BytesMut::new(),
        }
    }

    /// The socket, if nothing came that was not read: what came before TLS was not protected.
    pub(crate) fn into_socket(mut self) -> Result<S> {
        self.codec.boundary(&self.buffer)?;
        Ok(self.socket)
    }

    pub(crate) async fn send<T>(&mut self, item: T) -> Result<()>
    where
        Codec: Encoder<T, Error = DecodeError>,
    {
        let mut out = BytesMut::new();
        self.codec.encode(item, &mut out)?;
        self.socket.write_all(&out).await?;
        Ok(self.socket.flush().await?)
    }

    /// What came next; `None` at the end. What is no XMPP is an error to send back.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            let frame = self.codec.decode(&mut self.buffer);
            if let Some(frame) = frame.map_err(|error| error.stream_error())? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(4096);
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn header(&mut self) -> Result<StreamHeader> {
        match self.next().await? {
            Some(Frame::Header(header)) => Ok(header),
            _ => Err("the peer sent no stream header".into()),
        }
    }

    pub(crate) async fn element(&mut self) -> Result<Element> {
        loop {
            match self.next().await? {
                Some(Frame::Element(element)) => {
                    return match StreamError::from_element(&element) {
                        Some(error) => Err(error.into()),
                        None => Ok(element),
                    };
                }
                Some(Frame::Footer) | None => return Err("the peer ended the stream".into()),
                Some(_) => {}
            }
        }
    }

    /// Ends the stream, and hears the peer out.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.send(Frame::Footer).await?;
        while !matches!(self.next().await?, Some(Frame::Footer) | None) {}
        Ok(self.socket.shutdown().await?)
    }

    /// Ends the stream by an error.
    pub(crate) async fn fail(mut self, error: &StreamError) -> Result<()> {
        self.send(error.to_bytes()).await?;
        self.send(Frame::Footer).await?;
        Ok(self.socket.shutdown().await?)
    }
}
