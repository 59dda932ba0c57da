//! `s2sd lanes`, and `--shape`, for which Postfix's `qshape` is the model: ages across, domains down.

use std::collections::BTreeMap;

use serde_json::Value;
use xmpp_stream::Domain;

use super::{
    count, is_of, list,
    table::{self, Column, cut, number, span, words},
    time, word,
};

const COLUMNS: [Column; 7] = [
    cut("FROM", 8),
    cut("TO", 10),
    words("STATE"),
    number("WAIT"),
    number("OLDEST"),
    number("NEXT"),
    cut("LAST FAILURE", 16),
];

pub(super) fn text(said: &Value, only: Option<&Domain>, width: Option<usize>) -> String {
    let mut lanes = meant(said, only);
    // First the lane that an operator looks for.
    lanes.sort_by_key(|lane| std::cmp::Reverse(lane["oldest_seconds"].as_u64()));
    let rows: Vec<Vec<String>> = lanes.into_iter().map(row).collect();
    match rows.is_empty() {
        true => "no lanes: nothing waits, and there are no streams to other servers\n".to_owned(),
        false => table::render(&COLUMNS, &rows, width),
    }
}

fn meant<'a>(said: &'a Value, only: Option<&Domain>) -> Vec<&'a Value> {
    let lanes = list(&said["lanes"]).iter();
    lanes.filter(|lane| is_of(lane, only)).collect()
}

fn row(lane: &Value) -> Vec<String> {
    let failure = &lane["failure"];
    vec![
        word(&lane["local"]),
        word(&lane["remote"]),
        word(&lane["state"]),
        count(&lane["waiting"]).to_string(),
        time(&lane["oldest_seconds"]),
        time(&lane["next_try_seconds"]),
        match failure {
            Value::Null => "-".to_owned(),
            failure => format!("{}: {}", word(&failure["cause"]), word(&failure["text"])),
        },
    ]
}

/// How many wait for each domain, by age, those with the most first.
pub(super) fn shape(said: &Value, only: Option<&Domain>, width: Option<usize>) -> String {
    let bounds: Vec<u64> = list(&said["ages_below_seconds"])
        .iter()
        .map(count)
        .collect();
    let mut domains: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut all = vec![0; bounds.len() + 1];
    for lane in meant(said, only) {
        let ages = domains
            .entry(word(&lane["remote"]))
            .or_insert_with(|| vec![0; all.len()]);
        for ((sum, of_domain), age) in all.iter_mut().zip(ages).zip(list(&lane["ages"])) {
            *sum += count(age);
            *of_domain += count(age);
        }
    }
    let total = |ages: &[u64]| ages.iter().sum::<u64>();
    let mut domains: Vec<(String, Vec<u64>)> = domains
        .into_iter()
        .filter(|(_, ages)| total(ages) > 0)
        .collect();
    domains.sort_by_key(|(_, ages)| std::cmp::Reverse(total(ages)));
    domains.insert(0, ("TOTAL".to_owned(), all));
    let mut titles: Vec<String> = bounds
        .iter()
        .map(|bound| format!("<{}", short(*bound)))
        .collect();
    titles.push("older".to_owned());
    let mut rows = vec![head(titles)];
    rows.extend(domains.into_iter().map(|(name, ages)| {
        let numbers = std::iter::once(total(&ages)).chain(ages.iter().copied());
        std::iter::once(name)
            .chain(numbers.map(|n| n.to_string()))
            .collect()
    }));
    let mut columns = vec![cut("", 12)];
    columns.resize(bounds.len() + 3, number(""));
    let text = table::render(&columns, &rows, width);
    // The titles are known only now, so they are a row.
    text.split_once('\n')
        .map_or(String::new(), |(_, rows)| rows.to_owned())
}

fn head(titles: Vec<String>) -> Vec<String> {
    let first = ["DOMAIN".to_owned(), "ALL".to_owned()];
    first.into_iter().chain(titles).collect()
}

/// `1m`, `4h`: one unit is enough.
fn short(seconds: u64) -> String {
    let text = span(seconds);
    for (long, short) in [("m00s", "m"), ("h00m", "h"), ("d00h", "d")] {
        if let Some(number) = text.strip_suffix(long) {
            return format!("{number}{short}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said() -> Value {
        let lane = |local: &str, remote: &str, oldest: Value, ages: [u64; 3], failure: Value| {
            json!({
                "local": local, "remote": remote, "state": "waiting", "waiting": ages.iter().sum::<u64>(),
                "oldest_seconds": oldest, "next_try_seconds": 7, "ages": ages, "failure": failure,
            })
        };
        json!({
            "ages_below_seconds": [10, 60],
            "lanes": [
                lane("a.example", "b.example", json!(3), [2, 0, 0], Value::Null),
                lane("a.example", "c.example", json!(70), [0, 1, 3],
                     json!({ "cause": "connect", "text": "no connection: refused" })),
                lane("d.example", "c.example", json!(20), [0, 1, 0], Value::Null),
            ],
        })
    }

    #[test]
    fn what_waits_longest_comes_first_with_what_failed() {
        let text = text(&said(), None, None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "a.example  c.example  waiting     4   1m10s    7s  connect: no connection: refused"
        );
        assert!(lines[3].ends_with("3s    7s  -"), "{text}");
        let narrow = super::text(&said(), None, Some(70));
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 70),
            "{narrow}"
        );
        assert!(narrow.contains("connect: no"), "{narrow}");
    }

    #[test]
    fn the_shape_has_ages_across_and_domains_down() {
        assert_eq!(
            shape(&said(), None, None),
            "DOMAIN     ALL  <10s  <1m  older\n\
             TOTAL        7     2    2      3\n\
             c.example    5     0    2      3\n\
             b.example    2     2    0      0\n"
        );
        let domain = Domain::parse("b.example").unwrap();
        let of_b = shape(&said(), Some(&domain), None);
        assert_eq!(of_b.lines().count(), 3, "{of_b}");
    }
}
