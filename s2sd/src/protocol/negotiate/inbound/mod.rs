//! The receiving entity's side of a stream, from its first byte to its last (RFC 6120 §4.3, §9.2; XEP-0220 §2.2).
//!
//! ```text
//! ExpectHeader -> [AwaitJudgement] -> Open -> starttls -> AwaitTls -> ExpectHeader …
//!                                     Open -> auth -> [AwaitSaslStep] -> Sasl -> success -> ExpectHeader …
//!                                     Open -> db:result -> question -> verdict -> Open, one pair proved
//! ```
//!
//! Dialback needs no state of its own in this table: any number of pairs may wait for their authoritative servers while
//! stanzas of proved pairs go on.

mod bidi;
mod dialback;
mod judging;
mod kerberos;
mod opening;
mod sasl;
mod sasl_host;
mod send;

pub use sasl_host::{InboundSaslStep, InboundSaslStepDone};

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use xmpp_dialback::{Pair, Question, Receiving, Request, Verdict};
use xmpp_sasl::Random;
use xmpp_stream::{
    Condition, DecodeError, Domain, Element, Frame, StanzaError, StreamError, XmlLimits, ns,
};

use self::sasl::Exchange;
use super::offer::Offer;
use super::pairs::{self, Received};
use super::peer_limits::PeerLimits;
use super::quota::{Quota, Unlimited};
use super::{Authorized, DomainPair, Judged, Method, Secured, Snapshot, Transport};
use crate::closed::{By, Cause, Closed};
use crate::config::{Policy, TlsFloor};
use crate::peer_text::PeerText;
use crate::protocol::stanza::Stanza;
use crate::trust::judgement::Judgement;

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
    /// The answer to [`InboundEffect::Ask`] if this server has no room for the question.
    NotAsked(Pair),
    /// The answer to [`InboundEffect::RunSasl`].
    SaslStepDone(InboundSaslStepDone),
    /// The deadline passed.
    Tick,
    /// An element has begun, and its rest does not come.
    Late,
    /// An element has begun, and there is no memory for its rest.
    Overfull,
    /// Too much came of [`InboundEffect::Stray`].
    TooManyStrays,
    /// The peer was silent for longer than an open stream may be.
    Idle,
    /// An operator wants the stream closed.
    CloseWanted,
    /// There are new rules, authorities, or revocation lists. The stream keeps the rules it began with, but for two
    /// questions: which domains may federate at all, and whether a certificate that it rests on is still good.
    Reloaded(Arc<Snapshot>),
    /// A new stream of the same domain takes the place of this one, which was silent for long.
    Replaced,
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
        /// After this, nothing more goes out in clear (RFC 6120 §5.4.2.3), so a peer that went on sending does not get
        /// it.
        proceed: Bytes,
        /// `to` of the stream: chooses the certificate where the peer sends no SNI.
        fallback: Option<Domain>,
        /// What the handshake must have: the rules for `from` of the stream, if it has one. They are checked again once
        /// the peer is known.
        floor: TlsFloor,
    },
    /// Judge the certificate shown in the handshake.
    Judge(Option<Domain>),
    /// Ask the authoritative server of the pair's remote domain.
    Ask(DomainPair, Question),
    /// Make this step of a SASL exchange. It may take long: not on a thread that serves other streams.
    RunSasl(Box<InboundSaslStep>),
    /// Tell the operator why a mechanism failed; the peer learns less. It holds no secret.
    Explain {
        /// The mechanism.
        mechanism: &'static str,
        /// What the peer hears.
        failure: xmpp_sasl::Failure,
        /// The reason.
        why: PeerText,
    },
    /// Expect a new stream (RFC 6120 §4.3.3), under these limits. What [`Self::InverseProved`] said is over.
    Restart(XmlLimits),
    /// The limits change.
    SetLimits(XmlLimits),
    /// A pair is proved.
    Proved(Authorized),
    /// The stream carries both directions (XEP-0288): the driver may write our stanzas, from the pair's local domain to
    /// its remote one, on it too, after what was sent so far. The driver gives the stream to the lane of that pair, if
    /// it has none, and keeps to [`Inbound::peer_max_stanza`] and [`Inbound::keepalive`]. It comes after
    /// [`Self::Proved`] of the pair, once for each pair, and holds until the stream ends or [`Inbound::is_ending`], or
    /// until [`Self::Restart`]: after that the driver may not write a stanza until it comes again.
    InverseProved(Authorized),
    /// A stanza for the router.
    Deliver(Stanza, Authorized),
    /// A stanza that goes no further, and the error for its sender.
    Bounce(Stanza, StanzaError, Authorized),
    /// A proved peer sent an element that this server does not know. It is ignored, and counted.
    Stray {
        /// The element.
        what: PeerText,
        /// Whether it is a stanza but for its namespace.
        is_stanza: bool,
    },
}

/// The receiving entity.
pub struct Inbound {
    snapshot: Arc<Snapshot>,
    random: Box<dyn Random + Send>,
    quota: Box<dyn Quota>,
    transport: Transport,
    stage: Stage,
    header_sent: bool,
    /// Whether the peer's header has a version, so that ours has one (RFC 6120 §4.7.5).
    xmpp_1: bool,
    /// The stream's id, ours (RFC 6120 §4.7.3).
    id: String,
    local: Option<Domain>,
    remote: Option<Domain>,
    /// `from` of the last header. It proves nothing.
    addressee: Option<Domain>,
    policy: Arc<Policy>,
    /// The judgement of the certificate for the domain of the header, or for the single one that it names.
    judged: Option<(Domain, Judgement)>,
    /// The certificate's single identity, where the header named none.
    identity: Option<Domain>,
    receiving: Receiving,
    /// Dialback requests that wait for a verdict on the certificate.
    unjudged: Vec<(DomainPair, Request)>,
    /// How often the certificate was to be judged.
    judgements: usize,
    /// What certificates are judged by has changed since this one was judged, or while.
    stale: bool,
    proved: Vec<Authorized>,
    /// Whether the driver can send stanzas of ours on the stream.
    can_bidi: bool,
    /// The peer asked for them, in time.
    bidi: bool,
    /// What the peer reads of them.
    peer_limits: PeerLimits,
    /// The domains of dialback keys that the certificate was good for.
    certified: Vec<Domain>,
    by_sasl: bool,
    sasl_failures: usize,
    /// We ended the stream for this, and the peer has not yet.
    ending: Option<Cause>,
    deadline: Instant,
}

enum Stage {
    ExpectHeader,
    AwaitTls,
    AwaitJudgement,
    Open(Offer),
    Sasl(Offer, Exchange),
    /// A step of this method is being computed.
    AwaitSaslStep(Offer, Method),
}

/// For the operator of a domain that is not admitted. It does not reveal our lists.
const NOT_ADMITTED: &str = "this server does not federate with your domain";

type Step = Result<Box<Inbound>, Closed>;
type Out = Vec<InboundEffect>;

impl Inbound {
    /// A stream that was just accepted. With direct TLS the handshake is already done.
    pub fn new(
        snapshot: Arc<Snapshot>,
        random: Box<dyn Random + Send>,
        transport: Transport,
        now: Instant,
    ) -> Box<Self> {
        let receiving = receiving(&snapshot);
        let deadline = now + snapshot.config.limits.negotiation;
        let policy = Arc::clone(&snapshot.config.policy);
        Box::new(Self {
            random,
            quota: Box::new(Unlimited),
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
            judgements: 0,
            stale: false,
            proved: Vec::new(),
            can_bidi: false,
            bidi: false,
            peer_limits: PeerLimits::default(),
            certified: Vec::new(),
            by_sasl: false,
            sasl_failures: 0,
            ending: None,
            deadline,
            snapshot,
        })
    }

    /// Under a bound for the streams of each domain.
    #[must_use]
    pub fn with_quota(mut self: Box<Self>, quota: Box<dyn Quota>) -> Box<Self> {
        self.quota = quota;
        self
    }

    /// With a driver that sends stanzas of ours on the stream, where [`InboundEffect::InverseProved`] says so.
    #[must_use]
    pub fn with_bidi(mut self: Box<Self>) -> Box<Self> {
        self.can_bidi = true;
        self
    }

    /// When [`InboundEvent::Tick`] is due: the end of the time for negotiation. A stream with a proved pair has none.
    pub fn deadline(&self) -> Option<Instant> {
        self.proved.is_empty().then_some(self.deadline)
    }

    /// Whether any pair is proved.
    pub fn is_authenticated(&self) -> bool {
        !self.proved.is_empty()
    }

    /// Whether to read the peer's next bytes now, or only once the peer is known: without a proved pair, its
    /// certificate is judged for one domain after the other.
    pub fn listens(&self) -> bool {
        !matches!(self.stage, Stage::AwaitJudgement)
            && (self.unjudged.is_empty() || self.is_authenticated())
    }

    /// The stream's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether we have ended the stream, and only read what the peer still sends.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
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
                cause: Cause::Lost(what.into()),
            }),
            InboundEvent::TlsReady(secured) => {
                self.transport = Transport::Tls(secured);
                self.stage = Stage::ExpectHeader;
                self.header_sent = false;
                Ok(self)
            }
            InboundEvent::TlsFailed(what) => Err(Closed {
                by: By::World,
                cause: Cause::Tls(what.into()),
            }),
            InboundEvent::Judged(judged) => self.on_judged(judged, out),
            InboundEvent::SaslStepDone(done) => self.on_sasl_step_done(done, out),
            InboundEvent::Verdict(pair, verdict) => self.on_verdict(&pair, verdict, out),
            InboundEvent::NotAsked(pair) => self.on_not_asked(&pair, out),
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
            InboundEvent::Late => {
                let error = StreamError::new(Condition::ConnectionTimeout)
                    .with_text("an element did not arrive in time");
                self.send_error(&error, out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Timeout("an element did not arrive in time"),
                })
            }
            InboundEvent::Overfull => {
                let error = StreamError::new(Condition::ResourceConstraint)
                    .with_text("this server has no memory for so much of what you send");
                self.send_error(&error, out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Memory,
                })
            }
            InboundEvent::TooManyStrays => Err(self.refuse_with(
                Condition::UnsupportedStanzaType,
                "too many elements that are not understood here",
                out,
            )),
            InboundEvent::Idle => {
                self.send_footer(out);
                self.end(Cause::Idle)
            }
            InboundEvent::CloseWanted => {
                self.send_footer(out);
                self.end(Cause::Operator)
            }
            InboundEvent::Reloaded(snapshot) => match self.not_admitted_by(&snapshot, out) {
                Some(closed) => Err(closed),
                None => {
                    self.judge_again(out);
                    Ok(self)
                }
            },
            InboundEvent::Replaced => {
                // RFC 6120 §4.6.3: for an idle peer, where the number of connections has a limit.
                let error = StreamError::new(Condition::ResourceConstraint)
                    .with_text("your domain opened a new stream and this one was silent");
                self.send_error(&error, out);
                self.end(Cause::Replaced)
            }
            InboundEvent::Shutdown => {
                if let Some(cause) = self.ending {
                    return Err(Closed { by: By::Us, cause });
                }
                self.send_error(&StreamError::new(Condition::SystemShutdown), out);
                self.end(Cause::Shutdown)
            }
        }
    }

    /// We ended the stream, and the peer is not at fault: what it still sends is processed until it ends the stream too
    /// (RFC 6120 §4.4).
    fn end(mut self: Box<Self>, cause: Cause) -> Step {
        if self.is_authenticated() && matches!(self.stage, Stage::Open(_)) {
            self.ending = Some(cause);
            return Ok(self);
        }
        Err(Closed { by: By::Us, cause })
    }

    fn frame(mut self: Box<Self>, frame: Frame, out: &mut Out) -> Step {
        match frame {
            Frame::Whitespace => Ok(self),
            Frame::Footer => {
                if let Some(cause) = self.ending {
                    return Err(Closed { by: By::Us, cause });
                }
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
            Frame::Refused(refused) => match (&self.stage, refused.stanza()) {
                (Stage::Open(_), Some(stub)) => {
                    let stub = stub.clone();
                    match self.on_stanza(stub, Some(refused.stanza_error()), out) {
                        Ok(()) => Ok(self),
                        Err(error) => Err(self.refuse_with(error.0, error.1, out)),
                    }
                }
                (Stage::Open(_), None) if self.is_authenticated() => {
                    out.push(InboundEffect::Stray {
                        what: refused.why().to_string().into(),
                        is_stanza: false,
                    });
                    Ok(self)
                }
                _ => {
                    let stream_error = refused.why().stream_error();
                    Err(self.refuse(stream_error, refused.why().to_string(), out))
                }
            },
            Frame::Element(element) => {
                match std::mem::replace(&mut self.stage, Stage::ExpectHeader) {
                    Stage::Open(offer) => self.on_element(offer, element, out),
                    Stage::Sasl(offer, exchange) => self.on_sasl(offer, exchange, &element, out),
                    // The codec yields no element before a header; what comes while the driver is busy is the peer's haste.
                    Stage::ExpectHeader
                    | Stage::AwaitTls
                    | Stage::AwaitJudgement
                    | Stage::AwaitSaslStep(..) => Err(self.refuse_with(
                        Condition::PolicyViolation,
                        "data before its time",
                        out,
                    )),
                }
            }
            // A frame that we did not ask the codec for.
            _ => Ok(self),
        }
    }

    fn on_element(mut self: Box<Self>, offer: Offer, element: Element, out: &mut Out) -> Step {
        if element.stanza_kind().is_some() {
            self.stage = Stage::Open(offer);
            return match self.on_stanza(element, None, out) {
                Ok(()) => Ok(self),
                Err(error) => Err(self.refuse_with(error.0, error.1, out)),
            };
        }
        if self.ending.is_some() && element.namespace() != ns::STREAMS {
            // We can send no more answers.
            self.stage = Stage::Open(offer);
            return Ok(self);
        }
        match element.namespace() {
            ns::TLS => self.on_starttls(&offer, &element, out),
            ns::SASL => self.on_auth(offer, &element, out),
            ns::DIALBACK => self.on_dialback(offer, &element, out),
            ns::BIDI | ns::BIDI_FEATURE => self.on_bidi(offer, &element, out),
            ns::STREAMS => match StreamError::from_element(&element) {
                Some(error) => {
                    self.send_footer(out);
                    Err(Closed {
                        by: By::Peer,
                        cause: Cause::StreamError(error.into()),
                    })
                }
                None => self.on_unknown(offer, &element, out),
            },
            _ => self.on_unknown(offer, &element, out),
        }
    }

    /// One unknown element of a proved peer does not end the stream for its other stanzas. An element that is a stanza
    /// but for its namespace was meant to arrive, so its sender gets an error.
    fn on_unknown(mut self: Box<Self>, offer: Offer, element: &Element, out: &mut Out) -> Step {
        if !self.is_authenticated() {
            let text = "not understood here";
            return Err(self.refuse_with(Condition::UnsupportedStanzaType, text, out));
        }
        self.stage = Stage::Open(offer);
        out.push(match pairs::foreign(&self.proved, element) {
            Some((stanza, error, authorized)) => InboundEffect::Bounce(stanza, error, authorized),
            None => {
                let what = format!("{} in {}", element.name(), element.namespace());
                InboundEffect::Stray {
                    what: what.into(),
                    is_stanza: element.kind_anywhere().is_some(),
                }
            }
        });
        Ok(self)
    }

    /// `refused`: it goes nowhere, and its sender gets this error.
    fn on_stanza(
        &mut self,
        element: Element,
        refused: Option<StanzaError>,
        out: &mut Out,
    ) -> Result<(), (Condition, &'static str)> {
        out.extend(
            match pairs::receive(&self.proved, element, refused, &self.snapshot)? {
                Received::Deliver(stanza, authorized) => {
                    Some(InboundEffect::Deliver(stanza, authorized))
                }
                Received::Bounce(stanza, error, authorized) => {
                    Some(InboundEffect::Bounce(stanza, error, authorized))
                }
                Received::Dropped => None,
            },
        );
        Ok(())
    }

    fn limits(&self) -> XmlLimits {
        self.snapshot
            .limits_for_open_streams()
            .with_element_bytes(self.policy.max_stanza)
    }
}

fn receiving(snapshot: &Snapshot) -> Receiving {
    let limits = &snapshot.config.limits;
    Receiving::new(
        xmpp_dialback::DialbackLimits::default()
            .with_pairs(limits.pairs_per_stream)
            .with_failures(limits.dialback_failures),
    )
}
