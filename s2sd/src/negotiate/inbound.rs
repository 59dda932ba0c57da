//! The receiving entity's side of a stream, from its first byte to its last (RFC 6120 §4.3, §9.2; XEP-0220 §2.2).
//!
//! ```text
//! ExpectHeader -> [AwaitJudgement] -> Open -> starttls -> AwaitTls -> ExpectHeader …
//!                                     Open -> auth -> Sasl -> success -> ExpectHeader …
//!                                     Open -> db:result -> question -> verdict -> Open, one pair proved
//! ```
//!
//! Dialback needs no state of its own in this table: any number of pairs may wait for their authoritative servers while
//! stanzas of proved pairs go on.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xmpp_dialback::{
    DialbackError, ErrorCondition, Pair, Question, Receiving, Reply, Request, Verdict, wire as db,
};
use xmpp_sasl::{Random, Server, ServerOptions, ServerStep, wire as sasl};
use xmpp_stream::{
    Condition, ContentNamespace, DecodeError, Domain, Element, Frame, Limits, StreamError,
    StreamHeader, Version, ns,
};

use super::inbound_sasl::Desk;
use super::offer::{Asked, NoOffer, Offer, offer};
use super::{Authorized, DomainPair, House, Judged, Method, Secured, Transport};
use crate::closed::{By, Cause, Closed};
use crate::config::{self, Policy, TlsMode, Verify};
use crate::stanza::{Refused, Stanza};
use crate::tls::Certificate;

/// What can happen to an incoming stream.
#[derive(Debug)]
pub enum InboundEvent {
    /// The peer sent something well-formed.
    Frame(Frame),
    /// The peer sent something else.
    Malformed(DecodeError),
    /// The connection is gone.
    Lost(String),
    /// The TLS handshake asked for by [`InboundEffect::StartTls`] is done.
    TlsReady(Secured),
    /// It failed.
    TlsFailed(String),
    /// The answer to [`InboundEffect::Judge`].
    Judged(Judged),
    /// The answer to [`InboundEffect::Ask`].
    Verdict(Pair, Verdict),
    /// The deadline passed.
    Tick,
    /// The peer was silent for longer than an open stream may be.
    Idle,
    /// This server is going down.
    Shutdown,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum InboundEffect {
    /// Write these bytes.
    Send(Bytes),
    /// Write what was sent so far, prove that nothing is unread, and make a TLS handshake as server. `to` of the stream
    /// chooses the certificate where the peer sends no SNI.
    StartTls(Option<Domain>),
    /// Judge the certificate shown in the handshake.
    Judge(Option<Domain>),
    /// Ask the authoritative server of the pair's remote domain.
    Ask(DomainPair, Question),
    /// Expect a new stream (RFC 6120 §4.3.3), under these limits.
    Restart(Limits),
    /// The limits change.
    SetLimits(Limits),
    /// A pair is proved.
    Proved(Authorized),
    /// A stanza for the router.
    Deliver(Stanza, Authorized),
}

/// The receiving entity.
pub struct Inbound {
    house: Arc<House>,
    random: Box<dyn Random + Send>,
    transport: Transport,
    stage: Stage,
    header_sent: bool,
    /// The stream's id, ours (RFC 6120 §4.7.3).
    id: String,
    local: Option<Domain>,
    remote: Option<Domain>,
    policy: Arc<Policy>,
    /// Verdicts so far, one per domain asked about.
    judged: Vec<(Domain, Certificate)>,
    /// The certificate's single identity, where the header named none.
    identity: Option<Domain>,
    receiving: Receiving,
    /// Dialback requests that wait for a verdict on the certificate.
    unjudged: Vec<(DomainPair, Request)>,
    proved: Vec<Authorized>,
    by_sasl: bool,
    sasl_failures: usize,
    deadline: Instant,
}

enum Stage {
    ExpectHeader,
    AwaitTls,
    AwaitJudgement,
    Open(Offer),
    Sasl(Offer, Box<dyn Server>),
}

type Step = Result<Box<Inbound>, Closed>;
type Out = Vec<InboundEffect>;

impl Inbound {
    /// A stream that was just accepted. With direct TLS the handshake is already done.
    pub fn new(
        house: Arc<House>,
        random: Box<dyn Random + Send>,
        transport: Transport,
        now: Instant,
    ) -> Box<Self> {
        let limits = &house.config.limits;
        let receiving = Receiving::new(xmpp_dialback::Limits {
            pairs: limits.pairs_per_stream,
            failures: limits.dialback_failures,
        });
        let deadline = now + limits.negotiation;
        let policy = Arc::clone(&house.config.policy);
        Box::new(Self {
            random,
            transport,
            stage: Stage::ExpectHeader,
            header_sent: false,
            id: String::new(),
            local: None,
            remote: None,
            policy,
            judged: Vec::new(),
            identity: None,
            receiving,
            unjudged: Vec::new(),
            proved: Vec::new(),
            by_sasl: false,
            sasl_failures: 0,
            deadline,
            house,
        })
    }

    /// When [`InboundEvent::Tick`] is due: the end of the time for negotiation. A stream with a proved pair has none.
    pub fn deadline(&self) -> Option<Instant> {
        self.proved.is_empty().then_some(self.deadline)
    }

    /// Whether any pair is proved.
    pub fn is_authenticated(&self) -> bool {
        !self.proved.is_empty()
    }

    /// For the log: the domain the peer claims.
    pub fn claimed(&self) -> Option<&Domain> {
        self.remote.as_ref()
    }

    /// The stream's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What carries the stream.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// One event.
    pub fn handle(mut self: Box<Self>, event: InboundEvent, out: &mut Out) -> Step {
        match event {
            InboundEvent::Frame(frame) => self.frame(frame, out),
            InboundEvent::Malformed(error) => {
                let stream_error = error.stream_error();
                Err(self.refuse(stream_error, error.to_string(), out))
            }
            InboundEvent::Lost(what) => Err(Closed {
                by: By::World,
                cause: Cause::Lost(what),
            }),
            InboundEvent::TlsReady(secured) => {
                self.transport = Transport::Tls(secured);
                self.stage = Stage::ExpectHeader;
                self.header_sent = false;
                Ok(self)
            }
            InboundEvent::TlsFailed(what) => Err(Closed {
                by: By::World,
                cause: Cause::Tls(what),
            }),
            InboundEvent::Judged(judged) => self.on_judged(judged, out),
            InboundEvent::Verdict(pair, verdict) => self.on_verdict(&pair, verdict, out),
            InboundEvent::Tick => {
                if self.is_authenticated() {
                    return Ok(self);
                }
                let error = StreamError::new(Condition::ConnectionTimeout)
                    .with_text("the stream was not authenticated in time");
                self.send_error(&error, out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Timeout("the peer did not authenticate"),
                })
            }
            InboundEvent::Idle => {
                self.send_footer(out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Idle,
                })
            }
            InboundEvent::Shutdown => {
                self.send_error(&StreamError::new(Condition::SystemShutdown), out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Shutdown,
                })
            }
        }
    }

    fn frame(mut self: Box<Self>, frame: Frame, out: &mut Out) -> Step {
        match frame {
            Frame::Whitespace => Ok(self),
            Frame::Footer => {
                self.send_footer(out);
                Err(Closed {
                    by: By::Peer,
                    cause: Cause::Finished,
                })
            }
            Frame::Header(header) => match self.stage {
                Stage::ExpectHeader => self.on_header(header, out),
                _ => Err(self.refuse_with(
                    Condition::InvalidNamespace,
                    "a second stream header",
                    out,
                )),
            },
            Frame::Element(element) => {
                match std::mem::replace(&mut self.stage, Stage::ExpectHeader) {
                    Stage::Open(offer) => self.on_element(offer, element, out),
                    Stage::Sasl(offer, exchange) => self.on_sasl(offer, exchange, &element, out),
                    // The codec yields no element before a header; what comes while the driver is busy is the peer's haste.
                    Stage::ExpectHeader | Stage::AwaitTls | Stage::AwaitJudgement => Err(
                        self.refuse_with(Condition::PolicyViolation, "data before its time", out)
                    ),
                }
            }
        }
    }

    // --- the header -------------------------------------------------------------------------------------------------

    fn on_header(mut self: Box<Self>, header: StreamHeader, out: &mut Out) -> Step {
        self.id = super::fresh_id(self.random.as_mut());
        let xmpp_1 = header.is_xmpp_1();
        match header.to.as_deref().map(Domain::parse) {
            Some(Ok(to)) => {
                if self.by_sasl && self.local.as_ref() != Some(&to) {
                    return Err(self.refuse_with(
                        Condition::HostUnknown,
                        "`to` changed with the new stream",
                        out,
                    ));
                }
                let served = self.house.serves(&to);
                self.local = Some(to);
                if !served {
                    let text = "this domain is not served here";
                    return Err(self.refuse_with(Condition::HostUnknown, text, out));
                }
            }
            Some(Err(_)) => {
                return Err(self.refuse_with(Condition::HostUnknown, "`to` is not a domain", out));
            }
            // RFC 3920 §8.3: the header of a dialback stream needs no addresses.
            None if !xmpp_1 => {}
            None => {
                return Err(self.refuse_with(
                    Condition::ImproperAddressing,
                    "`to` is missing",
                    out,
                ));
            }
        }
        match header.from.as_deref().map(Domain::parse) {
            Some(Ok(from)) => {
                if self.remote.as_ref().is_some_and(|known| *known != from) {
                    return Err(self.refuse_with(
                        Condition::InvalidFrom,
                        "`from` changed with the new stream",
                        out,
                    ));
                }
                self.policy = self.house.policy(&from);
                self.remote = Some(from);
            }
            Some(Err(_)) => {
                return Err(self.refuse_with(
                    Condition::InvalidFrom,
                    "`from` is not a domain",
                    out,
                ));
            }
            None => {}
        }
        if !xmpp_1 {
            if !self.transport.is_tls() && self.policy.tls == TlsMode::Required {
                let text = "encryption is required, and a stream without version='1.0' cannot be encrypted";
                return Err(self.refuse_with(Condition::PolicyViolation, text, out));
            }
            self.send_header(false, out);
            return self.open(Offer {
                dialback: true,
                ..Offer::default()
            });
        }
        match &self.transport {
            Transport::Tls(secured) if secured.certificate_shown && !self.by_sasl => {
                out.push(InboundEffect::Judge(self.remote.clone()));
                self.stage = Stage::AwaitJudgement;
                Ok(self)
            }
            _ => self.answer_header(&Certificate::Missing, out),
        }
    }

    fn answer_header(mut self: Box<Self>, certificate: &Certificate, out: &mut Out) -> Step {
        self.send_header(true, out);
        let asked = Asked {
            house: &self.house,
            local: self.local.as_ref(),
            remote: self.remote.as_ref(),
            policy: &self.policy,
            transport: &self.transport,
            certificate,
            authenticated: self.by_sasl,
        };
        match offer(&asked) {
            Ok(offer) => {
                out.push(InboundEffect::Send(
                    offer.features(self.policy.max_stanza).to_bytes(),
                ));
                self.open(offer)
            }
            Err(NoOffer::BadCertificate(text)) => {
                self.send_error(
                    &StreamError::new(Condition::NotAuthorized).with_text(text.clone()),
                    out,
                );
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Certificate(text),
                })
            }
            Err(NoOffer::Nothing(text)) => {
                self.send_error(
                    &StreamError::new(Condition::PolicyViolation).with_text(text),
                    out,
                );
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Policy(text.to_owned()),
                })
            }
        }
    }

    fn open(mut self: Box<Self>, offer: Offer) -> Step {
        self.stage = Stage::Open(offer);
        Ok(self)
    }

    fn on_judged(mut self: Box<Self>, judged: Judged, out: &mut Out) -> Step {
        if let Some(domain) = &judged.domain {
            self.judged
                .push((domain.clone(), judged.certificate.clone()));
        }
        self.identity = judged.identity.or(self.identity);
        if matches!(self.stage, Stage::AwaitJudgement) {
            return self.answer_header(&judged.certificate, out);
        }
        let domain = judged.domain;
        let (ready, rest) = std::mem::take(&mut self.unjudged)
            .into_iter()
            .partition(|(pair, _)| Some(&pair.remote) == domain.as_ref());
        self.unjudged = rest;
        let ready: Vec<(DomainPair, Request)> = ready;
        for (pair, request) in ready {
            if let Some(closed) = self.request(pair, request, out) {
                return Err(closed);
            }
        }
        Ok(self)
    }

    // --- elements on an open stream ---------------------------------------------------------------------------------

    fn on_element(mut self: Box<Self>, offer: Offer, element: Element, out: &mut Out) -> Step {
        if element.stanza().is_some() {
            self.stage = Stage::Open(offer);
            return match self.on_stanza(element, out) {
                Ok(()) => Ok(self),
                Err(error) => Err(self.refuse_with(error.0, error.1, out)),
            };
        }
        match element.namespace() {
            ns::TLS => self.on_starttls(&offer, &element, out),
            ns::SASL => self.on_auth(offer, &element, out),
            ns::DIALBACK => self.on_dialback(offer, &element, out),
            ns::STREAMS => match StreamError::from_element(&element) {
                Some(error) => {
                    self.send_footer(out);
                    Err(Closed {
                        by: By::Peer,
                        cause: Cause::StreamError(error),
                    })
                }
                None => Err(self.refuse_with(
                    Condition::UnsupportedStanzaType,
                    "not understood here",
                    out,
                )),
            },
            _ => {
                Err(self.refuse_with(Condition::UnsupportedStanzaType, "not understood here", out))
            }
        }
    }

    fn on_stanza(
        &mut self,
        element: Element,
        out: &mut Out,
    ) -> Result<(), (Condition, &'static str)> {
        let mut element = element;
        let mut worst = None;
        for authorized in &self.proved {
            match Stanza::from_peer(element, authorized) {
                Ok(stanza) => {
                    out.push(InboundEffect::Deliver(stanza, authorized.clone()));
                    return Ok(());
                }
                Err((back, refused)) => {
                    element = back;
                    // `from` fits a proved pair and only `to` does not: say that, whatever the other pairs say.
                    worst = if worst == Some(Refused::WrongTo) {
                        worst
                    } else {
                        Some(refused)
                    };
                }
            }
        }
        Err(match worst {
            None => (
                Condition::NotAuthorized,
                "a stanza before any domain was proved",
            ),
            Some(Refused::WrongTo) => {
                let served = element
                    .to()
                    .and_then(|to| Domain::parse(xmpp_stream::split_jid(&to).1).ok())
                    .is_some_and(|domain| self.house.serves(&domain));
                if served {
                    (
                        Condition::NotAuthorized,
                        "this pair of domains was not proved on this stream",
                    )
                } else {
                    (Condition::HostUnknown, "`to` is not served here")
                }
            }
            Some(Refused::InvalidFrom) => {
                (Condition::InvalidFrom, "`from` is not of a proved domain")
            }
            Some(Refused::ImproperAddressing) => (
                Condition::ImproperAddressing,
                "`to` or `from` is missing or malformed",
            ),
            Some(Refused::NotAStanza) => (Condition::UnsupportedStanzaType, "not a stanza"),
        })
    }

    fn on_starttls(mut self: Box<Self>, offer: &Offer, element: &Element, out: &mut Out) -> Step {
        if element.name() != "starttls" {
            return Err(self.refuse_with(
                Condition::UnsupportedStanzaType,
                "not understood here",
                out,
            ));
        }
        if !offer.starttls {
            // RFC 6120 §5.4.2.2: what cannot be done is answered with <failure/> and the end of the stream.
            out.push(InboundEffect::Send(Bytes::from_static(
                b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            )));
            self.send_footer(out);
            return Err(Closed {
                by: By::Us,
                cause: Cause::Policy("STARTTLS was not offered".to_owned()),
            });
        }
        out.push(InboundEffect::Send(Bytes::from_static(
            b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        )));
        out.push(InboundEffect::StartTls(self.local.clone()));
        // Whatever was said in clear is forgotten (RFC 6120 §5.4.3.3); a pair proved in clear stays unproved over TLS.
        self.proved.clear();
        self.remote = None;
        self.stage = Stage::AwaitTls;
        Ok(self)
    }

    // --- SASL -------------------------------------------------------------------------------------------------------

    fn on_auth(mut self: Box<Self>, offer: Offer, element: &Element, out: &mut Out) -> Step {
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
                let options = ServerOptions::new("xmpp", host);
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

    fn on_sasl(
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

    fn sasl_step(
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
                match (method, remote, self.local.clone()) {
                    (Some(method), Some(remote), Some(local)) => {
                        out.push(InboundEffect::Send(sasl::Nonza::Success(data).to_bytes()));
                        self.policy = self.house.policy(&remote);
                        self.remote = Some(remote.clone());
                        self.by_sasl = true;
                        self.header_sent = false;
                        out.push(InboundEffect::Restart(self.limits()));
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

    fn sasl_failed(
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

    fn is_certified(&self, domain: &Domain) -> bool {
        self.judged.iter().any(|(judged, verdict)| {
            judged == domain && matches!(verdict, Certificate::Good { .. })
        })
    }

    // --- server dialback --------------------------------------------------------------------------------------------

    fn on_dialback(mut self: Box<Self>, offer: Offer, element: &Element, out: &mut Out) -> Step {
        let nonza = match db::Nonza::from_element(element) {
            Some(Ok(nonza)) => nonza,
            Some(Err(malformed)) => {
                return Err(self.refuse(malformed.stream_error(), malformed.to_string(), out));
            }
            None => {
                return Err(self.refuse_with(
                    Condition::UnsupportedStanzaType,
                    "not understood here",
                    out,
                ));
            }
        };
        let tls_first = offer.tls_first;
        self.stage = Stage::Open(offer);
        match nonza {
            db::Nonza::Request(request) => {
                let (Ok(local), Ok(remote)) = (
                    Domain::parse(&request.pair.target),
                    Domain::parse(&request.pair.sender),
                ) else {
                    return Err(self.refuse_with(
                        Condition::ImproperAddressing,
                        "not a domain",
                        out,
                    ));
                };
                match self.on_key(tls_first, DomainPair { local, remote }, request, out) {
                    Some(closed) => Err(closed),
                    None => Ok(self),
                }
            }
            db::Nonza::Question(question) => {
                if tls_first {
                    return Err(self.refuse_with(
                        Condition::PolicyViolation,
                        "encryption is required first",
                        out,
                    ));
                }
                out.push(InboundEffect::Send(self.answer(&question)));
                Ok(self)
            }
            // XEP-0220 §3.1: answers nobody asked for were once believed.
            db::Nonza::Result { pair, .. } | db::Nonza::Answer { pair, .. } => {
                let unsolicited = xmpp_dialback::Unsolicited { pair };
                Err(self.refuse(unsolicited.stream_error(), unsolicited.to_string(), out))
            }
        }
    }

    /// A key for a pair came. `Some`: the stream ends.
    fn on_key(
        &mut self,
        tls_first: bool,
        pair: DomainPair,
        request: Request,
        out: &mut Out,
    ) -> Option<Closed> {
        let policy = self.house.policy(&pair.remote);
        // Our own rules first, as XEP-0220 §2.5 names their errors.
        let refusal = if !self.house.serves(&pair.local) {
            Some((
                ErrorCondition::ItemNotFound,
                "this domain is not served here",
            ))
        } else if tls_first || (!self.transport.is_tls() && policy.tls == TlsMode::Required) {
            Some((
                ErrorCondition::PolicyViolation,
                "encryption is required first",
            ))
        } else if !policy.allows(config::Method::Dialback) {
            Some((
                ErrorCondition::PolicyViolation,
                "server dialback is not accepted from this domain",
            ))
        } else {
            None
        };
        if let Some((condition, text)) = refusal {
            let reply = self
                .receiving
                .refuse(DialbackError::new(condition).with_text(text));
            return self.reply(request.pair, reply, out);
        }
        let request = Request {
            pair: pair_of(&pair),
            key: request.key,
        };
        let shown = matches!(&self.transport, Transport::Tls(secured) if secured.certificate_shown);
        let judged = self.judged.iter().any(|(domain, _)| *domain == pair.remote);
        if shown && !judged && policy.verify == Verify::Strict {
            if self.unjudged.len() >= self.house.config.limits.pairs_per_stream {
                return Some(self.refuse_with(
                    Condition::PolicyViolation,
                    "too many pairs on one stream",
                    out,
                ));
            }
            out.push(InboundEffect::Judge(Some(pair.remote.clone())));
            self.unjudged.push((pair, request));
            return None;
        }
        self.request(pair, request, out)
    }

    /// The key may be looked at. `Some`: the stream ends.
    fn request(&mut self, pair: DomainPair, request: Request, out: &mut Out) -> Option<Closed> {
        let policy = self.house.policy(&pair.remote);
        let bad = self
            .judged
            .iter()
            .find_map(|(domain, verdict)| match verdict {
                Certificate::Bad(bad)
                    if *domain == pair.remote && policy.verify == Verify::Strict =>
                {
                    Some(bad.to_string())
                }
                _ => None,
            });
        if let Some(text) = bad {
            let reply = self
                .receiving
                .refuse(DialbackError::new(ErrorCondition::NotAuthorized).with_text(text));
            return self.reply(request.pair, reply, out);
        }
        let asked = request.pair.clone();
        match self.receiving.request(request, &self.id) {
            Ok(question) => {
                out.push(InboundEffect::Ask(pair, question));
                None
            }
            Err(refusal) => self.reply(asked, refusal.reply, out),
        }
    }

    fn on_verdict(mut self: Box<Self>, pair: &Pair, verdict: Verdict, out: &mut Out) -> Step {
        let Ok(reply) = self.receiving.answered(pair, verdict) else {
            return Ok(self); // our own late answer: the pair is no longer waited for
        };
        let proved = reply.verdict == Verdict::Valid && reply.close.is_none();
        if let Some(closed) = self.reply(pair.clone(), reply, out) {
            return Err(closed);
        }
        if proved
            && let (Ok(local), Ok(remote)) =
                (Domain::parse(&pair.target), Domain::parse(&pair.sender))
        {
            if self.proved.is_empty() {
                self.policy = self.house.policy(&remote);
                out.push(InboundEffect::SetLimits(self.limits()));
            }
            self.prove(DomainPair { local, remote }, Method::Dialback, out);
        }
        Ok(self)
    }

    /// Answers a `db:result`. `Some`: the stream ends after it.
    fn reply(&mut self, pair: Pair, reply: Reply, out: &mut Out) -> Option<Closed> {
        let Reply { verdict, close } = reply;
        let what = format!("dialback for {}: {}", pair.sender, describe(&verdict));
        out.push(InboundEffect::Send(
            db::Nonza::Result { pair, verdict }.to_bytes(),
        ));
        let close = close?;
        let cause = match close.stream_error() {
            Some(error) => {
                self.send_error(&error, out);
                Cause::TooManyFailures
            }
            None => {
                self.send_footer(out);
                Cause::Dialback(what)
            }
        };
        Some(Closed { by: By::Us, cause })
    }

    /// The authoritative role: has no state.
    fn answer(&self, question: &Question) -> Bytes {
        let verdict = match (
            Domain::parse(&question.pair.sender),
            Domain::parse(&question.pair.target),
        ) {
            (Ok(ours), Ok(theirs)) if self.house.serves(&ours) => {
                let pair = Pair {
                    sender: ours.as_str().to_owned(),
                    target: theirs.as_str().to_owned(),
                };
                let prepared = Question {
                    pair,
                    stream_id: question.stream_id.clone(),
                    key: question.key.clone(),
                };
                xmpp_dialback::verify(&self.house.secret, &prepared)
            }
            _ => Verdict::Error(
                DialbackError::new(ErrorCondition::ItemNotFound)
                    .with_text("this domain is not served here"),
            ),
        };
        db::Nonza::Answer {
            pair: question.pair.clone(),
            stream_id: question.stream_id.clone(),
            verdict,
        }
        .to_bytes()
    }

    fn prove(&mut self, pair: DomainPair, method: Method, out: &mut Out) {
        self.receiving.proved_by_other_means(&pair_of(&pair));
        let authorized = Authorized::new(pair, method);
        self.proved.push(authorized.clone());
        out.push(InboundEffect::Proved(authorized));
    }

    // --- what we say ------------------------------------------------------------------------------------------------

    fn limits(&self) -> Limits {
        Limits {
            element_bytes: self.policy.max_stanza,
            ..self.house.limits_for_open_streams()
        }
    }

    fn send_header(&mut self, xmpp_1: bool, out: &mut Out) {
        let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        header.id = Some(self.id.clone());
        header.from = self.local.as_ref().map(|local| local.as_str().to_owned());
        header.to = self
            .remote
            .as_ref()
            .map(|remote| remote.as_str().to_owned());
        header.version = xmpp_1.then_some(Version::XMPP_1);
        let mut bytes = BytesMut::new();
        header.write(&mut bytes);
        out.push(InboundEffect::Send(bytes.freeze()));
        self.header_sent = true;
    }

    fn send_footer(&mut self, out: &mut Out) {
        if self.header_sent {
            out.push(InboundEffect::Send(Bytes::from_static(b"</stream:stream>")));
        }
    }

    /// RFC 6120 §4.9.1.1: an error about the header itself comes after a header of our own.
    fn send_error(&mut self, error: &StreamError, out: &mut Out) {
        if !self.header_sent {
            if self.id.is_empty() {
                self.id = super::fresh_id(self.random.as_mut());
            }
            self.send_header(true, out);
        }
        out.push(InboundEffect::Send(error.to_bytes()));
        self.send_footer(out);
    }

    fn refuse(&mut self, error: StreamError, what: String, out: &mut Out) -> Closed {
        self.send_error(&error, out);
        Closed {
            by: By::Us,
            cause: Cause::Protocol(error.condition, what),
        }
    }

    fn refuse_with(&mut self, condition: Condition, text: &str, out: &mut Out) -> Closed {
        self.refuse(
            StreamError::new(condition).with_text(text),
            text.to_owned(),
            out,
        )
    }
}

/// In dialback's terms the peer is the sender.
pub(super) fn pair_of(pair: &DomainPair) -> Pair {
    Pair {
        sender: pair.remote.as_str().to_owned(),
        target: pair.local.as_str().to_owned(),
    }
}

/// For the log.
pub(super) fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Invalid => "the key is not the sender's".to_owned(),
        Verdict::Error(error) => error.to_string(),
    }
}
