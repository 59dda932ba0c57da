//! What is wrong with a configuration, all of it, with the place in the file.

use std::{error::Error, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// What was found in one file: mistakes and warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    name: String,
    text: String,
    list: Vec<Diagnostic>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Fault,
    /// s2sd can use it, but the operator should look.
    Warning,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, in one line.
    pub title: String,
    /// The bytes of the file it is about; none if it is about something that is not there.
    pub span: Option<Range<usize>>,
    /// What is to be said about these bytes.
    pub label: String,
    /// Another place that matters, and why.
    pub other: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(super) fn fault(span: Option<Range<usize>>, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fault,
            title: title.into(),
            span,
            label: String::new(),
            other: None,
            help: None,
        }
    }

    pub(super) fn warning(span: Option<Range<usize>>, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::fault(span, title)
        }
    }

    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..self
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    pub(super) fn other(self, span: Range<usize>, label: impl Into<String>) -> Self {
        Self {
            other: Some((span, label.into())),
            ..self
        }
    }
}

impl Diagnostics {
    /// In the order of the file. The bytes in `hidden` (secrets) are not shown.
    pub(super) fn new(
        name: &str,
        text: &str,
        hidden: &[Range<usize>],
        mut list: Vec<Diagnostic>,
    ) -> Self {
        list.sort_by_key(|finding| finding.span.as_ref().map_or(usize::MAX, |span| span.start));
        Self {
            name: name.to_owned(),
            text: mask(text, hidden),
            list,
        }
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Nothing, or warnings alone.
    pub(super) fn has_no_fault(&self) -> bool {
        let mut all = self.list.iter();
        all.all(|finding| finding.severity == Severity::Warning)
    }

    /// Everything, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.name
    }

    /// Line and column (in characters) of a finding, from 1.
    pub fn position(&self, finding: &Diagnostic) -> Option<(usize, usize)> {
        let before = self.text.get(..finding.span.as_ref()?.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Some((line, column))
    }

    /// One line for each finding, for a log: `s2sd.toml:3:7: what`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|finding| {
            let place = self
                .position(finding)
                .map(|(line, column)| format!(":{line}:{column}"))
                .unwrap_or_default();
            let help = finding
                .help
                .as_ref()
                .map(|help| format!(" ({help})"))
                .unwrap_or_default();
            format!("{}{place}: {}{help}", self.name, finding.title)
        })
    }

    /// For people: each with the lines it is about; with colours if there is a terminal to show them.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for finding in &self.list {
            out.push_str(&renderer.render(&[self.group(finding)]));
            out.push_str("\n\n");
        }
        out
    }

    fn group<'a>(&'a self, finding: &'a Diagnostic) -> Group<'a> {
        let level = match finding.severity {
            Severity::Fault => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(finding.title.as_str());
        let mut group = match &finding.span {
            Some(span) => {
                let first = AnnotationKind::Primary
                    .span(span.clone())
                    .label(finding.label.as_str());
                let other = finding.other.iter();
                let other = other.map(|(span, label)| {
                    AnnotationKind::Context
                        .span(span.clone())
                        .label(label.as_str())
                });
                let snippet = Snippet::source(self.text.as_str()).path(self.name.as_str());
                title.element(snippet.annotation(first).annotations(other))
            }
            None => title.element(Origin::path(self.name.as_str())),
        };
        if let Some(help) = &finding.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }
}

/// Without colours.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl Error for Diagnostics {}

/// The same text, of the same length, with stars for what must not be seen.
fn mask(text: &str, hidden: &[Range<usize>]) -> String {
    let is_hidden = |at: usize| hidden.iter().any(|span| span.contains(&at));
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_hidden(at) && c != '\n' {
            out.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}
