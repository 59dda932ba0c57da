//! Plays a scene against a daemon, over loopback: a component of s2sd's on one side, the scripted peer on the other.
//! What only the machines can show (which pair is proved by what) is passed over here.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use s2sd::app::{self, Running};
use tokio::net::{TcpListener, TcpStream};
use xmpp_stream::{Element, ns};

use super::{
    compare::{self, ANY_HEADER},
    names::{self, Names},
    prelude, print,
    script::{Depth, Note, Role, Step, Stream},
    stage::{COMPONENT, Stage},
};
use crate::{
    component,
    tls::{self, TlsIdentity},
    wire::{Event, Wire},
};

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Plays a scene; an error says where it went another way.
pub(super) fn play(stage: Stage) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let played = runtime.block_on(async {
        let mut player = Player::new(stage).await?;
        for item in player.stage.items.clone() {
            if let Some(step) = &item.step {
                let done = player.step(step).await;
                done.with_context(|| format!("line {}", item.line))?;
            }
        }
        player.end().await
    });
    runtime.shutdown_background();
    played
}

struct Player {
    stage: Stage,
    names: Names,
    /// `None` once it was told to stop.
    daemon: Option<Running>,
    component: Wire,
    listener: TcpListener,
    lines: BTreeMap<Stream, Wire>,
    over: bool,
    /// The scripted end of the main stream has said its header.
    peer_opened: bool,
}

impl Player {
    async fn new(stage: Stage) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let daemon = app::start(stage.config(listener.local_addr()?)?).await?;
        let address = daemon.components.first().context("no component listener")?;
        let component =
            component::attach(*address, stage.local.as_str(), COMPONENT, TIMEOUT).await?;
        let mut player = Self {
            names: Names::default(),
            daemon: Some(daemon),
            component,
            listener,
            lines: BTreeMap::new(),
            over: false,
            peer_opened: false,
            stage,
        };
        player.begin().await?;
        for step in prelude::steps(&player.stage) {
            let done = player.step(&step).await;
            done.context("on the way to the scene")?;
        }
        Ok(player)
    }

    /// The main connection is made.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let direct = self.stage.depth == Depth::DirectTls;
        match self.stage.role {
            Role::Receiving => {
                let daemon = self.daemon.as_ref().context("the daemon is stopped")?;
                let listeners = if direct { &daemon.s2s_tls } else { &daemon.s2s };
                let address: SocketAddr = *listeners.first().context("no such listener")?;
                let wire = Wire::connect(address, TIMEOUT).await?;
                self.lines.insert(Stream::Main, wire);
            }
            Role::Initiating => {
                self.component.send(self.stage.waiting()).await?;
                self.accept(Stream::Main).await?;
            }
        }
        if direct {
            self.tls(Stream::Main, true).await?;
        }
        Ok(())
    }

    async fn accept(&mut self, stream: Stream) -> anyhow::Result<()> {
        let accepted = tokio::time::timeout(TIMEOUT, self.listener.accept()).await;
        let (socket, _): (TcpStream, _) = accepted.context("s2sd does not connect")??;
        socket.set_nodelay(true)?;
        self.lines.insert(stream, Wire::over(socket));
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Say(stream, text) => self.say(*stream, text).await,
            Step::Hear(stream, written) => self.hear(*stream, written).await,
            Step::Tls(stream) => self.tls(*stream, false).await,
            Step::HangUp(stream) => {
                self.lines.remove(stream);
                self.over |= *stream == Stream::Main;
                Ok(())
            }
            Step::Verdict(stream, says) => {
                for step in prelude::verdict(&self.stage, *stream, says) {
                    Box::pin(self.step(&step)).await?;
                }
                Ok(())
            }
            Step::Sends(stanza) => self.component.send(stanza).await,
            Step::ShutDown => {
                let daemon = self.daemon.take().context("the daemon is stopped")?;
                tokio::spawn(daemon.stop());
                Ok(())
            }
            Step::TimeIsUp | Step::Idle | Step::Wants(..) => {
                bail!("only the machines can do this: {step:?}")
            }
            Step::Sees(note) => self.sees(note).await,
        }
    }

    async fn sees(&mut self, note: &Note) -> anyhow::Result<()> {
        match note {
            // The answer goes by a connection of s2sd's own.
            Note::Proved(..) | Note::Refused(..) | Note::Answered(_) => Ok(()),
            Note::Closed(_) => {
                self.over = true;
                if !self.lines.contains_key(&Stream::Main) {
                    return Ok(()); // hung up
                }
                match self.next(Stream::Main).await? {
                    Event::Closed => Ok(()),
                    other => bail!(
                        "the connection is not closed; said: {}",
                        print::event(&other)
                    ),
                }
            }
            Note::ConnectsAgain => {
                self.over = false;
                self.peer_opened = false;
                self.accept(Stream::Main).await
            }
            Note::Delivered(written) => {
                let written = compare::element_of(written)?;
                let stanza = self.delivered().await?;
                // The component's stream has another content namespace.
                let stanza = compare::element_of(&String::from_utf8_lossy(stanza.bytes()))?;
                compare::element(&mut self.names, &written, &stanza)
            }
            Note::Bounced(condition, cause) => {
                let stanza = self.delivered().await?;
                let tree = stanza.tree();
                let error = tree
                    .elements()
                    .find(|child| child.name == "error")
                    .with_context(|| format!("no bounce: {stanza:?}"))?;
                ensure!(
                    error.child(ns::STANZA_ERRORS, condition).is_some(),
                    "bounced, but not with {condition}: {stanza:?}"
                );
                let named = error.child(s2sd::closed::CAUSE_NAMESPACE, "cause");
                ensure!(
                    named.and_then(|named| named.attr("name")) == Some(cause),
                    "bounced, but not for '{cause}': {stanza:?}"
                );
                Ok(())
            }
        }
    }

    async fn say(&mut self, stream: Stream, text: &str) -> anyhow::Result<()> {
        let bytes = self.names.fill(text)?;
        let said = String::from_utf8_lossy(&bytes);
        let restarts = said.starts_with("<success ");
        if let (Role::Initiating, Stream::Main) = (self.stage.role, stream)
            && let Ok(header) = compare::header_of(&said)
        {
            self.names.stream_id = header.id.unwrap_or_default();
        }
        let line = self.line(stream)?;
        line.send(&bytes).await?;
        if stream == Stream::Main {
            self.peer_opened |= names::opens(&bytes);
        }
        self.peer_opened &= !restarts;
        Ok(())
    }

    async fn hear(&mut self, stream: Stream, written: &str) -> anyhow::Result<()> {
        let begins = written == ANY_HEADER || written.starts_with("<stream:stream");
        if begins && stream != Stream::Main && !self.lines.contains_key(&stream) {
            self.accept(stream).await?;
        }
        if begins {
            // A new stream, if there was one before.
            self.line(stream)?.restart();
        }
        let event = self.next(stream).await?;
        compare::said(&mut self.names, written, &event)?;
        match (&event, stream, self.stage.role) {
            (Event::Header(header), Stream::Main, Role::Receiving) => {
                self.names.stream_id = header.id.clone().unwrap_or_default();
            }
            (Event::Element(element), Stream::Main, _) if element.is(ns::SASL, "success") => {
                self.peer_opened = false;
            }
            _ => {}
        }
        Ok(())
    }

    fn line(&mut self, stream: Stream) -> anyhow::Result<&mut Wire> {
        let line = self.lines.get_mut(&stream);
        line.context("there is no such connection")
    }

    async fn next(&mut self, stream: Stream) -> anyhow::Result<Event> {
        let line = self.line(stream)?;
        line.next(TIMEOUT).await
    }

    async fn tls(&mut self, stream: Stream, direct: bool) -> anyhow::Result<()> {
        if stream == Stream::Main {
            self.peer_opened = false;
        }
        let line = self.lines.get_mut(&stream);
        let line = line.context("there is no such connection")?;
        match (stream, self.stage.role) {
            (Stream::Main, Role::Receiving) => {
                let identity = self.stage.identity.as_ref().map(TlsIdentity::from);
                let config = tls::client(identity.as_ref(), direct)?;
                line.tls_client(config, self.stage.local.ascii(), TIMEOUT)
                    .await
            }
            _ => {
                let identity = TlsIdentity::from(&self.stage.server);
                line.tls_server(tls::server(&identity)?, TIMEOUT).await
            }
        }
    }

    /// What the component gets next.
    async fn delivered(&mut self) -> anyhow::Result<Element> {
        match self.component.next(TIMEOUT).await? {
            Event::Element(element) => Ok(element),
            other => bail!("nothing is delivered: {other:?}"),
        }
    }

    /// The scene is over: nothing more was said, nothing else was delivered.
    async fn end(mut self) -> anyhow::Result<()> {
        // What waits for a stream comes back when that is closed before it was open.
        let may_bounce = !self.over && self.stage.role == Role::Initiating;
        if !self.over && self.peer_opened {
            self.say(Stream::Main, "</stream:stream>").await?;
            let footer = self.hear(Stream::Main, "</stream:stream>").await;
            footer.context("after the scene, when the peer closes the stream")?;
            let closed = self.sees(&Note::Closed(String::new())).await;
            closed.context("after the scene")?;
        }
        if self.daemon.is_some() {
            // What was on its way to the component comes before this.
            let local = &self.stage.local;
            let last = format!("<message from='last@{local}' to='last@{local}' id='last'/>");
            self.component.send(last).await?;
            let mut stanza = self.delivered().await?;
            if may_bounce && stanza.id().as_deref() == Some("first") {
                stanza = self.delivered().await?;
            }
            ensure!(
                stanza.id().as_deref() == Some("last"),
                "of this delivery nothing is written: {stanza:?}"
            );
        }
        Ok(())
    }
}
