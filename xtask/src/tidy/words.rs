//! Words that do not belong into the tree: paths of somebody's machine, unfinished code, tests that are
//! left out, and in documents the words that hide who does what.

use super::{Fault, rust, tree::Tree};

/// Split in two, so that this file does not contain what it looks for.
const MACHINE_PATHS: [(&str, &str); 4] = [
    ("/ho", "me/"),
    ("/wo", "rk/"),
    ("/Us", "ers/"),
    ("/ro", "ot/"),
];

/// Words and phrases of documents, and what is better. Each hides who acts, or says by a negation what could be said.
const UNCLEAR: [(&str, &str); 15] = [
    ("are asked", "name who asks"),
    ("are told", "name who tells them"),
    ("at one time", "at the same time"),
    ("everybody", "say who"),
    ("is asked", "name who asks"),
    ("is said", "name who says it"),
    ("is told", "name who tells it"),
    ("lest", "so that … not"),
    ("no one", "say who, or what is"),
    ("nobody", "say who, or what is"),
    ("somebody", "say who"),
    ("someone", "say who"),
    ("whoever", "say who"),
    ("whom", "make it two sentences"),
    ("whomever", "say who"),
];

/// The documents that others wrote. All others are without.
const UNCLEAR_STILL: &[&str] = &["advisories/crates/"];

/// The code without them in comments and texts, tests apart. The list grows until it is all of it.
const CLEAR_CODE: &[&str] = &[
    "s2sd/examples/",
    "s2sd/src/",
    "xmpp-dialback/examples/",
    "xmpp-dialback/src/",
    "xmpp-sasl/examples/",
    "xmpp-sasl/src/",
    "xmpp-stream/examples/",
    "xmpp-stream/src/",
];

fn is_clear(path: &str) -> bool {
    !UNCLEAR_STILL.iter().any(|other| path.starts_with(other))
}

fn is_clear_code(path: &str) -> bool {
    CLEAR_CODE.iter().any(|clear| path.starts_with(clear)) && !path.contains("/tests")
}

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let documents = tree.ending(".md").filter(|(path, _)| is_clear(path));
    let documents = documents.map(|(path, text)| (path, text.to_owned()));
    let code = tree.ending(".rs").filter(|(path, _)| is_clear_code(path));
    let code = code.map(|(path, text)| (path, said(text)));
    for (path, text) in documents.chain(code) {
        let prose = prose(&text);
        for (words, better) in UNCLEAR {
            for at in rust::words(&prose, words) {
                faults.push(Fault::new(
                    path,
                    rust::line_of(&text, at),
                    format!("not `{words}`: {better}"),
                ));
            }
        }
    }
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

/// Comments and texts of a file in Rust, with blanks for the code, up to its tests. Every line stays where it is.
fn said(source: &str) -> String {
    let end = source.find("#[cfg(test)]\nmod tests {");
    let source = &source[..end.unwrap_or(source.len())];
    let code = rust::code(source);
    let both = source.chars().zip(code.chars());
    both.map(|(said, code)| match (said, code) {
        ('\n', _) => '\n',
        (said, ' ') => said,
        _ => ' ',
    })
    .collect()
}

/// A document in lower case on one line, with blanks where code is: what programs print is quoted as they print it.
/// Every byte keeps its place.
fn prose(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    let (mut fenced, mut code) = (false, false);
    for line in text.split_inclusive('\n') {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        // A piece of code may go on in the next line, not in the next paragraph.
        code &= !fence && !line.trim().is_empty();
        for c in line.chars() {
            let tick = c == '`';
            code ^= tick && !fenced && !fence;
            if fenced || fence || code || tick || c == '\n' {
                prose.extend(std::iter::repeat_n(' ', c.len_utf8()));
            } else {
                prose.push(c.to_ascii_lowercase());
            }
        }
    }
    prose
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

    #[test]
    fn words_that_hide_who_acts_are_found_in_the_documents_without_them() {
        check_one(
            "README.md",
            "Nobody is\ntold, at any time.",
            &[
                "not `is told`: name who tells it",
                "not `nobody`: say who, or what is",
            ],
        );
        check_one("README.md", "the greatest, the wholesome", &[]);
        let found = check(&Tree::from([("README.md", "é\n`é`\n\nlest")]));
        assert_eq!(found[0].line, 4);
    }

    #[test]
    fn words_that_hide_who_acts_are_found_in_comments_and_texts_of_the_code_without_them() {
        let text = "/// Nobody.\nfn nobody() -> &'static str {\n    \"is told\" // `lest`\n}\n\n\
                    #[cfg(test)]\nmod tests {\n    // lest\n}\n";
        let want = [
            "not `is told`: name who tells it",
            "not `nobody`: say who, or what is",
        ];
        check_one("xmpp-stream/src/a.rs", text, &want);
        check_one("xmpp-stream/src/a/tests.rs", text, &[]);
        check_one("xtask/src/a.rs", text, &[]);
    }

    #[test]
    fn code_in_a_document_may_say_what_programs_say() {
        check_one(
            "README.md",
            "`nobody` and `so\nnobody`\n```text\nnobody\n```\n",
            &[],
        );
        check_one(
            "README.md",
            "```text\n```\nlest `x` is",
            &["not `lest`: so that … not"],
        );
    }
}
