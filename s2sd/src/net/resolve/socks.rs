//! Connects to a target through a SOCKS5 proxy: RFC 1928, with user name and password of RFC 1929.
//!
//! The proxy gets the name as it is and finds the address itself, as Tor wants it. CONNECT only; the address that the
//! proxy connects from is ignored.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::dial::Stuck;
use crate::config::Login;
use crate::host::Host;
use crate::protocol::plan::Target;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Asks the proxy at the other end for a connection to `target`. Afterwards the stream is that connection.
///
/// # Errors
///
/// The proxy's error, or that it is not a SOCKS5 proxy.
pub(super) async fn connect(
    proxy: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
    login: Option<&Login>,
) -> io::Result<()> {
    // s2sd offers only what it can do: with a login, a proxy that wants none has to say so.
    let offered: &[u8] = match login {
        Some(_) => &[VERSION, 2, PASSWORD, NO_LOGIN],
        None => &[VERSION, 1, NO_LOGIN],
    };
    proxy.write_all(offered).await?;
    let [version, method] = read(proxy).await?;
    if version != VERSION {
        return Err(stuck("what answers there is no SOCKS5 proxy"));
    }
    match (method, login) {
        (NO_LOGIN, _) => {}
        (PASSWORD, Some(login)) => {
            proxy.write_all(&credentials(login)).await?;
            let [_, status] = read(proxy).await?;
            if status != 0 {
                let why = "it does not accept our user name and password";
                return Err(stuck(why));
            }
        }
        (_, Some(_)) => return Err(stuck("it does not want a password from us")),
        (_, None) => return Err(stuck("it wants to know who asks")),
    }
    proxy.write_all(&request(target)?).await?;
    let [version, reply, _, kind] = read(proxy).await?;
    if version != VERSION {
        return Err(stuck("what answers there is no SOCKS5 proxy"));
    }
    if reply != 0 {
        let why = refusal(reply);
        return Err(match reply {
            // The proxy's rules, and its abilities.
            2 | 7 | 8 => Stuck::error(why),
            _ => io::Error::other(why),
        });
    }
    // The address that it connects from. Not a byte more may be taken: the other server's follow.
    let length = match kind {
        IPV4 => Ipv4Addr::BITS / 8,
        IPV6 => Ipv6Addr::BITS / 8,
        NAME => {
            let [length] = read(proxy).await?;
            u32::from(length)
        }
        _ => return Err(stuck("its answer cannot be understood")),
    };
    for _ in 0..length + 2 {
        let [_] = read(proxy).await?;
    }
    Ok(())
}

async fn read<const N: usize>(proxy: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match proxy.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(stuck("it closed the connection"))
        }
        Err(error) => Err(error),
    }
}

/// The proxy's own fault, or ours.
fn stuck(why: &str) -> io::Error {
    Stuck::error(why.to_owned())
}

/// RFC 1929 §2.
fn credentials(login: &Login) -> Vec<u8> {
    let mut out = vec![1];
    for part in [login.username.as_str(), login.password.as_str()] {
        // The configuration has no longer ones.
        let part = part.as_bytes().get(..255).unwrap_or(part.as_bytes());
        out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(part);
    }
    out
}

/// RFC 1928 §4.
fn request(target: &Target) -> io::Result<Vec<u8>> {
    let mut out = vec![VERSION, CONNECT, 0];
    match &target.host {
        Host::Address(IpAddr::V4(address)) => {
            out.push(IPV4);
            out.extend_from_slice(&address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            out.push(IPV6);
            out.extend_from_slice(&address.octets());
        }
        Host::Name(name) => {
            let length = u8::try_from(name.len());
            let length = length.map_err(|_| io::Error::other("the name is too long"))?;
            out.extend_from_slice(&[NAME, length]);
            out.extend_from_slice(name.as_bytes());
        }
    }
    out.extend_from_slice(&target.port.to_be_bytes());
    Ok(out)
}

/// RFC 1928 §6, and what Tor says beyond it of onion services (its `socks-extensions`).
fn refusal(reply: u8) -> String {
    let known = match reply {
        1 => "general failure",
        2 => "its rules do not allow the connection",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "it cannot connect by TCP",
        8 => "it does not know this kind of address",
        0xf0 => "the onion service is not found",
        0xf1 => "the descriptor of the onion service is invalid",
        0xf2 => "the onion service does not answer",
        0xf3 => "the meeting point of the onion service does not answer",
        0xf4 | 0xf5 => "the onion service wants to know who asks",
        0xf6 => "this is no address of an onion service",
        0xf7 => "the onion service did not answer in time",
        other => return format!("reply {other}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::config::Secret;

    fn target(host: &str) -> Target {
        Target {
            configured: false,
            host: Host::parse(host),
            port: 5269,
            direct_tls: false,
            secure: false,
        }
    }

    fn login(username: &str, password: &str) -> Login {
        Login {
            username: username.to_owned(),
            password: Secret::new(password),
        }
    }

    /// What we write to a proxy that says all of this, what becomes of it, and what is then left to read.
    async fn say(
        host: &str,
        login: Option<&Login>,
        said: &[u8],
    ) -> (Vec<u8>, Result<Vec<u8>, String>) {
        let (mut ours, mut theirs) = duplex(4096);
        theirs.write_all(said).await.unwrap();
        theirs.shutdown().await.unwrap();
        let outcome = connect(&mut ours, &target(host), login).await;
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        drop(ours);
        let mut wrote = Vec::new();
        theirs.read_to_end(&mut wrote).await.unwrap();
        (
            wrote,
            outcome.map(|()| rest).map_err(|error| error.to_string()),
        )
    }

    #[tokio::test]
    async fn the_name_goes_to_the_proxy_and_what_follows_its_answer_stays() {
        let said = b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38<stream";
        let (wrote, outcome) = say("X.Onion.", None, said).await;
        assert_eq!(wrote, b"\x05\x01\x00\x05\x01\x00\x03\x07x.onion\x14\x95");
        assert_eq!(outcome, Ok(b"<stream".to_vec()));
    }

    #[tokio::test]
    async fn the_proxys_own_address_is_of_any_kind() {
        for bound in [
            &b"\x01abcd\x00\x00"[..],
            b"\x04abcdabcdabcdabcd\x00\x00",
            b"\x03\x05proxy\x00\x00",
            b"\x03\x00\x00\x00",
        ] {
            let said = [b"\x05\x00\x05\x00\x00", bound, b"!"].concat();
            assert_eq!(say("a.test", None, &said).await.1, Ok(b"!".to_vec()));
        }
    }

    #[tokio::test]
    async fn addresses_go_as_addresses() {
        let answer = b"\x05\x00\x05\x01\x00\x01";
        let (wrote, _) = say("192.0.2.7", None, answer).await;
        assert_eq!(wrote[3..], *b"\x05\x01\x00\x01\xc0\x00\x02\x07\x14\x95");
        let (wrote, _) = say("[::1]", None, answer).await;
        let want =
            b"\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01";
        assert_eq!(wrote[3..23], *want);
    }

    #[tokio::test]
    async fn a_login_is_said_where_it_is_wanted() {
        let login = login("juliet", "s");
        let granted = b"\x05\x02\x01\x00\x05\x00\x00\x01abcd\x00\x00";
        let (wrote, outcome) = say("a.test", Some(&login), granted).await;
        assert!(
            wrote.starts_with(b"\x05\x02\x02\x00\x01\x06juliet\x01s\x05\x01\x00\x03\x06a.test")
        );
        assert_eq!(outcome, Ok(Vec::new()));
        let free = b"\x05\x00\x05\x00\x00\x01abcd\x00\x00";
        let (wrote, outcome) = say("a.test", Some(&login), free).await;
        assert!(wrote.starts_with(b"\x05\x02\x02\x00\x05\x01\x00\x03\x06a.test"));
        assert_eq!(outcome, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_in_words() {
        let login = login("juliet", "s");
        for (login, said, want) in [
            (None, &b"\x05\xff"[..], "it wants to know who asks"),
            // A method we did not offer is none.
            (None, b"\x05\x02", "it wants to know who asks"),
            (
                Some(&login),
                b"\x05\xff",
                "it does not want a password from us",
            ),
            (
                Some(&login),
                b"\x05\x02\x01\x01",
                "it does not accept our user name and password",
            ),
            (
                None,
                b"HTTP/1.1 400",
                "what answers there is no SOCKS5 proxy",
            ),
            (None, b"", "it closed the connection"),
            (None, b"\x05\x00\x05", "it closed the connection"),
            (
                None,
                b"\x05\x00\x05\x00\x00\x01abc",
                "it closed the connection",
            ),
            (
                None,
                b"\x05\x00\x04\x00\x00\x01",
                "what answers there is no SOCKS5 proxy",
            ),
            (None, b"\x05\x00\x05\x05\x00\x01", "connection refused"),
            (
                None,
                b"\x05\x00\x05\xf0\x00\x01",
                "the onion service is not found",
            ),
            (None, b"\x05\x00\x05\x63\x00\x01", "reply 99"),
            (
                None,
                b"\x05\x00\x05\x00\x00\x02abcd",
                "its answer cannot be understood",
            ),
        ] {
            let (_, outcome) = say("a.test", login, said).await;
            assert_eq!(outcome, Err(want.to_owned()), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_is_not_cut() {
        let (wrote, outcome) = say(&"a".repeat(256), None, b"\x05\x00").await;
        assert_eq!(outcome, Err("the name is too long".to_owned()));
        assert_eq!(wrote.len(), 3);
    }
}
