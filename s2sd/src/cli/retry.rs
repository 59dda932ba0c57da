//! `s2sd retry`: tells the s2sd that runs here to try again what failed, by its admin listener.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use xmpp_stream::Domain;

use super::{Exit, Retry, complain};
use crate::{config::Config, logging, peer_text::PeerText};

/// For each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer is longer.
const MAX_ANSWER: u64 = 1 << 20;

pub(super) fn retry(asked: Retry) -> Exit {
    let config = match Config::load(&asked.configuration.config) {
        Ok(loaded) => loaded.config,
        Err(faults) => {
            let colours = logging::colours(&io::stderr());
            complain(format_args!("{}", faults.render(colours)));
            return Exit::Fault;
        }
    };
    match ask(&config.listen.admin, asked.domain.as_ref()) {
        Ok(said) => {
            let text = match asked.json {
                true => format!("{said}\n"),
                false => for_people(&said, asked.domain.as_ref()),
            };
            // The reader may be gone.
            let _ = io::stdout().write_all(text.as_bytes());
            Exit::Well
        }
        Err(why) => {
            complain(format_args!("s2sd retry: {why}\n"));
            Exit::Fault
        }
    }
}

fn ask(admin: &[SocketAddr], domain: Option<&Domain>) -> Result<Value, String> {
    let Some(addr) = admin.first() else {
        return Err(
            "the s2sd that runs cannot be told: add `admin = [\"127.0.0.1:5280\"]` to [listen] and restart it, \
             which tries all again"
                .to_owned(),
        );
    };
    let broke = |error: io::Error| format!("no answer from {addr}: {error}");
    let mut tcp = TcpStream::connect_timeout(addr, STEP_TIMEOUT).map_err(|error| {
        format!(
            "no s2sd answers at {addr} ({error}): it does not run, or with another configuration"
        )
    })?;
    tcp.set_read_timeout(Some(STEP_TIMEOUT)).map_err(broke)?;
    tcp.set_write_timeout(Some(STEP_TIMEOUT)).map_err(broke)?;
    let query = domain.map_or("all".to_owned(), |domain| {
        let domain = domain.ascii().replace('[', "%5B").replace(']', "%5D");
        format!("domain={}", domain.replace(':', "%3A"))
    });
    let request = format!(
        "POST /retry?{query} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).map_err(broke)?;
    let mut answer = Vec::new();
    tcp.take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .map_err(broke)?;
    understood(&String::from_utf8_lossy(&answer)).ok_or_else(|| {
        format!("what answers at {addr} is no s2sd that knows `retry`; is it an older one?")
    })
}

/// What it said, if it did what it was told.
fn understood(answer: &str) -> Option<Value> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.lines().next()?;
    if status.split(' ').nth(1)? != "200" {
        return None;
    }
    let said: Value = serde_json::from_str(body).ok()?;
    said["retried"].is_u64().then_some(said)
}

fn for_people(said: &Value, domain: Option<&Domain>) -> String {
    let to = domain.map_or("any domain".to_owned(), Domain::to_string);
    let count = said["retried"].as_u64().unwrap_or_default();
    if count == 0 {
        return format!("nothing had failed on the way to {to}\n");
    }
    let pairs = said["pairs"].as_array().map(Vec::as_slice);
    let pairs = pairs.unwrap_or_default();
    let name = |name: &Value| PeerText::new(name.as_str().unwrap_or_default()).to_string();
    let mut text = "tried again:\n".to_owned();
    for pair in pairs {
        text.push_str(&format!("  {} to {}\n", name(&pair[0]), name(&pair[1])));
    }
    let others = count.saturating_sub(pairs.len() as u64);
    if others > 0 {
        text.push_str(&format!("  and {others} more\n"));
    }
    text.push_str("the log says what comes of it\n");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_understood_or_it_is_not_that_of_this_program() {
        let answer = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\na: b\r\n\r\n{body}");
        assert!(understood(&answer("200 OK", "{\"retried\":0,\"pairs\":[]}\n")).is_some());
        assert!(understood(&answer("404 Not Found", "{\"retried\":0}")).is_none());
        assert!(understood(&answer("200 OK", "<html>")).is_none());
        assert!(understood("").is_none());
    }

    #[test]
    fn people_read_which_pairs_and_how_many() {
        let domain = Domain::parse("b.example").unwrap();
        let none = json!({ "retried": 0, "pairs": [] });
        assert_eq!(
            for_people(&none, Some(&domain)),
            "nothing had failed on the way to b.example\n"
        );
        let some = json!({ "retried": 3, "pairs": [["a.example", "b.example"]] });
        assert_eq!(
            for_people(&some, None),
            "tried again:\n  a.example to b.example\n  and 2 more\nthe log says what comes of it\n"
        );
    }

    #[test]
    fn without_an_admin_listener_it_says_what_to_do() {
        assert!(ask(&[], None).unwrap_err().contains("`admin = ["));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = closed.local_addr().unwrap();
        drop(closed);
        let why = ask(&[addr], None).unwrap_err();
        assert!(why.contains("it does not run"), "{why}");
    }
}
