//! STARTTLS and SASL EXTERNAL (RFC 6120 §5 and §6, XEP-0178): what can be seen of it, and what only the daemons know.

use xmpp_stream::{Frame, ns};

use super::{Asked, Errand, Kind, Scene, Steps, Walk, kind, unexpected};
use crate::tools::demo::page::Page;
use crate::tools::demo::relay::{Said, Wire};
use crate::tools::demo::stage::Plan;
use crate::tools::demo::{DemoError, Show, Side};

pub(crate) const RULES: &str =
    "[policy]\ntls   = \"required\"\nauth  = [\"external\"]\ntrust = [\"authority.pem\"]\n";

const ERRAND: Errand<'_> = Errand {
    from: Side::Montague,
    stanza: "<message from='romeo@montague.example' to='juliet@capulet.example' type='chat'>\
             <body>I have night's cloak to hide me from their sight.</body></message>",
    method: "EXTERNAL",
};

pub(crate) async fn play(show: &mut Show<'_>) -> Result<(), DemoError> {
    show.page.heading("TLS and SASL EXTERNAL")?;
    show.page.text(
        "How servers should meet: everything encrypted, and each side proves its domain by a certificate. Both were \
         signed a moment ago by an authority that both daemons trust, and that is all they need (RFC 6120 §5, \
         XEP-0178).",
    )?;
    let plan = Plan {
        montague: RULES,
        capulet: RULES,
        certificates: true,
        relays: true,
    };
    let mut scene = Scene::open(show, &plan).await?;
    let played = walk(&mut scene).await;
    scene.close(played).await
}

async fn walk(scene: &mut Scene<'_, '_>) -> Result<(), DemoError> {
    let mut external = External::new();
    scene.follow(&mut external, &ERRAND).await?;
    let page = &mut scene.show.page;
    page.text(&format!(
        "Encrypted from here on: {} bytes from {} and {} from {}, unreadable on the way between them. What \
         the daemons report:",
        external.sent,
        Side::Montague,
        external.answered,
        Side::Capulet,
    ))?;
    scene.tell_reports(|report| {
        report.message == "TLS handshake finished"
            || report.message == "certificate judged"
            || report.message.ends_with("stream authenticated")
    })?;
    scene.show.page.why(
        "montague.example saw the name it called in a certificate of the authority it trusts, and only then said \
         more. capulet.example found the name that calls in the certificate that was shown to it, offered EXTERNAL \
         because of that, and montague.example took it.",
    )?;
    scene.tell_delivered()
}

struct External {
    steps: Steps,
    sent: usize,
    answered: usize,
}

impl External {
    fn new() -> Self {
        Self {
            steps: Steps::new(6),
            sent: 0,
            answered: 0,
        }
    }

    fn told(
        &mut self,
        number: usize,
        what: &str,
        wire: &Wire,
        page: &mut Page<'_>,
        why: &str,
    ) -> Result<(), DemoError> {
        self.steps.reach(number)?;
        page.step(&self.steps.heading(wire, what))?;
        page.xml(wire.from, wire.raw())?;
        Ok(page.why(why)?)
    }

    fn frame(&mut self, wire: &Wire, frame: &Frame, page: &mut Page<'_>) -> Result<(), DemoError> {
        match kind(frame) {
            Kind::Header(_) if wire.from == wire.caller => {
                self.told(1, "header", wire, page, "montague.example opens a stream.")
            }
            Kind::Header(_) => self.told(2, "header", wire, page, "capulet.example answers."),
            Kind::Features(features) => {
                if features.starttls != Some(true) || !features.mechanisms.is_empty() {
                    return Err("something else than TLS is offered first".into());
                }
                let why = "TLS is required, so nothing else is offered before it.";
                self.told(3, "features", wire, page, why)
            }
            Kind::Element(element) if element.is(ns::TLS, "starttls") => {
                self.told(4, "STARTTLS", wire, page, "Agreed.")
            }
            Kind::Element(element) if element.is(ns::TLS, "proceed") => {
                let why = "After this not a byte may follow in clear text: both daemons make sure that none has come \
                           before they begin the handshake.";
                self.told(5, "proceed", wire, page, why)
            }
            Kind::Element(_) => Err(unexpected(wire)),
            Kind::Nothing => Ok(()),
        }
    }
}

impl Walk for External {
    fn see(&mut self, wire: &Wire, page: &mut Page<'_>, _: Asked<'_>) -> Result<(), DemoError> {
        match &wire.said {
            Said::Dialled(_) => Ok(()),
            Said::Frame(frame, _) => self.frame(wire, frame, page),
            Said::ClientHello(name) => {
                if name.as_deref() != Some(Side::Capulet.domain()) {
                    return Err(format!("TLS is wanted with {name:?}").into());
                }
                self.steps.reach(6)?;
                page.step(&self.steps.heading(wire, "TLS handshake"))?;
                page.xml(wire.from, b"(ClientHello, server_name: capulet.example)")?;
                let why = "The last readable thing here: the name whose certificate montague.example wants.";
                Ok(page.why(why)?)
            }
            Said::Encrypted(bytes) => {
                if wire.from == wire.caller {
                    self.sent += bytes;
                } else {
                    self.answered += bytes;
                }
                Ok(())
            }
            Said::Unreadable(what) => {
                Err(format!("what {} said is neither XMPP nor TLS: {what}", wire.from).into())
            }
        }
    }

    fn waits_for(&self) -> Option<String> {
        self.steps.missing()
    }
}
