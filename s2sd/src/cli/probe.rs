//! `s2sd probe`: the answer goes to standard output; what is being done to standard error, for who waits before a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::{runtime, sync::watch, time};

use super::{Exit, Probe, complain};
use crate::config::{Config, Dnssec};
use crate::logging;
use crate::tools::probe::{self, Question, Report, Unasked};

/// Who waits longer wants to know for what.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

pub(super) fn probe(asked: Probe) -> Exit {
    let config = match asked.config.as_deref().map(Config::load).transpose() {
        Ok(loaded) => loaded.map_or_else(nobodys, |loaded| loaded.config),
        Err(faults) => {
            complain(format_args!(
                "{}",
                faults.render(logging::colours(&io::stderr()))
            ));
            return Exit::Fault;
        }
    };
    let question = Question {
        domain: asked.domain,
        from: asked.from,
        config,
        within: asked.timeout,
    };
    let runtime = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            complain(format_args!("s2sd: no threads to work with: {why}\n"));
            return Exit::Fault;
        }
    };
    let answer = runtime.block_on(ask(question));
    // Nothing that still looks something up is waited for.
    runtime.shutdown_background();
    let report = match answer {
        Ok(report) => report,
        Err(why) => {
            complain(format_args!("s2sd probe: {why}\n"));
            return match why {
                Unasked::Senseless(_) => Exit::Misused,
                Unasked::Unusable(_) => Exit::Fault,
            };
        }
    };
    let stdout = io::stdout();
    let text = match asked.json {
        true => report.json(),
        false => report.for_people(logging::colours(&stdout)),
    };
    // The reader may be gone; the outcome stays what it is.
    let _ = stdout.lock().write_all(text.as_bytes());
    match report.is_well() {
        true => Exit::Well,
        false => Exit::Fault,
    }
}

/// The defaults, but that DNSSEC is looked at: who asks why something does not work wants to know that too.
fn nobodys() -> Config {
    let mut config = Config::default();
    config.dns.dnssec = Dnssec::Use;
    config
}

async fn ask(question: Question) -> Result<Report, Unasked> {
    let (progress, mut doing) = watch::channel(String::new());
    let answer = probe::probe(question, &progress);
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = time::timeout(NOTICE_AFTER, &mut answer).await {
        return answer;
    }
    let told = io::stderr().is_terminal();
    loop {
        if told {
            complain(format_args!("{} …\n", *doing.borrow_and_update()));
        }
        tokio::select! {
            answer = &mut answer => return answer,
            changed = doing.changed(), if told => {
                if changed.is_err() {
                    return answer.await;
                }
            }
        }
    }
}
