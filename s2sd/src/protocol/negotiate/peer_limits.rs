//! What the peer is willing to read, as it says (XEP-0478).

use std::time::Duration;

use xmpp_stream::StreamLimits;

/// The smallest limit on stanzas that a server may have (RFC 6120 §13.12).
const LEAST_LIMIT: u64 = 10_000;
/// A peer that says that it closes streams at once does not have us write all the time.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

/// The limits that the peer announced.
#[derive(Debug, Default)]
pub(super) struct PeerLimits {
    max_stanza: Option<u64>,
    idle: Option<Duration>,
}

impl PeerLimits {
    /// The peer announced these. Limits that it does not name stay.
    pub(super) fn take(&mut self, said: Option<StreamLimits>) {
        let Some(said) = said else { return };
        // RFC 6120 §13.12: no server may take less, so we ignore a lower limit.
        let max_stanza = said.max_bytes.filter(|most| *most >= LEAST_LIMIT);
        self.max_stanza = max_stanza.or(self.max_stanza);
        let idle = said.idle_seconds.filter(|seconds| *seconds > 0);
        self.idle = idle.map(Duration::from_secs).or(self.idle);
    }

    /// The largest stanza that it takes.
    pub(super) fn max_stanza(&self) -> Option<u64> {
        self.max_stanza
    }

    /// After this silence of ours, we send a space (RFC 6120 §4.6.1): well before the peer takes the stream for idle.
    /// `own`: after this time at the latest.
    pub(super) fn keepalive(&self, own: Duration) -> Duration {
        match self.idle {
            Some(idle) => own.min((idle / 2).max(LEAST_KEEPALIVE)),
            None => own,
        }
    }
}
