use xmpp_stream::{ContentNamespace, Context};

use super::*;
use crate::{
    component_client::Behaviour,
    relay_server::{Fault, RelayServer},
    wire::Wire,
};

const TIMEOUT: Duration = Duration::from_secs(5);

async fn pair(relay_server: &RelayServer) -> (ComponentClient, ComponentClient) {
    let attach = async |domain| {
        ComponentClient::attach(&relay_server.end(domain), Behaviour::Quiet, TIMEOUT).await
    };
    (
        attach("a.test").await.unwrap(),
        attach("b.test").await.unwrap(),
    )
}

async fn order_with(fault: Fault) -> String {
    let relay_server = RelayServer::start(fault).await;
    let (mut a, mut b) = pair(&relay_server).await;
    let plan = Plan {
        checks: vec![Check::Order],
        both_ways: false,
        count: 20,
        within: Duration::from_millis(500),
        seed: None,
    };
    let findings = run(&mut a, Other::ComponentClient(&mut b), &plan).await;
    findings[0].outcome.clone().unwrap_err()
}

#[tokio::test]
async fn a_good_server_passes_all_checks() {
    let relay_server = RelayServer::start(|_, stanza| vec![stanza]).await;
    let (mut a, mut b) = pair(&relay_server).await;
    let plan = Plan {
        within: TIMEOUT,
        ..Plan::default()
    };
    let findings = run(&mut a, Other::ComponentClient(&mut b), &plan).await;
    let failed: Vec<_> = findings.iter().filter(|f| f.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(findings.len(), 8);
}

#[tokio::test]
async fn a_lost_message_is_noticed() {
    let lost = order_with(|n, stanza| if n == 7 { vec![] } else { vec![stanza] }).await;
    assert_eq!(lost, "after 7 of 20 messages: number 7 is missing");
}

#[tokio::test]
async fn a_doubled_message_is_noticed_also_at_the_end() {
    let twice: Fault = |n, s| if n == 19 { vec![s.clone(), s] } else { vec![s] };
    assert_eq!(
        order_with(twice).await,
        "after 20 of 20 messages: number 19 came twice"
    );
}

#[tokio::test]
async fn messages_out_of_order_are_noticed() {
    // Number 3 comes in place of number 8.
    let swapped: Fault = |n, stanza| {
        let text = String::from_utf8(stanza.to_vec()).unwrap();
        match n {
            8 => vec![text.replace("-8'", "-3'").into()],
            _ => vec![stanza],
        }
    };
    assert_eq!(
        order_with(swapped).await,
        "after 8 of 20 messages: number 3 came after 7"
    );
}

#[tokio::test]
async fn silence_is_noticed() {
    let reason = order_with(|_, _| vec![]).await;
    assert!(
        reason.contains("the next message did not come within"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_spoiled_message_is_noticed() {
    let relay_server = RelayServer::start(|_, stanza| {
        let text = String::from_utf8(stanza.to_vec()).unwrap();
        vec![text.replace("&lt;sent&gt;", "sent").into()]
    })
    .await;
    let (mut a, mut b) = pair(&relay_server).await;
    let plan = Plan {
        checks: vec![Check::Message],
        ..Plan::default()
    };
    let findings = run(&mut a, Other::ComponentClient(&mut b), &plan).await;
    assert!(
        findings[0]
            .outcome
            .clone()
            .unwrap_err()
            .starts_with("not as sent")
    );
}

#[tokio::test]
async fn a_message_that_comes_back_is_told_at_once() {
    let relay_server = RelayServer::start(|_, stanza| vec![stanza]).await;
    let (mut a, _) = pair(&relay_server).await;
    let (near, _far) = tokio::io::duplex(64);
    let mut c = ComponentClient::over(Wire::over(near), "c.test".to_owned(), Behaviour::Quiet);
    let reason = message(&mut a, &mut c, TIMEOUT)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        reason,
        "the message came back: remote-server-not-found (nobody there)"
    );
}

#[tokio::test]
async fn a_refusal_is_one_error_and_nothing_arrives() {
    let relay_server = RelayServer::start(|_, stanza| vec![stanza]).await;
    let (mut a, mut b) = pair(&relay_server).await;
    let grace = Duration::from_millis(50);
    let not_found = ["remote-server-not-found".to_owned()];
    let nowhere = || Other::Host("c.test");
    let findings = refused(&mut a, nowhere(), &not_found, TIMEOUT, grace).await;
    assert!(findings.iter().all(|f| f.outcome.is_ok()), "{findings:?}");
    assert_eq!(findings[0].to_json()["text"], "nobody there");
    let other = ["remote-server-timeout".to_owned()];
    let findings = refused(&mut a, nowhere(), &other, TIMEOUT, grace).await;
    assert_eq!(
        findings[0].outcome,
        Err("the condition is remote-server-not-found".to_owned())
    );
    let findings = refused(&mut a, Other::ComponentClient(&mut b), &[], grace, grace).await;
    assert!(findings.iter().any(|f| f.outcome.is_err()), "{findings:?}");
}

#[test]
fn a_body_in_the_namespace_of_clients_is_a_body() {
    let text = "<message><body xmlns='jabber:client'>so</body></message>";
    let context = Context::new(ContentNamespace::Component);
    let message = Element::parse(text, &context).unwrap();
    assert_eq!(body(&message).as_deref(), Some("so"));
}
