//! Authentication by the initiating entity: which method, and SASL (RFC 6120 §6.4).

use xmpp_sasl::{Client, ClientCredentials, ClientInput, ClientStep, Failure, wire as sasl};
use xmpp_stream::{Condition, Element, ns};

use super::{Out, Outbound, OutboundEffect, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::config::{self, TlsMode};
use crate::negotiate::Method;

impl Outbound {
    /// The first method that policy allows, the peer offers, and was not tried.
    pub(super) fn authenticate(mut self: Box<Self>, out: &mut Out) -> Step {
        let credentials = self.credentials();
        for method in self.policy.auth.clone() {
            let method = match method {
                config::Method::External => Method::External,
                config::Method::DigestMd5 => Method::DigestMd5,
                config::Method::Dialback => Method::Dialback,
            };
            if self.tried.contains(&method) {
                continue;
            }
            if method == Method::Dialback {
                return self.dialback(out);
            }
            let allowed = match method {
                Method::External => self.transport.is_tls(),
                // Without TLS only where the peer entry itself switches TLS off; with `optional` after TLS only.
                Method::DigestMd5 => {
                    self.transport.is_tls() != (self.policy.tls == TlsMode::Disabled)
                }
                Method::Dialback => false,
            };
            let offered: Vec<&str> = self
                .features
                .mechanisms
                .iter()
                .map(String::as_str)
                .collect();
            if allowed
                && let Ok(exchange) =
                    xmpp_sasl::select(&offered, &[method.name()], &credentials, None)
            {
                return self.start_sasl(method, exchange, out);
            }
        }
        self.send_footer(out);
        let cause = self.refusal.take().unwrap_or(Cause::NoMechanism {
            offered: std::mem::take(&mut self.features.mechanisms),
        });
        Err(Closed { by: By::Us, cause })
    }

    pub(super) fn credentials(&self) -> ClientCredentials {
        let own = self.policy.credentials.as_ref();
        let local = self.pair.local.as_str().to_owned();
        ClientCredentials {
            username: own.map(|own| own.username.clone()),
            password: own.map(|own| own.password.clone()),
            realm: own.and_then(|own| own.realm.clone()),
            // EXTERNAL names the domain it speaks for (XEP-0178 §3); a password speaks for its user's domain.
            authzid: own.map_or(Some(local), |own| own.authzid.clone()),
            certificate: self.house.has_certificate(&self.pair.local),
            ..ClientCredentials::new("xmpp", self.pair.remote.as_str())
        }
    }

    pub(super) fn start_sasl(
        mut self: Box<Self>,
        method: Method,
        exchange: Box<dyn Client>,
        out: &mut Out,
    ) -> Step {
        let mechanism = exchange.name().to_owned();
        match exchange.step(ClientInput::Start, self.random.as_mut()) {
            ClientStep::Respond(initial, next) => {
                out.push(OutboundEffect::Send(
                    sasl::Nonza::Auth {
                        mechanism,
                        initial: Some(initial),
                    }
                    .to_bytes(),
                ));
                self.stage = Stage::Sasl(method, next);
                Ok(self)
            }
            ClientStep::Wait(next) => {
                out.push(OutboundEffect::Send(
                    sasl::Nonza::Auth {
                        mechanism,
                        initial: None,
                    }
                    .to_bytes(),
                ));
                self.stage = Stage::Sasl(method, next);
                Ok(self)
            }
            // No mechanism finishes before it was answered; should one claim to, it is not believed.
            ClientStep::Authenticated => {
                Err(self.cannot_start(method, "it ends before it begins", out))
            }
            ClientStep::Abort(error) => Err(self.cannot_start(method, &error.to_string(), out)),
        }
    }

    fn cannot_start(&mut self, method: Method, what: &str, out: &mut Out) -> Closed {
        self.send_footer(out);
        Closed {
            by: By::Us,
            cause: mistrust(method, what),
        }
    }

    pub(super) fn on_sasl(
        mut self: Box<Self>,
        method: Method,
        exchange: Box<dyn Client>,
        element: &Element,
        out: &mut Out,
    ) -> Step {
        let nonza = match sasl::Nonza::from_element(element) {
            Some(Ok(nonza)) => nonza,
            Some(Err(failure)) => return self.abort(method, element, failure.name(), out),
            None => return Err(self.refuse_element(element, "SASL is not finished", out)),
        };
        let input = match &nonza {
            sasl::Nonza::Challenge(challenge) => ClientInput::Challenge(challenge),
            sasl::Nonza::Success(data) => ClientInput::Success(data.as_deref()),
            sasl::Nonza::Failure { failure, .. } => return self.on_failure(method, *failure, out),
            sasl::Nonza::Auth { .. } | sasl::Nonza::Response(_) | sasl::Nonza::Abort => {
                return Err(self.refuse_with(
                    Condition::UnsupportedStanzaType,
                    "the initiating entity's word",
                    out,
                ));
            }
        };
        match exchange.step(input, self.random.as_mut()) {
            ClientStep::Respond(response, next) => {
                out.push(OutboundEffect::Send(
                    sasl::Nonza::Response(response).to_bytes(),
                ));
                self.stage = Stage::Sasl(method, next);
                Ok(self)
            }
            ClientStep::Wait(next) => {
                self.stage = Stage::Sasl(method, next);
                Ok(self)
            }
            ClientStep::Authenticated => {
                self.authenticated = Some(method);
                out.push(OutboundEffect::Restart(self.limits()));
                self.send_header(out);
                self.stage = Stage::ExpectHeader;
                Ok(self)
            }
            ClientStep::Abort(error) => self.abort(method, element, &error.to_string(), out),
        }
    }

    /// We do not believe the other side, or cannot go on. RFC 6120 §6.4.4: a challenge is answered with `<abort/>`, and
    /// that with `<failure/>`; after `<success/>` there is nothing left to abort but the stream.
    pub(super) fn abort(
        mut self: Box<Self>,
        method: Method,
        answered: &Element,
        what: &str,
        out: &mut Out,
    ) -> Step {
        let cause = mistrust(method, what);
        if answered.is(ns::SASL, "challenge") {
            out.push(OutboundEffect::Send(sasl::Nonza::Abort.to_bytes()));
            self.refusal = Some(cause);
            self.stage = Stage::Aborting;
            return Ok(self);
        }
        self.send_footer(out);
        Err(Closed { by: By::Us, cause })
    }

    /// Whatever comes after `<abort/>`, the stream is not gone on with.
    pub(super) fn on_aborted(mut self: Box<Self>, out: &mut Out) -> Step {
        self.send_footer(out);
        Err(self.ended(By::Us, Cause::Finished))
    }

    pub(super) fn on_failure(
        mut self: Box<Self>,
        method: Method,
        failure: Failure,
        out: &mut Out,
    ) -> Step {
        self.tried.push(method);
        self.refusal = Some(Cause::Refused {
            mechanism: method.name(),
            failure,
        });
        // RFC 6120 §6.4.5: another mechanism may follow on the same stream; dialback is not negotiated at all.
        self.authenticate(out)
    }
}

fn mistrust(method: Method, what: &str) -> Cause {
    Cause::Mechanism {
        mechanism: method.name(),
        what: what.to_owned(),
    }
}
