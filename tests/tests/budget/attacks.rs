//! The attacks, and what each may cost.

use std::{net::Ipv4Addr, pin::Pin, time::Duration};

use anyhow::Context as _;
use s2sd_tests::{
    component_client::{Behaviour, ComponentClient},
    endpoint::End,
    peer::{Peer, header_text, initial_header},
    tls::TlsIdentity,
    world::{Daemon, SECRET, TIMEOUT, World},
};
use tokio::{task::JoinSet, time::sleep};
use xmpp_stream::{Features, ns};

use crate::{
    Budget, HERE, Row,
    chain::chain,
    stage::{Elsewhere, Stage, hear},
};

pub(crate) type Doing<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// What every attack may cost, unless its row says something else.
pub(crate) const USUAL: Budget = Budget {
    cpu: 60,
    kept: 16_000,
    held: 16_000,
    descriptors: 64,
    connects: 0,
    log: (512, 512),
    delay: 1_000,
};

pub(crate) fn as_it_is(daemon: Daemon) -> Daemon {
    daemon
}

/// As it is by default: a world's daemons connect to loopback otherwise.
fn public(daemon: Daemon) -> Daemon {
    daemon.policy("addresses = 'public'")
}

/// What is otherwise a quarter of the machine's.
fn little_memory(daemon: Daemon) -> Daemon {
    daemon.tables("[limits]\nmemory = '8MiB'\n")
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "a chain with 117,649 ways",
        world: World::new,
        daemon: as_it_is,
        attack: long_chain,
        budget: Budget {
            cpu: 800,
            delay: 1800,
            ..USUAL
        },
        before: "more than 8,163 ms a connection, more than 18,005 ms late (it had not ended then)",
    },
    Row {
        name: "a chain judged for each key",
        world: World::new,
        daemon: as_it_is,
        attack: chain_for_each_key,
        budget: Budget {
            cpu: 690,
            delay: 900,
            ..USUAL
        },
        before: "more than 6,960 ms a connection, more than 9,085 ms late",
    },
    Row {
        name: "answers of the DNS that are kept",
        world: World::new,
        daemon: as_it_is,
        attack: answers_kept,
        budget: Budget {
            kept: 4300,
            descriptors: 200,
            cpu: 400,
            ..USUAL
        },
        before: "43,320 KiB kept",
    },
    Row {
        name: "one key, 384 addresses",
        world: World::new,
        daemon: as_it_is,
        attack: many_addresses,
        budget: Budget {
            connects: 38,
            cpu: 110,
            ..USUAL
        },
        before: "384 connects, a line of 754 bytes",
    },
    Row {
        name: "places inside",
        world: World::new,
        daemon: public,
        attack: inside,
        budget: USUAL,
        before: "3 connects",
    },
    Row {
        name: "questions to a silent port",
        world: World::new,
        daemon: as_it_is,
        attack: questions,
        budget: Budget {
            descriptors: 100,
            connects: 60,
            ..USUAL
        },
        before: "1,003 descriptors (all there were), 600 connects",
    },
    Row {
        name: "questions to a silent DNS",
        world: World::new,
        daemon: as_it_is,
        attack: silent_dns,
        budget: Budget {
            descriptors: 100,
            held: 3650,
            ..USUAL
        },
        before: "1,010 descriptors (all there were), 36,476 KiB held",
    },
    Row {
        name: "pings of a wildcard's domains",
        world: World::new,
        daemon: as_it_is,
        attack: pings,
        // Each connection proves 31 domains, and each proof is a line.
        budget: Budget {
            log: (2_000, 512),
            descriptors: 60,
            // Sixteen, and what is tried again while the traces fade, at most one a second.
            connects: 38,
            ..USUAL
        },
        before: "284 descriptors, 240 connects",
    },
    Row {
        name: "answers that are not read",
        world: World::new,
        daemon: little_memory,
        attack: unread,
        budget: Budget {
            // One registered domain may have half of `limits.memory`, here 4 MiB. Each connection sends 12 MB of stanzas, which are
            // read however few of them are answered: the processor time is that of reading them, some 7 ns a byte with
            // optimization.
            held: 5000,
            cpu: 3000,
            ..USUAL
        },
        before: "41,432 KiB held",
    },
    Row {
        name: "half-sent stanzas",
        world: World::new,
        daemon: little_memory,
        attack: half_sent,
        // One registered domain may have half of `limits.memory`, here 4 MiB, whatever it sends, and 40 connections under TLS
        // cost 3 MiB more; a tenth of the figure of before would be less than that share.
        budget: Budget {
            held: 10_000,
            ..USUAL
        },
        before: "22,204 KiB held",
    },
    Row {
        name: "100 streams of one domain",
        world: World::new,
        daemon: as_it_is,
        attack: one_domain,
        // Sixteen that stay (`limits.inbound_per_domain`), and the 32 that this attacker opens at one time, each until it has
        // proved who it is and hears that there is no place. These are a network's, and not a domain's.
        budget: Budget {
            descriptors: 70,
            ..USUAL
        },
        before: "102 descriptors",
    },
    Row {
        name: "500 connections of one network",
        world: World::new,
        daemon: as_it_is,
        attack: crowd,
        // 120: a quarter of the places that there are descriptors for is what a network may have at most. A tenth of the
        // figure of before would leave 50 places to a hoster with many servers in one network.
        budget: Budget {
            descriptors: 150,
            ..USUAL
        },
        before: "501 descriptors; 8,698 ms late where there are 1,024 of them",
    },
    Row {
        name: "500 that come and go",
        world: World::new,
        daemon: as_it_is,
        attack: come_and_go,
        budget: Budget {
            descriptors: 560,
            ..USUAL
        },
        before: "nothing that was too much",
    },
    Row {
        name: "texts for the log",
        world: World::new,
        daemon: as_it_is,
        attack: texts,
        budget: USUAL,
        before: "a line of 14,594 bytes, and two of it were false; 737,541 bytes a second",
    },
    Row {
        name: "prefixes in the header",
        world: World::new,
        daemon: as_it_is,
        attack: prefixes,
        budget: Budget {
            held: 2000,
            ..USUAL
        },
        before: "11,352 KiB held",
    },
    Row {
        name: "handshakes",
        world: World::new,
        daemon: as_it_is,
        attack: handshakes,
        budget: Budget {
            descriptors: 160,
            ..USUAL
        },
        before: "nothing that was too much",
    },
    Row {
        name: "headers byte by byte",
        world: World::new,
        daemon: as_it_is,
        attack: slow_headers,
        budget: Budget {
            descriptors: 220,
            ..USUAL
        },
        before: "nothing that was too much",
    },
];

pub(crate) fn key(from: &str) -> String {
    format!("<db:result from='{from}' to='{HERE}'>not a key</db:result>")
}

fn long_chain(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let issued = chain("evil.test", 6, 7, 64_000);
        let attacker = stage.attacker().showing(TlsIdentity::from(&issued));
        attacker
            .many(2, |attacker, nth| async move {
                let mut peer = attacker.tls("evil.test", nth, true).await?;
                peer.send_header(Some("evil.test"), HERE).await?;
                hear(&mut peer, 2, TIMEOUT).await
            })
            .await;
        Ok(())
    })
}

fn chain_for_each_key(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let issued = chain("evil.test", 4, 6, 32_000);
        let attacker = stage.attacker().showing(TlsIdentity::from(&issued));
        attacker
            .many(1, |attacker, nth| async move {
                let mut peer = attacker.tls("evil.test", nth, true).await?;
                peer.send_header(None, HERE).await?;
                for nth in 0..9 {
                    peer.send(key(&format!("k{nth}.evil.test"))).await?;
                }
                hear(&mut peer, 10, TIMEOUT).await
            })
            .await;
        Ok(())
    })
}

/// Connections without a certificate, which send so many keys each from domains below this one, and wait for answers.
pub(crate) async fn keys(
    stage: &Stage,
    connections: usize,
    each: usize,
    above: &str,
    wait: Duration,
) {
    stage
        .attacker()
        .many(connections, |attacker, nth| {
            let above = above.to_owned();
            async move {
                let mut peer = attacker.tls("evil.test", nth, false).await?;
                peer.open("evil.test", HERE).await?;
                for key in 0..each {
                    peer.send(self::key(&format!("k{nth}-{key}.{above}")))
                        .await?;
                }
                hear(&mut peer, each, wait).await
            }
        })
        .await;
}

fn answers_kept(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.world.change_zone(|mut zone| {
            for port in 0..1000 {
                zone = zone.srv("*.big.test", 0, 0, 1 + port, "none.test");
            }
            zone.ttl(86_400)
        });
        keys(stage, 20, 9, "big.test", TIMEOUT).await;
        Ok(())
    })
}

/// Connection attempts that were refused, of everybody on this machine.
fn refused() -> anyhow::Result<usize> {
    let said = std::fs::read_to_string("/proc/net/snmp")?;
    let mut lines = said.lines().filter(|line| line.starts_with("Tcp: "));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut both = names.split(' ').zip(values.split(' '));
    let found = both.find(|(name, _)| *name == "AttemptFails");
    Ok(found.context("no AttemptFails")?.1.parse()?)
}

fn many_addresses(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.world.change_zone(|mut zone| {
            for host in 0..24 {
                let name = format!("host{host}.many.test");
                // Nobody listens there, and nobody could count who comes.
                zone = zone.srv("*.many.test", 0, 0, 1, &name);
                for nth in 1..=16 {
                    zone = zone.a(&name, Ipv4Addr::new(127, 67, host, nth));
                }
            }
            zone
        });
        // Others on this machine may be refused meanwhile, but hardly each time.
        let mut fewest = usize::MAX;
        for nth in 0..3 {
            let before = refused()?;
            let mut peer = stage.attacker().tls("evil.test", 0, false).await?;
            peer.open("evil.test", HERE).await?;
            peer.send(key(&format!("k{nth}.many.test"))).await?;
            hear(&mut peer, 1, TIMEOUT).await?;
            fewest = fewest.min(refused()? - before);
        }
        stage.seen_elsewhere(fewest);
        Ok(())
    })
}

fn inside(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let inside = stage
            .listens((Ipv4Addr::LOCALHOST, 0), Elsewhere::Closes)
            .await?;
        stage.world.change_zone(|mut zone| {
            for (domain, target) in [
                ("one.evil.test", "localhost"),
                ("two.evil.test", "127.0.0.1"),
                ("three.evil.test", "inside.evil.test"),
            ] {
                let name = format!("_xmpp-server._tcp.{domain}");
                zone = zone.srv(&name, 0, 0, inside.port(), target);
            }
            zone.a("localhost", Ipv4Addr::LOCALHOST)
                .a("inside.evil.test", Ipv4Addr::LOCALHOST)
        });
        let mut peer = stage.attacker().tls("evil.test", 0, false).await?;
        peer.open("evil.test", HERE).await?;
        for from in [
            "one.evil.test",
            "two.evil.test",
            "three.evil.test",
            "127.0.0.1",
            "[::1]",
        ] {
            peer.send(key(from)).await?;
        }
        hear(&mut peer, 5, TIMEOUT).await?;
        Ok(())
    })
}

fn questions(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let silent = stage
            .listens((Ipv4Addr::LOCALHOST, 0), Elsewhere::Silent)
            .await?;
        stage.lead_all("silent.test", silent);
        keys(stage, 20, 30, "silent.test", Duration::from_secs(5)).await;
        Ok(())
    })
}

fn silent_dns(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.world.change_zone(|zone| zone.silent("*.mute.test"));
        keys(stage, 30, 30, "mute.test", Duration::from_secs(6)).await;
        Ok(())
    })
}

fn pings(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let silent = stage
            .listens((Ipv4Addr::LOCALHOST, 0), Elsewhere::Silent)
            .await?;
        stage.lead_all("evil.test", silent);
        let held: Vec<Peer> = stage
            .attacker()
            .many(8, |attacker, nth| async move {
                let mut peer = attacker.proved(&format!("p{nth}.evil.test"), nth).await?;
                for key in 0..30 {
                    peer.send(self::key(&format!("p{nth}-{key}.evil.test")))
                        .await?;
                }
                hear(&mut peer, 30, TIMEOUT).await?;
                for key in 0..30 {
                    let ping = format!(
                        "<iq type='get' id='1' from='p{nth}-{key}.evil.test' to='{HERE}'>\
                         <ping xmlns='urn:xmpp:ping'/></iq>"
                    );
                    peer.send(ping).await?;
                }
                Ok(peer)
            })
            .await;
        sleep(Duration::from_secs(2)).await;
        drop(held);
        Ok(())
    })
}

/// A server of the attacker's, which lets the daemon in and reads nothing then.
async fn never_reads(mut peer: Peer, identity: TlsIdentity) -> anyhow::Result<Peer> {
    let offer = Features::new().with_starttls(true);
    peer.answer_open("one", &offer).await?;
    peer.accept_starttls(&identity).await?;
    let offer = Features::new().with_mechanisms(["EXTERNAL"]);
    peer.answer_open("two", &offer).await?;
    peer.expect(ns::SASL, "auth").await?;
    peer.send(format!("<success xmlns='{}'/>", ns::SASL))
        .await?;
    peer.restart();
    peer.answer_open("three", &Features::default()).await?;
    Ok(peer)
}

fn unread(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        const DOMAINS: usize = 4;
        let mut servers = JoinSet::new();
        for nth in 0..DOMAINS {
            let domain = format!("u{nth}.evil.test");
            let server = stage.world.listen(&domain).await?;
            let identity = stage.world.identity(&domain);
            servers.spawn(async move {
                let mut all = Vec::new();
                while let Ok(peer) = server.accept().await {
                    all.push(never_reads(peer, identity.clone()).await);
                }
            });
        }
        let held = stage
            .attacker()
            .many(DOMAINS, |attacker, nth| async move {
                let from = format!("u{nth}.evil.test");
                let mut peer = attacker.proved(&from, nth).await?;
                let message = format!(
                    "<message from='{from}' to='{HERE}' id='{}'><body>x</body></message>",
                    "i".repeat(8_000)
                );
                for _ in 0..150 {
                    peer.send(message.repeat(10)).await?;
                }
                Ok(peer)
            })
            .await;
        sleep(Duration::from_secs(1)).await;
        drop(held);
        Ok(())
    })
}

fn half_sent(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let held = stage
            .attacker()
            .many(40, |attacker, nth| async move {
                let from = format!("h{nth}.evil.test");
                let mut peer = attacker.proved(&from, nth).await?;
                let half = format!(
                    "<message from='{from}' to='{HERE}'><body>{}",
                    "x".repeat(500_000)
                );
                peer.send(half).await?;
                Ok(peer)
            })
            .await;
        sleep(Duration::from_secs(2)).await;
        drop(held);
        Ok(())
    })
}

fn one_domain(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let held = stage
            .attacker()
            .many(100, |attacker, nth| async move {
                attacker.proved("evil.test", nth).await
            })
            .await;
        sleep(Duration::from_secs(1)).await;
        drop(held);
        Ok(())
    })
}

fn crowd(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let held = stage
            .attacker()
            .many(500, |attacker, nth| async move {
                attacker.open("evil.test", nth).await
            })
            .await;
        sleep(Duration::from_secs(2)).await;
        drop(held);
        Ok(())
    })
}

fn come_and_go(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage
            .attacker()
            .many(500, |attacker, nth| async move {
                let mut peer = attacker.connect(nth).await?;
                if nth % 2 == 0 {
                    peer.send("<stream:stream a='").await?;
                }
                Ok(())
            })
            .await;
        Ok(())
    })
}

fn texts(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage.attacker().many(50, |attacker, nth| async move {
                let mut peer = attacker.open("evil.test", nth).await?;
                let forged = "x\n2026-01-01T00:00:00.000000Z  INFO incoming stream authenticated";
                let error = format!(
                    "<stream:error><undefined-condition xmlns='{0}'/><text xmlns='{0}'>{forged}{1}</text>\
                     </stream:error>",
                    "urn:ietf:params:xml:ns:xmpp-streams",
                    "long ".repeat(2900)
                );
                peer.send(error).await?;
                hear(&mut peer, 3, TIMEOUT).await
        })
        .await;
        Ok(())
    })
}

fn prefixes(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let here = End::Component {
            addr: stage.process.components,
            domain: HERE.to_owned(),
            secret: SECRET.to_owned(),
            node: None,
        };
        let component = ComponentClient::attach(&here, Behaviour::Quiet, TIMEOUT).await?;
        let held = stage
            .attacker()
            .many(10, |attacker, nth| async move {
                let from = format!("x{nth}.evil.test");
                let mut peer = attacker.succeeded(&from, nth).await?;
                let header = header_text(&initial_header(Some(&from), HERE));
                let header = String::from_utf8(header.to_vec())?;
                let long = "p".repeat(8000);
                let all: String = (0..58).map(|n| format!(" xmlns:{long}{n}='u'")).collect();
                peer.send(header.replacen(" to=", &format!("{all} to="), 1))
                    .await?;
                hear(&mut peer, 1, TIMEOUT).await?;
                for _ in 0..4 {
                    let message =
                        format!("<message from='{from}' to='{HERE}'><body>x</body></message>");
                    peer.send(message).await?;
                }
                Ok(peer)
            })
            .await;
        sleep(Duration::from_secs(3)).await;
        drop((held, component));
        Ok(())
    })
}

fn handshakes(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        stage
            .attacker()
            .many(150, |attacker, nth| async move {
                attacker.tls("evil.test", nth, true).await.map(drop)
            })
            .await;
        Ok(())
    })
}

fn slow_headers(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        let attacker = stage.attacker();
        let mut all = JoinSet::new();
        for nth in 0..200 {
            let attacker = attacker.clone();
            all.spawn(async move {
                let mut peer = attacker.connect(nth).await?;
                let header = header_text(&initial_header(Some("evil.test"), HERE));
                for byte in header.chunks(1).take(30) {
                    peer.send(byte).await?;
                    sleep(Duration::from_millis(100)).await;
                }
                anyhow::Ok(())
            });
        }
        while all.join_next().await.is_some() {}
        Ok(())
    })
}
