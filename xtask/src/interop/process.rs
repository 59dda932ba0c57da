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

/// A server or a tool that runs beside us.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    errors: PathBuf,
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
        })
    }

    /// Waits until it takes connections at all these addresses.
    pub(super) fn serves(&mut self, addresses: &[SocketAddr]) -> Result<()> {
        for address in addresses {
            let open = || TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok();
            let what = format!("{} to listen on {address}", self.name);
            wait_until(&what, Duration::from_secs(30), || {
                Ok(open() || self.ended()?.is_some())
            })
            .with_context(|| self.says())?;
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}: {}", self.name, self.says());
            }
        }
        Ok(())
    }

    /// Waits until it has printed this text.
    pub(super) fn prints(&mut self, text: &str) -> Result<()> {
        let what = format!("{} to print {text:?}", self.name);
        let mut ended = None;
        wait_until(&what, Duration::from_secs(30), || {
            ended = self.ended()?;
            Ok([&self.output, &self.errors]
                .iter()
                .any(|file| read(file).contains(text))
                || ended.is_some())
        })
        .with_context(|| self.says())?;
        match ended {
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
    fn waiting_ends() {
        assert!(wait_until("nothing", Duration::ZERO, || Ok(false)).is_err());
        assert!(wait_until("something", Duration::ZERO, || Ok(true)).is_ok());
    }
}
