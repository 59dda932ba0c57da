//! What carries bytes and asks others: sockets, TLS, the DNS, queues, and the bounds of the machine.

pub(crate) mod admission;
pub(crate) mod conn;
pub(crate) mod descriptors;
pub(crate) mod machine;
pub(crate) mod metered;
pub(crate) mod queue;
pub mod resolve;
pub(crate) mod sockets;
pub mod tls;
pub(crate) mod turns;
pub(crate) mod until;
