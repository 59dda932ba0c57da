//! What domains publish about certificates by HTTPS (RFC 7711), and for how long that is remembered (§6).
//!
//! However many streams want to know about a domain, one fetches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
/// How many bytes that may take, all together.
const CAPACITY: usize = 1 << 20;
/// Whoever repairs a document should not wait long until we look again.
const FAILURE: Duration = Duration::from_secs(60);

/// Documents that were fetched.
#[derive(Debug, Default)]
pub(crate) struct Posh {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: HashMap<Domain, Entry>,
    /// What they cost.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    cost: usize,
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
            let outcome = Outcome { found, until };
            self.weigh(domain, &entry, outcome.size());
            outcome
        };
        entry.outcome.get_or_init(|| fetched).await.found.clone()
    }

    /// What is remembered, or is being fetched; else a new entry.
    fn entry(&self, domain: &Domain, roots: &Arc<Roots>) -> Entry {
        let now = Instant::now();
        let mut known = self.lock();
        if let Some(entry) = known.entries.get(domain)
            && !entry.is_over(now)
            && entry.roots == *roots
        {
            return entry.clone();
        }
        known.remove(domain);
        let entry = Entry {
            cost: 2 * size_of::<Entry>() + domain.as_str().len(),
            roots: Arc::clone(roots),
            began: now,
            outcome: Arc::default(),
        };
        known.bytes += entry.cost;
        known.entries.insert(domain.clone(), entry.clone());
        known.make_room(domain, now);
        entry
    }

    /// What came of it takes so many bytes more.
    fn weigh(&self, domain: &Domain, entry: &Entry, size: usize) {
        let mut known = self.lock();
        let Known { entries, bytes } = &mut *known;
        // It may have been forgotten since.
        if let Some(known) = entries.get_mut(domain)
            && Arc::ptr_eq(&known.outcome, &entry.outcome)
        {
            known.cost += size;
            *bytes += size;
        }
        known.make_room(domain, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whatever is over goes first, then the oldest, but not this one.
    fn make_room(&mut self, but: &Domain, now: Instant) {
        if self.fits() {
            return;
        }
        let Self { entries, bytes } = self;
        entries.retain(|domain, entry| {
            let stays = domain == but || !entry.is_over(now);
            if !stays {
                *bytes -= entry.cost;
            }
            stays
        });
        while !self.fits() {
            let others = self.entries.iter().filter(|(domain, _)| *domain != but);
            let oldest = others.min_by_key(|(_, entry)| entry.began);
            let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn fits(&self) -> bool {
        self.entries.len() <= ENTRIES && self.bytes <= CAPACITY
    }

    fn remove(&mut self, domain: &Domain) {
        if let Some(entry) = self.entries.remove(domain) {
            self.bytes -= entry.cost;
        }
    }
}

impl Outcome {
    /// About how many bytes it takes in memory, beside itself.
    fn size(&self) -> usize {
        match &self.found {
            Ok(published) => {
                size_of::<Published>() + published.url.capacity() + published.fingerprints.size()
            }
            Err(why) => why.capacity(),
        }
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
    use base64::Engine as _;

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
        assert_eq!(posh.lock().entries.len(), ENTRIES);
        // The oldest went.
        assert!(failed(&posh, &domain(0), &roots));
        assert!(!failed(&posh, &domain(ENTRIES + 9), &roots));
    }
    #[tokio::test(start_paused = true)]
    async fn what_domains_publish_is_bounded_in_bytes() {
        let hash = base64::engine::general_purpose::STANDARD.encode([7; 64]);
        let all = vec![format!("{{\"sha-512\":\"{hash}\"}}"); 64].join(",");
        let text = format!("{{\"fingerprints\":[{all}],\"expires\":86400}}");
        let (posh, roots) = (Posh::default(), Arc::default());
        for at in 0..ENTRIES {
            let Ok(Document::Fingerprints(fingerprints)) = Document::parse(text.as_bytes()) else {
                panic!("no document");
            };
            let url = "u".repeat(500);
            let found = Ok(Arc::new(Published { fingerprints, url }));
            let until = Instant::now() + Duration::from_secs(86400);
            let outcome = Outcome { found, until };
            let entry = posh.entry(&domain(at), &roots);
            posh.weigh(&domain(at), &entry, outcome.size());
            assert!(entry.outcome.set(outcome).is_ok());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let known = posh.lock();
        assert!(known.bytes <= CAPACITY, "{}", known.bytes);
        assert!((64..256).contains(&known.entries.len()), "{known:?}");
        let costs = known.entries.values().map(|entry| entry.cost);
        assert_eq!(costs.sum::<usize>(), known.bytes);
        assert!(known.entries.contains_key(&domain(ENTRIES - 1)));
        assert!(!known.entries.contains_key(&domain(0)));
    }
}
