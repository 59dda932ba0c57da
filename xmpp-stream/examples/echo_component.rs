//! A component (XEP-0114) that sends messages back.
//!
//! ```text
//! cargo run -p xmpp-stream --example echo_component 127.0.0.1:5347 echo.example secret
//! ```

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use futures_sink::Sink;
use tokio::net::TcpStream;
use tokio_util::codec::{Encoder, Framed};
use xmpp_stream::component::Connecting;
use xmpp_stream::{
    Codec, ContentNamespace, DecodeError, ErrorType, Frame, StanzaCondition, StanzaError,
    StanzaKind, XmlLimits, error_reply, reply,
};

type Connection = Framed<TcpStream, Codec>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, domain, secret] = arguments.as_slice() else {
        return Err("usage: echo_component ADDRESS:PORT DOMAIN SECRET".into());
    };
    let connection = attach(server, domain, secret).await?;
    println!("{domain} is attached");
    echo(connection).await
}

/// Connects, and proves that we know the secret.
pub(crate) async fn attach(
    server: &str,
    domain: &str,
    secret: &str,
) -> Result<Connection, Box<dyn Error>> {
    let codec = Codec::new(XmlLimits::after_authentication())
        .with_content_namespace(ContentNamespace::Component);
    let mut connection = Framed::new(TcpStream::connect(server).await?, codec);
    let (connecting, header) = Connecting::new(domain, secret);
    send(&mut connection, Frame::Header(header)).await?;
    let Some(Frame::Header(header)) = next(&mut connection).await? else {
        return Err("the server sent no stream header".into());
    };
    let (accepting, handshake) = connecting.header(&header)?;
    send(&mut connection, handshake).await?;
    let Some(Frame::Element(answer)) = next(&mut connection).await? else {
        return Err("the server did not answer the handshake".into());
    };
    accepting.element(&answer)?;
    Ok(connection)
}

/// Sends each message back, and says to each request that we do not know it, until the server ends the stream.
pub(crate) async fn echo(mut connection: Connection) -> Result<(), Box<dyn Error>> {
    while let Some(frame) = next(&mut connection).await? {
        let stanza = match frame {
            Frame::Element(stanza) => stanza,
            Frame::Footer => return Ok(send(&mut connection, Frame::Footer).await?),
            _ => continue,
        };
        match stanza.stanza_kind() {
            // None for errors: two programs that answer errors would never end.
            Some(StanzaKind::Message) => {
                if let Some(mut answer) = reply(&stanza) {
                    for child in stanza.tree().elements() {
                        answer = answer.child(child.to_writer());
                    }
                    send(&mut connection, answer).await?;
                }
            }
            Some(StanzaKind::Iq) => {
                let error =
                    StanzaError::new(ErrorType::Cancel, StanzaCondition::ServiceUnavailable);
                if let Some(answer) = error_reply(&stanza, &error) {
                    send(&mut connection, answer).await?;
                }
            }
            Some(StanzaKind::Presence) | None => {}
        }
    }
    Ok(())
}

/// `StreamExt::next` of futures-util does the same.
async fn next(connection: &mut Connection) -> Result<Option<Frame>, DecodeError> {
    let frame = poll_fn(|context| Pin::new(&mut *connection).poll_next(context)).await;
    frame.transpose()
}

/// `SinkExt::send` of futures-util does the same.
async fn send<T>(connection: &mut Connection, item: T) -> Result<(), DecodeError>
where
    Codec: Encoder<T, Error = DecodeError>,
{
    let mut sink: Pin<&mut Connection> = Pin::new(connection);
    poll_fn(|context| Sink::<T>::poll_ready(sink.as_mut(), context)).await?;
    Sink::<T>::start_send(sink.as_mut(), item)?;
    poll_fn(|context| Sink::<T>::poll_flush(sink.as_mut(), context)).await
}
