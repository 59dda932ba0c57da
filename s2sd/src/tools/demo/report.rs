//! What the daemons write into their log: the same events as with `format = "json"`, taken up for the transcript.

use std::io;
use std::net::SocketAddr;

use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{DemoError, Event, Events, Side};

/// One line of a log.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) level: String,
    pub(super) message: String,
    fields: Map<String, Value>,
    span: Map<String, Value>,
}

/// Who wrote a line, as far as the line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// The daemon of this domain.
    Daemon(Side),
    /// The daemon that is on the other end of a connection from here.
    ConnectedFrom(SocketAddr),
}

impl Report {
    fn parse(line: &[u8]) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_slice(line).ok()? else {
            return None;
        };
        let mut word = |key| match fields.remove(key) {
            Some(Value::String(word)) => word,
            _ => String::new(),
        };
        let (level, message) = (word("level"), word("message"));
        let span = match fields.remove("span") {
            Some(Value::Object(span)) => span,
            _ => Map::new(),
        };
        fields.remove("timestamp");
        fields.remove("target");
        Some(Self {
            level,
            message,
            fields,
            span,
        })
    }

    /// A field, of the line or of what it is about.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .or_else(|| self.span.get(name))
            .and_then(Value::as_str)
    }

    /// Who wrote it.
    pub(super) fn author(&self) -> Option<Author> {
        match self.field("local").and_then(Side::named) {
            Some(side) => Some(Author::Daemon(side)),
            None => {
                let peer = self.span.get("peer").and_then(Value::as_str);
                Some(Author::ConnectedFrom(peer?.parse().ok()?))
            }
        }
    }

    /// A warning or worse.
    pub(super) fn is_bad(&self) -> bool {
        matches!(self.level.as_str(), "WARN" | "ERROR")
    }
}

impl Report {
    /// The message, and each field, as words that stay together.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.message.split_whitespace().map(str::to_owned).collect();
        // Who it was stands beside it.
        let fields = self.fields.iter().filter(|(name, _)| *name != "local");
        // As JSON writes it, a text is in quotes.
        words.extend(fields.map(|(name, value)| format!("{name}={value}")));
        words
    }
}

/// From now on every line is an event.
pub(super) fn collect(events: Events) -> Result<(), DemoError> {
    let ours = Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("s2sd", LevelFilter::DEBUG);
    let lines = layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(Reporter(events));
    tracing_subscriber::registry()
        .with(ours)
        .with(lines)
        .try_init()
        .map_err(|_| "this process has a log already".into())
}

struct Reporter(Events);

impl<'a> MakeWriter<'a> for Reporter {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            events: self.0.clone(),
            bytes: Vec::new(),
        }
    }
}

/// One line while it is written.
struct Line {
    events: Events,
    bytes: Vec<u8>,
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(report) = Report::parse(&self.bytes) {
            // Without a listener the demo is over.
            let _ = self.events.send(Event::Report(report));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_told_by_its_author() {
        let line = br#"{"timestamp":"t","level":"INFO","message":"outgoing stream authenticated","method":"EXTERNAL",
            "local":"montague.example","target":"s2sd::outbound","span":{"name":"out","remote":"capulet.example"}}"#;
        let report = Report::parse(line).unwrap();
        assert_eq!(report.author(), Some(Author::Daemon(Side::Montague)));
        assert_eq!(report.field("remote"), Some("capulet.example"));
        assert_eq!(
            report.words(),
            ["outgoing", "stream", "authenticated", "method=\"EXTERNAL\""]
        );
        let line = br#"{"level":"DEBUG","message":"m","span":{"name":"in","peer":"127.0.0.1:9"}}"#;
        let from = "127.0.0.1:9".parse().unwrap();
        assert_eq!(
            Report::parse(line).unwrap().author(),
            Some(Author::ConnectedFrom(from))
        );
    }
}
