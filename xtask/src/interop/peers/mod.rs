//! The servers we federate with. One file and one template each.

mod ejabberd;
mod jabberd2;
mod prosody;
mod s2sd;

use super::{
    evidence::{Claim, Method, Refusal},
    process::Process,
    setup::{Direction, Setup},
};
use anyhow::{Context, Result};
use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

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
    /// Why it cannot play a scenario, if it cannot.
    fn cannot(&self, scenario: &str, direction: Direction) -> Option<&'static str>;
}

/// All of them, in the order of the matrix.
pub(super) const ALL: [&dyn Peer; 4] = [&Prosody, &Ejabberd, &Jabberd2, &S2sd];

/// Where a server of one row lives: its directory, and the certificates.
pub(super) struct ServerDir<'a> {
    pub(super) directory: &'a Path,
    pub(super) certificates: &'a Path,
    /// The program s2sd, and what to set in its environment.
    pub(super) s2sd: &'a Path,
    pub(super) environment: &'a [(&'static str, OsString)],
}

impl ServerDir<'_> {
    /// A file or directory in it, as text for a configuration.
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// A file of the row, which both servers see.
    pub(super) fn shared(&self, name: &str) -> String {
        self.directory.with_file_name(name).display().to_string()
    }

    pub(super) fn make_directory(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))
    }

    /// Writes a file that only we may read: most hold a secret.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))
    }

    pub(super) fn certificate(&self, name: &str) -> String {
        self.certificates.join(name).display().to_string()
    }
}

/// The account that every peer with accounts has.
const USER: (&str, &str) = ("romeo", "wherefore");

/// The file of a row with the root's key, where the DNS is signed.
pub(super) const ANCHOR: &str = "root.key";

/// The secret of components.
pub(super) const SECRET: &str = "labsecret";

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

/// PATH, and where Debian puts servers.
pub(super) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// The file of a program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// What a program prints when it is asked about itself.
pub(super) fn says(program: &mut Command) -> Option<String> {
    let output = program.output().ok()?;
    let all = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&all).into_owned())
}

/// Has Debian's package manager put it in place?
pub(super) fn is_package_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    says(query.args(["-W", "-f", "${db:Status-Abbrev}", package]))
        .is_some_and(|status| status.starts_with("ii"))
}

/// Is there a file of this name in one of the architecture's directories of libraries?
pub(super) fn has_library(name: &str) -> bool {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    directories
        .map(|directory| directory.path().join(name))
        .any(|path| path.exists())
}
