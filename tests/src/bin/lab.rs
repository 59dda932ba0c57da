//! `lab`: the pieces of the lab as commands. `lab --help` describes them.

use std::process::ExitCode;

/// That of the program, so that `lab daemon` costs what the program costs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    s2sd_tests::cli::main()
}
