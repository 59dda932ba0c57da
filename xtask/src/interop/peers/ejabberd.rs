//! ejabberd 23.01: started as a node of its own, without `ejabberdctl` (which wants the service's user and
//! reads /etc). Its log at level debug holds every element it sends and receives.

use super::{Peer, USER, at, user_end};
use crate::interop::{
    evidence::{Claim, Method, Refusal, line_with, no_line_with},
    process::Process,
    programs::{find, says, search_path},
    s2sd_pair,
    server_dir::ServerDir,
    setup::{Direction, Setup, Transport},
    template::fill,
};
use anyhow::{Context, Result};
use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command};

const TEMPLATE: &str = include_str!("../../../peers/ejabberd.yml.tmpl");

/// The port that Erlang's distribution would ask an `epmd` for; we start none.
const DISTRIBUTION_PORT: &str = "4370";

/// An address is a host name to Erlang, and `localhost` must be known without DNS.
const RESOLVER: &str = "{lookup,[\"file\",\"native\"]}.\n{host,{127,0,0,1},[\"localhost\"]}.\n\
    {file,resolv,\"/etc/resolv.conf\"}.\n";

/// Has it say what it is, as the application that would be started.
const VERSION: &str = "ok = application:load(ejabberd), {ok, Version} = application:get_key(ejabberd, vsn), \
    io:format(\"ejabberd ~s~n\", [Version]), halt().";

pub(in crate::interop) struct Ejabberd;

impl Peer for Ejabberd {
    fn name(&self) -> &'static str {
        "ejabberd"
    }

    fn is_installed(&self) -> bool {
        find("erl").is_some() && library().is_some()
    }

    fn packages(&self) -> &'static [&'static str] {
        &["ejabberd"]
    }

    fn domain(&self) -> &'static str {
        "ejabberd.test"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 77, 3)
    }

    fn version(&self) -> Option<String> {
        let libraries = library()?;
        let said = says(
            Command::new("erl")
                .env("ERL_LIBS", &libraries)
                .env("PATH", search_path())
                .args(["-noinput", "-boot", "start_clean", "-eval", VERSION]),
        )?;
        let version = said
            .lines()
            .find_map(|line| line.strip_prefix("ejabberd "))?;
        Some(format!("ejabberd {}", version.trim()))
    }

    fn start(&self, place: &ServerDir<'_>, setup: &Setup) -> Result<Vec<Process>> {
        let libraries = library().context("ejabberd's modules are not where Debian puts them")?;
        let domain = self.domain();
        let address = self.address().to_string();
        let (certificate, _) = setup.peer_certificate.leaf(domain);
        let direct = format!(
            "  - port: 5270\n    ip: \"{address}\"\n    module: ejabberd_s2s_in\n    tls: true"
        );
        let is_direct = setup.transport == Transport::DirectTls;
        let config = fill(
            TEMPLATE,
            &[
                ("domain", domain),
                (
                    "certificate",
                    &place.certificate(&format!("{certificate}.full.pem")),
                ),
                ("ca", &place.certificate("ca.pem")),
                ("tls", if setup.tls() { "required" } else { "false" }),
                ("address", &address),
                ("direct_listener", if is_direct { &direct } else { "" }),
                (
                    "dialback",
                    if setup.dialback() {
                        "mod_s2s_dialback: {}"
                    } else {
                        ""
                    },
                ),
            ],
        )?;
        place.write("ejabberd.yml", &config)?;
        place.write("inetrc", RESOLVER)?;
        place.make_directory("home")?;
        let (user, password) = USER;
        let register = format!(
            "{{ok,_}} = application:ensure_all_started(ejabberd), \
             ok = ejabberd_auth:try_register(<<\"{user}\">>, <<\"{domain}\">>, <<\"{password}\">>)."
        );
        let mut command = Command::new("erl");
        command
            .env("HOME", place.path("home"))
            .env("ERL_LIBS", &libraries)
            .env("ERL_INETRC", place.path("inetrc"))
            .env("EJABBERD_CONFIG_PATH", place.path("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", place.path(self.log()))
            .env("ERL_CRASH_DUMP", place.path("erl_crash.dump"))
            .env("ERL_DIST_PORT", DISTRIBUTION_PORT)
            .args([
                "-noinput",
                "-sname",
                "ejabberd@localhost",
                "-setcookie",
                "lab",
            ])
            .args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"])
            .args(["-erl_epmd_port", DISTRIBUTION_PORT, "-start_epmd", "false"])
            .args(["-mnesia", "dir", &format!("\"{}\"", place.path("mnesia"))])
            .args(["-s", "ejabberd", "-eval", &register]);
        let mut process = Process::start("ejabberd", command, place.directory)?;
        let direct: &[u16] = if is_direct { &[5270] } else { &[] };
        process.serves(&at(self.address(), &[&[5222, 5269], direct].concat()))?;
        Ok(vec![process])
    }

    fn end(&self) -> String {
        user_end(self)
    }

    fn log(&self) -> &'static str {
        "ejabberd.log"
    }

    fn proved(&self, log: &str, claim: &Claim) -> Result<(), String> {
        let (us, them) = (s2sd_pair::DOMAIN, self.domain());
        let method = match claim.method {
            Method::Dialback => "dialback",
            Method::External => "EXTERNAL",
            Method::Agreed(name) => name,
        };
        let accepted = match claim.direction {
            Direction::FromPeer => {
                format!("Accepted outbound s2s {method} authentication {them} -> {us}")
            }
            Direction::ToPeer => {
                format!("Accepted inbound s2s {method} authentication {us} -> {them}")
            }
        };
        line_with(
            log,
            &[if claim.tls() { "(tls|" } else { "(tcp|" }, &accepted],
        )
    }

    fn refused(&self, log: &str, direction: Direction, why: Refusal) -> Result<(), String> {
        let (us, them) = (s2sd_pair::DOMAIN, self.domain());
        match (direction, why) {
            (Direction::FromPeer, Refusal::Host) => line_with(log, &["host-unknown"]),
            (Direction::FromPeer, Refusal::NoTls) => line_with(
                log,
                &[
                    &format!("outbound s2s connection {them} -> {us}"),
                    "STARTTLS is disabled",
                ],
            ),
            (Direction::FromPeer, _) => line_with(
                log,
                &[
                    &format!("outbound s2s connection {them} -> {us}"),
                    "bouncing",
                ],
            ),
            (Direction::ToPeer, Refusal::Certificate) => line_with(
                log,
                &[&format!(
                    "Failed inbound s2s EXTERNAL authentication {us} -> {them}"
                )],
            ),
            (Direction::ToPeer, Refusal::Key) => line_with(
                log,
                &[&format!(
                    "Failed inbound s2s dialback authentication {us} -> {them}"
                )],
            ),
            (Direction::ToPeer, Refusal::Host | Refusal::Impostor | Refusal::NoTls) => Ok(()),
        }
    }

    /// It has none before 24.10.
    fn both_ways(&self, log: &str, direction: Direction) -> Result<(), String> {
        if direction == Direction::FromPeer {
            line_with(log, &["urn:xmpp:features:bidi"])?;
        }
        no_line_with(log, &["'urn:xmpp:bidi'"])?;
        for claimed in Direction::BOTH {
            self.proved(
                log,
                &Claim {
                    method: Method::External,
                    transport: Transport::StartTls,
                    direction: claimed,
                },
            )?;
        }
        Ok(())
    }

    fn takes_server_only(&self) -> Method {
        Method::Dialback
    }

    fn cannot(&self, scenario: &str, direction: Direction) -> Option<&'static str> {
        match scenario {
            "acks" => Some("has no acknowledgements between servers"),
            "dane" => Some("has no DANE"),
            "multiplex" if direction == Direction::FromPeer => {
                Some("makes a stream for each pair of domains")
            }
            "no-version" => Some("always sends version='1.0'"),
            // Tried with 23.01: `badarg` in `xmpp_stream_pkix:get_cert_domains/1`, and the stream is gone.
            "external-xmppaddr" => {
                Some("23.01 crashes its stream on a certificate with an xmppAddr")
            }
            _ => None,
        }
    }
}

/// Where Debian keeps Erlang's libraries (it depends on the machine's architecture), ejabberd among them.
fn library() -> Option<PathBuf> {
    find("ejabberdctl")?;
    let inside = |directory: &PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
    let is_it = |library: fs::DirEntry| {
        let name = library.file_name().to_string_lossy().into_owned();
        name.starts_with("ejabberd-") && library.path().join("ebin").is_dir()
    };
    let directories = fs::read_dir("/usr/lib").ok()?.flatten();
    directories
        .map(|directory| directory.path())
        .find(|directory| inside(directory).any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ejabberd 23.01 logged, shortened.
    const LOG: &str = "2026-11-22 [warning] (tls|<0.486.0>) Failed inbound s2s EXTERNAL authentication s2sd.test -> ejabberd.test (127.0.0.1): self signed certificate
2026-11-22 [info] (tls|<0.486.0>) Accepted inbound s2s dialback authentication s2sd.test -> ejabberd.test (127.0.0.1)\n";

    #[test]
    fn dialback_is_told_from_external_and_plain_from_encrypted() {
        let check = |method, transport, direction| {
            Ejabberd
                .proved(
                    LOG,
                    &Claim {
                        method,
                        transport,
                        direction,
                    },
                )
                .is_ok()
        };
        assert!(check(
            Method::Dialback,
            Transport::StartTls,
            Direction::ToPeer
        ));
        assert!(!check(
            Method::Dialback,
            Transport::Plain,
            Direction::ToPeer
        ));
        assert!(!check(
            Method::External,
            Transport::StartTls,
            Direction::ToPeer
        ));
        assert!(!check(
            Method::Dialback,
            Transport::StartTls,
            Direction::FromPeer
        ));
    }
}
