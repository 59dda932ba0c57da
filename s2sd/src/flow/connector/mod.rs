//! From a domain to a negotiated stream: resolve, dial, TLS, negotiate; the next target where one fails.

pub(crate) mod clock;
pub(crate) mod observer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::{debug, trace};
use xmpp_stream::{Codec, Condition, ContentNamespace, Domain, Frame, ns};

use crate::closed::{Cause, Closed};
use crate::config::{Policy, TlsMode};
use crate::flow::evidence::{Direction, target_evidence};
use crate::flow::sessions::{Entry, StreamKind};
use crate::flow::shared::{OsRandom, Shared};
use crate::net::conn::{self, Conn, Io, Progress};
use crate::net::descriptors::Permit;
use crate::net::metered::Metered;
use crate::net::resolve::{self, Asker, Attempts, ConnectError, Dialed, Dns, Host};
use crate::net::sockets::notice_death;
use crate::net::tls::{self};
use crate::peer_text::PeerText;
use crate::protocol::admission::Causer;
use crate::protocol::budget::Charge;
use crate::protocol::negotiate::{
    Authorized, Call, DomainPair, Method, Outbound, OutboundEffect, OutboundEvent, Purpose,
    Snapshot, Transport, exclude,
};
use crate::protocol::plan;
use crate::protocol::plan::{ResolveError, Target};
use crate::trust;
use crate::trust::{PeerChain, TargetEvidence};

use self::clock::{Clock, Share};
use self::observer::{Observation, Observer};

/// A closing stream gets this long to take our last words.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// So often a server may send us elsewhere in one attempt: "at least 2 but no more than 5" (RFC 6120 §4.9.3.19).
const REDIRECTS: usize = 3;

/// What came of it.
pub(crate) enum Connected {
    /// A stream for the pair.
    Ready(Box<Ready>),
    /// A stream for questions.
    QuestionStream(Box<QuestionStream>),
}

/// A negotiated stream.
pub(crate) struct Ready {
    pub(crate) conn: Conn,
    pub(crate) entry: Entry,
    pub(crate) outbound: Box<Outbound>,
    pub(crate) authorized: Authorized,
    /// Its other direction, where the stream carries both.
    pub(crate) inverse: Option<Authorized>,
    /// Both sides count what is sent from here on.
    pub(crate) counts: bool,
    /// What the DNS proved about the server.
    pub(crate) target_evidence: Option<TargetEvidence>,
    /// For its descriptor.
    pub(crate) permit: Permit,
}

/// A stream to an authoritative server, which was asked nothing yet.
pub(crate) struct QuestionStream {
    pub(crate) conn: Conn,
    pub(crate) entry: Entry,
    pub(crate) outbound: Box<Outbound>,
    /// For its descriptor.
    pub(crate) permit: Permit,
}

/// Tries the domain's targets in order. The error is the one that says most: the furthest any target got. `causer` is
/// who makes us do it, where it is not for our own.
pub(crate) async fn connect(
    shared: &Shared,
    snapshot: &Arc<Snapshot>,
    pair: &DomainPair,
    purpose: &Purpose,
    causer: Option<&Causer>,
) -> Result<Connected, Cause> {
    if let Err(denied) = snapshot.admits(&pair.remote) {
        return Err(Cause::denied(&pair.remote, &denied));
    }
    let policy = snapshot.policy(&pair.remote);
    let mut attempts = match causer {
        Some(causer) => Attempts::because_of(&shared.attempt_limit, causer),
        None => Attempts::default(),
    };
    // This is no time of the places'.
    attempts.ready().await;
    let asker = asker(causer);
    let dns = shared.dns_for(asker, causer.map(Causer::address));
    let limits = &snapshot.config.limits;
    let within = match purpose {
        Purpose::Deliver | Purpose::Look { .. } => snapshot.config.queue.give_up,
        Purpose::Verify => limits.dialback,
    };
    let clock = Clock::new(limits, within, Instant::now());
    let (mut targets, unanswered) = targets(&dns, pair, &policy).await?;
    shared.recent_failures.sort(Instant::now(), &mut targets);
    let mut worst: Option<Cause> = None;
    let mut targets = VecDeque::from(targets);
    let mut redirects = 0;
    while let Some(target) = targets.pop_front() {
        let mut excluded = Vec::new();
        if !attempts.may_go_on() {
            break;
        }
        let now = Instant::now();
        if clock.is_over(now) {
            break;
        }
        let share = clock.share(now, !targets.is_empty());
        while !attempts.are_over() {
            debug!(remote = %pair.remote, place = %target, "connecting");
            let attempt = Attempt {
                shared,
                snapshot,
                pair,
                policy: &policy,
                target: &target,
                share,
                causer,
                observer: &(),
            };
            let made = attempt.make(purpose, excluded.clone(), &mut attempts).await;
            match made {
                Ok(outcome) => {
                    shared.recent_failures.answered(&target);
                    attempts.led_somewhere();
                    return Ok(outcome);
                }
                Err(Failed {
                    cause,
                    excluded: now_excluded,
                    other_host,
                }) => {
                    debug!(remote = %pair.remote, place = %target, cause = cause.name(), "failed: {cause}");
                    if cause == Cause::Descriptors {
                        return Err(cause);
                    }
                    if cause.is_of_the_place() && policy.proxy.is_none() {
                        shared
                            .recent_failures
                            .failed(Instant::now(), &target, asker);
                    }
                    if let Some(text) = other_host
                        && redirects < REDIRECTS
                    {
                        redirects += 1;
                        debug!(remote = %pair.remote, place = %target, to = %text, "redirected");
                        for other in others(&dns, &text, &policy).await.into_iter().rev() {
                            targets.push_front(other);
                        }
                    }
                    let again =
                        is_worth_another(&cause, excluded.len(), now_excluded.len(), &policy);
                    if worst
                        .as_ref()
                        .is_none_or(|worst| cause.says_more_than(worst))
                    {
                        worst = Some(cause);
                    }
                    if !again {
                        break;
                    }
                    excluded = now_excluded;
                }
            }
        }
    }
    Err(match (worst, unanswered) {
        // That one service has no place says nothing of the other.
        (Some(worst), Some(why)) if worst.is_absence() => unresolved(why),
        (Some(worst), _) => worst,
        (None, _) => Cause::Timeout("no place in time"),
    })
}

/// The hosts that a server redirects to: the same domain is meant there, and the same rules hold (RFC 6120 §4.9.3.19).
/// There is no proof for them, and no operator here configured them.
async fn others(dns: &Dns, text: &PeerText, policy: &Policy) -> Vec<Target> {
    let target_at = |host, port| Target {
        host,
        port,
        direct_tls: false,
        secure: false,
        configured: false,
    };
    match plan::other_host(text) {
        Some((host, Some(port))) => vec![target_at(host, port)],
        Some((Host::Address(address), None)) => {
            vec![target_at(Host::Address(address), plan::DEFAULT_PORT)]
        }
        Some((Host::Name(name), None)) => {
            let Ok(domain) = Domain::parse(&name) else {
                return Vec::new();
            };
            let found = dns.targets_soon(&domain, policy.tls).await;
            let (mut found, _) = found.unwrap_or_default();
            found.truncate(REDIRECTS);
            found.iter_mut().for_each(|target| target.secure = false);
            found
        }
        None => {
            debug!(to = %text, "that is no host");
            Vec::new()
        }
    }
}

/// Refused by a server that closed the stream, or broke off TLS: the same server again, without that method.
pub(crate) fn is_worth_another(cause: &Cause, before: usize, now: usize, policy: &Policy) -> bool {
    let refused = matches!(cause, Cause::Refused { .. } | Cause::CertificateRefused(_));
    refused && now > before && policy.auth.len() > now
}

/// The asker that a stream is for: an unauthenticated peer's key makes us ask the server of the domain that it names,
/// and its ping makes us answer.
fn asker(causer: Option<&Causer>) -> Asker {
    match causer {
        None => Asker::Us,
        Some(_) => Asker::Unauthenticated,
    }
}

/// The places to try; and, where one service was not answered, why.
async fn targets(
    dns: &Dns,
    pair: &DomainPair,
    policy: &Policy,
) -> Result<(Vec<Target>, Option<ResolveError>), Cause> {
    if !policy.connect.is_empty() {
        return Ok((policy.connect.iter().map(Target::from).collect(), None));
    }
    dns.targets_soon(&pair.remote, policy.tls)
        .await
        .map_err(unresolved)
}

pub(crate) fn unresolved(error: ResolveError) -> Cause {
    match error {
        ResolveError::NoService => Cause::NoService,
        ResolveError::NotFound => Cause::NoSuchHost("neither SRV nor address records".into()),
        ResolveError::NoHost(host) => Cause::NoSuchHost(
            format!("its SRV records lead to {host}, which is no name of a machine").into(),
        ),
        ResolveError::Onion => Cause::NoWay(error.to_string().into()),
        ResolveError::Failed(what) => Cause::Dns(what),
        ResolveError::Unanswered(what) => Cause::NameServer(what),
        ResolveError::Bogus(what) => Cause::Dnssec(what),
        ResolveError::Unsigned(_) => Cause::Policy(error.to_string().into()),
        ResolveError::Exhausted => Cause::Descriptors,
    }
}

/// What a stream can be used for from now on.
enum Opened {
    For(Authorized),
    ToAsk,
}

/// One connection to one place.
pub(crate) struct Attempt<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) pair: &'a DomainPair,
    pub(crate) policy: &'a Policy,
    pub(crate) target: &'a Target,
    pub(crate) share: Share,
    /// Who makes us do it, where it is not for our own.
    pub(crate) causer: Option<&'a Causer>,
    pub(crate) observer: &'a dyn Observer,
}

/// Nothing came of it.
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    /// The methods that were tried.
    pub(crate) excluded: Vec<Method>,
    /// Where the server says to go instead.
    pub(crate) other_host: Option<PeerText>,
}

impl From<Cause> for Failed {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            excluded: Vec::new(),
            other_host: None,
        }
    }
}

impl Attempt<'_> {
    async fn make(
        &self,
        purpose: &Purpose,
        excluded: Vec<Method>,
        attempts: &mut Attempts,
    ) -> Result<Connected, Failed> {
        let dns = self
            .shared
            .dns_for(asker(self.causer), self.causer.map(Causer::address));
        let until = self.share.step(Instant::now());
        let target_evidence = target_evidence(&dns, self.snapshot, self.target, self.policy);
        let target_evidence = timeout_at(until.into(), target_evidence).await;
        let target_evidence =
            target_evidence.map_err(|_| Cause::NameServer("none in time".into()))?;
        let target_evidence = target_evidence.map_err(unresolved)?;
        let now = Instant::now();
        let within = self.share.step(now).saturating_duration_since(now);
        let dialed = resolve::connect(&dns, self.target, self.policy, attempts, within).await;
        let dialed = dialed.map_err(|why| match why {
            why if why.is_ours() => Cause::Descriptors,
            why if why.is_stuck() => Cause::Network(format!("{}: {why}", self.target).into()),
            ConnectError::Resolve(why) => unresolved(why),
            ConnectError::LeftOut(what) => {
                Cause::NotPublic(format!("{}: {what}", self.target).into())
            }
            ConnectError::Connect(error) => {
                Cause::Connect(format!("{}: {error}", self.target).into())
            }
        });
        let Dialed { tcp, permit } = dialed?;
        notice_death(&tcp, &self.snapshot.config.limits);
        let mut outcome = self.over(tcp, target_evidence, purpose, excluded).await?;
        match &mut outcome {
            Connected::Ready(ready) => ready.permit = permit,
            Connected::QuestionStream(asking) => asking.permit = permit,
        }
        Ok(outcome)
    }

    /// The same over a connection that stands, to a server of which the DNS says this.
    pub(crate) async fn over(
        &self,
        tcp: TcpStream,
        target_evidence: Option<TargetEvidence>,
        purpose: &Purpose,
        excluded: Vec<Method>,
    ) -> Result<Connected, Failed> {
        let peer = tcp
            .peer_addr()
            .map_err(|error| Cause::Connect(error.to_string().into()))?;
        let entry = (self.shared.sessions).register(StreamKind::Outgoing, peer);
        entry.wants(self.pair);
        let making = self.made_over(
            (tcp, peer),
            &entry,
            target_evidence,
            purpose,
            excluded.clone(),
        );
        let made = tokio::select! {
            made = making => made,
            () = entry.close_wanted() => Err(Cause::Operator.into()),
        };
        let made = made.inspect_err(|failed| entry.failed(&failed.cause));
        made.map_err(|failed| match failed.cause {
            // Whatever else was tried within, a certificate that broke the connection is not shown again.
            Cause::CertificateRefused(_) if self.shows(&excluded) => Failed {
                excluded: excluded.into_iter().chain([Method::External]).collect(),
                ..failed
            },
            _ => failed,
        })
    }

    /// Whether our certificate is shown: only where it may still prove something. There are servers that break off
    /// because of one that they do not believe, although they would take dialback.
    fn shows(&self, excluded: &[Method]) -> bool {
        self.policy.allows_over(Method::External, true) && !excluded.contains(&Method::External)
    }

    async fn made_over(
        &self,
        (tcp, peer): (TcpStream, SocketAddr),
        entry: &Entry,
        target_evidence: Option<TargetEvidence>,
        purpose: &Purpose,
        excluded: Vec<Method>,
    ) -> Result<Connected, Failed> {
        let mut conn = if self.target.direct_tls {
            if self.policy.tls == TlsMode::Disabled {
                return Err(
                    Cause::Policy("encryption is switched off for this domain".into()).into(),
                );
            }
            self.handshake(tcp, true, self.shows(&excluded)).await?
        } else {
            Conn::new(Io::Plain(tcp), peer, self.codec(), self.charge()?)
        };
        entry.carried_by(&mut conn);
        let transport = Shared::secured(&conn, self.policy.tls_floor(), None)
            .map_or(Transport::Plain, Transport::Tls);
        self.negotiate((conn, entry), transport, purpose, excluded, target_evidence)
            .await
    }

    /// What the connection costs is on the account of the domain that we call.
    fn charge(&self) -> Result<Charge, Cause> {
        conn::admit(&self.shared.payer(&self.pair.remote)).ok_or(Cause::Memory)
    }

    fn codec(&self) -> Codec {
        Codec::new(self.snapshot.limits_before_authentication())
            .with_content_namespace(ContentNamespace::Server)
    }

    async fn handshake(&self, tcp: TcpStream, direct: bool, shows: bool) -> Result<Conn, Cause> {
        let charge = self.charge()?;
        let peer = tcp
            .peer_addr()
            .map_err(|error| Cause::Lost(error.to_string().into()))?;
        let (config, if_asked) = self.shared.tls.calling(
            shows.then_some(&self.pair.local),
            self.policy.tls_floor(),
            direct,
        );
        // SNI names the domain, not the target (RFC 6120 §5.4.3.1, XEP-0368 §3): who is meant, not who was found.
        let name = tls::server_name(&self.pair.remote).ok_or(Cause::NoNameForTls)?;
        let until = self.share.step(Instant::now());
        let handshake = TlsConnector::from(config).connect(name, Metered::new(tcp));
        match timeout_at(until.into(), handshake).await {
            Ok(Ok(tls)) => {
                let (_, session) = tls.get_ref();
                let facts = trust::describe(session);
                let chain = PeerChain::of(session);
                let own = if_asked.client_auth();
                self.observer
                    .observe(Observation::Secured(facts, chain, own));
                let io = Io::Tls(Box::new(tls.into()));
                Ok(Conn::new(io, peer, self.codec(), charge))
            }
            Ok(Err(error)) => {
                let own = if_asked.client_auth();
                self.observer.observe(Observation::NoTls(&error, own));
                Err(match trust::is_about_certificate(&error) {
                    true => Cause::CertificateRefused(error.to_string().into()),
                    false => Cause::Tls(trust::in_words(&error).into()),
                })
            }
            Err(_) => Err(Cause::Timeout("TLS handshake")),
        }
    }

    async fn negotiate(
        &self,
        (mut conn, entry): (Conn, &Entry),
        transport: Transport,
        purpose: &Purpose,
        excluded: Vec<Method>,
        target_evidence: Option<TargetEvidence>,
    ) -> Result<Connected, Failed> {
        let published = target_evidence
            .as_ref()
            .map(|target_evidence| &target_evidence.tlsa);
        let shows = self.shows(&excluded);
        let mut effects = Vec::new();
        let mut outbound = Outbound::start(
            Call {
                snapshot: Arc::clone(self.snapshot),
                pair: self.pair.clone(),
                purpose: purpose.clone(),
                excluded,
                encrypt: matches!(published, Some(Ok(Some(_)))),
            },
            Box::new(OsRandom),
            transport,
            Instant::now(),
            &mut effects,
        )
        .with_bidi()
        .with_acks();
        let mut excluded = outbound.excluded().to_vec();
        // Other places have their share, too.
        let (word, end) = (self.share.word(Instant::now()), self.share.end());
        let mut heard = false;
        let mut step: Result<Box<Outbound>, Closed>;
        loop {
            let mut outcome = None;
            let (mut inverse, mut counts) = (None, false);
            let mut answer = None;
            for effect in effects.drain(..) {
                match effect {
                    OutboundEffect::Send(bytes) => conn.send(&bytes),
                    OutboundEffect::StartTls => {
                        answer = Some(self.start_tls(&mut conn, shows).await?);
                        entry.carried_by(&mut conn);
                    }
                    OutboundEffect::Judge(domain) => {
                        let direction =
                            Direction::Outgoing(target_evidence.clone(), asker(self.causer));
                        let source = conn.peer();
                        let judged =
                            self.shared
                                .judge(conn.shown(), Some(domain), direction, source);
                        let deadline = outbound.deadline().unwrap_or_else(Instant::now).min(end);
                        answer = Some(match timeout_at(deadline.into(), judged).await {
                            Ok(judged) => {
                                self.observer.observe(Observation::Judged(&judged));
                                OutboundEvent::Judged(judged)
                            }
                            Err(_) => OutboundEvent::Tick,
                        });
                    }
                    OutboundEffect::RunSasl(sasl_step) => {
                        let waits = sasl_step.waits();
                        let server = conn.peer().ip();
                        let done = self.shared.compute(waits, server, || sasl_step.run());
                        let deadline = outbound.deadline().unwrap_or_else(Instant::now).min(end);
                        answer = Some(match timeout_at(deadline.into(), done).await {
                            Ok(Some(done)) => OutboundEvent::SaslStepDone(done),
                            Ok(None) => OutboundEvent::Shutdown,
                            Err(_) => OutboundEvent::Tick,
                        });
                    }
                    OutboundEffect::Restart(limits) => conn.restart(limits),
                    OutboundEffect::SetLimits(limits) => conn.set_limits(limits),
                    OutboundEffect::Established(authorized) => {
                        outcome = Some(Opened::For(authorized))
                    }
                    OutboundEffect::InverseProved(authorized) => inverse = Some(authorized),
                    OutboundEffect::Counts => counts = true,
                    OutboundEffect::MayAsk => outcome = Some(Opened::ToAsk),
                    // Nothing of this before a pair is added, a question asked, or the stream open.
                    OutboundEffect::PairRefused(..)
                    | OutboundEffect::Stray { .. }
                    | OutboundEffect::NotAsked(_)
                    | OutboundEffect::Answered(..)
                    | OutboundEffect::Deliver(..)
                    | OutboundEffect::Managed(_)
                    | OutboundEffect::Bounce(..) => {}
                }
            }
            let permit = Permit::default();
            match outcome {
                Some(Opened::For(authorized)) => {
                    entry.proved(&authorized);
                    return Ok(Connected::Ready(Box::new(Ready {
                        conn,
                        entry: entry.clone(),
                        outbound,
                        authorized,
                        inverse,
                        counts,
                        target_evidence,
                        permit,
                    })));
                }
                Some(Opened::ToAsk) => {
                    entry.asks();
                    return Ok(Connected::QuestionStream(Box::new(QuestionStream {
                        conn,
                        entry: entry.clone(),
                        outbound,
                        permit,
                    })));
                }
                None => {}
            }
            let event = match answer {
                Some(event) => event,
                None => {
                    let ours = if heard { end } else { word };
                    let deadline = outbound.deadline().map_or(ours, |theirs| theirs.min(ours));
                    next_event(&mut conn, Some(deadline), self.observer).await
                }
            };
            heard |= matches!(event, OutboundEvent::Frame(_));
            trace!(?event, "received");
            self.observer.observe(Observation::Event(&event));
            self.note(&event);
            // Where the DNS says which certificates a place has, another place has none of these.
            let other_host = match published {
                Some(Ok(Some(_))) => None,
                _ => other_host(&event),
            };
            step = outbound.handle(event, &mut effects);
            match step {
                Ok(next) => {
                    outbound = next;
                    self.observer
                        .observe(Observation::Awaits(outbound.awaits()));
                    excluded.clear();
                    excluded.extend_from_slice(outbound.excluded());
                }
                Err(closed) => {
                    self.observer.observe(Observation::Closed(&closed));
                    let failed = self.finish(conn, effects, closed, excluded).await;
                    return Err(Failed {
                        other_host,
                        ..failed
                    });
                }
            }
        }
    }

    /// What proves nothing and is a fault of the other server's all the same.
    fn note(&self, event: &OutboundEvent) {
        if let OutboundEvent::Frame(Frame::Header(header)) = event
            && let Some(from) = &header.from
            && !self.pair.remote.is_named_by(from)
        {
            let from = Domain::parse(from);
            let from = from.as_ref().map_or("not a domain", Domain::as_str);
            debug!(remote = %self.pair.remote, from, "the response header is from another domain");
        }
    }

    async fn start_tls(&self, conn: &mut Conn, shows: bool) -> Result<OutboundEvent, Cause> {
        let clean = match conn.boundary() {
            Ok(clean) => clean,
            Err(error) => return Ok(OutboundEvent::Malformed(error)),
        };
        let Some((tcp, _)) = conn.take_tcp(clean) else {
            return Ok(OutboundEvent::TlsFailed("TLS within TLS".to_owned()));
        };
        *conn = self.handshake(tcp, false, shows).await?;
        Ok(match Shared::secured(conn, self.policy.tls_floor(), None) {
            Some(secured) => OutboundEvent::TlsReady(secured),
            None => OutboundEvent::TlsFailed("no session".to_owned()),
        })
    }

    /// The stream ended.
    async fn finish(
        &self,
        mut conn: Conn,
        effects: Vec<OutboundEffect>,
        closed: Closed,
        mut excluded: Vec<Method>,
    ) -> Failed {
        for effect in effects {
            if let OutboundEffect::Send(bytes) = effect {
                conn.send(&bytes);
            }
        }
        let _ = timeout(CLOSE_TIMEOUT, conn.shut()).await;
        if let Cause::Refused { mechanism, failure } = &closed.cause
            && let Some(method) = Method::of_mechanism(mechanism)
        {
            exclude(&mut excluded, &self.policy.auth, method, *failure);
        }
        Failed {
            cause: closed.cause,
            excluded,
            other_host: None,
        }
    }
}

/// What stands in `<see-other-host/>`, if that is what came.
fn other_host(event: &OutboundEvent) -> Option<PeerText> {
    let OutboundEvent::Frame(Frame::Element(element)) = event else {
        return None;
    };
    if !element.is(ns::STREAMS, "error") {
        return None;
    }
    let tree = element.tree();
    let other = tree.child(ns::STREAM_ERRORS, Condition::SeeOtherHost.name())?;
    Some(PeerText::new(other.text().trim()))
}

/// What comes next, or that nothing came until then.
pub(crate) async fn next_event(
    conn: &mut Conn,
    deadline: Option<Instant>,
    observer: &dyn Observer,
) -> OutboundEvent {
    loop {
        match conn.frame() {
            Ok(Some(frame)) => return OutboundEvent::Frame(frame),
            Ok(None) => {}
            Err(error) => return OutboundEvent::Malformed(error),
        }
        let deadline = deadline.unwrap_or_else(Instant::now);
        tokio::select! {
            progress = conn.progress(true) => match progress {
                Ok(Progress::Read) => observer.observe(Observation::Bytes(conn.unread())),
                Ok(Progress::Written) => {}
                Ok(Progress::Overfull) => return OutboundEvent::Overfull,
                Ok(Progress::End) => return OutboundEvent::Lost("the other server closed the connection".to_owned()),
                Err(error) => {
                    observer.observe(Observation::Broken(&error));
                    return match trust::is_about_certificate(&error) {
                        true => OutboundEvent::CertificateRefused(error.to_string()),
                        false => OutboundEvent::Lost(error.to_string()),
                    };
                }
            },
            () = sleep_until(deadline.into()) => return OutboundEvent::Tick,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, TrustStore};
    use crate::tools::demo::zone::{Zone, ZoneServer};
    use xmpp_dialback::Secret;

    /// The router and the streams ask first, by the rules that they began with: these may be newer.
    #[tokio::test]
    async fn who_is_not_admitted_is_neither_looked_up_nor_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let zone = Zone::new()
            .srv("_xmpp-server._tcp.b.test", 0, 0, port, "b.test")
            .a("b.test", [127, 0, 0, 1].into());
        let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap();
        let toml = format!(
            "data_dir = 'data'\n[dns]\nservers = ['{}']\n[policy]\ntls = 'disabled'\nauth = ['dialback']\n\
             deny = ['b.test']\n[[domain]]\nname = 'a.test'\n",
            server.addr()
        );
        let config = Config::from_toml(&toml, "s2sd.toml", std::path::Path::new("."));
        let mut config = config.unwrap().config;
        config.policy = Arc::new(Policy {
            trust: TrustStore::Files(Vec::new()),
            ..(*config.policy).clone()
        });
        let (tls, dns) = (
            tls::Tls::load(&config).unwrap(),
            resolve::Dns::new(&config.dns).unwrap(),
        );
        let config = Arc::new(config);
        let snapshot = Snapshot::new(config, Secret::new("of this test"), |_| false);
        let snapshot = Arc::new(snapshot);
        let shared = Shared::new(Arc::clone(&snapshot), tls, dns);
        let [local, remote] = ["a.test", "b.test"].map(|name| Domain::parse(name).unwrap());
        let pair = DomainPair { local, remote };
        for purpose in [Purpose::Deliver, Purpose::Verify] {
            let outcome = connect(&shared, &snapshot, &pair, &purpose, None).await;
            let Err(Cause::Policy(text)) = outcome else {
                panic!("not refused");
            };
            assert!(text.starts_with("b.test is not admitted"), "{text}");
        }
        assert_eq!(server.asked(), Vec::<String>::new());
    }
}
