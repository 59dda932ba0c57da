//! What a scene needs: two daemons from configuration texts, their DNS, certificates, relays and components.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::ca::{Authority, Leaf};
use super::component::{self, Ear, Mouth};
use super::relay::Relay;
use super::zone::{Zone, ZoneServer};
use super::{DemoError, Event, Events, Side};
use crate::app::{self, Running};
use crate::config::Config;

/// What is put up.
pub(super) struct Plan<'a> {
    /// The part of each daemon's configuration that the scene is about.
    pub(super) montague: &'a str,
    pub(super) capulet: &'a str,
    /// Whether there are an authority and a certificate of it for each domain.
    pub(super) certificates: bool,
    /// Whether what the daemons say can be seen.
    pub(super) relays: bool,
}

/// It stands until [`Stage::strike`].
pub(super) struct Stage {
    montague: Stand,
    capulet: Stand,
    dns: ZoneServer,
    /// What the configurations warn of.
    pub(super) warnings: Vec<(Side, String)>,
    /// It goes last.
    _directory: Directory,
}

/// One domain's half.
struct Stand {
    daemon: Running,
    _relay: Option<Relay>,
    mouth: Mouth,
    ear: Option<Ear>,
    listening: Option<JoinHandle<()>>,
}

impl Stage {
    pub(super) async fn set(plan: &Plan<'_>, events: &Events) -> Result<Self, DemoError> {
        let directory = Directory::new()?;
        if plan.certificates {
            directory.certify()?;
        }
        let dns = ZoneServer::start((Ipv4Addr::LOCALHOST, 0).into(), Zone::new())?;
        let mut warnings = Vec::new();
        let mut start = async |side: Side, rules: &str| -> Result<Running, DemoError> {
            let text = configuration(side, rules, dns.addr(), plan.certificates);
            let base = directory.of(side)?;
            let loaded = Config::from_toml(&text, "s2sd.toml", &base)?;
            warnings.extend(
                loaded
                    .warnings
                    .iter()
                    .map(|warning| (side, warning.title.clone())),
            );
            Ok(app::start(loaded.config).await?)
        };
        let montague = start(Side::Montague, plan.montague).await?;
        let capulet = start(Side::Capulet, plan.capulet).await?;
        let count = Arc::new(AtomicUsize::new(0));
        let (montague, at_montague) =
            Stand::up(Side::Montague, montague, plan.relays, &count, events).await?;
        let (capulet, at_capulet) =
            Stand::up(Side::Capulet, capulet, plan.relays, &count, events).await?;
        let zone = published(Zone::new(), Side::Montague, at_montague);
        dns.replace(published(zone, Side::Capulet, at_capulet));
        Ok(Self {
            montague,
            capulet,
            dns,
            warnings,
            _directory: directory,
        })
    }

    /// The component of that domain sends a stanza.
    pub(super) async fn say(&mut self, side: Side, stanza: &str) -> Result<(), DemoError> {
        self.stand(side).mouth.say(stanza.as_bytes()).await
    }

    /// What is delivered to the component of that domain is an event from now on.
    pub(super) fn listen(&mut self, side: Side, events: &Events) {
        let events = events.clone();
        let Some(mut ear) = self.stand(side).ear.take() else {
            return;
        };
        self.stand(side).listening = Some(tokio::spawn(async move {
            while let Ok(Some(stanza)) = ear.hear().await {
                let delivered = Event::Delivered(side, stanza.bytes().clone());
                if events.send(delivered).is_err() {
                    break;
                }
            }
        }));
    }

    /// The two ends of a burst: where it is sent, and where it arrives.
    pub(super) fn ends(&mut self) -> Option<(&mut Mouth, &mut Ear)> {
        Some((&mut self.montague.mouth, self.capulet.ear.as_mut()?))
    }

    /// What the DNS was asked about that domain.
    pub(super) fn looked_up(&self, side: Side) -> Option<String> {
        let name = service(side);
        self.dns
            .asked()
            .into_iter()
            .find(|question| question.starts_with(&name))
    }

    fn stand(&mut self, side: Side) -> &mut Stand {
        match side {
            Side::Montague => &mut self.montague,
            Side::Capulet => &mut self.capulet,
        }
    }

    /// Takes everything down: the daemons drain, then the files go.
    pub(super) async fn strike(self) {
        for stand in [self.montague, self.capulet] {
            if let Some(listening) = &stand.listening {
                listening.abort();
            }
            stand.daemon.stop().await;
        }
    }
}

impl Stand {
    /// Where the DNS will say that the domain is, comes with it.
    async fn up(
        side: Side,
        daemon: Running,
        relays: bool,
        count: &Arc<AtomicUsize>,
        events: &Events,
    ) -> Result<(Self, SocketAddr), DemoError> {
        let mut at = *daemon.s2s.first().ok_or("the daemon does not listen")?;
        let mut relay = None;
        if relays {
            let before = Relay::start(side, at, Arc::clone(count), events.clone()).await?;
            at = before.address();
            relay = Some(before);
        }
        let listener = *daemon
            .components
            .first()
            .ok_or("no listener for components")?;
        let (mouth, ear) = component::attach(listener, side.domain(), COMPONENT_SECRET).await?;
        let stand = Self {
            daemon,
            _relay: relay,
            mouth,
            ear: Some(ear),
            listening: None,
        };
        Ok((stand, at))
    }
}

const COMPONENT_SECRET: &str = "of the component";

/// What a daemon makes its dialback keys from. No secret at all here, so that a key can be made again and compared.
pub(super) fn dialback_secret(side: Side) -> String {
    format!("only {side} knows this")
}

/// The whole configuration: what is the same in every scene, and the rules of this one.
fn configuration(side: Side, rules: &str, dns: SocketAddr, certificate: bool) -> String {
    let certificate = if certificate {
        "certificate = \"certificate.pem\"\nkey = \"key.pem\"\n"
    } else {
        ""
    };
    let secret = dialback_secret(side);
    // Everything is on loopback, which is not what a scene is about.
    let rules = rules.replacen("[policy]\n", "[policy]\naddresses = \"any\"\n", 1);
    format!(
        r#"
data_dir = "data"
[listen]
s2s = ["127.0.0.1:0"]
s2s_tls = []
components = ["127.0.0.1:0"]
[dns]
servers = ["{dns}"]
[dialback]
secret = "{secret}"
[limits]
drain = "2s"
[[domain]]
name = "{side}"
component = {{ secret = "{COMPONENT_SECRET}" }}
{certificate}
{rules}"#
    )
}

fn service(side: Side) -> String {
    format!("_xmpp-server._tcp.{side}")
}

fn published(zone: Zone, side: Side, at: SocketAddr) -> Zone {
    let host = format!("xmpp.{side}");
    zone.srv(&service(side), 0, 0, at.port(), &host)
        .address(&host, at.ip())
}

/// A directory that no other user can read, and that goes when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "s2sd-demo-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        // Not if it is there: another user may have put it there.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// One daemon's own part.
    fn of(&self, side: Side) -> io::Result<PathBuf> {
        let path = self.0.join(side.domain());
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// An authority, and a certificate from it for each domain.
    fn certify(&self) -> io::Result<()> {
        let authority = Authority::new("The demo's certificate authority");
        for side in [Side::Montague, Side::Capulet] {
            let issued = authority.issue(&Leaf::domain(side.domain()));
            let own = self.of(side)?;
            let write = |name: &str, text: &str| fs::write(Path::new(&own).join(name), text);
            write("authority.pem", authority.pem())?;
            write("certificate.pem", &issued.chain_pem)?;
            write("key.pem", &issued.key_pem)?;
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed now is left to the cleaning of the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
