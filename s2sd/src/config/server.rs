//! What the daemon itself needs: addresses, limits, the DNS, the log.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::Secret;

/// `[listen]`: where connections are taken.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Servers, STARTTLS (RFC 6120).
    pub s2s: Vec<SocketAddr>,
    /// Servers, TLS from the first byte (XEP-0368).
    pub s2s_tls: Vec<SocketAddr>,
    /// Components (XEP-0114).
    pub components: Vec<SocketAddr>,
    /// Programs that watch this server; addresses of this machine only.
    pub admin: Vec<SocketAddr>,
    /// Those of its keys that the file does not have.
    pub unsaid: Vec<&'static str>,
}

/// The same addresses, whoever chose them.
impl PartialEq for Listen {
    fn eq(&self, other: &Self) -> bool {
        // Without `..`: a new address is to be compared too.
        let Self {
            s2s,
            s2s_tls,
            components,
            admin,
            unsaid: _,
        } = self;
        (s2s, s2s_tls, components, admin)
            == (&other.s2s, &other.s2s_tls, &other.components, &other.admin)
    }
}

impl Eq for Listen {}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            s2s: vec![SocketAddr::new(everywhere, 5269)],
            s2s_tls: vec![SocketAddr::new(everywhere, 5270)],
            components: vec![SocketAddr::new(here, 5347)],
            admin: Vec::new(),
            unsaid: vec!["s2s", "s2s_tls", "components", "admin"],
        }
    }
}

/// `[dialback]`: our side of XEP-0220.
#[derive(Clone, Debug, Default)]
pub struct Dialback {
    /// What the keys are made from (XEP-0185), from `secret` or `secret_file`. None: the daemon makes one under
    /// `data_dir` and keeps it there.
    pub secret: Option<Secret>,
}

/// `[dns]`: whom we ask, and what we believe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dns {
    /// Name servers; empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Where the system names them.
    pub resolv_conf: PathBuf,
    /// Whether answers are validated.
    pub dnssec: Dnssec,
    /// The keys that validation begins with, a file of DNSKEY records. None: those of the root.
    pub trust_anchor: Option<PathBuf>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            dnssec: Dnssec::default(),
            trust_anchor: None,
        }
    }
}

/// Whether the answers of the DNS are validated by DNSSEC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dnssec {
    /// Nothing is.
    #[default]
    Off,
    /// An answer that is refuted is none; one that is not signed counts. If the name server does not pass on what is
    /// needed, it is as if this were off.
    Use,
    /// An answer that is not proved is none.
    Require,
}

/// `[limits]`: how much and how long. Sizes in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest stanza, unless a policy or a component says otherwise.
    pub max_stanza: usize,
    /// The largest element before a stream is authenticated.
    pub preauth_stanza: usize,
    /// All bytes before a stream is authenticated.
    pub preauth_bytes: usize,
    /// All first-level elements before a stream is authenticated.
    pub preauth_elements: usize,
    /// How deep elements may be nested.
    pub depth: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Until a TCP connection stands.
    pub connect: Duration,
    /// From the connection to the proof.
    pub negotiation: Duration,
    /// Until the authoritative server has answered.
    pub dialback: Duration,
    /// After this time of silence a space is sent (RFC 6120 §4.6.1).
    pub keepalive: Duration,
    /// After this time without a stanza a stream is closed.
    pub idle: Duration,
    /// After this time an outgoing stream is given up whose peer reads nothing of what is queued for it.
    pub stall: Duration,
    /// From the first byte of an element to its last.
    pub stanza_time: Duration,
    /// How long what waits may still be sent after SIGTERM.
    pub drain: Duration,
    /// Domain pairs proved or being proved on one stream.
    pub pairs_per_stream: usize,
    /// Failed dialback attempts on one stream before it is closed.
    pub dialback_failures: usize,
    /// Failed SASL attempts on one stream that are forgiven (RFC 6120 §6.4.5).
    pub sasl_retries: usize,
    /// Incoming connections of servers in all.
    pub inbound: usize,
    /// Incoming connections of one IPv4 address or IPv6 /64 that are not authenticated; of a /24 or /48, four times that.
    pub inbound_per_address: usize,
    /// Incoming connections of one IPv4 /24 or IPv6 /48, authenticated or not.
    pub inbound_per_network: usize,
    /// Authenticated incoming streams of one remote domain.
    pub inbound_per_domain: usize,
    /// Connections of components in all.
    pub components: usize,
    /// Memory for all that waits and all that is half read. None: a quarter of the machine's.
    pub memory: Option<usize>,
    /// Dialback keys that wait for their authoritative servers, in all.
    pub questions: usize,
    /// The same, of those that came from one IPv4 address, or from one IPv6 network of 64 bits.
    pub questions_per_network: usize,
    /// File descriptors of the process; 0: as many as the system allows.
    pub descriptors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_stanza: 512 << 10,
            preauth_stanza: 16 << 10,
            preauth_bytes: 64 << 10,
            preauth_elements: 32,
            depth: 100,
            attributes: 64,
            connect: Duration::from_secs(20),
            negotiation: Duration::from_secs(60),
            dialback: Duration::from_secs(30),
            keepalive: Duration::from_secs(5 * 60),
            idle: Duration::from_secs(60 * 60),
            stall: Duration::from_secs(5 * 60),
            stanza_time: Duration::from_secs(60),
            drain: Duration::from_secs(30),
            pairs_per_stream: 64,
            dialback_failures: 10,
            sasl_retries: 3,
            inbound: 20_000,
            inbound_per_address: 256,
            inbound_per_network: 2000,
            inbound_per_domain: 16,
            components: 1000,
            memory: None,
            questions: 512,
            questions_per_network: 64,
            descriptors: 0,
        }
    }
}

/// `[queue]`: what waits for one pair of domains, how long, and when we try again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Stanzas waiting for one pair of domains.
    pub stanzas: usize,
    /// Bytes waiting for one pair of domains.
    pub bytes: usize,
    /// Pairs of domains that stanzas wait for, or have a stream for, at one time.
    pub lanes: usize,
    /// After this time without a stream what waits is bounced.
    pub give_up: Duration,
    /// The pause after the first failure; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            stanzas: 10_000,
            bytes: 16 << 20,
            lanes: 10_000,
            give_up: Duration::from_secs(120),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}

/// `[log]`: what is written to standard error, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
    /// Other levels for parts of the program, by the path of the module.
    pub targets: Vec<(String, LogLevel)>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// A line to read; coloured on a terminal.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Severity, most severe first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// We cannot do our job.
    Error,
    /// Somebody should look.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why it happened.
    Debug,
    /// Every element on the wire, without SASL payloads and dialback keys.
    Trace,
}

impl LogLevel {
    /// The word in the configuration, which `tracing`'s filters know too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
