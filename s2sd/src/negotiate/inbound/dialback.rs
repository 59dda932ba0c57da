//! The Receiving and the Authoritative Server of XEP-0220, on a stream that the peer opened.
//!
//! Our own rules come before the key is looked at; the question to the sender's authoritative server is an effect.

use bytes::Bytes;
use xmpp_dialback::{
    DialbackError, ErrorCondition, Pair, Question, Reply, Request, Verdict, wire as db,
};
use xmpp_stream::{Condition, Domain, Element};

use super::{Inbound, InboundEffect, NOT_ADMITTED, Out, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::config::{self, TlsMode, Verify};
use crate::negotiate::offer::Offer;
use crate::negotiate::{Authorized, DomainPair, Method, Transport, describe};
use crate::tls::judgement::Because;

impl Inbound {
    pub(super) fn on_dialback(
        mut self: Box<Self>,
        offer: Offer,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        let nonza = match db::Nonza::from_element(element) {
            Some(Ok(nonza)) => nonza,
            Some(Err(malformed)) => {
                return Err(self.refuse(malformed.stream_error(), malformed.to_string(), out));
            }
            None => {
                return Err(self.refuse_with(
                    Condition::UnsupportedStanzaType,
                    "not understood here",
                    out,
                ));
            }
        };
        let tls_first = offer.tls_first;
        self.stage = Stage::Open(offer);
        match nonza {
            db::Nonza::Request(request) => {
                let (Ok(local), Ok(remote)) = (
                    Domain::parse(&request.pair.target),
                    Domain::parse(&request.pair.sender),
                ) else {
                    return Err(self.refuse_with(
                        Condition::ImproperAddressing,
                        "not a domain",
                        out,
                    ));
                };
                match self.on_key(tls_first, DomainPair { local, remote }, request, out) {
                    Some(closed) => Err(closed),
                    None => Ok(self),
                }
            }
            db::Nonza::Question(question) => {
                if tls_first {
                    return Err(self.refuse_with(
                        Condition::PolicyViolation,
                        "encryption is required first",
                        out,
                    ));
                }
                out.push(InboundEffect::Send(self.answer(&question)));
                Ok(self)
            }
            // XEP-0220 §3.1: answers nobody asked for were once believed.
            db::Nonza::Result { pair, .. } | db::Nonza::Answer { pair, .. } => {
                let unsolicited = xmpp_dialback::Unsolicited { pair };
                Err(self.refuse(unsolicited.stream_error(), unsolicited.to_string(), out))
            }
        }
    }

    /// A key for a pair came. `Some`: the stream ends.
    pub(super) fn on_key(
        &mut self,
        tls_first: bool,
        pair: DomainPair,
        request: Request,
        out: &mut Out,
    ) -> Option<Closed> {
        let policy = self.house.policy(&pair.remote);
        // Our own rules first, as XEP-0220 §2.5 names their errors.
        let refusal = if !self.house.serves(&pair.local) {
            Some((
                ErrorCondition::ItemNotFound,
                "this domain is not served here",
            ))
        } else if self.house.serves(&pair.remote) {
            Some((
                ErrorCondition::NotAcceptable,
                "the sender is a domain that is served here",
            ))
        } else if self.house.admits(&pair.remote).is_err() {
            Some((ErrorCondition::PolicyViolation, NOT_ADMITTED))
        } else if tls_first || (!self.transport.is_tls() && policy.tls == TlsMode::Required) {
            Some((
                ErrorCondition::PolicyViolation,
                "encryption is required first",
            ))
        } else if !policy.allows(config::Method::Dialback) {
            Some((
                ErrorCondition::PolicyViolation,
                "server dialback is not accepted from this domain",
            ))
        } else {
            None
        };
        if let Some((condition, text)) = refusal {
            let reply = self
                .receiving
                .refuse(DialbackError::new(condition).with_text(text));
            return self.reply(request.pair, reply, out);
        }
        let request = Request {
            pair: pair.remote_to_local(),
            key: request.key,
        };
        let shown = matches!(&self.transport, Transport::Tls(secured) if secured.certificate_shown);
        let judged = self.judgement_of(&pair.remote).is_some();
        if shown && !judged && policy.verify == Verify::Strict {
            if self.unjudged.len() >= self.house.config.limits.pairs_per_stream {
                return Some(self.refuse_with(
                    Condition::PolicyViolation,
                    "too many pairs on one stream",
                    out,
                ));
            }
            out.push(InboundEffect::Judge(Some(pair.remote.clone())));
            self.unjudged.push((pair, request));
            return None;
        }
        self.request(pair, request, out)
    }

    /// The key may be looked at. `Some`: the stream ends.
    pub(super) fn request(
        &mut self,
        pair: DomainPair,
        request: Request,
        out: &mut Out,
    ) -> Option<Closed> {
        let policy = self.house.policy(&pair.remote);
        let bad = self.judgement_of(&pair.remote).and_then(|it| it.bad());
        if let Some(bad) = bad
            && policy.verify == Verify::Strict
        {
            let text = bad.to_string();
            let reply = self
                .receiving
                .refuse(DialbackError::new(ErrorCondition::NotAuthorized).with_text(text));
            return self.reply(request.pair, reply, out);
        }
        let asked = request.pair.clone();
        match self.receiving.request(request, &self.id) {
            Ok(question) => {
                out.push(InboundEffect::Ask(pair, question));
                None
            }
            Err(refusal) => self.reply(asked, refusal.reply, out),
        }
    }

    pub(super) fn on_verdict(
        mut self: Box<Self>,
        pair: &Pair,
        verdict: Verdict,
        out: &mut Out,
    ) -> Step {
        let Ok(reply) = self.receiving.answered(pair, verdict) else {
            return Ok(self); // our own late answer: the pair is no longer waited for
        };
        let proved = reply.verdict == Verdict::Valid && reply.close.is_none();
        if let Some(closed) = self.reply(pair.clone(), reply, out) {
            return Err(closed);
        }
        if proved
            && let (Ok(local), Ok(remote)) =
                (Domain::parse(&pair.target), Domain::parse(&pair.sender))
        {
            if self.proved.is_empty() {
                self.policy = self.house.policy(&remote);
                out.push(InboundEffect::SetLimits(self.limits()));
            }
            self.prove(DomainPair { local, remote }, Method::Dialback, out);
        }
        Ok(self)
    }

    /// Answers a `db:result`. `Some`: the stream ends after it.
    pub(super) fn reply(&mut self, pair: Pair, reply: Reply, out: &mut Out) -> Option<Closed> {
        let Reply { verdict, close } = reply;
        let what = format!("dialback for {}: {}", pair.sender, describe(&verdict));
        out.push(InboundEffect::Send(
            db::Nonza::Result { pair, verdict }.to_bytes(),
        ));
        let close = close?;
        let cause = match close.stream_error() {
            Some(error) => {
                self.send_error(&error, out);
                Cause::TooManyFailures
            }
            None => {
                self.send_footer(out);
                Cause::Dialback(what)
            }
        };
        Some(Closed { by: By::Us, cause })
    }

    /// The authoritative role: has no state.
    pub(super) fn answer(&self, question: &Question) -> Bytes {
        let verdict = match (
            Domain::parse(&question.pair.sender),
            Domain::parse(&question.pair.target),
        ) {
            (Ok(ours), Ok(theirs)) if self.house.serves(&ours) => {
                let pair = Pair {
                    sender: ours.as_str().to_owned(),
                    target: theirs.as_str().to_owned(),
                };
                let prepared = Question {
                    pair,
                    stream_id: question.stream_id.clone(),
                    key: question.key.clone(),
                };
                xmpp_dialback::verify(&self.house.secret, &prepared)
            }
            _ => Verdict::Error(
                DialbackError::new(ErrorCondition::ItemNotFound)
                    .with_text("this domain is not served here"),
            ),
        };
        db::Nonza::Answer {
            pair: question.pair.clone(),
            stream_id: question.stream_id.clone(),
            verdict,
        }
        .to_bytes()
    }

    pub(super) fn prove(&mut self, pair: DomainPair, method: Method, out: &mut Out) {
        self.receiving
            .proved_by_other_means(&pair.remote_to_local());
        let judgement = match method {
            Method::Dialback => Because::Dialback.into(),
            Method::External => {
                let judged = self.judgement_of(&pair.remote).cloned();
                judged.unwrap_or(Because::NoCertificate.into())
            }
            password => Because::Mechanism(password.name()).into(),
        };
        let authorized = Authorized::new(pair, method, judgement);
        self.proved.push(authorized.clone());
        out.push(InboundEffect::Proved(authorized));
    }
}
