//! **s2sd**, an XMPP federation server: it speaks server-to-server XMPP for the domains it serves, and hands stanzas to
//! whatever answers for them over the component protocol.
//!
//! The binary is the product; this library is its parts, for the tests and for whoever embeds it.
//!
//! # Layers
//!
//! A module uses its own layer and those before it. `cargo xtask tidy` reads this table and holds the code to it.
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 words | `config`, `closed`, `peer_text`, `host`, `network` | what is configured; why a stream ended; what strangers say; where a machine is |
//! | 1 pure | `negotiate`, `budget`, `fate`, `stanza`, `strays`, `lane`, `rate_limit`, `services`, `admission::attempts`, `admission::connections`, `admission::known`, `admission::refusals`, `admission::rotation`, `admission::throttle`, `tls::alert`, `tls::bad_certificate`, `tls::chain`, `tls::dane`, `tls::facts`, `tls::certificate_name`, `tls::judgement`, `tls::posh`, `tls::revocation`, `tls::roots`, `tls::strict`, `tls::trust`, `resolve::plan`, `resolve::special`, `probe::findings`, `probe::trouble`, `probe::verdict` | decisions: no tokio, no clock, no file |
//! | 2 io | `conn`, `descriptors`, `machine`, `metered`, `sockets`, `tls`, `resolve`, `queue`, `admission`, `shared`, `evidence` | bytes, certificates, the DNS |
//! | 3 flow | `router`, `tally`, `inbound`, `outbound`, `component`, `listen` | who passes what to whom |
//! | 4 app | `admin`, `app`, `logging`, `probe`, `cli`, `demo` | the assembly and its commands |

#![cfg_attr(test, allow(clippy::unwrap_used))]
// `println!` and `eprintln!` panic where nobody reads any more.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod admin;
mod admission;
pub mod app;
mod budget;
pub mod cli;
pub mod closed;
mod component;
pub mod config;
mod conn;
#[cfg(feature = "demo")]
pub mod demo;
mod descriptors;
mod evidence;
mod fate;
pub mod host;
mod inbound;
pub mod lane;
mod listen;
pub mod logging;
mod machine;
mod metered;
pub mod negotiate;
mod network;
mod outbound;
pub mod peer_text;
pub mod probe;
mod queue;
mod rate_limit;
pub mod resolve;
mod router;
pub mod services;
mod shared;
mod sockets;
pub mod stanza;
mod strays;
mod tally;
pub mod tls;
