//! The proving side of the mechanisms in which the server proves itself too: no server without the secret satisfies it.

#![no_main]

#[path = "../../xmpp-sasl/tests/attack/mod.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| attack::bodies::client(data));
