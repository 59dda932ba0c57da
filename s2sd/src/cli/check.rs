//! `s2sd check`: everything that can be known to be wrong before anybody connects.

use std::{
    io::{self, Write as _},
    path::Path,
};

use serde::Serialize;

use super::Outcome;
use crate::{
    config::{Config, Finding, Findings, Severity},
    logging,
};

/// What was looked at, and what was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// No fault was found.
    well: bool,
    file: String,
    findings: Vec<Said>,
    domains: Vec<Domain>,
    /// The findings with a place in the file, for people.
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct Said {
    severity: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// A served domain.
#[derive(Debug, Serialize)]
struct Domain {
    name: String,
    /// Whether a component may attach as it.
    component: bool,
    certificate: Option<String>,
}

pub(super) fn check(file: &Path, json: bool) -> Outcome {
    let stdout = io::stdout();
    let colours = !json && logging::colours(&stdout);
    let report = report(file, colours);
    let text = if json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        report.for_people()
    };
    // Nobody may be reading any more; the outcome stays what it is.
    let _ = stdout.lock().write_all(text.as_bytes());
    if report.well {
        Outcome::Well
    } else {
        Outcome::Fault
    }
}

fn report(file: &Path, colours: bool) -> Report {
    let mut report = Report {
        file: file.display().to_string(),
        ..Report::default()
    };
    match Config::load(file) {
        Ok(loaded) => {
            report.take(&loaded.warnings, colours);
            report.domains(&loaded.config);
        }
        Err(faults) => report.take(&faults, colours),
    }
    report.well = report.count("fault") == 0;
    report
}

impl Report {
    fn take(&mut self, findings: &Findings, colours: bool) {
        self.text += &findings.render(colours);
        self.findings
            .extend(findings.iter().map(|finding| said(findings, finding)));
    }

    fn domains(&mut self, config: &Config) {
        self.domains = config
            .domains
            .iter()
            .map(|served| Domain {
                name: served.name.to_string(),
                component: served.component.is_some(),
                certificate: served
                    .certificate
                    .as_ref()
                    .map(|files| files.chain.display().to_string()),
            })
            .collect();
    }

    fn count(&self, severity: &str) -> usize {
        self.findings
            .iter()
            .filter(|said| said.severity == severity)
            .count()
    }

    fn for_people(&self) -> String {
        let mut text = self.text.clone();
        for domain in &self.domains {
            let certificate = domain.certificate.as_deref().unwrap_or("no certificate");
            let answers = if domain.component {
                "a component"
            } else {
                "built-in services"
            };
            text += &format!("{}: {certificate}; {answers}\n", domain.name);
        }
        let number =
            |count, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let (faults, warnings) = (self.count("fault"), self.count("warning"));
        text + &format!(
            "{}: {}, {}\n",
            self.file,
            number(faults, "fault"),
            number(warnings, "warning")
        )
    }
}

fn said(findings: &Findings, finding: &Finding) -> Said {
    let position = findings.position(finding);
    Said {
        severity: match finding.severity {
            Severity::Fault => "fault",
            Severity::Warning => "warning",
        },
        text: finding.title.clone(),
        line: position.map(|(line, _)| line),
        column: position.map(|(_, column)| column),
        help: finding.help.clone(),
    }
}
