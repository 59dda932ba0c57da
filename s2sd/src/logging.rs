//! The log: what is written to standard error, and how it looks (`[log]`).
//!
//! The level is for our own modules. What the libraries below have to say is written from `warn` on, unless
//! `targets` names them: nobody who wants to see our XML wants to see the resolver's packets too.

use std::{env, fmt, io};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{MakeWriter, layer as lines_to},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat, LogLevel};

/// Whose lines the level is for.
const OURS: [&str; 4] = ["s2sd", "xmpp_dialback", "xmpp_sasl", "xmpp_stream"];

/// Changes the level of a log that is being written.
#[derive(Clone, Debug)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
    format: LogFormat,
}

/// Somebody writes the log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyStarted;

impl fmt::Display for AlreadyStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this process has a log already")
    }
}

impl std::error::Error for AlreadyStarted {}

/// Starts the log of the process.
pub fn start(log: &Log) -> Result<Logging, AlreadyStarted> {
    let look = Look {
        colours: colours(&io::stderr()),
        // The journal writes its own time before each line.
        time: env::var_os("JOURNAL_STREAM").is_none(),
    };
    let (subscriber, logging) = build(log, look, io::stderr);
    subscriber.try_init().map_err(|_| AlreadyStarted)?;
    Ok(logging)
}

impl Logging {
    /// Takes over levels. The format stays: false if another is asked for.
    pub fn apply(&self, log: &Log) -> bool {
        // It fails only when the log is gone, and then there is nobody to tell.
        let _ = self.filter.reload(filter(log));
        self.format == log.format
    }
}

/// Are colours wanted on this stream? Only on a terminal, and not if `NO_COLOR` is set (<https://no-color.org>).
pub fn colours(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) colours: bool,
    pub(crate) time: bool,
}

pub(crate) fn build<W>(
    log: &Log,
    look: Look,
    writer: W,
) -> (impl Subscriber + Send + Sync + use<W>, Logging)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(log));
    let lines = lines_to().with_writer(writer).with_ansi(look.colours);
    let lines = match log.format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
        LogFormat::Human => {
            // The module is of interest to who looks for the level of a module.
            let lines = lines.with_target(log.level >= LogLevel::Debug || !log.targets.is_empty());
            if look.time {
                lines.boxed()
            } else {
                lines.without_time().boxed()
            }
        }
    };
    (
        Registry::default().with(filter).with(lines),
        Logging {
            filter: handle,
            format: log.format,
        },
    )
}

fn filter(log: &Log) -> Targets {
    let level = level(log.level);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(unless_named(log))
        .with_targets(OURS.map(|target| (target, level)))
        .with_targets(
            log.targets
                .iter()
                .map(|(target, of)| (target.as_str(), self::level(*of))),
        )
}

/// What proves answers of the DNS warns of every one that is not proved, with all that is in it, and that is the work of
/// whoever is asked. What matters of it is in our own words.
const VERBOSE: &str = "hickory_net::dnssec";

fn unless_named(log: &Log) -> Option<(&'static str, LevelFilter)> {
    let named = |(target, _): &(String, LogLevel)| VERBOSE.starts_with(target.as_str());
    let wanted = log.targets.iter().any(named);
    (!wanted).then_some((VERBOSE, LevelFilter::OFF))
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, error, info, info_span, trace, warn};

    use super::*;
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
}
