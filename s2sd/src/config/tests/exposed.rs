//! What can be used and should not be: warnings, at `check` and at the start.

use super::*;

#[track_caller]
fn warns(toml: &str, want: &[&str]) {
    let loaded = read(toml).unwrap_or_else(|findings| panic!("{findings}"));
    let lines: Vec<String> = loaded.warnings.lines().collect();
    let text = lines.join("\n");
    assert_eq!(lines.len(), want.len(), "{text}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "{line}");
    }
}

fn component(secret: &str) -> String {
    format!("{MINIMAL}component = {{ secret = '{secret}' }}\n")
}

#[test]
fn a_short_secret_is_a_warning_that_says_how_short() {
    warns(
        &component("s"),
        &["s2sd.toml:5:15: the component's secret has only 1 character (take at least 16"],
    );
    // Characters, not bytes.
    warns(
        &component("pässwörtpässwör"),
        &["s2sd.toml:5:15: the component's secret has only 15 characters"],
    );
    warns(&component("0123456789abcdef"), &[]);
    warns(
        &format!("{MINIMAL}[dialback]\nsecret = 's3cr3t'\n"),
        &["s2sd.toml:6:1: the dialback secret has only 6 characters"],
    );
    let directory = Directory::new();
    directory.write("c.secret", "hunter2\n");
    let toml = format!("{MINIMAL}component = {{ secret_file = 'c.secret' }}\n");
    let loaded = Config::from_toml(&toml, "s2sd.toml", &directory.0).unwrap();
    let lines: Vec<String> = loaded.warnings.lines().collect();
    assert!(
        lines.len() == 1 && lines[0].contains("has only 7 characters"),
        "{lines:?}"
    );
    assert!(!lines[0].contains("hunter2"));
}

#[test]
fn a_listener_for_components_off_this_machine_is_a_warning() {
    for (address, open) in [
        ("127.0.0.1:5347", false),
        ("127.1.2.3:5347", false),
        ("[::1]:5347", false),
        ("0.0.0.0:5347", true),
        ("[::]:5347", true),
        ("192.0.2.1:5347", true),
    ] {
        let toml = format!("{MINIMAL}[listen]\ncomponents = ['[::1]:1', '{address}']\n");
        let said =
            format!("s2sd.toml:6:1: {address} in `components` can be reached from elsewhere");
        let want = if open { &[said.as_str()][..] } else { &[] };
        warns(&toml, want);
    }
}

#[cfg(unix)]
#[test]
fn a_dialback_secret_that_others_can_read_or_change_is_a_warning() {
    let directory = Directory::new();
    let file = directory.write("dialback.secret", "0123456789abcdef\n");
    let warnings = |more: &str| {
        let toml = format!("data_dir = '.'\n{MINIMAL}{more}");
        let loaded = Config::from_toml(&toml, "s2sd.toml", &directory.0).unwrap();
        loaded.warnings.lines().collect::<Vec<_>>()
    };
    for (mode, what) in [
        (0o604, "can be read by every user of this machine"),
        (0o602, "can be changed by every user of this machine"),
        (
            0o666,
            "can be read and changed by every user of this machine",
        ),
    ] {
        set_mode(&file, mode);
        for more in ["", "[dialback]\nsecret_file = 'dialback.secret'\n"] {
            let lines = warnings(more);
            assert!(
                lines.len() == 1
                    && lines[0].contains("dialback.secret ")
                    && lines[0].contains(what),
                "{mode:o}: {lines:?}"
            );
        }
    }
    set_mode(&file, 0o640);
    assert!(warnings("").is_empty());
}
