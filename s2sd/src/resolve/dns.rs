//! Asks the DNS: SRV records of a domain, addresses of a host.
//!
//! Every name is asked for as it is (no search list, no local hosts file). Answers are kept as long as
//! their TTL says, absences at most [`NEGATIVE_TTL`].

use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{
    Resolver, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};
use xmpp_stream::Domain;

use super::plan::{Answer, Host, ResolveError, Srv, Target, fallback, is_onion, plan};
use crate::config::{self, TlsMode};
use crate::tls::TlsaSet;

/// Whoever repairs a zone should not wait long until we look again.
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
/// A record with a TTL of a year is asked for again after a day.
const POSITIVE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// In answers, not bytes.
const CACHE: u64 = 8192;

/// The resolver with its cache.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl Dns {
    /// A resolver that asks the given servers, or the system's if none are given.
    ///
    /// # Errors
    ///
    /// The system's configuration (`/etc/resolv.conf`) cannot be read, with the reason.
    pub fn new(config: &config::Dns) -> Result<Self, String> {
        let mut builder = if config.servers.is_empty() {
            Resolver::builder_tokio()
                .map_err(|error| format!("the system's DNS configuration: {error}"))?
        } else {
            let servers = config.servers.iter().map(|server| name_server(*server));
            Resolver::builder_with_config(
                ResolverConfig::from_name_servers(servers.collect()),
                TokioRuntimeProvider::default(),
            )
        };
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = CACHE;
        options.negative_max_ttl = Some(NEGATIVE_TTL);
        options.positive_max_ttl = Some(POSITIVE_TTL);
        options.try_tcp_on_error = true;
        options.edns0 = true;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { resolver })
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
        let direct = async {
            match tls {
                TlsMode::Disabled => Answer::Absent,
                TlsMode::Optional | TlsMode::Required => self.srv("_xmpps-server", domain).await,
            }
        };
        let (plain, direct) = tokio::join!(self.srv("_xmpp-server", domain), direct);
        plan(domain, plain, direct, &mut dice)
    }

    /// The addresses of a place, IPv6 first.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NotFound`] if the name does not exist or has no address, [`ResolveError::Onion`] if no DNS can
    /// have one.
    pub async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, ResolveError> {
        let name = match &target.host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, target.port)]),
            Host::Name(name) if is_onion(name) => return Err(ResolveError::Onion),
            Host::Name(name) => absolute(name).ok_or(ResolveError::NotFound)?,
        };
        let (v6, v4) = tokio::join!(
            self.ask(name.clone(), RecordType::AAAA),
            self.ask(name, RecordType::A)
        );
        let mut found = Vec::new();
        let mut failure = None;
        for answer in [v6, v4] {
            match answer {
                Ok(records) => found.extend(records.iter().filter_map(RData::ip_addr)),
                Err(why) => failure = Some(why),
            }
        }
        match (found.is_empty(), failure) {
            (false, _) => Ok(found
                .into_iter()
                .map(|address| SocketAddr::new(address, target.port))
                .collect()),
            (true, Some(why)) => Err(ResolveError::Failed(why)),
            (true, None) => Err(ResolveError::NotFound),
        }
    }

    /// The TLSA records of a place (RFC 6698 §3, RFC 7673 §3.3). They are asked for only where all that led to the place
    /// is proved by DNSSEC, its addresses too; `None` where it is not, and where there are no usable ones.
    ///
    /// # Errors
    ///
    /// The answer is not proved, or there is none: the place must not be used (RFC 7673 §3.4).
    pub async fn tlsa(&self, target: &Target) -> Result<Option<TlsaSet>, ResolveError> {
        // Nothing is validated, so nothing is proved.
        debug_assert!(!target.secure);
        Ok(None)
    }

    async fn srv(&self, service: &str, domain: &Domain) -> Answer {
        let Some(name) = absolute(&format!("{service}._tcp.{}", domain.ascii())) else {
            return Answer::Absent;
        };
        let records = match self.ask(name, RecordType::SRV).await {
            Ok(records) => records,
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
            true => Answer::Absent,
            false => Answer::Records(records),
        }
    }

    /// All records of an answer; none if there are none; an error if there was no answer.
    async fn ask(&self, name: Name, kind: RecordType) -> Result<Vec<RData>, String> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .map(|record| record.data.clone())
                .collect()),
            Err(error) => match is_absence(&error) {
                true => Ok(Vec::new()),
                false => Err(error.to_string()),
            },
        }
    }
}

/// NXDOMAIN and NODATA are answers; SERVFAIL, REFUSED and silence are not.
fn is_absence(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => matches!(
            none.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        ),
        _ => false,
    }
}

/// The name with its final dot, so that no search list applies; `None` for what no DNS name can hold.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
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
        let dns = Dns::new(&config::Dns { servers }).unwrap();
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
        Ok(found.iter().map(ToString::to_string).collect())
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
