//! `/metrics`: the state of this server as numbers, in the text format of OpenMetrics, which Prometheus reads.
//!
//! [`METRICS`] lists all of them; `cargo xtask tidy` holds it against `docs/metrics.md`. Every label has few values:
//! kinds of streams, names of causes, methods, our own domains, and never a peer's words. All are read when a request
//! comes.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use rustls::pki_types::UnixTime;
use tracing::warn;

use self::Kind::{Counts, Measures};
use crate::flow::router::Router;
use crate::flow::sessions::StreamKind;
use crate::net::descriptors::Share;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A counter: it only grows. Its name ends in `_total`.
    Counts,
    /// A gauge.
    Measures,
}

/// A metric, as a line of the page describes it.
#[derive(Clone, Copy, Debug)]
struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

/// All of them.
#[rustfmt::skip]
const METRICS: &[Metric] = &[
    metric("s2sd_build_info", Measures, &["version"], "Always 1; the version is in the label"),
    metric("s2sd_start_time_seconds", Measures, &[], "When this server started, in seconds since 1970"),
    metric("s2sd_streams", Measures, &["direction", "state", "method", "tls"], "Streams that there are"),
    metric("s2sd_streams_authenticated_total", Counts, &["direction", "method", "tls"], "Streams on which a first pair of domains was proved"),
    metric("s2sd_streams_ended_total", Counts, &["direction", "by", "cause"], "Authenticated streams that ended"),
    metric("s2sd_handshakes_failed_total", Counts, &["direction", "cause"], "Connections that ended before anything was proved on them"),
    metric("s2sd_attempts_failed_total", Counts, &["cause"], "Attempts to reach another server that made no stream, look-ups and all addresses included"),
    metric("s2sd_stanzas_total", Counts, &["direction", "way"], "Stanzas that streams received and sent"),
    metric("s2sd_bytes_total", Counts, &["direction", "way"], "Bytes that streams received and sent, without those of TLS"),
    metric("s2sd_bounces_total", Counts, &["cause"], "Stanzas that s2sd answered with an error"),
    metric("s2sd_dropped_total", Counts, &["why"], "Stanzas that s2sd dropped without an answer"),
    metric("s2sd_unknown_fate_total", Counts, &[], "Stanzas at most that may not have arrived because a connection broke"),
    metric("s2sd_lanes", Measures, &[], "Pairs of domains with a queue or a stream"),
    metric("s2sd_lanes_failing", Measures, &[], "Those of them whose last attempt failed"),
    metric("s2sd_queue_stanzas", Measures, &["queue"], "Stanzas that wait or are being written"),
    metric("s2sd_queue_bytes", Measures, &["queue"], "Bytes of these stanzas"),
    metric("s2sd_queue_oldest_seconds", Measures, &[], "For how long the oldest stanza has been waiting for another server"),
    metric("s2sd_memory_bytes", Measures, &[], "Memory of what waits, what is half read and of connections, as far as it is counted"),
    metric("s2sd_memory_limit_bytes", Measures, &[], "How much of that there may be: `memory` in [limits]"),
    metric("s2sd_connections", Measures, &["listener", "state"], "Connections that others opened"),
    metric("s2sd_connections_refused_total", Counts, &["listener", "reason"], "Connections and streams that were refused because there were too many"),
    metric("s2sd_questions", Measures, &[], "Dialback keys that wait for their authoritative servers"),
    metric("s2sd_descriptors", Measures, &["share"], "File descriptors of connections, and of attempts to make one"),
    metric("s2sd_certificate_expiry_timestamp_seconds", Measures, &["domain"], "When the certificate shown for a served domain runs out, in seconds since 1970"),
];

/// Numbers by the values of their labels.
type Samples = BTreeMap<Vec<String>, u64>;

/// The values.
#[derive(Debug, Default)]
struct Read(BTreeMap<&'static str, Samples>);

impl Read {
    /// Adds to the number of a metric for these values of its labels.
    fn count(&mut self, name: &'static str, labels: &[&str], value: u64) {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        *self.0.entry(name).or_default().entry(labels).or_default() += value;
    }

    fn text(mut self) -> String {
        let mut registry = Registry::default();
        for metric in METRICS {
            let samples = self.0.remove(metric.name).unwrap_or_default();
            metric.register(samples, &mut registry);
        }
        debug_assert!(self.0.is_empty(), "{:?} are not in the list", self.0);
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &registry) {
            warn!(%error, "the metrics could not be written");
        }
        text
    }
}

impl Metric {
    fn register(&self, samples: Samples, registry: &mut Registry) {
        let named = |values: Vec<String>| -> Vec<(&'static str, String)> {
            debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
            self.labels.iter().copied().zip(values).collect()
        };
        match self.kind {
            // The encoder would write empty braces.
            Measures if self.labels.is_empty() => {
                let gauge: Gauge = Gauge::default();
                let value = samples.into_values().next().unwrap_or_default();
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
                registry.register(self.name, self.help, gauge);
            }
            Counts if self.labels.is_empty() => {
                let counter = Counter::<u64>::default();
                counter.inc_by(samples.into_values().next().unwrap_or_default());
                registry.register(self.name.trim_end_matches("_total"), self.help, counter);
            }
            Counts => {
                let family = Family::<_, Counter<u64>>::default();
                for (values, value) in samples {
                    family.get_or_create(&named(values)).inc_by(value);
                }
                // The format itself has `_total` at the end of a counter.
                let name = self.name.trim_end_matches("_total");
                registry.register(name, self.help, family);
            }
            Measures => {
                let family = Family::<_, Gauge>::default();
                for (values, value) in samples {
                    family
                        .get_or_create(&named(values))
                        .set(i64::try_from(value).unwrap_or(i64::MAX));
                }
                registry.register(self.name, self.help, family);
            }
        }
    }
}

/// All metrics, as text.
pub(super) fn text(router: &Router, began: SystemTime) -> String {
    let mut read = Read::default();
    read.count("s2sd_build_info", &[env!("CARGO_PKG_VERSION")], 1);
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
    read.count("s2sd_start_time_seconds", &[], began.as_secs());
    streams(router, &mut read);
    stanzas(router, &mut read);
    queues(router, &mut read);
    limits(router, &mut read);
    for own in router.shared().tls.own_certificates(UnixTime::now()) {
        let name = "s2sd_certificate_expiry_timestamp_seconds";
        read.count(name, &[own.domain.as_str()], own.not_after.as_secs());
    }
    read.text()
}

fn streams(router: &Router, read: &mut Read) {
    let sessions = &router.shared().sessions;
    for stream in sessions.streams() {
        let method = stream.proofs.first().map_or("none", |proof| proof.method);
        let (kind, state) = (stream.kind.name(), stream.state.name());
        read.count(
            "s2sd_streams",
            &[kind, state, method, stream.tls_version()],
            1,
        );
    }
    let totals = sessions.totals();
    for ((kind, method, tls), count) in totals.authenticated {
        let labels = [kind.name(), method, tls];
        read.count("s2sd_streams_authenticated_total", &labels, count);
    }
    for ((kind, by, cause), count) in totals.ended {
        read.count("s2sd_streams_ended_total", &[kind.name(), by, cause], count);
    }
    for ((kind, cause), count) in totals.failed {
        read.count("s2sd_handshakes_failed_total", &[kind.name(), cause], count);
    }
    for kind in StreamKind::ALL {
        let traffic = totals.traffic.get(&kind).copied().unwrap_or_default();
        for (way, stanzas, bytes) in [
            ("received", traffic.stanzas_in, traffic.bytes_in),
            ("sent", traffic.stanzas_out, traffic.bytes_out),
        ] {
            let labels = [kind.name(), way];
            read.count("s2sd_stanzas_total", &labels, stanzas);
            read.count("s2sd_bytes_total", &labels, bytes);
        }
    }
}

fn stanzas(router: &Router, read: &mut Read) {
    let tally = router.tally();
    for (cause, count) in tally.attempts_failed() {
        read.count("s2sd_attempts_failed_total", &[cause], count);
    }
    for (cause, count) in tally.bounces() {
        read.count("s2sd_bounces_total", &[cause], count);
    }
    let counts = tally.counts(&router.shared().sessions);
    for (why, count) in [
        ("no-answer-allowed", counts.unanswerable),
        ("no-room", counts.dropped),
        ("too-late", counts.too_late),
    ] {
        read.count("s2sd_dropped_total", &[why], count);
    }
    read.count("s2sd_unknown_fate_total", &[], counts.unknown_fate);
}

fn queues(router: &Router, read: &mut Read) {
    let lanes = router.lanes().load(Instant::now());
    read.count("s2sd_lanes", &[], lanes.lanes as u64);
    read.count("s2sd_lanes_failing", &[], lanes.failing as u64);
    let (stanzas, bytes) = router.components().waiting();
    for (queue, stanzas, bytes) in [
        ("lanes", lanes.stanzas, lanes.bytes),
        ("components", stanzas, bytes),
    ] {
        read.count("s2sd_queue_stanzas", &[queue], stanzas as u64);
        read.count("s2sd_queue_bytes", &[queue], bytes as u64);
    }
    let oldest = lanes.oldest.unwrap_or_default();
    read.count("s2sd_queue_oldest_seconds", &[], oldest.as_secs());
}

fn limits(router: &Router, read: &mut Read) {
    let shared = router.shared();
    read.count("s2sd_memory_bytes", &[], shared.memory.used() as u64);
    read.count("s2sd_memory_limit_bytes", &[], shared.memory.total() as u64);
    read.count("s2sd_questions", &[], router.questions().pending() as u64);
    for share in Share::ALL {
        let taken = shared.descriptors.taken(share);
        read.count("s2sd_descriptors", &[share.name()], taken as u64);
    }
    for (listener, limit) in [("s2s", &shared.servers), ("components", &shared.components)] {
        let (authenticated, unauthenticated) = limit.numbers();
        for (state, number) in [
            ("authenticated", authenticated),
            ("unauthenticated", unauthenticated),
        ] {
            read.count("s2sd_connections", &[listener, state], number as u64);
        }
        for (refusal, number) in limit.refused().iter() {
            let labels = [listener, refusal.name()];
            read.count("s2sd_connections_refused_total", &labels, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_metric_is_and_each_has_a_help() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len(), "each stands once");
        for metric in METRICS {
            let counts = metric.name.ends_with("_total");
            assert_eq!(metric.kind == Counts, counts, "{}", metric.name);
            assert!(metric.name.starts_with("s2sd_"), "{}", metric.name);
            assert!(
                !metric.help.is_empty() && !metric.help.ends_with('.'),
                "{}",
                metric.name
            );
        }
    }

    #[test]
    fn a_number_is_written_with_its_labels() {
        let mut read = Read::default();
        read.count("s2sd_bounces_total", &["connect"], 3);
        read.count("s2sd_lanes", &[], 2);
        read.count("s2sd_queue_oldest_seconds", &[], 1);
        let text = read.text();
        for line in [
            "# TYPE s2sd_bounces counter\n",
            "s2sd_bounces_total{cause=\"connect\"} 3\n",
            "s2sd_lanes 2\n",
            "s2sd_queue_oldest_seconds 1\n",
            "# HELP s2sd_lanes Pairs of domains with a queue or a stream.\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
