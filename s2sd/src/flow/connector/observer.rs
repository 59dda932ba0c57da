//! Observes how a stream is made: the daemon does not, `s2sd probe` records it.

use std::io;

use crate::closed::Closed;
use crate::protocol::negotiate::{Awaits, Judged, OutboundEvent};
use crate::trust::{ClientAuth, PeerChain, TlsFacts};

/// What there is to see.
#[derive(Debug)]
pub(crate) enum Observation<'a> {
    /// Bytes came; these are not decoded yet.
    Bytes(&'a [u8]),
    /// This is what came, and will be handled.
    Event(&'a OutboundEvent),
    /// It was handled, and this is waited for.
    Awaits(Awaits),
    /// There is TLS, with this chain, and this became of our own.
    Secured(TlsFacts, Option<PeerChain>, ClientAuth),
    /// There is none.
    NoTls(&'a io::Error, ClientAuth),
    /// The connection broke.
    Broken(&'a io::Error),
    /// What the certificate is worth.
    Judged(&'a Judged),
    /// The stream is over.
    Closed(&'a Closed),
}

/// An observer of one connection attempt. Its method is called from within a task and must not wait.
pub(crate) trait Observer: Sync {
    /// Something happened.
    fn observe(&self, observation: Observation<'_>);
}

/// No observer.
impl Observer for () {
    fn observe(&self, _: Observation<'_>) {}
}
