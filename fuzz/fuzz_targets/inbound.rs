//! The receiving side of negotiation: no order of words proves or delivers what nobody vouches for.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::inbound::body(data)));
