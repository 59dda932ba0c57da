//! What domains publish about certificates by HTTPS (RFC 7711), for a server that is called and for those that call. The
//! web servers are behind a proxy, which is asked for port 443 as the network would be.
#![allow(clippy::unwrap_used)]

#[path = "log/mod.rs"]
mod log;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s2sd::tools::demo::ca::{Issued, Leaf, Validity};
use s2sd::tools::demo::tangle;
use s2sd_tests::{
    checks::{self, Check, Other, Plan},
    https::{Https, document, redirect},
    peer::Peer,
    socks::{Rules, Socks},
    tls::TlsIdentity,
    wire::Event,
    world::{Daemon, TIMEOUT, World},
};
use sha2::{Digest as _, Sha256, Sha512};
use xmpp_stream::{Features, StreamError, Tree, ns};

const PATH: &str = "/.well-known/posh/xmpp-server.json";
const OTHER: &str = "/.well-known/posh/other.json";
/// All that the peer hears of it.
const NEITHER: &str = "your certificate is self-signed; and by POSH it is not known either";

/// `a.test`, which asks; the web server of `b.test`, and the proxy through which `a.test` comes there.
struct Scene {
    world: World,
    web: Https,
    _proxy: Socks,
    /// What `b.test` shows, and what nobody has signed.
    issued: Issued,
}

/// The web servers of all these hosts are one, with one certificate.
async fn scene(host: &str, more: &[&str], web: impl FnOnce(&World) -> Issued) -> Scene {
    scene_with(host, more, web, "").await
}

async fn scene_with(
    host: &str,
    more: &[&str],
    web: impl FnOnce(&World) -> Issued,
    policy: &str,
) -> Scene {
    let mut world = World::new().unwrap();
    let web = Https::start(&web(&world)).await.unwrap();
    let issued = Issued::self_signed(&Leaf::domain("hosting.test"));
    let served = Daemon::serving(host).certificate_from(issued.clone());
    world.start(served).await.unwrap();
    let own = world.daemon(host).unwrap().s2s[0];
    let mut places: HashMap<_, _> = [host, "hosting.test"]
        .iter()
        .chain(more)
        .map(|name| (format!("{name}:443"), web.addr()))
        .collect();
    let machine = world.host(host).unwrap();
    places.insert(format!("{machine}:{}", own.port()), own);
    let proxy = Socks::start(Rules {
        places,
        login: None,
    })
    .await
    .unwrap();
    let lines = format!(
        "auth = ['external']\nposh = true\nbidi = false\nproxy = 'socks5://{}'\n{policy}",
        proxy.addr()
    );
    let haste = "[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }\n";
    let asks = Daemon::serving("a.test").policy(&lines).tables(haste);
    world.start(asks).await.unwrap();
    Scene {
        world,
        web,
        _proxy: proxy,
        issued,
    }
}

fn signed(names: &'static [&'static str]) -> impl FnOnce(&World) -> Issued {
    move |world| {
        let mut leaf = Leaf::default();
        for name in names {
            leaf = leaf.dns(name);
        }
        world.issue(&leaf)
    }
}

fn fingerprints(issued: &Issued, expires: u64) -> String {
    let der = &issued.chain()[0];
    let (one, two) = (
        STANDARD.encode(Sha256::digest(der)),
        STANDARD.encode(Sha512::digest(der)),
    );
    document(&format!(
        "{{\"fingerprints\":[{{\"sha-256\":\"{one}\",\"sha-512\":\"{two}\"}}],\"expires\":{expires}}}"
    ))
}

/// A raw peer that shows this certificate and says that it is `from`: what it is offered, or how it is refused.
async fn call(world: &World, from: &str, issued: &Issued) -> Result<Features, StreamError> {
    let mut peer: Peer = world.connect("a.test").await.unwrap();
    peer.open(from, "a.test").await.unwrap();
    let identity = TlsIdentity::from(issued);
    peer.starttls("a.test", Some(&identity)).await.unwrap();
    peer.send_header(Some(from), "a.test").await.unwrap();
    peer.expect_header().await.unwrap();
    let Event::Element(element) = peer.next().await.unwrap() else {
        panic!("neither features nor an error");
    };
    match StreamError::from_element(&element) {
        Some(error) => Err(error),
        None => Ok(Features::from_element(&element).unwrap()),
    }
}

#[track_caller]
fn offered(outcome: &Result<Features, StreamError>) {
    assert_eq!(outcome.as_ref().unwrap().mechanisms, ["EXTERNAL"]);
}

#[track_caller]
fn refused(outcome: &Result<Features, StreamError>, words: &str) {
    let error = outcome.as_ref().unwrap_err();
    assert_eq!(error.condition.name(), "not-authorized");
    let text = error.text.as_deref().unwrap_or_default();
    assert!(text.contains(words), "{text}");
}

/// Refused, in these words.
#[track_caller]
fn hears_no_more(outcome: &Result<Features, StreamError>, words: &str) {
    refused(outcome, words);
    let error = outcome.as_ref().unwrap_err();
    assert_eq!(error.text.as_deref(), Some(words));
}

/// What comes back for a message to this domain: the text.
async fn comes_back(world: &World, to: &str) -> String {
    let error = error(world, to).await;
    error.child(ns::STANZA_ERRORS, "text").unwrap().text()
}

/// The whole error.
async fn error(world: &World, to: &str) -> Tree {
    let mut a = world.component("a.test").await.unwrap();
    let message = format!("<message from='{}' to='x@{to}' id='1'/>", a.address());
    a.send(message).await.unwrap();
    let error = a.expect("the error", TIMEOUT, |_| true).await.unwrap();
    let tree = error.tree();
    let mut children = tree.elements();
    children
        .find(|child| child.name == "error")
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_certificate_that_the_domain_publishes_is_good_both_ways() {
    let log = log::log();
    let scene = scene("posh.test", &[], signed(&["posh.test"])).await;
    scene.web.page(PATH, &fingerprints(&scene.issued, 60));
    let mut a = scene.world.component("a.test").await.unwrap();
    let mut b = scene.world.component("posh.test").await.unwrap();
    let plan = Plan {
        checks: vec![Check::Message],
        within: TIMEOUT,
        ..Plan::default()
    };
    for finding in checks::run(&mut a, Other::ComponentClient(&mut b), &plan).await {
        assert_eq!(finding.outcome, Ok(()), "{}", finding.to_json());
    }
    for way in ["outgoing", "incoming"] {
        let line = log.line(&[&format!("{way} stream authenticated"), "remote=posh.test"]);
        let want = format!("trust=\"POSH\" because=\"https://posh.test{PATH}\"");
        assert!(line.contains(&want), "{line}");
    }
    // Asked for once.
    assert_eq!(scene.web.asked(), [format!("posh.test {PATH}")]);
}

#[tokio::test]
async fn a_reference_and_redirects_lead_to_it() {
    let names = &["b.test", "hosting.test", "www.test"];
    let scene = scene("b.test", &["www.test"], signed(names)).await;
    let [third, fourth] = ["/.well-known/posh/third.json", "/.well-known/posh/4.json"];
    let refers = format!("{{\"url\":\"https://hosting.test{fourth}\",\"expires\":60}}");
    scene.web.page(PATH, &redirect(OTHER));
    let next = redirect(&format!("https://www.test:443{third}"));
    scene.web.page(OTHER, &next);
    scene.web.page(third, &document(&refers));
    scene.web.page(fourth, &fingerprints(&scene.issued, 60));
    offered(&call(&scene.world, "b.test", &scene.issued).await);
    let want = [
        format!("b.test {PATH}"),
        format!("b.test {OTHER}"),
        format!("www.test:443 {third}"),
        format!("hosting.test {fourth}"),
    ];
    assert_eq!(scene.web.asked(), want);
}

#[tokio::test]
async fn what_is_wrong_with_what_is_published_is_told() {
    let other = Issued::self_signed(&Leaf::domain("b.test"));
    let large = document(&" ".repeat((64 << 10) + 1));
    let head = "HTTP/1.1 200 OK\r\n";
    let packed =
        format!("{head}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x0b\x08\x00");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let crumbs = format!("{chunked}{}0\r\n\r\n", "1\r\n \r\n".repeat(60_000));
    let extended = format!("{chunked}1;{}\r\n \r\n", "x".repeat(300_000));
    let hints = format!(
        "{}{}",
        "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(12_000),
        document("{}")
    );
    let fields = format!("{head}{}\r\n", "x: y\r\n".repeat(60_000));
    let refers = |to: &str| document(&format!("{{\"url\":\"{to}\",\"expires\":60}}"));
    for (page, want) in [
        (
            Some(fingerprints(&other, 60)),
            "xmpp-server.json has other fingerprints",
        ),
        (
            Some(fingerprints(&other, 0)),
            "the document says that it has expired",
        ),
        (
            Some(document("{")),
            "xmpp-server.json: the document is no JSON object",
        ),
        (
            Some(document("{}")),
            "the document has to have \"fingerprints\" or \"url\"",
        ),
        (Some(large), "the document is larger than 64 KiB"),
        // Nothing is unpacked, and what it takes to say little is bounded, too.
        (
            Some(packed),
            "xmpp-server.json: the document is no JSON object",
        ),
        (Some(crumbs), "xmpp-server.json: "),
        (Some(extended), "xmpp-server.json: "),
        (Some(hints), "xmpp-server.json: "),
        (Some(fields), "xmpp-server.json: "),
        (
            Some(redirect("http://b.test/posh.json")),
            "a redirect to http://b.test/posh.json: not an https address",
        ),
        (Some(redirect(PATH)), "more than 10 redirects"),
        (
            Some(refers("http://b.test/posh.json")),
            "http://b.test/posh.json: not an https address",
        ),
        (
            Some(redirect("/admin?delete=all")),
            "https://b.test/admin?delete=all: not where documents of POSH are",
        ),
        (
            Some(redirect("https://inside.test:8443/.well-known/posh/x.json")),
            "not where documents of POSH are",
        ),
        (
            Some(refers("https://127.0.0.1/.well-known/posh/x.json")),
            "127.0.0.1 (loopback) left out by `addresses = \"public\"` in [policy]",
        ),
        (
            Some(redirect("https://localhost/.well-known/posh/x.json")),
            "localhost (loopback) left out by `addresses = \"public\"` in [policy]",
        ),
        (
            Some(refers("https://b.test/.well-known/posh/xmpp-server.json")),
            "what a document refers to refers to another one",
        ),
        (None, "the web server answers 404 Not Found"),
    ] {
        let public = "addresses = 'public'";
        let scene = scene_with("b.test", &[], signed(&["b.test"]), public).await;
        if let Some(page) = page {
            scene.web.page(PATH, &page);
        }
        // Not who had us ask hears what came of it,
        let outcome = call(&scene.world, "b.test", &scene.issued).await;
        hears_no_more(&outcome, NEITHER);
        // but who sends from here.
        let text = comes_back(&scene.world, "b.test").await;
        let neither = NEITHER.replace("your", "its");
        assert!(text.contains(&format!("{neither}: ")), "{text}");
        assert!(text.contains(want), "{text}");
        let asked = scene.web.asked();
        let posh = asked.iter().all(|line| line.contains("/.well-known/posh/"));
        assert!(posh, "{asked:?}");
    }
}

type Issue = fn(&World, Leaf) -> Issued;

#[tokio::test]
async fn a_web_server_that_is_not_the_domains_says_nothing() {
    let leaf = || Leaf::domain("b.test");
    let cases: [(Issue, Leaf, &str); 6] = [
        (
            |_, leaf| Issued::self_signed(&leaf),
            leaf(),
            "its certificate is self-signed",
        ),
        (
            |world, leaf| world.issue(&leaf),
            Leaf::domain("c.test"),
            "its certificate is not for b.test: it has dNSName c.test",
        ),
        (
            |world, leaf| world.issue(&leaf),
            leaf().validity(Validity::Expired),
            "expired",
        ),
        (
            |world, leaf| world.issue(&leaf),
            leaf().purpose(s2sd::tools::demo::ca::Purpose::Client),
            "its certificate is not for servers",
        ),
        // What it would take long to look at is not looked at.
        (
            |_, leaf| tangle::layered(&leaf, 6, 7, 0),
            leaf(),
            "it sent 43 certificates, and at most 8 are taken",
        ),
        (|_, leaf| tangle::ring(&leaf, 7, 0), leaf(), "too tangled"),
    ];
    for (issue, leaf, want) in cases {
        let scene = scene("b.test", &[], |world| issue(world, leaf)).await;
        scene.web.page(PATH, &fingerprints(&scene.issued, 60));
        let outcome = call(&scene.world, "b.test", &scene.issued).await;
        hears_no_more(&outcome, NEITHER);
        let text = comes_back(&scene.world, "b.test").await;
        let no_tls = format!("https://b.test{PATH}: no TLS: ");
        assert!(text.contains(&no_tls) && text.contains(want), "{text}");
        assert_eq!(scene.web.asked(), [""; 0]);
    }
}

#[tokio::test]
async fn a_web_server_whose_certificate_was_taken_back_says_nothing() {
    let crl = "crl = ['a.crl']";
    let web = |world: &World| {
        let issued = world.issue(&Leaf::domain("b.test"));
        let list = world.revoke(&[&issued]);
        world.write("a.test", "a.crl", &list).unwrap();
        issued
    };
    let scene = scene_with("b.test", &[], web, crl).await;
    scene.web.page(PATH, &fingerprints(&scene.issued, 60));
    let outcome = call(&scene.world, "b.test", &scene.issued).await;
    hears_no_more(&outcome, NEITHER);
    let text = comes_back(&scene.world, "b.test").await;
    assert!(text.contains("has been revoked by its issuer"), "{text}");
    assert_eq!(scene.web.asked(), [""; 0]);
}

#[tokio::test]
async fn what_is_published_does_not_make_an_expired_certificate_good() {
    let scene = scene("b.test", &[], signed(&["b.test"])).await;
    let expired = Issued::self_signed(&Leaf::domain("b.test").validity(Validity::Expired));
    scene.web.page(PATH, &fingerprints(&expired, 60));
    let outcome = call(&scene.world, "b.test", &expired).await;
    let error = outcome.unwrap_err();
    let text = error.text.unwrap();
    assert!(text.starts_with("your certificate expired on "), "{text}");
    assert!(!text.contains("POSH"), "{text}");
}

#[tokio::test]
async fn nobody_is_asked_where_an_authority_has_said_it_or_policy_does_not_want_it() {
    let scene = scene("b.test", &[], signed(&["b.test"])).await;
    scene.web.page(PATH, &fingerprints(&scene.issued, 60));
    let good = scene.world.issue(&Leaf::domain("b.test"));
    offered(&call(&scene.world, "b.test", &good).await);
    assert_eq!(scene.web.asked(), [""; 0]);
    drop(scene);

    let scene = scene_without().await;
    scene.web.page(PATH, &fingerprints(&scene.issued, 60));
    let outcome = call(&scene.world, "b.test", &scene.issued).await;
    assert_eq!(
        outcome.unwrap_err().text.unwrap(),
        "your certificate is self-signed"
    );
    assert_eq!(scene.web.asked(), [""; 0]);
}

async fn scene_without() -> Scene {
    let off = "[[peer]]\ndomain = 'b.test'\nposh = false\n";
    scene_with("b.test", &[], signed(&["b.test"]), off).await
}

#[tokio::test]
async fn while_nobody_can_tell_whether_a_certificate_is_good_stanzas_wait_and_come_back_with_that_cause()
 {
    let Scene {
        world,
        web,
        _proxy,
        issued: _,
    } = scene("b.test", &[], signed(&["b.test"])).await;
    // Whoever could tell is gone.
    drop(web);
    let began = Instant::now();
    let error = error(&world, "b.test").await;
    // `give_up` is a second; a certificate that is known to be bad comes back at once.
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    assert_eq!(error.attr("type"), Some("wait"));
    let condition = error.child(ns::STANZA_ERRORS, "remote-server-timeout");
    assert!(condition.is_some(), "{error:?}");
    let cause = error
        .elements()
        .find(|child| child.name == "cause")
        .unwrap();
    assert_eq!(cause.attr("name"), Some("certificate-untold"));
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_while_and_many_streams_ask_once() {
    let scene = scene("b.test", &[], signed(&["b.test"])).await;
    let calls = (0..5).map(|_| call(&scene.world, "b.test", &scene.issued));
    for outcome in join(calls).await {
        hears_no_more(&outcome, NEITHER);
    }
    scene.web.page(PATH, &fingerprints(&scene.issued, 60));
    hears_no_more(&call(&scene.world, "b.test", &scene.issued).await, NEITHER);
    let text = comes_back(&scene.world, "b.test").await;
    assert!(text.contains("404"), "{text}");
    assert_eq!(scene.web.asked().len(), 1);
}

/// All at once.
async fn join<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(|one| (Some(Box::pin(one)), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, done) in &mut waiting {
            if let Some(running) = future
                && let std::task::Poll::Ready(value) = running.as_mut().poll(context)
            {
                *done = Some(value);
                *future = None;
            }
        }
        match waiting.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(
                waiting
                    .iter_mut()
                    .filter_map(|(_, done)| done.take())
                    .collect(),
            ),
            false => std::task::Poll::Pending,
        }
    })
    .await
}
