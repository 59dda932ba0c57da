//! `lab authority`: an authoritative server that only answers dialback questions.

use std::{net::SocketAddr, path::PathBuf};

use super::{Outcome, run};

/// Serves as the authoritative server of a domain: answers db:verify, and nothing else, until SIGTERM.
///
/// The zone that leads a receiving server here instead of to the real server makes it a wrong key. Prints
/// `listening ADDRESS`, `ready`, and a line for each question:
///
///   verify FROM TO ID ANSWER
///
/// Features offer STARTTLS if there is a certificate.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Where to listen; port 0 takes one that is free.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// What to answer.
    #[arg(long, value_enum, default_value_t = Answer::Secret)]
    answer: Answer,
    /// The dialback secret (XEP-0185) for `--answer secret`.
    #[arg(long, default_value = "not the secret of anybody else")]
    secret: String,
    /// The certificate chain to show.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Answer {
    /// What the secret says.
    Secret,
    Valid,
    Invalid,
    /// type='error' with item-not-found.
    Error,
    /// Never answers.
    Silence,
}

pub(super) async fn run(args: Args, end: run::End) -> anyhow::Result<Outcome> {
    drop((args, end));
    eprintln!("lab: this command comes with the next change");
    Ok(Outcome::Failed)
}
