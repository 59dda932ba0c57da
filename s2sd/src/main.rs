//! The binary: everything is in the library, from the command line on, but for the allocator.

use std::{env, process::ExitCode};

/// What a crowd of connections took goes back to the system when they are gone.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    s2sd::cli::main(env::args_os())
}
