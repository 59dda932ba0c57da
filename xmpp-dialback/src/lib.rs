//! Server dialback ([XEP-0220]) with the keys of [XEP-0185]: the three roles as values.
//!
//! There is no socket, task, clock or random number in here. A role takes what arrived and says what
//! to send; its driver owns the streams.
//!
//! | role | on which stream | value |
//! |---|---|---|
//! | Initiating Server: asks for a [`Pair`] to be accepted | the one it opened to the target domain | [`Initiating`] |
//! | Receiving Server: accepts pairs | the same stream, seen from the other end | [`Receiving`] |
//! | Receiving Server: asks whether a key is good | the one it opened to the sender domain | [`Verifying`] |
//! | Authoritative Server: says whether a key is good | the same stream, seen from the other end | [`verify`], no state |
//!
//! ```text
//!  Initiating                     Receiving                 Authoritative
//!      | -- 1 db:result  Request ---> |                            |
//!      |                              | -- 2 db:verify Question -> |
//!      |                              | <- 3 db:verify Answer ---- |
//!      | <- 4 db:result  Result ----- |                            |
//! ```
//!
//! # Domains are compared as they are given
//!
//! Everything here compares domains byte for byte. Prepare them first (case, IDNA) and pass the
//! prepared strings; the module `wire` hands out what stood in `to` and `from`, unprepared.
//!
//! # Unsolicited answers
//!
//! An answer counts only for a question that is waiting on the same stream; anything else is
//! [`Unsolicited`] (XEP-0220 §3.1). On a stream that the *peer* opened there is no [`Initiating`] and
//! no [`Verifying`], so there every answer is unsolicited.
//!
//! # Features
//!
//! `xmpp` (default): the XML forms, module `wire`. Without it the crate knows no XML and depends on
//! neither `xmpp-stream` nor tokio.
//!
//! [XEP-0220]: https://xmpp.org/extensions/xep-0220.html
//! [XEP-0185]: https://xmpp.org/extensions/xep-0185.html
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod initiating;
mod key;
mod pair;
mod receiving;
mod verdict;
mod verifying;
#[cfg(feature = "xmpp")]
pub mod wire;

pub use initiating::{Initiating, NotRequested, RequestOutcome};
pub use key::{EmptySecret, Key, Secret, verify};
pub use pair::Pair;
pub use receiving::{
    CloseStream, DialbackLimits, DialbackReply, Receiving, RefusalReason, RefusedRequest,
};
pub use verdict::{DialbackError, ErrorCondition, Unsolicited, Verdict};
pub use verifying::{NotAsked, Verifying};

/// What the Initiating Server sends: "this key shows that I may send as this pair's sender"
/// (`db:result` with a key, XEP-0220 §2.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The requested pair.
    pub pair: Pair,
    /// The key, opaque to the Receiving Server.
    pub key: Key,
}

/// What the Receiving Server asks the Authoritative Server: "is this key yours?"
/// (`db:verify` with a key, XEP-0220 §2.1.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The pair that was asked for.
    pub pair: Pair,
    /// The id of the response header that the Receiving Server sent on the stream to be proved.
    pub stream_id: String,
    /// The key as it came in the [`Request`].
    pub key: Key,
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
