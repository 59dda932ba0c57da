//! What TLS is made to do without a word of XMPP: whoever sends records in which there is next to nothing is not listened to
//! for long.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use s2sd_tests::{
    attack_setup,
    records::{Encrypted, connect},
    world::Daemon,
};
use tokio::task::spawn_blocking;

const HERE: &str = "here.test";

fn daemon() -> Daemon {
    attack_setup::daemon().policy("tls = 'required'\nauth = ['external']")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_keys_without_end_end_the_connection_of_a_stranger_and_of_a_peer() {
    let (world, background_traffic, _component) = attack_setup::start(daemon()).await.unwrap();
    let addr = world.daemon(HERE).unwrap().s2s[0];
    let identity = world.identity("evil.test");
    for proves in [false, true] {
        let tcp = connect(Ipv4Addr::new(127, 66, 0, 1), addr).await.unwrap();
        let identity = identity.clone();
        let ended = spawn_blocking(move || {
            let mut peer = Encrypted::open(tcp, "evil.test", HERE, Some(&identity)).unwrap();
            if proves {
                let auth =
                    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
                peer.ask(auth, "<success").unwrap();
                let header = s2sd_tests::peer::header_text(&s2sd_tests::peer::initial_header(
                    Some("evil.test"),
                    HERE,
                ));
                peer.ask(&header, "<stream:features").unwrap();
            }
            // 32 KiB are put up with, and 64 KiB more are not.
            let few = peer.changes_of_keys(36).unwrap();
            peer.send(&few).unwrap();
            peer.ask(b"<db:verify xmlns:db='jabber:server:dialback' from='evil.test' to='here.test' id='1'>x</db:verify>", "db:verify")
                .unwrap();
            let many = peer.changes_of_keys(200).unwrap();
            // It may be closed before all of it is sent.
            let _ = peer.send(&many);
            peer.ends()
        });
        assert!(ended.await.unwrap(), "proves: {proves}");
    }
    background_traffic.was_well().await.unwrap();
}
