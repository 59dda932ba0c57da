//! Every SASL mechanism's asking side: no order of messages opens a door that is closed.

#![no_main]

#[path = "../../xmpp-sasl/tests/attack/mod.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::bodies::server(data));
