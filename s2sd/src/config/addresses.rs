//! The kinds of values that name a domain, an address or a URI. See [`values`](super::values).

use std::net::{IpAddr, SocketAddr};

use toml::de::DeValue;
use xmpp_stream::Domain;

use super::{Connect, Pattern, Proxy, host_and_port::host_and_port, wrong::Wrong};

/// A domain.
pub(super) fn domain(value: &DeValue<'_>) -> Result<Domain, Wrong> {
    let wrong = || Wrong::new("a domain such as \"example.org\"", value);
    let text = value.as_str().ok_or_else(wrong)?;
    Domain::parse(text).map_err(|_| wrong())
}

/// A domain, or `*.` and a domain.
pub(super) fn pattern(value: &DeValue<'_>) -> Result<Pattern, Wrong> {
    let wrong = || {
        Wrong::new(
            "a domain such as \"example.net\" or a pattern such as \"*.example.net\"",
            value,
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    let parsed = match text.strip_prefix("*.") {
        Some(parent) => Domain::parse(parent).map(Pattern::Below),
        None => Domain::parse(text).map(Pattern::Exactly),
    };
    match parsed {
        Ok(Pattern::Below(parent)) if parent.is_ip() => {
            Err(wrong().because("nothing is below an IP address"))
        }
        Ok(pattern) => Ok(pattern),
        Err(_) if text == "*" => {
            Err(wrong().because("what holds for every peer stands in [policy]"))
        }
        Err(_) => Err(wrong()),
    }
}

/// A domain, `*.` and a domain, or `*`.
pub(super) fn anybody(value: &DeValue<'_>) -> Result<Pattern, Wrong> {
    match value.as_str() {
        Some("*") => Ok(Pattern::Everyone),
        _ => pattern(value).map_err(|wrong| Wrong {
            must_be: "domains and patterns such as \"example.net\", \"*.example.net\" or \"*\""
                .to_owned(),
            ..wrong
        }),
    }
}

/// An address to listen on.
pub(super) fn listen_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let wrong = || {
        Wrong::new(
            "an address and a port such as \"[::]:5269\" or \"127.0.0.1:5269\"",
            value,
        )
    };
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)
}

/// A name server; its port is 53 unless said.
pub(super) fn name_server(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let wrong = || {
        Wrong::new(
            "an address such as \"192.0.2.53\" or \"127.0.0.1:5353\"",
            value,
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    address.or_else(|_| text.parse()).map_err(|_| wrong())
}

/// `host:port`, `[::1]:port`, `tls://host:port`.
pub(super) fn connect(value: &DeValue<'_>) -> Result<Connect, Wrong> {
    let wrong = || {
        Wrong::new(
            "a host and a port such as \"192.0.2.7:5269\" or \"tls://xmpp.example.net:5270\"",
            value,
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    let (direct_tls, place) = match text.split_once("://") {
        Some(("tls", place)) => (true, place),
        Some(_) => {
            return Err(wrong().because("the only scheme is tls://, for TLS from the first byte"));
        }
        None => (false, text),
    };
    let (host, port) = host_and_port(place).map_err(|why| match why {
        Some(why) => wrong().because(why),
        None => wrong(),
    })?;
    Ok(Connect {
        host,
        port,
        direct_tls,
    })
}

/// An address of this machine.
pub(super) fn own_address(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
    let wrong = || {
        Wrong::new(
            "an IP address of this machine such as \"192.0.2.1\" or \"2001:db8::1\"",
            value,
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    let address: IpAddr = text.parse().map_err(|_| match text.parse::<SocketAddr>() {
        Ok(_) => wrong().because("without a port: each connection has its own"),
        Err(_) => wrong(),
    })?;
    if address.is_unspecified() {
        return Err(wrong().because("leave it out to let the system choose"));
    }
    Ok(address)
}

/// A proxy; none for the empty text. It may hold a password, so messages do not repeat it.
pub(super) fn proxy(value: &DeValue<'_>) -> Result<Option<Proxy>, Wrong> {
    let must_be = "a proxy such as \"socks5://127.0.0.1:9050\"";
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) => Proxy::parse(text).map(Some).map_err(|why| {
            let wrong = Wrong::new(must_be, value).because(why);
            match text.contains('@') {
                true => Wrong {
                    found: "this is not".to_owned(),
                    ..wrong
                },
                false => wrong,
            }
        }),
        None => Err(Wrong::new(must_be, value)),
    }
}

/// Something with a scheme.
pub(super) fn uri(value: &DeValue<'_>) -> Result<String, Wrong> {
    let wrong = || Wrong::new("a URI such as \"mailto:abuse@example.org\"", value);
    let text = value.as_str().ok_or_else(wrong)?;
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if is_scheme && !rest.is_empty() && !text.contains(char::is_whitespace) {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

/// Principals of Kerberos 5 in full, as the libraries print them; what they would have to quote is in no domain.
pub(super) fn principal(value: &DeValue<'_>) -> Result<String, Wrong> {
    let wrong = || {
        Wrong::new(
            "a principal such as \"xmpp/example.org@EXAMPLE.ORG\"",
            value,
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    let plain = |part: &str| !part.is_empty() && !part.contains(['@', '\\', '\0']);
    match text.split_once('@') {
        Some((name, realm)) if plain(name) && plain(realm) => Ok(text.to_owned()),
        Some(_) => Err(wrong()),
        None => Err(wrong().because("with its realm")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::values::tests::check, *};

    #[test]
    fn places_to_connect_to() {
        let place = |host: &str, port, direct_tls| {
            Ok(Connect {
                host: host.to_owned(),
                port,
                direct_tls,
            })
        };
        check(connect, "'192.0.2.7:5269'", place("192.0.2.7", 5269, false));
        check(
            connect,
            "'tls://xmpp.example.net:5270'",
            place("xmpp.example.net", 5270, true),
        );
        check(connect, "'[::1]:5269'", place("::1", 5269, false));
        check(
            connect,
            "'::1:5269'",
            Err(Some("an IPv6 address stands in brackets")),
        );
        check(
            connect,
            "'xmpp.example.net'",
            Err(Some("the port is missing")),
        );
        check(
            connect,
            "'xmpp.example.net:0'",
            Err(Some("the port must be a number from 1 to 65535")),
        );
        check(
            connect,
            "'http://a.example:80'",
            Err(Some(
                "the only scheme is tls://, for TLS from the first byte",
            )),
        );
    }

    #[test]
    fn addresses() {
        check(
            listen_address,
            "'[::]:5269'",
            Ok("[::]:5269".parse().unwrap()),
        );
        check(listen_address, "':5269'", Err(None));
        check(
            name_server,
            "'192.0.2.53'",
            Ok("192.0.2.53:53".parse().unwrap()),
        );
        check(name_server, "'::1'", Ok("[::1]:53".parse().unwrap()));
        check(
            name_server,
            "'127.0.0.1:5353'",
            Ok("127.0.0.1:5353".parse().unwrap()),
        );
        check(
            uri,
            "'mailto:abuse@example.org'",
            Ok("mailto:abuse@example.org".to_owned()),
        );
        check(uri, "'abuse@example.org'", Err(None));
    }
}
