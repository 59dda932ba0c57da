//! Chains with one thing wrong, and beside each one that has nothing.

use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};

fn a_example() -> Domain {
    Domain::parse("a.example").unwrap()
}

fn leaf() -> Leaf {
    Leaf::domain("a.example")
}

fn known(authority: &Authority) -> Roots {
    Roots::new([authority.der().clone()]).0
}

#[track_caller]
fn said(chain: &[CertificateDer<'static>], known: &Roots) -> String {
    let remarks = remarks(chain, &a_example(), known, UnixTime::now());
    let lines = remarks.iter().map(|one| {
        assert!(!one.change.is_empty());
        format!("{} {}\n", if one.refused { "!" } else { "?" }, one.found)
    });
    lines.collect()
}

fn read(pem: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_chain_that_is_whole_and_in_order_gets_no_remark() {
    let root = Authority::new("root");
    let below = root.intermediate("between").intermediate("below");
    for issued in [root.issue(&leaf()), below.issue(&leaf())] {
        assert_eq!(said(&issued.chain(), &known(&root)), "");
        // A root may be shown too.
        let mut with_root = issued.chain();
        with_root.push(root.der().clone());
        assert_eq!(said(&with_root, &known(&root)), "");
    }
    // An authority of a network of its own, which is in `trust`.
    let private = Authority::new("private");
    let both = Roots::new([root.der().clone(), private.der().clone()]).0;
    assert_eq!(said(&private.issue(&leaf()).chain(), &both), "");
}

#[test]
fn a_missing_intermediate_is_not_an_authority_that_nobody_knows() {
    let root = Authority::new("root");
    let chain = root.intermediate("between").issue(&leaf()).chain();
    let missing = said(&chain[..1], &known(&root));
    let words = "? certificate number 1 was signed by \"CN=between\"";
    assert!(
        missing.starts_with(words) && missing.contains("missing"),
        "{missing}"
    );
    let stranger = Authority::new("stranger");
    let mut unknown = stranger.issue(&leaf()).chain();
    unknown.push(stranger.der().clone());
    let unknown = said(&unknown, &known(&root));
    assert!(
        unknown.contains("no authority that is known") && !unknown.contains("missing"),
        "{unknown}"
    );
    let own = said(
        &Issued::self_signed(&leaf().common_name("a.example")).chain(),
        &known(&root),
    );
    assert!(
        own.contains("its own key") && !own.contains("missing"),
        "{own}"
    );
    // Where no authority is known nothing can be said.
    assert_eq!(said(&chain[..1], &Roots::default()), "");
}

#[test]
fn an_order_that_is_not_that_of_the_signatures_is_said() {
    let root = Authority::new("root");
    let below = root.intermediate("between").intermediate("below");
    let chain = below.issue(&leaf()).chain();
    let mixed = [0, 2, 1].map(|at: usize| chain[at].clone());
    let text = said(&mixed, &known(&root));
    assert!(
        text.starts_with("? its certificates are not in order"),
        "{text}"
    );
    let remark = remarks(&mixed, &a_example(), &known(&root), UnixTime::now()).remove(0);
    assert!(remark.change.contains("1, 3, 2"), "{}", remark.change);
    // One that is too much is no wrong order.
    let mut more = chain.clone();
    more.insert(1, Authority::new("stranger").der().clone());
    let text = said(&more, &known(&root));
    assert!(
        text.starts_with("? certificate number 2 (CN=stranger) has no part in it"),
        "{text}"
    );
}

#[test]
fn keys_and_signatures_that_others_refuse_are_told_from_those_that_they_take() {
    let none = Roots::default();
    for (pem, want) in [
        (
            include_str!("rsa1024_sha256.pem"),
            "! it has an RSA key of 1024 bits",
        ),
        (
            include_str!("rsa2048_sha1.pem"),
            "! it has a signature made with SHA-1",
        ),
        (
            include_str!("rsa2048_md5.pem"),
            "! it has a signature made with MD5",
        ),
        (
            include_str!("secp256k1.pem"),
            "! it has a key on a curve that others do not take",
        ),
    ] {
        let text = said(&read(pem), &none);
        assert!(
            text.starts_with(want) && text.lines().count() == 1,
            "{want}: {text}"
        );
    }
    assert_eq!(said(&read(include_str!("rsa2048_sha256.pem")), &none), "");
}

#[test]
fn more_than_is_taken_is_said_and_as_much_as_is_taken_is_not() {
    let mut above = Authority::new("root");
    let known = known(&above);
    for number in 1..MAX_CERTIFICATES {
        above = above.intermediate(&format!("number {number}"));
    }
    let most = above.issue(&leaf()).chain();
    assert_eq!(most.len(), MAX_CERTIFICATES);
    assert!(!said(&most, &known).contains("at most"));
    let more = above.intermediate("one more").issue(&leaf()).chain();
    let text = said(&more, &known);
    assert!(text.starts_with("! it has 9 certificates"), "{text}");
    let mut large = leaf();
    for number in 0..800 {
        large = large.dns(&format!("number-{number}.a.example"));
    }
    let text = said(&Authority::new("root").issue(&large).chain(), &known);
    assert!(text.starts_with("! its certificates have"), "{text}");
}

#[test]
fn a_name_that_not_everybody_looks_for_is_said_and_one_beside_a_dns_name_is_not() {
    let root = Authority::new("root");
    let srv = Leaf::default().srv("_xmpp-server.a.example");
    let text = said(&root.issue(&srv).chain(), &known(&root));
    assert!(
        text.starts_with("? it names a.example as SRVName"),
        "{text}"
    );
    let both = leaf().srv("_xmpp-server.a.example");
    assert_eq!(said(&root.issue(&both).chain(), &known(&root)), "");
    // That it does not name the domain at all is told elsewhere.
    let other = Leaf::domain("b.example");
    assert_eq!(said(&root.issue(&other).chain(), &known(&root)), "");
}

#[test]
fn what_is_wrong_with_the_certificate_itself_is_not_told_again() {
    let root = Authority::new("root");
    let expired = root.issue(&leaf().validity(Validity::Expired));
    assert_eq!(said(&expired.chain(), &known(&root)), "");
    let above = root.intermediate_with("between", |params| {
        params.not_after = params.not_before + time::Duration::days(1);
    });
    let text = said(&above.issue(&leaf()).chain(), &known(&root));
    assert!(
        text.starts_with("! a certificate above the domain's own expired on"),
        "{text}"
    );
}

#[test]
fn a_certificate_for_servers_alone_is_told_from_one_for_both_or_for_all() {
    let root = Authority::new("root");
    let alone = |purpose| {
        let issued = root.issue(&leaf().purpose(purpose));
        is_for_servers_alone(&issued.chain()[0])
    };
    assert!(alone(Purpose::Server));
    assert!(!alone(Purpose::Both) && !alone(Purpose::None) && !alone(Purpose::Client));
}
