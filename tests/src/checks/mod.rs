//! Do stanzas pass between two ends? Message, ping, presence, and many messages in order; or are they refused, and
//! come back as one error each?

#[cfg(test)]
mod tests;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use xmpp_stream::{Element, StanzaError, StanzaKind, Writer, ns};

use crate::{component_client::ComponentClient, odd::Odd};

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Check {
    /// A message, and an answer to it.
    Message,
    /// An XEP-0199 ping.
    Ping,
    /// Directed presence.
    Presence,
    /// Numbered messages: all arrive, in order, none twice.
    Order,
    /// The same with odd stanzas of other users between them, where the sender is a component: see [`crate::odd`].
    Odd,
}

impl Check {
    /// What each exchange is seen by. What is odd is for itself: some servers end streams for it.
    pub const ALL: [Self; 4] = [Self::Message, Self::Ping, Self::Presence, Self::Order];

    /// As on the command line and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Ping => "ping",
            Self::Presence => "presence",
            Self::Order => "order",
            Self::Odd => "odd",
        }
    }
}

/// Which checks, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The checks, in this order.
    pub checks: Vec<Check>,
    /// From the second end to the first, too.
    pub both_ways: bool,
    /// How many messages [`Check::Order`] and [`Check::Odd`] send.
    pub count: usize,
    /// How long each check may take.
    pub within: Duration,
    /// What [`Check::Odd`] says; by the clock if it is `None`.
    pub seed: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            checks: Check::ALL.to_vec(),
            both_ways: true,
            count: 1000,
            within: Duration::from_secs(30),
            seed: None,
        }
    }
}

/// What one check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// From which end: `a` or `b`.
    pub from: &'static str,
    /// To which end.
    pub to: &'static str,
    /// Why it failed, if it did.
    pub outcome: Result<(), String>,
    /// How long it took.
    pub took: Duration,
    /// More to say, as members of the JSON object.
    pub details: Vec<(&'static str, Value)>,
}

impl Finding {
    /// As in the help of `lab check`.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "check": self.check,
            "from": self.from,
            "to": self.to,
            "ok": self.outcome.is_ok(),
            "millis": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        });
        if let Err(reason) = &self.outcome {
            object["reason"] = json!(reason);
        }
        for (name, value) in &self.details {
            object[name] = value.clone();
        }
        object
    }
}

/// Whom stanzas are sent to.
#[derive(Debug)]
pub enum Other<'a> {
    /// An attached end.
    ComponentClient(&'a mut ComponentClient),
    /// A domain; it can only be pinged.
    Host(&'a str),
}

/// Runs the plan between two ends.
pub async fn run(a: &mut ComponentClient, mut b: Other<'_>, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    for &check in &plan.checks {
        match &mut b {
            Other::Host(domain) if check == Check::Ping => {
                findings.push(timed(check, "a", "b", ping(a, domain, plan.within)).await);
            }
            Other::Host(_) => {}
            Other::ComponentClient(b) => {
                findings.push(timed(check, "a", "b", one(check, a, b, plan)).await);
                if plan.both_ways {
                    findings.push(timed(check, "b", "a", one(check, b, a, plan)).await);
                }
            }
        }
    }
    findings
}

async fn timed(
    check: Check,
    from: &'static str,
    to: &'static str,
    work: impl Future<Output = anyhow::Result<()>>,
) -> Finding {
    let start = Instant::now();
    let outcome = work.await.map_err(|error| format!("{error:#}"));
    Finding {
        check: check.name(),
        from,
        to,
        outcome,
        took: start.elapsed(),
        details: Vec::new(),
    }
}

async fn one(
    check: Check,
    a: &mut ComponentClient,
    b: &mut ComponentClient,
    plan: &Plan,
) -> anyhow::Result<()> {
    match check {
        Check::Message => message(a, b, plan.within).await,
        Check::Ping => {
            let target = b.address().to_owned();
            ping(a, &target, plan.within).await
        }
        Check::Presence => presence(a, b, plan.within).await,
        Check::Order => order(a, b, None, plan).await,
        Check::Odd => {
            let seed = plan.seed.unwrap_or_else(clock);
            let odd = Odd::new(seed, domain(a.address()), domain(b.address()));
            let passed = order(a, b, Some(odd), plan).await;
            passed.with_context(|| format!("with the seed {seed}"))
        }
    }
}

/// Things that a careless relay would spoil.
const TEXT: &str = "checked & <sent> 'so' \"it\" is\n\tgrün 你好 🦀";

async fn message(
    a: &mut ComponentClient,
    b: &mut ComponentClient,
    within: Duration,
) -> anyhow::Result<()> {
    let token = token();
    let text = format!("{TEXT} {token}");
    a.send(chat(a.address(), b.address(), &token, &text))
        .await?;
    arrives(a, b, &token, within, |found| {
        body(found) == Some(text.clone())
    })
    .await?;
    let answer = format!("{token}-answer");
    b.send(chat(b.address(), a.address(), &answer, TEXT))
        .await?;
    arrives(b, a, &answer, within, |found| {
        body(found).as_deref() == Some(TEXT)
    })
    .await
}

/// The message with this id gets from one end to the other, unless it comes back.
async fn arrives(
    from: &mut ComponentClient,
    to: &mut ComponentClient,
    id: &str,
    within: Duration,
    as_sent: impl Fn(&Element) -> bool,
) -> anyhow::Result<()> {
    let (source, target) = (from.address().to_owned(), to.address().to_owned());
    let found = tokio::select! {
        found = to.expect("the message", within, |found| has_id(found, id)) => found?,
        bounced = bounce(from, id, within) => bail!("the message came back: {}", bounced?),
    };
    ensure!(
        found.stanza_kind() == Some(StanzaKind::Message),
        "not as sent: {found:?}"
    );
    ensure!(
        found.from().as_deref() == Some(&source),
        "not from {source}: {found:?}"
    );
    ensure!(
        found.to().as_deref() == Some(&target),
        "not to {target}: {found:?}"
    );
    ensure!(as_sent(&found), "not as sent: {found:?}");
    Ok(())
}

async fn ping(a: &mut ComponentClient, target: &str, within: Duration) -> anyhow::Result<()> {
    let token = token();
    a.send(ping_request(a.address(), target, &token)).await?;
    let answer = a
        .expect("the answer to the ping", within, |found| {
            has_id(found, &token)
        })
        .await?;
    ensure!(
        answer.from().as_deref() == Some(target),
        "answered by somebody else: {answer:?}"
    );
    match answer.type_attr().as_deref() {
        Some("result") => Ok(()),
        _ => bail!("the ping came back: {}", describe(&answer)),
    }
}

async fn presence(
    a: &mut ComponentClient,
    b: &mut ComponentClient,
    within: Duration,
) -> anyhow::Result<()> {
    let token = token();
    let stanza = |kind: Option<&str>| {
        Writer::new("presence")
            .attr("from", a.address())
            .attr("to", b.address())
            .attr_opt("type", kind)
            .child(Writer::new("status").text(&token))
            .finish()
    };
    let (available, unavailable) = (stanza(None), stanza(Some("unavailable")));
    let source = a.address().to_owned();
    // The stanza has no id to know it by: some servers make their own for presence.
    let is_it = |found: &Element, kind: Option<&str>| {
        found.stanza_kind() == Some(StanzaKind::Presence)
            && found.type_attr().as_deref() == kind
            && found.from().as_deref() == Some(&source)
            && child_text(found, "status").as_deref() == Some(&token)
    };
    a.send(available).await?;
    b.expect("the presence", within, |found| is_it(found, None))
        .await?;
    a.send(unavailable).await?;
    b.expect("the end of presence", within, |found| {
        is_it(found, Some("unavailable"))
    })
    .await?;
    Ok(())
}

async fn order(
    a: &mut ComponentClient,
    b: &mut ComponentClient,
    mut odd: Option<Odd>,
    plan: &Plan,
) -> anyhow::Result<()> {
    let (count, within) = (plan.count, plan.within);
    let token = token();
    let (from, to) = (a.address().to_owned(), b.address().to_owned());
    // One more at the end, so that a copy of the last is noticed too.
    let sending = async {
        for number in 0..=count {
            let id = format!("{token}-{number}");
            a.send(chat(&from, &to, &id, &format!("number {number}")))
                .await?;
            if let Some(odd) = odd.as_mut().filter(|_| a.is_component())
                && odd.one_in(2)
            {
                a.send(odd.element()).await?;
            }
        }
        let bounced = bounce(a, &format!("{token}-"), within).await?;
        bail!("a message came back: {bounced}")
    };
    let mut arrived = 0;
    let receiving = async {
        let mut last = None;
        let deadline = tokio::time::Instant::now() + within;
        while last != Some(count) {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let found = b
                .expect("the next message", left, |found| {
                    number(found, &token).is_some()
                })
                .await?;
            let number = number(&found, &token).unwrap_or_default();
            match last {
                Some(last) if number == last => bail!("number {number} came twice"),
                Some(last) if number < last => bail!("number {number} came after {last}"),
                Some(last) if number > last + 1 => bail!("number {} is missing", last + 1),
                None if number != 0 => bail!("number 0 is missing"),
                _ => {}
            }
            last = Some(number);
            arrived += 1;
        }
        Ok(())
    };
    let outcome = tokio::select! {
        received = receiving => received,
        sent = sending => sent,
    };
    outcome.map_err(|error: anyhow::Error| {
        error.context(format!("after {} of {count} messages", arrived.min(count)))
    })
}

/// What comes back for a message and a ping from `a`, neither of which may reach `b`.
///
/// With `conditions`, the error must have one of them. `grace` is how long to wait for what must not come.
pub async fn refused(
    a: &mut ComponentClient,
    b: Other<'_>,
    conditions: &[String],
    within: Duration,
    grace: Duration,
) -> Vec<Finding> {
    let token = token();
    let (message_id, ping_id) = (format!("{token}-message"), format!("{token}-ping"));
    let (from, to) = match &b {
        Other::ComponentClient(b) => (a.address().to_owned(), b.address().to_owned()),
        Other::Host(domain) => (a.address().to_owned(), (*domain).to_owned()),
    };
    let mut findings = Vec::new();
    for (id, stanza) in [
        (&message_id, chat(&from, &to, &message_id, TEXT)),
        (&ping_id, ping_request(&from, &to, &ping_id)),
    ] {
        let start = Instant::now();
        let mut details = Vec::new();
        let answer = async {
            a.send(stanza).await?;
            a.expect("the error", within, |found| has_id(found, id))
                .await
        };
        let outcome = match answer.await {
            Ok(answer) => match StanzaError::from_element(&answer) {
                Some(error) => {
                    let condition = error.condition.name();
                    details.push(("condition", json!(condition)));
                    details.push(("type", json!(error.kind.name())));
                    details.push(("text", json!(error.text)));
                    match conditions.is_empty() || conditions.iter().any(|c| c == condition) {
                        true => Ok(()),
                        false => Err(format!("the condition is {condition}")),
                    }
                }
                None => Err(format!("no error but {answer:?}")),
            },
            Err(error) => Err(format!("{error:#}")),
        };
        details.push((
            "stanza",
            json!(if *id == ping_id { "ping" } else { "message" }),
        ));
        findings.push(Finding {
            check: "refused",
            from: "a",
            to: "b",
            outcome,
            took: start.elapsed(),
            details,
        });
    }
    let again = a.collect(grace).await;
    let arrived = match b {
        Other::ComponentClient(b) => b.collect(Duration::ZERO).await,
        Other::Host(_) => Vec::new(),
    };
    let ours = |stanza: &&Element| stanza.id().is_some_and(|id| id.starts_with(&token));
    if let Some(last) = findings.last_mut() {
        if let Some(again) = again.iter().find(ours) {
            last.outcome = Err(format!("answered twice: {again:?}"));
        }
        if let Some(arrived) = arrived.iter().find(ours) {
            last.outcome = Err(format!("it arrived all the same: {arrived:?}"));
        }
    }
    findings
}

fn domain(address: &str) -> &str {
    xmpp_stream::split_jid(address).1
}

fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}

/// A word that is in no other stanza.
fn token() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    format!("lab{millis:x}-{:x}-{count}", std::process::id())
}

fn chat(from: &str, to: &str, id: &str, text: &str) -> Bytes {
    Writer::new("message")
        .attr("from", from)
        .attr("to", to)
        .attr("id", id)
        .attr("type", "chat")
        .child(Writer::new("body").text(text))
        .finish()
}

fn ping_request(from: &str, to: &str, id: &str) -> Bytes {
    Writer::new("iq")
        .attr("from", from)
        .attr("to", to)
        .attr("id", id)
        .attr("type", "get")
        .child(Writer::new("ping").xmlns(ns::PING))
        .finish()
}

fn has_id(stanza: &Element, id: &str) -> bool {
    stanza.id().as_deref() == Some(id)
}

/// The number of a message of [`order`].
fn number(stanza: &Element, token: &str) -> Option<usize> {
    if stanza.stanza_kind() != Some(StanzaKind::Message)
        || stanza.type_attr().as_deref() == Some("error")
    {
        return None;
    }
    stanza
        .id()?
        .strip_prefix(token)?
        .strip_prefix('-')?
        .parse()
        .ok()
}

/// The error that comes back for a stanza whose id begins so. When none comes, it waits for ever: whoever waits for
/// the stanza at the other end has the time limit.
async fn bounce(
    component_client: &mut ComponentClient,
    id: &str,
    within: Duration,
) -> anyhow::Result<String> {
    let is_it = |found: &Element| {
        found.type_attr().as_deref() == Some("error")
            && found.id().is_some_and(|it| it.starts_with(id))
    };
    let found = component_client
        .expect("an error", within.saturating_mul(2), is_it)
        .await?;
    Ok(describe(&found))
}

fn describe(error: &Element) -> String {
    match StanzaError::from_element(error) {
        Some(error) => match error.text {
            Some(text) => format!("{} ({text})", error.condition.name()),
            None => error.condition.name().to_owned(),
        },
        None => format!("{error:?}"),
    }
}

fn body(stanza: &Element) -> Option<String> {
    child_text(stanza, "body")
}

/// The text of a child.
fn child_text(stanza: &Element, name: &str) -> Option<String> {
    // COMPAT(jabberd2 2.7.0): its router hands components children in jabber:client, so the namespace is not looked at.
    // `a_body_in_the_namespace_of_clients_is_a_body`
    let tree = stanza.tree();
    tree.elements()
        .find(|child| child.name == name)
        .map(|child| child.text())
}
