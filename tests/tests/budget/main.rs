//! What an attack costs: a table of attacks, and for each what a stranger may cost with it, measured on a daemon that is
//! a process of its own.
//!
//! The aim: nothing that a stranger does with one connection, or with a thousand from one network, delays an innocent
//! peer's header by more than 100 ms, costs more than 20 ms of processor time a connection, 64 KiB of memory that
//! outlives it, 16 connection attempts to elsewhere, or one line of 512 bytes of the log a second. The bounds here are
//! wider, since this is a build without optimization on a machine that does other things meanwhile.
//!
//! `cargo test -p s2sd-tests --test budget -- --nocapture` prints the table; `S2SD_BUDGET="chain texts"` runs only the
//! rows with one of these words in their name. `S2SD_BUDGET_TIMES=3` makes each attack three times, one after the other: what
//! is kept then, and is not three times as much, is what the daemon made once, and no connection's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod attacks;
mod calm;
mod chain;
mod proofs;
mod stage;
mod words;

use std::{
    env,
    time::{Duration, Instant},
};

use calm::{Calm, Delays};
use s2sd_tests::{
    process::{Process, Usage, Written},
    world::{Daemon, World},
};
use stage::{Attack, Stage};

/// The domain that is attacked.
pub(crate) const HERE: &str = "here.test";
const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// What an attack may cost.
#[derive(Clone, Copy)]
struct Budget {
    /// Processor time for each connection that the attacker made, in milliseconds.
    cpu: u64,
    /// Memory that is left when its connections are gone, in KiB.
    kept: u64,
    /// The most memory while it goes on, in KiB.
    held: u64,
    /// Descriptors at one time, its own connections too.
    descriptors: usize,
    /// Connections to elsewhere.
    connects: usize,
    /// Bytes of the log in a second for each connection, and of its longest line.
    log: (usize, usize),
    /// What nine of ten innocent headers are late, in milliseconds.
    delay: u64,
}

struct Row {
    name: &'static str,
    world: fn() -> anyhow::Result<World>,
    daemon: fn(Daemon) -> Daemon,
    attack: Attack,
    budget: Budget,
    /// The same figures before there was a bound.
    before: &'static str,
}

/// What an attack did cost.
struct Cost {
    connections: usize,
    cpu: Duration,
    took: Duration,
    kept: u64,
    held: u64,
    descriptors: usize,
    connects: usize,
    log: Written,
    calm: Delays,
    attacked: Delays,
}

impl Cost {
    fn cpu_each(&self) -> u64 {
        let each = self.cpu / u32::try_from(self.connections.max(1)).unwrap();
        u64::try_from(each.as_millis()).unwrap()
    }

    fn log_rate(&self) -> usize {
        // A line in less than a second is no rate.
        let seconds = usize::try_from(self.took.as_secs().max(1)).unwrap();
        self.log.bytes / seconds / self.connections.max(1)
    }

    fn late(&self) -> u64 {
        let late = self.attacked.ninth.saturating_sub(self.calm.ninth);
        u64::try_from(late.as_millis()).unwrap()
    }

    /// What is over its bound.
    fn over(&self, budget: &Budget) -> Vec<String> {
        let table = [
            ("ms of processor a connection", self.cpu_each(), budget.cpu),
            ("KiB kept", self.kept, budget.kept),
            ("KiB held", self.held, budget.held),
            (
                "descriptors",
                self.descriptors as u64,
                budget.descriptors as u64,
            ),
            ("connects", self.connects as u64, budget.connects as u64),
            (
                "bytes of log a second and connection",
                self.log_rate() as u64,
                budget.log.0 as u64,
            ),
            (
                "bytes of one line",
                self.log.longest as u64,
                budget.log.1 as u64,
            ),
            ("ms late", self.late(), budget.delay),
        ];
        let over = table.into_iter().filter(|(_, is, most)| is > most);
        over.map(|(what, is, most)| format!("{is} {what}, at most {most}"))
            .collect()
    }
}

const HEADINGS: &str = "attack                              conns  ms/conn  kept KiB  held KiB   fds  connects  log B/s  longest  late ms (median, 90 %, longest)   took";

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_millis();
        write!(
            f,
            "{:>5} {:>8} {:>9} {:>9} {:>5} {:>9} {:>8} {:>8}  {:>7} ({}, {}, {}; before {}, {}, {})  {:.1} s",
            self.connections,
            self.cpu_each(),
            self.kept,
            self.held,
            self.descriptors,
            self.connects,
            self.log_rate(),
            self.log.longest,
            self.late(),
            ms(self.attacked.median),
            ms(self.attacked.ninth),
            ms(self.attacked.longest),
            ms(self.calm.median),
            ms(self.calm.ninth),
            ms(self.calm.longest),
            self.took.as_secs_f32(),
        )
    }
}

/// For how long an attack goes on, if it does not end before.
const ATTACK: Duration = Duration::from_secs(10);
/// For how long its traces may fade: what it has said may take longer than it took to say it, and the allocator gives
/// back within ten seconds what is free.
const AFTER: Duration = Duration::from_secs(20);

async fn cost(row: &Row) -> anyhow::Result<Cost> {
    let mut world = (row.world)()?;
    let daemon = (row.daemon)(Daemon::serving(HERE));
    let process = Process::start(&mut world, LAB, &daemon, 1024).await?;
    let mut stage = Stage::new(world, process)?;
    // What is made once and kept is made by one who comes and goes as they all do.
    if let Err(error) = stage.warm_up().await {
        anyhow::bail!("{error:#}: {:#?}", stage.process.log());
    }
    let calm = Calm::begins(stage.process.s2s);
    calm.came(10).await;
    calm.take();
    let (idle, began) = (stage.process.usage()?, Instant::now());
    calm.came(50).await;
    let before = calm.take();
    let start = stage.process.usage()?;
    let idle_rate = (start.cpu - idle.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    let line = stage.process.lines();
    let watching = stage.process.watch();

    let began = Instant::now();
    // At its end its connections close, since it has them.
    for _ in 0..times() {
        let attacked = tokio::time::timeout(ATTACK, (row.attack)(&mut stage)).await;
        if let Ok(ended) = attacked {
            ended?;
        }
    }
    let attacked = calm.ends();
    // Nobody knocks any more.
    let knocked = began.elapsed();
    let calm = Usage {
        descriptors: start.descriptors + 2,
        resident: start.resident + row.budget.kept,
        ..start
    };
    let end: Usage = stage.process.calms(calm, AFTER).await?;
    let idle = Duration::from_secs_f64(idle_rate * knocked.as_secs_f64());
    let cost = Cost {
        connections: stage.made(),
        cpu: (end.cpu - start.cpu).saturating_sub(idle),
        took: began.elapsed(),
        kept: end.resident.saturating_sub(start.resident),
        held: watching.resident().saturating_sub(start.resident),
        descriptors: watching.descriptors().saturating_sub(start.descriptors),
        connects: stage.elsewhere(),
        log: stage.process.written(line, &calm::ADDRESS.to_string()),
        calm: before,
        attacked,
    };
    if env::var_os("S2SD_BUDGET_LOG").is_some() {
        let log = stage.process.log();
        let lines = log.iter().skip(line).take(12);
        lines.for_each(|line| println!("    {}", line.chars().take(400).collect::<String>()));
    }
    stage.process.kill().await?;
    Ok(cost)
}

fn times() -> usize {
    let times = env::var("S2SD_BUDGET_TIMES").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(1)
}

fn all() -> impl Iterator<Item = &'static Row> {
    let all = [attacks::ROWS, words::ROWS, proofs::ROWS];
    all.into_iter().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_costs_more_than_its_budget() {
    s2sd::app::raise_file_limit(&s2sd::config::Limits {
        inbound: 2_000,
        ..Default::default()
    });
    let chosen = env::var("S2SD_BUDGET").unwrap_or_default();
    let words: Vec<&str> = chosen.split_whitespace().collect();
    let is_chosen =
        |row: &Row| words.is_empty() || words.iter().any(|word| row.name.contains(word));
    println!("{HEADINGS}");
    let mut over = Vec::new();
    for row in all().filter(|row| is_chosen(row)) {
        let cost = match cost(row).await {
            Ok(cost) => cost,
            Err(error) => panic!("{}: {error:#}", row.name),
        };
        println!("{:<34} {cost}", row.name);
        println!("{:<34} before: {}", "", row.before);
        let found = cost.over(&row.budget).into_iter();
        over.extend(found.map(|what| format!("{}: {what}", row.name)));
    }
    assert!(over.is_empty(), "{over:#?}");
}
