//! One question to the name servers and one answer, which is cached and, if so configured, proved by DNSSEC (RFC 4035
//! §5). Aliases are followed, and count as far as all of them are proved. Of equal questions s2sd asks one, and few at
//! the same time.
//!
//! s2sd asks for every name as it is (no search list, no local hosts file). The library validates; `reply.rs` reads a
//! message of validated records.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    net::{dnssec::DnssecDnsHandle, xfer::DnsHandle},
    proto::{
        dnssec::{Proof, TrustAnchors},
        op::{DnsRequestOptions, ResponseCode},
        rr::{Name, RecordType},
    },
};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::config::{self, Dnssec};
use crate::net::resolve::anchor::Anchors;
use crate::net::resolve::cache::{Asker, Cache, DnsReply, Found};
use crate::net::resolve::effort::{self, Bounded};
use crate::net::resolve::reply::{self, Bogus, Denial, Flaw, MAX_MESSAGES, What};
use crate::net::resolve::servers::{self, Edns, Heard, Servers, Unchecked, heard, with_or_without};
use crate::net::resolve::system::Upstream;
use crate::net::resolve::turns::{Running, Turns};
use crate::peer_text::PeerText;
use crate::protocol::plan::{ResolveError, Security};

/// If a name server removed the signatures, s2sd checks after this time whether it still does.
const RECHECK_AFTER: Duration = Duration::from_secs(5 * 60);

/// A look-up for an unauthenticated peer ends after this time: it holds a turn that another peer's look-up waits for.
const UNAUTHENTICATED_TIMEOUT: Duration = Duration::from_secs(5);
/// The name servers, and their answers.
pub(super) struct Resolver {
    servers: Servers,
    /// The same servers, asked without EDNS.
    plain: Servers,
    options: DnsRequestOptions,
    edns: Edns,
    validation: Option<Validation>,
    cache: Mutex<Cache>,
    running: Running,
    turns: Arc<Turns>,
}

/// What is needed to prove an answer.
struct Validation {
    mode: Dnssec,
    plain: Servers,
    servers: DnssecDnsHandle<Bounded<Servers>>,
    /// The same, with name servers that do not validate themselves.
    unchecked: DnssecDnsHandle<Bounded<Unchecked>>,
    zones: Vec<Name>,
    passing: Mutex<Passing>,
}

/// Do the name servers hand on what DNSSEC needs?
#[derive(Clone, Copy)]
enum Passing {
    Unknown,
    /// They do. Once they did, an answer without it is not one.
    Yes,
    /// They did not; s2sd asks them again at this time.
    No(Instant),
}

impl Resolver {
    /// Asks these servers, in these turns.
    pub(super) fn new(
        config: &config::Dns,
        upstream: &Upstream,
        turns: Arc<Turns>,
    ) -> Result<Self, String> {
        let (servers, options) = servers::pool(upstream)?;
        // In one pool, the library gives one answer to questions that differ in EDNS alone.
        let (plain, _) = servers::pool(upstream)?;
        let validation = match config.dnssec {
            Dnssec::Off => None,
            mode @ (Dnssec::Use | Dnssec::Require) => {
                let anchors = anchors(config)?;
                Some(Validation::new(mode, &servers, plain.clone(), anchors))
            }
        };
        Ok(Self {
            servers,
            plain,
            options,
            edns: Edns::default(),
            validation,
            cache: Mutex::default(),
            running: Running::default(),
            turns,
        })
    }

    /// All records of a kind that a name has, or the name that it is an alias of; none if there are none.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Failed`], [`ResolveError::Unanswered`], [`ResolveError::Bogus`].
    pub(super) async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        asker: Asker,
        place: IpAddr,
    ) -> Found {
        let validation = self.validating().await;
        let validated = validation.is_some();
        let known = self
            .cache()
            .get(name, kind, validated, asker, Instant::now());
        if let Some(found) = known {
            return found;
        }
        if asker == Asker::Unauthenticated
            && let Some(found) = self.running.of_ours(name, kind).await
        {
            return found;
        }
        let running = self.running.join(name, kind, asker, place);
        let look_up = || async {
            let _turn = self.turns.take(name, asker, place).await;
            // Another task may have asked meanwhile.
            let now = Instant::now();
            let known = self.cache().get(name, kind, validated, asker, now);
            if let Some(found) = known {
                return found;
            }
            let look_up = effort::of_one_look_up(self.look_up(name, kind, validation));
            let answer = match asker {
                Asker::Us => look_up.await,
                Asker::Unauthenticated => match timeout(UNAUTHENTICATED_TIMEOUT, look_up).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let seconds = UNAUTHENTICATED_TIMEOUT.as_secs();
                        let why = format!("none in {seconds} seconds");
                        Err(ResolveError::Unanswered(why.into()))
                    }
                },
            };
            let (found, ttl) = match answer {
                Ok((reply, ttl)) => (Ok(reply), ttl),
                Err(why) => (Err(why), Duration::MAX),
            };
            // A question that we could not send says nothing about the name.
            if found != Err(ResolveError::Exhausted) {
                let now = Instant::now();
                self.cache().keep(name, kind, &found, ttl, asker, now);
            }
            found
        };
        running.get_or_init(look_up).await.clone()
    }

    async fn look_up(
        &self,
        name: &Name,
        kind: RecordType,
        validation: Option<&Validation>,
    ) -> Result<(DnsReply, Duration), ResolveError> {
        let mut security = Security::Secure;
        let mut ttl = Duration::MAX;
        let mut current = name.clone();
        let mut records = None;
        for _ in 0..MAX_MESSAGES {
            let said = match validation {
                Some(validation) => self.hear(validation, &current, kind).await?,
                None => self.hear_plain(&current, kind).await?,
            };
            security = security.min(said.security);
            ttl = ttl.min(said.ttl);
            match said.what {
                What::Records(found) => records = Some(found),
                What::Nothing => records = Some(Vec::new()),
                What::Alias(target) => {
                    current = target;
                    continue;
                }
            }
            break;
        }
        let Some(records) = records else {
            let why = format!("the aliases of {name} do not end");
            return Err(ResolveError::Failed(why.into()));
        };
        let records = records.into();
        Ok((DnsReply { records, security }, ttl))
    }

    /// Forgets failures and negative answers, so that s2sd asks for them anew.
    pub(super) fn forget_failures(&self) {
        self.cache().forget_failures();
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without DNSSEC, and without EDNS where the name servers do not know it.
    async fn hear_plain(&self, name: &Name, kind: RecordType) -> Result<reply::Said, ResolveError> {
        let mut plain = self.options;
        plain.use_edns = false;
        let without = heard(&self.plain, name, kind, plain);
        let said = match self.edns.wait(Instant::now()) {
            None => without.await,
            Some(wait) => {
                let with = heard(&self.servers, name, kind, self.options);
                match with_or_without(wait, with, without).await {
                    (said, true) => {
                        self.edns.is_not_known(Instant::now());
                        said
                    }
                    (said, false) => {
                        if let Heard::Message(..) = said {
                            self.edns.is_known();
                        }
                        said
                    }
                }
            }
        };
        match said {
            Heard::Message(message, _) => reply::read(&message, name, kind, Denial::Unvalidated)
                .map_err(|bogus| ResolveError::Bogus(bogus.about)),
            Heard::Refused(code) => Err(refused(name, code)),
            Heard::Failed(why) => Err(ResolveError::Unanswered(why.into())),
            Heard::Exhausted => Err(ResolveError::Exhausted),
        }
    }

    async fn hear(
        &self,
        validation: &Validation,
        name: &Name,
        kind: RecordType,
    ) -> Result<reply::Said, ResolveError> {
        let options = self.validating_options();
        let unanswered = |why: String| Err(ResolveError::Unanswered(why.into()));
        let (message, denial) = match heard(&validation.servers, name, kind, options).await {
            Heard::Message(message, denial) => (message, denial),
            Heard::Failed(why) => return unanswered(why),
            Heard::Exhausted => return Err(ResolveError::Exhausted),
            said if said.knows_no_edns() => {
                return unanswered(format!(
                    "{name}: the name server does not know EDNS, without which there is no DNSSEC"
                ));
            }
            // The name server may have found the fault that we would find.
            Heard::Refused(ResponseCode::ServFail) => {
                let said = heard(&validation.unchecked, name, kind, options).await;
                let bogus = match &said {
                    Heard::Message(message, denial) => {
                        reply::read(message, name, kind, *denial).err()
                    }
                    Heard::Failed(_) | Heard::Refused(_) | Heard::Exhausted => None,
                };
                return match bogus {
                    Some(bogus) => Err(validation.refuted(bogus, options).await),
                    None => Err(refused(name, ResponseCode::ServFail)),
                };
            }
            Heard::Refused(code) => return Err(refused(name, code)),
        };
        match reply::read(&message, name, kind, denial) {
            Ok(said) => Ok(said),
            Err(bogus) => Err(validation.refuted(bogus, options).await),
        }
    }

    fn validating_options(&self) -> DnsRequestOptions {
        let mut options = self.options;
        options.edns_set_dnssec_ok = true;
        options
    }

    /// Whether answers are to be proved, and with what.
    async fn validating(&self) -> Option<&Validation> {
        let validation = self.validation.as_ref()?;
        let passing = *validation
            .passing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (validation.mode, passing) {
            (Dnssec::Off, _) => None,
            (Dnssec::Require, _) | (Dnssec::Use, Passing::Yes) => Some(validation),
            (Dnssec::Use, Passing::No(until)) if Instant::now() < until => None,
            (Dnssec::Use, Passing::Unknown | Passing::No(_)) => {
                let options = self.validating_options();
                validation
                    .look(passing, options)
                    .await
                    .then_some(validation)
            }
        }
    }
}

impl Validation {
    fn new(mode: Dnssec, servers: &Servers, plain: Servers, anchors: Anchors) -> Self {
        let keys = Arc::new(anchors.keys);
        let unchecked = Unchecked::new(servers);
        Self {
            mode,
            plain,
            servers: proving(Bounded::checking(servers.clone()), &keys),
            unchecked: proving(Bounded::unchecking(unchecked), &keys),
            zones: anchors.zones,
            passing: Mutex::new(Passing::Unknown),
        }
    }

    /// Can the keys that everything begins with be validated? If not, nothing can.
    async fn look(&self, before: Passing, options: DnsRequestOptions) -> bool {
        let mut silent = false;
        let mut plain = options;
        plain.use_edns = false;
        plain.edns_set_dnssec_ok = false;
        for zone in &self.zones {
            let with = heard(&self.servers, zone, RecordType::DNSKEY, options);
            let with = effort::of_one_look_up(with);
            let without = heard(&self.plain, zone, RecordType::SOA, plain);
            let wait = match before {
                Passing::Yes => Duration::MAX,
                Passing::Unknown | Passing::No(_) => servers::EDNS_TIMEOUT,
            };
            match with_or_without(wait, with, without).await {
                // It does not know EDNS, without which there is no DNSSEC.
                (_, true) => {}
                (said, false) => match said {
                    Heard::Message(message, _) => {
                        let is_proved = |proof| proof == Proof::Secure;
                        if message.answers.iter().any(|record| is_proved(record.proof)) {
                            self.pass(Passing::Yes);
                            if matches!(before, Passing::No(_)) {
                                info!(
                                    "the name server passes DNSSEC on again: answers are validated"
                                );
                            }
                            return true;
                        }
                    }
                    // No answer leaves this open; the question itself will tell.
                    Heard::Failed(_) | Heard::Exhausted => silent = true,
                    Heard::Refused(_) => {}
                },
            }
        }
        if silent {
            return true;
        }
        self.pass(Passing::No(Instant::now() + RECHECK_AFTER));
        if matches!(before, Passing::Unknown) {
            warn!(
                "the name server takes the signatures of DNSSEC out of its answers, or the trust anchor is not that \
                 of the zone: no answer can be validated, and DANE is without effect; `dns.dnssec = \"require\"` \
                 would refuse such answers"
            );
        }
        false
    }

    fn pass(&self, passing: Passing) {
        *self.passing.lock().unwrap_or_else(PoisonError::into_inner) = passing;
    }

    /// What to say of an answer that is not proved. If a signature is wrong it may be the key's fault.
    async fn refuted(&self, bogus: Bogus, options: DnsRequestOptions) -> ResolveError {
        let Bogus { about, why } = bogus;
        let why = match why {
            Flaw::Unsigned => {
                "it is not signed, though its zone is; either a name server on the way takes signatures away, or \
                 an attacker forges answers"
                    .to_owned()
            }
            Flaw::NoProof => {
                "there is no proof that there is no such record, though its zone is signed; either a name server on \
                 the way takes proofs away, or an attacker forges answers"
                    .to_owned()
            }
            Flaw::Expired(on) => {
                format!("its signature expired on {on}; the zone has to be signed anew")
            }
            Flaw::NotYet(from) => {
                format!("its signature is not valid before {from}; a clock is wrong, there or here")
            }
            Flaw::Wrong(zone) => {
                let keys = heard(&self.servers, &zone, RecordType::DNSKEY, options).await;
                let is_anchor = self.zones.contains(&zone);
                let zone = zone.to_ascii();
                let zone = match zone.trim_end_matches('.') {
                    "" => "the root".to_owned(),
                    zone => PeerText::new(zone).to_string(),
                };
                match keys {
                    Heard::Message(keys, _)
                        if keys.answers.iter().any(|key| key.proof == Proof::Secure) =>
                    {
                        format!("its signature is not that of the keys of {zone}; the zone has to be signed anew")
                    }
                    Heard::Message(..) if is_anchor => format!(
                        "the keys of {zone} are not those of the trust anchor; it has to be renewed, unless an attacker \
                         forges answers"
                    ),
                    Heard::Message(..) => format!(
                        "the keys of {zone} are not those that the zone above vouches for; its DS records there have \
                         to be renewed"
                    ),
                    Heard::Failed(why) => format!("the keys of {zone} cannot be had: {why}"),
                    Heard::Refused(code) => format!("the keys of {zone} cannot be had: {code}"),
                    Heard::Exhausted => return ResolveError::Exhausted,
                }
            }
        };
        ResolveError::Bogus(format!("{about}: {why}").into())
    }
}

fn proving<H: DnsHandle>(servers: H, keys: &Arc<TrustAnchors>) -> DnssecDnsHandle<H> {
    DnssecDnsHandle::with_trust_anchor(servers, Arc::clone(keys))
        .validation_cache_size(effort::REMEMBERED)
}

/// SERVFAIL may be the zone's fault; any other code means that the name server does not serve us.
fn refused(name: &Name, code: ResponseCode) -> ResolveError {
    let why = format!("{name}: {code}").into();
    match code {
        ResponseCode::ServFail => ResolveError::Failed(why),
        _ => ResolveError::Unanswered(why),
    }
}

/// The keys to begin with.
pub(super) fn anchors(config: &config::Dns) -> Result<Anchors, String> {
    match &config.trust_anchor {
        Some(file) => {
            Anchors::load(file).map_err(|why| format!("the trust anchor {}: {why}", file.display()))
        }
        None => Ok(Anchors::default()),
    }
}
