//! s2sd itself, a second one, for what two servers agree on and no other server has between servers.

use super::Peer;
use crate::interop::{
    evidence::{Claim, Method, Refusal},
    process::Process,
    programs::kerberos_is_installed,
    s2sd_pair::{self, Instance},
    server_dir::ServerDir,
    setup::{Direction, Setup},
};
use anyhow::Result;
use std::net::Ipv4Addr;

pub(in crate::interop) struct S2sd;

impl Peer for S2sd {
    fn name(&self) -> &'static str {
        "s2sd"
    }

    fn is_installed(&self) -> bool {
        kerberos_is_installed()
    }

    fn packages(&self) -> &'static [&'static str] {
        &[
            "krb5-kdc",
            "krb5-admin-server",
            "libkrb5-dev",
            "pkg-config",
            "clang",
            "libclang-dev",
        ]
    }

    fn domain(&self) -> &'static str {
        "other.test"
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 77, 7)
    }

    fn version(&self) -> Option<String> {
        Some(format!("s2sd {}", env!("CARGO_PKG_VERSION")))
    }

    fn start(&self, place: &ServerDir<'_>, setup: &Setup) -> Result<Vec<Process>> {
        let instance = Instance {
            domain: self.domain(),
            address: self.address(),
            certificate: setup.peer_certificate,
            other: s2sd_pair::DOMAIN,
        };
        Ok(vec![s2sd_pair::start(&instance, place, setup)?])
    }

    fn end(&self) -> String {
        s2sd_pair::component(self.domain(), self.address())
    }

    fn log(&self) -> &'static str {
        s2sd_pair::LOG
    }

    fn proved(&self, log: &str, claim: &Claim) -> Result<(), String> {
        s2sd_pair::proved(log, s2sd_pair::DOMAIN, &mirrored(claim))
    }

    fn refused(&self, _log: &str, _direction: Direction, _why: Refusal) -> Result<(), String> {
        Ok(())
    }

    fn has_bidi(&self) -> bool {
        true
    }

    fn both_ways(&self, log: &str, direction: Direction) -> Result<(), String> {
        s2sd_pair::both_ways(log, s2sd_pair::DOMAIN, mirror(direction), true)
    }

    fn takes_server_only(&self) -> Method {
        Method::External
    }

    fn cannot(&self, scenario: &str, _direction: Direction) -> Option<&'static str> {
        (scenario == "acks").then_some("s2sd does not offer it yet")
    }
}

/// The claim as the other end has it.
fn mirrored(claim: &Claim) -> Claim {
    Claim {
        direction: mirror(claim.direction),
        ..*claim
    }
}

fn mirror(direction: Direction) -> Direction {
    match direction {
        Direction::FromPeer => Direction::ToPeer,
        Direction::ToPeer => Direction::FromPeer,
    }
}
