//! What a run found: a line for each row as it ends, a matrix at the end, JSON for programs.

use serde::Serialize;
use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

/// One row's outcome.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) peer: &'static str,
    pub(super) scenario: &'static str,
    /// The peer's part.
    pub(super) part: &'static str,
    pub(super) result: RowResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RowResult {
    Passed,
    Failed,
    /// The peer cannot do it; the reason says why.
    NotApplicable,
}

impl RowResult {
    fn text(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAIL",
            Self::NotApplicable => "n/a",
        }
    }
}

impl Entry {
    pub(super) const HEADER: &str =
        "peer      scenario                     peer is     result  seconds";

    pub(super) fn line(&self) -> String {
        let Self {
            peer,
            scenario,
            part,
            result,
            reason,
            seconds,
        } = self;
        let mut line = format!(
            "{peer:<9} {scenario:<28} {part:<11} {:<6} {seconds:>8.1}",
            result.text()
        );
        if let Some(reason) = reason {
            let _ = write!(line, "  {}", reason.replace('\n', " "));
        }
        line
    }
}

/// What goes into the file of `--json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) peers: &'a [(&'static str, String)],
    pub(super) rows: &'a [Entry],
}

/// Scenarios down, peers and their parts across: one table for those peers that play the same scenarios.
pub(super) fn matrix(rows: &[Entry]) -> String {
    let plays = |peer: &str| unique(of(rows, peer).map(|row| row.scenario));
    let peers = unique(rows.iter().map(|row| row.peer));
    let mut text = String::new();
    for scenarios in unique(peers.iter().map(|peer| plays(peer))) {
        let together = peers.iter().filter(|peer| plays(peer) == scenarios);
        let rows: Vec<&Entry> = together.flat_map(|peer| of(rows, peer)).collect();
        text.push_str(&table(&rows, &scenarios));
        text.push('\n');
    }
    let not_applicable = rows
        .iter()
        .filter(|row| row.result == RowResult::NotApplicable);
    for (peer, reason) in not_applicable
        .filter_map(|row| Some((row.peer, row.reason.as_ref()?)))
        .collect::<BTreeSet<_>>()
    {
        let _ = writeln!(text, "n/a: {peer} {reason}");
    }
    let count = |verdict| rows.iter().filter(|row| row.result == verdict).count();
    let seconds = rows.iter().map(|row| row.seconds).sum();
    let _ = writeln!(
        text,
        "{} ok, {} failed, {} n/a in {:.0?}",
        count(RowResult::Passed),
        count(RowResult::Failed),
        count(RowResult::NotApplicable),
        Duration::from_secs_f64(seconds)
    );
    text
}

fn of<'a>(rows: &'a [Entry], peer: &str) -> impl Iterator<Item = &'a Entry> {
    rows.iter().filter(move |row| row.peer == peer)
}

fn table(rows: &[&Entry], scenarios: &[&str]) -> String {
    let columns: Vec<(&str, &str)> = unique(rows.iter().map(|row| (row.peer, row.part)));
    let mut text = String::new();
    let _ = writeln!(text, "{}", line("", columns.iter().map(|(peer, _)| *peer)));
    let _ = writeln!(
        text,
        "{}",
        line("the peer is", columns.iter().map(|(_, part)| *part))
    );
    for scenario in scenarios {
        let results = columns.iter().map(|column| {
            let row = rows
                .iter()
                .find(|row| row.scenario == *scenario && (row.peer, row.part) == *column);
            row.map_or("", |row| row.result.text())
        });
        let _ = writeln!(text, "{}", line(scenario, results));
    }
    text
}

fn line<'a>(first: &str, cells: impl Iterator<Item = &'a str>) -> String {
    let cells: String = cells.map(|cell| format!(" {cell:<10}")).collect();
    format!("{first:<28}{cells}").trim_end().to_owned()
}

fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_counts_what_was_not_run() {
        let row = |peer, scenario, part, result, reason: Option<&str>| Entry {
            peer,
            scenario,
            part,
            result,
            reason: reason.map(str::to_owned),
            seconds: 1.0,
        };
        let rows = [
            row("a", "x", "initiating", RowResult::Passed, None),
            row("a", "x", "receiving", RowResult::Failed, Some("why")),
            row(
                "a",
                "y",
                "initiating",
                RowResult::NotApplicable,
                Some("has no y"),
            ),
        ];
        let want = "                             a          a
the peer is                  initiating receiving
x                            ok         FAIL
y                            n/a

n/a: a has no y
1 ok, 1 failed, 1 n/a in 3s
";
        assert_eq!(matrix(&rows), want);
        let other = row("b", "z", "receiving", RowResult::Passed, None);
        let apart = matrix(&[rows[0].clone(), other]);
        let want = "                             a
the peer is                  initiating
x                            ok

                             b
the peer is                  receiving
z                            ok

2 ok, 0 failed, 0 n/a in 2s
";
        assert_eq!(apart, want);
        assert_eq!(
            rows[1].line(),
            "a         x                            receiving   FAIL        1.0  why"
        );
    }
}
