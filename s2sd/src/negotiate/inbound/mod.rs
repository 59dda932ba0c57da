//! The receiving entity's side of a stream, from its first byte to its last (RFC 6120 §4.3, §9.2; XEP-0220 §2.2).
//!
//! ```text
//! ExpectHeader -> [AwaitJudgement] -> Open -> starttls -> AwaitTls -> ExpectHeader …
//!                                     Open -> auth -> [AwaitComputation] -> Sasl -> success -> ExpectHeader …
//!                                     Open -> db:result -> question -> verdict -> Open, one pair proved
//! ```
//!
//! Dialback needs no state of its own in this table: any number of pairs may wait for their authoritative servers while
//! stanzas of proved pairs go on.

mod desk;
mod dialback;
pub(super) mod kerberos;
mod sasl;

pub use desk::{Computation, Computed};

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xmpp_dialback::{Pair, Question, Receiving, Request, Verdict};
use xmpp_sasl::Random;
use xmpp_stream::{
    Condition, ContentNamespace, DecodeError, Domain, Element, Frame, Limits, StreamError,
    StreamHeader, Version, ns,
};

use self::sasl::Exchange;
use super::offer::{Asked, NoOffer, Offer, offer};
use super::{Authorized, DomainPair, House, Judged, Method, Secured, Transport};
use crate::closed::{By, Cause, Closed};
use crate::config::{Denied, Policy, TlsMode};
use crate::stanza::{Refused, Stanza};
use crate::tls::judgement::{Because, Judgement};

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
    /// The answer to [`InboundEffect::Compute`].
    Computed(Computed),
    /// The deadline passed.
    Tick,
    /// The peer was silent for longer than an open stream may be.
    Idle,
    /// There are new rules. The stream keeps those it began with, but for one question: who may federate at all.
    Reloaded(Arc<House>),
    /// This server is going down.
    Shutdown,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum InboundEffect {
    /// Write these bytes.
    Send(Bytes),
    /// Prove that nothing is unread, write what was sent so far and then `proceed`, and make a TLS handshake as server.
    StartTls {
        /// After this nothing is in clear any more (RFC 6120 §5.4.2.3), so it is not said to a peer that went on talking.
        proceed: Bytes,
        /// `to` of the stream: chooses the certificate where the peer sends no SNI.
        fallback: Option<Domain>,
    },
    /// Judge the certificate shown in the handshake.
    Judge(Option<Domain>),
    /// Ask the authoritative server of the pair's remote domain.
    Ask(DomainPair, Question),
    /// Make this step of a SASL exchange. It may take long: not on a thread that serves other streams.
    Compute(Box<Computation>),
    /// Tell the operator why a mechanism failed, of which the peer hears less. It holds no secret.
    Explain {
        /// The mechanism.
        mechanism: &'static str,
        /// What the peer hears.
        failure: xmpp_sasl::Failure,
        /// What it was. There may be words of the peer's in it.
        why: String,
    },
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
    /// Whether the peer's header has a version, so that ours has one (RFC 6120 §4.7.5).
    xmpp_1: bool,
    /// The stream's id, ours (RFC 6120 §4.7.3).
    id: String,
    local: Option<Domain>,
    remote: Option<Domain>,
    /// `from` of the last header, whatever it is worth.
    addressee: Option<Domain>,
    policy: Arc<Policy>,
    /// What was found about the certificate for the domain of the header, or for the single one that it names.
    judged: Option<(Domain, Judgement)>,
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
    Sasl(Offer, Exchange),
    /// A step of this method is being computed.
    AwaitComputation(Offer, Method),
}

/// What a domain is told that may not federate with us: for its operator, and nothing of our lists.
const NOT_ADMITTED: &str = "this server does not federate with your domain";

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
        let receiving = receiving(&house);
        let deadline = now + house.config.limits.negotiation;
        let policy = Arc::clone(&house.config.policy);
        Box::new(Self {
            random,
            transport,
            stage: Stage::ExpectHeader,
            header_sent: false,
            xmpp_1: true,
            id: String::new(),
            local: None,
            remote: None,
            addressee: None,
            policy,
            judged: None,
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

    /// Whether what the peer says next is to be heard now, or only when it is known who it is.
    pub fn listens(&self) -> bool {
        !matches!(self.stage, Stage::AwaitJudgement)
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
            InboundEvent::Computed(computed) => self.on_computed(computed, out),
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
            InboundEvent::Reloaded(house) => match self.not_admitted_by(&house, out) {
                Some(closed) => Err(closed),
                None => Ok(self),
            },
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
                    Stage::ExpectHeader
                    | Stage::AwaitTls
                    | Stage::AwaitJudgement
                    | Stage::AwaitComputation(..) => Err(self.refuse_with(
                        Condition::PolicyViolation,
                        "data before its time",
                        out,
                    )),
                }
            }
        }
    }

    fn on_header(mut self: Box<Self>, header: StreamHeader, out: &mut Out) -> Step {
        self.id = super::fresh_id(self.random.as_mut());
        let xmpp_1 = header.is_xmpp_1();
        self.xmpp_1 = xmpp_1;
        let from = header.from.as_deref().map(Domain::parse);
        // RFC 6120 §4.7.2: the answer is to whoever asks, also where it is a refusal.
        self.addressee = from.as_ref().and_then(|from| from.clone().ok());
        match header.to.as_deref().map(Domain::parse) {
            Some(Ok(to)) => {
                if self.by_sasl && self.local.as_ref() != Some(&to) {
                    return Err(self.refuse_with(
                        Condition::HostUnknown,
                        "`to` changed with the new stream",
                        out,
                    ));
                }
                if !self.house.serves(&to) {
                    let text = "this domain is not served here";
                    return Err(self.refuse_with(Condition::HostUnknown, text, out));
                }
                self.local = Some(to);
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
        match from {
            Some(Ok(from)) if self.house.serves(&from) => {
                let text = "`from` is a domain that is served here";
                return Err(self.refuse_with(Condition::InvalidFrom, text, out));
            }
            Some(Ok(from)) => {
                if self.remote.as_ref().is_some_and(|known| *known != from) {
                    return Err(self.refuse_with(
                        Condition::InvalidFrom,
                        "`from` changed with the new stream",
                        out,
                    ));
                }
                if let Some(closed) = self.denied(&from, out) {
                    return Err(closed);
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
            self.send_header(out);
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
            _ => self.answer_header(&Because::NoCertificate.into(), out),
        }
    }

    fn answer_header(mut self: Box<Self>, judgement: &Judgement, out: &mut Out) -> Step {
        self.send_header(out);
        let asked = Asked {
            house: &self.house,
            local: self.local.as_ref(),
            remote: self.remote.as_ref(),
            policy: &self.policy,
            transport: &self.transport,
            judgement,
            authenticated: self.by_sasl,
        };
        match offer(&asked) {
            Ok(offer) => {
                out.push(InboundEffect::Send(
                    offer.features(self.policy.max_stanza).to_bytes(),
                ));
                self.open(offer)
            }
            Err(NoOffer::BadCertificate(bad)) => {
                self.send_error(
                    &StreamError::new(Condition::NotAuthorized).with_text(bad.to_string()),
                    out,
                );
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Certificate(bad.of_it()),
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
    fn certified(&self, domain: &Domain) -> Option<&Judgement> {
        let (judged, judgement) = self.judged.as_ref()?;
        (judged == domain && judgement.is_certified()).then_some(judgement)
    }

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
        out.push(InboundEffect::StartTls {
            proceed: Bytes::from_static(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            fallback: self.local.clone(),
        });
        // Whatever was said in clear is forgotten (RFC 6120 §5.4.3.3); a pair proved in clear stays unproved over TLS.
        self.proved.clear();
        self.receiving = receiving(&self.house);
        self.unjudged.clear();
        self.remote = None;
        self.addressee = None;
        self.stage = Stage::AwaitTls;
        Ok(self)
    }

    /// The domain of the header, and those that were proved.
    fn not_admitted_by(&mut self, house: &House, out: &mut Out) -> Option<Closed> {
        let proved = self
            .proved
            .iter()
            .map(|authorized| &authorized.pair().remote);
        let mut domains = self.remote.iter().chain(proved);
        let remote = domains
            .find(|domain| house.admits(domain).is_err())?
            .clone();
        let denied = house.admits(&remote).err()?;
        Some(self.refuse_to_federate(&remote, &denied, out))
    }

    /// Whoever is not admitted is told so, and nothing more is said. `Some`: the stream ends.
    fn denied(&mut self, remote: &Domain, out: &mut Out) -> Option<Closed> {
        let denied = self.house.admits(remote).err()?;
        Some(self.refuse_to_federate(remote, &denied, out))
    }

    fn refuse_to_federate(&mut self, remote: &Domain, denied: &Denied, out: &mut Out) -> Closed {
        self.send_error(
            &StreamError::new(Condition::PolicyViolation).with_text(NOT_ADMITTED),
            out,
        );
        Closed {
            by: By::Us,
            cause: Cause::denied(remote, denied),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            element_bytes: self.policy.max_stanza,
            ..self.house.limits_for_open_streams()
        }
    }

    fn send_header(&mut self, out: &mut Out) {
        let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        header.id = Some(self.id.clone());
        header.from = self.local.as_ref().map(|local| local.as_str().to_owned());
        header.to = self
            .addressee
            .as_ref()
            .or(self.remote.as_ref())
            .map(|remote| remote.as_str().to_owned());
        header.version = self.xmpp_1.then_some(Version::XMPP_1);
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
            self.id = super::fresh_id(self.random.as_mut());
            // §4.9.1.3: where `to` was none of our domains, one that is ours.
            let first = self.house.config.domains.first();
            self.local = self
                .local
                .take()
                .or_else(|| first.map(|domain| domain.name.clone()));
            self.send_header(out);
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

fn receiving(house: &House) -> Receiving {
    let limits = &house.config.limits;
    Receiving::new(xmpp_dialback::Limits {
        pairs: limits.pairs_per_stream,
        failures: limits.dialback_failures,
    })
}
