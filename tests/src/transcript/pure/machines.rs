//! The machines, driven as the daemon drives them.

use std::{collections::VecDeque, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use rustls::pki_types::UnixTime;
use s2sd::closed::{Cause, Closed};
use s2sd::protocol::negotiate::{
    Authorized, Call, DomainPair, Inbound, InboundEffect, InboundEvent, Judged, Method, Outbound,
    OutboundEffect, OutboundEvent, Purpose, Secured, Transport, exclude,
};
use s2sd::tools::demo::ca::Issued;
use s2sd::trust;
use s2sd::trust::{Because, Evidence, PeerChain, TlsFacts};
use tokio_util::codec::Decoder;
use xmpp_dialback::{Pair, Question, Verdict};
use xmpp_sasl::{ChannelBindings, Random};
use xmpp_stream::{Codec, ContentNamespace, Domain, Frame, XmlLimits};

use super::super::{
    compare, names,
    script::{Depth, Note, Role, Stream},
};
use super::{Player, Seen};
use crate::wire::Event;

pub(super) enum Machine {
    Inbound(Box<Inbound>),
    Outbound(Box<Outbound>),
    /// Over, or not begun.
    None,
}

/// A connection of s2sd's.
pub(super) struct Line {
    machine: Machine,
    codec: Codec,
    unread: BytesMut,
    /// Reads what s2sd says.
    listener: Codec,
    said: BytesMut,
    waits_for_tls: bool,
    /// The scripted end has said its header.
    pub(super) peer_opened: bool,
    /// For a question: what was answered, and for whom the verdict is.
    question: Option<Question>,
    verdict: Option<Verdict>,
    /// Methods that are not to be tried: when the connection was made, and now.
    excluded: (usize, Vec<Method>),
}

impl Player {
    /// The main connection is made.
    pub(super) fn begin(&mut self, excluded: Vec<Method>) -> anyhow::Result<()> {
        let transport = match self.stage.depth {
            Depth::DirectTls => Transport::Tls(self.secured()),
            _ => Transport::Plain,
        };
        match self.stage.role {
            Role::Receiving => {
                let random = Box::new(self.random.another());
                let inbound = Inbound::new(Arc::clone(&self.snapshot), random, transport, self.now)
                    .with_bidi();
                self.lines
                    .insert(Stream::Main, self.line(Machine::Inbound(inbound)));
                Ok(())
            }
            Role::Initiating => {
                let pair = self.pair();
                self.waiting.insert(Stream::Main, self.stage.waiting());
                self.call(Stream::Main, pair, None, transport, excluded)
            }
        }
    }

    pub(super) fn pair(&self) -> DomainPair {
        DomainPair {
            local: self.stage.local.clone(),
            remote: self.stage.remote.clone(),
        }
    }

    fn line(&self, machine: Machine) -> Line {
        Line {
            machine,
            codec: self.codec(),
            unread: BytesMut::new(),
            listener: Codec::new(XmlLimits::after_authentication()),
            said: BytesMut::new(),
            waits_for_tls: false,
            peer_opened: false,
            question: None,
            verdict: None,
            excluded: (0, Vec::new()),
        }
    }

    fn codec(&self) -> Codec {
        Codec::new(self.snapshot.limits_before_authentication())
            .with_content_namespace(ContentNamespace::Server)
    }

    pub(super) fn call(
        &mut self,
        stream: Stream,
        pair: DomainPair,
        question: Option<Question>,
        transport: Transport,
        excluded: Vec<Method>,
    ) -> anyhow::Result<()> {
        let mut effects = Vec::new();
        let began = excluded.len();
        let call = Call {
            encrypt: false,
            snapshot: Arc::clone(&self.snapshot),
            pair,
            purpose: match question {
                Some(_) => Purpose::Verify,
                None => Purpose::Deliver,
            },
            excluded,
        };
        let random = Box::new(self.random.another());
        let outbound = Outbound::start(call, random, transport, self.now, &mut effects).with_bidi();
        let mut line = self.line(Machine::None);
        line.excluded = (began, outbound.excluded().to_vec());
        line.question = question;
        self.lines.insert(stream, line);
        self.after_outbound(stream, Ok(outbound), effects)
    }

    pub(super) fn say(&mut self, stream: Stream, text: &str) -> anyhow::Result<()> {
        let bytes = self.names.fill(text)?;
        if let (Role::Initiating, Stream::Main) = (self.stage.role, stream)
            && let Ok(header) = compare::header_of(&String::from_utf8_lossy(&bytes))
        {
            self.names.stream_id = header.id.unwrap_or_default();
        }
        let line = self
            .lines
            .get_mut(&stream)
            .context("there is no such connection")?;
        ensure!(
            !matches!(line.machine, Machine::None),
            "s2sd has closed the connection"
        );
        line.peer_opened |= names::opens(&bytes);
        line.unread.extend_from_slice(&bytes);
        self.read(stream)
    }

    /// Every whole frame that is there.
    fn read(&mut self, stream: Stream) -> anyhow::Result<()> {
        while let Some(line) = self.lines.get_mut(&stream) {
            if line.waits_for_tls || matches!(line.machine, Machine::None) {
                break;
            }
            match line.codec.decode(&mut line.unread) {
                Ok(None) => break,
                Ok(Some(frame)) => self.frame(stream, frame)?,
                Err(error) => self.event(
                    stream,
                    InboundEvent::Malformed(error.clone()),
                    OutboundEvent::Malformed(error),
                )?,
            }
        }
        Ok(())
    }

    fn frame(&mut self, stream: Stream, frame: Frame) -> anyhow::Result<()> {
        let same = frame.clone();
        self.event(
            stream,
            InboundEvent::Frame(frame),
            OutboundEvent::Frame(same),
        )
    }

    pub(super) fn tls(&mut self, stream: Stream) -> anyhow::Result<()> {
        let (codec, secured) = (self.codec(), self.secured());
        let line = self
            .lines
            .get_mut(&stream)
            .context("there is no such connection")?;
        line.codec = codec;
        line.listener = Codec::new(XmlLimits::after_authentication());
        line.waits_for_tls = false;
        line.peer_opened = false;
        let same = secured.clone();
        self.event(
            stream,
            InboundEvent::TlsReady(secured),
            OutboundEvent::TlsReady(same),
        )
    }

    fn secured(&self) -> Secured {
        Secured {
            facts: TlsFacts {
                version: "TLS 1.3",
                cipher: String::new(),
                group: None,
            },
            ems: true,
            certificate_shown: self.stage.identity.is_some(),
            channel_bindings: ChannelBindings::none(),
        }
    }

    pub(super) fn event(
        &mut self,
        stream: Stream,
        inbound: InboundEvent,
        outbound: OutboundEvent,
    ) -> anyhow::Result<()> {
        let line = self
            .lines
            .get_mut(&stream)
            .context("there is no such connection")?;
        let mut machine = Machine::None;
        std::mem::swap(&mut line.machine, &mut machine);
        match machine {
            Machine::Inbound(machine) => {
                let mut effects = Vec::new();
                let step = machine.handle(inbound, &mut effects);
                self.after_inbound(step, effects)
            }
            Machine::Outbound(machine) => {
                line.excluded.1 = machine.excluded().to_vec();
                let mut effects = Vec::new();
                let step = machine.handle(outbound, &mut effects);
                self.after_outbound(stream, step, effects)
            }
            Machine::None => bail!("s2sd has closed the connection"),
        }
    }

    /// As `inbound.rs` does: all effects, then the answers to them.
    fn after_inbound(
        &mut self,
        step: Result<Box<Inbound>, Closed>,
        effects: Vec<InboundEffect>,
    ) -> anyhow::Result<()> {
        let mut answers = VecDeque::new();
        let mut questions = Vec::new();
        for effect in effects {
            match effect {
                InboundEffect::Send(bytes) => self.said(Stream::Main, &bytes)?,
                InboundEffect::StartTls { proceed, .. } => {
                    match self.wants_tls(Stream::Main, &proceed)? {
                        Some(error) => answers.push_back(InboundEvent::Malformed(error)),
                        None => self.forget_questions(),
                    }
                }
                InboundEffect::Judge(domain) => {
                    let shown = self.stage.identity.as_ref();
                    answers.push_back(InboundEvent::Judged(self.judge(shown, domain)));
                }
                InboundEffect::RunSasl(sasl_step) => {
                    answers.push_back(InboundEvent::SaslStepDone(sasl_step.run()));
                }
                InboundEffect::Explain { .. }
                | InboundEffect::Stray { .. }
                | InboundEffect::InverseProved(_) => {}
                InboundEffect::Ask(pair, question) => questions.push((pair, question)),
                InboundEffect::Restart(limits) => self.restart(Stream::Main, limits),
                InboundEffect::SetLimits(limits) => self.main()?.codec.set_limits(limits),
                InboundEffect::Proved(authorized) => {
                    self.see(proved(&authorized, Role::Receiving));
                }
                InboundEffect::Bounce(_, error, _) => {
                    self.see(Note::Answered(error.condition.name().to_owned()));
                }
                InboundEffect::Deliver(stanza, _) => {
                    let bytes = stanza.element().bytes();
                    self.see(Note::Delivered(String::from_utf8_lossy(bytes).into_owned()));
                }
            }
        }
        match step {
            Ok(inbound) => self.main()?.machine = Machine::Inbound(inbound),
            Err(closed) => self.closed(&closed.cause),
        }
        for answer in answers {
            if self.over {
                break;
            }
            self.event(Stream::Main, answer, OutboundEvent::Tick)?;
        }
        for (pair, question) in questions {
            let stream = Stream::Question(self.questions);
            self.questions += 1;
            self.call(stream, pair, Some(question), Transport::Plain, Vec::new())?;
        }
        Ok(())
    }

    /// As `outbound/connector.rs` and `outbound/drive.rs` do.
    fn after_outbound(
        &mut self,
        stream: Stream,
        step: Result<Box<Outbound>, Closed>,
        effects: Vec<OutboundEffect>,
    ) -> anyhow::Result<()> {
        let mut answer = None;
        for effect in effects {
            match effect {
                OutboundEffect::Send(bytes) => self.said(stream, &bytes)?,
                OutboundEffect::StartTls => {
                    answer = self.wants_tls(stream, b"")?.map(OutboundEvent::Malformed);
                }
                OutboundEffect::Judge(domain) => {
                    let judged = self.judge(Some(&self.stage.server), Some(domain));
                    answer = Some(OutboundEvent::Judged(judged));
                }
                OutboundEffect::RunSasl(sasl_step) => {
                    answer = Some(OutboundEvent::SaslStepDone(sasl_step.run()));
                }
                OutboundEffect::Restart(limits) => self.restart(stream, limits),
                OutboundEffect::SetLimits(limits) => {
                    self.lines
                        .get_mut(&stream)
                        .context("no line")?
                        .codec
                        .set_limits(limits);
                }
                OutboundEffect::Established(authorized) => {
                    self.see(proved(&authorized, Role::Initiating));
                    if let Some(waiting) = self.waiting.remove(&stream) {
                        self.said(stream, waiting.as_bytes())?;
                    }
                }
                OutboundEffect::PairRefused(pair, cause) => self.see(Note::Refused(
                    pair.local.to_string(),
                    pair.remote.to_string(),
                    cause.name().to_owned(),
                )),
                // It goes nowhere.
                OutboundEffect::Stray { .. }
                | OutboundEffect::InverseProved(_)
                | OutboundEffect::Counts
                | OutboundEffect::Managed(_) => {}
                OutboundEffect::Bounce(_, error, _) => {
                    self.see(Note::Answered(error.condition.name().to_owned()));
                }
                OutboundEffect::Deliver(stanza, _) => {
                    let bytes = stanza.element().bytes();
                    self.see(Note::Delivered(String::from_utf8_lossy(bytes).into_owned()));
                }
                OutboundEffect::MayAsk => {
                    let line = self.lines.get(&stream).context("no line")?;
                    let question = line.question.clone().context("nothing is to be asked")?;
                    answer = Some(OutboundEvent::Ask(question));
                }
                OutboundEffect::NotAsked(question) => bail!("not asked: {question:?}"),
                OutboundEffect::Answered(_, _, verdict) => {
                    self.lines.get_mut(&stream).context("no line")?.verdict = Some(verdict);
                    answer = Some(OutboundEvent::Done);
                }
            }
        }
        match step {
            Ok(outbound) => {
                let line = self.lines.get_mut(&stream).context("no line")?;
                line.machine = Machine::Outbound(outbound);
                match answer {
                    Some(event) => self.event(stream, InboundEvent::Tick, event),
                    None => Ok(()),
                }
            }
            Err(closed) if stream == Stream::Main => self.outbound_closed(closed.cause),
            Err(closed) => self.answered(stream, &closed.cause),
        }
    }

    /// The daemon tries again where a refusal came with the end of the stream.
    fn outbound_closed(&mut self, cause: Cause) -> anyhow::Result<()> {
        let (before, mut excluded) = std::mem::take(&mut self.main()?.excluded);
        let policy = self.snapshot.policy(&self.stage.remote);
        if let Cause::Refused { mechanism, failure } = &cause
            && let Some(method) = Method::of_mechanism(mechanism)
        {
            exclude(&mut excluded, &policy.auth, method, *failure);
        }
        self.closed(&cause);
        let refused = matches!(cause, Cause::Refused { .. }) && excluded.len() > before;
        if refused && policy.auth.len() > excluded.len() {
            self.see(Note::ConnectsAgain);
            self.over = false;
            return self.begin(excluded);
        }
        if self.waiting.contains_key(&Stream::Main) && cause.is_about_the_pair() {
            let error = cause.stanza_error();
            self.see(Note::Bounced(
                error.condition.name().to_owned(),
                cause.name().to_owned(),
            ));
        }
        Ok(())
    }

    /// A question is answered, or cannot be: `outbound::ask`.
    fn answered(&mut self, stream: Stream, cause: &Cause) -> anyhow::Result<()> {
        let line = self.lines.remove(&stream).context("no line")?;
        let question = line.question.context("a question was asked")?;
        let verdict = line
            .verdict
            .unwrap_or_else(|| Verdict::Error(cause.dialback_error()));
        let pair: Pair = question.pair;
        if self.over {
            return Ok(());
        }
        self.event(
            Stream::Main,
            InboundEvent::Verdict(pair, verdict),
            OutboundEvent::Tick,
        )
    }

    pub(super) fn main(&mut self) -> anyhow::Result<&mut Line> {
        self.lines
            .get_mut(&Stream::Main)
            .context("there is no connection")
    }

    fn see(&mut self, note: Note) {
        self.seen.push_back(Seen::Did(note));
    }

    fn closed(&mut self, cause: &Cause) {
        self.over = true;
        self.see(Note::Closed(cause.name().to_owned()));
    }

    fn said(&mut self, stream: Stream, bytes: &[u8]) -> anyhow::Result<()> {
        let line = self.lines.get_mut(&stream).context("no line")?;
        line.said.extend_from_slice(bytes);
        while let Some(frame) = line.listener.decode(&mut line.said).context("s2sd says")? {
            let event = match frame {
                Frame::Header(header) => Event::Header(header),
                Frame::Element(element) => Event::Element(element),
                Frame::Footer => Event::Footer,
                Frame::Whitespace => continue,
                other => bail!("s2sd says {other:?}"),
            };
            self.seen.push_back(Seen::Said(stream, event));
        }
        ensure!(line.said.is_empty(), "s2sd says half of something");
        Ok(())
    }

    fn restart(&mut self, stream: Stream, limits: XmlLimits) {
        if let Some(line) = self.lines.get_mut(&stream) {
            line.peer_opened = false;
            line.codec.restart();
            line.codec.set_limits(limits);
            line.listener = Codec::new(XmlLimits::after_authentication());
            if stream == Stream::Main {
                self.forget_questions();
            }
        }
    }

    /// Nothing may be unread; then s2sd says its last words in clear.
    fn wants_tls(
        &mut self,
        stream: Stream,
        last: &[u8],
    ) -> anyhow::Result<Option<xmpp_stream::DecodeError>> {
        let line = self.lines.get_mut(&stream).context("no line")?;
        if let Err(error) = line.codec.boundary(&line.unread) {
            return Ok(Some(error));
        }
        line.waits_for_tls = true;
        self.said(stream, last)?;
        self.seen.push_back(Seen::WantsTls(stream));
        Ok(None)
    }

    /// They end with the stream they are for.
    fn forget_questions(&mut self) {
        self.lines.retain(|stream, _| *stream == Stream::Main);
    }

    /// As `shared.rs` does.
    fn judge(&self, shown: Option<&Issued>, domain: Option<Domain>) -> Judged {
        let chain = shown.and_then(|identity| PeerChain::new(&identity.chain()));
        let now = UnixTime::now();
        let judge = |domain: &Domain| {
            trust::judge(&Evidence::new(chain.as_ref(), &self.roots, domain, now))
        };
        match domain {
            Some(domain) => Judged {
                judgement: judge(&domain),
                domain: Some(domain),
                identity: None,
            },
            None => {
                let identity = trust::sole_identity(chain.as_ref(), &self.roots, now);
                Judged {
                    domain: None,
                    judgement: identity
                        .as_ref()
                        .map_or(Because::NoCertificate.into(), judge),
                    identity,
                }
            }
        }
    }
}

fn proved(authorized: &Authorized, role: Role) -> Note {
    let DomainPair { local, remote } = authorized.pair();
    let (from, to) = match role {
        Role::Receiving => (remote, local),
        Role::Initiating => (local, remote),
    };
    Note::Proved(
        from.to_string(),
        to.to_string(),
        authorized.method().name().to_owned(),
    )
}

/// Numbers that never come twice, and are no secret.
#[derive(Debug)]
pub(super) struct SeededRandom(pub(super) u64);

impl SeededRandom {
    fn another(&mut self) -> Self {
        self.0 += 1 << 32;
        Self(self.0)
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for bytes in out.chunks_mut(8) {
            // SplitMix64.
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            bytes.copy_from_slice(&z.to_le_bytes()[..bytes.len()]);
        }
    }
}
