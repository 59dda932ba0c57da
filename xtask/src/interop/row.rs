//! One row: one peer, one scenario, one direction, in a directory of its own with servers of its own.

use super::{
    evidence::{Claim, Method, Refusal},
    fixtures::Fixtures,
    peers::Peer,
    process::{read, wait_until},
    s2sd_pair::{self, Instance},
    sasl::realm::Realm,
    server_dir::{self, ServerDir},
    setup::{Certificate, Direction, NOBODY, Setup, Transport},
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the authoritative server with another secret is.
const OTHER_AUTHORITY: Ipv4Addr = Ipv4Addr::new(127, 0, 77, 9);
/// How long one step of a check may take.
const STEP_TIMEOUT: &str = "20s";

pub(super) struct Row<'a> {
    pub(super) fixtures: &'a Fixtures,
    pub(super) peer: &'static dyn Peer,
    pub(super) direction: Direction,
    pub(super) setup: Setup,
    pub(super) directory: PathBuf,
}

impl Row<'_> {
    /// Stanzas pass in both directions, in order, over a stream that was proved as claimed.
    pub(super) fn federates(&self, method: Method) -> Result<()> {
        let _running = self.start(&self.zone())?;
        let (initiator, receiver) = self.ends();
        let arguments = [
            "check",
            "--a",
            &initiator,
            "--b",
            &receiver,
            "--count",
            "1000",
            "--timeout",
            STEP_TIMEOUT,
        ];
        self.check(&arguments)?;
        let claim = Claim {
            method,
            transport: self.setup.transport,
            direction: self.direction,
        };
        self.logs_show(|ours, theirs| {
            s2sd_pair::proved(ours, self.peer.domain(), &claim)
                .map_err(|what| format!("s2sd: {what}"))?;
            self.peer
                .proved(theirs, &claim)
                .map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// Our numbered messages arrive in order, whatever other users of our component write between them; after that those
    /// of both sides do.
    pub(super) fn keeps_order_among_odd_stanzas(&self) -> Result<()> {
        let _running = self.start(&self.zone())?;
        let (ours, theirs) = (s2sd_pair::end(), self.peer.end());
        let check = [
            "check",
            "--a",
            &ours,
            "--b",
            &theirs,
            "--timeout",
            STEP_TIMEOUT,
        ];
        let odd = ["--count", "200", "--only", "odd", "--one-way"];
        // The same each time, and one that was never there.
        for seed in [&["--seed", "1"][..], &["--seed", "2"], &[]] {
            self.check(&[&check[..], &odd, seed].concat())?;
        }
        self.check(&[&check[..], &["--count", "200", "--only", "order"]].concat())
    }

    /// In s2sd's log stands why it believed the peer of that stream, which begins so.
    pub(super) fn was_believed_because(&self, because: &str) -> Result<()> {
        self.logs_show(|ours, _| {
            s2sd_pair::believed(ours, self.peer.domain(), self.direction, because)
                .map_err(|what| format!("s2sd: {what}"))
        })
    }

    /// What our further domains send arrives in order, and by the stream of the first.
    pub(super) fn shares_a_stream(&self) -> Result<()> {
        let further = self.setup.further;
        let domain = |number| s2sd_pair::further(s2sd_pair::DOMAIN, number);
        let mut zone = self.zone();
        for number in 0..further {
            zone.push_str(&self.server(&domain(number), s2sd_pair::ADDRESS));
        }
        let _running = self.start(&zone)?;
        let theirs = self.peer.end();
        let first = s2sd_pair::end();
        let others =
            (0..further).map(|number| s2sd_pair::component(&domain(number), s2sd_pair::ADDRESS));
        for ours in std::iter::once(first).chain(others) {
            let check = [
                "check",
                "--a",
                &ours,
                "--b",
                &theirs,
                "--timeout",
                STEP_TIMEOUT,
            ];
            let order = ["--count", "100", "--only", "order", "--one-way"];
            self.check(&[&check[..], &order].concat())?;
        }
        self.logs_show(|ours, _| {
            s2sd_pair::shared(ours, self.peer.domain(), further)
                .map_err(|what| format!("s2sd: {what}"))
        })
    }

    /// Stanzas pass in both directions by the one stream that there is; where the peer has no bidi, by one for each direction.
    pub(super) fn goes_both_ways(&self, method: Method) -> Result<()> {
        self.federates(method)?;
        let has_bidi = self.peer.has_bidi();
        self.logs_show(|ours, theirs| {
            s2sd_pair::both_ways(ours, self.peer.domain(), self.direction, has_bidi)
                .map_err(|what| format!("s2sd: {what}"))?;
            let both = self.peer.both_ways(theirs, self.direction);
            both.map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// The peer says that it counts our stanzas, and nothing that it says of them is wrong.
    pub(super) fn is_acknowledged(&self) -> Result<()> {
        self.federates(Method::External)?;
        self.logs_show(|ours, theirs| {
            s2sd_pair::acknowledged(ours).map_err(|what| format!("s2sd: {what}"))?;
            let counts = self.peer.acknowledges(theirs);
            counts.map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// s2sd saw that the peer's certificate is by nobody it trusts.
    pub(super) fn certificate_was_bad(&self) -> Result<()> {
        self.logs_show(|ours, _| s2sd_pair::distrusted(ours, self.direction))
    }

    /// In the peer's log stands that a TLSA record of ours spoke for us.
    pub(super) fn was_found_by_dane(&self) -> Result<()> {
        self.logs_show(|_, theirs| {
            let found = self.peer.found_by_dane(theirs);
            found.map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// What the initiating side sends comes back and does not arrive.
    pub(super) fn is_refused(&self, why: Refusal) -> Result<()> {
        let _running = self.start(&self.zone())?;
        let (initiator, receiver) = self.ends();
        self.bounces(&initiator, &receiver)?;
        self.logs_show_refusal(why)
    }

    /// The peer's key is held against another secret than its own, so it is not one of its domain's.
    pub(super) fn key_of_another_authority(&self) -> Result<()> {
        let mut zone = self.server(s2sd_pair::DOMAIN, s2sd_pair::ADDRESS);
        zone.push_str(&self.server(self.peer.domain(), OTHER_AUTHORITY));
        let _running = self.start(&zone)?;
        let listen = format!("{OTHER_AUTHORITY}:5269");
        let authority = self.fixtures.serve(
            "authority",
            &["authority", "--listen", &listen],
            &self.directory,
        )?;
        let (initiator, receiver) = self.ends();
        self.bounces(&initiator, &receiver)?;
        self.logs_show_refusal(Refusal::Key)?;
        let asked = authority.output();
        let question = |line: &str| line.starts_with("verify ") && line.contains(" invalid ");
        ensure!(
            asked.lines().any(question),
            "the other authority was not asked: {asked}"
        );
        Ok(())
    }

    /// Somebody claims to be us, with a key that we never made.
    pub(super) fn forged_key(&self) -> Result<()> {
        let _running = self.start(&self.zone())?;
        let server = format!("{}:5269", self.peer.address());
        let domain = self.peer.domain();
        let victim = self.peer.end();
        let mut arguments = vec![
            "forge",
            "forged-key",
            "--addr",
            &server,
            "--from",
            s2sd_pair::DOMAIN,
            "--to",
            domain,
        ];
        arguments.extend(["--victim", &victim, "--timeout", STEP_TIMEOUT]);
        let verdict = self
            .fixtures
            .verdict("forge", &arguments, &self.directory)?;
        let arrived = verdict.get("arrived").and_then(Value::as_array);
        ensure!(
            arrived.is_some_and(Vec::is_empty),
            "a stanza arrived: {verdict}"
        );
        ensure!(
            verdict.get("ok") == Some(&Value::Bool(true)),
            "not refused: {verdict}"
        );
        let kind = verdict.pointer("/answer/type").and_then(Value::as_str);
        ensure!(
            kind == Some("invalid"),
            "refused for another reason than the key: {verdict}"
        );
        self.logs_show(|_, theirs| {
            let refused = self.peer.refused(theirs, self.direction, Refusal::Key);
            refused.map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// The zone leads to a server that does not serve the domain.
    pub(super) fn unknown_host(&self) -> Result<()> {
        let mut zone = self.zone();
        let (initiator, address) = match self.direction {
            Direction::FromPeer => (self.peer.end(), s2sd_pair::ADDRESS),
            Direction::ToPeer => (s2sd_pair::end(), self.peer.address()),
        };
        zone.push_str(&self.server(NOBODY, address));
        let _running = self.start(&zone)?;
        self.bounces(&initiator, &format!("host,domain={NOBODY}"))?;
        self.logs_show(|ours, theirs| {
            if self.direction == Direction::FromPeer {
                s2sd_pair::refused(ours, self.peer.domain(), self.direction, Refusal::Host)
                    .map_err(|what| format!("s2sd: {what}"))?;
            }
            let refused = self.peer.refused(theirs, self.direction, Refusal::Host);
            refused.map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// The peer's stream header on the wire, as s2sd saw it, had no `version`.
    pub(super) fn header_had_no_version(&self) -> Result<()> {
        self.logs_show(|ours, _| s2sd_pair::saw_header_without_version(ours))
    }

    /// Starts the zone, s2sd and the peer.
    fn start(&self, zone: &str) -> Result<Running> {
        let place = |name: &str| self.directory.join(name);
        for name in ["s2sd", "peer"] {
            fs::create_dir_all(place(name))
                .with_context(|| format!("making {}", place(name).display()))?;
        }
        let certificates = &self.fixtures.certificates;
        let anchor = place(server_dir::ANCHOR).display().to_string();
        let anchor = self.setup.dane.then_some(anchor.as_str());
        let dns = self.fixtures.serve_zone(&self.directory, zone, anchor)?;
        let realm = self.realm()?;
        let environment = realm.as_ref().map(|realm| realm.environment.as_slice());
        let placed = |directory| ServerDir {
            directory,
            certificates,
            s2sd: &self.fixtures.programs.s2sd,
            environment: environment.unwrap_or_default(),
        };
        let us = Instance {
            domain: s2sd_pair::DOMAIN,
            address: s2sd_pair::ADDRESS,
            certificate: self.setup.our_certificate,
            other: self.peer.domain(),
        };
        let (at_ours, at_theirs) = (place("s2sd"), place("peer"));
        let s2sd = s2sd_pair::start(&us, &placed(&at_ours), &self.setup)?;
        let peer = self.peer.start(&placed(&at_theirs), &self.setup)?;
        Ok(Running {
            _realm: realm,
            _peer: peer,
            _s2sd: s2sd,
            _dns: dns,
        })
    }

    /// The Kerberos realm, where the row needs one: it knows both servers.
    fn realm(&self) -> Result<Option<Realm>> {
        if !self.setup.kerberos() {
            return Ok(None);
        }
        let principals = [s2sd_pair::DOMAIN, self.peer.domain()]
            .map(|domain| (format!("xmpp/{domain}"), s2sd_pair::keytab(domain)));
        let principals = principals
            .each_ref()
            .map(|(name, file)| (name.as_str(), file.as_str()));
        Realm::start(&self.directory, &principals).map(Some)
    }

    /// Both ends, the one whose server initiates first.
    fn ends(&self) -> (String, String) {
        match self.direction {
            Direction::FromPeer => (self.peer.end(), s2sd_pair::end()),
            Direction::ToPeer => (s2sd_pair::end(), self.peer.end()),
        }
    }

    /// The records of both servers.
    fn zone(&self) -> String {
        let setup = &self.setup;
        self.server(s2sd_pair::DOMAIN, s2sd_pair::ADDRESS)
            + &self.tlsa(s2sd_pair::DOMAIN, setup.our_certificate)
            + &self.server(self.peer.domain(), self.peer.address())
            + &self.tlsa(self.peer.domain(), setup.peer_certificate)
    }

    /// What the DNS says of a server's certificate, where it has a say.
    fn tlsa(&self, domain: &str, certificate: Certificate) -> String {
        if !self.setup.dane {
            return String::new();
        }
        let (name, _) = certificate.leaf(domain);
        let words = read(&self.fixtures.certificates.join(format!("{name}.tlsa")));
        format!("tlsa _5269._tcp.xmpp.{domain} {words}")
    }

    fn server(&self, domain: &str, address: Ipv4Addr) -> String {
        let (service, port) = match self.setup.transport {
            Transport::DirectTls => ("_xmpps-server", 5270),
            Transport::Plain | Transport::StartTls => ("_xmpp-server", 5269),
        };
        let mut records = String::new();
        let _ = writeln!(
            records,
            "srv {service}._tcp.{domain} 0 5 {port} xmpp.{domain}"
        );
        let _ = writeln!(records, "a xmpp.{domain} {address}");
        records
    }

    fn bounces(&self, from: &str, to: &str) -> Result<()> {
        self.check(&[
            "check",
            "--a",
            from,
            "--b",
            to,
            "--refused",
            "--timeout",
            STEP_TIMEOUT,
        ])
    }

    fn check(&self, arguments: &[&str]) -> Result<()> {
        let verdict = self.fixtures.verdict("check", arguments, &self.directory)?;
        if verdict.get("ok") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        let checks = verdict
            .get("checks")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let failed: Vec<String> = checks
            .filter(|check| check.get("ok") != Some(&Value::Bool(true)))
            .map(told)
            .collect();
        bail!(
            "{}",
            if failed.is_empty() {
                verdict.to_string()
            } else {
                failed.join("; ")
            }
        )
    }

    fn logs_show_refusal(&self, why: Refusal) -> Result<()> {
        self.logs_show(|ours, theirs| {
            s2sd_pair::refused(ours, self.peer.domain(), self.direction, why)
                .map_err(|what| format!("s2sd: {what}"))?;
            let refused = self.peer.refused(theirs, self.direction, why);
            refused.map_err(|what| format!("{}: {what}", self.peer.name()))
        })
    }

    /// Asks both logs until they answer or time is up: servers write them when they get to it.
    fn logs_show(&self, question: impl Fn(&str, &str) -> Result<(), String>) -> Result<()> {
        let log = |part: &str, name: &str| read(&self.directory.join(Path::new(part)).join(name));
        let mut answer = Ok(());
        let asked = wait_until("the logs", Duration::from_secs(10), || {
            answer = question(&log("s2sd", s2sd_pair::LOG), &log("peer", self.peer.log()));
            Ok(answer.is_ok())
        });
        match answer {
            Err(what) => bail!("{what}"),
            Ok(()) => asked,
        }
    }
}

/// The servers of a row, stopped in this order.
struct Running {
    _peer: Vec<super::process::Process>,
    _s2sd: super::process::Process,
    _dns: super::process::Process,
    _realm: Option<Realm>,
}

/// A failed check in words.
fn told(check: &Value) -> String {
    let word = |name: &str| check.get(name).and_then(Value::as_str).unwrap_or("?");
    let reason: String = word("reason").chars().take(300).collect();
    format!(
        "{} {}->{}: {reason}",
        word("check"),
        word("from"),
        word("to")
    )
}
