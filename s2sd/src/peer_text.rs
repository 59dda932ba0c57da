//! Words that a stranger chose, for people to read: texts of errors, names of mechanisms, hosts and certificates, URLs.
//!
//! They end in logs, in bounces, on terminals and on pages. What would make one line look like two, turn the direction
//! of writing or hide what is there is escaped (`\u{202e}`) as soon as the words are taken in, and too much is cut with
//! a visible mark. The words as they came are not kept, so there is no other way to print them.

use std::{borrow::Borrow, char::EscapeUnicode, fmt, ops::Deref};

use serde::{Serialize, Serializer};

/// How many characters of a stranger's words are shown.
const WORDS: usize = 200;
/// How many of a sentence of ours that quotes them.
const SENTENCE: usize = 1_000;
/// Stands where something was cut.
const CUT: char = '…';

/// A stranger's words, or a sentence of ours that quotes them. `Display` and `Debug` are safe everywhere.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerText(Box<str>);

impl PeerText {
    /// What a stranger said, at most 200 characters of it.
    pub fn new(words: &str) -> Self {
        Self(shown(words, WORDS))
    }

    /// A sentence of ours that quotes strangers, or a library that does: the same, at most 1,000 characters.
    pub fn quoting(sentence: &str) -> Self {
        Self(shown(sentence, SENTENCE))
    }

    /// The words as they may be shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As [`PeerText::quoting`].
impl From<&str> for PeerText {
    fn from(sentence: &str) -> Self {
        Self::quoting(sentence)
    }
}

/// As [`PeerText::quoting`].
impl From<String> for PeerText {
    fn from(sentence: String) -> Self {
        Self::quoting(&sentence)
    }
}

impl Deref for PeerText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PeerText {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for PeerText {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for PeerText {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// In quotes, and not escaped once more.
impl fmt::Debug for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl Serialize for PeerText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

fn shown(text: &str, most: usize) -> Box<str> {
    let mut shown = String::with_capacity(text.len().min(most));
    let mut left = most;
    for character in text.chars() {
        let escape = escape(character);
        let length = escape.as_ref().map_or(1, ExactSizeIterator::len);
        let Some(rest) = left.checked_sub(length) else {
            shown.push(CUT);
            break;
        };
        left = rest;
        match escape {
            Some(escape) => shown.extend(escape),
            None => shown.push(character),
        }
    }
    shown.into()
}

/// What stands for a character that is not shown as it is.
pub(crate) fn escape(character: char) -> Option<EscapeUnicode> {
    is_deceptive(character).then(|| character.escape_unicode())
}

/// Whether a character does something else than to be seen: it ends a line, moves a cursor, turns the direction of
/// writing, or is invisible. These are the control characters, the separators of lines and paragraphs, the format
/// characters (general category Cf) but for the visible signs of some scripts, and what may be ignored by default
/// (Default_Ignorable_Code_Point, DerivedCoreProperties.txt of Unicode 16).
pub(crate) fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_or_deceives_is_escaped_and_the_rest_stays() {
        for (words, shown) in [
            ("", ""),
            ("ü \"日本\" \u{200a}\\n", "ü \"日本\" \u{200a}\\n"),
            // Control characters: of lines, of terminals, of C1.
            (
                "a\r\nb\0\u{1b}[2J\u{9b}31m\u{85}",
                "a\\u{d}\\u{a}b\\u{0}\\u{1b}[2J\\u{9b}31m\\u{85}",
            ),
            ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
            // The direction of writing: marks, embeddings, overrides, isolates.
            (
                "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}",
                "\\u{61c}\\u{200e}\\u{200f}\\u{202a}\\u{202e}\\u{2066}\\u{2069}",
            ),
            // What takes no room.
            (
                "\u{ad}\u{200b}\u{200d}\u{2060}\u{feff}\u{3164}\u{e0041}\u{fe0f}",
                "\\u{ad}\\u{200b}\\u{200d}\\u{2060}\\u{feff}\\u{3164}\\u{e0041}\\u{fe0f}",
            ),
        ] {
            let text = PeerText::new(words);
            assert_eq!(text, shown, "{words:?}");
            assert_eq!(text.to_string(), shown);
            assert_eq!(format!("{text:?}"), format!("\"{shown}\""));
            assert_eq!(serde_json::json!(text), shown);
        }
    }

    #[test]
    fn too_much_is_cut_with_a_mark_and_no_escape_in_two() {
        for (words, characters) in [
            ("x".repeat(200), 200),
            ("x".repeat(201), 201),
            ("\u{1f600}".repeat(15_000), 201),
            ("\u{202e}".repeat(15_000), 201),
            ("x".repeat(195) + "\u{202e}", 196),
        ] {
            let text = PeerText::new(&words);
            assert_eq!(text.chars().count(), characters);
            assert_eq!(text.ends_with('…'), words.chars().count() != 200);
            let before = text.trim_end_matches('…');
            assert!(before.ends_with(['x', '}', '\u{1f600}']), "{text}");
            // Whoever takes it in again changes nothing.
            assert_eq!(PeerText::new(&text), text);
        }
        let sentence = PeerText::from("x".repeat(15_000));
        assert_eq!(sentence.chars().count(), 1_001);
    }
}
