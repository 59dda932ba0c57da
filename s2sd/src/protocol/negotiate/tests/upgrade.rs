//! STARTTLS: what was said before it counts for nothing after it (RFC 6120 §5.4.3.3).

use std::time::Duration;

use super::*;
use crate::config::{self, MinTls, TlsFloor};

/// All frames of a stream that says this.
fn frames(said: &str) -> Vec<Frame> {
    let mut codec = Codec::new(XmlLimits::before_authentication());
    let mut buffer = BytesMut::from(said);
    std::iter::from_fn(|| codec.decode(&mut buffer).unwrap()).collect()
}

const OPEN: &str =
    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'";

#[test]
fn a_limit_on_stanzas_holds_only_if_it_was_said_within_tls_and_is_one() {
    let pair = DomainPair {
        local: Domain::parse("a.test").unwrap(),
        remote: Domain::parse("b.test").unwrap(),
    };
    let call = Call {
        snapshot: snapshot("a.test", "auth = ['dialback']\nverify = 'dialback'\n"),
        pair,
        purpose: Purpose::Deliver,
        excluded: Vec::new(),
        encrypt: false,
    };
    let mut effects = Vec::new();
    let plain = Transport::Plain;
    let random = Box::new(Counting(1));
    let mut outbound = Outbound::start(call, random, plain, Instant::now(), &mut effects);
    let mut hear = |mut outbound: Box<Outbound>, events: Vec<OutboundEvent>| {
        for event in events {
            outbound = outbound.handle(event, &mut effects).unwrap();
        }
        outbound
    };
    let limit = |most: u64| {
        format!(
            "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{most}</max-bytes>\
             <idle-seconds>{}</idle-seconds></limits>",
            most / 1000
        )
    };
    let says = |said: String| -> Vec<OutboundEvent> {
        let said = frames(&format!("{OPEN} id='1' from='b.test' version='1.0'>{said}"));
        said.into_iter().map(OutboundEvent::Frame).collect()
    };
    let clear = format!(
        "<stream:features><starttls xmlns='{0}'/>{1}</stream:features><proceed xmlns='{0}'/>",
        xmpp_stream::ns::TLS,
        limit(20_000),
    );
    outbound = hear(outbound, says(clear));
    assert_eq!(outbound.peer_max_stanza(), Some(20_000));
    assert_eq!(outbound.keepalive(), Duration::from_secs(10));
    let Transport::Tls(secured) = tls(b"x") else {
        panic!()
    };
    let judged = Judged {
        domain: None,
        judgement: proved(),
        identity: None,
    };
    let upgraded = vec![
        OutboundEvent::TlsReady(secured),
        OutboundEvent::Judged(judged),
    ];
    outbound = hear(outbound, upgraded);
    assert_eq!(outbound.peer_max_stanza(), None);
    let own = config::Limits::default().keepalive;
    assert_eq!(outbound.keepalive(), own);
    assert_eq!(outbound.stream_id(), "");
    let within = format!("<stream:features>{}</stream:features>", limit(9_999));
    outbound = hear(outbound, says(within));
    assert_eq!(outbound.peer_max_stanza(), None);
    // Well before the 9 seconds after which the peer may close the stream.
    assert_eq!(outbound.keepalive(), Duration::from_millis(4_500));
}

/// A snapshot in which peers have rules of their own for the handshake.
fn picky() -> Arc<Snapshot> {
    let peers = "[[peer]]\ndomain = 'new.test'\nmin_tls = '1.3'\n\
                 [[peer]]\ndomain = 'old.test'\nrequire_ems = false\n";
    snapshot("b.test", peers)
}

#[test]
fn what_a_handshake_lacks_for_a_peer_ends_the_stream_when_it_says_who_it_is() {
    // The version, whether it has the extended master secret, and who may use it.
    for (version, ems, may) in [
        ("TLS 1.3", true, &["new.test", "old.test", "a.test"][..]),
        ("TLS 1.2", true, &["old.test", "a.test"]),
        ("TLS 1.2", false, &["old.test"]),
    ] {
        for from in ["new.test", "old.test", "a.test"] {
            let Transport::Tls(mut secured) = tls(b"x") else {
                panic!()
            };
            secured.facts.version = version;
            secured.ems = ems;
            let (transport, mut effects) = (Transport::Tls(secured), Vec::new());
            let inbound = Inbound::new(picky(), Box::new(Counting(2)), transport, Instant::now());
            let text = format!("{OPEN} from='{from}' to='b.test' version='1.0'>");
            let header = InboundEvent::Frame(frames(&text).remove(0));
            let closed = inbound.handle(header, &mut effects).err();
            let is_let_in = may.contains(&from);
            assert_eq!(closed.is_none(), is_let_in, "{from} {version} {ems}");
            let said = format!("{effects:?}").contains("policy-violation");
            assert_eq!(said, !is_let_in, "{from} {version} {ems}: {effects:?}");
        }
    }
}

#[test]
fn a_handshake_is_made_by_the_rules_of_whom_the_header_in_clear_names() {
    let toml = "[[domain]]\nname = 'b.test'\n[policy]\ntls = 'optional'\n\
                [[peer]]\ndomain = 'new.test'\nmin_tls = '1.3'\n\
                [[peer]]\ndomain = 'old.test'\nrequire_ems = false\n";
    let loaded = match Config::from_toml(toml, "s2sd.toml", &std::env::temp_dir()) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{faults}"),
    };
    let snapshot = Snapshot::new(Arc::new(loaded.config), Secret::new("b"), |_| true);
    let snapshot = Arc::new(snapshot);
    for (from, min, ems) in [
        ("new.test", MinTls::V1_3, true),
        ("old.test", MinTls::V1_2, false),
        ("a.test", MinTls::V1_2, true),
    ] {
        let mut effects = Vec::new();
        let (snapshot, plain) = (Arc::clone(&snapshot), Transport::Plain);
        let mut inbound = Inbound::new(snapshot, Box::new(Counting(2)), plain, Instant::now());
        let clear = format!(
            "{OPEN} from='{from}' to='b.test' version='1.0'><starttls xmlns='{}'/>",
            xmpp_stream::ns::TLS
        );
        for frame in frames(&clear) {
            let event = InboundEvent::Frame(frame);
            inbound = inbound.handle(event, &mut effects).unwrap();
        }
        let Some(InboundEffect::StartTls { floor, .. }) = effects.pop() else {
            panic!("{effects:?}")
        };
        assert_eq!(floor, TlsFloor { min, ems });
    }
}

#[test]
fn whose_rules_hold_is_not_kept_from_a_header_in_clear() {
    let toml = "[[domain]]\nname = 'b.test'\n[policy]\ntls = 'optional'\nauth = ['external']\n\
                [[peer]]\ndomain = 'lax.test'\nauth = ['dialback']\n";
    let loaded = match Config::from_toml(toml, "s2sd.toml", &std::env::temp_dir()) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{faults}"),
    };
    let snapshot = Snapshot::new(Arc::new(loaded.config), Secret::new("b"), |_| true);
    let mut effects = Vec::new();
    let mut inbound = Inbound::new(
        Arc::new(snapshot),
        Box::new(Counting(2)),
        Transport::Plain,
        Instant::now(),
    );
    let clear = format!(
        "{OPEN} from='lax.test' to='b.test' version='1.0'><starttls xmlns='{}'/>",
        xmpp_stream::ns::TLS
    );
    for frame in frames(&clear) {
        inbound = inbound
            .handle(InboundEvent::Frame(frame), &mut effects)
            .unwrap();
    }
    let Transport::Tls(secured) = tls(b"x") else {
        panic!()
    };
    inbound = inbound
        .handle(InboundEvent::TlsReady(secured), &mut effects)
        .unwrap();
    let header = frames(&format!("{OPEN} to='b.test' version='1.0'>")).remove(0);
    // By `[policy]` there is nothing to offer to a stranger without a certificate; by lax.test's entry there were.
    let closed = inbound.handle(InboundEvent::Frame(header), &mut effects);
    let closed = closed.err().unwrap();
    assert!(matches!(closed.cause, Cause::Policy(_)), "{closed:?}");
}
