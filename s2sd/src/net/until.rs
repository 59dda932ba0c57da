//! Waiting until a time that may be over.

use tokio::time::{Instant, sleep_until};

/// Waits until then, or not at all: tokio's timers have whole milliseconds, and one for "now" takes up to one.
pub(crate) async fn until(when: impl Into<Instant>) {
    let when = when.into();
    if when > Instant::now() {
        sleep_until(when).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_not_waited_for() {
        let mut context = Context::from_waker(Waker::noop());
        let now = Instant::now();
        assert!(pin!(until(now)).poll(&mut context).is_ready());
        let later = now + Duration::from_millis(5);
        assert!(pin!(until(later)).poll(&mut context).is_pending());
        until(later).await;
        assert!(Instant::now() >= later);
    }
}
