//! Attacks with few connections that say much: what a processor has to do for each byte of it.

use std::time::Duration;

use s2sd_tests::{
    records::{self, Encrypted},
    world::World,
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use crate::{
    Budget, HERE, Row,
    attacks::{Doing, USUAL, as_it_is, keys},
    stage::{Stage, hear, source},
};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "changes of keys",
        world: World::new,
        daemon: as_it_is,
        attack: changes_of_keys,
        budget: Budget { cpu: 150, ..USUAL },
        before: "523 ms a connection, 1,718 ms late",
    },
    Row {
        name: "what comes after the end",
        world: World::new,
        daemon: as_it_is,
        attack: after_the_end,
        budget: USUAL,
        before: "nothing that was too much",
    },
    Row {
        name: "elements that are full",
        world: World::new,
        daemon: as_it_is,
        attack: full_elements,
        budget: USUAL,
        before: "nothing that was too much",
    },
    Row {
        name: "stream errors without end",
        world: World::new,
        daemon: as_it_is,
        attack: stream_errors,
        budget: USUAL,
        before: "nothing that was too much",
    },
    Row {
        name: "aliases without end",
        world: World::new,
        daemon: as_it_is,
        attack: aliases,
        budget: Budget {
            descriptors: 100,
            ..USUAL
        },
        before: "nothing that was too much",
    },
    Row {
        name: "questions of many streams",
        world: World::new,
        daemon: as_it_is,
        attack: many_questions,
        budget: Budget {
            cpu: 400,
            held: 32_000,
            // 98 KiB a connection are left when they are gone; the aim is 64.
            kept: 16_000,
            descriptors: 200,
            log: (2_000, 512),
            delay: 380,
            ..USUAL
        },
        before: "3,820 ms late (half of them 1,904)",
    },
];

fn changes_of_keys(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let ready = stage
            .attacker()
            .many(4, |attacker, nth| async move {
                let tcp = records::connect(source(nth), attacker.at()).await?;
                spawn_blocking(move || {
                    let mut peer = Encrypted::open(tcp, "evil.test", HERE, None)?;
                    let changes = peer.changes_of_keys(1000)?;
                    Ok((peer, changes))
                })
                .await?
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
        stage
            .attacker()
            .many(20, |attacker, nth| async move {
                let mut peer = attacker.connect(nth).await?;
                peer.send("<?xml version='1.0'?><x>").await?;
                let much = "x".repeat(1 << 20);
                for _ in 0..16 {
                    if peer.send(&much).await.is_err() {
                        break;
                    }
                }
                Ok(())
            })
            .await;
        Ok(())
    })
}

fn full_elements(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.attacker().many(20, |attacker, nth| async move {
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
        })
        .await;
        Ok(())
    })
}

fn stream_errors(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.attacker().many(50, |attacker, nth| async move {
                let mut peer = attacker.open("evil.test", nth).await?;
                let error = "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
                for _ in 0..16 {
                    if peer.send(error.repeat(640)).await.is_err() {
                        break;
                    }
                }
                hear(&mut peer, 2, Duration::from_millis(500)).await
        })
        .await;
        Ok(())
    })
}

/// Hosts that are aliases of aliases, of which each message shows a few.
fn aliases(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.world.change_zone(|mut zone| {
            for host in 0..24 {
                let name = |n| format!("n{n}.host{host}.alias.test");
                zone = zone.srv("*.at.alias.test", 0, 0, 5269, &name(0));
                for n in 0..200 {
                    zone = zone.cname(&name(n), &name(n + 1));
                }
            }
            zone
        });
        keys(stage, 20, 8, "at.alias.test", Duration::from_secs(6)).await;
        Ok(())
    })
}

/// A hundred streams of domains below one that ask what this server is, each as often as fits into one read.
fn many_questions(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let peers = stage
            .attacker()
            .many(100, |attacker, nth| async move {
                let from = format!("q{}.evil.test", nth / 10);
                let peer = attacker.proved(&from, nth).await?;
                Ok((from, peer))
            })
            .await;
        let mut asking = JoinSet::new();
        for (from, mut peer) in peers {
            let question = format!(
                "<iq from='{from}' to='{HERE}' id='1' type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            );
            // Without optimization an answer takes so long that this is enough.
            let times = if cfg!(debug_assertions) { 1 } else { 4 };
            asking.spawn(async move {
                for _ in 0..times {
                    peer.send(question.repeat(240)).await?;
                }
                anyhow::Ok(peer)
            });
        }
        let _peers = asking.join_all().await;
        sleep(Duration::from_secs(3)).await;
        Ok(())
    })
}
