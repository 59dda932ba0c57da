//! Cyrus SASL: its sample client, which asks for the password on its terminal, and its sample server, which reads a
//! database.

use super::{HOST, PROVED, Part, Prompt, Tool, USER, words};
use crate::interop::{
    programs::{find, says},
    setup::Direction,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

pub(super) const TOOL: Tool = Tool {
    name: "cyrus",
    style: "cyrus",
    title: "Cyrus SASL",
    packages: &[
        "sasl2-bin",
        "libsasl2-modules",
        "libsasl2-modules-gssapi-mit",
        "krb5-kdc",
        "krb5-admin-server",
        "libkrb5-dev",
        "pkg-config",
        "clang",
        "libclang-dev",
    ],
    programs: &[
        "sasl-sample-client",
        "sasl-sample-server",
        "saslpasswd2",
        "sasldblistusers2",
    ],
    libraries: &[
        "sasl2/libdigestmd5.so.2",
        "sasl2/libscram.so.2",
        "sasl2/libgssapiv2.so.2",
    ],
    command: |part| match part.direction {
        Direction::FromPeer => Ok(client(part)),
        Direction::ToPeer => server(part),
    },
    prompt: |part| match part.direction {
        Direction::FromPeer if part.by_password() => Some(Prompt {
            question: "Password: ",
            answer: part.password,
        }),
        _ => None,
    },
    disbelief: |_| "authentication failure",
    belief: Some("Negotiation complete"),
    cannot: |exchange, _| {
        let bound = "its sample programs have no option for what to bind to, and so no -PLUS: \"no mechanism available\"";
        exchange.binding.map(|_| bound)
    },
    // The sample programs do not say it; this one is of the same library, and asks it.
    version: || {
        let said = says(Command::new(find("sasldblistusers2")?).arg("-v"))?;
        let (_, version) = said.split_once("LibSasl version ")?;
        Some(version.split_whitespace().next()?.to_owned())
    },
};

fn client(part: &Part<'_>) -> Vec<String> {
    let mechanism = part.mechanism;
    let mut command =
        format!("stty -echo; exec sasl-sample-client -m {mechanism} -s xmpp -n {HOST}");
    if mechanism == "EXTERNAL" {
        command += &proved();
    } else {
        command += &format!(" -r {HOST} -a {USER}");
    }
    let itself = (mechanism != "EXTERNAL").then_some(USER);
    if let Some(authzid) = part.authzid.or(itself) {
        command += &format!(" -u {authzid}");
    }
    let mut words = words("env SHELL=/bin/sh script --quiet --return --flush --command");
    words.extend([command, "/dev/null".to_owned()]);
    words
}

fn server(part: &Part<'_>) -> Result<Vec<String>> {
    let directory = part.directory.display();
    let mut command = format!("env SASL_CONF_PATH={directory} stdbuf -oL sasl-sample-server");
    command += &format!(" -m {} -s xmpp -d {HOST} -u {HOST}", part.mechanism);
    if part.mechanism == "EXTERNAL" {
        command += &proved();
    }
    let database = part.directory.join("sasldb2");
    let configuration = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: {}\n",
        database.display(),
        part.mechanism
    );
    fs::write(part.directory.join("sample.conf"), configuration).context("writing sample.conf")?;
    make_account(&database, part.password)?;
    Ok(words(&command))
}

/// What the outer layer proves.
fn proved() -> String {
    format!(" -e ssf=128,id={PROVED}")
}

fn make_account(database: &Path, password: &str) -> Result<()> {
    let mut child = Command::new("saslpasswd2")
        .args(["-p", "-c", "-u", HOST, "-a", "sample", "-f"])
        .arg(database)
        .arg(USER)
        .stdin(Stdio::piped())
        .spawn()
        .context("starting saslpasswd2")?;
    // Taken, so that it ends with this statement.
    let written = child
        .stdin
        .take()
        .context("saslpasswd2 has no input")?
        .write_all(password.as_bytes());
    let status = child.wait()?;
    ensure!(status.success(), "saslpasswd2 ended with {status}");
    written.context("telling saslpasswd2 the password")
}
