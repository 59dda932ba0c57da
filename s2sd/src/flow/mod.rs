//! What connects: listeners, streams, the router, lanes and components.

pub(crate) mod component;
pub(crate) mod components;
pub(crate) mod connector;
pub(crate) mod evidence;
pub(crate) mod inbound;
pub(crate) mod lanes;
pub(crate) mod listen;
pub(crate) mod questions;
pub(crate) mod receiving;
pub(crate) mod router;
pub(crate) mod sending;
pub(crate) mod sessions;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod tally;
