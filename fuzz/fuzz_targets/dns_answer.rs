//! Answers of the DNS: what is read of any message is what was asked for, and no better proved than its records are.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(s2sd::net::resolve::attack::answer(data)));
