//! Authentication by the initiating entity: which method, and SASL (RFC 6120 §6.4).

use bytes::Bytes;
use xmpp_sasl::{
    Client, ClientCredentials, ClientError, ClientInput, ClientStep, Failure, Offer, wire as sasl,
};
use xmpp_stream::{Condition, Element, Features, ns};

use super::{Out, Outbound, OutboundEffect, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::config::Agreement;
use crate::peer_text::PeerText;
use crate::protocol::negotiate::Method;
use crate::protocol::negotiate::seeded::Seeded;

impl Outbound {
    /// The first method that policy allows, the peer offers, and was not tried.
    pub(super) fn authenticate(mut self: Box<Self>, out: &mut Out) -> Step {
        let tls = self.transport.is_tls();
        for method in self.policy.auth.clone() {
            if self.excluded.contains(&method) {
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
            let credentials = self.credentials(method);
            if let Ok(exchange) = xmpp_sasl::select(&offered, &[mechanism], &credentials, None) {
                return self.step(method, exchange, Input::Start, out);
            }
            if offered.contains(&mechanism) && credentials.binding_is_withheld() {
                let why = ClientError::BindingWithheld.to_string();
                self.refusal.get_or_insert(mistrust(method, &why));
            }
        }
        self.send_footer(out);
        let cause = self.refusal.take().unwrap_or(Cause::NoMechanism {
            offered: offered(&self.features),
        });
        Err(Closed { by: By::Us, cause })
    }

    fn credentials(&self, method: Method) -> ClientCredentials {
        let (local, remote) = (&self.pair.local, &self.pair.remote);
        let own = self.policy.credentials.as_ref();
        let account = own.and_then(|own| own.account.as_ref());
        let named = own.and_then(|own| own.authzid.clone());
        let (authzid, host) = match method.agreement() {
            // EXTERNAL names the domain it speaks for (XEP-0178 §3).
            None => (Some(local.as_str().to_owned()), remote.as_str()),
            // A password speaks for its user's domain,
            Some(Agreement::Password) => (named, remote.as_str()),
            // a ticket for its principal's. Principals are written in ASCII.
            Some(Agreement::Realm | Agreement::Key) => (named, remote.ascii()),
        };
        let mut offer = Offer::new(&self.features.mechanisms);
        offer.channel_bindings = self.features.channel_bindings.clone();
        let mut credentials = ClientCredentials::new("xmpp", host)
            .with_channel_bindings(self.transport.channel_bindings())
            .with_offer(offer);
        credentials.username = account.map(|account| account.username.clone());
        credentials.password = account.map(|account| account.password.clone());
        credentials.realm = account.and_then(|account| account.realm.clone());
        credentials.authzid = authzid;
        credentials.certificate = self.snapshot.has_certificate(local);
        credentials.gssapi = own.and_then(|own| own.initiator(local));
        credentials.kerberos_v4 = own.and_then(|own| own.kerberos_v4.clone());
        credentials
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
        self.step(method, exchange, input, out)
    }

    /// One step, here or where waiting is allowed.
    fn step(
        mut self: Box<Self>,
        method: Method,
        exchange: Box<dyn Client>,
        input: Input,
        out: &mut Out,
    ) -> Step {
        let is_heavy = exchange.is_heavy();
        let sasl_step = OutboundSaslStep {
            exchange,
            input,
            random: Seeded::from(self.random.as_mut()),
        };
        if is_heavy {
            out.push(OutboundEffect::RunSasl(Box::new(sasl_step)));
            self.stage = Stage::AwaitSaslStep(method);
            return Ok(self);
        }
        self.after_step(method, sasl_step.run(), out)
    }

    /// A result that the stream does not wait for is dropped.
    pub(super) fn on_sasl_step_done(
        mut self: Box<Self>,
        done: OutboundSaslStepDone,
        out: &mut Out,
    ) -> Step {
        match std::mem::replace(&mut self.stage, Stage::ExpectHeader) {
            Stage::AwaitSaslStep(method) => self.after_step(method, done, out),
            stage => {
                self.stage = stage;
                Ok(self)
            }
        }
    }

    fn after_step(
        mut self: Box<Self>,
        method: Method,
        done: OutboundSaslStepDone,
        out: &mut Out,
    ) -> Step {
        let at = done.at;
        match done.step {
            ClientStep::Respond(response, next) => {
                out.push(OutboundEffect::Send(match at {
                    At::Start => auth(method, Some(response)),
                    At::Challenge | At::Outcome => sasl::Nonza::Response(response).to_bytes(),
                }));
                self.stage = Stage::Sasl(method, next);
                Ok(self)
            }
            ClientStep::Wait(next) => {
                if at == At::Start {
                    out.push(OutboundEffect::Send(auth(method, None)));
                }
                self.stage = Stage::Sasl(method, next);
                Ok(self)
            }
            // No mechanism finishes before it was answered; should one claim to, it is not believed.
            ClientStep::Authenticated if at == At::Start => {
                self.abort(method, at, "it ends before it begins", out)
            }
            ClientStep::Authenticated => {
                self.authenticated = Some(method);
                out.push(OutboundEffect::Restart(self.limits()));
                self.send_header(out);
                self.stage = Stage::ExpectHeader;
                Ok(self)
            }
            // We have sent nothing yet, so the peer refused nothing, and the other methods of the policy are as good as
            // before.
            ClientStep::Abort(ClientError::Kerberos(what)) if at == At::Start => {
                self.excluded.push(method);
                self.refusal = Some(Cause::Kerberos(what.into()));
                self.authenticate(out)
            }
            ClientStep::Abort(error) => self.abort(method, at, &error.to_string(), out),
        }
    }

    /// We do not believe the other side, or cannot go on. RFC 6120 §6.4.4: we answer a challenge with `<abort/>`, and
    /// the peer that with `<failure/>`. After `<success/>` we can abort only the stream.
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

    /// After `<abort/>` the stream does not go on, whatever comes.
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
        exclude(&mut self.excluded, &self.policy.auth, method, failure);
        self.refusal = Some(Cause::Refused {
            mechanism: method.name(),
            failure,
        });
        // RFC 6120 §6.4.5: another mechanism may follow on the same stream; dialback is not negotiated at all.
        self.authenticate(out)
    }
}

/// How many mechanisms of the other server's are named.
const MAX_NAMED: usize = 16;

fn offered(features: &Features) -> Vec<PeerText> {
    let offered = features.mechanisms.iter().take(MAX_NAMED);
    offered.map(|name| PeerText::new(name)).collect()
}

fn mistrust(method: Method, what: &str) -> Cause {
    Cause::Mechanism {
        mechanism: method.name(),
        what: what.into(),
    }
}

/// RFC 6120 §6.4.2.
fn auth(method: Method, initial: Option<Vec<u8>>) -> Bytes {
    let mechanism = method.name().to_owned();
    sasl::Nonza::Auth { mechanism, initial }.to_bytes()
}

/// One step of an exchange that is still to be made. It may take long, and can be made on any thread.
#[derive(Debug)]
pub struct OutboundSaslStep {
    exchange: Box<dyn Client>,
    input: Input,
    random: Seeded,
}

/// The result of a step.
#[derive(Debug)]
pub struct OutboundSaslStepDone {
    step: ClientStep,
    at: At,
}

impl OutboundSaslStep {
    /// Whether it waits for others, a KDC, and not for the processor.
    pub fn waits(&self) -> bool {
        matches!(self.input, Input::Start)
    }

    /// Makes the step.
    pub fn run(self) -> OutboundSaslStepDone {
        let mut random = self.random;
        let (at, input) = match &self.input {
            Input::Start => (At::Start, ClientInput::Start),
            Input::Challenge(challenge) => (At::Challenge, ClientInput::Challenge(challenge)),
            Input::Success(data) => (At::Outcome, ClientInput::Success(data.as_deref())),
        };
        let step = self.exchange.step(input, &mut random);
        OutboundSaslStepDone { step, at }
    }
}

/// How far the exchange is in the eyes of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It knows nothing of it yet.
    Start,
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

/// The server's data, decoded; none at first.
enum Input {
    Start,
    Challenge(Vec<u8>),
    Success(Option<Vec<u8>>),
}

// The data may let an attacker guess a password.
impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "Start",
            Self::Challenge(_) => "Challenge(…)",
            Self::Success(_) => "Success(…)",
        })
    }
}

/// Adds to `excluded` the methods not to try any more after this refusal, on this stream or another one to the same
/// server.
pub fn exclude(excluded: &mut Vec<Method>, auth: &[Method], method: Method, failure: Failure) {
    // The peer would refuse the same password by another mechanism, too. After a channel binding that did not fit, or a
    // refusal by an attacker in between, nothing weaker may follow.
    let blamed = method.is_password() && blames_the_password(failure);
    let others = auth.iter().copied();
    let others = others.filter(|other| blamed && other.is_password());
    for excluded_method in std::iter::once(method).chain(others) {
        if !excluded.contains(&excluded_method) {
            excluded.push(excluded_method);
        }
    }
}

/// Whether it is about our account, and not about this mechanism or this moment (RFC 6120 §6.5).
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
