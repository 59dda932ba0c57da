//! A file that has grown too long holds two things.

use super::{Fault, tree::Tree};

const LOOK: usize = 500;
const LIMIT: usize = 800;

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let lines = text.lines().count();
        if lines > LIMIT {
            faults.push(Fault::new(
                path,
                lines,
                format!("{lines} lines; {LIMIT} is the limit"),
            ));
        } else if lines > LOOK {
            faults.push(Fault::warning(
                path,
                lines,
                format!("{lines} lines: which part wants to leave?"),
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_warns_and_a_very_long_one_fails() {
        let of = |lines: usize| check(&Tree::from([("a.rs", "x\n".repeat(lines).as_str())]));
        assert!(of(500).is_empty());
        assert!(of(501).iter().all(|fault| fault.warning));
        assert_eq!(
            of(801),
            [Fault::new("a.rs", 801, "801 lines; 800 is the limit")]
        );
    }
}
