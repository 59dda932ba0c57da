//! The initiating entity's side of a stream (RFC 6120 §4.3, §9.2; XEP-0220 §2.1), for two purposes: to deliver stanzas
//! for a domain pair, or to ask an authoritative server about dialback keys.
//!
//! ```text
//! [AwaitJudgement] -> ExpectHeader -> ExpectFeatures -> starttls -> AwaitProceed -> AwaitTls -> AwaitJudgement …
//!                                     ExpectFeatures -> Sasl -> success -> ExpectHeader -> ExpectFeatures -> Established
//!                                     ExpectFeatures -> Dialback -> valid -> Established
//!                                     ExpectFeatures -> Verifying -> question, answer, question, answer …
//! ```
//!
//! A method that fails is followed by the next one that policy allows, on the same stream where the peer keeps it open.
//! A third purpose only looks: it ends where the others would prove something or ask.

mod acks;
mod awaits;
mod dialback;
mod established;
mod opening;
mod sasl;

pub use awaits::Awaits;
pub use sasl::{OutboundSaslStep, OutboundSaslStepDone, exclude};

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use xmpp_dialback::{Initiating, Pair, Question, Verdict, Verifying};
use xmpp_sasl::{Client, Random};
use xmpp_stream::stream_management::{Nonza, NonzaError};
use xmpp_stream::{
    Condition, ContentNamespace, DecodeError, DialbackFeature, Domain, Element, Features, Frame,
    StanzaError, StreamError, StreamHeader, Version, XmlLimits, ns,
};

use self::acks::Counting;
use self::dialback::answered_by_the_end;
use self::established::Inverse;
use super::peer_limits::PeerLimits;
use super::{Authorized, DomainPair, Judged, Method, Secured, Snapshot, Transport};
use crate::closed::{By, Cause, Closed};
use crate::config::{Policy, TlsMode};
use crate::peer_text::PeerText;
use crate::protocol::stanza::Stanza;
use crate::trust::judgement::{Because, Judgement};

/// What the stream is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Stanzas of the pair.
    Deliver,
    /// Questions to the authoritative server of the remote domain, about any of our domains.
    Verify,
    /// Nothing but to see what is offered; once that is known the stream is closed.
    Look {
        /// Whether our header names us. Without a name we ask for no trust.
        named: bool,
    },
}

/// The two ends of a stream to be made, and its purpose.
#[derive(Clone, Debug)]
pub struct Call {
    /// The rules.
    pub snapshot: Arc<Snapshot>,
    /// The two domains.
    pub pair: DomainPair,
    /// What for.
    pub purpose: Purpose,
    /// Methods that failed on an earlier connection in a way that closed it: not to be tried again.
    pub excluded: Vec<Method>,
    /// The DNS names the certificate of this very server, so that TLS is not a matter of choice (RFC 7673 §3.4).
    pub encrypt: bool,
}

/// What can happen to an outgoing stream.
#[derive(Debug)]
pub enum OutboundEvent {
    /// The peer sent something well-formed.
    Frame(Frame),
    /// The peer sent something else.
    Malformed(DecodeError),
    /// The connection is gone.
    Lost(String),
    /// The TLS handshake is done.
    TlsReady(Secured),
    /// It failed.
    TlsFailed(String),
    /// The peer broke off because of our certificate.
    CertificateRefused(String),
    /// The answer to [`OutboundEffect::Judge`].
    Judged(Judged),
    /// The answer to [`OutboundEffect::RunSasl`].
    SaslStepDone(OutboundSaslStepDone),
    /// Another pair wants to use this stream (XEP-0220 §2.6). The answer is one of [`OutboundEffect::Established`] and
    /// [`OutboundEffect::PairRefused`].
    AddPair(DomainPair),
    /// A question for the authoritative server, after [`OutboundEffect::MayAsk`].
    Ask(Question),
    /// No more is wanted of the stream.
    Done,
    /// The deadline passed.
    Tick,
    /// More came of what an open stream of ours carries nothing of than is put up with.
    TooManyStrays,
    /// An element has begun, and its rest does not come.
    Late,
    /// An element has begun, and there is no memory for its rest.
    Overfull,
    /// What the peer says of the counts of [`OutboundEffect::Counts`] cannot be: the error for it, and what it was.
    Miscounted(StreamError, String),
    /// Nothing was sent for as long as an open stream may be silent.
    Idle,
    /// An operator wants the stream closed.
    CloseWanted,
    /// This server is going down. On a stream on which we have said our last word: the peer has been heard for long enough.
    Shutdown,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum OutboundEffect {
    /// Write these bytes.
    Send(Bytes),
    /// Prove that nothing is unread, and make a TLS handshake as client, with the pair's local domain's certificate.
    StartTls,
    /// Judge the certificate shown in the handshake for this domain.
    Judge(Domain),
    /// Make this step of a SASL exchange. It may take long: not on a thread that serves other streams.
    RunSasl(Box<OutboundSaslStep>),
    /// Expect a new stream (RFC 6120 §4.3.3), under these limits.
    Restart(XmlLimits),
    /// The limits change.
    SetLimits(XmlLimits),
    /// The pair may be used. If a proved pair is added again, this comes again.
    Established(Authorized),
    /// The stream carries both directions (XEP-0288): stanzas of the peer's, from the pair's remote domain to its local one, may come on
    /// it ([`Self::Deliver`]). It comes with [`Self::Established`] of the pair, right after it. The driver treats the stream as one of
    /// that domain's own: its rate limit counts what comes, and the stream waits where the target has no room.
    InverseProved(Authorized),
    /// A stanza of the peer's for the router.
    Deliver(Stanza, Authorized),
    /// A stanza of the peer's that goes no further, and the error for its sender.
    Bounce(Stanza, StanzaError, Authorized),
    /// A further pair was refused.
    PairRefused(DomainPair, Cause),
    /// Questions may be asked: each is an [`OutboundEvent::Ask`]. Those that wait when the stream ends have failed.
    MayAsk,
    /// This stream does not take the question: as many wait as may, or one about the same pair and stream id.
    NotAsked(Question),
    /// The authoritative server's answer to the question about this pair and stream id.
    Answered(Pair, String, Verdict),
    /// On an open stream came a stanza in a direction without a proof, or an unknown element. It goes nowhere, and the
    /// stream goes on: one element is no reason to end it for all others.
    Stray {
        /// What came.
        what: PeerText,
        /// If it is a stanza, or one but for its namespace: what is left of it.
        stanza: Option<Element>,
    },
    /// Both sides count stanzas from here on (XEP-0198). What is not acknowledged when the stream breaks is sent again.
    Counts,
    /// What the peer says about that.
    Managed(Result<Nonza, NonzaError>),
}

/// The initiating entity.
pub struct Outbound {
    snapshot: Arc<Snapshot>,
    random: Box<dyn Random + Send>,
    pair: DomainPair,
    purpose: Purpose,
    policy: Arc<Policy>,
    /// Whether TLS is used, with this server.
    tls: TlsMode,
    transport: Transport,
    /// What the certificate says of the pair's remote domain.
    judgement: Judgement,
    stage: Stage,
    /// The id of the peer's stream, for the dialback key.
    stream_id: String,
    initiating: Initiating,
    /// Methods not to try (again).
    excluded: Vec<Method>,
    /// What the peer offered, for the next method should one be refused.
    features: Features,
    /// The last refusal: what the stream's end is blamed on where the peer closes after it.
    refusal: Option<Cause>,
    /// Further pairs whose remote domain the certificate is being judged for.
    judging: Vec<DomainPair>,
    /// Further pairs that the peer was asked for, and who it is for each.
    further: Vec<(DomainPair, Judgement)>,
    authenticated: Option<Method>,
    deadline: Instant,
    established: bool,
    /// Whether the peer takes dialback keys, also now, and can refuse one pair without ending the stream (XEP-0220 §2.4.1).
    dialback: Option<DialbackFeature>,
    peer_limits: PeerLimits,
    /// We ended the stream for this, and the peer has not yet.
    ending: Option<Cause>,
    /// The direction from the peer to us.
    inverse: Inverse,
    counting: Counting,
}

enum Stage {
    /// Direct TLS was made, or STARTTLS: before we send anything else, the certificate is judged.
    AwaitJudgement,
    ExpectHeader,
    ExpectFeatures,
    AwaitProceed,
    AwaitTls,
    Sasl(Method, Box<dyn Client>),
    /// We said `<abort/>`; why is in `refusal`.
    Aborting,
    /// A step of this method is being computed.
    AwaitSaslStep(Method),
    Dialback,
    Verifying(Verifying),
    Established,
}

type Step = Result<Box<Outbound>, Closed>;
type Out = Vec<OutboundEffect>;

impl Outbound {
    /// A stream over a connection that was just made; with direct TLS the handshake is done.
    pub fn start(
        call: Call,
        random: Box<dyn Random + Send>,
        transport: Transport,
        now: Instant,
        out: &mut Out,
    ) -> Box<Self> {
        let Call {
            snapshot,
            pair,
            purpose,
            excluded,
            encrypt,
        } = call;
        let policy = snapshot.policy(&pair.remote);
        let tls = match (policy.tls, encrypt) {
            (TlsMode::Optional, true) => TlsMode::Required,
            (tls, _) => tls,
        };
        let deadline = now + snapshot.config.limits.negotiation;
        let initiating = Initiating::new(snapshot.config.limits.pairs_per_stream);
        let mut this = Box::new(Self {
            inverse: Inverse::new(&snapshot),
            counting: Counting::default(),
            snapshot,
            random,
            pair,
            purpose,
            policy,
            tls,
            transport,
            judgement: Because::NoTls.into(),
            stage: Stage::ExpectHeader,
            stream_id: String::new(),
            initiating,
            excluded,
            features: Features::default(),
            refusal: None,
            judging: Vec::new(),
            further: Vec::new(),
            authenticated: None,
            deadline,
            established: false,
            dialback: None,
            peer_limits: PeerLimits::default(),
            ending: None,
        });
        if this.transport.is_tls() {
            this.judge(out);
        } else {
            this.send_header(out);
        }
        this
    }

    /// When [`OutboundEvent::Tick`] is due. The time for a question is up to its asker.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.is_open()).then_some(self.deadline)
    }

    /// Whether it is what it was made for.
    fn is_open(&self) -> bool {
        self.established || matches!(self.stage, Stage::Verifying(_))
    }

    /// The methods tried so far: a new connection to the same server goes on without them.
    pub fn excluded(&self) -> &[Method] {
        &self.excluded
    }

    /// The largest stanza the peer takes, if it said so (XEP-0478).
    pub fn peer_max_stanza(&self) -> Option<u64> {
        self.peer_limits.max_stanza()
    }

    /// Whether we may ask for a further pair of the same remote domain (XEP-0220 §2.6.1): the peer takes dialback keys,
    /// and its rules name dialback. `certified` says whether our certificate was shown, and names that domain of ours
    /// too. If the peer would end the stream for a key that it refuses, we ask only if it has no reason to refuse it.
    pub fn takes_pairs(&self, certified: Option<bool>) -> bool {
        let Some(dialback) = self.dialback.filter(|_| self.established) else {
            return false;
        };
        let tls = self.transport.is_tls();
        self.policy.allows_over(Method::Dialback, tls)
            && match certified.filter(|_| tls) {
                Some(certified) => certified,
                None => dialback.errors,
            }
    }

    /// After this time in which nothing was said, a space is (RFC 6120 §4.6.1): well before the peer takes the stream for
    /// idle, if it said when that is (XEP-0478).
    pub fn keepalive(&self) -> Duration {
        let own = self.snapshot.config.limits.keepalive;
        self.peer_limits.keepalive(own)
    }

    /// What carries the stream.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The id the peer gave the stream.
    pub fn stream_id(&self) -> &str {
        &self.stream_id
    }

    /// One event.
    pub fn handle(mut self: Box<Self>, event: OutboundEvent, out: &mut Out) -> Step {
        match event {
            OutboundEvent::Frame(frame) => self.frame(frame, out),
            // RFC 6120 §5.4.2.3, §5.4.3.1: after <proceed/> we send nothing more in clear.
            OutboundEvent::Malformed(error) if matches!(self.stage, Stage::AwaitTls) => {
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Protocol(error.condition(), error.to_string().into()),
                })
            }
            OutboundEvent::Malformed(error) => {
                let stream_error = error.stream_error();
                Err(self.refuse(stream_error, error.to_string(), out))
            }
            OutboundEvent::Lost(what) => Err(self.ended(By::World, Cause::Lost(what.into()))),
            OutboundEvent::TlsReady(secured) => {
                self.forget();
                self.transport = Transport::Tls(secured);
                self.judge(out);
                Ok(self)
            }
            OutboundEvent::CertificateRefused(what) => Err(Closed {
                by: By::Peer,
                cause: Cause::CertificateRefused(what.into()),
            }),
            OutboundEvent::TlsFailed(what) => Err(Closed {
                by: By::World,
                cause: Cause::Tls(what.into()),
            }),
            OutboundEvent::Judged(judged) => self.on_judged(judged, out),
            OutboundEvent::SaslStepDone(done) => self.on_sasl_step_done(done, out),
            OutboundEvent::AddPair(pair) => self.add_pair(pair, out),
            OutboundEvent::Ask(question) => Ok(self.ask(question, out)),
            OutboundEvent::Done => {
                self.send_footer(out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Finished,
                })
            }
            OutboundEvent::Tick if self.is_open() => Ok(self),
            OutboundEvent::Tick if matches!(self.stage, Stage::Aborting) => self.on_aborted(out),
            OutboundEvent::Tick => {
                self.send_footer(out);
                Err(Closed {
                    by: By::Us,
                    cause: Cause::Timeout(self.awaits().missing()),
                })
            }
            OutboundEvent::TooManyStrays => {
                let text = "too many elements that mean nothing on this stream";
                Err(self.refuse_with(Condition::PolicyViolation, text, out))
            }
            OutboundEvent::Late => {
                let error = StreamError::new(Condition::ConnectionTimeout);
                let mut closed = self.refuse(error, String::new(), out);
                closed.cause = Cause::Timeout("an element did not arrive in time");
                Err(closed)
            }
            OutboundEvent::Overfull => {
                let error = StreamError::new(Condition::ResourceConstraint);
                let mut closed = self.refuse(error, String::new(), out);
                closed.cause = Cause::Memory;
                Err(closed)
            }
            OutboundEvent::Miscounted(error, what) => self.miscounted(error, what, out),
            OutboundEvent::Idle => self.end(Cause::Idle, out),
            OutboundEvent::CloseWanted => self.end(Cause::Operator, out),
            OutboundEvent::Shutdown => self.end(Cause::Shutdown, out),
        }
    }

    fn frame(mut self: Box<Self>, frame: Frame, out: &mut Out) -> Step {
        match (
            frame,
            std::mem::replace(&mut self.stage, Stage::ExpectHeader),
        ) {
            (Frame::Whitespace, stage) => {
                self.stage = stage;
                Ok(self)
            }
            (Frame::Footer, _) => {
                if let Some(cause) = self.ending {
                    return Err(Closed { by: By::Us, cause });
                }
                self.send_footer(out);
                Err(self.ended(By::Peer, Cause::Finished))
            }
            (Frame::Header(header), Stage::ExpectHeader) => self.on_header(&header, out),
            (Frame::Header(_), _) => {
                Err(self.refuse_with(Condition::InvalidNamespace, "a second stream header", out))
            }
            (Frame::Refused(refused), stage) => {
                // Without bidi a stanza in the wrong direction, whatever is in it.
                if let Stage::Established = stage {
                    if let Some(stub) = refused.stanza() {
                        let error = Some(refused.stanza_error());
                        return self.on_established(stub.clone(), error, out);
                    }
                    self.stage = Stage::Established;
                    out.push(OutboundEffect::Stray {
                        what: refused.why().to_string().into(),
                        stanza: None,
                    });
                    return Ok(self);
                }
                let stream_error = refused.why().stream_error();
                Err(self.refuse(stream_error, refused.why().to_string(), out))
            }
            (Frame::Element(element), stage) => {
                if element.is(ns::STREAMS, "error") {
                    let error = StreamError::from_element(&element)
                        .unwrap_or_else(|| StreamError::new(Condition::UndefinedCondition));
                    self.send_footer(out);
                    return Err(self.on_stream_error(error, stage, out));
                }
                match stage {
                    Stage::ExpectFeatures => self.on_features(&element, out),
                    Stage::AwaitProceed => self.on_proceed(&element, out),
                    Stage::Sasl(method, exchange) => self.on_sasl(method, exchange, &element, out),
                    Stage::Aborting => self.on_aborted(out),
                    Stage::Dialback => self.on_dialback(&element, out),
                    Stage::Verifying(verifying) => self.on_answer(verifying, &element, out),
                    Stage::Established => self.on_established(element, None, out),
                    Stage::ExpectHeader
                    | Stage::AwaitJudgement
                    | Stage::AwaitTls
                    | Stage::AwaitSaslStep(_) => Err(self.refuse_with(
                        Condition::PolicyViolation,
                        "data before its time",
                        out,
                    )),
                }
            }
            // A frame that we did not ask the codec for.
            (_, stage) => {
                self.stage = stage;
                Ok(self)
            }
        }
    }

    /// Everything is ready for a proof, if we want one.
    fn prove(mut self: Box<Self>, out: &mut Out) -> Step {
        if let Purpose::Look { .. } = self.purpose {
            self.send_footer(out);
            return Err(Closed {
                by: By::Us,
                cause: Cause::Finished,
            });
        }
        self.ask_for_both(out);
        self.authenticate(out)
    }

    /// Who the peer is: a mechanism in which it proved itself too says more than a certificate, anything else nothing.
    fn judgement_by(&self, method: Method) -> Judgement {
        match method.is_mutual() {
            true => Because::Mechanism(method.name()).into(),
            false => self.judgement.clone(),
        }
    }

    fn establish(mut self: Box<Self>, method: Method, out: &mut Out) -> Step {
        self.established = true;
        self.initiating
            .proved_by_other_means(&self.pair.local_to_remote());
        self.stage = Stage::Established;
        let (pair, proof) = (self.pair.clone(), (method, self.judgement_by(method)));
        let certificate = self.judgement.clone();
        self.established_pair(pair, proof, &certificate, out);
        Ok(self)
    }

    fn on_stream_error(&mut self, error: StreamError, stage: Stage, out: &mut Out) -> Closed {
        if let Stage::Verifying(verifying) = stage {
            answered_by_the_end(verifying, error.condition, out);
        }
        self.ended(By::Peer, Cause::StreamError(error.into()))
    }

    /// A stream that ends right after a refusal ends because of it.
    fn ended(&mut self, by: By, cause: Cause) -> Closed {
        match self.refusal.take() {
            Some(refusal) if !self.established => Closed {
                by: By::Peer,
                cause: refusal,
            },
            _ => Closed { by, cause },
        }
    }

    fn limits(&self) -> XmlLimits {
        self.snapshot
            .limits_for_open_streams()
            .with_element_bytes(self.policy.max_stanza)
    }

    fn send_header(&mut self, out: &mut Out) {
        let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        let named = !matches!(self.purpose, Purpose::Look { named: false });
        header.from = named.then(|| self.pair.local.as_str().to_owned());
        header.to = Some(self.pair.remote.as_str().to_owned());
        header.version = Some(Version::XMPP_1);
        let mut bytes = BytesMut::new();
        header.write(&mut bytes);
        out.push(OutboundEffect::Send(bytes.freeze()));
    }

    fn send_footer(&mut self, out: &mut Out) {
        out.push(OutboundEffect::Send(Bytes::from_static(
            b"</stream:stream>",
        )));
    }

    fn refuse(&mut self, error: StreamError, what: String, out: &mut Out) -> Closed {
        out.push(OutboundEffect::Send(error.to_bytes()));
        self.send_footer(out);
        Closed {
            by: By::Us,
            cause: Cause::Protocol(error.condition, what.into()),
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
