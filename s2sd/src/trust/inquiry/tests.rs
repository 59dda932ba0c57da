//! What is asked, in which order, and what comes of each answer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use crate::trust::posh::Document;
use crate::trust::{Revocations, Tlsa, TrustLevel};

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn roots(root: &Authority) -> Arc<Roots> {
    Arc::new(Roots::new([root.der().clone()]).0)
}

fn chain(issued: &Issued) -> PeerChain {
    PeerChain::new(&issued.chain()).unwrap()
}

fn server(host: &str) -> Server {
    Server {
        host: Host::Name(host.to_owned()),
        port: 5269,
        secure: true,
    }
}

/// `3 0 1` of the certificate.
fn tlsa(chain: &PeerChain) -> TlsaSet {
    let hash = Sha256::digest(chain.leaf()).to_vec();
    TlsaSet::new("_5269._tcp.x.example", Tlsa::new(3, 0, 1, hash)).unwrap()
}

fn posh(chain: &PeerChain) -> Fingerprints {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(chain.leaf()));
    let text = format!("{{\"fingerprints\":[{{\"sha-256\":\"{hash}\"}}],\"expires\":9}}");
    match Document::parse(text.as_bytes()) {
        Ok(Document::Fingerprints(fingerprints)) => fingerprints,
        _ => panic!("no fingerprints"),
    }
}

/// What everybody who is asked would answer.
#[derive(Clone)]
struct World {
    servers: Answer<Vec<Server>>,
    /// `None`: not in time.
    tlsa: Option<Answer<TlsaSet>>,
    posh: Result<Fingerprints, &'static str>,
    rules: Rules,
}

impl World {
    /// One secure server, and nothing is published.
    fn new(roots: &Arc<Roots>) -> Self {
        Self {
            servers: Answer::Found(vec![server("x.example")]),
            tlsa: Some(Answer::Absent),
            posh: Err("no answer"),
            rules: Rules {
                roots: Arc::clone(roots),
                dane: Dane::Use,
                asks_dns: true,
                posh: true,
            },
        }
    }

    fn run(&self, mut step: Step, now: UnixTime) -> (Vec<&'static str>, CertificateVerdict) {
        let mut asked = Vec::new();
        loop {
            step = match step {
                Step::NeedRules(_, awaits) => {
                    asked.push("rules");
                    awaits.told(self.rules.clone())
                }
                Step::NeedServers(_, awaits) => {
                    asked.push("servers");
                    awaits.told(self.servers.clone())
                }
                Step::NeedTlsa(servers, awaits) => {
                    asked.push("tlsa");
                    assert!(!servers.is_empty());
                    match &self.tlsa {
                        Some(answer) => awaits
                            .told(servers.into_iter().map(|it| (it, answer.clone())).collect()),
                        None => awaits.untold("late"),
                    }
                }
                Step::Look(look) => {
                    asked.push("look");
                    look.at(now)
                }
                Step::NeedPosh(_, awaits) => {
                    asked.push("posh");
                    let url = "https://a.example/x";
                    awaits.told(match &self.posh {
                        Ok(fingerprints) => Ok(PoshEvidence { fingerprints, url }),
                        Err(why) => Err(why),
                    })
                }
                Step::Verdict(verdict) => return (asked, verdict),
            };
        }
    }

    fn of(&self, chain: &PeerChain, shown_by: ShownBy) -> (Vec<&'static str>, Judgement) {
        let chain = Some(chain.clone());
        let step = Step::of_domain(chain, domain("a.example"), self.rules.clone(), shown_by);
        let (asked, verdict) = self.run(step, UnixTime::now());
        (asked, verdict.judgement)
    }

    #[track_caller]
    fn check(&self, chain: &PeerChain, asked: &[&str], want: &str) {
        let (all, judgement) = self.of(chain, ShownBy::Any);
        assert_eq!(all, asked, "{judgement}");
        let judgement = judgement.to_string();
        assert!(judgement.starts_with(want), "{judgement}");
    }
}

const ALL: [&str; 4] = ["servers", "tlsa", "look", "posh"];

#[test]
fn servers_that_cannot_be_told_settle_it_and_nothing_else_is_asked() {
    let root = Authority::new("root");
    let good = chain(&root.issue(&Leaf::domain("a.example")));
    let mut world = World::new(&roots(&root));
    world.servers = Answer::Untold("its DNS answers are not what is signed".to_owned());
    let want = "contradicted: whether its DNS says another certificate is the right one cannot be told: its DNS";
    world.check(&good, &ALL[..1], want);
    world.servers = Answer::Found(vec![server("x.example")]);
    world.tlsa = None;
    world.check(&good, &ALL[..2], "contradicted: whether its DNS says");
}

#[test]
fn where_nothing_is_published_an_authority_is_enough_unless_more_is_required() {
    let root = Authority::new("root");
    let good = chain(&root.issue(&Leaf::domain("a.example")));
    let mut world = World::new(&roots(&root));
    world.check(&good, &ALL[..3], "PKIX: dNSName a.example");
    world.rules.dane = Dane::Require;
    world.check(
        &good,
        &ALL[..3],
        "contradicted: its domain publishes no TLSA",
    );
    // Nor is there anything to ask where there is no server, or none that DNSSEC proves.
    let unproved = Server {
        secure: false,
        ..server("x.example")
    };
    let address = Server {
        host: Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ..server("x.example")
    };
    for servers in [
        Answer::Absent,
        Answer::Found(vec![]),
        Answer::Found(vec![unproved, address]),
    ] {
        world.servers = servers;
        world.rules.dane = Dane::Use;
        world.check(&good, &["servers", "look"], "PKIX: dNSName a.example");
        world.rules.dane = Dane::Require;
        world.check(&good, &["servers", "look"], "contradicted: its domain");
    }
}

#[test]
fn what_a_server_publishes_settles_it() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let mut world = World::new(&roots(&root));
    let own = chain(&stranger.issue(&Leaf::domain("elsewhere.example")));
    world.tlsa = Some(Answer::Found(tlsa(&own)));
    let good = chain(&root.issue(&Leaf::domain("a.example")));
    for dane in [Dane::Use, Dane::Require] {
        world.rules.dane = dane;
        world.check(&own, &ALL[..3], "DANE: TLSA 3 0 1 ");
        // The document that stands for it by HTTPS is not asked for.
        world.posh = Ok(posh(&good));
        world.check(
            &good,
            &ALL[..3],
            "contradicted: its certificate matches no TLSA",
        );
    }
}

#[test]
fn a_server_whose_records_cannot_be_told_is_not_believed_by_an_authority() {
    let root = Authority::new("root");
    let good = chain(&root.issue(&Leaf::domain("a.example")));
    let mut world = World::new(&roots(&root));
    world.tlsa = Some(Answer::Untold("no answer".to_owned()));
    let want = "contradicted: whether its DNS says another certificate is the right one cannot be told: \
                x.example:5269: no answer";
    world.check(&good, &ALL[..3], want);
    // One that was forgotten is none that publishes nothing.
    let step = Step::of_domain(
        Some(good),
        domain("a.example"),
        world.rules.clone(),
        ShownBy::Any,
    );
    let Step::NeedServers(_, awaits) = step else {
        panic!("{step:?}");
    };
    let Step::NeedTlsa(_, awaits) = awaits.told(world.servers.clone()) else {
        panic!("no records are asked for");
    };
    let (_, verdict) = world.run(awaits.told(Vec::new()), UnixTime::now());
    assert!(!verdict.judgement.is_certified(), "{verdict:?}");
}

#[test]
fn a_server_that_we_connect_to_was_asked_before_and_nothing_is_asked_again() {
    let root = Authority::new("root");
    let mut world = World::new(&roots(&root));
    world.servers = Answer::Untold("not to be asked".to_owned());
    let hosts = chain(&root.issue(&Leaf::domain("x.example")));
    let (asked, judgement) = world.of(&hosts, ShownBy::Target(None));
    assert_eq!(asked, ["look", "posh"], "{judgement}");
    let target = server("x.example").publishes(Ok(None));
    let (asked, judgement) = world.of(&hosts, ShownBy::Target(Some(target)));
    assert_eq!(asked, ["look"]);
    assert_eq!(judgement.trust(), TrustLevel::Delegated);
    let target = server("x.example").publishes(Ok(Some(tlsa(&hosts))));
    let (asked, judgement) = world.of(&hosts, ShownBy::Target(Some(target)));
    assert_eq!(asked, ["look"]);
    assert_eq!(judgement.trust(), TrustLevel::Dane);
}

#[test]
fn what_is_published_on_the_web_helps_where_no_authority_spoke_and_nowhere_else() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let mut world = World::new(&roots(&root));
    let own = Leaf::domain("b.example");
    for issued in [
        Issued::self_signed(&own),
        stranger.issue(&own),
        root.issue(&own),
    ] {
        let shown = chain(&issued);
        world.posh = Ok(posh(&shown));
        world.check(&shown, &ALL, "POSH: https://a.example/x");
        let others = chain(&root.issue(&Leaf::domain("other.example")));
        world.posh = Ok(posh(&others));
        let (_, judgement) = world.of(&shown, ShownBy::Any);
        let bad = judgement.bad().unwrap();
        assert!(bad.is_certain(), "{bad:?}");
        let told = bad.of_it().to_string();
        assert!(told.ends_with("not known either: https://a.example/x has other fingerprints"));
        world.posh = Err("no answer");
        let (_, judgement) = world.of(&shown, ShownBy::Any);
        let bad = judgement.bad().unwrap();
        assert!(!bad.is_certain(), "{bad:?}");
        assert!(bad.of_it().to_string().ends_with("known either: no answer"));
        assert!(!bad.to_it().to_string().contains("no answer"));
        world.rules.posh = false;
        world.check(&shown, &ALL[..3], "contradicted: ");
        world.rules.posh = true;
        world.rules.dane = Dane::Require;
        world.check(
            &shown,
            &ALL[..3],
            "contradicted: its domain publishes no TLSA",
        );
        world.rules.dane = Dane::Use;
    }
    let expired = chain(&Issued::self_signed(
        &own.clone().validity(Validity::Expired),
    ));
    world.check(&expired, &ALL[..3], "contradicted: its certificate expired");
    let client = chain(&Issued::self_signed(&own.purpose(Purpose::Client)));
    world.check(&client, &ALL[..3], "contradicted: ");
    let good = chain(&root.issue(&Leaf::domain("a.example")));
    world.check(&good, &ALL[..3], "PKIX: dNSName a.example");
}

#[test]
fn what_was_taken_back_is_not_made_good_by_the_web() {
    let stranger = Authority::new("stranger");
    let issued = stranger.issue(&Leaf::domain("a.example"));
    let list = stranger.revoke(&[&issued], Validity::Now);
    let file = std::path::Path::new("stranger.crl");
    let revoked = Revocations::read(file, list.as_bytes()).unwrap();
    let shown = chain(&issued);
    let mut world = World::new(&Arc::new(Roots::default()));
    world.posh = Ok(posh(&shown));
    world.check(&shown, &ALL, "POSH: ");
    world.rules.roots = Arc::new(Roots::default().without(revoked));
    world.check(&shown, &ALL[..3], "contradicted: ");
}

#[test]
fn without_a_certificate_or_with_too_many_nothing_is_asked() {
    let root = Authority::new("root");
    let world = World::new(&roots(&root));
    let many = vec![root.issue(&Leaf::domain("a.example")).chain()[0].clone(); 9];
    let many = PeerChain::new(&many).unwrap();
    world.check(
        &many,
        &[],
        "contradicted: its certificate chain is too long",
    );
    let rules = world.rules.clone();
    let none = Step::of_domain(None, domain("a.example"), rules, ShownBy::Any);
    for step in [none, Step::of_whoever(None, roots(&root))] {
        let (asked, verdict) = world.run(step, UnixTime::now());
        assert!(asked.is_empty());
        assert_eq!(verdict.domain, None);
        assert_eq!(verdict.counts(), (Because::NoCertificate.into(), None));
    }
}

#[test]
fn who_has_not_said_its_name_has_the_only_one_of_its_certificate_if_its_own_rules_let_it() {
    let root = Authority::new("root");
    let general = roots(&root);
    let mut world = World::new(&general);
    let whoever = |world: &World, leaf: &Leaf| {
        let shown = chain(&root.issue(leaf));
        world.run(
            Step::of_whoever(Some(shown), Arc::clone(&general)),
            UnixTime::now(),
        )
    };
    let own = Leaf::domain("a.example");
    let (asked, verdict) = whoever(&world, &own);
    assert_eq!(asked, ["look", "rules", "servers", "tlsa", "look"]);
    let (judgement, identity) = verdict.counts();
    assert!(judgement.is_certified());
    assert_eq!(identity, Some(domain("a.example")));
    // Its own rules want more: it is told apart from what was found, which is for the log.
    world.rules.dane = Dane::Require;
    let (_, verdict) = whoever(&world, &own);
    assert_eq!(verdict.judgement.bad(), Some(&BadCertificate::NoTlsa));
    assert_eq!(verdict.counts(), (Because::NoCertificate.into(), None));
    let two = own.dns("b.example");
    let (asked, verdict) = whoever(&world, &two);
    assert_eq!(asked, ["look"]);
    assert_eq!(verdict.counts(), (Because::NoCertificate.into(), None));
}

/// The pairs of a stream share what authorities say of its chain: when they have said it, time does not change it within
/// the hour, and another domain is judged by the same word.
#[test]
fn authorities_are_heard_once_for_all_domains_of_a_connection() {
    let root = Authority::new("root");
    let both = Leaf::domain("a.example").dns("b.example");
    let shown = chain(&root.issue(&both.validity(Validity::Days(1))));
    let world = World::new(&roots(&root));
    let end = UnixTime::now().as_secs() + 36 * 60 * 60;
    let (before, after) = (end - 10 * 60, end + 20 * 60);
    let judged = |shown: &PeerChain, name: &str, now| {
        let rules = world.rules.clone();
        let step = Step::of_domain(
            Some(shown.clone()),
            domain(name),
            rules,
            ShownBy::Target(None),
        );
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        world.run(step, now).1.judgement.is_certified()
    };
    assert!(judged(&shown, "a.example", before));
    assert!(judged(&shown, "b.example", after));
    let another_connection = PeerChain::new(&[shown.leaf().clone()]).unwrap();
    assert!(!judged(&another_connection, "b.example", after));
}

#[test]
fn the_dns_is_asked_where_policy_and_resolver_say_so_and_no_place_is_configured() {
    let on = Policy {
        dane: Dane::Use,
        tls: TlsMode::Optional,
        connect: Vec::new(),
        ..Policy::default()
    };
    let proved = server("x.example");
    let asked = |policy: &Policy, dnssec, server: &Server| {
        let rules = Rules::new(policy, dnssec, Arc::new(Roots::default()));
        (rules.asks_dns, is_asked_for_tlsa(policy, dnssec, server))
    };
    assert_eq!(asked(&on, Dnssec::Use, &proved), (true, true));
    assert_eq!(asked(&on, Dnssec::Off, &proved), (false, false));
    let off = Policy {
        dane: Dane::Off,
        ..on.clone()
    };
    assert_eq!(asked(&off, Dnssec::Use, &proved), (false, false));
    let clear = Policy {
        tls: TlsMode::Disabled,
        ..on.clone()
    };
    assert_eq!(asked(&clear, Dnssec::Use, &proved), (true, false));
    let unproved = Server {
        secure: false,
        ..proved
    };
    assert_eq!(asked(&on, Dnssec::Use, &unproved), (true, false));
}

/// Every certificate with every rule and every answer.
#[test]
fn whatever_is_answered_nothing_is_asked_twice_and_nothing_unproved_is_believed() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let leaf = Leaf::domain("a.example");
    // The first is good, the second names a server.
    let shown = [
        root.issue(&leaf),
        root.issue(&Leaf::domain("x.example")),
        root.issue(&Leaf::domain("y.example")),
        root.issue(&leaf.clone().validity(Validity::Expired)),
        stranger.issue(&leaf),
        Issued::self_signed(&leaf),
    ];
    let other = chain(&root.issue(&Leaf::domain("other.example")));
    let unproved = Server {
        secure: false,
        ..server("x.example")
    };
    let all_servers = [
        Answer::Untold("no".to_owned()),
        Answer::Absent,
        Answer::Found(vec![unproved.clone()]),
        Answer::Found(vec![server("x.example")]),
        Answer::Found(vec![server("x.example"), unproved]),
    ];
    let mut world = World::new(&roots(&root));
    let mut seen = 0;
    for (number, issued) in shown.iter().enumerate() {
        let shown = chain(issued);
        let known = [
            None,
            Some(Answer::Untold("no".to_owned())),
            Some(Answer::Absent),
            Some(Answer::Found(tlsa(&shown))),
            Some(Answer::Found(tlsa(&other))),
        ];
        let documents = [Err("no"), Ok(posh(&shown)), Ok(posh(&other))];
        for (dane, asks_dns, posh) in [Dane::Off, Dane::Use, Dane::Require]
            .into_iter()
            .flat_map(|dane| [(dane, false), (dane, dane != Dane::Off)])
            .flat_map(|(dane, dns)| [(dane, dns, false), (dane, dns, true)])
        {
            (world.rules.dane, world.rules.asks_dns, world.rules.posh) = (dane, asks_dns, posh);
            for servers in &all_servers {
                world.servers = servers.clone();
                for tlsa in &known {
                    world.tlsa = tlsa.clone();
                    for document in &documents {
                        world.posh = document.clone();
                        let (asked, judgement) = world.of(&shown, ShownBy::Any);
                        seen += 1;
                        // In the order that is written above, each at most once.
                        let mut order = ALL.iter();
                        assert!(asked.iter().all(|it| order.any(|other| it == other)));
                        assert!(asks_dns || !asked.contains(&"servers"));
                        assert!(posh || !asked.contains(&"posh"));
                        let untold = asks_dns && matches!(servers, Answer::Untold(_));
                        let late = asked.contains(&"tlsa") && tlsa.is_none();
                        if untold || late {
                            assert!(!judgement.is_certified() && !asked.contains(&"look"));
                        }
                        if dane == Dane::Require && judgement.is_certified() {
                            assert_eq!(judgement.trust(), TrustLevel::Dane);
                        }
                        match judgement.trust() {
                            TrustLevel::Dane => assert_eq!(*tlsa, known[3]),
                            TrustLevel::Posh => assert!(*document == documents[1] && posh),
                            TrustLevel::Pkix => assert_eq!(number, 0),
                            TrustLevel::Delegated => {
                                assert!(number == 1 && asked.contains(&"tlsa"))
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
    }
    assert!(seen > 4_000, "{seen}");
}
