//! New certificates for a running daemon: it takes changed files, and keeps the old ones if the new are bad.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use rustls::sign::CertifiedKey;

use crate::config::{Config, TrustStore};
use crate::net::tls::Tls;
use crate::net::tls::config::{Loaded, Sources};
use crate::net::tls::files::{self, Stamps};
use crate::trust::Roots;

/// What a reload did with one certificate, one set of roots, or another part of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reloaded {
    /// The new one is used from now on.
    Changed(String),
    /// s2sd trusts other authorities from now on, or other certificates are revoked: judgements by the former ones have
    /// to be made again.
    TrustStore(String),
    /// The new one is bad; the one from before is still used. With the reason.
    Kept(String),
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(what) | Self::TrustStore(what) => write!(f, "reloaded: {what}"),
            Self::Kept(why) => write!(f, "not reloaded, what was loaded before stays: {why}"),
        }
    }
}

impl Tls {
    /// Reads all files again. Connections keep their certificates; new handshakes use the new ones.
    pub fn reload(&self) -> Vec<Reloaded> {
        let sources = self.loaded.load().sources.clone();
        // All was loaded once, so a bad file now has a predecessor.
        self.replace(sources)
            .unwrap_or_else(|faults| faults.into_iter().map(Reloaded::Kept).collect())
    }

    /// Takes over another configuration. If a certificate in use is bad now, the old one stays.
    ///
    /// # Errors
    ///
    /// The new parts of the configuration cannot be loaded; then everything stays as it was.
    pub fn reconfigure(&self, config: &Config) -> Result<Vec<Reloaded>, Vec<String>> {
        self.replace(Sources::of(config))
    }

    /// Has a file changed since it was read?
    pub fn has_changed(&self) -> bool {
        !self.loaded.load().stamps.are_current()
    }

    /// Reloads for ever whenever a file has changed, for tools that renew certificates and send no signal.
    pub async fn watch(&self, every: Duration, mut tell: impl FnMut(Reloaded)) {
        loop {
            tokio::time::sleep(every).await;
            if self.has_changed() {
                self.reload().into_iter().for_each(&mut tell);
            }
        }
    }

    fn replace(&self, sources: Sources) -> Result<Vec<Reloaded>, Vec<String>> {
        let before = self.loaded.load_full();
        // Before reading: what changes while we read is read again next time.
        let stamps = Stamps::of(sources.paths());
        let mut news = News::default();
        let mut keys = HashMap::new();
        for (domain, files) in &sources.certificates {
            let old = before.keys.get(domain.ascii());
            let new = files::certified_key(files, &self.provider);
            // The chain decides: a key that does not belong to it was refused.
            let same = |a: &CertifiedKey, b: &CertifiedKey| a.cert == b.cert;
            let what = format!("the certificate of {domain}");
            if let Some(key) = news.choose(&what, Reloaded::Changed, old, new, same) {
                keys.insert(domain.ascii().to_owned(), key);
            }
        }
        let mut roots = HashMap::new();
        for trusted in &sources.trusts {
            let (trust, crl) = trusted;
            let old = before.roots.get(trusted);
            let new = files::trusted(trust, crl).map(Arc::new);
            let what = match trust {
                TrustStore::System => "the system's certificate authorities",
                TrustStore::Files(_) => "the trusted certificate authorities",
            };
            if let Some(found) = news.choose(what, Reloaded::TrustStore, old, new, Roots::eq) {
                roots.insert(trusted.clone(), found);
            }
        }
        if !news.faults.is_empty() {
            return Err(news.faults);
        }
        self.loaded.store(Arc::new(Loaded {
            sources,
            keys,
            roots,
            stamps,
        }));
        Ok(news.report)
    }
}

/// The report of a reload.
#[derive(Default)]
struct News {
    report: Vec<Reloaded>,
    faults: Vec<String>,
}

impl News {
    /// What to use: the new one if it is good, else the old one if there is one.
    fn choose<T>(
        &mut self,
        what: &str,
        changed: fn(String) -> Reloaded,
        old: Option<&Arc<T>>,
        new: Result<Arc<T>, String>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<Arc<T>> {
        match (old, new) {
            (None, Ok(new)) => Some(new),
            (Some(old), Ok(new)) if same(old, &new) => Some(Arc::clone(old)),
            (Some(_), Ok(new)) => {
                self.report.push(changed(what.to_owned()));
                Some(new)
            }
            (Some(old), Err(why)) => {
                self.report.push(Reloaded::Kept(format!("{what}: {why}")));
                Some(Arc::clone(old))
            }
            (None, Err(why)) => {
                self.faults.push(format!("{what}: {why}"));
                None
            }
        }
    }
}
