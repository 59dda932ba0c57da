//! Answers programs that watch this server: `/metrics`, in the text format of OpenMetrics. And the one thing that it can be
//! told: to try again what failed, `/retry`, in JSON.
//!
//! On this machine only, since nobody is asked who he is; the configuration sees to that. A browser on this machine that
//! was led here under another name (DNS rebinding) is turned away by that name (RFC 9110 §7.2, §15.5.20).

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rustls::pki_types::UnixTime;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, field::Empty, warn};
use xmpp_stream::Domain;

use crate::flow::router::Router;
use crate::net::descriptors::Share;
use crate::protocol::negotiate::DomainPair;

/// How many may ask at one time; who comes then waits.
const AT_ONCE: usize = 16;
/// For one question and its answer.
const WITHIN: Duration = Duration::from_secs(10);
/// So many pairs are named.
const NAMED: usize = 100;
/// The text format's own name.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type HttpResponse = Response<Full<Bytes>>;

/// Answers until the server stops.
pub(crate) async fn serve(router: Arc<Router>, listener: TcpListener) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let stop = router.shared().stop.clone();
    let answering = async {
        loop {
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((tcp, _)) => {
                    let router = Arc::clone(&router);
                    tokio::spawn(async move {
                        let _turn = turn;
                        let _ = timeout(WITHIN, talk(&router, tcp)).await;
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

async fn talk(router: &Router, tcp: TcpStream) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = match is_meant(request.uri(), request.headers()) {
            true if is_of_a_page(&request) => plain(
                StatusCode::FORBIDDEN,
                "no page in a browser has a say here\n",
            ),
            true => answer(router, request.method(), request.uri()),
            false => plain(
                StatusCode::MISDIRECTED_REQUEST,
                "this server is called localhost here\n",
            ),
        };
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), answer);
    if let Err(error) = connection.await {
        debug!(%error, "a question about this server broke off");
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

/// `all`, or `domain=` with a domain in ASCII, in which only `[`, `]` and `:` of an IPv6 address may be encoded.
fn wanted(query: &str) -> Option<Option<Domain>> {
    if query == "all" {
        return Some(None);
    }
    let text = query.strip_prefix("domain=")?;
    let text = text.replace("%5B", "[").replace("%5D", "]");
    Some(Some(Domain::parse(&text.replace("%3A", ":")).ok()?))
}

/// How many pairs had failed, and the first of them.
fn retried(pairs: &[DomainPair]) -> HttpResponse {
    let named = pairs.iter().take(NAMED);
    let named = named.map(|pair| [pair.local.as_str(), pair.remote.as_str()]);
    let said = json!({ "retried": pairs.len(), "pairs": named.collect::<Vec<_>>() });
    let mut answer = Response::new(Full::from(format!("{said}\n")));
    let kind = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer
}

fn answer(router: &Router, method: &Method, uri: &Uri) -> HttpResponse {
    match (method, uri.path()) {
        (&Method::GET, "/metrics") => {
            let mut answer = Response::new(Full::from(metrics(router)));
            let kind = hyper::header::HeaderValue::from_static(OPEN_METRICS);
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
        (_, "/metrics") => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            let get = hyper::header::HeaderValue::from_static("GET");
            answer.headers_mut().insert(ALLOW, get);
            answer
        }
        (&Method::POST, "/retry") => match wanted(uri.query().unwrap_or_default()) {
            Some(wanted) => retried(&router.retry(wanted.as_ref())),
            None => plain(
                StatusCode::BAD_REQUEST,
                "either domain= with a domain, or all\n",
            ),
        },
        (_, "/retry") => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
            let post = hyper::header::HeaderValue::from_static("POST");
            answer.headers_mut().insert(ALLOW, post);
            answer
        }
        _ => plain(
            StatusCode::NOT_FOUND,
            "there is only /metrics and /retry here\n",
        ),
    }
}

/// Taken when somebody asks: nothing is counted for nobody.
fn metrics(router: &Router) -> String {
    let mut registry = Registry::with_prefix("s2sd");
    let expiry = Family::<Vec<(&str, String)>, Gauge>::default();
    let text = "When the certificate shown for a served domain runs out, in seconds since 1970";
    registry.register("certificate_expiry_timestamp_seconds", text, expiry.clone());
    for own in router.shared().tls.own_certificates(UnixTime::now()) {
        let seconds = i64::try_from(own.not_after.as_secs()).unwrap_or(i64::MAX);
        let labels = vec![("domain", own.domain.as_str().to_owned())];
        expiry.get_or_create(&labels).set(seconds);
    }
    let lanes = Gauge::<i64>::default();
    lanes.set(i64::try_from(router.lanes().len()).unwrap_or(i64::MAX));
    registry.register("lanes", "Pairs of domains with a queue or a stream", lanes);
    connections(router, &mut registry);
    let (counted, limit) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    let memory = &router.shared().memory;
    counted.set(i64::try_from(memory.used()).unwrap_or(i64::MAX));
    limit.set(i64::try_from(memory.total()).unwrap_or(i64::MAX));
    let text =
        "Memory of what waits, what is half read and of connections, as far as it is counted";
    registry.register("memory_bytes", text, counted);
    let text = "How much of that there may be: `memory` in [limits]";
    registry.register("memory_limit_bytes", text, limit);
    let questions = Gauge::<i64>::default();
    questions.set(i64::try_from(router.questions().pending()).unwrap_or(i64::MAX));
    let text = "Dialback keys that wait for their authoritative servers";
    registry.register("questions", text, questions);
    let descriptors = Family::<Vec<(&str, &str)>, Gauge>::default();
    let text = "File descriptors of connections, and of attempts to make one";
    registry.register("descriptors", text, descriptors.clone());
    for share in Share::ALL {
        let taken = router.shared().descriptors.taken(share);
        let labels = vec![("share", share.name())];
        let gauge = descriptors.get_or_create(&labels);
        gauge.set(i64::try_from(taken).unwrap_or(i64::MAX));
    }
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        warn!(%error, "the metrics could not be written");
    }
    text
}

/// Those that are open, and those that were refused.
fn connections(router: &Router, registry: &mut Registry) {
    let open = Family::<Vec<(&str, &str)>, Gauge>::default();
    let refused = Family::<Vec<(&str, &str)>, Counter>::default();
    let shared = router.shared();
    for (listener, connection_limit) in
        [("s2s", &shared.servers), ("components", &shared.components)]
    {
        let (authenticated, unauthenticated) = connection_limit.numbers();
        for (state, number) in [
            ("authenticated", authenticated),
            ("unauthenticated", unauthenticated),
        ] {
            let labels = vec![("listener", listener), ("state", state)];
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            open.get_or_create(&labels).set(number);
        }
        for (refusal, number) in connection_limit.refused().iter() {
            let labels = vec![("listener", listener), ("reason", refusal.name())];
            refused.get_or_create(&labels).inc_by(number);
        }
    }
    registry.register("connections", "Connections that others opened", open);
    let text = "Connections and streams that were refused because there were too many";
    registry.register("connections_refused", text, refused);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_is_meant_or_all_are() {
        let domain = |text| Some(Some(Domain::parse(text).unwrap()));
        for (query, meant) in [
            ("all", Some(None)),
            ("domain=a.example", domain("a.example")),
            ("domain=A.Example.", domain("a.example")),
            (
                "domain=xn--bcher-kva.example",
                domain("b\u{fc}cher.example"),
            ),
            ("domain=%5B::1%5D", domain("[::1]")),
            ("", None),
            ("domain=", None),
            ("domain=a%20b", None),
            ("domain=a.example&all", None),
            ("all=1", None),
        ] {
            assert_eq!(wanted(query), meant, "{query}");
        }
    }

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
