//! The domains that may federate: `allow` and `deny` of `[policy]`.

use std::fmt;

use xmpp_stream::Domain;

use super::{
    Pattern, addresses,
    kind::{List, of},
    table::table,
};

table! {
    /// The domains that may federate with the ones served here.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct Access in "policy" {
        /// The domains that may federate: names, `"*.example.net"` (every domain below it, at any depth,
        /// not `example.net` itself) and `"*"` (all). s2sd compares names as IDNA A-labels.
        pub allow: Vec<Pattern> = List(of("pattern", addresses::anybody)), ["*"];
        /// The domains that may not federate, whatever `allow` says.
        pub deny: Vec<Pattern> = List(of("pattern", addresses::anybody)), [];
    }
}

/// Why a domain is not admitted. The text is for the operator of this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denied {
    /// A pattern of `deny` matches it.
    By(Pattern),
    /// No pattern of `allow` matches it.
    NotAllowed,
    /// It is an IP address, and no `[[peer]]` matches it.
    Address,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(pattern) => write!(f, "`deny` in [policy] has \"{pattern}\""),
            Self::NotAllowed => f.write_str("`allow` in [policy] does not have it"),
            Self::Address => f.write_str("it is an IP address, and no [[peer]] is for it"),
        }
    }
}

impl Access {
    /// May this domain federate with us? `deny` wins over `allow`.
    ///
    /// # Errors
    ///
    /// The reason why it may not.
    pub fn admits(&self, domain: &Domain) -> Result<(), Denied> {
        let is_for = |pattern: &&Pattern| pattern.matches(domain);
        match self.deny.iter().find(is_for) {
            Some(pattern) => Err(Denied::By(pattern.clone())),
            None if self.allow.iter().any(|pattern| pattern.matches(domain)) => Ok(()),
            None => Err(Denied::NotAllowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        let pattern = |text: &&str| match text.strip_prefix("*.") {
            Some(parent) => Pattern::Below(domain(parent)),
            None if *text == "*" => Pattern::Everyone,
            None => Pattern::Exactly(domain(text)),
        };
        texts.iter().map(pattern).collect()
    }

    #[track_caller]
    fn check(allow: &[&str], deny: &[&str], name: &str, want: Result<(), &str>) {
        let access = Access {
            allow: patterns(allow),
            deny: patterns(deny),
        };
        let got = access
            .admits(&domain(name))
            .map_err(|denied| denied.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{name}");
    }

    #[test]
    fn everybody_is_admitted_unless_said() {
        assert_eq!(Access::default().admits(&domain("a.example")), Ok(()));
    }

    #[test]
    fn deny_wins() {
        let spam = Err("`deny` in [policy] has \"spam.example\"");
        check(&["*"], &["spam.example"], "spam.example", spam);
        check(&["spam.example"], &["spam.example"], "spam.example", spam);
        check(&["*"], &["spam.example"], "a.example", Ok(()));
        let below = Err("`deny` in [policy] has \"*.a.example\"");
        check(&["x.a.example"], &["*.a.example"], "x.a.example", below);
        check(
            &["*"],
            &["*"],
            "a.example",
            Err("`deny` in [policy] has \"*\""),
        );
    }

    #[test]
    fn who_is_not_allowed_is_not_admitted() {
        let not = Err("`allow` in [policy] does not have it");
        check(&["a.example", "*.b.example"], &[], "a.example", Ok(()));
        check(&["a.example", "*.b.example"], &[], "x.y.b.example", Ok(()));
        check(&["a.example", "*.b.example"], &[], "b.example", not);
        check(&["a.example", "*.b.example"], &[], "xb.example", not);
        check(&["a.example"], &[], "x.a.example", not);
        check(&[], &[], "a.example", not);
    }

    #[test]
    fn patterns_are_compared_as_a_labels() {
        let denied = Err("`deny` in [policy] has \"*.müller.example\"");
        for name in [
            "x.müller.example",
            "X.MÜLLER.example",
            "x.xn--mller-kva.example",
        ] {
            check(&["*"], &["*.müller.example"], name, denied);
            check(&["*"], &["*.XN--MLLER-KVA.example"], name, denied);
        }
    }
}
