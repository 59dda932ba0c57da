//! `s2sd check` where there is a Kerberos realm, made for the test: MIT's `krb5-kdc` and `krb5-admin-server` must be installed.
#![cfg(all(feature = "gssapi", feature = "demo"))]
#![allow(clippy::unwrap_used)]

#[path = "../../xmpp-sasl/tests/gssapi/realm.rs"]
mod realm;

use std::{fs, path::Path, process::Command};

use s2sd::demo::zone::{Zone, ZoneServer};

use realm::{NAME, file_name, old_file_name, within};

const OURS: &str = "xmpp/a.example";

/// The lines of `check` about tickets. The realm is this process's, and so the program's.
fn said(realm: &Path, gssapi: &str) -> Vec<String> {
    // It answers on threads of its own while the program runs.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let zone = ZoneServer::start(([127, 0, 0, 1], 0).into(), Zone::new()).unwrap();
    let dns = zone.addr();
    let configuration = format!(
        "[policy]\ntls = 'optional'\n[dns]\nservers = ['{dns}']\n[[domain]]\nname = 'a.example'\n\
         [[peer]]\ndomain = 'b.example'\nauth = ['gssapi']\ncredentials = {{ gssapi = {{ {gssapi} }} }}\n"
    );
    fs::write(realm.join("s2sd.toml"), configuration).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .current_dir(realm)
        .arg("check")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter(|line| line.contains("Kerberos"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_ticket_that_cannot_be_had_is_a_warning_of_check() {
    let name = "a_ticket_that_cannot_be_had_is_a_warning_of_check";
    within(name, &[OURS], |realm| {
        let keytab = format!("keytab = '{}'", file_name(OURS));
        assert_eq!(said(realm, &keytab), [""; 0]);
        // A key that the KDC does not have any more.
        let old = said(realm, &format!("keytab = '{}'", old_file_name(OURS)));
        assert_eq!(old.len(), 1, "{old:?}");
        assert!(
            old[0].starts_with("warning: no Kerberos ticket as xmpp/a.example: "),
            "{old:?}"
        );
        // A principal that is not in the keytab.
        let other = said(
            realm,
            &format!("{keytab}, principal = 'xmpp/c.example@{NAME}'"),
        );
        assert!(
            other[0].starts_with(&format!(
                "warning: no Kerberos ticket as xmpp/c.example@{NAME}: "
            )),
            "{other:?}"
        );
    });
}
