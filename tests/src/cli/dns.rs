//! `lab dns`: the zone server.

use std::{net::SocketAddr, path::PathBuf};

use s2sd::demo::zone::{Zone, ZoneServer};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::broadcast::error::RecvError,
};

use super::{
    Outcome, read,
    run::{End, say},
};

/// Serves a DNS zone over UDP and TCP until SIGTERM.
///
/// Prints `listening ADDRESS` and then `ready`. SIGHUP reads the file again and prints `reloaded`.
/// The file has one record a line:
///
///   srv NAME PRIORITY WEIGHT PORT TARGET
///   a NAME ADDRESS
///   aaaa NAME ADDRESS
///   none NAME            SRV with the target ".": the service is decidedly absent
///   fail NAME            SERVFAIL
///   silent NAME          no answer at all
///   # comment
///
/// Names may be wildcards (*.load.test). Anything else is NXDOMAIN.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Where to listen; port 0 takes one that is free.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The zone.
    #[arg(long, value_name = "FILE")]
    zone: PathBuf,
    /// The time to live of all answers, in seconds.
    #[arg(long, default_value_t = 0)]
    ttl: u32,
    /// Prints each question as `asked NAME TYPE`.
    #[arg(long)]
    log: bool,
}

pub(super) async fn run(args: Args, end: End) -> anyhow::Result<Outcome> {
    let mut reload = signal(SignalKind::hangup())?;
    let server = ZoneServer::start(args.listen, load(&args)?)?;
    let mut questions = server.watch();
    let end = end.reached();
    tokio::pin!(end);
    say(&format!("listening {}", server.addr()))?;
    say("ready")?;
    loop {
        tokio::select! {
            ended = &mut end => return ended.map(|()| Outcome::Well),
            _ = reload.recv() => {
                server.replace(load(&args)?);
                say("reloaded")?;
            }
            question = questions.recv(), if args.log => match question {
                Ok(question) => say(&format!("asked {question}"))?,
                Err(RecvError::Lagged(lost)) => say(&format!("asked ({lost} more)"))?,
                Err(RecvError::Closed) => return Ok(Outcome::Well),
            },
        }
    }
}

fn load(args: &Args) -> anyhow::Result<Zone> {
    let file = &args.zone;
    let zone = Zone::parse(&read(file)?);
    let zone = zone.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    Ok(zone.ttl(args.ttl))
}
