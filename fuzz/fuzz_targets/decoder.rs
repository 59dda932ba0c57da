//! The decoder: any bytes in any pieces have one verdict, in a bounded buffer.

#![no_main]

#[path = "../../tests/tests/any_bytes/bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bodies::xml::decoder(data)));
