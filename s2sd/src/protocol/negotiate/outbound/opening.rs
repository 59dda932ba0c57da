//! The beginning of a stream: the peer's header and features, TLS, and its certificate (RFC 6120 §4.3, §5).

use bytes::Bytes;
use xmpp_dialback::Initiating;
use xmpp_stream::{Condition, Element, Features, StreamError, StreamHeader, ns};

use super::{Out, Outbound, OutboundEffect, Purpose, Stage, Step};
use crate::closed::{By, Cause, Closed};
use crate::config::{TlsMode, Verify};
use crate::protocol::negotiate::Judged;
use crate::protocol::negotiate::peer_limits::PeerLimits;

impl Outbound {
    pub(super) fn on_header(mut self: Box<Self>, header: &StreamHeader, out: &mut Out) -> Step {
        // `from` proves nothing, right or wrong: the certificate or dialback does. RFC 6120 §4.7.1 lets a server answer
        // from another of its domains.
        // COMPAT(Metronome 4.0.5): `from` and `to` are those of our header, not exchanged. Scene `a header with from and
        // to as ours has them` in tests/transcripts/initiating/header.txt.
        self.stream_id = header.id.clone().unwrap_or_default();
        if header.is_xmpp_1() {
            self.stage = Stage::ExpectFeatures;
            return Ok(self);
        }
        // Without version='1.0' there are no features to wait for (RFC 6120 §4.7.5).
        if !self.transport.is_tls() && self.tls == TlsMode::Required {
            self.send_footer(out);
            return Err(Closed {
                by: By::Us,
                cause: Cause::TlsNotOffered,
            });
        }
        if let Purpose::Verify = self.purpose {
            return self.verify(out);
        }
        self.prove(out)
    }

    pub(super) fn on_features(mut self: Box<Self>, element: &Element, out: &mut Out) -> Step {
        let Some(features) = Features::from_element(element) else {
            return Err(self.refuse_element(element, "stream features were expected", out));
        };
        self.peer_limits.take(features.limits);
        self.initiating
            .set_errors_announced(features.dialback.is_some_and(|dialback| dialback.errors));
        self.dialback = features.dialback;
        self.counting.offered(&features);
        if let Some(method) = self.authenticated {
            return self.establish(method, out);
        }
        if !self.transport.is_tls() {
            match (features.starttls, self.tls) {
                (Some(_), TlsMode::Optional | TlsMode::Required) => {
                    out.push(OutboundEffect::Send(Bytes::from_static(
                        b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
                    )));
                    self.stage = Stage::AwaitProceed;
                    return Ok(self);
                }
                (None, TlsMode::Required) => {
                    self.send_footer(out);
                    return Err(Closed {
                        by: By::Us,
                        cause: Cause::TlsNotOffered,
                    });
                }
                (Some(true), TlsMode::Disabled) => {
                    self.send_footer(out);
                    let text =
                        "the other server requires encryption, which is switched off for it here";
                    return Err(Closed {
                        by: By::Us,
                        cause: Cause::Policy(text.into()),
                    });
                }
                (Some(false), TlsMode::Disabled)
                | (None, TlsMode::Optional | TlsMode::Disabled) => {}
            }
        }
        if let Purpose::Verify = self.purpose {
            return self.verify(out);
        }
        self.features = features;
        self.prove(out)
    }

    pub(super) fn on_proceed(mut self: Box<Self>, element: &Element, out: &mut Out) -> Step {
        if element.is(ns::TLS, "proceed") {
            out.push(OutboundEffect::StartTls);
            self.stage = Stage::AwaitTls;
            return Ok(self);
        }
        self.send_footer(out);
        let what = if element.is(ns::TLS, "failure") {
            "the other server refused STARTTLS"
        } else {
            "no <proceed/>"
        };
        Err(Closed {
            by: By::Peer,
            cause: Cause::Tls(what.into()),
        })
    }

    /// All that we learnt in clear is forgotten within TLS (RFC 6120 §5.4.3.3): an attacker in between may have sent
    /// it.
    ///
    /// Not so the methods that were tried: SASL refused them on an encrypted stream, or on one to a peer without TLS
    /// ([`Policy::allows_over`](crate::config::Policy::allows_over)).
    pub(super) fn forget(&mut self) {
        self.stream_id.clear();
        self.features = Features::default();
        self.peer_limits = PeerLimits::default();
        self.inverse.forget(&self.snapshot);
        self.refusal = None;
        self.initiating = Initiating::new(self.snapshot.config.limits.pairs_per_stream);
    }

    pub(super) fn judge(&mut self, out: &mut Out) {
        out.push(OutboundEffect::Judge(self.pair.remote.clone()));
        self.stage = Stage::AwaitJudgement;
    }

    pub(super) fn on_judged(mut self: Box<Self>, judged: Judged, out: &mut Out) -> Step {
        if !matches!(self.stage, Stage::AwaitJudgement) {
            if let Some(closed) = self.no_longer_good(&judged, out) {
                return Err(closed);
            }
            self.on_pairs_judged(&judged, out);
            return Ok(self);
        }
        let judgement = judged.judgement;
        // A server always shows a certificate; none at all is as bad as a wrong one. A stream that only looks gives
        // nothing away to the wrong server, and learns something from it.
        let looks = matches!(self.purpose, Purpose::Look { .. });
        if !judgement.is_certified() && self.policy.verify == Verify::Strict && !looks {
            // We send nothing to a server that is not the one we mean.
            let why = judgement.because().to_string().into();
            let is_certain = judgement.bad().is_none_or(|bad| bad.is_certain());
            return Err(Closed {
                by: By::Us,
                cause: match is_certain {
                    true => Cause::Certificate(why),
                    false => Cause::CertificateUntold(why),
                },
            });
        }
        self.judgement = judgement;
        self.send_header(out);
        self.stage = Stage::ExpectHeader;
        Ok(self)
    }

    /// Whether the certificate proves the other server, or whether policy requires it to be good besides.
    pub fn rests_on_certificate(&self) -> bool {
        let proved = |method| self.judgement_by(method).is_certified();
        let proves = self.authenticated.is_some_and(proved);
        let proves = proves || self.inverse.rests_on_certificate();
        self.transport.is_tls() && (proves || self.policy.verify == Verify::Strict)
    }

    /// RFC 6120 §13.7.2.3: a certificate that was good when the stream opened no longer is. `Some`: the stream ends,
    /// and the other server has to show another certificate on the next.
    fn no_longer_good(&mut self, judged: &Judged, out: &mut Out) -> Option<Closed> {
        let bad = judged.judgement.bad().filter(|bad| bad.is_certain())?;
        let ours = judged.domain.as_ref() == Some(&self.pair.remote);
        (self.established && ours && self.rests_on_certificate()).then_some(())?;
        let error = StreamError::new(Condition::Reset).with_text(bad.to_it().to_string());
        let closed = self.refuse(error, String::new(), out);
        Some(Closed {
            cause: Cause::Certificate(bad.of_it().to_string().into()),
            ..closed
        })
    }
}
