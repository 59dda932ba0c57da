//! `cargo xtask interop`: s2sd federates with real servers, in a network of its own.
//!
//! Outside: find the peers, build, enter the namespace. Inside: one row after the other, each with servers of
//! its own that are started from a template, and stopped by their process ids.

mod bed;
mod evidence;
mod install;
mod namespace;
mod ours;
mod peers;
mod process;
mod report;
mod row;
mod scenario;
mod setup;
mod template;

pub(crate) use self::install::install;
use self::{
    bed::{Bed, Programs},
    peers::Peer,
    report::{Entry, Report, Verdict},
    row::Row,
    scenario::Scenario,
    setup::Direction,
};
use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
    time::Instant,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these peers: prosody, ejabberd, jabberd2
    #[arg(long, value_name = "PEER")]
    peer: Vec<String>,
    /// Only these scenarios
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Lists peers and scenarios, and runs nothing
    #[arg(long)]
    list: bool,
    /// Installs missing peers with the system's package manager, after asking
    #[arg(long)]
    install: bool,
    /// Installs without asking
    #[arg(long)]
    yes: bool,
    /// Installs and runs nothing
    #[arg(long, requires = "install")]
    no_run: bool,
    /// Writes the outcome of every row here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps all configurations and logs here, not only those of rows that failed
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Set by this program when it starts itself inside the namespace
    #[arg(long, hide = true, num_args = 3, value_names = ["DIRECTORY", "S2SD", "LAB"])]
    inside: Vec<PathBuf>,
}

/// Runs what was asked for; true when all of it passed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let peers = chosen(&peers::ALL, &arguments.peer, "peer", |peer| peer.name())?;
    let scenarios = chosen(&scenario::ALL, &arguments.only, "scenario", |scenario| {
        scenario.name
    })?;
    if let [directory, s2sd, lab] = arguments.inside.as_slice() {
        let programs = Programs {
            s2sd: s2sd.clone(),
            lab: lab.clone(),
        };
        return run_inside(arguments, &peers, &scenarios, programs, directory);
    }
    if arguments.list {
        list(&peers, &scenarios);
        return Ok(true);
    }
    let missing = install::missing_packages(&peers.iter().map(|peer| **peer).collect::<Vec<_>>());
    if !missing.is_empty() {
        if !arguments.install {
            bail!(
                "not installed: {}; `cargo xtask interop --install` does it on Debian",
                missing.join(" ")
            );
        }
        install::install(&missing, arguments.yes)?;
    }
    if arguments.no_run {
        list(&peers, &scenarios);
        return Ok(true);
    }
    let programs = Programs::build()?;
    let (directory, passing) = match &arguments.keep {
        Some(directory) => (absolute(directory)?, true),
        None => (of_this_run(&programs.beside("interop")?), false),
    };
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let mut command = namespace::command(&directory, &env::current_exe()?)?;
    command
        .args(env::args_os().skip(1))
        .arg("--inside")
        .arg(&directory)
        .arg(&programs.s2sd)
        .arg(&programs.lab);
    let status = command.status().context("starting unshare")?;
    if status.success() && !passing {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    } else {
        println!("configurations and logs: {}", directory.display());
    }
    Ok(status.success())
}

/// A directory for this run. What runs left behind that are over goes away: logs of failures are kept until the
/// next run.
fn of_this_run(directory: &Path) -> PathBuf {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    directory.join(std::process::id().to_string())
}

/// Those of `all` that were named; all of them when none was.
fn chosen<'a, T>(
    all: &'a [T],
    named: &[String],
    what: &str,
    name: fn(&T) -> &'static str,
) -> Result<Vec<&'a T>> {
    if let Some(unknown) = named
        .iter()
        .find(|named| !all.iter().any(|one| name(one) == **named))
    {
        let known: Vec<&str> = all.iter().map(name).collect();
        bail!(
            "there is no {what} {unknown:?}; there are {}",
            known.join(", ")
        );
    }
    Ok(all
        .iter()
        .filter(|one| named.is_empty() || named.iter().any(|named| named == name(one)))
        .collect())
}

fn list(peers: &[&&'static dyn Peer], scenarios: &[&Scenario]) {
    for peer in peers {
        let version = if peer.is_installed() {
            peer.version()
        } else {
            Some("not installed".to_owned())
        };
        println!(
            "peer      {:<20} {}",
            peer.name(),
            version.unwrap_or_default()
        );
    }
    for scenario in scenarios {
        println!("scenario  {}", scenario.name);
    }
}

fn run_inside(
    arguments: &Arguments,
    peers: &[&&'static dyn Peer],
    scenarios: &[&Scenario],
    programs: Programs,
    directory: &Path,
) -> Result<bool> {
    let bed = Bed::make(programs, directory)?;
    let versions: Vec<(&'static str, String)> = peers
        .iter()
        .map(|peer| (peer.name(), peer.version().unwrap_or_default()))
        .collect();
    for (_, version) in &versions {
        println!("{version}");
    }
    println!("\n{}", Entry::HEADER);
    let mut rows = Vec::new();
    for peer in peers {
        for scenario in scenarios {
            for direction in Direction::BOTH {
                let entry = run_row(&bed, **peer, scenario, direction, arguments.keep.is_some());
                println!("{}", entry.line());
                rows.push(entry);
            }
        }
    }
    print!("\n{}", report::matrix(&rows));
    if let Some(path) = &arguments.json {
        let report = serde_json::to_string_pretty(&Report {
            peers: &versions,
            rows: &rows,
        })?;
        fs::write(path, report + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(rows.iter().all(|row| row.result != Verdict::Failed))
}

fn run_row(
    bed: &Bed,
    peer: &'static dyn Peer,
    scenario: &Scenario,
    direction: Direction,
    keep: bool,
) -> Entry {
    let entry = Entry {
        peer: peer.name(),
        scenario: scenario.name,
        part: direction.name(),
        result: Verdict::NotApplicable,
        reason: peer.cannot(scenario.name, direction).map(str::to_owned),
        seconds: 0.0,
    };
    if entry.reason.is_some() {
        return entry;
    }
    let started = Instant::now();
    let name = format!("{}-{}-{}", peer.name(), scenario.name, direction.name());
    let setup = (scenario.setup)(peer, direction);
    let row = Row {
        bed,
        peer,
        direction,
        setup,
        directory: bed.directory.join(name),
    };
    let outcome = fs::create_dir_all(&row.directory)
        .map_err(Into::into)
        .and_then(|()| (scenario.act)(&row));
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            if !keep {
                // What is left behind goes with the whole directory.
                let _ = fs::remove_dir_all(&row.directory);
            }
            Entry {
                result: Verdict::Passed,
                seconds,
                ..entry
            }
        }
        Err(error) => Entry {
            result: Verdict::Failed,
            seconds,
            reason: Some(format!("{error:#}")),
            ..entry
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let named = ["prosody".to_owned(), "prosodi".to_owned()];
        let error = chosen(&peers::ALL, &named, "peer", |peer| peer.name())
            .err()
            .unwrap()
            .to_string();
        assert_eq!(
            error,
            "there is no peer \"prosodi\"; there are prosody, ejabberd, jabberd2"
        );
        assert_eq!(
            chosen(&peers::ALL, &named[..1], "peer", |peer| peer.name())
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            chosen(&peers::ALL, &[], "peer", |peer| peer.name())
                .unwrap()
                .len(),
            3
        );
    }
}
