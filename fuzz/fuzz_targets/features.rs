//! `<stream:features/>`: read or refused, and written as they were read.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::xml::features(data)));
