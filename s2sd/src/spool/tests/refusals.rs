//! What is not taken, and why.

use rusqlite::Connection;

use super::*;

fn limited(dir: &Dir, limits: SpoolLimits) -> Spool {
    Spool::open(&dir.0, limits).unwrap().0
}

fn few_pages(table: &Table) {
    let pages = "PRAGMA max_page_count = 60";
    table.db().query_row(pages, (), |_| Ok(())).unwrap();
}

#[tokio::test]
async fn what_is_over_a_bound_comes_back_until_something_is_settled() {
    let size = run("one.example", 0).body().len() as u64 + ROW_OVERHEAD;
    let (mut bytes, mut stanzas) = (SpoolLimits::default(), SpoolLimits::default());
    bytes.bytes = 3 * size + 1;
    stanzas.stanzas = 3;
    for limits in [bytes, stanzas] {
        let dir = Dir::new();
        let spool = limited(&dir, limits);
        let mut last = None;
        for number in 0..3 {
            last = Some(spool.store(run("one.example", number)).await.unwrap());
        }
        let refused = spool.store(run("two.example", 3)).await.unwrap_err();
        assert_eq!(refused.run, run("two.example", 3));
        assert_eq!(refused.why, NotStoredReason::Full);
        // What was there before counts after a restart, too.
        spool.close().await.unwrap();
        let spool = limited(&dir, limits);
        assert!(spool.store(run("two.example", 3)).await.is_err());
        spool
            .settle(&pair("one.example"), last.unwrap())
            .await
            .unwrap();
        spool.store(run("two.example", 3)).await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_is_full_gives_back_what_it_did_not_take_and_keeps_the_rest() {
    let dir = Dir::new();
    let limits = SpoolLimits::default();
    let (spool, _) = Spool::open_with(&dir.0, limits, few_pages).unwrap();
    let mut stored = Vec::new();
    let refused = loop {
        let number = stored.len() as u64;
        let run = Run::new(pair("one.example"), &stanza(number, 20_000));
        match spool.store(run).await {
            Ok(position) => stored.push(position),
            Err(refused) => break refused,
        }
    };
    assert!(stored.len() >= 5, "{stored:?}");
    assert_eq!(refused.why, NotStoredReason::Store(StoreError::DiskFull));
    let number = stored.len() as u64;
    assert_eq!(refused.run.stanzas().next(), Some(stanza(number, 20_000)));
    assert_eq!(all(&spool, "one.example").await.len(), stored.len());
    // What is settled makes room.
    spool.settle(&pair("one.example"), stored[2]).await.unwrap();
    let next = spool.store(refused.run).await.unwrap();
    assert!(next > *stored.last().unwrap());
    let left = all(&dir.crashed().open(), "one.example").await;
    assert_eq!(left.len(), stored.len() - 3 + 1);
}

#[tokio::test]
async fn what_is_settled_with_what_finds_no_room_is_gone_all_the_same() {
    let dir = Dir::new();
    let spool = dir.open();
    let first = spool.store(run("one.example", 0)).await.unwrap();
    spool.close().await.unwrap();
    let Ok(table) = Table::open(&dir.file()) else {
        panic!("it was just closed");
    };
    few_pages(&table);
    let writer = Writer::new(table, dir.file(), SpoolLimits::default(), &mut Vec::new()).unwrap();
    let (requests, received) = mpsc::channel();
    let room = || {
        (
            Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
            None,
        )
    };
    // Both are one transaction: the thread begins when they are there.
    let (answer, large) = oneshot::channel();
    let run = Run::new(pair("one.example"), &stanza(1, 1 << 20));
    let request = Request::Store {
        run,
        answer,
        room: room(),
    };
    requests.send(request).unwrap();
    let (answer, settled) = oneshot::channel();
    let (pair, upto) = (pair("one.example"), first);
    let request = Request::Settle {
        pair,
        upto,
        answer,
        room: room(),
    };
    requests.send(request).unwrap();
    drop(requests);
    writer.run(&received).unwrap();
    let refused = large.await.unwrap().unwrap_err();
    assert_eq!(refused.why, NotStoredReason::Store(StoreError::DiskFull));
    assert_eq!(settled.await.unwrap(), Ok(()));
    assert_eq!(dir.open().index().await.unwrap(), []);
}

#[tokio::test]
async fn a_disk_that_is_read_only_says_so() {
    let dir = Dir::new();
    let spool = dir.open();
    let position = spool.store(run("one.example", 0)).await.unwrap();
    spool.close().await.unwrap();
    let (spool, _) = Spool::open_with(&dir.0, SpoolLimits::default(), |table| {
        table.db().execute_batch("PRAGMA query_only = ON").unwrap();
    })
    .unwrap();
    let refused = spool.store(run("one.example", 1)).await.unwrap_err();
    assert_eq!(refused.why, NotStoredReason::Store(StoreError::ReadOnly));
    let settled = spool.settle(&pair("one.example"), position).await;
    assert_eq!(settled, Err(StoreError::ReadOnly));
    assert_eq!(all(&spool, "one.example").await.len(), 1, "reading goes on");
}

#[tokio::test]
async fn while_the_disk_takes_nothing_so_much_waits_and_the_rest_comes_back() {
    let dir = Dir::new();
    let limits = SpoolLimits {
        waiting_runs: 3,
        wait: Duration::from_millis(50),
        ..SpoolLimits::default()
    };
    let spool = limited(&dir, limits);
    spool.store(run("one.example", 0)).await.unwrap();
    // Another program writes, and takes its time.
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (1..=3)
        .map(|number| {
            let spool = spool.clone();
            tokio::spawn(async move { spool.store(run("one.example", number)).await })
        })
        .collect();
    // The three have their room as soon as they run.
    tokio::task::yield_now().await;
    let refused = spool.store(run("one.example", 4)).await.unwrap_err();
    assert_eq!(refused.why, NotStoredReason::Slow);
    assert_eq!(refused.run, run("one.example", 4));
    other.execute_batch("ROLLBACK").unwrap();
    let mut stored = 1;
    for answer in waiting {
        match answer.await.unwrap() {
            Ok(_) => stored += 1,
            // On a busy machine the other program may have had it for too long.
            Err(refused) => assert_eq!(refused.why, StoreError::Locked.into()),
        }
    }
    assert_eq!(all(&spool, "one.example").await.len(), stored);
    spool.store(run("one.example", 4)).await.unwrap();
}

#[tokio::test]
async fn a_closed_spool_gives_back_what_comes_and_has_answered_what_came() {
    let dir = Dir::new();
    let spool = dir.open();
    let other = spool.clone();
    let before: Vec<_> = (0..50)
        .map(|number| {
            let spool = spool.clone();
            tokio::spawn(async move { spool.store(run("one.example", number)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    spool.close().await.unwrap();
    let mut stored = 0;
    for answer in before {
        match answer.await.unwrap() {
            Ok(_) => stored += 1,
            Err(refused) => assert_eq!(refused.why, StoreError::Closed.into()),
        }
    }
    let refused = other.store(run("one.example", 50)).await.unwrap_err();
    assert_eq!(refused.run, run("one.example", 50));
    assert_eq!(other.index().await, Err(StoreError::Closed));
    assert_eq!(other.close().await, Err(StoreError::Closed));
    assert_eq!(all(&dir.open(), "one.example").await.len(), stored);
}

#[tokio::test]
async fn the_second_to_open_it_is_refused_and_hears_who_has_it() {
    let dir = Dir::new();
    let spool = dir.open();
    let refused = Spool::open(&dir.0, SpoolLimits::default()).unwrap_err();
    let OpenError::InUse { path, pid } = &refused else {
        panic!("{refused}");
    };
    let ours = std::process::id().to_string();
    assert_eq!((path, pid), (&dir.0.join(LOCK), &ours));
    let text = refused.to_string();
    assert!(
        text.contains(&format!("in use by the process {ours}: ")),
        "{text}"
    );
    // The first goes on.
    spool.store(run("one.example", 0)).await.unwrap();
    spool.close().await.unwrap();
    dir.open();
}

#[tokio::test]
async fn a_later_format_and_a_file_of_something_else_are_refused_and_left_alone() {
    let dir = Dir::new();
    dir.open().close().await.unwrap();
    let change = |sql: &str| {
        Connection::open(dir.file())
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        fs::read(dir.file()).unwrap()
    };
    let before = change("PRAGMA user_version = 2");
    let refused = Spool::open(&dir.0, SpoolLimits::default()).unwrap_err();
    let text = refused.to_string();
    let wanted = "spool.sqlite has the format 2, and this version of s2sd knows 1: use the version that wrote it, or move \
                  the file away";
    assert!(text.ends_with(wanted), "{text}");
    assert_eq!(fs::read(dir.file()).unwrap(), before);
    let before = change("PRAGMA user_version = 1; PRAGMA application_id = 7");
    let refused = Spool::open(&dir.0, SpoolLimits::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(fs::read(dir.file()).unwrap(), before);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = Dir::new();
    let file = dir.0.join("file");
    fs::write(&file, "").unwrap();
    let refused = Spool::open(&file.join("data"), SpoolLimits::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused}");
    assert!(refused.to_string().contains("spool.sqlite"), "{refused}");
}
