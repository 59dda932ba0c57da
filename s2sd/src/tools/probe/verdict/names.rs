//! What the DNS and our own lists say about a domain.

use super::{Code, Reason, Side, fill::Draft, no_descriptors};
use crate::protocol::plan::ResolveError;
use crate::tools::probe::findings::{Findings, TargetReport};

pub(super) fn denied(findings: &Findings, denied: &str) -> Reason {
    findings.draft(Code::Denied).said(denied).done()
}

pub(super) fn unresolved(findings: &Findings, why: &ResolveError) -> Reason {
    match why {
        ResolveError::NoService => findings.draft(Code::NoService).done(),
        ResolveError::NotFound => findings.draft(Code::NoSuchDomain).done(),
        ResolveError::NoHost(host) => {
            let no_host = findings
                .draft(Code::TargetWithoutAddress)
                .with("host", host);
            no_host
                .because("the SRV records of {peer} lead to {host}, which is no name of a machine")
                .rule("RFC 2782")
                .change("{operator} has to name a machine there that has an address in the DNS")
                .done()
        }
        ResolveError::Onion => findings.draft(Code::Onion).done(),
        ResolveError::Failed(what) | ResolveError::Unanswered(what) => failed(findings, what),
        ResolveError::Bogus(what) => bogus(findings, what),
        ResolveError::Unsigned(name) => {
            let because = "the DNS answers for {peer} are not signed ({said})";
            findings
                .draft(Code::DnssecUnsigned)
                .because(because)
                .said(name)
                .done()
        }
        ResolveError::Exhausted => exhausted(findings, why).done(),
    }
}

pub(super) fn bogus(findings: &Findings, what: &str) -> Reason {
    let dnssec = match findings.own.configured {
        true => format!("`dnssec = \"{}\"` in [dns]", findings.dnssec),
        false => "without a configuration DNSSEC is looked at".to_owned(),
    };
    findings
        .draft(Code::DnssecBogus)
        .said(what)
        .with("dnssec", dnssec)
        .done()
}

pub(super) fn failed(findings: &Findings, what: &str) -> Reason {
    let draft = findings.draft(Code::Dns).said(what);
    // The same resolver found us, so it works.
    let resolver_works = !findings.own.found_at.is_empty() || findings.own.not_found.is_some();
    let failed = matches!(
        findings.own.not_found,
        Some(ResolveError::Failed(_) | ResolveError::Unanswered(_) | ResolveError::Exhausted)
    );
    match resolver_works && !failed {
        true => draft
            .side(Side::Peer)
            .change("{operator} has to look after its name servers: other names are found"),
        false => draft,
    }
    .done()
}

/// There was no question.
fn exhausted<'a>(findings: &'a Findings, why: &ResolveError) -> Draft<'a> {
    no_descriptors(findings, "{said}").said(why)
}

/// One place has no address.
pub(super) fn no_address(findings: &Findings, target: &TargetReport, why: &ResolveError) -> Reason {
    let host = &target.host;
    let no_records = || findings.lookups.iter().all(|it| it.records.is_empty());
    let is_fallback = *host == findings.domain || no_records();
    let without_address = findings
        .draft(Code::TargetWithoutAddress)
        .with("host", host);
    let reason = match why {
        ResolveError::NotFound | ResolveError::NoService if findings.rule.connect => {
            without_address
                .side(Side::Us)
                .because("{host} has no address in the DNS")
                .rule("{way}")
                .change("correct the name there")
                .done()
        }
        ResolveError::NotFound | ResolveError::NoService if is_fallback => {
            findings.draft(Code::NoSuchDomain).done()
        }
        ResolveError::NotFound | ResolveError::NoService => without_address.done(),
        other => unresolved(findings, other),
    };
    reason.at(&target.target)
}

pub(super) fn we_are_not_found(findings: &Findings, why: &ResolveError) -> Reason {
    match why {
        ResolveError::Exhausted => exhausted(findings, why),
        ResolveError::Failed(what) | ResolveError::Unanswered(what) => findings
            .draft(Code::Dns)
            .because(
                "the DNS gave no answer for {us}, so whether others find it cannot be told: {said}",
            )
            .change("see whether any name is found here (`servers` in [dns], /etc/resolv.conf)")
            .said(what),
        other => findings.draft(Code::WeAreNotFound).said(other),
    }
    .done()
}

pub(super) fn out_of_time(findings: &Findings) -> Reason {
    findings
        .draft(Code::OutOfTime)
        .with("seconds", findings.took.as_secs())
        .done()
}
