//! The receiving side: nothing is proved but what a certificate or an authoritative server vouches for on this very
//! stream, and nothing is delivered but from what is proved.

use std::{collections::BTreeSet, time::Instant};

use s2sd::protocol::negotiate::{Inbound, InboundEffect, InboundEvent, Transport};
use xmpp_dialback::{DialbackError, ErrorCondition, Pair, Verdict};
use xmpp_stream::Domain;

use super::{
    Bytes, Reached,
    rules::{Counting, HERE, PEERS, PolicyCase, Reader, domain, judged, rules, secured},
};

struct Driver<'r> {
    rule: &'r PolicyCase,
    machine: Option<Box<Inbound>>,
    reader: Reader,
    is_tls: bool,
    shown: bool,
    heard_header: bool,
    /// The peer asked for both directions within TLS, before anything was proved there.
    asked_for_both: bool,
    /// The header of a new stream is still to be sent.
    restarting: bool,
    /// For whom the certificate is good.
    good: Vec<&'static str>,
    /// Questions that wait for an answer.
    asked: Vec<Pair>,
    /// Whom an authoritative server vouched for on this stream.
    vouched: BTreeSet<Domain>,
    proved: BTreeSet<Domain>,
    once: BTreeSet<Domain>,
    reached: Reached,
}

pub(crate) fn body(data: &[u8]) -> Reached {
    let mut bytes = Bytes(data);
    let rule = bytes.of(rules());
    let good = match bytes.byte() % 4 {
        0 => vec![],
        1 | 2 => vec![PEERS[0]],
        _ => vec![PEERS[0], PEERS[1]],
    };
    let shown = !good.is_empty() || bytes.byte().is_multiple_of(2);
    let is_tls = bytes.byte().is_multiple_of(4);
    let transport = match is_tls {
        true => Transport::Tls(secured(shown)),
        false => Transport::Plain,
    };
    let snapshot = std::sync::Arc::clone(&rule.snapshot);
    let reader = Reader::new(&snapshot);
    let machine =
        Inbound::new(snapshot, Box::new(Counting(1)), transport, Instant::now()).with_bidi();
    let mut driver = Driver {
        rule,
        machine: Some(machine),
        reader,
        is_tls,
        shown,
        heard_header: false,
        asked_for_both: false,
        restarting: false,
        good,
        asked: Vec::new(),
        vouched: BTreeSet::new(),
        proved: BTreeSet::new(),
        once: BTreeSet::new(),
        reached: Reached::new(),
    };
    for _ in 0..80 {
        if bytes.is_empty() || driver.machine.is_none() {
            break;
        }
        driver.step(&mut bytes);
    }
    driver.reached
}

impl Driver<'_> {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let mut from = *bytes.of(&PEERS);
        let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
        let open = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns='jabber:server' xmlns:db='jabber:server:dialback'";
        let mut step = bytes.byte() % 44;
        // A second header on one stream is an element that does not end: seldom.
        if step < 6 && self.heard_header && !bytes.byte().is_multiple_of(8) {
            step += 22;
        }
        if step >= 22 {
            // What an honest peer says now.
            from = PEERS[0];
            let proved = PEERS
                .into_iter()
                .find(|peer| self.proved.contains(&domain(peer)));
            step = match proved {
                _ if !self.heard_header => 0,
                Some(_) if !self.is_tls && step.is_multiple_of(8) => 6,
                Some(peer) => {
                    from = peer;
                    14
                }
                None if !self.asked.is_empty() => 19,
                None if !self.is_tls && step.is_multiple_of(2) => 6,
                None if self.is_tls && !self.asked_for_both && step.is_multiple_of(3) => 15,
                None if step % 4 < 2 => 7,
                None => 9,
            };
        }
        let text = match step {
            0..=3 => {
                self.heard_header = true;
                format!("{open} to='{HERE}' from='{from}' version='1.0'>")
            }
            4 => format!("{open} to='{HERE}' version='1.0'>"),
            5 => format!("{open} to='{HERE}' from='{from}'>"),
            6 => "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
            7 => format!("<auth {sasl} mechanism='EXTERNAL'>=</auth>"),
            // The authzid is third.test.
            8 => format!("<auth {sasl} mechanism='EXTERNAL'>dGhpcmQudGVzdA==</auth>"),
            9 | 10 => format!("<db:result from='{from}' to='{HERE}'>key</db:result>"),
            11 => format!("<db:verify from='{from}' to='{HERE}' id='1'>key</db:verify>"),
            12 => format!("<db:result from='{from}' to='{HERE}' type='valid'/>"),
            13 => format!("<db:verify from='{from}' to='{HERE}' id='1' type='valid'/>"),
            15 => {
                self.asked_for_both |= self.is_tls && self.proved.is_empty();
                "<bidi xmlns='urn:xmpp:bidi'/>".to_owned()
            }
            14 => format!("<message from='u@{from}' to='{HERE}'><body>x</body></message>"),
            16 => format!("<message from='{HERE}' to='u@{from}'/>"),
            17 => format!("<auth {sasl} mechanism='PLAIN'>AGEAYg==</auth>"),
            18 => {
                let text = bytes.some();
                return self.hears(text);
            }
            19 => return self.answers(bytes),
            20 => return self.answers_in_vain(from),
            _ => {
                let event = match bytes.byte() % 8 {
                    0 => InboundEvent::Tick,
                    1 => InboundEvent::Idle,
                    2 => InboundEvent::Lost("gone".to_owned()),
                    3 => InboundEvent::Shutdown,
                    4 => InboundEvent::Reloaded(std::sync::Arc::clone(&self.rule.snapshot)),
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
            self.event(read.map_or_else(InboundEvent::Malformed, InboundEvent::Frame));
        }
    }

    /// An authoritative server answers one of the questions.
    fn answers(&mut self, bytes: &mut Bytes<'_>) {
        if self.asked.is_empty() {
            return;
        }
        let pair = self
            .asked
            .remove(usize::from(bytes.byte()) % self.asked.len());
        let verdict = match bytes.byte() % 4 {
            0 | 1 => Verdict::Valid,
            2 => Verdict::Invalid,
            _ => Verdict::Error(DialbackError::new(ErrorCondition::ItemNotFound)),
        };
        if verdict == Verdict::Valid {
            self.vouched.insert(domain(&pair.sender));
        }
        self.event(InboundEvent::Verdict(pair, verdict));
    }

    /// The answer to a question of another stream, or of before TLS.
    fn answers_in_vain(&mut self, from: &str) {
        let pair = Pair::new(from, HERE);
        if !self.asked.contains(&pair) {
            self.event(InboundEvent::Verdict(pair, Verdict::Valid));
        }
    }

    fn is_certified(&self, remote: &Domain) -> bool {
        self.is_tls && self.shown && self.good.iter().any(|good| domain(good) == *remote)
    }

    fn event(&mut self, event: InboundEvent) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        let (mut effects, mut then) = (Vec::new(), Vec::new());
        match machine.handle(event, &mut effects) {
            Ok(machine) => self.machine = Some(machine),
            Err(closed) => {
                // Whoever it is told to can read it.
                assert!(!closed.cause.to_string().is_empty());
                self.reached.insert("closed");
            }
        }
        for effect in effects {
            match effect {
                InboundEffect::Proved(authorized) => {
                    let remote = &authorized.pair().remote;
                    assert_eq!(authorized.pair().local, domain(HERE));
                    let certified = self.is_certified(remote);
                    assert!(
                        certified || self.vouched.contains(remote),
                        "{remote} is proved"
                    );
                    assert!(self.is_tls || !self.rule.tls_required, "proved in clear");
                    self.proved.insert(remote.clone());
                    self.once.insert(remote.clone());
                    self.reached.insert("proved");
                    self.reached.insert(if certified {
                        "certified"
                    } else {
                        "vouched for"
                    });
                }
                InboundEffect::InverseProved(authorized) => {
                    let remote = &authorized.pair().remote;
                    assert!(self.is_tls && self.rule.bidi, "both directions in clear");
                    assert!(self.asked_for_both, "nobody asked for both directions");
                    assert!(!self.restarting, "in the middle of a restart");
                    assert!(self.proved.contains(remote), "a pair that is not proved");
                    let enough = self.is_certified(remote) || !self.rule.strict;
                    assert!(enough, "policy asks for more to send to {remote}");
                    self.reached.insert("inverse");
                }
                InboundEffect::Deliver(stanza, authorized) => {
                    assert!(self.proved.contains(&authorized.pair().remote), "delivered");
                    assert_eq!(*stanza.sender(), authorized.pair().remote);
                    assert_eq!(*stanza.target(), domain(HERE));
                    self.reached.insert("delivered");
                }
                InboundEffect::Judge(asked) => {
                    let first = self.good.first().map(|good| domain(good));
                    let whose = asked.clone().or_else(|| first.clone());
                    let good = whose.is_some_and(|domain| self.is_certified(&domain));
                    then.push(InboundEvent::Judged(judged(asked, good, first)));
                }
                InboundEffect::StartTls { .. } => {
                    match self.reader.start_tls(&self.rule.snapshot) {
                        Err(error) => then.push(InboundEvent::Malformed(error)),
                        Ok(()) => {
                            self.is_tls = true;
                            self.heard_header = false;
                            self.asked_for_both = false;
                            self.asked.clear();
                            self.vouched.clear();
                            self.proved.clear();
                            self.reached.insert("tls");
                            then.push(InboundEvent::TlsReady(secured(self.shown)));
                        }
                    }
                }
                InboundEffect::Ask(_, question) => {
                    self.reached.insert("asked");
                    self.asked.push(question.pair);
                }
                InboundEffect::RunSasl(sasl_step) => {
                    then.push(InboundEvent::SaslStepDone(sasl_step.run()));
                }
                InboundEffect::Send(bytes)
                    if bytes.starts_with(b"<?xml") || bytes.starts_with(b"<stream:stream") =>
                {
                    self.restarting = false;
                }
                InboundEffect::Restart(limits) => {
                    self.restarting = true;
                    self.heard_header = false;
                    self.reader.restart(limits);
                }
                InboundEffect::SetLimits(limits) => self.reader.set_limits(limits),
                _ => {}
            }
        }
        for event in then {
            self.event(event);
        }
    }
}
