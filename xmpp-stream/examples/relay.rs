//! A relay in one screen: what comes on a server's stream goes out on a component's.
//!
//! ```text
//! cargo run -p xmpp-stream --example relay
//! ```
//!
//! The server-to-server stream is made up here and arrives in pieces of 40 bytes. What a component
//! would get is printed: the same bytes, except where the new stream would give them another
//! meaning. With sockets, `tokio_util::codec::Framed` takes the place of the loop.

use bytes::BytesMut;
use tokio_util::codec::Decoder;
use xmpp_stream::{
    Codec, ContentNamespace, DecodeError, ErrorType, Frame, StanzaCondition, StanzaError,
    XmlLimits, error_reply,
};

const PEER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:example:x' xml:lang='en' \
    from='capulet.example' to='montague.example' version='1.0'>\
    <message from='juliet@capulet.example' to='romeo@montague.example' id='1'>\
    <body>Wherefore art thou &lt;Romeo/&gt;?</body><x:y/></message> \
    <iq xmlns='jabber:server' type='get' id='2' from='capulet.example' to='montague.example'>\
    <ping xmlns='urn:xmpp:ping'/></iq></stream:stream>";

fn main() -> Result<(), DecodeError> {
    let mut codec = Codec::new(XmlLimits::after_authentication())
        .with_content_namespace(ContentNamespace::Server);
    let mut buffer = BytesMut::new();
    for piece in PEER.as_bytes().chunks(40) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = codec.decode(&mut buffer)? {
            show(&frame);
        }
    }
    Ok(())
}

fn show(frame: &Frame) {
    match frame {
        Frame::Header(header) => println!("from {}", header.from.as_deref().unwrap_or("?")),
        Frame::Element(element) => {
            println!("\nin   {}", String::from_utf8_lossy(element.bytes()));
            let mut out = BytesMut::new();
            element.write_for(ContentNamespace::Component, &mut out);
            println!("out  {}", String::from_utf8_lossy(&out));
            let error = StanzaError::new(ErrorType::Wait, StanzaCondition::RemoteServerTimeout);
            if let Some(bounce) = error_reply(element, &error) {
                println!("or   {}", String::from_utf8_lossy(&bounce.finish()));
            }
        }
        Frame::Whitespace => println!("\n(a keepalive)"),
        Frame::Refused(refused) => println!("refused: {}", refused.why()),
        Frame::Footer => println!("\nthe end"),
        // A frame that we did not switch on.
        _ => {}
    }
}
