//! Where things are: the workspace's root, and cargo.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's root: the parent of this package, or the current directory when the
/// program was moved after it was built.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .filter(|path| path.join("Cargo.toml").is_file())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that started us, or the one on PATH.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    command
}
