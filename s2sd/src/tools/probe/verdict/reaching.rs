//! Why there is no TCP connection.

use super::{Case, Code, Reason, Side};
use crate::tools::probe::findings::{ConnectFailure, Unconnected};

pub(super) fn unconnected(case: Case<'_>, why: &Unconnected) -> Reason {
    let (peer, target) = (case.peer(), &case.attempt.address);
    let text = &why.said;
    let default_port = if case.target.direct_tls { 5270 } else { 5269 };
    let reason = match why.why {
        ConnectFailure::Refused => Reason::new(
            Code::Refused,
            Side::Peer,
            format!("nothing listens at {target}, or a firewall there refuses"),
        )
        .change(format!(
            "the operator of {peer} has to start the server, to open the port, or to correct the SRV records; \
             servers usually listen on {default_port}"
        )),
        ConnectFailure::Silent => {
            let all = case.findings.attempts();
            let all_silent = all
                .filter_map(|(_, attempt)| attempt.unconnected.as_ref())
                .all(|it| it.why == ConnectFailure::Silent);
            let ours = match all_silent {
                true => "; if no server anywhere answers you, it is your own network that lets nothing out on this port",
                false => "",
            };
            Reason::new(Code::NoAnswer, Side::Between, format!("{target} does not answer"))
                .change(format!(
                    "the operator of {peer} has to see whether the machine runs and its firewall lets the port in{ours}"
                ))
        }
        ConnectFailure::NotPublic => {
            let findings = case.findings;
            return Reason::new(Code::NotPublic, Side::Between, text.to_string())
                .rule(findings.key("addresses", "\"public\""))
                .change(format!(
                    "the operator of {peer} has to publish public addresses; in a network of your own, have {}",
                    findings.exception("addresses = \"any\"")
                ));
        }
        ConnectFailure::NoRoute => {
            let change = match target.starts_with('[') {
                true => "nothing, if the other addresses do; else give this machine IPv6",
                false => "see to the routes of this machine",
            };
            Reason::new(
                Code::NoRoute,
                Side::Us,
                format!("there is no way from here to {target}: {text}"),
            )
            .change(change)
        }
        ConnectFailure::Proxy => {
            let proxy = case.findings.rule.proxy.as_deref().unwrap_or("the proxy");
            return Reason::new(Code::Proxy, Side::Us, format!("no connection: {text}"))
                .rule(format!("`proxy` in {}", case.findings.rule.name))
                .change(format!(
                    "see whether {proxy} runs and may connect to {peer}"
                ));
        }
        ConnectFailure::Source => {
            return Reason::new(Code::Source, Side::Us, format!("no connection: {text}"))
                .rule(format!("`source` in {}", case.findings.rule.name))
                .change("name addresses there that this machine has, of the family that is needed");
        }
        ConnectFailure::Descriptors => {
            return Reason::new(Code::Other, Side::Us, format!("no connection: {text}"))
                .rule("the system's limit of open files")
                .change("raise LimitNOFILE (ulimit -n), or see what else runs here");
        }
        ConnectFailure::Other => Reason::new(Code::Connect, Side::Between, format!("no connection to {target}: {text}"))
            .change("see whether other servers can be reached from this machine"),
    };
    match case.findings.rule.connect {
        true => reason.rule(format!("`connect` in {}", case.findings.rule.name)),
        false => reason.rule("RFC 6120 §3.2"),
    }
}
