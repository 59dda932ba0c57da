//! Folds XML and lists to a width, for reading only: what is folded here was checked by a decoder before.

/// The element, or the header, in lines of this width: an element in each, attributes where they fit.
pub fn fold(raw: &[u8], width: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    let pieces = pieces(&text);
    let mut lines = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(piece) = pieces.get(at) {
        // An element that holds no other one stays together if it fits.
        let whole = match pieces.get(at + 1..) {
            Some([Piece::Text(text), Piece::Close(close), ..]) => {
                piece.open().map(|open| (format!("{open}{text}{close}"), 3))
            }
            Some([Piece::Close(close), ..]) => {
                piece.open().map(|open| (format!("{open}{close}"), 2))
            }
            _ => None,
        };
        if let Some((whole, count)) = whole
            && depth + whole.chars().count() <= width
        {
            lines.push(format!("{}{whole}", " ".repeat(depth)));
            at += count;
            continue;
        }
        if let Piece::Close(_) = piece {
            depth = depth.saturating_sub(INDENT);
        }
        let indent = " ".repeat(depth);
        let room = width.saturating_sub(depth);
        match piece {
            Piece::Open(tag) | Piece::Empty(tag) | Piece::Close(tag) => {
                for (n, line) in fill(attributes(tag), room.saturating_sub(INDENT * 2))
                    .into_iter()
                    .enumerate()
                {
                    let hang = if n == 0 { "" } else { "    " };
                    lines.push(format!("{indent}{hang}{line}"));
                }
            }
            Piece::Text(text) => {
                let words = text.split_whitespace().map(str::to_owned);
                lines.extend(
                    fill(words, room)
                        .iter()
                        .map(|line| format!("{indent}{line}")),
                );
            }
        }
        if let Piece::Open(_) = piece {
            depth += INDENT;
        }
        at += 1;
    }
    lines
}

const INDENT: usize = 2;

/// The beginning of it in one line: the first tag without namespaces, cut where there is no more room.
pub(super) fn glance(raw: &[u8], room: usize) -> String {
    let text = String::from_utf8_lossy(raw);
    let pieces = pieces(&text);
    let mut pieces = pieces
        .iter()
        .filter(|piece| !matches!(piece, Piece::Empty(tag) if tag.starts_with("<?")));
    let first = match pieces.next() {
        Some(Piece::Open(tag) | Piece::Empty(tag)) => *tag,
        _ => "",
    };
    let end = if first.ends_with("/>") { "/>" } else { ">" };
    let told: Vec<String> = attributes(first.trim_end_matches(end))
        .filter(|word| {
            !["xmlns", "from=", "to="]
                .iter()
                .any(|left_out| word.starts_with(left_out))
        })
        .collect();
    let text = match pieces.next() {
        Some(Piece::Text(text)) => text,
        _ => "",
    };
    let line = format!("{}{end}{text}", told.join(" "));
    if line.chars().count() <= room {
        return line;
    }
    let kept: String = line.chars().take(room.saturating_sub(3)).collect();
    format!("{kept}...")
}

/// Words in lines of this width. What is longer than a line is broken.
pub(super) fn fill(words: impl IntoIterator<Item = String>, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => {
                let letters: Vec<char> = word.chars().collect();
                lines.extend(
                    letters
                        .chunks(width)
                        .map(|part| part.iter().collect::<String>()),
                );
            }
        }
    }
    lines
}

/// The directives of a SASL message (RFC 2831 §7.1): parted by commas, but not by those in quotes.
pub(super) fn directives(text: &str) -> Vec<String> {
    let mut quoted = false;
    text.split_inclusive(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .map(str::to_owned)
    .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// `<a …>`, and the XML declaration.
    Open(&'a str),
    Empty(&'a str),
    Close(&'a str),
    Text(&'a str),
}

impl<'a> Piece<'a> {
    fn open(self) -> Option<&'a str> {
        match self {
            Self::Open(tag) => Some(tag),
            _ => None,
        }
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = if rest.starts_with('<') {
            let (tag, after) = rest.split_at(tag_length(rest));
            let piece = match tag {
                _ if tag.starts_with("</") => Piece::Close(tag),
                _ if tag.ends_with("/>") || tag.starts_with("<?") => Piece::Empty(tag),
                _ => Piece::Open(tag),
            };
            (piece, after)
        } else {
            let (text, after) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            (Piece::Text(text), after)
        };
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Up to the `>` that stands in no quotes.
fn tag_length(text: &str) -> usize {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '>') => return at + 1,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The name, and each attribute, as the words of a tag.
fn attributes(tag: &str) -> impl Iterator<Item = String> {
    let mut quote = None;
    let mut words = vec![String::new()];
    for letter in tag.chars() {
        match (quote, letter) {
            (None, ' ') => {
                words.push(String::new());
                continue;
            }
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_folded_between_its_attributes() {
        let header = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
            xmlns:stream='http://etherx.jabber.org/streams' from='a b>c.example' version='1.0'>";
        assert_eq!(
            fold(header, 60),
            [
                "<?xml version='1.0'?>",
                "<stream:stream xmlns='jabber:server'",
                "    xmlns:stream='http://etherx.jabber.org/streams'",
                "    from='a b>c.example' version='1.0'>",
            ]
        );
    }

    #[test]
    fn elements_have_lines_of_their_own() {
        let features = b"<stream:features><mechanisms xmlns='urn:x'><mechanism>EXTERNAL</mechanism></mechanisms>\
            <ver/></stream:features>";
        assert_eq!(
            fold(features, 60),
            [
                "<stream:features>",
                "  <mechanisms xmlns='urn:x'>",
                "    <mechanism>EXTERNAL</mechanism>",
                "  </mechanisms>",
                "  <ver/>",
                "</stream:features>",
            ]
        );
    }

    #[test]
    fn a_text_that_is_too_long_is_broken() {
        let response = format!("<response xmlns='urn:x'>{}</response>", "A".repeat(50));
        assert_eq!(
            fold(response.as_bytes(), 30),
            [
                "<response xmlns='urn:x'>",
                &format!("  {}", "A".repeat(28)),
                &format!("  {}", "A".repeat(22)),
                "</response>",
            ]
        );
    }

    #[test]
    fn a_glance_is_one_line() {
        let result = b"<db:result xmlns:db='jabber:server:dialback' from='a' to='b' type='valid'/>";
        assert_eq!(glance(result, 60), "<db:result type='valid'/>");
        assert_eq!(
            glance(b"<?xml version='1.0'?><a b='0123456789'>", 12),
            "<a b='012..."
        );
        assert_eq!(glance(b"<a to='b'>key</a>", 60), "<a>key");
    }

    #[test]
    fn directives_are_parted_by_commas_outside_quotes() {
        assert_eq!(
            directives("realm=\"a,b\",qop=auth,nc=1"),
            ["realm=\"a,b\",", "qop=auth,", "nc=1"]
        );
    }
}
