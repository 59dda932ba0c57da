//! SASL DIGEST-MD5 between servers: the eleven steps of RFC 3920 §6.6, on plain TCP.

use xmpp_sasl::wire::Nonza;
use xmpp_stream::{Features, Frame, StreamHeader};

use super::{Errand, Kind, Scene, Seen, Steps, Walk, kind};
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
    super::play(show, &plan, walk).await
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
}

impl DigestMd5 {
    fn new() -> Self {
        Self {
            steps: Steps::new(11),
            id: None,
            nonce: None,
        }
    }

    /// The step, with what its base64 stood for.
    fn told(
        &mut self,
        number: usize,
        what: &str,
        data: &[u8],
        seen: &mut Seen<'_, '_>,
        why: &str,
    ) -> Result<(), DemoError> {
        self.steps.reach(number)?;
        seen.tell(
            Some((number, self.steps.of)),
            what.to_owned(),
            Some(data),
            why,
        )
    }

    fn header(&mut self, header: &StreamHeader, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        let again = self.steps.told > 2;
        match (seen.is_by_caller(), again) {
            (true, false) => {
                let why = "montague.example opens a stream; version='1.0' says that it knows of features.";
                self.steps.tell(1, "header", seen, why)
            }
            (false, false) => {
                self.id.clone_from(&header.id);
                self.steps
                    .tell(2, "header", seen, "capulet.example answers, with an id.")
            }
            (true, true) => {
                let why = "Whatever was said before the proof is forgotten. A new stream begins on the same \
                           connection.";
                self.steps.tell(10, "new header", seen, why)
            }
            (false, true) => {
                let why = "capulet.example answers once more:";
                self.steps.tell(11, "new header", seen, why)?;
                if header.id.is_none() || header.id == self.id {
                    return Err("the new stream has the id of the old one".into());
                }
                Ok(seen.page.checked("its id is not that of step 2.")?)
            }
        }
    }

    fn features(&mut self, features: &Features, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        if self.steps.told == 11 {
            return seen.besides(
                "features",
                "No mechanisms any more: montague.example is known.",
            );
        }
        if features.mechanisms != ["DIGEST-MD5"] {
            return Err(format!("the mechanisms offered are {:?}", features.mechanisms).into());
        }
        let why = "capulet.example offers what its rule for montague.example allows. (The example in RFC 3920 has \
                   KERBEROS_V4 beside it. An initiating server passes over what it does not know.)";
        self.steps.tell(3, "features", seen, why)
    }

    fn nonza(&mut self, nonza: &Nonza, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        match nonza {
            Nonza::Auth { .. } => {
                self.steps
                    .tell(4, "mechanism", seen, "montague.example chooses it.")
            }
            Nonza::Challenge(data) if self.nonce.is_none() => {
                self.nonce = directive(data, "nonce");
                let why = "The nonce is new each time, so that no answer can be used twice.";
                self.told(5, "challenge", data, seen, why)
            }
            Nonza::Response(data) if self.steps.told == 5 => {
                let why = "response is a digest of the user name, realm, password, both nonces, and digest-uri: the \
                           domain that is called, so that this answer is of no use anywhere else.";
                self.told(6, "response", data, seen, why)?;
                if directive(data, "nonce") != self.nonce
                    || directive(data, "digest-uri").as_deref() != Some("xmpp/capulet.example")
                {
                    return Err("the response is to another challenge".into());
                }
                Ok(seen.page.checked(
                    "the nonce is that of step 5, and digest-uri names the domain called.",
                )?)
            }
            Nonza::Challenge(data) if directive(data, "rspauth").is_some() => {
                let why = "capulet.example has made the same digest from its own copy of the password, and they are \
                           equal: it believes. rspauth is the proof in return, from the same password: montague.example \
                           sees that it is not talking to a server that accepts any password.";
                self.told(7, "challenge", data, seen, why)
            }
            Nonza::Response(data) => {
                let why = "montague.example has verified rspauth; else it would send <abort/> here. There is no \
                           more to say.";
                self.told(8, "response", data, seen, why)
            }
            Nonza::Success(_) => {
                let why = "Believed: who calls knows the password that was agreed on with montague.example.";
                self.steps.tell(9, "success", seen, why)
            }
            Nonza::Challenge(_) | Nonza::Abort | Nonza::Failure { .. } => Err(seen.unexpected()),
        }
    }

    fn frame(&mut self, frame: &Frame, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        match kind(frame) {
            Kind::Header(header) => self.header(header, seen),
            Kind::Features(features) => self.features(&features, seen),
            Kind::Element(element) => match Nonza::from_element(element) {
                Some(Ok(nonza)) => self.nonza(&nonza, seen),
                None if self.steps.is_stanza(element) => {
                    self.steps.crossed = true;
                    seen.besides("message", "Now the message may go.")
                }
                _ => Err(seen.unexpected()),
            },
            Kind::Nothing => Ok(()),
        }
    }
}

impl Walk for DigestMd5 {
    fn see(&mut self, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        match seen.frame_in_clear()? {
            Some(frame) => self.frame(frame, seen),
            None => Ok(()),
        }
    }

    fn steps(&self) -> &Steps {
        &self.steps
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
