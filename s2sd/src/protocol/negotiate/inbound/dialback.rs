//! The Receiving Server of XEP-0220, on a stream that the peer opened.
//!
//! Our own rules come before the key is looked at; the question to the sender's authoritative server is an effect.

use xmpp_dialback::{
    DialbackError, DialbackReply, ErrorCondition, Pair, Request, Verdict, wire as db,
};
use xmpp_stream::{Condition, Domain, Element};

use super::{Inbound, InboundEffect, NOT_ADMITTED, Out, Stage, Step};
use crate::closed::{BUSY, By, Cause, Closed, Unproved};
use crate::config::{Policy, TlsMode, Verify};
use crate::protocol::negotiate::offer::Offer;
use crate::protocol::negotiate::{Authorized, DomainPair, Method, authoritative, describe};
use crate::trust::judgement::{Because, Judgement};

/// How many keys may wait for a verdict on a stream without a proved pair.
const UNPROVED: usize = 4;
/// No key is longer (XEP-0185 has 64 characters), and it is not ours: the authoritative server is sent it.
const LONGEST_KEY: usize = 1024;

/// Neither a key nor a certificate does.
const NO_DIALBACK: &str = "server dialback is not accepted from this domain";
/// For its operator: streams that are not used should be closed, or used for further pairs.
const NO_PLACE: &str = "your domain has as many streams to this server as it may have";

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
                let answer = authoritative::answer(&self.snapshot, &question);
                out.push(InboundEffect::Send(answer));
                Ok(self)
            }
            // XEP-0220 §3.1: servers once believed answers without a question.
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
        let policy = self.snapshot.policy(&pair.remote);
        // Our own rules first, as XEP-0220 §2.5 names their errors.
        let refusal = if !self.snapshot.serves(&pair.local) {
            Some((
                ErrorCondition::ItemNotFound,
                "this domain is not served here",
            ))
        } else if self.snapshot.serves(&pair.remote) {
            Some((
                ErrorCondition::NotAcceptable,
                "the sender is a domain that is served here",
            ))
        } else if self.snapshot.admits(&pair.remote).is_err() {
            Some((ErrorCondition::PolicyViolation, NOT_ADMITTED))
        } else if tls_first || (!self.transport.is_tls() && policy.tls == TlsMode::Required) {
            Some((
                ErrorCondition::PolicyViolation,
                "encryption is required first",
            ))
        } else if let Some(lacks) = self.transport.lacks(&policy) {
            Some((ErrorCondition::PolicyViolation, lacks))
        } else if !policy.allows(Method::Dialback) && !self.may_be_certified(&policy) {
            Some((ErrorCondition::PolicyViolation, NO_DIALBACK))
        } else if request.key.as_str().len() > LONGEST_KEY {
            Some((ErrorCondition::NotAcceptable, "the key is too long"))
        } else {
            None
        };
        if let Some((condition, text)) = refusal {
            let reply = self
                .receiving
                .refuse(DialbackError::new(condition).with_text(text));
            return self.reply(request.pair, reply, out);
        }
        let asked = request.pair;
        let request = Request {
            pair: pair.remote_to_local(),
            key: request.key,
        };
        if !self.has_room_for(&request.pair) {
            let reply = self.receiving.constrained(BUSY);
            return self.reply(asked, reply, out);
        }
        // XEP-0344 §3.3: judged now, for this domain. What was found when the stream began does not count.
        let strict = self.transport.certificate_shown() && policy.verify == Verify::Strict;
        // The answer for a proved pair does not depend on the certificate.
        let proved = self.receiving.is_proved(&request.pair);
        if (strict || self.may_be_certified(&policy)) && !proved {
            let mut unjudged = self.unjudged.iter();
            let asked = unjudged.any(|(other, _)| other.remote == pair.remote);
            if !asked && !self.judge(Some(pair.remote.clone()), out) {
                return Some(self.refuse_with(
                    Condition::PolicyViolation,
                    "too many domains before one of them is proved",
                    out,
                ));
            }
            self.unjudged.push((pair, request));
            return None;
        }
        self.request(pair, request, None, out)
    }

    /// Whether a further key may wait, for a verdict on the certificate or for the authoritative server. One whose pair
    /// is known already does not wait.
    fn has_room_for(&self, pair: &Pair) -> bool {
        let most = self.snapshot.config.limits.pairs_per_stream;
        let most = match self.is_authenticated() {
            true => most,
            false => most.min(UNPROVED),
        };
        let (receiving, unjudged) = (&self.receiving, self.unjudged.len());
        let is_known = || receiving.is_proved(pair) || receiving.waiting().any(|it| it == *pair);
        let waiting = || unjudged + receiving.waiting().count();
        unjudged < most && (waiting() < most || is_known())
    }

    /// Whether the certificate may count as proof, if it is good.
    fn may_be_certified(&self, policy: &Policy) -> bool {
        self.transport.certificate_shown() && policy.allows_over(Method::External, true)
    }

    /// The key may be looked at, or need not be. `Some`: the stream ends.
    pub(super) fn request(
        &mut self,
        pair: DomainPair,
        request: Request,
        judgement: Option<&Judgement>,
        out: &mut Out,
    ) -> Option<Closed> {
        let policy = self.snapshot.policy(&pair.remote);
        if let Some(bad) = judgement.and_then(Judgement::bad)
            && policy.verify == Verify::Strict
        {
            let error = DialbackError::new(ErrorCondition::NotAuthorized);
            let reply = self
                .receiving
                .refuse(error.with_text(bad.to_it().to_string()));
            return self.reply(request.pair, reply, out);
        }
        let certified = judgement
            .filter(|judgement| judgement.is_certified() && self.may_be_certified(&policy));
        if certified.is_none() && !policy.allows(Method::Dialback) {
            let error = DialbackError::new(ErrorCondition::PolicyViolation);
            let reply = self.receiving.refuse(error.with_text(NO_DIALBACK));
            return self.reply(request.pair, reply, out);
        }
        let asked = request.pair.clone();
        match (self.receiving.request(request, &self.id), certified) {
            // XEP-0344 §2.4: what the certificate proves need not be asked.
            (Ok(question), Some(judgement)) => {
                self.settle(&question.pair, Verdict::Valid, judgement.clone(), out)
            }
            (Ok(question), None) => {
                out.push(InboundEffect::Ask(pair, question));
                None
            }
            (Err(refusal), _) => self.reply(asked, refusal.reply, out),
        }
    }

    pub(super) fn on_verdict(
        mut self: Box<Self>,
        pair: &Pair,
        verdict: Verdict,
        out: &mut Out,
    ) -> Step {
        match self.settle(pair, verdict, Because::Dialback.into(), out) {
            Some(closed) => Err(closed),
            None => Ok(self),
        }
    }

    pub(super) fn on_not_asked(mut self: Box<Self>, pair: &Pair, out: &mut Out) -> Step {
        let Ok(reply) = self.receiving.not_asked(pair, BUSY) else {
            return Ok(self);
        };
        match self.reply(pair.clone(), reply, out) {
            Some(closed) => Err(closed),
            None => Ok(self),
        }
    }

    /// It is known whether a pair that waits is proved. `Some`: the stream ends.
    fn settle(
        &mut self,
        pair: &Pair,
        verdict: Verdict,
        judgement: Judgement,
        out: &mut Out,
    ) -> Option<Closed> {
        let no_place = verdict == Verdict::Valid && !self.has_place(pair);
        let crowded = || {
            let error = DialbackError::new(ErrorCondition::ResourceConstraint);
            Verdict::Error(error.with_text(NO_PLACE))
        };
        let verdict = if no_place { crowded() } else { verdict };
        let Ok(mut reply) = self.receiving.answered(pair, verdict) else {
            return None; // our own late answer: the pair is no longer waited for
        };
        if no_place && reply.close.is_none() {
            // It is our own word, not the authoritative server's, which would not be passed on.
            reply.verdict = crowded();
        }
        let proved = reply.verdict == Verdict::Valid && reply.close.is_none();
        let closed = self.reply(pair.clone(), reply, out);
        if proved
            && closed.is_none()
            && let (Ok(local), Ok(remote)) =
                (Domain::parse(&pair.target), Domain::parse(&pair.sender))
        {
            if self.proved.is_empty() {
                self.policy = self.snapshot.policy(&remote);
                out.push(InboundEffect::SetLimits(self.limits()));
            }
            self.prove(
                DomainPair { local, remote },
                Method::Dialback,
                judgement,
                out,
            );
        }
        closed
    }

    /// Whether the domain of a pair that waits may have this stream too.
    fn has_place(&mut self, pair: &Pair) -> bool {
        let waits = self.receiving.waiting().any(|waiting| waiting == *pair);
        !waits || Domain::parse(&pair.sender).is_ok_and(|remote| self.quota.take(&remote))
    }

    /// Answers a `db:result`. `Some`: the stream ends after it.
    pub(super) fn reply(
        &mut self,
        pair: Pair,
        reply: DialbackReply,
        out: &mut Out,
    ) -> Option<Closed> {
        let DialbackReply { verdict, close } = reply;
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
                Cause::Dialback(Unproved::Other(what.into()), None)
            }
        };
        Some(Closed { by: By::Us, cause })
    }

    pub(super) fn prove(
        &mut self,
        pair: DomainPair,
        method: Method,
        judgement: Judgement,
        out: &mut Out,
    ) {
        self.receiving
            .proved_by_other_means(&pair.remote_to_local());
        let authorized = Authorized::new(pair, method, judgement);
        self.proved.push(authorized.clone());
        self.judge_if_stale(&authorized, out);
        out.push(InboundEffect::Proved(authorized.clone()));
        // After SASL the new stream comes first.
        if self.header_sent {
            self.prove_inverse(&authorized, out);
        }
    }
}
