//! An open stream: what the peer answers to further pairs, and, where the stream carries both directions (XEP-0288, the initiating
//! entity), its stanzas.

use xmpp_dialback::{
    DialbackError, DialbackLimits, DialbackReply, ErrorCondition, Receiving, Request, Verdict,
    wire as db,
};
use xmpp_stream::stream_management::Nonza;
use xmpp_stream::{Bidi, Condition, Domain, Element, StanzaError, StreamLimits, ns};

use super::{Out, Outbound, OutboundEffect, Purpose, Stage, Step};
use crate::closed::{By, Cause, Closed, Unproved};
use crate::protocol::negotiate::bidi::{self, Server};
use crate::protocol::negotiate::pairs::{self, Received};
use crate::protocol::negotiate::{
    Authorized, DomainPair, Method, Snapshot, authoritative, describe,
};
use crate::trust::judgement::Judgement;

/// To a key of the peer's on our stream.
const OPEN_ANOTHER: &str =
    "only the domains to which this stream was made may send on it: open another";

/// The direction towards us, on a stream of ours.
pub(super) struct Inverse {
    /// Whether the driver can take stanzas.
    can_bidi: bool,
    /// We said `<bidi/>`.
    is_asked: bool,
    /// The pairs of which the peer may send.
    proved: Vec<Authorized>,
    /// The same, for dialback: what it says of further ones.
    receiving: Receiving,
}

impl Inverse {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let limits = &snapshot.config.limits;
        let limits = DialbackLimits::default()
            .with_pairs(limits.pairs_per_stream)
            .with_failures(limits.dialback_failures);
        Self {
            can_bidi: false,
            is_asked: false,
            proved: Vec::new(),
            receiving: Receiving::new(limits),
        }
    }

    /// Nothing was said or proved yet on this stream.
    pub(super) fn forget(&mut self, snapshot: &Snapshot) {
        let can_bidi = self.can_bidi;
        *self = Self {
            can_bidi,
            ..Self::new(snapshot)
        };
    }

    /// Whether a certificate is what proves one of the pairs.
    pub(super) fn rests_on_certificate(&self) -> bool {
        let mut proved = self.proved.iter();
        proved.any(|authorized| authorized.judgement().is_certified())
    }
}

impl Outbound {
    /// With a driver that takes [`OutboundEffect::Deliver`].
    #[must_use]
    pub fn with_bidi(mut self: Box<Self>) -> Box<Self> {
        self.inverse.can_bidi = true;
        self
    }

    /// Whether the peer was asked to send its stanzas on this stream, too.
    pub fn is_bidi(&self) -> bool {
        self.inverse.is_asked
    }

    /// XEP-0288 §2.2: before SASL and dialback, where the peer offers it and what will be known of it then is enough.
    pub(super) fn ask_for_both(&mut self, out: &mut Out) {
        let wanted = self.inverse.can_bidi
            && !self.inverse.is_asked
            && self.features.bidi
            && matches!(self.purpose, Purpose::Deliver)
            && bidi::is_allowed(&self.policy, &self.transport)
            && (bidi::is_mutual(&self.policy)
                || self.inverse_of(&self.pair, &self.judgement).is_some());
        if wanted {
            self.inverse.is_asked = true;
            // XEP-0478 §3.2. When we close a silent stream depends on what went by it, so it is not said.
            let max_stanza = u64::try_from(self.policy.max_stanza).unwrap_or(u64::MAX);
            let limits = StreamLimits::new().with_max_bytes(max_stanza);
            let asked = Bidi::new().with_limits(limits);
            out.push(OutboundEffect::Send(asked.to_bytes()));
        }
    }

    /// The peer's direction of a pair, by what is known of the peer. `judgement`: what its certificate says of the remote domain.
    fn inverse_of(&self, pair: &DomainPair, judgement: &Judgement) -> Option<Authorized> {
        let is_reached = pair.remote == self.pair.remote;
        let server = Server {
            judgement,
            is_reached,
            by: self.authenticated.filter(|_| is_reached),
        };
        let policy = self.snapshot.policy(&pair.remote);
        bidi::theirs(&policy, &self.transport, pair, server)
    }

    /// Whether a further pair is as good in both directions as this stream needs: the peer sends on it what it likes to.
    pub(super) fn takes_inverse(&self, pair: &DomainPair, judgement: &Judgement) -> bool {
        !self.inverse.is_asked || self.inverse_of(pair, judgement).is_some()
    }

    /// Our direction of a pair is proved: the other one is, too, if the stream has it.
    pub(super) fn established_pair(
        &mut self,
        pair: DomainPair,
        (method, judgement): (Method, Judgement),
        certificate: &Judgement,
        out: &mut Out,
    ) {
        let inverse = self.inverse_of(&pair, certificate);
        out.push(OutboundEffect::Established(Authorized::new(
            pair, method, judgement,
        )));
        self.ask_to_count(out);
        if let Some(inverse) = inverse.filter(|_| self.inverse.is_asked) {
            let pair = inverse.pair().remote_to_local();
            self.inverse.receiving.proved_by_other_means(&pair);
            self.inverse.proved.push(inverse.clone());
            out.push(OutboundEffect::InverseProved(inverse));
        }
    }

    /// Whether we said our last word, and only hear what the peer still sends.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// We end the stream, and not for anything that the peer did: the stanzas that it still sends are taken, until it ends the
    /// stream too (RFC 6120 §4.4).
    pub(super) fn end(mut self: Box<Self>, cause: Cause, out: &mut Out) -> Step {
        if let Some(cause) = self.ending {
            return Err(Closed { by: By::Us, cause });
        }
        self.send_footer(out);
        if self.inverse.proved.is_empty() {
            return Err(Closed { by: By::Us, cause });
        }
        self.ending = Some(cause);
        Ok(self)
    }

    /// `refused`: the stanza goes nowhere, and its sender gets this error.
    pub(super) fn on_established(
        mut self: Box<Self>,
        element: Element,
        refused: Option<StanzaError>,
        out: &mut Out,
    ) -> Step {
        self.stage = Stage::Established;
        if element.is(ns::STREAMS, "features") {
            return Ok(self);
        }
        if self.is_counted(&element) {
            if let Some(read) = Nonza::from_element(&element).transpose() {
                out.push(OutboundEffect::Managed(read));
            }
            return Ok(self);
        }
        if self.inverse.is_asked && element.stanza_kind().is_some() {
            return self.on_stanza(element, refused, out);
        }
        if self.ending.is_some() {
            // Nothing can be answered any more.
            return Ok(self);
        }
        if element.namespace() != ns::DIALBACK {
            self.on_stray(&element, out);
            return Ok(self);
        }
        if self.inverse.is_asked {
            match db::Nonza::from_element(&element) {
                Some(Ok(db::Nonza::Request(request))) => return self.on_key(request, out),
                // COMPAT(Prosody 0.12): asks about a key on any stream to the domain that is open. Test
                // `a_question_about_a_key_is_answered_on_a_stream_that_carries_both_directions`.
                Some(Ok(db::Nonza::Question(question))) => {
                    let answer = authoritative::answer(&self.snapshot, &question);
                    out.push(OutboundEffect::Send(answer));
                    return Ok(self);
                }
                _ => {}
            }
        }
        self.on_result(&element, out)
    }

    /// A stanza of the peer's, where it may send some.
    fn on_stanza(
        mut self: Box<Self>,
        element: Element,
        refused: Option<StanzaError>,
        out: &mut Out,
    ) -> Step {
        match pairs::receive(&self.inverse.proved, element, refused, &self.snapshot) {
            Ok(Received::Deliver(stanza, authorized)) => {
                out.push(OutboundEffect::Deliver(stanza, authorized));
            }
            Ok(Received::Bounce(stanza, error, authorized)) => {
                out.push(OutboundEffect::Bounce(stanza, error, authorized));
            }
            Ok(Received::Dropped) => {}
            Err((condition, text)) => return Err(self.refuse_with(condition, text, out)),
        }
        Ok(self)
    }

    /// Something of which nothing is known here, or a stanza although nothing proves that direction.
    fn on_stray(&self, element: &Element, out: &mut Out) {
        out.push(match pairs::foreign(&self.inverse.proved, element) {
            Some((stanza, error, authorized)) => OutboundEffect::Bounce(stanza, error, authorized),
            // COMPAT(ejabberd 23.01): answers a stanza that it cannot decode on the stream by which it came. Test
            // `an_error_in_the_wrong_direction_is_told_in_our_words_and_the_stream_goes_on`.
            None => OutboundEffect::Stray {
                what: element.name().into(),
                stanza: element.kind_anywhere().is_some().then(|| element.clone()),
            },
        });
    }

    /// XEP-0288 §2.2: the peer may ask for further pairs on our stream. It hears `valid` for those that are proved, and for others
    /// that they need a stream of their own (XEP-0220 §2.5): who else is behind a stream that we opened, we do not look into.
    fn on_key(mut self: Box<Self>, request: Request, out: &mut Out) -> Step {
        let (Ok(local), Ok(remote)) = (
            Domain::parse(&request.pair.target),
            Domain::parse(&request.pair.sender),
        ) else {
            let condition = Condition::ImproperAddressing;
            return Err(self.refuse_with(condition, "not a domain", out));
        };
        let served = self.snapshot.serves(&local);
        let pair = DomainPair { local, remote };
        let receiving = &mut self.inverse.receiving;
        let reply = if receiving.is_proved(&pair.remote_to_local()) {
            DialbackReply {
                verdict: Verdict::Valid,
                close: None,
            }
        } else if served {
            let error = DialbackError::new(ErrorCondition::ResourceConstraint);
            receiving.refuse(error.with_text(OPEN_ANOTHER))
        } else {
            let error = DialbackError::new(ErrorCondition::ItemNotFound);
            receiving.refuse(error.with_text("this domain is not served here"))
        };
        let DialbackReply { verdict, close } = reply;
        let what = format!(
            "dialback for {}: {}",
            request.pair.sender,
            describe(&verdict)
        );
        let pair = request.pair;
        let answer = db::Nonza::Result { pair, verdict };
        out.push(OutboundEffect::Send(answer.to_bytes()));
        let Some(close) = close else {
            return Ok(self);
        };
        let cause = match close.stream_error() {
            Some(error) => {
                self.refuse(error, String::new(), out);
                Cause::TooManyFailures
            }
            None => {
                self.send_footer(out);
                Cause::Dialback(Unproved::Other(what.into()), None)
            }
        };
        Err(Closed { by: By::Us, cause })
    }

    /// What the peer says of a further pair.
    fn on_result(mut self: Box<Self>, element: &Element, out: &mut Out) -> Step {
        let Some((pair, verdict)) = self.result(element) else {
            return Err(self.refuse_element(element, "not understood here", out));
        };
        if let Err(unsolicited) = self.initiating.answer(&pair, verdict.clone()) {
            return Err(self.refuse(unsolicited.stream_error(), unsolicited.to_string(), out));
        }
        let (Ok(local), Ok(remote)) = (Domain::parse(&pair.sender), Domain::parse(&pair.target))
        else {
            return Ok(self); // the pair was ours, so it parses
        };
        let pair = DomainPair { local, remote };
        let asked = self.further.iter().position(|(asked, _)| *asked == pair);
        let judgement = asked.map(|asked| self.further.swap_remove(asked).1);
        match (verdict, judgement) {
            (Verdict::Valid, Some(judgement)) => {
                let proof = (Method::Dialback, judgement.clone());
                self.established_pair(pair, proof, &judgement, out);
            }
            (verdict, _) => out.push(OutboundEffect::PairRefused(
                pair,
                Cause::Dialback(super::dialback::unproved(&verdict), None),
            )),
        }
        Ok(self)
    }
}
