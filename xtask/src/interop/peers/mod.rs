//! The servers we federate with. One file and one template each.

mod ejabberd;
mod jabberd2;
mod prosody;
mod s2sd;

use super::{
    evidence::{Claim, Method, Refusal},
    process::Process,
    server_dir::ServerDir,
    setup::{Direction, Setup},
};
use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};

pub(super) use self::{ejabberd::Ejabberd, jabberd2::Jabberd2, prosody::Prosody, s2sd::S2sd};

/// A kind of server.
pub(super) trait Peer: Sync {
    /// Its name on our command line.
    fn name(&self) -> &'static str;
    /// Is it here, with all it needs?
    fn is_installed(&self) -> bool;
    /// The packages of Debian that bring it.
    fn packages(&self) -> &'static [&'static str];
    fn domain(&self) -> &'static str;
    fn address(&self) -> Ipv4Addr;
    /// What it calls itself and its version.
    fn version(&self) -> Option<String>;
    /// Writes its configuration, starts it and waits until it serves.
    fn start(&self, place: &ServerDir<'_>, setup: &Setup) -> Result<Vec<Process>>;
    /// An end for `lab check`: somebody at this server.
    fn end(&self) -> String;
    /// Its log, below the directory of its place.
    fn log(&self) -> &'static str;
    /// Does its log say that the stream of the claim was proved that way?
    fn proved(&self, log: &str, claim: &Claim) -> Result<(), String>;
    /// Does its log say that the stream was refused for that reason? (`Ok` where it does not log that.)
    fn refused(&self, log: &str, direction: Direction, why: Refusal) -> Result<(), String>;
    /// How it is to authenticate with a certificate for serverAuth only.
    fn takes_server_only(&self) -> Method;
    /// As the initiating server: does its log say that a TLSA record made our certificate good?
    fn found_by_dane(&self, _log: &str) -> Result<(), String> {
        Err("has no DANE".to_owned())
    }
    /// Does it have bidi (XEP-0288)?
    fn has_bidi(&self) -> bool {
        false
    }
    /// Does its log say that the one stream with us, which the row's initiating server opened, carries both directions? Of a
    /// peer without bidi: that it saw our offer where it got one, and that there is one stream for each direction.
    fn both_ways(&self, _log: &str, _direction: Direction) -> Result<(), String> {
        Err("does not say".to_owned())
    }
    /// Does its log say that it acknowledges what we send?
    fn acknowledges(&self, _log: &str) -> Result<(), String> {
        Err("does not say".to_owned())
    }
    /// Why it cannot play a scenario, if it cannot.
    fn cannot(&self, scenario: &str, direction: Direction) -> Option<&'static str>;
}

/// All of them, in the order of the matrix.
pub(super) const ALL: [&dyn Peer; 4] = [&Prosody, &Ejabberd, &Jabberd2, &S2sd];

/// The account that every peer with accounts has.
const USER: (&str, &str) = ("romeo", "wherefore");

fn user_end(peer: &dyn Peer) -> String {
    let (user, password) = USER;
    format!(
        "user,addr={}:5222,jid={user}@{},password={password}",
        peer.address(),
        peer.domain()
    )
}

fn at(address: Ipv4Addr, ports: &[u16]) -> Vec<SocketAddr> {
    ports
        .iter()
        .map(|port| SocketAddr::from((address, *port)))
        .collect()
}
