//! Skeleton.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "demo")]
pub mod demo;

pub mod services;
