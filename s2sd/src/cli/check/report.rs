//! What `check` says, for people and as JSON.

use std::{fmt::Write as _, net::SocketAddr};

use serde::{Serialize, Serializer};

use super::{INSIST, effective::EffectivePolicy};

use crate::config::{Diagnostics, Severity};

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// No fault was found.
    well: bool,
    file: String,
    findings: Vec<Said>,
    pub(super) domains: Vec<Domain>,
    /// Where connections will be taken.
    pub(super) listen: Vec<Listener>,
    /// How the domain that was asked about is treated.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_json")]
    pub(super) rule: Option<EffectivePolicy>,
    /// The findings as people read them.
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    colours: bool,
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
pub(super) struct Domain {
    pub(super) name: String,
    /// May a component attach as it?
    pub(super) component: bool,
    pub(super) certificate: Option<Certificate>,
    /// Where the DNS sends others, in the order in which they try.
    pub(super) found_at: Vec<String>,
}

/// An address of `[listen]`.
#[derive(Debug, Serialize)]
pub(super) struct Listener {
    /// The key.
    pub(super) key: &'static str,
    pub(super) address: SocketAddr,
    /// `free`, `in use by s2sd`, `in use`, `refused`.
    pub(super) state: &'static str,
}

/// What a domain shows.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) file: String,
    /// Seconds since 1970.
    pub(super) not_after: u64,
    pub(super) days_left: u64,
    /// Its extended key usage lacks clientAuth.
    pub(super) for_servers_alone: bool,
}

impl Report {
    pub(super) fn new(file: String, colours: bool) -> Self {
        Self {
            well: true,
            file,
            findings: Vec::new(),
            domains: Vec::new(),
            listen: Vec::new(),
            rule: None,
            text: String::new(),
            colours,
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.well
    }

    /// What was found in the file.
    pub(super) fn take(&mut self, findings: &Diagnostics) {
        self.text += &findings.render(self.colours);
        for finding in findings.iter() {
            let position = findings.position(finding);
            self.well &= finding.severity == Severity::Warning;
            self.findings.push(Said {
                severity: word(finding.severity),
                text: finding.title.clone(),
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
                help: finding.help.clone(),
            });
        }
    }

    /// What was found elsewhere.
    pub(super) fn add(&mut self, severity: Severity, text: String) {
        self.add_with_help(severity, text, None);
    }

    /// The same, with what there is to do.
    pub(super) fn add_with_help(&mut self, severity: Severity, text: String, help: Option<String>) {
        let (label, colour) = match severity {
            Severity::Fault => ("error", "\x1b[1;91m"),
            Severity::Warning => ("warning", "\x1b[1;93m"),
        };
        let (on, off) = if self.colours {
            (colour, "\x1b[0m")
        } else {
            ("", "")
        };
        let more = help.as_ref();
        let more = more.map_or_else(String::new, |help| format!("  = help: {help}\n"));
        self.text += &format!("{on}{label}{off}: {text}\n{more}\n");
        self.well &= severity == Severity::Warning;
        self.findings.push(Said {
            severity: word(severity),
            text,
            line: None,
            column: None,
            help,
        });
    }

    pub(super) fn json(&self) -> String {
        // Nothing in it can fail to be written: no maps, no numbers that JSON does not know.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(super) fn for_people(&self) -> String {
        let mut text = self.text.clone();
        if let Some(rule) = &self.rule {
            text += &rule.for_people();
        }
        let domains = match self.rule {
            Some(_) => &[],
            None => self.domains.as_slice(),
        };
        for domain in domains {
            let certificate =
                domain
                    .certificate
                    .as_ref()
                    .map_or("none".to_owned(), |certificate| {
                        format!(
                            "{}, {} left",
                            certificate.file,
                            number(certificate.days_left, "day")
                        )
                    });
            let answers = if domain.component {
                "a component, and s2sd while none is attached"
            } else {
                "s2sd"
            };
            let found_at = if domain.found_at.is_empty() {
                "nowhere".to_owned()
            } else {
                domain.found_at.join(", ")
            };
            let _ = writeln!(text, "{}", domain.name);
            let _ = writeln!(text, "  certificate  {certificate}");
            let shown = domain.certificate.as_ref();
            if shown.is_some_and(|it| it.for_servers_alone) {
                let _ = writeln!(
                    text,
                    "               for servers alone, without clientAuth: {INSIST} ask for dialback"
                );
            }
            let _ = writeln!(text, "  answers      {answers}");
            let _ = writeln!(text, "  found at     {found_at}\n");
        }
        // The others are free, or told of above.
        for listener in self
            .listen
            .iter()
            .filter(|listener| listener.state == "in use by s2sd")
        {
            let Listener {
                key,
                address,
                state,
            } = listener;
            let _ = writeln!(text, "`{key}` in [listen]: {address} is {state}\n");
        }
        let count = |severity| {
            self.findings
                .iter()
                .filter(|said| said.severity == word(severity))
                .count()
        };
        let (faults, warnings) = (count(Severity::Fault), count(Severity::Warning));
        text + &format!(
            "{}: {}, {}\n",
            self.file,
            number(faults, "fault"),
            number(warnings, "warning")
        )
    }
}

fn as_json<S: Serializer>(
    rule: &Option<EffectivePolicy>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    rule.as_ref()
        .map(EffectivePolicy::json)
        .serialize(serializer)
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fault => "fault",
        Severity::Warning => "warning",
    }
}

/// `1 day`, `2 days`.
fn number<N: Copy + TryInto<u64>>(count: N, one: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}
