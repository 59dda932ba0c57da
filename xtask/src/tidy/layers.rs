//! The layers of `s2sd`: the table in `s2sd/src/lib.rs` says which module is on which layer; nothing
//! imports from a layer above its own, and layer 1 decides without tasks, clocks and files.
//!
//! A row is `//! | 1 pure | `negotiate/{inbound,outbound}`, `session` (…) | … |`, or with `::`. A module belongs to the
//! longest entry that its path begins with; `x/mod.rs` to the entry `x`, or, where only its parts are
//! listed, to the highest of them. `lib.rs` (the list of modules) is on no layer; `main.rs` is on the last.

use super::{Fault, imports::imports, rust, tree::Tree};
use std::collections::BTreeMap;

const LIBRARY: &str = "s2sd/src/lib.rs";
const SOURCES: &str = "s2sd/src/";

/// What layer 1 may not mention, and why.
const IMPURE: [(&str, &str); 6] = [
    ("tokio", "a task or a socket"),
    ("std::fs", "a file"),
    ("std::net::TcpStream", "a socket"),
    ("Instant::now", "a clock: take the time as an argument"),
    ("SystemTime::now", "a clock: take the time as an argument"),
    ("UnixTime::now", "a clock: take the time as an argument"),
];

/// Module path (parts joined by `/`) to its layer.
type Table = BTreeMap<String, u32>;

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let Some(library) = tree.text(LIBRARY) else {
        return vec![Fault::new(LIBRARY, 1, "is missing")];
    };
    let table = match read_table(library) {
        Ok(table) => table,
        Err(what) => return vec![Fault::new(LIBRARY, 1, what)],
    };
    let mut faults = Vec::new();
    for (path, text) in tree
        .ending(".rs")
        .filter(|(path, _)| path.starts_with(SOURCES) && *path != LIBRARY)
    {
        let module = module_of(path);
        if is_test(tree, &module) {
            continue;
        }
        let code = rust::without_tests(&rust::code(text));
        check_demo(path, &module, &code, &mut faults);
        if module == "tools/demo" || module.starts_with("tools/demo/") {
            continue; // beside the layers: `check_demo` says who may know it
        }
        let Some(layer) = layer_of(&table, &module) else {
            faults.push(Fault::new(
                path,
                1,
                format!("`{module}` is on no layer of the table in {LIBRARY}"),
            ));
            continue;
        };
        for (at, import) in imports(&code, &module) {
            match layer_of(&table, &import) {
                Some(above) if above > layer => faults.push(Fault::new(
                    path,
                    rust::line_of(&code, at),
                    format!("`{module}` (layer {layer}) imports `{import}` (layer {above})"),
                )),
                _ => {}
            }
        }
        if layer == 1 {
            for (word, what) in IMPURE {
                for at in rust::words(&code, word) {
                    let line = rust::line_of(&code, at);
                    faults.push(Fault::new(
                        path,
                        line,
                        format!("`{module}` is pure and mentions `{word}` ({what})"),
                    ));
                }
            }
        }
    }
    faults
}

/// `demo` is re-used by the tests' crate and started by the command line; nobody else may know it.
fn check_demo(path: &str, module: &str, code: &str, faults: &mut Vec<Fault>) {
    let allowed = ["tools/demo", "main", "cli"];
    if allowed
        .iter()
        .any(|name| module == *name || module.starts_with(&format!("{name}/")))
    {
        return;
    }
    for (at, import) in imports(code, module) {
        if import == "tools/demo" || import.starts_with("tools/demo/") {
            faults.push(Fault::new(
                path,
                rust::line_of(code, at),
                "only the command line may import `demo`",
            ));
        }
    }
}

fn read_table(library: &str) -> Result<Table, String> {
    let mut table = Table::new();
    for line in library.lines() {
        let Some(row) = line
            .trim_start()
            .strip_prefix("//!")
            .map(str::trim)
            .filter(|row| row.starts_with('|'))
        else {
            continue;
        };
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (Some(layer), Some(modules)) = (cells.next(), cells.next()) else {
            continue;
        };
        let Some(number) = layer
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
        else {
            continue;
        };
        for name in modules.split('`').skip(1).step_by(2) {
            for module in braces(&name.replace("::", "/")) {
                if let Some(other) = table.insert(module.clone(), number) {
                    return Err(format!(
                        "`{module}` is on layer {other} and on layer {number}"
                    ));
                }
            }
        }
    }
    if table.is_empty() {
        return Err("has no table of layers in its documentation".into());
    }
    table.entry("main".into()).or_insert(u32::MAX);
    Ok(table)
}

/// `a/{b,c}` is `a/b` and `a/c`; `a/*` is `a`.
fn braces(name: &str) -> Vec<String> {
    let name = name.trim_end_matches("/*");
    match name.split_once('{') {
        Some((before, inside)) => {
            let inside = inside.trim_end_matches('}');
            inside
                .split(',')
                .map(|part| format!("{before}{}", part.trim()))
                .collect()
        }
        None => vec![name.to_owned()],
    }
}

/// `s2sd/src/a/b.rs` and `s2sd/src/a/b/mod.rs` are `a/b`.
fn module_of(path: &str) -> String {
    let path = path.trim_start_matches(SOURCES).trim_end_matches(".rs");
    path.trim_end_matches("/mod").to_owned()
}

/// Is this a file below a `#[cfg(test)] mod tests;`? Tests may use what they like.
fn is_test(tree: &Tree, module: &str) -> bool {
    let parts: Vec<&str> = module.split('/').collect();
    let Some(parent) = parts
        .iter()
        .position(|part| *part == "tests")
        .and_then(|at| parts.get(..at))
        .filter(|parent| !parent.is_empty())
    else {
        return false;
    };
    let parent = parent.join("/");
    [
        format!("{SOURCES}{parent}.rs"),
        format!("{SOURCES}{parent}/mod.rs"),
    ]
    .iter()
    .filter_map(|path| tree.text(path))
    .any(|text| rust::code(text).contains("#[cfg(test)]\nmod tests;"))
}

fn layer_of(table: &Table, module: &str) -> Option<u32> {
    let mut prefix = module;
    loop {
        if let Some(layer) = table.get(prefix) {
            return Some(*layer);
        }
        match prefix.rsplit_once('/') {
            Some((parent, _)) => prefix = parent,
            None => break,
        }
    }
    let parts = format!("{module}/");
    table
        .iter()
        .filter(|(name, _)| name.starts_with(&parts))
        .map(|(_, layer)| *layer)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "//! | layer | what | knows |\n//! |---|---|---|\n//! | 0 words | `config` | nothing |\n\
        //! | 1 pure | `lane`, `resolve/{plan,order}` (x) | y |\n//! | 2 io | `resolve/dns` | z |\n//! | 3 flow | `router` | all |\n";

    #[track_caller]
    fn check_one(path: &str, text: &str, want: &[&str]) {
        let tree = Tree::from([(LIBRARY, TABLE), (path, text)]);
        let found: Vec<String> = check(&tree).into_iter().map(|fault| fault.what).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn a_lower_layer_may_not_import_a_higher_one() {
        check_one("s2sd/src/lane.rs", "use crate::config::Policy;", &[]);
        check_one(
            "s2sd/src/lane.rs",
            "use crate::{config, router::{self, Origin}};",
            &[
                "`lane` (layer 1) imports `router` (layer 3)",
                "`lane` (layer 1) imports `router/Origin` (layer 3)",
            ],
        );
        check_one("s2sd/src/router.rs", "use crate::lane::Lane;", &[]);
    }

    #[test]
    fn entries_may_be_written_as_paths() {
        let tree = Tree::from([
            (
                LIBRARY,
                "//! | 1 pure | `tls::trust` | x |\n//! | 2 io | `tls` | y |\n",
            ),
            ("s2sd/src/tls/trust.rs", "use super::config::Tls;"),
        ]);
        let found: Vec<String> = check(&tree).into_iter().map(|fault| fault.what).collect();
        assert_eq!(
            found,
            ["`tls/trust` (layer 1) imports `tls/config/Tls` (layer 2)"]
        );
    }

    #[test]
    fn a_file_of_tests_may_import_anything_and_only_that() {
        let faults = |parent: &str| {
            let tree = Tree::from([
                (LIBRARY, TABLE),
                ("s2sd/src/lane.rs", parent),
                ("s2sd/src/lane/tests.rs", "use crate::router;"),
            ]);
            check(&tree).len()
        };
        assert_eq!(faults("#[cfg(test)]\nmod tests;\n"), 0);
        assert_eq!(faults("mod tests;\n"), 1);
    }

    #[test]
    fn super_is_resolved() {
        check_one(
            "s2sd/src/resolve/plan.rs",
            "fn f() { super::dns::ask() }",
            &["`resolve/plan` (layer 1) imports `resolve/dns/ask` (layer 2)"],
        );
    }

    #[test]
    fn a_directory_whose_parts_are_listed_is_on_the_highest_of_them() {
        check_one(
            "s2sd/src/resolve/mod.rs",
            "pub mod dns; use self::dns::Dns; use crate::lane;",
            &[],
        );
        check_one(
            "s2sd/src/resolve/mod.rs",
            "use crate::router;",
            &["`resolve` (layer 2) imports `router` (layer 3)"],
        );
    }

    #[test]
    fn a_module_without_a_layer_is_found() {
        check_one(
            "s2sd/src/new.rs",
            "",
            &["`new` is on no layer of the table in s2sd/src/lib.rs"],
        );
    }

    #[test]
    fn the_pure_layer_has_no_clock_and_no_task_outside_its_tests() {
        check_one(
            "s2sd/src/lane.rs",
            "// tokio\n#[cfg(test)] mod tests { use tokio::x; }",
            &[],
        );
        check_one(
            "s2sd/src/lane.rs",
            "fn f() { std::time::Instant::now(); }",
            &["`lane` is pure and mentions `Instant::now` (a clock: take the time as an argument)"],
        );
        check_one("s2sd/src/resolve/dns.rs", "use tokio::net;", &[]);
    }

    #[test]
    fn nobody_imports_the_demo() {
        check_one(
            "s2sd/src/tools/demo/zone.rs",
            "use super::ca; use crate::tools::demo::ca;",
            &[],
        );
        check_one("s2sd/src/main.rs", "s2sd::tools::demo::run()", &[]);
        check_one(
            "s2sd/src/router.rs",
            "use crate::tools::demo;",
            &["only the command line may import `demo`"],
        );
    }

    #[test]
    fn a_library_without_a_table_is_found() {
        let tree = Tree::from([(LIBRARY, "//! Hello.")]);
        assert_eq!(
            check(&tree),
            [Fault::new(
                LIBRARY,
                1,
                "has no table of layers in its documentation"
            )]
        );
    }
}
