//! What only cargo knows: without its features, `xmpp-sasl` and `xmpp-dialback` bring no XML and no tasks.

use super::Fault;
use anyhow::{Context, Result, ensure};

const UNWANTED: [&str; 4] = ["xmpp-stream", "rxml", "tokio", "tokio-util"];

pub(super) fn features_off() -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for package in ["xmpp-sasl", "xmpp-dialback"] {
        let output = crate::workspace::cargo()
            .args([
                "tree",
                "--package",
                package,
                "--no-default-features",
                "--edges",
                "normal",
                "--prefix",
                "none",
            ])
            .output()
            .context("running cargo tree")?;
        ensure!(
            output.status.success(),
            "cargo tree: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        faults.extend(unwanted(package, &String::from_utf8_lossy(&output.stdout)));
    }
    Ok(faults)
}

fn unwanted(package: &str, listing: &str) -> Vec<Fault> {
    let manifest = format!("{package}/Cargo.toml");
    let mut names: Vec<&str> = listing
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.dedup();
    UNWANTED
        .iter()
        .filter(|name| names.contains(name))
        .map(|name| Fault::new(&manifest, 1, format!("brings {name} with its features off")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_brings_tokio_is_found() {
        assert!(
            unwanted(
                "xmpp-sasl",
                "xmpp-sasl v0.1.0 (x)\nbase64 v0.22.1\ntokio-stream v1\n"
            )
            .is_empty()
        );
        let found = unwanted(
            "xmpp-sasl",
            "xmpp-sasl v0.1.0\nrxml v0.14.0\ntokio v1.48.0\n",
        );
        let texts: Vec<&str> = found.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(
            texts,
            [
                "brings rxml with its features off",
                "brings tokio with its features off"
            ]
        );
    }
}
