use super::*;
use std::future::Future;
use tokio::net::TcpListener;
use xmpp_stream::{Condition, StreamError};

/// Plays a scenario against a server that follows a script.
async fn against<F: Future<Output = anyhow::Result<()>>>(
    scenario: Scenario,
    server: impl FnOnce(Peer) -> F,
) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hostile_peer = HostilePeer {
        scenario,
        addr: listener.local_addr().unwrap(),
        from: "a.test".to_owned(),
        to: "b.test".to_owned(),
        encryption: Encryption::None,
        identity: None,
        stanza_to: "b.test".to_owned(),
        within: Duration::from_millis(1500),
    };
    let serve = async { server(Peer::accept(&listener).await?).await };
    let (report, served) = tokio::join!(hostile_peer.run(), serve);
    served.unwrap();
    report
}

fn external() -> Features {
    Features::new().with_mechanisms(["EXTERNAL"])
}

#[tokio::test]
async fn a_server_that_believes_a_forged_key_is_caught() {
    let result = |kind: &str| format!("<db:result from='b.test' to='a.test' type='{kind}'/>");
    let valid = result("valid");
    let report = against(Scenario::ForgedKey, async |mut peer| {
        peer.answer_open("1", &Features::default()).await?;
        peer.expect(ns::DIALBACK, "result").await?;
        peer.send(valid).await?;
        peer.next().await.map(|_| ())
    })
    .await;
    assert!(!report.ok);
    assert_eq!(
        report.answer,
        ServerAnswer::Dialback("valid".to_owned(), None, None)
    );

    let invalid = result("invalid");
    let report = against(Scenario::ForgedKey, async |mut peer| {
        peer.answer_open("1", &Features::default()).await?;
        peer.expect(ns::DIALBACK, "result").await?;
        peer.send(invalid).await?;
        peer.next().await?;
        peer.send(StreamError::new(Condition::NotAuthorized).to_bytes())
            .await
    })
    .await;
    assert!(report.ok, "{report:?}");
    assert_eq!(
        report.then,
        Some(ServerAnswer::StreamError("not-authorized".to_owned(), None))
    );
}

#[tokio::test]
async fn the_reason_of_a_dialback_error_is_told() {
    let report = against(Scenario::UnknownHost, async |mut peer| {
        peer.answer_open("1", &Features::default()).await?;
        peer.expect(ns::DIALBACK, "result").await?;
        peer.send(
            "<db:result from='b.test' to='a.test' type='error'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>not here</text></error></db:result>",
        )
        .await
    })
    .await;
    let json = report.to_json(Scenario::UnknownHost);
    assert!(report.ok);
    assert_eq!(
        json["answer"],
        json!({"kind": "dialback", "type": "error", "condition": "item-not-found", "text": "not here"})
    );
}

#[tokio::test]
async fn an_unauthenticated_stanza_must_end_the_stream() {
    let report = against(Scenario::Unauthenticated, async |mut peer| {
        peer.answer_open("1", &external()).await?;
        peer.next().await.map(|_| ())
    })
    .await;
    assert_eq!((report.ok, report.answer), (true, ServerAnswer::Closed));
    assert_eq!(report.features, ["EXTERNAL"]);
    let report = against(Scenario::Unauthenticated, async |mut peer| {
        peer.answer_open("1", &external()).await?;
        peer.next().await?;
        peer.expect_closed().await
    })
    .await;
    assert_eq!((report.ok, report.answer), (false, ServerAnswer::Nothing));
}

#[tokio::test]
async fn external_with_a_wrong_certificate_must_fail() {
    for (answer, ok) in [
        (
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
            true,
        ),
        ("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", false),
    ] {
        let report = against(Scenario::WrongCertificate, async |mut peer| {
            peer.answer_open("1", &external()).await?;
            peer.expect(ns::SASL, "auth").await?;
            peer.send(answer).await?;
            Ok(())
        })
        .await;
        assert_eq!(report.ok, ok, "{report:?}");
    }
    let report = against(Scenario::WrongCertificate, async |mut peer| {
        peer.answer_open("1", &Features::default()).await?;
        peer.next().await.map(|_| ())
    })
    .await;
    assert_eq!((report.ok, report.answer), (true, ServerAnswer::NotOffered));
}

#[tokio::test]
async fn a_header_without_version_wants_an_answer_without_version_and_features() {
    let report = against(Scenario::NoVersion, async |mut peer| {
        peer.answer_open("1", &external()).await?;
        peer.next().await.map(|_| ())
    })
    .await;
    assert!(report.ok, "{report:?}");
    let report = against(Scenario::NoVersion, async |mut peer| {
        peer.answer_open("1", &external()).await?;
        peer.send(external().to_bytes()).await
    })
    .await;
    assert!(!report.ok, "{report:?}");
}
