//! Reading certificates: any bytes are one or none, and prove nothing.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::certificate::bytes(data)));
