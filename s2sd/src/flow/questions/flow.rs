//! Asks one authoritative server, as long as there are questions: the task of [`Questions`](super::Questions) for a
//! domain.
//!
//! s2sd remembers for a moment that a server could not be reached. It does not remember failures after the first
//! question: the sender of the key could have a part in them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, field::Empty, info};
use xmpp_dialback::{Pair, Verdict};
use xmpp_stream::Domain;

use super::book::Authority;
use super::{NoRoom, Questions, Waiting, no_answer};
use crate::closed::{Cause, Closed};
use crate::flow::connector::{self, CLOSE_TIMEOUT, Connected, QuestionStream, next_event};
use crate::net::conn::Conn;
use crate::protocol::admission::Causer;
use crate::protocol::negotiate::{DomainPair, Outbound, OutboundEffect, OutboundEvent, Purpose};

/// How many questions s2sd asks on one stream: another s2sd takes 32 elements before authentication.
const PER_STREAM: usize = 30;

/// Asks until no question is left.
pub(super) async fn run(questions: Arc<Questions>, authority: Authority, changed: Arc<Notify>) {
    let mut flow = Flow {
        questions,
        authority,
        changed,
        over: false,
    };
    while let Some((local, source)) = flow.as_whom() {
        if let Some(asking) = flow.connect(local, source).await {
            flow.ask(*asking).await;
        }
    }
}

struct Flow {
    questions: Arc<Questions>,
    authority: Authority,
    changed: Arc<Notify>,
    /// A question that comes now begins anew.
    over: bool,
}

/// If the task breaks off, no asker waits in vain.
impl Drop for Flow {
    fn drop(&mut self) {
        if !self.over {
            drop(self.questions.lock().end(&self.authority));
        }
    }
}

impl Flow {
    /// Our domain to ask as, and the origin of that key. None: no question waits, and this task is over.
    fn as_whom(&mut self) -> Option<(Domain, SocketAddr)> {
        let mut book = self.questions.lock();
        let first = book.first_or_end(&self.authority, Waiting::is_wanted);
        self.over = first.is_none();
        first.map(|(local, question)| (local, question.from))
    }

    fn something_waits(&self) -> bool {
        let mut book = self.questions.lock();
        book.first(&self.authority, Waiting::is_wanted).is_some()
    }

    async fn nobody_waits(&self) {
        while self.something_waits() {
            self.changed.notified().await;
        }
    }

    /// A stream. None if all askers left, or if it failed, in which case all of them learn it.
    async fn connect(&self, local: Domain, source: SocketAddr) -> Option<Box<QuestionStream>> {
        let shared = &self.questions.shared;
        let snapshot = shared.snapshot();
        let pair = DomainPair {
            local,
            remote: self.authority.remote.clone(),
        };
        let within = snapshot.config.limits.dialback;
        let causer = Causer::Connection(source);
        let connecting =
            connector::connect(shared, &snapshot, &pair, &Purpose::Verify, Some(&causer));
        let outcome = tokio::select! {
            outcome = timeout(within, connecting) => outcome,
            () = self.nobody_waits() => return None,
        };
        let (cause, of_all) = match outcome {
            Ok(Ok(Connected::QuestionStream(asking))) => return Some(asking),
            Ok(Ok(Connected::Ready(_))) => (Cause::Finished, false),
            // Before there is a stream, none of our domains was named to the server.
            Ok(Err(cause)) => {
                let of_all = !cause.is_of_a_connection();
                (cause, of_all)
            }
            Err(_) => (Cause::Timeout("connecting takes too long"), true),
        };
        self.failed(&pair.local, &cause, of_all);
        None
    }

    fn failed(&self, local: &Domain, cause: &Cause, of_all: bool) {
        let of = (!of_all).then_some(local);
        let mut book = self.questions.lock();
        let waiting = book.take(&self.authority, of);
        if *cause == Cause::Descriptors {
            drop(book);
            let descriptors = &self.questions.shared.descriptors;
            descriptors.tell("dialback keys are not looked at");
            waiting.into_iter().for_each(|it| it.tell(Err(NoRoom)));
            return;
        }
        let error = cause.dialback_error();
        book.remember(Instant::now(), &self.authority, of, error.clone());
        drop(book);
        self.log("could not be asked", waiting.len(), cause);
        for waiting in waiting {
            waiting.tell(Ok(Verdict::Error(error.clone())));
        }
    }

    /// Unauthenticated peers can cause any number of these, so the log has only so many in a second.
    fn log(&self, what: &str, waiting: usize, cause: &Cause) {
        info!(
            unproved = Empty,
            cause = cause.name(),
            waiting,
            "the authoritative server {what}: {cause}"
        );
    }

    /// Asks the waiting questions, and those that come, until there are none or the stream ends.
    async fn ask(&self, asking: QuestionStream) {
        let within = self.questions.shared.snapshot.load().config.limits.dialback;
        let QuestionStream {
            conn,
            entry,
            outbound,
            permit,
        } = asking;
        let mut stream = Stream {
            flow: self,
            conn,
            within,
            asked: HashMap::new(),
            left: self.per_stream(),
        };
        let mut step = Ok(outbound);
        let closed = loop {
            step = match step {
                Ok(outbound) => stream.step(outbound).await,
                Err(closed) => break closed,
            };
        };
        if !stream.asked.is_empty() {
            self.log("did not answer", stream.asked.len(), &closed.cause);
        }
        stream.fail(&closed);
        entry.ended(&closed);
        // Askers that wait for the next stream do not wait until this one's peer reads.
        let mut conn = stream.conn;
        tokio::spawn(async move {
            let _ = timeout(CLOSE_TIMEOUT, conn.shut()).await;
            drop((permit, entry));
        });
    }

    /// Its answers count for our own limit, beside its features.
    fn per_stream(&self) -> usize {
        let snapshot = self.questions.shared.snapshot();
        let taken = snapshot.config.limits.preauth_elements;
        PER_STREAM.min(taken.saturating_sub(2)).max(1)
    }
}

/// An open stream to the server.
struct Stream<'a> {
    flow: &'a Flow,
    conn: Conn,
    /// For each question.
    within: Duration,
    asked: HashMap<(Pair, String), (Waiting, Instant)>,
    /// So many more may be asked here.
    left: usize,
}

impl Stream<'_> {
    async fn step(&mut self, outbound: Box<Outbound>) -> Result<Box<Outbound>, Closed> {
        let outbound = self.ask_what_waits(outbound)?;
        self.asked.retain(|_, (waiting, _)| waiting.is_wanted());
        if self.asked.is_empty() && (self.left == 0 || !self.flow.something_waits()) {
            return self.tell(outbound, OutboundEvent::Done);
        }
        let next = self.asked.values().map(|(_, until)| *until).min();
        let until = next.unwrap_or_else(Instant::now);
        tokio::select! {
            event = next_event(&mut self.conn, Some(until), &()) => match event {
                OutboundEvent::Tick => {
                    self.give_up();
                    Ok(outbound)
                }
                event => self.tell(outbound, event),
            },
            () = self.flow.changed.notified() => Ok(outbound),
        }
    }

    fn ask_what_waits(&mut self, outbound: Box<Outbound>) -> Result<Box<Outbound>, Closed> {
        let mut outbound = outbound;
        while self.left > 0 {
            let next = self.flow.questions.lock().next(&self.flow.authority);
            let Some(waiting) = next else { break };
            if !waiting.is_wanted() {
                continue;
            }
            self.left -= 1;
            let question = waiting.question.clone();
            let about = (question.pair.clone(), question.stream_id.clone());
            let until = Instant::now() + self.within;
            self.asked.insert(about, (waiting, until));
            outbound = self.tell(outbound, OutboundEvent::Ask(question))?;
        }
        Ok(outbound)
    }

    /// One event for the stream's machine, and what follows from it.
    fn tell(
        &mut self,
        outbound: Box<Outbound>,
        event: OutboundEvent,
    ) -> Result<Box<Outbound>, Closed> {
        let mut effects = Vec::new();
        let step = outbound.handle(event, &mut effects);
        for effect in effects {
            match effect {
                OutboundEffect::Send(bytes) => self.conn.send(&bytes),
                OutboundEffect::Answered(pair, stream_id, verdict) => {
                    debug!(%pair, ?verdict, "the authoritative server answered");
                    // XEP-0220 §2.1.2: without an asker, it is dropped silently.
                    if let Some((waiting, _)) = self.asked.remove(&(pair, stream_id)) {
                        waiting.tell(Ok(verdict));
                    }
                }
                OutboundEffect::NotAsked(question) => {
                    let about = (question.pair, question.stream_id);
                    if let Some((waiting, _)) = self.asked.remove(&about) {
                        waiting.tell(Err(NoRoom));
                    }
                }
                OutboundEffect::SetLimits(limits) | OutboundEffect::Restart(limits) => {
                    self.conn.set_limits(limits)
                }
                OutboundEffect::StartTls
                | OutboundEffect::Counts
                | OutboundEffect::Managed(_)
                | OutboundEffect::Judge(_)
                | OutboundEffect::RunSasl(_)
                | OutboundEffect::Established(_)
                | OutboundEffect::PairRefused(..)
                | OutboundEffect::Stray { .. }
                | OutboundEffect::InverseProved(_)
                | OutboundEffect::Deliver(..)
                | OutboundEffect::Bounce(..)
                | OutboundEffect::MayAsk => {}
            }
        }
        step
    }

    /// Questions without an answer in time have failed; others may still get one.
    fn give_up(&mut self) {
        let now = Instant::now();
        let late = self.asked.extract_if(|_, (_, until)| *until <= now);
        let late: Vec<Waiting> = late.map(|(_, (waiting, _))| waiting).collect();
        if !late.is_empty() {
            let cause = Cause::Timeout("no answer to the question");
            self.flow.log("did not answer", late.len(), &cause);
        }
        for waiting in late {
            waiting.tell(Ok(Verdict::Error(no_answer())));
        }
    }

    /// XEP-0220 §2.1.2: the stream is over, and what waits on it has failed.
    fn fail(&mut self, closed: &Closed) {
        let error = closed.cause.dialback_error();
        for (_, (waiting, _)) in self.asked.drain() {
            waiting.tell(Ok(Verdict::Error(error.clone())));
        }
    }
}
