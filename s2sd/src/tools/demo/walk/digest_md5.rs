//! SASL DIGEST-MD5 between servers: the eleven steps of RFC 3920 §6.6, on plain TCP.

use xmpp_sasl::wire::Nonza;
use xmpp_stream::{Features, Frame, StreamHeader};

use super::{Asked, Errand, Kind, Scene, Steps, Walk, besides, kind, unexpected};
use crate::tools::demo::page::Page;
use crate::tools::demo::relay::{Said, Wire};
use crate::tools::demo::stage::Plan;
use crate::tools::demo::{DemoError, Show, Side};

const MONTAGUE: &str = r#"[policy]
tls  = "disabled"
auth = ["dialback"]

[[peer]]
domain      = "capulet.example"
tls         = "disabled"
auth        = ["digest-md5"]
credentials = { username = "montague.example", password = "a rose" }
"#;

const CAPULET: &str = r#"[policy]
tls  = "disabled"
auth = ["dialback"]

[[peer]]
domain = "montague.example"
tls    = "disabled"
auth   = ["digest-md5"]
accept = { username = "montague.example", password = "a rose" }
"#;

const ERRAND: Errand<'_> = Errand {
    from: Side::Montague,
    stanza: "<message from='romeo@montague.example' to='juliet@capulet.example' type='chat'>\
             <body>By a name I know not how to tell thee who I am.</body></message>",
    method: "DIGEST-MD5",
};

pub(crate) async fn play(show: &mut Show<'_>) -> Result<(), DemoError> {
    show.page.heading("SASL DIGEST-MD5")?;
    show.page.text(
        "Two servers that share a password need neither the DNS nor TLS to know each other. The password is never \
         sent: each side shows a digest that can only be made with it (RFC 2831; the eleven steps are those of RFC \
         3920 §6.6). It is historic (RFC 6331) and used where a [[peer]] asks for it:",
    )?;
    let plan = Plan {
        montague: MONTAGUE,
        capulet: CAPULET,
        certificates: false,
        relays: true,
    };
    let mut scene = Scene::open(show, &plan).await?;
    let played = walk(&mut scene).await;
    scene.close(played).await
}

async fn walk(scene: &mut Scene<'_, '_>) -> Result<(), DemoError> {
    if let Some((side, warning)) = scene.stage.warnings.first() {
        scene
            .show
            .page
            .text(&format!("The daemon of {side} warns of it: {warning}."))?;
    }
    scene.follow(&mut DigestMd5::new(), &ERRAND).await?;
    scene.tell_delivered()?;
    scene.tell_proofs()
}

struct DigestMd5 {
    steps: Steps,
    id: Option<String>,
    nonce: Option<String>,
    crossed: bool,
}

impl DigestMd5 {
    fn new() -> Self {
        Self {
            steps: Steps::new(11),
            id: None,
            nonce: None,
            crossed: false,
        }
    }

    /// The step, its XML, what its base64 stood for, and why it is so.
    fn told(
        &mut self,
        number: usize,
        what: &str,
        wire: &Wire,
        data: Option<&[u8]>,
        page: &mut Page<'_>,
        why: &str,
    ) -> Result<(), DemoError> {
        self.steps.reach(number)?;
        page.step(&self.steps.heading(wire, what))?;
        page.xml(wire.from, wire.raw())?;
        if let Some(data) = data {
            page.decoded(data)?;
        }
        Ok(page.why(why)?)
    }

    fn header(
        &mut self,
        header: &StreamHeader,
        wire: &Wire,
        page: &mut Page<'_>,
    ) -> Result<(), DemoError> {
        let again = self.steps.told > 2;
        match (wire.from == wire.caller, again) {
            (true, false) => {
                let why = "montague.example opens a stream; version='1.0' says that it knows of features.";
                self.told(1, "header", wire, None, page, why)
            }
            (false, false) => {
                self.id.clone_from(&header.id);
                self.told(
                    2,
                    "header",
                    wire,
                    None,
                    page,
                    "capulet.example answers, with an id.",
                )
            }
            (true, true) => {
                let why = "Whatever was said before the proof is forgotten. A new stream begins on the same \
                           connection.";
                self.told(10, "new header", wire, None, page, why)
            }
            (false, true) => {
                let why = "capulet.example answers once more:";
                self.told(11, "new header", wire, None, page, why)?;
                if header.id.is_none() || header.id == self.id {
                    return Err("the new stream has the id of the old one".into());
                }
                Ok(page.checked("its id is not that of step 2.")?)
            }
        }
    }

    fn features(
        &mut self,
        features: &Features,
        wire: &Wire,
        page: &mut Page<'_>,
    ) -> Result<(), DemoError> {
        if self.steps.told == 11 {
            page.step(&besides(wire, "features"))?;
            page.xml(wire.from, wire.raw())?;
            return Ok(page.why("No mechanisms any more: montague.example is known.")?);
        }
        if features.mechanisms != ["DIGEST-MD5"] {
            return Err(format!("the mechanisms offered are {:?}", features.mechanisms).into());
        }
        let why = "capulet.example offers what its rule for montague.example allows. (The example in RFC 3920 has \
                   KERBEROS_V4 beside it. An initiating server passes over what it does not know.)";
        self.told(3, "features", wire, None, page, why)
    }

    fn nonza(&mut self, nonza: &Nonza, wire: &Wire, page: &mut Page<'_>) -> Result<(), DemoError> {
        match nonza {
            Nonza::Auth { .. } => self.told(
                4,
                "mechanism",
                wire,
                None,
                page,
                "montague.example chooses it.",
            ),
            Nonza::Challenge(data) if self.nonce.is_none() => {
                self.nonce = directive(data, "nonce");
                let why = "The nonce is new each time, so that no answer can be used twice.";
                self.told(5, "challenge", wire, Some(data), page, why)
            }
            Nonza::Response(data) if self.steps.told == 5 => {
                let why = "response is a digest of the user name, realm, password, both nonces, and digest-uri: the \
                           domain that is called, so that this answer is of no use anywhere else.";
                self.told(6, "response", wire, Some(data), page, why)?;
                if directive(data, "nonce") != self.nonce
                    || directive(data, "digest-uri").as_deref() != Some("xmpp/capulet.example")
                {
                    return Err("the response is to another challenge".into());
                }
                Ok(page.checked(
                    "the nonce is that of step 5, and digest-uri names the domain called.",
                )?)
            }
            Nonza::Challenge(data) if directive(data, "rspauth").is_some() => {
                let why = "capulet.example has made the same digest from its own copy of the password, and they are \
                           equal: it believes. rspauth is the proof in return, from the same password: montague.example \
                           sees that it is not talking to a server that accepts any password.";
                self.told(7, "challenge", wire, Some(data), page, why)
            }
            Nonza::Response(data) => {
                let why = "montague.example has verified rspauth; else it would send <abort/> here. There is no \
                           more to say.";
                self.told(8, "response", wire, Some(data), page, why)
            }
            Nonza::Success(_) => {
                let why = "Believed: who calls knows the password that was agreed on with montague.example.";
                self.told(9, "success", wire, None, page, why)
            }
            Nonza::Challenge(_) | Nonza::Abort | Nonza::Failure { .. } => Err(unexpected(wire)),
        }
    }

    fn frame(&mut self, wire: &Wire, frame: &Frame, page: &mut Page<'_>) -> Result<(), DemoError> {
        match kind(frame) {
            Kind::Header(header) => self.header(header, wire, page),
            Kind::Features(features) => self.features(&features, wire, page),
            Kind::Element(element) => match Nonza::from_element(element) {
                Some(Ok(nonza)) => self.nonza(&nonza, wire, page),
                None if element.stanza_kind().is_some() && self.steps.missing().is_none() => {
                    self.crossed = true;
                    page.step(&besides(wire, "message"))?;
                    page.xml(wire.from, wire.raw())?;
                    Ok(page.why("Now the message may go.")?)
                }
                _ => Err(unexpected(wire)),
            },
            Kind::Nothing => Ok(()),
        }
    }
}

impl Walk for DigestMd5 {
    fn see(&mut self, wire: &Wire, page: &mut Page<'_>, _: Asked<'_>) -> Result<(), DemoError> {
        match &wire.said {
            Said::Dialled(_) => Ok(()),
            Said::Frame(frame, _) => self.frame(wire, frame, page),
            Said::ClientHello(_) | Said::Encrypted(_) => {
                Err("there is TLS on a plain stream".into())
            }
            Said::Unreadable(what) => {
                Err(format!("what {} said is no XMPP: {what}", wire.from).into())
            }
        }
    }

    fn waits_for(&self) -> Option<String> {
        self.steps
            .missing()
            .or_else(|| (!self.crossed).then(|| "the stanza on the wire".to_owned()))
    }
}

/// The value of a directive, without its quotes.
fn directive(message: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(message).ok()?;
    crate::tools::demo::xml::directives(text)
        .iter()
        .find_map(|directive| {
            let (found, value) = directive.trim_end_matches(',').split_once('=')?;
            (found.trim() == name).then(|| value.trim_matches('"').to_owned())
        })
}
