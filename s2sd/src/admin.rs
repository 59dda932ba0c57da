//! Answers monitoring programs, and takes an operator's orders: HTTP with `/metrics` and JSON below `/api/`, on the
//! socket in `data_dir`, and on `admin` of `[listen]` if that is configured.
//!
//! On this machine only. The socket's mode admits only its user. TCP has no authentication, so it listens on loopback
//! only, which the configuration ensures. A browser on this machine that a page led here under another name (DNS
//! rebinding) is refused by that name (RFC 9110 §7.2, §15.5.20).

mod api;
mod metrics;
mod reload;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{HOST, ORIGIN},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, field::Empty, warn};

use self::reload::Reloads;
pub use self::reload::{ReloadOutcome, ReloadRequest, ReloadRequests};
pub(crate) use self::socket::{NoSocket, SOCKET, SocketFile, bind};
use crate::flow::router::Router;

/// How many requests may be open at the same time; further ones wait.
const AT_ONCE: usize = 16;
/// For one question and its answer.
const WITHIN: Duration = Duration::from_secs(10);

type HttpResponse = Response<Full<Bytes>>;

/// What pages read and orders go to.
#[derive(Debug)]
pub(crate) struct Admin {
    router: Arc<Router>,
    began: Instant,
    began_at: SystemTime,
    reloads: OnceLock<Reloads>,
    turns: Arc<Semaphore>,
}

/// Where questions come.
#[derive(Debug)]
pub(crate) enum Listener {
    /// From anybody on this machine.
    Tcp(TcpListener),
    /// From the user of this server.
    Socket(UnixListener),
}

enum Connection {
    Tcp(TcpStream),
    Socket(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(io, _)| Connection::Tcp(io)),
            Self::Socket(listener) => listener
                .accept()
                .await
                .map(|(io, _)| Connection::Socket(io)),
        }
    }
}

impl Admin {
    /// For this server, which begins now.
    pub(crate) fn new(router: Arc<Router>) -> Arc<Self> {
        Arc::new(Self {
            router,
            began: Instant::now(),
            began_at: SystemTime::now(),
            reloads: OnceLock::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Returns the requests to load the configuration again from now on. Only the first caller gets them.
    pub(crate) fn reload_requests(&self) -> ReloadRequests {
        let (reloads, requests) = reload::channel();
        let _ = self.reloads.set(reloads);
        requests
    }

    /// Answers until the server stops.
    pub(crate) async fn serve(self: Arc<Self>, listener: Listener) {
        let stop = self.router.shared().stop.clone();
        let answering = async {
            loop {
                let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok(connection) => {
                        let admin = Arc::clone(&self);
                        tokio::spawn(async move {
                            let _turn = turn;
                            let _ = timeout(WITHIN, admin.talk(connection)).await;
                        });
                    }
                    Err(error) => {
                        warn!(unproved = Empty, %error, "a connection could not be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(answering).await;
    }

    async fn talk(&self, connection: Connection) {
        match connection {
            Connection::Tcp(io) => self.talk_over(io, true).await,
            Connection::Socket(io) => self.talk_over(io, false).await,
        }
    }

    /// `anybody`: the client may be a browser that obeys a page.
    async fn talk_over(&self, io: impl AsyncRead + AsyncWrite + Unpin, anybody: bool) {
        let answer = service_fn(async |request: Request<Incoming>| {
            let answer = match is_meant(request.uri(), request.headers()) {
                _ if !anybody => api::answer(self, request.method(), request.uri()).await,
                true if is_of_a_page(&request) => api::plain(
                    StatusCode::FORBIDDEN,
                    "no page in a browser has a say here\n",
                ),
                true => api::answer(self, request.method(), request.uri()).await,
                false => api::plain(
                    StatusCode::MISDIRECTED_REQUEST,
                    "this server is called localhost here\n",
                ),
            };
            Ok::<_, Infallible>(answer)
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(io), answer);
        if let Err(error) = connection.await {
            debug!(%error, "a question about this server broke off");
        }
    }
}

/// Whether every name that the question has for us is one of this machine itself. HTTP/1.0 needs none.
fn is_meant(uri: &Uri, headers: &HeaderMap) -> bool {
    let named = headers.get_all(HOST).iter().map(|host| host.to_str().ok());
    uri.authority()
        .map(|authority| Some(authority.as_str()))
        .into_iter()
        .chain(named)
        .all(|name| name.is_some_and(is_here))
}

/// `localhost` or a loopback address, with a port or not.
fn is_here(name: &str) -> bool {
    let host = match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => name,
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// Whether a browser says that a page had it ask (Fetch §3.2): such a page may be anybody's.
fn is_of_a_page(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let is_safe = request.method() == Method::GET;
    !is_safe && (headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_ours() {
        for (name, ours) in [
            ("localhost", true),
            ("LocalHost:5280", true),
            ("127.0.0.1", true),
            ("127.0.0.2:5280", true),
            ("[::1]", true),
            ("[::1]:5280", true),
            ("[::ffff:127.0.0.1]:5280", true),
            ("", false),
            ("here", false),
            ("localhost.evil.test", false),
            ("evil.test:5280", false),
            ("localhost:evil.test", false),
            ("evil.test#127.0.0.1", false),
            ("127.0.0.1.evil.test", false),
            ("192.0.2.1:5280", false),
            ("[2001:db8::1]", false),
            ("user@localhost", false),
        ] {
            assert_eq!(is_here(name), ours, "{name}");
        }
    }
}
