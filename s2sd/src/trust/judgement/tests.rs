//! What DANE, secure delegation and PKIX make of a certificate together.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::tools::demo::ca::{Authority, Issued, Leaf, Validity};
use crate::trust::dane::TlsaSet;

#[test]
fn who_vouches_has_an_order() {
    let order = [
        TrustLevel::Contradicted,
        TrustLevel::Nothing,
        TrustLevel::Dialback,
        TrustLevel::Posh,
        TrustLevel::Pkix,
        TrustLevel::Delegated,
        TrustLevel::Dane,
        TrustLevel::Agreed,
    ];
    assert!(order.is_sorted_by(|less, more| less < more));
}

#[test]
fn a_judgement_reads_as_what_it_rests_on() {
    let name = Because::Name {
        matched: "dNSName a.example".into(),
    };
    for (because, want, certified) in [
        (name, "PKIX: dNSName a.example", true),
        (
            Because::Dialback,
            "dialback: its authoritative server knows the key",
            false,
        ),
        (
            Because::Mechanism("SCRAM-SHA-256"),
            "agreed: SCRAM-SHA-256",
            false,
        ),
        (Because::NoTls, "nothing: no encryption", false),
        (
            Because::NoCertificate,
            "nothing: no certificate was shown",
            false,
        ),
        (
            Because::Bad(BadCertificate::SelfSigned),
            "contradicted: its certificate is self-signed",
            false,
        ),
    ] {
        let judgement = Judgement::from(because);
        assert_eq!(judgement.to_string(), want);
        assert_eq!(judgement.is_certified(), certified, "{want}");
        assert_eq!(judgement.bad().is_some(), want.starts_with("contra"));
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// `3 0 1` or `1 0 1` of a certificate, at this server's name.
fn tlsa(host: &str, usage: u8, issued: &Issued) -> TlsaSet {
    let hash = Sha256::digest(&issued.chain()[0]).to_vec();
    let record = Tlsa::new(usage, 0, 1, hash).unwrap();
    TlsaSet::new(&format!("_5269._tcp.{host}"), [record]).unwrap()
}

fn target(host: &str, tlsa: Option<TlsaSet>) -> TargetEvidence {
    TargetEvidence {
        host: Some(domain(host)),
        tlsa: Ok(tlsa),
    }
}

fn untold() -> TargetEvidence {
    TargetEvidence {
        host: Some(domain("x.example")),
        tlsa: Err("x.example:5269: no answer".to_owned()),
    }
}

/// What is found of `a.example`.
#[track_caller]
fn check(issued: &Issued, root: &Authority, dane: Dane, targets: &[TargetEvidence], want: &str) {
    let (roots, _) = Roots::new([root.der().clone()]);
    let chain = PeerChain::new(&issued.chain()).unwrap();
    let (name, now) = (domain("a.example"), UnixTime::now());
    let evidence = Evidence {
        dane,
        targets,
        ..Evidence::new(Some(&chain), &roots, &name, now)
    };
    let judgement = judge(&evidence).to_string();
    assert!(judgement.starts_with(want), "{judgement}");
}

const MISMATCH: &str =
    "contradicted: its certificate matches no TLSA record at _5269._tcp.x.example";

#[test]
fn what_a_zone_publishes_is_enough_whoever_signed_the_certificate() {
    let root = Authority::new("root");
    let own = Issued::self_signed(&Leaf::domain("elsewhere.example").validity(Validity::Expired));
    let published = [target("x.example", Some(tlsa("x.example", 3, &own)))];
    for dane in [Dane::Use, Dane::Require] {
        check(&own, &root, dane, &published, "DANE: TLSA 3 0 1 ");
    }
    check(
        &own,
        &root,
        Dane::Off,
        &published,
        "contradicted: its certificate expired on ",
    );
}

#[test]
fn what_a_zone_does_not_publish_is_bad_whoever_signed_it() {
    let root = Authority::new("root");
    let good = root.issue(&Leaf::domain("a.example").dns("x.example"));
    let other = root.issue(&Leaf::domain("a.example"));
    let published = [target("x.example", Some(tlsa("x.example", 3, &other)))];
    for dane in [Dane::Use, Dane::Require] {
        check(&good, &root, dane, &published, MISMATCH);
    }
    check(
        &good,
        &root,
        Dane::Off,
        &published,
        "PKIX: dNSName a.example",
    );
}

#[test]
fn where_records_narrow_what_an_authority_says_both_have_to_agree() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let good = root.issue(&Leaf::domain("a.example"));
    let published = [target("x.example", Some(tlsa("x.example", 1, &good)))];
    check(&good, &root, Dane::Use, &published, "DANE: TLSA 1 0 1 ");
    let unknown = stranger.issue(&Leaf::domain("a.example"));
    let published = [target("x.example", Some(tlsa("x.example", 1, &unknown)))];
    check(&unknown, &root, Dane::Use, &published, MISMATCH);
}

#[test]
fn a_server_that_srv_records_lead_to_may_have_its_own_name() {
    let root = Authority::new("root");
    let hosts = root.issue(&Leaf::domain("x.example"));
    let (leads, elsewhere) = ([target("x.example", None)], [target("y.example", None)]);
    check(
        &hosts,
        &root,
        Dane::Use,
        &leads,
        "delegated: dNSName x.example, where its SRV records lead",
    );
    let wrong = "contradicted: its certificate is not for a.example: it has dNSName x.example";
    check(&hosts, &root, Dane::Use, &elsewhere, wrong);
    check(&hosts, &root, Dane::Off, &leads, wrong);
    // Where DNSSEC proves nothing there is no name.
    let unproved = [TargetEvidence {
        host: None,
        tlsa: Ok(None),
    }];
    check(&hosts, &root, Dane::Use, &unproved, wrong);
    // A name is no excuse for what the authority has not signed.
    let own = Issued::self_signed(&Leaf::domain("x.example"));
    check(
        &own,
        &root,
        Dane::Use,
        &leads,
        "contradicted: its certificate is self-signed",
    );
    // The domain's own name says more to whoever reads it.
    let both = root.issue(&Leaf::domain("x.example").dns("a.example"));
    check(&both, &root, Dane::Use, &leads, "PKIX: dNSName a.example");
}

#[test]
fn of_several_servers_any_may_call() {
    let root = Authority::new("root");
    let (one, two) = (
        Issued::self_signed(&Leaf::domain("x.example")),
        Issued::self_signed(&Leaf::domain("y.example")),
    );
    let both = [
        target("x.example", Some(tlsa("x.example", 3, &one))),
        target("y.example", Some(tlsa("y.example", 3, &two))),
    ];
    check(&one, &root, Dane::Use, &both, "DANE: TLSA 3 0 1 ");
    check(&two, &root, Dane::Use, &both, "DANE: TLSA 3 0 1 ");
    let third = root.issue(&Leaf::domain("a.example"));
    let want = "contradicted: its certificate matches no TLSA record at _5269._tcp.x.example, _5269._tcp.y.example";
    check(&third, &root, Dane::Use, &both, want);
    // RFC 7673 §9.1: one that publishes nothing may have any certificate of the domain, or of its own name.
    let some = [both[0].clone(), target("z.example", None)];
    check(&third, &root, Dane::Use, &some, "PKIX: dNSName a.example");
    let hosts = root.issue(&Leaf::domain("z.example"));
    check(
        &hosts,
        &root,
        Dane::Use,
        &some,
        "delegated: dNSName z.example",
    );
    // But not the name of one that does publish.
    let stolen = root.issue(&Leaf::domain("x.example"));
    check(
        &stolen,
        &root,
        Dane::Use,
        &some,
        "contradicted: its certificate is not for a.example",
    );
}

#[test]
fn what_cannot_be_told_counts_against_the_certificate() {
    let root = Authority::new("root");
    let good = root.issue(&Leaf::domain("a.example"));
    check(
        &good,
        &root,
        Dane::Use,
        &[untold()],
        "contradicted: whether its DNS says another certificate is the right one cannot be told: x.example:5269: no answer",
    );
    check(
        &good,
        &root,
        Dane::Off,
        &[untold()],
        "PKIX: dNSName a.example",
    );
}

#[test]
fn where_records_are_required_an_authority_is_not_enough() {
    let root = Authority::new("root");
    let good = root.issue(&Leaf::domain("a.example"));
    let want = "contradicted: its domain publishes no TLSA records that DNSSEC proves, and here they are required";
    check(&good, &root, Dane::Require, &[], want);
    check(
        &good,
        &root,
        Dane::Require,
        &[target("x.example", None)],
        want,
    );
    check(&good, &root, Dane::Use, &[], "PKIX: dNSName a.example");
}
