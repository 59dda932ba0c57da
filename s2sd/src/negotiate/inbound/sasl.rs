//! SASL on the receiving side (RFC 6120 §6.4): what the peer proves, and what it gets for failing.

use xmpp_sasl::{Server, ServerOptions, ServerStep, wire as sasl};
use xmpp_stream::{Condition, Domain, Element, StreamError};

use super::desk::{self, Desk};
use super::{Inbound, InboundEffect, Out, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::negotiate::offer::Offer;
use crate::negotiate::{DomainPair, Method};
use crate::tls::trust::Certificate;

impl Inbound {
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
                let offered = offer.mechanisms.iter().any(|name| *name == mechanism);
                let host = self
                    .local
                    .as_ref()
                    .map(|local| local.as_str().to_owned())
                    .unwrap_or_default();
                let realms = desk::realms(&self.house, self.remote.as_ref(), &host);
                let options = ServerOptions {
                    realms,
                    ..ServerOptions::new("xmpp", host)
                };
                match offered
                    .then(|| xmpp_sasl::server(&mechanism, &options))
                    .flatten()
                {
                    Some(exchange) => self.sasl_step(offer, exchange, initial.as_deref(), out),
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
        exchange: Box<dyn Server>,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        match sasl::Nonza::from_element(element) {
            Some(Ok(sasl::Nonza::Response(response))) => {
                self.sasl_step(offer, exchange, Some(&response), out)
            }
            Some(Ok(sasl::Nonza::Abort)) => {
                self.sasl_failed(offer, xmpp_sasl::Failure::Aborted, out)
            }
            // RFC 6120 §6.4.2: a new <auth/> discards the handshake that is going on.
            Some(Ok(sasl::Nonza::Auth { .. })) => self.on_auth(offer, element, out),
            Some(Ok(_)) => self.sasl_failed(offer, xmpp_sasl::Failure::MalformedRequest, out),
            Some(Err(failure)) => self.sasl_failed(offer, failure, out),
            None if element.stanza().is_some() => Err(self.refuse_with(
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

    pub(super) fn sasl_step(
        mut self: Box<Self>,
        offer: Offer,
        exchange: Box<dyn Server>,
        input: Option<&[u8]>,
        out: &mut Out,
    ) -> Step {
        let mut proving = None;
        let certified = match &self.remote {
            Some(remote) => self.is_certified(remote).then(|| remote.clone()),
            None => self.identity.clone(),
        };
        let mut desk = Desk {
            house: &self.house,
            random: self.random.as_mut(),
            transport: &self.transport,
            remote: self.remote.as_ref(),
            certified: certified.as_ref(),
            proving: &mut proving,
        };
        match exchange.step(input, &mut desk) {
            ServerStep::Challenge(challenge, next) => {
                // The username chose the peer; it stays chosen (the mechanism asks for the password once).
                self.identity = proving.or(self.identity);
                out.push(InboundEffect::Send(
                    sasl::Nonza::Challenge(challenge).to_bytes(),
                ));
                self.stage = Stage::Sasl(offer, next);
                Ok(self)
            }
            ServerStep::Success { identity, data } => {
                let method = Method::of_mechanism(identity.mechanism);
                let remote = proving
                    .or_else(|| self.identity.clone())
                    .or_else(|| self.remote.clone());
                // Without `from` it is known only now who it is.
                if let Some(remote) = &remote
                    && let Some(closed) = self.denied(remote, out)
                {
                    return Err(closed);
                }
                match (method, remote, self.local.clone()) {
                    (Some(method), Some(remote), Some(local)) => {
                        out.push(InboundEffect::Send(sasl::Nonza::Success(data).to_bytes()));
                        self.policy = self.house.policy(&remote);
                        self.remote = Some(remote.clone());
                        self.by_sasl = true;
                        self.header_sent = false;
                        out.push(InboundEffect::Restart(self.limits()));
                        // A question from before the restart (its answer would come in the middle of it) is forgotten;
                        // what was proved under the same TLS stays proved.
                        self.receiving = super::receiving(&self.house);
                        for authorized in &self.proved {
                            let pair = authorized.pair().remote_to_local();
                            self.receiving.proved_by_other_means(&pair);
                        }
                        self.prove(DomainPair { local, remote }, method, out);
                        self.stage = Stage::ExpectHeader;
                        Ok(self)
                    }
                    _ => self.sasl_failed(offer, xmpp_sasl::Failure::NotAuthorized, out),
                }
            }
            ServerStep::Failure(failure) => self.sasl_failed(offer, failure, out),
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
        if failure.closes_stream() || self.house.config.limits.sasl_retries == 0 {
            self.send_footer(out);
            return Err(Closed {
                by: By::Us,
                cause: Cause::Mechanism {
                    mechanism: "SASL",
                    what: failure.name().to_owned(),
                },
            });
        }
        self.sasl_failures += 1;
        if self.sasl_failures > self.house.config.limits.sasl_retries {
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

    pub(super) fn is_certified(&self, domain: &Domain) -> bool {
        self.judged.iter().any(|(judged, verdict)| {
            judged == domain && matches!(verdict, Certificate::Good { .. })
        })
    }
}
