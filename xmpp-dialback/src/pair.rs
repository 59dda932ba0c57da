//! Domain pairs (XEP-0220 §1.3), and a bounded-by-its-owner table of them.

use std::collections::BTreeMap;
use std::fmt;

/// A Sender Domain and a Target Domain: what one run of dialback proves, in one direction.
///
/// The meaning never turns round, whichever way an element travels: `sender` is the domain that the
/// initiating server asserts, `target` the domain that it wants to reach.
///
/// Compared byte for byte: prepare both domains first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pair {
    /// The Sender Domain.
    pub sender: String,
    /// The Target Domain.
    pub target: String,
}

impl Pair {
    /// A pair of two domains that are prepared already.
    pub fn new(sender: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            sender: sender.into(),
            target: target.into(),
        }
    }

    /// May a key be made or believed for this pair? XEP-0185 joins its inputs with blanks, so a
    /// domain with a blank in it (which is no domain) would let the same key speak for another pair.
    pub(crate) fn is_unambiguous(&self) -> bool {
        let one = |domain: &str| {
            !domain.is_empty() && !domain.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        one(&self.sender) && one(&self.target)
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.sender, self.target)
    }
}

/// Pairs and what is known of each. Looks up by two `&str`, so that a check per stanza allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<S> {
    by_sender: BTreeMap<String, BTreeMap<String, S>>,
    len: usize,
}

impl<S> Pairs<S> {
    pub(crate) fn new() -> Self {
        Self {
            by_sender: BTreeMap::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, sender: &str, target: &str) -> Option<&S> {
        self.by_sender.get(sender)?.get(target)
    }

    pub(crate) fn insert(&mut self, pair: &Pair, state: S) {
        let targets = self.by_sender.entry(pair.sender.clone()).or_default();
        if targets.insert(pair.target.clone(), state).is_none() {
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, pair: &Pair) {
        if let Some(targets) = self.by_sender.get_mut(&pair.sender) {
            if targets.remove(&pair.target).is_some() {
                self.len -= 1;
            }
            if targets.is_empty() {
                self.by_sender.remove(&pair.sender);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_sender.clear();
        self.len = 0;
    }

    /// In the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Pair, &S)> {
        self.by_sender.iter().flat_map(|(sender, targets)| {
            targets
                .iter()
                .map(move |(target, state)| (Pair::new(sender, target), state))
        })
    }

    pub(crate) fn any(&self, mut which: impl FnMut(&str, &str, &S) -> bool) -> bool {
        self.by_sender.iter().any(|(sender, targets)| {
            targets
                .iter()
                .any(|(target, state)| which(sender, target, state))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_counts_its_pairs() {
        let mut pairs = Pairs::new();
        let (one, two) = (Pair::new("a", "x"), Pair::new("a", "y"));
        pairs.insert(&one, 1);
        pairs.insert(&one, 2);
        pairs.insert(&two, 3);
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs.get("a", "x"), Some(&2));
        assert_eq!(pairs.get("x", "a"), None);
        pairs.remove(&Pair::new("a", "z"));
        pairs.remove(&Pair::new("b", "x"));
        pairs.remove(&one);
        pairs.remove(&one);
        assert_eq!(pairs.len(), 1);
        assert_eq!(
            pairs.iter().map(|(p, s)| (p, *s)).collect::<Vec<_>>(),
            [(two, 3)]
        );
        pairs.clear();
        assert_eq!(pairs.len(), 0);
    }

    #[test]
    fn a_pair_is_shown_from_its_sender_to_its_target() {
        assert_eq!(
            Pair::new("a.example", "b.example").to_string(),
            "a.example -> b.example"
        );
    }

    #[test]
    fn a_domain_with_a_blank_is_no_part_of_a_pair() {
        assert!(Pair::new("a.example", "b.example").is_unambiguous());
        for bad in ["", " ", "a b", "a\u{a0}b", "a\n", "a\0"] {
            assert!(!Pair::new(bad, "b.example").is_unambiguous(), "{bad:?}");
            assert!(!Pair::new("b.example", bad).is_unambiguous(), "{bad:?}");
        }
    }
}
