//! The example of a receiver does what it says.
#![cfg(feature = "xmpp")]
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/receiver.rs"]
mod receiver;

#[test]
fn the_receiver_accepts_the_key_of_the_domain_and_no_other() {
    assert_eq!(receiver::outcome("s3cr3tf0rd14lb4ck").unwrap(), "proved");
    assert_eq!(receiver::outcome("a guess").unwrap(), "refused");
}
