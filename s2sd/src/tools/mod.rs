//! Commands that are programs of their own.

#[cfg(feature = "demo")]
pub mod demo;
pub mod probe;
