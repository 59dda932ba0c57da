//! A line of the log as it is written: one line whatever is in it, and not longer than it may be.
//!
//! What strangers say was escaped when it was taken in ([`PeerText`](crate::peer_text::PeerText)). This is the last line of
//! defence, for what was forgotten there and for what libraries say.

use std::fmt::Write as _;

use serde_json::Value;

use crate::peer_text::{escape, is_deceptive};

const CUT: char = '…';

/// Text for people. With `colours` there are sequences for them in it, which are not a value's: in values they are escaped
/// already.
pub(super) fn human(line: &str, most: usize, colours: bool) -> String {
    let mut out = String::with_capacity(line.len().min(most));
    // How much of it is text, and how much of all leaves room for the mark.
    let (mut length, mut fits) = (0, 0);
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        if let Some(colour) = colour(rest).filter(|_| colours) {
            out.push_str(colour);
            rest = rest.get(colour.len()..).unwrap_or_default();
            continue;
        }
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
        let before = out.len();
        match escape(character) {
            Some(escape) => out.extend(escape),
            None => out.push(character),
        }
        length += out.len() - before;
        if length + CUT.len_utf8() <= most {
            fits = out.len();
        }
        if length > most {
            out.truncate(fits);
            out.push(CUT);
            if colours {
                out.push_str("\x1b[0m");
            }
            break;
        }
    }
    out
}

/// The sequence for a colour that the text begins with.
fn colour(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("\x1b[")?;
    let end = inside.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    let whole = text.get(..2 + end + 1)?;
    whole.ends_with('m').then_some(whole)
}

/// An object for programs. Where it is too long its longest texts are cut.
pub(super) fn json(line: &str, most: usize) -> String {
    let text = escaped(line);
    if text.len() <= most {
        return text;
    }
    let Ok(mut value) = serde_json::from_str(line) else {
        return text;
    };
    // Each turn takes from the longest what is too much, but not more than half of it: what is short stays whole.
    let mut length = text.len();
    while length > most
        && let Some(longest) = longest(&mut value).filter(|text| text.len() > 2 * CUT.len_utf8())
    {
        let half = longest.chars().count() / 2;
        let mut taken = 0;
        for _ in 0..=half {
            if taken >= length - most + CUT.len_utf8() {
                break;
            }
            taken += longest.pop().map_or(0, written);
        }
        longest.push(CUT);
        length = length + CUT.len_utf8() - taken;
    }
    escaped(&value.to_string())
}

/// How many bytes a character has in the text of an object.
fn written(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        _ if is_deceptive(character) => 6 * character.len_utf16(),
        _ => character.len_utf8(),
    }
}

fn longest(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(all) => all.iter_mut().filter_map(longest).max_by_key(|it| it.len()),
        Value::Object(all) => {
            let all = all.values_mut().filter_map(longest);
            all.max_by_key(|text| text.len())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// As JSON writes what is not to be seen. Outside of its texts there is nothing but ASCII.
fn escaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        match is_deceptive(character) {
            true => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            false => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people_is_one_line_and_keeps_its_own_colours() {
        for (line, colours, want) in [
            ("a\nINFO b", false, "a\\u{a}INFO b"),
            ("\u{202e}ü\t", false, "\\u{202e}ü\\u{9}"),
            ("\x1b[32m INFO\x1b[0m a", true, "\x1b[32m INFO\x1b[0m a"),
            ("\x1b[32m", false, "\\u{1b}[32m"),
            ("\x1b[2Ja\x1b", true, "\\u{1b}[2Ja\\u{1b}"),
        ] {
            assert_eq!(human(line, 100, colours), want);
        }
    }

    #[test]
    fn a_line_for_people_is_cut() {
        assert_eq!(human(&"x".repeat(100), 100, false), "x".repeat(100));
        assert_eq!(human(&"x".repeat(101), 100, false), "x".repeat(97) + "…");
        for words in ["\u{202e}", "日", "\u{e0041}"] {
            for most in 90..110 {
                let line = human(&words.repeat(100), most, false);
                assert!(line.len() <= most && line.len() + 12 > most, "{line}");
                assert!(line.ends_with('…') && !line.contains(words) || words == "日");
            }
        }
        let line = human(&format!("\x1b[2m{}", "x".repeat(200)), 100, true);
        assert_eq!(line, format!("\x1b[2m{}…\x1b[0m", "x".repeat(97)));
    }

    #[test]
    fn an_object_stays_the_same_object_when_it_is_escaped() {
        let value = serde_json::json!({"message": "a\n\u{202e}\u{e0041}\u{7f}ü", "n": 1});
        let line = json(&value.to_string(), 1_000);
        assert!(line.contains(r"a\n\u202e\udb40\udc41\u007fü"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn an_object_that_is_too_long_loses_of_its_longest_texts() {
        for words in ["x", "日", "\u{202e}", "\"", "\n", "\0", "\u{e0041}"] {
            let value = serde_json::json!({
                "level": "INFO",
                "message": words.repeat(9_000),
                "span": {"name": "in", "peer": words.repeat(700)},
            });
            let line = json(&value.to_string(), 512);
            assert!(line.len() <= 512, "{words}: {}", line.len());
            let object: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(object["level"], "INFO");
            assert_eq!(object["span"]["name"], "in");
            assert!(object["message"].as_str().unwrap().ends_with('…'));
        }
    }
}
