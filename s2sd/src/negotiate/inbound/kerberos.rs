//! Kerberos on the receiving side: what tickets are judged with, and for which domain a principal speaks. GSSAPI is RFC
//! 4752 (§3.2), KERBEROS_V4 RFC 2222 §7.1.

use xmpp_sasl::{Failure, gssapi::Acceptor, kerberos_v4::Keys};
use xmpp_stream::Domain;

use super::desk::{Desk, candidates};
use crate::config::{Agreement, PeerAccept};
use crate::negotiate::House;

/// The keytab for GSSAPI: that of the peer in the header, or, where it says none, the one that all entries name.
pub(in crate::negotiate) fn acceptor(house: &House, remote: Option<&Domain>) -> Option<Acceptor> {
    let mut all = candidates(house, remote)
        .into_iter()
        .filter_map(|accept| accept.gssapi)
        .map(|tickets| tickets.acceptor);
    let first = all.next()?;
    // Of several none is better than the others, and a ticket does not say whose it is before one is chosen.
    all.all(|other| other == first).then_some(first)
}

/// The keys for KERBEROS_V4: the peer's, or everybody's.
pub(in crate::negotiate) fn keys(
    house: &House,
    remote: Option<&Domain>,
    host: &str,
) -> Option<Keys> {
    let mut all = Keys::default();
    for keys in candidates(house, remote)
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

impl Desk {
    /// For which domain does this principal speak here, who has shown a ticket for our principal `ours`?
    pub(super) fn speaks_for(
        &self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<Domain, Failure> {
        let domains: Vec<Domain> = match &self.remote {
            Some(remote) => {
                let policy = self.house.policy(remote);
                let accept = policy.accept.as_ref();
                accept
                    .filter(|accept| self.admits(accept, remote, principal, ours))
                    .map(|_| remote.clone())
                    .into_iter()
                    .collect()
            }
            // The principal says who it is, and that entry's own rules decide.
            None => (self.house.config.accepting())
                .filter(|(domain, policy)| {
                    let accept = policy.accept.as_ref();
                    accept.is_some_and(|accept| self.admits(accept, domain, principal, ours))
                        && self.entry_fits(domain, policy)
                })
                .map(|(domain, _)| domain.clone())
                .collect(),
        };
        match (authzid, domains.as_slice()) {
            (_, []) => Err(Failure::NotAuthorized),
            (None, [only]) => Ok(only.clone()),
            // One principal for several domains, and it does not say which.
            (None, _) => Err(Failure::NotAuthorized),
            (Some(authzid), some) => some
                .iter()
                .find(|domain| domain.is_named_by(authzid))
                .cloned()
                .ok_or(Failure::InvalidAuthzid),
        }
    }

    fn admits(&self, accept: &PeerAccept, domain: &Domain, principal: &str, ours: &str) -> bool {
        match self.method.agreement() {
            Some(Agreement::Realm) => accept
                .gssapi
                .as_ref()
                .is_some_and(|tickets| tickets.are_of(domain, principal, ours)),
            Some(Agreement::Key) => accept.kerberos_v4.as_ref().is_some_and(|keys| {
                keys.iter().any(|key| {
                    key.client.to_string() == principal && key.service.to_string() == ours
                })
            }),
            Some(Agreement::Password) | None => false,
        }
    }
}
