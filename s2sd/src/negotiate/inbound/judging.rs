//! What is found about the peer's certificate: when the stream begins, and for a dialback key (XEP-0344).

use xmpp_dialback::Request;
use xmpp_stream::Domain;

use super::{Inbound, InboundEffect, Out, Stage, Step};
use crate::negotiate::{DomainPair, Judged};
use crate::tls::judgement::Judgement;

/// How often a certificate is judged on a stream on which nothing is proved.
const UNPROVED: usize = 16;

impl Inbound {
    /// Has the certificate judged for a domain, or for the single one that it names. `false`: it was judged too often.
    pub(super) fn judge(&mut self, domain: Option<Domain>, out: &mut Out) -> bool {
        if !self.is_authenticated() && self.judgements >= UNPROVED {
            return false;
        }
        self.judgements += 1;
        out.push(InboundEffect::Judge(domain));
        true
    }

    pub(super) fn on_judged(mut self: Box<Self>, judged: Judged, out: &mut Out) -> Step {
        let Judged {
            domain,
            judgement,
            identity,
        } = judged;
        if matches!(self.stage, Stage::AwaitJudgement) {
            self.identity = identity.or(self.identity);
            let domain = domain.or_else(|| self.identity.clone());
            self.judged = domain.map(|domain| (domain, judgement.clone()));
            return self.answer_header(&judgement, out);
        }
        let (ready, rest) = std::mem::take(&mut self.unjudged)
            .into_iter()
            .partition(|(pair, _)| Some(&pair.remote) == domain.as_ref());
        self.unjudged = rest;
        let ready: Vec<(DomainPair, Request)> = ready;
        for (pair, request) in ready {
            if let Some(closed) = self.request(pair, request, Some(&judgement), out) {
                return Err(closed);
            }
        }
        Ok(self)
    }

    /// What the certificate was found to be when the stream began, if it proves this domain.
    pub(super) fn certified(&self, domain: &Domain) -> Option<&Judgement> {
        let (judged, judgement) = self.judged.as_ref()?;
        (judged == domain && judgement.is_certified()).then_some(judgement)
    }
}
