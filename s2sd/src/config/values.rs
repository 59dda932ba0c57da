//! The kinds of values that a key may have: each reads one, or says what is wrong with it.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    Secret,
    keys::distance,
    kind::{Of, SIZES, Show, of, show, size_text},
    wrong::Wrong,
};

// A secret is not shown.
show! {
    Secret: |_secret| ();
}

/// A text with something in it.
pub(super) fn text() -> Of<impl Fn(&DeValue<'_>) -> Result<String, Wrong>> {
    of("text", |value: &DeValue<'_>| match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(Wrong::new("a text", value)),
    })
}

/// A text that is not repeated in the message.
pub(super) fn secret() -> Of<impl Fn(&DeValue<'_>) -> Result<Secret, Wrong>> {
    of("secret", |value: &DeValue<'_>| {
        let text = value.as_str().filter(|text| !text.trim().is_empty());
        text.map(Secret::new).ok_or(Wrong {
            must_be: "a text".to_owned(),
            found: "this is not".to_owned(),
            help: None,
        })
    })
}

/// A count within bounds.
pub(super) fn number(
    least: usize,
    most: usize,
) -> Of<impl Fn(&DeValue<'_>) -> Result<usize, Wrong>> {
    of("number", move |value: &DeValue<'_>| {
        let number = value
            .as_integer()
            .and_then(|n| usize::from_str_radix(n.as_str(), n.radix()).ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| Wrong::new(format!("a number from {least} to {most}"), value))
    })
}

/// A number of bytes with its unit, not less than `least`.
pub(super) fn size(least: usize) -> Of<impl Fn(&DeValue<'_>) -> Result<usize, Wrong>> {
    bytes("size", move |value: &DeValue<'_>| {
        parse_size(least, "", value)
    })
}

/// A number of bytes with its unit, or 0 for none.
pub(super) fn size_or_none() -> Of<impl Fn(&DeValue<'_>) -> Result<usize, Wrong>> {
    bytes("size or 0", |value: &DeValue<'_>| {
        match value.as_integer() {
            Some(number) if number.as_str() == "0" => Ok(0),
            _ => parse_size(1, ", or 0", value),
        }
    })
}

/// A number of bytes with its unit, or "auto" for what fits the machine.
pub(super) fn size_or_auto(
    least: usize,
) -> Of<impl Fn(&DeValue<'_>) -> Result<Option<usize>, Wrong>> {
    bytes("size or word", move |value: &DeValue<'_>| {
        match value.as_str() {
            Some("auto") => Ok(None),
            _ => parse_size(least, ", or \"auto\"", value).map(Some),
        }
    })
}

fn bytes<T, F: Fn(&DeValue<'_>) -> Result<T, Wrong>>(name: &'static str, value: F) -> Of<F> {
    of(name, value).bytes()
}

/// `or` names what else the key takes.
fn parse_size(least: usize, or: &str, value: &DeValue<'_>) -> Result<usize, Wrong> {
    let wrong = || Wrong::new(format!("a size such as \"512KiB\"{or}"), value);
    let Some(text) = value.as_str() else {
        let bytes = value.as_integer().and_then(|n| n.as_str().parse().ok());
        return Err(match bytes {
            Some(bytes) => wrong().because(format!("write \"{}\"", size_text(bytes))),
            None => wrong(),
        });
    };
    let units = || wrong().because("the units are B, KiB, MiB and GiB");
    let (digits, unit) = split_unit(text);
    let factor = SIZES.iter().find(|(name, _)| *name == unit);
    let (_, factor) = factor.ok_or_else(units)?;
    let bytes = digits
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(*factor));
    match bytes.ok_or_else(units)? {
        bytes if bytes >= least => Ok(bytes),
        _ => Err(Wrong::new(
            format!("at least \"{}\"{or}", size_text(least)),
            value,
        )),
    }
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
    // A hundred years are as good as no limit, and no sum with the clock overflows.
    let most = 100 * 365 * 86_400_000;
    let ms = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|ms| *ms <= most);
    ms.map(Duration::from_millis)
}

/// A time span with its unit, not less than `least`.
pub(super) fn duration(least: Duration) -> Of<impl Fn(&DeValue<'_>) -> Result<Duration, Wrong>> {
    of("duration", move |value: &DeValue<'_>| {
        let wrong = || Wrong::new("a duration such as \"90s\"", value);
        let units = || wrong().because("the units are ms, s, m, h and d");
        let text = value.as_str().ok_or_else(|| match value.as_integer() {
            Some(number) => wrong().because(format!("write \"{number}s\"")),
            None => wrong(),
        })?;
        match parse_duration(text).ok_or_else(units)? {
            span if span >= least => Ok(span),
            _ => Err(Wrong::new(
                format!("at least \"{}ms\"", least.as_millis()),
                value,
            )),
        }
    })
}

/// `90s` is `90` and `s`.
fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// `true` or `false`.
pub(super) fn truth() -> Of<impl Fn(&DeValue<'_>) -> Result<bool, Wrong>> {
    of("bool", |value: &DeValue<'_>| match value {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err(Wrong::new("true or false", value)),
    })
}

/// What has a few words for its values.
pub(super) trait Word: Copy + Show + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// Makes an enum with a word for each of its variants, as the configuration has it.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident { $( $(#[$doc:meta])* $Variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum $Name {
            $( $(#[$doc])* $Variant, )*
        }

        impl $Name {
            /// The word in the configuration.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$Variant => $word, )*
                }
            }
        }

        impl $crate::config::values::Word for $Name {
            const WORDS: &'static [(&'static str, Self)] = &[$( ($word, Self::$Variant) ),*];
        }

        impl $crate::config::kind::Show for $Name {
            fn show(&self) -> serde_json::Value {
                self.name().into()
            }
        }
    };
}
pub(super) use words;

/// One of a few words.
pub(super) fn word<T: Word>() -> Of<impl Fn(&DeValue<'_>) -> Result<T, Wrong>> {
    of("word", |value: &DeValue<'_>| one_of(T::WORDS, value))
}

pub(super) fn one_of<T: Copy>(
    words: &[(&'static str, T)],
    value: &DeValue<'_>,
) -> Result<T, Wrong> {
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
    let near = near.filter(|(far, word)| *far <= (word.len() / 3).max(1));
    Err(match near.min() {
        Some((0, word)) => wrong.because(format!("write \"{word}\"")),
        Some((_, word)) => wrong.because(format!("did you mean \"{word}\"?")),
        None => wrong,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{MinTls, TlsMode},
        *,
    };

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
        check(size(0).value, "'512KiB'", Ok(512 << 10));
        check(size(0).value, "'16MiB'", Ok(16 << 20));
        check(size(0).value, "'10000B'", Ok(10_000));
        check(size(0).value, "524288", Err(Some("write \"512KiB\"")));
        check(size(0).value, "10001", Err(Some("write \"10001B\"")));
        check(
            size(0).value,
            "'512K'",
            Err(Some("the units are B, KiB, MiB and GiB")),
        );
        check(
            size(0).value,
            "'KiB'",
            Err(Some("the units are B, KiB, MiB and GiB")),
        );
        check(
            size(0).value,
            "'99999999999GiB'",
            Err(Some("the units are B, KiB, MiB and GiB")),
        );
        check(size(10_000).value, "'9KiB'", Err(None));
        check(size_or_none().value, "'64KiB'", Ok(64 << 10));
        check(size_or_none().value, "0", Ok(0));
        check(size_or_none().value, "'0B'", Err(None));
        check(size_or_none().value, "1024", Err(Some("write \"1KiB\"")));
        check(size(0).value, "true", Err(None));
    }

    #[test]
    fn durations_have_units() {
        let any = || duration(Duration::ZERO).value;
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
        check(duration(Duration::from_secs(1)).value, "'0s'", Err(None));
    }

    #[test]
    fn a_word_is_guessed() {
        check(
            word::<TlsMode>().value,
            "'requierd'",
            Err(Some("did you mean \"required\"?")),
        );
        check(
            word::<TlsMode>().value,
            "'Optional'",
            Err(Some("write \"optional\"")),
        );
        check(word::<TlsMode>().value, "'never'", Err(None));
        check(word::<MinTls>().value, "1.2", Err(Some("write \"1.2\"")));
    }
}
