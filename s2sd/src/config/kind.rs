//! What a kind of value is: how it is named, read and shown. The kinds themselves are [`values`](super::values).

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value as Json, json};
use toml::{Spanned, de::DeValue};
use xmpp_stream::Domain;

use super::{
    keys::Keys,
    reader::{At, Sink},
    wrong::Wrong,
};

/// What may stand behind a key.
pub(super) trait Kind {
    type Value: Show;

    /// In the words of `docs/config.md`.
    fn name(&self) -> String;

    /// Reads it, or puts on the list what is wrong with it.
    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<Self::Value>;

    /// The value if the key is missing and has no default.
    fn absent(&self) -> Option<Self::Value> {
        None
    }

    /// For programs.
    fn json(&self, value: &Self::Value) -> Json {
        value.show()
    }

    /// For people.
    fn text(&self, value: &Self::Value) -> String {
        let text = |json: &Json| {
            json.as_str()
                .map_or_else(|| json.to_string(), str::to_owned)
        };
        match self.json(value) {
            Json::Array(members) => members.iter().map(text).collect::<Vec<_>>().join(", "),
            other => text(&other),
        }
    }
}

/// How a value is shown to programs. A secret is not.
pub(super) trait Show {
    fn show(&self) -> Json;
}

macro_rules! show {
    ($($type:ty: |$value:ident| $json:expr;)*) => {
        $( impl $crate::config::kind::Show for $type {
            fn show(&self) -> serde_json::Value {
                let $value = self;
                serde_json::json!($json)
            }
        } )*
    };
}

pub(super) use show;

show! {
    bool: |value| value;
    usize: |value| value;
    String: |text| text;
    PathBuf: |path| path.display().to_string();
    Duration: |span| span.as_millis().to_string() + "ms";
    Domain: |domain| domain.as_str();
    IpAddr: |address| address.to_string();
    SocketAddr: |address| address.to_string();
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::show)
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> Json {
        self.iter().map(T::show).collect()
    }
}

impl<T: Show> Show for (String, T) {
    fn show(&self) -> Json {
        json!({ &self.0: self.1.show() })
    }
}

/// A kind with a name, whose values need nothing else to be judged.
#[derive(Clone, Copy)]
pub(super) struct Of<F> {
    name: &'static str,
    pub(super) value: F,
    /// Numbers are shown as sizes.
    bytes: bool,
}

/// A kind that has this name in `docs/config.md`.
pub(super) fn of<T, F: Fn(&DeValue<'_>) -> Result<T, Wrong>>(
    name: &'static str,
    value: F,
) -> Of<F> {
    Of {
        name,
        value,
        bytes: false,
    }
}

impl<F> Of<F> {
    /// Its numbers are of bytes.
    pub(super) fn bytes(self) -> Self {
        Self {
            bytes: true,
            ..self
        }
    }
}

impl<T: Show, F: Fn(&DeValue<'_>) -> Result<T, Wrong>> Kind for Of<F> {
    type Value = T;

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<T> {
        match (self.value)(value.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => at.wrong(value, wrong),
        }
    }

    fn text(&self, value: &T) -> String {
        match value.show() {
            Json::Number(bytes) if self.bytes => size_text(bytes.as_u64().unwrap_or(0) as usize),
            Json::String(text) => text,
            other => other.to_string(),
        }
    }
}

/// The name of a file. A relative one is below the directory of the configuration.
pub(super) struct Name;

impl Kind for Name {
    type Value = PathBuf;

    fn name(&self) -> String {
        "path".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<PathBuf> {
        match value.get_ref().as_str() {
            Some(name) if !name.is_empty() => Some(at.base().join(name)),
            _ => at.wrong(value, Wrong::new("the name of a file", value.get_ref())),
        }
    }
}

/// The name of a file, or the empty text for none, so that the default can be written down.
pub(super) struct NameOrNone;

impl Kind for NameOrNone {
    type Value = Option<PathBuf>;

    fn name(&self) -> String {
        Name.name()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<Option<PathBuf>> {
        match value.get_ref().as_str() {
            Some("") => Some(None),
            _ => Name.read(value, at).map(Some),
        }
    }
}

/// A list, each of its members of one kind.
pub(super) struct List<K>(pub(super) K);

impl<K: Kind> List<K> {
    /// Each member with its place.
    pub(super) fn members(
        &self,
        value: &Spanned<DeValue<'_>>,
        at: At<'_>,
    ) -> Option<Vec<(Range<usize>, K::Value)>> {
        let Some(members) = value.get_ref().as_array() else {
            let wrong = Wrong::new("a list", value.get_ref());
            return match value.get_ref().is_str() && takes(&self.0, value, at) {
                true => at.wrong(value, wrong.because("put it in brackets: [\"…\"]")),
                false => at.wrong(value, wrong),
            };
        };
        let member = |member: &Spanned<_>| Some((member.span(), self.0.read(member, at)?));
        Some(members.iter().filter_map(member).collect())
    }
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn name(&self) -> String {
        format!("list of {}", self.0.name())
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<Self::Value> {
        let members = self.members(value, at)?;
        Some(members.into_iter().map(|(_, value)| value).collect())
    }
}

/// Would this value do? Reports nothing.
fn takes(kind: &impl Kind, value: &Spanned<DeValue<'_>>, at: At<'_>) -> bool {
    let sink = Sink::new(at.base(), None, true, Keys(&[]));
    kind.read(value, at.with(&sink)).is_some()
}

/// Keys that are names themselves, with values of one kind.
pub(super) struct Entries<K>(pub(super) K);

impl<K: Kind> Kind for Entries<K> {
    type Value = Vec<(String, K::Value)>;

    fn name(&self) -> String {
        format!("table of {}", self.0.name())
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<Self::Value> {
        let Some(table) = value.get_ref().as_table() else {
            return at.wrong(value, Wrong::new("a table", value.get_ref()));
        };
        let entries = table.iter().filter_map(|(name, value)| {
            Some((name.get_ref().to_string(), self.0.read(value, at)?))
        });
        Some(entries.collect())
    }

    fn absent(&self) -> Option<Self::Value> {
        Some(Vec::new())
    }
}

/// A kind, and what holds where the key is not there.
pub(super) struct Else<K, F>(pub(super) K, pub(super) F);

impl<K: Kind, F: Fn() -> K::Value> Kind for Else<K, F> {
    type Value = K::Value;

    fn name(&self) -> String {
        self.0.name()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<Self::Value> {
        self.0.read(value, at)
    }

    fn absent(&self) -> Option<Self::Value> {
        Some((self.1)())
    }

    fn text(&self, value: &Self::Value) -> String {
        self.0.text(value)
    }
}

/// The units of sizes.
pub(super) const SIZES: [(&str, usize); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("B", 1),
];

/// A number of bytes as it is written.
pub(crate) fn size_text(bytes: usize) -> String {
    let whole = SIZES[..3]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}
