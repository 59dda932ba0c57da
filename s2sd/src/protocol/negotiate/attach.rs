//! A component's attachment (XEP-0114), as a value around the handshake of `xmpp-stream`: which domain, which secret.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use xmpp_sasl::Random;
use xmpp_stream::component::{Accepting, AwaitHandshake};
use xmpp_stream::{
    Condition, ContentNamespace, DecodeError, Domain, Frame, StreamError, StreamHeader, XmlLimits,
};

use super::Snapshot;
use super::fresh_id;
use crate::closed::{By, Cause, Closed};
use crate::peer_text::PeerText;
use crate::protocol::proof::Attached;

/// A component that is attaching.
pub struct Attach {
    snapshot: Arc<Snapshot>,
    stage: Stage,
}

enum Stage {
    ExpectHeader(Accepting),
    ExpectHandshake(AwaitHandshake),
}

/// What comes of a frame.
pub enum Attaching {
    /// Send this and go on.
    Next(Attach, Bytes),
    /// Send this; the component is attached, and these are its limits.
    Done(Attached, Bytes, XmlLimits),
}

impl Attach {
    /// A connection was accepted.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            stage: Stage::ExpectHeader(Accepting::new()),
        }
    }

    /// The domain that a component means to attach as, while only its proof is missing.
    pub fn domain(&self) -> Option<Domain> {
        match &self.stage {
            Stage::ExpectHeader(_) => None,
            Stage::ExpectHandshake(await_handshake) => Domain::parse(await_handshake.domain()).ok(),
        }
    }

    /// The component sent something. An error comes with the bytes to send before the end.
    pub fn frame(
        self,
        frame: Frame,
        random: &mut dyn Random,
    ) -> Result<Attaching, (Bytes, Closed)> {
        match (self.stage, frame) {
            (stage, Frame::Whitespace) => Ok(Attaching::Next(
                Self {
                    snapshot: self.snapshot,
                    stage,
                },
                Bytes::new(),
            )),
            (Stage::ExpectHeader(accepting), Frame::Header(header)) => {
                let id = fresh_id(random);
                let (await_handshake, answer) = accepting
                    .header(&header, id.clone())
                    .map_err(|error| refuse(&error, true))?;
                let served = Domain::parse(await_handshake.domain()).is_ok_and(|domain| {
                    self.snapshot
                        .served(&domain)
                        .is_some_and(|served| served.component.is_some())
                });
                if !served {
                    let error = StreamError::new(Condition::HostUnknown)
                        .with_text("no component may attach as this domain here");
                    return Err(refuse(&error, true));
                }
                let stage = Stage::ExpectHandshake(await_handshake);
                Ok(Attaching::Next(
                    Self {
                        snapshot: self.snapshot,
                        stage,
                    },
                    header_bytes(&answer),
                ))
            }
            (Stage::ExpectHandshake(await_handshake), Frame::Element(element)) => {
                let account = Domain::parse(await_handshake.domain())
                    .ok()
                    .and_then(|domain| {
                        let account = self.snapshot.served(&domain)?.component.clone()?;
                        Some((domain, account))
                    });
                let Some((domain, account)) = account else {
                    return Err(refuse(&StreamError::new(Condition::HostUnknown), false));
                };
                let answer = await_handshake
                    .element(&element, account.secret.as_str())
                    .map_err(|error| refuse(&error, false))?;
                let limits = self
                    .snapshot
                    .limits_for_open_streams()
                    .with_element_bytes(account.max_stanza);
                Ok(Attaching::Done(Attached::new(domain), answer, limits))
            }
            (stage, Frame::Footer) => {
                let header_sent = matches!(stage, Stage::ExpectHandshake(_));
                let goodbye = if header_sent {
                    Bytes::from_static(FOOTER)
                } else {
                    Bytes::new()
                };
                Err((
                    goodbye,
                    Closed {
                        by: By::Peer,
                        cause: Cause::Finished,
                    },
                ))
            }
            (Stage::ExpectHeader(_), _) => Err(refuse(
                &StreamError::new(Condition::NotWellFormed)
                    .with_text("a stream header comes first"),
                true,
            )),
            (Stage::ExpectHandshake(_), _) => Err(refuse(
                &StreamError::new(Condition::NotAuthorized).with_text("the handshake comes first"),
                false,
            )),
        }
    }

    /// What to say to a component that takes too long, or when the server stops.
    pub fn give_up(&self, condition: Condition, cause: Cause) -> (Bytes, Closed) {
        let header = matches!(self.stage, Stage::ExpectHeader(_));
        let (last, _) = refuse(&StreamError::new(condition), header);
        (last, Closed { by: By::Us, cause })
    }

    /// What to answer to bytes that are no XMPP.
    pub fn malformed(&self, error: &DecodeError) -> (Bytes, Closed) {
        refuse(
            &error.stream_error(),
            matches!(self.stage, Stage::ExpectHeader(_)),
        )
    }
}

const FOOTER: &[u8] = b"</stream:stream>";

fn header_bytes(header: &StreamHeader) -> Bytes {
    let mut out = BytesMut::new();
    header.write(&mut out);
    out.freeze()
}

/// The last words; with a header before them if none was sent (RFC 6120 §4.9.1.1).
fn refuse(error: &StreamError, header: bool) -> (Bytes, Closed) {
    let mut out = BytesMut::new();
    if header {
        StreamHeader {
            version: None,
            ..StreamHeader::new(ContentNamespace::Component)
        }
        .write(&mut out);
    }
    out.extend_from_slice(&error.to_bytes());
    out.extend_from_slice(FOOTER);
    let what = error.text.as_deref().map(PeerText::quoting);
    (
        out.freeze(),
        Closed {
            by: By::Us,
            cause: Cause::Protocol(error.condition, what.unwrap_or_default()),
        },
    )
}
