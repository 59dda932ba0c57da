//! Golden transcripts: conversations with one s2sd, printed as the RFCs print theirs, and run twice: against the pure
//! machines of `s2sd::protocol::negotiate`, and over sockets against a daemon. `transcripts/README.md` says how they are written.
//!
//! The parser, the two runners, and what both share (the stage, the names for what is fresh, the comparison) are a file
//! each. Nothing here knows what is right: that is written in the transcripts.

mod compare;
mod kerberos_v4;
mod names;
mod parse;
mod prelude;
mod print;
mod pure;
mod scram;
mod script;
mod sockets;
mod stage;

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use self::{script::Script, stage::Stage};

/// What a transcript is run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// `Inbound` and `Outbound`, without sockets, tasks or clocks. With `UPDATE=1` in the environment the file is
    /// rewritten to what they say.
    Machines,
    /// A daemon, over loopback.
    Sockets,
}

/// Runs every scene of a transcript, each at each depth it is given for. The error names file, line and depth.
pub fn run(file: &Path, against: Against) -> anyhow::Result<()> {
    let mut script = read(file)?;
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut failures = String::new();
    for scene in &mut script.scenes {
        for (index, depth) in scene.settings.depths.clone().into_iter().enumerate() {
            let done = match against {
                Against::Machines if update && index == 0 => Stage::new(scene, depth)
                    .and_then(pure::rewrite)
                    .and_then(|(items, done)| {
                        scene.items = items;
                        done
                    }),
                Against::Machines => Stage::new(scene, depth).and_then(pure::play),
                Against::Sockets if scene.settings.only_pure.is_some() => Ok(()),
                Against::Sockets => Stage::new(scene, depth).and_then(sockets::play),
            };
            if let Err(error) = done {
                failures += &format!(
                    "\n{}:{}: {} ({depth})\n{error:#}\n",
                    file.display(),
                    scene.line,
                    scene.title
                );
            }
        }
    }
    if update && against == Against::Machines {
        fs::write(file, script.to_string())?;
    }
    ensure!(failures.is_empty(), "{failures}");
    Ok(())
}

/// The titles of a transcript's scenes.
pub fn titles(file: &Path) -> anyhow::Result<Vec<String>> {
    let script = read(file)?;
    Ok(script.scenes.into_iter().map(|scene| scene.title).collect())
}

fn read(file: &Path) -> anyhow::Result<Script> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    parse::script(file, &text)
}
