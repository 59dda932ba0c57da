//! The binary: everything is in the library, from the command line on.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    s2sd::cli::main(env::args_os())
}
