//! The spool against each kind of end, and against a disk that does not take what it should.

mod damage;
mod ends;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use xmpp_stream::Domain;

use super::*;

/// A directory for one test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("s2sd-spool-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    fn open(&self) -> Spool {
        let (spool, findings) = Spool::open(&self.0, SpoolLimits::default()).unwrap();
        assert_eq!(findings, []);
        spool
    }

    /// As the disk would be if the process died now.
    fn crashed(&self) -> Self {
        let copy = Self::new();
        for entry in fs::read_dir(&self.0).unwrap() {
            let entry = entry.unwrap();
            // Readers make this one anew.
            if !entry.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(entry.path(), copy.0.join(entry.file_name())).unwrap();
            }
        }
        copy
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pair(remote: &str) -> DomainPair {
    DomainPair {
        local: Domain::parse("here.example").unwrap(),
        remote: Domain::parse(remote).unwrap(),
    }
}

fn time(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + number)
}

/// A message of about 300 bytes, or of the given number of them.
fn stanza(number: u64, padding: usize) -> StoredStanza {
    let padding = "x".repeat(padding);
    StoredStanza {
        accepted: time(number),
        origin: OriginKind::Component,
        xml: Bytes::from(format!(
            "<message xmlns='jabber:server' id='{number}' from='a@here.example' to='b@there.example'><body>{padding}</body></message>"
        )),
    }
}

fn run(remote: &str, number: u64) -> Run {
    Run::new(pair(remote), &stanza(number, 200))
}

/// All that is stored for this domain.
async fn all(spool: &Spool, remote: &str) -> Vec<(Position, Run)> {
    let (mut runs, mut after) = (Vec::new(), None);
    loop {
        let reading = spool.read(&pair(remote), after, 1_000).await.unwrap();
        assert_eq!(reading.bad, []);
        let Some((last, _)) = reading.runs.last() else {
            return runs;
        };
        after = Some(*last);
        runs.extend(reading.runs);
    }
}

async fn depth(spool: &Spool, remote: &str) -> Option<Depth> {
    let index = spool.index().await.unwrap();
    let found = index.into_iter().find(|(found, _)| *found == pair(remote));
    found.map(|(_, depth)| depth)
}

fn copied(from: &Path, to: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(from).unwrap();
    change(&mut bytes);
    fs::write(to, bytes).unwrap();
}

#[test]
fn a_run_has_at_most_64_stanzas_or_64_kib_and_gives_them_back() {
    let mut run = Run::new(pair("there.example"), &stanza(0, 10));
    for number in 1..64 {
        assert!(run.push(&stanza(number, 10)));
    }
    assert!(!run.push(&stanza(64, 10)));
    assert_eq!((run.count(), run.accepted()), (64, time(0)));
    let given: Vec<_> = run.stanzas().collect();
    assert_eq!(
        given,
        (0..64).map(|number| stanza(number, 10)).collect::<Vec<_>>()
    );
    assert_eq!(given[7].element().unwrap().id().as_deref(), Some("7"));

    let mut large = Run::new(pair("there.example"), &stanza(0, 100_000));
    assert!(!large.push(&stanza(1, 10)), "one that is large is alone");
    assert_eq!(large.stanzas().collect::<Vec<_>>(), [stanza(0, 100_000)]);
}

#[test]
fn what_is_not_a_run_is_not_read_as_one() {
    let mut run = Run::new(pair("there.example"), &stanza(0, 10));
    assert!(run.push(&stanza(1, 20)));
    let read = |count, body: &[u8]| Run::read(pair("there.example"), count, body);
    assert_eq!(read(2, run.body()), Some(run.clone()));
    for count in [0, 1, 3, 65, usize::MAX] {
        assert_eq!(read(count, run.body()), None);
    }
    for length in 0..run.body().len() {
        assert_eq!(read(2, &run.body()[..length]), None);
    }
    for (at, value) in [(0, 2), (9, b'x'), (13, 255)] {
        let mut body = run.body().to_vec();
        body[at] = value;
        assert_eq!(read(2, &body), None);
    }
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_old() {
    let stanza = stanza(5_000, 0);
    let minute = Duration::from_secs(60);
    assert!(!stanza.is_older_than(minute, time(65_000)));
    assert!(stanza.is_older_than(minute, time(65_001)));
    assert!(!stanza.is_older_than(minute, time(0)));
}
