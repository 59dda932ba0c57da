//! The findings about the peer's certificate: when the stream begins, for a dialback key (XEP-0344), and again while
//! the stream is open (RFC 6120 §13.7.2.3).

use xmpp_dialback::Request;
use xmpp_stream::{Condition, Domain, StreamError};

use super::{Inbound, InboundEffect, Out, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::config::Verify;
use crate::protocol::negotiate::{Authorized, DomainPair, Judged};
use crate::trust::judgement::Judgement;

/// How often a certificate is judged on a stream without a proved pair.
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
        if let Some(domain) = domain.as_ref().filter(|_| judgement.is_certified()) {
            self.note_certified(domain);
        }
        if let Some(closed) = self.no_longer_good(domain.as_ref(), &judgement, out) {
            return Err(closed);
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

    /// Has the certificate judged again for each domain whose proof rests on it. For the others it is judged when they
    /// prove themselves.
    pub(super) fn judge_again(&mut self, out: &mut Out) {
        self.stale = true;
        let mut domains: Vec<Domain> = Vec::new();
        for authorized in self.proved.iter().filter(|it| self.rests(it)) {
            let remote = &authorized.pair().remote;
            if !domains.contains(remote) {
                domains.push(remote.clone());
            }
        }
        let judge = |domain| InboundEffect::Judge(Some(domain));
        out.extend(domains.into_iter().map(judge));
    }

    /// A pair was proved by what may have changed since.
    pub(super) fn judge_if_stale(&mut self, authorized: &Authorized, out: &mut Out) {
        if self.stale && self.rests(authorized) {
            let remote = authorized.pair().remote.clone();
            out.push(InboundEffect::Judge(Some(remote)));
        }
    }

    /// Whether the certificate is what proves the pair, or what policy wants to be good besides.
    fn rests(&self, authorized: &Authorized) -> bool {
        let policy = self.snapshot.policy(&authorized.pair().remote);
        self.transport.certificate_shown()
            && (authorized.judgement().is_certified() || policy.verify == Verify::Strict)
    }

    /// RFC 6120 §13.7.2.3: the stream is closed, and the peer has to show another one on the next. `Some`: it ends.
    fn no_longer_good(
        &mut self,
        domain: Option<&Domain>,
        judgement: &Judgement,
        out: &mut Out,
    ) -> Option<Closed> {
        let bad = judgement.bad().filter(|bad| bad.is_certain())?;
        let mut proved = self.proved.iter();
        proved.find(|it| Some(&it.pair().remote) == domain && self.rests(it))?;
        let error = StreamError::new(Condition::Reset).with_text(bad.to_it().to_string());
        let cause = Cause::Certificate(bad.of_it().to_string().into());
        self.send_error(&error, out);
        Some(Closed { by: By::Us, cause })
    }
}
