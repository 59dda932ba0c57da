//! The commands that ask the daemon, as programs, told to a daemon that is another: what they say, and what comes of it.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test uses its part")]
mod program;

use std::{
    fs,
    io::{BufRead as _, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Instant,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use xmpp_stream::Writer;

use self::program::{Running, SECRET, TIMEOUT, component, hear};

/// A user without rights, on most systems.
const NOBODY: u32 = 65534;

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

fn configuration([b, c]: [SocketAddr; 2]) -> String {
    format!(
        "data_dir = 'data'\n\
         [listen]\ns2s = ['127.0.0.1:0']\ns2s_tls = []\ncomponents = ['127.0.0.1:0']\n\
         [policy]\ntls = 'optional'\n[queue]\ngive_up = '2h'\nbackoff = {{ first = '1h', max = '1h' }}\n\
         [log]\nformat = 'json'\n\
         [[domain]]\nname = 'a.example'\ncomponent = {{ secret = '{SECRET}' }}\n\
         [[peer]]\ndomain = 'b.example'\nconnect = ['{b}']\naddresses = 'any'\n\
         [[peer]]\ndomain = 'c.example'\nconnect = ['{c}']\naddresses = 'any'\n"
    )
}

fn mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

/// What a command with these arguments prints and complains of, and how it ends.
fn command(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What it prints, and that it ends well.
fn well(directory: &Path, arguments: &[&str]) -> String {
    let (code, said, errors) = command(directory, arguments);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
    said
}

fn retry(directory: &Path, arguments: &[&str]) -> String {
    well(
        directory,
        &[&["retry", "-c", "s2sd.toml"], arguments].concat(),
    )
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

/// A daemon that is a process of its own, in a directory of this name.
fn start(name: &str, peers: [SocketAddr; 2]) -> (PathBuf, Running, SocketAddr) {
    let directory = program::directory(name);
    fs::write(directory.join("s2sd.toml"), configuration(peers)).unwrap();
    // It has a secret.
    mode(&directory.join("s2sd.toml"), 0o600);
    let (daemon, mut log) = program::start(&directory);
    let (mut components, mut serves) = (None, false);
    while !serves {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it does not start");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["listener"] == "components" {
            components = Some(line["address"].as_str().unwrap().parse().unwrap());
        }
        serves = line["message"]
            .as_str()
            .is_some_and(|it| it.starts_with("serving"));
    }
    thread::spawn(move || log.read_to_end(&mut Vec::new()));
    (directory, daemon, components.unwrap())
}

#[test]
fn the_daemon_that_runs_tries_again_at_once_and_the_program_says_what() {
    let (b, comes_to_b) = closes_all();
    let (c, comes_to_c) = closes_all();
    let (directory, _daemon, components) = start("retry", [b, c]);
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
    assert!(
        said.ends_with("`s2sd lanes` shows what comes of it\n"),
        "{said}"
    );
    for comes in [&comes_to_b, &comes_to_c] {
        comes.recv_timeout(TIMEOUT).unwrap();
    }
    let said = retry_until(&directory, &["b.example"], &[both[0]]);
    assert_eq!(
        said,
        "tried again:\n  a.example to b.example\n`s2sd lanes` shows what comes of it\n"
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

#[test]
fn an_operator_sees_streams_and_lanes_closes_one_and_reloads() {
    let (b, comes_to_b) = closes_all();
    let (c, _comes_to_c) = closes_all();
    let (directory, _daemon, components) = start("operate", [b, c]);
    let status = well(&directory, &["status"]);
    assert!(
        status.contains("0 incoming, 0 outgoing, 0 components"),
        "{status}"
    );
    assert_eq!(well(&directory, &["streams"]), "no streams\n");
    assert!(well(&directory, &["lanes"]).starts_with("no lanes"));

    let mut tcp = component(components);
    let message = Writer::new("message")
        .attr("from", "x@a.example")
        .attr("to", "b.example");
    tcp.write_all(&message.finish()).unwrap();
    comes_to_b.recv_timeout(TIMEOUT).unwrap();
    let until = Instant::now() + TIMEOUT;
    let lanes = loop {
        let lanes = well(&directory, &["lanes"]);
        if lanes.contains(" waiting ") {
            break lanes;
        }
        assert!(Instant::now() < until, "{lanes}");
        thread::yield_now();
    };
    let lines: Vec<&str> = lanes.lines().collect();
    assert!(
        lines[0].starts_with("FROM       TO         STATE    WAIT"),
        "{lanes}"
    );
    assert!(
        lines[1].starts_with("a.example  b.example  waiting     1"),
        "{lanes}"
    );
    assert!(lines[1].contains("  lost: "), "{lanes}");
    let shape = well(&directory, &["lanes", "--shape"]);
    assert!(shape.starts_with("DOMAIN     ALL  <10s"), "{shape}");
    assert!(shape.contains("\nb.example    1"), "{shape}");

    let streams = well(&directory, &["streams", "--json"]);
    let streams: serde_json::Value = serde_json::from_str(&streams).unwrap();
    let id = streams["streams"][0]["id"].to_string();
    let table = well(&directory, &["streams", "a.example"]);
    assert!(table.contains("comp  a.example"), "{table}");
    let said = well(&directory, &["close", &id]);
    let want = format!("closing stream {id}, component, a.example, 127.0.0.1:");
    assert!(said.starts_with(&want), "{said}");
    hear(&mut tcp, "</stream:stream>");
    drop(tcp);
    let (code, said, why) = command(&directory, &["close", "999"]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(why.contains("there is no stream 999"), "{why}");

    let file = directory.join("s2sd.toml");
    let good = fs::read_to_string(&file).unwrap();
    assert_eq!(well(&directory, &["reload"]), "reloaded: nothing changed\n");
    fs::write(&file, good.replace("give_up = '2h'", "give_up = '3h'")).unwrap();
    let said = well(&directory, &["reload"]);
    assert_eq!(said, "reloaded:\n  [queue] has changed\n");
    fs::write(&file, format!("{good}\nno = 'key'\n")).unwrap();
    let (code, said, _) = command(&directory, &["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("not reloaded, the configuration from before stays:\n  s2sd.toml:"),
        "{said}"
    );
    // The file has a fault now, and the daemon is well.
    well(&directory, &["status"]);
}

/// A command that goes on with `--watch`, and the pages that it prints.
struct Watching {
    command: Running,
    pages: Receiver<String>,
}

impl Watching {
    fn start(directory: &Path, command: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_s2sd"))
            .current_dir(directory)
            .args([command, "--watch"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, pages) = channel();
        let mut stdout = child.stdout.take().unwrap();
        // Ends, and closes its end, as soon as there is no receiver.
        thread::spawn(move || {
            let mut page = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut page) {
                let text = String::from_utf8_lossy(&page[..count]).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        let command = Running(child);
        Self { command, pages }
    }

    fn shows(&self, part: &str) {
        while !self.pages.recv_timeout(TIMEOUT).unwrap().contains(part) {}
    }

    fn ended(mut self) -> (ExitStatus, String) {
        drop(self.pages);
        let mut errors = String::new();
        let mut stderr = self.command.0.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (self.command.0.wait().unwrap(), errors)
    }
}

#[test]
fn a_command_that_watches_shows_each_change_until_a_signal_or_the_end_of_its_reader_or_the_daemon()
{
    let (b, _comes_to_b) = closes_all();
    let (c, _comes_to_c) = closes_all();
    let (directory, daemon, components) = start("watch", [b, c]);
    let [status, streams, lanes] =
        ["status", "streams", "lanes"].map(|command| Watching::start(&directory, command));
    status.shows(" 0 components");
    streams.shows("no streams");
    lanes.shows("no lanes");

    let mut tcp = component(components);
    let message = Writer::new("message")
        .attr("from", "x@a.example")
        .attr("to", "b.example");
    tcp.write_all(&message.finish()).unwrap();
    status.shows(" 1 component");
    streams.shows("comp  a.example");
    lanes.shows("a.example  b.example  waiting");

    let pid = Pid::from_child(&status.command.0);
    kill_process(pid, Signal::INT).unwrap();
    let (ended, errors) = status.ended();
    assert_eq!(ended.signal(), Some(Signal::INT.as_raw()));
    assert_eq!(errors, "");
    let (ended, errors) = streams.ended();
    assert_eq!((ended.code(), errors.as_str()), (Some(0), ""));
    drop(daemon);
    while lanes.pages.recv_timeout(TIMEOUT) != Err(RecvTimeoutError::Disconnected) {}
    let (ended, errors) = lanes.ended();
    assert_eq!(ended.code(), Some(1), "{errors}");
    assert!(errors.starts_with("s2sd lanes: s2sd does not "), "{errors}");
}

/// Root may use every socket, so a test that root runs asks as another user.
#[test]
fn who_may_not_use_the_socket_reads_who_may() {
    let (b, _comes_to_b) = closes_all();
    let (c, _comes_to_c) = closes_all();
    let (directory, _daemon, _) = start("permission", [b, c]);
    fs::write(directory.join("readable.toml"), "data_dir = 'data'\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2sd"));
    command
        .current_dir(&directory)
        .args(["status", "-c", "readable.toml"]);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    } else {
        mode(&directory.join("data/s2sd.sock"), 0);
    }
    let output = match command.output() {
        Err(error) if geteuid().is_root() && error.kind() == ErrorKind::PermissionDenied => {
            println!("not run: no other user reaches the program");
            return;
        }
        output => output.unwrap(),
    };
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "s2sd status: you may not use data/s2sd.sock: only root and the user who runs s2sd may. Try it with sudo\n"
    );
}

#[test]
fn without_a_daemon_a_command_says_what_to_do() {
    let directory = program::directory("nobody");
    fs::create_dir_all(directory.join("data")).unwrap();
    fs::write(directory.join("s2sd.toml"), "data_dir = 'data'\n").unwrap();
    for arguments in [
        &["status"][..],
        &["streams"],
        &["lanes"],
        &["retry", "--all"],
        &["close", "1"],
        &["reload"],
    ] {
        let (code, said, why) = command(&directory, arguments);
        assert_eq!((code, said.as_str()), (Some(1), ""));
        assert!(
            why.contains("s2sd does not run with this configuration"),
            "{why}"
        );
    }
    let socket = std::os::unix::net::UnixListener::bind(directory.join("data/s2sd.sock"));
    drop(socket.unwrap());
    let (_, _, why) = command(&directory, &["status"]);
    assert!(why.contains("does not run any more"), "{why}");
    let (code, _, why) = command(&directory, &["status", "-c", "other.toml"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("cannot be read"), "{why}");
}
