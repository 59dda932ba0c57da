//! The spool of a process that is killed while it stores: what it was told to be stored is there.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use s2sd::protocol::proof::DomainPair;
use s2sd::spool::{Spool, SpoolLimits};
use xmpp_stream::Domain;

const TASKS: usize = 16;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("s2sd-spool-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that stores until it is killed.
fn storing(dir: &Path, from: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["spool", "--data-dir"])
        .arg(dir)
        .args(["--from", &from.to_string(), "--tasks", &TASKS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// What a process said of one task.
#[derive(Clone, Default, Debug)]
struct Said {
    stored: BTreeSet<u64>,
    settling: Option<u64>,
    settled: Option<u64>,
}

fn note(said: &mut BTreeMap<usize, Said>, line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let [what, task, number] = words.as_slice() else {
        assert_eq!(line, "opened");
        return;
    };
    let said = said.entry(task.parse().unwrap()).or_default();
    let number = number.parse().unwrap();
    match *what {
        "stored" => assert!(said.stored.insert(number)),
        "settling" => said.settling = Some(number),
        "settled" => said.settled = Some(number),
        other => panic!("{other}"),
    }
}

/// The numbers that are stored for a task, in order.
async fn stored(spool: &Spool, task: usize) -> Vec<u64> {
    let pair = DomainPair {
        local: Domain::parse("here.test").unwrap(),
        remote: Domain::parse(&format!("task{task}.test")).unwrap(),
    };
    let (mut numbers, mut after) = (Vec::new(), None);
    loop {
        let reading = spool.read(&pair, after, 1_000).await.unwrap();
        assert_eq!(reading.bad, []);
        let Some((last, _)) = reading.runs.last() else {
            return numbers;
        };
        after = Some(*last);
        for stanza in reading.runs.iter().flat_map(|(_, run)| run.stanzas()) {
            let element = stanza.element().unwrap();
            numbers.push(element.id().unwrap().parse().unwrap());
        }
    }
}

#[tokio::test]
async fn kill_9_under_load_loses_nothing_that_was_answered_and_brings_back_nothing_that_was_settled()
 {
    let dir = Dir::new("killed");
    let mut said: BTreeMap<usize, Said> = BTreeMap::new();
    let mut from = 0;
    for round in 0..6_usize {
        let (mut child, mut lines) = storing(&dir.0, from);
        let mut line = String::new();
        // At another moment in each round.
        for _ in 0..1 + round * 397 {
            assert!(lines.read_line(&mut line).unwrap() > 0);
            note(&mut said, line.trim_end());
            line.clear();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it was killed; the last line may be cut off.
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        for line in rest
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            note(&mut said, line.trim_end());
        }

        let (spool, findings) = Spool::open(&dir.0, SpoolLimits::default()).unwrap();
        assert_eq!(findings, []);
        for (task, said) in &said {
            let found = stored(&spool, *task).await;
            let what = format!("round {round}, task {task}: {said:?}, and there is {found:?}");
            assert!(found.is_sorted_by(|one, other| one < other), "{what}");
            if let Some(settled) = said.settled {
                assert!(found.iter().all(|number| *number > settled), "{what}");
            }
            // It may be that the last settlement was done and not answered, and the same with the last message.
            let gone = said.settling.map_or(0, |last| last + 1);
            for number in said.stored.range(gone..) {
                assert!(found.contains(number), "{number} is lost in {what}");
            }
        }
        spool.close().await.unwrap();
        let last = said.values().filter_map(|said| said.stored.last()).max();
        from = last.copied().unwrap_or(0) + 1_000;
    }
}

#[test]
fn the_second_process_on_one_directory_is_refused_and_names_the_first() {
    let dir = Dir::new("two");
    let (mut first, mut lines) = storing(&dir.0, 0);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "opened\n");
    // Its words must not fill the pipe.
    let reading = std::thread::spawn(move || lines.lines().map_while(Result::ok).count());
    let (second, _) = storing(&dir.0, 0);
    let second = second.wait_with_output().unwrap();
    let text = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("in use by the process {}: ", first.id())),
        "{text}"
    );
    // The first goes on, and when it is gone, however that was, the next has the spool.
    assert_eq!(first.try_wait().unwrap(), None);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(reading.join().unwrap() > 0);
    let (mut third, mut lines) = storing(&dir.0, 1_000_000);
    line.clear();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "opened\n");
    third.kill().unwrap();
    third.wait().unwrap();
}
