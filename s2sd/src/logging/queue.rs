//! Lines on their way to standard error. The task that writes a line does not wait for its reader: a pager, a pipe and a full
//! disk may be slow for ever, and stanzas are not. What has no room is left out and counted.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes wait, and as many may be being written.
pub(super) const MAX_WAITING: usize = 1 << 20;
/// A buffer that was larger for once is given back.
const KEPT: usize = 64 << 10;
/// How often there is a look at what else is to be said.
const TICK: Duration = Duration::from_secs(1);

/// Where lines are put; clones put them into the same queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<LogChannel>);

#[derive(Debug, Default)]
struct LogChannel {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    left_out: u64,
    is_writing: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }
}

impl Queue {
    /// Writes what is put in, on a thread of its own. `look` is called after every turn, at least every second, with how
    /// many lines had no room before the next one.
    pub(super) fn write_to(
        &self,
        mut out: impl Write + Send + 'static,
        mut look: impl FnMut(u64) + Send + 'static,
    ) -> io::Result<()> {
        let queue = self.clone();
        let run = move || {
            let mut lines = Vec::new();
            loop {
                let left_out = queue.take(&mut lines);
                // If the reader is gone, there is no place to say so.
                let _ = out.write_all(&lines).and_then(|()| out.flush());
                lines.clear();
                lines.shrink_to(KEPT);
                queue.written();
                look(left_out);
            }
        };
        let thread = thread::Builder::new().name("log".to_owned());
        thread.spawn(run).map(drop)
    }

    /// Waits until all is written, but not for ever.
    pub(super) fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut state = self.lock();
        while !state.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.emptied.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > MAX_WAITING {
            state.left_out += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.0.filled.notify_one();
    }

    /// What waits, as soon as something does.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let nothing = |state: &mut State| state.waiting.is_empty();
        let waited = self.0.filled.wait_timeout_while(self.lock(), TICK, nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.waiting, lines);
        state.is_writing = true;
        mem::take(&mut state.left_out)
    }

    fn written(&self) {
        self.lock().is_writing = false;
        self.0.emptied.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line is put in with one call.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() {
            self.put(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes a line as often as it is told to.
    struct Reader {
        turns: mpsc::Receiver<()>,
        read: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            let _ = self.turns.recv();
            let _ = self.read.send(lines.to_vec());
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_writes_never_waits_and_what_has_no_room_is_counted() {
        let (turn, turns) = mpsc::channel();
        let (read, lines) = mpsc::channel();
        let (look, looks) = mpsc::channel();
        let mut queue = Queue::default();
        let reader = Reader { turns, read };
        let look = move |left_out| {
            let _ = look.send(left_out);
        };
        queue.write_to(reader, look).unwrap();
        // The first is being written, for as long as the reader likes.
        queue.write_all(b"first\n").unwrap();
        while !queue.lock().waiting.is_empty() || !queue.lock().is_writing {
            thread::yield_now();
        }
        let line = [b'x'; 1 << 10];
        for _ in 0..2 << 10 {
            queue.write_all(&line).unwrap();
        }
        assert_eq!(queue.lock().waiting.len(), MAX_WAITING);
        // It does not wait for a reader that is not there, either.
        queue.flush(Duration::from_millis(1));
        drop(turn);
        queue.flush(Duration::from_secs(60));
        assert!(queue.lock().is_empty());
        let read: Vec<u8> = lines.try_iter().flatten().collect();
        assert!(read.starts_with(b"first\nxx"));
        assert_eq!(read.len(), 6 + MAX_WAITING);
        let mut left_out = looks.iter();
        assert_eq!(left_out.by_ref().take(2).sum::<u64>(), 1 << 10);
    }
}
