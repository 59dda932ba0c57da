//! The commands that change something: `s2sd retry`, `s2sd close`, `s2sd reload`.

use serde_json::Value;
use xmpp_stream::Domain;

use super::{
    Close, Configuration, Exit, Reload, Retry,
    ask::{Daemon, Request},
    complain, count, list, print, streams, word,
};

pub(in super::super) fn retry(asked: &Retry) -> Exit {
    let query = asked.domain.as_ref().map_or("all".to_owned(), |domain| {
        let domain = domain.ascii().replace('[', "%5B").replace(']', "%5D");
        format!("domain={}", domain.replace(':', "%3A"))
    });
    let request = Request::post(format!("/api/retry?{query}"));
    order(
        "retry",
        &asked.configuration,
        &request,
        asked.json,
        |said| (retried(said, asked.domain.as_ref()), Exit::Well),
    )
}

pub(in super::super) fn close(asked: &Close) -> Exit {
    let request = Request::post(format!("/api/close?id={}", asked.id));
    order(
        "close",
        &asked.configuration,
        &request,
        asked.json,
        |said| {
            let stream = &said["closing"];
            let first = list(&stream["pairs"]).first().unwrap_or(&stream["wanted"]);
            let text = format!(
                "closing stream {}, {}, {}, {}\n",
                count(&stream["id"]),
                word(&stream["direction"]),
                streams::pair(first),
                word(&stream["peer"]),
            );
            (text, Exit::Well)
        },
    )
}

pub(in super::super) fn reload(asked: &Reload) -> Exit {
    let request = Request::post("/api/reload");
    order(
        "reload",
        &asked.configuration,
        &request,
        asked.json,
        reloaded,
    )
}

fn order(
    command: &str,
    configuration: &Configuration,
    request: &Request,
    json: bool,
    text: impl Fn(&Value) -> (String, Exit),
) -> Exit {
    let Some(daemon) = Daemon::of(configuration) else {
        return Exit::Fault;
    };
    match daemon.ask(request) {
        Ok(said) => {
            let (text, exit) = text(&said);
            print(&match json {
                true => format!("{said}\n"),
                false => text,
            });
            exit
        }
        Err(why) => {
            complain(format_args!("s2sd {command}: {why}\n"));
            Exit::Fault
        }
    }
}

fn retried(said: &Value, domain: Option<&Domain>) -> String {
    let to = domain.map_or("any domain".to_owned(), Domain::to_string);
    let count = count(&said["retried"]);
    if count == 0 {
        return format!("nothing had failed on the way to {to}\n");
    }
    let pairs = list(&said["pairs"]);
    let mut text = "tried again:\n".to_owned();
    for pair in pairs {
        text.push_str(&format!("  {} to {}\n", word(&pair[0]), word(&pair[1])));
    }
    let others = count.saturating_sub(pairs.len() as u64);
    if others > 0 {
        text.push_str(&format!("  and {others} more\n"));
    }
    text.push_str("`s2sd lanes` shows what comes of it\n");
    text
}

fn reloaded(said: &Value) -> (String, Exit) {
    let lines: String = list(&said["said"])
        .iter()
        .map(|line| format!("  {}\n", word(line)))
        .collect();
    match said["reloaded"].as_bool() {
        Some(true) if lines.is_empty() => ("reloaded: nothing changed\n".to_owned(), Exit::Well),
        Some(true) => (format!("reloaded:\n{lines}"), Exit::Well),
        _ => (
            format!("not reloaded, the configuration from before stays:\n{lines}"),
            Exit::Fault,
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_which_pairs_and_how_many() {
        let domain = Domain::parse("b.example").unwrap();
        let none = json!({ "retried": 0, "pairs": [] });
        assert_eq!(
            retried(&none, Some(&domain)),
            "nothing had failed on the way to b.example\n"
        );
        let some = json!({ "retried": 3, "pairs": [["a.example", "b.example"]] });
        assert_eq!(
            retried(&some, None),
            "tried again:\n  a.example to b.example\n  and 2 more\n`s2sd lanes` shows what comes of it\n"
        );
    }

    #[test]
    fn a_reload_says_what_changed_or_why_it_was_refused() {
        for (said, text, exit) in [
            (
                json!({ "reloaded": true, "said": [] }),
                "reloaded: nothing changed\n",
                Exit::Well,
            ),
            (
                json!({ "reloaded": true, "said": ["[limits] has changed"] }),
                "reloaded:\n  [limits] has changed\n",
                Exit::Well,
            ),
            (
                json!({ "reloaded": false, "said": ["a\u{1b}[2J"] }),
                "not reloaded, the configuration from before stays:\n  a\\u{1b}[2J\n",
                Exit::Fault,
            ),
        ] {
            assert_eq!(reloaded(&said), (text.to_owned(), exit));
        }
    }
}
