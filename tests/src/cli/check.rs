//! `lab check`: do stanzas pass between two ends, or are they refused?

use std::time::Duration;

use serde_json::json;

use crate::{
    checks::{self, Check, Other, Plan},
    component_client::{Behaviour, ComponentClient},
    endpoint::End,
};

use super::{Exit, Time, run::say};

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
///   odd         the same with odd stanzas of other users between them, from components; only where it is asked for
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
    /// How many messages for `order` and `odd`.
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// How long each step may take (attaching, an answer, all of `order`).
    #[arg(long, default_value = "30s")]
    timeout: Time,
    /// For `odd`: the same odd stanzas again.
    #[arg(long)]
    seed: Option<u64>,
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

pub(super) async fn run(args: Args) -> anyhow::Result<Exit> {
    let Time(within) = args.timeout;
    let findings = match exchange(&args, within).await {
        Ok(findings) => findings,
        Err(error) => {
            let report = json!({ "ok": false, "reason": format!("{error:#}"), "checks": [] });
            say(&report.to_string())?;
            return Ok(Exit::Failed);
        }
    };
    let ok = findings.iter().all(|finding| finding.outcome.is_ok());
    let checks: Vec<_> = findings.iter().map(checks::Finding::to_json).collect();
    say(&json!({ "ok": ok, "checks": checks }).to_string())?;
    Ok(if ok { Exit::Well } else { Exit::Failed })
}

async fn exchange(args: &Args, within: Duration) -> anyhow::Result<Vec<checks::Finding>> {
    let mut a = ComponentClient::attach(&args.a, Behaviour::Quiet, within).await?;
    let mut attached;
    let b = match &args.b {
        End::Host { domain } => Other::Host(domain),
        end => {
            attached = ComponentClient::attach(end, Behaviour::Quiet, within).await?;
            Other::ComponentClient(&mut attached)
        }
    };
    if args.refused {
        return Ok(checks::refused(&mut a, b, &args.condition, within, GRACE).await);
    }
    let plan = Plan {
        checks: match args.only.is_empty() {
            true => Check::ALL.to_vec(),
            false => args.only.clone(),
        },
        both_ways: !args.one_way,
        count: args.count,
        within,
        seed: args.seed,
    };
    Ok(checks::run(&mut a, b, &plan).await)
}

/// How long to wait for what must not come.
const GRACE: Duration = Duration::from_secs(1);
