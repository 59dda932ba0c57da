//! What waits for a time limit, with a clock that does not wait.

use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::tools::demo::zone::{Zone, ZoneServer};
use crate::tools::probe::verdict::{Code, Side};

/// Asks for b.example, whose name servers say nothing.
async fn unanswered(within: Duration) -> Report {
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
        within,
    };
    let report = probe(question, &watch::Sender::default()).await.unwrap();
    assert!(!report.is_well());
    report
}

#[tokio::test(start_paused = true)]
async fn name_servers_that_say_nothing_may_be_on_either_side() {
    let report = unanswered(Duration::from_secs(60)).await;
    let reason = &report.verdict.reason;
    assert_eq!(
        (reason.code, reason.side),
        (Code::Dns, Side::Between),
        "{reason:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_dns_is_not_waited_for_longer_than_for_everything() {
    let report = unanswered(Duration::from_secs(1)).await;
    assert!(report.findings.cut_short);
    assert_eq!(report.verdict.reason.code, Code::OutOfTime);
}
