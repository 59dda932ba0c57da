//! What a request is answered with: `/metrics`, and JSON below `/api/`.

use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode, Uri,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use xmpp_stream::Domain;

use super::{Admin, HttpResponse, metrics};
use crate::flow::lanes::LaneFacts;
use crate::flow::sessions::{Facts, Proof, StreamKind, StreamState};
use crate::protocol::lane::AGES;
use crate::protocol::negotiate::DomainPair;

/// So many pairs are named.
const NAMED: usize = 100;
/// The text format's own name.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const DAY: i64 = 24 * 60 * 60;

pub(super) async fn answer(admin: &Admin, method: &Method, uri: &Uri) -> HttpResponse {
    let query = uri.query().unwrap_or_default();
    let (wanted, path) = match uri.path() {
        path @ ("/metrics" | "/api/status" | "/api/streams" | "/api/lanes") => (Method::GET, path),
        path @ ("/api/retry" | "/api/close" | "/api/reload") => (Method::POST, path),
        _ => {
            let text = "there is only /metrics, and /api/ with status, streams, lanes, retry, close and reload\n";
            return plain(StatusCode::NOT_FOUND, text);
        }
    };
    if *method != wanted {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
        if let Ok(wanted) = HeaderValue::from_str(wanted.as_str()) {
            answer.headers_mut().insert(ALLOW, wanted);
        }
        return answer;
    }
    match path {
        "/metrics" => {
            let text = metrics::text(&admin.router, admin.began_at);
            with_type(Full::from(text), OPEN_METRICS)
        }
        "/api/status" => said(&status(admin)),
        "/api/streams" => said(&streams(admin)),
        "/api/lanes" => said(&lanes(admin).await),
        "/api/retry" => retry(admin, query),
        "/api/close" => close(admin, query),
        _ => reload(admin).await,
    }
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer
}

fn with_type(body: Full<hyper::body::Bytes>, kind: &'static str) -> HttpResponse {
    let mut answer = Response::new(body);
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn said(value: &Value) -> HttpResponse {
    with_type(Full::from(format!("{value}\n")), "application/json")
}

/// Not done, and why.
fn refused(status: StatusCode, why: &str) -> HttpResponse {
    let mut answer = said(&json!({ "error": why }));
    *answer.status_mut() = status;
    answer
}

fn status(admin: &Admin) -> Value {
    let router = &admin.router;
    let shared = router.shared();
    let streams = shared.sessions.streams();
    let open = |kind: StreamKind| {
        let streams = streams.iter();
        let is_it = |it: &&Facts| it.kind == kind && it.state != StreamState::Negotiating;
        streams.filter(is_it).count()
    };
    let negotiating = streams
        .iter()
        .filter(|it| it.state == StreamState::Negotiating);
    let lanes = router.lanes().load(Instant::now());
    let counts = router.tally().counts(&shared.sessions);
    let now = UnixTime::now();
    let certificates = shared.tls.own_certificates(now).into_iter().map(|own| {
        let left = own.not_after.as_secs() as i64 - now.as_secs() as i64;
        json!({
            "domain": own.domain.as_str(),
            "not_after": own.not_after.as_secs(),
            "days_left": left.div_euclid(DAY),
        })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": admin.began.elapsed().as_secs(),
        "stopping": shared.stop.is_cancelled(),
        "streams": {
            "incoming": open(StreamKind::Incoming),
            "outgoing": open(StreamKind::Outgoing),
            "component": open(StreamKind::Component),
            "negotiating": negotiating.count(),
        },
        "lanes": { "all": lanes.lanes, "failing": lanes.failing },
        "queue": {
            "lanes": lanes.stanzas,
            "oldest_seconds": lanes.oldest.map(|oldest| oldest.as_secs()),
            "components": router.components().waiting().0,
        },
        "memory": { "used": shared.memory.used(), "limit": shared.memory.total() },
        "stanzas": {
            "to_servers": counts.to_peers,
            "to_components": counts.to_components,
            "bounced": counts.bounced,
            "dropped": counts.unanswerable + counts.dropped + counts.too_late,
            "unknown_fate": counts.unknown_fate,
        },
        "certificates": certificates.collect::<Vec<_>>(),
    })
}

fn streams(admin: &Admin) -> Value {
    let streams = admin.router.shared().sessions.streams();
    let streams: Vec<Value> = streams.iter().map(stream).collect();
    json!({ "streams": streams })
}

fn stream(stream: &Facts) -> Value {
    let now = Instant::now();
    let since = |then: Instant| now.saturating_duration_since(then).as_secs();
    let proof = |proof: &Proof| {
        json!({
            "local": proof.local.as_str(),
            "remote": proof.remote.as_ref().map(Domain::as_str),
            "method": proof.method,
            "trust": proof.trust,
            "because": proof.because,
        })
    };
    let tls = stream
        .tls
        .as_ref()
        .map(|tls| json!({ "version": tls.version, "cipher": tls.cipher, "group": tls.group }));
    let traffic = &stream.traffic;
    json!({
        "id": stream.id,
        "direction": stream.kind.name(),
        "state": stream.state.name(),
        "wanted": stream.wanted.as_ref().map(pair),
        "pairs": stream.proofs.iter().map(proof).collect::<Vec<_>>(),
        "lanes": stream.lanes.iter().map(pair).collect::<Vec<_>>(),
        "tls": tls,
        "bidi": stream.bidi,
        "peer": stream.peer.to_string(),
        "age_seconds": since(stream.since),
        "silent_seconds": since(stream.active),
        "stanzas": { "received": traffic.stanzas_in, "sent": traffic.stanzas_out },
        "bytes": { "received": traffic.bytes_in, "sent": traffic.bytes_out },
    })
}

fn pair(pair: &DomainPair) -> Value {
    json!({ "local": pair.local.as_str(), "remote": pair.remote.as_str() })
}

async fn lanes(admin: &Admin) -> Value {
    let lanes = admin.router.lanes().facts().await;
    let lanes: Vec<Value> = lanes.iter().map(lane).collect();
    let bounds: Vec<u64> = AGES.iter().map(Duration::as_secs).collect();
    json!({ "ages_below_seconds": bounds, "lanes": lanes })
}

fn lane(lane: &LaneFacts) -> Value {
    let report = lane.report.as_ref();
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    let failure = report.and_then(|report| report.failure.as_ref());
    json!({
        "local": lane.pair.local.as_str(),
        "remote": lane.pair.remote.as_str(),
        // A task that does not answer is closing its stream.
        "state": report.map_or("busy", |report| report.state),
        "waiting": lane.stanzas,
        "bytes": lane.bytes,
        "ages": report.map_or([0; AGES.len() + 1], |report| report.ages),
        "oldest_seconds": seconds(report.and_then(|report| report.oldest)),
        "next_try_seconds": seconds(report.and_then(|report| report.next_try)),
        "failure": failure.map(|(cause, text)| json!({ "cause": cause, "text": text })),
    })
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
fn retry(admin: &Admin, query: &str) -> HttpResponse {
    let Some(wanted) = wanted(query) else {
        let why = "either domain= with a domain, or all";
        return refused(StatusCode::BAD_REQUEST, why);
    };
    let pairs = admin.router.retry(wanted.as_ref());
    let named = pairs.iter().take(NAMED);
    let named = named.map(|pair| [pair.local.as_str(), pair.remote.as_str()]);
    said(&json!({ "retried": pairs.len(), "pairs": named.collect::<Vec<_>>() }))
}

fn close(admin: &Admin, query: &str) -> HttpResponse {
    let id = query.strip_prefix("id=").and_then(|id| id.parse().ok());
    let Some(id) = id else {
        return refused(StatusCode::BAD_REQUEST, "id= with the number of a stream");
    };
    match admin.router.shared().sessions.close(id) {
        Some(closing) => said(&json!({ "closing": stream(&closing) })),
        None => refused(
            StatusCode::GONE,
            &format!("there is no stream {id}; `s2sd streams` shows those that there are"),
        ),
    }
}

async fn reload(admin: &Admin) -> HttpResponse {
    let outcome = match admin.reloads.get() {
        Some(reloads) => reloads.ask().await,
        None => None,
    };
    match outcome {
        Some(Ok(lines)) => said(&json!({ "reloaded": true, "said": lines })),
        Some(Err(lines)) => said(&json!({ "reloaded": false, "said": lines })),
        None => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "this s2sd takes no new configuration: it is stopping, or was not started from a file",
        ),
    }
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
}
