//! The configuration: taken or refused in words, and it shows no secret.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::configuration::body(data)));
