//! A ping (XEP-0199) over a stream that was just proved, and the stream's end.
//!
//! The stream goes one way and the peer answers on one of its own, so what can be measured here is that the
//! peer ends the stream in good order (RFC 6120 §4.4): it has then read the ping and had nothing against it.

use std::time::{Duration, Instant};

use xmpp_stream::{Frame, StreamError, Writer, ns};

use super::{findings::Ping, fresh_id};
use crate::flow::connector::{Ready, next_event};
use crate::peer_text::PeerText;
use crate::protocol::negotiate::{DomainPair, OutboundEvent};

/// A server that does not answer our `</stream:stream>` is not waited for longer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn ping(ready: Ready, pair: &DomainPair, until: Instant) -> Ping {
    let Ready { mut conn, .. } = ready;
    let id = fresh_id();
    let iq = Writer::new("iq")
        .attr("type", "get")
        .attr("from", pair.local.as_str())
        .attr("to", pair.remote.as_str())
        .attr("id", &id)
        .child(Writer::new("ping").xmlns(ns::PING));
    conn.send(&iq.finish());
    conn.send(b"</stream:stream>");
    let sent = Instant::now();
    let until = until.min(sent + PING_TIMEOUT);
    let mut ping = Ping::default();
    loop {
        match next_event(&mut conn, Some(until), &()).await {
            OutboundEvent::Frame(Frame::Footer) => {
                if ping.error.is_none() {
                    ping.taken = Some(sent.elapsed());
                }
                break;
            }
            OutboundEvent::Frame(Frame::Element(element)) => {
                if let Some(error) = StreamError::from_element(&element) {
                    let said = error.text.as_deref().map(PeerText::new);
                    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
                    ping.error = Some(format!("{}{said}", error.condition.name()).into());
                } else if element.id().as_deref() == Some(id.as_str()) {
                    ping.answered = Some(sent.elapsed());
                }
            }
            OutboundEvent::Frame(_) => {}
            _ => break,
        }
    }
    // The stream is over, whatever becomes of the connection.
    let _ = tokio::time::timeout(PING_TIMEOUT, conn.shut()).await;
    ping
}
