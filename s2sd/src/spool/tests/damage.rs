//! Files that are not as they were written: what is not damaged is there, and what is lost is told.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::*;

const REMOTES: [&str; 3] = ["one.example", "two.example", "three.example"];
const PAGE: usize = 4_096;

/// A spool with runs of all sizes, closed.
async fn filled(dir: &Dir) -> BTreeMap<Position, Run> {
    let spool = dir.open();
    let mut stored = BTreeMap::new();
    for number in 0..150_u64 {
        let mut run = run(REMOTES[number as usize % 3], number * 100);
        if number % 10 == 0 {
            for more in 1..number % 64 {
                assert!(run.push(&stanza(number * 100 + more, 100)));
            }
        }
        stored.insert(spool.store(run.clone()).await.unwrap(), run);
    }
    // The file has free pages, too.
    let gone = Run::new(pair("gone.example"), &stanza(0, 50_000));
    let gone = spool.store(gone).await.unwrap();
    spool.settle(&pair("gone.example"), gone).await.unwrap();
    spool.close().await.unwrap();
    stored
}

/// Opens the file. What is in it is as it was stored, and if something is missing, that is told. Says how much is missing.
async fn lost(dir: &Dir, stored: &BTreeMap<Position, Run>, what: &str) -> usize {
    let (spool, mut findings) = match Spool::open(&dir.0, SpoolLimits::default()) {
        Ok(opened) => opened,
        // The bit was in one of these two numbers. The file is as it was.
        Err(OpenError::Newer { .. } | OpenError::Foreign { .. }) => return 0,
        Err(other) => panic!("{what}: {other}"),
    };
    let mut found = BTreeSet::new();
    for (pair, _) in spool.index().await.unwrap() {
        let mut after = None;
        loop {
            let reading = spool.read(&pair, after, 1_000).await.unwrap();
            for (position, run) in &reading.runs {
                assert_eq!(stored.get(position), Some(run), "{what}");
                assert!(after < Some(*position), "{what}");
                after = Some(*position);
                found.insert(*position);
            }
            if reading.runs.is_empty() && reading.bad.is_empty() {
                break;
            }
            findings.extend(reading.bad);
        }
    }
    let lost = stored.len() - found.len();
    assert!(
        lost == 0 || !findings.is_empty(),
        "{what}: {lost} are lost without a word"
    );
    let position = spool.store(run("new.example", 1)).await.unwrap();
    assert!(!found.contains(&position), "{what}: {position:?} is used");
    assert_eq!(all(&spool, "new.example").await.len(), 1, "{what}");
    spool.close().await.unwrap();
    lost
}

#[tokio::test]
async fn of_a_file_with_flipped_bits_everything_else_is_there() {
    let whole = Dir::new();
    let stored = filled(&whole).await;
    let length = fs::metadata(whole.file()).unwrap().len() as usize;
    let spread = (1..40).map(|step| step * length / 40);
    // The heads of pages decide most.
    let heads = (1..length / PAGE)
        .step_by(3)
        .flat_map(|page| [0, 4, 9].map(|at| page * PAGE + at));
    let (mut most, mut cases) = (0, 0);
    for (number, place) in (0..100).step_by(4).chain(spread).chain(heads).enumerate() {
        let dir = Dir::new();
        copied(&whole.file(), &dir.file(), |bytes| {
            bytes[place] ^= 1 << (number % 8)
        });
        let what = format!("bit {} of byte {place}", number % 8);
        let lost = lost(&dir, &stored, &what).await;
        cases += 1;
        // Header, schema and the root of the table are what all the rest is found by.
        if place >= 4 * PAGE {
            most = most.max(lost);
        }
    }
    println!(
        "{cases} files: behind the first pages a bit cost at most {most} of {} runs",
        stored.len()
    );
    assert!(most <= 30, "{most}");
}

#[tokio::test]
async fn of_a_file_that_was_cut_off_everything_before_is_there() {
    let whole = Dir::new();
    let stored = filled(&whole).await;
    let length = fs::metadata(whole.file()).unwrap().len() as usize;
    let steps = (0..20).map(|step| length - step * length / 20);
    let mut found = Vec::new();
    for cut in steps.chain([1, 99, 100, PAGE - 1, PAGE, PAGE + 1]) {
        let dir = Dir::new();
        copied(&whole.file(), &dir.file(), |bytes| bytes.truncate(cut));
        let lost = lost(&dir, &stored, &format!("cut at {cut} of {length}")).await;
        found.push((cut, lost));
    }
    println!("lost runs by length: {found:?}");
    // Half of the file has some of the runs, and nearly all of it nearly all of them.
    assert_eq!(found[0], (length, 0));
    assert!(found[1].1 < stored.len() / 4, "{:?}", found[1]);
    assert!(found[10].1 < stored.len(), "{:?}", found[10]);
}

#[tokio::test]
async fn a_log_that_was_cut_off_or_damaged_loses_at_most_what_came_after() {
    let dir = Dir::new();
    let spool = dir.open();
    let mut stored = Vec::new();
    for number in 0..50 {
        let run = run("one.example", number);
        stored.push((spool.store(run.clone()).await.unwrap(), run));
    }
    let crashed = dir.crashed();
    let wal = table::beside(&crashed.file(), "-wal");
    let length = fs::metadata(&wal).unwrap().len() as usize;
    let mut longest = 0;
    for place in (1..30).map(|step| step * length / 30) {
        for is_cut in [true, false] {
            let dir = crashed.crashed();
            let log = table::beside(&dir.file(), "-wal");
            copied(&wal, &log, |bytes| match is_cut {
                true => bytes.truncate(place),
                false => bytes[place] ^= 16,
            });
            let found = all(&dir.open(), "one.example").await;
            assert_eq!(found, stored[..found.len()], "at {place}");
            longest = longest.max(found.len());
        }
    }
    assert!(longest > 30, "{longest}");
}

#[tokio::test]
async fn a_damaged_row_is_reported_and_moved_aside_and_passed_over() {
    let dir = Dir::new();
    let spool = dir.open();
    let mut positions = Vec::new();
    for number in 0..9 {
        positions.push(spool.store(run("one.example", number)).await.unwrap());
    }
    spool.close().await.unwrap();
    let db = Connection::open(dir.file()).unwrap();
    for (id, change) in [
        (2, "body = zeroblob(100)"),
        (3, "accepted = accepted + 1"),
        (4, "local = 'other.example'"),
        (5, "count = 0"),
        (6, "remote = x'ff'"),
        (7, "body = 'text'"),
        (8, "crc = 'x'"),
    ] {
        let sql = format!("UPDATE run SET {change} WHERE id = {id}");
        db.execute(&sql, ()).unwrap();
    }
    drop(db);
    let (spool, findings) = Spool::open(&dir.0, SpoolLimits::default()).unwrap();
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let row = |id: i64, why: &str| {
        let path = dir.file();
        format!(
            "row {id} of the spool {} is damaged ({why}): it is in the table `aside`",
            path.display()
        )
    };
    let numbers = "its numbers are not those of a run";
    assert_eq!(
        texts,
        [row(5, numbers), row(6, "its domains are not names")]
    );
    let reading = spool.read(&pair("one.example"), None, 100).await.unwrap();
    let wanted: Vec<_> = [0, 8]
        .map(|at| (positions[at as usize], run("one.example", at)))
        .into();
    assert_eq!(reading.runs, wanted);
    let checksum = "its checksum is wrong";
    let bad: Vec<_> = reading.bad.iter().map(ToString::to_string).collect();
    let body = "its body is not a run";
    assert_eq!(
        bad,
        [
            row(2, checksum),
            row(3, checksum),
            row(7, body),
            row(8, numbers)
        ]
    );
    // It says so once.
    let reading = spool.read(&pair("one.example"), None, 100).await.unwrap();
    assert_eq!((reading.runs.len(), reading.bad.len()), (2, 0));
    // The row that says that it is of others is found by those.
    let local = Domain::parse("other.example").unwrap();
    let other = DomainPair {
        local,
        ..pair("one.example")
    };
    let reading = spool.read(&other, None, 100).await.unwrap();
    assert_eq!((reading.runs.len(), reading.bad.len()), (0, 1));
    assert_eq!(spool.index().await.unwrap().len(), 1);
    spool.close().await.unwrap();
    let db = Connection::open(dir.file()).unwrap();
    let aside = db.query_row("SELECT group_concat(id) FROM aside", (), |row| {
        row.get::<_, String>(0)
    });
    assert_eq!(aside.unwrap(), "2,3,4,5,6,7,8");
    drop(db);
    assert_eq!(all(&dir.open(), "one.example").await.len(), 2);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_kept_and_a_new_one_begun() {
    let dir = Dir::new();
    fs::write(dir.file(), vec![b'?'; 20_000]).unwrap();
    let (spool, findings) = Spool::open(&dir.0, SpoolLimits::default()).unwrap();
    let [
        Finding::Salvaged {
            aside, saved: 0, ..
        },
    ] = findings.as_slice()
    else {
        panic!("{findings:?}");
    };
    assert_eq!(fs::read(aside).unwrap(), vec![b'?'; 20_000]);
    spool.store(run("one.example", 0)).await.unwrap();
}

#[tokio::test]
async fn a_salvage_that_was_interrupted_is_begun_again_or_finished() {
    let dir = Dir::new();
    let spool = dir.open();
    spool.store(run("one.example", 0)).await.unwrap();
    spool.close().await.unwrap();
    // Both are there: the saved one may be a part.
    let saved = salvage::unfinished(&dir.file());
    fs::write(&saved, "a part").unwrap();
    let spool = dir.open();
    assert_eq!(all(&spool, "one.example").await.len(), 1);
    assert!(!saved.exists());
    spool.close().await.unwrap();
    // Only the saved one is there: the other was moved away already.
    fs::rename(dir.file(), &saved).unwrap();
    assert_eq!(all(&dir.open(), "one.example").await.len(), 1);
}
