//! A table of the file as a struct: each key once, with its kind, its default and what `docs/config.md` says of it.

use std::ops::Range;

use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostics::Diagnostic,
    keys::{Key, Keys},
    kind::Kind,
    reader::{Reader, Sink},
};

/// What a [`table!`] is: it reads itself, over the values that it has.
pub(super) trait Table: Default {
    /// The keys, in the order of `docs/config.md`.
    const KEYS: &'static [Key];

    /// Takes over what the file says.
    fn set(&mut self, table: &Reader<'_>);

    /// Every key with its value.
    fn shown(&self) -> Vec<Shown>;

    /// The defaults, but for what the file says.
    fn read(table: &Reader<'_>) -> Self {
        let mut read = Self::default();
        read.set(table);
        read
    }
}

/// A key with its value: for programs, and for people.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) key: &'static str,
    pub(crate) value: Json,
    pub(crate) text: String,
}

impl Shown {
    /// Where there is nothing to show, `words` say what that means, unless they are empty.
    pub(super) fn new<K: Kind>(
        key: &'static str,
        kind: &K,
        value: &impl Field<K::Value>,
        words: &str,
    ) -> Option<Self> {
        let value = value.said()?;
        let json = kind.json(value);
        let nothing = match &json {
            Json::Null => true,
            Json::Number(number) => number.as_u64() == Some(0),
            Json::Array(members) => members.is_empty(),
            _ => false,
        };
        let text = match nothing && !words.is_empty() {
            true => words.to_owned(),
            false => kind.text(value),
        };
        Some(Self {
            key,
            value: json,
            text,
        })
    }
}

/// What holds the value of a key: the value itself, which has a default, or a [`Said`].
pub(super) trait Field<V>: Sized {
    fn unsaid(key: &'static str, default: impl FnOnce() -> V) -> Self;
    fn say(&mut self, span: Range<usize>, value: Option<V>);
    fn said(&self) -> Option<&V>;
}

impl<V> Field<V> for V {
    fn unsaid(_: &'static str, default: impl FnOnce() -> V) -> Self {
        default()
    }

    fn say(&mut self, _: Range<usize>, value: Option<V>) {
        if let Some(value) = value {
            *self = value;
        }
    }

    fn said(&self) -> Option<&V> {
        Some(self)
    }
}

/// What the file says behind a key, if the key is there.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) key: &'static str,
    /// The key and its value.
    pub(super) span: Option<Range<usize>>,
    /// None also if the value is a fault, which is on the list then.
    pub(super) value: Option<T>,
}

impl<T> Said<T> {
    /// The value, which must be there.
    pub(super) fn required(self, table: &Reader<'_>) -> Option<T> {
        if self.span.is_none() {
            table.missing(&format!("`{}` is", self.key));
        }
        self.value
    }

    /// The value as another one.
    pub(super) fn map<U>(self, value: impl FnOnce(Option<T>) -> Option<U>) -> Said<U> {
        let Self {
            key,
            span,
            value: said,
        } = self;
        Said {
            key,
            span,
            value: value(said),
        }
    }

    /// The one of two keys that is there. A fault if both are.
    pub(super) fn or<U>(self, other: Said<U>, table: &Reader<'_>) -> OneOf<T, U> {
        match (self.span, other.span) {
            (Some(span), Some(second)) => {
                let (one, two) = (self.key, other.key);
                let title = format!("`{one}` and `{two}` in {}: which one?", table.name());
                let finding = Diagnostic::fault(Some(span), title);
                table.sink.add(finding.other(second, "the other"));
                OneOf::Both
            }
            (Some(span), None) => OneOf::First(span, self.value),
            (None, Some(span)) => OneOf::Second(span, other.value),
            (None, None) => OneOf::Neither,
        }
    }
}

/// Which of two keys is there.
pub(super) enum OneOf<T, U> {
    First(Range<usize>, Option<T>),
    Second(Range<usize>, Option<U>),
    Both,
    Neither,
}

impl<T> Field<T> for Said<T> {
    fn unsaid(key: &'static str, _: impl FnOnce() -> T) -> Self {
        Self {
            key,
            span: None,
            value: None,
        }
    }

    fn say(&mut self, span: Range<usize>, value: Option<T>) {
        (self.span, self.value) = (Some(span), value);
    }

    fn said(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

/// Replaces what holds without the key by the value behind it.
pub(super) fn set<K: Kind>(
    table: &Reader<'_>,
    key: &'static str,
    place: &mut impl Field<K::Value>,
    kind: &K,
) {
    if let Some((span, value)) = table.entry(key) {
        place.say(span, kind.read(value, table.at(key)));
    }
}

/// The default of a key: its TOML, read as the file would be, or what its kind has where there is none.
pub(super) fn default<K: Kind>(key: &Key, kind: &K) -> K::Value {
    if key.default.is_empty() {
        return kind.absent().expect("a key without a default is `Said`");
    }
    let sink = Sink::new(std::path::Path::new(""), None, true, Keys(&[]));
    let table = DeTable::new();
    let reader = Reader::bare(key.table, &table, &sink);
    let value: Option<Spanned<DeValue<'_>>> = DeValue::parse(key.default).ok();
    let value = value.and_then(|value| kind.read(&value, reader.at(key.name)));
    value.expect("the default of a key is of its kind")
}

/// Makes a struct of a table of the file, and everything that follows from its keys: how it is read, its defaults, the
/// help for a key that it does not have, its part of `docs/config.md`.
///
/// A key is `field: Type = kind, default => "words";`. Its documentation is what `docs/config.md` says. The default is
/// TOML; a key without one is `Said<Type>`, and the words say what holds without it. Where there is a default, the
/// words say what 0 or an empty list means. The name is the field's, or follows `as`. `tables` are those within this
/// one, which have a struct of their own; `and` has fields that are no keys.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Table:ident in $path:literal {
            $(
                $(#[doc = $doc:literal])*
                $fvis:vis $field:ident $(as $name:literal)?: $type:ty = $kind:expr $(, $default:expr)? $(=> $words:literal)?;
            )*
        }
        $(tables {
            $( $(#[doc = $table_doc:literal])* $table_name:literal: $table_kind:literal => $table_words:literal; )*
        })?
        $(and {
            $( $(#[doc = $more_doc:literal])* $mvis:vis $more:ident: $More:ty = $init:expr; )*
        })?
    ) => {
        $(#[$meta])*
        $vis struct $Table {
            $( $(#[doc = $doc])* $fvis $field: $type, )*
            $($( $(#[doc = $more_doc])* $mvis $more: $More, )*)?
        }

        impl Default for $Table {
            fn default() -> Self {
                #[allow(unused_mut, unused_variables)]
                let mut keys = <Self as $crate::config::table::Table>::KEYS.iter();
                Self {
                    $( $field: {
                        let key = keys.next().expect("each field has its key");
                        $crate::config::table::Field::unsaid(key.name, || $crate::config::table::default(key, &$kind))
                    }, )*
                    $($( $more: $init, )*)?
                }
            }
        }

        impl $crate::config::table::Table for $Table {
            const KEYS: &'static [$crate::config::keys::Key] = &[
                $( $crate::config::keys::Key {
                    table: $path,
                    name: $crate::config::table::named!($field $($name)?),
                    kind: || $crate::config::kind::Kind::name(&$kind),
                    default: concat!($(stringify!($default))?),
                    words: concat!($($words)?),
                    doc: &[$($doc),*],
                }, )*
                $($( $crate::config::keys::Key {
                    table: $path,
                    name: $table_name,
                    kind: || $table_kind.to_owned(),
                    default: "",
                    words: $table_words,
                    doc: &[$($table_doc),*],
                }, )*)?
            ];

            fn set(&mut self, table: &$crate::config::reader::Reader<'_>) {
                $( $crate::config::table::set(
                    table,
                    $crate::config::table::named!($field $($name)?),
                    &mut self.$field,
                    &$kind,
                ); )*
            }

            fn shown(&self) -> Vec<$crate::config::table::Shown> {
                let all = [
                    $( $crate::config::table::Shown::new(
                        $crate::config::table::named!($field $($name)?),
                        &$kind,
                        &self.$field,
                        concat!($($words)?),
                    ), )*
                ];
                all.into_iter().flatten().collect()
            }
        }
    };
}

/// The name of a key in the file.
macro_rules! named {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

pub(super) use named;
pub(super) use table;
