//! The name servers of the system: resolv.conf(5), read again when it changes.
//!
//! Only `nameserver`, `timeout` and `attempts` of the file count: s2sd asks for every name as it is, so it has no use
//! for `search` and `ndots`. A port may follow the address in brackets, as in OpenBSD: `[127.0.0.1]:5353`.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

/// The name servers, and how patiently to ask them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Upstream {
    pub(super) servers: Vec<SocketAddr>,
    /// For one answer.
    pub(super) timeout: Duration,
    /// How often a question is repeated.
    pub(super) attempts: usize,
}

/// As resolv.conf(5) has them.
const TIMEOUT: u64 = 5;
const MAX_TIMEOUT: u64 = 30;
const ATTEMPTS: usize = 2;
const MAX_ATTEMPTS: usize = 5;
/// The three that the C library asks, and no endless list.
const MAX_SERVERS: usize = 3;
const PORT: u16 = 53;
/// More than this of the file is not read.
const MAX_FILE: u64 = 64 << 10;
/// The file is looked at no more often than this.
const LOOK: Duration = Duration::from_secs(3);

impl Upstream {
    /// What the configuration names.
    pub(super) fn of(servers: &[SocketAddr]) -> Self {
        Self {
            servers: servers.to_vec(),
            timeout: Duration::from_secs(TIMEOUT),
            attempts: ATTEMPTS,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut upstream = Self::of(&[]);
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => upstream.servers.extend(words.next().and_then(server)),
                Some("options") => words.for_each(|word| upstream.option(word)),
                _ => {}
            }
        }
        upstream.servers.truncate(MAX_SERVERS);
        (!upstream.servers.is_empty()).then_some(upstream)
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else {
            return;
        };
        match (name, value.parse::<u64>()) {
            ("timeout", Ok(value)) => {
                self.timeout = Duration::from_secs(value.clamp(1, MAX_TIMEOUT));
            }
            ("attempts", Ok(value)) => {
                let value = usize::try_from(value).unwrap_or(MAX_ATTEMPTS);
                self.attempts = value.clamp(1, MAX_ATTEMPTS);
            }
            _ => {}
        }
    }

    fn names(&self) -> String {
        let names = self.servers.iter().map(|server| match server.port() {
            PORT => server.ip().to_string(),
            _ => server.to_string(),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

/// `192.0.2.1`, `2001:db8::1`, `fe80::1%eth0`, `[192.0.2.1]:5353`.
fn server(word: &str) -> Option<SocketAddr> {
    let ip = |text: &str| -> Option<IpAddr> { text.split('%').next()?.parse().ok() };
    match word.strip_prefix('[').map(|rest| rest.split_once(']')) {
        None => Some(SocketAddr::new(ip(word)?, PORT)),
        Some(Some((address, ""))) => Some(SocketAddr::new(ip(address)?, PORT)),
        Some(Some((address, port))) => {
            let port = port.strip_prefix(':')?.parse().ok()?;
            Some(SocketAddr::new(ip(address)?, port))
        }
        Some(None) => None,
    }
}

/// The file, looked at from time to time.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    /// The name servers in force.
    upstream: Upstream,
    looked: Instant,
    /// How often in a row the file was unusable. Its writer may not have been ready the first time, so s2sd reports the
    /// second.
    useless: u32,
}

impl ResolvConf {
    /// # Errors
    ///
    /// It cannot be read or names no server.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        Ok(Self {
            upstream: read(path)?,
            path: path.to_owned(),
            looked: Instant::now(),
            useless: 0,
        })
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether it is time to look at it.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.looked) >= LOOK
    }

    /// Looks at it. The name servers from now on, if they have changed.
    pub(super) fn look(&mut self, now: Instant) -> Option<&Upstream> {
        self.looked = now;
        match read(&self.path) {
            Ok(upstream) => {
                self.useless = 0;
                if upstream == self.upstream {
                    return None;
                }
                info!("the name servers have changed: {}", upstream.names());
                self.upstream = upstream;
                Some(&self.upstream)
            }
            Err(why) => {
                self.useless = self.useless.saturating_add(1);
                if self.useless == 2 {
                    let names = self.upstream.names();
                    warn!("{why}; continuing with the name servers of before: {names}");
                }
                None
            }
        }
    }
}

fn read(path: &Path) -> Result<Upstream, String> {
    let text = || -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let shown = path.display();
    let text = text().map_err(|error| {
        format!("the system's name servers cannot be read from {shown}: {error}; `servers` in [dns] can name them")
    })?;
    Upstream::parse(&text)
        .ok_or_else(|| format!("{shown} names no name server; `servers` in [dns] can name them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_count_are_read_and_the_others_are_not() {
        let text = "# made by hand\n; too\ndomain a.example\nsearch a.example b.example\n\
                    nameserver 192.0.2.1 # first\nnameserver\nnameserver nonsense\nnameserver 2001:db8::1\n\
                    nameserver [127.0.0.1]:5353\nnameserver 192.0.2.9\n\
                    options ndots:5 timeout:2 attempts:9 rotate edns0\nsortlist 1.2.3.4\n";
        let read = Upstream::parse(text).unwrap();
        assert_eq!(read.names(), "192.0.2.1, 2001:db8::1, 127.0.0.1:5353");
        assert_eq!(
            (read.timeout, read.attempts),
            (Duration::from_secs(2), MAX_ATTEMPTS)
        );
        for (word, read) in [
            ("fe80::1%eth0", Some("[fe80::1]:53")),
            ("[2001:db8::1]:5353", Some("[2001:db8::1]:5353")),
            ("[2001:db8::1]", Some("[2001:db8::1]:53")),
            ("[127.0.0.1", None),
            ("[127.0.0.1]5353", None),
            ("[127.0.0.1]:x", None),
            ("ns.example", None),
        ] {
            let server = server(word).map(|server| server.to_string());
            assert_eq!(server.as_deref(), read, "{word}");
        }
        assert_eq!(Upstream::parse("search a.example\n"), None);
    }

    #[test]
    fn it_is_looked_at_every_few_seconds_and_what_is_no_list_changes_nothing() {
        let directory = std::env::temp_dir().join(format!("s2sd-resolv-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("resolv.conf");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        assert!(
            ResolvConf::load(&path)
                .unwrap_err()
                .contains("`servers` in [dns]")
        );
        write("nameserver 192.0.2.1\n");
        let mut conf = ResolvConf::load(&path).unwrap();
        let start = Instant::now();
        assert!(!conf.is_due(start));
        let later = start + LOOK;
        assert!(conf.is_due(later));
        // Another comment is no other server.
        write("# new\nnameserver 192.0.2.1\n");
        assert_eq!(conf.look(later), None);
        assert!(!conf.is_due(later));
        // It is being written.
        write("");
        assert_eq!(conf.look(later), None);
        assert_eq!(conf.upstream().names(), "192.0.2.1");
        write("nameserver 192.0.2.2\n");
        assert_eq!(
            conf.look(later).map(Upstream::names),
            Some("192.0.2.2".to_owned())
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
