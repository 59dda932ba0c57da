//! Whether a peer's certificate proves its domain: the questions for that, their order, and the verdict.
//!
//! An inquiry is a value that is in one [`Step`] at a time. A step says what it needs; the driver finds it out, gives
//! it to the part of the step that waits for it, and gets the next step. No question comes twice, and none that cannot
//! change the verdict. The order is:
//!
//! 1. the rules, if the peer did not give its name: those for the one domain that the certificate names;
//! 2. for a peer that connected to us, the servers of the domain, and the TLSA records that they publish (RFC 7673 §3;
//!    for a server that we connect to, both are known by then: [`is_asked_for_tlsa`]);
//! 3. the certificate itself: DANE, then PKIX (RFC 7673 §4);
//! 4. the document that the domain publishes by HTTPS, if no authority vouches for the certificate and it has no other
//!    fault (RFC 7711 §6).
//!
//! Pure: time is an argument, and checking the certificate, which may take some milliseconds of a processor, is a step.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use xmpp_stream::Domain;

use super::bad_certificate::BadCertificate;
use super::chain::PeerChain;
use super::dane::TlsaSet;
use super::judgement::{Because, Evidence, Judgement, TargetEvidence, Weighed, weigh};
use super::pkix::sole_identity;
use super::posh::Fingerprints;
use super::roots::Roots;
use crate::config::{Dane, Dnssec, Policy, TlsMode};
use crate::host::Host;
use crate::peer_text::PeerText;

/// By what rules a certificate is judged.
#[derive(Clone, Debug)]
pub struct Rules {
    roots: Arc<Roots>,
    dane: Dane,
    asks_dns: bool,
    posh: bool,
}

impl Rules {
    /// Those of a policy.
    pub fn new(policy: &Policy, dnssec: Dnssec, roots: Arc<Roots>) -> Self {
        Self {
            roots,
            dane: policy.dane,
            asks_dns: asks_dns(policy, dnssec),
            posh: policy.posh,
        }
    }
}

/// Whether to ask the DNS about certificates. With `connect`, s2sd does not ask it for servers.
fn asks_dns(policy: &Policy, dnssec: Dnssec) -> bool {
    dnssec != Dnssec::Off && policy.dane != Dane::Off && policy.connect.is_empty()
}

/// Whether a server has to be asked for its TLSA records before we connect to it (RFC 7673 §3.3).
pub fn is_asked_for_tlsa(policy: &Policy, dnssec: Dnssec, server: &Server) -> bool {
    asks_dns(policy, dnssec) && policy.tls != TlsMode::Disabled && server.secure
}

/// A server of a domain's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// The machine.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// DNSSEC proves that it is one of the domain's.
    pub secure: bool,
}

impl Server {
    /// The server, with the records that it publishes.
    pub fn publishes(&self, tlsa: Result<Option<TlsaSet>, String>) -> TargetEvidence {
        let host = match &self.host {
            Host::Name(name) if self.secure => Domain::parse(name).ok(),
            Host::Name(_) | Host::Address(_) => None,
        };
        TargetEvidence { host, tlsa }
    }

    /// Whether it can publish something that DNSSEC proves.
    fn may_publish(&self) -> bool {
        self.secure && matches!(self.host, Host::Name(_))
    }
}

/// Which server it is that showed the certificate.
#[derive(Clone, Debug)]
pub enum ShownBy {
    /// The one that we connected to; none if the DNS proves nothing about it.
    Target(Option<TargetEvidence>),
    /// Any of the domain's: it connected to us.
    Any,
}

/// The answer to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// The value.
    Found(T),
    /// There is none.
    Absent,
    /// The look-up failed, for this reason.
    Untold(String),
}

/// A document that a domain publishes (RFC 7711 §3.1).
#[derive(Clone, Copy, Debug)]
pub struct PoshEvidence<'a> {
    /// Its fingerprints.
    pub fingerprints: &'a Fingerprints,
    /// Where it is.
    pub url: &'a str,
}

/// The next step.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// The driver has to give the rules for this domain.
    NeedRules(Domain, AwaitsRules),
    /// The driver has to give the servers of this domain.
    NeedServers(Domain, AwaitsServers),
    /// The driver has to give the records that these servers publish, by host and port.
    NeedTlsa(Vec<Server>, AwaitsTlsa),
    /// The driver has to check the certificate, which takes time.
    Look(Look),
    /// The driver has to give the document that this domain publishes by HTTPS.
    NeedPosh(Domain, AwaitsPosh),
    /// The inquiry is over.
    Verdict(CertificateVerdict),
}

/// The result of an inquiry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateVerdict {
    /// The domain that the certificate was judged for; none if it names no single one.
    pub domain: Option<Domain>,
    /// What it proves about that.
    pub judgement: Judgement,
    is_sole: bool,
}

impl CertificateVerdict {
    /// The part of it that counts: the judgement, and the domain of a peer that had not given its name. A domain whose
    /// own rules do not accept the certificate does not count.
    pub fn counts(self) -> (Judgement, Option<Domain>) {
        match (self.is_sole, self.judgement.is_certified()) {
            (false, _) => (self.judgement, None),
            (true, true) => (self.judgement, self.domain),
            (true, false) => (Because::NoCertificate.into(), None),
        }
    }
}

/// A certificate, the domain to judge it for, and the rules.
#[derive(Debug)]
struct Case {
    chain: PeerChain,
    domain: Domain,
    rules: Rules,
    is_sole: bool,
}

impl Case {
    fn verdict(self, because: Because) -> Step {
        Step::Verdict(CertificateVerdict {
            domain: Some(self.domain),
            judgement: because.into(),
            is_sole: self.is_sole,
        })
    }

    fn begin(self, shown_by: ShownBy) -> Step {
        // A chain that is never judged is no reason to ask anybody.
        if let Err(bad) = self.chain.is_bounded() {
            return self.verdict(Because::Bad(bad));
        }
        match shown_by {
            ShownBy::Target(target) => self.look(target.into_iter().collect()),
            ShownBy::Any if self.rules.asks_dns => {
                Step::NeedServers(self.domain.clone(), AwaitsServers(self))
            }
            ShownBy::Any => self.look(Vec::new()),
        }
    }

    fn look(self, targets: Vec<TargetEvidence>) -> Step {
        Step::Look(Look(Looking::At(self, targets)))
    }

    /// A failed look-up counts against the certificate (RFC 7673 §3.1, §3.4).
    fn untold(self, why: &str) -> Step {
        self.verdict(Because::Bad(BadCertificate::Untold(why.into())))
    }
}

impl Step {
    /// A peer says that it is `domain`.
    pub fn of_domain(
        chain: Option<PeerChain>,
        domain: Domain,
        rules: Rules,
        shown_by: ShownBy,
    ) -> Self {
        match chain {
            None => Self::nothing(false),
            Some(chain) => Case {
                chain,
                domain,
                rules,
                is_sole: false,
            }
            .begin(shown_by),
        }
    }

    /// A peer that connected to us did not give its name. It is the single domain that its certificate names, if these
    /// authorities vouch for it and the rules for that domain allow it.
    pub fn of_whoever(chain: Option<PeerChain>, roots: Arc<Roots>) -> Self {
        match chain {
            None => Self::nothing(true),
            Some(chain) => Self::Look(Look(Looking::ForName(chain, roots))),
        }
    }

    fn nothing(is_sole: bool) -> Self {
        Self::Verdict(CertificateVerdict {
            domain: None,
            judgement: Because::NoCertificate.into(),
            is_sole,
        })
    }
}

/// A certificate that is to be looked at.
#[derive(Debug)]
pub struct Look(Looking);

#[derive(Debug)]
enum Looking {
    ForName(PeerChain, Arc<Roots>),
    At(Case, Vec<TargetEvidence>),
}

impl Look {
    /// Looks at it. What authorities say of a chain is found out once for a connection, and not again for another domain.
    pub fn at(self, now: UnixTime) -> Step {
        match self.0 {
            Looking::ForName(chain, roots) => match sole_identity(Some(&chain), &roots, now) {
                Some(domain) => Step::NeedRules(domain.clone(), AwaitsRules(chain, domain)),
                None => Step::nothing(true),
            },
            Looking::At(case, targets) => {
                let evidence = Evidence {
                    dane: case.rules.dane,
                    targets: &targets,
                    ..Evidence::new(Some(&case.chain), &case.rules.roots, &case.domain, now)
                };
                match weigh(&evidence, &case.chain) {
                    Weighed::Unvouched(bad) if case.rules.posh => {
                        Step::NeedPosh(case.domain.clone(), AwaitsPosh(case, bad))
                    }
                    Weighed::Unvouched(bad) => case.verdict(Because::Bad(bad)),
                    Weighed::Settled(because) => case.verdict(because),
                }
            }
        }
    }
}

/// Waits for the rules.
#[derive(Debug)]
pub struct AwaitsRules(PeerChain, Domain);

impl AwaitsRules {
    /// These are the rules for the domain.
    pub fn told(self, rules: Rules) -> Step {
        let Self(chain, domain) = self;
        let case = Case {
            chain,
            domain,
            rules,
            is_sole: true,
        };
        case.begin(ShownBy::Any)
    }
}

/// Waits for the servers of the domain.
#[derive(Debug)]
pub struct AwaitsServers(Case);

impl AwaitsServers {
    /// These are all.
    pub fn told(self, servers: Answer<Vec<Server>>) -> Step {
        let Self(case) = self;
        let servers = match servers {
            Answer::Found(servers) => servers,
            // There is no server, and so none publishes anything.
            Answer::Absent => Vec::new(),
            Answer::Untold(why) => return case.untold(&why),
        };
        let asked: Vec<Server> = servers
            .iter()
            .filter(|server| server.may_publish())
            .cloned()
            .collect();
        let awaits = AwaitsTlsa { case, servers };
        match asked.is_empty() {
            true => awaits.told(Vec::new()),
            false => Step::NeedTlsa(asked, awaits),
        }
    }
}

/// Waits for what the servers publish.
#[derive(Debug)]
pub struct AwaitsTlsa {
    case: Case,
    servers: Vec<Server>,
}

impl AwaitsTlsa {
    /// The result for each server that had to be asked.
    pub fn told(self, answers: Vec<(Server, Answer<TlsaSet>)>) -> Step {
        let Self { case, servers } = self;
        let publishes = |server: &Server| {
            let told = answers.iter().find(|(asked, _)| asked == server);
            server.publishes(match told.map(|(_, answer)| answer) {
                _ if !server.may_publish() => Ok(None),
                Some(Answer::Found(set)) => Ok(Some(set.clone())),
                Some(Answer::Absent) => Ok(None),
                Some(Answer::Untold(why)) => Err(format!("{}:{}: {why}", server.host, server.port)),
                None => Err(format!("{}:{}: not asked", server.host, server.port)),
            })
        };
        let targets = servers.iter().map(publishes).collect();
        case.look(targets)
    }

    /// The look-up of their records failed.
    pub fn untold(self, why: &str) -> Step {
        self.case.untold(why)
    }
}

/// Waits for what the domain publishes by HTTPS.
#[derive(Debug)]
pub struct AwaitsPosh(Case, BadCertificate);

impl AwaitsPosh {
    /// What a domain publishes stands for its authority and for its name (RFC 7711 §3.3, §4).
    pub fn told(self, document: Result<PoshEvidence<'_>, &str>) -> Step {
        let Self(case, pkix) = self;
        let (posh, read) = match document {
            Ok(PoshEvidence { fingerprints, url }) if fingerprints.have(case.chain.leaf()) => {
                let url = PeerText::new(url);
                return case.verdict(Because::Posh { url });
            }
            Ok(PoshEvidence { url, .. }) => (format!("{url} has other fingerprints").into(), true),
            Err(why) => (why.into(), false),
        };
        case.verdict(Because::Bad(BadCertificate::NorPosh {
            pkix: Box::new(pkix),
            posh,
            read,
        }))
    }
}

#[cfg(test)]
mod tests;
