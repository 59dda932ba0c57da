//! A table of the file, and the list of what is wrong with it.
//!
//! Deserialising by `serde` ends with the first mistake, so the parsed document is walked by hand: a [`Reader`] hands
//! out what is behind a key, and whatever is wrong with it goes on the list while reading continues with the default.

use std::{cell::RefCell, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostics::{Diagnostic, Severity},
    keys::{advice, keys_of, place, spelled},
    secret::Exposure,
    values::Wrong,
};

/// Everything found so far, and where files are looked for.
#[derive(Debug)]
pub(super) struct Sink<'p> {
    list: RefCell<Vec<Diagnostic>>,
    /// Relative names of files are below this directory.
    pub(super) base: &'p Path,
    /// What everybody may do with the configuration itself, and so with a secret in it.
    pub(super) public: Option<Exposure>,
}

impl<'p> Sink<'p> {
    pub(super) fn new(base: &'p Path, public: Option<Exposure>) -> Self {
        Self {
            list: RefCell::default(),
            base,
            public,
        }
    }

    pub(super) fn add(&self, finding: Diagnostic) {
        self.list.borrow_mut().push(finding);
    }

    /// How many faults there are: a part of the file is sound if reading it adds none.
    pub(super) fn faults(&self) -> usize {
        self.list
            .borrow()
            .iter()
            .filter(|finding| finding.severity == Severity::Fault)
            .count()
    }

    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        self.list.into_inner()
    }
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    path: &'static str,
    table: &'a DeTable<'a>,
    /// The whole table, or what stands for it in the file.
    span: (usize, usize),
    pub(super) sink: &'a Sink<'a>,
}

impl<'a> Reader<'a> {
    /// Starts on a table; what does not belong there is noted at once.
    pub(super) fn new(
        path: &'static str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        sink: &'a Sink<'a>,
    ) -> Self {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !keys_of(path).any(|known| known.name == name) {
                let title = format!("unknown key `{name}` {}", place(path));
                sink.add(Diagnostic::fault(Some(key.span()), title).help(advice(path, name)));
            }
        }
        Self {
            path,
            table,
            span: (span.start, span.end),
            sink,
        }
    }

    /// The table as it is written, for messages.
    pub(super) fn name(&self) -> String {
        spelled(self.path)
    }

    /// Where the table is.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.0..self.span.1
    }

    /// Where the key and its value are, if it is there.
    pub(super) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table
            .get_key_value(key)
            .map(|(key, value)| key.span().start..value.span().end)
    }

    /// The value behind a key.
    pub(super) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(
            keys_of(self.path).any(|known| known.name == key),
            "{key} is not in KEYS"
        );
        self.table.get(key)
    }

    /// The value behind a key, read as one kind.
    pub(super) fn get<T>(
        &self,
        key: &str,
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.read(key, self.value(key)?, kind)
    }

    /// Replaces a default by the value behind a key.
    pub(super) fn set<T>(
        &self,
        key: &str,
        place: &mut T,
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) {
        if let Some(value) = self.get(key, kind) {
            *place = value;
        }
    }

    /// A list, each of its members read as one kind, with its place.
    pub(super) fn list<T>(
        &self,
        key: &str,
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<(Range<usize>, T)>> {
        let value = self.value(key)?;
        let Some(members) = value.get_ref().as_array() else {
            let finding = self.wrong(key, value, Wrong::new("a list", value.get_ref()));
            let is_member = value.get_ref().is_str() && kind(value.get_ref()).is_ok();
            self.sink.add(if is_member {
                finding.help("put it in brackets: [\"…\"]")
            } else {
                finding
            });
            return None;
        };
        Some(
            members
                .iter()
                .filter_map(|member| Some((member.span(), self.read(key, member, &kind)?)))
                .collect(),
        )
    }

    /// A table in this one.
    pub(super) fn table(&self, key: &str, path: &'static str) -> Option<Reader<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Reader::new(path, table, value.span(), self.sink)),
            other => {
                let finding = self.wrong(key, value, Wrong::new("a table", other));
                self.sink.add(match other {
                    DeValue::Array(_) => finding.help(format!("write {}", spelled(path))),
                    _ => finding,
                });
                None
            }
        }
    }

    /// The tables of a list, `[[key]]`. Each is looked at when its turn comes, so that what is found in it is found
    /// between the one before and the one after.
    pub(super) fn tables(
        self,
        key: &'static str,
        path: &'static str,
    ) -> impl Iterator<Item = Reader<'a>> {
        let value = self.value(key);
        let list = value.and_then(|value| value.get_ref().as_array());
        if let (Some(value), None) = (value, list) {
            let finding = self.wrong(key, value, Wrong::new("a list of tables", value.get_ref()));
            self.sink.add(finding.help(format!("write [[{key}]]")));
        }
        list.into_iter()
            .flatten()
            .filter_map(move |member| match member.get_ref() {
                DeValue::Table(table) => Some(Reader::new(path, table, member.span(), self.sink)),
                other => {
                    self.sink
                        .add(self.wrong(key, member, Wrong::new("a table", other)));
                    None
                }
            })
    }

    /// Keys that are names themselves, with values of one kind.
    pub(super) fn entries<T>(
        &self,
        key: &str,
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<(String, T)>> {
        let value = self.value(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.sink
                .add(self.wrong(key, value, Wrong::new("a table", value.get_ref())));
            return None;
        };
        let entry = |(name, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Some((name.to_string(), self.read(key, value, &kind)?))
        };
        Some(table.iter().filter_map(entry).collect())
    }

    fn read<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        kind(value.get_ref())
            .map_err(|wrong| self.sink.add(self.wrong(key, value, wrong)))
            .ok()
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, wrong: Wrong) -> Diagnostic {
        let place = if self.path.is_empty() {
            String::new()
        } else {
            format!(" in {}", spelled(self.path))
        };
        let title = format!("`{key}`{place} must be {}", wrong.must_be);
        Diagnostic {
            help: wrong.help,
            ..Diagnostic::fault(Some(value.span()), title).label(wrong.found)
        }
    }
}
