//! What the daemons of this process say, line by line, for tests that compare it with what should be.
//!
//! A line belongs to the stream in whose span it was said. At `trace`, which this listens to, a stream's lines hold the
//! headers that were received, and so the domains that it is between.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which outermost span it was said in.
    pub stream: u64,
    /// How much it matters.
    pub level: Level,
    /// The words.
    pub message: String,
    /// Its fields, and those of the spans around it.
    pub fields: BTreeMap<&'static str, String>,
}

impl Line {
    /// A field by name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// The names of hosts and domains in it.
    fn names(&self) -> impl Iterator<Item = &str> {
        let texts = self.fields.values().chain([&self.message]);
        texts
            .flat_map(|text| text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.')))
            .map(|word| word.trim_matches('.'))
            .filter(|word| word.contains('.'))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} {:5} {}", self.stream, self.level, self.message)?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

/// The lines so far.
#[derive(Clone, Debug, Default)]
pub struct CapturedLog(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    streams: BTreeMap<u64, Vec<Line>>,
    /// In the lines of which streams a name is.
    names: HashMap<String, BTreeSet<u64>>,
}

impl CapturedLog {
    /// That of this process. The first call begins it, and fails where somebody else writes the log already.
    pub fn of_this_process() -> Self {
        static CAPTURED_LOG: OnceLock<CapturedLog> = OnceLock::new();
        let captured_log = CAPTURED_LOG.get_or_init(|| {
            let captured_log = Self::default();
            let ours = Targets::new().with_target("s2sd", LevelFilter::TRACE);
            let ours = ours.with_target("s2sd_tests", LevelFilter::OFF);
            // A component writes to everybody.
            let ours = ours.with_target("s2sd::flow::component", LevelFilter::OFF);
            Registry::default()
                .with(ours)
                .with(Keeper(captured_log.clone()))
                .init();
            captured_log
        });
        captured_log.clone()
    }

    /// What was said on streams between these two domains, in either direction, stream by stream.
    pub fn between(&self, one: &str, other: &str) -> Vec<Line> {
        let written = self.lock();
        let (Some(one), Some(other)) = (written.names.get(one), written.names.get(other)) else {
            return Vec::new();
        };
        let lines = one
            .intersection(other)
            .filter_map(|stream| written.streams.get(stream));
        lines.flatten().cloned().collect()
    }

    /// All that was said.
    pub fn all(&self) -> Vec<Line> {
        self.lock().streams.values().flatten().cloned().collect()
    }

    fn write(&self, line: Line) {
        let mut written = self.lock();
        for name in line.names() {
            match written.names.get_mut(name) {
                Some(streams) => {
                    streams.insert(line.stream);
                }
                None => {
                    let streams = BTreeSet::from([line.stream]);
                    written.names.insert(name.to_owned(), streams);
                }
            }
        }
        written.streams.entry(line.stream).or_default().push(line);
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layer that writes it.
struct Keeper(CapturedLog);

/// What is known of a span.
struct Around {
    serial: u64,
    fields: Fields,
}

#[derive(Clone, Default)]
struct Fields {
    message: String,
    named: BTreeMap<&'static str, String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.named.insert(field.name(), format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeper {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        // Ids of spans are used again.
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            span.extensions_mut().insert(Around { serial, fields });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(around) = span.extensions_mut().get_mut::<Around>()
        {
            values.record(&mut around.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut stream = 0;
        let mut fields = BTreeMap::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Around>() {
                stream = around.serial;
                for (name, value) in &around.fields.named {
                    fields.entry(*name).or_insert_with(|| value.clone());
                }
            }
        }
        fields.extend(own.named);
        if stream == 0 {
            return;
        }
        self.0.write(Line {
            stream,
            level: *event.metadata().level(),
            message: own.message,
            fields,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{info, info_span, subscriber::with_default};

    #[test]
    fn lines_are_found_by_the_domains_that_their_stream_is_between() {
        let captured_log = CapturedLog::default();
        let subscriber = Registry::default().with(Keeper(captured_log.clone()));
        with_default(subscriber, || {
            info!("outside, of a.test and b.test");
            for (one, other) in [("a.test", "b.test"), ("a.test", "x.b.test")] {
                let span = info_span!("in", peer = 1);
                let _span = span.enter();
                info!(peer = 2, "header from {one} to {other}");
                let _within = info_span!("within", local = %one).entered();
                info!("a line without names");
            }
        });
        let lines = captured_log.between("b.test", "a.test");
        let [header, other] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert_eq!(header.field("peer"), Some("2"));
        assert_eq!(other.message, "a line without names");
        assert_eq!(other.fields.len(), 2, "{other}");
        assert_eq!(captured_log.between("a.test", "c.test").len(), 0);
    }
}
