//! Asks the s2sd that runs here: HTTP over its socket in `data_dir`, or over `[listen] admin` where it has no socket.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{Configuration, complain};
use crate::{admin::SOCKET, config::Config, logging, peer_text::PeerText};

/// For each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer is longer.
const MAX_ANSWER: u64 = 64 << 20;

/// How to reach the daemon.
#[derive(Debug, PartialEq)]
pub(super) struct Daemon {
    socket: PathBuf,
    admin: Option<SocketAddr>,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: &'static str,
    path: String,
}

impl Request {
    /// Asks for something.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
        }
    }

    /// Changes something.
    pub(super) fn post(path: impl Into<String>) -> Self {
        Self {
            method: "POST",
            path: path.into(),
        }
    }
}

impl Daemon {
    /// The daemon of this configuration. `None`: the file cannot be read; why is on standard error.
    pub(super) fn of(configuration: &Configuration) -> Option<Self> {
        let file = &configuration.config;
        let text = fs::read_to_string(file).ok();
        let daemon = text.and_then(|text| Self::said_by(&text, file.parent()));
        if daemon.is_none()
            && let Err(faults) = Config::load(file)
        {
            let colours = logging::colours(&io::stderr());
            complain(format_args!("{}", faults.render(colours)));
        }
        daemon
    }

    /// Two keys are enough: a daemon that runs is reached although its file has a fault by now, and by who may not read its
    /// secrets.
    fn said_by(text: &str, base: Option<&Path>) -> Option<Self> {
        let table: toml::Table = text.parse().ok()?;
        let data_dir = match table.get("data_dir") {
            Some(value) => PathBuf::from(value.as_str()?),
            None => Config::default().data_dir,
        };
        let admin = table.get("listen").and_then(|listen| listen.get("admin"));
        let admin = admin.and_then(|admin| admin.as_array()?.first()?.as_str()?.parse().ok());
        let socket = base.unwrap_or(Path::new("")).join(data_dir).join(SOCKET);
        Some(Self { socket, admin })
    }

    /// Its answer, or what to do where there is none.
    pub(super) fn ask(&self, request: &Request) -> Result<Value, String> {
        let socket = &self.socket;
        let answer = match (UnixStream::connect(socket), &self.admin) {
            (Ok(stream), _) => {
                let place = socket.display().to_string();
                let timed = stream
                    .set_read_timeout(Some(STEP_TIMEOUT))
                    .and_then(|()| stream.set_write_timeout(Some(STEP_TIMEOUT)));
                let asked = timed.and_then(|()| exchange(stream, request, "localhost"));
                asked.map_err(|error| broke(&place, &error))?
            }
            // It started where it could not make one.
            (Err(error), Some(admin)) if error.kind() == io::ErrorKind::NotFound => {
                over_tcp(admin, request)?
            }
            (Err(error), _) => return Err(unreachable(socket, &error)),
        };
        understood(&answer)
    }
}

fn over_tcp(addr: &SocketAddr, request: &Request) -> Result<Vec<u8>, String> {
    let stream = TcpStream::connect_timeout(addr, STEP_TIMEOUT).map_err(|error| {
        format!("s2sd does not run with this configuration: nothing answers at {addr} ({error})")
    })?;
    let timed = stream
        .set_read_timeout(Some(STEP_TIMEOUT))
        .and_then(|()| stream.set_write_timeout(Some(STEP_TIMEOUT)));
    let asked = timed.and_then(|()| exchange(stream, request, &addr.to_string()));
    asked.map_err(|error| broke(&addr.to_string(), &error))
}

fn exchange(mut stream: impl Read + Write, request: &Request, host: &str) -> io::Result<Vec<u8>> {
    let Request { method, path } = request;
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn broke(place: &str, error: &io::Error) -> String {
    format!("s2sd does not answer at {place}: {error}")
}

/// Why the socket cannot be used, and what to do.
fn unreachable(socket: &Path, error: &io::Error) -> String {
    let place = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "s2sd does not run with this configuration: there is no {place}. Start it, or name the configuration that \
             it runs with by -c. (A daemon of an older version has no socket: restart it. One that cannot write to its \
             data_dir has none either: add `admin = [\"127.0.0.1:5280\"]` to [listen].)"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("s2sd does not run any more: it left {place} behind. Start it again")
        }
        io::ErrorKind::PermissionDenied => format!(
            "you may not use {place}: only root and the user who runs s2sd may. Try it with sudo"
        ),
        _ => format!("{place} cannot be used: {error}"),
    }
}

/// What it said.
fn understood(answer: &[u8]) -> Result<Value, String> {
    let older = || {
        "the s2sd that runs does not know this command: it is an older version. Restart it"
            .to_owned()
    };
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(older)?;
    let status = head.lines().next().and_then(|line| line.split(' ').nth(1));
    let said: Option<Value> = serde_json::from_str(body).ok();
    let why = said.as_ref().and_then(|said| said["error"].as_str());
    match (status, said.as_ref(), why) {
        (Some("200"), Some(said), _) => Ok(said.clone()),
        (_, _, Some(why)) => Err(shown(why)),
        _ => Err(older()),
    }
}

/// What the daemon was told by others is shown, and never obeyed by the terminal.
pub(super) fn shown(text: &str) -> String {
    PeerText::new(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &str, body: &str) -> Result<Value, String> {
        understood(format!("HTTP/1.1 {status}\r\na: b\r\n\r\n{body}").as_bytes())
    }

    #[test]
    fn the_socket_is_found_although_the_rest_of_the_file_is_wrong() {
        let said_by = |text| Daemon::said_by(text, Some(Path::new("/etc/s2sd")));
        let daemon =
            said_by("data_dir = 'data'\nunknown = 1\n[listen]\nadmin = ['127.0.0.1:5280']")
                .unwrap();
        assert_eq!(daemon.socket, Path::new("/etc/s2sd/data/s2sd.sock"));
        assert_eq!(daemon.admin, "127.0.0.1:5280".parse().ok());
        let daemon = said_by("").unwrap();
        assert_eq!(daemon.socket, Path::new("/var/lib/s2sd/s2sd.sock"));
        assert_eq!(daemon.admin, None);
        assert_eq!(said_by("data_dir = "), None);
    }

    #[test]
    fn an_answer_is_understood_or_says_what_to_do() {
        assert_eq!(answer("200 OK", "{\"a\":1}\n").unwrap()["a"], 1);
        let gone = answer("410 Gone", "{\"error\":\"there is no stream 7\"}");
        assert_eq!(gone.unwrap_err(), "there is no stream 7");
        for (status, body) in [
            ("404 Not Found", "there is only /metrics here\n"),
            ("200 OK", "<html>"),
            ("", ""),
        ] {
            let why = answer(status, body).unwrap_err();
            assert!(why.contains("older version. Restart it"), "{why}");
        }
        assert!(understood(b"").is_err());
    }

    #[test]
    fn who_cannot_reach_the_daemon_reads_what_to_do() {
        let socket = Path::new("/var/lib/s2sd/s2sd.sock");
        for (kind, words) in [
            (
                io::ErrorKind::NotFound,
                "Start it, or name the configuration",
            ),
            (io::ErrorKind::ConnectionRefused, "Start it again"),
            (io::ErrorKind::PermissionDenied, "sudo"),
        ] {
            let why = unreachable(socket, &kind.into());
            assert!(
                why.contains(words) && why.contains("/var/lib/s2sd/s2sd.sock"),
                "{why}"
            );
        }
    }
}
