//! The Receiving Server's other stream (XEP-0220 §2.1.2): questions to an Authoritative Server.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{DialbackError, Key, Pair, Question, Unsolicited, Verdict};

/// The questions that wait on one stream to an Authoritative Server.
///
/// Make one per stream and ask each question on one stream only; then an answer on another stream is
/// unsolicited there. The default is a stream on which nothing was asked yet.
#[derive(Clone, Debug, Default)]
pub struct Verifying {
    waiting: BTreeMap<(Pair, String), Key>,
}

/// Why a question is not for this stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAsked {
    /// As many wait as may.
    #[error("too many questions wait on this stream")]
    TooMany,
    /// One about the same pair and stream id waits here. Its answer could be taken for one to the other key.
    #[error("a question about the same pair and stream waits on this stream")]
    Waiting,
}

impl Verifying {
    /// Questions that may wait on one stream. The next one fails at once: all of them concern keys for
    /// one authoritative server, which does not answer.
    pub const LIMIT: usize = 1024;

    /// A stream on which this question has been, or will be, sent.
    pub fn new(question: Question) -> Self {
        let mut waiting = BTreeMap::new();
        waiting.insert((question.pair, question.stream_id), question.key);
        Self { waiting }
    }

    /// A further question on the same stream.
    pub fn ask(&mut self, question: Question) -> Result<(), NotAsked> {
        if self.waiting.len() >= Self::LIMIT {
            return Err(NotAsked::TooMany);
        }
        match self.waiting.entry((question.pair, question.stream_id)) {
            Entry::Occupied(_) => Err(NotAsked::Waiting),
            Entry::Vacant(place) => {
                place.insert(question.key);
                Ok(())
            }
        }
    }

    /// A `db:verify` with a type arrived on this stream.
    ///
    /// The verdict is the one to hand to [`Receiving::answered`](crate::Receiving::answered): an error
    /// that the Authoritative Server gave is `remote-server-not-found` by then (XEP-0220 §2.5).
    pub fn answer(
        &mut self,
        pair: &Pair,
        stream_id: &str,
        verdict: Verdict,
    ) -> Result<Verdict, Unsolicited> {
        let asked = (pair.clone(), stream_id.to_owned());
        if self.waiting.remove(&asked).is_none() {
            return Err(Unsolicited { pair: asked.0 });
        }
        Ok(match verdict {
            Verdict::Error(error) => {
                Verdict::Error(DialbackError::not_found_because(error.condition))
            }
            said => said,
        })
    }

    /// Stops waiting for one question. An answer that comes later is unsolicited. False if it was not
    /// waiting.
    pub fn give_up(&mut self, pair: &Pair, stream_id: &str) -> bool {
        let asked = (pair.clone(), stream_id.to_owned());
        self.waiting.remove(&asked).is_some()
    }

    /// The stream has ended: gives every question that waited. Each has failed: answer its request at once
    /// (XEP-0220 §2.1.2).
    pub fn fail_all(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|((pair, stream_id), key)| Question {
                pair,
                stream_id,
                key,
            })
            .collect()
    }

    /// How many questions wait. With none, a stream that was opened for asking may be closed.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCondition;

    fn question(sender: &str, id: &str) -> Question {
        Question {
            pair: Pair::new(sender, "montague.example"),
            stream_id: id.to_owned(),
            key: Key::from_text("key"),
        }
    }

    #[test]
    fn an_answer_must_name_the_pair_and_the_id_of_a_question() {
        let asked = question("capulet.example", "1");
        let mut stream = Verifying::new(asked.clone());
        let swapped = Pair::new("montague.example", "capulet.example");
        let other = Pair::new("evil.example", "montague.example");
        for (pair, id) in [
            (&asked.pair, "2"),
            (&swapped, "1"),
            (&other, "1"),
            (&asked.pair, ""),
        ] {
            stream.answer(pair, id, Verdict::Valid).unwrap_err();
        }
        assert_eq!(stream.waiting(), 1);
        let verdict = stream.answer(&asked.pair, "1", Verdict::Valid);
        assert_eq!(verdict, Ok(Verdict::Valid));
        stream.answer(&asked.pair, "1", Verdict::Valid).unwrap_err();
    }

    #[test]
    fn an_error_of_the_authoritative_server_is_told_as_not_found() {
        for condition in [
            ErrorCondition::ItemNotFound,
            ErrorCondition::RemoteServerTimeout,
        ] {
            let asked = question("capulet.example", "1");
            let mut stream = Verifying::new(asked.clone());
            let said = Verdict::Error(DialbackError::new(condition).with_text("gossip"));
            let Ok(Verdict::Error(told)) = stream.answer(&asked.pair, "1", said) else {
                panic!("an error stays an error");
            };
            assert_eq!(told.condition, ErrorCondition::RemoteServerNotFound);
            let text = told.text.unwrap();
            assert!(
                text.contains(condition.name()) && !text.contains("gossip"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_stream_that_closes_fails_every_question_on_it() {
        let (one, two) = (question("a.example", "1"), question("b.example", "1"));
        let mut stream = Verifying::new(one.clone());
        stream.ask(two.clone()).unwrap();
        assert_eq!(stream.fail_all(), [one.clone(), two]);
        assert_eq!(stream.waiting(), 0);
        stream.answer(&one.pair, "1", Verdict::Valid).unwrap_err();
    }

    #[test]
    fn an_answer_after_giving_up_is_unsolicited() {
        let asked = question("capulet.example", "1");
        let mut stream = Verifying::new(asked.clone());
        assert!(!stream.give_up(&asked.pair, "2"));
        assert!(stream.give_up(&asked.pair, "1"));
        stream.answer(&asked.pair, "1", Verdict::Valid).unwrap_err();
    }

    #[test]
    fn questions_on_a_stream_are_bounded() {
        let mut stream = Verifying::new(question("a.example", "0"));
        for n in 1..Verifying::LIMIT {
            stream.ask(question("a.example", &n.to_string())).unwrap();
        }
        let one_more = question("a.example", "more");
        assert_eq!(stream.ask(one_more), Err(NotAsked::TooMany));
    }

    #[test]
    fn a_second_key_for_a_pair_and_stream_is_not_asked_beside_the_first() {
        let mut stream = Verifying::default();
        let first = question("a.example", "1");
        let second = Question {
            key: Key::from_text("another"),
            ..first.clone()
        };
        stream.ask(first.clone()).unwrap();
        assert_eq!(stream.ask(second.clone()), Err(NotAsked::Waiting));
        assert_eq!(stream.fail_all(), [first]);
        stream.ask(second).unwrap();
    }
}
