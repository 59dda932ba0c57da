//! The commands that ask the daemon: what they have in common, and one file for each.

mod ask;
mod lanes;
mod orders;
mod status;
mod streams;
mod table;

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    thread::sleep,
    time::Duration,
};

use clap::Args;
use serde_json::Value;
use xmpp_stream::Domain;

use self::ask::{Daemon, Request};
use super::{Configuration, Exit, complain, domain};

pub(super) use self::orders::{close, reload, retry};

/// How often `--watch` asks.
const REDRAW: Duration = Duration::from_secs(1);
/// Of a terminal that does not say how wide it is.
const USUAL_WIDTH: usize = 80;

/// How an answer is shown.
#[derive(Debug, Args)]
pub(super) struct Shown {
    #[command(flatten)]
    configuration: Configuration,
    /// One JSON object instead of text for people
    #[arg(long)]
    json: bool,
    /// Ask again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Whether s2sd is well
///
/// Shows the version and uptime of the s2sd that runs, how many streams and lanes it has, what waits, how much memory that
/// takes, and how long its certificates are valid. Ends 0 when it answered, 1 when it did not, 2 when the command was
/// called wrongly.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  s2sd status -c /etc/s2sd/s2sd.toml\n  s2sd status --json | jq .lanes.failing"
)]
pub(super) struct Status {
    #[command(flatten)]
    shown: Shown,
}

/// Which streams there are, and how each is authenticated
///
/// Shows every stream of the s2sd that runs, to other servers, from them and from components: its number (for `s2sd close`),
/// the pair of domains, by what that was proved, the version of TLS, the address of the other end, the age, and the stanzas
/// that came and went. `--json` has more: why the other server is believed, cipher, bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  s2sd streams -c /etc/s2sd/s2sd.toml\n  s2sd streams example.net --watch\n  s2sd streams --json | jq '.streams[] | select(.tls == null)'"
)]
pub(super) struct Streams {
    #[command(flatten)]
    shown: Shown,
    /// Only streams of this domain
    #[arg(value_parser = domain)]
    domain: Option<Domain>,
}

/// What waits for other servers, and why
///
/// Shows every pair of domains with a queue or a stream: how many stanzas wait, how long the oldest has, when the next try is,
/// and what failed last, in the words that the senders get. `--shape` shows instead how many stanzas of each age wait for
/// each domain, those with the most first.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  s2sd lanes -c /etc/s2sd/s2sd.toml\n  s2sd lanes --shape\n  s2sd lanes example.net --json"
)]
pub(super) struct Lanes {
    #[command(flatten)]
    shown: Shown,
    /// Only lanes to this domain
    #[arg(value_parser = domain)]
    domain: Option<Domain>,
    /// How many stanzas of each age wait for each domain
    #[arg(long)]
    shape: bool,
}

/// Try again at once what failed on the way to a domain
///
/// For after a repair: the s2sd that runs forgets the pauses and reasons of what failed, and looks everything up anew. A reload
/// (SIGHUP) does the same for domains that the new configuration treats otherwise. Ends 0 when it was told, 1 when it
/// could not be, 2 when the command was called wrongly.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).args(["domain", "all"]),
    after_help = "Example:\n  s2sd retry -c /etc/s2sd/s2sd.toml example.net\n  s2sd retry -c /etc/s2sd/s2sd.toml --all --json | jq .retried"
)]
pub(super) struct Retry {
    #[command(flatten)]
    configuration: Configuration,
    /// The domain that was out of reach
    #[arg(value_parser = domain)]
    domain: Option<Domain>,
    /// All domains
    #[arg(long)]
    all: bool,
    /// One JSON object instead of text for people
    #[arg(long)]
    json: bool,
}

/// Close one stream
///
/// `s2sd streams` has its number. s2sd ends the stream in good order: what the peer has on the way is still taken, and what
/// waits for it goes by the next stream, which s2sd opens when something waits. A component can attach again at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  s2sd close -c /etc/s2sd/s2sd.toml 17")]
pub(super) struct Close {
    #[command(flatten)]
    configuration: Configuration,
    /// The number of the stream
    id: u64,
    /// One JSON object instead of text for people
    #[arg(long)]
    json: bool,
}

/// Load the configuration again
///
/// The same as SIGHUP, but it says here what changed, and what needs a restart. If the file has a fault, nothing changes,
/// and the faults are shown. Ends 0 when the configuration was taken, 1 when it was not.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  s2sd reload -c /etc/s2sd/s2sd.toml")]
pub(super) struct Reload {
    #[command(flatten)]
    configuration: Configuration,
    /// One JSON object instead of text for people
    #[arg(long)]
    json: bool,
}

pub(super) fn status(asked: &Status) -> Exit {
    show(
        "status",
        &asked.shown,
        &Request::get("/api/status"),
        status::text,
    )
}

pub(super) fn streams(asked: &Streams) -> Exit {
    let only = asked.domain.as_ref();
    show(
        "streams",
        &asked.shown,
        &Request::get("/api/streams"),
        |said, width| streams::text(said, only, width),
    )
}

pub(super) fn lanes(asked: &Lanes) -> Exit {
    let only = asked.domain.as_ref();
    show(
        "lanes",
        &asked.shown,
        &Request::get("/api/lanes"),
        |said, width| match asked.shape {
            true => lanes::shape(said, only, width),
            false => lanes::text(said, only, width),
        },
    )
}

/// Shows an answer once, or again and again.
fn show(
    command: &str,
    shown: &Shown,
    request: &Request,
    text: impl Fn(&Value, Option<usize>) -> String,
) -> Exit {
    let Some(daemon) = Daemon::of(&shown.configuration) else {
        return Exit::Fault;
    };
    loop {
        let said = match daemon.ask(request) {
            Ok(said) => said,
            Err(why) => {
                complain(format_args!("s2sd {command}: {why}\n"));
                return Exit::Fault;
            }
        };
        let width = width();
        let mut page = match shown.json {
            true => format!("{said}\n"),
            false => text(&said, width),
        };
        if shown.watch && width.is_some() && !shown.json {
            // From the top left corner, and nothing left below.
            page = format!("\x1b[H\x1b[2J{page}");
        }
        if !print(&page) || !shown.watch {
            return Exit::Well;
        }
        sleep(REDRAW);
    }
}

/// How wide the terminal is, if standard output is one.
fn width() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| {
        let size = rustix::termios::tcgetwinsize(&stdout);
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { USUAL_WIDTH } else { columns }
    })
}

/// `false`: standard output has no reader any more.
fn print(text: &str) -> bool {
    let mut stdout = io::stdout();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_ok()
}

/// What stands at this place of an answer, as people may read it.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => ask::shown(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A time in seconds, or a dash.
fn time(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), table::span)
}

/// One thing, or several.
fn counted(count: u64, one: &str, several: &str) -> String {
    let mut text = String::new();
    let _ = match count {
        1 => write!(text, "1 {one}"),
        _ => write!(text, "{count} {several}"),
    };
    text
}

/// Whether a pair of an answer has this domain, or any is meant.
fn is_of(pair: &Value, only: Option<&Domain>) -> bool {
    only.is_none_or(|only| {
        let is_it = |name: &Value| name.as_str().is_some_and(|name| only.is_named_by(name));
        is_it(&pair["local"]) || is_it(&pair["remote"])
    })
}
