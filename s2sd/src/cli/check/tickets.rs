//! Whether there are Kerberos tickets to be had, for the domains served here and with what `credentials` say.

use std::{sync::mpsc, thread, time::Duration};

use xmpp_sasl::gssapi::Initiator;

use super::report::Report;
use crate::config::{Config, Severity};

/// For all KDCs together.
const KDC_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks for each ticket once. What is wrong is a warning: the KDC may be back when it is needed.
pub(super) fn fetch(config: &Config, report: &mut Report) {
    let asked = initiators(config);
    let (answers, answered) = mpsc::channel();
    for (rank, initiator) in asked.iter().enumerate() {
        let (initiator, answers) = (initiator.clone(), answers.clone());
        // One that waits longer than we do ends with the program.
        thread::spawn(move || answers.send((rank, initiator.check())));
    }
    drop(answers);
    let mut outcomes: Vec<Result<(), String>> =
        vec![Err("the KDC does not answer".to_owned()); asked.len()];
    let until = std::time::Instant::now() + KDC_TIMEOUT;
    while let Ok((rank, outcome)) =
        answered.recv_timeout(until.saturating_duration_since(std::time::Instant::now()))
    {
        outcomes[rank] = outcome;
    }
    for (initiator, outcome) in asked.iter().zip(outcomes) {
        if let Err(why) = outcome {
            let who = initiator.principal.as_deref().unwrap_or_default();
            report.add(
                Severity::Warning,
                format!("no Kerberos ticket as {who}: {why}"),
            );
        }
    }
}

/// Each once, in the order of the configuration. The service of the ticket makes no difference here.
fn initiators(config: &Config) -> Vec<Initiator> {
    let mut all: Vec<Initiator> = Vec::new();
    for peer in &config.peers {
        let Some(credentials) = &peer.policy.credentials else {
            continue;
        };
        for served in &config.domains {
            let initiator = credentials.initiator(&served.name).map(|it| Initiator {
                service: None,
                ..it
            });
            all.extend(initiator.filter(|it| !all.contains(it)));
        }
    }
    all
}
