//! Stanzas of ours on a stream that the peer opened (XEP-0288, the receiving entity).

use std::time::Duration;

use xmpp_stream::{Bidi, Domain, Element};

use super::{Inbound, InboundEffect, Out, Stage, Step};
use crate::protocol::negotiate::offer::Offer;
use crate::protocol::negotiate::{Authorized, bidi};

impl Inbound {
    /// The largest stanza that the peer takes on this stream, if it said so (XEP-0478 §3.2).
    pub fn peer_max_stanza(&self) -> Option<u64> {
        self.peer_limits.max_stanza()
    }

    /// After this silence of ours, we send a space on a stream that carries stanzas of ours (RFC 6120 §4.6.1).
    pub fn keepalive(&self) -> Duration {
        let own = self.snapshot.config.limits.keepalive;
        self.peer_limits.keepalive(own)
    }

    /// §2.2: before SASL and dialback. Later it changes nothing: the peer only allows what it asks for, and a stream of
    /// one direction does no harm.
    pub(super) fn on_bidi(
        mut self: Box<Self>,
        offer: Offer,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        if !offer.bidi || self.is_authenticated() || element.name() != "bidi" {
            return self.on_unknown(offer, element, out);
        }
        let has_begun = !self.unjudged.is_empty() || self.receiving.waiting().next().is_some();
        // COMPAT(ejabberd 24.10): asks in the namespace of the feature, and is not understood. Test
        // `what_asks_in_the_namespace_of_the_feature_costs_nothing`.
        if let Some(asked) = Bidi::from_element(element)
            && !has_begun
            && !self.bidi
        {
            self.bidi = true;
            self.peer_limits.take(asked.limits);
        }
        self.stage = Stage::Open(offer);
        Ok(self)
    }

    /// The certificate was found good for this domain, too.
    pub(super) fn note_certified(&mut self, domain: &Domain) {
        let most = self.snapshot.config.limits.pairs_per_stream;
        if !self.certified.contains(domain) && self.certified.len() < most {
            self.certified.push(domain.clone());
        }
    }

    /// Our direction of a pair that is proved.
    pub(super) fn prove_inverse(&self, authorized: &Authorized, out: &mut Out) {
        if !self.bidi {
            return;
        }
        let remote = &authorized.pair().remote;
        let certified = authorized.judgement().is_certified()
            || self.certified(remote).is_some()
            || self.certified.contains(remote);
        let policy = self.snapshot.policy(remote);
        let ours = bidi::ours(&policy, &self.transport, authorized, certified);
        out.extend(ours.map(InboundEffect::InverseProved));
    }

    /// The stream is open, for the first time or again: the pairs that were proved on it before hold in both
    /// directions.
    pub(super) fn prove_inverses(&self, out: &mut Out) {
        for authorized in &self.proved {
            self.prove_inverse(authorized, out);
        }
    }
}
