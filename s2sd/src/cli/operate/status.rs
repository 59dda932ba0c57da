//! `s2sd status`.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    count, counted, list,
    table::{size, span},
    time, word,
};

/// An operator should renew a certificate with so many days left.
const RENEW_WITHIN: i64 = 14;

pub(super) fn text(said: &Value, _width: Option<usize>) -> String {
    let mut text = String::new();
    let (streams, lanes, queue) = (&said["streams"], &said["lanes"], &said["queue"]);
    let memory = &said["memory"];
    let stopping = match said["stopping"].as_bool() {
        Some(true) => ", stopping",
        _ => "",
    };
    let mut line = |title: &str, what: String| {
        let _ = writeln!(text, "{title:<13}{what}");
    };
    line(
        "s2sd",
        format!(
            "{}, up {}{stopping}",
            word(&said["version"]),
            span(count(&said["uptime_seconds"]))
        ),
    );
    line(
        "streams",
        format!(
            "{} incoming, {} outgoing, {}; {} negotiating",
            count(&streams["incoming"]),
            count(&streams["outgoing"]),
            counted(count(&streams["component"]), "component", "components"),
            count(&streams["negotiating"]),
        ),
    );
    line(
        "lanes",
        format!(
            "{}, {} failing",
            count(&lanes["all"]),
            count(&lanes["failing"])
        ),
    );
    line(
        "queues",
        format!(
            "{} for other servers, the oldest {}; {} for components",
            count(&queue["lanes"]),
            time(&queue["oldest_seconds"]),
            count(&queue["components"]),
        ),
    );
    let (used, limit) = (count(&memory["used"]), count(&memory["limit"]));
    let part = used * 100 / limit.max(1);
    line(
        "memory",
        format!("{} of {} ({part} %)", size(used), size(limit)),
    );
    let stanzas = &said["stanzas"];
    line(
        "stanzas",
        format!(
            "{} to servers, {} to components, {} bounced, {} dropped",
            count(&stanzas["to_servers"]),
            count(&stanzas["to_components"]),
            count(&stanzas["bounced"]),
            count(&stanzas["dropped"]),
        ),
    );
    let mut title = "certificates";
    for certificate in list(&said["certificates"]) {
        let days = certificate["days_left"].as_i64().unwrap_or_default();
        let days = match days {
            ..0 => "expired".to_owned(),
            0..=RENEW_WITHIN => format!("{days} days left: renew it"),
            _ => format!("{days} days left"),
        };
        line(title, format!("{}: {days}", word(&certificate["domain"])));
        title = "";
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_a_line_for_each_thing() {
        let said = json!({
            "version": "0.1.0", "uptime_seconds": 90, "stopping": false,
            "streams": { "incoming": 2, "outgoing": 1, "component": 1, "negotiating": 1 },
            "lanes": { "all": 3, "failing": 1 },
            "queue": { "lanes": 7, "components": 0, "oldest_seconds": 61 },
            "memory": { "used": 1 << 20, "limit": 1 << 30 },
            "stanzas": { "to_servers": 5, "to_components": 6, "bounced": 1, "dropped": 0 },
            "certificates": [
                { "domain": "a.example", "days_left": 80 },
                { "domain": "b.example", "days_left": 3 },
                { "domain": "c.example", "days_left": -1 },
            ],
        });
        assert_eq!(
            text(&said, None),
            "s2sd         0.1.0, up 1m30s\n\
             streams      2 incoming, 1 outgoing, 1 component; 1 negotiating\n\
             lanes        3, 1 failing\n\
             queues       7 for other servers, the oldest 1m01s; 0 for components\n\
             memory       1024 KiB of 1024 MiB (0 %)\n\
             stanzas      5 to servers, 6 to components, 1 bounced, 0 dropped\n\
             certificates a.example: 80 days left\n             b.example: 3 days left: renew it\n             c.example: expired\n"
        );
    }
}
