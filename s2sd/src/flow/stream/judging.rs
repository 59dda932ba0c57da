//! The certificate of an open outgoing stream is judged again (RFC 6120 §13.7.2.3), in a task that ends with the stream.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tracing::Instrument;

use super::LaneTask;
use crate::flow::evidence::Direction;
use crate::net::resolve::Asker;
use crate::protocol::negotiate::Judged;

impl LaneTask {
    /// What certificates are judged by may have changed: RFC 6120 §13.7.2.3.
    pub(super) fn judge_again(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if !stream.outbound.rests_on_certificate() {
            return;
        }
        let (shared, remote) = (Arc::clone(self.router.shared()), self.remote.clone());
        let (chain, direction) = (
            stream.open.conn.shown(),
            Direction::Outgoing(self.target_evidence.clone(), Asker::Us),
        );
        let source = stream.open.conn.peer();
        let judge = async move { shared.judge(chain, Some(remote), direction, source).await };
        let judging = tokio::spawn(judge.in_current_span());
        if let Some(before) = self.judging.replace(judging) {
            before.abort();
        }
    }
}

/// What was found.
pub(super) async fn done(judging: &mut Option<JoinHandle<Judged>>) -> Judged {
    match judging {
        Some(task) => match task.await {
            Ok(judged) => judged,
            // It was aborted with its stream.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
