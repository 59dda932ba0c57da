//! `lab component`: a component that answers.

use std::net::SocketAddr;

use super::{Outcome, run};

/// Attaches a component that answers, until SIGTERM.
///
/// Prints `attached DOMAIN` and then `ready`. It answers pings and discovery, sends messages back to where they came
/// from, and answers presence (probes and available) with presence. Any other request gets service-unavailable.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The server's component listener.
    #[arg(long, value_name = "ADDRESS:PORT")]
    addr: SocketAddr,
    /// The component's domain.
    #[arg(long)]
    domain: String,
    /// The shared secret.
    #[arg(long)]
    secret: String,
    /// Prints each stanza that comes as `got STANZA`, on one line.
    #[arg(long)]
    log: bool,
}

pub(super) async fn run(args: Args, end: run::End) -> anyhow::Result<Outcome> {
    drop((args, end));
    eprintln!("lab: this command comes with the next change");
    Ok(Outcome::Failed)
}
