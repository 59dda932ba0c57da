//! The reader as a whole.

mod documented;
mod exposed;
mod kerberos;
mod refused;
mod taken;

use std::{
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;

/// Valid without any other key.
const MINIMAL: &str = "[[domain]]\nname = 'example.org'\ncertificate = 'a.pem'\nkey = 'a.key'\n";

/// The text and nothing else, in a directory with nothing in it.
fn read(toml: &str) -> Result<Loaded, Diagnostics> {
    Config::from_toml(toml, "s2sd.toml", Path::new("/nowhere"))
}

#[track_caller]
fn loaded(toml: &str) -> Config {
    let loaded = read(toml).unwrap_or_else(|findings| panic!("{findings}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.config
}

/// A directory that goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "s2sd-config-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file that only we can read.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

/// What a build without Kerberos says of it.
static WITHOUT_GSSAPI: LazyLock<Option<&str>> =
    LazyLock::new(|| xmpp_sasl::built_without("GSSAPI"));

/// Keys of KERBEROS_V4 for both directions between `capulet.example` and `example.org`.
const V4_KEYS: &str = "xmpp.capulet@CAPULET.EXAMPLE xmpp.example@EXAMPLE.ORG 1 133457799bbcdff1\n\
     xmpp.example@EXAMPLE.ORG xmpp.capulet@CAPULET.EXAMPLE 1 0123456789abcdef # the other way\n";

/// A keytab with one key, in the format of MIT's libraries (version 0x502).
fn keytab(realm: &str, principal: &[&str]) -> Vec<u8> {
    let counted = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        [&length.to_be_bytes(), text.as_bytes()].concat()
    };
    let components = u16::try_from(principal.len()).unwrap();
    let mut entry = components.to_be_bytes().to_vec();
    entry.extend(counted(realm));
    entry.extend(principal.iter().flat_map(|part| counted(part)));
    entry.extend(1_u32.to_be_bytes()); // the kind of name: a principal
    entry.extend(0_u32.to_be_bytes()); // when it was made
    entry.push(1); // the version of the key
    entry.extend(18_u16.to_be_bytes()); // aes256-cts-hmac-sha1-96
    entry.extend(32_u16.to_be_bytes());
    entry.extend([7; 32]);
    let length = u32::try_from(entry.len()).unwrap();
    [&[5, 2][..], &length.to_be_bytes(), &entry].concat()
}
