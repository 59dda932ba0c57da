//! GNU SASL: `gsasl`, which is both sides. It takes all that it must know as arguments.

use super::{END_POINT, HOST, Part, Prompt, Tool, USER, words};
use crate::interop::{
    programs::{find, says},
    setup::Direction,
};
use std::process::Command;

pub(super) const TOOL: Tool = Tool {
    name: "gsasl",
    style: "gsasl",
    title: "GNU SASL",
    packages: &[
        "gsasl",
        "krb5-kdc",
        "krb5-admin-server",
        "libkrb5-dev",
        "pkg-config",
        "clang",
        "libclang-dev",
    ],
    programs: &["gsasl"],
    libraries: &[],
    command: |part| Ok(words(&command(part))),
    prompt: |part| {
        let (_, data) = part.binding?;
        Some(Prompt {
            question: "tls-exporter channel binding: ",
            answer: data,
        })
    },
    disbelief: |_| "Error authenticating user",
    belief: None,
    cannot: |exchange, direction| match (exchange.mechanism, direction) {
        (name, _) if name.starts_with("SCRAM-SHA-512") => Some("has no SCRAM-SHA-512"),
        _ if exchange.binding == Some(END_POINT) => {
            Some("knows tls-exporter and tls-unique, and no tls-server-end-point")
        }
        ("EXTERNAL", Direction::ToPeer) => {
            Some("as a server has nothing to check EXTERNAL with: \"No callback specified\"")
        }
        ("ANONYMOUS", Direction::ToPeer) => {
            Some("as a server has nothing to take a trace with: \"No callback specified\"")
        }
        ("GSSAPI", Direction::ToPeer) => Some(
            "as a server offers a size for security layers that it does not offer (RFC 4752 §3.1)",
        ),
        _ => None,
    },
    version: || {
        let said = says(Command::new(find("gsasl")?).arg("--version"))?;
        let version = said.strip_prefix("gsasl (GNU SASL) ")?.lines().next()?;
        Some(version.to_owned())
    },
};

fn command(part: &Part<'_>) -> String {
    let Part {
        mechanism,
        password,
        ..
    } = part;
    let side = match part.direction {
        Direction::FromPeer => "--client",
        Direction::ToPeer => "--server",
    };
    // `-d`, which is a switch: not the application's data after the exchange.
    let mut command = format!("gsasl -d {side} --quiet -m {mechanism}");
    // With the host's name it believes that there is TLS, and does not ask for what it may bind to.
    if part.binding.is_none() {
        command += &format!(" --service xmpp --hostname {HOST}");
    }
    match *mechanism {
        "EXTERNAL" => command += &format!(" -z {}", part.authzid.unwrap_or(super::PROVED)),
        "ANONYMOUS" => command += &format!(" -n {USER}"),
        "GSSAPI" => command += &format!(" -a {USER} -z {}", part.authzid.unwrap_or(USER)),
        _ => command += &format!(" -a {USER} -p {password}"),
    }
    match *mechanism {
        "DIGEST-MD5" => command += &format!(" -r {HOST} --quality-of-protection qop-auth"),
        name if name.starts_with("SCRAM") && part.direction == Direction::ToPeer => {
            command += " --iteration-count 4096";
        }
        _ => {}
    }
    command
}
