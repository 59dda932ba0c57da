//! `s2sd retry`, the program, told to a daemon that is another: what it says, and what comes of it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use xmpp_stream::{StreamHeader, Writer, component::Connecting};

/// Longer than anything takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
const SECRET: &str = "a long enough secret";

/// Killed in the end.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that takes each connection and closes it; whoever holds the other end hears of each.
fn closes_all() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (came, comes) = channel();
    thread::spawn(move || {
        while let Ok((tcp, _)) = listener.accept() {
            drop(tcp);
            if came.send(()).is_err() {
                return;
            }
        }
    });
    (addr, comes)
}

fn configuration(admin: SocketAddr, [b, c]: [SocketAddr; 2]) -> String {
    format!(
        "data_dir = 'data'\n\
         [listen]\ns2s = ['127.0.0.1:0']\ns2s_tls = []\ncomponents = ['127.0.0.1:0']\nadmin = ['{admin}']\n\
         [policy]\ntls = 'optional'\n[queue]\ngive_up = '2h'\nbackoff = {{ first = '1h', max = '1h' }}\n\
         [log]\nformat = 'json'\n\
         [[domain]]\nname = 'a.example'\ncomponent = {{ secret = '{SECRET}' }}\n\
         [[peer]]\ndomain = 'b.example'\nconnect = ['{b}']\naddresses = 'any'\n\
         [[peer]]\ndomain = 'c.example'\nconnect = ['{c}']\naddresses = 'any'\n"
    )
}

/// What comes up to this text.
fn hear(tcp: &mut TcpStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(end) {
        let mut byte = [0];
        assert_eq!(tcp.read(&mut byte).unwrap(), 1, "{end} does not come");
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

/// An attached component.
fn component(to: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect_timeout(&to, TIMEOUT).unwrap();
    tcp.set_read_timeout(Some(TIMEOUT)).unwrap();
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

/// What `s2sd retry` with these arguments prints, and that it ends well.
fn retry(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .current_dir(directory)
        .args(["retry", "-c", "s2sd.toml"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).unwrap()
}

/// The same until it has all of these.
fn retry_until(directory: &Path, arguments: &[&str], parts: &[&str]) -> String {
    let until = Instant::now() + TIMEOUT;
    loop {
        let said = retry(directory, arguments);
        if parts.iter().all(|part| said.contains(part)) {
            return said;
        }
        assert!(Instant::now() < until, "{said}");
        thread::yield_now();
    }
}

#[test]
fn the_daemon_that_runs_tries_again_at_once_and_the_program_says_what() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("retry");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("s2sd.toml");
    let (b, comes_to_b) = closes_all();
    let (c, comes_to_c) = closes_all();
    fs::write(&file, configuration("127.0.0.1:0".parse().unwrap(), [b, c])).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .current_dir(&directory)
        .arg("run")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let _daemon = Daemon(child);
    let mut listens = |listener: &str| -> SocketAddr {
        loop {
            let mut line = String::new();
            log.read_line(&mut line).unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["listener"] == listener {
                return line["address"].as_str().unwrap().parse().unwrap();
            }
        }
    };
    let (components, admin) = (listens("components"), listens("admin"));
    thread::spawn(move || log.read_to_end(&mut Vec::new()));
    // Where it really is: the program reads it there.
    fs::write(&file, configuration(admin, [b, c])).unwrap();

    assert_eq!(
        retry(&directory, &["b.example"]),
        "nothing had failed on the way to b.example\n"
    );
    let mut tcp = component(components);
    for to in ["b.example", "c.example"] {
        let message = Writer::new("message")
            .attr("from", "x@a.example")
            .attr("to", to);
        tcp.write_all(&message.finish()).unwrap();
    }
    for comes in [&comes_to_b, &comes_to_c] {
        comes.recv_timeout(TIMEOUT).unwrap();
    }
    let both = ["  a.example to b.example\n", "  a.example to c.example\n"];
    let said = retry_until(&directory, &["--all"], &both);
    assert!(said.starts_with("tried again:\n"), "{said}");
    assert!(said.ends_with("the log says what comes of it\n"), "{said}");
    for comes in [&comes_to_b, &comes_to_c] {
        comes.recv_timeout(TIMEOUT).unwrap();
    }
    let said = retry_until(&directory, &["b.example"], &[both[0]]);
    assert_eq!(
        said,
        "tried again:\n  a.example to b.example\nthe log says what comes of it\n"
    );
    comes_to_b.recv_timeout(TIMEOUT).unwrap();
    let said = retry_until(
        &directory,
        &["--json", "c.example"],
        &["[[\"a.example\",\"c.example\"]]"],
    );
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["retried"], 1);
    comes_to_c.recv_timeout(TIMEOUT).unwrap();
    let nothing = retry(&directory, &["other.example"]);
    assert_eq!(nothing, "nothing had failed on the way to other.example\n");
}
