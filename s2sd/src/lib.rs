//! Skeleton.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod logging;
pub mod resolve;
pub mod services;
pub mod tls;
