//! `docs/config.md` says what the code does.

use super::*;
use crate::config::{
    all::keys,
    keys::{Key, spelled},
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");

fn page() -> String {
    fs::read_to_string(PAGE).unwrap()
}

/// What the files of the examples hold: it is good for a secret and for a proxy.
const CONTENT: &str = "socks5://user:password@192.0.2.9:1080\n";

/// The blocks of TOML on the page.
fn examples(page: &str) -> Vec<&str> {
    page.split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// RFC 7677 §3.
pub(super) const KEYS_OF_PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";

#[test]
fn every_example_of_the_page_loads() {
    let page = page();
    for example in examples(&page) {
        let directory = Directory::new();
        for named in example
            .split("_file = \"")
            .chain(example.split("_file=\""))
            .skip(1)
        {
            let name = named.split('"').next().unwrap();
            let text = if name.ends_with(".scram") {
                KEYS_OF_PENCIL
            } else {
                CONTENT
            };
            directory.write(name, text);
        }
        // Aligned keys have more blanks before the `=`.
        for line in example.lines().filter(|line| line.contains("_file ")) {
            if let Some(name) = line.split('"').nth(1) {
                directory.write(name, CONTENT);
            }
        }
        for name in example.split('"').filter(|text| text.contains(".keytab")) {
            directory.write(name, keytab("AGENCY.EXAMPLE", &["xmpp", "example.org"]));
        }
        for name in example.split('"').filter(|text| text.contains(".v4keys")) {
            directory.write(name, V4_KEYS);
        }
        let more = if example.contains("[[domain]]") {
            ""
        } else {
            MINIMAL
        };
        let loaded = Config::from_toml(
            &format!("{example}\n{more}"),
            "docs/config.md",
            &directory.0,
        );
        match loaded {
            Ok(_) => {}
            // Without the libraries their lack is all there is to say.
            Err(findings) if example.contains("gssapi") && WITHOUT_GSSAPI.is_some() => {
                let is_that = |it: &Diagnostic| it.help.as_deref() == *WITHOUT_GSSAPI;
                assert!(findings.iter().all(is_that), "{findings}");
            }
            Err(findings) => panic!("{findings}"),
        }
    }
}

/// The rows of a key's table on the page.
fn rows(table: &str) -> String {
    let row = |key: &Key| {
        let default = match key.default {
            "" => key.words.to_owned(),
            toml => format!("`{toml}`"),
        };
        let (kind, doc) = ((key.kind)(), key.doc.concat());
        let row = format!("| `{}` | {kind} | {default} | {} |\n", key.name, doc.trim());
        row.replace("|  |", "| |")
    };
    let (tables, others): (Vec<&Key>, Vec<&Key>) = keys()
        .filter(|key| key.table == table)
        .partition(|key| (key.kind)().starts_with("table"));
    others.into_iter().chain(tables).map(row).collect()
}

/// With `UPDATE=1` in the environment the page is written anew.
#[test]
fn the_tables_of_the_page_are_made_from_the_keys() {
    let page = page();
    let mut tables: Vec<&str> = keys().map(|key| key.table).collect();
    tables.dedup();
    let mut made = page.clone();
    for table in tables {
        let title = spelled(table).replace('`', "");
        let is_title = |line: &&str| {
            let text = line.trim_start_matches('#').trim().replace('`', "");
            line.starts_with('#') && text.eq_ignore_ascii_case(&title)
        };
        let heading = page.lines().find(is_title);
        let heading = heading.unwrap_or_else(|| panic!("no heading for {title}"));
        let start = made.find(&format!("{heading}\n")).unwrap();
        let head = "| key | type | default | meaning |\n|---|---|---|---|\n";
        let start = start + made[start..].find(head).unwrap() + head.len();
        let end = start + made[start..].find("\n\n").unwrap_or(made.len() - start) + 1;
        made.replace_range(start..end, &rows(table));
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PAGE, &made).unwrap();
    }
    let other = made
        .lines()
        .zip(page.lines())
        .find(|(made, page)| made != page);
    assert_eq!(other, None, "UPDATE=1 writes the page");
    assert!(made == page, "UPDATE=1 writes the page");
}

#[test]
fn every_key_is_in_an_example() {
    let page = page();
    let words: Vec<&str> = examples(&page)
        .into_iter()
        .flat_map(|example| example.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')))
        .collect();
    for key in keys() {
        assert!(
            words.contains(&key.name),
            "{} of {:?} is in no example",
            key.name,
            key.table
        );
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut text = String::new();
    for key in keys().filter(|key| {
        !key.default.is_empty() && !key.table.starts_with("domain") && key.table != "peer"
    }) {
        let dot = if key.table.is_empty() { "" } else { "." };
        text += &format!("{}{dot}{} = {}\n", key.table, key.name, key.default);
    }
    assert!(text.lines().count() > 30);
    let (said, mut unsaid) = (loaded(&format!("{text}{MINIMAL}")), loaded(MINIMAL));
    // The one thing that tells them apart, of addresses, which may be others where nobody chose them.
    assert!(said.listen.unsaid.is_empty());
    unsaid.listen.unsaid.clear();
    assert_eq!(format!("{said:#?}"), format!("{unsaid:#?}"));
    assert_eq!(said.limits, Limits::default());
    assert_eq!(said.queue, Queue::default());
}

/// A key that is listed and never asked for would be accepted and mean nothing.
#[test]
fn every_key_is_read() {
    for key in keys() {
        // No key wants a date.
        let text = match key.table.split_once('.') {
            None if key.table.is_empty() => format!("{} = 1979-05-27\n", key.name),
            None if ["domain", "peer"].contains(&key.table) => {
                format!("[[{}]]\n{} = 1979-05-27\n", key.table, key.name)
            }
            None => format!("[{}]\n{} = 1979-05-27\n", key.table, key.name),
            Some((outer @ ("domain" | "peer"), _)) => {
                format!("[[{outer}]]\n[{}]\n{} = 1979-05-27\n", key.table, key.name)
            }
            Some(_) => format!("[{}]\n{} = 1979-05-27\n", key.table, key.name),
        };
        let findings = read(&text).unwrap_err();
        let noticed = findings.iter().any(|finding| {
            finding.title.starts_with(&format!("`{}`", key.name))
                && finding.title.contains("must be")
        });
        assert!(noticed, "{key:?} is not read:\n{findings}");
    }
}
