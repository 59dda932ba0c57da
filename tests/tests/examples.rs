//! The examples of the crates, against daemons.
#![allow(clippy::unwrap_used)]

use s2sd_tests::world::{Daemon, SECRET, TIMEOUT, World};

#[allow(dead_code)]
#[path = "../../xmpp-stream/examples/echo_component.rs"]
mod echo_component;

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
