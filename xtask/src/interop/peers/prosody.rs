//! Prosody 0.12. Users by PLAIN on port 5222; XEP-0368 on 5270; its log tells everything at level debug.

use super::{Peer, USER, at, user_end};
use crate::interop::{
    evidence::{Claim, Method, Refusal, line_with, no_line_with},
    process::Process,
    programs::{find, has_library, says},
    s2sd_pair,
    server_dir::{ANCHOR, ServerDir},
    setup::{Direction, Setup, Transport},
    template::fill,
};
use anyhow::Result;
use std::{net::Ipv4Addr, process::Command};

const TEMPLATE: &str = include_str!("../../../peers/prosody.cfg.lua.tmpl");

pub(in crate::interop) struct Prosody;

impl Peer for Prosody {
    fn name(&self) -> &'static str {
        "prosody"
    }

    fn is_installed(&self) -> bool {
        find("prosody").is_some()
            && find("prosodyctl").is_some()
            && has_library("lua/5.4/lunbound.so")
    }

    fn packages(&self) -> &'static [&'static str] {
        &["prosody", "lua-sec", "lua-unbound"]
    }

    fn domain(&self) -> &'static str {
        "prosody.test"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 77, 1)
    }

    fn version(&self) -> Option<String> {
        let about = says(Command::new(find("prosodyctl")?).arg("about"))?;
        about.lines().find_map(|line| {
            let version = line.trim().strip_prefix("Prosody ")?;
            Some(format!("Prosody {version}"))
        })
    }

    fn start(&self, place: &ServerDir<'_>, setup: &Setup) -> Result<Vec<Process>> {
        let domain = self.domain();
        let (certificate, _) = setup.peer_certificate.leaf(domain);
        let mut modules = Vec::new();
        modules.extend(setup.dialback().then_some("\"dialback\";"));
        modules.extend(setup.tls().then_some("\"tls\";"));
        modules.extend(setup.bidi.then_some("\"s2s_bidi\";"));
        let mut modules_off = Vec::new();
        modules_off.extend((!setup.tls()).then_some("\"tls\";"));
        // Prosody 13 opens no port for servers where `use_dane` is on and this module off.
        modules_off.extend((!setup.dane).then_some("\"s2s_auth_dane_in\";"));
        let anchor = format!("trustfile = \"{}\";", place.shared(ANCHOR));
        let config = fill(
            TEMPLATE,
            &[
                ("dir", &place.path("")),
                ("modules", &modules.join(" ")),
                ("modules_off", &modules_off.join(" ")),
                ("address", &self.address().to_string()),
                (
                    "direct_port",
                    if setup.transport == Transport::DirectTls {
                        "5270"
                    } else {
                        ""
                    },
                ),
                ("tls", if setup.tls() { "true" } else { "false" }),
                ("secure", if setup.dialback() { "false" } else { "true" }),
                (
                    "certificate",
                    &place.certificate(&format!("{certificate}.pem")),
                ),
                ("key", &place.certificate(&format!("{certificate}.key"))),
                ("ca", &place.certificate("ca.pem")),
                ("domain", domain),
                ("dane", if setup.dane { "true" } else { "false" }),
                ("trustfile", if setup.dane { &anchor } else { "" }),
            ],
        )?;
        place.write("prosody.cfg.lua", &config)?;
        place.make_directory("certs")?;
        // The account as Prosody's own file store has it.
        let accounts = "data/prosody%2etest/accounts";
        place.make_directory(accounts)?;
        let (user, password) = USER;
        place.write(
            &format!("{accounts}/{user}.dat"),
            &format!("return {{ [\"password\"] = \"{password}\" }};\n"),
        )?;
        let mut command = Command::new("prosody");
        command.args(["-F", "--root", "--config", &place.path("prosody.cfg.lua")]);
        let mut process = Process::start("prosody", command, place.directory)?;
        let direct: &[u16] = if setup.transport == Transport::DirectTls {
            &[5270]
        } else {
            &[]
        };
        process.serves(&at(self.address(), &[&[5222, 5269], direct].concat()))?;
        Ok(vec![process])
    }

    fn end(&self) -> String {
        user_end(self)
    }

    fn log(&self) -> &'static str {
        "prosody.log"
    }

    fn proved(&self, log: &str, claim: &Claim) -> Result<(), String> {
        let done = match claim.direction {
            Direction::FromPeer => format!(
                "Outgoing s2s connection {}->{} complete",
                self.domain(),
                s2sd_pair::DOMAIN
            ),
            Direction::ToPeer => format!(
                "Incoming s2s connection {}->{} complete",
                s2sd_pair::DOMAIN,
                self.domain()
            ),
        };
        line_with(log, &[&done])?;
        let stream = session(log, &done);
        let (asks, grants) = match claim.direction {
            Direction::FromPeer => ("Sending[", "Received["),
            Direction::ToPeer => ("Received[", "Sending["),
        };
        match claim.method {
            Method::External => {
                line_with(&stream, &[asks, "<auth ", "'EXTERNAL'"])?;
                line_with(&stream, &[grants, "<success "])?;
            }
            Method::Dialback => {
                no_line_with(&stream, &["<success "])?;
                line_with(&stream, &[asks, "result "])?;
                line_with(&stream, &[grants, "result ", "type='valid'"])?;
            }
            Method::Agreed(name) => return Err(format!("has no {name} between servers")),
        }
        let encrypted = ["Stream encrypted"];
        if claim.tls() {
            line_with(&stream, &encrypted)?
        } else {
            no_line_with(&stream, &encrypted)?
        }
        let upgraded = ["<proceed "];
        match claim.transport {
            Transport::StartTls => line_with(&stream, &upgraded),
            Transport::Plain | Transport::DirectTls => no_line_with(&stream, &upgraded),
        }
    }

    fn refused(&self, log: &str, direction: Direction, why: Refusal) -> Result<(), String> {
        let us = s2sd_pair::DOMAIN;
        let them = self.domain();
        match (direction, why) {
            (Direction::FromPeer, Refusal::Certificate) => line_with(
                log,
                &[
                    &format!("Outgoing s2s stream {them}->{us} closed"),
                    "not-authorized",
                ],
            ),
            (Direction::ToPeer, Refusal::Certificate) => line_with(
                log,
                &[
                    &format!("Incoming s2s stream {us}->{them} closed"),
                    "certificate",
                ],
            ),
            (Direction::FromPeer, Refusal::Impostor) => line_with(
                log,
                &[
                    &format!("Outgoing s2s stream {them}->{us} closed"),
                    "certificate",
                ],
            ),
            (Direction::FromPeer, Refusal::Key) => {
                line_with(log, &["Received[", "result ", "type='invalid'"])
            }
            (Direction::ToPeer, Refusal::Key) => {
                line_with(log, &["Sending[", "result ", "type='invalid'"])
            }
            (Direction::FromPeer, Refusal::Host) => line_with(log, &["host-unknown"]),
            (Direction::ToPeer, Refusal::Host) => line_with(log, &["host-unknown"]),
            (Direction::ToPeer, Refusal::Impostor) => Ok(()),
            (Direction::FromPeer, Refusal::NoTls) => {
                line_with(log, &["Received[", "result ", "type='error'"])
            }
            (Direction::ToPeer, Refusal::NoTls) => Ok(()),
        }
    }

    fn found_by_dane(&self, log: &str) -> Result<(), String> {
        let done = format!(
            "Outgoing s2s connection {}->{} complete",
            self.domain(),
            s2sd_pair::DOMAIN
        );
        line_with(log, &["Enabling DANE with 1 TLSA records"])?;
        let stream = session(log, &done);
        line_with(&stream, &["certificate chain validation result: valid"])
    }

    fn has_bidi(&self) -> bool {
        true
    }

    fn both_ways(&self, log: &str, direction: Direction) -> Result<(), String> {
        let (us, them) = (s2sd_pair::DOMAIN, self.domain());
        let outgoing = format!("Outgoing s2s connection {them}->{us} complete");
        let incoming = format!("Incoming s2s connection {us}->{them} complete");
        let (done, other, asked) = match direction {
            Direction::FromPeer => (outgoing, incoming, "Requesting bidirectional stream"),
            Direction::ToPeer => (incoming, outgoing, "Requested bidirectional stream"),
        };
        line_with(&session(log, &done), &[asked])?;
        no_line_with(log, &[&other])?;
        match log.matches(&done).count() {
            1 => Ok(()),
            more => Err(format!("{more} streams")),
        }
    }

    fn acknowledges(&self, log: &str) -> Result<(), String> {
        line_with(log, &["Received ack request, acking for"])
    }

    fn takes_server_only(&self) -> Method {
        Method::External
    }

    fn cannot(&self, scenario: &str, direction: Direction) -> Option<&'static str> {
        match scenario {
            "acks" if direction == Direction::FromPeer => Some("s2sd does not offer it yet"),
            "no-version" => Some("always sends version='1.0'"),
            "multiplex" if direction == Direction::FromPeer => {
                Some("makes a stream for each pair of domains")
            }
            _ => None,
        }
    }
}

/// The lines of the session that logged `done`. A line is `Nov 22 15:00:17 s2sout559dc8b72dd0 info …`.
fn session(log: &str, done: &str) -> String {
    let name = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    let Some(session) = log.lines().find(|line| line.contains(done)).and_then(name) else {
        return String::new();
    };
    log.lines()
        .filter(|line| name(line).as_deref() == Some(&session))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Prosody 0.12.3 logged, shortened.
    const DIALBACK: &str = "Nov 22 14:59:58 s2sin55937c4ad230\tdebug\tReceived[s2sin_unauthed]: <result to='prosody.test' xmlns='jabber:server:dialback' from='s2sd.test'>
Nov 22 14:59:58 s2sin55937c4ad230\tinfo\tIncoming s2s connection s2sd.test->prosody.test complete
Nov 22 14:59:58 s2sin55937c4ad230\tdebug\tSending[s2sin]: <db:result to='s2sd.test' id='1' type='valid' from='prosody.test'>
Nov 22 14:59:59 s2sin00000c4ad000\tinfo\tStream encrypted (TLSv1.3 with TLS_AES_256_GCM_SHA384)\n";

    const EXTERNAL: &str = "Nov 22 15:00:17 s2sout559dc8b72dd0\tdebug\tReceived[s2sout_unauthed]: <proceed xmlns='x'>
Nov 22 15:00:17 s2sout559dc8b72dd0\tinfo\tStream encrypted (TLSv1.3 with TLS_AES_256_GCM_SHA384)
Nov 22 15:00:17 s2sout559dc8b72dd0\tdebug\tSending[s2sout_unauthed]: <auth xmlns='x' mechanism='EXTERNAL'>
Nov 22 15:00:17 s2sout559dc8b72dd0\tdebug\tReceived[s2sout_unauthed]: <success xmlns='x' xml:lang='en'>
Nov 22 15:00:17 s2sout559dc8b72dd0\tinfo\tOutgoing s2s connection prosody.test->s2sd.test complete\n";

    fn check(log: &str, method: Method, transport: Transport, direction: Direction) -> bool {
        Prosody
            .proved(
                log,
                &Claim {
                    method,
                    transport,
                    direction,
                },
            )
            .is_ok()
    }

    #[test]
    fn dialback_is_told_from_external_and_plain_from_encrypted() {
        assert!(check(
            DIALBACK,
            Method::Dialback,
            Transport::Plain,
            Direction::ToPeer
        ));
        assert!(!check(
            DIALBACK,
            Method::Dialback,
            Transport::StartTls,
            Direction::ToPeer
        ));
        assert!(!check(
            DIALBACK,
            Method::External,
            Transport::Plain,
            Direction::ToPeer
        ));
        assert!(!check(
            DIALBACK,
            Method::Dialback,
            Transport::Plain,
            Direction::FromPeer
        ));
        assert!(check(
            EXTERNAL,
            Method::External,
            Transport::StartTls,
            Direction::FromPeer
        ));
        assert!(!check(
            EXTERNAL,
            Method::External,
            Transport::DirectTls,
            Direction::FromPeer
        ));
        assert!(!check(
            EXTERNAL,
            Method::Dialback,
            Transport::StartTls,
            Direction::FromPeer
        ));
    }
}
