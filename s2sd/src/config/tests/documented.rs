//! `docs/config.md` says what the code does.

use super::*;
use crate::config::keys::{keys_of, spelled};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md")).unwrap()
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

#[test]
fn every_key_is_on_the_page_with_its_kind_and_default() {
    let page = page();
    for key in KEYS {
        let title = spelled(key.table).replace('`', "");
        let is_title = |line: &str| {
            line.trim_start_matches('#')
                .trim()
                .replace('`', "")
                .eq_ignore_ascii_case(&title)
        };
        let mut lines = page.lines();
        assert!(
            lines.any(|line| line.starts_with('#') && is_title(line)),
            "no heading for {key:?}"
        );
        let mut section = lines.take_while(|line| !line.starts_with('#'));
        let row = section.find(|line| line.starts_with(&format!("| `{}` |", key.name)));
        let row = row
            .unwrap_or_else(|| panic!("no row for {key:?}"))
            .replace('`', "");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2], key.kind, "{row}");
        assert!(
            key.default.is_empty() || cells[3] == key.default,
            "the default of {key:?} is not that of {row}"
        );
        assert!(cells[4].len() > 3, "{row} says nothing");
    }
}

#[test]
fn the_page_has_no_key_that_is_not_accepted() {
    let page = page();
    let mut table = "";
    for line in page.lines() {
        if line.starts_with('#') {
            let title = line.trim_start_matches('#').trim();
            let of = |key: &&Key| {
                spelled(key.table)
                    .replace('`', "")
                    .eq_ignore_ascii_case(&title.replace('`', ""))
            };
            table = KEYS.iter().find(of).map_or("-", |key| key.table);
        } else if let Some(name) = line
            .strip_prefix("| `")
            .and_then(|row| row.split('`').next())
        {
            assert!(
                keys_of(table).any(|key| key.name == name),
                "{name} in {table} is not a key"
            );
        }
    }
}

#[test]
fn every_key_is_in_an_example() {
    let page = page();
    let words: Vec<&str> = examples(&page)
        .into_iter()
        .flat_map(|example| example.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')))
        .collect();
    for key in KEYS {
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
    for key in KEYS.iter().filter(|key| {
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
    for key in KEYS {
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
