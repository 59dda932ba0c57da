//! Several of our domains on one stream to another server (XEP-0220 §2.6).
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::{
    captured_log::{CapturedLog, Line},
    component_client::{Behaviour, ComponentClient},
    fake_peer::believing,
    peer::Peer,
    wire::Event,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use xmpp_stream::{DialbackFeature, Features, ns};

const FIRST: &str = "outgoing stream authenticated";
const FURTHER: &str = "outgoing stream authenticated for a further domain";

/// `name` and so many domains below it, at one daemon.
fn with_domains(name: &str, count: usize) -> Daemon {
    let domains = (0..count).map(|number| format!("d{number}.{name}"));
    domains.fold(Daemon::serving(name), |daemon, domain| daemon.and(&domain))
}

/// A component for each of them, in this order.
async fn components_of(world: &World, name: &str, count: usize) -> Vec<ComponentClient> {
    let mut components = Vec::new();
    for number in 0..count {
        let domain = format!("d{number}.{name}");
        let component = world.component_for(name, &domain, Behaviour::Quiet).await;
        components.push(component.unwrap());
    }
    components
}

/// The same, and one for the other server's domain.
async fn components(
    world: &World,
    name: &str,
    count: usize,
    other: &str,
) -> (Vec<ComponentClient>, ComponentClient) {
    let components = components_of(world, name, count).await;
    (components, world.component(other).await.unwrap())
}

/// Each sends so many messages, in turn; all arrive, those of each domain in order.
async fn all_arrive_in_order(
    from: &mut [ComponentClient],
    name: &str,
    to: &mut ComponentClient,
    each: usize,
) {
    for id in 0..each {
        for (number, component) in from.iter_mut().enumerate() {
            let to = to.address().to_owned();
            let message = format!("<message from='d{number}.{name}' to='{to}' id='{id}'/>");
            component.send(message).await.unwrap();
        }
    }
    let mut next = vec![0; from.len()];
    for _ in 0..each * from.len() {
        let message = to.expect("a message", TIMEOUT, |_| true).await.unwrap();
        assert_eq!(message.type_attr(), None, "{message:?}");
        let sender = message.from().unwrap().into_owned();
        let number = sender
            .strip_prefix('d')
            .and_then(|rest| rest.split('.').next());
        let number: usize = number.unwrap().parse().unwrap();
        assert_eq!(
            message.id().unwrap().parse(),
            Ok(next[number]),
            "of {sender}"
        );
        next[number] += 1;
    }
    assert!(next.iter().all(|next| *next == each));
}

fn count(lines: &[Line], message: &str, remote: &str) -> usize {
    let is_one = |line: &&Line| line.message == message && line.field("remote") == Some(remote);
    lines.iter().filter(is_one).count()
}

#[tokio::test]
async fn a_hundred_domains_use_one_connection_to_one_server() {
    const COUNT: usize = 100;
    let log = CapturedLog::of_this_process();
    let mut world = World::new().unwrap();
    world
        .start(with_domains("a.test", COUNT).without_tls())
        .await
        .unwrap();
    world
        .start(Daemon::serving("one.test").without_tls())
        .await
        .unwrap();
    let (mut from, mut to) = components(&world, "a.test", COUNT, "one.test").await;
    all_arrive_in_order(&mut from, "a.test", &mut to, 3).await;
    let lines = log.all();
    assert_eq!(count(&lines, FIRST, "one.test"), 1);
    assert_eq!(count(&lines, FURTHER, "one.test"), COUNT - 1);
}

#[tokio::test]
async fn domains_of_one_certificate_share_a_stream_and_others_have_their_own() {
    const COUNT: usize = 4;
    let log = CapturedLog::of_this_process();
    for (certificate, remote, streams) in [
        (Leaf::domain("a.test").dns("*.a.test"), "shared.test", 1),
        (Leaf::domain("a.test"), "apart.test", COUNT),
    ] {
        let mut world = World::new().unwrap();
        let daemon = with_domains("a.test", COUNT).certificate(certificate);
        let policy = "auth = ['external', 'dialback']\nverify = 'dialback'";
        world.start(daemon.policy(policy)).await.unwrap();
        world
            .start(Daemon::serving(remote).policy(policy))
            .await
            .unwrap();
        let (mut from, mut to) = components(&world, "a.test", COUNT, remote).await;
        all_arrive_in_order(&mut from, "a.test", &mut to, 3).await;
        let lines = log.all();
        assert_eq!(count(&lines, FIRST, remote), streams, "{remote}");
        assert_eq!(count(&lines, FURTHER, remote), COUNT - streams, "{remote}");
    }
}

#[tokio::test]
async fn a_domain_that_the_peer_refuses_takes_the_stream_from_no_other() {
    let log = CapturedLog::of_this_process();
    let mut world = World::new().unwrap();
    world
        .start(with_domains("a.test", 3).without_tls())
        .await
        .unwrap();
    let other = Daemon::serving("two.test").without_tls();
    let other = other.policy("deny = ['d1.a.test']");
    world.start(other).await.unwrap();
    let (mut from, mut to) = components(&world, "a.test", 3, "two.test").await;
    for (number, component) in from.iter_mut().enumerate() {
        let message = format!("<message from='d{number}.a.test' to='two.test' id='{number}'/>");
        component.send(message).await.unwrap();
    }
    for _ in 0..2 {
        let message = to.expect("a message", TIMEOUT, |_| true).await.unwrap();
        assert_ne!(message.from().as_deref(), Some("d1.a.test"));
    }
    let bounce = from[1]
        .expect("the bounce", TIMEOUT, |_| true)
        .await
        .unwrap();
    assert_eq!(bounce.type_attr().as_deref(), Some("error"));
    // The others still have the stream that they had.
    for number in [0, 2] {
        let message = format!("<message from='d{number}.a.test' to='two.test' id='later'/>");
        from[number].send(message).await.unwrap();
        let message = to.expect("a message", TIMEOUT, |_| true).await.unwrap();
        assert_eq!(message.id().as_deref(), Some("later"));
    }
    assert_eq!(count(&log.all(), FIRST, "two.test"), 1);
}

#[tokio::test]
async fn where_it_is_switched_off_each_domain_has_its_own_stream() {
    let log = CapturedLog::of_this_process();
    let mut world = World::new().unwrap();
    let daemon = with_domains("a.test", 3).without_tls();
    world
        .start(daemon.policy("multiplex = false"))
        .await
        .unwrap();
    world
        .start(Daemon::serving("off.test").without_tls())
        .await
        .unwrap();
    let (mut from, mut to) = components(&world, "a.test", 3, "off.test").await;
    all_arrive_in_order(&mut from, "a.test", &mut to, 3).await;
    assert_eq!(count(&log.all(), FIRST, "off.test"), 3);
}

/// The next stream that comes to this server: an answered header, with features of a server that can refuse a pair alone.
async fn answer(server: &RawServer) -> Peer {
    let mut peer = server.accept().await.unwrap();
    let features = Features::new().with_dialback(DialbackFeature::with_errors());
    peer.answer_open("there", &features).await.unwrap();
    peer
}

/// Takes each key that comes, and gives the stanzas: which domain's, and which.
async fn next_of(peer: &mut Peer) -> Option<(String, usize)> {
    loop {
        let Ok(Event::Element(element)) = peer.next().await else {
            return None;
        };
        if let Some(answer) = believing(&element) {
            peer.send(answer.to_bytes()).await.unwrap();
        } else {
            let from = element.from().unwrap().into_owned();
            return Some((from, element.id().unwrap().parse().unwrap()));
        }
    }
}

#[tokio::test]
async fn what_a_shared_stream_did_not_get_rid_of_goes_by_the_next_in_the_order_of_each_domain() {
    const EACH: usize = 50;
    let mut world = World::new().unwrap();
    let tables = "[queue]\nbackoff = { first = '10ms', max = '20ms' }\n";
    let daemon = with_domains("a.test", 3).without_tls().tables(tables);
    world.start(daemon).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let mut components = components_of(&world, "a.test", 3).await;
    let body = "x".repeat(100_000);
    let send = async |components: &mut [ComponentClient], id: usize| {
        for (number, component) in components.iter_mut().enumerate() {
            let message = format!(
                "<message from='d{number}.a.test' to='b.test' id='{id}'><body>{body}</body></message>"
            );
            component.send(message).await.unwrap();
        }
    };
    send(&mut components, 0).await;
    let mut unread = answer(&server).await;
    let mut all: Vec<(String, usize)> = Vec::new();
    for _ in 0..3 {
        all.push(next_of(&mut unread).await.unwrap());
    }
    // All three are proved. From here on it reads nothing, and more comes than the sockets hold.
    for id in 1..EACH {
        send(&mut components, id).await;
    }
    let error = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    unread.send(error).await.unwrap();
    while let Some(read) = next_of(&mut unread).await {
        all.push(read);
    }
    let mut peer = answer(&server).await;
    let mut after = Vec::new();
    let is_last =
        |after: &[(String, usize)]| after.iter().filter(|(_, id)| *id == EACH - 1).count() == 3;
    while !is_last(&after) {
        after.push(next_of(&mut peer).await.unwrap());
    }
    assert!(all.len() > 3 && !after.is_empty());
    all.append(&mut after);
    for number in 0..3 {
        let domain = format!("d{number}.a.test");
        let ids = all.iter().filter(|(from, _)| *from == domain);
        let ids: Vec<usize> = ids.map(|(_, id)| *id).collect();
        assert_eq!(ids, (0..EACH).collect::<Vec<_>>(), "of {domain}");
    }
}

/// Sends it until it gets a place, and arrives.
async fn insist(
    component: &mut ComponentClient,
    message: &str,
    peer: &mut Peer,
) -> (String, usize) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        component.send(message.to_owned()).await.unwrap();
        tokio::select! {
            arrived = next_of(peer) => return arrived.unwrap(),
            back = component.expect("the bounce", TIMEOUT, |_| true) => {
                assert_eq!(back.unwrap().type_attr().as_deref(), Some("error"));
            }
        }
        assert!(Instant::now() < deadline, "no place for {message}");
    }
}

#[tokio::test]
async fn a_lane_that_was_let_go_of_comes_back_to_the_stream_on_which_its_pair_is_proved() {
    let log = CapturedLog::of_this_process();
    let mut world = World::new().unwrap();
    let tables = "[queue]\nlanes = 2\n";
    let daemon = with_domains("a.test", 3).without_tls().tables(tables);
    world.start(daemon).await.unwrap();
    let server = world.listen("back.test").await.unwrap();
    let mut components = components_of(&world, "a.test", 3).await;
    let message = |number: usize, id: usize| {
        format!("<message from='d{number}.a.test' to='back.test' id='{id}'/>")
    };
    components[0].send(message(0, 0)).await.unwrap();
    let mut peer = answer(&server).await;
    let arrived = |number: usize, id: usize| (format!("d{number}.a.test"), id);
    assert_eq!(next_of(&mut peer).await, Some(arrived(0, 0)));
    components[1].send(message(1, 0)).await.unwrap();
    assert_eq!(next_of(&mut peer).await, Some(arrived(1, 0)));
    // The third takes the place of the first, the first that of the second, and so on: each time one that rests.
    for id in 1..3 {
        for number in [2, 0, 1] {
            let sent = message(number, id);
            let came = insist(&mut components[number], &sent, &mut peer).await;
            assert_eq!(came, arrived(number, id));
        }
    }
    assert_eq!(count(&log.all(), FIRST, "back.test"), 1);
}

#[tokio::test]
async fn a_domain_for_which_the_peer_does_not_answer_gets_a_stream_of_its_own_in_time() {
    const NEGOTIATION: Duration = Duration::from_secs(4);
    let mut world = World::new().unwrap();
    let tables = "[limits]\nnegotiation = '4s'\n";
    let daemon = with_domains("a.test", 2).without_tls().tables(tables);
    world.start(daemon).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let mut components = components_of(&world, "a.test", 2).await;
    let message = |number: usize, id: usize| {
        format!("<message from='d{number}.a.test' to='b.test' id='{id}'/>")
    };
    components[0].send(message(0, 0)).await.unwrap();
    let mut first = answer(&server).await;
    assert_eq!(next_of(&mut first).await, Some(("d0.a.test".to_owned(), 0)));
    let asked = Instant::now();
    components[1].send(message(1, 0)).await.unwrap();
    first.expect(ns::DIALBACK, "result").await.unwrap();
    let mut second = answer(&server).await;
    assert!(asked.elapsed() >= NEGOTIATION, "{:?}", asked.elapsed());
    let arrived = next_of(&mut second).await;
    assert_eq!(arrived, Some(("d1.a.test".to_owned(), 0)));
    // The other one has what it had.
    components[0].send(message(0, 1)).await.unwrap();
    assert_eq!(next_of(&mut first).await, Some(("d0.a.test".to_owned(), 1)));
}

#[tokio::test]
async fn a_peer_that_ends_the_stream_at_a_further_key_gets_a_stream_for_each_domain() {
    let mut world = World::new().unwrap();
    let tables = "[queue]\nbackoff = { first = '10ms', max = '20ms' }\n";
    let daemon = with_domains("a.test", 2).without_tls().tables(tables);
    world.start(daemon).await.unwrap();
    let server = world.listen("b.test").await.unwrap();
    let mut components = components_of(&world, "a.test", 2).await;
    let message = |number: usize, id: usize| {
        format!("<message from='d{number}.a.test' to='b.test' id='{id}'/>")
    };
    components[0].send(message(0, 0)).await.unwrap();
    let mut first = answer(&server).await;
    assert_eq!(next_of(&mut first).await, Some(("d0.a.test".to_owned(), 0)));
    components[1].send(message(1, 0)).await.unwrap();
    first.expect(ns::DIALBACK, "result").await.unwrap();
    let error = "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    first.send(error).await.unwrap();
    first.expect_end().await.unwrap();
    // What comes now goes by one stream for each.
    components[0].send(message(0, 1)).await.unwrap();
    let mut arrived = Vec::new();
    for _ in 0..2 {
        let mut peer = answer(&server).await;
        arrived.push(next_of(&mut peer).await.unwrap());
    }
    arrived.sort();
    assert_eq!(
        arrived,
        [("d0.a.test".to_owned(), 1), ("d1.a.test".to_owned(), 0)]
    );
}

#[tokio::test]
async fn a_peer_that_cannot_refuse_a_domain_alone_is_asked_for_one_that_the_certificate_names_and_for_no_other()
 {
    for (certificate, streams) in [
        (Some(Leaf::domain("a.test").dns("*.a.test")), 1),
        (Some(Leaf::domain("a.test")), 2),
        (None, 2),
    ] {
        let mut world = World::new().unwrap();
        let daemon = with_domains("a.test", 2);
        let is_tls = certificate.is_some();
        let daemon = match certificate {
            Some(leaf) => daemon
                .certificate(leaf)
                .policy("verify = 'dialback'\nauth = ['external', 'dialback']"),
            None => daemon.without_tls(),
        };
        world.start(daemon).await.unwrap();
        let server = world.listen("b.test").await.unwrap();
        let identity = world.identity("b.test");
        let mut components = components_of(&world, "a.test", 2).await;
        let answer = async || {
            // Dialback without `<errors/>`.
            let features = Features::new().with_dialback(DialbackFeature::default());
            let mut peer = server.accept().await.unwrap();
            if is_tls {
                let tls = Features::new().with_starttls(true);
                peer.answer_open("here", &tls).await.unwrap();
                peer.accept_starttls(&identity).await.unwrap();
            }
            peer.answer_open("there", &features).await.unwrap();
            peer
        };
        let message =
            |number: usize| format!("<message from='d{number}.a.test' to='b.test' id='0'/>");
        components[0].send(message(0)).await.unwrap();
        let mut first = answer().await;
        assert_eq!(next_of(&mut first).await, Some(("d0.a.test".to_owned(), 0)));
        components[1].send(message(1)).await.unwrap();
        let mut second = match streams {
            1 => first,
            _ => answer().await,
        };
        assert_eq!(
            next_of(&mut second).await,
            Some(("d1.a.test".to_owned(), 0))
        );
    }
}
