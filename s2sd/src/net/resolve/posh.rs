//! The documents that domains publish about certificates by HTTPS (RFC 7711), and how long s2sd keeps them (§6).
//!
//! For all streams to or from one network that need the document of a domain, one task fetches it, in the turns of that
//! network. A fetched document is for all. A failure, or a fetch that goes on, is for that network alone, since a host
//! there may influence how long it takes.

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
use crate::network::Network;
use crate::trust::Roots;
use crate::trust::posh::{Document, Fingerprints};

/// How much is remembered.
const ENTRIES: usize = 1024;
/// How many bytes that may take, all together.
const CAPACITY: usize = 1 << 20;
/// After the operator repairs a document, s2sd should notice soon.
const FAILURE: Duration = Duration::from_secs(60);

/// Documents that were fetched.
#[derive(Debug, Default)]
pub(crate) struct Posh {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: HashMap<About, Entry>,
    /// Their size.
    bytes: usize,
}

/// A domain, and the network where it is being fetched or could not be had. None: it was fetched.
type About = (Domain, Option<Network>);

#[derive(Clone, Debug)]
struct Entry {
    cost: usize,
    /// The authorities that the web server's certificate was judged by.
    roots: Arc<Roots>,
    began: Instant,
    outcome: Arc<OnceCell<Fetching>>,
}

#[derive(Clone, Debug)]
struct Fetching {
    found: Found,
    until: Instant,
}

/// The certificates of a domain's servers and where they are published, or why none are known.
pub(crate) type Found = Result<Arc<PoshDocument>, String>;

/// What a domain publishes.
#[derive(Debug)]
pub(crate) struct PoshDocument {
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
        let site = Network::site(fetch.causer.address());
        let entry = self.entry(domain, site, roots);
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
            let outcome = Fetching { found, until };
            self.keep(domain, site, &entry, &outcome);
            outcome
        };
        entry.outcome.get_or_init(|| fetched).await.found.clone()
    }

    /// The fetched document, or else the fetch or the failure of that network; else a new entry.
    fn entry(&self, domain: &Domain, site: Network, roots: &Arc<Roots>) -> Entry {
        let now = Instant::now();
        let mut known = self.lock();
        for site in [None, Some(site)] {
            let about = (domain.clone(), site);
            if let Some(entry) = known.entries.get(&about)
                && !entry.is_over(now)
                && entry.roots == *roots
            {
                return entry.clone();
            }
            known.remove(&about);
        }
        let entry = Entry {
            cost: 2 * size_of::<(About, Entry)>() + domain.as_str().len(),
            roots: Arc::clone(roots),
            began: now,
            outcome: Arc::default(),
        };
        known.insert((domain.clone(), Some(site)), entry.clone(), now);
        entry
    }

    /// Keeps the result: it takes more bytes, and a fetched document is for all.
    fn keep(&self, domain: &Domain, site: Network, entry: &Entry, outcome: &Fetching) {
        let now = Instant::now();
        let mut known = self.lock();
        let about = (domain.clone(), Some(site));
        // It may have been forgotten since.
        let is_known = known.entries.get(&about);
        if !is_known.is_some_and(|known| Arc::ptr_eq(&known.outcome, &entry.outcome)) {
            return;
        }
        known.remove(&about);
        let mut entry = entry.clone();
        entry.cost += outcome.size();
        let site = outcome.found.is_err().then_some(site);
        let about = (domain.clone(), site);
        known.remove(&about);
        known.insert(about, entry, now);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// There was none.
    fn insert(&mut self, about: About, entry: Entry, now: Instant) {
        self.bytes += entry.cost;
        self.entries.insert(about.clone(), entry);
        self.make_room(&about, now);
    }

    /// Removes expired entries first, then the oldest without a document, then the oldest of the rest, but not this
    /// one.
    fn make_room(&mut self, but: &About, now: Instant) {
        if self.fits() {
            return;
        }
        let Self { entries, bytes } = self;
        entries.retain(|about, entry| {
            let stays = about == but || !entry.is_over(now);
            if !stays {
                *bytes -= entry.cost;
            }
            stays
        });
        while !self.fits() {
            let others = self.entries.iter().filter(|(about, _)| *about != but);
            let oldest = others.min_by_key(|((_, site), entry)| (site.is_none(), entry.began));
            let Some(oldest) = oldest.map(|(about, _)| about.clone()) else {
                return;
            };
            self.remove(&oldest);
        }
    }

    fn fits(&self) -> bool {
        self.entries.len() <= ENTRIES && self.bytes <= CAPACITY
    }

    fn remove(&mut self, about: &About) {
        if let Some(entry) = self.entries.remove(about) {
            self.bytes -= entry.cost;
        }
    }
}

impl Fetching {
    /// About how many bytes it takes in memory, beside itself.
    fn size(&self) -> usize {
        match &self.found {
            Ok(published) => {
                size_of::<PoshDocument>() + published.url.capacity() + published.fingerprints.size()
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
    let mut attempts = match fetch.attempt_limit {
        Some(limit) => Attempts::because_of(limit, fetch.causer),
        None => Attempts::default(),
    };
    let (document, url) = document(&first, fetch, &mut attempts).await?;
    match document {
        Document::Fingerprints(fingerprints) => Ok(Arc::new(PoshDocument { fingerprints, url })),
        Document::Reference { url, lifetime } => {
            let (document, url) = self::document(&url, fetch, &mut attempts).await?;
            match document {
                Document::Fingerprints(fingerprints) => {
                    let fingerprints = fingerprints.within(lifetime);
                    Ok(Arc::new(PoshDocument { fingerprints, url }))
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
        Ok(document) => {
            attempts.led_somewhere();
            Ok((document, fetched.url))
        }
        Err(useless) => Err(format!("{}: {useless}", fetched.url)),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;
    use crate::tools::demo::ca::Authority;

    fn domain(at: usize) -> Domain {
        Domain::parse(&format!("d{at}.example")).unwrap()
    }

    fn site(n: u8) -> Network {
        Network::site([192, 0, n, 1].into())
    }

    fn failed(posh: &Posh, domain: &Domain, roots: &Arc<Roots>) -> bool {
        failed_at(posh, domain, site(0), roots)
    }

    fn failed_at(posh: &Posh, domain: &Domain, site: Network, roots: &Arc<Roots>) -> bool {
        let outcome = Fetching {
            found: Err(String::new()),
            until: Instant::now() + FAILURE,
        };
        let entry = posh.entry(domain, site, roots);
        posh.keep(domain, site, &entry, &outcome);
        entry.outcome.set(outcome).is_ok()
    }

    fn fetched() -> Fetching {
        let hash = base64::engine::general_purpose::STANDARD.encode([7; 32]);
        let text = format!("{{\"fingerprints\":[{{\"sha-256\":\"{hash}\"}}],\"expires\":86400}}");
        let Ok(Document::Fingerprints(fingerprints)) = Document::parse(text.as_bytes()) else {
            panic!("no document");
        };
        let url = String::new();
        Fetching {
            found: Ok(Arc::new(PoshDocument { fingerprints, url })),
            until: Instant::now() + Duration::from_secs(86400),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_network_waits_for_or_cannot_have_is_fetched_for_another_and_shared_once_it_is_there()
     {
        let (posh, roots) = (Posh::default(), Arc::default());
        let about = domain(0);
        let waits = posh.entry(&about, site(0), &roots);
        let same = posh.entry(&about, site(0), &roots);
        assert!(Arc::ptr_eq(&waits.outcome, &same.outcome));
        assert!(failed_at(&posh, &about, site(1), &roots));
        assert!(!failed_at(&posh, &about, site(1), &roots));
        let entry = posh.entry(&about, site(2), &roots);
        posh.keep(&about, site(2), &entry, &fetched());
        assert!(entry.outcome.set(fetched()).is_ok());
        for n in 0..4 {
            let known = posh.entry(&about, site(n), &roots);
            assert!(Arc::ptr_eq(&known.outcome, &entry.outcome), "{n}");
        }
        // Who was still waiting changes nothing of that.
        posh.keep(&about, site(0), &waits, &fetched());
        let costs = |known: &Known| known.entries.values().map(|it| it.cost).sum::<usize>();
        let known = posh.lock();
        assert_eq!(costs(&known), known.bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_had_goes_before_what_was_fetched() {
        let (posh, roots) = (Posh::default(), Arc::default());
        let entry = posh.entry(&domain(0), site(0), &roots);
        posh.keep(&domain(0), site(0), &entry, &fetched());
        assert!(entry.outcome.set(fetched()).is_ok());
        for at in 1..2 * ENTRIES {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(failed(&posh, &domain(at), &roots));
        }
        let known = posh.entry(&domain(0), site(1), &roots);
        assert!(Arc::ptr_eq(&known.outcome, &entry.outcome));
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
            let found = Ok(Arc::new(PoshDocument { fingerprints, url }));
            let until = Instant::now() + Duration::from_secs(86400);
            let outcome = Fetching { found, until };
            let entry = posh.entry(&domain(at), site(0), &roots);
            posh.keep(&domain(at), site(0), &entry, &outcome);
            assert!(entry.outcome.set(outcome).is_ok());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let known = posh.lock();
        assert!(known.bytes <= CAPACITY, "{}", known.bytes);
        assert!((64..256).contains(&known.entries.len()), "{known:?}");
        let costs = known.entries.values().map(|entry| entry.cost);
        assert_eq!(costs.sum::<usize>(), known.bytes);
        assert!(known.entries.contains_key(&(domain(ENTRIES - 1), None)));
        assert!(!known.entries.contains_key(&(domain(0), None)));
    }
}
