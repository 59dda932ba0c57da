//! Which programs of others are on this machine.

use std::{env, ffi::OsString, fs, path::PathBuf, process::Command};

/// PATH, and where Debian puts servers.
pub(super) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// The file of a program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// What a program prints when it is asked about itself.
pub(super) fn says(program: &mut Command) -> Option<String> {
    let output = program.output().ok()?;
    let all = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&all).into_owned())
}

/// Has Debian's package manager put it in place?
pub(super) fn is_package_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    says(query.args(["-W", "-f", "${db:Status-Abbrev}", package]))
        .is_some_and(|status| status.starts_with("ii"))
}

/// Is there a file of this name in one of the architecture's directories of libraries?
pub(super) fn has_library(name: &str) -> bool {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    directories
        .map(|directory| directory.path().join(name))
        .any(|path| path.exists())
}

/// The libraries and programs that Kerberos needs: `krb5kdc` for the realm, the others to build `lab` with it.
const KERBEROS: [&str; 5] = [
    "krb5kdc",
    "kadmin.local",
    "krb5-config",
    "pkg-config",
    "clang",
];
const LIBCLANG: &str = "lib/libclang.so";

/// Is there a KDC, and what a build with Kerberos needs?
pub(super) fn kerberos_is_installed() -> bool {
    let mut programs = KERBEROS.iter();
    programs.all(|program| find(program).is_some()) && has_library(LIBCLANG)
}
