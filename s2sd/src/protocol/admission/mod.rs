//! Limits on connections: in all, from one network, of one domain; on those that we make because of unauthenticated
//! peers; and on processor time before a peer has proved anything.

mod attempts;
mod connections;
mod known;
mod refusals;
pub(crate) mod rotation;
mod throttle;

pub(crate) use self::attempts::{AttemptLimit, Causer};
pub(crate) use self::connections::{Bounds, Connections, Id};
pub(crate) use self::refusals::{Refusal, Refusals, Refused};
pub(crate) use self::throttle::Throttle;
