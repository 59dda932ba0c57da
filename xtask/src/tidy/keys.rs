//! The keys of the configuration and their page: every key that `s2sd/src/config/keys.rs` lists stands in a
//! table of `docs/config.md`, under the heading of its TOML table, and no other key does.

use super::{Fault, rust, tree::Tree};
use std::collections::BTreeSet;

const KEYS: &str = "s2sd/src/config/keys.rs";
const PAGE: &str = "docs/config.md";

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let Some(source) = tree.text(KEYS) else {
        return vec![Fault::new(KEYS, 1, "is missing")];
    };
    let Some(page) = tree.text(PAGE) else {
        return vec![Fault::new(PAGE, 1, "is missing")];
    };
    let known = keys(source);
    let documented = rows(page);
    let mut faults = Vec::new();
    for (line, table, name) in &known {
        if !documented
            .iter()
            .any(|(_, heading, key)| heading == &spelled(table) && key == name)
        {
            let place = spelled(table);
            faults.push(Fault::new(
                KEYS,
                *line,
                format!("`{name}` is not in {PAGE} under `{place}`"),
            ));
        }
    }
    // Only the sections that belong to a table of the configuration hold keys.
    let tables: BTreeSet<String> = known.iter().map(|(_, table, _)| spelled(table)).collect();
    for (line, heading, name) in documented
        .iter()
        .filter(|(_, heading, _)| tables.contains(heading))
    {
        if !known
            .iter()
            .any(|(_, table, key)| &spelled(table) == heading && key == name)
        {
            faults.push(Fault::new(
                PAGE,
                *line,
                format!("`{name}` is no key of `{heading}`"),
            ));
        }
    }
    if known.is_empty() {
        faults.push(Fault::new(
            KEYS,
            1,
            "lists no keys as `key(\"table\", \"name\", …)`",
        ));
    }
    faults
}

/// The calls `key("table", "name", …)`, with their lines.
fn keys(source: &str) -> Vec<(usize, &str, &str)> {
    let mut found = Vec::new();
    for (at, start) in source.match_indices("key(\"") {
        let mut texts = source
            .get(at + start.len() - 1..)
            .unwrap_or_default()
            .split('"')
            .skip(1)
            .step_by(2);
        if let (Some(table), Some(name)) = (texts.next(), texts.next()) {
            found.push((rust::line_of(source, at), table, name));
        }
    }
    found
}

/// The first cells of the tables, each with its line and the heading it stands under, without backquotes.
fn rows(page: &str) -> Vec<(usize, String, String)> {
    let mut heading = String::new();
    let mut found = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().replace('`', "");
        } else if let Some((name, _)) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once("` |"))
        {
            found.push((index + 1, heading.clone(), name.to_owned()));
        }
    }
    found
}

/// A table as its heading spells it: `[policy]`, `[[peer]]`, `accept of [[peer]]`.
fn spelled(table: &str) -> String {
    match table {
        "" => "The top level".to_owned(),
        "domain" | "peer" => format!("[[{table}]]"),
        _ => match table.split_once('.') {
            Some((outer, inner)) => format!("{inner} of {}", spelled(outer)),
            None => format!("[{table}]"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "const K: &[Key] = &[\n key(\"\", \"data_dir\", \"path\", \"\"),\n key(\"peer.accept\", \"realm\", \"text\", \"\"),\n];";

    #[track_caller]
    fn check_one(page: &str, want: &[&str]) {
        let found: Vec<String> = check(&Tree::from([(KEYS, SOURCE), (PAGE, page)]))
            .into_iter()
            .map(|fault| fault.what)
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn every_key_is_documented_and_no_other() {
        check_one(
            "## The top level\n| `data_dir` | path |\n### `accept` of `[[peer]]`\n| `realm` | text |\n",
            &[],
        );
        check_one(
            "## The top level\n| `data_dir` | path |\n| `realm` | text |\n",
            &[
                "`realm` is not in docs/config.md under `accept of [[peer]]`",
                "`realm` is no key of `The top level`",
            ],
        );
    }

    #[test]
    fn a_page_that_is_missing_is_found() {
        assert_eq!(check(&Tree::from([(KEYS, SOURCE)])).len(), 1);
    }
}
