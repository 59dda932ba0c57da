//! What `s2sd demo` needs besides the daemon: a zone server and a certificate authority, both in this process.
//! The tests use them too; no other part of the daemon does.

pub mod ca;
pub mod zone;
