//! `cargo xtask interop`: s2sd federates with real servers, in a network of its own; and its SASL mechanisms speak with
//! the programs of other implementations.
//!
//! Outside: find the peers, build, enter the namespace. Inside: one row after the other, each with servers of
//! its own that are started from a template, and stopped by their process ids.

mod evidence;
mod fixtures;
mod install;
mod namespace;
mod page;
mod peer_kind;
mod peers;
mod process;
mod programs;
mod report;
mod row;
mod s2sd_pair;
mod sasl;
mod scenario;
mod server_dir;
mod setup;
mod template;

pub(crate) use self::install::install;
use self::{
    fixtures::{Fixtures, Programs},
    peer_kind::PeerKind,
    peers::Peer,
    report::{Entry, Report, RowResult},
    row::Row,
    sasl::{Exchange, Tool},
    scenario::Scenario,
    setup::Direction,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf, absolute},
    time::Instant,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these peers: prosody, ejabberd, jabberd2, s2sd, gsasl, cyrus, rsasl
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
    /// Writes the outcome here as a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keeps all configurations and logs here, not only those of rows that failed
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Set by this program when it starts itself inside the namespace
    #[arg(long, hide = true, num_args = 3, value_names = ["DIRECTORY", "S2SD", "LAB"])]
    inside: Vec<PathBuf>,
}

/// Runs what was asked for; true when all of it passed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let all = peer_kind::all();
    let peers = chosen(&all, &arguments.peer, "peer", PeerKind::name)?;
    let scenarios = Scenarios::chosen(&arguments.only)?;
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
    let missing = install::missing_packages(&peers);
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
    let kerberos = peers.iter().any(|peer| match peer {
        PeerKind::Tool(tool) => (scenarios.with_tools.iter()).any(|one| tool.needs_kerberos(one)),
        PeerKind::Server(peer) => scenario::of(*peer)
            .iter()
            .filter(|scenario| scenarios.has(scenario))
            .any(|one| (one.setup)(*peer, Direction::ToPeer).kerberos()),
    });
    let programs = Programs::build(kerberos)?;
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

/// What is played: with servers, and with tools.
struct Scenarios {
    with_servers: Vec<&'static Scenario>,
    with_tools: Vec<&'static Exchange>,
}

impl Scenarios {
    fn chosen(named: &[String]) -> Result<Self> {
        let servers = || scenario::ALL.iter().chain(&scenario::PAIRS);
        let with_servers = servers().map(|scenario| scenario.name);
        let with_tools = sasl::ALL.iter().map(|exchange| exchange.name);
        let all: Vec<&'static str> = with_servers.chain(with_tools).collect();
        let names = chosen(&all, named, "scenario", |name| *name)?;
        let is_chosen = |name: &str| names.iter().any(|chosen| **chosen == name);
        let (with_servers, with_tools) = (servers(), sasl::ALL.iter());
        Ok(Self {
            with_servers: with_servers.filter(|one| is_chosen(one.name)).collect(),
            with_tools: with_tools.filter(|one| is_chosen(one.name)).collect(),
        })
    }

    fn has(&self, scenario: &Scenario) -> bool {
        let mut chosen = self.with_servers.iter();
        chosen.any(|one| one.name == scenario.name)
    }
}

fn list(peers: &[&PeerKind], scenarios: &Scenarios) {
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
    for scenario in &scenarios.with_servers {
        let is_pair = scenario::PAIRS
            .iter()
            .any(|pair| pair.name == scenario.name);
        let with = if is_pair {
            "(s2sd)"
        } else {
            "(prosody, ejabberd, jabberd2)"
        };
        println!("scenario  {:<28} {with}", scenario.name);
    }
    for exchange in &scenarios.with_tools {
        println!("scenario  {:<28} (gsasl, cyrus, rsasl)", exchange.name);
    }
}

fn run_inside(
    arguments: &Arguments,
    peers: &[&PeerKind],
    scenarios: &Scenarios,
    programs: Programs,
    directory: &Path,
) -> Result<bool> {
    let fixtures = Fixtures::make(programs, directory)?;
    let versions: Vec<(&'static str, String)> = peers
        .iter()
        .map(|peer| (peer.name(), peer.version().unwrap_or_default()))
        .collect();
    for (_, version) in &versions {
        println!("{version}");
    }
    println!("\n{}", Entry::HEADER);
    let mut rows = Vec::new();
    let keep = arguments.keep.is_some();
    let mut ended = |entry: Entry| {
        println!("{}", entry.line());
        rows.push(entry);
    };
    for peer in peers {
        match peer {
            PeerKind::Server(peer) => {
                for scenario in scenario::of(*peer).iter().filter(|one| scenarios.has(one)) {
                    for direction in Direction::BOTH {
                        ended(run_row(&fixtures, *peer, scenario, direction, keep));
                    }
                }
            }
            PeerKind::Tool(tool) => {
                for exchange in &scenarios.with_tools {
                    for direction in Direction::BOTH {
                        ended(run_exchange(&fixtures, tool, exchange, direction, keep));
                    }
                }
            }
        }
    }
    ensure!(
        !rows.is_empty(),
        "none of these peers plays any of these scenarios; --list shows who plays what"
    );
    print!("\n{}", report::matrix(&rows));
    if let Some(path) = &arguments.json {
        let report = serde_json::to_string_pretty(&Report {
            peers: &versions,
            rows: &rows,
        })?;
        fs::write(path, report + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &arguments.html {
        let page = page::html(&versions, &rows);
        fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(rows.iter().all(|row| row.result != RowResult::Failed))
}

fn run_row(
    fixtures: &Fixtures,
    peer: &'static dyn Peer,
    scenario: &Scenario,
    direction: Direction,
    keep: bool,
) -> Entry {
    let place = Cell {
        fixtures,
        peer: peer.name(),
        scenario: scenario.name,
        direction,
        keep,
    };
    place.play(peer.cannot(scenario.name, direction), |directory| {
        let setup = (scenario.setup)(peer, direction);
        (scenario.act)(&Row {
            fixtures,
            peer,
            direction,
            setup,
            directory: directory.to_owned(),
        })
    })
}

fn run_exchange(
    fixtures: &Fixtures,
    tool: &Tool,
    exchange: &Exchange,
    direction: Direction,
    keep: bool,
) -> Entry {
    let place = Cell {
        fixtures,
        peer: tool.name,
        scenario: exchange.name,
        direction,
        keep,
    };
    place.play(tool.cannot(exchange, direction), |directory| {
        tool.exchange(fixtures, exchange, direction, directory)
    })
}

/// One place in the matrix.
struct Cell<'a> {
    fixtures: &'a Fixtures,
    peer: &'static str,
    scenario: &'static str,
    direction: Direction,
    keep: bool,
}

impl Cell<'_> {
    /// Plays in a directory of its own what belongs here, unless it cannot be done.
    fn play(&self, cannot: Option<&str>, act: impl FnOnce(&Path) -> Result<()>) -> Entry {
        let part = self.direction.name();
        let entry = Entry {
            peer: self.peer,
            scenario: self.scenario,
            part,
            result: RowResult::NotApplicable,
            reason: cannot.map(str::to_owned),
            seconds: 0.0,
        };
        if entry.reason.is_some() {
            return entry;
        }
        let started = Instant::now();
        let name = format!("{}-{}-{part}", self.peer, self.scenario);
        let directory = self.fixtures.directory.join(name);
        let outcome = fs::create_dir_all(&directory)
            .map_err(Into::into)
            .and_then(|()| act(&directory));
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                if !self.keep {
                    // What is left behind goes with the whole directory.
                    let _ = fs::remove_dir_all(&directory);
                }
                Entry {
                    result: RowResult::Passed,
                    seconds,
                    ..entry
                }
            }
            Err(error) => Entry {
                result: RowResult::Failed,
                seconds,
                reason: Some(format!("{error:#}")),
                ..entry
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let all = peer_kind::all();
        let chosen = |named: &[String]| {
            let peers = chosen(&all, named, "peer", PeerKind::name);
            peers
                .map(|peers| peers.len())
                .map_err(|error| error.to_string())
        };
        let named = ["prosody", "gsasl", "prosodi"].map(str::to_owned);
        assert_eq!(
            chosen(&named).unwrap_err(),
            "there is no peer \"prosodi\"; there are prosody, ejabberd, jabberd2, s2sd, gsasl, cyrus, rsasl"
        );
        assert_eq!(chosen(&named[..2]), Ok(2));
        assert_eq!(chosen(&[]), Ok(7));
    }

    #[test]
    fn a_scenario_is_found_wherever_it_is_played() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let scenarios = Scenarios::chosen(&names).unwrap();
            (scenarios.with_servers.len(), scenarios.with_tools.len())
        };
        assert_eq!(of(&["wrong-key", "plain"]), (1, 1));
        assert_eq!(
            of(&[]),
            (scenario::ALL.len() + scenario::PAIRS.len(), sasl::ALL.len())
        );
    }
}
