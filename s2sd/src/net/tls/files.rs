//! Certificates, keys and roots from PEM files, with errors that say which file is wrong and why.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

use crate::config::{CertificateFiles, TrustStore};
use crate::trust::{Revocations, Roots};

/// Reads a chain and its key, and checks that they belong together.
pub(super) fn certified_key(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, String> {
    let chain = certificates(&files.chain)?;
    let text = read(&files.key)?;
    let wrong = |why: &str| format!("{}: {why}", files.key.display());
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if has(&text, "ENCRYPTED PRIVATE KEY") => {
            wrong("the key is encrypted, and a daemon has no passphrase for it")
        }
        pem::Error::NoItemsFound => wrong("holds no private key in PEM"),
        error => wrong(&format!("is not PEM: {error}")),
    })?;
    if has(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(wrong(
            "the key is encrypted, and a daemon has no passphrase for it",
        ));
    }
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        wrong("holds a private key of a kind that is not supported, or a damaged one")
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(mismatch(files, &certified)),
        Err(error) => Err(format!(
            "{}: the first certificate cannot be used: {error}",
            files.chain.display()
        )),
    }
}

/// A key that belongs to a later certificate of the file means that the file is in the wrong order.
fn mismatch(files: &CertificateFiles, certified: &CertifiedKey) -> String {
    let (chain, key) = (files.chain.display(), files.key.display());
    let belongs = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&certified.key))
            .keys_match()
            .is_ok()
    };
    match certified.cert.iter().position(belongs) {
        Some(position) => format!(
            "{chain}: certificate number {} is the one for {key}; it has to be the first",
            position + 1
        ),
        None => format!("{chain}: is not for the key in {key}"),
    }
}

/// Reads the authorities that a policy trusts, and their revocation lists.
pub(super) fn trusted(trust: &TrustStore, crl: &[PathBuf]) -> Result<Roots, String> {
    let mut revoked = Revocations::default();
    for path in crl {
        let lists = Revocations::read(path, &read(path)?);
        revoked.extend(lists.map_err(|why| format!("{}: {why}", path.display()))?);
    }
    Ok(roots(trust)?.without(revoked))
}

/// The authorities that the operating system trusts.
pub(super) fn system() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Unusable certificates of the system's store are left out.
fn roots(trust: &TrustStore) -> Result<Roots, String> {
    let paths = match trust {
        TrustStore::System => return Ok(Roots::new(system()).0),
        TrustStore::Files(paths) => paths,
    };
    let mut all = Vec::new();
    for path in paths {
        let found = certificates(path)?;
        let (_, refused) = Roots::new(found.iter().cloned());
        if refused > 0 {
            return Err(format!(
                "{}: {refused} of {} certificates cannot be parsed",
                path.display(),
                found.len()
            ));
        }
        all.extend(found);
    }
    Ok(Roots::new(all).0)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(format!("{}: holds no certificate in PEM", path.display()))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{}: is not PEM: {error}", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "does not exist".to_owned(),
            io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
            _ => error.to_string(),
        };
        format!("{}: {why}", path.display())
    })
}

fn has(text: &[u8], words: &str) -> bool {
    text.windows(words.len())
        .any(|window| window == words.as_bytes())
}

/// When a set of files was last changed, as far as the file system says. Symbolic links are followed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Stamps(HashMap<PathBuf, Option<(SystemTime, u64)>>);

impl Stamps {
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let stamp = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Self(
            paths
                .into_iter()
                .map(|path| (path.clone(), stamp(path)))
                .collect(),
        )
    }

    pub(super) fn are_current(&self) -> bool {
        *self == Self::of(self.0.keys())
    }
}
