//! What a probe says, for people and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::findings::{
    Aim, AttemptReport, ConnectFailure, Findings, Lookup, MeantFor, Offer, Proof, ProofOutcome,
    TargetReport, Tls,
};
use super::verdict::{ProbeVerdict, Reason, Side, Works, verdict};
use crate::closed::Cause;
use crate::config::size_text;
use crate::protocol::plan::ResolveError;

/// What was seen and what it means.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was seen.
    #[serde(flatten)]
    pub findings: Findings,
    /// What it means.
    pub verdict: ProbeVerdict,
}

/// A step went well, went wrong, or is for information.
#[derive(Clone, Copy)]
enum Sign {
    Well,
    Wrong,
    Told,
}

impl Report {
    pub(super) fn of(findings: Findings) -> Self {
        Self {
            verdict: verdict(&findings),
            findings,
        }
    }

    /// No fault was found.
    pub fn is_well(&self) -> bool {
        self.verdict.works != Works::No
    }

    /// One object.
    pub fn json(&self) -> String {
        // Nothing in it can fail to be written: keys are strings, numbers are finite.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Text to read.
    pub fn for_people(&self, colours: bool) -> String {
        let mut out = TextReport {
            text: String::new(),
            colours,
        };
        out.head(&self.findings);
        out.dns(&self.findings);
        for place in &self.findings.places {
            out.place(place);
        }
        out.verdict(&self.findings, &self.verdict);
        out.finish()
    }
}

struct TextReport {
    text: String,
    colours: bool,
}

impl TextReport {
    fn finish(self) -> String {
        self.text
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn title(&mut self, text: &str) {
        let title = self.paint("1", text);
        self.line(&format!("\n{title}"));
    }

    /// One step: its sign, its name, its outcome, how long it took.
    fn step(&mut self, depth: usize, sign: Sign, what: &str, found: &str, took: Option<Duration>) {
        let sign = match sign {
            Sign::Well => self.paint("92", "✓"),
            Sign::Wrong => self.paint("91", "✗"),
            Sign::Told => self.paint("2", "·"),
        };
        let took = took.map_or_else(String::new, |took| {
            self.paint("2", &format!("  ({})", time(took)))
        });
        let indent = "  ".repeat(depth);
        self.line(&format!("{indent}{sign} {what:<13} {found}{took}"));
    }

    fn more(&mut self, depth: usize, text: &str) {
        self.line(&format!("{}  {text}", "  ".repeat(depth)));
    }

    fn head(&mut self, findings: &Findings) {
        let from = match &findings.from {
            Some(from) => format!("as {from}"),
            None => "without a name".to_owned(),
        };
        let rule = match findings.own.configured {
            true => format!("by {}", findings.rule.name),
            false => "by the defaults".to_owned(),
        };
        let domain = self.paint("1", &findings.domain);
        self.line(&format!("{domain}, probed {from}, {rule}"));
    }

    fn dns(&mut self, findings: &Findings) {
        if findings.lookups.is_empty() && findings.own.found_at.is_empty() {
            return;
        }
        self.title("DNS");
        // Records that lead nowhere are what is wrong, though they are there.
        let nowhere = matches!(
            findings.unresolved,
            Some(ResolveError::NoService | ResolveError::NoHost(_))
        );
        for lookup in &findings.lookups {
            self.lookup(lookup, nowhere);
        }
        if let Some(why) = &findings.unresolved {
            self.step(1, Sign::Wrong, "places", &why.to_string(), None);
        }
        let Some(us) = &findings.from else { return };
        match &findings.own.not_found {
            Some(why) => self.step(1, Sign::Wrong, "way back", &format!("{us}: {why}"), None),
            None if findings.own.found_at.is_empty() => {}
            None => {
                let found = findings.own.found_at.join(", ");
                let found = format!("{us} is found at {found}");
                self.step(1, Sign::Well, "way back", &found, None);
            }
        }
    }

    fn lookup(&mut self, lookup: &Lookup, nowhere: bool) {
        let dnssec = match lookup.dnssec.word() {
            "" => String::new(),
            word => format!(", {word}"),
        };
        let there = if nowhere { Sign::Wrong } else { Sign::Well };
        let (sign, found) = match (&lookup.failed, lookup.records.len()) {
            (Some(why), _) => (Sign::Wrong, why.to_string()),
            (None, 0) => (Sign::Told, format!("none{dnssec}")),
            (None, 1) => (there, format!("1 record{dnssec}")),
            (None, many) => (there, format!("{many} records{dnssec}")),
        };
        let found = format!("{}: {found}", lookup.name);
        self.step(1, sign, lookup.kind, &found, Some(lookup.took));
        for record in &lookup.records {
            self.more(2, &format!("              {record}"));
        }
    }

    fn place(&mut self, place: &TargetReport) {
        let kind = match place.direct_tls {
            true => "TLS from the first byte",
            false => "STARTTLS",
        };
        self.title(&format!("{} ({kind})", place.target));
        match &place.unresolved {
            Some(why) => self.step(
                1,
                Sign::Wrong,
                "addresses",
                &why.to_string(),
                Some(place.took),
            ),
            None if place.addresses.is_empty() => {}
            None => {
                let dnssec = match place.dnssec.word() {
                    "" => String::new(),
                    word => format!(" ({word})"),
                };
                let found = format!("{}{dnssec}", place.addresses.join(", "));
                let left_out = |attempt: &AttemptReport| {
                    let why = attempt.unconnected.as_ref();
                    why.is_some_and(|it| it.why == ConnectFailure::NotPublic)
                };
                let sign = match place.attempts.iter().all(left_out) && !place.attempts.is_empty() {
                    true => Sign::Wrong,
                    false => Sign::Well,
                };
                self.step(1, sign, "addresses", &found, Some(place.took));
            }
        }
        if let Some(tlsa) = &place.tlsa {
            self.lookup(tlsa, false);
        }
        for attempt in &place.attempts {
            self.attempt(attempt);
        }
    }

    fn attempt(&mut self, attempt: &AttemptReport) {
        let aim = match attempt.aim {
            Aim::Federate => "",
            Aim::Look => ", only to look",
            Aim::Dialback => ", for dialback",
        };
        self.line(&format!("\n  {}{aim}", attempt.address));
        match (&attempt.unconnected, attempt.connected) {
            (Some(why), _) => self.step(2, Sign::Wrong, "TCP", &why.said, None),
            (None, Some(took)) => self.step(2, Sign::Well, "TCP", "connected", Some(took)),
            (None, None) => self.step(2, Sign::Told, "TCP", "no answer yet", Some(attempt.took)),
        }
        if let Some(garbage) = &attempt.garbage {
            let found = format!("this is not XMPP: {:?}", garbage.words());
            self.step(2, Sign::Wrong, "stream", &found, None);
        }
        if let Some(users) = attempt.meant_for {
            let users = match users {
                MeantFor::Clients => "clients",
                MeantFor::Components => "components",
                MeantFor::Others => "others than servers",
            };
            let found = format!("this is XMPP for {users}");
            self.step(2, Sign::Wrong, "stream", &found, None);
        }
        let mut tls = attempt.tls.as_ref();
        // With TLS from the first byte it comes before the first header.
        let direct = attempt.features.first().is_none_or(|offer| offer.encrypted);
        if direct && let Some(tls) = tls.take_if(|_| !attempt.has_clear_header()) {
            self.tls(tls);
        }
        for (at, header) in attempt.headers.iter().enumerate() {
            let from = match &header.from {
                Some(from) => format!("from {from}"),
                None => "without `from`".to_owned(),
            };
            let version = match &header.version {
                Some(version) => format!("version {version}"),
                None => "no version".to_owned(),
            };
            let id = if header.id { "" } else { ", without id" };
            let found = format!("{from}, {version}{id}");
            let sign = match attempt.decides(at) {
                true => Sign::Wrong,
                false => Sign::Well,
            };
            self.step(2, sign, "stream", &found, Some(header.took));
            if let Some(offer) = attempt.features.get(at) {
                self.step(2, Sign::Told, "features", &offered(offer), None);
            }
            if let Some(tls) = tls.take() {
                self.tls(tls);
            }
            if at + 1 == attempt.headers_before_proof() {
                for proof in &attempt.proofs {
                    self.proof(proof);
                }
            }
        }
        if let Some(no) = &attempt.no_tls {
            self.step(2, Sign::Wrong, "TLS", &no.said, None);
        }
        if let Some(ping) = &attempt.ping {
            let (sign, found, took) = match (ping.answered, ping.taken, &ping.error) {
                (_, _, Some(error)) => (Sign::Wrong, error.to_string(), None),
                (Some(took), ..) => (Sign::Well, "answered on this stream".to_owned(), Some(took)),
                (None, Some(took), None) => (
                    Sign::Well,
                    "taken, and the stream closed in good order".to_owned(),
                    Some(took),
                ),
                (None, None, None) => (Sign::Told, "sent; no word after it".to_owned(), None),
            };
            self.step(2, sign, "ping", &found, took);
        }
        if let Some(cause) = &attempt.ended
            && attempt.aim != Aim::Look
        {
            self.step(
                2,
                Sign::Wrong,
                "end",
                &cause.to_string(),
                Some(attempt.took),
            );
        } else if attempt.unfinished {
            self.step(2, Sign::Wrong, "end", "time was over", Some(attempt.took));
        }
    }

    fn tls(&mut self, tls: &Tls) {
        let group = tls.group.as_deref().unwrap_or("no group");
        let found = format!("{} {} {group}", tls.version, tls.cipher);
        self.step(2, Sign::Well, "TLS", &found, Some(tls.took));
        match &tls.identity {
            Some(identity) => {
                let sign = if identity.good {
                    Sign::Well
                } else {
                    Sign::Wrong
                };
                let found = match identity.good {
                    true => format!("{}: {}", identity.trust, identity.because),
                    false => identity.because.to_string(),
                };
                self.step(2, sign, "certificate", &found, None);
            }
            None => self.step(2, Sign::Told, "certificate", "not judged", None),
        }
        for (at, shown) in tls.chain.iter().enumerate() {
            let left = match shown.days_left {
                days @ ..0 => format!("expired {} days ago", -days),
                days => format!("{days} days left"),
            };
            let names = match (at, shown.names.as_slice()) {
                (0, []) => ", no name that counts".to_owned(),
                (_, []) => String::new(),
                (_, names) => format!(", {}", names.join(", ")),
            };
            self.more(
                3,
                &format!(
                    "            {}. {}{names}; until {} ({left}), by {}",
                    at + 1,
                    if shown.subject.is_empty() {
                        "(no subject)"
                    } else {
                        &shown.subject
                    },
                    shown.not_after,
                    shown.issuer
                ),
            );
        }
    }

    fn proof(&mut self, proof: &Proof) {
        let (sign, found) = match &proof.outcome {
            ProofOutcome::Proved => (Sign::Well, "we are believed".to_owned()),
            ProofOutcome::Unknown => (Sign::Wrong, "no outcome".to_owned()),
            outcome => {
                let (word, text) = outcome.words();
                let text = text.map_or_else(String::new, |text| format!(": {text}"));
                (Sign::Wrong, format!("{word}{text}"))
            }
        };
        self.step(2, sign, proof.method, &found, Some(proof.took));
    }

    fn verdict(&mut self, findings: &Findings, verdict: &ProbeVerdict) {
        let domain = &findings.domain;
        let (colour, head) = match verdict.works {
            Works::Yes => ("1;92", format!("✓ Federation with {domain} works.")),
            Works::No => ("1;91", format!("✗ Federation with {domain} does not work.")),
            Works::AsFarAsSeen => (
                "1;93",
                format!("· No fault of {domain} was seen, but not everything could be tried."),
            ),
        };
        let head = self.paint(colour, &head);
        self.line(&format!("\n{head}"));
        self.reason(findings, &verdict.reason);
        if !verdict.warnings.is_empty() {
            self.title("Besides");
            for warning in &verdict.warnings {
                let code = self.paint("93", warning.code.name());
                self.line(&format!("\n  {code}"));
                self.reason(findings, warning);
            }
        }
        if !verdict.untried.is_empty() {
            self.title("Not tried");
            for what in &verdict.untried {
                self.fold("  · ", "    ", what);
            }
        }
        self.line(&format!("\n{} in all", time(findings.took)));
    }

    fn reason(&mut self, findings: &Findings, reason: &Reason) {
        let whose = match reason.side {
            Side::Peer => findings.domain.as_str(),
            Side::Us => findings.from.as_deref().unwrap_or("this side"),
            Side::Between => "the network between, or either side",
            Side::Nobody => "",
        };
        for (name, text) in [
            ("Why", reason.because.as_str()),
            ("Where", reason.places.join(", ").as_str()),
            ("Rule", reason.rule.as_str()),
            ("Whose", whose),
            ("Change", reason.change.as_str()),
        ] {
            if !text.is_empty() {
                self.fold(&format!("  {name:<8}"), "          ", text);
            }
        }
    }

    /// Text in lines that fit a terminal.
    fn fold(&mut self, first: &str, next: &str, text: &str) {
        const WIDTH: usize = 100;
        let mut line = first.to_owned();
        let mut fresh = true;
        for word in text.split(' ') {
            if !fresh && line.chars().count() + word.chars().count() >= WIDTH {
                self.line(&line);
                line = next.to_owned();
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            line.push_str(word);
            fresh = false;
        }
        self.line(&line);
    }
}

impl AttemptReport {
    /// Whether this header, counted from 0, ended the stream: the last one, without an offer after it.
    fn decides(&self, at: usize) -> bool {
        let last = at + 1 == self.headers.len() && self.features.len() <= at;
        last && matches!(self.ended, Some(Cause::Protocol(..)))
    }

    /// The first header came in clear.
    fn has_clear_header(&self) -> bool {
        self.tls.is_none() || self.features.first().is_some_and(|offer| !offer.encrypted)
    }

    /// How many streams there were when the first method was tried.
    fn headers_before_proof(&self) -> usize {
        // SASL begins another one (RFC 6120 §6.4.6), dialback does not.
        let again = self.proved().is_some_and(|method| method != "dialback");
        self.headers.len() - usize::from(again && self.headers.len() > 1)
    }
}

fn offered(offer: &Offer) -> String {
    let mut said = Vec::new();
    match offer.starttls {
        Some(true) => said.push("STARTTLS required".to_owned()),
        Some(false) => said.push("STARTTLS".to_owned()),
        None => {}
    }
    if !offer.mechanisms.is_empty() {
        said.push(offer.mechanisms.join(" "));
    }
    match offer.dialback {
        Some(true) => said.push("dialback with errors".to_owned()),
        Some(false) => said.push("dialback".to_owned()),
        None => {}
    }
    if let Some(bytes) = offer.max_bytes {
        let size = usize::try_from(bytes).map_or_else(|_| bytes.to_string(), size_text);
        said.push(format!("stanzas up to {size}"));
    }
    if let Some(seconds) = offer.idle_seconds {
        said.push(format!("closed after {seconds} s of silence"));
    }
    said.extend(
        offer
            .other
            .iter()
            .map(|(namespace, name)| format!("{name} ({namespace})")),
    );
    match said.is_empty() {
        true => "none".to_owned(),
        false => said.join(", "),
    }
}

fn time(took: Duration) -> String {
    let ms = took.as_secs_f64() * 1000.0;
    match ms {
        ..9.95 => format!("{ms:.1} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}
