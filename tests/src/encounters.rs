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
    journal::{Journal, Line},
    party::Party,
    world::World,
};

/// One domain writes to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Encounter {
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
    journal: Journal,
    parties: BTreeMap<String, Party>,
    heard: UnboundedReceiver<(String, Element)>,
    hears: UnboundedSender<(String, Element)>,
}

impl Default for Meeting {
    fn default() -> Self {
        let (hears, heard) = unbounded_channel();
        Self {
            journal: Journal::of_this_process(),
            parties: BTreeMap::new(),
            heard,
            hears,
        }
    }
}

impl Meeting {
    /// A component on the daemon of this domain takes part.
    pub async fn attach(&mut self, world: &World, domain: &str) -> anyhow::Result<()> {
        let party = world.component(domain).await?;
        let (mut stanzas, hears) = (party.watch(), self.hears.clone());
        let name = domain.to_owned();
        tokio::spawn(async move {
            while let Ok(stanza) = stanzas.recv().await {
                if hears.send((name.clone(), stanza)).is_err() {
                    break;
                }
            }
        });
        self.parties.insert(domain.to_owned(), party);
        Ok(())
    }

    /// All of these at once. Ends when each message has ended; an error where that takes longer than it may.
    pub async fn all(
        &mut self,
        encounters: &[Encounter],
        within: Duration,
    ) -> anyhow::Result<Vec<Seen>> {
        let mut ends: BTreeMap<Encounter, End> = BTreeMap::new();
        for Encounter { from, to } in encounters {
            let party = self.parties.get_mut(from);
            let party = party.with_context(|| format!("{from} does not take part"))?;
            let message = Writer::new("message")
                .attr("from", from)
                .attr("to", to)
                .attr("id", "encounter")
                .child(Writer::new("body").text("met?"));
            party.send(message.finish()).await?;
        }
        let deadline = Instant::now() + within;
        while ends.len() < encounters.len() {
            let Ok(Some((who, stanza))) = timeout_at(deadline, self.heard.recv()).await else {
                let open: Vec<_> = encounters
                    .iter()
                    .filter(|one| !ends.contains_key(one))
                    .collect();
                bail!(
                    "not ended within {within:?}: {open:?}\n{}",
                    self.log(open.first().copied())
                );
            };
            let (encounter, end) = ended(&who, &stanza)?;
            ensure!(
                encounters.contains(&encounter),
                "nobody sent this now: {stanza:?}"
            );
            if let Some(before) = ends.insert(encounter, end) {
                bail!("ended twice, first {before:?}: {stanza:?}");
            }
        }
        let seen = encounters.iter().filter_map(|encounter| {
            let end = ends.remove(encounter)?;
            Some(self.seen(encounter, end))
        });
        Ok(seen.collect())
    }

    fn seen(&self, Encounter { from, to }: &Encounter, end: End) -> Seen {
        let lines = self.journal.between(from, to);
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
    pub fn log(&self, encounter: Option<&Encounter>) -> String {
        let Some(Encounter { from, to }) = encounter else {
            return String::new();
        };
        let lines = self.journal.between(from, to);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Every daemon stops in good order, and with it whatever could still deliver. Who got a message from whom, once
    /// for each: now nothing more can come.
    pub async fn end(mut self, world: &mut World) -> anyhow::Result<Vec<Encounter>> {
        world.stop_all().await;
        let mut arrived = Vec::new();
        for (domain, party) in &mut self.parties {
            // The stream is closed, so this waits for nobody.
            for stanza in party.collect(crate::world::SOON).await {
                if let (encounter, End::Arrived) = ended(domain, &stanza)? {
                    arrived.push(encounter);
                }
            }
        }
        arrived.sort();
        Ok(arrived)
    }
}

/// What a stanza that came to `who` says about an encounter.
fn ended(who: &str, stanza: &Element) -> anyhow::Result<(Encounter, End)> {
    let other = stanza.from().context("no `from`")?.into_owned();
    if stanza.type_attr().as_deref() != Some("error") {
        let encounter = Encounter {
            from: other,
            to: who.to_owned(),
        };
        return Ok((encounter, End::Arrived));
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
    let encounter = Encounter {
        from: who.to_owned(),
        to: other,
    };
    Ok((encounter, End::Returned(returned)))
}
