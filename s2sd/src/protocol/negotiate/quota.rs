//! Whether a domain may have one more stream: asked at the moment of its proof, so that a peer which has no place hears
//! that instead of a success.

use std::fmt;

use xmpp_stream::Domain;

/// The places of one stream among those of the domains that are proved on it.
pub trait Quota: fmt::Debug + Send {
    /// Takes a place for this domain, if there is one.
    fn take(&mut self, remote: &Domain) -> bool;
    /// Gives all places back: no pair is proved any more. `false`: the stream may not even stay without a proof.
    fn forget(&mut self) -> bool;
}

/// Always yes.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

impl Quota for Unlimited {
    fn take(&mut self, _: &Domain) -> bool {
        true
    }

    fn forget(&mut self) -> bool {
        true
    }
}
