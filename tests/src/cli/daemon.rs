//! `lab daemon`: the daemon itself, for tests that look at its process from outside.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// Serves as `s2sd run` does, with this configuration, until SIGTERM.
///
/// It is the same program: what goes to standard error is its log. Where it listens, which matters with port 0, stands
/// there in the lines that begin with `listening`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let words = ["s2sd", "run", "--config"].map(OsString::from);
    s2sd::cli::main(words.into_iter().chain([args.config.clone().into()]))
}
