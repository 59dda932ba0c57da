//! TLS 1.2 without the extended master secret (RFC 7627): refused, unless the rule of the peer takes it, and then the
//! exporter binds nothing (RFC 9266 §2).
//!
//! The other end of TLS is OpenSSL's, by Python in a child process, since rustls always offers the extension. Without a
//! `python3` nothing is tried, and the test says so.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd_tests::{
    background_traffic::BackgroundTraffic,
    peer::Peer,
    wire::Event,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use xmpp_stream::{Condition, DialbackFeature, Features, StanzaKind, ns};

/// Takes connections and carries each on: in clear as far as `starttls` says, then over TLS 1.2 without the extension.
const PROGRAM: &str = r"
import select, socket, ssl, sys
role, starttls, port, name, chain, key = sys.argv[1:]
NO_EXTENDED_MASTER_SECRET = 1
def context(protocol):
    made = ssl.SSLContext(protocol)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.options |= NO_EXTENDED_MASTER_SECRET
    made.load_cert_chain(chain, key)
    return made
def pump(near, far, until=None):
    while True:
        ready, _, _ = select.select([near, far], [], [])
        for this in ready:
            that = far if this is near else near
            data = this.recv(65536)
            if not data:
                return False
            while getattr(this, 'pending', lambda: 0)():
                data += this.recv(65536)
            that.sendall(data)
            if until and this is far and until in data:
                return True
def carry(near):
    far = None
    try:
        if role == 'server':
            near = context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(near, server_side=True)
        far = socket.create_connection(('127.0.0.1', int(port)))
        if starttls == 'yes' and not pump(near, far, b'<proceed'):
            return
        if role == 'client':
            far = context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(far, server_hostname=name)
        pump(near, far)
    except OSError:
        pass
    finally:
        near.close()
        if far:
            far.close()
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    carry(listener.accept()[0])
";

struct Old {
    child: Child,
    addr: SocketAddr,
}

impl Old {
    /// In front of `to`, as the client of TLS or as its server.
    fn before(world: &World, to: SocketAddr, how: [&str; 2], shown: &Issued) -> Option<Self> {
        world
            .write("here.test", "old.pem", &shown.chain_pem)
            .unwrap();
        world.write("here.test", "old.key", &shown.key_pem).unwrap();
        let base = world.path("here.test");
        let child = Command::new("python3")
            .args(["-c", PROGRAM])
            .args(how)
            .args([&to.port().to_string(), "here.test"])
            .args([base.join("old.pem"), base.join("old.key")])
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("there is no python3: TLS without the extended master secret was not tried");
            return None;
        };
        let mut port = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let addr = ([127, 0, 0, 1], port.trim().parse().unwrap()).into();
        Some(Self { child, addr })
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OLD: &str = "[[peer]]\ndomain = 'old.test'\nrequire_ems = false\n";

async fn here(daemon: Daemon) -> World {
    let mut world = World::new().unwrap();
    world.start(daemon).await.unwrap();
    world
}

fn daemon() -> Daemon {
    BackgroundTraffic::daemon("here.test").policy("auth = ['external', 'dialback']")
}

/// Says who it is in clear, and makes TLS.
async fn encrypted(old: &Old, from: &str) -> Peer {
    let mut peer = Peer::connect(old.addr).await.unwrap().with_timeout(TIMEOUT);
    peer.open(from, "here.test").await.unwrap();
    peer.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .await
        .unwrap();
    peer.expect(ns::TLS, "proceed").await.unwrap();
    peer.restart();
    peer
}

#[tokio::test]
async fn who_calls_needs_the_extended_master_secret_unless_its_own_rule_does_without() {
    let world = here(daemon().tables(OLD)).await;
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let shown = world.issue(&Leaf::domain("old.test"));
    let Some(old) = Old::before(&world, listener, ["client", "yes"], &shown) else {
        return;
    };
    // Anybody.
    let mut peer = encrypted(&old, "strict.test").await;
    peer.send_header(Some("strict.test"), "here.test")
        .await
        .ok();
    assert!(matches!(peer.next().await, Ok(Event::Closed) | Err(_)));
    // Whose rule says so.
    let mut peer = encrypted(&old, "old.test").await;
    let opened = peer.open("old.test", "here.test").await.unwrap();
    assert_eq!(peer_mechanisms(&opened.features), ["EXTERNAL"]);
    // What was said in clear opens the door to nobody else.
    drop(peer);
    let mut peer = encrypted(&old, "old.test").await;
    peer.send_header(Some("strict.test"), "here.test")
        .await
        .unwrap();
    peer.expect_header().await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition, Condition::PolicyViolation);
    drop(peer);
    let mut peer = encrypted(&old, "old.test").await;
    peer.open("old.test", "here.test").await.unwrap();
    let verdict = peer.dialback("strict.test", "here.test", "k").await;
    assert_eq!(verdict.unwrap(), "error");
}

fn peer_mechanisms(features: &Features) -> Vec<&str> {
    features.mechanisms.iter().map(String::as_str).collect()
}

/// A domain to which the zone leads by way of TLS without the extension, and what comes out of that.
async fn called(world: &mut World, domain: &str) -> Option<(Old, RawServer)> {
    let behind = world.listen(domain).await.unwrap();
    let shown = world.issue(&Leaf::domain(domain));
    let to = behind.addr().unwrap();
    let old = Old::before(world, to, ["server", "no"], &shown)?;
    world.lead("_xmpps-server", domain, old.addr);
    Some((old, behind))
}

#[tokio::test]
async fn whom_we_call_needs_the_extended_master_secret() {
    let queue = "[queue]\ngive_up = '1s'\n";
    let mut world = here(daemon().tables(&format!("{queue}{OLD}"))).await;
    let mut component = world.component("here.test").await.unwrap();
    let Some(_old) = called(&mut world, "strict.test").await else {
        return;
    };
    let message = "<message from='here.test' to='strict.test' id='1'/>";
    component.send(message).await.unwrap();
    let back = component
        .expect("an error", TIMEOUT, |_| true)
        .await
        .unwrap();
    let text = String::from_utf8_lossy(back.bytes()).into_owned();
    assert!(text.contains("name='tls'"), "{text}");
    assert!(text.contains("`require_ems` is true"), "{text}");
}

#[tokio::test]
async fn whom_we_call_may_lack_the_extended_master_secret_where_its_rule_says_so() {
    let mut world = here(daemon().tables(OLD)).await;
    let mut component = world.component("here.test").await.unwrap();
    let Some((_old, behind)) = called(&mut world, "old.test").await else {
        return;
    };
    let message = "<message from='here.test' to='old.test' id='1'/>";
    component.send(message).await.unwrap();
    let mut there = behind.accept().await.unwrap();
    let offer = Features::new().with_dialback(DialbackFeature::with_errors());
    there.answer_open("there", &offer).await.unwrap();
    there.expect(ns::DIALBACK, "result").await.unwrap();
    let valid = "<db:result from='old.test' to='here.test' type='valid'/>";
    there.send(valid).await.unwrap();
    there.expect_stanza(StanzaKind::Message).await.unwrap();
}

const PASSWORD: &str = "auth = ['scram']\n\
    credentials = { username = 'here.test', password = 'correct horse' }\n\
    accept = { username = 'old.test', password = 'correct horse' }\n";

#[tokio::test]
async fn the_exporter_is_offered_as_a_binding_only_where_it_binds() {
    let world = here(daemon().tables(&format!("{OLD}{PASSWORD}"))).await;
    let listener = world.daemon("here.test").unwrap().s2s[0];
    let shown = world.issue(&Leaf::domain("old.test"));
    let Some(old) = Old::before(&world, listener, ["client", "yes"], &shown) else {
        return;
    };
    let mut peer = encrypted(&old, "old.test").await;
    let opened = peer.open("old.test", "here.test").await.unwrap();
    assert!(peer_mechanisms(&opened.features).contains(&"SCRAM-SHA-256-PLUS"));
    let offered = opened.features.channel_bindings.unwrap();
    assert_eq!(offered, ["tls-server-end-point"]);
    // TLS 1.3 under the same rule.
    let mut peer = world.connect("here.test").await.unwrap();
    peer.open("old.test", "here.test").await.unwrap();
    let identity = world.identity("old.test");
    peer.starttls("here.test", Some(&identity)).await.unwrap();
    let opened = peer.open("old.test", "here.test").await.unwrap();
    let offered = opened.features.channel_bindings.unwrap();
    assert_eq!(offered, ["tls-exporter", "tls-server-end-point"]);
}

#[tokio::test]
async fn the_exporter_is_used_as_a_binding_only_where_it_binds() {
    let mut world = here(daemon().tables(&format!("{OLD}{PASSWORD}"))).await;
    let mut component = world.component("here.test").await.unwrap();
    let Some((_old, behind)) = called(&mut world, "old.test").await else {
        return;
    };
    let message = "<message from='here.test' to='old.test' id='1'/>";
    component.send(message).await.unwrap();
    let mut there = behind.accept().await.unwrap();
    let offer = Features::new()
        .with_mechanisms(["SCRAM-SHA-256-PLUS"])
        .with_channel_bindings(["tls-exporter", "tls-server-end-point"]);
    there.answer_open("there", &offer).await.unwrap();
    let auth = there.expect(ns::SASL, "auth").await.unwrap();
    let Some(Ok(xmpp_sasl::wire::Nonza::Auth { initial, .. })) =
        xmpp_sasl::wire::Nonza::from_element(&auth)
    else {
        panic!("{auth:?}")
    };
    let initial = String::from_utf8(initial.unwrap()).unwrap();
    assert!(initial.starts_with("p=tls-server-end-point,"), "{initial}");
}
