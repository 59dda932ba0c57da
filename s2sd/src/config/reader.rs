//! A table of the file, and the list of what is wrong with it.
//!
//! `serde` ends with the first mistake. So we walk the parsed document by hand: a [`Reader`] returns the value of a
//! key, or puts the fault on the list and continues with the default.

use std::{cell::RefCell, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostics::{Diagnostic, Severity},
    keys::{Keys, place, spelled},
    secret::Exposure,
    wrong::Wrong,
};

/// Everything found so far, and where files are looked for.
#[derive(Debug)]
pub(super) struct Sink<'p> {
    list: RefCell<Vec<Diagnostic>>,
    /// Relative names of files are below this directory.
    pub(super) base: &'p Path,
    /// What every user of the machine may do with the configuration itself, and so with a secret in it.
    pub(super) public: Option<Exposure>,
    /// Whether the file has no mistakes of syntax. If it has, missing keys are not reported.
    pub(super) whole: bool,
    /// What may stand in the tables.
    keys: Keys,
}

impl<'p> Sink<'p> {
    pub(super) fn new(base: &'p Path, public: Option<Exposure>, whole: bool, keys: Keys) -> Self {
        Self {
            list: RefCell::default(),
            base,
            public,
            whole,
            keys,
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
            if !sink.keys.of(path).any(|known| known.name == name) {
                let title = format!("unknown key `{name}` {}", place(path));
                sink.add(
                    Diagnostic::fault(Some(key.span()), title).help(sink.keys.advice(path, name)),
                );
            }
        }
        Self {
            path,
            table,
            span: (span.start, span.end),
            sink,
        }
    }

    /// An empty table that is not in the file, for the defaults.
    pub(super) fn bare(path: &'static str, table: &'a DeTable<'a>, sink: &'a Sink<'a>) -> Self {
        let span = (0, 0);
        Self {
            path,
            table,
            span,
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
            self.sink.keys.of(self.path).any(|known| known.name == key),
            "{key} is no key"
        );
        self.table.get(key)
    }

    /// The members of a list that will do, with their places.
    pub(super) fn members<T>(
        &self,
        key: &str,
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Vec<(Range<usize>, T)> {
        let list = self.value(key).and_then(|value| value.get_ref().as_array());
        let members = list.into_iter().flatten();
        let read = |member: &Spanned<_>| Some((member.span(), kind(member.get_ref()).ok()?));
        members.filter_map(read).collect()
    }

    /// Says that something is missing here, unless the file is not whole.
    pub(super) fn missing(&self, what: &str) {
        if self.sink.whole {
            let title = format!("{what} missing in {}", self.name());
            self.sink.add(Diagnostic::fault(Some(self.span()), title));
        }
    }

    /// The key and its value, with their place.
    pub(super) fn entry(&self, key: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        Some((self.span_of(key)?, self.value(key)?))
    }

    /// Where a value is that is being read.
    pub(super) fn at(&self, key: &'static str) -> At<'a> {
        At { table: *self, key }
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

    /// The tables of a list, `[[key]]`. The iterator reads each in its turn, so that faults are in the order of the
    /// tables.
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

/// Where a value is: the table and the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    table: Reader<'a>,
    key: &'static str,
}

impl<'a> At<'a> {
    /// A list of its own for what is wrong.
    pub(super) fn with<'b>(self, sink: &'b Sink<'b>) -> At<'b>
    where
        'a: 'b,
    {
        let table = Reader { sink, ..self.table };
        At {
            table,
            key: self.key,
        }
    }

    /// Where relative names of files begin.
    pub(super) fn base(&self) -> &'a Path {
        self.table.sink.base
    }

    pub(super) fn add(&self, finding: Diagnostic) {
        self.table.sink.add(finding);
    }

    /// Says that the value, or a part of it, will not do.
    pub(super) fn wrong<T>(&self, value: &Spanned<DeValue<'_>>, wrong: Wrong) -> Option<T> {
        self.add(self.table.wrong(self.key, value, wrong));
        None
    }
}
