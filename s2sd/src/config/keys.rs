//! The keys that the configuration knows: the reader refuses what is not among them, `docs/config.md` is made from them,
//! and the nearest valid key of a misspelt one is looked up in them.

/// A key of the file.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "a test makes the page"))]
pub(crate) struct Key {
    /// The table, as its path; empty for the top level.
    pub(crate) table: &'static str,
    /// The name.
    pub(crate) name: &'static str,
    /// What the value is.
    pub(super) kind: fn() -> String,
    /// The default, as TOML; empty where there is none.
    pub(super) default: &'static str,
    /// What holds without the key where there is no default, or what an empty value means where there is one.
    pub(super) words: &'static str,
    /// What it is for, in lines.
    pub(super) doc: &'static [&'static str],
}

/// All keys: each table, as its path, with keys that may stand in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys(pub(super) &'static [(&'static str, &'static [Key])]);

impl Keys {
    /// The keys that may stand in a table.
    pub(super) fn of(self, table: &str) -> impl Iterator<Item = &'static Key> {
        let tables = self.0.iter().filter(move |(path, _)| *path == table);
        tables.flat_map(|(_, keys)| *keys)
    }

    /// What to say about a key that does not belong in `table`.
    pub(super) fn advice(self, table: &str, unknown: &str) -> String {
        let here = |most: usize| {
            let near = self.of(table).map(|key| (distance(key.name, unknown), key));
            near.filter(|(far, _)| *far <= most)
                .min_by_key(|(far, _)| *far)
        };
        let did_you_mean = |key: &Key| format!("did you mean `{}`?", key.name);
        if let Some((_, key)) = here(1) {
            return did_you_mean(key);
        }
        let homes = self.homes(unknown);
        if !homes.is_empty() {
            return format!("`{unknown}` belongs {}", homes.join(" or "));
        }
        if let Some((_, key)) = here((unknown.len() / 3).max(2)) {
            return did_you_mean(key);
        }
        let names: Vec<String> = self
            .of(table)
            .map(|key| format!("`{}`", key.name))
            .collect();
        format!("the keys here are {}", names.join(", "))
    }

    /// The tables that have a key of this name.
    fn homes(self, name: &str) -> Vec<String> {
        let has = |(_, keys): &&(&str, &[Key])| keys.iter().any(|key| key.name == name);
        self.0
            .iter()
            .filter(has)
            .map(|(table, _)| place(table))
            .collect()
    }
}

/// A table as it is written: `[policy]`, `[[peer]]`, `domain.component`.
pub(super) fn spelled(table: &str) -> String {
    match table {
        "" => "the top level".to_owned(),
        "domain" | "peer" => format!("[[{table}]]"),
        nested if nested.contains('.') => {
            let (outer, inner) = nested.split_once('.').unwrap_or(("", nested));
            format!("`{inner}` of {}", spelled(outer))
        }
        _ => format!("[{table}]"),
    }
}

/// Where a table's keys stand: `in [policy]`, `at the top level`.
pub(super) fn place(table: &str) -> String {
    if table.is_empty() {
        "at the top level".to_owned()
    } else {
        format!("in {}", spelled(table))
    }
}

/// How many letters must be added, removed, replaced or swapped with their neighbour to turn one into the other.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use crate::config::all::KEYS;

    fn advice(table: &str, unknown: &str) -> String {
        KEYS.advice(table, unknown)
    }

    #[test]
    fn the_nearest_key_is_named() {
        assert_eq!(
            advice("domain", "certifcate"),
            "did you mean `certificate`?"
        );
        assert_eq!(advice("limits", "idel"), "did you mean `idle`?");
        assert_eq!(advice("", "polices"), "did you mean `policy`?");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_sent_home() {
        assert_eq!(
            advice("", "tls"),
            "`tls` belongs in [policy] or in [[peer]]"
        );
        assert_eq!(
            advice("limits", "auth"),
            "`auth` belongs in [policy] or in [[peer]]"
        );
        assert_eq!(advice("peer", "deny"), "`deny` belongs in [policy]");
        assert_eq!(
            advice("policy", "credentials"),
            "`credentials` belongs in [[peer]]"
        );
        assert_eq!(
            advice("domain", "secret_file"),
            "`secret_file` belongs in `component` of [[domain]] or in [dialback]"
        );
    }

    #[test]
    fn a_key_like_no_other_gets_the_list() {
        assert_eq!(
            advice("queue.backoff", "jitter"),
            "the keys here are `first`, `max`"
        );
    }
}
