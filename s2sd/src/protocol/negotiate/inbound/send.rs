//! What we send without a question: our header, the end, and its reason (RFC 6120 §4.7, §4.9).

use bytes::{Bytes, BytesMut};
use xmpp_stream::{Condition, ContentNamespace, Domain, StreamError, StreamHeader, Version};

use super::{Inbound, InboundEffect, NOT_ADMITTED, Out};
use crate::closed::{By, Cause, Closed};
use crate::config::Denied;
use crate::protocol::negotiate::{Snapshot, fresh_id};

impl Inbound {
    /// The domain of the header, and those that were proved.
    pub(super) fn not_admitted_by(&mut self, snapshot: &Snapshot, out: &mut Out) -> Option<Closed> {
        let proved = self
            .proved
            .iter()
            .map(|authorized| &authorized.pair().remote);
        let mut domains = self.remote.iter().chain(proved);
        let remote = domains
            .find(|domain| snapshot.admits(domain).is_err())?
            .clone();
        let denied = snapshot.admits(&remote).err()?;
        Some(self.refuse_to_federate(&remote, &denied, out))
    }

    /// Refuses a domain that is not admitted, and sends nothing else. `Some`: the stream ends.
    pub(super) fn denied(&mut self, remote: &Domain, out: &mut Out) -> Option<Closed> {
        let denied = self.snapshot.admits(remote).err()?;
        Some(self.refuse_to_federate(remote, &denied, out))
    }

    pub(super) fn refuse_to_federate(
        &mut self,
        remote: &Domain,
        denied: &Denied,
        out: &mut Out,
    ) -> Closed {
        self.send_error(
            &StreamError::new(Condition::PolicyViolation).with_text(NOT_ADMITTED),
            out,
        );
        Closed {
            by: By::Us,
            cause: Cause::denied(remote, denied),
        }
    }

    pub(super) fn send_header(&mut self, out: &mut Out) {
        let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        header.id = Some(self.id.clone());
        header.from = self.local.as_ref().map(|local| local.as_str().to_owned());
        header.to = self
            .addressee
            .as_ref()
            .or(self.remote.as_ref())
            .map(|remote| remote.as_str().to_owned());
        header.version = self.xmpp_1.then_some(Version::XMPP_1);
        let mut bytes = BytesMut::new();
        header.write(&mut bytes);
        out.push(InboundEffect::Send(bytes.freeze()));
        self.header_sent = true;
    }

    pub(super) fn send_footer(&mut self, out: &mut Out) {
        if self.header_sent {
            out.push(InboundEffect::Send(Bytes::from_static(b"</stream:stream>")));
        }
    }

    /// RFC 6120 §4.9.1.1: an error about the header itself comes after a header of our own.
    pub(super) fn send_error(&mut self, error: &StreamError, out: &mut Out) {
        if !self.header_sent {
            self.id = fresh_id(self.random.as_mut());
            // §4.9.1.3: where `to` was none of our domains, one that is ours.
            let first = self.snapshot.config.domains.first();
            self.local = self
                .local
                .take()
                .or_else(|| first.map(|domain| domain.name.clone()));
            self.send_header(out);
        }
        out.push(InboundEffect::Send(error.to_bytes()));
        self.send_footer(out);
    }

    pub(super) fn refuse(&mut self, error: StreamError, what: String, out: &mut Out) -> Closed {
        self.send_error(&error, out);
        Closed {
            by: By::Us,
            cause: Cause::Protocol(error.condition, what.into()),
        }
    }

    pub(super) fn refuse_with(
        &mut self,
        condition: Condition,
        text: &str,
        out: &mut Out,
    ) -> Closed {
        self.refuse(
            StreamError::new(condition).with_text(text),
            text.to_owned(),
            out,
        )
    }
}
