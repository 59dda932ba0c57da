//! Stanzas of ours on a stream that the peer opened.

use std::time::Duration;

use xmpp_dialback::{Pair, Verdict};

use super::*;

/// A receiving entity, `b.test`, that was shown a certificate or not.
struct Receiver {
    machine: Option<Box<Inbound>>,
    codec: Codec,
    certificate: Judgement,
    /// What it did since the last time it was looked at: what was sent, `proved …`, `inverse …`, `stray …`.
    did: Vec<String>,
    ended: Option<Cause>,
}

impl Receiver {
    fn new(policy: &str, transport: Transport, certificate: Judgement) -> Self {
        let snapshot = snapshot("b.test", policy);
        let random = Box::new(Counting(1));
        let inbound = Inbound::new(snapshot, random, transport, Instant::now());
        Self {
            machine: Some(inbound.with_bidi()),
            codec: Codec::new(XmlLimits::before_authentication())
                .with_content_namespace(ContentNamespace::Server),
            certificate,
            did: Vec::new(),
            ended: None,
        }
    }

    /// `a.test` has opened it.
    fn open(policy: &str, transport: Transport, certificate: Judgement) -> Self {
        let mut this = Self::new(policy, transport, certificate);
        this.hears(&format!("{OPEN} from='a.test' to='b.test' version='1.0'>"));
        this
    }

    fn offers(&mut self) -> bool {
        self.did().concat().contains(OFFER)
    }

    fn did(&mut self) -> Vec<String> {
        std::mem::take(&mut self.did)
    }

    /// The pairs that are proved, in either direction.
    fn proofs(&mut self) -> Vec<String> {
        let is_proof = |it: &String| it.starts_with("proved") || it.starts_with("inverse");
        self.did().into_iter().filter(is_proof).collect()
    }

    fn hears(&mut self, said: &str) {
        for frame in frames(&mut self.codec, said) {
            self.event(InboundEvent::Frame(frame));
        }
    }

    fn key(&mut self, from: &str, verdict: Verdict) {
        self.hears(&format!(
            "<db:result from='{from}' to='b.test'>k</db:result>"
        ));
        let pair = Pair::new(from, "b.test");
        self.event(InboundEvent::Verdict(pair, verdict));
    }

    fn event(&mut self, event: InboundEvent) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        let (mut effects, mut judged) = (Vec::new(), Vec::new());
        match machine.handle(event, &mut effects) {
            Ok(next) => self.machine = Some(next),
            Err(closed) => self.ended = Some(closed.cause),
        }
        for effect in effects {
            self.did.push(match effect {
                InboundEffect::Send(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                InboundEffect::Judge(domain) => {
                    judged.push(Judged {
                        domain,
                        judgement: self.certificate.clone(),
                        identity: None,
                    });
                    continue;
                }
                InboundEffect::Restart(_) => {
                    self.codec.restart();
                    "restart".to_owned()
                }
                InboundEffect::Proved(authorized) => by("proved", &authorized),
                InboundEffect::InverseProved(authorized) => by("inverse", &authorized),
                InboundEffect::Stray { what, .. } => format!("stray {what}"),
                _ => continue,
            });
        }
        for judged in judged {
            self.event(InboundEvent::Judged(judged));
        }
    }
}

const EXTERNAL: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";

#[test]
fn both_directions_are_offered_within_tls_and_where_ours_may_be_used() {
    for (policy, transport, certificate, offers) in [
        ("", within_tls(true), good(), true),
        (DNS_ALONE, within_tls(true), bad(), true),
        (DNS_ALONE, within_tls(false), good(), true),
        // A stream of ours would want a certificate.
        ("", within_tls(false), good(), false),
        (DNS_ALONE, Transport::Plain, good(), false),
        ("bidi = false", within_tls(true), good(), false),
    ] {
        let mut receiver = Receiver::open(policy, transport, certificate);
        assert_eq!(receiver.offers(), offers, "{policy}");
    }
    // A driver that cannot send says nothing of it.
    let mut receiver = Receiver::new(DNS_ALONE, within_tls(false), good());
    receiver.machine = Some(Inbound::new(
        snapshot("b.test", DNS_ALONE),
        Box::new(Counting(1)),
        within_tls(false),
        Instant::now(),
    ));
    receiver.hears(&format!("{OPEN} from='a.test' to='b.test' version='1.0'>"));
    assert!(!receiver.offers());
}

#[test]
fn after_sasl_ours_begins_when_the_new_stream_is_open() {
    let mut receiver = Receiver::open("", within_tls(true), good());
    receiver.did();
    receiver.hears(BIDI);
    assert_eq!(receiver.did(), [""; 0]);
    receiver.hears(EXTERNAL);
    let proved = "proved b.test a.test by EXTERNAL";
    assert_eq!(receiver.did().last().unwrap(), proved);
    receiver.hears(&format!("{OPEN} from='a.test' to='b.test' version='1.0'>"));
    let did = receiver.did();
    assert_eq!(did.last().unwrap(), "inverse b.test a.test by EXTERNAL");
    assert!(did[did.len() - 2].contains("</stream:features>"), "{did:?}");
    assert!(!did.concat().contains(OFFER), "{did:?}");
}

#[test]
fn without_being_asked_for_ours_is_not_there() {
    let mut receiver = Receiver::open(DNS_ALONE, within_tls(false), good());
    receiver.key("a.test", Verdict::Valid);
    assert_eq!(receiver.proofs(), ["proved b.test a.test by dialback"]);
}

#[test]
fn with_dialback_ours_is_the_inverse_of_each_proved_pair_and_no_other() {
    let mut receiver = Receiver::open(DNS_ALONE, within_tls(false), good());
    receiver.hears(BIDI);
    let both = |remote: &str| {
        ["proved", "inverse"].map(|what| format!("{what} b.test {remote} by dialback"))
    };
    receiver.key("a.test", Verdict::Valid);
    assert_eq!(receiver.proofs(), both("a.test"));
    receiver.key("c.test", Verdict::Invalid);
    assert_eq!(receiver.proofs(), [""; 0]);
    receiver.key("d.test", Verdict::Valid);
    assert_eq!(receiver.proofs(), both("d.test"));
}

#[test]
fn ours_is_never_on_less_than_policy_asks_of_a_stream_of_ours() {
    // Without a certificate, dialback is proof enough of who sends, and not of where to send.
    let entry = format!("{DNS_ALONE}\n[[peer]]\ndomain = 'c.test'\nverify = 'strict'\n");
    let mut receiver = Receiver::open(&entry, within_tls(false), good());
    receiver.hears(BIDI);
    for (from, proofs) in [("a.test", 2), ("c.test", 1)] {
        receiver.key(from, Verdict::Valid);
        assert_eq!(receiver.proofs().len(), proofs, "{from}");
    }
    // With a good one it is, although `auth` does not name it.
    let mut receiver = Receiver::open("auth = ['dialback']", within_tls(true), good());
    receiver.hears(BIDI);
    for from in ["a.test", "c.test"] {
        receiver.key(from, Verdict::Valid);
        assert_eq!(receiver.proofs().len(), 2, "{from}");
    }
    // Whose rules they are may be known only from the proof.
    let entry = format!("{DNS_ALONE}\n[[peer]]\ndomain = 'a.test'\nbidi = false\n");
    let mut receiver = Receiver::new(&entry, within_tls(false), good());
    receiver.hears(&format!("{OPEN} to='b.test' version='1.0'>"));
    assert!(receiver.offers());
    receiver.hears(BIDI);
    receiver.key("a.test", Verdict::Valid);
    assert_eq!(receiver.proofs(), ["proved b.test a.test by dialback"]);
}

#[test]
fn what_asks_too_late_or_again_changes_nothing() {
    let mut receiver = Receiver::open(DNS_ALONE, within_tls(false), good());
    let limits = |most: u64| {
        format!(
            "<bidi xmlns='urn:xmpp:bidi'><limits xmlns='urn:xmpp:stream-limits:0'>\
             <max-bytes>{most}</max-bytes><idle-seconds>10</idle-seconds></limits></bidi>"
        )
    };
    receiver.hears(&limits(20_000));
    receiver.hears(&limits(30_000));
    receiver.key("a.test", Verdict::Valid);
    assert_eq!(receiver.proofs().len(), 2);
    let machine = receiver.machine.as_ref().unwrap();
    assert_eq!(machine.peer_max_stanza(), Some(20_000));
    assert_eq!(machine.keepalive(), Duration::from_secs(5));
    receiver.hears(BIDI);
    assert_eq!(receiver.did(), ["stray bidi in urn:xmpp:bidi"]);
    // A key is under way.
    let mut receiver = Receiver::open(DNS_ALONE, within_tls(false), good());
    receiver.hears("<db:result from='a.test' to='b.test'>k</db:result>");
    receiver.hears(BIDI);
    let pair = Pair::new("a.test", "b.test");
    receiver.event(InboundEvent::Verdict(pair, Verdict::Valid));
    assert_eq!(receiver.proofs(), ["proved b.test a.test by dialback"]);
}

#[test]
fn what_asks_in_the_namespace_of_the_feature_costs_nothing() {
    let mut receiver = Receiver::open(DNS_ALONE, within_tls(false), good());
    receiver.hears(OFFER);
    receiver.key("a.test", Verdict::Valid);
    assert_eq!(receiver.proofs(), ["proved b.test a.test by dialback"]);
}

#[test]
fn what_was_not_offered_is_not_taken() {
    for transport in [Transport::Plain, within_tls(false)] {
        let mut receiver = Receiver::open("", transport, good());
        receiver.hears(BIDI);
        let said = receiver.did().concat();
        assert!(said.contains("<unsupported-stanza-type"), "{said}");
        assert!(receiver.ended.is_some());
    }
}
