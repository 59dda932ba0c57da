//! `s2sd streams`.

use serde_json::Value;
use xmpp_stream::Domain;

use super::{
    count, is_of, list,
    table::{self, Column, cut, number, words},
    time, word,
};

const COLUMNS: [Column; 9] = [
    number("ID"),
    words("DIR"),
    cut("PAIR", 12),
    cut("METHOD", 6),
    words("TLS"),
    cut("PEER", 7),
    number("AGE"),
    number("IN"),
    number("OUT"),
];

pub(super) fn text(said: &Value, only: Option<&Domain>, width: Option<usize>) -> String {
    let streams = list(&said["streams"]).iter();
    let rows: Vec<Vec<String>> = streams
        .filter(|stream| is_meant(stream, only))
        .map(row)
        .collect();
    match rows.is_empty() {
        true => "no streams\n".to_owned(),
        false => table::render(&COLUMNS, &rows, width),
    }
}

fn is_meant(stream: &Value, only: Option<&Domain>) -> bool {
    let pairs = list(&stream["pairs"]);
    pairs.iter().any(|pair| is_of(pair, only)) || is_of(&stream["wanted"], only)
}

fn row(stream: &Value) -> Vec<String> {
    let pairs = list(&stream["pairs"]);
    let first = pairs.first().unwrap_or(&stream["wanted"]);
    let more = match pairs.len() {
        0 | 1 => String::new(),
        several => format!(" +{}", several - 1),
    };
    let method = match (stream["state"].as_str(), pairs.first()) {
        (Some("open"), Some(first)) => word(&first["method"]),
        (Some("open"), None) => "questions".to_owned(),
        _ => format!("({})", word(&stream["state"])),
    };
    let direction = match stream["direction"].as_str() {
        Some("incoming") => "in",
        Some("outgoing") => "out",
        _ => "comp",
    };
    let bidi = match stream["bidi"].as_bool() {
        Some(true) => " bidi",
        Some(false) | None => "",
    };
    let tls = match stream["tls"]["version"].as_str() {
        Some(version) => version.trim_start_matches("TLS ").to_owned(),
        None => "-".to_owned(),
    };
    vec![
        count(&stream["id"]).to_string(),
        format!("{direction}{bidi}"),
        format!("{}{more}", pair(first)),
        method,
        tls,
        word(&stream["peer"]),
        time(&stream["age_seconds"]),
        count(&stream["stanzas"]["received"]).to_string(),
        count(&stream["stanzas"]["sent"]).to_string(),
    ]
}

/// Ours first; a component has no other.
pub(super) fn pair(pair: &Value) -> String {
    match (&pair["local"], &pair["remote"]) {
        (Value::Null, _) => "-".to_owned(),
        (local, Value::Null) => word(local),
        (local, remote) => format!("{} {}", word(local), word(remote)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said() -> Value {
        json!({ "streams": [
            { "id": 1, "direction": "component", "state": "open", "wanted": null, "tls": null,
              "pairs": [{ "local": "a.example", "remote": null, "method": "handshake" }],
              "peer": "127.0.0.1:40000", "age_seconds": 3600, "stanzas": { "received": 5, "sent": 12 } },
            { "id": 12, "direction": "incoming", "state": "open", "wanted": null, "bidi": true,
              "tls": { "version": "TLS 1.3" },
              "pairs": [{ "local": "a.example", "remote": "b.example", "method": "EXTERNAL" },
                        { "local": "c.example", "remote": "b.example", "method": "dialback" }],
              "peer": "[2001:db8::1]:5269", "age_seconds": 5, "stanzas": { "received": 1000, "sent": 0 } },
            { "id": 13, "direction": "outgoing", "state": "negotiating", "tls": null, "pairs": [],
              "wanted": { "local": "a.example", "remote": "long-name-of-a-server.example" },
              "peer": "192.0.2.1:5269", "age_seconds": 0, "stanzas": { "received": 0, "sent": 0 } },
        ] })
    }

    #[test]
    fn a_stream_is_a_line_with_what_was_proved() {
        let text = text(&said(), None, None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("ID  DIR      PAIR "), "{text}");
        assert!(lines[1].starts_with(" 1  comp     a.example  "), "{text}");
        assert!(lines[2].starts_with("12  in bidi  "), "{text}");
        assert!(lines[2].contains("a.example b.example +1"), "{text}");
        assert!(lines[2].contains("  EXTERNAL       1.3  "), "{text}");
        assert!(lines[3].contains("(negotiating)"), "{text}");
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let text = text(&said(), None, Some(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("EXTERNAL"), "{text}");
    }

    #[test]
    fn only_streams_of_a_domain_are_shown_if_one_is_named() {
        let domain = |name| Domain::parse(name).unwrap();
        let of_b = text(&said(), Some(&domain("b.example")), None);
        assert_eq!(of_b.lines().count(), 2, "{of_b}");
        assert_eq!(
            text(&said(), Some(&domain("x.example")), None),
            "no streams\n"
        );
    }
}
