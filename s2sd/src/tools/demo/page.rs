//! What people read: eighty columns of text, with colours where they are wanted.

use std::io::{self, Write};

use super::Side;
use super::report::Report;
use super::xml;

/// One less than a terminal has, for those that break a line which fills it.
const WIDTH: usize = 79;

/// Where it is written.
pub(super) struct Page<'a> {
    out: &'a mut dyn Write,
    colours: bool,
}

/// How a line looks, as the parameters of SGR (ECMA-48 §8.3.117).
#[derive(Clone, Copy)]
struct Look(&'static str);

const PLAIN: Look = Look("");
const BOLD: Look = Look("1");
const DIM: Look = Look("2");
const RED: Look = Look("1;31");
const GREEN: Look = Look("32");
const YELLOW: Look = Look("33");

impl Look {
    fn of(side: Side) -> Self {
        match side {
            Side::Montague => Self("36"),
            Side::Capulet => Self("35"),
        }
    }
}

/// A step of the exchange.
pub(super) struct Step {
    /// Which one; none for what belongs to the step before.
    pub(super) number: Option<(usize, usize)>,
    pub(super) from: Side,
    /// In a word or two.
    pub(super) what: String,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut dyn Write, colours: bool) -> Self {
        Self { out, colours }
    }

    /// The name of it all.
    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        self.line(BOLD, text)?;
        self.line(BOLD, &"=".repeat(text.len()))?;
        self.empty()
    }

    /// The name of a part.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.empty()?;
        self.line(BOLD, text)?;
        self.line(BOLD, &"-".repeat(text.len()))?;
        self.empty()
    }

    /// A paragraph.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.paragraph(PLAIN, "", "", text)?;
        self.empty()
    }

    /// A paragraph that belongs to a step.
    pub(super) fn why(&mut self, text: &str) -> io::Result<()> {
        self.paragraph(PLAIN, "  ", "  ", text)?;
        self.empty()
    }

    /// What was found true by looking, not by believing.
    pub(super) fn checked(&mut self, text: &str) -> io::Result<()> {
        self.paragraph(GREEN, "  ok: ", "      ", text)?;
        self.empty()
    }

    /// Lines as they are.
    pub(super) fn lines(&mut self, lines: &[&str]) -> io::Result<()> {
        for line in lines {
            self.line(PLAIN, &format!("  {line}"))?;
        }
        self.empty()
    }

    /// A piece of configuration, as it is.
    pub(super) fn configuration(&mut self, of: Option<Side>, text: &str) -> io::Result<()> {
        let (look, of) = match of {
            Some(side) => (Look::of(side), side.domain()),
            None => (PLAIN, "both"),
        };
        self.line(look, &format!("  s2sd.toml of {of}:"))?;
        for line in text.lines() {
            self.line(DIM, format!("    {line}").trim_end())?;
        }
        self.empty()
    }

    /// Who plays.
    pub(super) fn cast(&mut self, side: Side, user: &str) -> io::Result<()> {
        self.line(Look::of(side), &format!("  {side:<16}  with {user}@{side}"))
    }

    /// Sender and recipient.
    pub(super) fn step(&mut self, step: &Step) -> io::Result<()> {
        let Step { number, from, what } = step;
        let number = match number {
            Some((number, of)) => format!("Step {number} of {of}"),
            None => String::new(),
        };
        let way = format!("{from} -> {}", from.other());
        let (bold, look) = (self.look(BOLD), self.look(Look::of(*from)));
        let (dim, off) = (self.look(DIM), self.look(Look("0")));
        writeln!(
            self.out,
            "{bold}{number:<14}{off}{look}{way}{off}   {dim}{what}{off}"
        )
    }

    /// The same in one line, with the beginning of the text.
    pub(super) fn brief(
        &mut self,
        number: Option<usize>,
        from: Side,
        raw: &[u8],
    ) -> io::Result<()> {
        let number = number.map_or_else(String::new, |number| number.to_string());
        let begin = format!("{number:>4}  {from:<16} -> {:<16}  ", from.other());
        let room = WIDTH.saturating_sub(begin.len());
        self.line(
            Look::of(from),
            &format!("{begin}{}", xml::glance(raw, room)),
        )
    }

    /// XML as it was said, folded.
    pub(super) fn xml(&mut self, from: Side, raw: &[u8]) -> io::Result<()> {
        for line in xml::fold(raw, WIDTH - 4) {
            self.line(Look::of(from), &format!("    {line}"))?;
        }
        self.empty()
    }

    /// What base64 stood for.
    pub(super) fn decoded(&mut self, data: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(data);
        if text.is_empty() {
            return self
                .line(YELLOW, "    decoded: nothing")
                .and_then(|()| self.empty());
        }
        self.line(YELLOW, "    decoded:")?;
        for line in xml::fill(xml::directives(&text), WIDTH - 6) {
            self.line(YELLOW, &format!("      {line}"))?;
        }
        self.empty()
    }

    /// What a daemon wrote into its log.
    pub(super) fn report(&mut self, of: Option<Side>, report: &Report) -> io::Result<()> {
        let (look, who) = match of {
            Some(side) => (Look::of(side), side.domain()),
            None => (PLAIN, ""),
        };
        let first = format!("    {who:<16}  ");
        let rest = " ".repeat(first.len());
        self.words(look, &first, &rest, report.words())
    }

    /// What went wrong.
    pub(super) fn fault(&mut self, text: &str) -> io::Result<()> {
        self.paragraph(RED, "", "", text)?;
        self.empty()
    }

    /// The number that it was about.
    pub(super) fn result(&mut self, text: &str) -> io::Result<()> {
        self.line(BOLD, &format!("  {text}"))
    }

    pub(super) fn empty(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    fn paragraph(&mut self, look: Look, first: &str, rest: &str, text: &str) -> io::Result<()> {
        self.words(
            look,
            first,
            rest,
            text.split_whitespace().map(str::to_owned),
        )
    }

    fn words(
        &mut self,
        look: Look,
        first: &str,
        rest: &str,
        words: impl IntoIterator<Item = String>,
    ) -> io::Result<()> {
        for (at, line) in xml::fill(words, WIDTH - rest.len()).iter().enumerate() {
            let indent = if at == 0 { first } else { rest };
            self.line(look, &format!("{indent}{line}"))?;
        }
        Ok(())
    }

    fn line(&mut self, look: Look, text: &str) -> io::Result<()> {
        let (on, off) = match look.0 {
            "" => (String::new(), String::new()),
            _ => (self.look(look), self.look(Look("0"))),
        };
        writeln!(self.out, "{on}{text}{off}")
    }

    fn look(&self, look: Look) -> String {
        if self.colours {
            format!("\x1b[{}m", look.0)
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(colours: bool) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(&mut out, colours);
        page.heading("A part").unwrap();
        let step = Step {
            number: Some((10, 11)),
            from: Side::Capulet,
            what: "header".to_owned(),
        };
        page.step(&step).unwrap();
        page.xml(Side::Capulet, b"<a/>").unwrap();
        page.decoded(b"realm=\"a\",nonce=\"b\"").unwrap();
        page.checked("so it is").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page_without_colours_is_plain_text() {
        assert_eq!(
            written(false),
            "\nA part\n------\n\n\
             Step 10 of 11 capulet.example -> montague.example   header\n    <a/>\n\n\
             \x20   decoded:\n      realm=\"a\", nonce=\"b\"\n\n  ok: so it is\n\n"
        );
    }

    #[test]
    fn colours_change_nothing_else() {
        let coloured = written(true);
        assert!(
            coloured.contains("\x1b[35m    <a/>\x1b[0m\n"),
            "{coloured:?}"
        );
        let mut plain = String::new();
        for (at, part) in coloured.split("\x1b[").enumerate() {
            plain.push_str(if at == 0 {
                part
            } else {
                part.split_once('m').unwrap().1
            });
        }
        assert_eq!(plain, written(false));
    }
}
