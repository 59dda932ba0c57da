//! What strangers say is shown by `s2sd/src/peer_text.rs` and by nothing else: a line end in it would be a second line of
//! the log, whatever the second line says.
//!
//! Three ways around it are faults: an error's `text` that is read for anything but a `PeerText`, another escaping, and a
//! `String` in a value that says why a stream ended or what a certificate is worth. (The errors of the libraries show
//! their condition and nothing else; what is forgotten here is still escaped where the log is written.)

use super::{Fault, rust, tree::Tree};

const SOURCES: &str = "s2sd/src/";
const HOME: &str = "s2sd/src/peer_text.rs";

/// What a `text` must be taken in by.
const TAKEN_IN: &str = ".as_deref().map(PeerText::";

const ESCAPES: [&str; 3] = ["escape_debug", "escape_default", "escape_unicode"];

/// The types that strangers have a say in, and their files.
const SAID: [(&str, &str); 5] = [
    ("s2sd/src/closed.rs", "enum Cause"),
    ("s2sd/src/closed.rs", "struct PeerError"),
    ("s2sd/src/protocol/plan.rs", "enum ResolveError"),
    ("s2sd/src/trust/judgement.rs", "enum Because"),
    ("s2sd/src/trust/bad_certificate.rs", "enum BadCertificate"),
];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
        if !path.starts_with(SOURCES) || path == HOME || is_test {
            continue;
        }
        let code = rust::without_tests(&rust::code(text));
        let mut fault = |at, what: &str| {
            faults.push(Fault::new(path, rust::line_of(&code, at), what));
        };
        for word in ESCAPES {
            for at in rust::words(&code, word) {
                fault(at, "another way to escape: `PeerText` is the one");
            }
        }
        for at in rust::words(&code, "text") {
            if is_read_raw(&code, at) {
                fault(
                    at,
                    "an error's `text` is a stranger's: `.text.as_deref().map(PeerText::new)`",
                );
            }
        }
    }
    for (path, item) in SAID {
        let Some(text) = tree.text(path) else {
            continue;
        };
        let code = rust::code(text);
        let Some(begin) = rust::words(&code, item).next() else {
            faults.push(Fault::new(
                path,
                1,
                format!("has no `{item}`; see xtask/src/tidy/peers.rs"),
            ));
            continue;
        };
        let length = code
            .get(begin..)
            .and_then(|item| item.find("\n}"))
            .unwrap_or(0);
        let body = code.get(begin..begin + length).unwrap_or_default();
        for at in rust::words(body, "String") {
            let line = rust::line_of(&code, begin + at);
            let what =
                format!("`{item}` holds a `String`, where a stranger has a say: a `PeerText`");
            faults.push(Fault::new(path, line, what));
        }
    }
    faults
}

/// A field `text` of something other than `self`, of which no `PeerText` is made at once.
fn is_read_raw(code: &str, at: usize) -> bool {
    let (before, after) = (
        code.get(..at).unwrap_or_default(),
        code.get(at..).unwrap_or_default(),
    );
    let after: String = after
        .trim_start_matches("text")
        .split_whitespace()
        .take(6)
        .collect();
    let is_field = before.ends_with('.') && !before.ends_with("..") && !after.starts_with('(');
    is_field && !before.ends_with("self.") && !after.starts_with(TAKEN_IN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(path: &str, text: &str, lines: &[usize]) {
        let faults = check(&Tree::from([(path, text)]));
        let found: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(found, lines, "{faults:?}");
    }

    #[test]
    fn a_text_is_taken_in_or_found() {
        let path = "s2sd/src/closed.rs";
        let cause = "enum Cause {\n}\nstruct PeerError {\n}\n";
        for (code, lines) in [
            ("error.text.as_deref().map(PeerText::new)", &[] as &[usize]),
            ("error\n.text\n.as_deref()\n.map(PeerText::new)", &[]),
            ("self.text; page.text(\"x\"); text; ..text", &[]),
            ("write!(f, \"{}\", error.text)", &[5]),
            ("error.text.clone()", &[5]),
            ("error.text = None", &[5]),
            ("x.escape_debug()", &[5]),
            ("#[cfg(test)]\nmod tests { error.text }", &[]),
        ] {
            check_one(path, &format!("{cause}{code}"), lines);
        }
        check_one("s2sd/src/protocol/lane/tests.rs", "error.text", &[]);
        check_one("tests/src/peer.rs", "error.text", &[]);
    }

    #[test]
    fn why_a_stream_ended_has_no_other_text() {
        let text = "fn f() -> String {}\nenum Cause {\n  A(PeerText),\n  B(String),\n}\nstruct PeerError {\n}\nstruct X(String);\n";
        check_one("s2sd/src/closed.rs", text, &[4]);
        check_one("s2sd/src/closed.rs", "enum Cause {\n}\n", &[1]);
    }
}
