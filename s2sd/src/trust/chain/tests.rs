//! What a chain may cost, and that what is in order costs less.

use rustls::pki_types::Der;
use xmpp_stream::Domain;

use super::*;
use crate::config::Dane;
use crate::tools::demo::ca::{Authority, Issued, Leaf, Validity};
use crate::tools::demo::tangle;
use crate::trust::{
    Because, Evidence, Judgement, Matching, Roots, Selector, TargetEvidence, Tlsa, TlsaSet, Usage,
    judge,
};

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn leaf() -> Leaf {
    Leaf::domain("a.example")
}

fn chain(issued: &Issued) -> PeerChain {
    PeerChain::new(&issued.chain()).unwrap()
}

fn roots(root: &Authority) -> Roots {
    Roots::new([root.der().clone()]).0
}

/// For `a.example`, under this root.
fn judged(issued: &Issued, root: &Authority) -> Judgement {
    let (chain, roots, name) = (chain(issued), roots(root), domain("a.example"));
    judge(&Evidence::new(Some(&chain), &roots, &name, UnixTime::now()))
}

/// The same, where its servers publish these records. None of them has the name of the domain itself.
fn judged_by_dane(chain: &PeerChain, records: &[(&str, Vec<Tlsa>)]) -> Judgement {
    let (roots, name) = (Roots::default(), domain("a.example"));
    let targets = records.iter().map(|(host, records)| TargetEvidence {
        host: Some(domain(host)),
        tlsa: Ok(TlsaSet::new(
            &format!("_5269._tcp.{host}"),
            records.iter().cloned(),
        )),
    });
    let targets: Vec<TargetEvidence> = targets.collect();
    judge(&Evidence {
        dane: Dane::Use,
        targets: &targets,
        ..Evidence::new(Some(chain), &roots, &name, UnixTime::now())
    })
}

fn ta(certificate: &CertificateDer<'_>) -> Tlsa {
    let made = Tlsa::of(Usage::DaneTa, Selector::Cert, Matching::Sha256, certificate);
    made.unwrap()
}

fn bad(bad: BadCertificate) -> Judgement {
    Because::Bad(bad).into()
}

#[test]
fn more_than_is_taken_is_refused_whoever_vouches_and_the_bound_is_named() {
    let root = Authority::new("root");
    let good = root.issue(&leaf());
    let ee = Tlsa::of(
        Usage::DaneEe,
        Selector::Spki,
        Matching::Sha256,
        &good.chain()[0],
    );
    let ring = tangle::ring_of(8, 0);
    let ring: Vec<_> = ring.iter().map(Authority::der).collect();
    let eight = tangle::with(good.clone(), &ring[..7]);
    assert!(judged(&eight, &root).is_certified());
    let nine = tangle::with(good.clone(), &ring);
    let want = bad(BadCertificate::TooMany { sent: 9 });
    assert_eq!(judged(&nine, &root), want);
    let records = [("x.example", vec![ee.clone().unwrap(), ta(ring[0])])];
    assert_eq!(judged_by_dane(&chain(&nine), &records), want);
    assert_eq!(
        want.to_string(),
        "contradicted: its certificate chain is too long: it sent 9 certificates, and at most 8 are taken"
    );

    let large = tangle::ring_of(1, LARGEST);
    let large = tangle::with(good, &[large[0].der()]);
    let bytes = large.chain().iter().map(|one| one.len()).sum();
    let want = bad(BadCertificate::TooLarge { bytes });
    assert_eq!(judged(&large, &root), want);
    let records = [("x.example", vec![ee.unwrap()])];
    assert_eq!(judged_by_dane(&chain(&large), &records), want);
    let text = want.bad().unwrap().to_it().to_string();
    assert_eq!(
        text,
        format!(
            "your certificate chain is too large: you sent {bytes} bytes of certificates, and at most 16384 are taken"
        )
    );
}

#[test]
fn certificates_that_could_be_put_in_any_order_are_not() {
    let root = Authority::new("root");
    let tangled = bad(BadCertificate::Tangled);
    for junk in [0, 1_500] {
        let ring = tangle::ring(&leaf(), 7, junk);
        assert_eq!(judged(&ring, &root), tangled);
        // Nor where its own zone says that one of them is to be trusted.
        let shown = ring.chain();
        let records = [("a.example", vec![ta(&shown[7])])];
        assert_eq!(judged_by_dane(&chain(&ring), &records), tangled);
    }
    // Two and two on top of each other are still tried.
    let few = judged(&tangle::layered(&leaf(), 3, 2, 0), &root);
    assert!(
        matches!(few.bad(), Some(BadCertificate::UnknownIssuer { .. })),
        "{few:?}"
    );
}

#[test]
fn what_is_in_order_is_good_with_certificates_that_do_not_belong_to_it() {
    let (old, new) = (Authority::new("old root"), Authority::new("new root"));
    let middle = new.intermediate("middle");
    let lower = middle.intermediate("lower");
    let good = lower.issue(&leaf());
    let other = Authority::new("another root");
    let more = [
        new.der().clone(),
        old.intermediate("new root").der().clone(),
        other.der().clone(),
        other.intermediate("lower").der().clone(),
        good.chain()[1].clone(),
    ];
    let mut more: Vec<_> = more.iter().collect();
    for _ in 0..more.len() {
        more.rotate_left(1);
        let shown = tangle::with(good.clone(), &more);
        assert!(judged(&shown, &new).is_certified());
        let records = [("a.example", vec![ta(new.der())])];
        assert!(judged_by_dane(&chain(&shown), &records).is_certified());
    }
}

#[test]
fn names_times_constraints_are_bounded() {
    let root = Authority::new("root");
    let judged = |names: usize, constraints: usize| {
        let leaf = (0..names).fold(leaf(), |leaf, at| leaf.dns(&format!("{at}.a.example")));
        let issued = tangle::excluding(&root, constraints).issue(&leaf);
        judged(&issued, &root)
    };
    assert!(judged(100, 100).is_certified());
    assert_eq!(judged(400, 400), bad(BadCertificate::Tangled));
}

#[test]
fn a_signature_costs_what_its_key_costs() {
    let issued = Authority::new("root").issue(&leaf());
    let chain = chain(&issued);
    let left = |spki: usize, anchors: usize, lists: bool| {
        let own = EndEntityCert::try_from(chain.leaf()).unwrap();
        let anchor = TrustAnchor {
            subject: Der::from(own.issuer()),
            subject_public_key_info: Der::from(vec![0; spki]),
            name_constraints: None,
        };
        let mut work = Work::default();
        let searched = work.search(&chain, &vec![anchor; anchors], lists);
        searched.map(|()| WORK - work.0).ok()
    };
    // Of elliptic curves, of RSA with 2048, 4096, 8192 bits, and what is no key at all.
    assert_eq!(left(91, 1, false), Some(STEP + 4));
    assert_eq!(left(294, 1, false), Some(STEP + 5));
    assert_eq!(left(550, 1, false), Some(STEP + 8));
    assert_eq!(left(1062, 1, false), Some(STEP + 21));
    assert_eq!(left(1062, 1, true), Some(STEP + 42));
    assert_eq!(left(1062, 10, false), None);
    assert_eq!(left(usize::from(u16::MAX), 1, false), None);
}

#[test]
fn what_authorities_say_is_found_once_an_hour() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let issued = root.issue(&leaf().validity(Validity::Days(1)));
    let (chain, name) = (chain(&issued), domain("a.example"));
    let (ours, theirs) = (roots(&root), roots(&other));
    let day = 24 * 60 * 60;
    let judged = |roots: &Roots, seconds: u64| {
        let now = Duration::from_secs(UnixTime::now().as_secs() + day * 3 / 2 + seconds - 1_800);
        let now = UnixTime::since_unix_epoch(now);
        judge(&Evidence::new(Some(&chain), roots, &name, now)).is_certified()
    };
    assert!(judged(&ours, 0));
    // Its time is over, and nothing is verified again before the hour is.
    assert!(judged(&ours, 3_000));
    assert!(!judged(&theirs, 3_000));
    assert!(!judged(&ours, 3_700));
    // The same certificates as a new value: what was taken back may have changed.
    assert!(judged(&roots(&root), 100));
}

#[test]
fn where_all_servers_publish_the_same_it_is_searched_for_once() {
    let root = Authority::new("root");
    // It has the name of the last server only.
    let issued = root.issue(&Leaf::domain("x23.example"));
    let shown = chain(&tangle::with(issued, &[root.der()]));
    let hosts: Vec<String> = (0..24).map(|at| format!("x{at}.example")).collect();
    let same: Vec<_> = hosts
        .iter()
        .map(|host| (host.as_str(), vec![ta(root.der())]))
        .collect();
    let judgement = judged_by_dane(&shown, &same);
    assert!(judgement.is_certified(), "{judgement}");
    // As many different records are too much work for one certificate.
    let all = hosts.iter().enumerate().map(|(at, host)| {
        let spki = Tlsa::of(Usage::DaneTa, Selector::Spki, Matching::Exact, root.der());
        let odd = Tlsa::new(2, 1, 1, vec![at as u8; 32]).unwrap();
        (host.as_str(), vec![spki.unwrap(), odd])
    });
    let different: Vec<_> = all.collect();
    assert_eq!(
        judged_by_dane(&shown, &different),
        bad(BadCertificate::Tangled)
    );
}
