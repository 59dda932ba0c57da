//! From a domain to an open TCP connection: RFC 6120 §3.2 and XEP-0368.
//!
//! [`plan()`] decides in which order places are tried and knows no network; [`Dns`] asks; `dial` connects;
//! `connect` does so as a policy says.
//! What is absent: the file of local hosts, search lists and anything else that could turn a domain
//! into another name than the one that was asked for.

mod anchor;
mod ask;
mod connect;
mod dial;
mod dns;
mod https;
mod kept;
mod places;
pub mod plan;
mod posh;
mod rdata;
mod reply;
mod servers;
mod socks;
pub mod special;
mod system;
mod turns;

pub(crate) use connect::AddressRule;
pub(crate) use connect::connect;
pub use connect::{LeftOut, Unreached};
pub use dial::Attempts;
pub(crate) use dial::{Dialed, dial};
pub use dns::{Addresses, Dns, Services};
pub(crate) use https::Fetch;
pub use kept::Asker;
pub(crate) use places::Places;
pub use plan::{Answer, Host, ResolveError, Security, Srv, Target, plan};
pub(crate) use plan::{DEFAULT_PORT, other_host};
pub(crate) use posh::{Found, Posh};
/// For the fuzz target `dns_answer`.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use reply::attack;
