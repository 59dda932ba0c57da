//! SASL on the receiving side (RFC 6120 §6.4): the peer's proof, and the answer to a failure.

use std::sync::Arc;

use xmpp_sasl::{Server, ServerOptions, ServerStep, wire as sasl};
use xmpp_stream::{Condition, Domain, Element, StreamError};

use super::sasl_host::{self, InboundSaslStep, InboundSaslStepDone, SaslHost};
use super::{Inbound, InboundEffect, Out, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::config::Agreement;
use crate::protocol::negotiate::accepts;
use crate::protocol::negotiate::offer::Offer;
use crate::protocol::negotiate::seeded::Seeded;
use crate::protocol::negotiate::{DomainPair, Method};
use crate::trust::judgement::Because;

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Exchange {
    server: Box<dyn Server>,
    method: Method,
    /// The domain that the username stands for, as far as one was named.
    proving: Option<Domain>,
}

impl Inbound {
    /// The asking side of a mechanism that was offered.
    fn exchange(&self, offer: &Offer, mechanism: &str) -> Option<Exchange> {
        let method =
            Method::of_mechanism(mechanism).filter(|_| offer.mechanisms.contains(&mechanism))?;
        let is_kerberos = matches!(method.agreement(), Some(Agreement::Realm | Agreement::Key));
        let name = |local: &Domain| match is_kerberos {
            // A principal is written in ASCII.
            true => local.ascii().to_owned(),
            false => local.as_str().to_owned(),
        };
        let host = self.local.as_ref().map(name).unwrap_or_default();
        let remote = self.remote.as_ref();
        let mut options = ServerOptions::new("xmpp", host.as_str())
            .with_realms(sasl_host::realms(&self.snapshot, remote, &host))
            .with_channel_bindings(self.transport.channel_bindings())
            .with_offer(offer.advertised())
            .with_secret(self.snapshot.salts.clone());
        options.gssapi = accepts::acceptor(&self.snapshot, remote);
        options.kerberos_v4 = accepts::keys(&self.snapshot, remote, &host);
        options.iterations =
            sasl_host::iterations(&self.snapshot, remote, method).unwrap_or(options.iterations);
        Some(Exchange {
            server: xmpp_sasl::server(mechanism, &options).ok()?,
            method,
            proving: None,
        })
    }

    pub(super) fn on_auth(
        mut self: Box<Self>,
        offer: Offer,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        if offer.tls_first {
            return Err(self.refuse_with(
                Condition::PolicyViolation,
                "encryption is required first",
                out,
            ));
        }
        match sasl::Nonza::from_element(element) {
            Some(Ok(sasl::Nonza::Auth { mechanism, initial })) => {
                match self.exchange(&offer, &mechanism) {
                    Some(exchange) => self.sasl_step(offer, exchange, initial, out),
                    None => self.sasl_failed(offer, xmpp_sasl::Failure::InvalidMechanism, out),
                }
            }
            Some(Ok(sasl::Nonza::Abort)) => {
                self.sasl_failed(offer, xmpp_sasl::Failure::Aborted, out)
            }
            Some(Err(failure)) => self.sasl_failed(offer, failure, out),
            Some(Ok(_)) | None => {
                self.sasl_failed(offer, xmpp_sasl::Failure::MalformedRequest, out)
            }
        }
    }

    pub(super) fn on_sasl(
        mut self: Box<Self>,
        offer: Offer,
        exchange: Exchange,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        match sasl::Nonza::from_element(element) {
            Some(Ok(sasl::Nonza::Response(response))) => {
                self.sasl_step(offer, exchange, Some(response), out)
            }
            Some(Ok(sasl::Nonza::Abort)) => {
                self.sasl_failed(offer, xmpp_sasl::Failure::Aborted, out)
            }
            // RFC 6120 §6.4.2: a new <auth/> discards the handshake that is going on.
            Some(Ok(sasl::Nonza::Auth { .. })) => self.on_auth(offer, element, out),
            Some(Ok(_)) => self.sasl_failed(offer, xmpp_sasl::Failure::MalformedRequest, out),
            Some(Err(failure)) => self.sasl_failed(offer, failure, out),
            None if element.stanza_kind().is_some() => Err(self.refuse_with(
                Condition::NotAuthorized,
                "a stanza before any domain was proved",
                out,
            )),
            None => Err(self.refuse_with(
                Condition::PolicyViolation,
                "authentication is not finished",
                out,
            )),
        }
    }

    fn sasl_step(
        mut self: Box<Self>,
        offer: Offer,
        exchange: Exchange,
        input: Option<Vec<u8>>,
        out: &mut Out,
    ) -> Step {
        let certified = match &self.remote {
            Some(remote) => self.certified(remote).map(|_| remote.clone()),
            None => self.identity.clone(),
        };
        let method = exchange.method;
        let sasl_step = InboundSaslStep {
            exchange: exchange.server,
            input,
            sasl_host: SaslHost {
                snapshot: Arc::clone(&self.snapshot),
                random: Seeded::from(self.random.as_mut()),
                transport: self.transport.clone(),
                method,
                remote: self.remote.clone(),
                certified,
                proving: exchange.proving,
                explained: None,
            },
        };
        if sasl_step.is_heavy() {
            out.push(InboundEffect::RunSasl(Box::new(sasl_step)));
            self.stage = Stage::AwaitSaslStep(offer, method);
            return Ok(self);
        }
        self.after_step(offer, method, sasl_step.run(), out)
    }

    /// A result that the stream does not wait for is dropped.
    pub(super) fn on_sasl_step_done(
        mut self: Box<Self>,
        done: InboundSaslStepDone,
        out: &mut Out,
    ) -> Step {
        match std::mem::replace(&mut self.stage, Stage::ExpectHeader) {
            Stage::AwaitSaslStep(offer, method) => self.after_step(offer, method, done, out),
            stage => {
                self.stage = stage;
                Ok(self)
            }
        }
    }

    fn after_step(
        mut self: Box<Self>,
        offer: Offer,
        method: Method,
        done: InboundSaslStepDone,
        out: &mut Out,
    ) -> Step {
        match done.step {
            ServerStep::Challenge(challenge, server) => {
                out.push(InboundEffect::Send(
                    sasl::Nonza::Challenge(challenge).to_bytes(),
                ));
                // The username chose the peer, and it stays chosen: for this exchange, not for another mechanism's.
                let exchange = Exchange {
                    server,
                    method,
                    proving: done.proving,
                };
                self.stage = Stage::Sasl(offer, exchange);
                Ok(self)
            }
            ServerStep::Success { data, .. } => {
                let remote = done.proving;
                // Without `from` the peer is known only now.
                if let Some(remote) = &remote
                    && let Some(closed) = self.denied(remote, out)
                {
                    return Err(closed);
                }
                let judgement = match (&remote, method) {
                    (Some(remote), Method::External) => self.certified(remote).cloned(),
                    _ => Some(Because::Mechanism(method.name()).into()),
                };
                match (remote, self.local.clone(), judgement) {
                    (Some(remote), Some(_), Some(_)) if !self.quota.take(&remote) => {
                        self.sasl_failed(offer, xmpp_sasl::Failure::TemporaryAuthFailure, out)
                    }
                    (Some(remote), Some(local), Some(judgement)) => {
                        out.push(InboundEffect::Send(sasl::Nonza::Success(data).to_bytes()));
                        self.policy = self.snapshot.policy(&remote);
                        self.remote = Some(remote.clone());
                        self.by_sasl = true;
                        self.header_sent = false;
                        out.push(InboundEffect::Restart(self.limits()));
                        // A question from before the restart is forgotten (its answer would come in the middle of it);
                        // proofs under the same TLS stay.
                        self.receiving = super::receiving(&self.snapshot);
                        self.unjudged.clear();
                        for authorized in &self.proved {
                            let pair = authorized.pair().remote_to_local();
                            self.receiving.proved_by_other_means(&pair);
                        }
                        self.prove(DomainPair { local, remote }, method, judgement, out);
                        self.stage = Stage::ExpectHeader;
                        Ok(self)
                    }
                    _ => self.sasl_failed(offer, xmpp_sasl::Failure::NotAuthorized, out),
                }
            }
            ServerStep::Failure(failure) => {
                if let Some(why) = done.explained {
                    let mechanism = method.name();
                    out.push(InboundEffect::Explain {
                        mechanism,
                        failure,
                        why,
                    });
                }
                self.sasl_failed(offer, failure, out)
            }
        }
    }

    pub(super) fn sasl_failed(
        mut self: Box<Self>,
        offer: Offer,
        failure: xmpp_sasl::Failure,
        out: &mut Out,
    ) -> Step {
        out.push(InboundEffect::Send(
            sasl::Nonza::Failure {
                failure,
                text: None,
            }
            .to_bytes(),
        ));
        if failure.closes_stream() || self.snapshot.config.limits.sasl_retries == 0 {
            self.send_footer(out);
            return Err(Closed {
                by: By::Us,
                cause: Cause::Mechanism {
                    mechanism: "SASL",
                    what: failure.name().into(),
                },
            });
        }
        self.sasl_failures += 1;
        if self.sasl_failures > self.snapshot.config.limits.sasl_retries {
            self.send_error(
                &StreamError::new(Condition::PolicyViolation).with_text("too many failed attempts"),
                out,
            );
            return Err(Closed {
                by: By::Us,
                cause: Cause::TooManyFailures,
            });
        }
        self.open(offer)
    }
}
