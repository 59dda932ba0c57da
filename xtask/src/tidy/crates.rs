//! Which crate knows which: `xmpp-sasl` and `xmpp-dialback` know `xmpp-stream` in `wire.rs` only and never
//! each other; `xtask` knows none of ours.

use super::{Fault, rust, tree::Tree};

/// Directory, what it may not mention, and the one file that may.
const FORBIDDEN: [(&str, &[&str], Option<&str>); 4] = [
    (
        "xmpp-sasl/src/",
        &["xmpp_stream", "rxml", "tokio"],
        Some("xmpp-sasl/src/wire.rs"),
    ),
    (
        "xmpp-dialback/src/",
        &["xmpp_stream", "rxml", "tokio"],
        Some("xmpp-dialback/src/wire.rs"),
    ),
    ("xmpp-sasl/src/", &["xmpp_dialback", "s2sd"], None),
    ("xmpp-dialback/src/", &["xmpp_sasl", "s2sd"], None),
];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (directory, names, except) in FORBIDDEN {
        for (path, text) in tree
            .ending(".rs")
            .filter(|(path, _)| path.starts_with(directory) && Some(*path) != except)
        {
            let code = rust::without_tests(&rust::code(text));
            for name in names {
                for at in rust::words(&code, name) {
                    let only = except.map_or(String::new(), |file| format!(" (only {file} may)"));
                    faults.push(Fault::new(
                        path,
                        rust::line_of(&code, at),
                        format!("knows `{name}`{only}"),
                    ));
                }
            }
        }
    }
    if let Some(manifest) = tree.text("xtask/Cargo.toml") {
        for (number, line) in manifest.lines().enumerate() {
            if ["xmpp-stream", "xmpp-sasl", "xmpp-dialback", "s2sd"]
                .iter()
                .any(|name| line.starts_with(name))
            {
                faults.push(Fault::new(
                    "xtask/Cargo.toml",
                    number + 1,
                    "xtask depends on none of our crates",
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(path: &str, text: &str, want: &[&str]) {
        let found: Vec<String> = check(&Tree::from([(path, text)]))
            .into_iter()
            .map(|fault| fault.what)
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn only_wire_knows_the_stream() {
        check_one("xmpp-sasl/src/wire.rs", "use xmpp_stream::Element;", &[]);
        check_one(
            "xmpp-sasl/src/lib.rs",
            "use xmpp_stream::Element;",
            &["knows `xmpp_stream` (only xmpp-sasl/src/wire.rs may)"],
        );
        check_one(
            "xmpp-dialback/src/key.rs",
            "//! xmpp_stream is not known here",
            &[],
        );
    }

    #[test]
    fn the_two_do_not_know_each_other() {
        check_one(
            "xmpp-dialback/src/wire.rs",
            "use xmpp_sasl::Random;",
            &["knows `xmpp_sasl`"],
        );
    }

    #[test]
    fn xtask_knows_none_of_ours() {
        check_one(
            "xtask/Cargo.toml",
            "s2sd.workspace = true",
            &["xtask depends on none of our crates"],
        );
    }
}
