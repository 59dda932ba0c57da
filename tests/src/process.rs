//! A daemon that is a process of its own, and what it costs: processor time, memory, descriptors, its log. Linux only:
//! `/proc` says it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::world::{Daemon, TIMEOUT, World};

/// The daemon. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: u32,
    descriptors: usize,
    log: Arc<Log>,
    /// Where it takes servers.
    pub s2s: SocketAddr,
    /// Where it takes components.
    pub components: SocketAddr,
}

/// What the process has at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time since it began.
    pub cpu: Duration,
    /// What it has in memory, in KiB.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// What was written to the log.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// How many bytes.
    pub bytes: usize,
    /// The longest line.
    pub longest: usize,
    /// How many lines.
    pub lines: usize,
}

#[derive(Debug, Default)]
struct Log {
    all: Mutex<Vec<String>>,
}

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts the daemon by `lab`, which is this program, with so many descriptors at most, and puts it into the zone.
    pub async fn start(
        world: &mut World,
        lab: &str,
        daemon: &Daemon,
        descriptors: usize,
    ) -> anyhow::Result<Self> {
        let file = world.write_daemon(daemon)?;
        let base = file.parent().unwrap_or(Path::new("."));
        // Only a shell lowers a limit without unsafe code.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""))
            .arg(lab)
            .args(["daemon", "--config"])
            .arg(&file)
            .current_dir(base)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the daemon")?;
        let pid = child.id().context("the daemon has ended")?;
        let stderr = child.stderr.take().context("its standard error is ours")?;
        let log = Arc::new(Log::default());
        let (s2s, components) = addresses(stderr, &log).await?;
        for domain in daemon.domains() {
            world.lead("_xmpp-server", domain, s2s);
        }
        Ok(Self {
            child,
            pid,
            descriptors,
            log,
            s2s,
            components,
        })
    }

    /// What it has now.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.pid)
    }

    /// All lines of its log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// How many lines there are.
    pub fn lines(&self) -> usize {
        self.log.lock().len()
    }

    /// What was written from this line on, without the lines with these words.
    pub fn written(&self, from: usize, without: &str) -> Written {
        let mut written = Written::default();
        for line in self.log.lock().iter().skip(from) {
            if !line.contains(without) {
                // The line break counts.
                let length = line.len() + 1;
                written.bytes += length;
                written.longest = written.longest.max(length);
                written.lines += 1;
            }
        }
        written
    }

    /// Looks at it again and again until it is told to stop.
    pub fn watch(&self) -> Watching {
        let pid = self.pid;
        let peaks = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopping) = (Arc::clone(&peaks), Arc::clone(&stop));
        thread::spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                if let Ok(now) = usage(pid) {
                    let resident = usize::try_from(now.resident).unwrap_or(usize::MAX);
                    seen.0.fetch_max(now.descriptors, Ordering::AcqRel);
                    seen.1.fetch_max(resident, Ordering::AcqRel);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Watching { peaks, stop }
    }

    /// Waits until it has at most so many descriptors and so much memory, but not longer than this.
    pub async fn calms(&self, calm: Usage, at_most: Duration) -> anyhow::Result<Usage> {
        let until = Instant::now() + at_most;
        loop {
            let now = self.usage()?;
            let is_calm = now.descriptors <= calm.descriptors && now.resident <= calm.resident;
            if is_calm || Instant::now() > until {
                return Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// From now on it may open no descriptor from this one on; it keeps what it has.
    pub fn limit(&self, descriptors: u64) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let limit = Rlimit {
            current: Some(descriptors),
            maximum: u64::try_from(self.descriptors).ok(),
        };
        prlimit(Some(pid.context("no process")?), Resource::Nofile, limit)?;
        Ok(())
    }

    /// Ends it without asking.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// The peaks of descriptors and memory while this exists.
#[derive(Debug)]
pub struct Watching {
    peaks: Arc<(AtomicUsize, AtomicUsize)>,
    stop: Arc<AtomicBool>,
}

impl Watching {
    /// Most descriptors so far.
    pub fn descriptors(&self) -> usize {
        self.peaks.0.load(Ordering::Acquire)
    }

    /// Most memory so far, in KiB.
    pub fn resident(&self) -> u64 {
        self.peaks.1.load(Ordering::Acquire) as u64
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// proc(5): a tick of the times in `stat` is a hundredth of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

fn usage(pid: u32) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses; the others have no blanks.
    let (_, fields) = stat.rsplit_once(") ").context("not what proc(5) says")?;
    let field = |nth: usize| -> anyhow::Result<u32> {
        let text = fields.split(' ').nth(nth).context("too few fields")?;
        Ok(text.parse()?)
    };
    // utime and stime are 14 and 15; the first one here is 3.
    let cpu = TICK * (field(11)? + field(12)?);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.context("it has ended")?.trim();
    let resident = resident.trim_end_matches(" kB").parse()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Usage {
        cpu,
        resident,
        descriptors,
    })
}

/// Reads the log up to where it says on which ports it listens, and the rest in the background.
async fn addresses(
    stderr: ChildStderr,
    log: &Arc<Log>,
) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let mut lines = BufReader::new(stderr).split(b'\n');
    let mut found = [None, None];
    let began = Instant::now();
    while found.iter().any(Option::is_none) {
        let left = TIMEOUT.saturating_sub(began.elapsed());
        let line = timeout(left, lines.next_segment()).await;
        let Ok(Ok(Some(line))) = line else {
            bail!("the daemon does not listen: {:#?}", log.lock());
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some((_, rest)) = line.split_once("listening address=")
            && let Some((address, listener)) = rest.split_once(" listener=")
        {
            match listener {
                "\"s2s\"" => found[0] = Some(address.parse()?),
                "\"components\"" => found[1] = Some(address.parse()?),
                _ => {}
            }
        }
        log.lock().push(line);
    }
    let log = Arc::clone(log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line).into_owned();
            log.lock().push(line);
        }
    });
    let [Some(s2s), Some(components)] = found else {
        bail!("both were found");
    };
    Ok((s2s, components))
}
