//! What the daemon itself needs: addresses, limits, the DNS, the log.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Secret, addresses,
    kind::{Entries, List, Name, NameOrNone, of},
    table::table,
    values::{duration, number, size, size_or_auto, word, words},
};

/// RFC 6120 §13.12: a server must not refuse stanzas smaller than this.
pub(super) const LEAST_STANZA: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// With less there is hardly room for a connection and a stanza.
const LEAST_MEMORY: usize = 4 << 20;
/// More of anything is a slip of the pen.
pub(super) const MAX_COUNT: usize = 1_000_000_000;

table! {
    /// `[listen]`: where connections are taken.
    #[derive(Clone, Debug)]
    pub struct Listen in "listen" {
        /// Servers, with STARTTLS (RFC 6120).
        pub s2s: Vec<SocketAddr> = List(of("address:port", addresses::listen_address)), ["[::]:5269"];
        /// Servers, with TLS from the first byte (XEP-0368); needs a certificate.
        pub s2s_tls: Vec<SocketAddr> = List(of("address:port", addresses::listen_address)), ["[::]:5270"];
        /// Components (XEP-0114). This stream is not encrypted: keep it on the machine. s2sd warns about an
        /// address that others can reach.
        pub components: Vec<SocketAddr> = List(of("address:port", addresses::listen_address)), ["127.0.0.1:5347"];
        /// HTTP for [metrics](metrics.md) and for the commands that ask the daemon: `GET /metrics`,
        /// `/api/status`, `/api/streams`, `/api/lanes`; `POST /api/retry?domain=example.net` or `?all`,
        /// `/api/close?id=17`, `/api/reload`. The socket in `data_dir` has the same pages; the commands use
        /// `admin` only where there is no socket. Loopback addresses only: the endpoint has no
        /// authentication. A request for another host than `localhost` or a loopback address gets status
        /// 421. A `POST` that a page in a browser requests gets 403.
        pub admin: Vec<SocketAddr> = List(of("address:port", addresses::listen_address)), [];
    }
    and {
        /// Those of its keys that the file does not have.
        pub unsaid: Vec<&'static str> = vec!["s2s", "s2s_tls", "components", "admin"];
    }
}

/// The same addresses; `unsaid` does not count.
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

/// `[dialback]`: our side of XEP-0220.
#[derive(Clone, Debug, Default)]
pub struct Dialback {
    /// What the keys are made from (XEP-0185), from `secret` or `secret_file`. None: the daemon makes one under
    /// `data_dir` and keeps it there.
    pub secret: Option<Secret>,
}

table! {
    /// `[dns]`: name servers and DNSSEC.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Dns in "dns" {
        /// The name servers, with a port if it is not 53. With an empty list s2sd uses those of the system.
        pub servers: Vec<SocketAddr> = List(of("address", addresses::name_server)), [];
        /// The file with the system's name servers, if `servers` is empty: resolv.conf(5), of which s2sd
        /// reads `nameserver`, `timeout` and `attempts`. s2sd looks at it every few seconds while it has
        /// something to look up, and on SIGHUP. When it names other servers, s2sd asks those and forgets
        /// the answers of the old ones. A port can follow an address in brackets: `nameserver
        /// [127.0.0.1]:5353`.
        pub resolv_conf: PathBuf = Name, "/etc/resolv.conf";
        /// Whether s2sd itself proves answers by DNSSEC, instead of the name server. `"off"`: it does not.
        /// `"use"`: s2sd ignores an answer that its signatures refute; an answer of a zone without
        /// signatures counts as before. `"require"`: s2sd ignores every answer that is not proved, so it
        /// cannot reach domains without DNSSEC.
        pub dnssec: Dnssec = word::<Dnssec>(), "off";
        /// The keys that proofs begin with: a file of DNSKEY records, as zone files and `unbound-anchor`
        /// write them. The empty string stands for the keys of the root.
        pub trust_anchor: Option<PathBuf> = NameOrNone, "";
    }
}

words! {
    /// Whether the answers of the DNS are validated by DNSSEC.
    pub enum Dnssec {
        /// They are not.
        Off = "off",
        /// s2sd ignores an answer that its signatures refute; an answer without signatures counts. If the name server
        /// does not pass signatures on, this is the same as `off`.
        Use = "use",
        /// s2sd ignores an answer that is not proved.
        Require = "require",
    }
}

table! {
    /// `[limits]`: how much and how long. Sizes in bytes.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Limits in "limits" {
        /// The largest stanza. RFC 6120 forbids less than 10,000 bytes.
        pub max_stanza: usize = size(LEAST_STANZA), "512KiB";
        /// The largest element before a stream is authenticated, and the largest stream header at any time.
        pub preauth_stanza: usize = size(LEAST_STANZA), "16KiB";
        /// All bytes before a stream is authenticated.
        pub preauth_bytes: usize = size(LEAST_STANZA), "64KiB";
        /// All elements before a stream is authenticated.
        pub preauth_elements: usize = number(8, MAX_COUNT), 32;
        /// Nesting of elements. A deeper stanza of an authenticated peer or component bounces.
        pub depth: usize = number(8, MAX_COUNT), 100;
        /// Attributes of one element. A stanza with more bounces likewise.
        pub attributes: usize = number(8, MAX_COUNT), 64;
        /// Time for a TCP connection, and again for a TLS handshake. If a domain has several targets, a
        /// silent one gets less: [how a stanza moves](flow.md#from-a-component-to-a-peer).
        pub connect: Duration = duration(SECOND), "20s";
        /// Time from the connection to the proof.
        pub negotiation: Duration = duration(SECOND), "60s";
        /// Time for a stream to the authoritative server, and again for its answer.
        pub dialback: Duration = duration(SECOND), "30s";
        /// After this silence s2sd sends a space. If the peer announces when it closes idle streams
        /// (XEP-0478), s2sd sends it after half of that time, if that is less. The kernel's own keep-alive
        /// begins after the same time, on every connection.
        pub keepalive: Duration = duration(SECOND), "5m";
        /// Close a stream after this time without a stanza, even if spaces arrive. s2sd announces it to
        /// peers (XEP-0478).
        pub idle: Duration = duration(SECOND), "60m";
        /// Close an outgoing stream if the peer reads none of the pending bytes for this long. Stanzas that
        /// the peer has not taken go by the next stream. A peer whose component is full does not read for
        /// as long as its own `give_up`, so this should be longer. If the other machine acknowledges
        /// nothing for this long, the kernel ends the connection (`TCP_USER_TIMEOUT`). The log then has the
        /// greatest number of stanzas that may not have arrived.
        pub stall: Duration = duration(SECOND), "5m";
        /// Time from the first byte of an element to its last. At the default of `max_stanza`, this asks
        /// for 70 kbit/s.
        pub stanza_time: Duration = duration(SECOND), "60s";
        /// Time after `SIGTERM` to send the stanzas that still wait.
        pub drain: Duration = duration(Duration::ZERO), "30s";
        /// Pairs of domains on one stream.
        pub pairs_per_stream: usize = number(1, MAX_COUNT), 128;
        /// Failed dialback attempts on one stream.
        pub dialback_failures: usize = number(0, MAX_COUNT), 10;
        /// Failed SASL attempts that s2sd forgives on one stream; `0` forgives none.
        pub sasl_retries: usize = number(0, MAX_COUNT), 3;
        /// Incoming connections of servers in all. s2sd keeps an eighth of them for [hosts that
        /// authenticated lately](#who-gets-a-place).
        pub inbound: usize = number(1, MAX_COUNT), 20000;
        /// Incoming connections of one IPv4 address or IPv6 /64 that are not authenticated. A /24 or /48
        /// may have four times as many.
        pub inbound_per_address: usize = number(1, MAX_COUNT), 256;
        /// Incoming connections of one IPv4 /24 or IPv6 /48, authenticated or not.
        pub inbound_per_network: usize = number(1, MAX_COUNT), 2000;
        /// Authenticated incoming streams of one remote domain, or as many as domains are served here, if
        /// that is more.
        pub inbound_per_domain: usize = number(1, MAX_COUNT), 16;
        /// Connections of components in all. s2sd counts them apart, so that servers cannot take their
        /// places.
        pub components: usize = number(1, MAX_COUNT), 1000;
        /// Memory for everything that waits and everything that is half read, and for the connections
        /// themselves. `"auto"` is a quarter of what the machine has, or of what the control group of s2sd
        /// may use (systemd's `MemoryMax`, a container's limit). See [Memory](#memory).
        pub memory: Option<usize> = size_or_auto(LEAST_MEMORY), "auto";
        /// Dialback keys that wait for the answer of their authoritative server. s2sd answers one more with
        /// `resource-constraint`.
        pub questions: usize = number(1, MAX_COUNT), 512;
        /// The same, of keys that come from one IPv4 address or one IPv6 /64. An IPv4 /24 and an IPv6 /48
        /// have at most a quarter of `questions`, or this if it is more.
        pub questions_per_network: usize = number(1, MAX_COUNT), 64;
        /// File descriptors that s2sd may use; `0`: as many as the system allows. s2sd raises the soft
        /// limit to what these limits may need. A few are kept for files, the DNS and `/metrics`. When the
        /// rest runs short, s2sd refuses dialback keys first, then accepts no further servers until a
        /// connection ends; streams for your own stanzas get the last ones.
        pub descriptors: usize = number(0, MAX_COUNT), 0;
    }
}

table! {
    /// `[queue]`: what waits for one pair of domains, how long, and when we try again.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Queue in "queue" {
        /// Stanzas in one queue. s2sd answers further ones with `resource-constraint`.
        pub stanzas: usize = number(1, MAX_COUNT), 10000;
        /// Bytes in one queue, likewise.
        pub bytes: usize = size(LEAST_STANZA), "16MiB";
        /// Pairs of domains that have a queue or an outgoing stream. For one more, s2sd closes the lane
        /// that has been without stanzas for longest. If each has some, s2sd answers the stanza with
        /// `resource-constraint`. One component can use about four fifths of them. Answers and bounces of
        /// s2sd itself open a lane only while half of them are free, and one remote domain can cause about
        /// an eighth of them, 16 at most.
        pub lanes: usize = number(1, MAX_COUNT), 10000;
        /// After this time without a stream, s2sd answers waiting stanzas with `remote-server-timeout`.
        pub give_up: Duration = duration(SECOND), "120s";
    }
    tables {
        /// [The pauses between attempts](#backoff-of-queue).
        "backoff": "table" => "";
    }
    and {
        /// The pauses between attempts.
        pub backoff: Backoff = Backoff::default();
    }
}

table! {
    /// `backoff` of `[queue]`: the pauses between attempts.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Backoff in "queue.backoff" {
        /// The pause after the second failure. After the first failure the pause is a quarter of this,
        /// since the cause may be over in a moment. After each further failure it doubles.
        pub first: Duration = duration(LEAST_PAUSE), "1s";
        /// The longest pause.
        pub max: Duration = duration(LEAST_PAUSE), "5m";
    }
}

table! {
    /// `[log]`: what is written to standard error, and how.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Log in "log" {
        /// `"human"`: a line to read, coloured on a terminal. `"json"`: an object per line.
        pub format: LogFormat = word::<LogFormat>(), "human";
        /// The lowest level that s2sd writes: `"off"`, `"error"`, `"warn"`, `"info"`, `"debug"`, `"trace"`.
        /// XML appears at `"trace"` only, without passwords and dialback keys.
        pub level: LogLevel = word::<LogLevel>(), "info";
        /// Other levels for parts of the program, by module.
        pub targets: Vec<(String, LogLevel)> = Entries(word::<LogLevel>());
    }
}

words! {
    /// How a line of the log looks.
    pub enum LogFormat {
        /// A line to read; coloured on a terminal.
        Human = "human",
        /// One JSON object per line.
        Json = "json",
    }
}

words! {
    /// Severity, most severe first.
    pub enum LogLevel {
        /// Nothing.
        Off = "off",
        /// We cannot do our job.
        Error = "error",
        /// The operator should look.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// Why it happened.
        Debug = "debug",
        /// Every element on the wire, without SASL payloads and dialback keys.
        Trace = "trace",
    }
}
