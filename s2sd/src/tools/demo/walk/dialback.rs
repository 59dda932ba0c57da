//! Server dialback on plain TCP (RFC 3920 §8, XEP-0220): the eight steps, and then once more the other way round.

use xmpp_dialback::{Key, Pair, Secret, Verdict, wire::Nonza};
use xmpp_stream::Frame;

use super::{Errand, Kind, Scene, Seen, Steps, Walk, kind};
use crate::tools::demo::relay::{Said, Wire};
use crate::tools::demo::stage::{Plan, dialback_secret};
use crate::tools::demo::{DemoError, Show, Side};

const RULES: &str = "[policy]\ntls  = \"disabled\"\nauth = [\"dialback\"]\n";

const QUESTION: Errand<'_> = Errand {
    from: Side::Montague,
    stanza: "<message from='romeo@montague.example' to='juliet@capulet.example' type='chat'>\
             <body>Call me but love.</body></message>",
    method: "dialback",
};

const ANSWER: Errand<'_> = Errand {
    from: Side::Capulet,
    stanza: "<message from='juliet@capulet.example' to='romeo@montague.example' type='chat'>\
             <body>By whose direction found'st thou out this place?</body></message>",
    method: "dialback",
};

pub(crate) async fn play(show: &mut Show<'_>) -> Result<(), DemoError> {
    show.page.heading("Server dialback on plain TCP")?;
    show.page.text(
        "No certificate, no password. What montague.example can show is that the DNS leads to it: capulet.example \
         calls the server that the DNS names, and asks there about a key. It is weak, since a forger of DNS passes, and \
         it needs no arrangement (RFC 3920 §8, XEP-0220).",
    )?;
    let plan = Plan {
        montague: RULES,
        capulet: RULES,
        certificates: false,
        relays: true,
    };
    super::play(show, &plan, walk).await
}

async fn walk(scene: &mut Scene<'_, '_>) -> Result<(), DemoError> {
    scene.show.page.text(
        "romeo writes to juliet. His message waits at montague.example until there is a stream that may carry it:",
    )?;
    scene
        .show
        .page
        .xml(Side::Montague, QUESTION.stanza.as_bytes())?;
    scene
        .follow(&mut Dialback::new(Side::Montague, false), &QUESTION)
        .await?;
    scene.tell_delivered()?;
    scene.tell_proofs()?;
    scene.show.page.text(
        "One direction is proved, and only this one. juliet's answer goes over a stream of its own, which \
         capulet.example has to prove. The same eight steps with the parts exchanged, in short:",
    )?;
    scene
        .follow(&mut Dialback::new(Side::Capulet, true), &ANSWER)
        .await?;
    scene.show.page.empty()?;
    scene.tell_delivered()
}

/// The exchange that proves one side to the other.
struct Dialback {
    /// The initiating server, and the authoritative one: here they are the same.
    sender: Side,
    /// One line for a step.
    brief: bool,
    steps: Steps,
    /// The connection to be proved, and that to the authoritative server.
    first: Option<usize>,
    second: Option<usize>,
    id: String,
    key: Option<Key>,
}

impl Dialback {
    fn new(sender: Side, brief: bool) -> Self {
        Self {
            sender,
            brief,
            steps: Steps::new(8),
            first: None,
            second: None,
            id: String::new(),
            key: None,
        }
    }

    fn pair(&self) -> Pair {
        Pair::new(self.sender.domain(), self.sender.other().domain())
    }

    fn is_first(&self, wire: &Wire) -> bool {
        self.first == Some(wire.connection)
    }

    fn called(&mut self, wire: &Wire) {
        if wire.caller == self.sender {
            self.first.get_or_insert(wire.connection);
        } else if self.first.is_some() {
            self.second.get_or_insert(wire.connection);
        }
    }

    fn told(
        &mut self,
        number: usize,
        what: &str,
        seen: &mut Seen<'_, '_>,
        why: &str,
    ) -> Result<(), DemoError> {
        if self.brief {
            self.steps.reach(number)?;
            return Ok(seen
                .page
                .brief(Some(number), seen.wire.from, seen.wire.raw())?);
        }
        self.steps.tell(number, on(seen.wire, what), seen, why)
    }

    fn besides(&self, what: &str, seen: &mut Seen<'_, '_>, why: &str) -> Result<(), DemoError> {
        match self.brief {
            true => Ok(()),
            false => seen.besides(on(seen.wire, what), why),
        }
    }

    fn frame(&mut self, frame: &Frame, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        let (sender, receiver) = (self.sender, self.sender.other());
        let first = self.is_first(seen.wire);
        match kind(frame) {
            Kind::Header(header) => match (first, seen.is_by_caller()) {
                (true, true) => {
                    let why = format!(
                        "{sender} opens a stream and says who it is. So far that is a claim. (RFC 3920 shows these \
                         headers without version; s2sd announces 1.0, and also takes an answer without.)"
                    );
                    self.told(1, "header", seen, &why)
                }
                (true, false) => {
                    self.id = header.id.clone().unwrap_or_default();
                    let why = "The answer brings an id that cannot be guessed. The key to come is for this stream \
                               alone.";
                    self.told(2, "header", seen, why)
                }
                (false, true) => {
                    let asked = (seen.asked)(sender)
                        .ok_or("the DNS was not asked for the authoritative server")?;
                    let why = format!(
                        "{receiver} does not ask who has just called, it calls back: a second connection, to the \
                         server that the DNS names (it was asked: {asked}). That one is authoritative for {sender}."
                    );
                    self.told(4, "header", seen, &why)
                }
                (false, false) => self.told(5, "header", seen, "The authoritative server answers."),
            },
            Kind::Features(_) => {
                let why = match first {
                    true => {
                        "Both said version 1.0, so features follow: dialback it is, and no TLS."
                    }
                    false => "The same here.",
                };
                self.besides("features", seen, why)
            }
            Kind::Element(element) => match Nonza::from_element(element) {
                Some(Ok(nonza)) => self.nonza(nonza, seen),
                None if first && self.steps.is_stanza(element) => {
                    self.steps.crossed = true;
                    if self.brief {
                        seen.page.brief(None, seen.wire.from, seen.wire.raw())?;
                    }
                    self.besides("message", seen, "Now the message may go.")
                }
                _ => Err(seen.unexpected()),
            },
            Kind::Nothing => Ok(()),
        }
    }

    fn nonza(&mut self, nonza: Nonza, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        let (sender, receiver) = (self.sender, self.sender.other());
        match nonza {
            Nonza::Request(request) if request.pair == self.pair() => {
                self.key = Some(request.key);
                let why = format!(
                    "The key: HMAC-SHA-256 over both names and the id of step 2, made with a secret that only \
                     {sender} has (XEP-0185). {receiver} cannot tell a right one from a wrong one by itself."
                );
                self.told(3, "key", seen, &why)
            }
            Nonza::Question(question) if question.pair == self.pair() => {
                let why = format!("{receiver} asks: is this key yours, for a stream with this id?");
                self.told(6, "question", seen, &why)?;
                if self.key.as_ref() != Some(&question.key) || question.stream_id != self.id {
                    return Err("the question is not about the key that was shown".into());
                }
                self.checked(
                    seen,
                    "the key is that of step 3, and the id that of step 2.",
                )
            }
            Nonza::Answer {
                pair,
                stream_id,
                verdict: Verdict::Valid,
            } if pair == self.pair() && stream_id == self.id => {
                let why = "The authoritative server keeps no list of keys. It makes the key again from its secret, \
                           both names and the id, and compares: valid.";
                self.told(7, "verdict", seen, why)?;
                let again = Secret::new(dialback_secret(sender)).key(&pair, &stream_id);
                if self.key.as_ref() != Some(&again) {
                    return Err("the key is another one when it is made again".into());
                }
                self.checked(
                    seen,
                    "made again by the demo, which knows the secret: the same key.",
                )
            }
            Nonza::Result {
                pair,
                verdict: Verdict::Valid,
            } if pair == self.pair() && self.is_first(seen.wire) => {
                let why = format!(
                    "Believed: the server that the DNS names for {sender} stands by this stream. From here on it may \
                     carry what comes from {sender} to {receiver}, and nothing else."
                );
                self.told(8, "result", seen, &why)
            }
            _ => Err(seen.unexpected()),
        }
    }

    fn checked(&self, seen: &mut Seen<'_, '_>, text: &str) -> Result<(), DemoError> {
        if !self.brief {
            seen.page.checked(text)?;
        }
        Ok(())
    }
}

impl Walk for Dialback {
    fn see(&mut self, seen: &mut Seen<'_, '_>) -> Result<(), DemoError> {
        if let Said::Dialled(_) = seen.wire.said {
            self.called(seen.wire);
        }
        // Of the other direction, which has had its turn.
        if ![self.first, self.second].contains(&Some(seen.wire.connection)) {
            return Ok(());
        }
        match seen.frame_in_clear()? {
            Some(frame) => self.frame(frame, seen),
            None => Ok(()),
        }
    }

    fn steps(&self) -> &Steps {
        &self.steps
    }
}

/// There are two connections, and it matters which.
fn on(wire: &Wire, what: &str) -> String {
    format!("{what}, connection {}", wire.connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::demo::page::Page;
    use crate::tools::demo::relay::tests::wires;
    use Side::{Capulet, Montague};

    const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
                          xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'>";
    const MESSAGE: &str = "<message from='romeo@montague.example' to='juliet@capulet.example'/>";

    /// The exchange with one thing said differently, and what the walk thinks of it.
    fn walked(instead: &str, say: &str) -> (Result<(), String>, Option<String>, String) {
        let pair = Pair::new("montague.example", "capulet.example");
        let key = Secret::new(dialback_secret(Montague)).key(&pair, "1");
        let key = key.as_str();
        let there = "from='montague.example' to='capulet.example'";
        let back = "from='capulet.example' to='montague.example'";
        let exchange = [
            (1, Montague, HEADER.to_owned()),
            (1, Capulet, HEADER.to_owned()),
            (1, Montague, format!("<db:result {there}>{key}</db:result>")),
            (2, Capulet, HEADER.to_owned()),
            (2, Montague, HEADER.to_owned()),
            (
                2,
                Capulet,
                format!("<db:verify {back} id='1'>{key}</db:verify>"),
            ),
            (
                2,
                Montague,
                format!("<db:verify {there} id='1' type='valid'/>"),
            ),
            (1, Capulet, format!("<db:result {back} type='valid'/>")),
            (1, Montague, MESSAGE.to_owned()),
        ];
        let exchange: Vec<_> = exchange
            .into_iter()
            .map(|(connection, from, text)| (connection, from, text.replace(instead, say)))
            .collect();
        let script: Vec<_> = exchange
            .iter()
            .map(|(connection, from, text)| (*connection, *from, text.as_str()))
            .collect();
        let mut out = Vec::new();
        let mut page = Page::new(&mut out, false);
        let mut dialback = Dialback::new(Montague, false);
        let asked = |side: Side| Some(format!("_xmpp-server._tcp.{side} SRV"));
        let result = wires(&script, 1000)
            .iter()
            .try_for_each(|wire| {
                let (page, asked) = (&mut page, &asked);
                dialback.see(&mut Seen { wire, page, asked })
            })
            .map_err(|error| error.to_string());
        (
            result,
            dialback.steps().waits_for(),
            String::from_utf8(out).unwrap(),
        )
    }

    #[test]
    fn eight_steps_are_told() {
        let (result, missing, told) = walked("", "");
        assert_eq!((result, missing), (Ok(()), None));
        let steps = told.lines().filter(|line| line.starts_with("Step "));
        let steps: Vec<_> = steps.map(|line| &line[..11]).collect();
        assert_eq!(
            steps,
            (1..=8)
                .map(|n| format!("Step {n} of 8"))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_not_as_it_should_be_is_noticed() {
        let other = "<db:verify from='capulet.example' to='montague.example' id='1'>00</db:verify>";
        let table = [
            ("type='valid'", "type='invalid'", "does not belong here"),
            ("id='1' type", "id='2' type", "does not belong here"),
            ("id='1'>", "id='2'>", "not about the key that was shown"),
            (
                "<db:result from='montague",
                other,
                "step 6 came where step 3 was due",
            ),
            (
                MESSAGE,
                "<db:result from='a' to='b' type='valid'/>",
                "does not belong here",
            ),
        ];
        for (instead, say, wanted) in table {
            let (result, _, told) = walked(instead, say);
            let error = result.expect_err(say);
            assert!(error.contains(wanted), "{say}: {error}\n{told}");
        }
    }

    #[test]
    fn a_step_that_is_missing_is_named() {
        let (_, missing, _) = walked(
            "<db:result from='capulet.example' to='montague.example' type='valid'/>",
            "",
        );
        assert_eq!(missing.as_deref(), Some("step 8"));
        let (result, missing, _) = walked(MESSAGE, "");
        assert_eq!(result, Ok(()));
        assert_eq!(missing.as_deref(), Some("the stanza on the wire"));
    }
}
