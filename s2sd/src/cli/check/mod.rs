//! `s2sd check`: everything that can be known to be wrong before anybody connects.

mod effective;
mod listeners;
mod own;
mod report;
#[cfg(all(test, feature = "demo"))]
mod tests;
mod tickets;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::UnixTime;
use tokio::{runtime, task::JoinSet, time};
use xmpp_stream::Domain;

use self::{effective::EffectivePolicy, own::Own, report::Report};
use super::{Exit, complain};
use crate::app::{self, StartError};
use crate::config::{Config, Method, Severity};
use crate::logging;
use crate::net::resolve::Dns;
use crate::net::tls::{Tls, TlsWarning};
use crate::protocol::plan::ResolveError;
use crate::trust::Remark;

/// Who insists on clientAuth in a certificate. Prosody and s2sd do not.
const INSIST: &str = "ejabberd before 25.08, older Openfire and others";

/// For all answers of the DNS together.
const DNS_TIMEOUT: Duration = Duration::from_secs(15);

/// Looks at everything, or, with a domain, at what is here and says how that one is treated.
pub(super) fn check(file: &Path, peer: Option<Domain>, json: bool) -> Exit {
    let stdout = io::stdout();
    let colours = !json && logging::colours(&stdout);
    let mut report = Report::new(file.display().to_string(), colours);
    if let Some(config) = look_at(file, UnixTime::now(), &mut report) {
        match peer {
            Some(peer) => report.rule = Some(EffectivePolicy::of(&config, peer)),
            None => {
                listeners::try_all(&config.listen, &mut report);
                tickets::fetch(&config, &mut report);
                ask_dns(&config, &mut report);
            }
        }
    }
    let text = if json {
        report.json()
    } else {
        report.for_people()
    };
    // The reader may be gone; the outcome stays what it is.
    let _ = stdout.lock().write_all(text.as_bytes());
    if report.is_well() {
        Exit::Well
    } else {
        Exit::Fault
    }
}

/// What is on this machine: the file, and the files that it names. Where the file has faults, certificates are looked at as far
/// as it could be understood, so that one run tells all, and there is no configuration.
fn look_at(file: &Path, now: UnixTime, report: &mut Report) -> Option<Config> {
    let (config, findings) = Config::examine(file);
    report.take(&findings);
    let config = config?;
    let usable = report.is_well();
    report.domains = config
        .domains
        .iter()
        .map(|served| report::Domain {
            name: served.name.to_string(),
            component: served.component.is_some(),
            certificate: None,
            found_at: Vec::new(),
        })
        .collect();
    match Tls::load(&config) {
        Ok(tls) => {
            certificates(&tls, now, report);
            if usable {
                purposes(&config, report);
            }
        }
        Err(faults) => faults
            .into_iter()
            .for_each(|fault| report.add(Severity::Fault, fault)),
    }
    if !usable {
        // What the rest would be is unknown.
        report.domains.clear();
        return None;
    }
    if let Err(fault) = Dns::check(&config.dns) {
        report.add(Severity::Fault, fault);
    }
    match app::dialback_secret(&config) {
        Ok(_) => {}
        // Who checks need not be who runs.
        Err(StartError::Secret { error, .. })
            if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(fault) => report.add(Severity::Fault, fault.to_string()),
    }
    Some(config)
}

fn certificates(tls: &Tls, now: UnixTime, report: &mut Report) {
    for warning in tls.warnings(now) {
        match warning {
            TlsWarning::Now(text) => report.add(Severity::Fault, text),
            TlsWarning::Soon(text) => report.add(Severity::Warning, text),
        }
    }
    for (own, remarks, for_servers_alone) in tls.remarks(now) {
        let file = own.file.display().to_string();
        for Remark {
            refused,
            found,
            change,
        } in remarks
        {
            let severity = match refused {
                true => Severity::Fault,
                false => Severity::Warning,
            };
            let text = format!("{file}: the certificate of {}: {found}", own.domain);
            report.add_with_help(severity, text, Some(change));
        }
        let days_left = own.days_left(now);
        let name = own.domain.to_string();
        if let Some(domain) = report.domains.iter_mut().find(|domain| domain.name == name) {
            let not_after = own.not_after.as_secs();
            domain.certificate = Some(report::Certificate {
                file,
                not_after,
                days_left,
                for_servers_alone,
            });
        }
    }
}

/// A certificate for servers alone proves nothing on our own streams to those who insist on clientAuth.
fn purposes(config: &Config, report: &mut Report) {
    let alone = |domain: &&report::Domain| {
        let shown = domain.certificate.as_ref();
        shown.is_some_and(|certificate| certificate.for_servers_alone)
    };
    let names: Vec<&str> = report
        .domains
        .iter()
        .filter(alone)
        .map(|it| it.name.as_str())
        .collect();
    let peers = config.peers.iter().map(|peer| &peer.policy);
    let rule = std::iter::once(&config.policy)
        .chain(peers)
        .find(|policy| policy.auth == [Method::External]);
    if let (Some(rule), false) = (rule, names.is_empty()) {
        let text = format!(
            "the certificate of {} is for servers alone (its extended key usage lacks clientAuth), and {} allows nothing \
             but \"external\": {INSIST} do not believe it on streams that s2sd opens",
            names.join(", "),
            rule.rule
        );
        let help =
            "allow \"dialback\" in `auth` as well, or get a certificate that has clientAuth too";
        report.add_with_help(Severity::Warning, text, Some(help.to_owned()));
    }
}

/// Where others look for the domains. The answers are warnings: what this machine's name server says need not be what
/// the world sees, and a domain may be served before it is announced.
fn ask_dns(config: &Config, report: &mut Report) {
    let asked = runtime::Builder::new_current_thread().enable_all().build();
    let asked = asked.map_err(|error| error.to_string());
    let asked = asked.and_then(|runtime| runtime.block_on(places(config, DNS_TIMEOUT)));
    match asked {
        Ok(places) => places.into_iter().for_each(|found| found.tell(report)),
        Err(why) => report.add(Severity::Warning, format!("the DNS cannot be asked: {why}")),
    }
}

/// What the DNS says about one domain.
struct Found {
    domain: Domain,
    places: Result<Vec<String>, ResolveError>,
    /// What is wrong with single places.
    faults: Vec<String>,
}

impl Found {
    fn tell(self, report: &mut Report) {
        for fault in self.faults {
            let text = format!("others look for {} at {fault}", self.domain);
            report.add(Severity::Warning, text);
        }
        match self.places {
            Ok(places) => {
                let name = self.domain.to_string();
                if let Some(domain) = report.domains.iter_mut().find(|domain| domain.name == name) {
                    domain.found_at = places;
                }
            }
            Err(why) => {
                report.add(
                    Severity::Warning,
                    format!("others cannot find {}: {why}", self.domain),
                );
            }
        }
    }
}

/// Asks for all domains at once; in the order of the configuration.
async fn places(config: &Config, limit: Duration) -> Result<Vec<Found>, String> {
    let dns = Dns::new(&config.dns)?;
    // What is wrong with the certificates themselves has been told.
    let tls = Tls::load(config).ok();
    let roots = tls.as_ref().map(|tls| tls.roots(&config.policy));
    let mut questions = JoinSet::new();
    for (rank, served) in config.domains.iter().enumerate() {
        let own = Own {
            dns: dns.clone(),
            domain: served.name.clone(),
            chain: tls.as_ref().and_then(|tls| tls.own_chain(&served.name)),
            roots: roots.clone().unwrap_or_default(),
            policy: Arc::clone(&config.policy),
        };
        questions.spawn(async move { (rank, find(own, limit).await) });
    }
    let answers = async {
        let mut found = Vec::new();
        while let Some(answer) = questions.join_next().await {
            found.extend(answer);
        }
        found
    };
    let mut answers = std::pin::pin!(answers);
    let mut found = match time::timeout(Duration::from_secs(1), &mut answers).await {
        Ok(found) => found,
        Err(_) => {
            if io::stderr().is_terminal() {
                complain(format_args!("asking the DNS …\n"));
            }
            answers.await
        }
    };
    found.sort_by_key(|(rank, _)| *rank);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

async fn find(own: Own, limit: Duration) -> Found {
    let answer = time::timeout(limit, own.look_up()).await;
    let late = || {
        let late = ResolveError::Failed("it is too slow".into());
        (Err(late), Vec::new())
    };
    let (places, faults) = answer.unwrap_or_else(|_| late());
    Found {
        domain: own.domain,
        places,
        faults,
    }
}
