//! A host with its port, as it stands in a place and in a proxy's URI.

use std::net::Ipv6Addr;

use xmpp_stream::Domain;

/// `host:port`, `[::1]:port`; or what is wrong with it, where that can be said.
pub(super) fn host_and_port(place: &str) -> Result<(String, u16), Option<&'static str>> {
    let (host, port) = place.rsplit_once(':').ok_or("the port is missing")?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let port = port.ok_or("the port must be a number from 1 to 65535")?;
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => address.to_owned(),
        Some(_) => return Err(Some("only an IPv6 address stands in brackets")),
        None if host.contains(':') => return Err(Some("an IPv6 address stands in brackets")),
        None => Domain::parse(host).map_err(|_| None)?.ascii().to_owned(),
    };
    Ok((host, port))
}
