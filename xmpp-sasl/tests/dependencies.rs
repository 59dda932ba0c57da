//! What a build brings with it.

use std::process::Command;

#[test]
fn without_xmpp_neither_streams_nor_xml_nor_tokio_are_needed() {
    let tree = tree(&["--no-default-features"]);
    for heavy in ["xmpp-stream", "rxml", "tokio", "tokio-util", "bytes"] {
        assert!(!has(&tree, heavy), "{heavy} in {tree}");
    }
}

#[test]
fn kerberos_and_the_crate_sasl_come_with_their_features_only() {
    let default = tree(&[]);
    assert!(has(&default, "xmpp-stream"));
    for optional in ["libgssapi", "libgssapi-sys", "sasl"] {
        assert!(!has(&default, optional), "{optional} in {default}");
    }
    assert!(has(&tree(&["--features", "sasl"]), "sasl"));
}

fn has(tree: &str, name: &str) -> bool {
    tree.lines()
        .any(|line| line.split(' ').next() == Some(name))
}

/// The crates that a build with these features needs, one a line.
fn tree(features: &[&str]) -> String {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(features)
        .args(["--manifest-path", manifest])
        .output()
        .expect("cargo, which built this test, runs");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(tree.starts_with("xmpp-sasl "), "{tree}");
    tree
}
