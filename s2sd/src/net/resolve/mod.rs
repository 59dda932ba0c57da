//! From a domain to an open TCP connection: RFC 6120 §3.2 and XEP-0368.
//!
//! [`plan`](crate::protocol::plan) decides the order of the targets and knows no network; [`Dns`] asks; `dial`
//! connects; `connect` does so as a policy says. Absent: the file of local hosts, search lists and anything else that
//! could turn the name of a domain into another one.

mod anchor;
mod ask;
mod cache;
mod connect;
mod dial;
mod dns;
mod effort;
mod https;
mod posh;
mod rdata;
mod recent_failures;
mod reply;
mod servers;
mod socks;
mod system;
mod turns;

pub use cache::Asker;
pub(crate) use connect::AddressRule;
pub(crate) use connect::connect;
pub use connect::{ConnectError, LeftOut};
pub use dial::Attempts;
pub(crate) use dial::{Dialed, dial};
pub use dns::{Addresses, Dns, Services};
pub(crate) use https::Fetch;
pub(crate) use recent_failures::RecentFailures;

pub use crate::host::Host;
pub(crate) use posh::{Found, Posh};
/// For the fuzz target `dns_answer`.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use reply::attack;
