//! `cargo xtask`: the project's own tools. It depends on none of our crates; it builds and runs them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ci;
mod deny;
mod fuzz;
mod interop;
mod mutants;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and tools of the s2sd workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What the compiler does not check: layers, links, sizes, words
    Tidy,
    /// Everything CI runs, part by part, with the time each part took
    Ci(ci::Arguments),
    /// Dependencies: advisories, licences, duplicate crates, sources; needs cargo-deny
    Deny(deny::Arguments),
    /// The fuzz targets, each for a bounded time; needs a nightly toolchain and cargo-fuzz
    Fuzz(fuzz::Arguments),
    /// Changes to the code that the tests have to notice; needs cargo-mutants
    Mutants(mutants::Arguments),
    /// s2sd against real servers
    Interop(interop::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tidy => tidy::run(),
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Deny(arguments) => deny::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Interop(arguments) => interop::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
