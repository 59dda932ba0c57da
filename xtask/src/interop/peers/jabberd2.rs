//! jabberd2 2.7: its router, to which components attach, and its `s2s`. Without a certificate it is an
//! RFC 3920 peer: a stream header without `version`, and dialback at once. It has no SASL between servers.

use super::{Peer, at};
use crate::interop::{
    evidence::{Claim, Method, Refusal, line_with, no_line_with},
    process::Process,
    programs::{find, says},
    s2sd_pair,
    server_dir::{SECRET, ServerDir},
    setup::{Direction, NOBODY, Setup},
    template::fill,
};
use anyhow::Result;
use std::{net::Ipv4Addr, process::Command};

const ROUTER: &str = include_str!("../../../peers/jabberd2-router.xml.tmpl");
const S2S: &str = include_str!("../../../peers/jabberd2-s2s.xml.tmpl");

/// XEP-0185: nothing that another server would guess.
const DIALBACK_SECRET: &str = "the secret of jabberd2";

pub(in crate::interop) struct Jabberd2;

impl Peer for Jabberd2 {
    fn name(&self) -> &'static str {
        "jabberd2"
    }

    fn is_installed(&self) -> bool {
        find("jabberd2-router").is_some() && find("jabberd2-s2s").is_some()
    }

    fn packages(&self) -> &'static [&'static str] {
        &["jabberd2"]
    }

    fn domain(&self) -> &'static str {
        "jabberd.test"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 77, 5)
    }

    fn version(&self) -> Option<String> {
        let help = says(Command::new(find("jabberd2-router")?).arg("-h"))?;
        let (_, version) = help.split_once("jabberd router (")?;
        let (version, _) = version.split_once(')')?;
        Some(format!("jabberd2 {version}"))
    }

    fn start(&self, place: &ServerDir<'_>, setup: &Setup) -> Result<Vec<Process>> {
        let address = self.address();
        let text = address.to_string();
        let dir = place.path("");
        place.write(
            "users.xml",
            &format!("<users><user><name>jabberd</name><secret>{SECRET}</secret></user></users>\n"),
        )?;
        place.write("filter.xml", "<filter/>\n")?;
        place.write(
            "router.xml",
            &fill(
                ROUTER,
                &[("dir", &dir), ("address", &text), ("secret", SECRET)],
            )?,
        )?;
        let (certificate, _) = setup.peer_certificate.leaf(self.domain());
        let pemfile = format!(
            "<pemfile>{}</pemfile>",
            place.certificate(&format!("{certificate}.full.pem"))
        );
        let s2s = fill(
            S2S,
            &[
                ("dir", &dir),
                ("address", &text),
                ("secret", SECRET),
                ("dialback_secret", DIALBACK_SECRET),
                ("pemfile", if setup.tls() { &pemfile } else { "" }),
                (
                    "require_tls",
                    if setup.tls() { "<require_tls/>" } else { "" },
                ),
            ],
        )?;
        place.write("s2s.xml", &s2s)?;
        let mut command = Command::new("jabberd2-router");
        command.args(["-c", &place.path("router.xml")]);
        let mut router = Process::start("router", command, place.directory)?;
        router.serves(&at(address, &[5347]))?;
        let mut command = Command::new("jabberd2-s2s");
        command.args(["-c", &place.path("s2s.xml")]);
        let mut s2s = Process::start("s2s", command, place.directory)?;
        s2s.serves(&at(address, &[5269]))?;
        Ok(vec![s2s, router])
    }

    fn end(&self) -> String {
        format!(
            "component,addr={}:5347,domain={},secret={SECRET}",
            self.address(),
            self.domain()
        )
    }

    fn log(&self) -> &'static str {
        "s2s.log"
    }

    fn proved(&self, log: &str, claim: &Claim) -> Result<(), String> {
        let (us, them) = (s2sd_pair::DOMAIN, self.domain());
        let route = match claim.direction {
            Direction::FromPeer => format!("outgoing route '{them}/{us}' is now valid"),
            Direction::ToPeer => format!("incoming route '{them}/{us}' is now valid"),
        };
        if claim.method != Method::Dialback {
            return Err("it knows nothing but dialback".to_owned());
        }
        let encrypted = [route.as_str(), "TLS"];
        line_with(log, &[&route])?;
        if claim.tls() {
            line_with(log, &encrypted)
        } else {
            no_line_with(log, &encrypted)
        }
    }

    fn refused(&self, log: &str, direction: Direction, why: Refusal) -> Result<(), String> {
        let (us, them) = (s2sd_pair::DOMAIN, self.domain());
        let invalid = |route: String| line_with(log, &[&route, "is now invalid"]);
        match (direction, why) {
            (Direction::FromPeer, Refusal::Host) => {
                invalid(format!("outgoing route '{them}/{NOBODY}'"))
            }
            (Direction::FromPeer, Refusal::NoTls) => {
                line_with(log, &["Stream error", "encryption is required"])
            }
            (Direction::FromPeer, _) => invalid(format!("outgoing route '{them}/{us}'")),
            (Direction::ToPeer, Refusal::Key) => invalid(format!("incoming route '{them}/{us}'")),
            (Direction::ToPeer, _) => no_line_with(
                log,
                &[&format!("incoming route '{them}/{us}' is now valid")],
            ),
        }
    }

    fn takes_server_only(&self) -> Method {
        Method::Dialback
    }

    fn cannot(&self, scenario: &str, direction: Direction) -> Option<&'static str> {
        match (scenario, direction) {
            (
                "bidi" | "external-starttls" | "external-srvname" | "external-xmppaddr"
                | "server-only",
                _,
            ) => Some("has no SASL between servers"),
            ("acks", _) => Some("has no acknowledgements between servers"),
            ("external-direct-tls", _) => Some("has no direct TLS"),
            ("fallback" | "wrong-certificate" | "unknown-authority" | "impostor", _) => {
                Some("has no SASL between servers and checks no certificate")
            }
            ("dane", _) => Some("has no SASL between servers and checks no certificate"),
            ("multiplex", Direction::FromPeer) => Some("makes a stream for each pair of domains"),
            // Tried with 2.7.0: "SSL handshake error (object identifier routines::oid exists)" once it has seen certificates
            // of an authority in both directions.
            ("multiplex", Direction::ToPeer) => {
                Some("announces no dialback errors, and breaks off TLS with such certificates")
            }
            ("no-version", Direction::ToPeer) => Some("answers version='1.0' with version='1.0'"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::setup::Transport;

    /// What jabberd2 2.7.0 logged, shortened.
    const LOG: &str = "[notice] [9] outgoing route 'jabberd.test/s2sd.test' is now valid TLS
[notice] [8] incoming route 'jabberd.test/s2sd.test' is now valid \n";

    #[test]
    fn plain_is_told_from_encrypted() {
        let check = |method, transport, direction| {
            let claim = Claim {
                method,
                transport,
                direction,
            };
            Jabberd2.proved(LOG, &claim).is_ok()
        };
        assert!(check(
            Method::Dialback,
            Transport::StartTls,
            Direction::FromPeer
        ));
        assert!(!check(
            Method::Dialback,
            Transport::Plain,
            Direction::FromPeer
        ));
        assert!(check(Method::Dialback, Transport::Plain, Direction::ToPeer));
        assert!(!check(
            Method::Dialback,
            Transport::StartTls,
            Direction::ToPeer
        ));
        assert!(!check(
            Method::External,
            Transport::Plain,
            Direction::ToPeer
        ));
    }
}
