//! The processes we start, and waiting for what they do. Each is stopped by its own handle when it goes
//! out of scope; nobody else's process is ever touched.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fmt,
    fs::File,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How often we look whether something has happened.
const POLL: Duration = Duration::from_millis(20);

/// So long something may show no sign of life.
const QUIET: Duration = Duration::from_secs(30);
/// So long it may take, as long as it does something.
const MAX_WAIT: Duration = Duration::from_secs(240);
/// A process that used less of a processor meanwhile does nothing, in hundredths of a second.
const IDLE: u64 = 20;

/// A server or a tool that runs beside us.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    errors: PathBuf,
    /// [`QUIET`], but for its test.
    quiet: Duration,
}

impl Process {
    /// Starts it with its output in `directory/NAME.out` and `directory/NAME.err`.
    pub(super) fn start(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let [output, errors] = ["out", "err"].map(|kind| directory.join(format!("{name}.{kind}")));
        let create =
            |path: &Path| File::create(path).with_context(|| format!("making {}", path.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&output)?)
            .stderr(create(&errors)?)
            .spawn()
            .with_context(|| format!("starting {}", Program(&command)))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            errors,
            quiet: QUIET,
        })
    }

    /// Waits until it takes connections at all these addresses.
    pub(super) fn serves(&mut self, addresses: &[SocketAddr]) -> Result<()> {
        for address in addresses {
            let open = || TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok();
            let what = format!("{} to listen on {address}", self.name);
            self.wait_while_it_works(&what, |this| Ok(open() || this.ended()?.is_some()))
                .with_context(|| self.says())?;
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}: {}", self.name, self.says());
            }
        }
        Ok(())
    }

    /// Waits for [`QUIET`], and as long as it uses a processor for up to [`MAX_WAIT`]: on a busy machine a server in a
    /// virtual machine of its own takes its time.
    fn wait_while_it_works(
        &mut self,
        what: &str,
        mut question: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + MAX_WAIT;
        let mut used = 0;
        loop {
            let within = self
                .quiet
                .min(end.saturating_duration_since(Instant::now()));
            let Err(in_vain) = wait_until(what, within, || question(self)) else {
                return Ok(());
            };
            let now_used = processor_time(self.child.id());
            if now_used <= used + IDLE || Instant::now() >= end {
                return Err(in_vain);
            }
            used = now_used;
            eprintln!("still waiting for {what}: its process is at work");
        }
    }

    /// Waits until it has printed this text.
    pub(super) fn prints(&mut self, text: &str) -> Result<()> {
        let what = format!("{} to print {text:?}", self.name);
        self.wait_while_it_works(&what, |this| {
            let files = [&this.output, &this.errors];
            Ok(files.iter().any(|file| read(file).contains(text)) || this.ended()?.is_some())
        })
        .with_context(|| self.says())?;
        match self.ended()? {
            Some(status) => bail!("{} ended with {status}: {}", self.name, self.says()),
            None => Ok(()),
        }
    }

    /// Waits for its end.
    pub(super) fn finish(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, within, || Ok(self.child.try_wait()?.is_some()))
            .with_context(|| self.says())?;
        Ok(self.child.wait()?)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it has printed on standard output.
    pub(super) fn output(&self) -> String {
        read(&self.output)
    }

    /// The end of what it has printed, for the person who has to find out.
    pub(super) fn says(&self) -> String {
        let all = self.output() + &read(&self.errors);
        let lines: Vec<&str> = all.lines().collect();
        lines
            .get(lines.len().saturating_sub(8)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then both are refused, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command as one would type it.
struct Program<'a>(&'a Command);

impl fmt::Display for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.get_program().to_string_lossy())?;
        self.0
            .get_args()
            .map(OsStr::to_string_lossy)
            .try_for_each(|word| write!(f, " {word}"))
    }
}

/// Asks again and again until the answer is yes.
pub(super) fn wait_until(
    what: &str,
    within: Duration,
    mut question: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + within;
    while !question()? {
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", within.as_secs());
        }
        sleep(POLL);
    }
    Ok(())
}

/// How long a process and those that it started have used a processor, in hundredths of a second.
fn processor_time(root: u32) -> u64 {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some((parent, used)) = read_stat(&read(&entry.path().join("stat")))
        {
            all.push((id, parent, used));
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(
            all.iter()
                .filter(|(_, of, _)| *of == parent)
                .map(|(id, ..)| *id),
        );
        at += 1;
    }
    let used = all.iter().filter(|(id, ..)| family.contains(id));
    used.map(|(_, _, used)| used).sum()
}

/// proc(5), `/proc/PID/stat`: the parent, and the time used by the process and by its children that have ended.
fn read_stat(text: &str) -> Option<(u32, u64)> {
    // The program's name stands in brackets and may have any in it.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let times = fields.get(11..15)?.iter();
    let used = times
        .map(|time| time.parse::<u64>().ok())
        .sum::<Option<u64>>()?;
    Some((fields.get(1)?.parse().ok()?, used))
}

/// A log as text; a file that is not there yet is empty.
pub(super) fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_early_is_told_from_one_that_serves() {
        let directory = std::env::temp_dir();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option; exit 3"]);
        let mut process = Process::start(
            &format!("xtask-test-{}", std::process::id()),
            command,
            &directory,
        )
        .unwrap();
        // Port 1 of the loopback is nobody's.
        let error = format!(
            "{:#}",
            process
                .serves(&["127.0.0.1:1".parse().unwrap()])
                .unwrap_err()
        );
        assert!(
            error.contains("exit status: 3") && error.contains("no such option"),
            "{error}"
        );
        std::fs::remove_file(&process.output).unwrap();
        std::fs::remove_file(&process.errors).unwrap();
    }

    #[test]
    fn a_process_that_works_is_told_from_one_that_sleeps() {
        assert_eq!(
            read_stat("7 (a (b) c) S 3 7 7 0 -1 0 9 9 9 9 10 20 30 40 20"),
            Some((3, 100))
        );
        assert_eq!(read_stat("7 (gone"), None);
        let (own, before) = (std::process::id(), processor_time(std::process::id()));
        while processor_time(own) == before {}
        assert_eq!(processor_time(u32::MAX), 0);
    }

    #[test]
    fn what_is_printed_late_is_waited_for_while_the_process_works() {
        let directory = std::env::temp_dir();
        let started = |name: &str, script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let name = format!("xtask-test-{name}-{}", std::process::id());
            let mut process = Process::start(&name, command, &directory).unwrap();
            process.quiet = Duration::from_secs(2);
            process
        };
        // It has nothing to say before it has used a processor for longer than one may be quiet.
        let busy = "while [ \"$(cut -d' ' -f14 /proc/$$/stat)\" -lt 300 ]; do i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; done; \
                    echo there; exec cat /dev/zero >/dev/null";
        let mut working = started("works", busy);
        working.prints("there\n").unwrap();
        let mut idle = started("sleeps", "exec sleep 600");
        let error = format!("{:#}", idle.prints("there\n").unwrap_err());
        assert!(error.contains("in vain"), "{error}");
        for process in [&working, &idle] {
            std::fs::remove_file(&process.output).unwrap();
            std::fs::remove_file(&process.errors).unwrap();
        }
    }

    #[test]
    fn waiting_ends() {
        assert!(wait_until("nothing", Duration::ZERO, || Ok(false)).is_err());
        assert!(wait_until("something", Duration::ZERO, || Ok(true)).is_ok());
    }
}
