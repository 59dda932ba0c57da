//! What a certificate is worth by the names in it: compared with a few lines that know no X.509.

use rustls::pki_types::{CertificateDer, UnixTime};
use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd::trust::{Evidence, PeerChain, Roots, identities, judge, sole_identity};
use xmpp_stream::Domain;

use super::{Bytes, Reached};

const VICTIM: &str = "victim.test";
/// Names that often are almost right.
const WORDS: &[&str] = &[
    "victim.test",
    "victim",
    ".test",
    "*.test",
    "*.",
    "*",
    ".",
    "_xmpp-server.",
    "_xmpp-client.",
    "VICTIM.test",
    "other.test",
    "xn--",
    "\0",
    "a",
    "test.victim",
    "vic*.test",
    "\u{ad}",
    "ı",
];

/// A certificate with names that are made of these bytes proves the domain only if one of them is it.
pub(crate) fn names(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let mut bytes = Bytes(data);
    let mut leaf = Leaf::default();
    while !bytes.is_empty() && leaf.dns.len() + leaf.srv.len() + leaf.xmpp_addr.len() < 6 {
        let mut name = String::new();
        for _ in 0..bytes.byte() % 4 {
            match bytes.byte() % 4 {
                0 => name += &String::from_utf8_lossy(bytes.some()),
                _ => name.push_str(bytes.of::<&str>(WORDS)),
            }
        }
        leaf = match bytes.byte() % 3 {
            0 => leaf.dns(&name),
            1 => leaf.srv(&name),
            _ => leaf.xmpp_addr(&name),
        };
    }
    let is_named = is_named(&leaf);
    let chain = Issued::self_signed(&leaf).chain();
    // An authority of its own, so that the names alone decide.
    let (roots, _) = Roots::new([chain[0].clone()]);
    let chain = PeerChain::new(&chain).expect("there is a certificate");
    let victim = Domain::parse(VICTIM).expect("a domain");
    let judgement = judge(&Evidence::new(
        Some(&chain),
        &roots,
        &victim,
        UnixTime::now(),
    ));
    assert!(!judgement.to_string().is_empty());
    if judgement.is_certified() {
        assert!(is_named, "{leaf:?} is believed to be {VICTIM}: {judgement}");
        reached.insert("certified");
    } else {
        reached.insert("not certified");
    }
    let alone = sole_identity(Some(&chain), &roots, UnixTime::now());
    if alone.is_some_and(|domain| domain == victim) {
        assert!(is_named, "{leaf:?} is believed to be {VICTIM} and no other");
        reached.insert("alone");
    }
    reached
}

fn is_named(leaf: &Leaf) -> bool {
    let is = |name: &str| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        // Names that are spelt in another way may be the same: U+00AD is nothing, for IDNA.
        Domain::parse(&name).is_ok_and(|domain| domain.ascii() == VICTIM) || name == VICTIM
    };
    let by_dns = leaf.dns.iter().any(|name| is(name) || name == "*.test");
    let service = |name: &String| {
        let rest = name
            .get(..13)
            .filter(|it| it.eq_ignore_ascii_case("_xmpp-server."));
        rest.is_some() && is(&name[13..])
    };
    by_dns || leaf.srv.iter().any(service) || leaf.xmpp_addr.iter().any(|name| is(name))
}

/// Any bytes are a certificate or none, and whatever they are, nobody is believed for them.
pub(crate) fn bytes(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let victim = Domain::parse(VICTIM).expect("a domain");
    let mut all = vec![CertificateDer::from(data.to_vec())];
    // Deeper: a certificate with some bytes of it changed.
    let mut bytes = Bytes(data);
    let mut changed = base().to_vec();
    for _ in 0..bytes.byte() % 4 {
        let at = usize::from(bytes.byte()) << 8 | usize::from(bytes.byte());
        let length = changed.len();
        if let Some(byte) = changed.get_mut(at % length) {
            *byte ^= bytes.byte();
        }
    }
    all.push(CertificateDer::from(changed));
    let (roots, _) = Roots::new(std::iter::empty());
    for certificate in all {
        match identities(&certificate) {
            Ok(_) => reached.insert("read"),
            Err(_) => reached.insert("unreadable"),
        };
        let chain = [certificate.clone(), certificate];
        let chain = PeerChain::new(&chain).expect("there is a certificate");
        let evidence = Evidence::new(Some(&chain), &roots, &victim, UnixTime::now());
        assert!(!judge(&evidence).is_certified());
    }
    reached
}

fn base() -> &'static [u8] {
    static BASE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BASE.get_or_init(|| {
        let leaf = Leaf::domain(VICTIM)
            .srv("_xmpp-server.victim.test")
            .xmpp_addr(VICTIM);
        Issued::self_signed(&leaf).chain()[0].to_vec()
    })
}
