//! All tables of the file.

use super::{
    access::Access,
    keys::Keys,
    policy::{Policy, ProxyKeys},
    server::{Backoff, Dns, Limits, Listen, Log, Queue},
    table::Table,
    tables::{
        AcceptKeys, AcceptTicketKeys, AcceptV4Keys, ComponentKeys, CredentialKeys, DialbackKeys,
        DomainKeys, PeerKeys, TicketKeys, TopKeys, V4Keys,
    },
};

/// In the order of `docs/config.md`. What is about all peers together, `allow` and `deny`, is in no `[[peer]]`.
pub(super) const KEYS: Keys = Keys(&[
    ("", TopKeys::KEYS),
    ("listen", Listen::KEYS),
    ("domain", DomainKeys::KEYS),
    ("domain.component", ComponentKeys::KEYS),
    ("policy", Policy::KEYS),
    ("policy", ProxyKeys::KEYS),
    ("policy", Access::KEYS),
    ("peer", PeerKeys::KEYS),
    ("peer", Policy::KEYS),
    ("peer", ProxyKeys::KEYS),
    ("peer.credentials", CredentialKeys::KEYS),
    ("peer.credentials.gssapi", TicketKeys::KEYS),
    ("peer.credentials.kerberos-v4", V4Keys::KEYS),
    ("peer.accept", AcceptKeys::KEYS),
    ("peer.accept.gssapi", AcceptTicketKeys::KEYS),
    ("peer.accept.kerberos-v4", AcceptV4Keys::KEYS),
    ("dialback", DialbackKeys::KEYS),
    ("dns", Dns::KEYS),
    ("limits", Limits::KEYS),
    ("queue", Queue::KEYS),
    ("queue.backoff", Backoff::KEYS),
    ("log", Log::KEYS),
]);

/// Each key once.
#[cfg(test)]
pub(crate) fn keys() -> impl Iterator<Item = &'static super::keys::Key> {
    let own = |(path, keys): &'static (&'static str, &'static [super::keys::Key])| {
        keys.iter().filter(move |key| key.table == *path)
    };
    KEYS.0.iter().flat_map(own)
}
