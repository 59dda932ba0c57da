//! A small internet in one process: daemons that federate, their DNS, an authority they trust, components on them,
//! and raw peers that play other servers. Everything is on loopback, on ports that happened to be free.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use s2sd_tests::{checks, world::{Daemon, World}};
//!
//! let mut world = World::new()?;
//! world.start(Daemon::serving("a.test")).await?;
//! world.start(Daemon::serving("b.test").policy("auth = ['dialback']")).await?;
//! let (mut a, mut b) = (world.component("a.test").await?, world.component("b.test").await?);
//! let plan = checks::Plan::default();
//! checks::run(&mut a, checks::Other::ComponentClient(&mut b), &plan).await;
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use s2sd::app::{self, Running};
use s2sd::config::Config;
use s2sd::tools::demo::ca::{Authority, Issued, Leaf, Validity};
use s2sd::tools::demo::zone::{Zone, ZoneKey, ZoneServer};
use s2sd::tools::probe::{Question, Report, probe};
use s2sd::trust::Tlsa;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use xmpp_stream::Domain;

use crate::{
    authoritative::{Authoritative, Says},
    component_client::{Behaviour, ComponentClient},
    endpoint::End,
    peer::Peer,
    tls::TlsIdentity,
    wire::Wire,
};

/// A daemon to be started: one domain, with a certificate of the world's authority and a component that may attach.
#[derive(Clone, Debug)]
pub struct Daemon {
    domain: String,
    more_domains: Vec<String>,
    address: IpAddr,
    certificate: Certificate,
    direct_tls: bool,
    policy: String,
    more: String,
    files: Vec<(String, String)>,
    dnssec: String,
    resolv_conf: bool,
}

#[derive(Clone, Debug)]
enum Certificate {
    Leaf(Leaf),
    Issued(Issued),
    None,
}

impl Daemon {
    /// A daemon that serves this domain.
    pub fn serving(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            more_domains: Vec::new(),
            address: LOOPBACK.into(),
            certificate: Certificate::Leaf(Leaf::domain(domain)),
            direct_tls: false,
            policy: String::new(),
            more: String::new(),
            files: Vec::new(),
            dnssec: "use".to_owned(),
            resolv_conf: false,
        }
    }

    /// Listens at this address, where it is not loopback.
    #[must_use]
    pub fn at(self, address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self { address, ..self }
    }

    /// Reads from a file `resolv.conf` beside its `s2sd.toml` whom to ask: at first the world's zone server.
    #[must_use]
    pub fn resolv_conf(self) -> Self {
        Self {
            resolv_conf: true,
            ..self
        }
    }

    /// What it has as `dnssec` in a world whose zone is signed; `use` if nothing is said here.
    #[must_use]
    pub fn dnssec(self, mode: &str) -> Self {
        let dnssec = mode.to_owned();
        Self { dnssec, ..self }
    }

    /// Serves another domain too, with the same certificate, to which a component may attach.
    #[must_use]
    pub fn and(mut self, domain: &str) -> Self {
        self.more_domains.push(domain.to_owned());
        self
    }

    /// With this certificate from the world's authority.
    #[must_use]
    pub fn certificate(self, leaf: Leaf) -> Self {
        Self {
            certificate: Certificate::Leaf(leaf),
            ..self
        }
    }

    /// With a certificate from elsewhere.
    #[must_use]
    pub fn certificate_from(self, issued: Issued) -> Self {
        Self {
            certificate: Certificate::Issued(issued),
            ..self
        }
    }

    /// Without a certificate.
    #[must_use]
    pub fn without_certificate(self) -> Self {
        Self {
            certificate: Certificate::None,
            ..self
        }
    }

    /// Without TLS: no certificate, and `tls = "disabled"`.
    #[must_use]
    pub fn without_tls(self) -> Self {
        self.without_certificate()
            .policy("tls = 'disabled'\nauth = ['dialback']")
    }

    /// Takes direct TLS, and the zone offers nothing else (XEP-0368).
    #[must_use]
    pub fn direct_tls(self) -> Self {
        Self {
            direct_tls: true,
            ..self
        }
    }

    /// Lines for `[policy]`. `trust` is the world's authority, and `addresses` is `any`, unless they are given here.
    #[must_use]
    pub fn policy(mut self, lines: &str) -> Self {
        let _ = writeln!(self.policy, "{lines}");
        self
    }

    /// More tables of `s2sd.toml`: `[[peer]]`, `[limits]`, `[queue]`.
    #[must_use]
    pub fn tables(mut self, lines: &str) -> Self {
        let _ = writeln!(self.more, "{lines}");
        self
    }

    /// A file beside `s2sd.toml`.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(crate) fn domains(&self) -> impl Iterator<Item = &str> {
        [&self.domain]
            .into_iter()
            .chain(&self.more_domains)
            .map(String::as_str)
    }

    fn toml(&self, dns: SocketAddr, dnssec: Option<&str>, has_certificate: bool) -> String {
        let mut toml = String::new();
        let any = format!("['{}']", SocketAddr::new(self.address, 0));
        let direct = if self.direct_tls { &any } else { "[]" };
        let _ = write!(
            toml,
            "data_dir = 'data'\n[listen]\ns2s = {any}\ns2s_tls = {direct}\ncomponents = {any}\nadmin = ['127.0.0.1:0']\n\
             [dns]\n"
        );
        let _ = match self.resolv_conf {
            true => writeln!(toml, "resolv_conf = 'resolv.conf'"),
            false => writeln!(toml, "servers = ['{dns}']"),
        };
        if let Some(dnssec) = dnssec {
            let _ = writeln!(toml, "dnssec = '{dnssec}'\ntrust_anchor = 'root.key'");
        }
        let _ = writeln!(toml, "[policy]\n{}", self.policy);
        // Everything is on loopback.
        for (key, line) in [
            ("trust", "trust = ['ca.pem']\n"),
            ("addresses", "addresses = 'any'\n"),
        ] {
            let mut lines = self.policy.lines();
            if !lines.any(|line| line.trim_start().starts_with(key)) {
                toml.push_str(line);
            }
        }
        for domain in self.domains() {
            let _ = write!(
                toml,
                "[[domain]]\nname = '{domain}'\ncomponent = {{ secret = '{SECRET}' }}\n"
            );
            if has_certificate {
                toml.push_str("certificate = 'chain.pem'\nkey = 'key.pem'\n");
            }
        }
        toml.push_str(&self.more);
        toml
    }
}

/// The secret of every component in a world.
pub const SECRET: &str = "the secret of every component";

/// How long anything in a world may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The small internet. Dropping it ends everything in it.
#[derive(Debug)]
pub struct World {
    records: Zone,
    zone: ZoneServer,
    authority: Authority,
    directory: Directory,
    daemons: BTreeMap<String, Running>,
    key: Option<ZoneKey>,
    /// Where the zone leads.
    led: BTreeMap<String, SocketAddr>,
}

impl World {
    /// An empty one: a zone without names, an authority.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            records: Zone::new(),
            zone: ZoneServer::start((LOOPBACK, 0).into(), Zone::new())?,
            authority: Authority::new("the world's authority"),
            directory: Directory::new()?,
            daemons: BTreeMap::new(),
            key: None,
            led: BTreeMap::new(),
        })
    }

    /// The same with a zone that is signed by DNSSEC, and daemons that have its key in `root.key` and `dnssec = "use"`.
    pub fn signed() -> anyhow::Result<Self> {
        let key = ZoneKey::generate();
        let mut world = Self {
            key: Some(key.clone()),
            ..Self::new()?
        };
        world.change_zone(|zone| zone.signed(&key));
        Ok(world)
    }

    /// Publishes what is to be believed of certificates at the place where the zone leads for this domain.
    pub fn tlsa(&mut self, domain: &str, record: &Tlsa) -> anyhow::Result<()> {
        let addr = self.led.get(domain).context("the zone leads nowhere")?;
        let name = format!("_{}._tcp.{}", addr.port(), host(domain, *addr));
        let Tlsa {
            usage,
            selector,
            matching,
            data,
        } = record;
        let numbers = [*usage as u8, *selector as u8, *matching as u8];
        self.change_zone(|zone| zone.tlsa(&name, numbers, data));
        Ok(())
    }

    /// The name of the machine to which the zone leads for this domain.
    pub fn host(&self, domain: &str) -> anyhow::Result<String> {
        let addr = self.led.get(domain).context("the zone leads nowhere")?;
        Ok(host(domain, *addr))
    }

    /// Writes the files of a daemon, and gives its directory.
    fn write_files(&self, daemon: &Daemon) -> anyhow::Result<PathBuf> {
        let base = self.directory.path().join(&daemon.domain);
        fs::create_dir_all(&base)?;
        fs::write(base.join("ca.pem"), self.authority.pem())?;
        if let Some(key) = &self.key {
            fs::write(base.join("root.key"), key.anchor())?;
        }
        if daemon.resolv_conf {
            fs::write(base.join("resolv.conf"), nameserver(self.zone.addr()))?;
        }
        for (name, text) in &daemon.files {
            fs::write(base.join(name), text)?;
        }
        let issued = match &daemon.certificate {
            Certificate::Leaf(leaf) => Some(self.authority.issue(leaf)),
            Certificate::Issued(issued) => Some(issued.clone()),
            Certificate::None => None,
        };
        if let Some(issued) = &issued {
            fs::write(base.join("chain.pem"), &issued.chain_pem)?;
            fs::write(base.join("key.pem"), &issued.key_pem)?;
        } else {
            // Of a daemon that was here before.
            let _ = fs::remove_file(base.join("chain.pem"));
        }
        Ok(base)
    }

    /// The same with its `s2sd.toml`, which is the file that is given: for a daemon that is another process.
    pub fn write_daemon(&self, daemon: &Daemon) -> anyhow::Result<PathBuf> {
        let base = self.write_files(daemon)?;
        let file = base.join("s2sd.toml");
        fs::write(&file, self.toml(daemon, &base))?;
        Ok(file)
    }

    /// Starts a daemon and puts it into the zone.
    pub async fn start(&mut self, daemon: Daemon) -> anyhow::Result<()> {
        self.write_files(&daemon)?;
        let running = app::start(self.config(&daemon)?).await?;
        let (service, listeners) = match daemon.direct_tls {
            true => ("_xmpps-server", &running.s2s_tls),
            false => ("_xmpp-server", &running.s2s),
        };
        let addr = *listeners.first().context("nothing listens")?;
        for domain in daemon.domains() {
            self.lead(service, domain, addr);
        }
        self.daemons.insert(daemon.domain, running);
        Ok(())
    }

    fn toml(&self, daemon: &Daemon, base: &Path) -> String {
        let dnssec = self.key.as_ref().map(|_| daemon.dnssec.as_str());
        let has_certificate = base.join("chain.pem").exists();
        daemon.toml(self.zone.addr(), dnssec, has_certificate)
    }

    /// What `s2sd.toml` of a daemon says, whose files are there.
    fn config(&self, daemon: &Daemon) -> anyhow::Result<Config> {
        let base = self.directory.path().join(&daemon.domain);
        let toml = self.toml(daemon, &base);
        let loaded = match Config::from_toml(&toml, "s2sd.toml", &base) {
            Ok(loaded) => loaded,
            Err(faults) => bail!("{faults}"),
        };
        let mut config = loaded.config;
        // A relative path would be looked for beside the tests.
        config.data_dir = base.join("data");
        Ok(config)
    }

    /// A running daemon takes another configuration, as at `SIGHUP`. Its certificate stays. Gives what it says.
    pub fn reload(&self, daemon: &Daemon) -> anyhow::Result<Vec<String>> {
        let running = self.daemon(&daemon.domain)?;
        let said = running.reload(self.config(daemon)?)?;
        Ok(said.iter().map(ToString::to_string).collect())
    }

    /// What `s2sd probe` says of a domain with the configuration of this daemon, which need not run.
    pub async fn probe(&self, daemon: &Daemon, domain: &str) -> anyhow::Result<Report> {
        self.probe_within(daemon, domain, TIMEOUT).await
    }

    /// The same, with a limit for everything together.
    pub async fn probe_within(
        &self,
        daemon: &Daemon,
        domain: &str,
        within: Duration,
    ) -> anyhow::Result<Report> {
        let question = Question {
            domain: Domain::parse(domain)?,
            from: None,
            config: self.config(daemon)?,
            within,
        };
        Ok(probe(question, &watch::Sender::default()).await?)
    }

    /// Stops a daemon in good order. Its records stay.
    pub async fn stop(&mut self, domain: &str) -> anyhow::Result<()> {
        let running = self.daemons.remove(domain).context("no such daemon")?;
        running.stop().await;
        Ok(())
    }

    /// Stops all of them.
    pub async fn stop_all(&mut self) {
        let mut stopping = JoinSet::new();
        for (_, running) in std::mem::take(&mut self.daemons) {
            stopping.spawn(running.stop());
        }
        stopping.join_all().await;
    }

    /// The daemon that was started to serve this domain.
    pub fn daemon(&self, domain: &str) -> anyhow::Result<&Running> {
        let daemon = self.daemons.get(domain);
        daemon.with_context(|| format!("no daemon serves {domain}"))
    }

    /// Attaches a quiet component to the daemon that was started to serve this domain.
    pub async fn component(&self, domain: &str) -> anyhow::Result<ComponentClient> {
        self.component_for(domain, domain, Behaviour::Quiet).await
    }

    /// Attaches a component for any domain to a daemon.
    pub async fn component_for(
        &self,
        daemon: &str,
        domain: &str,
        behaviour: Behaviour,
    ) -> anyhow::Result<ComponentClient> {
        let components = &self.daemon(daemon)?.components;
        let end = End::Component {
            addr: *components.first().context("no component listener")?,
            domain: domain.to_owned(),
            secret: SECRET.to_owned(),
            node: None,
        };
        ComponentClient::attach(&end, behaviour, TIMEOUT).await
    }

    /// Connects a raw peer to a daemon. Nothing is said yet.
    pub async fn connect(&self, daemon: &str) -> anyhow::Result<Peer> {
        Peer::connect(
            *self
                .daemon(daemon)?
                .s2s
                .first()
                .context("nothing listens")?,
        )
        .await
    }

    /// The same on the listener with direct TLS.
    pub async fn connect_direct(&self, daemon: &str) -> anyhow::Result<Peer> {
        let listeners = &self.daemon(daemon)?.s2s_tls;
        Peer::connect(*listeners.first().context("no direct TLS")?).await
    }

    /// A raw peer listens for a domain, where the zone then leads.
    pub async fn listen(&mut self, domain: &str) -> anyhow::Result<RawServer> {
        let listener = TcpListener::bind((LOOPBACK, 0)).await?;
        self.lead("_xmpp-server", domain, listener.local_addr()?);
        Ok(RawServer(listener))
    }

    /// An authoritative server for a domain, where the zone then leads.
    pub async fn authoritative(
        &mut self,
        domain: &str,
        says: Says,
        identity: Option<TlsIdentity>,
    ) -> anyhow::Result<Authoritative> {
        let server = Authoritative::start((LOOPBACK, 0).into(), says, identity).await?;
        self.lead("_xmpp-server", domain, server.addr());
        Ok(server)
    }

    /// Writes a file beside a daemon's `s2sd.toml`, before it is started or while it runs. Its certificate is in
    /// `chain.pem` and `key.pem`.
    pub fn write(&self, daemon: &str, name: &str, text: &str) -> anyhow::Result<()> {
        let base = self.directory.path().join(daemon);
        fs::create_dir_all(&base)?;
        Ok(fs::write(base.join(name), text)?)
    }

    /// The directory of a daemon, with its `s2sd.toml`'s files.
    pub fn path(&self, daemon: &str) -> PathBuf {
        self.directory.path().join(daemon)
    }

    /// The certificate of the world's authority, PEM.
    pub fn authority(&self) -> &str {
        self.authority.pem()
    }

    /// The authority takes these certificates back, and no others: its list, PEM.
    pub fn revoke(&self, revoked: &[&Issued]) -> String {
        self.authority.revoke(revoked, Validity::Now)
    }

    /// A certificate from the world's authority.
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        self.authority.issue(leaf)
    }

    /// An authority that the world's authority signed.
    pub fn intermediate(&self, name: &str) -> Authority {
        self.authority.intermediate(name)
    }

    /// The same, for this domain and those below it only.
    pub fn intermediate_for(&self, name: &str, domain: &str) -> Authority {
        self.authority.intermediate_for(name, domain)
    }

    /// A certificate of a domain for a scripted peer.
    pub fn identity(&self, domain: &str) -> TlsIdentity {
        TlsIdentity::from(&self.issue(&Leaf::domain(domain)))
    }

    /// From now on the zone leads for this domain to this address, and nowhere else.
    pub fn lead(&mut self, service: &str, domain: &str, addr: SocketAddr) {
        let domain = Domain::parse(domain);
        let domain = domain.as_ref().map_or("", Domain::ascii);
        self.led.insert(domain.to_owned(), addr);
        let host = host(domain, addr);
        self.change_zone(|zone| {
            zone.without(&format!("_xmpp-server._tcp.{domain}"))
                .without(&format!("_xmpps-server._tcp.{domain}"))
                .srv(
                    &format!("{service}._tcp.{domain}"),
                    0,
                    0,
                    addr.port(),
                    &host,
                )
                .without(&host)
                .address(&host, addr.ip())
        });
    }

    /// Changes the zone in any other way.
    pub fn change_zone(&mut self, change: impl FnOnce(Zone) -> Zone) {
        self.records = change(std::mem::take(&mut self.records));
        self.zone.replace(self.records.clone());
    }

    /// The zone server: what was asked.
    pub fn dns(&self) -> &ZoneServer {
        &self.zone
    }
}

/// A line of `resolv.conf`.
pub fn nameserver(addr: SocketAddr) -> String {
    format!("nameserver [{}]:{}\n", addr.ip(), addr.port())
}

fn host(domain: &str, addr: SocketAddr) -> String {
    format!("host-{}.{domain}", addr.port())
}

/// A raw peer that listens.
#[derive(Debug)]
pub struct RawServer(TcpListener);

impl RawServer {
    /// With a listener that exists.
    pub fn over(listener: TcpListener) -> Self {
        Self(listener)
    }

    /// The next connection.
    pub async fn accept(&self) -> anyhow::Result<Peer> {
        Peer::accept(&self.0).await
    }

    /// The next connection, however late it comes.
    pub async fn accept_at_leisure(&self) -> anyhow::Result<Peer> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Peer::over(Wire::over(stream)))
    }

    /// Where it listens.
    pub fn addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }
}

/// A directory that is removed in the end.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> anyhow::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("s2sd-world-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
