//! A peer that does what it must not do, and what the server says to it.

mod answer;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use xmpp_stream::{Features, StreamHeader, Writer, ns};

use crate::{
    peer::{Peer, dialback_request, header_text, initial_header},
    tls::TlsIdentity,
    wire::{Event, Wire},
};

pub use answer::ServerAnswer;
use answer::judge;

/// What the peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// A dialback key that the authoritative server never made, then a stanza all the same.
    ForgedKey,
    /// A stanza without any proof.
    Unauthenticated,
    /// A domain that the server does not serve.
    UnknownHost,
    /// A certificate that is no proof of the domain.
    WrongCertificate,
    /// A header without version.
    NoVersion,
}

impl Scenario {
    /// As on the command line and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForgedKey => "forged-key",
            Self::Unauthenticated => "unauthenticated",
            Self::UnknownHost => "unknown-host",
            Self::WrongCertificate => "wrong-certificate",
            Self::NoVersion => "no-version",
        }
    }
}

/// How the peer encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// STARTTLS; it must be offered.
    StartTls,
    /// At once (XEP-0368).
    Direct,
}

/// A scenario and its parameters.
#[derive(Clone, Debug)]
pub struct HostilePeer {
    /// What to do.
    pub scenario: Scenario,
    /// The server.
    pub addr: SocketAddr,
    /// The domain that the peer claims to be.
    pub from: String,
    /// The domain that it talks to.
    pub to: String,
    /// How it encrypts.
    pub encryption: Encryption,
    /// The certificate that it shows.
    pub identity: Option<TlsIdentity>,
    /// To whom the stanza is sent.
    pub stanza_to: String,
    /// How long to wait for an answer.
    pub within: Duration,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first answer that matters.
    pub answer: ServerAnswer,
    /// What the server said to the stanza that was sent after that, if one was.
    pub then: Option<ServerAnswer>,
    /// Is this as it should be?
    pub ok: bool,
    /// The names of the features seen last: `starttls`, `dialback`, and mechanisms.
    pub features: Vec<String>,
    /// The TLS version.
    pub tls: Option<String>,
    /// Why the scenario could not be played.
    pub reason: Option<String>,
    /// What was said.
    pub transcript: Vec<String>,
}

impl Report {
    /// As in the help of `lab forge`.
    pub fn to_json(&self, scenario: Scenario) -> Value {
        json!({
            "scenario": scenario.name(),
            "ok": self.ok,
            "answer": self.answer.to_json(),
            "then": self.then.as_ref().map(ServerAnswer::to_json),
            "features": self.features,
            "tls": self.tls,
            "reason": self.reason,
            "transcript": self.transcript,
        })
    }
}

impl HostilePeer {
    /// Plays it.
    pub async fn run(&self) -> Report {
        let mut report = Report {
            answer: ServerAnswer::Nothing,
            then: None,
            ok: false,
            features: Vec::new(),
            tls: None,
            reason: None,
            transcript: Vec::new(),
        };
        let mut peer = match Wire::connect(self.addr, self.within).await {
            Ok(wire) => Peer::over(wire).with_timeout(self.within),
            Err(error) => {
                report.reason = Some(format!("{error:#}"));
                return report;
            }
        };
        match self.play(&mut peer, &mut report).await {
            Ok(answer) => {
                report.ok = match self.scenario {
                    Scenario::NoVersion => answer == ServerAnswer::Accepted,
                    _ => answer.refuses(),
                };
                report.answer = answer;
            }
            Err(error) => report.reason = Some(format!("{error:#}")),
        }
        if report.then == Some(ServerAnswer::Accepted) {
            report.ok = false;
        }
        report.tls = peer.tls().map(str::to_owned);
        report.transcript = peer.transcript().to_vec();
        report
    }

    async fn play(&self, peer: &mut Peer, report: &mut Report) -> anyhow::Result<ServerAnswer> {
        if self.encryption == Encryption::Direct
            && let Err(error) = peer.direct_tls(&self.to, self.identity.as_ref()).await
        {
            return Ok(ServerAnswer::TlsFailed(format!("{error:#}")));
        }
        if let Some(answer) = self.open(peer, report).await? {
            return Ok(answer);
        }
        if self.encryption == Encryption::StartTls {
            if !report.features.iter().any(|name| name == "starttls") {
                anyhow::bail!("STARTTLS is not offered");
            }
            if let Err(error) = peer.starttls(&self.to, self.identity.as_ref()).await {
                return Ok(ServerAnswer::TlsFailed(format!("{error:#}")));
            }
            if let Some(answer) = self.open(peer, report).await? {
                return Ok(answer);
            }
        }
        match self.scenario {
            Scenario::ForgedKey => self.forged_key(peer, report).await,
            Scenario::Unauthenticated => {
                peer.send(self.stanza()).await?;
                self.answer(peer, self.within).await
            }
            // Some take any header, and judge when they are asked for the domain.
            Scenario::UnknownHost => {
                peer.send(self.forged_request()).await?;
                self.answer(peer, self.within).await
            }
            Scenario::WrongCertificate => self.wrong_certificate(peer, report).await,
            Scenario::NoVersion => Ok(ServerAnswer::Accepted),
        }
    }

    /// Opens a stream. `Some`: that is how it ends already.
    async fn open(
        &self,
        peer: &mut Peer,
        report: &mut Report,
    ) -> anyhow::Result<Option<ServerAnswer>> {
        let mut header = initial_header(Some(&self.from), &self.to);
        if self.scenario == Scenario::NoVersion {
            header.version = None;
        }
        peer.send(header_text(&header)).await?;
        let header = match peer.next().await? {
            Event::Header(header) => header,
            // RFC 6120 §4.9.1.1: an error at this point comes after a header; not all send one.
            other => return Ok(Some(judge(other))),
        };
        match self.scenario {
            Scenario::NoVersion => self.without_version(peer, &header).await,
            _ if !header.is_xmpp_1() => Ok(None),
            _ => match peer.next().await? {
                Event::Element(element) => match Features::from_element(&element) {
                    Some(features) => {
                        report.features = names(&features);
                        Ok(None)
                    }
                    None => Ok(Some(judge(Event::Element(element)))),
                },
                other => Ok(Some(judge(other))),
            },
        }
    }

    /// RFC 6120 §4.7.5: no version in the answer, and then no features.
    async fn without_version(
        &self,
        peer: &mut Peer,
        header: &StreamHeader,
    ) -> anyhow::Result<Option<ServerAnswer>> {
        anyhow::ensure!(header.version.is_none(), "the answer has a version");
        anyhow::ensure!(header.declares_dialback(), "the answer has no xmlns:db");
        match peer.next_within(BRIEFLY).await? {
            Event::Nothing => Ok(Some(ServerAnswer::Accepted)),
            Event::Element(element) if Features::from_element(&element).is_some() => {
                anyhow::bail!("features came after a header without version")
            }
            other => Ok(Some(judge(other))),
        }
    }

    async fn forged_key(
        &self,
        peer: &mut Peer,
        report: &mut Report,
    ) -> anyhow::Result<ServerAnswer> {
        peer.send(self.forged_request()).await?;
        let answer = self.answer(peer, self.within).await?;
        if matches!(answer, ServerAnswer::Dialback(..) | ServerAnswer::Nothing) {
            report.then = Some(self.stanza_all_the_same(peer).await);
        }
        Ok(answer)
    }

    async fn wrong_certificate(
        &self,
        peer: &mut Peer,
        report: &mut Report,
    ) -> anyhow::Result<ServerAnswer> {
        let answer = if report.features.iter().any(|name| name == "EXTERNAL") {
            let auth = Writer::new("auth")
                .xmlns(ns::SASL)
                .attr("mechanism", "EXTERNAL");
            let authzid = BASE64_STANDARD.encode(&self.from);
            peer.send(auth.text(&authzid).finish()).await?;
            self.answer(peer, self.within).await?
        } else {
            ServerAnswer::NotOffered
        };
        if matches!(
            answer,
            ServerAnswer::NotOffered | ServerAnswer::SaslFailure(..)
        ) {
            report.then = Some(self.stanza_all_the_same(peer).await);
        }
        Ok(answer)
    }

    /// A stanza where it cannot be welcome. An answer of nothing is well: some servers drop it in silence.
    async fn stanza_all_the_same(&self, peer: &mut Peer) -> ServerAnswer {
        match peer.send(self.stanza()).await {
            Ok(()) => self
                .answer(peer, BRIEFLY)
                .await
                .unwrap_or(ServerAnswer::Closed),
            Err(_) => ServerAnswer::Closed,
        }
    }

    async fn answer(&self, peer: &mut Peer, within: Duration) -> anyhow::Result<ServerAnswer> {
        Ok(judge(peer.next_within(within).await?))
    }

    fn forged_request(&self) -> bytes::Bytes {
        dialback_request(&self.from, &self.to, &"0badc0de".repeat(8))
    }

    fn stanza(&self) -> bytes::Bytes {
        Writer::new("message")
            .attr("from", format!("forger@{}", self.from))
            .attr("to", &self.stanza_to)
            .attr("id", STANZA_ID)
            .attr("type", "chat")
            .child(Writer::new("body").text("this must not arrive"))
            .finish()
    }
}

/// The id of the stanza that must not arrive.
pub const STANZA_ID: &str = "lab-forged-stanza";

/// How long to wait for what should not come.
const BRIEFLY: Duration = Duration::from_secs(1);

fn names(features: &Features) -> Vec<String> {
    let mut names = features.mechanisms.clone();
    if features.starttls.is_some() {
        names.push("starttls".to_owned());
    }
    if features.dialback.is_some() {
        names.push("dialback".to_owned());
    }
    names
}
