//! What a build without the feature `xmpp` brings with it.

use std::process::Command;

#[test]
fn without_xmpp_neither_streams_nor_xml_nor_tokio_are_needed() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--manifest-path", manifest])
        .output()
        .expect("cargo, which built this test, runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(tree.starts_with("xmpp-sasl "), "{tree}");
    for heavy in [
        "xmpp-stream",
        "rxml",
        "tokio",
        "tokio-util",
        "bytes",
        "libgssapi",
        "libgssapi-sys",
    ] {
        let found = tree
            .lines()
            .find(|line| line.split(' ').next() == Some(heavy));
        assert_eq!(found, None, "{tree}");
    }
}
