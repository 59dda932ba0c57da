//! What a stream waits for. Only for logs and the probe: no decision depends on it.

use super::{Outbound, Stage};
use crate::protocol::negotiate::Method;

/// What an outgoing stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// The verdict on the certificate, from the driver.
    Judgement,
    /// The peer's stream header.
    Header,
    /// `<stream:features/>`.
    Features,
    /// `<proceed/>`.
    Proceed,
    /// The TLS handshake, from the driver.
    Tls,
    /// The outcome of this method, or a step of it.
    Proof(Method),
    /// The answer to `<abort/>`.
    Aborted,
    /// The authoritative server's word.
    Verdict,
    /// Nothing: the pair is proved.
    Nothing,
}

impl Awaits {
    /// What there was none of, when time is over.
    pub(super) fn missing(self) -> &'static str {
        match self {
            Self::Header | Self::Judgement => "no answer to the stream header",
            Self::Features => "no stream features",
            Self::Proceed | Self::Tls => "STARTTLS",
            Self::Proof(Method::Dialback) => "no answer to the dialback key",
            Self::Proof(_) | Self::Aborted => "SASL",
            Self::Verdict => "no answer from the authoritative server",
            Self::Nothing => "idle",
        }
    }
}

impl Outbound {
    /// What the stream waits for.
    pub fn awaits(&self) -> Awaits {
        match &self.stage {
            Stage::AwaitJudgement => Awaits::Judgement,
            Stage::ExpectHeader => Awaits::Header,
            Stage::ExpectFeatures => Awaits::Features,
            Stage::AwaitProceed => Awaits::Proceed,
            Stage::AwaitTls => Awaits::Tls,
            Stage::Sasl(method, _) | Stage::AwaitSaslStep(method) => Awaits::Proof(*method),
            Stage::Aborting => Awaits::Aborted,
            Stage::Dialback => Awaits::Proof(Method::Dialback),
            Stage::Verifying(_) => Awaits::Verdict,
            Stage::Established => Awaits::Nothing,
        }
    }
}
