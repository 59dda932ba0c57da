//! The runtime of a command, and when a serving command ends.

use std::{future::Future, io::Write};

use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

/// One thread is enough, and leaves the others to what is tested.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    // A blocked read of standard input must not hold up the exit.
    runtime.shutdown_background();
    result
}

/// When a serving command ends: SIGTERM, SIGINT, and the end of standard input if asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    stdin: bool,
}

impl End {
    pub(super) fn new(stdin: bool) -> Self {
        Self { stdin }
    }

    pub(super) async fn reached(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_ends(), if self.stdin => {}
        }
        Ok(())
    }
}

async fn stdin_ends() {
    let (mut stdin, mut buffer) = (tokio::io::stdin(), [0; 1024]);
    while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

/// A line on standard output, at once also into a pipe.
pub(super) fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
