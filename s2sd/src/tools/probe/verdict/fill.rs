//! From a row of the table of [codes](super::Code) to a text: each `{name}` in it is replaced by its value.

use std::fmt::Display;

use super::{Case, Code, Reason, Side};
use crate::tools::probe::findings::Findings;

/// The texts of a code, before they are filled in.
#[derive(Clone)]
pub(super) struct Draft<'a> {
    findings: &'a Findings,
    at: Option<&'a str>,
    code: Code,
    side: Side,
    because: String,
    rule: String,
    change: String,
    words: Vec<(&'static str, String)>,
}

impl Findings {
    /// Begins with what the table says of a code.
    pub(super) fn draft(&self, code: Code) -> Draft<'_> {
        let entry = code.entry();
        Draft {
            findings: self,
            at: None,
            code,
            side: entry.side,
            because: entry.because.to_owned(),
            rule: entry.rule.to_owned(),
            change: entry.change.to_owned(),
            words: Vec::new(),
        }
    }

    /// The value of a name that means the same in every text.
    fn word(&self, name: &str) -> Option<String> {
        let rule = &self.rule;
        let quoted = |word: &str| format!("\"{word}\"");
        Some(match name {
            "peer" => self.domain.clone(),
            "us" => self.us().to_owned(),
            "operator" => format!("the operator of {}", self.domain),
            "policy" => rule.name.clone(),
            "exception" => format!("[[peer]] with domain = \"{}\" and", self.domain),
            "way" if rule.connect => format!("`connect` in {}", rule.name),
            "way" => "RFC 6120 §3.2".to_owned(),
            "or dialback" => self.or_dialback(),
            "by dialback" => self.by_dialback().to_owned(),
            "key auth" => {
                let words: Vec<String> = rule.auth.iter().map(|word| quoted(word)).collect();
                self.key("auth", &format!("[{}]", words.join(", ")))
            }
            "key tls" => self.key("tls", &quoted(rule.tls)),
            "key min_tls" => self.key("min_tls", &quoted(rule.min_tls)),
            "key require_ems" => self.key("require_ems", "true"),
            "key verify" => self.key("verify", &quoted(rule.verify)),
            "key dane" => self.key("dane", &quoted(rule.dane)),
            "key addresses" => self.key("addresses", "\"public\""),
            _ => return None,
        })
    }

    /// What to do if only dialback can be used.
    fn or_dialback(&self) -> String {
        match (self.may("dialback"), &self.own.no_dialback) {
            (false, _) => "; or allow \"dialback\" in `auth`".to_owned(),
            (true, Some(why)) => format!("; dialback could not be tried: {why}"),
            (true, None) => String::new(),
        }
    }

    /// Where a certificate that is not good does not have to end it.
    fn by_dialback(&self) -> &'static str {
        match (self.rule.verify, self.may("dialback")) {
            ("dialback", _) => "",
            (_, true) => ", or `verify = \"dialback\"`",
            (_, false) => ", or `verify = \"dialback\"` and \"dialback\" in `auth`",
        }
    }
}

impl<'a> Case<'a> {
    /// Begins with what the table says of a code.
    pub(super) fn draft(self, code: Code) -> Draft<'a> {
        Draft {
            at: Some(&self.attempt.address),
            ..self.findings.draft(code)
        }
    }
}

impl Draft<'_> {
    /// What a name in the texts stands for.
    pub(super) fn with(mut self, name: &'static str, word: impl Display) -> Self {
        self.words.push((name, word.to_string()));
        self
    }

    /// The other end's words, or ours, for `{said}`.
    pub(super) fn said(self, said: impl Display) -> Self {
        self.with("said", said)
    }

    pub(super) fn side(self, side: Side) -> Self {
        Self { side, ..self }
    }

    pub(super) fn because(self, because: impl Into<String>) -> Self {
        let because = because.into();
        Self { because, ..self }
    }

    pub(super) fn rule(self, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self { rule, ..self }
    }

    pub(super) fn change(self, change: impl Into<String>) -> Self {
        let change = change.into();
        Self { change, ..self }
    }

    /// There is one thing more to do.
    pub(super) fn also(mut self, change: &str) -> Self {
        self.change += change;
        self
    }

    pub(super) fn done(self) -> Reason {
        Reason {
            code: self.code,
            side: self.side,
            places: Vec::new(),
            because: self.fill(&self.because),
            rule: self.fill(&self.rule),
            change: self.fill(&self.change),
        }
    }

    /// A value is not filled in again: a peer may have sent it.
    fn fill(&self, text: &str) -> String {
        fill(text, |name| {
            let own = self.words.iter().find(|(own, _)| *own == name);
            let own = own.map(|(_, word)| word.clone());
            let at = || self.at.filter(|_| name == "at").map(str::to_owned);
            own.or_else(at)
                .or_else(|| self.findings.word(name))
                .unwrap_or_default()
        })
    }
}

/// Each `{name}` in a text becomes a word.
pub(super) fn fill(text: &str, word: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        filled += before;
        filled += &word(name);
        rest = after;
    }
    filled + rest
}
