//! The lab: what end-to-end tests, the interop runs and the load need around a daemon, each once.
//!
//! A zone server and a certificate authority (from `s2sd::tools::demo`), a component driver, a user on another server, a
//! scripted peer that speaks the server protocol word by word, and the checks that are run between two ends. The
//! binary `lab` shows the same things to programs that are not written in Rust.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attack_setup;
pub mod authoritative;
pub mod background_traffic;
pub mod captured_log;
pub mod checks;
pub mod cli;
pub mod component;
pub mod component_client;
pub mod daemon_pair;
pub mod deliveries;
pub mod endpoint;
pub mod fake_peer;
pub mod hostile_peer;
pub mod https;
pub mod networks;
pub mod odd;
pub mod peer;
pub mod process;
pub mod records;
#[cfg(test)]
mod relay_server;
pub mod sasl_tool;
pub mod second;
pub mod socks;
pub mod tls;
pub mod transcript;
pub mod user;
pub mod verdict;
pub mod wire;
pub mod world;
