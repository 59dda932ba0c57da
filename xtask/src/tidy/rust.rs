//! Just enough of Rust's lexical rules to tell code from comments, texts and tests.

/// The code alone: comments and the insides of string and character literals become blanks, lines stay
/// where they are.
pub(super) fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let before = out.chars().next_back();
        let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let (length, blank) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (block_comment(rest), true)
        } else if let Some(length) = raw_string(rest).filter(|_| !in_word) {
            (length, true)
        } else if first == '"' {
            (string(rest), true)
        } else if first == '\'' {
            character(rest).map_or((1, false), |length| (length, true))
        } else {
            (first.len_utf8(), false)
        };
        let (piece, tail) = rest.split_at(length);
        if blank {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            out.push_str(piece);
        }
        rest = tail;
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(tail) = text.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a raw string (`r"…"`, `br#"…"#`) that starts here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text
        .strip_prefix("br")
        .or_else(|| text.strip_prefix("cr"))
        .or_else(|| text.strip_prefix('r'))?;
    let body = after.trim_start_matches('#');
    let hashes = "#".repeat(after.len() - body.len());
    let body = body.strip_prefix('"')?;
    let opening = text.len() - body.len();
    let closing = format!("\"{hashes}");
    Some(
        body.find(&closing)
            .map_or(text.len(), |at| opening + at + closing.len()),
    )
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    match chars.next()? {
        (_, '\\') => {
            chars.next()?;
            chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
        }
        _ => chars
            .next()
            .filter(|(_, c)| *c == '\'')
            .map(|(at, _)| at + 1),
    }
}

/// `code` without what is only compiled for tests: the item after each `#[cfg(test)]`.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, tail) = rest.split_at(at);
        let (item, after) = tail.split_at(item_length(tail));
        out.push_str(before);
        out.extend(item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Up to the `;` or the end of the `{…}` that ends the item.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The number of the line (from 1) that byte `at` is on.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Where `word` stands as a whole word.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text.get(..*at).and_then(|text| text.chars().next_back());
            let after = text
                .get(at + word.len()..)
                .and_then(|text| text.chars().next());
            !before.is_some_and(part) && !after.is_some_and(part)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_not_code() {
        let source = "a // b\n/* c /* d */ */ e \"f \\\" g\" r#\"h\"i\"# 'j' '\\'' &'k l \"\n\" m";
        let code = code(source);
        let words: Vec<_> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "e", "&'k", "l", "m"]);
        assert_eq!(code.matches('\n').count(), 2);
    }

    #[test]
    fn test_modules_are_left_out() {
        let code =
            without_tests("a\n#[cfg(test)]\nmod tests { fn f() { b } }\nc #[cfg(test)] use d; e");
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "c", "e"]);
        assert_eq!(code.matches('\n').count(), 3);
    }

    #[test]
    fn a_word_is_whole() {
        assert_eq!(
            words("tokio::x tokio_util not_tokio tokio", "tokio").collect::<Vec<_>>(),
            [0, 30]
        );
    }
}
