//! How many connections there may be: in all, from one network, of one domain; how many we make because a stranger asks;
//! who has how much of a processor before anything is proved.

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
