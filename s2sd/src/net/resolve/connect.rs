//! Connects to one target as the policy says: to which addresses, from our own ones, and through a proxy.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::config::{Addresses, Policy, Proxy};
use crate::host::Host;
use crate::net::descriptors::{Exhausted, is_exhausted};
use crate::net::resolve::dial::{Attempts, Dialed, Stuck, dial, is_stuck};
use crate::net::resolve::dns::Dns;
use crate::net::resolve::socks;
use crate::protocol::plan::{ResolveError, Target};
use crate::protocol::special::Special;

/// Why there is no connection to a place.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It has no public address, and others are left out here.
    #[error(transparent)]
    LeftOut(#[from] LeftOut),
    /// No address answers, or the proxy does not get there.
    #[error(transparent)]
    Connect(#[from] io::Error),
}

/// What happened on this machine, or at the proxy.
impl ConnectError {
    /// Whether the other server has no part in it: there is no route, or the proxy does not answer.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self, Self::Connect(error) if is_stuck(error))
    }
}

impl ConnectError {
    /// Whether it was this server that had no descriptor for it.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Resolve(why) => *why == ResolveError::Exhausted,
            Self::LeftOut(_) => false,
            Self::Connect(error) => is_exhausted(error),
        }
    }
}

/// Addresses that s2sd does not connect to, by `addresses = "public"`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct LeftOut {
    /// Each with the reason.
    what: Vec<(Host, Special)>,
    /// The rule that says so: `[policy]` or `[[peer]] legacy.example`.
    rule: String,
}

/// So many are named.
const NAMED: usize = 3;

impl LeftOut {
    /// `127.0.0.1 (loopback), 10.0.0.1 (private)`.
    pub fn what(&self) -> String {
        let named = self.what.iter().take(NAMED);
        let named = named.map(|(host, special)| format!("{host} ({special})"));
        let mut text = named.collect::<Vec<_>>().join(", ");
        if self.what.len() > NAMED {
            text.push_str(&format!(" and {} more", self.what.len() - NAMED));
        }
        text
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, rule) = (self.what(), &self.rule);
        write!(f, "{what} left out by `addresses = \"public\"` in {rule}")
    }
}

/// Sorts out what a policy does not connect to. What the configuration names itself is never left out.
#[derive(Debug)]
pub(crate) struct AddressRule<'a> {
    rule: &'a str,
    is_in_force: bool,
}

impl<'a> AddressRule<'a> {
    pub(crate) fn of(target: &Target, policy: &'a Policy) -> Self {
        Self {
            rule: &policy.rule,
            is_in_force: !target.configured && policy.addresses == Addresses::Public,
        }
    }

    /// The addresses that are left of these, and those left out.
    pub(crate) fn sort_out(&self, all: Vec<SocketAddr>) -> (Vec<SocketAddr>, Option<LeftOut>) {
        let special = |address: &SocketAddr| match self.is_in_force {
            true => Special::of(address.ip()),
            false => None,
        };
        let mut what = Vec::new();
        let mut left = all;
        left.retain(|address| match special(address) {
            Some(special) => {
                what.push((Host::Address(address.ip()), special));
                false
            }
            None => true,
        });
        (left, self.left_out(what))
    }

    /// The same for a host whose addresses the proxy finds.
    fn admits(&self, host: &Host) -> Result<(), LeftOut> {
        let special = self.is_in_force.then(|| Special::of_host(host)).flatten();
        let what = special.map(|special| (host.clone(), special));
        self.left_out(what.into_iter().collect())
            .map_or(Ok(()), Err)
    }

    fn left_out(&self, what: Vec<(Host, Special)>) -> Option<LeftOut> {
        let rule = self.rule.to_owned();
        (!what.is_empty()).then_some(LeftOut { what, rule })
    }
}

/// Connects to a place, on the resolver's account. With a proxy, its name is the proxy's to resolve, and which addresses are public is too.
///
/// # Errors
///
/// See [`ConnectError`].
pub(crate) async fn connect(
    dns: &Dns,
    target: &Target,
    policy: &Policy,
    attempts: &mut Attempts,
    within: Duration,
) -> Result<Dialed, ConnectError> {
    let rule = AddressRule::of(target, policy);
    match &policy.proxy {
        Some(proxy) => {
            rule.admits(&target.host)?;
            let through = |error: ConnectError| match error {
                error if error.is_ours() => Exhausted.into(),
                error if error.is_stuck() => Stuck::error(format!("through {proxy}: {error}")),
                error => io::Error::other(format!("through {proxy}: {error}")),
            };
            Ok(by_proxy(dns, target, policy, proxy, attempts, within)
                .await
                .map_err(through)?)
        }
        None => {
            let end = Instant::now() + within;
            let found = timeout_at(end, dns.addresses_soon(target)).await;
            let found = found.unwrap_or_else(|_| Err(late()))?;
            let account = dns.account();
            let (addresses, left_out) = rule.sort_out(found.all);
            let error: ConnectError = match left_out {
                Some(left_out) if addresses.is_empty() => left_out.into(),
                left_out => {
                    let dialed = dial(&addresses, &policy.source, account, attempts, within);
                    match dialed.await {
                        Ok(dialed) => return Ok(dialed),
                        Err(error) => also(error, left_out).into(),
                    }
                }
            };
            if found.is_complete || error.is_ours() {
                return Err(error);
            }
            // The other family may be there by now.
            let Ok(Ok(all)) = timeout_at(end, dns.addresses(target)).await else {
                return Err(error);
            };
            let (mut others, _) = rule.sort_out(all.all);
            others.retain(|address| !addresses.contains(address));
            if others.is_empty() {
                return Err(error);
            }
            let left = end.duration_since(Instant::now());
            let dialed = dial(&others, &policy.source, account, attempts, left).await;
            dialed.map_err(|also| match error {
                ConnectError::Connect(error) => {
                    io::Error::new(also.kind(), format!("{error}; {also}")).into()
                }
                _ => also.into(),
            })
        }
    }
}

fn late() -> ResolveError {
    ResolveError::Unanswered("none in time".into())
}

/// A failure, with the addresses that were not tried.
fn also(error: io::Error, left_out: Option<LeftOut>) -> io::Error {
    match left_out {
        // Where something was left out, the DNS has a part in it.
        Some(left_out) => io::Error::new(error.kind(), format!("{error}; {left_out}")),
        None => error,
    }
}

async fn by_proxy(
    dns: &Dns,
    target: &Target,
    policy: &Policy,
    proxy: &Proxy,
    attempts: &mut Attempts,
    within: Duration,
) -> Result<Dialed, ConnectError> {
    let end = Instant::now() + within;
    let place = Target {
        host: Host::parse(&proxy.host),
        port: proxy.port,
        direct_tls: false,
        secure: false,
        configured: true,
    };
    // Up to here only this server and the proxy have a part in it.
    let stuck = |error: io::Error| match is_exhausted(&error) {
        true => error,
        false => Stuck::error(error.to_string()),
    };
    let addresses = timeout_at(end, dns.addresses_soon(&place)).await;
    let addresses = match addresses.unwrap_or_else(|_| Err(late())) {
        Err(why) if why != ResolveError::Exhausted => {
            return Err(Stuck::error(why.to_string()).into());
        }
        addresses => addresses?,
    };
    let account = dns.account();
    let dialed = dial(&addresses.all, &policy.source, account, attempts, within);
    let mut dialed = dialed.await.map_err(stuck)?;
    let asked = socks::connect(&mut dialed.tcp, target, proxy.login.as_ref());
    match timeout_at(end, asked).await {
        Ok(granted) => granted?,
        Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
    Ok(dialed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, configured: bool) -> Target {
        Target {
            host: Host::parse(host),
            port: 5269,
            direct_tls: false,
            secure: false,
            configured,
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 5269);
        texts.iter().map(address).collect()
    }

    #[test]
    fn what_is_not_public_is_left_out_and_said_with_its_reason_and_the_key() {
        let policy = Policy::default();
        let rule =
            |configured| AddressRule::of(&target("x.example", configured), &policy).is_in_force;
        assert!(rule(false) && !rule(true));
        let target = target("x.example", false);
        let all = [
            "1.0.0.1",
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "fe80::1",
            "2a00::1",
        ];
        let (left, out) = AddressRule::of(&target, &policy).sort_out(addresses(&all));
        assert_eq!(left, addresses(&["1.0.0.1", "2a00::1"]));
        assert_eq!(
            out.unwrap().to_string(),
            "127.0.0.1 (loopback), 10.0.0.1 (private), [::1] (loopback) and 1 more left out by \
             `addresses = \"public\"` in [policy]"
        );
        let any = Policy {
            addresses: Addresses::Any,
            ..Policy::default()
        };
        let (left, out) = AddressRule::of(&target, &any).sort_out(addresses(&all));
        assert_eq!((left, out), (addresses(&all), None));
    }

    /// RFC 8305 §3: an address that comes late is an address.
    #[tokio::test]
    async fn a_family_that_is_answered_late_is_tried_where_the_other_fails() {
        use crate::config;
        use crate::tools::demo::zone::{Zone, ZoneServer};
        use std::net::{Ipv4Addr, Ipv6Addr};
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Target {
            port: open.local_addr().unwrap().port(),
            ..target("x.example", true)
        };
        // No listener at this port.
        let zone = Zone::new().aaaa("x.example", Ipv6Addr::LOCALHOST);
        let silent = zone.clone().silent_about("x.example", "A");
        let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), silent).unwrap();
        let config = config::Dns {
            servers: vec![server.addr()],
            ..config::Dns::default()
        };
        let dns = Dns::new(&config).unwrap();
        let mut asked = server.watch();
        let answers = async {
            while asked.recv().await.unwrap() != "x.example A" {}
            server.replace(zone.a("x.example", Ipv4Addr::LOCALHOST));
        };
        let (policy, mut attempts) = (Policy::default(), Attempts::default());
        let within = Duration::from_secs(60);
        let connecting = connect(&dns, &place, &policy, &mut attempts, within);
        let (dialed, ()) = tokio::join!(connecting, answers);
        assert_eq!(
            dialed.unwrap().tcp.peer_addr().unwrap(),
            open.local_addr().unwrap()
        );
    }

    /// It may find an address by itself.
    #[test]
    fn a_proxy_is_not_asked_for_this_machine_or_for_an_address_in_disguise() {
        let policy = Policy::default();
        let admitted = |host: &str, configured| {
            let target = target(host, configured);
            AddressRule::of(&target, &policy)
                .admits(&target.host)
                .is_ok()
        };
        for host in ["localhost", "a.localhost", "127.1", "10.0.0.1", "[::1]"] {
            assert!(!admitted(host, false), "{host}");
            assert!(admitted(host, true), "{host}");
        }
        for host in ["x.example", "x.onion", "1.0.0.1"] {
            assert!(admitted(host, false), "{host}");
        }
    }
}
