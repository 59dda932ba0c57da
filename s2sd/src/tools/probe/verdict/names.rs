//! What the DNS and our own lists say about a domain.

use super::{Code, Reason, Side};
use crate::protocol::plan::ResolveError;
use crate::tools::probe::findings::{Findings, TargetReport};

const SRV: &str = "RFC 6120 §3.2.1";
const FALLBACK: &str = "RFC 6120 §3.2.2";

pub(super) fn denied(findings: &Findings, denied: &str) -> Reason {
    let domain = &findings.domain;
    Reason::new(
        Code::Denied,
        Side::Us,
        format!("{domain} is not admitted here"),
    )
    .rule(denied)
    .change(format!(
        "if {domain} shall federate with you, change `allow` or `deny` in [policy]"
    ))
}

pub(super) fn unresolved(findings: &Findings, why: &ResolveError) -> Reason {
    let domain = &findings.domain;
    match why {
        ResolveError::NoService => Reason::new(
            Code::NoService,
            Side::Peer,
            format!("{domain} says in the DNS that it offers no XMPP service to servers (SRV \".\")"),
        )
        .rule("RFC 2782; XEP-0368 §5")
        .change(format!(
            "if {domain} shall be reached by XMPP, its operator has to publish SRV records that name a server"
        )),
        ResolveError::NotFound => nowhere(findings),
        ResolveError::NoHost(host) => no_host(findings, host),
        ResolveError::Onion => onion(findings),
        ResolveError::Failed(what) | ResolveError::Unanswered(what) => failed(findings, what),
        ResolveError::Bogus(what) => bogus(findings, what),
        ResolveError::Unsigned(name) => unsigned(findings, name),
        ResolveError::Exhausted => exhausted(why),
    }
}

pub(super) fn bogus(findings: &Findings, what: &str) -> Reason {
    let domain = &findings.domain;
    Reason::new(
        Code::DnssecBogus,
        Side::Peer,
        format!("the DNS answers for {domain} are not what their DNSSEC signatures vouch for: {what}"),
    )
    .rule(format!(
        "{}; RFC 7673 §3.1; RFC 4035 §5.5",
        match findings.own.configured {
            true => format!("`dnssec = \"{}\"` in [dns]", findings.dnssec),
            false => "without a configuration DNSSEC is looked at".to_owned(),
        }
    ))
    .change(format!(
        "the operator of {domain} has to have its zone signed anew, and to see that the DS records above it fit; unless \
         somebody changes the answers on the way to you"
    ))
}

fn unsigned(findings: &Findings, name: &str) -> Reason {
    let because = format!(
        "the DNS answers for {} are not signed ({name})",
        findings.domain
    );
    not_signed(findings, because)
}

/// An answer is not signed that leads to a place or says something of it.
pub(super) fn not_signed(findings: &Findings, because: String) -> Reason {
    let domain = &findings.domain;
    Reason::new(Code::DnssecUnsigned, Side::Us, because)
    .rule("`dnssec = \"require\"` in [dns]")
    .change(format!(
        "the operator of {domain} has to sign the zone; or be content here with `dnssec = \"use\"`; or use a name \
         server that passes signatures on, if yours does not"
    ))
}

fn nowhere(findings: &Findings) -> Reason {
    let domain = &findings.domain;
    Reason::new(
        Code::NoSuchDomain,
        Side::Peer,
        format!("{domain} has neither SRV records for XMPP servers nor an address in the DNS"),
    )
    .rule(FALLBACK)
    .change(format!(
        "look whether the name is spelt right; if it is, its operator has to publish \
         _xmpp-server._tcp.{domain} (SRV) or an address"
    ))
}

fn no_host(findings: &Findings, host: &str) -> Reason {
    let domain = &findings.domain;
    Reason::new(
        Code::TargetWithoutAddress,
        Side::Peer,
        format!("the SRV records of {domain} lead to {host}, which is no name of a machine"),
    )
    .rule("RFC 2782")
    .change(format!(
        "the operator of {domain} has to name a machine there that has an address in the DNS"
    ))
}

fn onion(findings: &Findings) -> Reason {
    let because = format!("{} is reached through Tor only", findings.domain);
    Reason::new(Code::Onion, Side::Us, because)
        .rule("RFC 7686 §2")
        .change(format!(
            "have {}, where Tor listens",
            findings.exception("proxy = \"socks5://127.0.0.1:9050\"")
        ))
}

pub(super) fn failed(findings: &Findings, what: &str) -> Reason {
    let domain = &findings.domain;
    // The same resolver found us, so it works.
    let resolver_works = !findings.own.found_at.is_empty() || findings.own.not_found.is_some();
    let resolver_works = resolver_works
        && !matches!(
            findings.own.not_found,
            Some(ResolveError::Failed(_) | ResolveError::Unanswered(_) | ResolveError::Exhausted)
        );
    let (side, change) = match resolver_works {
        true => (
            Side::Peer,
            format!(
                "the operator of {domain} has to look after its name servers: other names are found"
            ),
        ),
        false => (
            Side::Between,
            format!(
                "see whether any name is found here (`servers` in [dns], /etc/resolv.conf); if others are, the name \
                 servers of {domain} are at fault"
            ),
        ),
    };
    Reason::new(
        Code::Dns,
        side,
        format!("the DNS gave no answer for {domain}: {what}"),
    )
    .rule(SRV)
    .change(change)
}

/// Nobody was asked.
fn exhausted(why: &ResolveError) -> Reason {
    Reason::new(Code::Other, Side::Us, why.to_string())
        .rule("the system's limit of open files")
        .change("raise LimitNOFILE (ulimit -n), or see what else runs here")
}

/// One place has no address.
pub(super) fn no_address(findings: &Findings, target: &TargetReport, why: &ResolveError) -> Reason {
    let domain = &findings.domain;
    let host = &target.host;
    let is_fallback = host == domain || findings.lookups.iter().all(|it| it.records.is_empty());
    let reason = match why {
        ResolveError::NoHost(host) => no_host(findings, host),
        ResolveError::Onion => onion(findings),
        ResolveError::Failed(what) | ResolveError::Unanswered(what) => failed(findings, what),
        ResolveError::Bogus(what) => bogus(findings, what),
        ResolveError::Unsigned(name) => unsigned(findings, name),
        ResolveError::Exhausted => exhausted(why),
        ResolveError::NotFound | ResolveError::NoService if findings.rule.connect => Reason::new(
            Code::TargetWithoutAddress,
            Side::Us,
            format!("{host} has no address in the DNS"),
        )
        .rule(format!("`connect` in {}", findings.rule.name))
        .change("correct the name there"),
        ResolveError::NotFound | ResolveError::NoService if is_fallback => nowhere(findings),
        ResolveError::NotFound | ResolveError::NoService => Reason::new(
            Code::TargetWithoutAddress,
            Side::Peer,
            format!("the SRV records of {domain} lead to {host}, which has no address in the DNS"),
        )
        .rule(SRV)
        .change(format!(
            "the operator of {domain} has to give {host} an address, or to name another machine"
        )),
    };
    reason.at(&target.target)
}

pub(super) fn we_are_not_found(findings: &Findings, why: &ResolveError) -> Reason {
    let us = findings.us();
    if let ResolveError::Exhausted = why {
        return exhausted(why);
    }
    if let ResolveError::Failed(what) | ResolveError::Unanswered(what) = why {
        let because = format!(
            "the DNS gave no answer for {us}, so whether others find it cannot be told: {what}"
        );
        return Reason::new(Code::Dns, Side::Between, because)
            .rule(SRV)
            .change("see whether any name is found here (`servers` in [dns], /etc/resolv.conf)");
    }
    Reason::new(
        Code::WeAreNotFound,
        Side::Us,
        format!("others do not find {us}, so nothing comes back, and dialback fails: {why}"),
    )
    .rule(SRV)
    .change(format!(
        "publish _xmpp-server._tcp.{us} (SRV) with the name of this machine"
    ))
}

pub(super) fn out_of_time(findings: &Findings) -> Reason {
    let seconds = findings.took.as_secs();
    Reason::new(
        Code::OutOfTime,
        Side::Nobody,
        format!("time was over after {seconds} s, before everything was seen"),
    )
    .rule("--timeout")
    .change("give it more time: --timeout 120s")
}
