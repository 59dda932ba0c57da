//! Every key that the configuration knows, once: the reader refuses what is not here, `docs/config.md` is compared
//! with it, and the nearest valid key of a misspelt one is looked up in it.

/// A key: the table it is in, its name, the kind of its value, its default as TOML (empty: none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table, as its path; empty for the top level.
    pub table: &'static str,
    /// The name.
    pub name: &'static str,
    /// What the value is, in the words of `docs/config.md`.
    pub kind: &'static str,
    /// The default, as TOML; empty where there is none.
    pub default: &'static str,
}

const fn key(
    table: &'static str,
    name: &'static str,
    kind: &'static str,
    default: &'static str,
) -> Key {
    Key {
        table,
        name,
        kind,
        default,
    }
}

/// All keys, in the order of `docs/config.md`. Those of `policy` are keys of `peer` too, but for `allow` and `deny`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("", "data_dir", "path", "\"/var/lib/s2sd\""),
    key("", "listen", "table", ""),
    key("", "domain", "tables", ""),
    key("", "policy", "table", ""),
    key("", "peer", "tables", ""),
    key("", "dialback", "table", ""),
    key("", "dns", "table", ""),
    key("", "limits", "table", ""),
    key("", "queue", "table", ""),
    key("", "log", "table", ""),

    key("listen", "s2s", "list of address:port", "[\"[::]:5269\"]"),
    key("listen", "s2s_tls", "list of address:port", "[\"[::]:5270\"]"),
    key("listen", "components", "list of address:port", "[\"127.0.0.1:5347\"]"),
    key("listen", "admin", "list of address:port", "[]"),

    key("domain", "name", "domain", ""),
    key("domain", "certificate", "path", ""),
    key("domain", "key", "path", ""),
    key("domain", "component", "table", ""),
    key("domain", "contact", "list of URI", "[]"),

    key("domain.component", "secret", "secret", ""),
    key("domain.component", "secret_file", "path", ""),
    key("domain.component", "max_stanza", "size", ""),

    key("policy", "tls", "word", "\"required\""),
    key("policy", "min_tls", "word", "\"1.2\""),
    key("policy", "require_ems", "bool", "true"),
    key("policy", "auth", "list of word", "[\"external\", \"dialback\"]"),
    key("policy", "verify", "word", "\"strict\""),
    key("policy", "dane", "word", "\"use\""),
    key("policy", "posh", "bool", "false"),
    key("policy", "trust", "word or list of path", "\"system\""),
    key("policy", "crl", "list of path", "[]"),
    key("policy", "max_stanza", "size", ""),
    key("policy", "stanzas_per_second", "number", "0"),
    key("policy", "bytes_per_second", "size or 0", "0"),
    key("policy", "addresses", "word", "\"public\""),
    key("policy", "source", "list of address", "[]"),
    key("policy", "proxy", "proxy", "\"\""),
    key("policy", "proxy_file", "path", ""),
    key("policy", "allow", "list of pattern", "[\"*\"]"),
    key("policy", "deny", "list of pattern", "[]"),

    key("peer", "domain", "domain or pattern", ""),
    key("peer", "connect", "list of host:port", "[]"),
    key("peer", "credentials", "table", ""),
    key("peer", "accept", "table", ""),

    key("peer.credentials", "username", "text", ""),
    key("peer.credentials", "password", "secret", ""),
    key("peer.credentials", "password_file", "path", ""),
    key("peer.credentials", "realm", "text", ""),
    key("peer.credentials", "authzid", "domain", ""),
    key("peer.credentials", "gssapi", "table", ""),
    key("peer.credentials", "kerberos-v4", "table", ""),

    key("peer.credentials.gssapi", "keytab", "path", ""),
    key("peer.credentials.gssapi", "principal", "principal", ""),
    key("peer.credentials.gssapi", "service", "principal", ""),

    key("peer.credentials.kerberos-v4", "key_file", "path", ""),

    key("peer.accept", "username", "text", ""),
    key("peer.accept", "password", "secret", ""),
    key("peer.accept", "password_file", "path", ""),
    key("peer.accept", "scram_file", "path", ""),
    key("peer.accept", "realm", "text", ""),
    key("peer.accept", "principals", "list of principal", ""),
    key("peer.accept", "gssapi", "table", ""),
    key("peer.accept", "kerberos-v4", "table", ""),

    key("peer.accept.gssapi", "keytab", "path", ""),

    key("peer.accept.kerberos-v4", "key_file", "path", ""),

    key("dialback", "secret", "secret", ""),
    key("dialback", "secret_file", "path", "\"\""),

    key("dns", "servers", "list of address", "[]"),
    key("dns", "resolv_conf", "path", "\"/etc/resolv.conf\""),
    key("dns", "dnssec", "word", "\"off\""),
    key("dns", "trust_anchor", "path", "\"\""),

    key("limits", "max_stanza", "size", "\"512KiB\""),
    key("limits", "preauth_stanza", "size", "\"16KiB\""),
    key("limits", "preauth_bytes", "size", "\"64KiB\""),
    key("limits", "preauth_elements", "number", "32"),
    key("limits", "depth", "number", "100"),
    key("limits", "attributes", "number", "64"),
    key("limits", "connect", "duration", "\"20s\""),
    key("limits", "negotiation", "duration", "\"60s\""),
    key("limits", "dialback", "duration", "\"30s\""),
    key("limits", "keepalive", "duration", "\"5m\""),
    key("limits", "idle", "duration", "\"60m\""),
    key("limits", "stall", "duration", "\"5m\""),
    key("limits", "stanza_time", "duration", "\"60s\""),
    key("limits", "drain", "duration", "\"30s\""),
    key("limits", "pairs_per_stream", "number", "64"),
    key("limits", "dialback_failures", "number", "10"),
    key("limits", "sasl_retries", "number", "3"),
    key("limits", "inbound", "number", "20000"),
    key("limits", "inbound_per_address", "number", "256"),
    key("limits", "inbound_per_network", "number", "2000"),
    key("limits", "inbound_per_domain", "number", "16"),
    key("limits", "components", "number", "1000"),
    key("limits", "memory", "size or word", "\"auto\""),
    key("limits", "questions", "number", "512"),
    key("limits", "questions_per_network", "number", "64"),
    key("limits", "descriptors", "number", "0"),

    key("queue", "stanzas", "number", "10000"),
    key("queue", "bytes", "size", "\"16MiB\""),
    key("queue", "lanes", "number", "10000"),
    key("queue", "give_up", "duration", "\"120s\""),
    key("queue", "backoff", "table", ""),

    key("queue.backoff", "first", "duration", "\"1s\""),
    key("queue.backoff", "max", "duration", "\"5m\""),

    key("log", "format", "word", "\"human\""),
    key("log", "level", "word", "\"info\""),
    key("log", "targets", "table of word", ""),
];

/// Keys of `[policy]` that are about all peers together, and so in no `[[peer]]`.
const EVERYBODYS: [&str; 2] = ["allow", "deny"];

/// The keys that may stand in a table.
pub(super) fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    let inherited = move |key: &Key| {
        table == "peer" && key.table == "policy" && !EVERYBODYS.contains(&key.name)
    };
    KEYS.iter()
        .filter(move |key| key.table == table || inherited(key))
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

/// What to say about a key that does not belong in `table`.
pub(super) fn advice(table: &str, unknown: &str) -> String {
    let here = |most: usize| {
        let near = keys_of(table).map(|key| (distance(key.name, unknown), key));
        near.filter(|(far, _)| *far <= most)
            .min_by_key(|(far, _)| *far)
    };
    let did_you_mean = |key: &Key| format!("did you mean `{}`?", key.name);
    if let Some((_, key)) = here(1) {
        return did_you_mean(key);
    }
    let homes = homes(unknown);
    if !homes.is_empty() {
        return format!("`{unknown}` belongs {}", homes.join(" or "));
    }
    if let Some((_, key)) = here((unknown.len() / 3).max(2)) {
        return did_you_mean(key);
    }
    let names: Vec<String> = keys_of(table)
        .map(|key| format!("`{}`", key.name))
        .collect();
    format!("the keys here are {}", names.join(", "))
}

/// The tables that have a key of this name.
fn homes(name: &str) -> Vec<String> {
    let mut homes: Vec<String> = KEYS
        .iter()
        .filter(|key| key.name == name)
        .map(|key| place(key.table))
        .collect();
    if keys_of("peer").any(|key| key.table == "policy" && key.name == name) {
        homes.push(place("peer"));
    }
    homes
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
    use super::*;

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
