//! `lab spool`: stores stanzas in a spool, and says what is stored.

use std::{path::PathBuf, time::SystemTime};

use s2sd::protocol::proof::DomainPair;
use s2sd::spool::{OriginKind, Run, Spool, SpoolLimits, StoredStanza};
use tokio::task::JoinSet;
use xmpp_stream::Domain;

use super::{
    Exit,
    run::{self, say},
};

/// Opens the spool below a directory and stores stanzas in it, until SIGTERM.
///
/// Prints `opened`, and then for each task T, which stores for the pair `here.test` and `taskT.test`:
/// `stored T NUMBER` when the message with this id is stored; `settling T NUMBER` and `settled T NUMBER` before and after
/// all messages up to this one are taken away.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The directory.
    #[arg(long)]
    data_dir: PathBuf,
    /// So many at the same time.
    #[arg(long, default_value_t = 16)]
    tasks: usize,
    /// The number of each task's first message.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// After so many messages of a task, all but the last of them are settled.
    #[arg(long, default_value_t = 7)]
    settle: u64,
}

pub(super) async fn run(args: Args, end: run::End) -> anyhow::Result<Exit> {
    let (spool, findings) = Spool::open(&args.data_dir, SpoolLimits::default())?;
    anyhow::ensure!(findings.is_empty(), "{findings:?}");
    say("opened")?;
    let mut tasks = JoinSet::new();
    for task in 0..args.tasks {
        tasks.spawn(store(spool.clone(), task, args.from, args.settle.max(1)));
    }
    tokio::select! {
        Some(failed) = tasks.join_next() => failed??,
        ended = end.reached() => ended?,
    }
    tasks.shutdown().await;
    spool.close().await?;
    Ok(Exit::Well)
}

async fn store(spool: Spool, task: usize, from: u64, settle: u64) -> anyhow::Result<()> {
    let pair = DomainPair {
        local: Domain::parse("here.test")?,
        remote: Domain::parse(&format!("task{task}.test"))?,
    };
    let mut before = None;
    for number in from.. {
        let stanza = StoredStanza {
            accepted: SystemTime::now(),
            origin: OriginKind::Component,
            xml: format!(
                "<message xmlns='jabber:server' id='{number}' from='a@here.test' to='b@task{task}.test'><body>{}</body></message>",
                "x".repeat(200)
            )
            .into(),
        };
        let at = spool.store(Run::new(pair.clone(), &stanza)).await?;
        say(&format!("stored {task} {number}"))?;
        if let Some((upto, last)) = before
            && number % settle == 0
        {
            say(&format!("settling {task} {last}"))?;
            spool.settle(&pair, upto).await?;
            say(&format!("settled {task} {last}"))?;
        }
        before = Some((at, number));
    }
    Ok(())
}
