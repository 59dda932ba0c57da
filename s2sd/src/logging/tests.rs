use std::sync::{Arc, Mutex};

use tracing::{debug, error, field::Empty, info, info_span, trace, warn};

use super::*;
use crate::peer_text::is_deceptive;
use tracing::subscriber;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written of what `work` says.
fn written(log: &Log, work: impl FnOnce(&Logging)) -> String {
    let written = Written::default();
    let to = written.clone();
    let (subscriber, logging) = build(
        log,
        Look {
            colours: false,
            time: false,
        },
        move || to.clone(),
    );
    subscriber::with_default(subscriber, || work(&logging));
    String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_line_is_for_people() {
    let text = written(&Log::default(), |_| {
        let _span = info_span!("in", peer = "192.0.2.7").entered();
        info!(cause = "host-unknown", "stream ended");
        debug!("not wanted");
    });
    assert_eq!(
        text,
        " INFO in{peer=\"192.0.2.7\"}: stream ended cause=\"host-unknown\"\n"
    );
}

#[test]
fn an_object_is_for_programs() {
    let log = Log {
        format: LogFormat::Json,
        ..Log::default()
    };
    let text = written(&log, |_| {
        let _span = info_span!("in", peer = "192.0.2.7").entered();
        info!(cause = "host-unknown", "stream \"ended\"");
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "stream \"ended\"");
    assert_eq!(line["cause"], "host-unknown");
    assert_eq!(line["span"]["peer"], "192.0.2.7");
}

#[test]
fn the_level_is_ours_and_libraries_are_quiet() {
    let log = Log {
        level: LogLevel::Trace,
        ..Log::default()
    };
    let text = written(&log, |_| {
        trace!("<iq/>");
        trace!(target: "hickory_resolver", "a packet");
        warn!(target: "hickory_resolver", "no server");
    });
    assert!(
        text.contains("<iq/>") && text.contains("no server") && !text.contains("a packet"),
        "{text}"
    );

    let log = Log {
        level: LogLevel::Error,
        ..Log::default()
    };
    let text = written(&log, |_| {
        error!("ours");
        warn!(target: "hickory_resolver", "theirs");
    });
    assert_eq!(text, "ERROR ours\n");
}

#[test]
fn whole_answers_of_the_dns_are_logged_for_who_asks_for_them() {
    let written = |target: Option<&str>| {
        let targets = target.map(|target| (target.to_owned(), LogLevel::Warn));
        let log = Log {
            targets: targets.into_iter().collect(),
            ..Log::default()
        };
        written(&log, |_| {
            warn!(target: "hickory_net::dnssec", "a packet");
            warn!(target: "hickory_net::udp", "no server");
        })
    };
    assert!(!written(None).contains("a packet") && written(None).contains("no server"));
    assert!(!written(Some("s2sd")).contains("a packet"));
    for named in ["hickory_net", "hickory_net::dnssec"] {
        assert!(written(Some(named)).contains("a packet"), "{named}");
    }
}

#[test]
fn a_target_has_a_level_of_its_own() {
    let targets = vec![
        ("hickory_resolver".to_owned(), LogLevel::Debug),
        ("s2sd::router".to_owned(), LogLevel::Off),
    ];
    let text = written(
        &Log {
            targets,
            ..Log::default()
        },
        |_| {
            debug!(target: "hickory_resolver::name_server", "asked");
            error!(target: "s2sd::router", "not wanted");
            info!(target: "s2sd::lane", "wanted");
        },
    );
    assert_eq!(
        text,
        "DEBUG hickory_resolver::name_server: asked\n INFO s2sd::lane: wanted\n"
    );
}

#[test]
fn the_level_can_be_changed() {
    let text = written(&Log::default(), |logging| {
        debug!("before");
        assert!(logging.apply(&Log {
            level: LogLevel::Debug,
            ..Log::default()
        }));
        debug!("after");
        assert!(!logging.apply(&Log {
            format: LogFormat::Json,
            ..Log::default()
        }));
    });
    assert_eq!(text, "DEBUG after\n");
}

const EVIL: &str = "x\n INFO incoming stream authenticated\u{202e}\u{2028}\x1b[2J";

/// Whatever says it, and without that it was taken in as a stranger's words.
#[test]
fn no_value_ends_a_line_or_turns_it() {
    for format in [LogFormat::Human, LogFormat::Json] {
        let log = Log {
            format,
            ..Log::default()
        };
        let text = written(&log, |_| {
            let _span = info_span!("in", peer = %EVIL, other = EVIL).entered();
            info!("{EVIL}");
            info!(field = EVIL, shown = %EVIL, "a field");
            warn!(target: "hickory_resolver", "{EVIL}");
            warn!(unproved = Empty, "{EVIL}");
        });
        assert_eq!(text.matches('\n').count(), 4, "{text}");
        let bad = text.chars().find(|c| *c != '\n' && is_deceptive(*c));
        assert_eq!(bad, None, "{text}");
        for line in text.lines().filter(|_| format == LogFormat::Json) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["span"]["other"], EVIL);
        }
    }
}

#[test]
fn a_line_that_a_stranger_causes_has_512_bytes_at_most() {
    let long = "\u{202e}".repeat(15_000);
    for format in [LogFormat::Human, LogFormat::Json] {
        let log = Log {
            format,
            ..Log::default()
        };
        let text = written(&log, |_| {
            let _span = info_span!("in", peer = "192.0.2.7:1").entered();
            for _ in 0..2 {
                info!(unproved = Empty, by = "us", cause = %long, "incoming stream ended: {long}");
            }
            warn!(target: "rustls::msgs", "{long}");
            info!(proved = Empty, "{long}");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        for line in &lines[..2] {
            assert!(line.len() < 512 && line.len() > 400, "{}", line.len());
            assert!(line.contains('…') && line.contains("192.0.2.7"), "{line}");
        }
        assert!(lines[2].len() > 15_000 && lines[2].len() < LONGEST);
    }
}

/// One clock for the limiter, which is the system's here: only that there is one more line after a second is left out.
#[test]
fn strangers_cause_a_line_of_each_kind_and_the_rest_is_counted() {
    let said = |log: &Log, by: &str| {
        let mut left_out = Vec::new();
        let text = written(log, |logging| {
            for at in 0..300 {
                let peer: SocketAddr = format!("192.0.2.{}:{at}", at % 250).parse().unwrap();
                let _span = info_span!("in", %peer).entered();
                match by {
                    "unproved" => info!(unproved = Empty, "incoming stream ended: {at}"),
                    "proved" => info!(proved = Empty, "incoming stream ended: {at}"),
                    "debug" => debug!(unproved = Empty, "incoming stream ended: {at}"),
                    _ => info!("incoming stream ended: {at}"),
                }
            }
            let later = Instant::now() + Duration::from_secs(500);
            left_out = logging.limiter.lock().unwrap().due(later);
        });
        let left_out = left_out.pop().map(|it| (it.what, it.lines));
        (text.lines().count() as u64, left_out)
    };
    let log = Log::default();
    for (by, at_most) in [("unproved", 5), ("proved", 105)] {
        let (lines, left_out) = said(&log, by);
        let (what, more) = left_out.unwrap();
        assert_eq!(what, "incoming stream ended");
        assert!(
            (1..=at_most).contains(&lines) && lines + more >= 300 - 5,
            "{by}: {lines} {more}"
        );
    }
    assert_eq!(said(&log, "nobody"), (300, None));
    // Who looks for more than `info` has asked for all of it.
    let log = Log {
        level: LogLevel::Debug,
        ..Log::default()
    };
    assert_eq!(said(&log, "debug"), (300, None));
}

#[test]
fn the_next_line_says_how_many_more_there_were() {
    for (format, more) in [
        (LogFormat::Human, " (and 2 more like it)"),
        (LogFormat::Json, ",\"more\":2}"),
    ] {
        let log = Log {
            format,
            ..Log::default()
        };
        let text = written(&log, |logging| {
            for at in 0..4 {
                if at == 3 {
                    // As if a second had gone by.
                    logging
                        .limiter
                        .lock()
                        .unwrap()
                        .go_by(Duration::from_secs(1));
                }
                info!(unproved = Empty, "incoming stream ended: {at}");
            }
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].ends_with(more), "{text}");
    }
}
