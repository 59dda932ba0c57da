//! When a certificate is judged, how often, and when it is judged again (RFC 6120 §13.7.2.3).

use super::*;
use crate::trust::BadCertificate;

/// A receiving entity that was shown a certificate, and what it wants done.
struct Receiving {
    machine: Option<Box<Inbound>>,
    codec: Codec,
    said: String,
    judges: Vec<Option<Domain>>,
    proved: usize,
    closed: Option<Cause>,
}

impl Receiving {
    /// Its stream has been opened by a header without `from`, and the certificate names nobody.
    fn open(policy: &str) -> Self {
        let snapshot = snapshot("b.test", policy);
        let Transport::Tls(secured) = tls(b"one") else {
            panic!("not encrypted");
        };
        let transport = Transport::Tls(Secured {
            certificate_shown: true,
            ..secured
        });
        let machine = Inbound::new(snapshot, Box::new(Counting(1)), transport, Instant::now());
        let mut this = Self {
            machine: Some(machine),
            codec: Codec::new(XmlLimits::before_authentication())
                .with_content_namespace(ContentNamespace::Server),
            said: String::new(),
            judges: Vec::new(),
            proved: 0,
            closed: None,
        };
        this.hears(
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns:db='jabber:server:dialback' to='b.test' version='1.0'>",
        );
        this
    }

    fn hears(&mut self, text: &str) {
        let mut bytes = BytesMut::from(text);
        while let Some(frame) = self.codec.decode(&mut bytes).unwrap() {
            self.is_told(InboundEvent::Frame(frame));
        }
    }

    fn key(&mut self, from: &str) {
        self.hears(&format!(
            "<db:result from='{from}' to='b.test'>k</db:result>"
        ));
    }

    fn is_told(&mut self, event: InboundEvent) {
        let mut effects = Vec::new();
        match self.machine.take().unwrap().handle(event, &mut effects) {
            Ok(next) => self.machine = Some(next),
            Err(closed) => self.closed = Some(closed.cause),
        }
        for effect in effects {
            match effect {
                InboundEffect::Send(bytes) => {
                    self.said.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                InboundEffect::Judge(domain) => self.judges.push(domain),
                InboundEffect::Proved(_) => self.proved += 1,
                _ => {}
            }
        }
    }

    /// The only question that there is has this answer.
    fn judged(&mut self, because: Because) {
        let [domain] = &std::mem::take(&mut self.judges)[..] else {
            panic!("not one question");
        };
        self.is_told(InboundEvent::Judged(Judged {
            domain: domain.clone(),
            judgement: because.into(),
            identity: None,
        }));
    }

    fn asks(&self) -> Vec<&str> {
        let names = self
            .judges
            .iter()
            .map(|it| it.as_ref().map_or("", Domain::as_str));
        names.collect()
    }

    fn listens(&self) -> bool {
        self.machine.as_ref().is_some_and(|it| it.listens())
    }
}

fn good() -> Because {
    let matched = "dNSName a.test".into();
    Because::Name { matched }
}

fn bad() -> Because {
    Because::Bad(BadCertificate::Revoked)
}

#[test]
fn before_a_proof_one_judgement_follows_the_other_and_after_it_they_need_not_wait() {
    let mut peer = Receiving::open("");
    assert!(!peer.listens());
    peer.judged(Because::NoCertificate);
    assert!(peer.listens());
    peer.key("a.test");
    assert_eq!((peer.asks(), peer.listens()), (vec!["a.test"], false));
    peer.judged(good());
    assert_eq!((peer.proved, peer.listens()), (1, true));
    for key in ["c.test", "d.test", "c.test"] {
        peer.key(key);
    }
    assert_eq!(
        (peer.asks(), peer.listens()),
        (vec!["c.test", "d.test"], true)
    );
    // What is proved needs no other judgement.
    peer.judges.clear();
    peer.key("a.test");
    assert_eq!(peer.asks(), [""; 0]);
    assert_eq!(
        peer.said.matches("type='valid'").count(),
        2,
        "{}",
        peer.said
    );
}

#[test]
fn an_open_stream_is_judged_again_and_reset_when_its_certificate_is_bad() {
    let mut peer = Receiving::open("");
    peer.judged(Because::NoCertificate);
    peer.key("a.test");
    peer.judged(good());
    for (because, ends) in [
        (good(), false),
        // Who does not answer says nothing against a certificate that was good.
        (
            Because::Bad(BadCertificate::Untold("no answer".into())),
            false,
        ),
        (bad(), true),
    ] {
        peer.is_told(InboundEvent::Reloaded(snapshot("b.test", "")));
        assert_eq!(peer.asks(), ["a.test"]);
        peer.judged(because);
        assert_eq!(peer.closed.is_some(), ends);
    }
    assert!(peer.said.contains("<reset xmlns="), "{}", peer.said);
    assert!(matches!(peer.closed, Some(Cause::Certificate(_))));
}

#[test]
fn what_changes_while_a_certificate_is_judged_has_it_judged_again() {
    let mut peer = Receiving::open("");
    peer.judged(Because::NoCertificate);
    peer.key("a.test");
    peer.is_told(InboundEvent::Reloaded(snapshot("b.test", "")));
    assert_eq!(peer.asks(), ["a.test"]);
    peer.judged(good());
    assert_eq!((peer.proved, peer.asks()), (1, vec!["a.test"]));
    peer.judged(bad());
    assert!(peer.closed.is_some());
}

#[test]
fn a_proof_that_does_not_rest_on_a_certificate_outlives_it() {
    for (policy, rests) in [("verify = 'dialback'", false), ("verify = 'strict'", true)] {
        let mut peer = Receiving::open(&format!("{policy}\nauth = ['dialback']"));
        peer.judged(Because::NoCertificate);
        peer.key("a.test");
        if rests {
            // Policy wants it to be good besides.
            peer.judged(good());
        }
        let pair = xmpp_dialback::Pair::new("a.test", "b.test");
        peer.is_told(InboundEvent::Verdict(pair, xmpp_dialback::Verdict::Valid));
        assert_eq!(peer.proved, 1, "{}", peer.said);
        peer.is_told(InboundEvent::Reloaded(snapshot("b.test", "")));
        assert_eq!(peer.asks(), if rests { vec!["a.test"] } else { vec![] });
    }
}
