//! A failure of this machine, or of the way, is not told as the other server's: what waits is held until `give_up`, and what
//! comes back says whose fault it is.
#![allow(clippy::unwrap_used)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use s2sd::closed::CAUSE_NAMESPACE;
use s2sd::tools::demo::zone::Zone;
use s2sd_tests::{
    fake_peer::FakePeer,
    world::{Daemon, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use xmpp_stream::ns;

const HELD: Duration = Duration::from_secs(2);

fn patient(policy: &str, give_up: &str) -> Daemon {
    let backoff = "backoff = { first = '50ms', max = '100ms' }";
    Daemon::serving("here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .policy(policy)
        .tables(&format!("[queue]\ngive_up = '{give_up}'\n{backoff}"))
}

fn here(policy: &str) -> Daemon {
    patient(policy, "2s")
}

/// What comes back for a message to `there.test`, and after what time: condition and type, cause, text.
async fn comes_back(
    daemon: Daemon,
    zone: impl FnOnce(Zone) -> Zone,
) -> (String, String, String, Duration) {
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    world.change_zone(zone);
    let mut here = world.component("here.test").await.unwrap();
    let began = Instant::now();
    here.send("<message from='u@here.test' to='x@there.test' id='1'/>")
        .await
        .unwrap();
    let error = here
        .expect("the error", TIMEOUT * 3, |_| true)
        .await
        .unwrap();
    let took = began.elapsed();
    let tree = error.tree();
    let error = tree.elements().find(|child| child.name == "error").unwrap();
    let mut conditions = error.elements();
    let condition = conditions.find(|child| child.namespace == ns::STANZA_ERRORS);
    let kind = error.attr("type").unwrap();
    let cause = error.child(CAUSE_NAMESPACE, "cause").unwrap();
    (
        format!("{} {kind}", condition.unwrap().name),
        cause.attr("name").unwrap().to_owned(),
        error.child(ns::STANZA_ERRORS, "text").unwrap().text(),
        took,
    )
}

const SRV: &str = "_xmpp-server._tcp.there.test";
const SRV_TLS: &str = "_xmpps-server._tcp.there.test";

#[tokio::test]
async fn what_this_machine_cannot_do_is_held_and_said_to_be_its_own() {
    let led = |zone: Zone, to: [u8; 4]| {
        zone.srv(SRV, 0, 0, 1, "x.there.test")
            .a("x.there.test", Ipv4Addr::from(to))
    };
    let down = "source = ['192.0.2.1']";
    let proxy = "proxy = 'socks5://127.0.0.1:1'";
    // It takes a few seconds to find that out.
    let silent = patient("", "12s").resolv_conf().file(
        "resolv.conf",
        "nameserver [127.0.0.1]:1\noptions timeout:1 attempts:1\n",
    );
    let words = "this server does not get out to the other server";
    let (source, proxy, route, silent) = tokio::join!(
        comes_back(here(down), |zone| led(zone, [127, 0, 0, 1])),
        comes_back(here(proxy), |zone| led(zone, [127, 0, 0, 1])),
        // No TCP connection leads to many machines: the kernel says that it has no route there.
        comes_back(here(""), |zone| led(zone, [224, 0, 0, 1])),
        comes_back(silent, |zone| zone),
    );
    for (came, cause, words) in [
        (source, "network", words),
        (proxy, "network", words),
        (route, "network", words),
        (
            silent,
            "name-server",
            "this server's own name server gives no answer",
        ),
    ] {
        let (condition, name, text, took) = came;
        assert_eq!(
            (condition.as_str(), name.as_str()),
            ("remote-server-timeout wait", cause),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
        assert!(took >= HELD, "{text}: {took:?}");
    }
}

#[tokio::test]
async fn a_domain_is_not_there_only_where_the_dns_says_so_of_all_its_places() {
    let (service, place, nothing) = tokio::join!(
        // One service is not there, and of the other nothing is known.
        comes_back(here(""), |zone| zone.fails(SRV_TLS)),
        // The same with two machines.
        comes_back(here(""), |zone| {
            zone.srv(SRV, 0, 0, 1, "x.there.test")
                .srv(SRV, 1, 0, 1, "y.there.test")
                .fails("x.there.test")
        }),
        comes_back(here(""), |zone| zone),
    );
    for (condition, name, text, took) in [service, place] {
        assert_eq!(
            (condition.as_str(), name.as_str()),
            ("remote-server-timeout wait", "dns"),
            "{text}"
        );
        assert!(took >= HELD, "{text}: {took:?}");
    }
    let (condition, name, text, _) = nothing;
    assert_eq!(
        (condition.as_str(), name.as_str()),
        ("remote-server-not-found cancel", "no-such-host"),
        "{text}"
    );
}

/// After a failure it waits for most of an hour.
fn slow(more: &str) -> Daemon {
    Daemon::serving("here.test")
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables("[queue]\ngive_up = '1h'\nbackoff = { first = '1h', max = '1h' }")
        .tables(more)
}

/// What `/api/retry` answers to this.
async fn told(world: &World, question: &str, more: &str) -> String {
    let addr = world.daemon("here.test").unwrap().admin[0];
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    let request = format!("{question} HTTP/1.1\r\nHost: {addr}\r\n{more}\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A lane of `here.test` that failed twice or more, so that it rests for most of an hour.
async fn has_failed(world: &World) -> s2sd_tests::component_client::ComponentClient {
    let mut here = world.component("here.test").await.unwrap();
    let mut asked = world.dns().watch();
    here.send("<message from='u@here.test' to='x@there.test' id='1'/>")
        .await
        .unwrap();
    asked.recv().await.unwrap();
    here
}

/// As [`told`], until it says that a pair had failed.
async fn retried(world: &World, question: &str) -> String {
    let until = Instant::now() + TIMEOUT;
    loop {
        let answer = told(world, question, "").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        if answer.contains("\"retried\":1") {
            return answer;
        }
        assert!(Instant::now() < until, "{answer}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_failed_is_tried_at_once_when_somebody_says_so() {
    for question in ["POST /api/retry?domain=there.test", "POST /api/retry?all"] {
        let mut world = World::new().unwrap();
        world.start(slow("")).await.unwrap();
        world.change_zone(|zone| zone.fails(SRV).fails(SRV_TLS));
        let _here = has_failed(&world).await;
        for (question, more, status) in [
            ("GET /api/retry?all", "", "405"),
            ("POST /api/retry", "", "400"),
            ("POST /api/retry?domain=a%20b", "", "400"),
            ("POST /api/retry?all", "Origin: http://evil.test\r\n", "403"),
            (
                "POST /api/retry?all",
                "Sec-Fetch-Site: cross-site\r\n",
                "403",
            ),
        ] {
            let answer = told(&world, question, more).await;
            let begin = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&begin), "{question}: {answer}");
        }
        let other = told(&world, "POST /api/retry?domain=other.test", "").await;
        assert!(other.contains("\"retried\":0"), "{other}");
        let answer = retried(&world, question).await;
        assert!(
            answer.contains("[\"here.test\",\"there.test\"]"),
            "{answer}"
        );
        // Somebody repairs the zone, and says so.
        let mut there = FakePeer::at(&mut world, "there.test").await.unwrap();
        told(&world, question, "").await;
        there.next().await.unwrap();
    }
}

#[tokio::test]
async fn a_reload_forgets_what_failed_by_the_old_rules() {
    let mut world = World::new().unwrap();
    let peer = "[[peer]]\ndomain = 'there.test'\nconnect = ['127.0.0.1:1']";
    world.start(slow(peer)).await.unwrap();
    let mut there = FakePeer::at(&mut world, "there.test").await.unwrap();
    let mut here = world.component("here.test").await.unwrap();
    here.send("<message from='u@here.test' to='x@there.test' id='1'/>")
        .await
        .unwrap();
    retried(&world, "POST /api/retry?all").await;
    // Not to the place of the old rules.
    world.reload(&slow("")).unwrap();
    there.next().await.unwrap();
}

#[tokio::test]
async fn a_reload_leaves_alone_whom_it_treats_as_before() {
    let mut world = World::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = format!("[[peer]]\ndomain = 'there.test'\nconnect = ['{addr}']");
    world.start(slow(&peer)).await.unwrap();
    let mut here = world.component("here.test").await.unwrap();
    here.send("<message from='u@here.test' to='x@there.test' id='1'/>")
        .await
        .unwrap();
    drop(listener.accept().await.unwrap());
    let retry = "POST /api/retry?domain=there.test";
    retried(&world, retry).await;
    // It failed again.
    drop(listener.accept().await.unwrap());
    let other = format!("{peer}\n[[peer]]\ndomain = 'other.test'\nverify = 'dialback'");
    world.reload(&slow(&other)).unwrap();
    let comes = tokio::time::timeout(Duration::from_secs(1), listener.accept()).await;
    assert!(comes.is_err(), "it was tried again");
    let changed = format!("{peer}\nverify = 'dialback'");
    world.reload(&slow(&changed)).unwrap();
    let comes = tokio::time::timeout(TIMEOUT, listener.accept()).await;
    assert!(comes.is_ok(), "it was not tried again");
}

/// A server that sends everybody elsewhere; where it is, and how many came. `None`: to itself.
async fn redirector(to: Option<SocketAddr>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let to = to.unwrap_or(addr);
    let count = Arc::new(AtomicUsize::new(0));
    let came = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            came.fetch_add(1, Ordering::Relaxed);
            let text = format!(
                "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
                 xmlns:stream='http://etherx.jabber.org/streams' version='1.0' id='1' from='there.test' to='here.test'>\
                 <stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{to}</see-other-host>\
                 </stream:error></stream:stream>"
            );
            let mut header = [0; 1024];
            let _ = stream.read(&mut header).await;
            let _ = stream.write_all(text.as_bytes()).await;
            // Until the other side is done.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    (addr, count)
}

#[tokio::test]
async fn a_server_may_send_us_to_another_host_for_the_same_domain() {
    let mut world = World::new().unwrap();
    world.start(slow("")).await.unwrap();
    let raw = world.listen("there.test").await.unwrap();
    let (addr, count) = redirector(Some(raw.addr().unwrap())).await;
    let mut there = FakePeer::over(raw, "there.test");
    world.lead("_xmpp-server", "there.test", addr);
    let _here = has_failed(&world).await;
    let arrived = there.next().await.unwrap();
    assert_eq!(arrived.stanza.to().as_deref(), Some("x@there.test"));
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_server_that_sends_us_in_a_circle_is_followed_three_times() {
    let mut world = World::new().unwrap();
    world.start(slow("")).await.unwrap();
    let (addr, count) = redirector(None).await;
    world.lead("_xmpp-server", "there.test", addr);
    let _here = has_failed(&world).await;
    let until = Instant::now() + TIMEOUT;
    while count.load(Ordering::Relaxed) < 4 {
        assert!(Instant::now() < until, "{count:?}");
        tokio::task::yield_now().await;
    }
    let more = async {
        while count.load(Ordering::Relaxed) == 4 {
            tokio::task::yield_now().await;
        }
    };
    let more = tokio::time::timeout(Duration::from_secs(1), more).await;
    assert!(more.is_err(), "{count:?}");
}

#[tokio::test]
async fn a_server_does_not_send_us_to_our_inside() {
    let mut world = World::new().unwrap();
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, count) = redirector(Some(inside.local_addr().unwrap())).await;
    let peer =
        format!("[[peer]]\ndomain = 'there.test'\nconnect = ['{addr}']\naddresses = 'public'");
    world.start(slow(&peer)).await.unwrap();
    let mut here = world.component("here.test").await.unwrap();
    here.send("<message from='u@here.test' to='x@there.test' id='1'/>")
        .await
        .unwrap();
    let until = Instant::now() + TIMEOUT;
    while count.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < until);
        tokio::task::yield_now().await;
    }
    let came = tokio::time::timeout(Duration::from_secs(1), inside.accept()).await;
    assert!(came.is_err(), "somebody came");
}
