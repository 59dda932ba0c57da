//! A network of our own: user, network, mount and process namespaces in which 127.0.0.0/8 is ours, ports 53
//! and 5269 are free, /etc/resolv.conf is ours, nothing gets out, and everything that was started in it ends
//! with it, also on Ctrl-C, because the kernel ends a process namespace with its first process.
//! Where no namespace can be made the run fails and says so; there is no second way on high ports.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Tried in this order: without privilege, then as root where user namespaces are switched off.
const KINDS: [&[&str]; 2] = [
    &[
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
    ],
    &["--net", "--mount", "--pid", "--fork", "--kill-child"],
];

/// The first process stays a shell: a terminal's Ctrl-C ends the program below it, then the shell, then all.
const SCRIPT: &str = r#"ip link set lo up && mount --bind "$1" /etc/resolv.conf || exit 125
shift
"$@"
exit $?"#;

/// The address of the name server inside.
pub(super) const RESOLVER: &str = "127.0.77.53";

/// A command that runs `program` inside; its arguments are still to be added.
pub(super) fn command(directory: &Path, program: &Path) -> Result<Command> {
    let resolver = directory.join("resolv.conf");
    fs::write(&resolver, format!("nameserver {RESOLVER}\n")).context("writing resolv.conf")?;
    let Some(kind) = KINDS.iter().find(|kind| works(kind)) else {
        bail!(
            "no namespace can be made: `unshare {}` fails (user namespaces off and not root, or a container \
             without the right to make any); run this on a host, as root, or with `--privileged`",
            KINDS.map(|kind| kind.join(" ")).join("` and `unshare ")
        );
    };
    let mut command = Command::new("unshare");
    command
        .args(*kind)
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(&resolver)
        .arg(program);
    // Debian keeps servers where a user's PATH does not look.
    command.env("PATH", super::programs::search_path());
    Ok(command)
}

fn works(kind: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command
        .args(kind)
        .args(["sh", "-c", "ip link set lo up"])
        .env("PATH", super::programs::search_path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
