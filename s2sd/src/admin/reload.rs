//! The order to load the configuration again, on its way to the task that knows the file.

use tokio::sync::{mpsc, oneshot};

/// A reload said what changed, or why nothing did, line by line.
pub type ReloadOutcome = Result<Vec<String>, Vec<String>>;

/// Sends the orders.
#[derive(Debug)]
pub(super) struct Reloads(mpsc::Sender<ReloadRequest>);

/// The orders that came.
#[derive(Debug)]
pub struct ReloadRequests(mpsc::Receiver<ReloadRequest>);

/// One order.
#[derive(Debug)]
pub struct ReloadRequest(oneshot::Sender<ReloadOutcome>);

/// A channel for orders. A second order waits until the first is taken.
pub(super) fn channel() -> (Reloads, ReloadRequests) {
    let (sender, receiver) = mpsc::channel(1);
    (Reloads(sender), ReloadRequests(receiver))
}

impl Reloads {
    /// Has the configuration loaded again. `None`: the server stops.
    pub(super) async fn ask(&self) -> Option<ReloadOutcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.send(ReloadRequest(answer)).await.ok()?;
        outcome.await.ok()
    }
}

impl ReloadRequests {
    /// The next order. Safe to drop.
    pub async fn next(&mut self) -> Option<ReloadRequest> {
        self.0.recv().await
    }
}

impl ReloadRequest {
    /// What became of it.
    pub fn answer(self, outcome: ReloadOutcome) {
        // Its sender may be gone.
        let _ = self.0.send(outcome);
    }
}
