//! Authentication by the initiating entity: which method, and SASL (RFC 6120 §6.4).

use xmpp_sasl::{Client, ClientCredentials, ClientInput, ClientStep, Failure, Offer, wire as sasl};
use xmpp_stream::{Condition, Element, ns};

use super::{Out, Outbound, OutboundEffect, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::negotiate::Method;
use crate::negotiate::seeded::Seeded;

impl Outbound {
    /// The first method that policy allows, the peer offers, and was not tried.
    pub(super) fn authenticate(mut self: Box<Self>, out: &mut Out) -> Step {
        let credentials = self.credentials();
        let tls = self.transport.is_tls();
        for method in self.policy.auth.clone() {
            if self.tried.contains(&method) {
                continue;
            }
            let Some(mechanism) = method.mechanism() else {
                return self.dialback(out);
            };
            if !self.policy.allows_over(method, tls) {
                continue;
            }
            let offered: Vec<&str> = self
                .features
                .mechanisms
                .iter()
                .map(String::as_str)
                .collect();
            if let Ok(exchange) = xmpp_sasl::select(&offered, &[mechanism], &credentials, None) {
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
            channel_bindings: self.transport.channel_bindings(),
            offer: Offer {
                mechanisms: self.features.mechanisms.clone(),
                channel_bindings: self.features.channel_bindings.clone(),
            },
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
            Some(Err(failure)) => return self.abort(method, At::of(element), failure.name(), out),
            None => return Err(self.refuse_element(element, "SASL is not finished", out)),
        };
        let input = match nonza {
            sasl::Nonza::Challenge(challenge) => Input::Challenge(challenge),
            sasl::Nonza::Success(data) => Input::Success(data),
            sasl::Nonza::Failure { failure, .. } => return self.on_failure(method, failure, out),
            sasl::Nonza::Auth { .. } | sasl::Nonza::Response(_) | sasl::Nonza::Abort => {
                return Err(self.refuse_with(
                    Condition::UnsupportedStanzaType,
                    "the initiating entity's word",
                    out,
                ));
            }
        };
        let is_heavy = exchange.is_heavy();
        let calculation = Calculation {
            exchange,
            input,
            random: Seeded::from(self.random.as_mut()),
        };
        if is_heavy {
            out.push(OutboundEffect::Calculate(Box::new(calculation)));
            self.stage = Stage::AwaitCalculation(method);
            return Ok(self);
        }
        self.after_step(method, calculation.run(), out)
    }

    /// An answer that nobody waits for is forgotten.
    pub(super) fn on_calculated(
        mut self: Box<Self>,
        calculated: Calculated,
        out: &mut Out,
    ) -> Step {
        match std::mem::replace(&mut self.stage, Stage::ExpectHeader) {
            Stage::AwaitCalculation(method) => self.after_step(method, calculated, out),
            stage => {
                self.stage = stage;
                Ok(self)
            }
        }
    }

    fn after_step(
        mut self: Box<Self>,
        method: Method,
        calculated: Calculated,
        out: &mut Out,
    ) -> Step {
        match calculated.step {
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
            ClientStep::Abort(error) => self.abort(method, calculated.at, &error.to_string(), out),
        }
    }

    /// We do not believe the other side, or cannot go on. RFC 6120 §6.4.4: a challenge is answered with `<abort/>`, and
    /// that with `<failure/>`; after `<success/>` there is nothing left to abort but the stream.
    pub(super) fn abort(
        mut self: Box<Self>,
        method: Method,
        at: At,
        what: &str,
        out: &mut Out,
    ) -> Step {
        let cause = mistrust(method, what);
        if at == At::Challenge {
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
        if method.is_password() && blames_the_password(failure) {
            // The same password by another mechanism would be refused as well, and after a channel binding that did not
            // fit, or from somebody in between, nothing weaker may follow.
            let others = self.policy.auth.iter().copied();
            let others = others.filter(|other| other.is_password() && *other != method);
            self.tried.extend(others);
        }
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

/// One step of an exchange that is still to be made. It may take long, and can be made on any thread.
#[derive(Debug)]
pub struct Calculation {
    exchange: Box<dyn Client>,
    input: Input,
    random: Seeded,
}

/// What came of it.
#[derive(Debug)]
pub struct Calculated {
    step: ClientStep,
    at: At,
}

impl Calculation {
    /// Makes the step.
    pub fn run(self) -> Calculated {
        let mut random = self.random;
        let (at, input) = match &self.input {
            Input::Challenge(challenge) => (At::Challenge, ClientInput::Challenge(challenge)),
            Input::Success(data) => (At::Outcome, ClientInput::Success(data.as_deref())),
        };
        let step = self.exchange.step(input, &mut random);
        Calculated { step, at }
    }
}

/// How far the exchange is in the eyes of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It waits for an answer.
    Challenge,
    /// For the server it is over.
    Outcome,
}

impl At {
    fn of(element: &Element) -> Self {
        match element.is(ns::SASL, "challenge") {
            true => Self::Challenge,
            false => Self::Outcome,
        }
    }
}

/// What the server said, decoded.
enum Input {
    Challenge(Vec<u8>),
    Success(Option<Vec<u8>>),
}

// What is said may let a password be guessed.
impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Challenge(_) => "Challenge(…)",
            Self::Success(_) => "Success(…)",
        })
    }
}

/// Whether it is about who we are, and not about this mechanism or this moment (RFC 6120 §6.5).
fn blames_the_password(failure: Failure) -> bool {
    match failure {
        Failure::AccountDisabled
        | Failure::CredentialsExpired
        | Failure::InvalidAuthzid
        | Failure::NotAuthorized => true,
        Failure::Aborted
        | Failure::EncryptionRequired
        | Failure::IncorrectEncoding
        | Failure::InvalidMechanism
        | Failure::MalformedRequest
        | Failure::MechanismTooWeak
        | Failure::TemporaryAuthFailure => false,
    }
}
