//! `lab forge`: a peer that does what it must not do.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::json;

use crate::{
    component_client::{Behaviour, ComponentClient},
    endpoint::End,
    hostile_peer::{Encryption, HostilePeer, STANZA_ID, Scenario, ServerAnswer},
};

use super::{Exit, Time, identity, run::say};

/// Connects to a server as a peer that does what it must not do, and tells what the server answers.
///
/// Prints one JSON object, and exits with 0 if the server did as it should, else with 1:
///
///   {"scenario":"forged-key","ok":true,"answer":{"kind":"dialback","type":"invalid","condition":null,"text":null},
///    "then":{"kind":"stream-error","type":null,"condition":"not-authorized","text":null},"features":["starttls"],
///    "tls":"TLSv1_3","arrived":[],"reason":null,"transcript":["> <stream:stream …>","< <stream:stream …>", …]}
///
/// `answer.kind` is `dialback` (db:result), `stream-error`, `sasl-failure`, `not-offered` (EXTERNAL), `tls-failed`,
/// `closed` (without a word), `nothing` (in time) or `accepted`. `then` is what was said to a stanza sent after that
/// all the same (`nothing` is well), or null. `arrived` holds what reached --victim, and must stay empty. `reason`
/// says why the scenario could not be played. Scenarios:
///
///   forged-key          claims --from with a dialback key that its authoritative server never made,
///                       then sends a stanza all the same. The zone must lead to a real server for --from.
///   unauthenticated     sends a stanza without any proof (`nothing` is well only if there is a --victim)
///   unknown-host        asks for --to, which the server does not serve
///   wrong-certificate   shows --cert, which is no proof of --from, tries EXTERNAL if it is offered, never dialback
///   no-version          a stream header without version: is answered without version and without features
///                       (`answer.kind` is then `accepted`)
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
    /// To whom the stanza is sent (default: the victim, else --to).
    #[arg(long, value_name = "JID")]
    stanza_to: Option<String>,
    /// An end at the server that must not get the stanza (see `lab check --help`).
    #[arg(long, value_name = "END")]
    victim: Option<End>,
    /// How long to wait for each answer.
    #[arg(long, default_value = "20s")]
    timeout: Time,
}

pub(super) async fn run(args: Args) -> anyhow::Result<Exit> {
    let Time(within) = args.timeout;
    let identity = identity(args.cert.as_ref(), args.key.as_ref())?;
    let mut victim = match &args.victim {
        Some(end) => Some(ComponentClient::attach(end, Behaviour::Quiet, within).await?),
        None => None,
    };
    let stanza_to = match (args.stanza_to, &victim) {
        (Some(address), _) => address,
        (None, Some(victim)) => victim.address().to_owned(),
        (None, None) => args.to.clone(),
    };
    let hostile_peer = HostilePeer {
        scenario: args.scenario,
        addr: args.addr,
        from: args.from,
        to: args.to,
        encryption: match (args.starttls, args.direct_tls) {
            (true, _) => Encryption::StartTls,
            (_, true) => Encryption::Direct,
            _ => Encryption::None,
        },
        identity,
        stanza_to,
        within,
    };
    let report = hostile_peer.run().await;
    let mut arrived = Vec::new();
    if let Some(victim) = &mut victim {
        let stanzas = victim.collect(GRACE).await;
        let forged = stanzas
            .iter()
            .filter(|stanza| stanza.id().as_deref() == Some(STANZA_ID));
        arrived.extend(forged.map(|stanza| String::from_utf8_lossy(stanza.bytes()).into_owned()));
    }
    // Some drop a stanza without proof and say nothing; then the victim is the proof.
    let dropped = args.scenario == Scenario::Unauthenticated
        && report.answer == ServerAnswer::Nothing
        && victim.is_some();
    let ok = (report.ok || dropped) && arrived.is_empty();
    let mut json = report.to_json(args.scenario);
    json["ok"] = json!(ok);
    json["arrived"] = json!(arrived);
    say(&json.to_string())?;
    Ok(if ok { Exit::Well } else { Exit::Failed })
}

/// How long to wait for what must not arrive.
const GRACE: Duration = Duration::from_secs(1);
