//! Files with secrets: how s2sd reads them, and a warning if other users can read them, too.

use std::{fs, io, ops::Range, path::Path};

use zeroize::Zeroizing;

use super::{
    diagnostics::Diagnostic,
    reader::Sink,
    secret::{Secret, exposure},
};

/// Reads a file with one secret: its first line, which must be its only one. `span` is where the file is named.
pub(super) fn read_secret_file(path: &Path, span: Range<usize>, sink: &Sink<'_>) -> Option<Secret> {
    let text = read_text(path, &span, sink)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        let title = format!("{}: has more than one line", path.display());
        sink.add(Diagnostic::fault(Some(span), title));
        return None;
    }
    warn_if_public(path, Some(span), sink);
    Some(Secret::new(line))
}

/// Reads a file with a secret on each line; blank lines do not count. Each comes with the number of its line.
pub(super) fn read_secret_lines(
    path: &Path,
    span: Range<usize>,
    sink: &Sink<'_>,
) -> Option<Vec<(usize, Secret)>> {
    let text = read_text(path, &span, sink)?;
    warn_if_public(path, Some(span), sink);
    let lines = text.lines().enumerate();
    Some(
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| (at + 1, Secret::new(line.trim())))
            .collect(),
    )
}

/// A text file, whose copy in memory is wiped after use.
pub(super) fn read_text(
    path: &Path,
    span: &Range<usize>,
    sink: &Sink<'_>,
) -> Option<Zeroizing<String>> {
    let why = match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) if !text.trim().is_empty() => return Some(text),
        Ok(_) => "is empty".to_owned(),
        Err(why) if why.kind() == io::ErrorKind::InvalidData => "not a text in UTF-8".to_owned(),
        Err(why) => format!("cannot be read: {}", reason(&why)),
    };
    let title = format!("{}: {why}", path.display());
    sink.add(Diagnostic::fault(Some(span.clone()), title));
    None
}

/// Warns if every user of the machine can read or change a file with a secret.
pub(super) fn warn_if_public(path: &Path, span: Option<Range<usize>>, sink: &Sink<'_>) {
    if let Some(exposure) = exposure(path) {
        let title = format!("{} can be {exposure}", path.display());
        let help = format!("chmod {} {}", exposure.remedy(), path.display());
        sink.add(Diagnostic::warning(span, title).help(help));
    }
}

/// The system's words for an error, without the number that Rust adds.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
