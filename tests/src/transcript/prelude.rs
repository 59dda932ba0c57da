//! The way to the depth a scene is given for. What s2sd says on it is not looked at closely: the scenes given for less
//! do that.

use super::{
    compare::{ANY_FEATURES, ANY_HEADER},
    parse,
    script::{Depth, Note, Role, Step, Stream},
    stage::Stage,
};

/// The id of the streams that are opened by s2sd.
pub(super) const PEERS_ID: &str = "457F9224A0";
/// The same after STARTTLS, and after SASL.
const PEERS_ID_TLS: &str = "1251A342B";
const PEERS_ID_SASL: &str = "D60000229F";

pub(super) fn steps(stage: &Stage) -> Vec<Step> {
    let way = Way { stage };
    let mut steps = Vec::new();
    let depth = stage.depth;
    match depth {
        Depth::Tcp | Depth::DirectTls => return steps,
        Depth::Plain | Depth::Dialback => steps.extend(way.open(PEERS_ID)),
        Depth::Tls | Depth::DialbackTls | Depth::Authenticated => {
            steps.extend(way.open(PEERS_ID));
            steps.extend(way.starttls());
            steps.extend(way.open(PEERS_ID_TLS));
        }
    }
    match depth {
        Depth::Dialback | Depth::DialbackTls => steps.extend(way.dialback()),
        Depth::Authenticated => {
            steps.extend(way.external());
            steps.extend(way.open(PEERS_ID_SASL));
            steps.extend(way.opened());
        }
        _ => {}
    }
    steps
}

/// The steps of a question to an authoritative server, and its answer.
pub(super) fn verdict(stage: &Stage, stream: Stream, says: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open = |starttls: bool| {
        steps.push(Step::Hear(stream, ANY_HEADER.to_owned()));
        steps.push(Step::Say(stream, ANSWERS.to_owned()));
        let features = match starttls {
            true => {
                "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
            }
            false => "<stream:features/>",
        };
        steps.push(Step::Say(stream, features.to_owned()));
        if starttls {
            steps.push(Step::Hear(stream, STARTTLS.to_owned()));
            steps.push(Step::Say(stream, PROCEED.to_owned()));
            steps.push(Step::Tls(stream));
        }
    };
    if stage.requires_tls() {
        open(true);
    }
    open(false);
    let question = "<db:verify from='{=asker}' to='{=asked}' id='{stream-id}'>{any}</db:verify>";
    steps.push(Step::Hear(stream, question.to_owned()));
    let kind = match says {
        "valid" | "invalid" => says,
        _ => "error",
    };
    let answer =
        format!("<db:verify from='{{asked}}' to='{{asker}}' id='{{stream-id}}' type='{kind}'");
    steps.push(Step::Say(
        stream,
        match kind {
            "error" => format!(
                "{answer}><error type='cancel'><{says} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:verify>"
            ),
            _ => format!("{answer}/>"),
        },
    ));
    steps.push(Step::Hear(stream, "</stream:stream>".to_owned()));
    steps
}

/// Whatever domain it is asked for.
const ANSWERS: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns:db='jabber:server:dialback' id='A00000001' version='1.0'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const OFFERS_STARTTLS: &str =
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
const OFFERS_EXTERNAL: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
     <mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";
const OFFERS_DIALBACK: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>";

fn header(from: &str, to: &str, id: Option<&str>) -> String {
    let id = id.map(|id| format!(" id='{id}'")).unwrap_or_default();
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{from}' to='{to}'{id} version='1.0'>"
    )
}

struct Way<'a> {
    stage: &'a Stage,
}

impl Way<'_> {
    fn peer(&self, text: impl Into<String>) -> Step {
        Step::Say(Stream::Main, text.into())
    }

    fn s2sd(&self, text: impl Into<String>) -> Step {
        Step::Hear(Stream::Main, text.into())
    }

    /// What is the same in both roles, but for who says it.
    fn both(&self, text: &str) -> Vec<Step> {
        let step = parse::step(self.stage.role, text);
        step.into_iter().collect()
    }

    /// Headers, and the features of a receiving s2sd; those of a scripted server are up to the scene.
    fn open(&self, id: &str) -> Vec<Step> {
        let (from, to) = (self.stage.remote.as_str(), self.stage.local.as_str());
        match self.stage.role {
            Role::Receiving => vec![
                self.peer(header(from, to, None)),
                self.s2sd(ANY_HEADER),
                self.s2sd(ANY_FEATURES),
            ],
            Role::Initiating => {
                vec![self.s2sd(ANY_HEADER), self.peer(header(from, to, Some(id)))]
            }
        }
    }

    fn starttls(&self) -> Vec<Step> {
        let mut steps = self.offer(OFFERS_STARTTLS);
        steps.extend(self.both(&format!("C: {STARTTLS}")));
        steps.extend(self.both(&format!("S: {PROCEED}")));
        steps.push(Step::Tls(Stream::Main));
        steps
    }

    fn external(&self) -> Vec<Step> {
        let mut steps = self.offer(OFFERS_EXTERNAL);
        let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
        let initial = match self.stage.role {
            Role::Receiving => "=",
            Role::Initiating => "{any}",
        };
        steps.extend(self.both(&format!(
            "C: <auth {sasl} mechanism='EXTERNAL'>{initial}</auth>"
        )));
        steps.extend(self.both(&format!("S: <success {sasl}/>")));
        if self.stage.role == Role::Receiving {
            steps.push(self.proved("EXTERNAL"));
        }
        steps
    }

    /// After the headers of the last stream.
    fn opened(&self) -> Vec<Step> {
        match self.stage.role {
            Role::Receiving => Vec::new(),
            Role::Initiating => {
                let mut steps = self.offer(OFFERS_DIALBACK);
                steps.push(self.proved("EXTERNAL"));
                steps.push(self.s2sd(self.stage.waiting()));
                steps
            }
        }
    }

    fn dialback(&self) -> Vec<Step> {
        let (local, remote) = (&self.stage.local, &self.stage.remote);
        match self.stage.role {
            Role::Receiving => {
                let mut steps = vec![self.peer(format!(
                    "<db:result from='{remote}' to='{local}'>98AF014EDC0</db:result>"
                ))];
                steps.extend(verdict(self.stage, Stream::Question(0), "valid"));
                steps.push(self.s2sd(format!(
                    "<db:result from='{local}' to='{remote}' type='valid'/>"
                )));
                steps.push(self.proved("dialback"));
                steps
            }
            Role::Initiating => {
                let mut steps = self.offer(OFFERS_DIALBACK);
                steps.push(self.s2sd(format!(
                    "<db:result from='{local}' to='{remote}'>{{dialback-key}}</db:result>"
                )));
                steps.push(self.peer(format!(
                    "<db:result from='{remote}' to='{local}' type='valid'/>"
                )));
                steps.push(self.proved("dialback"));
                steps.push(self.s2sd(self.stage.waiting()));
                steps
            }
        }
    }

    /// The features of a scripted server.
    fn offer(&self, features: &str) -> Vec<Step> {
        match self.stage.role {
            Role::Receiving => Vec::new(),
            Role::Initiating => vec![self.peer(features)],
        }
    }

    fn proved(&self, method: &str) -> Step {
        let Stage {
            local,
            remote,
            role,
            ..
        } = self.stage;
        let (from, to) = match role {
            Role::Receiving => (remote, local),
            Role::Initiating => (local, remote),
        };
        Step::Sees(Note::Proved(
            from.to_string(),
            to.to_string(),
            method.to_owned(),
        ))
    }
}
