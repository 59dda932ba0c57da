//! `lab check`: do stanzas pass between two ends, or are they refused?

use crate::endpoint::End;

use super::{Outcome, Time};

/// Attaches two ends and checks that stanzas pass between them, both ways.
///
/// Prints one JSON object, and exits with 0 if all checks are ok, else with 1:
///
///   {"ok":true,"checks":[
///     {"check":"message","from":"a","to":"b","ok":true,"millis":12},
///     {"check":"order","from":"a","to":"b","ok":false,"reason":"number 17 came after 18","millis":830}]}
///
/// An END is one of
///
///   component,addr=ADDRESS:PORT,domain=DOMAIN,secret=SECRET[,node=LOCAL]
///   user,addr=ADDRESS:PORT,jid=LOCAL@DOMAIN,password=PASSWORD     (SASL PLAIN, without TLS)
///   host,domain=DOMAIN                      (only asked by pings; only as --b)
///
/// The checks:
///
///   message     one message each way, and an answer to it
///   ping        an XEP-0199 ping each way
///   presence    directed presence each way
///   order       COUNT numbered messages each way: all arrive, in order, none twice
///
/// With --refused it is the other way round: a message and a ping from a to b must not arrive and must come back as
/// an error, once. The check is then {"check":"refused", …, "condition":"remote-server-timeout","text":"…"}.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// One end.
    #[arg(long, value_name = "END")]
    a: End,
    /// The other end.
    #[arg(long, value_name = "END")]
    b: End,
    /// Only these checks.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECK,…")]
    only: Vec<Check>,
    /// Only from a to b.
    #[arg(long)]
    one_way: bool,
    /// How many messages for `order`.
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// How long each step may take (attaching, an answer, all of `order`).
    #[arg(long, default_value = "30s")]
    timeout: Time,
    /// What a sends to b must be refused.
    #[arg(long, conflicts_with_all = ["only", "one_way"])]
    refused: bool,
    /// With --refused: the error must be one of these stanza error conditions.
    #[arg(
        long,
        value_delimiter = ',',
        requires = "refused",
        value_name = "NAME,…"
    )]
    condition: Vec<String>,
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Check {
    Message,
    Ping,
    Presence,
    Order,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    drop(args);
    eprintln!("lab: this command comes with the next change");
    Ok(Outcome::Failed)
}
