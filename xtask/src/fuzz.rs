//! `cargo xtask fuzz`: the targets in `fuzz/`, each for a bounded time.
//!
//! Not a part of `cargo xtask ci`: libFuzzer needs a nightly toolchain and cargo-fuzz, and a finding is luck. What the
//! targets do is also done by property tests, which run everywhere.

use crate::workspace::{cargo, root};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// For how long each target runs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these targets
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Say which targets there are, and run none
    #[arg(long)]
    list: bool,
}

/// How much of what libFuzzer said last is shown with a finding.
const LAST_LINES: usize = 60;
/// One input that takes longer is a finding.
const LONGEST_RUN: &str = "-timeout=20";

const NO_NIGHTLY: &str =
    "fuzzing needs a nightly toolchain, and there is none: rustup toolchain install nightly";
const NO_CARGO_FUZZ: &str =
    "fuzzing needs cargo-fuzz, and there is none: cargo install --locked cargo-fuzz";

/// Runs the targets; true when none found anything.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let manifest = root().join("fuzz/Cargo.toml");
    let manifest =
        fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
    let all = targets(&manifest);
    if arguments.list {
        all.iter().for_each(|name| println!("{name}"));
        return Ok(true);
    }
    if let Some(unknown) = arguments
        .targets
        .iter()
        .find(|name| !all.contains(&name.as_str()))
    {
        bail!(
            "there is no target {unknown:?}; the targets are {}",
            all.join(", ")
        );
    }
    let chosen = |name: &&str| {
        arguments.targets.is_empty() || arguments.targets.iter().any(|one| one == name)
    };
    let chosen: Vec<&str> = all.into_iter().filter(chosen).collect();

    let nightly = Nightly::find()?;
    println!("building {} with the sanitizers …", chosen.join(", "));
    for name in &chosen {
        let built = nightly.cargo(&["fuzz", "build", name]).status();
        ensure!(
            built.context("starting cargo fuzz")?.success(),
            "{name} does not build"
        );
    }
    let mut outcomes = Vec::new();
    for name in chosen {
        outcomes.push((name, attack(&nightly, name, arguments.seconds)?));
    }
    print!("\n{}", table(&outcomes));
    Ok(outcomes.iter().all(|(_, said)| said.reproducer.is_none()))
}

/// The binaries of the manifest.
fn targets(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut of_binary = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            of_binary = line.trim() == "[[bin]]";
        } else if let Some(("name", name)) = line
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            && of_binary
        {
            names.push(name.trim_matches('"'));
        }
    }
    names
}

/// The cargo of a nightly toolchain.
enum Nightly {
    /// The one that runs us.
    Ours,
    /// The one that rustup has.
    Rustup,
}

impl Nightly {
    fn find() -> Result<Self> {
        let says = |command: &mut Command| {
            let output = command.stderr(Stdio::null()).output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let is_nightly =
            |version: Option<String>| version.is_some_and(|text| text.contains("nightly"));
        let found = [Self::Ours, Self::Rustup]
            .into_iter()
            .find(|nightly| is_nightly(says(&mut nightly.cargo(&["--version"]))))
            .context(NO_NIGHTLY)?;
        says(&mut found.cargo(&["fuzz", "--version"])).context(NO_CARGO_FUZZ)?;
        Ok(found)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Ours => cargo(),
            Self::Rustup => {
                let mut command = Command::new("rustup");
                command
                    .current_dir(root())
                    .args(["run", "nightly", "cargo"]);
                command
            }
        };
        command.args(arguments);
        command
    }
}

/// What a run of libFuzzer has said so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    runs: u64,
    /// Places in the code that were reached, and inputs kept because they reached new ones.
    coverage: u64,
    corpus: u64,
    /// The file with the input that was found.
    reproducer: Option<String>,
}

impl Said {
    /// Takes a line: `#4096 pulse cov: 7 ft: 9 corp: 3/12b …`, `stat::number_of_executed_units: 4096`, or that an input
    /// was written.
    fn line(&mut self, line: &str) {
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or(self.runs);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.reproducer = Some(path.trim().to_owned());
        } else if let Some(rest) = line.strip_prefix('#') {
            let mut words = rest.split_whitespace();
            self.runs = words
                .next()
                .and_then(|runs| runs.parse().ok())
                .unwrap_or(self.runs);
            while let Some(word) = words.next() {
                let field = match word {
                    "cov:" => &mut self.coverage,
                    "corp:" => &mut self.corpus,
                    _ => continue,
                };
                let number = words.next().and_then(|value| value.split('/').next());
                *field = number
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(*field);
            }
        }
    }
}

/// One target for its time. What it says goes past, but for how far it is; with a finding the end of it is shown.
fn attack(nightly: &Nightly, name: &str, seconds: u32) -> Result<Said> {
    let time = format!("-max_total_time={seconds}");
    let mut command = nightly.cargo(&[
        "fuzz",
        "run",
        name,
        "--",
        &time,
        LONGEST_RUN,
        "-print_final_stats=1",
    ]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting cargo fuzz")?;
    let stderr = child.stderr.take().context("its standard error is ours")?;
    let started = Instant::now();
    let show = std::io::stdout().is_terminal();
    let (mut said, mut last) = (Said::default(), VecDeque::new());
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line.context("reading what cargo fuzz says")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        said.line(&line);
        if show {
            print!(
                "\r{name}: {} of {seconds} s, {} runs",
                started.elapsed().as_secs(),
                said.runs
            );
            let _ = std::io::stdout().flush();
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait().context("waiting for cargo fuzz")?;
    if show {
        print!("\r");
    }
    println!(
        "{name}: {} runs, {} places reached, {} inputs kept",
        said.runs, said.coverage, said.corpus
    );
    if !status.success() {
        last.iter().for_each(|line| println!("    {line}"));
        match &said.reproducer {
            Some(path) => {
                println!("{name}: FOUND {path}\n  again: cargo +nightly fuzz run {name} {path}")
            }
            None => bail!("cargo fuzz run {name} ended with {status}, and left no input"),
        }
    }
    Ok(said)
}

fn table(outcomes: &[(&str, Said)]) -> String {
    let mut text = String::from("target               runs  result\n");
    for (name, said) in outcomes {
        let result = match &said.reproducer {
            Some(path) => format!("FOUND {path}"),
            None => "nothing found".to_owned(),
        };
        text += &format!("{name:<14} {:>10}  {result}\n", said.runs);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_the_binaries_of_the_manifest() {
        let manifest = "[package]\nname = \"all\"\n[[bin]]\nname = \"a\"\npath = \"x\"\n[[bin]]\nname=\"b\"\n[lib]\nname = \"c\"\n";
        assert_eq!(targets(manifest), ["a", "b"]);
        let ours = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        for name in targets(&ours) {
            assert!(
                root()
                    .join(format!("fuzz/fuzz_targets/{name}.rs"))
                    .is_file(),
                "{name}"
            );
        }
        let files = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
        assert_eq!(
            targets(&ours).len(),
            files.count(),
            "a file without a [[bin]]"
        );
    }

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let mut said = Said::default();
        for line in [
            "INFO: Loaded 1 modules   (56339 inline 8-bit counters)",
            "#2\tINITED cov: 60 ft: 61 corp: 1/1b exec/s: 0 rss: 48Mb",
            "#65536\tpulse  cov: 2120 ft: 9103 corp: 803/28Kb lim: 652 exec/s: 8192 rss: 411Mb",
            "artifact_prefix='/x/fuzz/artifacts/a/'; Test unit written to /x/fuzz/artifacts/a/crash-da39a3",
            "stat::number_of_executed_units: 70000",
        ] {
            said.line(line);
        }
        let want = Said {
            runs: 70_000,
            coverage: 2120,
            corpus: 803,
            reproducer: Some("/x/fuzz/artifacts/a/crash-da39a3".to_owned()),
        };
        assert_eq!(said, want);
        let table = table(&[("a", said), ("b", Said::default())]);
        let found = "a                   70000  FOUND /x/fuzz/artifacts/a/crash-da39a3\n";
        assert!(table.contains(found), "{table}");
        assert!(
            table.ends_with("b                       0  nothing found\n"),
            "{table}"
        );
    }
}
