//! The metrics and their page: every metric that `s2sd/src/admin/metrics.rs` lists stands in the table of
//! `docs/metrics.md` with its kind and its labels, and no other does.

use super::{Fault, rust, tree::Tree};

const LIST: &str = "s2sd/src/admin/metrics.rs";
const PAGE: &str = "docs/metrics.md";

/// Name, kind and labels, as the page writes them.
type Row = [String; 3];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let Some(source) = tree.text(LIST) else {
        return vec![Fault::new(LIST, 1, "is missing")];
    };
    let Some(page) = tree.text(PAGE) else {
        return vec![Fault::new(PAGE, 1, "is missing")];
    };
    let (listed, documented) = (listed(source), rows(page));
    let mut faults = Vec::new();
    if listed.is_empty() {
        let what = "lists no metrics as `metric(\"name\", Kind, &[…], …)`";
        faults.push(Fault::new(LIST, 1, what));
    }
    let missing = |these: &[(usize, Row)], from: &[(usize, Row)], path, other| {
        let lacks = |row: &Row| from.iter().all(|(_, known)| known != row);
        let missing = these.iter().filter(|(_, row)| lacks(row));
        let fault = missing.map(|(line, [name, kind, labels])| {
            let labels = if labels.is_empty() {
                "no labels"
            } else {
                labels
            };
            Fault::new(
                path,
                *line,
                format!("`{name}` ({kind}; {labels}) is not in {other}"),
            )
        });
        fault.collect::<Vec<_>>()
    };
    faults.extend(missing(&listed, &documented, LIST, PAGE));
    faults.extend(missing(&documented, &listed, PAGE, LIST));
    faults
}

/// The calls `metric("name", Kind, &["label", …], "help")`, with their lines.
fn listed(source: &str) -> Vec<(usize, Row)> {
    let mut found = Vec::new();
    for (at, start) in source.match_indices("metric(\"") {
        let rest = source.get(at + start.len()..).unwrap_or_default();
        let Some((name, rest)) = rest.split_once("\", ") else {
            continue;
        };
        let Some((kind, rest)) = rest.split_once(", &[") else {
            continue;
        };
        let Some((labels, _)) = rest.split_once(']') else {
            continue;
        };
        let kind = match kind {
            "Counts" => "counter",
            "Measures" => "gauge",
            other => other,
        };
        let row = [name, kind, &labels.replace('"', "")].map(str::to_owned);
        found.push((rust::line_of(source, at), row));
    }
    found
}

/// The first three cells of the lines of tables that begin with a metric, without backquotes.
fn rows(page: &str) -> Vec<(usize, Row)> {
    let mut found = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if !line.starts_with("| `s2sd_") {
            continue;
        }
        let mut cells = line
            .split('|')
            .skip(1)
            .map(|cell| cell.trim().replace('`', ""));
        if let (Some(name), Some(kind), Some(labels)) = (cells.next(), cells.next(), cells.next()) {
            found.push((index + 1, [name, kind, labels]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "const M: &[Metric] = &[\n metric(\"s2sd_a\", Measures, &[], \"A\"),\n metric(\"s2sd_b_total\", Counts, &[\"way\", \"cause\"], \"B\"),\n];";
    const LISTED: &str =
        "| `s2sd_a` | gauge | | A |\n| `s2sd_b_total` | counter | `way`, `cause` | B |\n";

    #[track_caller]
    fn check_one(page: &str, want: &[&str]) {
        let tree = Tree::from([(LIST, SOURCE), (PAGE, page)]);
        let found: Vec<String> = check(&tree).into_iter().map(|fault| fault.what).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn every_metric_is_on_the_page_and_no_other() {
        check_one(LISTED, &[]);
        check_one(
            "| `s2sd_a` | gauge | | A |\n| `s2sd_c` | gauge | `way` | C |\n",
            &[
                "`s2sd_b_total` (counter; way, cause) is not in docs/metrics.md",
                "`s2sd_c` (gauge; way) is not in s2sd/src/admin/metrics.rs",
            ],
        );
    }

    #[test]
    fn kind_and_labels_agree() {
        check_one(
            &LISTED
                .replace("gauge | |", "counter | |")
                .replace(", `cause`", ""),
            &[
                "`s2sd_a` (gauge; no labels) is not in docs/metrics.md",
                "`s2sd_b_total` (counter; way, cause) is not in docs/metrics.md",
                "`s2sd_a` (counter; no labels) is not in s2sd/src/admin/metrics.rs",
                "`s2sd_b_total` (counter; way) is not in s2sd/src/admin/metrics.rs",
            ],
        );
    }

    #[test]
    fn a_list_or_page_that_is_missing_is_found() {
        assert_eq!(check(&Tree::from([(LIST, SOURCE)])).len(), 1);
        assert_eq!(check(&Tree::from([(PAGE, LISTED)])).len(), 1);
    }
}
