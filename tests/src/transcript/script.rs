//! What a transcript says: scenes, their settings, their steps.

use std::{collections::BTreeMap, fmt};

/// Which end of the main stream s2sd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The peer opens the stream; its lines are `C:`.
    Receiving,
    /// s2sd opens it; the peer's lines are `S:`.
    Initiating,
}

/// How far the conversation has come when a scene begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// There is a TCP connection.
    Tcp,
    /// Headers were exchanged (and, by a receiving s2sd, features).
    Plain,
    /// The pair is proved by dialback, without TLS.
    Dialback,
    /// There is a TLS connection, made without STARTTLS (XEP-0368).
    DirectTls,
    /// STARTTLS was negotiated, then headers were exchanged (and features).
    Tls,
    /// The pair is proved by dialback within TLS.
    DialbackTls,
    /// The pair is proved by TLS and SASL EXTERNAL, and the new stream is open.
    Authenticated,
}

impl Depth {
    pub(super) const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Plain,
        Self::Dialback,
        Self::DirectTls,
        Self::Tls,
        Self::DialbackTls,
        Self::Authenticated,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Plain => "plain",
            Self::Dialback => "dialback",
            Self::DirectTls => "direct-tls",
            Self::Tls => "tls",
            Self::DialbackTls => "dialback-tls",
            Self::Authenticated => "authenticated",
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// `C:` and `S:`
    Main,
    /// `R:` and `A:`, `R2:` and `A2:` …: s2sd asks an authoritative server. The number is that of the connection.
    Question(u8),
}

/// A whole file.
#[derive(Debug)]
pub(super) struct Script {
    /// What stands before the first scene: text, and settings for all scenes.
    pub(super) head: String,
    pub(super) scenes: Vec<Scene>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        for scene in &self.scenes {
            f.write_str(&scene.head)?;
            for item in &scene.items {
                f.write_str(&item.raw)?;
            }
        }
        Ok(())
    }
}

/// One conversation.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) title: String,
    pub(super) line: usize,
    /// Title and settings, as written.
    pub(super) head: String,
    pub(super) role: Role,
    pub(super) settings: Settings,
    pub(super) items: Vec<Item>,
}

/// A step as written, or lines that are none: comments, blank ones.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) line: usize,
    pub(super) raw: String,
    pub(super) step: Option<Step>,
}

/// What a scene is given.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) depths: Vec<Depth>,
    /// The initiating entity's domain.
    pub(super) from: String,
    /// The receiving entity's domain.
    pub(super) to: String,
    /// Lines for the tables of `s2sd.toml`: `policy`, `peer`, `limits`.
    pub(super) tables: BTreeMap<(&'static str, String), String>,
    /// Further domains that s2sd serves.
    pub(super) serves: Vec<String>,
    /// Further domains of the peer.
    pub(super) also: Vec<String>,
    /// s2sd has no certificate.
    pub(super) without_certificate: bool,
    pub(super) shows: Option<Shows>,
    /// Files beside `s2sd.toml`: a name, and a line.
    pub(super) files: Vec<(String, String)>,
    /// Words for what is said often: `{name}` in a step is this text.
    pub(super) lets: Vec<(String, String)>,
    /// Why a scene is not run over sockets.
    pub(super) only_pure: Option<String>,
}

/// The certificate that the peer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shows {
    pub(super) what: Shown,
    pub(super) names: Vec<String>,
}

/// What is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    Good,
    Expired,
    SelfSigned,
    /// For servers only: no clientAuth.
    ServerAuth,
}

/// One step of a conversation.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The peer says this.
    Say(Stream, String),
    /// s2sd says this.
    Hear(Stream, String),
    /// TLS is negotiated; the scripted end shows its certificate.
    Tls(Stream),
    /// The scripted end breaks the connection off.
    HangUp(Stream),
    /// The authoritative server is asked on a new connection, and says this (a `type`, or an error condition).
    Verdict(Stream, String),
    /// The negotiation takes too long.
    TimeIsUp,
    /// Nothing was said for as long as an open stream may be silent.
    Idle,
    /// s2sd is told to stop.
    ShutDown,
    /// The component sends the other way, which needs a connection of s2sd's own.
    Sends(String),
    /// s2sd has stanzas for another pair, from the first domain to the second.
    Wants(String, String),
    /// What else s2sd does, as a note: it closes the connection, delivers a stanza, holds a pair for proved …
    Sees(Note),
}

/// What s2sd does besides talking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The main stream's connection is closed, for this cause.
    Closed(String),
    /// The stanza goes to the component.
    Delivered(String),
    /// The pair is held for proved: from, to, method.
    Proved(String, String, String),
    /// The pair is refused by the peer: from, to, cause.
    Refused(String, String, String),
    /// A stanza of the peer's goes back to it, and the stream goes on: condition.
    Answered(String),
    /// The waiting stanza comes back: condition, cause.
    Bounced(String, String),
    /// A new connection is made to the same server.
    ConnectsAgain,
}
