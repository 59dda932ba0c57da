//! What is wrong with a value.

use toml::de::DeValue;

/// Why a value will not do: what it must be, what it is, what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) must_be: String,
    pub(super) found: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    pub(super) fn new(must_be: impl Into<String>, value: &DeValue<'_>) -> Self {
        Self {
            must_be: must_be.into(),
            found: describe(value),
            help: None,
        }
    }

    pub(super) fn because(self, why: impl Into<String>) -> Self {
        Self {
            help: Some(why.into()),
            ..self
        }
    }
}

/// The value, in words.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("found {text:?}"),
        DeValue::Integer(number) => format!("found the number {number}"),
        DeValue::Float(number) => format!("found the number {number}"),
        DeValue::Boolean(truth) => format!("found {truth}"),
        DeValue::Datetime(_) => "found a date".to_owned(),
        DeValue::Array(_) => "found a list".to_owned(),
        DeValue::Table(_) => "found a table".to_owned(),
    }
}
