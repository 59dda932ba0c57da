//! The beginning of a stream: its header, TLS, and our features (RFC 6120 §4.3, §5).

use std::sync::Arc;

use bytes::Bytes;
use xmpp_stream::{Condition, Domain, Element, StreamError, StreamHeader};

use super::{Inbound, InboundEffect, Out, Stage, Step, receiving};
use crate::closed::{By, Cause, Closed};
use crate::config::TlsMode;
use crate::protocol::negotiate::offer::{Asked, NoOffer, Offer, offer};
use crate::protocol::negotiate::{Transport, fresh_id};
use crate::trust::judgement::{Because, Judgement};

impl Inbound {
    pub(super) fn on_header(mut self: Box<Self>, header: StreamHeader, out: &mut Out) -> Step {
        self.id = fresh_id(self.random.as_mut());
        let xmpp_1 = header.is_xmpp_1();
        self.xmpp_1 = xmpp_1;
        let from = header.from.as_deref().map(Domain::parse);
        // RFC 6120 §4.7.2: the answer goes to the initiator, also if it is a refusal.
        self.addressee = from.as_ref().and_then(|from| from.clone().ok());
        match header.to.as_deref().map(Domain::parse) {
            Some(Ok(to)) => {
                if self.by_sasl && self.local.as_ref() != Some(&to) {
                    return Err(self.refuse_with(
                        Condition::HostUnknown,
                        "`to` changed with the new stream",
                        out,
                    ));
                }
                if !self.snapshot.serves(&to) {
                    let text = "this domain is not served here";
                    return Err(self.refuse_with(Condition::HostUnknown, text, out));
                }
                self.local = Some(to);
            }
            Some(Err(_)) => {
                return Err(self.refuse_with(Condition::HostUnknown, "`to` is not a domain", out));
            }
            // RFC 3920 §8.3: the header of a dialback stream needs no addresses.
            None if !xmpp_1 => {}
            None => {
                return Err(self.refuse_with(
                    Condition::ImproperAddressing,
                    "`to` is missing",
                    out,
                ));
            }
        }
        match from {
            Some(Ok(from)) if self.snapshot.serves(&from) => {
                let text = "`from` is a domain that is served here";
                return Err(self.refuse_with(Condition::InvalidFrom, text, out));
            }
            Some(Ok(from)) => {
                if self.remote.as_ref().is_some_and(|known| *known != from) {
                    return Err(self.refuse_with(
                        Condition::InvalidFrom,
                        "`from` changed with the new stream",
                        out,
                    ));
                }
                if let Some(closed) = self.denied(&from, out) {
                    return Err(closed);
                }
                self.policy = self.snapshot.policy(&from);
                self.remote = Some(from);
            }
            Some(Err(_)) => {
                return Err(self.refuse_with(
                    Condition::InvalidFrom,
                    "`from` is not a domain",
                    out,
                ));
            }
            None => {}
        }
        if let Some(lacks) = self.transport.lacks(&self.policy) {
            return Err(self.refuse_with(Condition::PolicyViolation, lacks, out));
        }
        if !xmpp_1 {
            if !self.transport.is_tls() && self.policy.tls == TlsMode::Required {
                let text = "encryption is required, and a stream without version='1.0' cannot be encrypted";
                return Err(self.refuse_with(Condition::PolicyViolation, text, out));
            }
            self.send_header(out);
            self.prove_inverses(out);
            return self.open(Offer {
                dialback: true,
                ..Offer::default()
            });
        }
        match &self.transport {
            Transport::Tls(secured) if secured.certificate_shown && !self.by_sasl => {
                self.judge(self.remote.clone(), out);
                self.stage = Stage::AwaitJudgement;
                Ok(self)
            }
            _ => self.answer_header(&Because::NoCertificate.into(), out),
        }
    }

    pub(super) fn answer_header(mut self: Box<Self>, judgement: &Judgement, out: &mut Out) -> Step {
        self.send_header(out);
        let asked = Asked {
            snapshot: &self.snapshot,
            local: self.local.as_ref(),
            remote: self.remote.as_ref(),
            policy: &self.policy,
            transport: &self.transport,
            judgement,
            authenticated: self.by_sasl,
            bidi: self.can_bidi,
        };
        match offer(&asked) {
            Ok(offer) => {
                out.push(InboundEffect::Send(
                    offer
                        .features(self.policy.max_stanza, self.snapshot.config.limits.idle)
                        .to_bytes(),
                ));
                self.prove_inverses(out);
                self.open(offer)
            }
            Err(NoOffer::BadCertificate(bad)) => {
                self.send_error(
                    &StreamError::new(Condition::NotAuthorized).with_text(bad.to_it().to_string()),
                    out,
                );
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Certificate(bad.of_it().to_string().into()),
                })
            }
            Err(NoOffer::Nothing(text)) => {
                self.send_error(
                    &StreamError::new(Condition::PolicyViolation).with_text(text),
                    out,
                );
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Policy(text.into()),
                })
            }
        }
    }

    pub(super) fn open(mut self: Box<Self>, offer: Offer) -> Step {
        self.stage = Stage::Open(offer);
        Ok(self)
    }

    pub(super) fn on_starttls(
        mut self: Box<Self>,
        offer: &Offer,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        if element.name() != "starttls" {
            return Err(self.refuse_with(
                Condition::UnsupportedStanzaType,
                "not understood here",
                out,
            ));
        }
        if !offer.starttls {
            // RFC 6120 §5.4.2.2: what cannot be done is answered with <failure/> and the end of the stream.
            out.push(InboundEffect::Send(Bytes::from_static(
                b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            )));
            self.send_footer(out);
            return Err(Closed {
                by: By::Us,
                cause: Cause::Policy("STARTTLS was not offered".into()),
            });
        }
        if !self.quota.forget() {
            let text = "too many connections of your network are not authenticated";
            return Err(self.refuse_with(Condition::ResourceConstraint, text, out));
        }
        out.push(InboundEffect::StartTls {
            proceed: Bytes::from_static(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            fallback: self.local.clone(),
            floor: self.policy.tls_floor(),
        });
        // All that the peer sent in clear is forgotten (RFC 6120 §5.4.3.3). A pair proved in clear stays unproved over
        // TLS, and the next header decides about the rules again. Counts go on: attempts in clear are attempts.
        self.proved.clear();
        self.receiving = receiving(&self.snapshot);
        self.unjudged.clear();
        self.policy = Arc::clone(&self.snapshot.config.policy);
        self.local = None;
        self.remote = None;
        self.addressee = None;
        self.judged = None;
        self.certified.clear();
        self.identity = None;
        self.stage = Stage::AwaitTls;
        Ok(self)
    }
}
