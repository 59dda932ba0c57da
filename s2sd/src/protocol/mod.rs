//! Decisions about streams and stanzas: values without tasks, clocks, files and sockets.

pub(crate) mod acks;
pub(crate) mod admission;
pub(crate) mod budget;
pub(crate) mod carried;
pub(crate) mod counters;
pub(crate) mod fate;
pub(crate) mod holding;
pub mod lane;
pub mod negotiate;
pub mod plan;
pub mod proof;
pub(crate) mod rate_limit;
pub(crate) mod receipts;
pub mod services;
pub mod special;
pub(crate) mod stall;
pub mod stanza;
pub mod storable;
pub(crate) mod strays;
pub(crate) mod suspects;
pub(crate) mod time;
pub(crate) mod unwritten;
