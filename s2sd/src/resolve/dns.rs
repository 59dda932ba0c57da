//! Asks the DNS for the places of a domain: its SRV records, the addresses of a host, and what they say of its
//! certificate, each as far as it is proved (RFC 7673 §3).

use std::{net::IpAddr, net::Ipv4Addr, net::Ipv6Addr, net::SocketAddr, sync::Arc};

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use xmpp_stream::Domain;

use super::ask::{self, Resolver};
use super::kept::Reply;
use super::plan::{Answer, Host, ResolveError, Security, Srv, Target, fallback, is_onion, plan};
use crate::config::{self, Dnssec, TlsMode};
use crate::tls::{Tlsa, TlsaSet};

/// The resolver with its cache.
#[derive(Clone)]
pub struct Dns {
    resolver: Arc<Resolver>,
    dnssec: Dnssec,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

/// The addresses of a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// IPv6 first. Never empty.
    pub all: Vec<SocketAddr>,
    /// How far they are proved: as the better proved family, since that is enough for whoever asks for TLSA records
    /// (RFC 7673 §3.2). An address that was no name is no answer of the DNS.
    pub security: Security,
}

/// What the DNS says about the two services of a domain; [`plan()`] makes an order of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Services {
    /// `_xmpp-server._tcp`.
    pub xmpp: Answer,
    /// `_xmpps-server._tcp`.
    pub xmpps: Answer,
}

impl Dns {
    /// A resolver that asks the given servers, or the system's if none are given.
    ///
    /// # Errors
    ///
    /// The system's configuration (`/etc/resolv.conf`) or the trust anchor cannot be read, with the reason.
    pub fn new(config: &config::Dns) -> Result<Self, String> {
        Ok(Self {
            resolver: Arc::new(Resolver::new(config)?),
            dnssec: config.dnssec,
        })
    }

    /// Whether the trust anchor can be used, if one is configured.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(config: &config::Dns) -> Result<(), String> {
        ask::anchors(config).map(|_| ())
    }

    /// The places where `domain` can be reached, in the order in which they are to be tried (RFC 6120 §3.2,
    /// XEP-0368). Without TLS, `_xmpps-server` is not asked for.
    ///
    /// # Errors
    ///
    /// See [`ResolveError`].
    pub async fn targets(
        &self,
        domain: &Domain,
        tls: TlsMode,
    ) -> Result<Vec<Target>, ResolveError> {
        if domain.is_ip() || is_onion(domain.ascii()) {
            return Ok(vec![fallback(domain)]);
        }
        let Services { xmpp, xmpps } = self.services(domain, tls).await;
        plan(domain, xmpp, xmpps, &mut dice)
    }

    /// The answers of which [`Dns::targets`] makes its list. An address and a `.onion` name have no services, and are
    /// not asked for.
    pub async fn services(&self, domain: &Domain, tls: TlsMode) -> Services {
        if domain.is_ip() || is_onion(domain.ascii()) {
            return Services {
                xmpp: Answer::NotAsked,
                xmpps: Answer::NotAsked,
            };
        }
        let direct = async {
            match tls {
                TlsMode::Disabled => Answer::NotAsked,
                TlsMode::Optional | TlsMode::Required => self.srv("_xmpps-server", domain).await,
            }
        };
        let (xmpp, xmpps) = tokio::join!(self.srv("_xmpp-server", domain), direct);
        Services { xmpp, xmpps }
    }

    /// The addresses of a place.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NotFound`] if the name does not exist or has no address, [`ResolveError::Onion`] if no DNS can
    /// have one. [`ResolveError::Bogus`] if DNSSEC refutes either family: the place must not be used (RFC 7673 §3.2).
    pub async fn addresses(&self, target: &Target) -> Result<Addresses, ResolveError> {
        let name = match &target.host {
            Host::Address(address) => {
                return Ok(Addresses {
                    all: vec![SocketAddr::new(*address, target.port)],
                    security: Security::Unvalidated,
                });
            }
            Host::Name(name) if is_onion(name) => return Err(ResolveError::Onion),
            Host::Name(name) => absolute(name).ok_or(ResolveError::NotFound)?,
        };
        let (v6, v4) = tokio::join!(
            self.ask(&name, RecordType::AAAA),
            self.ask(&name, RecordType::A)
        );
        let mut all = Vec::new();
        let mut security = None;
        let mut failure = None;
        for answer in [v6, v4] {
            match answer {
                Ok(reply) => {
                    let found = reply.records.iter().filter_map(RData::ip_addr);
                    let before = all.len();
                    all.extend(found.map(|address| SocketAddr::new(address, target.port)));
                    if all.len() > before {
                        security = security.max(Some(reply.security));
                    }
                }
                Err(why @ (ResolveError::Bogus(_) | ResolveError::Unsigned(_))) => return Err(why),
                Err(why) => failure = Some(why),
            }
        }
        match (security, failure) {
            (Some(security), _) => Ok(Addresses { all, security }),
            (None, Some(why)) => Err(why),
            (None, None) => Err(ResolveError::NotFound),
        }
    }

    /// The TLSA records of a place (RFC 6698 §3, RFC 7673 §3.3). They are asked for only where all that led to the place
    /// is proved by DNSSEC, its addresses too; `None` where it is not, and where there are no usable ones.
    ///
    /// # Errors
    ///
    /// An answer is not proved, or there is none: the place must not be used (RFC 7673 §3.2, §3.4).
    pub async fn tlsa(&self, target: &Target) -> Result<Option<TlsaSet>, ResolveError> {
        let Host::Name(host) = &target.host else {
            return Ok(None);
        };
        if !target.secure || self.addresses(target).await?.security < Security::Secure {
            return Ok(None);
        }
        let name = format!("_{}._tcp.{host}", target.port);
        let Some(asked) = absolute(&name) else {
            return Ok(None);
        };
        let reply = self.ask(&asked, RecordType::TLSA).await?;
        if reply.security < Security::Secure {
            return Ok(None);
        }
        let usable = reply.records.into_iter().filter_map(|data| match data {
            RData::TLSA(tlsa) => Tlsa::new(
                tlsa.cert_usage.into(),
                tlsa.selector.into(),
                tlsa.matching.into(),
                tlsa.cert_data,
            ),
            _ => None,
        });
        Ok(TlsaSet::new(&name, usable))
    }

    async fn srv(&self, service: &str, domain: &Domain) -> Answer {
        let Some(name) = absolute(&format!("{service}._tcp.{}", domain.ascii())) else {
            return Answer::Absent(Security::Unvalidated);
        };
        let Reply { records, security } = match self.ask(&name, RecordType::SRV).await {
            Ok(reply) => reply,
            Err(why) => return Answer::Failed(why),
        };
        let records: Vec<Srv> = records
            .into_iter()
            .filter_map(|data| match data {
                RData::SRV(srv) => Some(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_ascii(),
                }),
                _ => None,
            })
            .collect();
        match records.is_empty() {
            true => Answer::Absent(security),
            false => Answer::Records(records, security),
        }
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Reply, ResolveError> {
        if let Some(known) = local(name, kind) {
            return Ok(known);
        }
        let reply = self.resolver.ask(name, kind).await?;
        match self.dnssec {
            Dnssec::Require if reply.security < Security::Secure => {
                let name = name.to_ascii();
                Err(ResolveError::Unsigned(
                    name.trim_end_matches('.').to_owned(),
                ))
            }
            _ => Ok(reply),
        }
    }
}

/// RFC 6761 §6.3: `localhost` is this machine, whoever else may say what of it.
fn local(name: &Name, kind: RecordType) -> Option<Reply> {
    if !name.is_localhost() {
        return None;
    }
    let address: Option<IpAddr> = match kind {
        RecordType::A => Some(Ipv4Addr::LOCALHOST.into()),
        RecordType::AAAA => Some(Ipv6Addr::LOCALHOST.into()),
        _ => None,
    };
    Some(Reply {
        records: address.into_iter().map(RData::from).collect(),
        security: Security::Unvalidated,
    })
}

/// The name with its final dot, so that no search list applies; `None` for what no DNS name can hold.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// A number from 0 to `most`. The tiny bias of the remainder is of no consequence for sharing load.
fn dice(most: u32) -> u32 {
    match getrandom::u32() {
        Ok(random) => random % most.saturating_add(1).max(1),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::zone::{Zone, ZoneServer};

    fn ask(zone: Zone) -> (ZoneServer, Dns) {
        let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap();
        let servers = vec![server.addr()];
        let config = config::Dns {
            servers,
            ..config::Dns::default()
        };
        let dns = Dns::new(&config).unwrap();
        (server, dns)
    }

    async fn targets(dns: &Dns, domain: &str, tls: TlsMode) -> Result<Vec<String>, ResolveError> {
        let domain = Domain::parse(domain).unwrap();
        let targets = dns.targets(&domain, tls).await?;
        Ok(targets.iter().map(Target::to_string).collect())
    }

    fn target(host: &str) -> Target {
        Target {
            host: Host::parse(host),
            port: 5269,
            direct_tls: false,
            secure: false,
        }
    }

    async fn addresses(dns: &Dns, host: &str) -> Result<Vec<String>, ResolveError> {
        let found = dns.addresses(&target(host)).await?;
        Ok(found.all.iter().map(ToString::to_string).collect())
    }

    fn texts(texts: &[&str]) -> Result<Vec<String>, ResolveError> {
        Ok(texts.iter().map(|&text| text.to_owned()).collect())
    }

    #[tokio::test]
    async fn both_services_are_asked_for_and_merged() {
        let (server, dns) = ask(Zone::new()
            .srv("_xmpp-server._tcp.a.example", 10, 0, 5269, "x.a.example")
            .srv("_xmpps-server._tcp.a.example", 5, 0, 5270, "x.a.example"));
        assert_eq!(
            targets(&dns, "a.example", TlsMode::Required).await,
            texts(&["tls://x.a.example:5270", "x.a.example:5269"])
        );
        let mut asked = server.asked();
        asked.sort();
        assert_eq!(
            asked,
            [
                "_xmpp-server._tcp.a.example SRV",
                "_xmpps-server._tcp.a.example SRV"
            ]
        );
    }

    #[tokio::test]
    async fn without_tls_the_service_with_tls_is_not_asked_for() {
        let (server, dns) = ask(Zone::new()
            .srv("_xmpp-server._tcp.a.example", 10, 0, 5269, "x.a.example")
            .srv("_xmpps-server._tcp.a.example", 5, 0, 5270, "x.a.example"));
        assert_eq!(
            targets(&dns, "a.example", TlsMode::Disabled).await,
            texts(&["x.a.example:5269"])
        );
        assert_eq!(server.asked(), ["_xmpp-server._tcp.a.example SRV"]);
    }

    #[tokio::test]
    async fn a_domain_without_srv_is_its_own_host() {
        let (_server, dns) = ask(Zone::new().a("a.example", [192, 0, 2, 7].into()));
        assert_eq!(
            targets(&dns, "a.example", TlsMode::Required).await,
            texts(&["a.example:5269"])
        );
        assert_eq!(
            addresses(&dns, "a.example").await,
            texts(&["192.0.2.7:5269"])
        );
        // The target is the same for a name that does not exist; its addresses tell.
        assert_eq!(
            addresses(&dns, "b.example").await,
            Err(ResolveError::NotFound)
        );
    }

    #[tokio::test]
    async fn a_service_that_is_absent_is_no_failure() {
        let (_server, dns) = ask(Zone::new()
            .service_absent("_xmpp-server._tcp.a.example")
            .a("a.example", [192, 0, 2, 7].into()));
        assert_eq!(
            targets(&dns, "a.example", TlsMode::Required).await,
            Err(ResolveError::NoService)
        );
    }

    #[tokio::test]
    async fn a_server_that_fails_is_told_from_a_name_that_is_not_there() {
        let (_server, dns) = ask(Zone::new()
            .fails("_xmpp-server._tcp.a.example")
            .fails("x.example"));
        for result in [
            targets(&dns, "a.example", TlsMode::Disabled).await,
            addresses(&dns, "x.example").await,
        ] {
            assert!(matches!(result, Err(ResolveError::Failed(_))), "{result:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_failure() {
        let (_server, dns) = ask(Zone::new().silent("_xmpp-server._tcp.a.example"));
        let result = targets(&dns, "a.example", TlsMode::Disabled).await;
        assert!(matches!(result, Err(ResolveError::Failed(_))), "{result:?}");
    }

    #[tokio::test]
    async fn addresses_are_of_both_families() {
        let (server, dns) = ask(Zone::new()
            .a("x.example", [192, 0, 2, 7].into())
            .aaaa("x.example", "2001:db8::7".parse().unwrap()));
        assert_eq!(
            addresses(&dns, "x.example").await,
            texts(&["[2001:db8::7]:5269", "192.0.2.7:5269"])
        );
        let before = server.asked().len();
        assert_eq!(
            addresses(&dns, "192.0.2.9").await,
            texts(&["192.0.2.9:5269"])
        );
        assert_eq!(server.asked().len(), before);
    }

    #[tokio::test]
    async fn answers_and_absences_are_kept_for_their_time() {
        for (ttl, asked_again) in [(60, false), (0, true)] {
            let zone =
                Zone::new()
                    .ttl(ttl)
                    .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, "x.example");
            let (server, dns) = ask(zone);
            for name in ["a.example", "b.example"] {
                let first = targets(&dns, name, TlsMode::Disabled).await;
                let before = server.asked().len();
                assert_eq!(targets(&dns, name, TlsMode::Disabled).await, first);
                assert_eq!(
                    server.asked().len() > before,
                    asked_again,
                    "{name}, {ttl} s"
                );
            }
        }
    }

    #[tokio::test]
    async fn an_address_is_not_asked_for() {
        let (server, dns) = ask(Zone::new());
        assert_eq!(
            targets(&dns, "192.0.2.7", TlsMode::Required).await,
            texts(&["192.0.2.7:5269"])
        );
        assert_eq!(
            targets(&dns, "[2001:db8::7]", TlsMode::Required).await,
            texts(&["[2001:db8::7]:5269"])
        );
        assert_eq!(server.asked(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn onion_services_are_never_asked_for() {
        let (server, dns) = ask(Zone::new()
            .srv("_xmpp-server._tcp.x.onion", 0, 0, 5269, "x.onion")
            .a("x.onion", [127, 0, 0, 1].into()));
        assert_eq!(
            targets(&dns, "X.Onion", TlsMode::Required).await,
            texts(&["x.onion:5269"])
        );
        for name in ["x.onion", "a.X.ONION.", "onion"] {
            assert_eq!(addresses(&dns, name).await, Err(ResolveError::Onion));
        }
        assert_eq!(server.asked(), Vec::<String>::new());
        assert_eq!(
            addresses(&dns, "onion.example").await,
            Err(ResolveError::NotFound)
        );
    }

    #[tokio::test]
    async fn international_domains_are_asked_for_as_a_labels() {
        let name = "_xmpp-server._tcp.xn--mller-kva.example";
        let (_server, dns) = ask(Zone::new().srv(name, 0, 0, 5269, "x.example"));
        assert_eq!(
            targets(&dns, "müller.example", TlsMode::Disabled).await,
            texts(&["x.example:5269"])
        );
    }

    #[tokio::test]
    async fn a_name_is_asked_for_as_it_is() {
        let (server, dns) = ask(Zone::new());
        // No search list, and no file with local names: the machine's own name is in it on many systems.
        let own = std::fs::read_to_string("/etc/hostname").unwrap_or_else(|_| "printer".to_owned());
        assert_eq!(
            addresses(&dns, own.trim()).await,
            Err(ResolveError::NotFound)
        );
        let mut asked = server.asked();
        asked.sort();
        let own = own.trim().to_ascii_lowercase();
        assert_eq!(asked, [format!("{own} A"), format!("{own} AAAA")]);
    }

    #[tokio::test]
    async fn a_name_that_the_dns_cannot_hold_is_not_found() {
        let (_server, dns) = ask(Zone::new());
        let long = format!("{}.example", "a".repeat(64));
        assert_eq!(addresses(&dns, &long).await, Err(ResolveError::NotFound));
    }

    #[test]
    fn dice_stay_in_range() {
        assert_eq!(dice(0), 0);
        for most in [1, 5, u32::MAX] {
            assert!((0..1_000).all(|_| dice(most) <= most));
        }
    }
}
