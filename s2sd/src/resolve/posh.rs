//! What domains publish about certificates by HTTPS (RFC 7711), and for how long that is remembered (§6).
//!
//! However many streams want to know about a domain, one fetches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::OnceCell,
    time::{Instant, timeout},
};
use xmpp_stream::Domain;

use super::{dial::Attempts, https::Fetch};
use crate::tls::{
    Roots,
    posh::{Document, Fingerprints},
};

/// How many domains are remembered.
const ENTRIES: usize = 1024;
/// Whoever repairs a document should not wait long until we look again.
const FAILURE: Duration = Duration::from_secs(60);

/// Documents that were fetched.
#[derive(Debug, Default)]
pub(crate) struct Posh {
    entries: Mutex<HashMap<Domain, Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// By whose authority the web server was believed.
    roots: Arc<Roots>,
    began: Instant,
    outcome: Arc<OnceCell<Outcome>>,
}

#[derive(Clone, Debug)]
struct Outcome {
    found: Found,
    until: Instant,
}

/// The certificates of a domain's servers and where that is written, or why nothing is known.
pub(crate) type Found = Result<Arc<Published>, String>;

/// What a domain publishes.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) fingerprints: Fingerprints,
    /// Where the fingerprints were in the end.
    pub(crate) url: String,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        self.outcome
            .get()
            .is_some_and(|outcome| outcome.until <= now)
    }
}

impl Posh {
    /// What the domain publishes, fetched if it is not known. `within` is for all of it.
    pub(crate) async fn published(
        &self,
        domain: &Domain,
        roots: &Arc<Roots>,
        fetch: &Fetch<'_>,
        within: Duration,
    ) -> Found {
        let entry = self.entry(domain, roots);
        let fetched = async {
            let found = match timeout(within, look_up(domain, fetch)).await {
                Ok(found) => found,
                Err(_) => Err("the web server did not answer in time".to_owned()),
            };
            let lifetime = match &found {
                Ok(published) => published.fingerprints.lifetime(),
                Err(_) => FAILURE,
            };
            let until = Instant::now() + lifetime;
            Outcome { found, until }
        };
        entry.outcome.get_or_init(|| fetched).await.found.clone()
    }

    /// What is remembered, or is being fetched; else a new entry.
    fn entry(&self, domain: &Domain, roots: &Arc<Roots>) -> Entry {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(domain)
            && !entry.is_over(now)
            && entry.roots == *roots
        {
            return entry.clone();
        }
        if entries.len() >= ENTRIES {
            entries.retain(|_, entry| !entry.is_over(now));
        }
        if entries.len() >= ENTRIES {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.began);
            let oldest = oldest.map(|(domain, _)| domain.clone());
            oldest.and_then(|oldest| entries.remove(&oldest));
        }
        let entry = Entry {
            roots: Arc::clone(roots),
            began: now,
            outcome: Arc::default(),
        };
        entries.insert(domain.clone(), entry.clone());
        entry
    }
}

/// RFC 7711 §3: at the domain, or where the document there refers to, and no further.
async fn look_up(domain: &Domain, fetch: &Fetch<'_>) -> Found {
    let first = format!(
        "https://{}/.well-known/posh/xmpp-server.json",
        domain.ascii()
    );
    let mut attempts = Attempts::default();
    let (document, url) = document(&first, fetch, &mut attempts).await?;
    match document {
        Document::Fingerprints(fingerprints) => Ok(Arc::new(Published { fingerprints, url })),
        Document::Reference { url, lifetime } => {
            let (document, url) = self::document(&url, fetch, &mut attempts).await?;
            match document {
                Document::Fingerprints(fingerprints) => {
                    let fingerprints = fingerprints.within(lifetime);
                    Ok(Arc::new(Published { fingerprints, url }))
                }
                Document::Reference { .. } => Err(format!(
                    "{url}: what a document refers to refers to another one"
                )),
            }
        }
    }
}

async fn document(
    url: &str,
    fetch: &Fetch<'_>,
    attempts: &mut Attempts,
) -> Result<(Document, String), String> {
    let fetched = fetch.get(url, attempts).await?;
    match Document::parse(&fetched.body) {
        Ok(document) => Ok((document, fetched.url)),
        Err(useless) => Err(format!("{}: {useless}", fetched.url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::ca::Authority;

    fn domain(at: usize) -> Domain {
        Domain::parse(&format!("d{at}.example")).unwrap()
    }

    fn failed(posh: &Posh, domain: &Domain, roots: &Arc<Roots>) -> bool {
        let outcome = Outcome {
            found: Err(String::new()),
            until: Instant::now() + FAILURE,
        };
        posh.entry(domain, roots).outcome.set(outcome).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_not_asked_again_before_its_time_or_for_other_authorities() {
        let (posh, roots) = (Posh::default(), Arc::default());
        assert!(failed(&posh, &domain(0), &roots));
        assert!(!failed(&posh, &domain(0), &roots));
        tokio::time::advance(FAILURE).await;
        assert!(failed(&posh, &domain(0), &roots));
        let (others, _) = Roots::new([Authority::new("root").der().clone()]);
        assert!(failed(&posh, &domain(0), &Arc::new(others)));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_make_it_remember_so_much_and_no_more() {
        let (posh, roots) = (Posh::default(), Arc::default());
        for at in 0..ENTRIES + 10 {
            assert!(failed(&posh, &domain(at), &roots));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(posh.entries.lock().unwrap().len(), ENTRIES);
        // The oldest went.
        assert!(failed(&posh, &domain(0), &roots));
        assert!(!failed(&posh, &domain(ENTRIES + 9), &roots));
    }
}
