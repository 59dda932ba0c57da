//! SASLprep (RFC 4013): one form for names and passwords that look the same.
//!
//! The tables are those of the crate `stringprep`. Its own `saslprep` is not used: it has no query strings, and looks
//! for unassigned code points only after a normalization that knows of more characters than Unicode 3.2 had.

use std::borrow::Cow;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// RFC 3454 §7: what becomes of code points that Unicode 3.2 did not assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unassigned {
    /// A query string: they stay as they are. For names.
    Allowed,
    /// A stored string: they are refused. For passwords (RFC 5802 §2.2).
    Refused,
}

/// The text has a character that is not allowed, or its directions are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotPreparable;

/// The prepared form, in memory that is wiped: it may be a password.
pub(crate) fn saslprep(
    text: &str,
    unassigned: Unassigned,
) -> Result<Zeroizing<String>, NotPreparable> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(Zeroizing::new(text.to_owned()));
    }
    // Nothing grows more than elevenfold (U+FDFA), so nothing is moved and left behind unwiped.
    let mut prepared = Zeroizing::new(String::with_capacity(text.len().saturating_mul(11)));
    let mut run = Zeroizing::new(String::with_capacity(text.len()));
    for character in text.chars() {
        if tables::unassigned_code_point(character) {
            if unassigned == Unassigned::Refused {
                return Err(NotPreparable);
            }
            // To Unicode 3.2 it has no decomposition and combines with nothing.
            prepared.extend(run.nfkc());
            run.clear();
            prepared.push(character);
        } else if tables::non_ascii_space_character(character) {
            run.push(' ');
        } else if !tables::commonly_mapped_to_nothing(character) {
            run.push(character);
        }
    }
    prepared.extend(run.nfkc());

    if prepared.chars().any(is_prohibited) || has_mixed_directions(&prepared) {
        return Err(NotPreparable);
    }
    Ok(prepared)
}

/// The prepared form of a name (a query string), if there is one and it is not empty (RFC 5802 §5.1).
pub(crate) fn name(text: &str) -> Option<Cow<'_, str>> {
    let prepared = saslprep(text, Unassigned::Allowed).ok()?;
    if prepared.is_empty() {
        None
    } else if *prepared == text {
        Some(Cow::Borrowed(text))
    } else {
        Some(Cow::Owned(prepared.to_string()))
    }
}

/// RFC 4013 §2.3.
fn is_prohibited(character: char) -> bool {
    tables::non_ascii_space_character(character)
        || tables::ascii_control_character(character)
        || tables::non_ascii_control_character(character)
        || tables::private_use(character)
        || tables::non_character_code_point(character)
        || tables::surrogate_code(character)
        || tables::inappropriate_for_plain_text(character)
        || tables::inappropriate_for_canonical_representation(character)
        || tables::change_display_properties_or_deprecated(character)
        || tables::tagging_character(character)
}

/// RFC 3454 §6: with a right-to-left character there is none from left to right, and both ends are right-to-left.
pub(crate) fn has_mixed_directions(text: &str) -> bool {
    text.contains(tables::bidi_r_or_al)
        && (text.contains(tables::bidi_l)
            || !text.starts_with(tables::bidi_r_or_al)
            || !text.ends_with(tables::bidi_r_or_al))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, want: Option<&str>) {
        let got = saslprep(input, Unassigned::Refused).ok();
        assert_eq!(
            got.as_ref().map(|text| text.as_str()),
            want,
            "{}",
            input.escape_unicode()
        );
    }

    #[test]
    fn the_examples_of_rfc_4013() {
        check("I\u{ad}X", Some("IX"));
        check("user", Some("user"));
        check("USER", Some("USER"));
        check("\u{aa}", Some("a"));
        check("\u{2168}", Some("IX"));
        check("\u{7}", None);
        check("\u{627}1", None);
    }

    // Of the tests of rust-stringprep, xdg-go/stringprep, ongres/stringprep and xdg-go/scram; GNU SASL 2.2.0 and
    // aiosasl 0.5.0 agree with each.

    #[test]
    fn what_is_mapped_and_normalized() {
        check("", Some(""));
        check("a\u{a0}b", Some("a b"));
        check("I\u{2000}X", Some("I X"));
        check("ABc\u{2000}de", Some("ABc de"));
        check("a bcde\u{2006}", Some("a bcde "));
        check("\u{202f}abcde", Some(" abcde"));
        check("a\u{202f}bc\u{3000}d\u{205f}e", Some("a bc d e"));
        check("ab\u{1680}cde", Some("ab cde"));
        check("I\u{ad}X \u{2168}", Some("IX IX"));
        check("\u{20000}", Some("\u{20000}"));
        check("\u{2487}\u{17f}\u{fb03}\u{212a}\u{37e}", Some("(20)sffiK;"));
        check(
            "\u{af}\\_(\u{2299}\u{fe3f}\u{2299})_/\u{af}",
            Some(" \u{304}\\_(\u{2299}\u{3008}\u{2299})_/ \u{304}"),
        );
        check("ramo\u{301}n", Some("ram\u{f3}n"));
        check("p\u{212b}ssword", Some("p\u{c5}ssword"));
        check("p\u{c5}assword", Some("p\u{c5}assword"));
        check("ram\u{f5}n", Some("ram\u{f5}n"));
        check("p\u{e8}ncil", Some("p\u{e8}ncil"));
    }

    #[test]
    fn what_is_prohibited() {
        for input in [
            "a\u{7f}b",
            "a\u{6dd}b",
            "a\u{e000}b",
            "a\u{1fffe}b",
            "a\u{fff9}b",
            "a\u{2ff0}b",
            "a\u{200e}b",
            "a\u{e0001}b",
        ] {
            check(input, None);
        }
    }

    #[test]
    fn directions_do_not_mix() {
        check("\u{627}1\u{628}", Some("\u{627}1\u{628}"));
        check("\u{627}1\u{627}", Some("\u{627}1\u{627}"));
        check("\u{627}A\u{627}", None);
        check("1\u{627}", None);
        check("\u{5be}\u{fba8}a\u{5be}\u{fba8}", None);
        check("a\u{5be}\u{fba8}abc\u{5be}\u{fba8}c", None);
    }

    #[test]
    fn what_unicode_3_2_did_not_know_is_refused_in_passwords_and_kept_in_names() {
        for input in ["a\u{487}", "a\u{588}\u{380}b", "\u{380}", "\u{1f511}"] {
            check(input, None);
            assert_eq!(name(input).as_deref(), Some(input));
        }
        // Normalization has learnt since that this is an A. Unicode 3.2 leaves it alone.
        check("\u{1f130}", None);
        assert_eq!(name("\u{1f130}").as_deref(), Some("\u{1f130}"));
        assert_eq!(
            name("e\u{301}\u{1f130}e\u{301}").as_deref(),
            Some("\u{e9}\u{1f130}\u{e9}")
        );
    }

    #[test]
    fn a_name_is_not_empty() {
        assert_eq!(name("").as_deref(), None);
        assert_eq!(name("\u{ad}").as_deref(), None);
        assert_eq!(name("a\u{7}").as_deref(), None);
        assert!(matches!(name("capulet.example"), Some(Cow::Borrowed(_))));
        assert_eq!(name("\u{2168}").as_deref(), Some("IX"));
    }

    #[test]
    fn nothing_grows_beyond_the_room_reserved() {
        let prepared = saslprep("\u{fdfa}\u{fdfa}", Unassigned::Refused).unwrap();
        assert!(prepared.len() <= 11 * 6, "{}", prepared.len());
        assert!(prepared.capacity() == 11 * 6);
    }
}
