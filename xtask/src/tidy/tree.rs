//! The files of the workspace, read once, so that a rule is a function from texts to faults.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, path::Path};

/// Every text file by its path from the root, with `/` between the parts.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, String>);

/// Not ours, or made by tools.
const LEFT_OUT: [&str; 4] = ["target", ".git", "corpus", "artifacts"];

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(root, "")?;
        Ok(tree)
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        for entry in
            fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                self.read_directory(&entry.path(), &format!("{path}/"))?;
            } else {
                // What is not UTF-8 is not a text: its name still counts for links.
                let text = fs::read(entry.path())
                    .map(|bytes| String::from_utf8(bytes).unwrap_or_default())?;
                self.0.insert(path, text);
            }
        }
        Ok(())
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(super) fn ending(&self, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.ends_with(suffix))
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Is there a file or a directory of that name?
    pub(super) fn exists(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        path.is_empty()
            || self.0.contains_key(path)
            || self.0.keys().any(|file| file.starts_with(&inside))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Tree {
    fn from(files: [(&str, &str); N]) -> Self {
        Self(
            files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
        )
    }
}
