//! An end of an exchange that is attached: sends, waits for what is expected, and answers what must be answered.
//!
//! A task reads all the time, so that a server never has to wait for the lab. Requests (iq get and set) are
//! answered by it: pings and discovery with a result, others with service-unavailable; the rest goes to the inbox.
//! An echo answers everything and needs no inbox.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use xmpp_stream::{
    ContentNamespace, Element, ErrorType, Node, StanzaCondition, StanzaError, StanzaKind,
    StreamError, Tree, Writer, error_reply, ns,
};

use crate::{
    component,
    endpoint::End,
    user,
    wire::{Event, Wire},
};

/// What a component client does by itself, besides answering requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Nothing: what comes is for [`ComponentClient::expect`].
    Quiet,
    /// Sends messages back, and answers presence with presence.
    Echo,
}

/// An attached end.
#[derive(Debug)]
pub struct ComponentClient {
    address: String,
    is_component: bool,
    outgoing: mpsc::Sender<Bytes>,
    inbox: mpsc::Receiver<Element>,
    passed_over: Vec<Element>,
    watch: broadcast::Sender<Element>,
    task: JoinHandle<anyhow::Result<()>>,
    /// Why the task ended, once that was asked.
    ended: Option<String>,
}

/// Stanzas that wait for [`ComponentClient::expect`]; when it is full, the component client reads no further.
const INBOX: usize = 65_536;
const OUTBOX: usize = 64;

impl ComponentClient {
    /// Attaches an end. A host has nothing to attach.
    pub async fn attach(end: &End, behaviour: Behaviour, within: Duration) -> anyhow::Result<Self> {
        let attached = async {
            match end {
                End::Component {
                    addr,
                    domain,
                    secret,
                    node,
                } => {
                    let wire = component::attach(*addr, domain, secret, within).await?;
                    let address = match node {
                        Some(node) => format!("{node}@{domain}/lab"),
                        None => domain.clone(),
                    };
                    anyhow::Ok((wire, address))
                }
                End::User {
                    addr,
                    jid,
                    password,
                } => user::login(*addr, jid, password, within).await,
                End::Host { .. } => bail!("a host is only asked, it cannot take part"),
            }
        };
        let (wire, address) = attached
            .await
            .with_context(|| format!("cannot attach {end:?}"))?;
        let mut component_client = Self::over(wire, address, behaviour);
        component_client.is_component = matches!(end, End::Component { .. });
        Ok(component_client)
    }

    /// A component client over a connection that is authenticated already.
    pub fn over(wire: Wire, address: String, behaviour: Behaviour) -> Self {
        let (outgoing, commands) = mpsc::channel(OUTBOX);
        let (arrived, inbox) = mpsc::channel(INBOX);
        let watch = broadcast::channel(1024).0;
        let serving = Serving {
            wire,
            address: address.clone(),
            behaviour,
            watch: watch.clone(),
        };
        let task = tokio::spawn(serving.run(commands, arrived));
        Self {
            address,
            is_component: false,
            outgoing,
            inbox,
            passed_over: Vec::new(),
            watch,
            task,
            ended: None,
        }
    }

    /// Where others write to it: the full address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether it speaks for a whole domain.
    pub fn is_component(&self) -> bool {
        self.is_component
    }

    /// Sends a stanza.
    pub async fn send(&mut self, stanza: impl Into<Bytes>) -> anyhow::Result<()> {
        match self.outgoing.send(stanza.into()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.end().await),
        }
    }

    /// Waits for the stanza that is wanted. Others that come meanwhile are kept for [`ComponentClient::passed_over`].
    pub async fn expect(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Element) -> bool,
    ) -> anyhow::Result<Element> {
        let deadline = Instant::now() + within;
        loop {
            match timeout_at(deadline, self.inbox.recv()).await {
                Ok(Some(element)) if wanted(&element) => return Ok(element),
                Ok(Some(element)) => self.passed_over.push(element),
                Ok(None) => {
                    return Err(self
                        .end()
                        .await
                        .context(format!("while waiting for {what}")));
                }
                Err(_) => bail!("{what} did not come within {within:?}"),
            }
        }
    }

    /// All that comes in this time.
    pub async fn collect(&mut self, during: Duration) -> Vec<Element> {
        let deadline = Instant::now() + during;
        let mut found = Vec::new();
        while let Ok(Some(element)) = timeout_at(deadline, self.inbox.recv()).await {
            found.push(element);
        }
        found
    }

    /// What came and nobody waited for.
    pub fn passed_over(&self) -> &[Element] {
        &self.passed_over
    }

    /// All stanzas from now on, as they come; a slow reader loses the oldest.
    pub fn watch(&self) -> broadcast::Receiver<Element> {
        self.watch.subscribe()
    }

    /// Why the connection ended.
    pub async fn ended(&mut self) -> anyhow::Error {
        while self.inbox.recv().await.is_some() {}
        self.end().await
    }

    async fn end(&mut self) -> anyhow::Error {
        if self.ended.is_none() {
            self.ended = Some(match (&mut self.task).await {
                Ok(Ok(())) => "the server closed the stream".to_owned(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(error) => error.to_string(),
            });
        }
        let why = self.ended.as_deref().unwrap_or_default();
        anyhow::anyhow!("{}: {why}", self.address)
    }
}

impl Drop for ComponentClient {
    /// The socket closes with the task.
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Serving {
    wire: Wire,
    address: String,
    behaviour: Behaviour,
    watch: broadcast::Sender<Element>,
}

impl Serving {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Bytes>,
        arrived: mpsc::Sender<Element>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(stanza) => self.wire.send(stanza).await?,
                    None => return Ok(()),
                },
                event = self.wire.next(Duration::from_secs(3600)) => match event? {
                    Event::Element(element) => self.element(element, &arrived).await?,
                    Event::Footer | Event::Closed => return Ok(()),
                    Event::Header(_) => bail!("a second stream header"),
                    Event::Nothing => {}
                },
            }
        }
    }

    async fn element(
        &mut self,
        element: Element,
        arrived: &mpsc::Sender<Element>,
    ) -> anyhow::Result<()> {
        if let Some(error) = StreamError::from_element(&element) {
            bail!("stream error {error:?}");
        }
        let element = adopted(element);
        let _ = self.watch.send(element.clone());
        if let Some(answer) = answer(&element, &self.address, self.behaviour) {
            self.wire.send(answer).await?;
        } else if self.behaviour == Behaviour::Quiet {
            // Nobody takes it any more: the component client is being dropped.
            let _ = arrived.send(element).await;
        }
        Ok(())
    }
}

/// A stanza in another content namespace than that of the stream, taken as one all the same.
// COMPAT(jabberd2 2.7): its router hands `jabber:client` to components
// (`stanzas_in_the_namespace_of_clients_are_stanzas`).
fn adopted(element: Element) -> Element {
    if element.namespace() != ns::CLIENT || element.stanza_kind().is_some() {
        return element;
    }
    let context = xmpp_stream::Context::new(ContentNamespace::Client);
    Element::parse(element.bytes().clone(), &context).unwrap_or(element)
}

/// The answer that a component client gives by itself.
fn answer(stanza: &Element, address: &str, behaviour: Behaviour) -> Option<Bytes> {
    let kind = stanza.type_attr();
    match (stanza.stanza_kind()?, kind.as_deref()) {
        (StanzaKind::Iq, Some("get" | "set")) => Some(answer_request(stanza, address)),
        (StanzaKind::Message, Some("error")) => None,
        (StanzaKind::Message, _) if behaviour == Behaviour::Echo => Some(echo(stanza)),
        (StanzaKind::Presence, None | Some("probe")) if behaviour == Behaviour::Echo => {
            Some(back(stanza, "presence").finish())
        }
        _ => None,
    }
}

/// A stanza with `to` and `from` turned round.
fn back(stanza: &Element, name: &str) -> Writer {
    Writer::new(name)
        .attr_opt("to", stanza.from().as_deref())
        .attr_opt("from", stanza.to().as_deref())
        .attr_opt("id", stanza.id().as_deref())
}

/// The same message, content and all, back to where it came from.
fn echo(message: &Element) -> Bytes {
    let mut reply = back(message, "message").attr_opt("type", message.type_attr().as_deref());
    let message = message.tree();
    for child in message.elements() {
        reply = reply.child(copy(child, &message.namespace));
    }
    reply.finish()
}

fn copy(tree: &Tree, around: &str) -> Writer {
    let mut writer = Writer::new(&tree.name);
    let content = |namespace| matches!(namespace, ns::SERVER | ns::CLIENT | ns::COMPONENT);
    // What is in the content namespace there is in ours here.
    let inherited = tree.namespace == around || content(&tree.namespace) && content(around);
    if !inherited {
        writer = writer.xmlns(&tree.namespace);
    }
    for (namespace, name, value) in &tree.attributes {
        if namespace.is_empty() {
            writer = writer.attr(name, value);
        } else if namespace == ns::XML {
            writer = writer.attr(&format!("xml:{name}"), value);
        }
    }
    for child in &tree.children {
        writer = match child {
            Node::Element(child) => writer.child(copy(child, &tree.namespace)),
            Node::Text(text) => writer.text(text),
        };
    }
    writer
}

fn answer_request(iq: &Element, address: &str) -> Bytes {
    let result = back(iq, "iq").attr("type", "result");
    let tree = iq.tree();
    if tree.child(ns::PING, "ping").is_some() {
        return result.finish();
    }
    if tree.child(ns::DISCO_INFO, "query").is_some() {
        let identity = Writer::new("identity")
            .attr("category", "component")
            .attr("type", "generic")
            .attr("name", address);
        let feature = |name| Writer::new("feature").attr("var", name);
        let query = Writer::new("query")
            .xmlns(ns::DISCO_INFO)
            .child(identity)
            .child(feature(ns::DISCO_INFO))
            .child(feature(ns::PING));
        return result.child(query).finish();
    }
    let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::ServiceUnavailable);
    error_reply(iq, &error)
        .map(Writer::finish)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_server::RelayServer;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn an_echo_sends_messages_back_and_answers_presence_and_pings() {
        let relay_server = RelayServer::start(|_, stanza| vec![stanza]).await;
        let mut a = ComponentClient::attach(&relay_server.end("a.test"), Behaviour::Quiet, TIMEOUT)
            .await
            .unwrap();
        let _b = ComponentClient::attach(&relay_server.end("b.test"), Behaviour::Echo, TIMEOUT)
            .await
            .unwrap();
        let table = [
            (
                "<message from='x@a.test/1' to='b.test' id='1' type='chat'><body>a &lt; b</body>\
                 <x xmlns='urn:x' y='z'><w/></x></message>",
                "<message to='x@a.test/1' from='b.test' id='1' type='chat'><body>a &lt; b</body>\
                 <x xmlns='urn:x' y='z'><w/></x></message>",
            ),
            (
                "<presence from='x@a.test' to='b.test' type='probe'/>",
                "<presence to='x@a.test' from='b.test'/>",
            ),
            (
                "<iq from='x@a.test' to='b.test' id='2' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
                "<iq to='x@a.test' from='b.test' id='2' type='result'/>",
            ),
        ];
        for (sent, wanted) in table {
            a.send(sent).await.unwrap();
            let found = a.expect("an answer", TIMEOUT, |_| true).await.unwrap();
            assert_eq!(String::from_utf8_lossy(found.bytes()), wanted);
        }
        a.send("<iq from='x@a.test' to='b.test' id='3' type='get'><q xmlns='urn:q'/></iq>")
            .await
            .unwrap();
        let found = a.expect("an error", TIMEOUT, |_| true).await.unwrap();
        let error = StanzaError::from_element(&found).unwrap();
        assert_eq!(error.condition, StanzaCondition::ServiceUnavailable);
    }

    #[tokio::test]
    async fn stanzas_in_the_namespace_of_clients_are_stanzas() {
        let relay_server = RelayServer::start(|_, stanza| {
            let text = String::from_utf8_lossy(&stanza).replacen(' ', " xmlns='jabber:client' ", 1);
            vec![text.into()]
        })
        .await;
        let mut a = ComponentClient::attach(&relay_server.end("a.test"), Behaviour::Quiet, TIMEOUT)
            .await
            .unwrap();
        let _b = ComponentClient::attach(&relay_server.end("b.test"), Behaviour::Echo, TIMEOUT)
            .await
            .unwrap();
        a.send("<message from='a.test' to='b.test' id='1'><body>a</body></message>")
            .await
            .unwrap();
        let found = a.expect("an answer", TIMEOUT, |_| true).await.unwrap();
        assert_eq!(found.stanza_kind(), Some(StanzaKind::Message));
        assert_eq!(
            found
                .tree()
                .child(ns::CLIENT, "body")
                .map(|body| body.text())
                .as_deref(),
            Some("a")
        );
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_told_each_time() {
        let (near, far) = tokio::io::duplex(64);
        let mut component_client =
            ComponentClient::over(Wire::over(near), "a.test".to_owned(), Behaviour::Quiet);
        drop(far);
        for _ in 0..2 {
            let error = component_client
                .expect("a stanza", TIMEOUT, |_| true)
                .await
                .unwrap_err();
            assert!(
                format!("{error:#}").contains("closed the stream"),
                "{error:#}"
            );
        }
    }
}
