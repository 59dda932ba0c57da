//! The log of a test's process, for whoever asks what is in it.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock},
};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// What is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// A line that has all of these.
    #[allow(dead_code)]
    #[track_caller]
    pub(crate) fn line(&self, parts: &[&str]) -> String {
        let text = self.text();
        let line = text
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)));
        let Some(line) = line else {
            panic!("no line with {parts:?}");
        };
        line.to_owned()
    }
}

impl Log {
    /// All lines that have all of these.
    #[allow(dead_code)]
    pub(crate) fn lines(&self, parts: &[&str]) -> Vec<String> {
        let text = self.text();
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        text.lines().filter(has_all).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of this process: all of the daemons' that is for operators.
pub(crate) fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let written = Log::default();
        let writer = written.clone();
        let levels = Targets::new().with_target("s2sd", LevelFilter::DEBUG);
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        Registry::default().with(levels).with(lines).init();
        written
    });
    log.clone()
}
