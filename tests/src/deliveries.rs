//! Many pairs of domains meet at once: in each the first sends the second one message. What became of it is read off
//! both ends, the way between them, and what the daemons report.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout_at},
};
use xmpp_stream::{Element, StanzaError, Writer, ns};

use crate::{
    captured_log::{CapturedLog, Line},
    component_client::ComponentClient,
    world::World,
};

/// One domain writes to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// Who writes.
    pub from: String,
    /// To whom.
    pub to: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether the message arrived, and what came back instead.
    pub end: End,
    /// How each outgoing stream of the pair was authenticated: the method and the version of TLS, `none` without.
    pub outgoing: Vec<(String, String)>,
    /// The same of each incoming stream, as the receiving server says.
    pub incoming: Vec<(String, String)>,
    /// The receiving server asked the sender's authoritative server, and got an answer.
    pub asked: bool,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With whom it was for.
    Arrived,
    /// With whom it came from.
    Returned(Returned),
}

/// The error in which a message came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The stanza error's condition.
    pub condition: String,
    /// Its type.
    pub kind: String,
    /// The cause, for programs.
    pub cause: String,
    /// The same in words.
    pub text: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Arrived => f.write_str("arrived")?,
            End::Returned(Returned {
                condition,
                kind,
                cause,
                text,
            }) => write!(f, "returned, {condition} {kind}, {cause}: {text:?}")?,
        }
        for (side, streams) in [("out", &self.outgoing), ("in", &self.incoming)] {
            for (method, tls) in streams {
                write!(f, "; {side}: {method}, TLS {tls}")?;
            }
        }
        f.write_str(if self.asked { "; asked" } else { "" })
    }
}

/// Daemons of a world with a component on each.
#[derive(Debug)]
pub struct Meeting {
    captured_log: CapturedLog,
    component_clients: BTreeMap<String, ComponentClient>,
    heard: UnboundedReceiver<(String, Element)>,
    hears: UnboundedSender<(String, Element)>,
}

impl Default for Meeting {
    fn default() -> Self {
        let (hears, heard) = unbounded_channel();
        Self {
            captured_log: CapturedLog::of_this_process(),
            component_clients: BTreeMap::new(),
            heard,
            hears,
        }
    }
}

impl Meeting {
    /// A component on the daemon of this domain takes part.
    pub async fn attach(&mut self, world: &World, domain: &str) -> anyhow::Result<()> {
        let component_client = world.component(domain).await?;
        let (mut stanzas, hears) = (component_client.watch(), self.hears.clone());
        let name = domain.to_owned();
        tokio::spawn(async move {
            while let Ok(stanza) = stanzas.recv().await {
                if hears.send((name.clone(), stanza)).is_err() {
                    break;
                }
            }
        });
        self.component_clients
            .insert(domain.to_owned(), component_client);
        Ok(())
    }

    /// All of these at once. Ends when each message has ended; an error where that takes longer than it may.
    pub async fn all(
        &mut self,
        deliveries: &[Delivery],
        within: Duration,
    ) -> anyhow::Result<Vec<Seen>> {
        let mut ends: BTreeMap<Delivery, End> = BTreeMap::new();
        for Delivery { from, to } in deliveries {
            let component_client = self.component_clients.get_mut(from);
            let component_client =
                component_client.with_context(|| format!("{from} does not take part"))?;
            let message = Writer::new("message")
                .attr("from", from)
                .attr("to", to)
                .attr("id", "encounter")
                .child(Writer::new("body").text("met?"));
            component_client.send(message.finish()).await?;
        }
        let deadline = Instant::now() + within;
        while ends.len() < deliveries.len() {
            let Ok(Some((who, stanza))) = timeout_at(deadline, self.heard.recv()).await else {
                let open: Vec<_> = deliveries
                    .iter()
                    .filter(|one| !ends.contains_key(one))
                    .collect();
                bail!(
                    "not ended within {within:?}: {open:?}\n{}",
                    self.log(open.first().copied())
                );
            };
            let (delivery, end) = ended(&who, &stanza)?;
            ensure!(
                deliveries.contains(&delivery),
                "nobody sent this now: {stanza:?}"
            );
            if let Some(before) = ends.insert(delivery, end) {
                bail!("ended twice, first {before:?}: {stanza:?}");
            }
        }
        let seen = deliveries.iter().filter_map(|delivery| {
            let end = ends.remove(delivery)?;
            Some(self.seen(delivery, end))
        });
        Ok(seen.collect())
    }

    fn seen(&self, Delivery { from, to }: &Delivery, end: End) -> Seen {
        let lines = self.captured_log.between(from, to);
        let authenticated = |message: &str, local: &str, remote: &str| {
            let of_pair = |line: &&Line| {
                line.message == message
                    && line.field("local") == Some(local)
                    && line.field("remote") == Some(remote)
            };
            let word = |line: &Line, name| line.field(name).unwrap_or_default().to_owned();
            let lines = lines.iter().filter(of_pair);
            lines
                .map(|line| (word(line, "method"), word(line, "tls")))
                .collect()
        };
        let asked = |line: &Line| {
            line.message == "the authoritative server answered"
                && line.field("remote") == Some(from)
        };
        Seen {
            end,
            outgoing: authenticated("outgoing stream authenticated", from, to),
            incoming: authenticated("incoming stream authenticated", to, from),
            asked: lines.iter().any(asked),
        }
    }

    /// Everything that was said on the way.
    pub fn log(&self, delivery: Option<&Delivery>) -> String {
        let Some(Delivery { from, to }) = delivery else {
            return String::new();
        };
        let lines = self.captured_log.between(from, to);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Every daemon stops in good order, and with it whatever could still deliver. Who got a message from whom, once
    /// for each: now nothing more can come.
    pub async fn end(mut self, world: &mut World) -> anyhow::Result<Vec<Delivery>> {
        world.stop_all().await;
        let mut arrived = Vec::new();
        for (domain, component_client) in &mut self.component_clients {
            // The stream is closed, so this waits for nobody.
            for stanza in component_client.collect(crate::world::TIMEOUT).await {
                if let (delivery, End::Arrived) = ended(domain, &stanza)? {
                    arrived.push(delivery);
                }
            }
        }
        arrived.sort();
        Ok(arrived)
    }
}

/// What a stanza that came to `who` says about a delivery.
fn ended(who: &str, stanza: &Element) -> anyhow::Result<(Delivery, End)> {
    let other = stanza.from().context("no `from`")?.into_owned();
    if stanza.type_attr().as_deref() != Some("error") {
        let delivery = Delivery {
            from: other,
            to: who.to_owned(),
        };
        return Ok((delivery, End::Arrived));
    }
    let error = StanzaError::from_element(stanza).context("an error without its element")?;
    let tree = stanza.tree();
    let mut children = tree.elements();
    let found = children.find(|child| child.name == "error");
    let cause = found.and_then(|error| error.child(s2sd::closed::CAUSE_NAMESPACE, "cause"));
    let text = found.and_then(|error| error.child(ns::STANZA_ERRORS, "text"));
    let returned = Returned {
        condition: error.condition.name().to_owned(),
        kind: found
            .and_then(|error| error.attr("type"))
            .unwrap_or_default()
            .to_owned(),
        cause: cause
            .and_then(|cause| cause.attr("name"))
            .unwrap_or_default()
            .to_owned(),
        text: text.map(|text| text.text()).unwrap_or_default(),
    };
    let delivery = Delivery {
        from: who.to_owned(),
        to: other,
    };
    Ok((delivery, End::Returned(returned)))
}
