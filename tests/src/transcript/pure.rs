//! Plays a scene against the machines of `s2sd::protocol::negotiate`, driven as the daemon drives them: the same codec, the same
//! limits, the same judge of certificates. Everything they do is seen in order, and everything has to be written.

mod machines;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use s2sd::protocol::negotiate::{DomainPair, InboundEvent, OutboundEvent, Snapshot, Transport};
use s2sd::trust::Roots;
use xmpp_dialback::Secret;
use xmpp_stream::Domain;

use self::machines::{Line, SeededRandom};
use super::{
    compare,
    names::{self, Names},
    prelude, print,
    script::{Depth, Item, Note, Role, Step, Stream},
    stage::Stage,
};
use crate::wire::Event;

/// Plays a scene; an error says where it went another way.
pub(super) fn play(stage: Stage) -> anyhow::Result<()> {
    let items = stage.items.clone();
    let mut player = Player::new(stage)?;
    for item in &items {
        if let Some(step) = &item.step {
            player
                .step(step)
                .with_context(|| format!("line {}", item.line))?;
        }
    }
    player.end()
}

/// Plays what the peer does in a scene, and writes down what s2sd says to it. What was written right stays as it is.
/// After an error the rest stays too.
pub(super) fn rewrite(stage: Stage) -> anyhow::Result<(Vec<Item>, anyhow::Result<()>)> {
    let mut items = VecDeque::from(stage.items.clone());
    let mut player = Player::new(stage)?;
    let mut written: Vec<Item> = Vec::new();
    let mut done = Ok(());
    while let Some(item) = items.pop_front() {
        match &item.step {
            None => written.push(item),
            Some(Step::Hear(..) | Step::Sees(_)) => {
                let step = item.step.clone().context("it is one")?;
                let before = player.names.clone();
                let Some(seen) = player.seen.front().cloned() else {
                    continue;
                };
                if player.fits(&step, &seen).is_ok() {
                    player.seen.pop_front();
                    written.push(item);
                } else {
                    player.names = before;
                    player.write_one(&mut written, item.line);
                }
            }
            Some(step) => {
                if !matches!(step, Step::Verdict(..)) {
                    player.write_down(&mut written, item.line);
                }
                done = player.step(step);
                let line = item.line;
                written.push(item);
                if done.is_err() {
                    done = done.with_context(|| format!("line {line}"));
                    written.extend(items);
                    return Ok((written, done));
                }
            }
        }
    }
    player.write_down(&mut written, 0);
    if done.is_ok() {
        done = player.end();
    }
    Ok((written, done))
}

/// Something s2sd did.
#[derive(Clone, Debug)]
enum Seen {
    Said(Stream, Event),
    WantsTls(Stream),
    Did(Note),
}

impl Seen {
    fn line(&self, role: Role) -> String {
        match self {
            Self::Said(stream, event) => print::line(role, *stream, event),
            Self::WantsTls(_) => "(waits for TLS)\n".to_owned(),
            Self::Did(note) => print::note(note),
        }
    }
}

struct Player {
    stage: Stage,
    snapshot: Arc<Snapshot>,
    roots: Roots,
    names: Names,
    lines: BTreeMap<Stream, Line>,
    /// A prelude asks on the stream with the number 0.
    questions: u8,
    seen: VecDeque<Seen>,
    now: Instant,
    /// Stanzas that go out once the stream is open.
    waiting: BTreeMap<Stream, String>,
    over: bool,
    random: SeededRandom,
}

impl Player {
    fn new(stage: Stage) -> anyhow::Result<Self> {
        let config = stage.config(SocketAddr::from(([127, 0, 0, 1], 5269)))?;
        let certified = !stage.settings.without_certificate;
        let snapshot = Snapshot::new(Arc::new(config), Secret::new(names::SECRET), |_| certified);
        let (roots, _) = Roots::new([stage.authority.der().clone()]);
        let mut player = Self {
            snapshot: Arc::new(snapshot),
            roots,
            names: Names::default(),
            lines: BTreeMap::new(),
            questions: u8::from(!matches!(stage.depth, Depth::Dialback | Depth::DialbackTls)),
            seen: VecDeque::new(),
            now: Instant::now(),
            waiting: BTreeMap::new(),
            over: false,
            random: SeededRandom(1),
            stage,
        };
        player.begin(Vec::new())?;
        for step in prelude::steps(&player.stage) {
            player.step(&step).context("on the way to the scene")?;
        }
        Ok(player)
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        if let Step::Verdict(stream, says) = step {
            for step in prelude::verdict(&self.stage, *stream, says) {
                self.step(&step)?;
            }
            return Ok(());
        }
        if let Step::Hear(..) | Step::Sees(_) = step {
            let seen = self.seen.pop_front().context("s2sd says nothing");
            let seen = seen.with_context(|| format!("written: {step:?}"))?;
            return self.fits(step, &seen);
        }
        if let (Step::HangUp(stream), Some(Seen::WantsTls(wants))) = (step, self.seen.front())
            && stream == wants
        {
            self.seen.pop_front();
            return self.event(
                *stream,
                InboundEvent::TlsFailed("hung up".to_owned()),
                OutboundEvent::TlsFailed("hung up".to_owned()),
            );
        }
        if let Step::Tls(stream) = step {
            match self.seen.pop_front() {
                Some(Seen::WantsTls(wants)) if wants == *stream => {}
                Some(other) => bail!("no TLS but: {}", other.line(self.stage.role)),
                None => bail!("s2sd does not want TLS"),
            }
        }
        self.nothing_else()?;
        match step {
            Step::Say(stream, text) => self.say(*stream, text),
            Step::Tls(stream) => self.tls(*stream),
            Step::HangUp(stream) => self.event(
                *stream,
                InboundEvent::Lost("the peer closed the connection".to_owned()),
                OutboundEvent::Lost("the other server closed the connection".to_owned()),
            ),
            Step::TimeIsUp => {
                self.now += Duration::from_secs(3600);
                self.event(Stream::Main, InboundEvent::Tick, OutboundEvent::Tick)
            }
            Step::Idle => self.event(Stream::Main, InboundEvent::Idle, OutboundEvent::Idle),
            Step::ShutDown => self.event(
                Stream::Main,
                InboundEvent::Shutdown,
                OutboundEvent::Shutdown,
            ),
            Step::Sends(stanza) => {
                let stream = Stream::Question(self.questions);
                self.questions += 1;
                self.waiting.insert(stream, stanza.clone());
                let pair = self.pair();
                self.call(stream, pair, None, Transport::Plain, Vec::new())
            }
            Step::Wants(from, to) => {
                let pair = DomainPair {
                    local: Domain::parse(from)?,
                    remote: Domain::parse(to)?,
                };
                self.event(
                    Stream::Main,
                    InboundEvent::Tick,
                    OutboundEvent::AddPair(pair),
                )
            }
            Step::Hear(..) | Step::Sees(_) | Step::Verdict(..) => Ok(()),
        }
    }

    fn nothing_else(&self) -> anyhow::Result<()> {
        let Some(first) = self.seen.front() else {
            return Ok(());
        };
        bail!(
            "of this nothing is written:\n{}",
            first.line(self.stage.role).trim_end()
        )
    }

    /// The scene is over: nothing more was said, and a stream that is open can be closed.
    fn end(&mut self) -> anyhow::Result<()> {
        self.nothing_else()?;
        if self.over || !self.main()?.peer_opened {
            return Ok(());
        }
        self.say(Stream::Main, "</stream:stream>")?;
        let footer = Step::Hear(Stream::Main, "</stream:stream>".to_owned());
        self.step(&footer)
            .context("after the scene, when the peer closes the stream")?;
        ensure!(self.over, "after the scene, the stream is not closed");
        Ok(())
    }

    fn fits(&mut self, step: &Step, seen: &Seen) -> anyhow::Result<()> {
        let role = self.stage.role;
        match (step, seen) {
            (Step::Hear(stream, written), Seen::Said(other, event)) if stream == other => {
                compare::said(&mut self.names, written, event)?;
                if let (Event::Header(header), Stream::Main, Role::Receiving) =
                    (event, stream, role)
                {
                    self.names.stream_id = header.id.clone().unwrap_or_default();
                }
                Ok(())
            }
            (Step::Sees(Note::Delivered(written)), Seen::Did(Note::Delivered(said))) => {
                let (written, said) = (compare::element_of(written)?, compare::element_of(said)?);
                compare::element(&mut self.names, &written, &said)
            }
            (Step::Sees(written), Seen::Did(said)) if written == said => Ok(()),
            (Step::Sees(written), seen) => bail!(
                "written: {}said:    {}",
                print::note(written),
                seen.line(role).trim_end()
            ),
            (Step::Hear(_, written), seen) => {
                bail!(
                    "written: {written}\nsaid:    {}",
                    seen.line(role).trim_end()
                )
            }
            _ => bail!("not something s2sd says"),
        }
    }

    /// For `UPDATE=1`: the lines for everything that was seen.
    fn write_down(&mut self, written: &mut Vec<Item>, line: usize) {
        // Before the comments that lead to the next step.
        let steps = written.iter().rposition(|item| item.step.is_some());
        let text = written.split_off(steps.map_or(0, |last| last + 1));
        self.write_seen(written, line);
        written.extend(text);
    }

    fn write_seen(&mut self, written: &mut Vec<Item>, line: usize) {
        while !matches!(self.seen.front(), None | Some(Seen::WantsTls(_))) {
            self.write_one(written, line);
        }
    }

    /// The line for the next thing that was seen.
    fn write_one(&mut self, written: &mut Vec<Item>, line: usize) {
        let Some(seen) = self.seen.pop_front() else {
            return;
        };
        let text = seen.line(self.stage.role);
        let raw = match &seen {
            Seen::Said(_, event) => print::general(&self.names, event, &text),
            Seen::WantsTls(stream) => {
                self.seen.push_front(Seen::WantsTls(*stream));
                return;
            }
            Seen::Did(_) => text,
        };
        if let Ok(step) = super::parse::step(self.stage.role, &raw) {
            // It fits itself; what is fresh in it gets its names.
            let _ = self.fits(&step, &seen);
            let step = Some(step);
            written.push(Item { line, raw, step });
        }
    }
}
