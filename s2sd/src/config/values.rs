//! What may stand behind a key: each function here reads one kind of value, or says what is wrong with it.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    Addresses, Dane, Dnssec, LogFormat, LogLevel, Method, MinTls, Secret, TlsMode, Verify,
    keys::distance,
};

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

/// A text with something in it.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Wrong::new("a text", value)),
    }
}

/// A text that is not repeated in the message.
pub(super) fn secret(value: &DeValue<'_>) -> Result<Secret, Wrong> {
    let text = text(value).ok().filter(|text| !text.trim().is_empty());
    text.map(Secret::new).ok_or(Wrong {
        must_be: "a text".to_owned(),
        found: "this is not".to_owned(),
        help: None,
    })
}

/// A file name.
pub(super) fn path(value: &DeValue<'_>) -> Result<String, Wrong> {
    text(value).map_err(|_| Wrong::new("the name of a file", value))
}

/// A count within bounds.
pub(super) fn number(least: usize, most: usize) -> impl Fn(&DeValue<'_>) -> Result<usize, Wrong> {
    move |value| {
        let number = value
            .as_integer()
            .and_then(|n| usize::from_str_radix(n.as_str(), n.radix()).ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| Wrong::new(format!("a number from {least} to {most}"), value))
    }
}

const SIZES: [(&str, usize); 4] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("B", 1),
];

/// A number of bytes with its unit, not less than `least`.
pub(super) fn size(least: usize) -> impl Fn(&DeValue<'_>) -> Result<usize, Wrong> {
    move |value| {
        let wrong = || Wrong::new("a size such as \"512KiB\"", value);
        let Some(text) = value.as_str() else {
            let bytes = value
                .as_integer()
                .and_then(|n| n.as_str().parse::<usize>().ok());
            return Err(match bytes {
                Some(bytes) => wrong().because(format!("write \"{}\"", size_text(bytes))),
                None => wrong(),
            });
        };
        let units = || wrong().because("the units are B, KiB, MiB and GiB");
        let (digits, unit) = split_unit(text);
        let (_, factor) = SIZES
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(units)?;
        let bytes = digits
            .parse::<usize>()
            .ok()
            .and_then(|n| n.checked_mul(*factor))
            .ok_or_else(units)?;
        if bytes < least {
            return Err(Wrong::new(
                format!("at least \"{}\"", size_text(least)),
                value,
            ));
        }
        Ok(bytes)
    }
}

/// A number of bytes with its unit, or 0 for none.
pub(super) fn size_or_none(value: &DeValue<'_>) -> Result<usize, Wrong> {
    if value.as_integer().is_some_and(|n| n.as_str() == "0") {
        return Ok(0);
    }
    size(1)(value).map_err(|wrong| Wrong {
        must_be: "a size such as \"64KiB\", or 0".to_owned(),
        ..wrong
    })
}

/// A number of bytes with its unit, or "auto" for what fits the machine.
pub(super) fn size_or_auto(least: usize) -> impl Fn(&DeValue<'_>) -> Result<Option<usize>, Wrong> {
    move |value| match value.as_str() {
        Some("auto") => Ok(None),
        _ => size(least)(value).map(Some).map_err(|wrong| Wrong {
            must_be: format!("{}, or \"auto\"", wrong.must_be),
            ..wrong
        }),
    }
}

/// A number of bytes as it is written.
pub(crate) fn size_text(bytes: usize) -> String {
    let whole = SIZES[..3]
        .iter()
        .rev()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (unit, factor) = whole.unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// A time span with its unit.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = split_unit(text);
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A hundred years are for ever, and no sum with the clock overflows.
    let most = 100 * 365 * 86_400_000;
    let ms = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|ms| *ms <= most);
    ms.map(Duration::from_millis)
}

/// A time span with its unit, not less than `least`.
pub(super) fn duration(least: Duration) -> impl Fn(&DeValue<'_>) -> Result<Duration, Wrong> {
    move |value| {
        let wrong = || Wrong::new("a duration such as \"90s\"", value);
        let units = || wrong().because("the units are ms, s, m, h and d");
        let text = value.as_str().ok_or_else(|| match value.as_integer() {
            Some(number) => wrong().because(format!("write \"{number}s\"")),
            None => wrong(),
        })?;
        let span = parse_duration(text).ok_or_else(units)?;
        if span < least {
            return Err(Wrong::new(
                format!("at least \"{}ms\"", least.as_millis()),
                value,
            ));
        }
        Ok(span)
    }
}

/// `90s` is `90` and `s`.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// `true` or `false`.
pub(super) fn bool(value: &DeValue<'_>) -> Result<bool, Wrong> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err(Wrong::new("true or false", value)),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let found = value.as_str();
        if let Some((_, meaning)) = words.iter().find(|(word, _)| Some(*word) == found) {
            return Ok(*meaning);
        }
        let quoted: Vec<String> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let must_be = match quoted.as_slice() {
            [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
            _ => quoted.concat(),
        };
        let wrong = Wrong::new(must_be, value);
        let bare = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Integer(number) => number.to_string(),
            _ => return Err(wrong),
        };
        let near = words
            .iter()
            .map(|(word, _)| (distance(word, &bare.to_lowercase()), word));
        Err(
            match near
                .filter(|(far, word)| *far <= (word.len() / 3).max(1))
                .min()
            {
                Some((0, word)) => wrong.because(format!("write \"{word}\"")),
                Some((_, word)) => wrong.because(format!("did you mean \"{word}\"?")),
                None => wrong,
            },
        )
    }
}

pub(super) const TLS_MODES: &[(&str, TlsMode)] = &[
    ("disabled", TlsMode::Disabled),
    ("optional", TlsMode::Optional),
    ("required", TlsMode::Required),
];
pub(super) const MIN_TLS: &[(&str, MinTls)] = &[("1.2", MinTls::V1_2), ("1.3", MinTls::V1_3)];
pub(super) const METHODS: &[(&str, &[Method])] = &[
    ("external", &[Method::External]),
    ("gssapi", &[Method::Gssapi]),
    ("scram", &Method::SCRAM),
    ("scram-sha-512-plus", &[Method::ScramSha512Plus]),
    ("scram-sha-256-plus", &[Method::ScramSha256Plus]),
    ("scram-sha-1-plus", &[Method::ScramSha1Plus]),
    ("scram-sha-512", &[Method::ScramSha512]),
    ("scram-sha-256", &[Method::ScramSha256]),
    ("scram-sha-1", &[Method::ScramSha1]),
    ("digest-md5", &[Method::DigestMd5]),
    ("kerberos-v4", &[Method::KerberosV4]),
    ("plain", &[Method::Plain]),
    ("dialback", &[Method::Dialback]),
];
pub(super) const VERIFY: &[(&str, Verify)] =
    &[("strict", Verify::Strict), ("dialback", Verify::Dialback)];
pub(super) const ADDRESSES: &[(&str, Addresses)] =
    &[("public", Addresses::Public), ("any", Addresses::Any)];
pub(super) const DANE: &[(&str, Dane)] = &[
    ("off", Dane::Off),
    ("use", Dane::Use),
    ("require", Dane::Require),
];
pub(super) const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("human", LogFormat::Human), ("json", LogFormat::Json)];
pub(super) const DNSSEC_MODES: &[(&str, Dnssec)] = &[
    ("off", Dnssec::Off),
    ("use", Dnssec::Use),
    ("require", Dnssec::Require),
];
pub(super) const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[track_caller]
    pub(in super::super) fn check<T: std::fmt::Debug + PartialEq>(
        kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
        toml: &str,
        want: Result<T, Option<&str>>,
    ) {
        let value = DeValue::parse(toml).unwrap();
        let got = kind(value.get_ref());
        assert_eq!(
            got.as_ref().map_err(|wrong| wrong.help.as_deref()),
            want.as_ref().map_err(|help| *help)
        );
    }

    #[test]
    fn sizes_have_units() {
        check(size(0), "'512KiB'", Ok(512 << 10));
        check(size(0), "'16MiB'", Ok(16 << 20));
        check(size(0), "'10000B'", Ok(10_000));
        check(size(0), "524288", Err(Some("write \"512KiB\"")));
        check(size(0), "10001", Err(Some("write \"10001B\"")));
        check(
            size(0),
            "'512K'",
            Err(Some("the units are B, KiB, MiB and GiB")),
        );
        check(
            size(0),
            "'KiB'",
            Err(Some("the units are B, KiB, MiB and GiB")),
        );
        check(
            size(0),
            "'99999999999GiB'",
            Err(Some("the units are B, KiB, MiB and GiB")),
        );
        check(size(10_000), "'9KiB'", Err(None));
        check(size_or_none, "'64KiB'", Ok(64 << 10));
        check(size_or_none, "0", Ok(0));
        check(size_or_none, "'0B'", Err(None));
        check(size_or_none, "1024", Err(Some("write \"1KiB\"")));
        check(size(0), "true", Err(None));
    }

    #[test]
    fn durations_have_units() {
        let any = || duration(Duration::ZERO);
        check(any(), "'90s'", Ok(Duration::from_secs(90)));
        check(any(), "'2m'", Ok(Duration::from_secs(120)));
        check(any(), "'1h'", Ok(Duration::from_secs(3600)));
        check(any(), "'250ms'", Ok(Duration::from_millis(250)));
        check(any(), "90", Err(Some("write \"90s\"")));
        check(any(), "'90'", Err(Some("the units are ms, s, m, h and d")));
        check(any(), "'-1s'", Err(Some("the units are ms, s, m, h and d")));
        check(
            any(),
            "'99999999999999d'",
            Err(Some("the units are ms, s, m, h and d")),
        );
        check(duration(Duration::from_secs(1)), "'0s'", Err(None));
    }

    #[test]
    fn a_word_is_guessed() {
        check(
            word(TLS_MODES),
            "'requierd'",
            Err(Some("did you mean \"required\"?")),
        );
        check(
            word(TLS_MODES),
            "'Optional'",
            Err(Some("write \"optional\"")),
        );
        check(word(TLS_MODES), "'never'", Err(None));
        check(word(MIN_TLS), "1.2", Err(Some("write \"1.2\"")));
    }
}
