//! Stored keys in the form of RFC 5803: read or refused, and written as they were read.

#![no_main]

#[path = "../../xmpp-sasl/tests/attack/mod.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::bodies::keys(data));
