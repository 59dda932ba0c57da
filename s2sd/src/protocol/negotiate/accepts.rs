//! The proofs that the entries of the configuration accept. As long as a peer has not given its name, it may be that of
//! any entry.

use xmpp_sasl::{gssapi::Acceptor, kerberos_v4::Keys};
use xmpp_stream::Domain;

use super::Snapshot;
use crate::config::PeerAccept;

/// The peers that it may be: the one that the header names, or each that need not name itself before its proof.
pub(super) fn candidates(snapshot: &Snapshot, remote: Option<&Domain>) -> Vec<PeerAccept> {
    match remote {
        Some(remote) => snapshot.policy(remote).accept.clone().into_iter().collect(),
        None => {
            let all = snapshot.config.accepting();
            all.filter_map(|(_, policy)| policy.accept.clone())
                .collect()
        }
    }
}

/// The keytab for GSSAPI: that of the peer in the header, or, where it says none, the one that all entries name.
pub(super) fn acceptor(snapshot: &Snapshot, remote: Option<&Domain>) -> Option<Acceptor> {
    let mut all = candidates(snapshot, remote)
        .into_iter()
        .filter_map(|accept| accept.gssapi)
        .map(|tickets| tickets.acceptor);
    let first = all.next()?;
    // Of several none is better than the others, and a ticket does not name its peer before one is chosen.
    all.all(|other| other == first).then_some(first)
}

/// The keys for KERBEROS_V4: those of the peer, or of all peers.
pub(super) fn keys(snapshot: &Snapshot, remote: Option<&Domain>, host: &str) -> Option<Keys> {
    let mut all = Keys::default();
    for keys in candidates(snapshot, remote)
        .iter()
        .filter_map(|accept| accept.kerberos_v4.as_ref())
    {
        for key in keys.of("xmpp", host) {
            // That they agree was looked at when the configuration was read.
            all.add(key.clone()).ok()?;
        }
    }
    (!all.is_empty()).then_some(all)
}
