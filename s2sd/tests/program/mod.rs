//! The program as another process, and a component that talks to it over a blocking socket.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use xmpp_stream::{StreamHeader, component::Connecting};

/// Longer than anything takes on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const SECRET: &str = "a long enough secret";

/// Killed in the end.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An empty directory.
pub(crate) fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// The daemon, with the `s2sd.toml` of a directory, and its log.
pub(crate) fn start(directory: &Path) -> (Running, BufReader<ChildStderr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .current_dir(directory)
        .arg("run")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    (Running(child), log)
}

/// Where it listens, as the log says in JSON.
pub(crate) fn listens(log: &mut impl BufRead, listener: &str) -> SocketAddr {
    loop {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["listener"] == listener {
            return line["address"].as_str().unwrap().parse().unwrap();
        }
    }
}

/// A connection on which everything comes in time or fails.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect_timeout(&to, TIMEOUT).unwrap();
    tcp.set_read_timeout(Some(TIMEOUT)).unwrap();
    tcp.set_write_timeout(Some(TIMEOUT)).unwrap();
    tcp
}

/// What comes up to this text.
pub(crate) fn hear(tcp: &mut TcpStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(end) {
        let mut byte = [0];
        let read = tcp.read(&mut byte).unwrap();
        assert_eq!(read, 1, "{end} does not come");
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

/// An attached component of `a.example`.
pub(crate) fn component(to: SocketAddr) -> TcpStream {
    let mut tcp = connect(to);
    let (connecting, header) = Connecting::new("a.example", SECRET);
    let mut bytes = Default::default();
    header.write(&mut bytes);
    tcp.write_all(&bytes).unwrap();
    let answer = hear(&mut tcp, "'>").replace('"', "'");
    let (_, id) = answer.split_once(" id='").unwrap();
    let (id, _) = id.split_once('\'').unwrap();
    let answer = StreamHeader {
        id: Some(id.to_owned()),
        ..header
    };
    let (_, handshake) = connecting.header(&answer).unwrap();
    tcp.write_all(&handshake).unwrap();
    hear(&mut tcp, "<handshake");
    tcp
}
