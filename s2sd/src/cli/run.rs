//! `s2sd run`: serves until told to stop.
//!
//! SIGTERM and Ctrl-C drain, a second one does not wait; SIGHUP reloads rules and certificates, which are also
//! reloaded when their files change.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::Outcome;
use crate::app::{self, Running};
use crate::config::Config;
use crate::logging::{self, Logging};

/// How often the certificates' files are looked at.
const LOOK: Duration = Duration::from_secs(60);

pub(super) fn run(path: &Path) -> Outcome {
    let loaded = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Outcome::Fault;
        }
    };
    let logging = match logging::start(&loaded.config.log) {
        Ok(logging) => logging,
        Err(already) => {
            eprintln!("{already}");
            return Outcome::Fault;
        }
    };
    for warning in loaded.warnings.iter() {
        warn!("{path}: {}", warning.title, path = path.display());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            error!("the runtime does not start: {cause}");
            return Outcome::Fault;
        }
    };
    runtime.block_on(serve(path, loaded.config, &logging))
}

async fn serve(path: &Path, config: Config, logging: &Logging) -> Outcome {
    app::raise_file_limit(config.limits.inbound);
    let running = match app::start(config).await {
        Ok(running) => running,
        Err(cause) => {
            error!("{cause}");
            return Outcome::Fault;
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), "serving");
    if let Err(cause) = signals(path, &running, logging).await {
        error!("signals cannot be received: {cause}");
        running.stop().await;
        return Outcome::Fault;
    }
    info!("draining; a second signal does not wait");
    tokio::select! {
        () = running.stop() => info!("stopped"),
        _ = tokio::signal::ctrl_c() => warn!("stopped at once"),
    }
    Outcome::Well
}

/// Returns when it is time to stop.
async fn signals(path: &Path, running: &Running, logging: &Logging) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            stop = tokio::signal::ctrl_c() => return stop,
            _ = hang_up.recv() => reload(path, running, logging),
            _ = look.tick() => running.look_at_certificates(),
        }
    }
}

fn reload(path: &Path, running: &Running, logging: &Logging) {
    let loaded = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(findings) => {
            error!("the configuration is not taken over, the old one holds:\n{findings}");
            return;
        }
    };
    if !logging.apply(&loaded.config.log) {
        warn!("[log] format has changed: that needs a restart");
    }
    match running.reload(loaded.config) {
        Ok(said) => {
            for line in said {
                info!("reload: {line}");
            }
            info!("reloaded");
        }
        Err(cause) => error!("the configuration is not taken over, the old one holds: {cause}"),
    }
}
