//! `s2sd demo`: two domains on two daemons in this process federate over loopback, and it shows the transcript to
//! people. With it come a zone server and a certificate authority, both in this process; the tests use these too. No
//! other part of the daemon uses anything of this.
//!
//! ```text
//! romeo -> component link -> daemon of montague.example -> relay -> daemon of capulet.example -> component link -> juliet
//! ```
//!
//! The transcript is what the daemons sent: a relay between them copies every byte and shows a copy of what it can
//! read. Of what is encrypted, the daemons' own log tells. Nothing is left behind: files are in a temporary directory
//! that goes with the scenario.

mod burst;
pub mod ca;
mod component;
mod page;
mod relay;
mod report;
mod stage;
pub mod tangle;
mod walk;
pub mod xml;
pub mod zone;

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::time::Instant;

use bytes::Bytes;
use clap::ValueEnum;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use page::Page;
use relay::Wire;
use report::Report;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Server dialback on plain TCP: the eight steps
    Dialback,
    /// SASL DIGEST-MD5: the eleven steps
    DigestMd5,
    /// STARTTLS, and SASL EXTERNAL with certificates
    External,
    /// Many stanzas over a TLS link, counted and timed
    Burst,
}

/// Why a scenario did not reach its end.
type DemoError = Box<dyn Error + Send + Sync>;

/// The two domains of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Where it begins.
    Montague,
    /// Where it is heard.
    Capulet,
}

impl Side {
    fn domain(self) -> &'static str {
        match self {
            Self::Montague => "montague.example",
            Self::Capulet => "capulet.example",
        }
    }

    /// Who is attached there as component.
    fn user(self) -> &'static str {
        match self {
            Self::Montague => "romeo",
            Self::Capulet => "juliet",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Montague => Self::Capulet,
            Self::Capulet => Self::Montague,
        }
    }

    fn named(domain: &str) -> Option<Self> {
        [Self::Montague, Self::Capulet]
            .into_iter()
            .find(|side| side.domain() == domain)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.domain())
    }
}

/// What can be seen while the scene is played.
#[derive(Debug)]
enum Event {
    /// Between the daemons.
    Wire(Wire),
    /// In a daemon's log.
    Report(Report),
    /// A component was given a stanza.
    Delivered(Side, Bytes),
}

/// Not bounded: a scenario is a few dozen events, and no scene looks while stanzas come in numbers.
type Events = mpsc::UnboundedSender<Event>;

/// Shows one scenario, or all of them. An error means that one did not reach its end; what happened has been told.
///
/// It takes over the log of the process.
pub fn run(
    only: Option<Scenario>,
    out: &mut dyn Write,
    colours: bool,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (events, seen) = mpsc::unbounded_channel();
    report::collect(events.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut show = Show {
        page: Page::new(out, colours),
        events,
        seen,
    };
    runtime.block_on(async {
        tokio::select! {
            shown = show.all(only) => shown,
            // What was put up is taken down on the way out.
            signal = interrupted() => Err(signal.into()),
        }
    })
}

/// Whatever ends a program from outside, and can be noticed.
async fn interrupted() -> &'static str {
    let [mut interrupt, mut terminate, mut hang_up] = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .map(|kind| signal(kind).ok());
    let came = async |signal: &mut Option<Signal>| match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    };
    tokio::select! {
        _ = came(&mut interrupt) => "interrupted",
        _ = came(&mut terminate) => "terminated",
        _ = came(&mut hang_up) => "the terminal is gone",
    }
}

struct Show<'a> {
    page: Page<'a>,
    events: Events,
    seen: mpsc::UnboundedReceiver<Event>,
}

impl Show<'_> {
    async fn all(&mut self, only: Option<Scenario>) -> Result<(), DemoError> {
        let began = Instant::now();
        self.opening()?;
        let mut failed = Vec::new();
        let all = Scenario::value_variants();
        for &scenario in all {
            if only.is_some_and(|only| only != scenario) {
                continue;
            }
            if let Err(error) = self.one(scenario).await {
                self.page
                    .fault(&format!("This did not reach its end: {error}."))?;
                failed.push(name(scenario));
            }
            // What the daemons said while they stopped belongs to no scene.
            while self.seen.try_recv().is_ok() {}
        }
        if !failed.is_empty() {
            return Err(format!("did not reach its end: {}", failed.join(", ")).into());
        }
        self.closing(only, began)
    }

    async fn one(&mut self, scenario: Scenario) -> Result<(), DemoError> {
        match scenario {
            Scenario::Dialback => walk::dialback::play(self).await,
            Scenario::DigestMd5 => walk::digest_md5::play(self).await,
            Scenario::External => walk::external::play(self).await,
            Scenario::Burst => burst::play(self).await,
        }
    }

    fn opening(&mut self) -> Result<(), DemoError> {
        self.page.title("s2sd demo: two XMPP servers federate")?;
        self.page.text(
            "Two s2sd daemons run in this process and meet over loopback. Beside them are a DNS server, a certificate \
             authority, and a component at each daemon, where stanzas begin and end:",
        )?;
        for side in [Side::Montague, Side::Capulet] {
            self.page.cast(side, side.user())?;
        }
        self.page.empty()?;
        self.page.text(
            "A relay between the daemons copies the bytes and shows them here, folded to fit. Nothing of it is made \
             up: every run has other ids, keys and nonces.",
        )?;
        Ok(())
    }

    fn closing(&mut self, only: Option<Scenario>, began: Instant) -> Result<(), DemoError> {
        self.page.heading("That was all")?;
        self.page.text(&format!(
            "Everything reached its end, in {:.1} s. Nothing was written but to a temporary directory, and that is \
             gone.",
            began.elapsed().as_secs_f64()
        ))?;
        let again = match only {
            None => "One part again:  s2sd demo --scenario dialback",
            Some(_) => "All parts:  s2sd demo",
        };
        self.page.lines(&[
            again,
            "Your own domain: s2sd check -c s2sd.toml, then s2sd run -c s2sd.toml",
        ])?;
        Ok(())
    }
}

/// As it is written on the command line.
fn name(scenario: Scenario) -> String {
    scenario
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
