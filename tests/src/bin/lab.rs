//! `lab`: the pieces of the lab as commands. `lab --help` describes them.

use std::process::ExitCode;

fn main() -> ExitCode {
    s2sd_tests::cli::main()
}
