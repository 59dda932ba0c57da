//! `proxy` for outgoing connections: `socks5://host:port`, with `user:password@` if the proxy requires authentication.

use std::fmt;

use super::{Secret, host_and_port::host_and_port, kind::show};

show! {
    Proxy: |proxy| proxy.to_string();
}

/// A SOCKS5 proxy (RFC 1928).
#[derive(Clone, Debug)]
pub struct Proxy {
    /// A host name or an IP address (without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Our login (RFC 1929).
    pub login: Option<Login>,
}

/// Our login at a proxy. Tor makes a circuit of its own for each.
#[derive(Clone, Debug)]
pub struct Login {
    /// At most 255 bytes.
    pub username: String,
    /// Likewise.
    pub password: Secret,
}

/// Without the password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("socks5://")?;
        if let Some(login) = &self.login {
            write!(f, "{}:…@", login.username)?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Proxy {
    /// Reads a proxy's URI, or says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let place = match text.split_once("://") {
            Some(("socks5", place)) => place,
            Some(("socks5h", _)) => {
                return Err("write socks5://; names are resolved by the proxy in any case");
            }
            _ => return Err("the only kind of proxy is socks5://"),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        // The last one: a password may have an @ in it, a host cannot.
        let (login, place) = match place.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, place),
        };
        let login = login.map(Login::parse).transpose()?;
        let (host, port) = host_and_port(place).map_err(|why| {
            why.unwrap_or("a host name or an IP address and a port stand after socks5://")
        })?;
        Ok(Self { host, port, login })
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (username, password) = text
            .split_once(':')
            .ok_or("a user name has a password after a colon: socks5://user:password@host:port")?;
        let part = |text: &str| {
            let part = decoded(text).ok_or(PERCENT)?;
            // RFC 1929 §2: each has one byte for its length, and one character at least.
            match part.len() {
                1..=255 => Ok(part),
                _ => Err("user name and password have from 1 to 255 bytes"),
            }
        };
        Ok(Self {
            username: part(username)?,
            password: Secret::new(part(password)?),
        })
    }
}

const PERCENT: &str = "after a % stand two hexadecimal digits, and all is UTF-8 in the end";

/// RFC 3986 §2.1.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How it is shown, its host and port, and its login.
    type Read<'a> = (&'a str, &'a str, u16, Option<(&'a str, &'a str)>);

    #[track_caller]
    fn check(text: &str, want: Read<'_>) {
        let proxy = Proxy::parse(text).unwrap();
        let login = proxy.login.as_ref();
        let login = login.map(|it| (it.username.as_str(), it.password.as_str()));
        let shown = proxy.to_string();
        assert_eq!(
            (shown.as_str(), proxy.host.as_str(), proxy.port, login),
            want
        );
    }

    #[test]
    fn proxies_are_read() {
        let tor = "socks5://127.0.0.1:9050";
        check(tor, (tor, "127.0.0.1", 9050, None));
        check("socks5://127.0.0.1:9050/", (tor, "127.0.0.1", 9050, None));
        check(
            "socks5://[::1]:1080",
            ("socks5://[::1]:1080", "::1", 1080, None),
        );
        check(
            "socks5://juliet:s%40cr%C3%a9t:@proxy.EXAMPLE:1",
            (
                "socks5://juliet:…@proxy.example:1",
                "proxy.example",
                1,
                Some(("juliet", "s@crét:")),
            ),
        );
        check(
            "socks5://a:b@c@[::1]:1",
            ("socks5://a:…@[::1]:1", "::1", 1, Some(("a", "b@c"))),
        );
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        let refused = |text: &str, want| assert_eq!(Proxy::parse(text).err(), Some(want), "{text}");
        for text in ["127.0.0.1:9050", "http://127.0.0.1:8080", ""] {
            refused(text, "the only kind of proxy is socks5://");
        }
        refused(
            "socks5h://127.0.0.1:9050",
            "write socks5://; names are resolved by the proxy in any case",
        );
        refused("socks5://127.0.0.1", "the port is missing");
        refused(
            "socks5://exa mple:9050",
            "a host name or an IP address and a port stand after socks5://",
        );
        refused(
            "socks5://juliet@127.0.0.1:9050",
            "a user name has a password after a colon: socks5://user:password@host:port",
        );
        let length = "user name and password have from 1 to 255 bytes";
        refused("socks5://:x@127.0.0.1:9050", length);
        refused(&format!("socks5://x:{}@[::1]:1", "y".repeat(256)), length);
        refused("socks5://x:%4@127.0.0.1:9050", PERCENT);
        refused("socks5://x:%ff@127.0.0.1:9050", PERCENT);
    }

    #[test]
    fn a_password_is_not_shown() {
        let proxy = Proxy::parse("socks5://juliet:secret@127.0.0.1:9050").unwrap();
        assert!(!format!("{proxy} {proxy:?}").contains("secret"));
    }
}
