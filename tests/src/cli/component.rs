//! `lab component`: a component that answers.

use std::net::SocketAddr;

use crate::{
    component_client::{Behaviour, ComponentClient},
    endpoint::End,
};

use super::{
    Exit, Time,
    run::{self, say},
};

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
    /// How long attaching may take.
    #[arg(long, default_value = "20s")]
    timeout: Time,
}

pub(super) async fn run(args: Args, end: run::End) -> anyhow::Result<Exit> {
    let Time(within) = args.timeout;
    let component = End::Component {
        addr: args.addr,
        domain: args.domain.clone(),
        secret: args.secret,
        node: None,
    };
    let mut component_client = ComponentClient::attach(&component, Behaviour::Echo, within).await?;
    say(&format!("attached {}", args.domain))?;
    say("ready")?;
    let mut stanzas = component_client.watch();
    let end = end.reached();
    tokio::pin!(end);
    loop {
        tokio::select! {
            ended = &mut end => return ended.map(|()| Exit::Well),
            error = component_client.ended() => return Err(error),
            stanza = stanzas.recv(), if args.log => {
                if let Ok(stanza) = stanza {
                    say(&format!("got {}", one_line(stanza.bytes())))?;
                }
            }
        }
    }
}

/// XML without line breaks: they only stand in text and attribute values, as they are or as references.
fn one_line(xml: &[u8]) -> String {
    String::from_utf8_lossy(xml)
        .replace('\r', "&#13;")
        .replace('\n', "&#10;")
}
