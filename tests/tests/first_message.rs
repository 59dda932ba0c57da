//! The first thing that must work: a stanza from a component here to a component there, over plain dialback.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use s2sd::app::{self, Running};
use s2sd::config::Config;
use s2sd::tools::demo::zone::{Zone, ZoneServer};
use s2sd_tests::component::attach;
use s2sd_tests::wire::Event;

const TIMEOUT: Duration = Duration::from_secs(10);

async fn daemon(domain: &str, dns: &ZoneServer) -> Running {
    let dir = std::env::temp_dir().join(format!("s2sd-first-{domain}-{}", std::process::id()));
    let text = format!(
        r#"
        data_dir = "{dir}"
        [listen]
        s2s = ["127.0.0.1:0"]
        s2s_tls = []
        components = ["127.0.0.1:0"]
        [dns]
        servers = ["{dns}"]
        [[domain]]
        name = "{domain}"
        component = {{ secret = "secret" }}
        [policy]
        addresses = "any"
        tls = "disabled"
        auth = ["dialback"]
        "#,
        dir = dir.display(),
        dns = dns.addr(),
    );
    let config = Config::from_toml(&text, "test", &dir).unwrap().config;
    app::start(config).await.unwrap()
}

#[tokio::test]
async fn a_message_crosses_by_plain_dialback() {
    let _ = tracing_subscriber::fmt()
        .with_test_writer()
        .with_max_level(tracing::Level::DEBUG)
        .try_init();
    let dns = ZoneServer::start("127.0.0.1:0".parse().unwrap(), Zone::new()).unwrap();
    let a = daemon("a.test", &dns).await;
    let b = daemon("b.test", &dns).await;
    dns.replace(
        Zone::new()
            .srv(
                "_xmpp-server._tcp.a.test",
                0,
                0,
                a.s2s[0].port(),
                "host.test",
            )
            .srv(
                "_xmpp-server._tcp.b.test",
                0,
                0,
                b.s2s[0].port(),
                "host.test",
            )
            .a("host.test", "127.0.0.1".parse().unwrap()),
    );
    let mut romeo = attach(a.components[0], "a.test", "secret", TIMEOUT)
        .await
        .unwrap();
    let mut juliet = attach(b.components[0], "b.test", "secret", TIMEOUT)
        .await
        .unwrap();
    romeo
        .send("<message from='romeo@a.test' to='juliet@b.test' id='1'><body>hello</body></message>")
        .await
        .unwrap();
    let Event::Element(got) = juliet.next(TIMEOUT).await.unwrap() else {
        panic!()
    };
    assert_eq!(got.id().as_deref(), Some("1"));
    assert_eq!(
        &got.bytes()[..],
        b"<message from='romeo@a.test' to='juliet@b.test' id='1'><body>hello</body></message>"
    );
    juliet
        .send("<message from='juliet@b.test' to='romeo@a.test' id='2'/>")
        .await
        .unwrap();
    let Event::Element(got) = romeo.next(TIMEOUT).await.unwrap() else {
        panic!()
    };
    assert_eq!(got.id().as_deref(), Some("2"));
    a.stop().await;
    b.stop().await;
}
