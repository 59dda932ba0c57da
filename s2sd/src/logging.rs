//! The log: what is written to standard error, and how it looks (`[log]`).
//!
//! The level is for our own modules. What the libraries below have to say is written from `warn` on, unless
//! `targets` names them: an operator who wants to see our XML does not want the resolver's packets too.
//!
//! No task waits for the reader of the log: see `queue`. From `info` up others cause no more lines than they may: an event
//! with the field `unproved` is caused by who has proved nothing, one with `proved` by a peer that has (both are `Empty`,
//! and so not written). How many that are says `limit`; what they look like, `line`.

mod limit;
mod line;
mod queue;

use std::{
    env, fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    info,
    level_filters::LevelFilter,
    span::{Attributes, Id},
    warn,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter, format,
        format::{JsonFields, Writer},
        layer as lines_to,
    },
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat, LogLevel};
use limit::{By, Limiter, Source};
use queue::Queue;

/// Whose lines the level is for.
const OURS: [&str; 4] = ["s2sd", "xmpp_dialback", "xmpp_sasl", "xmpp_stream"];

/// Changes the level of a log that is being written.
#[derive(Clone, Debug)]
pub struct Logging {
    filter: reload::Handle<Targets, Registry>,
    format: LogFormat,
    limiter: SharedLimiter,
    queue: Queue,
}

/// What others may cause, by the place in the code that says it.
type SharedLimiter = Arc<Mutex<Limiter<Identifier>>>;

/// There is no log.
#[derive(Debug, thiserror::Error)]
pub enum NoLog {
    /// The log has a writer already.
    #[error("this process has a log already")]
    AlreadyStarted,
    /// It would have no writer.
    #[error("there is no thread for the log: {0}")]
    NoThread(io::Error),
}

/// Starts the log of the process.
pub fn start(log: &Log) -> Result<Logging, NoLog> {
    let look = Look {
        colours: colours(&io::stderr()),
        // The journal writes its own time before each line.
        time: env::var_os("JOURNAL_STREAM").is_none(),
    };
    let queue = Queue::default();
    let (subscriber, mut logging) = build(log, look, queue.clone());
    logging.queue = queue;
    subscriber.try_init().map_err(|_| NoLog::AlreadyStarted)?;
    let limiter = Arc::clone(&logging.limiter);
    let look = move |lines| {
        if lines > 0 {
            warn!(
                lines,
                "lines of the log had no room: who reads it is too slow"
            );
        }
        say_what_was_left_out(&limiter, Instant::now());
    };
    let started = logging.queue.write_to(io::stderr(), look);
    started.map_err(NoLog::NoThread)?;
    Ok(logging)
}

fn say_what_was_left_out(limiter: &Mutex<Limiter<Identifier>>, now: Instant) {
    let due = limiter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .due(now);
    for left_out in due {
        let (lines, what) = (left_out.lines, left_out.what);
        match left_out.level {
            Level::ERROR | Level::WARN => warn!(lines, "{MORE}: {what}"),
            _ => info!(lines, "{MORE}: {what}"),
        }
    }
}

const MORE: &str = "more lines like this were left out";

impl Logging {
    /// Waits until all that was said is written, for a second at most: the end of the program.
    pub fn flush(&self) {
        self.queue.flush(Duration::from_secs(1));
    }

    /// Takes over levels. The format stays: false if it should be another.
    pub fn apply(&self, log: &Log) -> bool {
        // It fails only when the log is gone, and then there is no place to say so.
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
    let limiter = SharedLimiter::default();
    let format = format().with_ansi(look.colours);
    let bounded = |is_json| Bounded {
        inner: (),
        is_json,
        colours: look.colours,
        limiter: Arc::clone(&limiter),
    };
    let lines = lines_to().with_writer(writer).with_ansi(look.colours);
    let lines = match log.format {
        LogFormat::Json => lines
            .fmt_fields(JsonFields::new())
            .event_format(
                bounded(true).around(format.json().flatten_event(true).with_span_list(false)),
            )
            .boxed(),
        LogFormat::Human => {
            // The module is of interest to who looks for the level of a module.
            let format =
                format.with_target(log.level >= LogLevel::Debug || !log.targets.is_empty());
            if look.time {
                lines.event_format(bounded(false).around(format)).boxed()
            } else {
                let format = format.without_time();
                lines.event_format(bounded(false).around(format)).boxed()
            }
        }
    };
    (
        Registry::default().with(filter).with(Sources).with(lines),
        Logging {
            filter: handle,
            format: log.format,
            limiter,
            queue: Queue::default(),
        },
    )
}

/// How long a line may be, in bytes and with its end;
const LONGEST: usize = 16 << 10;
/// and one that is caused by who has proved nothing.
const LONGEST_UNAUTHENTICATED: usize = 512;

/// Writes an event as one line, if there may be one more of its kind.
struct Bounded<F> {
    inner: F,
    is_json: bool,
    colours: bool,
    limiter: SharedLimiter,
}

impl Bounded<()> {
    fn around<F>(self, inner: F) -> Bounded<F> {
        Bounded {
            inner,
            is_json: self.is_json,
            colours: self.colours,
            limiter: self.limiter,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Bounded<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let by = by(metadata);
        let more = match by {
            None => 0,
            Some(by) => {
                let kind = (metadata.callsite(), source(context));
                let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
                let what = || Phrase::of(event);
                match limiter.admit(kind, by, *metadata.level(), what, Instant::now()) {
                    Some(more) => more,
                    None => return Ok(()),
                }
            }
        };
        let mut line = String::new();
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        let more = match (more, self.is_json) {
            (0, _) => String::new(),
            (more, true) => format!(",\"more\":{more}"),
            (more, false) => format!(" (and {more} more like it)"),
        };
        let most = match by {
            Some(By::Unauthenticated) => LONGEST_UNAUTHENTICATED,
            Some(By::Peer) | None => LONGEST,
        };
        let most = most - more.len() - 1;
        if !self.is_json {
            let line = line::human(line, most, self.colours);
            return writeln!(writer, "{line}{more}");
        }
        let line = line::json(line, most);
        match line.strip_suffix('}') {
            Some(line) => writeln!(writer, "{line}{more}}}"),
            None => writeln!(writer, "{line}"),
        }
    }
}

/// Who causes it, if it is not ourselves. Of what the libraries say from `info` up a stranger may be the cause.
fn by(metadata: &Metadata<'_>) -> Option<By> {
    let ours = |name: &&str| {
        let rest = metadata.target().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let fields = metadata.fields();
    if *metadata.level() > Level::INFO {
        None
    } else if fields.field("unproved").is_some() || !OURS.iter().any(ours) {
        Some(By::Unauthenticated)
    } else {
        fields.field("proved").map(|_| By::Peer)
    }
}

/// Where the stream comes from that an event is about.
fn source<S, N>(context: &FmtContext<'_, S, N>) -> Source
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    let spans = context.event_scope().into_iter().flatten();
    let mut sources = spans.filter_map(|span| span.extensions().get::<Source>().copied());
    sources.next().unwrap_or(Source::NOWHERE)
}

/// Notes of each span with a `peer` from where that is.
struct Sources;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Sources {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut peer = Peer(None);
        attributes.record(&mut peer);
        if let (Some(source), Some(span)) = (peer.0, context.span(id)) {
            span.extensions_mut().insert(source);
        }
    }
}

struct Peer(Option<Source>);

impl Visit for Peer {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "peer" {
            let address = format!("{value:?}").parse::<SocketAddr>().ok();
            self.0 = address.map(|address| Source::of(address.ip()));
        }
    }
}

/// The phrase that a message begins with: what is of the one case stands behind a colon.
#[derive(Default)]
struct Phrase(String);

impl Phrase {
    fn of(event: &Event<'_>) -> String {
        let mut phrase = Self::default();
        event.record(&mut phrase);
        let phrase = phrase.0.split(':').next().unwrap_or_default();
        line::human(phrase, 100, false)
    }
}

impl Visit for Phrase {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
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

/// What proves answers of the DNS warns of every one that is not proved, with all that is in it, which the name server
/// chose. What matters of it is in our own words.
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
mod tests;
