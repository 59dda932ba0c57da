//! Streams we make: one lane per domain pair that has stanzas, and one stream per authoritative server that is asked
//! about dialback keys.

mod carried;
pub(crate) mod clock;
pub(crate) mod connector;
mod drive;
mod lanes;
pub(crate) mod observer;
mod questions;
mod stall;
mod suspects;
mod unreachable;
mod worked;

pub(crate) use lanes::Lanes;
pub(crate) use questions::{NoRoom, Questions, ask};
