//! `cargo xtask tidy`: what the compiler does not check. One rule, one file, one function from the
//! tree to the faults in it, and a test that shows it failing.

mod circles;
mod commands;
mod compat;
mod crates;
mod imports;
mod layers;
mod links;
mod metrics;
mod names;
mod peers;
mod rust;
mod sizes;
mod tree;
mod words;

use anyhow::Result;
use std::fmt;
use tree::Tree;

/// One thing to put right.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    path: String,
    line: usize,
    what: String,
    /// A warning is printed and does not fail the run.
    warning: bool,
}

impl Fault {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            what: what.into(),
            warning: false,
        }
    }

    fn warning(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::new(path, line, what)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{kind}{}:{}: {}", self.path, self.line.max(1), self.what)
    }
}

type Check = fn(&Tree) -> Vec<Fault>;

const CHECKS: [(&str, Check); 10] = [
    ("layers", layers::check),
    ("circles", circles::check),
    ("crates", crates::check),
    ("links", links::check),
    ("sizes", sizes::check),
    ("metrics", metrics::check),
    ("peers", peers::check),
    ("words", words::check),
    ("names", names::check),
    ("compat", compat::check),
];

/// Runs every rule; true when nothing has to be put right.
pub(crate) fn run() -> Result<bool> {
    let tree = Tree::read(&crate::workspace::root())?;
    let mut good = true;
    for (name, rule) in CHECKS {
        let faults = rule(&tree);
        good &= report(name, &faults);
    }
    good &= report("features", &commands::features_off()?);
    Ok(good)
}

fn report(name: &str, faults: &[Fault]) -> bool {
    for fault in faults {
        println!("{fault}");
    }
    let wrong = faults.iter().filter(|fault| !fault.warning).count();
    let verdict = if wrong == 0 {
        "ok".to_owned()
    } else {
        format!("{wrong} to put right")
    };
    println!("tidy {name:<9} {verdict}");
    wrong == 0
}
