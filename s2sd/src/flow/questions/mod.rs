//! Questions to authoritative servers about dialback keys (XEP-0220 §2.1.2): those for one server share a stream, for
//! all askers of one network.
//!
//! A task for each server connects once, asks the waiting questions and those that come while the stream is open, and
//! closes it when none are left. An unauthenticated peer makes no other wait: without room, a question is refused at
//! once.

mod book;
mod flow;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use tracing::{Instrument, debug, info_span};
use xmpp_dialback::{DialbackError, Question, Verdict};
use xmpp_stream::Domain;

use self::book::{Authority, Book, Bounds, Entered};
use crate::closed::Cause;
use crate::flow::shared::Shared;
use crate::protocol::negotiate::DomainPair;

/// The questions that wait.
#[derive(Debug)]
pub(crate) struct Questions {
    shared: Arc<Shared>,
    /// The task of a server gets a signal when a question comes, or when an asker leaves.
    book: Mutex<Book<Waiting, Arc<Notify>>>,
}

/// The outcome of a question: a verdict, or that it was not asked, since this server has no room.
pub(crate) type QuestionOutcome = Result<Verdict, NoRoom>;

/// There is no room for a question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRoom;

/// A question, and its asker.
#[derive(Debug)]
struct Waiting {
    /// Where the key came from.
    from: SocketAddr,
    question: Question,
    tell: oneshot::Sender<QuestionOutcome>,
}

impl Waiting {
    fn is_wanted(&self) -> bool {
        !self.tell.is_closed()
    }

    /// The asker may have left.
    fn tell(self, answer: QuestionOutcome) {
        let _ = self.tell.send(answer);
    }
}

/// Asks the authoritative server of the pair's remote domain whether a dialback key is its own. The key came from this
/// address. A caller that no longer waits for the answer drops this.
pub(crate) async fn ask(
    questions: &Arc<Questions>,
    from: SocketAddr,
    pair: DomainPair,
    question: Question,
) -> QuestionOutcome {
    let bounds = bounds(&questions.shared);
    let (tell, told) = oneshot::channel();
    let waiting = Waiting {
        from,
        question,
        tell,
    };
    let DomainPair { local, remote } = pair;
    let key = (local, remote.clone());
    let entered = questions
        .lock()
        .enter(Instant::now(), bounds, from.ip(), key, waiting);
    let changed = match entered {
        Entered::Known(error) => {
            debug!(%remote, %error, "the authoritative server could not be reached a moment ago");
            return Ok(Verdict::Error(error));
        }
        Entered::Full => {
            debug!(%remote, "as many questions wait as may");
            return Err(NoRoom);
        }
        Entered::First(changed) => {
            let span = info_span!("question", %remote);
            let authority = Authority::new(remote, from.ip());
            let task = flow::run(Arc::clone(questions), authority, Arc::clone(&changed));
            tokio::spawn(task.instrument(span));
            changed
        }
        Entered::Joined(changed) => changed,
    };
    changed.notify_one();
    let mut entry = Entry {
        questions,
        from: from.ip(),
        told,
        changed,
    };
    // The task answers in time; without an answer it is gone.
    (&mut entry.told)
        .await
        .unwrap_or_else(|_| Ok(Verdict::Error(no_answer())))
}

/// How many there may be: as configured, if there are descriptors for them.
fn bounds(shared: &Shared) -> Bounds {
    let snapshot = shared.snapshot.load();
    let limits = &snapshot.config.limits;
    let (all, network) = shared.descriptors.questions();
    Bounds {
        all: limits.questions.min(all),
        network: limits.questions_per_network.min(network),
    }
}

fn no_answer() -> DialbackError {
    Cause::Timeout("no answer from the authoritative server").dialback_error()
}

/// A question is counted until this is dropped.
struct Entry<'a> {
    questions: &'a Questions,
    from: IpAddr,
    told: oneshot::Receiver<QuestionOutcome>,
    changed: Arc<Notify>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.told.close();
        self.questions.lock().left(self.from);
        self.changed.notify_one();
    }
}

impl Questions {
    /// None yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            book: Mutex::default(),
        }
    }

    /// How many wait for an answer.
    pub(crate) fn pending(&self) -> usize {
        self.lock().pending()
    }

    /// Asks the servers of these domains again, even if they could not be reached a moment ago.
    pub(crate) fn forget_failures(&self, is_meant: impl Fn(&Domain) -> bool) {
        self.lock().forget_failures(is_meant);
    }

    fn lock(&self) -> MutexGuard<'_, Book<Waiting, Arc<Notify>>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
