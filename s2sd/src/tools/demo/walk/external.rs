//! STARTTLS and SASL EXTERNAL (RFC 6120 §5 and §6, XEP-0178): what can be seen of it, and what only the daemons know.

use xmpp_stream::{Frame, ns};

use super::{Errand, Kind, Scene, Seen, Steps, Walk, kind};
use crate::tools::demo::page::Step;
use crate::tools::demo::relay::Said;
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
    super::play(show, &plan, walk).await
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
            steps: Steps::without_stanza(6),
            sent: 0,
            answered: 0,
        }
    }

    fn frame(&mut self, frame: &Frame, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        let steps = &mut self.steps;
        match kind(frame) {
            Kind::Header(_) if seen.is_by_caller() => {
                steps.tell(1, "header", seen, "montague.example opens a stream.")
            }
            Kind::Header(_) => steps.tell(2, "header", seen, "capulet.example answers."),
            Kind::Features(features) => {
                if features.starttls != Some(true) || !features.mechanisms.is_empty() {
                    return Err("something else than TLS is offered first".into());
                }
                let why = "TLS is required, so nothing else is offered before it.";
                steps.tell(3, "features", seen, why)
            }
            Kind::Element(element) if element.is(ns::TLS, "starttls") => {
                steps.tell(4, "STARTTLS", seen, "Agreed.")
            }
            Kind::Element(element) if element.is(ns::TLS, "proceed") => {
                let why = "After this not a byte may follow in clear text: both daemons make sure that none has come \
                           before they begin the handshake.";
                steps.tell(5, "proceed", seen, why)
            }
            Kind::Element(_) => Err(seen.unexpected()),
            Kind::Nothing => Ok(()),
        }
    }
}

impl Walk for External {
    fn see(&mut self, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        let wire = seen.wire;
        match &wire.said {
            Said::Dialled(_) => Ok(()),
            Said::Frame(frame, _) => self.frame(frame, seen),
            Said::ClientHello(name) => {
                if name.as_deref() != Some(Side::Capulet.domain()) {
                    return Err(format!("TLS is wanted with {name:?}").into());
                }
                self.steps.reach(6)?;
                seen.page.step(&Step {
                    number: Some((6, 6)),
                    from: wire.from,
                    what: "TLS handshake".to_owned(),
                })?;
                seen.page
                    .xml(wire.from, b"(ClientHello, server_name: capulet.example)")?;
                let why = "The last readable thing here: the name whose certificate montague.example wants.";
                Ok(seen.page.why(why)?)
            }
            Said::Encrypted(bytes) => {
                match seen.is_by_caller() {
                    true => self.sent += bytes,
                    false => self.answered += bytes,
                }
                Ok(())
            }
            Said::Unreadable(what) => {
                Err(format!("what {} said is neither XMPP nor TLS: {what}", wire.from).into())
            }
        }
    }

    fn steps(&self) -> &Steps {
        &self.steps
    }
}
