//! Attacks with few connections that say much: what a processor has to do for each byte of it.

use std::time::Duration;

use s2sd_tests::records::{self, Encrypted};
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    HERE, Row,
    attacks::{Doing, USUAL, as_it_is},
    stage::{Stage, hear, many, source},
};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "changes of keys",
        daemon: as_it_is,
        attack: changes_of_keys,
        budget: USUAL,
        before: "523 ms a connection, 1,718 ms late",
    },
    Row {
        name: "what comes after the end",
        daemon: as_it_is,
        attack: after_the_end,
        budget: USUAL,
        before: "nothing that was too much",
    },
    Row {
        name: "elements that are full",
        daemon: as_it_is,
        attack: full_elements,
        budget: USUAL,
        before: "nothing that was too much",
    },
];

fn changes_of_keys(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let attacker = stage.attacker();
        let ready = many(4, |nth| {
            let attacker = attacker.clone();
            async move {
                let tcp = records::connect(source(nth), attacker.at()).await?;
                spawn_blocking(move || {
                    let mut peer = Encrypted::open(tcp, "evil.test", HERE, None)?;
                    let changes = peer.changes_of_keys(1000)?;
                    Ok((peer, changes))
                })
                .await?
            }
        })
        .await;
        let mut held = Vec::new();
        for (mut peer, changes) in ready {
            held.push(spawn_blocking(move || {
                let _ = peer.send(&changes);
                peer
            }));
        }
        sleep(Duration::from_secs(3)).await;
        for peer in held {
            drop(peer.await?);
        }
        Ok(())
    })
}

fn after_the_end(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let attacker = stage.attacker();
        many(20, |nth| {
            let attacker = attacker.clone();
            async move {
                let mut peer = attacker.connect(nth).await?;
                peer.send("<?xml version='1.0'?><x>").await?;
                let much = "x".repeat(1 << 20);
                for _ in 0..16 {
                    if peer.send(&much).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
        })
        .await;
        Ok(())
    })
}

fn full_elements(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let attacker = stage.attacker();
        many(20, |nth| {
            let attacker = attacker.clone();
            async move {
                let mut peer = attacker.tls("evil.test", nth, false).await?;
                peer.open("evil.test", HERE).await?;
                let attributes: String =
                    (0..24).map(|n| format!(" p{n}:a='&#x26;&amp;'")).collect();
                let declared: String = (0..28).map(|n| format!(" xmlns:p{n}='u{n}'")).collect();
                let within: String = (0..12).map(|_| format!("<x{attributes}/>")).collect();
                for _ in 0..7 {
                    peer.send(format!(
                        "<db:verify from='evil.test' to='{HERE}' id='1'{declared}>{within}</db:verify>"
                    ))
                    .await?;
                }
                let _ = hear(&mut peer, 7, Duration::from_millis(500)).await;
                Ok(())
            }
        })
        .await;
        Ok(())
    })
}
