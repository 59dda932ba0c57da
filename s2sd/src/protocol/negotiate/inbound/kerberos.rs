//! Kerberos on the receiving side: the domain that a principal speaks for. GSSAPI is RFC 4752 (§3.2), KERBEROS_V4 RFC
//! 2222 §7.1.

use xmpp_sasl::Failure;
use xmpp_stream::Domain;

use super::sasl_host::SaslHost;
use crate::config::{Agreement, PeerAccept};

impl SaslHost {
    /// The domain that this principal, which showed a ticket for our principal `ours`, speaks for here.
    pub(super) fn speaks_for(
        &self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<Domain, Failure> {
        let domains: Vec<Domain> = match &self.remote {
            Some(remote) => {
                let policy = self.snapshot.policy(remote);
                let accept = policy.accept.as_ref();
                accept
                    .filter(|accept| self.admits(accept, remote, principal, ours))
                    .map(|_| remote.clone())
                    .into_iter()
                    .collect()
            }
            // The principal names the peer, and the rules of that entry decide.
            None => (self.snapshot.config.accepting())
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use xmpp_dialback::Secret;
    use xmpp_sasl::{Random, gssapi::Acceptor};

    use super::*;
    use crate::config::{Config, Method, Pattern, Peer, Policy, Tickets, TlsMode};
    use crate::protocol::negotiate::seeded::Seeded;
    use crate::protocol::negotiate::{Snapshot, Transport};

    struct Zeroes;

    impl Random for Zeroes {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    /// Tickets of these principals are taken from these peers; none named: from the domain's own service.
    fn snapshot(peers: &[(&str, &[&str])]) -> Arc<Snapshot> {
        let toml = "data_dir = 'data'\n[policy]\ntls = 'optional'\n[[domain]]\nname = 'b.test'\n";
        let mut config = Config::from_toml(toml, "s2sd.toml", Path::new("."))
            .unwrap()
            .config;
        config.peers = peers
            .iter()
            .map(|(name, principals)| Peer {
                pattern: Pattern::Exactly(domain(name)),
                policy: Arc::new(Policy {
                    tls: TlsMode::Disabled,
                    auth: vec![Method::Gssapi],
                    accept: Some(PeerAccept {
                        account: None,
                        kerberos_v4: None,
                        gssapi: Some(Tickets {
                            acceptor: Acceptor::default(),
                            principals: principals.iter().map(|&name| name.to_owned()).collect(),
                        }),
                    }),
                    ..(*config.policy).clone()
                }),
            })
            .collect();
        let secret = Secret::new("of this test");
        Arc::new(Snapshot::new(Arc::new(config), secret, |_| false))
    }

    /// For whom does it speak?
    fn speaks(
        snapshot: &Arc<Snapshot>,
        from: Option<&str>,
        principal: &str,
        authzid: Option<&str>,
    ) -> Result<String, Failure> {
        let sasl_host = SaslHost {
            snapshot: Arc::clone(snapshot),
            random: Seeded::from(&mut Zeroes),
            transport: Transport::Plain,
            method: Method::Gssapi,
            remote: from.map(domain),
            certified: None,
            proving: None,
            explained: None,
        };
        let found = sasl_host.speaks_for(principal, "xmpp/b.test@REALM", authzid);
        found.map(|domain| domain.to_string())
    }

    const NO: Result<String, Failure> = Err(Failure::NotAuthorized);

    #[test]
    fn a_principal_speaks_for_the_domain_of_its_service_or_where_it_is_named() {
        let snapshot = snapshot(&[
            ("a.test", &[]),
            ("c.test", &["robot@REALM", "xmpp/a.test@OTHER"]),
        ]);
        for from in [Some("a.test"), None] {
            let a = Ok("a.test".to_owned());
            assert_eq!(speaks(&snapshot, from, "xmpp/a.test@REALM", None), a);
            for other in [
                "xmpp/c.test@REALM",
                "xmpp/chat.a.test@REALM",
                "imap/a.test@REALM",
                "a.test@REALM",
                "nobody@REALM",
            ] {
                assert_eq!(speaks(&snapshot, from, other, None), NO, "{from:?} {other}");
            }
        }
        // Who is named for another peer, or of another realm, is nobody here.
        for other in ["robot@REALM", "xmpp/a.test@OTHER"] {
            assert_eq!(speaks(&snapshot, Some("a.test"), other, None), NO);
            let c = Ok("c.test".to_owned());
            assert_eq!(speaks(&snapshot, Some("c.test"), other, None), c);
            assert_eq!(speaks(&snapshot, None, other, None), c);
        }
        assert_eq!(speaks(&snapshot, Some("d.test"), "robot@REALM", None), NO);
    }

    #[test]
    fn a_principal_that_speaks_for_several_says_for_which() {
        let both = &["robot@REALM"];
        let snapshot = snapshot(&[("a.test", both), ("c.test", both), ("d.test", &[])]);
        let robot = |authzid| speaks(&snapshot, None, "robot@REALM", authzid);
        assert_eq!(robot(None), NO);
        for one in ["a.test", "c.test"] {
            assert_eq!(robot(Some(one)), Ok(one.to_owned()));
        }
        assert_eq!(robot(Some("d.test")), Err(Failure::InvalidAuthzid));
        let said = speaks(&snapshot, Some("a.test"), "robot@REALM", Some("c.test"));
        assert_eq!(said, Err(Failure::InvalidAuthzid));
    }
}
