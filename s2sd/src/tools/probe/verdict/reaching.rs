//! Why there is no TCP connection.

use super::{Case, Code, Reason};
use crate::tools::probe::findings::{ConnectFailure, Unconnected};

pub(super) fn unconnected(case: Case<'_>, why: &Unconnected) -> Reason {
    let code = match why.why {
        ConnectFailure::Refused => Code::Refused,
        ConnectFailure::Silent => Code::NoAnswer,
        ConnectFailure::NotPublic => Code::NotPublic,
        ConnectFailure::NoRoute => Code::NoRoute,
        ConnectFailure::Proxy => Code::Proxy,
        ConnectFailure::Source => Code::Source,
        ConnectFailure::Descriptors => {
            let reason = super::no_descriptors(case.findings, "no connection: {said}");
            return reason.said(&why.said).done();
        }
        ConnectFailure::Other => Code::Connect,
    };
    let silent = |it: &Unconnected| it.why == ConnectFailure::Silent;
    let mut all = case
        .findings
        .attempts()
        .filter_map(|(_, attempt)| attempt.unconnected.as_ref());
    let more = match all.all(silent) {
        true => {
            "; if no server anywhere answers you, it is your own network that lets nothing out on this port"
        }
        false => "",
    };
    let draft = case
        .draft(code)
        .said(&why.said)
        .with("port", if case.target.direct_tls { 5270 } else { 5269 })
        .with("more", more)
        .with(
            "proxy",
            case.findings.rule.proxy.as_deref().unwrap_or("the proxy"),
        );
    match code == Code::NoRoute && case.attempt.address.starts_with('[') {
        true => draft.change("nothing, if the other addresses do; else give this machine IPv6"),
        false => draft,
    }
    .done()
}
