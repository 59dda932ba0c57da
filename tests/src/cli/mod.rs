//! The command line of `lab`. One file a command: its arguments, and what it does.
//!
//! Standard output is for programs: JSON, or the lines that the command's help names. What people may want to know
//! goes to standard error. Exit codes: 0 well, 1 a check failed or something went wrong, 2 wrong usage.

mod authority;
mod ca;
mod check;
mod component;
mod daemon;
mod dns;
mod forge;
mod rsasl;
mod run;
mod sasl;
mod spool;

use std::{path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

use clap::{Parser, Subcommand};

use crate::tls::TlsIdentity;

/// The lab of s2sd: a DNS server, a certificate authority, ends that exchange stanzas, peers that misbehave.
#[derive(Debug, Parser)]
#[command(name = "lab", version, term_width = 0)]
struct Lab {
    #[command(subcommand)]
    command: Command,
    /// Commands that serve until SIGTERM or SIGINT also end when standard input does.
    #[arg(long, global = true)]
    until_stdin_ends: bool,
    /// Shows on standard error what goes over the wire.
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dns(dns::Args),
    Ca(ca::Args),
    Component(component::Args),
    Check(check::Args),
    Forge(forge::Args),
    Authority(authority::Args),
    Sasl(sasl::Args),
    Rsasl(rsasl::Args),
    Daemon(daemon::Args),
    Spool(spool::Args),
}

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Well,
    Failed,
}

/// Runs `lab` with the arguments of this process.
pub fn main() -> ExitCode {
    let lab = Lab::parse();
    let lab = match lab.command {
        // It has a log and threads of its own.
        Command::Daemon(args) => return daemon::run(&args),
        command => Lab { command, ..lab },
    };
    let level = match lab.verbose {
        true => tracing::Level::TRACE,
        false => tracing::Level::WARN,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .init();
    let end = run::End::new(lab.until_stdin_ends);
    let outcome = run::block_on(async {
        match lab.command {
            Command::Dns(args) => dns::run(args, end).await,
            Command::Ca(args) => ca::run(&args),
            Command::Component(args) => component::run(args, end).await,
            Command::Check(args) => check::run(args).await,
            Command::Forge(args) => forge::run(args).await,
            Command::Authority(args) => authority::run(args, end).await,
            Command::Sasl(args) => sasl::run(args),
            Command::Rsasl(args) => rsasl::run(args),
            Command::Spool(args) => spool::run(args, end).await,
            Command::Daemon(_) => unreachable!("it ran above"),
        }
    });
    match outcome {
        Ok(Exit::Well) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A time on the command line: `20`, `20s`, `500ms`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("{text:?} is no time; write 20s, 500ms or 2m"))?;
        match &text[digits.len()..] {
            "" | "s" => Ok(Self(Duration::from_secs(number))),
            "ms" => Ok(Self(Duration::from_millis(number))),
            "m" => Ok(Self(Duration::from_secs(number.saturating_mul(60)))),
            unit => Err(format!(
                "unknown unit {unit:?} in {text:?}; write 20s, 500ms or 2m"
            )),
        }
    }
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    use anyhow::Context;
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The certificate chain and key of two files, which clap demands together.
fn identity(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> anyhow::Result<Option<TlsIdentity>> {
    match (cert, key) {
        (Some(cert), Some(key)) => TlsIdentity::from_pem(&read(cert)?, &read(key)?).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Lab::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        let parse = |text: &str| text.parse().map(|Time(time)| time.as_millis()).ok();
        assert_eq!(parse("20"), Some(20_000));
        assert_eq!(parse("20s"), Some(20_000));
        assert_eq!(parse("500ms"), Some(500));
        assert_eq!(parse("2m"), Some(120_000));
        assert_eq!(parse("2h"), None);
        assert_eq!(parse("s"), None);
    }
}
