//! What is stored, and what of it is there after each kind of end.

use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn what_is_stored_is_there_again_in_order_after_each_kind_of_end() {
    let dir = Dir::new();
    let spool = dir.open();
    let mut stored = Vec::new();
    for number in 0..20 {
        let remote = ["one.example", "two.example"][number as usize % 2];
        let position = spool.store(run(remote, number)).await.unwrap();
        stored.push((remote, position, number));
    }
    let check = async |spool: &Spool| {
        for remote in ["one.example", "two.example"] {
            let of_it = stored.iter().filter(|(found, ..)| *found == remote);
            let wanted: Vec<_> = of_it
                .map(|(_, position, number)| (*position, run(remote, *number)))
                .collect();
            assert_eq!(all(spool, remote).await, wanted);
        }
        let depth = depth(spool, "two.example").await.unwrap();
        let bytes = 10 * (run("two.example", 1).body().len() as u64 + ROW_OVERHEAD);
        let found = (depth.runs, depth.stanzas, depth.bytes, depth.oldest);
        // Five of the numbers have two digits.
        assert_eq!(found, (10, 10, bytes + 5, time(1)));
    };
    check(&spool).await;
    check(&dir.crashed().open()).await;
    spool.close().await.unwrap();
    let spool = dir.open();
    check(&spool).await;
    assert_eq!(all(&spool, "three.example").await, []);
}

#[tokio::test]
async fn what_is_settled_does_not_come_back_after_a_crash_and_no_position_does_ever() {
    let dir = Dir::new();
    let spool = dir.open();
    let mut positions = Vec::new();
    for number in 0..10 {
        positions.push(spool.store(run("one.example", number)).await.unwrap());
    }
    let other = spool.store(run("two.example", 0)).await.unwrap();
    let one = pair("one.example");
    spool.settle(&one, positions[6]).await.unwrap();
    // Late, and of a pair that there is not.
    spool.settle(&one, positions[2]).await.unwrap();
    spool.settle(&pair("three.example"), other).await.unwrap();
    let crashed = dir.crashed();
    for spool in [&spool, &crashed.open()] {
        let left = all(spool, "one.example").await;
        let left: Vec<_> = left.iter().map(|(at, _)| *at).collect();
        assert_eq!(left, positions[7..]);
        assert_eq!(all(spool, "two.example").await.len(), 1);
    }
    spool.settle(&one, positions[9]).await.unwrap();
    spool.settle(&pair("two.example"), other).await.unwrap();
    assert_eq!(spool.index().await.unwrap(), []);
    spool.close().await.unwrap();
    let spool = dir.open();
    assert_eq!(spool.index().await.unwrap(), []);
    let next = spool.store(run("one.example", 11)).await.unwrap();
    assert!(next > other, "{next:?} was used before");
    // What was settled long ago settles nothing of today.
    spool.settle(&one, other).await.unwrap();
    assert_eq!(all(&spool, "one.example").await.len(), 1);
}

#[tokio::test]
async fn what_is_stored_at_the_same_time_has_the_order_in_which_it_came() {
    let dir = Dir::new();
    let limits = SpoolLimits {
        waiting_runs: 100,
        wait: Duration::from_secs(300),
        ..SpoolLimits::default()
    };
    let (spool, _) = Spool::open(&dir.0, limits).unwrap();
    // On one thread, tasks begin in the order in which they were made.
    let mut tasks = JoinSet::new();
    for number in 0..2_000 {
        let spool = spool.clone();
        tasks.spawn(async move { (number, spool.store(run("one.example", number)).await) });
    }
    let mut positions = tasks.join_all().await;
    positions.sort_by_key(|(number, _)| *number);
    let positions: Vec<_> = positions.into_iter().map(|(_, at)| at.unwrap()).collect();
    assert!(positions.is_sorted());
    let found = all(&dir.crashed().open(), "one.example").await;
    let found: Vec<_> = found.into_iter().map(|(_, run)| run).collect();
    let wanted: Vec<_> = (0..2_000)
        .map(|number| run("one.example", number))
        .collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_reading_begins_after_a_position_and_has_a_bound() {
    let dir = Dir::new();
    let spool = dir.open();
    let mut positions = Vec::new();
    for number in 0..10 {
        let run = Run::new(pair("one.example"), &stanza(number, 400_000));
        positions.push(spool.store(run).await.unwrap());
    }
    let read = async |after, most| {
        let reading = spool.read(&pair("one.example"), after, most).await.unwrap();
        reading
            .runs
            .into_iter()
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(None, 1).await, positions[..1]);
    assert_eq!(read(None, 100).await, positions[..2], "about a MiB");
    assert_eq!(read(Some(positions[7]), 100).await, positions[8..]);
    assert_eq!(read(Some(positions[9]), 100).await, []);
    assert_eq!(read(None, 0).await, []);
    let large = Run::new(pair("one.example"), &stanza(10, 3 << 20));
    let large = spool.store(large).await.unwrap();
    assert_eq!(
        read(Some(positions[9]), 100).await,
        [large],
        "one there is always"
    );
}

#[tokio::test]
async fn the_file_gives_back_what_is_not_used_any_more() {
    let dir = Dir::new();
    let spool = dir.open();
    let mut last = None;
    for number in 0..100 {
        let run = Run::new(pair("one.example"), &stanza(number, 60_000));
        last = Some(spool.store(run).await.unwrap());
    }
    spool
        .settle(&pair("one.example"), last.unwrap())
        .await
        .unwrap();
    spool.close().await.unwrap();
    let length = fs::metadata(dir.file()).unwrap().len();
    assert!(length < 100_000, "{length} bytes, of 6 MB that were in it");
    let names = fs::read_dir(&dir.0)
        .unwrap()
        .map(|it| it.unwrap().file_name());
    let mut names: Vec<_> = names.map(|it| it.to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, [LOCK, FILE], "no log is left");
}

#[tokio::test]
async fn what_a_caller_does_not_wait_for_is_stored_or_not_but_whole() {
    let dir = Dir::new();
    let spool = dir.open();
    for number in 0..200 {
        let stored = spool.store(run("one.example", number));
        let _ = timeout(Duration::ZERO, stored).await;
    }
    let found = all(&spool, "one.example").await;
    for (_, found) in &found {
        let since = found.accepted().duration_since(time(0)).unwrap();
        assert_eq!(*found, run("one.example", since.as_millis() as u64));
    }
    assert!(found.iter().map(|(_, run)| run.accepted()).is_sorted());
}

#[tokio::test]
async fn a_hundred_thousand_rows_are_back_soon() {
    let dir = Dir::new();
    dir.open().close().await.unwrap();
    let Ok(mut table) = Table::open(&dir.file()) else {
        panic!("it was just made");
    };
    for group in 0..100 {
        let rows: Vec<_> = (1..=1_000)
            .map(|at| {
                let number = group * 1_000 + at;
                let run = run(&format!("peer{}.example", number % 1_000), number);
                let row = index::Row {
                    position: Position(number as i64),
                    count: 1,
                    bytes: run.body().len() as u64,
                    accepted: run.accepted_millis(),
                };
                (row, run)
            })
            .collect();
        table.commit(std::iter::empty(), &rows).unwrap();
    }
    table.close().unwrap();
    let began = std::time::Instant::now();
    let spool = dir.open();
    let index = spool.index().await.unwrap();
    let took = began.elapsed();
    println!("100,000 rows of 1,000 pairs were back in {took:?}");
    assert_eq!(index.len(), 1_000);
    assert!(index.iter().all(|(_, depth)| depth.stanzas == 100));
    assert_eq!(all(&spool, "peer17.example").await.len(), 100);
    assert!(took < Duration::from_secs(30), "{took:?}");
}
