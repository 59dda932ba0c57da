//! Installing what is missing, with Debian's package manager, and without starting any of it.

use super::{
    peer_kind::PeerKind,
    programs::{find, is_package_installed},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    io::{IsTerminal, Write, stdin, stdout},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// What the namespace needs, whatever the peer.
const TOOLS: [(&str, &str); 3] = [
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
];

/// Debian asks this program before it starts a service; 101 is "no".
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The packages that bring what is missing for these peers.
pub(super) fn missing_packages(peers: &[&PeerKind]) -> Vec<&'static str> {
    let tools = TOOLS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package);
    let of_peers = peers.iter().filter(|peer| !peer.is_installed());
    let of_peers = of_peers.flat_map(|peer| missing_of(peer.packages(), is_package_installed));
    let mut packages = Vec::new();
    for package in tools.chain(of_peers) {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

/// Those of a group that are not there; all of it where all are, since something of it must be damaged.
fn missing_of(group: &[&'static str], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let missing: Vec<_> = group
        .iter()
        .copied()
        .filter(|package| !is_there(package))
        .collect();
    match missing.is_empty() {
        true => group.to_vec(),
        false => missing,
    }
}

/// Installs packages. Asks first unless that was answered already.
pub(crate) fn install(packages: &[&str], agreed: bool) -> Result<()> {
    ensure!(
        find("apt-get").is_some(),
        "no apt-get here; install {} yourself",
        packages.join(" ")
    );
    if !agreed {
        ensure!(
            stdin().is_terminal(),
            "to be installed: {}; say --yes",
            packages.join(" ")
        );
        print!("apt-get install {}? [y/N] ", packages.join(" "));
        stdout().flush()?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        ensure!(answer.trim().eq_ignore_ascii_case("y"), "not installed");
    }
    let _quiet = Quiet::keep(Path::new(POLICY))?;
    as_root(&["apt-get", "update"])?;
    let mut arguments = vec![
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
    ];
    arguments.extend(packages);
    as_root(&arguments)
}

fn as_root(arguments: &[&str]) -> Result<()> {
    let mut words = arguments.to_vec();
    if !is_root() {
        words.insert(0, "sudo");
    }
    let (program, rest) = words.split_first().context("nothing to run")?;
    let status = Command::new(program)
        .args(rest)
        .status()
        .with_context(|| format!("starting {program}"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{} failed: {status}", words.join(" "))
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}

/// While this lives, no package starts a service. Afterwards the policy is what it was.
struct Quiet {
    policy: PathBuf,
    /// Where the policy that was there waits.
    kept: Option<PathBuf>,
}

impl Quiet {
    fn keep(policy: &Path) -> Result<Self> {
        let kept = policy.with_extension("d.xtask");
        let there = policy.exists();
        let script = std::env::temp_dir().join(format!("policy-rc.d.{}", std::process::id()));
        fs::write(&script, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let [from, to, aside] = [&script, policy, &kept].map(|path| path.display().to_string());
        if there {
            as_root(&["mv", &to, &aside])?;
        }
        let quiet = Self {
            policy: policy.to_owned(),
            kept: there.then_some(kept),
        };
        as_root(&["cp", "-p", &from, &to])?;
        fs::remove_file(script)?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let policy = self.policy.display().to_string();
        let restored = match &self.kept {
            Some(kept) => as_root(&["mv", &kept.display().to_string(), &policy]),
            None => as_root(&["rm", "-f", &policy]),
        };
        if let Err(error) = restored {
            eprintln!("xtask: {policy} could not be put back: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        let group = ["prosody", "lua-sec", "lua-unbound"];
        assert_eq!(
            missing_of(&group, |package| package != "lua-unbound"),
            ["lua-unbound"]
        );
        assert_eq!(missing_of(&group, |_| false), group);
        assert_eq!(missing_of(&group, |_| true), group);
    }

    #[test]
    fn the_policy_is_afterwards_what_it_was() {
        if !is_root() {
            return; // it would ask for a password
        }
        let directory = std::env::temp_dir().join(format!("xtask-policy-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let policy = directory.join("policy-rc.d");
        drop(Quiet::keep(&policy).unwrap());
        assert!(!policy.exists());
        fs::write(&policy, "as it was").unwrap();
        let quiet = Quiet::keep(&policy).unwrap();
        assert_eq!(
            fs::read_to_string(&policy).unwrap(),
            "#!/bin/sh\nexit 101\n"
        );
        drop(quiet);
        assert_eq!(fs::read_to_string(&policy).unwrap(), "as it was");
        fs::remove_dir_all(directory).unwrap();
    }
}
