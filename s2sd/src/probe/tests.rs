//! What waits for a time limit, with a clock that does not wait.

use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::demo::zone::{Zone, ZoneServer};
use crate::probe::verdict::{Code, Side};

#[tokio::test(start_paused = true)]
async fn name_servers_that_say_nothing_may_be_on_either_side() {
    let names = [
        "_xmpp-server._tcp.b.example",
        "_xmpps-server._tcp.b.example",
    ];
    let zone = names
        .iter()
        .fold(Zone::new(), |zone, name| zone.silent(name));
    let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap();
    let mut config = Config::default();
    config.dns.servers = vec![server.addr()];
    let question = Question {
        domain: Domain::parse("b.example").unwrap(),
        from: None,
        config,
        within: Duration::from_secs(60),
    };
    let report = probe(question, &watch::Sender::default()).await.unwrap();
    let reason = &report.verdict.reason;
    assert_eq!(
        (reason.code, reason.side),
        (Code::Dns, Side::Between),
        "{reason:#?}"
    );
    assert!(!report.is_well());
}
