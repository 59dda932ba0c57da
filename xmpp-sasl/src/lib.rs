//! SASL (RFC 4422) mechanisms as values without I/O, both sides, one file each.
//!
//! A [`Client`] is the side that proves who it is, a [`Server`] the side that asks. Each is a boxed value: a
//! message goes in, and out comes the next message together with the next value, or an end. An end has no next
//! value, so a finished or failed exchange cannot be stepped again. No socket, no clock, no global state; random
//! numbers, passwords and decisions are asked of the caller through [`Random`] and [`Host`].
//!
//! | mechanism | specification | what it proves | when to use it |
//! |---|---|---|---|
//! | `EXTERNAL` | RFC 4422 appendix A, XEP-0178 | what the outer layer proved, a TLS certificate as a rule | between servers, always first |
//!
//! [`client`] and [`server`] make one by its registered name, [`select`] chooses among the names that a server
//! offers.
//!
//! # Long computations
//!
//! `step` runs to its end in the calling thread. The values are `Send + 'static` and passed by value, so a driver
//! that must not block can move one, its input and its host to another thread for that step and get back what
//! comes next. No mechanism that exists now needs this.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod failure;
mod password;
mod registry;
mod server;

// Mechanisms: one line here, one in `registry`, one file.
mod external;

pub use client::{Client, ClientCredentials, ClientError, ClientInput, ClientStep, Random};
pub use failure::Failure;
pub use password::Password;
pub use registry::{NoMechanism, client, names, select, server};
pub use server::{Host, Identity, Server, ServerOptions, ServerStep};
