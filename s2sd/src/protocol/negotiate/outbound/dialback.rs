//! The Initiating Server of XEP-0220, and its question to an authoritative server.

use xmpp_dialback::{NotRequested, Pair, Question, Verdict, Verifying, wire as db};
use xmpp_stream::{Condition, Domain, Element};

use super::{Out, Outbound, OutboundEffect, Stage, Step};
use crate::closed::{By, Cause, Closed, Unproved};
use crate::config::{TlsMode, Verify};
use crate::peer_text::PeerText;
use crate::protocol::negotiate::{Authorized, DomainPair, Judged, Method};
use crate::trust::judgement::Judgement;

impl Outbound {
    pub(super) fn dialback(mut self: Box<Self>, out: &mut Out) -> Step {
        if self.stream_id.is_empty() {
            // RFC 6120 §4.7.3 wants one; a key needs it.
            return Err(self.refuse_with(Condition::BadFormat, "the stream header has no id", out));
        }
        match self.initiating.request(
            self.pair.local_to_remote(),
            &self.stream_id,
            &self.snapshot.secret,
        ) {
            Ok(request) => {
                out.push(OutboundEffect::Send(db::Nonza::Request(request).to_bytes()));
                self.stage = Stage::Dialback;
                Ok(self)
            }
            Err(too_many) => {
                Err(self.refuse_with(Condition::PolicyViolation, &too_many.to_string(), out))
            }
        }
    }

    pub(super) fn on_dialback(mut self: Box<Self>, element: &Element, out: &mut Out) -> Step {
        let Some((pair, verdict)) = self.result(element) else {
            return Err(self.refuse_element(element, "a dialback result was expected", out));
        };
        if let Err(unsolicited) = self.initiating.answer(&pair, verdict.clone()) {
            return Err(self.refuse(unsolicited.stream_error(), unsolicited.to_string(), out));
        }
        match verdict {
            Verdict::Valid => {
                self.authenticated = Some(Method::Dialback);
                out.push(OutboundEffect::SetLimits(self.limits()));
                self.establish(Method::Dialback, out)
            }
            Verdict::Invalid | Verdict::Error(_) => {
                self.send_footer(out);
                // The last method failed, so this is the reason. Earlier refusals do not matter: a new connection would
                // not do better.
                let refused = self.refusal.take().filter(|_| verdict != Verdict::Invalid);
                Err(Closed {
                    by: By::Peer,
                    cause: Cause::Dialback(unproved(&verdict), refused.map(Box::new)),
                })
            }
        }
    }

    pub(super) fn result(&self, element: &Element) -> Option<(Pair, Verdict)> {
        match db::Nonza::from_element(element)?.ok()? {
            db::Nonza::Result { pair, verdict } => {
                let sender = Domain::parse(&pair.sender).ok()?;
                let target = Domain::parse(&pair.target).ok()?;
                let pair = Pair {
                    sender: sender.as_str().to_owned(),
                    target: target.as_str().to_owned(),
                };
                Some((pair, verdict))
            }
            _ => None,
        }
    }

    /// From here on questions may be asked.
    pub(super) fn verify(mut self: Box<Self>, out: &mut Out) -> Step {
        out.push(OutboundEffect::MayAsk);
        self.stage = Stage::Verifying(Verifying::default());
        Ok(self)
    }

    pub(super) fn ask(mut self: Box<Self>, question: Question, out: &mut Out) -> Box<Self> {
        let taken = match &mut self.stage {
            Stage::Verifying(verifying) => verifying.ask(question.clone()).is_ok(),
            _ => false,
        };
        out.push(match taken {
            true => OutboundEffect::Send(db::Nonza::Question(question).to_bytes()),
            false => OutboundEffect::NotAsked(question),
        });
        self
    }

    pub(super) fn on_answer(
        mut self: Box<Self>,
        mut verifying: Verifying,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        let answer = match db::Nonza::from_element(element) {
            Some(Ok(db::Nonza::Answer {
                pair,
                stream_id,
                verdict,
            })) => {
                let prepared = Domain::parse(&pair.sender)
                    .ok()
                    .zip(Domain::parse(&pair.target).ok());
                prepared.and_then(|(sender, target)| {
                    let pair = Pair {
                        sender: sender.as_str().to_owned(),
                        target: target.as_str().to_owned(),
                    };
                    let verdict = verifying.answer(&pair, &stream_id, verdict).ok()?;
                    Some(OutboundEffect::Answered(pair, stream_id, verdict))
                })
            }
            _ => None,
        };
        match answer {
            Some(answer) => {
                out.push(answer);
                self.stage = Stage::Verifying(verifying);
                Ok(self)
            }
            None => Err(self.refuse_element(element, "the answer to a question was expected", out)),
        }
    }

    /// An unexpected element gets the condition that fits it best.
    pub(super) fn refuse_element(
        &mut self,
        element: &Element,
        expected: &str,
        out: &mut Out,
    ) -> Closed {
        if element.stanza_kind().is_some() {
            // The stream runs one way; the other way proves itself (XEP-0220 §2.3).
            return self.refuse_with(
                Condition::NotAuthorized,
                "stanzas in the wrong direction",
                out,
            );
        }
        match db::Nonza::from_element(element) {
            Some(Ok(db::Nonza::Result { pair, .. } | db::Nonza::Answer { pair, .. })) => {
                let unsolicited = xmpp_dialback::Unsolicited { pair };
                self.refuse(unsolicited.stream_error(), unsolicited.to_string(), out)
            }
            Some(Err(malformed)) => {
                self.refuse(malformed.stream_error(), malformed.to_string(), out)
            }
            Some(Ok(db::Nonza::Request(_) | db::Nonza::Question(_))) | None => {
                self.refuse_with(Condition::UnsupportedStanzaType, expected, out)
            }
        }
    }

    /// A further pair. For the first one we judged the peer; for another of its domains the driver judges it again.
    pub(super) fn add_pair(mut self: Box<Self>, pair: DomainPair, out: &mut Out) -> Step {
        let why = if !self.established {
            Some(untried("the stream is not open yet"))
        } else if let Err(denied) = self.snapshot.admits(&pair.remote) {
            Some(Cause::denied(&pair.remote, &denied))
        } else if !self.transport.is_tls()
            && self.snapshot.policy(&pair.remote).tls == TlsMode::Required
        {
            Some(Cause::TlsNotOffered)
        } else if self.judging.len() >= self.snapshot.config.limits.pairs_per_stream {
            Some(untried("too many pairs at once"))
        } else {
            None
        };
        if let Some(why) = why {
            out.push(OutboundEffect::PairRefused(pair, why));
        } else if pair.remote == self.pair.remote || !self.transport.is_tls() {
            let judgement = self.judgement.clone();
            self.request_pair(pair, &judgement, out);
        } else {
            out.push(OutboundEffect::Judge(pair.remote.clone()));
            self.judging.push(pair);
        }
        Ok(self)
    }

    /// What the certificate says of the remote domain of further pairs is known.
    pub(super) fn on_pairs_judged(&mut self, judged: &Judged, out: &mut Out) {
        let (ready, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.judging)
            .into_iter()
            .partition(|pair| Some(&pair.remote) == judged.domain.as_ref());
        self.judging = rest;
        for pair in ready {
            self.request_pair(pair, &judged.judgement, out);
        }
    }

    /// RFC 7712 §4.4.2: another domain of the peer's only if its certificate is good for that one too, or need not be.
    /// XEP-0220 §2.6.2: and only where the peer can refuse one pair without ending the stream.
    fn request_pair(&mut self, pair: DomainPair, judgement: &Judgement, out: &mut Out) {
        let policy = self.snapshot.policy(&pair.remote);
        let strict = self.transport.is_tls() && policy.verify == Verify::Strict;
        if strict && !judgement.is_certified() {
            let why = Cause::Certificate(judgement.because().to_string().into());
            out.push(OutboundEffect::PairRefused(pair, why));
            return;
        }
        if !self.takes_inverse(&pair, judgement) {
            let why = untried("the certificate does not prove this domain for both directions");
            out.push(OutboundEffect::PairRefused(pair, why));
            return;
        }
        let asked = pair.local_to_remote();
        let secret = &self.snapshot.secret;
        match self.initiating.request(asked, &self.stream_id, secret) {
            Ok(request) => {
                self.further.push((pair, judgement.clone()));
                out.push(OutboundEffect::Send(db::Nonza::Request(request).to_bytes()));
            }
            // Another lane had the pair, and left: it may be used as before.
            Err(NotRequested::Proved) => {
                let first = self.authenticated.filter(|_| pair == self.pair);
                let method = first.unwrap_or(Method::Dialback);
                let proof = match first {
                    Some(method) => self.judgement_by(method),
                    None => judgement.clone(),
                };
                out.push(OutboundEffect::Established(Authorized::new(
                    pair, method, proof,
                )));
            }
            // Or it left before the answer, which is still to come.
            Err(NotRequested::Waiting) => {}
            Err(not) => out.push(OutboundEffect::PairRefused(pair, untried(&not.to_string()))),
        }
    }
}

/// RFC 3920 §8.3: old servers end the stream where newer ones answer with `type='error'`.
pub(super) fn answered_by_the_end(mut verifying: Verifying, condition: Condition, out: &mut Out) {
    let verdict = Verdict::from_stream_error(condition).relayed();
    let waiting = verifying.fail_all();
    // `invalid-id` is about one key, and does not say which, if several wait.
    if verdict == Verdict::Invalid && waiting.len() > 1 {
        return;
    }
    for Question {
        pair, stream_id, ..
    } in waiting
    {
        out.push(OutboundEffect::Answered(pair, stream_id, verdict.clone()));
    }
}

fn untried(what: &str) -> Cause {
    Cause::Dialback(Unproved::Other(what.into()), None)
}

/// Why an answer other than `valid` ends it.
pub(super) fn unproved(verdict: &Verdict) -> Unproved {
    match verdict {
        Verdict::Invalid => Unproved::Invalid,
        Verdict::Error(error) => Unproved::Error {
            condition: error.condition,
            said: error.text.as_deref().map(PeerText::new),
        },
        Verdict::Valid => Unproved::Other("valid".into()),
    }
}
