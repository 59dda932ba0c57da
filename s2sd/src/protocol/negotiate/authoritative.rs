//! The Authoritative Server of XEP-0220 §2.2.2. It has no state, so any stream will do for the question.

use bytes::Bytes;
use xmpp_dialback::{DialbackError, ErrorCondition, Pair, Question, Verdict, wire as db};
use xmpp_stream::Domain;

use super::Snapshot;

/// Whether a key that a peer was shown in our name is ours.
pub(super) fn answer(snapshot: &Snapshot, question: &Question) -> Bytes {
    let verdict = match (
        Domain::parse(&question.pair.sender),
        Domain::parse(&question.pair.target),
    ) {
        (Ok(ours), Ok(theirs)) if snapshot.serves(&ours) => {
            let pair = Pair {
                sender: ours.as_str().to_owned(),
                target: theirs.as_str().to_owned(),
            };
            let prepared = Question {
                pair,
                stream_id: question.stream_id.clone(),
                key: question.key.clone(),
            };
            xmpp_dialback::verify(&snapshot.secret, &prepared)
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
