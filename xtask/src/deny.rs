//! `cargo xtask deny`: cargo-deny over what is in `Cargo.lock` (advisories, licences, duplicate crates, sources), as
//! `deny.toml` says. The advisories are the dated copy in `advisories`, unless `--fetch` asks the database itself.

use crate::workspace::{cargo, root};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ask the RustSec database itself, by git, instead of the copy in `advisories`
    #[arg(long, conflicts_with = "renew")]
    fetch: bool,
    /// Take a new copy from a clone of the database, and check nothing
    #[arg(long, value_name = "CLONE")]
    renew: Option<std::path::PathBuf>,
}

/// What `ci --install` installs: without optimization it is built in half the time, and runs as fast as it has to.
const INSTALL: [&str; 5] = [
    "install",
    "--locked",
    "--debug",
    "cargo-deny",
    "--version=0.20.2",
];
const NO_CARGO_DENY: &str =
    "this needs cargo-deny, and there is none: cargo install --locked cargo-deny --version 0.20.2";
/// Where cargo-deny looks for the database: below `db-path`, named after the address that it has by default.
const DATABASE: &str = "target/deny/advisory-db-3157b0e258782691";
/// When the copy is called old.
const OLD: u64 = 90;

/// Checks, or renews the copy; true when there is nothing to put right.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    if let Some(clone) = &arguments.renew {
        let count = renew(clone)?;
        println!(
            "{count} advisories are in `advisories` now; look at the difference and commit it"
        );
        return Ok(true);
    }
    ensure!(is_installed(), NO_CARGO_DENY);
    let mut command = cargo();
    command.args(["deny", "--locked"]);
    if !arguments.fetch {
        lay_out()?;
        // Only where it goes nowhere does it take what is there, and then crates of other systems have to be there too.
        let mut fetching = cargo();
        let fetched = fetching.args(["fetch", "--locked"]).status();
        ensure!(
            fetched.context("starting cargo")?.success(),
            "cargo fetch failed"
        );
        command.arg("--offline");
        let date = fs::read_to_string(root().join("advisories/date")).context("advisories/date")?;
        let age = age(date.trim()).context("advisories/date is no date")?;
        println!("advisories: the copy of {}, {age} days old", date.trim());
        if age > OLD {
            println!("warning: renew it where git is reachable; advisories/README.md says how");
        }
    }
    let status = command.arg("check").status();
    let status = status.context("starting cargo deny")?;
    Ok(status.success())
}

/// Whether cargo-deny is there.
pub(crate) fn is_installed() -> bool {
    let mut command = cargo();
    command.args(["deny", "--version"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// How it is installed.
pub(crate) fn installing() -> Command {
    let mut command = cargo();
    command.args(INSTALL);
    command
}

/// Puts the copy where cargo-deny looks for a clone that was fetched just now.
fn lay_out() -> Result<()> {
    let database = root().join(DATABASE);
    if database.exists() {
        fs::remove_dir_all(&database).with_context(|| database.display().to_string())?;
    }
    fs::create_dir_all(database.join(".git"))?;
    fs::write(database.join(".git/FETCH_HEAD"), "")?;
    copy(
        &root().join("advisories/crates"),
        &database.join("crates"),
        |_| true,
    )?;
    Ok(())
}

/// Copies the advisories about these crates, and says how many there were.
fn copy(from: &Path, to: &Path, of: impl Fn(&str) -> bool) -> Result<usize> {
    let mut count = 0;
    for about in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let about = about?;
        let name = about.file_name().to_string_lossy().into_owned();
        if !about.file_type()?.is_dir() || !of(&name) {
            continue;
        }
        fs::create_dir_all(to.join(&name))?;
        for file in fs::read_dir(about.path())? {
            let file = file?;
            fs::copy(file.path(), to.join(&name).join(file.file_name()))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Takes what the clone has on crates in `Cargo.lock`, and the day of its last commit.
fn renew(clone: &Path) -> Result<usize> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let used = names(&lock);
    let shown = Command::new("git")
        .arg("-C")
        .arg(clone)
        .args(["show", "-s", "--format=%cs", "HEAD"])
        .output()
        .context("starting git")?;
    let date = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    if age(&date).is_none() {
        bail!("{} is no clone of the database", clone.display());
    }
    let ours = root().join("advisories/crates");
    let _ = fs::remove_dir_all(&ours);
    let count = copy(&clone.join("crates"), &ours, |name| used.contains(name))?;
    fs::write(root().join("advisories/date"), date + "\n")?;
    Ok(count)
}

/// The crates of a `Cargo.lock`.
fn names(lock: &str) -> BTreeSet<&str> {
    let names = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \""));
    names.filter_map(|name| name.strip_suffix('"')).collect()
}

/// How many days ago this day was.
fn age(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || year < 1970 {
        return None;
    }
    // Years begin in March, so that the day of a leap year is the last of one.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs() / 86_400;
    // The day 1970-01-01 in the same count.
    Some((now + 719_469).saturating_sub(days))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_a_date() {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            / 86_400;
        assert_eq!(age("1970-01-01"), Some(now));
        assert_eq!(age("1972-03-01"), Some(now - 790));
        assert_eq!(age("2026-01-01"), Some(now.saturating_sub(20_454)));
        for wrong in ["", "2026", "2026-13-01", "2026-01-01-01", "x-y-z"] {
            assert_eq!(age(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_advisory_is_about_its_crate_and_named_after_itself() {
        let mut count = 0;
        for about in fs::read_dir(root().join("advisories/crates")).unwrap() {
            let about = about.unwrap();
            for file in fs::read_dir(about.path()).unwrap() {
                let file = file.unwrap();
                let text = fs::read_to_string(file.path()).unwrap();
                let (name, package) = (file.file_name(), about.file_name());
                let id = name.to_str().unwrap().strip_suffix(".md").unwrap();
                assert!(text.contains(&format!("id = \"{id}\"\n")), "{id}");
                let package = format!("package = \"{}\"\n", package.to_str().unwrap());
                assert!(text.contains(&package), "{id}");
                count += 1;
            }
        }
        assert!(count > 0);
        let date = fs::read_to_string(root().join("advisories/date")).unwrap();
        assert!(age(date.trim()).is_some());
    }

    #[test]
    fn the_crates_of_the_lock_file_are_found() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\n[[package]]\nname = \"b-c\"\n";
        assert!(names(lock).into_iter().eq(["a", "b-c"]));
    }
}
