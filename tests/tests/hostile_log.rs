//! The log: whoever reads it, at any level, learns no password, no SASL payload and no dialback key; and he does learn
//! who was refused and why.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "gssapi")]
#[path = "../../xmpp-sasl/tests/gssapi/realm.rs"]
mod realm;

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s2sd_tests::{
    authoritative::Says,
    checks::{self, Check, Other, Plan},
    component::attach,
    peer::Peer,
    world::{Daemon, SECRET, TIMEOUT, World},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// What is written, here to the log, there over a wire.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of this process, everything from everybody.
fn log() -> Written {
    static LOG: OnceLock<Written> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let written = Written::default();
        let writer = written.clone();
        // The lab shows what it says and hears; it has nothing to hide.
        let levels = Targets::new()
            .with_default(LevelFilter::TRACE)
            .with_target("s2sd_tests", LevelFilter::OFF);
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone());
        Registry::default().with(levels).with(lines).init();
        written
    });
    log.clone()
}

/// A wire that is listened to: where to connect instead of `to`.
async fn tap(to: SocketAddr, heard: &Written) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = heard.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let (near_reads, near_writes) = near.into_split();
            let (far_reads, far_writes) = far.into_split();
            tokio::spawn(copy(near_reads, far_writes, heard.clone()));
            tokio::spawn(copy(far_reads, near_writes, heard.clone()));
        }
    });
    addr
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut heard: Written,
) -> io::Result<()> {
    let mut bytes = vec![0; 4096];
    loop {
        let more = from.read(&mut bytes).await?;
        if more == 0 {
            return to.shutdown().await;
        }
        heard.write_all(&bytes[..more])?;
        to.write_all(&bytes[..more]).await?;
    }
}

/// The content of every element of this name.
fn contents<'a>(heard: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!("<{name}");
    let rest = heard.split(&open).skip(1);
    rest.filter(|rest| rest.starts_with([' ', '>']))
        .filter_map(|rest| {
            let (tag, rest) = rest.split_once('>')?;
            (!tag.ends_with('/')).then(|| rest.split('<').next().unwrap_or_default())
        })
        .filter(|content| content.len() > 4)
        .collect()
}

fn with_passwords(domain: &str, other: &str, said: &str, wanted: &str) -> Daemon {
    Daemon::serving(domain)
        .policy("tls = 'optional'")
        .tables(&format!(
            "[dialback]\nsecret = 'the dialback secret of {domain}'\n\
             [[peer]]\ndomain = '{other}'\ntls = 'disabled'\nauth = ['digest-md5']\n\
             credentials = {{ username = '{domain}', password = '{said}' }}\n\
             accept = {{ username = '{other}', password = '{wanted}' }}\n\
             [[peer]]\ndomain = '*.plain.test'\ntls = 'disabled'\nauth = ['dialback']\n"
        ))
}

#[tokio::test]
async fn nothing_that_proves_somebody_is_in_the_log_at_any_level() {
    let log = log();
    let heard = Written::default();
    let mut world = World::new().unwrap();
    let (one, two) = ("open sesame one", "open sesame two");
    world
        .start(with_passwords("a.test", "b.test", one, two))
        .await
        .unwrap();
    world
        .start(with_passwords("b.test", "a.test", two, one))
        .await
        .unwrap();
    world
        .start(
            Daemon::serving("c.plain.test")
                .without_tls()
                .tables("[dialback]\nsecret = 'the dialback secret of c.plain.test'\n"),
        )
        .await
        .unwrap();
    for domain in ["a.test", "b.test", "c.plain.test"] {
        let addr = world.daemon(domain).unwrap().s2s[0];
        let addr = tap(addr, &heard).await;
        world.lead("_xmpp-server", domain, addr);
    }
    let mut a = world.component("a.test").await.unwrap();
    let mut b = world.component("b.test").await.unwrap();
    let mut c = world.component("c.plain.test").await.unwrap();
    // By password, and by dialback.
    let plan = Plan {
        checks: vec![Check::Message],
        within: TIMEOUT,
        ..Plan::default()
    };
    for other in [&mut b, &mut c] {
        let findings = checks::run(&mut a, Other::ComponentClient(other), &plan).await;
        assert!(findings.iter().all(|f| f.outcome.is_ok()), "{findings:?}");
    }
    // A component's proof.
    let listener = tap(world.daemon("a.test").unwrap().components[0], &heard).await;
    drop(attach(listener, "a.test", SECRET, TIMEOUT).await.unwrap());
    assert!(
        attach(listener, "a.test", "open sesame three", TIMEOUT)
            .await
            .is_err()
    );
    // Proofs that are refused: out of place, of the wrong kind, forged.
    let _silent = world
        .authoritative("evil.plain.test", Says::Invalid, None)
        .await;
    let listener = tap(world.daemon("a.test").unwrap().s2s[0], &heard).await;
    let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
    let s_asl = "xmlns:s='urn:ietf:params:xml:ns:xmpp-sasl'";
    for text in [
        format!("<auth {sasl} mechanism='PLAIN'>AG9wZW4gc2VzYW1lIGZvdXI=</auth>"),
        format!("<auth {sasl} mechanism='DIGEST-MD5'>AG9wZW4gc2VzYW1lIGZpdmU=</auth>"),
        format!("<response {sasl}>AG9wZW4gc2VzYW1lIHNpeA==</response>"),
        format!("<s:auth {s_asl} mechanism='PLAIN'>AG9wZW4gc2VzYW1lIHNldmVu</s:auth>"),
        format!("<x {sasl}>AG9wZW4gc2VzYW1lIGVpZ2h0</x>"),
        "<db:result from='evil.plain.test' to='a.test'>a forged key one</db:result>".to_owned(),
        "<db:result from='evil.plain.test' to='x.test'>a forged key two</db:result>".to_owned(),
        "<db:result from='evil.plain.test'>a forged key three</db:result>".to_owned(),
        "<db:verify from='evil.plain.test' to='a.test' id='1'>a forged key four</db:verify>"
            .to_owned(),
        "<db:x>a forged key five</db:x>".to_owned(),
    ] {
        let mut peer = Peer::connect(listener).await.unwrap();
        peer.open("evil.plain.test", "a.test").await.unwrap();
        peer.send(text + "</stream:stream>").await.unwrap();
        while matches!(
            peer.next().await,
            Ok(s2sd_tests::wire::Event::Element(_) | s2sd_tests::wire::Event::Footer)
        ) {}
    }

    let (log, heard) = (log.text(), heard.text());
    // The test sees what it is about,
    assert!(
        log.contains("TRACE") && log.contains("<body>"),
        "no XML in the log"
    );
    let mut secrets = vec!["sesame", SECRET, "the dialback secret of", "a forged key"];
    for (name, at_least) in [
        ("auth", 2),
        ("challenge", 4),
        ("response", 2),
        ("s:auth", 1),
        ("handshake", 2),
        ("db:result", 5),
        ("db:verify", 2),
    ] {
        let contents = contents(&heard, name);
        assert!(contents.len() >= at_least, "{name}: {contents:?}");
        secrets.extend(contents);
    }
    // and none of it is there.
    for secret in secrets {
        for line in log.lines() {
            assert!(!line.contains(secret), "{secret:?} is in the log: {line}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_a_line_that_says_who_and_why() {
    let log = log();
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving("refusing.test").policy("tls = 'optional'");
    world.start(daemon).await.unwrap();
    for (text, words) in [
        ("<message/>", "not-authorized"),
        ("<!-- -->", "restricted-xml"),
        (
            "<db:result from='x.test' to='y.test' type='valid'/>",
            "invalid-from",
        ),
    ] {
        let listener = world.daemon("refusing.test").unwrap().s2s[0];
        let stream = TcpStream::connect(listener).await.unwrap();
        let from = stream.local_addr().unwrap().to_string();
        let mut peer = Peer::over(s2sd_tests::wire::Wire::over(stream));
        peer.open("evil.test", "refusing.test").await.unwrap();
        peer.send(text).await.unwrap();
        peer.expect_stream_error().await.unwrap();
        drop(peer);
        // The line is written when the connection is gone.
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let line = loop {
            let written = log.text();
            let line = written
                .lines()
                .find(|line| line.contains(&from) && line.contains(words) && line.contains("INFO"));
            match line {
                Some(line) => break line.to_owned(),
                None if tokio::time::Instant::now() > deadline => {
                    panic!("no line with {from} and {words}")
                }
                None => tokio::task::yield_now().await,
            }
        };
        assert!(
            line.contains("protocol") && line.contains("by=\"us\""),
            "{line}"
        );
    }
}

/// Inside TLS nobody else hears it, and so the log is the one place to find it in.
#[tokio::test]
async fn a_password_said_inside_tls_is_not_in_the_log_either() {
    let log = log();
    let password = "correct horse battery staple";
    for auth in ["plain", "scram"] {
        let mut world = World::new().unwrap();
        for (own, other) in [("p.test", "q.test"), ("q.test", "p.test")] {
            let entry = format!(
                "[[peer]]\ndomain = '{other}'\nauth = ['{auth}']\n\
                 credentials = {{ username = '{own}', password = '{password}' }}\n\
                 accept = {{ username = '{other}', password = '{password}' }}\n"
            );
            world
                .start(Daemon::serving(own).tables(&entry))
                .await
                .unwrap();
        }
        let mut p = world.component("p.test").await.unwrap();
        let mut q = world.component("q.test").await.unwrap();
        let plan = Plan {
            within: TIMEOUT,
            ..Plan::default()
        };
        let findings = checks::run(&mut p, Other::ComponentClient(&mut q), &plan).await;
        assert!(findings.iter().all(|finding| finding.outcome.is_ok()));
    }
    let text = log.text();
    for method in ["PLAIN", "SCRAM-SHA-512-PLUS"] {
        assert!(text.contains(&format!("method=\"{method}\"")), "{method}");
    }
    let message = |own: &str| STANDARD.encode(format!("\0{own}\0{password}"));
    for secret in [
        password,
        &message("p.test"),
        &message("q.test"),
        "p=tls-exporter",
    ] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-512-PLUS"] {
        let seen = format!("mechanism=\"{mechanism}\">…)");
        assert!(
            text.contains(&seen),
            "the step of {mechanism} was not logged at all"
        );
    }
}

/// Two daemons write to each other in clear, and a third refuses the first. What their wires carried of SASL is not in the
/// log, nor are these secrets. Gives the log, for what should be in it.
async fn in_clear(daemons: [(&str, Daemon); 3], mechanism: &str, secrets: &[&str]) -> String {
    let log = log();
    let heard = Written::default();
    let mut world = World::new().unwrap();
    let mut component_clients = Vec::new();
    for (domain, daemon) in daemons {
        world.start(daemon.without_tls()).await.unwrap();
        let addr = tap(world.daemon(domain).unwrap().s2s[0], &heard).await;
        world.lead("_xmpp-server", domain, addr);
        component_clients.push(world.component(domain).await.unwrap());
    }
    let [first, friend, stranger] = component_clients.as_mut_slice() else {
        panic!("there are three")
    };
    let plan = Plan {
        checks: vec![Check::Message],
        within: TIMEOUT,
        ..Plan::default()
    };
    let findings = checks::run(first, Other::ComponentClient(friend), &plan).await;
    assert!(findings.iter().all(|it| it.outcome.is_ok()), "{findings:?}");
    let grace = Duration::from_millis(100);
    let findings =
        checks::refused(first, Other::ComponentClient(stranger), &[], TIMEOUT, grace).await;
    assert!(findings.iter().all(|it| it.outcome.is_ok()), "{findings:?}");
    let (log, heard) = (log.text(), heard.text());
    assert!(log.contains(&format!("method=\"{mechanism}\"")));
    let mut secrets = secrets.to_vec();
    for name in ["auth", "challenge", "response"] {
        secrets.extend(contents(&heard, name));
    }
    assert!(secrets.len() > 4, "{heard}");
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    log
}

#[tokio::test]
async fn neither_keys_nor_words_of_kerberos_v4_are_in_the_log() {
    let keys = "xmpp.v@V xmpp.w@W 1 133457799bbcdff1\nxmpp.w@W xmpp.v@V 1 0123456789abcdef\n";
    // One that has another key, and is refused.
    let wrong = "xmpp.v@V xmpp.u@U 1 fedcba9876543210\nxmpp.u@U xmpp.v@V 1 0123456789abcdef\n";
    let right = "xmpp.v@V xmpp.u@U 1 0123456789abcdef\n";
    let entry = |other: &str, file: &str| {
        format!(
            "[[peer]]\ndomain = '{other}'\ntls = 'disabled'\nauth = ['kerberos-v4']\n\
             credentials = {{ kerberos-v4 = {{ key_file = '{file}' }} }}\n"
        )
    };
    let accept = |file: &str| format!("accept = {{ kerberos-v4 = {{ key_file = '{file}' }} }}\n");
    let v = entry("w.test", "w") + &accept("w") + &entry("u.test", "u");
    let w = entry("v.test", "w") + &accept("w");
    let u = format!(
        "[[peer]]\ndomain = 'v.test'\ntls = 'disabled'\nauth = ['kerberos-v4']\n{}",
        accept("u")
    );
    let daemons = [
        (
            "v.test",
            Daemon::serving("v.test")
                .tables(&v)
                .file("w", keys)
                .file("u", wrong),
        ),
        (
            "w.test",
            Daemon::serving("w.test").tables(&w).file("w", keys),
        ),
        (
            "u.test",
            Daemon::serving("u.test").tables(&u).file("u", right),
        ),
    ];
    let secrets = ["133457799bbcdff1", "0123456789abcdef", "fedcba9876543210"];
    let log = in_clear(daemons, "KERBEROS_V4", &secrets).await;
    assert!(
        log.contains("refused KERBEROS_V4 (not-authorized)"),
        "who was refused is not"
    );
}

#[cfg(feature = "gssapi")]
#[test]
fn no_words_of_gssapi_are_in_the_log() {
    let principals = ["xmpp/v.test", "xmpp/w.test", "xmpp/u.test"];
    realm::within(
        "no_words_of_gssapi_are_in_the_log",
        &principals,
        |directory| {
            let keytab = |own: &str| directory.join(realm::file_name(&format!("xmpp/{own}")));
            let entry = |own: &str, other: &str, principals: &str| {
                let keytab = keytab(own).display().to_string();
                format!(
                    "[[peer]]\ndomain = '{other}'\ntls = 'disabled'\nauth = ['gssapi']\n\
                 credentials = {{ gssapi = {{ keytab = '{keytab}' }} }}\n\
                 accept = {{ gssapi = {{ keytab = '{keytab}' }}{principals} }}\n"
                )
            };
            let v = entry("v.test", "w.test", "") + &entry("v.test", "u.test", "");
            let other = format!(", principals = ['xmpp/x.test@{}']", realm::NAME);
            let daemons = [
                ("v.test", Daemon::serving("v.test").tables(&v)),
                (
                    "w.test",
                    Daemon::serving("w.test").tables(&entry("w.test", "v.test", "")),
                ),
                (
                    "u.test",
                    Daemon::serving("u.test").tables(&entry("u.test", "v.test", &other)),
                ),
            ];
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let log = runtime.block_on(in_clear(daemons, "GSSAPI", &[]));
            // The operator hears what the peer does not.
            let why = format!("xmpp/v.test@{} does not speak for v.test here", realm::NAME);
            assert!(log.contains(&why), "{log}");
        },
    );
}
