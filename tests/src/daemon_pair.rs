//! Two daemons, `a.test` and `b.test`, that agreed on something to prove themselves by.
//!
//! What goes wrong panics: this is for tests.

use crate::{
    checks::{self, Finding, Other, Plan},
    component_client::ComponentClient,
    world::{Daemon, TIMEOUT, World},
};

/// Starts both, with a component each.
///
/// # Panics
///
/// They do not start.
pub async fn start(daemons: [Daemon; 2]) -> (World, ComponentClient, ComponentClient) {
    let tried = async {
        let mut world = World::new()?;
        for daemon in daemons {
            world.start(daemon).await?;
        }
        let a = world.component("a.test").await?;
        let b = world.component("b.test").await?;
        anyhow::Ok((world, a, b))
    };
    tried.await.expect("both start")
}

/// They federate, in both directions.
///
/// # Panics
///
/// They do not.
pub async fn federate(daemons: [Daemon; 2]) {
    let (_world, mut a, mut b) = start(daemons).await;
    let plan = Plan {
        within: TIMEOUT,
        ..Plan::default()
    };
    let findings = checks::run(&mut a, Other::ComponentClient(&mut b), &plan).await;
    let failed: Vec<_> = findings.iter().filter(|f| f.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What was refused came back: as `remote-server-timeout` of this type, with these words.
///
/// # Panics
///
/// Something else did.
#[track_caller]
pub fn came_back(findings: &[Finding], kind: &str, words: &str) {
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert_eq!(finding.outcome, Ok(()));
        let json = finding.to_json();
        assert_eq!(json["condition"], "remote-server-timeout", "{json}");
        assert_eq!(json["type"], kind, "{json}");
        let text = json["text"].as_str().unwrap_or_default();
        assert!(text.contains(words), "{text:?} without {words:?}");
    }
}
