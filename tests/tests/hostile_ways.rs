//! What goes wrong on the way to another server: in the DNS, on the network, on this machine. Whatever waits is held as
//! long as somebody may mend it, and goes as soon as there is a way.
#![allow(clippy::unwrap_used)]

use s2sd::demo::zone::{Zone, ZoneServer};
use s2sd_tests::world::{Daemon, SOON, World, nameserver};

/// A daemon that tries again soon.
fn hasty(domain: &str) -> Daemon {
    Daemon::serving(domain)
        .policy("tls = 'optional'\nauth = ['external', 'dialback']")
        .tables("[queue]\nbackoff = { first = '1s', max = '1s' }")
}

fn message(from: &str, to: &str, id: &str) -> String {
    format!("<message from='u@{from}' to='x@{to}' id='{id}'/>")
}

#[tokio::test]
async fn what_waits_goes_as_soon_as_the_system_names_a_server_that_answers() {
    let mut world = World::new().unwrap();
    world.start(hasty("here.test").resolv_conf()).await.unwrap();
    world.start(hasty("there.test")).await.unwrap();
    // As when a laptop wakes up elsewhere.
    let lost = Zone::new().fails("*");
    let lost = ZoneServer::start("127.0.0.1:0".parse().unwrap(), lost).unwrap();
    let name = |server: &ZoneServer| {
        let text = nameserver(server.addr());
        world.write("here.test", "resolv.conf", &text).unwrap();
    };
    name(&lost);
    let daemon = hasty("here.test").resolv_conf();
    world.reload(&daemon).unwrap();
    let mut here = world.component("here.test").await.unwrap();
    let mut there = world.component("there.test").await.unwrap();
    let mut asked = lost.watch();
    here.send(message("here.test", "there.test", "1"))
        .await
        .unwrap();
    asked.recv().await.unwrap();
    name(world.dns());
    let is_it = |stanza: &xmpp_stream::Element| stanza.id().as_deref() == Some("1");
    there.expect("the message", SOON * 3, is_it).await.unwrap();
}
