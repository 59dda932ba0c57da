//! The initiating side: a stream is open only after the peer said yes to what was said to it, and never to a server that
//! is not the one we mean.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use s2sd::protocol::negotiate::{
    Call, DomainPair, Outbound, OutboundEffect, OutboundEvent, Purpose, Transport,
};
use xmpp_dialback::{Key, Pair, Question, Verdict};
use xmpp_stream::Domain;

use super::{
    Bytes, Reached,
    rules::{Counting, HERE, PEERS, PolicyCase, Reader, domain, judged, rules, secured},
};

struct Driver<'r> {
    rule: &'r PolicyCase,
    machine: Option<Box<Outbound>>,
    reader: Reader,
    is_tls: bool,
    good: bool,
    asks: bool,
    heard_header: bool,
    /// What we said on this stream, and what the peer said to it.
    said_key: bool,
    said_auth: bool,
    said_starttls: bool,
    said_question: bool,
    heard_valid: bool,
    heard_success: bool,
    heard_answer: bool,
    said_bidi: bool,
    /// The local domains of pairs of which the peer may send.
    inverse: BTreeSet<Domain>,
    reached: Reached,
}

pub(crate) fn body(data: &[u8]) -> Reached {
    let mut bytes = Bytes(data);
    let rule = bytes.of(rules());
    let (good, asks) = (
        !bytes.byte().is_multiple_of(3),
        bytes.byte().is_multiple_of(4),
    );
    let is_tls = bytes.byte().is_multiple_of(4);
    let transport = match is_tls {
        true => Transport::Tls(secured(true)),
        false => Transport::Plain,
    };
    let purpose = match asks {
        true => Purpose::Verify,
        false => Purpose::Deliver,
    };
    let call = Call {
        snapshot: Arc::clone(&rule.snapshot),
        pair: DomainPair {
            local: domain(HERE),
            remote: domain(PEERS[0]),
        },
        purpose,
        excluded: Vec::new(),
        encrypt: false,
    };
    let mut driver = Driver {
        rule,
        machine: None,
        reader: Reader::new(&rule.snapshot),
        is_tls,
        good,
        asks,
        heard_header: false,
        said_key: false,
        said_auth: false,
        said_starttls: false,
        said_question: false,
        heard_valid: false,
        heard_success: false,
        heard_answer: false,
        said_bidi: false,
        inverse: BTreeSet::new(),
        reached: Reached::new(),
    };
    let mut effects = Vec::new();
    let random = Box::new(Counting(1));
    let machine = Outbound::start(call, random, transport, Instant::now(), &mut effects);
    driver.machine = Some(machine.with_bidi());
    driver.after(effects);
    for _ in 0..80 {
        if bytes.is_empty() || driver.machine.is_none() {
            break;
        }
        driver.step(&mut bytes);
    }
    driver.reached
}

fn question() -> Question {
    Question {
        pair: Pair::new(PEERS[0], HERE),
        stream_id: "1".to_owned(),
        key: Key::from_text("key"),
    }
}

impl Driver<'_> {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (tls, sasl) = (
            "urn:ietf:params:xml:ns:xmpp-tls",
            "urn:ietf:params:xml:ns:xmpp-sasl",
        );
        let open = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns='jabber:server' xmlns:db='jabber:server:dialback'";
        let dialback = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
        let bidi = "<bidi xmlns='urn:xmpp:features:bidi'/>";
        let (us, them) = (HERE, PEERS[0]);
        let peer = *bytes.of(&PEERS);
        let mut step = bytes.byte() % 48;
        // A second header on one stream is an element that does not end: seldom.
        if step < 6 && self.heard_header && !bytes.byte().is_multiple_of(8) {
            step += 24;
        }
        if step >= 24 {
            // What an honest peer says now.
            step = match (self.heard_header, self.said_auth, self.heard_success) {
                _ if self.said_starttls => 10,
                (false, ..) => 0,
                _ if self.said_question => 20,
                (true, false, _) if !self.is_tls && step.is_multiple_of(2) => 6,
                _ if !self.inverse.is_empty() => 21,
                (true, true, false) => 11,
                (true, false, false) if self.said_key => 13,
                (true, ..) => 7 + step % 2,
            };
        }
        let text = match step {
            0..=3 => {
                self.heard_header = true;
                format!("{open} to='{us}' from='{them}' id='1' version='1.0'>")
            }
            4 => format!("{open} to='{us}' from='{peer}' id='2' version='1.0'>"),
            5 => format!("{open} to='{us}' from='{them}' id='3'>"),
            6 => format!(
                "<stream:features><starttls xmlns='{tls}'/>{dialback}{bidi}</stream:features>"
            ),
            7 | 8 => format!(
                "<stream:features><mechanisms xmlns='{sasl}'><mechanism>EXTERNAL</mechanism></mechanisms>{dialback}{}\
                 </stream:features>",
                if step == 7 { "" } else { bidi }
            ),
            9 => "<stream:features/>".to_owned(),
            10 => format!("<proceed xmlns='{tls}'/>"),
            11 => {
                self.heard_success |= self.said_auth;
                format!("<success xmlns='{sasl}'/>")
            }
            12 => format!("<failure xmlns='{sasl}'><not-authorized/></failure>"),
            13 | 14 => {
                self.heard_valid |= self.said_key && peer == them;
                format!("<db:result from='{peer}' to='{us}' type='valid'/>")
            }
            15 => format!("<db:result from='{peer}' to='{us}' type='invalid'/>"),
            16 => {
                let id = *bytes.of(&["1", "2"]);
                self.heard_answer |= peer == them && id == "1";
                format!("<db:verify from='{peer}' to='{us}' id='{id}' type='valid'/>")
            }
            20 => {
                self.heard_answer = true;
                format!("<db:verify from='{them}' to='{us}' id='1' type='valid'/>")
            }
            17 => format!("<message from='{peer}' to='{us}'/>"),
            22 => format!("<db:result from='{peer}' to='{us}'>key</db:result>"),
            21 => format!("<message from='{them}' to='{us}'/>"),
            18 => {
                let text = bytes.some();
                return self.hears(text);
            }
            _ => {
                let event = match bytes.byte() % 8 {
                    0 => OutboundEvent::Tick,
                    1 => OutboundEvent::Idle,
                    2 => OutboundEvent::Lost("gone".to_owned()),
                    3 => OutboundEvent::Shutdown,
                    4 => OutboundEvent::AddPair(DomainPair {
                        local: domain(us),
                        remote: domain(peer),
                    }),
                    _ => return self.hears(b" "),
                };
                return self.event(event);
            }
        };
        self.hears(text.as_bytes());
    }

    fn hears(&mut self, text: &[u8]) {
        self.reader.hears(text);
        while self.machine.is_some()
            && let Some(read) = self.reader.next()
        {
            self.event(read.map_or_else(OutboundEvent::Malformed, OutboundEvent::Frame));
        }
    }

    fn event(&mut self, event: OutboundEvent) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        let mut effects = Vec::new();
        match machine.handle(event, &mut effects) {
            Ok(machine) => self.machine = Some(machine),
            Err(closed) => {
                assert!(!closed.cause.to_string().is_empty());
                self.reached.insert("closed");
            }
        }
        self.after(effects);
    }

    fn after(&mut self, effects: Vec<OutboundEffect>) {
        let mut then = Vec::new();
        for effect in effects {
            match effect {
                OutboundEffect::Send(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    self.said_key |= text.contains("<db:result");
                    self.said_auth |= text.contains("<auth");
                    self.said_question |= text.contains("<db:verify");
                    self.said_starttls |= text.contains("<starttls");
                    if text.contains("urn:xmpp:bidi") {
                        assert!(self.is_tls && self.rule.bidi, "both directions in clear");
                        let proving = self.said_key || self.said_auth || self.said_bidi;
                        assert!(!proving && !self.asks, "asked for both directions too late");
                        self.said_bidi = true;
                    }
                    if self.is_tls && self.rule.strict && !self.good {
                        let secret = text.contains("<db:") || text.contains("<auth");
                        assert!(
                            !secret,
                            "said to a server that is not the one we mean: {text}"
                        );
                    }
                }
                OutboundEffect::Established(authorized) => {
                    assert!(!self.asks, "who only asks has nothing to deliver");
                    let ours = authorized.pair().remote == domain(PEERS[0]);
                    if ours {
                        assert!(self.heard_valid || self.heard_success, "nobody said yes");
                    }
                    assert!(self.is_tls || !self.rule.tls_required, "in clear");
                    assert!(
                        !self.is_tls || self.good || !self.rule.strict,
                        "with a server that is not the one we mean"
                    );
                    self.reached.insert("established");
                    self.reached.insert(if self.heard_success {
                        "by SASL"
                    } else {
                        "by dialback"
                    });
                }
                OutboundEffect::InverseProved(authorized) => {
                    assert!(self.said_bidi, "nobody asked for both directions");
                    // No certificate is good for another peer, and no connection was made to it.
                    assert_eq!(authorized.pair().remote, domain(PEERS[0]));
                    self.inverse.insert(authorized.pair().local.clone());
                    self.reached.insert("inverse");
                }
                OutboundEffect::Deliver(stanza, authorized) => {
                    let pair = authorized.pair();
                    assert!(self.inverse.contains(&pair.local), "delivered");
                    assert_eq!(*stanza.sender(), domain(PEERS[0]));
                    assert_eq!(*stanza.target(), pair.local);
                    self.reached.insert("delivered");
                }
                OutboundEffect::MayAsk => {
                    assert!(self.asks, "nobody has a question");
                    then.push(OutboundEvent::Ask(question()));
                }
                OutboundEffect::Answered(pair, stream_id, verdict) => {
                    assert!(self.asks);
                    let asked = question();
                    assert_eq!((pair, stream_id), (asked.pair, asked.stream_id));
                    if verdict == Verdict::Valid {
                        assert!(self.heard_answer, "nobody said that the key is good");
                        self.reached.insert("answered");
                    }
                }
                OutboundEffect::Judge(asked) => {
                    let good = self.good && asked == domain(PEERS[0]);
                    then.push(OutboundEvent::Judged(judged(Some(asked), good, None)));
                }
                OutboundEffect::StartTls => match self.reader.start_tls(&self.rule.snapshot) {
                    Err(error) => then.push(OutboundEvent::Malformed(error)),
                    Ok(()) => {
                        self.is_tls = true;
                        (self.heard_header, self.said_starttls) = (false, false);
                        (self.said_key, self.said_auth) = (false, false);
                        (self.heard_valid, self.heard_success) = (false, false);
                        self.said_bidi = false;
                        self.reached.insert("tls");
                        then.push(OutboundEvent::TlsReady(secured(true)));
                    }
                },
                OutboundEffect::RunSasl(sasl_step) => {
                    then.push(OutboundEvent::SaslStepDone(sasl_step.run()));
                }
                OutboundEffect::Restart(limits) => {
                    self.heard_header = false;
                    self.reader.restart(limits);
                }
                OutboundEffect::SetLimits(limits) => self.reader.set_limits(limits),
                _ => {}
            }
        }
        for event in then {
            self.event(event);
        }
    }
}
