//! `cargo xtask mutants`: cargo-mutants over the protocol crates. It changes the code in one place after the other, and the
//! tests have to notice each change. Exclusions are in `.cargo/mutants.toml`.

use crate::workspace::{cargo, root};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// These packages; by default xmpp-dialback, xmpp-sasl and xmpp-stream
    #[arg(long, value_name = "PACKAGE")]
    package: Vec<String>,
    /// A part of the changes: the K-th of N, from 0
    #[arg(long, value_name = "K/N", conflicts_with = "short")]
    shard: Option<String>,
    /// What CI runs: a part of xmpp-dialback, another one each day
    #[arg(long, conflicts_with = "package")]
    short: bool,
}

/// What `ci --install` installs, without optimization.
const INSTALL: [&str; 5] = [
    "install",
    "--locked",
    "--debug",
    "cargo-mutants",
    "--version=27.1.0",
];
const NO_CARGO_MUTANTS: &str = "this needs cargo-mutants, and there is none: cargo install --locked cargo-mutants --version 27.1.0";
/// The packages, with the features that their tests need.
const PACKAGES: [(&str, &str); 3] = [
    ("xmpp-dialback", ""),
    ("xmpp-sasl", "sasl"),
    ("xmpp-stream", "minidom"),
];
/// Into how many parts the short run divides its package: one part takes some three minutes on two cores.
const SHORT: u64 = 8;

/// Runs it; true when the tests noticed every change.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    ensure!(is_installed(), NO_CARGO_MUTANTS);
    let shard = match arguments.short {
        true => {
            let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / (24 * 60 * 60);
            Some(format!("{}/{SHORT}", days % SHORT))
        }
        false => arguments.shard.clone(),
    };
    let known = PACKAGES.map(|(name, _)| name);
    for name in &arguments.package {
        ensure!(
            known.contains(&name.as_str()),
            "no package {name}; the packages are {}",
            known.join(", ")
        );
    }
    let is_chosen = |name: &str| match arguments.short {
        true => name == "xmpp-dialback",
        false => arguments.package.is_empty() || arguments.package.iter().any(|it| it == name),
    };
    let mut noticed = true;
    for (name, features) in PACKAGES.into_iter().filter(|(name, _)| is_chosen(name)) {
        let mut command = cargo();
        command.args([
            "mutants",
            "--no-shuffle",
            "--baseline=skip",
            "--timeout=120",
        ]);
        command.args(["--package", name]);
        if !features.is_empty() {
            command.args(["--features", features]);
        }
        command.args(shard.iter().flat_map(|shard| ["--shard", shard]));
        let output = root().join("target/mutants").join(name);
        fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
        command.arg("--output").arg(output);
        // The compiler starts from what it kept of the change before.
        command.env("CARGO_INCREMENTAL", "1");
        let status = command.status().context("starting cargo mutants")?;
        // 3: a test hung over a change, and so noticed it.
        noticed &= status.success() || status.code() == Some(3);
    }
    Ok(noticed)
}

/// Whether cargo-mutants is there.
pub(crate) fn is_installed() -> bool {
    let mut command = cargo();
    command.args(["mutants", "--version"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// How it is installed.
pub(crate) fn installing() -> Command {
    let mut command = cargo();
    command.args(INSTALL);
    command
}
