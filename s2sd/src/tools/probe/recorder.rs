//! Records what happens on one connection, as it happens: when time is over, the record is what was seen.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use xmpp_dialback::{Verdict, wire as db};
use xmpp_sasl::wire as sasl;
use xmpp_stream::{DecodeError, Element, Features, Frame, StreamHeader, ns};

use super::findings::{
    Aim, AttemptReport, CertificateCheck, ConnectFailure, Header, Offer, Ping, Proof, ProofOutcome,
    Tls, Unconnected, Unsecured,
};
use super::{
    classify::{garbage, is_stream, meant_for, no_tls},
    shown,
};
use crate::closed::Cause;
use crate::flow::connector::observer::{Observation, Observer};
use crate::peer_text::PeerText;
use crate::protocol::negotiate::{Awaits, Judged, OutboundEvent};
use crate::trust::facts::ClientAuth;

/// So many features, mechanisms and the like are written down.
const MAX_LISTED: usize = 40;
/// So much of what comes first is kept: more than a stream header has.
const FIRST: usize = 1024;

pub(super) struct Recorder(Mutex<Recording>);

struct Recording {
    attempt: AttemptReport,
    began: Instant,
    /// When the current wait began.
    since: Instant,
    awaits: Awaits,
    /// The first bytes that came.
    first: Vec<u8>,
    over: bool,
}

impl Recorder {
    pub(super) fn new(address: String, aim: Aim) -> Self {
        let now = Instant::now();
        Self(Mutex::new(Recording {
            attempt: AttemptReport {
                address,
                aim,
                ..AttemptReport::default()
            },
            began: now,
            since: now,
            awaits: Awaits::Header,
            first: Vec::new(),
            over: false,
        }))
    }

    pub(super) fn connected(&self) {
        let mut recording = self.recording();
        recording.attempt.connected = Some(recording.began.elapsed());
        recording.since = Instant::now();
    }

    pub(super) fn unconnected(&self, why: Unconnected) {
        let mut recording = self.recording();
        let said = why.said.clone();
        recording.attempt.ended = Some(match why.why {
            ConnectFailure::NotPublic => Cause::NotPublic(said),
            _ => Cause::Connect(said),
        });
        recording.attempt.unconnected = Some(why);
        recording.over();
    }

    /// It ended in a way that the stream itself did not tell.
    pub(super) fn ended(&self, cause: Cause) {
        let mut recording = self.recording();
        recording.attempt.ended.get_or_insert(cause);
        recording.over();
    }

    pub(super) fn pinged(&self, ping: Ping) {
        let mut recording = self.recording();
        recording.attempt.ping = Some(ping);
        recording.over();
    }

    /// The record so far.
    pub(super) fn attempt(&self) -> AttemptReport {
        let recording = self.recording();
        let mut attempt = recording.attempt.clone();
        if !recording.over {
            attempt.unfinished = true;
            attempt.took = recording.began.elapsed();
        }
        attempt
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn observe(&self, observation: Observation<'_>) {
        let mut recording = self.recording();
        match observation {
            Observation::Bytes(bytes) => {
                if recording.first.is_empty() {
                    recording.first = bytes[..bytes.len().min(FIRST)].to_vec();
                }
            }
            Observation::Event(event) => recording.event(event),
            Observation::Awaits(awaits) => recording.awaits(awaits),
            Observation::Secured(facts, chain, own) => {
                let took = recording.since.elapsed();
                let now = UnixTime::now();
                recording.attempt.tls = Some(Tls {
                    version: facts.version,
                    cipher: facts.cipher,
                    group: facts.group,
                    asked: own.asked,
                    shown: own.shown,
                    took,
                    chain: chain.map_or_else(Vec::new, |chain| shown::chain(&chain, now)),
                    identity: None,
                });
                recording.first.clear();
                recording.since = Instant::now();
            }
            Observation::NoTls(error, own) => recording.attempt.no_tls = Some(no_tls(error, own)),
            // With TLS 1.3 the handshake is over for us before the server has seen our certificate (RFC 8446 §4.4.2.4).
            Observation::Broken(error) => {
                let own = recording.attempt.tls.as_ref();
                let own = own.map_or(ClientAuth::default(), |tls| ClientAuth {
                    asked: tls.asked,
                    shown: tls.shown,
                });
                let no = no_tls(error, own);
                if matches!(
                    no.why,
                    Unsecured::OurCertificate | Unsecured::WantsCertificate
                ) {
                    recording.attempt.no_tls = Some(no);
                }
            }
            Observation::Judged(judged) => {
                if let Some(tls) = &mut recording.attempt.tls {
                    tls.identity = Some(identity(judged));
                }
            }
            Observation::Closed(closed) => {
                recording.attempt.ended = Some(closed.cause.clone());
                recording.finish_proof(ProofOutcome::Unknown);
                recording.over();
            }
        }
    }
}

impl Recording {
    fn over(&mut self) {
        self.over = true;
        self.attempt.took = self.began.elapsed();
    }

    fn event(&mut self, event: &OutboundEvent) {
        match event {
            OutboundEvent::Frame(Frame::Header(header)) => {
                let took = self.since.elapsed();
                self.attempt.headers.push(head(header, took));
                self.since = Instant::now();
            }
            OutboundEvent::Frame(Frame::Element(element)) => self.element(element),
            OutboundEvent::Malformed(error) if self.attempt.headers.is_empty() => match error {
                DecodeError::ContentNamespace => {
                    self.attempt.meant_for = Some(meant_for(&self.first));
                }
                // A stream that is no good one.
                _ if is_stream(&self.first) => {}
                _ => self.attempt.garbage = Some(garbage(&self.first)),
            },
            _ => {}
        }
    }

    fn element(&mut self, element: &Element) {
        if let Some(features) = Features::from_element(element) {
            let encrypted = self.attempt.tls.is_some();
            self.attempt.features.push(offer(features, encrypted));
            return;
        }
        if let Some(Ok(sasl::Nonza::Failure { failure, text })) = sasl::Nonza::from_element(element)
        {
            let said = text.as_deref().map(PeerText::new);
            self.finish_proof(ProofOutcome::Refused(failure, said));
            return;
        }
        if let Some(Ok(db::Nonza::Result { verdict, .. })) = db::Nonza::from_element(element) {
            match verdict {
                // Whether it is ours to believe, the stream decides.
                Verdict::Valid => {}
                Verdict::Invalid => self.finish_proof(ProofOutcome::Invalid),
                Verdict::Error(error) => {
                    let said = error.text.as_deref().map(PeerText::new);
                    self.finish_proof(ProofOutcome::Error(error.condition, said));
                }
            }
        }
    }

    fn awaits(&mut self, awaits: Awaits) {
        if awaits == self.awaits {
            return;
        }
        if matches!(self.awaits, Awaits::Proof(_))
            && matches!(awaits, Awaits::Header | Awaits::Nothing)
        {
            self.finish_proof(ProofOutcome::Proved);
        }
        if let Awaits::Proof(method) = awaits {
            self.attempt.proofs.push(Proof {
                method: method.name(),
                outcome: ProofOutcome::Unknown,
                took: Duration::ZERO,
            });
        }
        self.awaits = awaits;
        self.since = Instant::now();
    }

    fn finish_proof(&mut self, outcome: ProofOutcome) {
        let took = self.since.elapsed();
        if let Some(proof) = self.attempt.proofs.last_mut()
            && proof.outcome == ProofOutcome::Unknown
        {
            proof.outcome = outcome;
            proof.took = took;
        }
    }
}

fn head(header: &StreamHeader, took: Duration) -> Header {
    Header {
        from: header.from.as_deref().map(PeerText::new),
        id: header.id.as_ref().is_some_and(|id| !id.is_empty()),
        version: header
            .version
            .map(|version| format!("{}.{}", version.major, version.minor)),
        took,
    }
}

fn offer(features: Features, encrypted: bool) -> Offer {
    let some = |all: Vec<String>| {
        let some = all.iter().take(MAX_LISTED);
        some.map(|it| PeerText::new(it)).collect()
    };
    let bidi = features.bidi.then_some((ns::BIDI_FEATURE, "bidi"));
    let other = features.other.iter();
    let other = other.map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    Offer {
        encrypted,
        starttls: features.starttls,
        mechanisms: some(features.mechanisms),
        channel_bindings: features.channel_bindings.map(some),
        dialback: features.dialback.map(|dialback| dialback.errors),
        max_bytes: features.limits.and_then(|limits| limits.max_bytes),
        idle_seconds: features.limits.and_then(|limits| limits.idle_seconds),
        other: bidi
            .into_iter()
            .chain(other)
            .take(MAX_LISTED)
            .map(|(namespace, name)| (PeerText::new(namespace), PeerText::new(name)))
            .collect(),
    }
}

fn identity(judged: &Judged) -> CertificateCheck {
    let judgement = &judged.judgement;
    CertificateCheck {
        good: judgement.is_certified(),
        trust: judgement.trust().name().to_owned(),
        because: judgement.because().to_string().into(),
        bad: judgement.bad().cloned(),
    }
}
