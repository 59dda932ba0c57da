//! The initiating side of negotiation: no order of words opens a stream to which nobody said yes.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::outbound::body(data)));
