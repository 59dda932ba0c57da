//! Stanzas of the peer's on a stream that we opened.

use super::*;

/// An initiating entity, `a.test`, that opened a stream to `b.test`.
struct Caller {
    machine: Option<Box<Outbound>>,
    codec: Codec,
    did: Vec<String>,
    ended: Option<Cause>,
    /// What the peer's certificate is worth for the domains asked about.
    certificate: Judgement,
}

const FEATURES: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
     <mechanism>SCRAM-SHA-256</mechanism><mechanism>PLAIN</mechanism></mechanisms>\
     <dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
const VALID: &str = "<db:result from='b.test' to='a.test' type='valid'/>";

impl Caller {
    /// It has heard these features.
    fn start(policy: &str, transport: Transport, certificate: Judgement, features: &str) -> Self {
        let call = Call {
            snapshot: snapshot("a.test", policy),
            pair: DomainPair {
                local: domain("a.test"),
                remote: domain("b.test"),
            },
            purpose: Purpose::Deliver,
            excluded: Vec::new(),
            encrypt: false,
        };
        let mut effects = Vec::new();
        let random = Box::new(Counting(1));
        let outbound = Outbound::start(call, random, transport, Instant::now(), &mut effects);
        let mut this = Self {
            machine: Some(outbound.with_bidi()),
            codec: Codec::new(XmlLimits::before_authentication())
                .with_content_namespace(ContentNamespace::Server),
            did: Vec::new(),
            ended: None,
            certificate,
        };
        this.after(effects);
        this.hears(&format!("{OPEN} id='1' from='b.test' version='1.0'>"));
        this.did.clear();
        this.hears(&format!(
            "<stream:features>{FEATURES}{features}</stream:features>"
        ));
        this
    }

    /// A stream that is open in both directions, by dialback.
    fn open(policy: &str, certificate: Judgement) -> Self {
        let mut this = Self::start(policy, within_tls(true), certificate, OFFER);
        this.hears(VALID);
        assert!(this.did().concat().contains("inverse"));
        this
    }

    fn did(&mut self) -> Vec<String> {
        std::mem::take(&mut self.did)
    }

    fn hears(&mut self, said: &str) {
        for frame in frames(&mut self.codec, said) {
            self.event(OutboundEvent::Frame(frame));
        }
    }

    fn event(&mut self, event: OutboundEvent) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        let mut effects = Vec::new();
        match machine.handle(event, &mut effects) {
            Ok(next) => self.machine = Some(next),
            Err(closed) => self.ended = Some(closed.cause),
        }
        self.after(effects);
    }

    fn after(&mut self, effects: Vec<OutboundEffect>) {
        let mut then = Vec::new();
        for effect in effects {
            self.did.push(match effect {
                OutboundEffect::Send(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                OutboundEffect::Judge(domain) => {
                    then.push(OutboundEvent::Judged(Judged {
                        domain: Some(domain),
                        judgement: self.certificate.clone(),
                        identity: None,
                    }));
                    continue;
                }
                OutboundEffect::RunSasl(step) => {
                    then.push(OutboundEvent::SaslStepDone(step.run()));
                    continue;
                }
                OutboundEffect::Established(authorized) => by("established", &authorized),
                OutboundEffect::InverseProved(authorized) => format!(
                    "{}, {}",
                    by("inverse", &authorized),
                    authorized.judgement().because()
                ),
                OutboundEffect::Deliver(stanza, _) => format!("delivered to {}", stanza.target()),
                OutboundEffect::Bounce(_, error, _) => {
                    format!("bounced {}", error.condition.name())
                }
                OutboundEffect::PairRefused(pair, _) => format!("refused {}", pair.remote),
                OutboundEffect::Stray { what, .. } => format!("stray {what}"),
                _ => continue,
            });
        }
        for event in then {
            self.event(event);
        }
    }
}

#[test]
fn both_directions_are_asked_for_where_what_is_known_is_as_much_as_policy_asks() {
    let of_password = |auth: &str, accept: &str| {
        format!(
            "[[peer]]\ndomain = 'b.test'\nauth = [{auth}]\n\
             credentials = {{ username = 'a', password = 'correct horse' }}\n{accept}"
        )
    };
    let accept = "accept = { username = 'b', password = 'battery staple' }\n";
    for (policy, certificate, asks) in [
        ("", good(), true),
        ("auth = ['external']", good(), true),
        ("auth = ['dialback']", good(), true),
        (DNS_ALONE, bad(), true),
        ("bidi = false", good(), false),
        // The server proves itself by the password, and no such proof is accepted from it.
        (&of_password("'scram-sha-256'", ""), good(), false),
        (&of_password("'scram-sha-256'", accept), good(), true),
        // By this one it does not prove itself.
        (&of_password("'plain'", accept), good(), false),
        (
            &of_password("'scram-sha-256', 'plain'", accept),
            good(),
            false,
        ),
    ] {
        let mut caller = Caller::start(policy, within_tls(true), certificate, OFFER);
        let did = caller.did();
        let said = |it: &String| it.contains("urn:xmpp:bidi");
        assert_eq!(did.iter().any(said), asks, "{policy}: {did:?}");
        if asks {
            // Before anything that proves who we are.
            assert!(said(&did[0]), "{policy}: {did:?}");
            assert!(did[0].contains("<max-bytes>524288<"), "{did:?}");
        }
    }
    for (transport, features) in [(within_tls(true), ""), (Transport::Plain, OFFER)] {
        let mut caller = Caller::start("", transport, good(), features);
        let said = caller.did().concat();
        assert!(!said.contains("urn:xmpp:bidi"), "{said}");
        caller.hears(VALID);
        assert_eq!(caller.did(), ["established a.test b.test by dialback"]);
        // The stream runs one way.
        caller.hears("<message from='b.test' to='a.test'/>");
        assert_eq!(caller.did(), ["stray message"]);
    }
}

#[test]
fn what_proves_the_server_proves_its_direction() {
    let reached = "dialback, the domain's DNS leads to this server";
    for (policy, certificate, proof) in [
        ("", good(), "EXTERNAL, "),
        ("auth = ['dialback']", good(), reached),
        (DNS_ALONE, bad(), reached),
    ] {
        let mut caller = Caller::start(policy, within_tls(true), certificate, OFFER);
        caller.did();
        caller.hears(VALID);
        let both = [
            "established a.test b.test by dialback".to_owned(),
            format!("inverse a.test b.test by {proof}"),
        ];
        assert_eq!(caller.did(), both, "{policy}");
    }
}

#[test]
fn a_mechanism_that_proves_both_sides_proves_both_directions() {
    use super::super::super::bidi::{Server, theirs};
    let accept = "accept = { username = 'b.test', password = 'battery staple' }\n";
    let snapshot = says("'scram-sha-256'", accept);
    let pair = DomainPair {
        local: domain("a.test"),
        remote: domain("b.test"),
    };
    let policy = snapshot.policy(&pair.remote);
    let judgement = good();
    let by = |by| {
        let server = Server {
            judgement: &judgement,
            is_reached: true,
            by,
        };
        let theirs = theirs(&policy, &within_tls(true), &pair, server);
        theirs.map(|it| (it.method(), it.judgement().clone()))
    };
    let method = Method::ScramSha256;
    let mechanism: Judgement = Because::Mechanism(method.name()).into();
    assert_eq!(by(Some(method)), Some((method, mechanism)));
    for no_proof in [Some(Method::Plain), Some(Method::ScramSha512), None] {
        assert_eq!(by(no_proof), None);
    }
}

#[test]
fn the_stanzas_of_a_proved_pair_are_taken_and_no_others() {
    let mut caller = Caller::open("", good());
    caller.hears("<message from='u@b.test' to='a.test'/>");
    assert_eq!(caller.did(), ["delivered to a.test"]);
    caller.hears("<message from='u@b.test/\u{7f}' to='a.test'/>");
    assert_eq!(caller.did(), ["bounced jid-malformed"]);
    caller.hears("<message xmlns='jabber:client' from='u@b.test' to='a.test'/>");
    assert_eq!(caller.did(), ["bounced bad-request"]);
    caller.hears("<x xmlns='urn:x'/>");
    assert_eq!(caller.did(), ["stray x"]);
    for (from, to, condition) in [
        ("c.test", "a.test", "<invalid-from"),
        ("b.test", "two.test", "<host-unknown"),
    ] {
        let mut caller = Caller::open("", good());
        caller.hears(&format!("<message from='{from}' to='{to}'/>"));
        let did = caller.did().concat();
        assert!(did.contains(condition), "{did}");
        assert!(
            !did.contains("delivered") && caller.ended.is_some(),
            "{did}"
        );
    }
    // Before a proof there is none.
    let mut caller = Caller::start("", within_tls(true), good(), OFFER);
    caller.did();
    caller.hears("<message from='b.test' to='a.test'/>");
    let did = caller.did().concat();
    assert!(did.contains("<not-authorized"), "{did}");
}

#[test]
fn a_further_pair_brings_its_other_direction() {
    let further = |remote: &str| {
        OutboundEvent::AddPair(DomainPair {
            local: domain("two.test"),
            remote: domain(remote),
        })
    };
    let mut caller = Caller::open("", good());
    caller.event(further("b.test"));
    caller.did();
    caller.hears("<db:result from='b.test' to='two.test' type='valid'/>");
    let did = caller.did();
    assert_eq!(did[0], "established two.test b.test by dialback");
    assert!(did[1].starts_with("inverse two.test b.test by EXTERNAL"));
    caller.hears("<message from='b.test' to='two.test'/><message from='b.test' to='a.test'/>");
    let delivered = ["delivered to two.test", "delivered to a.test"];
    assert_eq!(caller.did(), delivered);
    // We connected to where another domain's DNS leads: for this one, only a certificate says who it is.
    for (certificate, refused) in [(good(), false), (bad(), true)] {
        let mut caller = Caller::open(DNS_ALONE, certificate);
        caller.event(further("c.test"));
        let did = caller.did().concat();
        assert_eq!(did.contains("refused c.test"), refused, "{did}");
    }
}

#[test]
fn a_key_on_a_stream_of_ours_is_answered_and_proves_nothing() {
    let mut caller = Caller::open("", good());
    let key = |from: &str, to: &str| format!("<db:result from='{from}' to='{to}'>k</db:result>");
    for (from, to, answer) in [
        ("b.test", "a.test", "type='valid'"),
        ("c.test", "a.test", "<resource-constraint"),
        ("b.test", "two.test", "<item-not-found"),
    ] {
        caller.hears(&key(from, to));
        let did = caller.did();
        assert!(did.concat().contains(answer), "{did:?}");
        assert_eq!(did.len(), 1, "{did:?}");
    }
    for _ in 0..20 {
        caller.hears(&key("c.test", "a.test"));
    }
    assert_eq!(caller.ended, Some(Cause::TooManyFailures));
    // Without bidi nothing comes by it.
    let mut caller = Caller::start("", within_tls(true), good(), "");
    caller.hears(VALID);
    caller.did();
    caller.hears(&key("b.test", "a.test"));
    assert!(caller.did().concat().contains("<unsupported-stanza-type"));
}

#[test]
fn a_question_about_a_key_is_answered_on_a_stream_that_carries_both_directions() {
    let mut caller = Caller::open("", good());
    caller.hears("<db:verify from='b.test' to='a.test' id='7'>k</db:verify>");
    let said = caller.did().concat();
    assert!(said.contains("id='7'"), "{said}");
    assert!(said.contains("type='invalid'"), "{said}");
    assert!(caller.ended.is_none());
}

#[test]
fn what_the_peers_direction_rests_on_is_judged_again() {
    let caller = Caller::open(DNS_ALONE, good());
    assert!(caller.machine.unwrap().rests_on_certificate());
}

#[test]
fn a_pair_that_is_proved_is_used_again_and_one_that_is_asked_for_is_asked_for_once() {
    let mut caller = Caller::start("", within_tls(true), good(), "");
    caller.hears(VALID);
    caller.did();
    let add = |caller: &mut Caller, local: &str| {
        caller.event(OutboundEvent::AddPair(DomainPair {
            local: domain(local),
            remote: domain("b.test"),
        }));
        caller.did()
    };
    let proved = |local: &str| format!("established {local} b.test by dialback");
    assert_eq!(add(&mut caller, "a.test"), [proved("a.test")]);
    assert!(add(&mut caller, "two.test")[0].starts_with("<db:result"));
    assert_eq!(add(&mut caller, "two.test"), [""; 0]);
    caller.hears("<db:result from='b.test' to='two.test' type='valid'/>");
    assert_eq!(caller.did(), [proved("two.test")]);
    assert_eq!(add(&mut caller, "two.test"), [proved("two.test")]);
}
