//! Files and modules of one crate do not use each other in a circle.
//!
//! In each directory its files and its subdirectories are the nodes; a node uses another if code below it names
//! something below the other. A circle between two files of different directories is one between the directories that
//! hold them. A re-export is no use by itself: what it leads to counts. A part may use what stands in the `mod.rs`
//! above it, which is one thing with its parts. Tests use what they like.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Fault,
    imports::{expand, imports},
    rust,
    tree::Tree,
};

/// A module of a crate, by its path from the root (`a/b`; the root is empty).
#[derive(Default)]
struct Module {
    path: String,
    /// Without comments, texts and tests.
    code: String,
    /// What it offers under another path than its own: the name, and where that is.
    re_exports: BTreeMap<String, String>,
}

type Modules = BTreeMap<String, Module>;

/// Where one node of a directory uses another: the file, and the line.
type Uses = BTreeMap<(String, String), (String, usize)>;

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let roots: BTreeSet<&str> = tree
        .files()
        .filter_map(|(path, _)| {
            let root = path
                .strip_suffix("/src/lib.rs")
                .or_else(|| path.strip_suffix("/src/main.rs"))?;
            (!root.contains('/')).then_some(root)
        })
        .collect();
    let of_one = roots.into_iter().flat_map(|root| check_crate(tree, root));
    of_one.collect()
}

fn check_crate(tree: &Tree, root: &str) -> Vec<Fault> {
    let modules = modules(tree, root);
    let mut directories: BTreeMap<String, Uses> = BTreeMap::new();
    for (name, module) in &modules {
        for (at, target) in uses(&modules, name, module) {
            let Some((directory, user, used)) = siblings(name, &target) else {
                continue;
            };
            let line = rust::line_of(&module.code, at);
            let uses = directories.entry(directory).or_default();
            uses.entry((user, used))
                .or_insert_with(|| (module.path.clone(), line));
        }
    }
    let mut faults = Vec::new();
    for (directory, uses) in directories {
        for circle in circles(&uses) {
            let all = uses.iter().filter(|((user, used), _)| {
                let pairs = circle.iter().zip(circle.iter().cycle().skip(1));
                pairs.into_iter().any(|(a, b)| a == user && b == used)
            });
            let places: Vec<String> = all
                .map(|((user, used), (path, line))| {
                    format!("`{user}` uses `{used}` at {path}:{line}")
                })
                .collect();
            let (path, line) = uses
                .iter()
                .find(|((user, _), _)| circle.contains(user))
                .map(|(_, place)| place.clone())
                .unwrap_or_default();
            let of = match directory.as_str() {
                "" => root,
                directory => directory,
            };
            let what = format!("a circle in `{of}`: {}", places.join(", "));
            faults.push(Fault::new(&path, line, what));
        }
    }
    faults
}

fn modules(tree: &Tree, root: &str) -> Modules {
    let sources = format!("{root}/src/");
    let mut modules = Modules::new();
    for (path, text) in tree.ending(".rs") {
        let Some(module) = path.strip_prefix(&sources) else {
            continue;
        };
        // A program beside the library is another crate.
        if module.starts_with("bin/")
            || module == "main.rs" && tree.exists(&format!("{sources}lib.rs"))
        {
            continue;
        }
        let module = module.trim_end_matches(".rs").trim_end_matches("/mod");
        if module.split('/').any(|part| part == "tests") && !module.starts_with("tests/") {
            continue;
        }
        let name = match module {
            "lib" | "main" => "",
            module => module,
        };
        modules.insert(
            name.to_owned(),
            Module {
                path: path.to_owned(),
                code: rust::without_tests(&rust::code(text)),
                re_exports: BTreeMap::new(),
            },
        );
    }
    let names: Vec<String> = modules.keys().cloned().collect();
    for module in names {
        let children = children(&modules, &module);
        let Some(known) = modules.get_mut(&module) else {
            continue;
        };
        for (start, end) in re_exports(&known.code) {
            let statement = known.code.get(start..end).unwrap_or_default().to_owned();
            let Some((_, tree)) = statement.split_once("use ") else {
                continue;
            };
            let mut paths = Vec::new();
            expand(
                tree.trim_start().trim_start_matches("self::"),
                "",
                &mut paths,
            );
            for path in paths {
                let first = path.split('/').next().unwrap_or_default();
                if children.contains(first)
                    && let Some(name) = path.rsplit('/').next()
                {
                    let full = join(&module, &path);
                    known.re_exports.insert(name.to_owned(), full);
                }
            }
            // It is no use by itself.
            let blank: String = statement
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' })
                .collect();
            let of_children = tree_begins_with_child(tree, &children);
            if of_children {
                known.code.replace_range(start..end, &blank);
            }
        }
    }
    modules
}

fn tree_begins_with_child(tree: &str, children: &BTreeSet<String>) -> bool {
    let tree = tree.trim_start().trim_start_matches("self::");
    let end = tree
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(tree.len());
    tree.get(..end)
        .is_some_and(|first| first.is_empty() || children.contains(first))
}

/// Where `pub use …;` and `pub(…) use …;` begin and end.
fn re_exports(code: &str) -> Vec<(usize, usize)> {
    rust::words(code, "pub")
        .filter_map(|at| {
            let rest = code.get(at..)?;
            let after = rest.strip_prefix("pub")?;
            let after = match after.strip_prefix('(') {
                Some(inside) => inside.split_once(')')?.1,
                None => after,
            };
            after.trim_start().starts_with("use ").then_some(())?;
            let end = rest.find(';')?;
            Some((at, at + end))
        })
        .collect()
}

fn children(modules: &Modules, parent: &str) -> BTreeSet<String> {
    let prefix = join(parent, "");
    modules
        .keys()
        .filter_map(|name| name.strip_prefix(&prefix))
        .filter(|rest| !rest.is_empty())
        .filter_map(|rest| rest.split('/').next())
        .map(str::to_owned)
        .collect()
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        parent => format!("{parent}/{name}"),
    }
}

/// Every module that the code of this one uses, and where.
fn uses(modules: &Modules, name: &str, module: &Module) -> Vec<(usize, String)> {
    let mut found = imports(&module.code, name);
    for child in children(modules, name) {
        for at in rust::words(&module.code, &child) {
            let before = module.code.get(..at).unwrap_or_default().trim_end();
            let after = module.code.get(at + child.len()..).unwrap_or_default();
            if !before.ends_with("::") && after.starts_with("::") {
                let mut paths = Vec::new();
                expand(
                    after.trim_start_matches("::"),
                    &join(name, &child),
                    &mut paths,
                );
                found.extend(paths.into_iter().map(|path| (at, path)));
            }
        }
    }
    for (re_exported, path) in &module.re_exports {
        if let Some(at) = rust::words(&module.code, re_exported).next() {
            found.push((at, path.clone()));
        }
    }
    found
        .into_iter()
        .map(|(at, path)| (at, resolve(modules, &path)))
        .collect()
}

/// The module where that name is written, through every re-export.
fn resolve(modules: &Modules, path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..8 {
        let mut module = path.as_str();
        while !modules.contains_key(module) {
            module = module.rsplit_once('/').map_or("", |(parent, _)| parent);
            if module.is_empty() {
                break;
            }
        }
        let rest = path.get(module.len()..).unwrap_or_default();
        let mut rest = rest.trim_start_matches('/').splitn(2, '/');
        let name = rest.next().unwrap_or_default();
        let known = modules.get(module).and_then(|it| it.re_exports.get(name));
        match known {
            Some(there) if *there != path => {
                path = match rest.next() {
                    Some(more) => format!("{there}/{more}"),
                    None => there.clone(),
                };
            }
            _ => return module.to_owned(),
        }
    }
    path
}

/// The directory that holds both, and what of it is which.
fn siblings(user: &str, used: &str) -> Option<(String, String, String)> {
    if user == used {
        return None;
    }
    let parts = |path: &str| -> Vec<String> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let (user, used) = (parts(user), parts(used));
    let same = user.iter().zip(&used).take_while(|(a, b)| a == b).count();
    let directory = user.get(..same)?.join("/");
    Some((directory, user.get(same)?.clone(), used.get(same)?.clone()))
}

/// A shortest circle of each group of nodes that use each other.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let nodes: BTreeSet<&String> = uses.keys().map(|(user, _)| user).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for node in nodes {
        if found.iter().any(|circle| circle.contains(node)) {
            continue;
        }
        found.extend(circle_through(uses, node));
    }
    found
}

fn circle_through(uses: &Uses, start: &String) -> Option<Vec<String>> {
    let mut waiting = VecDeque::from([vec![start.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = waiting.pop_front() {
        let last = way.last()?;
        for (_, used) in uses.keys().filter(|(user, _)| user == last) {
            if used == start {
                return Some(way);
            }
            if seen.insert(used.clone()) {
                let mut longer = way.clone();
                longer.push(used.clone());
                waiting.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: (&str, &str) = ("x/src/lib.rs", "mod a; mod b; mod c;");

    #[track_caller]
    fn check_these(files: [(&str, &str); 3], want: &[&str]) {
        let [a, b, c] = files;
        let tree = Tree::from([ROOT, a, b, c]);
        let found: Vec<String> = check(&tree).into_iter().map(|fault| fault.what).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn files_do_not_use_each_other() {
        check_these(
            [
                ("x/src/a.rs", "use crate::b::B;"),
                ("x/src/b.rs", "use crate::c::C;"),
                ("x/src/c.rs", "fn f() {}"),
            ],
            &[],
        );
        check_these(
            [
                ("x/src/a.rs", "use crate::b::B;"),
                ("x/src/b.rs", "use crate::c::C;"),
                ("x/src/c.rs", "\nfn f() { crate::a::f() }"),
            ],
            &[
                "a circle in `x`: `a` uses `b` at x/src/a.rs:1, `b` uses `c` at x/src/b.rs:1, `c` uses `a` at x/src/c.rs:2",
            ],
        );
    }

    #[test]
    fn a_circle_of_files_in_directories_is_one_of_the_directories() {
        check_these(
            [
                ("x/src/a/mod.rs", "mod one; mod two;"),
                ("x/src/a/one.rs", "use crate::b::B;"),
                ("x/src/b.rs", "use crate::a::two::f;"),
            ],
            &["a circle in `x`: `a` uses `b` at x/src/a/one.rs:1, `b` uses `a` at x/src/b.rs:1"],
        );
    }

    #[test]
    fn a_re_export_leads_to_where_the_name_is_written() {
        check_these(
            [
                ("x/src/a/mod.rs", "mod one; mod two; pub use one::One;"),
                ("x/src/a/one.rs", "use super::two::Two;"),
                ("x/src/a/two.rs", "use super::One;"),
            ],
            &[
                "a circle in `a`: `one` uses `two` at x/src/a/one.rs:1, `two` uses `one` at x/src/a/two.rs:1",
            ],
        );
        check_these(
            [
                (
                    "x/src/a/mod.rs",
                    "mod one; mod two; pub use one::One; pub use two::Two;",
                ),
                ("x/src/a/one.rs", "use super::Two;"),
                ("x/src/a/two.rs", ""),
            ],
            &[],
        );
    }

    #[test]
    fn a_part_may_use_its_own_parent_and_tests_may_use_anything() {
        check_these(
            [
                ("x/src/a/mod.rs", "mod one; fn f() { one::g() } struct A;"),
                ("x/src/a/one.rs", "use super::A;"),
                ("x/src/b.rs", "#[cfg(test)] mod tests { use crate::a; }"),
            ],
            &[],
        );
    }
}
