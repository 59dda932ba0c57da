//! Which modules the code of a module names.

/// Every path in the code that begins with `crate::`, `super::` or (in the program) `s2sd::`, as module
/// paths. `use crate::{a, b::{c, D}}` gives `a`, `b/c`, `b/D`: `layer_of` finds the module among the parts.
pub(super) fn imports(code: &str, module: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "s2sd::"] {
        for (at, _) in code.match_indices(start) {
            let before = code.get(..at).and_then(|text| text.chars().next_back());
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut base: Vec<&str> = if start == "super::" {
                module.split('/').collect()
            } else {
                Vec::new()
            };
            let mut rest = code.get(at..).unwrap_or_default();
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            rest = rest
                .strip_prefix("crate::")
                .or_else(|| rest.strip_prefix("s2sd::"))
                .unwrap_or(rest);
            let mut names = Vec::new();
            expand(rest, &base.join("/"), &mut names);
            found.extend(names.into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// Reads one use tree; returns what follows it.
pub(super) fn expand<'a>(text: &'a str, prefix: &str, out: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut inside) = text.strip_prefix('{') {
        loop {
            inside = inside.trim_start();
            if let Some(after) = inside.strip_prefix('}') {
                return after;
            }
            let rest = expand(inside, prefix, out);
            let rest = rest.trim_start().strip_prefix(',').unwrap_or(rest);
            if rest.len() == inside.len() || rest.is_empty() {
                return rest;
            }
            inside = rest;
        }
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = match (prefix, name) {
        (_, "" | "self") => prefix.to_owned(),
        ("", _) => name.to_owned(),
        _ => format!("{prefix}/{name}"),
    };
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(deeper, &path, out);
    }
    out.push(path);
    // `name as other`
    let trimmed = rest.trim_start();
    match trimmed.strip_prefix("as ") {
        Some(alias) => alias
            .trim_start()
            .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
        None => rest,
    }
}
