//! What one run shares: the programs we built, the certificates, and the tools of `lab`.

use super::{namespace::RESOLVER, peers, process::Process, s2sd_pair, setup::Certificate};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The programs under test.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) s2sd: PathBuf,
    pub(super) lab: PathBuf,
}

impl Programs {
    /// Builds them, in the same profile that the tests use; with Kerberos where a row needs it.
    pub(super) fn build(kerberos: bool) -> Result<Self> {
        let features: &[&str] = match kerberos {
            true => &["--features", "s2sd-tests/gssapi"],
            false => &[],
        };
        let output = crate::workspace::cargo()
            .args([
                "build",
                "--package",
                "s2sd",
                "--package",
                "s2sd-tests",
                "--bins",
            ])
            .args(features)
            .args(["--message-format", "json-render-diagnostics"])
            .stderr(std::process::Stdio::inherit())
            .output()
            .context("starting cargo build")?;
        ensure!(output.status.success(), "cargo build failed");
        let mut found = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: serde_json::Value =
                serde_json::from_str(line).context("reading cargo's messages")?;
            found.extend(
                message
                    .get("executable")
                    .and_then(|path| path.as_str())
                    .map(PathBuf::from),
            );
        }
        let program = |name: &str| {
            found
                .iter()
                .find(|path| path.ends_with(name))
                .cloned()
                .with_context(|| format!("cargo built no {name}"))
        };
        Ok(Self {
            s2sd: program("s2sd")?,
            lab: program("lab")?,
        })
    }

    /// A directory beside the profile's, which cargo leaves alone.
    pub(super) fn beside(&self, name: &str) -> Result<PathBuf> {
        let target = self
            .s2sd
            .ancestors()
            .nth(2)
            .context("cargo's target directory")?;
        Ok(target.join(name))
    }
}

/// The bed that all rows of a run lie in.
pub(super) struct Fixtures {
    pub(super) programs: Programs,
    pub(super) directory: PathBuf,
    pub(super) certificates: PathBuf,
}

impl Fixtures {
    /// Makes the certificates: every kind for every domain.
    pub(super) fn make(programs: Programs, directory: &Path) -> Result<Self> {
        let certificates = directory.join("certificates");
        let mut command = Command::new(&programs.lab);
        command.arg("ca").arg("--dir").arg(&certificates);
        for domain in peers::ALL
            .iter()
            .map(|peer| peer.domain())
            .chain([s2sd_pair::DOMAIN])
        {
            for certificate in Certificate::ALL {
                let (name, words) = certificate.leaf(domain);
                command.arg("--leaf").arg(format!("{name} {words}"));
            }
        }
        let output = command.output().context("starting lab ca")?;
        ensure!(
            output.status.success(),
            "lab ca: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Self {
            programs,
            directory: directory.to_owned(),
            certificates,
        })
    }

    /// Serves a zone at the address that resolv.conf names; signed with a key that is written to `anchor`, if that is given.
    pub(super) fn serve_zone(
        &self,
        directory: &Path,
        zone: &str,
        anchor: Option<&str>,
    ) -> Result<Process> {
        let file = directory.join("zone");
        fs::write(&file, zone).context("writing the zone")?;
        let (listen, file) = (format!("{RESOLVER}:53"), file.display().to_string());
        let mut arguments = vec!["dns", "--log", "--listen", &listen, "--zone", &file];
        arguments.extend(anchor.into_iter().flat_map(|file| ["--sign", file]));
        self.serve("dns", &arguments, directory)
    }

    /// Starts a command of `lab` that serves, and waits until it says that it does.
    pub(super) fn serve(
        &self,
        name: &str,
        arguments: &[&str],
        directory: &Path,
    ) -> Result<Process> {
        let mut command = Command::new(&self.programs.lab);
        command.args(arguments);
        let mut process = Process::start(name, command, directory)?;
        process.prints("ready\n")?;
        Ok(process)
    }

    /// Runs a command of `lab` to its end: its verdict, which is one JSON object on standard output.
    pub(super) fn verdict(
        &self,
        name: &str,
        arguments: &[&str],
        directory: &Path,
    ) -> Result<Value> {
        self.verdict_with(name, arguments, directory, &[])
    }

    /// The same with more in its environment.
    pub(super) fn verdict_with(
        &self,
        name: &str,
        arguments: &[&str],
        directory: &Path,
        environment: &[(&'static str, OsString)],
    ) -> Result<Value> {
        let mut command = Command::new(&self.programs.lab);
        command.args(arguments).envs(environment.iter().cloned());
        let mut process = Process::start(name, command, directory)?;
        process.finish(Duration::from_secs(180))?;
        serde_json::from_str(&process.output())
            .with_context(|| format!("lab {name}: {}", process.says()))
    }
}
