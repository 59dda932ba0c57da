//! The Initiating Server (XEP-0220 §2.1.1): asks, on a stream it opened, for pairs to be accepted.

use crate::pair::Pairs;
use crate::{DialbackError, Pair, Request, Secret, Unsolicited, Verdict};

/// The pairs of one stream to a Receiving Server.
///
/// ```
/// use xmpp_dialback::{Initiating, Pair, RequestOutcome, Secret, Verdict};
///
/// let secret = Secret::new("s3cr3tf0rd14lb4ck");
/// let pair = Pair::new("capulet.example", "montague.example");
/// let mut initiating = Initiating::new(64);
///
/// let request = initiating.request(pair.clone(), "D60000229F", &secret)?;
/// assert_eq!(request.key.as_str(), "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3");
/// assert!(!initiating.is_proved(&pair));
///
/// assert_eq!(initiating.answer(&pair, Verdict::Valid)?, RequestOutcome::Proved);
/// assert!(initiating.is_proved(&pair));
/// assert!(initiating.answer(&pair, Verdict::Valid).is_err()); // there was no second request
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Initiating {
    limit: usize,
    errors: bool,
    pairs: Pairs<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting,
    Proved,
}

/// What an answer means for a pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestOutcome {
    /// Stanzas of this pair may be sent on this stream.
    Proved,
    /// The key was found bad. The queue of this pair goes back to its senders, and the stream will most
    /// likely be closed: send nothing more on it for other pairs (XEP-0220 §2.1.1).
    Invalid,
    /// The key was not judged. The queue of this pair goes back; the stream and its other pairs go on.
    Failed(DialbackError),
}

/// Why a pair is not asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRequested {
    /// This stream holds as many pairs as it may: use another stream.
    #[error("this stream holds {limit} pairs already")]
    TooManyPairs {
        /// The bound.
        limit: usize,
    },
    /// The peer did not announce dialback errors, so it may close the stream with all its pairs over a
    /// target that it does not know: use another stream (XEP-0220 §2.6.2).
    #[error("the peer did not announce that it can take a second target domain on a stream")]
    OtherTarget,
    /// The pair was asked for and its answer is still to come.
    #[error("the pair was asked for already")]
    Waiting,
    /// Nothing to do.
    #[error("the pair is proved already")]
    Proved,
    /// Not a pair of prepared domains; no key is made for such.
    #[error("a domain of the pair is empty or has a blank in it")]
    NotADomain,
}

impl Initiating {
    /// A stream with no pair yet, and a bound for those that wait or are proved.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            errors: false,
            pairs: Pairs::new(),
        }
    }

    /// Has the peer announced `<dialback><errors/></dialback>` (XEP-0220 §2.4.2)? Until then only one
    /// target domain is requested on this stream.
    pub fn set_errors_announced(&mut self, announced: bool) {
        self.errors = announced;
    }

    /// The pair of this stream was proved by other means (SASL). From now on it is proved here too.
    pub fn proved_by_other_means(&mut self, pair: &Pair) {
        self.pairs.insert(pair, State::Proved);
    }

    /// Asks for a pair: send the request on this stream. `stream_id` is the id in the peer's response
    /// header of this stream, of the latest one if the stream was restarted.
    pub fn request(
        &mut self,
        pair: Pair,
        stream_id: &str,
        secret: &Secret,
    ) -> Result<Request, NotRequested> {
        if !pair.is_unambiguous() {
            return Err(NotRequested::NotADomain);
        }
        match self.pairs.get(&pair.sender, &pair.target) {
            Some(State::Waiting) => return Err(NotRequested::Waiting),
            Some(State::Proved) => return Err(NotRequested::Proved),
            None => {}
        }
        if self.pairs.len() >= self.limit {
            return Err(NotRequested::TooManyPairs { limit: self.limit });
        }
        if !self.takes_target(&pair.target) {
            return Err(NotRequested::OtherTarget);
        }
        self.pairs.insert(&pair, State::Waiting);
        let key = secret.key(&pair, stream_id);
        Ok(Request { pair, key })
    }

    /// May pairs with this target domain be asked for on this stream (XEP-0220 §2.6.2)?
    pub fn takes_target(&self, target: &str) -> bool {
        self.errors || !self.pairs.any(|_, other, _| other != target)
    }

    /// A `db:result` with a type arrived on this stream.
    ///
    /// Only a pair that waits can be answered. A proved pair stays proved, whatever comes for it.
    pub fn answer(&mut self, pair: &Pair, verdict: Verdict) -> Result<RequestOutcome, Unsolicited> {
        if self.pairs.get(&pair.sender, &pair.target) != Some(&State::Waiting) {
            return Err(Unsolicited { pair: pair.clone() });
        }
        Ok(match verdict {
            Verdict::Valid => {
                self.pairs.insert(pair, State::Proved);
                RequestOutcome::Proved
            }
            Verdict::Invalid => {
                self.pairs.remove(pair);
                RequestOutcome::Invalid
            }
            Verdict::Error(error) => {
                self.pairs.remove(pair);
                RequestOutcome::Failed(error)
            }
        })
    }

    /// Stops waiting for one pair, because it took too long. An answer that comes later is unsolicited.
    /// False if the pair was not waiting.
    pub fn give_up(&mut self, pair: &Pair) -> bool {
        let waiting = self.pairs.get(&pair.sender, &pair.target) == Some(&State::Waiting);
        if waiting {
            self.pairs.remove(pair);
        }
        waiting
    }

    /// The stream has ended: nothing on it is proved any more. Gives the pairs that were still waiting;
    /// each is to be treated like an error (XEP-0220 §2.1.1).
    pub fn fail_all(&mut self) -> Vec<Pair> {
        let waiting = self.waiting().collect();
        self.pairs.clear();
        waiting
    }

    /// May stanzas of this pair be sent?
    pub fn is_proved(&self, pair: &Pair) -> bool {
        self.proves(&pair.sender, &pair.target)
    }

    /// [`is_proved`](Self::is_proved) without a [`Pair`].
    pub fn proves(&self, sender: &str, target: &str) -> bool {
        self.pairs.get(sender, target) == Some(&State::Proved)
    }

    /// The pairs whose answer is still to come.
    pub fn waiting(&self) -> impl Iterator<Item = Pair> {
        self.pairs
            .iter()
            .filter(|(_, state)| **state == State::Waiting)
            .map(|(pair, _)| pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCondition;

    fn pair(n: usize) -> Pair {
        Pair::new(format!("{n}.capulet.example"), "montague.example")
    }

    fn secret() -> Secret {
        Secret::new("s3cr3tf0rd14lb4ck")
    }

    #[test]
    fn an_answer_without_a_request_is_unsolicited() {
        let mut stream = Initiating::new(2);
        let unsolicited = Err(Unsolicited { pair: pair(1) });
        for verdict in [
            Verdict::Valid,
            Verdict::Invalid,
            Verdict::Error(DialbackError::new(ErrorCondition::Forbidden)),
        ] {
            assert_eq!(stream.answer(&pair(1), verdict), unsolicited);
        }
        assert!(!stream.is_proved(&pair(1)));
    }

    #[test]
    fn a_second_result_for_a_proved_pair_is_unsolicited_and_changes_nothing() {
        let mut stream = Initiating::new(2);
        stream.request(pair(1), "1", &secret()).unwrap();
        stream.answer(&pair(1), Verdict::Valid).unwrap();
        for verdict in [Verdict::Valid, Verdict::Invalid] {
            stream.answer(&pair(1), verdict).unwrap_err();
            assert!(stream.is_proved(&pair(1)));
        }
    }

    #[test]
    fn an_answer_with_the_domains_swapped_is_unsolicited() {
        let mut stream = Initiating::new(2);
        stream.request(pair(1), "1", &secret()).unwrap();
        let swapped = Pair::new(pair(1).target, pair(1).sender);
        stream.answer(&swapped, Verdict::Valid).unwrap_err();
        assert!(!stream.is_proved(&pair(1)) && !stream.is_proved(&swapped));
    }

    #[test]
    fn a_pair_is_asked_for_once_at_a_time() {
        let mut stream = Initiating::new(2);
        let ask = |stream: &mut Initiating| stream.request(pair(1), "1", &secret());
        ask(&mut stream).unwrap();
        assert_eq!(ask(&mut stream), Err(NotRequested::Waiting));
        let error = DialbackError::new(ErrorCondition::RemoteServerTimeout);
        let outcome = stream.answer(&pair(1), Verdict::Error(error.clone()));
        assert_eq!(outcome, Ok(RequestOutcome::Failed(error)));
        ask(&mut stream).unwrap();
        assert_eq!(
            stream.answer(&pair(1), Verdict::Invalid),
            Ok(RequestOutcome::Invalid)
        );
        ask(&mut stream).unwrap();
        stream.answer(&pair(1), Verdict::Valid).unwrap();
        assert_eq!(ask(&mut stream), Err(NotRequested::Proved));
    }

    #[test]
    fn pairs_are_bounded_and_a_failed_one_makes_room() {
        let mut stream = Initiating::new(2);
        stream.request(pair(1), "1", &secret()).unwrap();
        stream.request(pair(2), "1", &secret()).unwrap();
        let full = Err(NotRequested::TooManyPairs { limit: 2 });
        assert_eq!(stream.request(pair(3), "1", &secret()), full);
        stream.answer(&pair(1), Verdict::Invalid).unwrap();
        stream.request(pair(3), "1", &secret()).unwrap();
    }

    #[test]
    fn a_second_target_needs_a_peer_that_announced_errors() {
        let other = Pair::new("capulet.example", "chat.montague.example");
        let mut stream = Initiating::new(9);
        stream.request(pair(1), "1", &secret()).unwrap();
        stream.request(pair(2), "1", &secret()).unwrap();
        let asked = stream.request(other.clone(), "1", &secret());
        assert_eq!(asked, Err(NotRequested::OtherTarget));
        stream.set_errors_announced(true);
        stream.request(other, "1", &secret()).unwrap();
    }

    #[test]
    fn a_pair_proved_by_sasl_counts_for_targets_and_needs_no_key() {
        let mut stream = Initiating::new(9);
        stream.proved_by_other_means(&pair(1));
        assert!(stream.is_proved(&pair(1)));
        assert_eq!(
            stream.request(pair(1), "1", &secret()),
            Err(NotRequested::Proved)
        );
        assert!(stream.takes_target("montague.example"));
        assert!(!stream.takes_target("chat.montague.example"));
    }

    #[test]
    fn no_key_is_made_for_what_is_no_domain() {
        let mut stream = Initiating::new(9);
        for target in ["", "a b", "a\n"] {
            let pair = Pair::new("capulet.example", target);
            let asked = stream.request(pair, "1", &secret());
            assert_eq!(asked, Err(NotRequested::NotADomain));
        }
    }

    #[test]
    fn a_closed_stream_fails_what_waits_and_forgets_what_was_proved() {
        let mut stream = Initiating::new(9);
        for n in 1..=3 {
            stream.request(pair(n), "1", &secret()).unwrap();
        }
        stream.answer(&pair(2), Verdict::Valid).unwrap();
        assert_eq!(stream.fail_all(), [pair(1), pair(3)]);
        assert!(!stream.is_proved(&pair(2)));
        stream.answer(&pair(1), Verdict::Valid).unwrap_err();
    }

    #[test]
    fn an_answer_after_giving_up_is_unsolicited() {
        let mut stream = Initiating::new(9);
        stream.request(pair(1), "1", &secret()).unwrap();
        assert!(stream.give_up(&pair(1)));
        assert!(!stream.give_up(&pair(1)));
        stream.answer(&pair(1), Verdict::Valid).unwrap_err();
        assert!(!stream.is_proved(&pair(1)));
    }
}
