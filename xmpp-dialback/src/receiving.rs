//! The Receiving Server (XEP-0220 §2.2.1): accepts or refuses pairs on a stream that a peer opened.

use crate::pair::Pairs;
use crate::{DialbackError, ErrorCondition, Pair, Question, Request, Unsolicited, Verdict};

/// The pairs of one stream from an Initiating Server.
///
/// ```
/// use xmpp_dialback::{DialbackLimits, Key, Pair, Receiving, Request, Verdict};
///
/// let pair = Pair::new("capulet.example", "montague.example");
/// let mut receiving = Receiving::new(DialbackLimits::default());
///
/// let request = Request { pair: pair.clone(), key: Key::from_text("b483…") };
/// let question = receiving.request(request, "D60000229F")?; // goes to the server of capulet.example
/// assert!(!receiving.is_proved(&pair));
///
/// let reply = receiving.answered(&question.pair, Verdict::Valid)?; // goes back on this stream
/// assert_eq!((reply.verdict, reply.close), (Verdict::Valid, None));
/// assert!(receiving.is_proved(&pair));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Receiving {
    limits: DialbackLimits,
    failures: usize,
    closed: Option<CloseStream>,
    pairs: Pairs<State>,
}

/// Bounds for one stream.
///
/// ```
/// use xmpp_dialback::DialbackLimits;
///
/// let limits = DialbackLimits::default().with_pairs(8).with_failures(3);
/// assert_eq!((limits.pairs, limits.failures), (8, 3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DialbackLimits {
    /// Pairs that wait or are proved. A further one is answered by `resource-constraint`.
    pub pairs: usize,
    /// Requests that failed, for whatever reason. One more ends the stream by `policy-violation`.
    pub failures: usize,
}

impl Default for DialbackLimits {
    fn default() -> Self {
        Self {
            pairs: 64,
            failures: 10,
        }
    }
}

impl DialbackLimits {
    /// With another bound of [`pairs`](Self::pairs).
    #[must_use]
    pub fn with_pairs(mut self, pairs: usize) -> Self {
        self.pairs = pairs;
        self
    }

    /// With another bound of [`failures`](Self::failures).
    #[must_use]
    pub fn with_failures(mut self, failures: usize) -> Self {
        self.failures = failures;
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    Proved,
}

/// What the Initiating Server gets: a `db:result` of this verdict, and then perhaps the end.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct DialbackReply {
    /// To be sent for the pair.
    pub verdict: Verdict,
    /// To be done after sending it. Nothing is proved on the stream any more.
    pub close: Option<CloseStream>,
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseStream {
    /// A key was invalid and nothing else was proved: `</stream:stream>` without a stream error, the
    /// `db:result` having said it all (XEP-0220 §2.2.1).
    Invalid,
    /// The stream error `policy-violation`: too many failures, or a second key for a pair that waits.
    PolicyViolation,
}

/// A request that does not become a question. The reply says what to send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct RefusedRequest {
    /// For the log.
    pub why: RefusalReason,
    /// For the peer.
    pub reply: DialbackReply,
}

/// Why a request does not become a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The peer hears `valid` again; its new key is not looked at. This is not a failure.
    #[error("the pair is proved already")]
    Proved,
    /// A key for this pair is with the Authoritative Server; the peer sent another. The answer to the
    /// first could be taken for one to the second, so the stream ends.
    #[error("a second key for a pair whose first one is not answered yet")]
    Waiting,
    /// XEP-0220 §2.5, `resource-constraint`: the peer should open another stream.
    #[error("too many pairs on one stream")]
    TooManyPairs,
    /// The stream ends.
    #[error("too many failed dialback requests on one stream")]
    TooManyFailures,
    /// Not prepared domains.
    #[error("a domain of the pair is empty or has a blank in it")]
    NotADomain,
    /// This stream is ending.
    #[error("the stream is being closed")]
    Closing,
}

impl Receiving {
    /// A stream with no pair yet.
    pub fn new(limits: DialbackLimits) -> Self {
        Self {
            limits,
            failures: 0,
            closed: None,
            pairs: Pairs::new(),
        }
    }

    /// The pair of this stream was proved by other means (SASL). From now on it is proved here too, and
    /// an invalid key for another pair does not end the stream.
    pub fn proved_by_other_means(&mut self, pair: &Pair) {
        if self.closed.is_none() {
            self.pairs.insert(pair, State::Proved);
        }
    }

    /// A `db:result` with a key arrived on this stream. `stream_id` is the id of our own response header
    /// of this stream, of the latest one if the stream was restarted.
    ///
    /// Send the question to the server of `pair.sender` (see [`Verifying`](crate::Verifying)), or the
    /// refusal's reply on this stream. Whether `pair.target` is a domain of ours and policy allows
    /// dialback is to be decided before; see [`refuse`](Self::refuse).
    pub fn request(
        &mut self,
        request: Request,
        stream_id: &str,
    ) -> Result<Question, RefusedRequest> {
        let Request { pair, key } = request;
        if let Some(close) = self.closed {
            return Err(RefusedRequest {
                why: RefusalReason::Closing,
                reply: policy_violation(close),
            });
        }
        if !pair.is_unambiguous() {
            let error = DialbackError::new(ErrorCondition::NotAcceptable);
            return Err(RefusedRequest {
                why: RefusalReason::NotADomain,
                reply: self.refuse(error),
            });
        }
        match self.pairs.get(&pair.sender, &pair.target) {
            Some(State::Proved) => {
                return Err(RefusedRequest {
                    why: RefusalReason::Proved,
                    reply: DialbackReply {
                        verdict: Verdict::Valid,
                        close: None,
                    },
                });
            }
            Some(State::Waiting) => {
                return Err(RefusedRequest {
                    why: RefusalReason::Waiting,
                    reply: self.end(),
                });
            }
            None => {}
        }
        // Asked before the failure happens: a peer that only ever fails costs us that many connections
        // to others, and no more.
        if self.failures >= self.limits.failures {
            return Err(RefusedRequest {
                why: RefusalReason::TooManyFailures,
                reply: self.end(),
            });
        }
        if self.pairs.len() >= self.limits.pairs {
            let error = DialbackError::new(ErrorCondition::ResourceConstraint)
                .with_text("this stream holds as many domain pairs as it may");
            return Err(RefusedRequest {
                why: RefusalReason::TooManyPairs,
                reply: self.refuse(error),
            });
        }
        self.pairs.insert(&pair, State::Waiting);
        Ok(Question {
            pair,
            stream_id: stream_id.to_owned(),
            key,
        })
    }

    /// For a request that our own policy refuses (`item-not-found`, `policy-violation`, …): counts the
    /// failure and gives the reply.
    pub fn refuse(&mut self, error: DialbackError) -> DialbackReply {
        self.failures = self.failures.saturating_add(1);
        if self.failures > self.limits.failures {
            return self.end();
        }
        DialbackReply {
            verdict: Verdict::Error(error),
            close: None,
        }
    }

    /// For a request that there is no room for at this time, though nothing is wrong with it: an error
    /// `resource-constraint` (XEP-0220 §2.5) that is no failure of the peer's.
    pub fn constrained(&self, text: &str) -> DialbackReply {
        let error = DialbackError::new(ErrorCondition::ResourceConstraint);
        DialbackReply {
            verdict: Verdict::Error(error.with_text(text)),
            close: self.closed,
        }
    }

    /// The question for this pair was not asked, for want of room (see [`constrained`](Self::constrained)). The pair is
    /// forgotten; its key may come again.
    pub fn not_asked(&mut self, pair: &Pair, text: &str) -> Result<DialbackReply, Unsolicited> {
        if self.pairs.get(&pair.sender, &pair.target) != Some(&State::Waiting) {
            return Err(Unsolicited { pair: pair.clone() });
        }
        self.pairs.remove(pair);
        Ok(self.constrained(text))
    }

    /// The question for this pair is answered: by [`Verifying`](crate::Verifying), or by an error of
    /// ours when the Authoritative Server could not be asked. Send the reply on this stream.
    pub fn answered(
        &mut self,
        pair: &Pair,
        verdict: Verdict,
    ) -> Result<DialbackReply, Unsolicited> {
        if self.pairs.get(&pair.sender, &pair.target) != Some(&State::Waiting) {
            return Err(Unsolicited { pair: pair.clone() });
        }
        Ok(match verdict.relayed() {
            Verdict::Valid => {
                self.pairs.insert(pair, State::Proved);
                DialbackReply {
                    verdict: Verdict::Valid,
                    close: None,
                }
            }
            Verdict::Invalid => {
                self.pairs.remove(pair);
                self.invalid()
            }
            Verdict::Error(error) => {
                self.pairs.remove(pair);
                self.refuse(error)
            }
        })
    }

    // XEP-0220 §2.2.1: with no other valid pair, "invalid" and the stream MUST be closed; with one, an
    // error <forbidden/> keeps the stream (after "invalid" an initiating server gives it up itself).
    fn invalid(&mut self) -> DialbackReply {
        if self.pairs.any(|_, _, state| *state == State::Proved) {
            return self.refuse(DialbackError::new(ErrorCondition::Forbidden));
        }
        self.closed = Some(CloseStream::Invalid);
        self.pairs.clear();
        DialbackReply {
            verdict: Verdict::Invalid,
            close: self.closed,
        }
    }

    fn end(&mut self) -> DialbackReply {
        self.closed = Some(CloseStream::PolicyViolation);
        self.pairs.clear();
        policy_violation(CloseStream::PolicyViolation)
    }

    /// Every question that waits fails with this error, at once: no Authoritative Server can be asked any
    /// more. Gives the replies to send, in order; after one with `close` none follows.
    ///
    /// When one stream to an Authoritative Server closes, fail what waits on that stream only, by
    /// [`answered`](Self::answered) for each of [`Verifying::fail_all`](crate::Verifying::fail_all).
    pub fn fail_all(&mut self, error: &DialbackError) -> Vec<(Pair, DialbackReply)> {
        let waiting: Vec<Pair> = self.waiting().collect();
        waiting
            .into_iter()
            .map_while(|pair| {
                // Ends by itself when a reply closes the stream: then nothing waits any more.
                let reply = self.answered(&pair, Verdict::Error(error.clone())).ok()?;
                Some((pair, reply))
            })
            .collect()
    }

    /// May stanzas of this pair be taken from this stream?
    pub fn is_proved(&self, pair: &Pair) -> bool {
        self.proves(&pair.sender, &pair.target)
    }

    /// [`is_proved`](Self::is_proved) without a [`Pair`]: for each stanza.
    pub fn proves(&self, sender: &str, target: &str) -> bool {
        self.pairs.get(sender, target) == Some(&State::Proved)
    }

    /// The pairs whose question is not answered yet.
    pub fn waiting(&self) -> impl Iterator<Item = Pair> {
        self.pairs
            .iter()
            .filter(|(_, state)| **state == State::Waiting)
            .map(|(pair, _)| pair)
    }
}

fn policy_violation(close: CloseStream) -> DialbackReply {
    DialbackReply {
        verdict: Verdict::Error(DialbackError::new(ErrorCondition::PolicyViolation)),
        close: Some(close),
    }
}

#[cfg(test)]
mod tests;
