//! Chains good and bad, made by the authority of the demo.

use rcgen::{ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints};

use super::*;
use crate::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use crate::trust::judgement::{self, Because, Evidence, Judgement};

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn roots(authorities: &[&Authority]) -> Roots {
    let (roots, refused) = Roots::new(authorities.iter().map(|root| root.der().clone()));
    assert_eq!(refused, 0);
    roots
}

fn chain(issued: &Issued) -> PeerChain {
    PeerChain::new(&issued.chain()).unwrap()
}

fn judge(chain: Option<&PeerChain>, roots: &Roots, domain: &Domain, now: UnixTime) -> Judgement {
    judgement::judge(&Evidence::new(chain, roots, domain, now))
}

fn refused(what: BadCertificate) -> Judgement {
    Because::Bad(what).into()
}

fn judged(issued: &Issued, roots: &Roots, name: &str) -> Judgement {
    judge(Some(&chain(issued)), roots, &domain(name), UnixTime::now())
}

/// What is wrong with it for `a.example`, as its operator will read it.
#[track_caller]
fn fault(issued: &Issued, roots: &Roots) -> (BadCertificate, String) {
    let judged = judged(issued, roots, "a.example");
    let bad = judged.bad().unwrap_or_else(|| panic!("{judged:?}"));
    (bad.clone(), bad.to_it().to_string())
}

fn good(matched: &str) -> Judgement {
    Because::Name {
        matched: matched.into(),
    }
    .into()
}

/// A root, and the judgement of a leaf of it for `a.example`.
fn under_root(leaf: &Leaf) -> Judgement {
    let root = Authority::new("root");
    judged(&root.issue(leaf), &roots(&[&root]), "a.example")
}

#[test]
fn no_certificate_is_missing_and_not_bad() {
    let (roots, name) = (Roots::default(), domain("a.example"));
    let judged = judge(None, &roots, &name, UnixTime::now());
    assert_eq!(judged, Judgement::from(Because::NoCertificate));
    assert_eq!(PeerChain::new(&[]), None);
}

#[test]
fn each_kind_of_name_proves_the_domain() {
    let nameless = Leaf::default();
    assert_eq!(
        under_root(&Leaf::domain("a.example")),
        good("dNSName a.example")
    );
    assert_eq!(
        under_root(&nameless.clone().srv("_xmpp-server.a.example")),
        good("SRVName _xmpp-server.a.example")
    );
    assert_eq!(
        under_root(&nameless.xmpp_addr("a.example")),
        good("xmppAddr a.example")
    );
}

#[test]
fn a_wildcard_proves_a_subdomain() {
    let root = Authority::new("root");
    let issued = root.issue(&Leaf::domain("*.a.example"));
    let roots = roots(&[&root]);
    assert_eq!(
        judged(&issued, &roots, "chat.a.example"),
        good("dNSName *.a.example")
    );
    assert!(!judged(&issued, &roots, "a.example").is_certified());
}

#[test]
fn server_auth_is_the_purpose_that_counts() {
    for (purpose, is_good) in [
        (Purpose::Both, true),
        (Purpose::Server, true),
        (Purpose::None, true),
        (Purpose::Client, false),
    ] {
        let judged = under_root(&Leaf::domain("a.example").purpose(purpose));
        assert_eq!(judged.is_certified(), is_good, "{purpose:?}");
        if !is_good {
            assert_eq!(judged, refused(BadCertificate::WrongPurpose));
        }
    }
    assert_eq!(
        BadCertificate::WrongPurpose.to_it().to_string(),
        "your certificate is not for servers (its extended key usage lacks serverAuth)"
    );
}

#[test]
fn time_is_checked_and_told() {
    let root = Authority::new("root");
    let roots = roots(&[&root]);
    let expired = root.issue(&Leaf::domain("a.example").validity(Validity::Expired));
    let (bad, text) = fault(&expired, &roots);
    assert!(matches!(
        bad,
        BadCertificate::Expired {
            whose: Whose::Own,
            ..
        }
    ));
    assert!(text.starts_with("your certificate expired on 20"), "{text}");
    let early = root.issue(&Leaf::domain("a.example").validity(Validity::NotYet));
    let (bad, text) = fault(&early, &roots);
    assert!(matches!(
        bad,
        BadCertificate::NotYetValid {
            whose: Whose::Own,
            ..
        }
    ));
    assert!(
        text.starts_with("your certificate is not valid before 20"),
        "{text}"
    );
}

#[test]
fn the_clock_is_the_callers() {
    let root = Authority::new("root");
    let chain = chain(&root.issue(&Leaf::domain("a.example")));
    let roots = roots(&[&root]);
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let at = |seconds| judge(Some(&chain), &roots, &domain("a.example"), at(seconds));
    let now = UnixTime::now().as_secs();
    assert!(at(now).is_certified());
    assert!(matches!(
        at(0).bad(),
        Some(BadCertificate::NotYetValid { .. })
    ));
    let year = 365 * 24 * 60 * 60;
    assert!(matches!(
        at(now + year).bad(),
        Some(BadCertificate::Expired { .. })
    ));
    let never = at(u64::MAX);
    assert!(
        matches!(never.bad(), Some(BadCertificate::Expired { .. })),
        "{never:?}"
    );
}

#[test]
fn an_expired_intermediate_is_told_apart() {
    let root = Authority::new("root");
    let middle = root.intermediate_with("middle", |params| {
        params.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    });
    let (bad, text) = fault(&middle.issue(&Leaf::domain("a.example")), &roots(&[&root]));
    assert!(
        matches!(
            bad,
            BadCertificate::Expired {
                whose: Whose::Issuer,
                ..
            }
        ),
        "{bad:?}"
    );
    assert!(
        text.starts_with("a certificate in the chain above yours expired on"),
        "{text}"
    );
}

#[test]
fn the_name_is_the_domains_and_nobody_elses() {
    let root = Authority::new("root");
    let roots = roots(&[&root]);
    let (_, text) = fault(
        &root.issue(&Leaf::domain("b.example").xmpp_addr("c.example")),
        &roots,
    );
    assert_eq!(
        text,
        "your certificate is not for a.example: it has dNSName b.example, xmppAddr c.example"
    );
    let (bad, text) = fault(
        &root.issue(&Leaf::default().common_name("a.example")),
        &roots,
    );
    assert_eq!(
        bad,
        BadCertificate::WrongName {
            domain: "a.example".into(),
            found: Vec::new(),
            more: 0,
        }
    );
    assert_eq!(
        text,
        "your certificate is not for a.example: it has no dNSName, SRVName or xmppAddr (the common name \
         does not count)"
    );
}

#[test]
fn a_thousand_names_make_a_short_text() {
    let root = Authority::new("root");
    let mut leaf = Leaf::default();
    for number in 0..1_000 {
        leaf = leaf.dns(&format!("{number}.example"));
    }
    let (_, text) = fault(&root.issue(&leaf), &roots(&[&root]));
    assert!(text.ends_with("dNSName 7.example and 992 more"), "{text}");
}

#[test]
fn the_subject_is_not_searched_for_a_name() {
    for subject in ["x, CN=a.example", "a.example", "O=x/CN=a.example"] {
        let judged = under_root(&Leaf::domain("evil.example").common_name(subject));
        assert!(matches!(
            judged.bad(),
            Some(BadCertificate::WrongName { .. })
        ));
    }
}

#[test]
fn a_self_signed_certificate_is_told_as_such() {
    let root = Authority::new("root");
    let issued = Issued::self_signed(&Leaf::domain("a.example").common_name("a.example"));
    let (bad, text) = fault(&issued, &roots(&[&root]));
    assert_eq!(bad, BadCertificate::SelfSigned);
    assert_eq!(text, "your certificate is self-signed");
    // As `openssl req -x509` makes them: an authority's by its own words.
    let authority = Authority::new("a.example");
    let chain = PeerChain::new(&[authority.der().clone()]).unwrap();
    let judged = judge(
        Some(&chain),
        &roots(&[&root]),
        &domain("a.example"),
        UnixTime::now(),
    );
    assert_eq!(judged.bad(), Some(&BadCertificate::SelfSigned));
}

#[test]
fn an_unknown_authority_is_named() {
    let (known, unknown) = (Authority::new("root"), Authority::new("other root"));
    let (_, text) = fault(
        &unknown.issue(&Leaf::domain("a.example")),
        &roots(&[&known]),
    );
    assert_eq!(
        text,
        "no authority trusted here signed your certificate (its issuer is \"CN=other root\"): either that \
         authority is not trusted, or an intermediate certificate is missing from the 1 you sent"
    );
    // The same name is not the same authority.
    let twin = Authority::new("root");
    let judged = judged(
        &twin.issue(&Leaf::domain("a.example")),
        &roots(&[&known]),
        "a.example",
    );
    assert!(judged.bad().is_some(), "{judged:?}");
}

#[test]
fn nobody_is_trusted_by_default() {
    let root = Authority::new("root");
    let issued = root.issue(&Leaf::domain("a.example"));
    assert!(!judged(&issued, &Roots::default(), "a.example").is_certified());
}

#[test]
fn an_intermediate_leads_to_the_root_if_it_is_sent() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let issued = middle.issue(&Leaf::domain("a.example"));
    let roots = roots(&[&root]);
    assert!(judged(&issued, &roots, "a.example").is_certified());
    let leaf_only = PeerChain::new(&issued.chain()[..1]).unwrap();
    let judged = judge(
        Some(&leaf_only),
        &roots,
        &domain("a.example"),
        UnixTime::now(),
    );
    let Some(BadCertificate::UnknownIssuer { issuer, sent: 1 }) = judged.bad() else {
        panic!("{judged:?}");
    };
    assert_eq!(*issuer, "CN=middle");
}

#[test]
fn the_order_and_surplus_of_intermediates_does_not_matter() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let lower = root.intermediate("middle").intermediate("lower");
    let mut chain = lower.issue(&Leaf::domain("a.example")).chain();
    chain[1..].reverse();
    chain.push(stranger.der().clone());
    chain.push(root.der().clone());
    let chain = PeerChain::new(&chain).unwrap();
    let judged = judge(
        Some(&chain),
        &roots(&[&root]),
        &domain("a.example"),
        UnixTime::now(),
    );
    assert!(judged.is_certified(), "{judged:?}");
}

#[test]
fn a_leaf_cannot_sign_for_others() {
    let root = Authority::new("root");
    let fake = root.intermediate_with("evil.example", |params| {
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
    });
    let (bad, _) = fault(&fake.issue(&Leaf::domain("a.example")), &roots(&[&root]));
    assert_eq!(bad, BadCertificate::SignedByServer);
}

#[test]
fn an_intermediate_for_clients_only_signs_no_servers() {
    let root = Authority::new("root");
    let middle = root.intermediate_with("middle", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (bad, _) = fault(&middle.issue(&Leaf::domain("a.example")), &roots(&[&root]));
    assert_eq!(bad, BadCertificate::WrongPurpose);
}

#[test]
fn a_constrained_authority_proves_nothing_by_other_names() {
    let root = Authority::new("root");
    let middle = root.intermediate_with("middle", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("allowed.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let roots = roots(&[&root]);
    let allowed = middle.issue(&Leaf::domain("x.allowed.example"));
    assert!(judged(&allowed, &roots, "x.allowed.example").is_certified());
    let outside = middle.issue(&Leaf::domain("a.example"));
    let (bad, text) = fault(&outside, &roots);
    assert_eq!(bad, BadCertificate::NameConstraints);
    assert!(text.contains("not allowed to certify"), "{text}");
    // Nothing in PKIX holds these against the constraint, so we do not believe them.
    for leaf in [
        Leaf::domain("x.allowed.example").xmpp_addr("a.example"),
        Leaf::domain("x.allowed.example").srv("_xmpp-server.a.example"),
    ] {
        // Somebody may trust the constrained one itself.
        for roots in [&roots, &self::roots(&[&middle])] {
            let judged = judged(&middle.issue(&leaf), roots, "a.example");
            assert!(matches!(
                judged.bad(),
                Some(BadCertificate::WrongName { .. })
            ));
        }
    }
}

#[test]
fn a_certificate_among_the_roots_counts_by_itself() {
    let leaf = Leaf::domain("a.example").common_name("a.example");
    let pinned = |leaf: &Leaf| {
        let issued = Issued::self_signed(leaf);
        let (roots, _) = Roots::new(issued.chain());
        judged(&issued, &roots, "a.example")
    };
    assert_eq!(pinned(&leaf), good("dNSName a.example"));
    assert_eq!(
        pinned(&leaf.clone().purpose(Purpose::Client)),
        refused(BadCertificate::WrongPurpose)
    );
    assert!(matches!(
        pinned(&leaf.clone().validity(Validity::Expired)).bad(),
        Some(BadCertificate::Expired { .. })
    ));
    assert!(matches!(
        pinned(&leaf.clone().validity(Validity::NotYet)).bad(),
        Some(BadCertificate::NotYetValid { .. })
    ));
    // It is no authority: another certificate of the same name and another key is not it.
    let (one, other) = (Issued::self_signed(&leaf), Issued::self_signed(&leaf));
    let (roots, _) = Roots::new(one.chain());
    assert!(!judged(&other, &roots, "a.example").is_certified());
}

#[test]
fn a_sole_identity_is_the_only_one() {
    let root = Authority::new("root");
    let roots = roots(&[&root]);
    let sole = |issued: &Issued| {
        sole_identity(Some(&chain(issued)), &roots, UnixTime::now()).map(|it| it.to_string())
    };
    let of = |leaf: &Leaf| sole(&root.issue(leaf));
    let a = Leaf::domain("a.example");
    assert_eq!(of(&a).as_deref(), Some("a.example"));
    let thrice = a
        .clone()
        .xmpp_addr("A.example")
        .srv("_xmpp-server.a.example");
    assert_eq!(of(&thrice).as_deref(), Some("a.example"));
    assert_eq!(of(&a.clone().dns("b.example")), None);
    assert_eq!(of(&a.clone().dns("*.a.example")), None);
    assert_eq!(of(&Leaf::default().common_name("a.example")), None);
    assert_eq!(of(&a.clone().validity(Validity::Expired)), None);
    assert_eq!(sole(&Issued::self_signed(&a)), None);
    assert_eq!(sole_identity(None, &roots, UnixTime::now()), None);
}

#[test]
fn garbage_is_malformed() {
    let garbage = PeerChain::new(&[CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])]).unwrap();
    let judged = judge(
        Some(&garbage),
        &Roots::default(),
        &domain("a.example"),
        UnixTime::now(),
    );
    assert_eq!(judged, refused(BadCertificate::Malformed));
}

/// No cut and no changed byte of a good chain makes a better one, and none panics.
#[test]
fn damaged_certificates_prove_nothing_new() {
    let root = Authority::new("root");
    let issued = root.issue(&Leaf::domain("a.example").xmpp_addr("a.example"));
    let roots = roots(&[&root]);
    let (good, names) = (issued.chain()[0].to_vec(), domain("b.example"));
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 0x03;
        for bytes in [changed, good[..position].to_vec()] {
            let chain = PeerChain::new(&[CertificateDer::from(bytes)]);
            let judged = judge(chain.as_ref(), &roots, &names, UnixTime::now());
            assert!(judged.bad().is_some(), "at {position}: {judged:?}");
            let own = domain("a.example");
            let own = judge(chain.as_ref(), &roots, &own, UnixTime::now());
            assert!(!own.is_certified(), "at {position}");
        }
    }
}
