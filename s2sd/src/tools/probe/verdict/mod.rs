//! From the findings to their meaning: the fact that decided, the rule, and which side has to change what.
//!
//! Pure. As in the daemon, one place where a stream comes to be is enough; where there is none, the attempt counts that
//! got furthest. What else is worth a look is a warning.

mod certificate;
mod code;
mod fill;
mod names;
mod proof;
mod reaching;
mod stream;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::code::Code;

use super::findings::{Aim, AttemptReport, Dnssec, Findings, Lookup, ProofOutcome, TargetReport};
use crate::closed::{Cause, Reach};

/// A certificate that expires within so many days is a warning.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// What it means.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeVerdict {
    /// Does it work?
    pub works: Works,
    /// What decided.
    #[serde(flatten)]
    pub reason: Reason,
    /// Faults that did not decide.
    pub warnings: Vec<Reason>,
    /// What could not be tried, and why.
    pub untried: Vec<String>,
}

/// Does federation with the domain work?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Works {
    /// We are believed there.
    Yes,
    /// There is a fault.
    No,
    /// No fault was seen, but not everything could be tried.
    AsFarAsSeen,
}

/// One fact and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    /// Its name for programs.
    pub code: Code,
    /// The side that has to change something.
    pub side: Side,
    /// Where it was met.
    pub places: Vec<String>,
    /// The fact.
    pub because: String,
    /// The rule that it counts by.
    pub rule: String,
    /// What has to be changed; empty: nothing.
    pub change: String,
}

/// The side that has to change something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The other domain's operator.
    Peer,
    /// Ours.
    Us,
    /// The network or the name servers between, or either side.
    Between,
    /// No side.
    Nobody,
}

impl Reason {
    /// The same fact, at any target.
    fn is_the_same_as(&self, other: &Self) -> bool {
        (self.code, &self.because) == (other.code, &other.because)
    }

    fn also_at(&mut self, places: Vec<String>) {
        for target in places {
            if !self.places.contains(&target) {
                self.places.push(target);
            }
        }
    }

    fn at(mut self, target: &str) -> Self {
        self.places = vec![target.to_owned()];
        self
    }
}

/// One connection in its surroundings.
#[derive(Clone, Copy)]
struct Case<'a> {
    findings: &'a Findings,
    target: &'a TargetReport,
    attempt: &'a AttemptReport,
}

impl Case<'_> {
    /// The method that was tried last, if any was.
    fn tried(&self) -> Option<&'static str> {
        self.attempt.proofs.last().map(|proof| proof.method)
    }

    /// There was TLS, and the server did not ask for a certificate in it.
    fn was_not_asked(&self) -> bool {
        self.attempt.tls.as_ref().is_some_and(|tls| !tls.asked)
    }
}

impl Findings {
    fn us(&self) -> &str {
        self.from.as_deref().unwrap_or("your domain")
    }

    /// A key of the rule for the peer, as it stands in the configuration.
    fn key(&self, key: &str, value: &str) -> String {
        match self.own.configured {
            true => format!("`{key} = {value}` in {}", self.rule.name),
            false => format!("`{key} = {value}`, the default"),
        }
    }

    /// Whether a method may be used with the peer.
    fn may(&self, method: &str) -> bool {
        self.rule.auth.contains(&method)
    }

    fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.attempts().map(|(target, attempt)| Case {
            findings: self,
            target,
            attempt,
        })
    }

    fn attempts(&self) -> impl Iterator<Item = (&TargetReport, &AttemptReport)> {
        self.places
            .iter()
            .flat_map(|target| target.attempts.iter().map(move |attempt| (target, attempt)))
    }
}

/// This process has too few descriptors.
fn no_descriptors<'a>(findings: &'a Findings, because: &str) -> fill::Draft<'a> {
    findings
        .draft(Code::Other)
        .side(Side::Us)
        .because(because)
        .rule("the system's limit of open files")
        .change("raise LimitNOFILE (ulimit -n), or see what else runs here")
}

/// Draws the conclusion.
pub fn verdict(findings: &Findings) -> ProbeVerdict {
    let (works, mut reason) = decided(findings);
    let mut warnings: Vec<Reason> = Vec::new();
    for warning in warned(findings) {
        let mut said = std::iter::once(&mut reason).chain(&mut warnings);
        match said.find(|said| said.is_the_same_as(&warning)) {
            Some(said) => said.also_at(warning.places),
            None => warnings.push(warning),
        }
    }
    ProbeVerdict {
        works,
        warnings,
        untried: untried(findings),
        reason,
    }
}

fn decided(findings: &Findings) -> (Works, Reason) {
    if let Some(denied) = &findings.rule.denied {
        return (Works::No, names::denied(findings, denied));
    }
    if let Some(why) = &findings.unresolved {
        return (Works::No, names::unresolved(findings, why));
    }
    // The ping is part of it: a server that takes the proof and then no stanza is of no use.
    let proved =
        |attempt: &AttemptReport| attempt.aim == Aim::Federate && attempt.proved().is_some();
    let taken = |case: &Case<'_>| {
        let ping = case.attempt.ping.as_ref();
        // A server that takes the proof and then ends the stream takes no stanza.
        let goes_on = case.attempt.ended.is_none();
        goes_on && proved(case.attempt) && ping.is_none_or(|ping| ping.error.is_none())
    };
    if let Some(case) = findings.cases().find(taken) {
        return (Works::Yes, proof::proved(case));
    }
    let looked = |case: &Case<'_>| {
        let finished = case.attempt.ended == Some(Cause::Finished);
        case.attempt.aim == Aim::Look && finished && fault(*case).is_none()
    };
    if let Some(case) = findings.cases().find(looked) {
        return (Works::AsFarAsSeen, proof::seen(case));
    }
    (Works::No, furthest(findings))
}

/// The reason of the attempt that got furthest; of several the last, as in the daemon.
fn furthest(findings: &Findings) -> Reason {
    let mut best: Option<((bool, Reach), Reason)> = None;
    let mut offer = |reach: (bool, Reach), reason: Reason| {
        if best.as_ref().is_none_or(|(most, _)| reach >= *most) {
            best = Some((reach, reason));
        }
    };
    for target in &findings.places {
        if let Some(why) = &target.unresolved {
            offer(
                (false, Reach::LookedUp),
                names::no_address(findings, target, why),
            );
        }
        for attempt in &target.attempts {
            let case = Case {
                findings,
                target,
                attempt,
            };
            if let Some(reason) = fault(case) {
                let reach = attempt
                    .ended
                    .as_ref()
                    .map_or(Reach::Connected, Cause::reach);
                offer((attempt.ping.is_some(), reach), reason);
            }
        }
    }
    best.map_or_else(|| names::out_of_time(findings), |(_, reason)| reason)
}

/// The fault of one connection, if it has one.
fn fault(case: Case<'_>) -> Option<Reason> {
    let attempt = case.attempt;
    let reason = if let Some(why) = &attempt.unconnected {
        reaching::unconnected(case, why)
    } else if attempt.unfinished {
        stream::unfinished(case)
    } else if let Some(error) = attempt.ping.as_ref().and_then(|ping| ping.error.as_ref()) {
        stream::ping_refused(case, error)
    } else {
        match attempt.ended.as_ref()? {
            Cause::Finished if attempt.aim == Aim::Look && attempt.offer().is_some() => {
                // The probe looked on all the same, but a real stream would have ended there.
                let bad = certificate::unbelieved(case);
                return bad.filter(|_| case.findings.rule.verify == "strict");
            }
            cause => stream::ended(case, cause),
        }
    };
    Some(reason.at(&attempt.address))
}

fn warned(findings: &Findings) -> Vec<Reason> {
    let mut warnings = Vec::new();
    if findings.rule.denied.is_some() {
        return warnings;
    }
    for target in &findings.places {
        if let Some(why) = &target.unresolved {
            warnings.push(names::no_address(findings, target, why));
        }
    }
    for case in findings.cases() {
        let Case {
            target, attempt, ..
        } = case;
        // After a server closed upon a refusal, we asked it again, and that counts.
        let again = target.attempts.iter().any(|other| {
            other.address == attempt.address && other.proved().is_some() && other.ended.is_none()
        });
        let taken = attempt.proved().is_some() && attempt.ended.is_none();
        if !(taken || again && attempt.aim == Aim::Federate) {
            warnings.extend(match attempt.aim {
                Aim::Dialback => proof::not_found_by(case),
                Aim::Federate | Aim::Look => fault(case),
            });
        } else {
            warnings.extend(proof::refused_before(case));
        }
        warnings.extend(certificate::unbelieved(case));
        warnings.extend(certificate::soon(case));
        warnings.extend(stream::limit(case));
    }
    if let Some(fault) = &findings.own.certificate_fault {
        warnings.push(certificate::own(findings, fault));
    }
    if let Some(why) = &findings.own.not_found {
        warnings.push(names::we_are_not_found(findings, why));
    }
    if findings.cut_short {
        warnings.push(names::out_of_time(findings));
    }
    warnings
}

fn untried(findings: &Findings) -> Vec<String> {
    let mut untried = Vec::new();
    if findings.rule.denied.is_some() {
        untried.push(
            "no connection was made: this server makes none to a domain that it does not admit"
                .to_owned(),
        );
        return untried;
    }
    for word in &findings.rule.auth {
        let why = match *word {
            "dialback" => findings.own.no_dialback.clone(),
            "external" if findings.own.certificate => None,
            "external" if findings.own.configured => Some(format!(
                "there is no certificate of {} to show",
                findings.us()
            )),
            "external" => {
                Some("without a configuration (-c) there is no certificate to show".to_owned())
            }
            _ => None,
        };
        if let Some(why) = why {
            untried.push(format!("{word}: {why}"));
        }
    }
    let pinged = |attempt: &AttemptReport| {
        attempt
            .ping
            .as_ref()
            .is_some_and(|it| it.answered.is_none())
    };
    if findings.attempts().any(|(_, attempt)| pinged(attempt)) {
        untried.push(format!(
            "the answer to the ping: it comes on a stream that {} makes to the server of {}, and not to this command",
            findings.domain,
            findings.us()
        ));
    }
    let unchecked = |lookup: &Lookup| lookup.dnssec == Dnssec::Unchecked;
    match findings.dnssec {
        "off" => untried.push("DNSSEC and DANE: `dnssec` in [dns] is off".to_owned()),
        _ if findings.lookups.iter().any(unchecked) => {
            untried.push("DNSSEC and DANE: our name server does not pass signatures on".to_owned())
        }
        _ => {}
    }
    untried
}

/// The methods that failed before another one proved us.
fn refusals(attempt: &AttemptReport) -> impl Iterator<Item = (&'static str, &ProofOutcome)> {
    let refused = attempt.proofs.iter();
    refused
        .filter(|proof| proof.outcome != ProofOutcome::Proved)
        .map(|proof| (proof.method, &proof.outcome))
}
