//! POSH documents (RFC 7711): read or refused, and they speak for what is in them.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::document::posh(data)));
