//! Words that do not belong into the tree: paths of somebody's machine, unfinished code, tests that are
//! left out.

use super::{Fault, rust, tree::Tree};

/// Split in two, so that this file does not contain what it looks for.
const MACHINE_PATHS: [(&str, &str); 4] = [
    ("/ho", "me/"),
    ("/wo", "rk/"),
    ("/Us", "ers/"),
    ("/ro", "ot/"),
];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.files() {
        for (first, second) in MACHINE_PATHS {
            let word = format!("{first}{second}");
            for (at, _) in text.match_indices(&word) {
                // `a/home/b` is some other path's middle, and an address is not a file.
                let before = text.get(..at).and_then(|text| text.chars().next_back());
                if !before.is_some_and(|c| {
                    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | ')' | '$')
                }) {
                    faults.push(Fault::new(
                        path,
                        rust::line_of(text, at),
                        format!("a path of one machine: {word}"),
                    ));
                }
            }
        }
    }
    for (path, text) in tree.ending(".rs") {
        let code = rust::code(text);
        for (word, what) in [
            ("todo!", "unfinished"),
            ("unimplemented!", "unfinished"),
            ("dbg!", "left over"),
        ] {
            for (at, _) in code.match_indices(word) {
                faults.push(Fault::new(
                    path,
                    rust::line_of(&code, at),
                    format!("{what}: {word}"),
                ));
            }
        }
        for (at, _) in code.match_indices("#[ignore") {
            faults.push(Fault::new(
                path,
                rust::line_of(&code, at),
                "a test that is not run",
            ));
        }
        for (at, _) in code.match_indices("#[should_panic") {
            faults.push(Fault::new(
                path,
                rust::line_of(&code, at),
                "say what is wrong by a value, not by a panic",
            ));
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
    fn a_path_of_one_machine_is_found() {
        check_one(
            "README.md",
            "see /var/lib/s2sd and https://example.org/home/x",
            &[],
        );
        let path = format!("see {}me/alice", "/ho");
        check_one(
            "README.md",
            &path,
            &[format!("a path of one machine: {}me/", "/ho").as_str()],
        );
    }

    #[test]
    fn unfinished_code_is_found() {
        check_one("a.rs", "// todo!()\n\"todo!\"", &[]);
        check_one("a.rs", "fn f() { todo!() }", &["unfinished: todo!"]);
    }

    #[test]
    fn a_test_that_is_left_out_is_found() {
        check_one(
            "a.rs",
            "#[test]\n#[ignore = \"slow\"]\nfn f() {}",
            &["a test that is not run"],
        );
    }
}
