//! What negotiation proves, and what a stanza needs to cross the router: that a pair of domains may be used on a stream, or that
//! a component attached. There is no public constructor: what holds one, holds proof.

use std::fmt;
use std::sync::Arc;

use xmpp_dialback::Pair;
use xmpp_stream::Domain;

use crate::config::Method;
use crate::trust::judgement::Judgement;

/// A domain served here and a domain served elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainPair {
    /// Ours.
    pub local: Domain,
    /// Theirs.
    pub remote: Domain,
}

impl DomainPair {
    /// In dialback's terms, where we are the sender.
    pub(in crate::protocol) fn local_to_remote(&self) -> Pair {
        Pair::new(self.local.as_str(), self.remote.as_str())
    }

    /// In dialback's terms, where the peer is the sender.
    pub(in crate::protocol) fn remote_to_local(&self) -> Pair {
        Pair::new(self.remote.as_str(), self.local.as_str())
    }
}

impl fmt::Display for DomainPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <-> {}", self.local, self.remote)
    }
}

/// A pair that was proved on the stream it is used on. There is no public constructor: a value is the proof. Each
/// stanza of the pair carries it, so a copy is one count more.
#[derive(Clone, Debug)]
pub struct Authorized(Arc<Proof>);

#[derive(Debug)]
struct Proof {
    pair: DomainPair,
    method: Method,
    judgement: Judgement,
}

impl Authorized {
    pub(in crate::protocol) fn new(pair: DomainPair, method: Method, judgement: Judgement) -> Self {
        Self(Arc::new(Proof {
            pair,
            method,
            judgement,
        }))
    }

    /// The pair.
    pub fn pair(&self) -> &DomainPair {
        &self.0.pair
    }

    /// The method that proved the initiator of the stream.
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// Why the other server is believed to be the pair's remote domain's.
    pub fn judgement(&self) -> &Judgement {
        &self.0.judgement
    }
}

/// Proof that a component completed the handshake for a domain. Only the handshake makes one:
/// [`Attach`](crate::protocol::negotiate::Attach).
#[derive(Clone, Debug)]
pub struct Attached {
    domain: Domain,
}

impl Attached {
    pub(in crate::protocol) fn new(domain: Domain) -> Self {
        Self { domain }
    }

    /// The component's domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}
