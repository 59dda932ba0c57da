//! `lab forge`: a peer that does what it must not do.

use std::{net::SocketAddr, path::PathBuf};

use crate::endpoint::End;

use super::{Outcome, Time};

/// Connects to a server as a peer that does what it must not do, and tells what the server answers.
///
/// Prints one JSON object, and exits with 0 if the server refused, else with 1:
///
///   {"scenario":"forged-key","refused":true,"answer":{"kind":"dialback","type":"invalid","condition":null,"text":null},
///    "features":["starttls"],"tls":"TLSv1.3","closed":true,"arrived":[],"reason":null,
///    "transcript":["> <stream:stream …>","< <stream:stream …>", …]}
///
/// `answer.kind` is `dialback` (db:result), `stream-error`, `sasl-failure`, `closed` (without a word), `nothing`
/// (in time) or `accepted`. `arrived` holds what reached --victim, and must stay empty. Scenarios:
///
///   forged-key          claims --from with a dialback key that its authoritative server never made,
///                       then sends a stanza all the same. The zone must lead to a real server for --from.
///   unauthenticated     sends a stanza without any proof
///   unknown-host        asks for --to, which the server does not serve
///   wrong-certificate   shows --cert, which is no proof of --from, tries EXTERNAL if it is offered, never dialback
///   no-version          a stream header without version: is answered without version and without features
///                       (the answer is then `accepted`, and counts as well done)
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// What to do.
    #[arg(value_enum)]
    scenario: Scenario,
    /// The server.
    #[arg(long, value_name = "ADDRESS:PORT")]
    addr: SocketAddr,
    /// The domain it claims to be.
    #[arg(long, value_name = "DOMAIN")]
    from: String,
    /// The domain it talks to.
    #[arg(long, value_name = "DOMAIN")]
    to: String,
    /// Uses STARTTLS first.
    #[arg(long, conflicts_with = "direct_tls")]
    starttls: bool,
    /// Speaks TLS at once (XEP-0368).
    #[arg(long)]
    direct_tls: bool,
    /// The certificate chain to show.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// To whom the stanza is sent (default: --to).
    #[arg(long, value_name = "JID")]
    stanza_to: Option<String>,
    /// An end at the server that must not get the stanza (see `lab check --help`).
    #[arg(long, value_name = "END")]
    victim: Option<End>,
    /// How long to wait for each answer.
    #[arg(long, default_value = "20s")]
    timeout: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    ForgedKey,
    Unauthenticated,
    UnknownHost,
    WrongCertificate,
    NoVersion,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    drop(args);
    eprintln!("lab: this command comes with the next change");
    Ok(Outcome::Failed)
}
