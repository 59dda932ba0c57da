//! `cargo xtask ci`: every part of what CI runs, in order, with the time each took.
//!
//! The parts share one target directory and the dev profile: the tests build what `interop` runs.

use crate::{
    deny,
    interop::install,
    mutants,
    workspace::{cargo, root},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    fmt::Write as _,
    process::Command,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these parts
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// All but these parts
    #[arg(long, value_name = "PART")]
    skip: Vec<String>,
    /// Install what the chosen parts need and is not there, with apt-get (asks first), and cargo-deny and
    /// cargo-mutants with cargo
    #[arg(long)]
    install: bool,
    /// Do not ask before installing
    #[arg(long, requires = "install")]
    yes: bool,
    /// Run all parts, also after one failed
    #[arg(long)]
    keep_going: bool,
}

/// A part: its name, the command, and what to set in its environment.
struct Part {
    name: &'static str,
    command: fn() -> Result<Command>,
}

/// Debian's packages that a part needs beside what every build needs.
const PACKAGES: [(&str, &[&str]); 2] = [
    (
        "gssapi",
        &[
            "libkrb5-dev",
            "pkg-config",
            "clang",
            "libclang-dev",
            "krb5-kdc",
            "krb5-admin-server",
        ],
    ),
    ("kerberos-v4", &["python3"]),
];

/// The feature, in every package that has it.
const GSSAPI: &str = "--features=gssapi";

const PARTS: [Part; 15] = [
    Part {
        name: "fmt",
        command: || Ok(with(cargo(), &["fmt", "--all", "--check"])),
    },
    Part {
        name: "test",
        command: || Ok(with(cargo(), &["test", "--workspace"])),
    },
    // The workspace has all features of the crates but GSSAPI, which needs a system's libraries: s2sd-tests asks for them.
    Part {
        name: "bare",
        command: || {
            let parts = ["--package=xmpp-sasl", "--package=xmpp-dialback"];
            let test = with(cargo(), &["test", "--no-default-features"]);
            Ok(with(test, &parts))
        },
    },
    Part {
        name: "gssapi",
        command: || {
            let parts = ["--package=xmpp-sasl", "--package=s2sd"];
            Ok(with(with(cargo(), &["test", GSSAPI]), &parts))
        },
    },
    Part {
        name: "gssapi-federation",
        command: || {
            let parts = [
                "--package=s2sd-tests",
                "--test=gssapi",
                "--test=hostile_log",
            ];
            Ok(with(with(cargo(), &["test", GSSAPI]), &parts))
        },
    },
    Part {
        name: "gssapi-clippy",
        command: || {
            let parts = [
                "--package=xmpp-sasl",
                "--package=s2sd",
                "--package=s2sd-tests",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ];
            Ok(with(with(cargo(), &["clippy", GSSAPI]), &parts))
        },
    },
    Part {
        name: "kerberos-v4",
        command: || {
            let mut command = Command::new("python3");
            command
                .current_dir(root())
                .arg("xmpp-sasl/tests/kerberos_v4.py");
            Ok(command)
        },
    },
    Part {
        name: "clippy",
        command: || {
            Ok(with(
                cargo(),
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
            ))
        },
    },
    Part {
        name: "clippy-default",
        command: || {
            let parts = [
                "--package=xmpp-stream",
                "--package=xmpp-sasl",
                "--package=xmpp-dialback",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ];
            Ok(with(with(cargo(), &["clippy"]), &parts))
        },
    },
    Part {
        name: "doc",
        command: || {
            let mut command = with(cargo(), &["doc", "--workspace", "--no-deps"]);
            command.env("RUSTDOCFLAGS", "-D warnings");
            Ok(command)
        },
    },
    Part {
        name: "tidy",
        command: || ourselves("tidy"),
    },
    Part {
        name: "deny",
        command: || ourselves("deny"),
    },
    Part {
        name: "package",
        command: || {
            let packages =
                ["xmpp-stream", "xmpp-sasl", "xmpp-dialback"].map(|name| ["--package", name]);
            let mut command = with(cargo(), &["package", "--allow-dirty", "--quiet"]);
            command.args(packages.as_flattened());
            // Cargo remembers what it unpacked by version and directory: in a directory that was used before it would
            // build against what a crate of this version had then.
            let target = format!("target/package-{}", std::process::id());
            command.arg("--target-dir").arg(root().join(target));
            Ok(command)
        },
    },
    Part {
        name: "mutants",
        command: || Ok(with(ourselves("mutants")?, &["--short"])),
    },
    Part {
        name: "interop",
        command: || ourselves("interop"),
    },
];

fn with(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

/// This program again, with another subcommand.
fn ourselves(subcommand: &str) -> Result<Command> {
    let program = env::current_exe().context("finding this program")?;
    Ok(with(Command::new(program), &[subcommand]))
}

/// What became of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PartResult {
    Passed(Duration),
    Failed(Duration),
    NotRun,
}

/// Runs the parts; true when all of them passed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let known = PARTS.map(|part| part.name);
    if let Some(name) = arguments
        .only
        .iter()
        .chain(&arguments.skip)
        .find(|name| !known.contains(&name.as_str()))
    {
        bail!(
            "there is no part {name:?}; the parts are {}",
            known.join(", ")
        );
    }
    let chosen = |part: &Part| {
        (arguments.only.is_empty() || arguments.only.iter().any(|name| name == part.name))
            && !arguments.skip.iter().any(|name| name == part.name)
    };
    if arguments.install {
        let missing: Vec<&str> = PARTS
            .iter()
            .filter(|part| chosen(part))
            .flat_map(|part| packages(part.name))
            .filter(|package| !is_installed(package))
            .collect();
        if !missing.is_empty() {
            install(&missing, arguments.yes)?;
        }
        let is_chosen = |name| PARTS.iter().any(|part| part.name == name && chosen(part));
        if is_chosen("deny") && !deny::is_installed() {
            let status = deny::installing().status().context("starting cargo")?;
            ensure!(status.success(), "cargo-deny cannot be installed");
        }
        if is_chosen("mutants") && !mutants::is_installed() {
            let status = mutants::installing().status().context("starting cargo")?;
            ensure!(status.success(), "cargo-mutants cannot be installed");
        }
    }
    let mut outcomes = Vec::new();
    for part in PARTS.iter().filter(|part| chosen(part)) {
        let stopped = !arguments.keep_going
            && outcomes
                .iter()
                .any(|(_, outcome)| matches!(outcome, PartResult::Failed(_)));
        let outcome = if stopped {
            PartResult::NotRun
        } else {
            run_part(part)?
        };
        outcomes.push((part.name, outcome));
    }
    print!("\n{}", table(&outcomes));
    Ok(outcomes
        .iter()
        .all(|(_, outcome)| matches!(outcome, PartResult::Passed(_))))
}

fn packages(part: &str) -> impl Iterator<Item = &'static str> {
    // `gssapi-clippy` needs what `gssapi` needs.
    let of_part = PACKAGES
        .iter()
        .filter(move |(name, _)| part.strip_prefix(name).is_some_and(is_end_of_word));
    of_part.flat_map(|(_, packages)| packages.iter().copied())
}

fn is_end_of_word(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('-')
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output();
    output.is_ok_and(|output| output.stdout == b"installed")
}

fn run_part(part: &Part) -> Result<PartResult> {
    let mut command = (part.command)()?;
    println!("\n== {} ==", part.name);
    let started = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    let took = started.elapsed();
    println!(
        "== {}: {} in {:.1} s ==",
        part.name,
        if status.success() { "passed" } else { "FAILED" },
        took.as_secs_f64()
    );
    Ok(if status.success() {
        PartResult::Passed(took)
    } else {
        PartResult::Failed(took)
    })
}

fn table(outcomes: &[(&str, PartResult)]) -> String {
    let mut text = String::from("part              result    seconds\n");
    let mut total = Duration::ZERO;
    for (name, outcome) in outcomes {
        let (result, took) = match outcome {
            PartResult::Passed(took) => ("passed", *took),
            PartResult::Failed(took) => ("FAILED", *took),
            PartResult::NotRun => ("not run", Duration::ZERO),
        };
        total += took;
        let _ = writeln!(text, "{name:<17} {result:<8} {:>8.1}", took.as_secs_f64());
    }
    let _ = writeln!(text, "{:<17} {:<8} {:>8.1}", "all", "", total.as_secs_f64());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_each_part_took() {
        let second = Duration::from_secs(1);
        let outcomes = [
            ("fmt", PartResult::Passed(second)),
            ("test", PartResult::Failed(second * 90)),
            ("doc", PartResult::NotRun),
        ];
        assert_eq!(
            table(&outcomes),
            "part              result    seconds\nfmt               passed        1.0\n\
             test              FAILED       90.0\ndoc               not run       0.0\nall                            91.0\n"
        );
    }

    #[test]
    fn every_part_has_its_own_name() {
        let mut names = PARTS.map(|part| part.name);
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn packages_are_for_parts_that_there_are() {
        for (name, packages) in PACKAGES {
            assert!(PARTS.iter().any(|part| part.name == name), "{name}");
            assert!(!packages.is_empty());
        }
        assert_eq!(packages("fmt").count(), 0);
        assert!(packages("gssapi-clippy").eq(packages("gssapi")));
        assert!(!is_installed("no such package"));
    }
}
