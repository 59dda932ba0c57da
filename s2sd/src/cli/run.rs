//! `s2sd run`: from the file to a server that runs until a signal stops it.
//!
//! SIGTERM and SIGINT drain, a second one does not wait. SIGHUP reads the configuration again; certificates are also
//! read again when their files change.

use std::{io, path::Path, time::Duration};

use tokio::{
    runtime, select,
    time::{Instant, interval, interval_at},
};
use tracing::{error, info, warn};

use super::{Exit, complain};
use crate::{
    app::{self, ReloadOutcome, Running},
    config::{Config, Diagnostics, Loaded},
    logging::{self, Logging},
};

/// How often the files of the certificates are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How often s2sd warns of certificates that run out.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(file: &Path) -> Exit {
    let Loaded { config, warnings } = match Config::load(file) {
        Ok(loaded) => loaded,
        Err(faults) => {
            // There is no log yet: how it should look is in the file.
            complain(format_args!(
                "{}",
                faults.render(logging::colours(&io::stderr()))
            ));
            return Exit::Fault;
        }
    };
    let logging = match logging::start(&config.log) {
        Ok(logging) => logging,
        Err(why) => {
            complain(format_args!("s2sd: {why}\n"));
            return Exit::Fault;
        }
    };
    warn_of(&warnings);
    let outcome = run_with(file, config, &logging);
    logging.flush();
    outcome
}

/// After so many tasks a thread that always has something to do looks what came: a task may be eight elements of a stream,
/// and a peer that connects waits for so many of them.
const TASKS_IN_A_ROW: u32 = 4;

fn run_with(file: &Path, config: Config, logging: &Logging) -> Exit {
    let runtime = runtime::Builder::new_multi_thread()
        .event_interval(TASKS_IN_A_ROW)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(why) => {
            error!("no threads to work with: {why}");
            return Exit::Fault;
        }
    };
    let outcome = runtime.block_on(serve(file, config, logging));
    // Whatever is to be finished is finished. A thread that still asks a KDC that does not answer has no owner any more.
    runtime.shutdown_background();
    outcome
}

async fn serve(file: &Path, config: Config, logging: &Logging) -> Exit {
    // Before anything is started, so that no signal falls between.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(why) => {
            error!("signals cannot be received: {why}");
            return Exit::Fault;
        }
    };
    warn_of_root();
    let domains = names(&config);
    app::raise_file_limit(&config.limits);
    let running = match app::start(config).await {
        Ok(running) => running,
        Err(why) => {
            why.to_string().lines().for_each(|line| error!("{line}"));
            return Exit::Fault;
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), "serving {domains}");
    until_stop(file, &running, logging, &mut signals).await;
    info!("stopping: what waits is sent while there is time");
    select! {
        () = running.stop() => info!("stopped"),
        () = signals.stop() => warn!("asked to stop again: not waiting any longer"),
    }
    Exit::Well
}

async fn until_stop(file: &Path, running: &Running, logging: &Logging, signals: &mut Signals) {
    let mut look = interval(LOOK);
    // The start has told of them already.
    let mut day = interval_at(Instant::now() + DAY, DAY);
    let mut requests = running.reload_requests();
    loop {
        select! {
            Some(request) = requests.next() => request.answer(reload(file, running, logging)),
            signal = signals.next() => match signal {
                Signal::Reload => drop(reload(file, running, logging)),
                Signal::Stop => return,
            },
            _ = look.tick() => running.look_at_files(),
            _ = day.tick() => {
                running.warn_of_certificates();
                running.judge_again();
            }
        }
    }
}

/// Takes the file as it is now, and says what changed. If it has a mistake, nothing changes.
fn reload(file: &Path, running: &Running, logging: &Logging) -> ReloadOutcome {
    let refused = |lines: Vec<String>| {
        lines.iter().for_each(|line| error!("{line}"));
        error!("not reloaded: what was in force stays in force");
        Err(lines)
    };
    let Loaded { config, warnings } = match Config::load(file) {
        Ok(loaded) => loaded,
        Err(faults) => return refused(faults.lines().collect()),
    };
    warn_of(&warnings);
    let (log, domains) = (config.log.clone(), names(&config));
    let before = running.config();
    match running.reload(config) {
        Ok(mut said) => {
            if !logging.apply(&log) {
                said.push(app::needs_restart("`format` in [log]"));
            }
            said.iter().for_each(app::tell);
            info!("reloaded: serving {domains}");
            let mut lines = app::changes(&before, &running.config());
            lines.extend(said.iter().map(ToString::to_string));
            lines.extend(warnings.lines());
            Ok(lines)
        }
        Err(why) => refused(why.to_string().lines().map(str::to_owned).collect()),
    }
}

/// What is broken into is then the whole machine. Ports from 1024 on need no root.
fn warn_of_root() {
    #[cfg(unix)]
    if rustix::process::geteuid().is_root() {
        warn!("running as root: a user of its own is enough for s2sd");
    }
}

fn warn_of(warnings: &Diagnostics) {
    warnings.lines().for_each(|line| warn!("{line}"));
}

fn names(config: &Config) -> String {
    let names: Vec<&str> = config
        .domains
        .iter()
        .map(|served| served.name.as_str())
        .collect();
    names.join(", ")
}

/// What the operator or the system wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGTERM, or SIGINT from the terminal.
    Stop,
}

#[cfg(unix)]
struct Signals {
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        select! {
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
        }
    }

    /// When we are to stop.
    async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        // An error means that there is nothing to wait for: better to stop than to be unstoppable.
        let _ = tokio::signal::ctrl_c().await;
        Signal::Stop
    }

    async fn stop(&mut self) {
        self.next().await;
    }
}

#[cfg(test)]
mod tests;
