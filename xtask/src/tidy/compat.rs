//! A concession to another server is tagged `// COMPAT(ejabberd 23.01): …` and names, in backquotes, the
//! test that holds it: a function of that name, a transcript, or a scenario of `cargo xtask interop`.

use super::{Fault, tree::Tree};

// Split, so that this file is not one of those it looks for.
const TAG: (&str, &str) = ("// COM", "PAT(");

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let tag = format!("{}{}", TAG.0, TAG.1);
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| {
            let documentation = ["//!", "///"]
                .iter()
                .any(|start| line.trim_start().starts_with(start));
            line.contains(&tag) && !documentation
        }) {
            let comment: Vec<&str> = lines
                .iter()
                .skip(index)
                .take_while(|line| line.contains("//"))
                .filter_map(|line| line.split_once("//").map(|(_, text)| text))
                .collect();
            let comment = comment.join(" ");
            if !comment
                .split('`')
                .skip(1)
                .step_by(2)
                .any(|name| is_test(tree, name))
            {
                faults.push(Fault::new(
                    path,
                    index + 1,
                    "name the test that holds it, in backquotes",
                ));
            }
        }
    }
    faults
}

fn is_test(tree: &Tree, name: &str) -> bool {
    if name.contains('/') {
        return tree.text(name).is_some();
    }
    let function = format!("fn {name}(");
    let scenario = format!("\"{name}\"");
    !name.is_empty()
        && tree.ending(".rs").any(|(path, text)| {
            text.contains(&function) || (path.starts_with("xtask/") && text.contains(&scenario))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(comment: &str, want: usize) {
        let text = format!("{}{}x 1): {comment}\nlet a = 1;\n", TAG.0, TAG.1);
        let tree = Tree::from([
            ("a.rs", text.as_str()),
            ("b.rs", "#[test]\nfn it_holds() {}"),
            ("xtask/src/s.rs", "(\"no-version\", f)"),
        ]);
        assert_eq!(check(&tree).len(), want);
    }

    #[test]
    fn a_concession_names_its_test() {
        check_one("it does that", 1);
        check_one("it does `that`", 1);
        check_one("it does that\n// and more (`it_holds`)", 0);
        check_one("see `no-version`", 0);
    }
}
