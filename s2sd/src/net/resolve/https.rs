//! Fetches a small document by HTTPS: RFC 7711 §3 and §10.
//!
//! The server's certificate has to be good for the host of the address: signed by an authority that the policy trusts,
//! for servers, not revoked, with the host's name as dNSName. Connections follow the policy for streams: to public
//! addresses, from our own ones and through a proxy. The size is bounded. The publisher of a document chooses where it
//! is, so s2sd fetches only such documents: redirects lead to `https` on its own port and to a path of POSH only, and
//! their number is bounded.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{HOST, LOCATION, USER_AGENT},
    http::uri::{Authority, Scheme},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::task::JoinSet;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::Policy;
use crate::host::Host;
use crate::net::descriptors::Permit;
use crate::net::metered::Metered;
use crate::net::resolve::connect::connect;
use crate::net::resolve::dial::{Attempts, Dialed};
use crate::net::resolve::dns::Dns;
use crate::net::tls::Tls;
use crate::net::turns::Turns;
use crate::peer_text::PeerText;
use crate::protocol::admission::{AttemptLimit, Causer};
use crate::protocol::plan::Target;
use crate::trust::{PeerChain, Roots};

/// How much of a document is read.
const LARGEST: usize = 64 << 10;
/// How much a web server may send in all, with its handshake and its headers.
const MAX_READ: usize = 256 << 10;
/// How many redirects are followed (RFC 7711 §10).
const REDIRECTS: usize = 10;
/// The only port.
const HTTPS: u16 = 443;
/// RFC 7711 §9.1: where such documents are.
const DIRECTORY: &str = "/.well-known/posh/";
/// The longest address that is used.
const LONGEST: usize = 512;

/// With what documents are fetched.
pub(crate) struct Fetch<'a> {
    pub(crate) dns: &'a Dns,
    pub(crate) tls: &'a Tls,
    pub(crate) policy: &'a Policy,
    pub(crate) roots: &'a Arc<Roots>,
    /// For each connection.
    pub(crate) within: Duration,
    /// Turns for judging what the web server shows,
    pub(crate) judging: &'a Turns,
    /// which are those of the peer that causes the look-up.
    pub(crate) causer: &'a Causer,
    /// The limit of an unauthenticated peer on connections that it causes.
    pub(crate) attempt_limit: Option<&'a Arc<Mutex<AttemptLimit>>>,
}

/// The document, and its final address.
pub(crate) struct Fetched {
    pub(crate) body: Bytes,
    pub(crate) url: String,
}

enum HttpsReply {
    Document(Bytes),
    Redirect(String),
}

impl Fetch<'_> {
    /// Fetches the document at an address, or where a redirect from there leads.
    ///
    /// # Errors
    ///
    /// Why there is none, with the address.
    pub(crate) async fn get(&self, url: &str, attempts: &mut Attempts) -> Result<Fetched, String> {
        let mut url = address(url)?;
        for _ in 0..=REDIRECTS {
            match self.ask(&url, attempts).await {
                Ok(HttpsReply::Document(body)) => {
                    let url = url.to_string();
                    return Ok(Fetched { body, url });
                }
                Ok(HttpsReply::Redirect(next)) => {
                    url = led(&url, &next)
                        .map_err(|why| format!("{}: {why}", PeerText::new(&url.to_string())))?
                }
                Err(why) => return Err(format!("{}: {why}", PeerText::new(&url.to_string()))),
            }
        }
        Err(format!(
            "{}: more than {REDIRECTS} redirects",
            PeerText::new(&url.to_string())
        ))
    }

    async fn ask(&self, url: &Uri, attempts: &mut Attempts) -> Result<HttpsReply, String> {
        let authority = url.authority().ok_or("no host")?;
        let (tls, _permit) = self.tls(authority, attempts).await?;
        let handshake = http1::handshake(TokioIo::new(tls)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        // It ends with this function.
        let mut connected = JoinSet::new();
        connected.spawn(connection);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, "s2sd")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| error.to_string())?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let next = response.headers().get(LOCATION);
                let next = next.and_then(|next| next.to_str().ok());
                let next = next.ok_or("a redirect that leads nowhere")?;
                return Ok(HttpsReply::Redirect(next.to_owned()));
            }
            other => return Err(format!("the web server answers {other}")),
        }
        match Limited::new(response.into_body(), LARGEST).collect().await {
            Ok(body) => Ok(HttpsReply::Document(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(format!("the document is larger than {} KiB", LARGEST >> 10))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn tls(
        &self,
        authority: &Authority,
        attempts: &mut Attempts,
    ) -> Result<(TlsStream<Metered>, Permit), String> {
        let host = authority.host();
        let target = Target {
            host: Host::parse(host),
            port: HTTPS,
            direct_tls: true,
            secure: false,
            configured: false,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "no name of a host")?;
        let config = self.tls.web_client(self.policy.min_tls);
        attempts.ready().await;
        let dialed = connect(self.dns, &target, self.policy, attempts, self.within).await;
        let Dialed { tcp, permit } = dialed.map_err(|why| format!("no connection: {why}"))?;
        let tls = TlsConnector::from(config)
            .connect(name.clone(), Metered::at_most(tcp, MAX_READ))
            .await;
        let tls = tls.map_err(|error| format!("no TLS: {error}"))?;
        let (_, session) = tls.get_ref();
        let chain = session.peer_certificates().and_then(PeerChain::new);
        let chain = chain.ok_or("no certificate was shown")?;
        // Any was accepted in the handshake: a chain is bounded before anything is verified, and that takes a turn.
        let roots = Arc::clone(self.roots);
        let judge = move || roots.vouch_for(&chain, &name, UnixTime::now());
        match self.judging.compute(self.causer.address(), judge).await {
            Ok(()) => Ok((tls, permit)),
            Err(bad) => Err(format!("no TLS: {}", bad.of_it())),
        }
    }
}

fn address(url: &str) -> Result<Uri, String> {
    // A login in it would go to the server as a part of its name.
    match url.parse::<Uri>() {
        Ok(_) if url.contains('@') => Err(format!(
            "{}: not an address that is used here",
            PeerText::new(url)
        )),
        Ok(parsed) if parsed.scheme() == Some(&Scheme::HTTPS) && parsed.authority().is_some() => {
            match leads_to_posh(&parsed) && url.len() <= LONGEST {
                true => Ok(parsed),
                false => Err(format!(
                    "{}: not where documents of POSH are (https://HOST{DIRECTORY}NAME.json)",
                    PeerText::new(url)
                )),
            }
        }
        Ok(_) => Err(format!("{}: not an https address", PeerText::new(url))),
        Err(_) => Err(format!("{}: not an address", PeerText::new(url))),
    }
}

/// Another port or path could be any service, which may trust all that can reach it.
fn leads_to_posh(url: &Uri) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let name = url.path().strip_prefix(DIRECTORY);
    let name = name.and_then(|file| file.strip_suffix(".json"));
    url.port().is_none_or(|port| port.as_str() == "443")
        && url.query().is_none()
        && name.is_some_and(|name| !name.is_empty() && name.bytes().all(plain))
}

/// RFC 7711 §10: to `https` only. An address without a host is one on the same server.
fn led(from: &Uri, to: &str) -> Result<Uri, String> {
    match (to.strip_prefix('/'), from.authority()) {
        (Some(path), Some(authority)) if !path.starts_with('/') => {
            address(&format!("https://{authority}{to}"))
        }
        _ => address(to).map_err(|why| format!("a redirect to {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_shown_in_one_line() {
        let from = "https://a.example/".parse().unwrap();
        for url in ["http://x\nINFO", "https://u@x\u{202e}", "\u{200b}"] {
            let why = led(&from, url).unwrap_err();
            assert_eq!(PeerText::new(&why), why.as_str(), "{why}");
        }
    }

    #[test]
    fn only_documents_of_posh_are_asked_for() {
        for url in [
            "https://a.example/.well-known/posh/xmpp-server.json",
            "https://a.example:443/.well-known/posh/xmpp-server.json",
            "https://a.example/.well-known/posh/tenant_7.v2.json",
        ] {
            assert!(address(url).is_ok(), "{url}");
        }
        let long = format!(
            "https://a.example/.well-known/posh/{}.json",
            "x".repeat(512)
        );
        for url in [
            "https://a.example/",
            "https://a.example/posh.json",
            "https://a.example:8443/.well-known/posh/xmpp-server.json",
            "https://a.example:80/.well-known/posh/xmpp-server.json",
            "https://a.example/.well-known/posh/xmpp-server.json?delete=all",
            "https://a.example/.well-known/posh/../../admin.json",
            "https://a.example/.well-known/posh/%2e%2e/x.json",
            "https://a.example/.well-known/posh/a/b.json",
            "https://a.example/.well-known/posh/.json",
            "https://a.example/.well-known/posh/xmpp-server",
            "http://a.example/.well-known/posh/xmpp-server.json",
            "https://u@a.example/.well-known/posh/xmpp-server.json",
            "//a.example/.well-known/posh/xmpp-server.json",
            &long,
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_redirect_without_a_host_stays_on_its_server() {
        let from = address("https://a.example/.well-known/posh/xmpp-server.json").unwrap();
        let to = led(&from, "/.well-known/posh/other.json").unwrap();
        assert_eq!(to, "https://a.example/.well-known/posh/other.json");
        assert!(led(&from, "/other.json").is_err());
        assert!(led(&from, "//b.example/.well-known/posh/other.json").is_err());
    }
}
