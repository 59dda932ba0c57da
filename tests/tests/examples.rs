//! The examples of the crates, against daemons.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::component_client::{Behaviour, ComponentClient};
use s2sd_tests::endpoint::End;
use s2sd_tests::peer::Peer;
use s2sd_tests::process::Process;
use s2sd_tests::world::{Daemon, SECRET, TIMEOUT, World};
use tokio::net::TcpListener;

#[allow(dead_code)]
#[path = "../../xmpp-stream/examples/echo_component.rs"]
mod echo_component;

#[allow(dead_code)]
#[path = "../../s2sd/examples/small_server/main.rs"]
mod small_server;

#[tokio::test]
async fn the_echo_component_sends_messages_back_through_two_daemons() {
    let mut world = World::new().unwrap();
    for domain in ["here.test", "echo.test"] {
        world.start(Daemon::serving(domain)).await.unwrap();
    }
    let address = world.daemon("echo.test").unwrap().components[0].to_string();
    let wrong = echo_component::attach(&address, "echo.test", "wrong").await;
    assert_eq!(wrong.err().unwrap().to_string(), "not-authorized");

    let echo = echo_component::attach(&address, "echo.test", SECRET)
        .await
        .unwrap();
    let mut here = world.component("here.test").await.unwrap();
    let sent = "<message from='romeo@here.test/orchard' to='nymph@echo.test' type='chat' id='1'><body>Ay me!</body></message>";
    let answered = async {
        here.send(sent).await.unwrap();
        here.expect("the echo", TIMEOUT, |stanza| stanza.name() == "message")
            .await
            .unwrap()
    };
    let answer = tokio::select! {
        answer = answered => answer,
        ended = echo_component::echo(echo) => panic!("the component ended: {ended:?}"),
    };
    assert_eq!(answer.from().as_deref(), Some("nymph@echo.test"));
    assert_eq!(answer.to().as_deref(), Some("romeo@here.test/orchard"));
    assert_eq!(answer.id().as_deref(), Some("1"));
    assert_eq!(answer.type_attr().as_deref(), Some("chat"));
    let tree = answer.tree();
    let body = tree.child(&tree.namespace, "body").unwrap();
    assert_eq!(body.text(), "Ay me!");
}

/// The small server on a port that is free, where the zone then leads.
async fn small(world: &mut World, s2sd: SocketAddr) -> SocketAddr {
    let issued = world.issue(&Leaf::domain("small.test"));
    let authority = world.authority();
    let server =
        small_server::Server::new("small.test", &issued.chain_pem, &issued.key_pem, authority);
    let mut server = server.unwrap();
    server.add_peer("here.test", s2sd).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    world.lead("_xmpp-server", "small.test", address);
    tokio::spawn(Arc::new(server).serve(listener));
    address
}

#[tokio::test]
async fn the_small_server_federates_with_s2sd_by_its_certificate_and_by_dialback() {
    for (policy, method) in [("", "EXTERNAL"), ("auth = ['dialback']", "dialback")] {
        let mut world = World::new().unwrap();
        let daemon = Daemon::serving("here.test").policy(policy);
        let lab = env!("CARGO_BIN_EXE_lab");
        let process = Process::start(&mut world, lab, &daemon, 1024).await;
        let process = process.unwrap();
        small(&mut world, process.s2s).await;
        let end = End::Component {
            addr: process.components,
            domain: "here.test".to_owned(),
            secret: SECRET.to_owned(),
            node: None,
        };
        let here = ComponentClient::attach(&end, Behaviour::Quiet, TIMEOUT).await;
        let mut here = here.unwrap();
        for number in 0..3 {
            let sent = format!(
                "<message from='romeo@here.test/orchard' to='nymph@small.test' id='{number}'>\
                 <body>Ay me!</body></message>"
            );
            here.send(sent).await.unwrap();
            let answer = here.expect("the echo", TIMEOUT, |stanza| stanza.name() == "message");
            let answer = answer.await.unwrap();
            assert_eq!(answer.from().as_deref(), Some("nymph@small.test"));
            assert_eq!(answer.to().as_deref(), Some("romeo@here.test/orchard"));
            assert_eq!(answer.id(), Some(number.to_string().into()));
            let tree = answer.tree();
            let body = tree.child(&tree.namespace, "body").unwrap();
            assert_eq!(body.text(), "Ay me!");
        }
        // How the small server proves itself; s2sd proves itself by dialback.
        let method = format!("method=\"{method}\"");
        let log = process.log();
        let is_so = |line: &String| line.contains("incoming") && line.contains(&method);
        assert!(log.iter().any(is_so), "{method} in {log:#?}");
    }
}

#[tokio::test]
async fn the_small_server_takes_nothing_before_tls_and_no_stanza_before_a_proof() {
    let mut world = World::new().unwrap();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let address = small(&mut world, nowhere).await;
    let stanza =
        "<message from='romeo@here.test' to='nymph@small.test'><body>Ay me!</body></message>";

    let mut peer = Peer::connect(address).await.unwrap();
    peer.open("here.test", "small.test").await.unwrap();
    peer.send(stanza).await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition.name(), "policy-violation");

    let mut peer = Peer::connect(address).await.unwrap();
    peer.open("here.test", "small.test").await.unwrap();
    peer.starttls("small.test", None).await.unwrap();
    peer.open("here.test", "small.test").await.unwrap();
    peer.send(stanza).await.unwrap();
    let error = peer.expect_stream_error().await.unwrap();
    assert_eq!(error.condition.name(), "not-authorized");
}
