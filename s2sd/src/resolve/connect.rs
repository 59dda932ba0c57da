//! To one place, the way a policy says: from our own addresses, and through a proxy.

use std::{io, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    dial::dial,
    dns::Dns,
    plan::{Host, ResolveError, Target},
    socks,
};
use crate::config::{Policy, Proxy};

/// Why there is no connection to a place.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// It has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No address answers, or the proxy does not get there.
    #[error(transparent)]
    Connect(#[from] io::Error),
}

/// Connects to a place. With a proxy, its name is the proxy's to resolve.
///
/// # Errors
///
/// See [`Unreached`].
pub async fn connect(
    dns: &Dns,
    target: &Target,
    policy: &Policy,
    within: Duration,
) -> Result<TcpStream, Unreached> {
    match &policy.proxy {
        Some(proxy) => {
            let through = |error| io::Error::other(format!("through {proxy}: {error}"));
            Ok(by_proxy(dns, target, policy, proxy, within)
                .await
                .map_err(through)?)
        }
        None => {
            let addresses = dns.addresses(target).await?;
            Ok(dial(&addresses.all, &policy.source, within).await?)
        }
    }
}

async fn by_proxy(
    dns: &Dns,
    target: &Target,
    policy: &Policy,
    proxy: &Proxy,
    within: Duration,
) -> Result<TcpStream, Unreached> {
    let end = Instant::now() + within;
    let place = Target {
        host: Host::parse(&proxy.host),
        port: proxy.port,
        direct_tls: false,
        secure: false,
    };
    let addresses = dns.addresses(&place).await?;
    let mut tcp = dial(&addresses.all, &policy.source, within).await?;
    let asked = socks::connect(&mut tcp, target, proxy.login.as_ref());
    match timeout_at(end, asked).await {
        Ok(granted) => granted?,
        Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
    Ok(tcp)
}
