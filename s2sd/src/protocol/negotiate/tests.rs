//! Both ends in one test: an initiating and a receiving server that prove themselves by passwords.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio_util::codec::Decoder as _;
use xmpp_dialback::Secret;
use xmpp_sasl::wire::Nonza;
use xmpp_sasl::{
    ChannelBindingType, ChannelBindings, Failure, Password, Random, ScramHash, ScramKeys,
};
use xmpp_stream::{Codec, ContentNamespace, Context, Domain, Element, Frame, XmlLimits};

use super::*;
use crate::closed::{Cause, Closed};
use crate::config::Config;
use crate::trust::judgement::Because;

mod bidi;
mod judging;
mod kerberos;
mod questions;
mod upgrade;

struct Counting(u64);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = self.0.to_be_bytes()[0];
        }
    }
}

fn snapshot(served: &str, peers: &str) -> Arc<Snapshot> {
    let base = std::env::temp_dir();
    let toml = format!("[[domain]]\nname = '{served}'\n[policy]\ntls = 'optional'\n{peers}");
    let loaded = match Config::from_toml(&toml, "s2sd.toml", &base) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{faults}"),
    };
    let secret = Secret::new(served);
    Arc::new(Snapshot::new(Arc::new(loaded.config), secret, |_| false))
}

fn tls(exported: &[u8]) -> Transport {
    Transport::Tls(Secured {
        facts: TlsFacts {
            version: "TLS 1.3",
            cipher: String::new(),
            group: None,
        },
        ems: true,
        certificate_shown: false,
        channel_bindings: ChannelBindings::none().with(ChannelBindingType::TlsExporter, exported),
    })
}

/// What a good certificate is judged to be.
fn proved() -> Judgement {
    let matched = Default::default();
    Because::Name { matched }.into()
}

/// What comes out of one side, or why it ended.
struct Side {
    codec: Codec,
    heard: BytesMut,
    proved: Option<Method>,
    closed: Option<Closed>,
}

impl Side {
    fn new() -> Self {
        Self {
            codec: Codec::new(XmlLimits::before_authentication()),
            heard: BytesMut::new(),
            proved: None,
            closed: None,
        }
    }

    fn cause(&self) -> Option<&Cause> {
        self.closed.as_ref().map(|closed| &closed.cause)
    }
}

/// What was said and what came of it.
struct Ends {
    initiating: Side,
    receiving: Side,
    /// In order, all that either side sent.
    said: String,
    /// What somebody on the way makes of what the receiving side sends.
    on_the_way: fn(String) -> String,
}

/// `a.test` makes a stream to `b.test`, each with its own transport: a man in the middle has two.
fn federate(a: &Arc<Snapshot>, b: &Arc<Snapshot>, transports: [Transport; 2]) -> Ends {
    federate_through(a, b, transports, |said| said)
}

fn federate_through(
    a: &Arc<Snapshot>,
    b: &Arc<Snapshot>,
    transports: [Transport; 2],
    on_the_way: fn(String) -> String,
) -> Ends {
    let now = Instant::now();
    let [ours, theirs] = transports;
    let mut ends = Ends {
        initiating: Side::new(),
        receiving: Side::new(),
        said: String::new(),
        on_the_way,
    };
    let pair = DomainPair {
        local: Domain::parse("a.test").unwrap(),
        remote: Domain::parse("b.test").unwrap(),
    };
    let call = Call {
        encrypt: false,
        snapshot: Arc::clone(a),
        pair,
        purpose: Purpose::Deliver,
        excluded: Vec::new(),
    };
    let mut effects = Vec::new();
    let mut outbound = Some(Outbound::start(
        call,
        Box::new(Counting(1)),
        ours,
        now,
        &mut effects,
    ));
    let mut inbound = Some(Inbound::new(
        Arc::clone(b),
        Box::new(Counting(2)),
        theirs,
        now,
    ));
    loop {
        let mut answer = None;
        for effect in effects.drain(..) {
            match effect {
                OutboundEffect::Send(bytes) => {
                    ends.said.push_str(&String::from_utf8_lossy(&bytes));
                    ends.receiving.heard.extend_from_slice(&bytes);
                }
                OutboundEffect::Judge(domain) => {
                    answer = Some(OutboundEvent::Judged(Judged {
                        domain: Some(domain),
                        judgement: proved(),
                        identity: None,
                    }));
                }
                OutboundEffect::RunSasl(sasl_step) => {
                    answer = Some(OutboundEvent::SaslStepDone(sasl_step.run()));
                }
                OutboundEffect::Restart(_) => ends.initiating.codec.restart(),
                OutboundEffect::Established(authorized) => {
                    ends.initiating.proved = Some(authorized.method());
                }
                _ => {}
            }
        }
        if let Some(machine) = inbound.take() {
            inbound = receive(machine, &mut ends);
        }
        let event = match answer {
            Some(event) => event,
            None => match ends
                .initiating
                .codec
                .decode(&mut ends.initiating.heard)
                .unwrap()
            {
                Some(frame) => OutboundEvent::Frame(frame),
                None => return ends,
            },
        };
        let Some(machine) = outbound.take() else {
            return ends;
        };
        match machine.handle(event, &mut effects) {
            Ok(next) => outbound = Some(next),
            Err(closed) => ends.initiating.closed = Some(closed),
        }
    }
}

/// The receiving side takes all that is there.
fn receive(mut machine: Box<Inbound>, ends: &mut Ends) -> Option<Box<Inbound>> {
    let mut answer = None;
    loop {
        let event = match answer.take() {
            Some(event) => event,
            None => match ends
                .receiving
                .codec
                .decode(&mut ends.receiving.heard)
                .unwrap()
            {
                Some(frame) => InboundEvent::Frame(frame),
                None => return Some(machine),
            },
        };
        let mut effects = Vec::new();
        let step = machine.handle(event, &mut effects);
        for effect in effects {
            match effect {
                InboundEffect::Send(bytes) => {
                    let said = String::from_utf8_lossy(&bytes);
                    ends.said.push_str(&said);
                    let heard = (ends.on_the_way)(said.into_owned());
                    ends.initiating.heard.extend_from_slice(heard.as_bytes());
                }
                InboundEffect::RunSasl(sasl_step) => {
                    answer = Some(InboundEvent::SaslStepDone(sasl_step.run()));
                }
                InboundEffect::Restart(_) => ends.receiving.codec.restart(),
                InboundEffect::Proved(authorized) => {
                    ends.receiving.proved = Some(authorized.method());
                }
                _ => {}
            }
        }
        match step {
            Ok(next) => machine = next,
            Err(closed) => {
                ends.receiving.closed = Some(closed);
                return None;
            }
        }
    }
}

fn says(auth: &str, rest: &str) -> Arc<Snapshot> {
    says_as("a.test", "correct horse", auth, rest)
}

fn says_as(username: &str, password: &str, auth: &str, rest: &str) -> Arc<Snapshot> {
    let entry = format!(
        "[[peer]]\ndomain = 'b.test'\nauth = [{auth}]\n{rest}\n\
         credentials = {{ username = '{username}', password = '{password}' }}\n"
    );
    snapshot("a.test", &entry)
}

fn hears(auth: &str, rest: &str) -> Arc<Snapshot> {
    let entry = format!(
        "[[peer]]\ndomain = 'a.test'\nauth = [{auth}]\n{rest}\n\
         accept = {{ username = 'a.test', password = 'correct horse' }}\n"
    );
    snapshot("b.test", &entry)
}

const CLEAR: &str = "tls = 'disabled'";

#[test]
fn every_password_mechanism_proves_both_ends_over_tls() {
    for method in Method::SCRAM
        .into_iter()
        .chain([Method::DigestMd5, Method::Plain])
    {
        let auth = format!("'{}'", method.word());
        let ends = federate(
            &says(&auth, ""),
            &hears(&auth, ""),
            [tls(b"one"), tls(b"one")],
        );
        assert_eq!(ends.initiating.proved, Some(method), "{}", ends.said);
        assert_eq!(ends.receiving.proved, Some(method));
        let mechanism = format!("<mechanism>{}</mechanism>", method.name());
        assert!(ends.said.contains(&mechanism));
        // XEP-0440: the types are announced where they can be used.
        let types = ends.said.contains("<channel-binding type='tls-exporter'/>")
            || ends
                .said
                .contains("<channel-binding type=\"tls-exporter\"/>");
        assert_eq!(types, method.is_plus(), "{}", ends.said);
    }
}

#[test]
fn the_strongest_of_scram_is_used() {
    let both = [tls(b"one"), tls(b"one")];
    let ends = federate(&says("'scram'", ""), &hears("'scram'", ""), both);
    assert_eq!(ends.receiving.proved, Some(Method::ScramSha512Plus));
    let both = [Transport::Plain, Transport::Plain];
    let ends = federate(&says("'scram'", CLEAR), &hears("'scram'", CLEAR), both);
    assert_eq!(ends.receiving.proved, Some(Method::ScramSha512));
    assert!(!ends.said.contains("-PLUS"), "{}", ends.said);
}

#[test]
fn who_sits_between_two_connections_is_found_out_and_nothing_weaker_follows() {
    let auth = "'scram', 'digest-md5', 'plain'";
    let ends = federate(
        &says(auth, ""),
        &hears(auth, ""),
        [tls(b"one"), tls(b"two")],
    );
    assert_eq!(
        (ends.initiating.proved, ends.receiving.proved),
        (None, None)
    );
    assert_eq!(ends.said.matches("<auth").count(), 1, "{}", ends.said);
    assert!(matches!(
        ends.initiating.cause(),
        Some(Cause::Refused {
            mechanism: "SCRAM-SHA-512-PLUS",
            failure: Failure::NotAuthorized
        })
    ));
}

#[test]
fn a_list_of_channel_bindings_that_no_server_sends_gets_no_password() {
    let offers = hears("'scram-sha-1-plus', 'digest-md5', 'plain'", "");
    let transports = || [tls(b"one"), tls(b"one")];
    for weak in ["plain", "digest-md5"] {
        let weak = says(&format!("'{weak}'"), "");
        let ends = federate_through(&weak, &offers, transports(), |said| {
            said.replace("tls-exporter", "tls-sourdough")
        });
        assert!(!ends.said.contains("<auth"), "{}", ends.said);
        let cause = ends.initiating.cause().unwrap().to_string();
        let why = "no type that exists here, not even tls-server-end-point";
        assert!(cause.contains(why), "{cause}");
        let ends = federate(&weak, &offers, transports());
        assert!(ends.receiving.proved.is_some(), "{}", ends.said);
    }
}

#[test]
fn a_wrong_password_is_said_once() {
    let auth = "'scram', 'digest-md5', 'plain'";
    let wrong = says_as("a.test", "battery staple", auth, "");
    let ends = federate(&wrong, &hears(auth, ""), [tls(b"one"), tls(b"one")]);
    assert_eq!(
        (ends.initiating.proved, ends.receiving.proved),
        (None, None)
    );
    assert_eq!(ends.said.matches("<auth").count(), 1, "{}", ends.said);
    assert!(matches!(
        ends.initiating.cause(),
        Some(Cause::Refused {
            failure: Failure::NotAuthorized,
            ..
        })
    ));
}

#[test]
fn after_a_wrong_password_dialback_may_follow() {
    let auth = "'scram-sha-256', 'plain', 'dialback'";
    let wrong = says_as("a.test", "battery staple", auth, "");
    let ends = federate(&wrong, &hears(auth, ""), [tls(b"one"), tls(b"one")]);
    assert_eq!(ends.said.matches("<auth").count(), 1, "{}", ends.said);
    assert!(ends.said.contains("db:result"), "{}", ends.said);
}

#[test]
fn a_domain_is_no_other_domain() {
    let entry = "[[peer]]\ndomain = 'b.test'\nauth = ['scram-sha-256']\n\
         credentials = { username = 'a.test', password = 'correct horse', authzid = 'c.test' }\n";
    let a = snapshot("a.test", entry);
    let ends = federate(
        &a,
        &hears("'scram-sha-256'", ""),
        [tls(b"one"), tls(b"one")],
    );
    assert_eq!(
        (ends.initiating.proved, ends.receiving.proved),
        (None, None)
    );
    assert!(ends.said.contains("<invalid-authzid"), "{}", ends.said);
}

#[test]
fn the_password_itself_is_never_asked_for_without_tls() {
    let auth = "'plain', 'scram-sha-256', 'dialback'";
    let clear = || [Transport::Plain, Transport::Plain];
    // `optional`: not before TLS.
    let ends = federate(&says(auth, ""), &hears(auth, ""), clear());
    assert!(!ends.said.contains("<mechanism>"), "{}", ends.said);
    assert!(ends.said.contains("db:result"));
    // Switched off, as the entries themselves say: SCRAM.
    let auth = "'scram-sha-256'";
    let ends = federate(&says(auth, CLEAR), &hears(auth, CLEAR), clear());
    assert_eq!(ends.receiving.proved, Some(Method::ScramSha256));
}

/// A snapshot whose keys of `a.test` are for one hash function.
fn keeps(name: &str, auth: &str) -> Arc<Snapshot> {
    let password = Password::new("correct horse");
    let keys = ScramKeys::derive(ScramHash::Sha256, &password, b"0123456789abcdef", 4096).unwrap();
    let file = std::env::temp_dir().join(format!("s2sd-{name}-{}", std::process::id()));
    std::fs::write(&file, keys.to_text().as_bytes()).unwrap();
    let entry = format!(
        "[[peer]]\ndomain = 'a.test'\nauth = [{auth}]\n\
         accept = {{ username = 'a.test', scram_file = {file:?} }}\n"
    );
    let snapshot = snapshot("b.test", &entry);
    std::fs::remove_file(file).unwrap();
    snapshot
}

#[test]
fn stored_keys_do_for_scram_of_their_hash_and_for_plain() {
    let keeper = keeps("stored", "'scram', 'plain'");
    let both = || [tls(b"one"), tls(b"one")];
    let ends = federate(&says("'scram'", ""), &keeper, both());
    assert_eq!(ends.receiving.proved, Some(Method::ScramSha256Plus));
    assert!(!ends.said.contains("SCRAM-SHA-512"), "{}", ends.said);
    let ends = federate(&says("'plain'", ""), &keeper, both());
    assert_eq!(ends.receiving.proved, Some(Method::Plain));
    let wrong = says_as("a.test", "battery staple", "'plain'", "");
    assert_eq!(federate(&wrong, &keeper, both()).receiving.proved, None);
}

/// What comes of these words of a peer over TLS.
fn said_to(
    snapshot: &Arc<Snapshot>,
    transport: Transport,
    judged: Option<&str>,
    words: &[&str],
) -> Ends {
    let mut ends = Ends {
        initiating: Side::new(),
        receiving: Side::new(),
        said: String::new(),
        on_the_way: |said| said,
    };
    let mut inbound = Inbound::new(
        Arc::clone(snapshot),
        Box::new(Counting(3)),
        transport,
        Instant::now(),
    );
    for word in words {
        ends.receiving.heard.extend_from_slice(word.as_bytes());
        // The certificate is judged in the middle of it.
        let mut effects = Vec::new();
        if let Some(identity) = judged
            && let Stage::Header = stage(word)
        {
            let frame = ends
                .receiving
                .codec
                .decode(&mut ends.receiving.heard)
                .unwrap()
                .unwrap();
            assert!(matches!(frame, Frame::Header(_)));
            inbound = inbound
                .handle(InboundEvent::Frame(frame), &mut effects)
                .unwrap();
            assert!(matches!(effects.as_slice(), [InboundEffect::Judge(None)]));
            effects.clear();
            let judged = Judged {
                domain: None,
                judgement: proved(),
                identity: Some(Domain::parse(identity).unwrap()),
            };
            inbound = inbound
                .handle(InboundEvent::Judged(judged), &mut effects)
                .unwrap();
            for effect in effects {
                if let InboundEffect::Send(bytes) = effect {
                    ends.said.push_str(&String::from_utf8_lossy(&bytes));
                }
            }
        }
        match receive(inbound, &mut ends) {
            Some(next) => inbound = next,
            None => break,
        }
    }
    ends
}

#[test]
fn a_server_whose_certificate_the_dns_names_gets_nothing_without_tls() {
    for (encrypt, want) in [(true, Err(Cause::TlsNotOffered)), (false, Ok(()))] {
        let pair = DomainPair {
            local: Domain::parse("a.test").unwrap(),
            remote: Domain::parse("b.test").unwrap(),
        };
        let call = Call {
            encrypt,
            snapshot: snapshot("a.test", ""),
            pair,
            purpose: Purpose::Deliver,
            excluded: Vec::new(),
        };
        let mut effects = Vec::new();
        let random = Box::new(Counting(1));
        let plain = Transport::Plain;
        let mut outbound = Outbound::start(call, random, plain, Instant::now(), &mut effects);
        let mut codec = Codec::new(XmlLimits::before_authentication())
            .with_content_namespace(ContentNamespace::Server);
        let text = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
            from='b.test' id='1' version='1.0'><stream:features/>";
        let mut heard = BytesMut::from(text);
        let mut ended = Ok(());
        while let Some(frame) = codec.decode(&mut heard).unwrap() {
            match outbound.handle(OutboundEvent::Frame(frame), &mut effects) {
                Ok(next) => outbound = next,
                Err(closed) => {
                    ended = Err(closed.cause);
                    break;
                }
            }
        }
        assert_eq!(ended, want);
    }
}

enum Stage {
    Header,
    Element,
}

fn stage(word: &str) -> Stage {
    if word.starts_with("<stream:stream") {
        Stage::Header
    } else {
        Stage::Element
    }
}

const HEADER: &str = "<stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' to='b.test' version='1.0'>";

fn auth(mechanism: &str, message: &str) -> String {
    let auth = Nonza::Auth {
        mechanism: mechanism.to_owned(),
        initial: Some(message.as_bytes().to_vec()),
    };
    String::from_utf8(auth.to_bytes().to_vec()).unwrap()
}

#[test]
fn a_name_that_was_only_said_is_not_kept_for_the_next_mechanism() {
    let snapshot = hears("'external', 'scram-sha-256'", "");
    let Transport::Tls(secured) = tls(b"one") else {
        unreachable!()
    };
    let shown = || {
        Transport::Tls(Secured {
            certificate_shown: true,
            ..secured.clone()
        })
    };
    let scram = auth("SCRAM-SHA-256", "n,,n=a.test,r=nonce");
    let external = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
    let ends = said_to(
        &snapshot,
        shown(),
        Some("evil.test"),
        &[HEADER, &scram, external],
    );
    assert!(ends.said.contains("<success"), "{}", ends.said);
    // It is in, as itself.
    let ends = said_to(
        &snapshot,
        shown(),
        Some("evil.test"),
        &[HEADER, &scram, &auth("EXTERNAL", "a.test")],
    );
    assert!(ends.said.contains("<invalid-authzid"), "{}", ends.said);
    assert_eq!(ends.receiving.proved, None);
}

#[test]
fn a_username_without_from_is_held_to_its_own_entry() {
    let entries = "[[peer]]\ndomain = 'a.test'\nauth = ['digest-md5']\n\
         accept = { username = 'a', password = 'correct horse' }\n\
         [[peer]]\ndomain = 'c.test'\nauth = ['plain']\n\
         accept = { username = 'c', password = 'correct horse' }\n";
    let snapshot = snapshot("b.test", entries);
    let plain = |name: &str| auth("PLAIN", &format!("\0{name}\0correct horse"));
    let ends = said_to(&snapshot, tls(b"one"), None, &[HEADER, &plain("a")]);
    assert!(
        ends.said.contains("<mechanism>PLAIN</mechanism>"),
        "{}",
        ends.said
    );
    assert!(ends.said.contains("<not-authorized"), "{}", ends.said);
    let ends = said_to(&snapshot, tls(b"one"), None, &[HEADER, &plain("c")]);
    assert_eq!(ends.receiving.proved, Some(Method::Plain));
}

#[test]
fn a_name_that_nobody_has_looks_like_one_that_somebody_has() {
    let challenge = |snapshot: &Arc<Snapshot>, name: &str| {
        let message = auth("SCRAM-SHA-256", &format!("n,,n={name},r=nonce"));
        let ends = said_to(snapshot, tls(b"one"), None, &[HEADER, &message]);
        let (_, rest) = ends.said.split_once("</stream:features>").unwrap();
        let context = Context::new(ContentNamespace::Server);
        let element = Element::parse(rest.to_owned(), &context).unwrap();
        let Some(Ok(Nonza::Challenge(text))) = Nonza::from_element(&element) else {
            panic!("{rest}")
        };
        let text = String::from_utf8(text).unwrap();
        let parts: Vec<&str> = text.split(',').collect();
        (parts[1].to_owned(), parts[2].to_owned())
    };
    for snapshot in [
        hears("'scram-sha-256'", ""),
        keeps("alike", "'scram-sha-256'"),
    ] {
        let (salt, count) = challenge(&snapshot, "nobody");
        assert_eq!(
            challenge(&snapshot, "nobody"),
            (salt.clone(), count.clone())
        );
        assert_ne!(challenge(&snapshot, "somebody").0, salt);
        assert_eq!(challenge(&snapshot, "a.test").1, count);
    }
}
