//! Two networks of their own, with a way between them that can be lost without a word: network namespaces of Linux, joined
//! by a pair of virtual interfaces. They need root, `unshare`, `nsenter` and `ip`.
//!
//! A thread is in one network, and its sockets stay where they were made: a test enters the near one, makes its world there,
//! and has listeners and connections made in the far one.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Whoever sets this wants no test left out for want of a namespace.
const NEEDED: &str = "S2SD_NEED_NAMESPACES";
/// An address of the link layer that nobody has.
const NOBODY: &str = "02:00:00:00:00:fe";

/// The near network's own address.
pub const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// The far network's.
pub const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));

/// How the far side vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// What either side sends disappears on the way, and both still have their link.
    OnTheWay,
    /// The other machine is off: there is no link.
    OfTheMachine,
}

/// The two.
#[derive(Debug)]
pub struct Networks {
    near: Network,
    far: Network,
}

/// A network, for as long as something is in it.
#[derive(Debug)]
struct Network {
    holder: Child,
    interface: &'static str,
    address: IpAddr,
    link: String,
    handle: File,
}

impl Networks {
    /// Makes them, or says on standard error why that is impossible here, and that the test is left out.
    pub fn new() -> anyhow::Result<Option<Self>> {
        match Self::make() {
            Ok(networks) => Ok(Some(networks)),
            Err(why) if std::env::var_os(NEEDED).is_none() => {
                eprintln!("left out: no network of our own can be made: {why:#}");
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    fn make() -> anyhow::Result<Self> {
        let mut near = Network::new("near", NEAR)?;
        let mut far = Network::new("far", FAR)?;
        let there = far.holder.id().to_string();
        near.ip(&[
            "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &there,
        ])?;
        near.begin()?;
        far.begin()?;
        let networks = Self { near, far };
        networks.join()?;
        Ok(networks)
    }

    /// From now on what this thread makes is in the near network.
    pub fn enter(&self) -> anyhow::Result<()> {
        self.near.enter()
    }

    /// A listener in the far network.
    pub fn listen(&self) -> anyhow::Result<tokio::net::TcpListener> {
        let listener = self.in_the_far(|| TcpListener::bind((FAR, 0)))?;
        listener.set_nonblocking(true)?;
        Ok(tokio::net::TcpListener::from_std(listener)?)
    }

    /// A connection from the far network to the near one.
    pub fn connect(&self, port: u16) -> anyhow::Result<tokio::net::TcpStream> {
        let stream = self.in_the_far(|| TcpStream::connect((NEAR, port)))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(tokio::net::TcpStream::from_std(stream)?)
    }

    /// The way is lost: nothing arrives on either side, and nobody is told.
    pub fn lose(&self, loss: Loss) -> anyhow::Result<()> {
        match loss {
            Loss::OnTheWay => {
                self.near.thinks_is_at(&self.far, NOBODY)?;
                self.far.thinks_is_at(&self.near, NOBODY)
            }
            Loss::OfTheMachine => self.far.ip(&["link", "set", "dev", "far", "down"]),
        }
    }

    /// The way is there again.
    pub fn join(&self) -> anyhow::Result<()> {
        self.far.ip(&["link", "set", "dev", "far", "up"])?;
        self.near.thinks_is_at(&self.far, &self.far.link)?;
        self.far.thinks_is_at(&self.near, &self.near.link)
    }

    /// By a thread of its own, which is in the far network and ends.
    fn in_the_far<T: Send>(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send,
    ) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                self.far.enter()?;
                Ok(make()?)
            });
            let made = made.join();
            made.map_err(|_| anyhow::anyhow!("the thread in the far network panicked"))?
        })
    }
}

impl Network {
    /// An empty one, held by a program that waits for us to end.
    fn new(interface: &'static str, address: IpAddr) -> anyhow::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let ready = holder.stdout.as_mut().map(|out| out.read(&mut [0]));
        if !matches!(ready, Some(Ok(1))) {
            let mut said = String::new();
            if let Some(mut errors) = holder.stderr.take() {
                let _ = errors.read_to_string(&mut said);
            }
            let _ = holder.wait();
            bail!("{}", said.trim());
        }
        let handle = File::open(format!("/proc/{}/ns/net", holder.id()))?;
        Ok(Self {
            holder,
            interface,
            address,
            link: String::new(),
            handle,
        })
    }

    /// Its interfaces, which exist, get their addresses.
    fn begin(&mut self) -> anyhow::Result<()> {
        let (interface, address) = (self.interface, format!("{}/24", self.address));
        self.ip(&["link", "set", "dev", "lo", "up"])?;
        self.ip(&["address", "add", &address, "dev", interface])?;
        self.ip(&["link", "set", "dev", interface, "up"])?;
        let shown = self.run(&["ip", "-o", "link", "show", "dev", interface])?;
        let mut words = shown.split_whitespace();
        let link = words.by_ref().find(|word| *word == "link/ether");
        let link = link.and_then(|_| words.next());
        self.link = link.context("the interface has no address")?.to_owned();
        Ok(())
    }

    /// Where frames for the other side are sent.
    fn thinks_is_at(&self, other: &Self, link: &str) -> anyhow::Result<()> {
        let address = other.address.to_string();
        self.ip(&[
            "neighbour",
            "replace",
            &address,
            "lladdr",
            link,
            "nud",
            "permanent",
            "dev",
            self.interface,
        ])
    }

    fn enter(&self) -> anyhow::Result<()> {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.handle.as_fd(), network).context("entering a network")
    }

    fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.run(&[&["ip"], arguments].concat()).map(drop)
    }

    /// Runs a program in it.
    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .args(words)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .context("nsenter")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{words:?}: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
