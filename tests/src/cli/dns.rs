//! `lab dns`: the zone server.

use std::{net::SocketAddr, path::PathBuf};

use s2sd::tools::demo::zone::{Zone, ZoneKey, ZoneServer};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::broadcast::error::RecvError,
};

use super::{
    Exit, read,
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
///   cname NAME TARGET
///   dname NAME TARGET
///   tlsa NAME USAGE SELECTOR MATCHING HEX
///   none NAME            SRV with the target ".": the service is decidedly absent
///   fail NAME            SERVFAIL
///   silent NAME          no answer at all
///   # comment
///
/// and, which is of no meaning without --sign:
///
///   zone NAME signed|unsigned|wrong-ds         a zone of its own, and how it is delegated
///   flaw NAME broken|expired|early|stripped    what is wrong with the signatures for a name
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
    /// Signs everything by DNSSEC, and writes the key of the root to this file first, as resolvers read it.
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Prints each question as `asked NAME TYPE`.
    #[arg(long)]
    log: bool,
}

pub(super) async fn run(args: Args, end: End) -> anyhow::Result<Exit> {
    let mut reload = signal(SignalKind::hangup())?;
    let key = match &args.sign {
        Some(file) => {
            let key = ZoneKey::generate();
            std::fs::write(file, key.anchor())?;
            Some(key)
        }
        None => None,
    };
    let server = ZoneServer::start(args.listen, load(&args, key.as_ref())?)?;
    let mut questions = server.watch();
    let end = end.reached();
    tokio::pin!(end);
    say(&format!("listening {}", server.addr()))?;
    say("ready")?;
    loop {
        tokio::select! {
            ended = &mut end => return ended.map(|()| Exit::Well),
            _ = reload.recv() => {
                server.replace(load(&args, key.as_ref())?);
                say("reloaded")?;
            }
            question = questions.recv(), if args.log => match question {
                Ok(question) => say(&format!("asked {question}"))?,
                Err(RecvError::Lagged(lost)) => say(&format!("asked ({lost} more)"))?,
                Err(RecvError::Closed) => return Ok(Exit::Well),
            },
        }
    }
}

fn load(args: &Args, key: Option<&ZoneKey>) -> anyhow::Result<Zone> {
    let file = &args.zone;
    let zone = Zone::parse(&read(file)?);
    let zone = zone.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let zone = zone.ttl(args.ttl);
    Ok(match key {
        Some(key) => zone.signed(key),
        None => zone,
    })
}
