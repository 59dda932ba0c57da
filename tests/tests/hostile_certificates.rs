//! Certificates that a stranger makes to keep us busy: however many there are and however they are tied together, looking
//! at them is bounded, in both directions, and nobody else waits for it.
#![allow(clippy::unwrap_used)]

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd::tools::demo::tangle;
use s2sd::trust::{Matching, Selector, Tlsa, Usage};
use s2sd_tests::{
    attack_setup::{HERE, daemon, start},
    authoritative::Says,
    component_client::ComponentClient,
    peer::Peer,
    tls::TlsIdentity,
    wire::{Event, Wire},
    world::{Daemon, TIMEOUT, World},
};
use tokio::{net::TcpSocket, task::JoinSet};
use xmpp_stream::{Condition, Features, StreamError, ns};

const EVIL: &str = "evil.test";

/// 6 layers of 7 certificates each: 117,649 paths, none of which leads anywhere.
fn layers() -> Issued {
    tangle::layered(&Leaf::domain(EVIL), 6, 7, 0)
}

/// What each bound refuses, and how.
fn hostile() -> [(Issued, &'static str); 3] {
    let leaf = Leaf::domain(EVIL);
    [
        (
            layers(),
            "chain is too long: {who} sent 43 certificates, and at most 8 are taken",
        ),
        (
            tangle::ring(&leaf, 3, 8 << 10),
            " bytes of certificates, and at most 16384 are taken",
        ),
        (
            tangle::ring(&leaf, 7, 0),
            "chain is too tangled: there are too many ways to put together",
        ),
    ]
}

/// A peer up to TLS, which shows this.
async fn encrypted(world: &World, from: Option<&str>, issued: &Issued) -> Peer {
    let peer = world.connect(HERE).await.unwrap();
    encrypt(peer, from, issued).await
}

async fn encrypt(mut peer: Peer, from: Option<&str>, issued: &Issued) -> Peer {
    peer.send_header(from, HERE).await.unwrap();
    peer.expect_header().await.unwrap();
    peer.expect_features().await.unwrap();
    let identity = TlsIdentity::from(issued);
    peer.starttls(HERE, Some(&identity)).await.unwrap();
    peer
}

/// The same with a new stream in it.
async fn opened(world: &World, from: Option<&str>, issued: &Issued) -> (Peer, Features) {
    let mut peer = encrypted(world, from, issued).await;
    peer.send_header(from, HERE).await.unwrap();
    peer.expect_header().await.unwrap();
    let features = peer.expect_features().await.unwrap();
    (peer, features)
}

/// A stream that is proved by its certificate.
async fn proved(world: &World, from: &str, issued: &Issued) -> Peer {
    let (mut peer, _) = opened(world, Some(from), issued).await;
    peer.send(format!(
        "<auth xmlns='{}' mechanism='EXTERNAL'>=</auth>",
        ns::SASL
    ))
    .await
    .unwrap();
    peer.expect(ns::SASL, "success").await.unwrap();
    peer.restart();
    peer.open(from, HERE).await.unwrap();
    peer
}

async fn refusal(peer: &mut Peer) -> StreamError {
    match peer.expect_stream_error().await {
        Ok(error) => error,
        Err(error) => panic!("{error:#}\n{:#?}", peer.transcript()),
    }
}

async fn arrives(component: &mut ComponentClient, id: &str) {
    let next = component
        .expect("a stanza", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(next.id().as_deref(), Some(id), "{next:?}");
}

/// The text of the error that comes back for what the component sent.
async fn comes_back(component: &mut ComponentClient, to: &str) -> String {
    let message = format!("<message from='{HERE}' to='{to}' id='{to}'/>");
    component.send(message).await.unwrap();
    let error = component
        .expect("an error", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(error.id().as_deref(), Some(to), "{error:?}");
    let text = String::from_utf8_lossy(error.bytes()).into_owned();
    assert!(text.contains("name='certificate'"), "{text}");
    text
}

#[tokio::test]
async fn a_chain_that_is_over_a_bound_is_refused_by_its_name_in_both_directions() {
    let policy = "auth = ['external', 'dialback']";
    let (mut world, mut background_traffic, mut component) =
        start(daemon().policy(policy)).await.unwrap();
    for (number, (issued, want)) in hostile().into_iter().enumerate() {
        let mut peer = encrypted(&world, Some(EVIL), &issued).await;
        peer.send_header(Some(EVIL), HERE).await.unwrap();
        peer.expect_header().await.unwrap();
        let error = refusal(&mut peer).await;
        assert_eq!(error.condition, Condition::NotAuthorized);
        let text = error.text.unwrap();
        assert!(text.contains(&want.replace("{who}", "you")), "{text}");

        let domain = format!("evil{number}.test");
        let server = world.listen(&domain).await.unwrap();
        world.lead("_xmpps-server", &domain, server.addr().unwrap());
        let shows = async {
            let mut there = server.accept().await.unwrap();
            let identity = TlsIdentity::from(&issued);
            there.accept_direct_tls(&identity).await.unwrap();
            assert!(matches!(there.next().await, Ok(Event::Closed)));
        };
        let (text, ()) = tokio::join!(comes_back(&mut component, &domain), shows);
        assert!(text.contains(&want.replace("{who}", "it")), "{text}");
        background_traffic.is_well().await.unwrap();
    }
    background_traffic.was_well().await.unwrap();
}

/// Where policy does not insist on a good certificate, such a chain is a bad one, and dialback is as good as ever.
#[tokio::test]
async fn a_chain_that_is_over_a_bound_is_a_bad_one_and_no_more() {
    let policy = "verify = 'dialback'\nauth = ['external', 'dialback']";
    let (mut world, background_traffic, mut component) =
        start(daemon().policy(policy)).await.unwrap();
    let identity = Some(world.identity(EVIL));
    let _evil = world.authoritative(EVIL, Says::Valid, identity).await;
    for (issued, _) in hostile() {
        let (mut peer, features) = opened(&world, Some(EVIL), &issued).await;
        assert!(features.mechanisms.is_empty() && features.dialback.is_some());
        assert_eq!(peer.dialback(EVIL, HERE, "k").await.unwrap(), "valid");
        let message = format!("<message from='{EVIL}' to='{HERE}' id='1'/>");
        peer.send(message).await.unwrap();
        arrives(&mut component, "1").await;
    }
    background_traffic.was_well().await.unwrap();
}

/// The peer's own zone names one of the certificates as an authority. It is not searched for.
#[tokio::test]
async fn what_a_zone_names_as_an_authority_is_bounded_all_the_same() {
    let mut world = World::signed().unwrap();
    world.start(Daemon::serving(HERE)).await.unwrap();
    let mut component = world.component(HERE).await.unwrap();
    for (number, (issued, want)) in hostile().into_iter().enumerate() {
        let domain = format!("evil{number}.test");
        let server = world.listen(&domain).await.unwrap();
        let shown = issued.chain();
        let authority = shown.last().unwrap();
        let record = Tlsa::of(Usage::DaneTa, Selector::Cert, Matching::Sha256, authority);
        world.tlsa(&domain, &record.unwrap()).unwrap();
        let identity = TlsIdentity::from(&issued);
        let shows = async {
            let mut there = server.accept().await.unwrap();
            let features = Features::new().with_starttls(true);
            there.answer_open("there", &features).await.unwrap();
            there.accept_starttls(&identity).await.unwrap();
            assert!(matches!(there.next().await, Ok(Event::Closed)));
        };
        let (text, ()) = tokio::join!(comes_back(&mut component, &domain), shows);
        assert!(text.contains(&want.replace("{who}", "it")), "{text}");

        let mut peer = encrypted(&world, Some(&domain), &issued).await;
        peer.send_header(Some(&domain), HERE).await.unwrap();
        peer.expect_header().await.unwrap();
        let text = refusal(&mut peer).await.text.unwrap();
        assert!(text.contains(&want.replace("{who}", "you")), "{text}");
    }
}

/// Two such connections once stopped the server for a quarter of a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_hostile_chains_does_not_delay_other_traffic() {
    let policy = "auth = ['external', 'dialback']";
    let (world, mut background_traffic, _component) = start(daemon().policy(policy)).await.unwrap();
    let good = world.issue(&Leaf::domain("good.test"));
    let addr = world.daemon(HERE).unwrap().s2s[0];
    let [(long, _), _, (ring, _)] = hostile();
    let mut crowd = JoinSet::new();
    for number in 0..24 {
        let peer = world.connect(HERE).await.unwrap();
        let issued = if number % 2 == 0 { &long } else { &ring };
        let issued = issued.clone();
        crowd.spawn(async move {
            let mut peer = encrypt(peer, Some(EVIL), &issued).await;
            peer.send_header(Some(EVIL), HERE).await.unwrap();
            peer.expect_header().await.unwrap();
            refusal(&mut peer).await.condition
        });
    }
    // One from another network, whose certificate has to be judged as well.
    let began = Instant::now();
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 0, 77, 1), 0).into())
        .unwrap();
    let stream = socket.connect(addr).await.unwrap();
    let peer = Peer::over(Wire::over(stream)).with_timeout(TIMEOUT);
    let mut peer = encrypt(peer, Some("good.test"), &good).await;
    let opened = peer.open("good.test", HERE).await.unwrap();
    assert_eq!(opened.features.mechanisms, ["EXTERNAL"]);
    background_traffic.is_well().await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let refused = crowd.join_all().await;
    assert_eq!(refused, vec![Condition::NotAuthorized; 24]);
    background_traffic.was_well().await.unwrap();
}

/// Without `from` each key has the certificate judged for its own domain.
#[tokio::test]
async fn a_certificate_is_judged_so_often_before_anything_is_proved_and_no_more() {
    let limits = "[limits]\ndialback_failures = 1000\npairs_per_stream = 1000\n\
                  preauth_elements = 1000\npreauth_bytes = '1MiB'\n";
    let policy = "auth = ['external', 'dialback']";
    let (world, background_traffic, _component) =
        start(daemon().policy(policy).tables(limits)).await.unwrap();
    let issued = world.issue(&Leaf::domain(EVIL));
    let (mut peer, _) = opened(&world, None, &issued).await;
    let key = |at: usize| format!("<db:result from='x{at}.test' to='{HERE}'>k</db:result>");
    let keys: String = (0..40).map(key).collect();
    peer.send(keys).await.unwrap();
    let mut answers = 0;
    loop {
        let Event::Element(element) = peer.next().await.unwrap() else {
            panic!("no end: {:#?}", peer.transcript());
        };
        if let Some(error) = StreamError::from_element(&element) {
            assert_eq!(error.condition, Condition::PolicyViolation);
            let text = error.text.unwrap();
            assert_eq!(text, "too many domains before one of them is proved");
            break;
        }
        assert_eq!(element.type_attr().as_deref(), Some("error"));
        answers += 1;
    }
    // One judgement of 16 was the header's.
    assert_eq!(answers, 15);
    background_traffic.was_well().await.unwrap();
}

fn external() -> Features {
    Features::new().with_mechanisms(["EXTERNAL"])
}

/// Our stream to this domain, accepted and proved by certificates.
async fn accept(
    world: &mut World,
    component: &mut ComponentClient,
    domain: &str,
    issued: &Issued,
) -> Peer {
    let server = world.listen(domain).await.unwrap();
    world.lead("_xmpps-server", domain, server.addr().unwrap());
    let message = format!("<message from='{HERE}' to='{domain}' id='out'/>");
    component.send(message).await.unwrap();
    let mut there = server.accept().await.unwrap().with_timeout(TIMEOUT);
    let identity = TlsIdentity::from(issued);
    there.accept_direct_tls(&identity).await.unwrap();
    there.answer_open("one", &external()).await.unwrap();
    there.expect(ns::SASL, "auth").await.unwrap();
    there
        .send(format!("<success xmlns='{}'/>", ns::SASL))
        .await
        .unwrap();
    there.restart();
    there
        .answer_open("two", &Features::default())
        .await
        .unwrap();
    there
        .expect_stanza(xmpp_stream::StanzaKind::Message)
        .await
        .unwrap();
    there
}

/// What a daemon that trusts the world's authority, with a list, has of streams that rest on its certificates.
struct Streams {
    world: World,
    component: ComponentClient,
    revoked: Issued,
    /// From and to the domains whose certificate it is.
    bad: [Peer; 2],
    /// Of others of that authority.
    good: [Peer; 2],
    clear: Peer,
}

async fn streams() -> Streams {
    let mut world = World::new().unwrap();
    let empty = world.revoke(&[]);
    let daemon = Daemon::serving(HERE)
        .policy("auth = ['external']\ncrl = ['world.crl']")
        .file("world.crl", &empty)
        .tables("[[peer]]\ndomain = 'clear.test'\ntls = 'disabled'\nauth = ['dialback']\n");
    world.start(daemon).await.unwrap();
    let mut component = world.component(HERE).await.unwrap();
    let revoked = world.issue(&Leaf::domain("in.test").dns("out.test"));
    let other = world.issue(&Leaf::domain("in2.test").dns("out2.test"));
    let bad = [
        proved(&world, "in.test", &revoked).await,
        accept(&mut world, &mut component, "out.test", &revoked).await,
    ];
    let good = [
        proved(&world, "in2.test", &other).await,
        accept(&mut world, &mut component, "out2.test", &other).await,
    ];
    let says = Says::Valid;
    let clear = world.authoritative("clear.test", says, None).await.unwrap();
    let mut peer = world.connect(HERE).await.unwrap();
    peer.open("clear.test", HERE).await.unwrap();
    let verdict = peer.dialback("clear.test", HERE, "k").await.unwrap();
    assert_eq!(verdict, "valid");
    drop(clear);
    Streams {
        world,
        component,
        revoked,
        bad,
        good,
        clear: peer,
    }
}

/// It ends as RFC 6120 §13.7.2.3 says.
async fn is_reset(peer: &mut Peer, why: &str) {
    let error = refusal(peer).await;
    assert_eq!(error.condition, Condition::Reset);
    let text = error.text.unwrap();
    assert!(text.contains(why), "{text}");
}

/// It still carries stanzas in its direction.
async fn goes_on(component: &mut ComponentClient, [from, to]: &mut [Peer; 2]) {
    let message = format!("<message from='in2.test' to='{HERE}' id='goes on'/>");
    from.send(message).await.unwrap();
    arrives(component, "goes on").await;
    let message = format!("<message from='{HERE}' to='out2.test' id='goes on'/>");
    component.send(message).await.unwrap();
    let kind = xmpp_stream::StanzaKind::Message;
    to.expect_stanza(kind).await.unwrap();
}

async fn goes_on_in_clear(component: &mut ComponentClient, peer: &mut Peer) {
    let message = format!("<message from='clear.test' to='{HERE}' id='in clear'/>");
    peer.send(message).await.unwrap();
    arrives(component, "in clear").await;
}

#[tokio::test]
async fn what_was_taken_back_ends_the_streams_that_rest_on_it_and_no_others() {
    let mut streams = streams().await;
    let list = streams.world.revoke(&[&streams.revoked]);
    streams.world.write(HERE, "world.crl", &list).unwrap();
    let running = streams.world.daemon(HERE).unwrap();
    running.look_at_certificates();
    for peer in &mut streams.bad {
        is_reset(peer, "has been revoked by its issuer").await;
    }
    goes_on(&mut streams.component, &mut streams.good).await;
    goes_on_in_clear(&mut streams.component, &mut streams.clear).await;
    // Nothing has changed since, and nothing happens.
    running.look_at_certificates();
    running.judge_again();
    goes_on(&mut streams.component, &mut streams.good).await;
}

#[tokio::test]
async fn a_stream_that_was_reset_is_made_again_and_the_new_certificate_counts() {
    let mut streams = streams().await;
    let list = streams.world.revoke(&[&streams.revoked]);
    streams.world.write(HERE, "world.crl", &list).unwrap();
    let running = streams.world.daemon(HERE).unwrap();
    running.look_at_certificates();
    is_reset(&mut streams.bad[1], "revoked").await;
    // It waits for no time of rest.
    let new = streams.world.issue(&Leaf::domain("out.test"));
    accept(&mut streams.world, &mut streams.component, "out.test", &new).await;
}

#[tokio::test]
async fn an_authority_that_is_trusted_no_more_ends_the_streams_that_rest_on_it() {
    let mut streams = streams().await;
    let another = s2sd::tools::demo::ca::Authority::new("another authority, of another length");
    streams.world.write(HERE, "ca.pem", another.pem()).unwrap();
    let running = streams.world.daemon(HERE).unwrap();
    running.look_at_certificates();
    for peer in streams.bad.iter_mut().chain(&mut streams.good) {
        is_reset(peer, "no authority trusted here").await;
    }
    goes_on_in_clear(&mut streams.component, &mut streams.clear).await;
}

/// At a reload the rules may be others, too.
#[tokio::test]
async fn a_reload_judges_open_streams_by_its_own_rules() {
    let mut streams = streams().await;
    let another = s2sd::tools::demo::ca::Authority::new("another");
    streams
        .world
        .write(HERE, "other.pem", another.pem())
        .unwrap();
    let peer = |domain: &str| format!("[[peer]]\ndomain = '{domain}'\ntrust = ['other.pem']\n");
    let daemon = Daemon::serving(HERE)
        .policy("auth = ['external']\ncrl = ['world.crl']")
        .tables(&(peer("in.test") + &peer("out.test")));
    streams.world.reload(&daemon).unwrap();
    for peer in &mut streams.bad {
        is_reset(peer, "no authority trusted here").await;
    }
    goes_on(&mut streams.component, &mut streams.good).await;
}
