//! The scenes that are walked through step by step: each shows what it sees, and checks that it is what it should be.

pub(super) mod dialback;
pub(super) mod digest_md5;
pub(super) mod external;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use xmpp_stream::{Element, Features, Frame, StreamHeader};

use super::page::{Page, Step};
use super::relay::{Said, Wire};
use super::report::{Author, Report};
use super::stage::{Plan, Stage};
use super::{DemoError, Event, Show, Side};

/// For all of a scene; it takes milliseconds.
const SCENE_TIMEOUT: Duration = Duration::from_secs(10);

/// Follows an exchange and tells it.
trait Walk {
    /// Something was seen. An error is something that should not be there.
    fn see(&mut self, seen: &mut Seen<'_, '_>) -> Result<(), DemoError>;

    /// How far it has come.
    fn steps(&self) -> &Steps;
}

/// What was seen, the page for it, and what the DNS was asked about a domain.
struct Seen<'a, 'p> {
    wire: &'a Wire,
    page: &'a mut Page<'p>,
    asked: &'a dyn Fn(Side) -> Option<String>,
}

impl<'a> Seen<'a, '_> {
    fn is_by_caller(&self) -> bool {
        self.wire.from == self.wire.caller
    }

    /// What belongs to the step before it.
    fn besides(&mut self, what: impl Into<String>, why: &str) -> Result<(), DemoError> {
        self.tell(None, what.into(), None, why)
    }

    /// It, its XML, what its base64 stood for, and why it is so.
    fn tell(
        &mut self,
        number: Option<(usize, usize)>,
        what: String,
        data: Option<&[u8]>,
        why: &str,
    ) -> Result<(), DemoError> {
        let from = self.wire.from;
        self.page.step(&Step { number, from, what })?;
        self.page.xml(from, self.wire.raw())?;
        if let Some(data) = data {
            self.page.decoded(data)?;
        }
        Ok(self.page.why(why)?)
    }

    /// What there is on a stream without TLS.
    fn frame_in_clear(&self) -> Result<Option<&'a Frame>, DemoError> {
        match &self.wire.said {
            Said::Dialled(_) => Ok(None),
            Said::Frame(frame, _) => Ok(Some(frame)),
            Said::ClientHello(_) | Said::Encrypted(_) => {
                Err("there is TLS on a plain stream".into())
            }
            Said::Unreadable(what) => {
                Err(format!("what {} said is no XMPP: {what}", self.wire.from).into())
            }
        }
    }

    /// What should not be there.
    fn unexpected(&self) -> DemoError {
        let text = String::from_utf8_lossy(self.wire.raw());
        format!("{} said what does not belong here: {text}", self.wire.from).into()
    }
}

/// A stanza, from its component on, and what must prove its stream.
struct Errand<'a> {
    from: Side,
    stanza: &'a str,
    method: &'a str,
}

/// A stage, and what is known of what happens there.
struct Scene<'s, 'p> {
    show: &'s mut Show<'p>,
    stage: Stage,
    callers: HashMap<SocketAddr, Side>,
    reports: Vec<(Option<Side>, Report)>,
    delivered: Option<(Side, Bytes)>,
    took: Duration,
}

/// Sets the stage, walks through a scene on it, and clears it away.
async fn play(
    show: &mut Show<'_>,
    plan: &Plan<'_>,
    walk: impl AsyncFnOnce(&mut Scene<'_, '_>) -> Result<(), DemoError>,
) -> Result<(), DemoError> {
    let mut scene = Scene::open(show, plan).await?;
    let played = walk(&mut scene).await;
    scene.close(played).await
}

impl<'s, 'p> Scene<'s, 'p> {
    async fn open(show: &'s mut Show<'p>, plan: &Plan<'_>) -> Result<Self, DemoError> {
        let mut stage = Stage::set(plan, &show.events).await?;
        stage.listen(Side::Montague, &show.events);
        stage.listen(Side::Capulet, &show.events);
        if plan.montague == plan.capulet {
            show.page.configuration(None, plan.montague)?;
        } else {
            show.page
                .configuration(Some(Side::Montague), plan.montague)?;
            show.page.configuration(Some(Side::Capulet), plan.capulet)?;
        }
        Ok(Self {
            show,
            stage,
            callers: HashMap::new(),
            reports: Vec::new(),
            delivered: None,
            took: Duration::ZERO,
        })
    }

    /// Sends the stanza and follows it until it is delivered, and its stream proved at both ends.
    async fn follow(&mut self, walk: &mut dyn Walk, errand: &Errand<'_>) -> Result<(), DemoError> {
        let began = Instant::now();
        let until = began + SCENE_TIMEOUT;
        self.delivered = None;
        self.reports.clear();
        self.stage.say(errand.from, errand.stanza).await?;
        while let Some(missing) = self.missing(walk, errand) {
            let Ok(event) = timeout_at(until, self.show.seen.recv()).await else {
                let seconds = SCENE_TIMEOUT.as_secs();
                return Err(format!("{missing} did not come within {seconds} s").into());
            };
            match event {
                Some(Event::Wire(wire)) => {
                    if let Said::Dialled(from) = wire.said {
                        self.callers.insert(from, wire.caller);
                    }
                    let asked = |side| self.stage.looked_up(side);
                    walk.see(&mut Seen {
                        wire: &wire,
                        page: &mut self.show.page,
                        asked: &asked,
                    })?;
                }
                Some(Event::Report(report)) => {
                    let author = match report.author() {
                        Some(Author::Daemon(side)) => Some(side),
                        Some(Author::ConnectedFrom(from)) => {
                            self.callers.get(&from).map(|caller| caller.other())
                        }
                        None => None,
                    };
                    self.reports.push((author, report));
                }
                Some(Event::Delivered(side, stanza)) => {
                    self.delivered = Some((side, stanza));
                    self.took = began.elapsed();
                }
                None => return Err("the daemons are gone".into()),
            }
        }
        Ok(())
    }

    fn missing(&self, walk: &dyn Walk, errand: &Errand<'_>) -> Option<String> {
        if let Some(missing) = walk.steps().waits_for() {
            return Some(missing);
        }
        let to = errand.from.other();
        if !matches!(&self.delivered, Some((side, _)) if *side == to) {
            return Some(format!("the stanza at {to}"));
        }
        let ends = [
            (errand.from, "outgoing stream authenticated"),
            (to, "incoming stream authenticated"),
        ];
        for (side, message) in ends {
            let proved = self.reports.iter().any(|(author, report)| {
                *author == Some(side)
                    && report.message == message
                    && report.field("method") == Some(errand.method)
            });
            if !proved {
                return Some(format!(
                    "\"{message}\" by {} in the log of {side}",
                    errand.method
                ));
            }
        }
        None
    }

    /// What came to the component at the other end.
    fn tell_delivered(&mut self) -> Result<(), DemoError> {
        if let Some((side, stanza)) = &self.delivered {
            let page = &mut self.show.page;
            page.text(&format!(
                "{}@{side} has it, {:.1} ms after it was sent:",
                side.user(),
                self.took.as_secs_f64() * 1e3
            ))?;
            page.xml(side.other(), stanza)?;
        }
        Ok(())
    }

    /// What the daemons wrote that matters here.
    fn tell_reports(&mut self, wanted: impl Fn(&Report) -> bool) -> Result<(), DemoError> {
        let mut told = Vec::new();
        for (author, report) in &self.reports {
            let line = (*author, report.words());
            if (wanted(report) || report.is_bad()) && !told.contains(&line) {
                self.show.page.report(*author, report)?;
                told.push(line);
            }
        }
        Ok(self.show.page.empty()?)
    }

    /// The one that says it all.
    fn tell_proofs(&mut self) -> Result<(), DemoError> {
        self.show
            .page
            .text("What the daemons wrote into their logs:")?;
        self.tell_reports(|report| {
            report.message.ends_with("stream authenticated")
                || report.message == "the authoritative server answered"
        })
    }

    async fn close(mut self, played: Result<(), DemoError>) -> Result<(), DemoError> {
        if played.is_err() {
            self.show
                .page
                .text("What the daemons wrote into their logs until then:")?;
            self.tell_reports(|_| true)?;
        }
        self.stage.strike().await;
        played
    }
}

/// The steps as they are counted and shown, and whether the stanza was seen that they are for.
#[derive(Debug)]
struct Steps {
    told: usize,
    of: usize,
    crossed: bool,
}

impl Steps {
    fn new(of: usize) -> Self {
        let (told, crossed) = (0, false);
        Self { told, of, crossed }
    }

    /// For a stanza that goes encrypted.
    fn without_stanza(of: usize) -> Self {
        Self {
            crossed: true,
            ..Self::new(of)
        }
    }

    /// The next one is this one.
    fn reach(&mut self, number: usize) -> Result<(), DemoError> {
        if number != self.told + 1 {
            return Err(format!("step {number} came where step {} was due", self.told + 1).into());
        }
        self.told = number;
        Ok(())
    }

    /// The next one is this one, and the page shows it.
    fn tell(
        &mut self,
        number: usize,
        what: impl Into<String>,
        seen: &mut Seen<'_, '_>,
        why: &str,
    ) -> Result<(), DemoError> {
        self.reach(number)?;
        seen.tell(Some((number, self.of)), what.into(), None, why)
    }

    /// Is it the stanza, after all steps?
    fn is_stanza(&self, element: &Element) -> bool {
        element.stanza_kind().is_some() && self.told == self.of
    }

    /// What is still to come; `None`: nothing.
    fn waits_for(&self) -> Option<String> {
        let step = (self.told < self.of).then(|| format!("step {}", self.told + 1));
        step.or_else(|| (!self.crossed).then(|| "the stanza on the wire".to_owned()))
    }
}

/// What is seen, by its kind.
enum Kind<'a> {
    Header(&'a StreamHeader),
    Features(Features),
    Element(&'a Element),
    /// White space between elements, and the end of the stream.
    Nothing,
}

fn kind<'a>(frame: &'a Frame) -> Kind<'a> {
    match frame {
        Frame::Header(header) => Kind::Header(header),
        Frame::Element(element) => match Features::from_element(element) {
            Some(features) => Kind::Features(features),
            None => Kind::Element(element),
        },
        _ => Kind::Nothing,
    }
}
