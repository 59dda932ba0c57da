//! Relative links in `*.md` lead somewhere: to a file or directory that is there, and to a heading in it.

use super::{Fault, tree::Tree};

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".md") {
        for (line, link) in links(text) {
            if link.contains("://") || link.starts_with("mailto:") || link.starts_with('<') {
                continue;
            }
            let (file, heading) = link
                .split_once('#')
                .map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target = if file.is_empty() {
                path.to_owned()
            } else {
                resolve(path, file)
            };
            if !tree.exists(&target) {
                faults.push(Fault::new(path, line, format!("dead link: {link}")));
            } else if let (Some(heading), Some(text)) = (
                heading,
                tree.text(&target).filter(|_| target.ends_with(".md")),
            ) && !headings(text).any(|known| known == heading)
            {
                faults.push(Fault::new(path, line, format!("no such heading: {link}")));
            }
        }
    }
    faults
}

/// Targets of `[text](target)` and `[name]: target` with their lines, outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (index, piece) in line.split('`').enumerate() {
            if index % 2 == 1 {
                continue; // inline code
            }
            for (at, _) in piece.match_indices("](") {
                let target = piece.get(at + 2..).unwrap_or_default();
                let end = target.find([')', ' ']).unwrap_or(target.len());
                found.extend(target.get(..end).map(|target| (number, target)));
            }
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
            && !name.contains(' ')
        {
            found.push((number, target.split(' ').next().unwrap_or(target)));
        }
    }
    found
}

/// The lines that are not inside ``` fences, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

/// Anchors as the usual renderers make them from headings.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(text: &str, want: &[&str]) {
        let tree = Tree::from([
            ("docs/a.md", text),
            ("README.md", "# The `first` thing\n"),
            ("s2sd/src/lib.rs", ""),
        ]);
        let found: Vec<String> = check(&tree).into_iter().map(|fault| fault.what).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn a_link_leads_to_a_file_or_directory() {
        check_one(
            "[x](../README.md) [y](../s2sd/src) [z](https://example.org/q)",
            &[],
        );
        check_one("[x](README.md)", &["dead link: README.md"]);
        check_one(
            "[`x`](nowhere.md) and\n\n[name]: also-nowhere.md",
            &["dead link: nowhere.md", "dead link: also-nowhere.md"],
        );
    }

    #[test]
    fn a_link_leads_to_a_heading() {
        check_one("# Here\n[x](#here) [y](../README.md#the-first-thing)", &[]);
        check_one(
            "[x](../README.md#the-second)",
            &["no such heading: ../README.md#the-second"],
        );
    }

    #[test]
    fn code_is_not_a_link() {
        check_one("`[x](gone)`\n```\n[y](gone)\n```", &[]);
    }
}
