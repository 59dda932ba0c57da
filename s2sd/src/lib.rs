//! **s2sd**, an XMPP federation server: it speaks server-to-server XMPP for the domains it serves, and hands stanzas to
//! whatever answers for them over the component protocol.
//!
//! The binary is the product; this library is its parts, for the tests and for programs that embed it.
//!
//! # Layers
//!
//! A module uses its own layer and those before it. `cargo xtask tidy` reads this table and holds the code to it.
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 words | `config`, `closed`, `peer_text`, `host`, `network` | what is configured; why a stream ended; what strangers say; where a machine is |
//! | 1 protocol | `protocol`, `trust`, `tools::probe::{findings,classify,verdict}` | decisions: no tokio, no clock, no file |
//! | 2 net | `net`, `spool` | bytes, certificates, the DNS; what waits on disk |
//! | 3 flow | `flow` | which task passes what to which |
//! | 4 app | `app`, `admin`, `logging`, `cli`, `tools` | the assembly and its commands |

#![cfg_attr(test, allow(clippy::unwrap_used))]
// `println!` and `eprintln!` panic where the reader is gone.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod admin;
pub mod app;
pub mod cli;
pub mod closed;
pub mod config;
mod flow;
pub mod host;
pub mod logging;
pub mod net;
mod network;
pub mod peer_text;
pub mod protocol;
pub mod spool;
pub mod tools;
pub mod trust;
