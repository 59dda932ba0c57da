//! The crate `rsasl`: a second implementation in Rust, which `lab` brings, with the lines of `gsasl`.

use super::{Ends, PROVED, Part, Tool, USER};
use crate::{interop::setup::Direction, workspace::root};
use std::fs;

pub(super) const TOOL: Tool = Tool {
    name: "rsasl",
    style: "gsasl",
    title: "rsasl",
    packages: &[],
    programs: &[],
    libraries: &[],
    command: |part| Ok(command(part)),
    prompt: |_| None,
    disbelief: |ends| match ends {
        Ends::Apart => "e=channel-bindings-dont-match",
        Ends::Well | Ends::Badly => "it does not believe",
    },
    belief: None,
    cannot: |exchange, _| match exchange.mechanism {
        "ANONYMOUS" => Some("what two programs show already: not built in"),
        "DIGEST-MD5" => Some("has no DIGEST-MD5"),
        "GSSAPI" => Some(
            "has GSSAPI by the libraries that ours is by, so it would show nothing: not built in",
        ),
        _ => None,
    },
    version,
};

fn command(part: &Part<'_>) -> Vec<String> {
    let side = match part.direction {
        Direction::FromPeer => "client",
        Direction::ToPeer => "server",
    };
    let lab = part.lab.display().to_string();
    let mut words: Vec<&str> = vec![&lab, "rsasl", side, "--mechanism", part.mechanism];
    words.extend(["--username", USER]);
    if part.by_password() {
        words.extend(["--password", part.password]);
    } else {
        words.extend(match part.direction {
            Direction::FromPeer => ["--authzid", part.authzid.unwrap_or(PROVED)],
            Direction::ToPeer => ["--external", PROVED],
        });
    }
    let binding = part.binding.map(|(kind, data)| format!("{kind}={data}"));
    if let Some(binding) = &binding {
        words.extend(["--channel-binding", binding]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// The version that is built in.
fn version() -> Option<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).ok()?;
    let (_, rest) = lock.split_once("name = \"rsasl\"\nversion = \"")?;
    rest.split('"').next().map(str::to_owned)
}
