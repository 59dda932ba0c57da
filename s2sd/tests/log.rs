//! The log of the binary: who reads it slowly, or not at all, holds up nothing, and strangers write only so much into it.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "each test uses its part")]
mod program;

use std::{
    fs,
    io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    process::{ChildStderr, Command},
    time::Instant,
};

use xmpp_stream::Writer;

use self::program::{Running, TIMEOUT, component, connect, hear, listens};

/// A daemon that runs, and the end of its standard error, which is read by the test or not.
struct Daemon {
    process: Running,
    log: BufReader<ChildStderr>,
    s2s: SocketAddr,
    components: SocketAddr,
}

impl Daemon {
    fn start(name: &str, level: &str) -> Self {
        let directory = program::directory(name);
        let configuration = format!(
            "data_dir = 'data'\n\
             [listen]\ns2s = ['127.0.0.1:0']\ns2s_tls = []\ncomponents = ['127.0.0.1:0']\n\
             [policy]\ntls = 'optional'\n\
             [limits]\ninbound_per_address = 1000\n\
             [log]\nformat = 'json'\nlevel = '{level}'\n\
             [[domain]]\nname = 'a.example'\ncomponent = {{ secret = 'a long enough secret' }}\n"
        );
        fs::write(directory.join("s2sd.toml"), configuration).unwrap();
        let (process, mut log) = program::start(&directory);
        let (s2s, components) = (listens(&mut log, "s2s"), listens(&mut log, "components"));
        Self {
            process,
            log,
            s2s,
            components,
        }
    }

    /// The lines up to one of which this is true.
    fn until(&mut self, mut last: impl FnMut(&serde_json::Value) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.log.read_line(&mut line).unwrap();
            let parsed = serde_json::from_str(&line);
            let is_last = last(&parsed.unwrap_or_else(|_| panic!("{line:?}")));
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }
}

/// A stranger that says this after the header, and waits for the end.
fn intrude(to: SocketAddr, words: &str) {
    let mut tcp = connect(to);
    let header = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                  from='evil.example' to='a.example' version='1.0'>";
    // It may be ended before all is said.
    let said = tcp.write_all(format!("{header}{words}").as_bytes());
    let heard = said.and_then(|()| tcp.read_to_end(&mut Vec::new()));
    let late = |error: &Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!heard.is_err_and(|error| late(&error)), "nobody serves it");
}

/// A component attaches, and its message to its own domain comes back to it.
fn delivers(daemon: &Daemon) {
    let mut tcp = component(daemon.components);
    let message = Writer::new("message")
        .attr("from", "x@a.example")
        .attr("to", "y@a.example")
        .attr("id", "the-message");
    tcp.write_all(&message.finish()).unwrap();
    hear(&mut tcp, "the-message");
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let mut daemon = Daemon::start("unread", "trace");
    // A pipe holds 64 KiB, and what waits for it 1 MiB: all that is far too much.
    let long = format!("<message to='a.example'>{}</message>", "x".repeat(14_000));
    for _ in 0..150 {
        intrude(daemon.s2s, &long);
    }
    delivers(&daemon);
    // Who reads after all hears that something is missing, and how much.
    let missing = |line: &serde_json::Value| line["lines"].as_u64().is_some_and(|n| n > 0);
    let read = daemon.until(missing);
    assert!(read.len() > 10, "{}", read.len());
    assert!(read.last().unwrap().contains("had no room"));
    // Everything since then is there.
    delivers(&daemon);
    daemon.until(|line| {
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("component left")
    });
}

#[test]
fn a_stopped_server_has_written_all_of_its_log_and_does_not_wait_for_a_reader() {
    for reads in [true, false] {
        let mut daemon = Daemon::start(&format!("stops-{reads}"), "trace");
        let long = format!("<message to='a.example'>{}</message>", "x".repeat(14_000));
        for _ in 0..if reads { 1 } else { 20 } {
            intrude(daemon.s2s, &long);
        }
        let kill = format!("kill -TERM {}", daemon.process.0.id());
        let killed = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(killed.success());
        if reads {
            daemon.until(|line| line["message"] == "stopped");
        }
        let began = Instant::now();
        while daemon.process.0.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < TIMEOUT, "it does not end");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_stranger_has_a_line_a_second_of_512_bytes_and_what_is_left_out_is_counted() {
    const TIMES: u64 = 300;
    let mut daemon = Daemon::start("crowd", "info");
    let text = "\u{202e}".repeat(3_000);
    let words = format!(
        "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{text}</text></stream:error></stream:stream>"
    );
    let began = Instant::now();
    for _ in 0..TIMES {
        intrude(daemon.s2s, &words);
    }
    let mut told = 0;
    let lines = daemon.until(|line| {
        let message = line["message"].as_str().unwrap();
        if message.starts_with("incoming stream ended") {
            told += 1 + line["more"].as_u64().unwrap_or(0);
        } else if message.contains("incoming stream ended") {
            told += line["lines"].as_u64().unwrap();
        }
        told >= TIMES
    });
    assert_eq!(told, TIMES);
    // The count of the last ones comes up to three seconds later.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let about = |line: &&String| line.contains("incoming stream ended");
    let lines: Vec<&String> = lines.iter().filter(about).collect();
    assert!(lines.len() <= 2 * seconds, "{} in {seconds} s", lines.len());
    for line in lines {
        assert!(line.len() <= 512, "{}: {line}", line.len());
    }
}
