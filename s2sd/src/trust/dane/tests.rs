//! Every usage with every selector and matching type, good and bad, with certificates made on the spot.

use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, IsCa};

use super::*;
use crate::tools::demo::ca::{Authority as Ca, Issued, Leaf, Purpose, Validity};

type Der = CertificateDer<'static>;

const USAGES: [Usage; 4] = [Usage::PkixTa, Usage::PkixEe, Usage::DaneTa, Usage::DaneEe];
const SELECTORS: [Selector; 2] = [Selector::Cert, Selector::Spki];
const MATCHINGS: [Matching; 3] = [Matching::Exact, Matching::Sha256, Matching::Sha512];
const HASHES: [Matching; 2] = [Matching::Sha256, Matching::Sha512];

/// Every way to speak of a certificate.
fn ways() -> impl Iterator<Item = (Selector, Matching)> {
    SELECTORS
        .into_iter()
        .flat_map(|selector| MATCHINGS.map(|matching| (selector, matching)))
}

/// The record as it comes out of the DNS: through the same code as every other.
fn record(usage: Usage, (selector, matching): (Selector, Matching), certificate: &Der) -> Tlsa {
    let made = Tlsa::of(usage, selector, matching, certificate).unwrap();
    let (selector, matching) = (selector as u8, matching as u8);
    let read = Tlsa::new(usage as u8, selector, matching, made.data.clone());
    assert_eq!(read.as_ref(), Some(&made));
    made
}

fn set(records: &[Tlsa]) -> TlsaSet {
    TlsaSet::new("_5269._tcp.x.example", records.iter().cloned()).unwrap()
}

/// A server's certificate, an authority below a root, and what it shows.
struct Shown {
    root: Ca,
    middle: Ca,
    chain: Vec<Der>,
}

impl Shown {
    fn of(leaf: &Leaf) -> Self {
        let root = Ca::new("root");
        let middle = root.intermediate("middle");
        let chain = middle.issue(leaf).chain();
        Self {
            root,
            middle,
            chain,
        }
    }

    fn leaf(&self) -> &Der {
        &self.chain[0]
    }

    fn and(mut self, certificate: &Der) -> Self {
        self.chain.push(certificate.clone());
        self
    }

    /// Shows the server's certificate alone.
    fn alone(mut self) -> Self {
        self.chain.truncate(1);
        self
    }

    fn roots(&self) -> Roots {
        Roots::new([self.root.der().clone()]).0
    }

    fn asked(&self, records: &[Tlsa], roots: &Roots, name: &str) -> Option<Matched> {
        let chain = PeerChain::new(&self.chain).unwrap();
        let names = [Domain::parse(name).unwrap()];
        matches(&set(records), &chain, roots, &names, UnixTime::now())
    }

    /// For `a.example`, where its root is known and where nobody is.
    fn matched(&self, record: &Tlsa) -> [bool; 2] {
        let records = std::slice::from_ref(record);
        [self.roots(), Roots::default()].map(|roots| {
            match self.asked(records, &roots, "a.example") {
                None => false,
                Some(Matched::Proves(found)) => {
                    assert!(record.usage >= Usage::DaneTa && found == *record);
                    true
                }
                Some(Matched::Constrains(found)) => {
                    assert!(record.usage <= Usage::PkixEe && found == *record);
                    true
                }
            }
        })
    }
}

fn a_example() -> Shown {
    Shown::of(&Leaf::domain("a.example"))
}

const BOTH: [bool; 2] = [true, true];
const WITH_ROOTS: [bool; 2] = [true, false];
const NEITHER: [bool; 2] = [false, false];

#[test]
fn each_usage_speaks_of_its_own_certificate_in_every_way() {
    let shown = a_example();
    let of_root = shown.root.der().clone();
    for way in ways() {
        let check = |usage, certificate, want| {
            let record = record(usage, way, certificate);
            assert_eq!(shown.matched(&record), want, "{record}");
        };
        check(Usage::DaneEe, shown.leaf(), BOTH);
        check(Usage::PkixEe, shown.leaf(), WITH_ROOTS);
        check(Usage::DaneTa, shown.middle.der(), BOTH);
        check(Usage::PkixTa, shown.middle.der(), WITH_ROOTS);
        // The root is not shown, but known.
        check(Usage::PkixTa, &of_root, WITH_ROOTS);
        // A server is no authority, nor the other way round.
        check(Usage::DaneTa, shown.leaf(), NEITHER);
        check(Usage::PkixTa, shown.leaf(), NEITHER);
        check(Usage::DaneEe, shown.middle.der(), NEITHER);
        check(Usage::PkixEe, shown.middle.der(), NEITHER);
    }
}

#[test]
fn another_certificate_matches_in_no_way() {
    // The same names of everything, other keys.
    let (shown, other) = (a_example(), a_example());
    for usage in USAGES {
        for way in ways() {
            for certificate in [other.leaf(), other.middle.der(), other.root.der()] {
                let record = record(usage, way, certificate);
                assert_eq!(shown.matched(&record), NEITHER, "{record}");
                // Nor by being shown, where it signed nothing.
                let shown = a_example().and(other.middle.der()).and(other.root.der());
                assert_eq!(shown.matched(&record), NEITHER, "{record}, shown");
            }
        }
    }
}

#[test]
fn a_root_that_is_shown_is_an_anchor() {
    let shown = a_example();
    let root = shown.root.der().clone();
    let shown = shown.and(&root);
    for way in ways() {
        assert_eq!(shown.matched(&record(Usage::DaneTa, way, &root)), BOTH);
    }
}

#[test]
fn an_anchor_that_is_not_shown_has_to_be_in_the_record() {
    for (shown, authority) in [(a_example(), "root"), (a_example().alone(), "middle")] {
        let certificate = match authority {
            "root" => shown.root.der(),
            _ => shown.middle.der(),
        };
        for selector in SELECTORS {
            let exact = record(Usage::DaneTa, (selector, Matching::Exact), certificate);
            assert_eq!(shown.matched(&exact), BOTH, "{exact} of {authority}");
            for hash in HASHES {
                let hash = record(Usage::DaneTa, (selector, hash), certificate);
                assert_eq!(shown.matched(&hash), NEITHER, "{hash} of {authority}");
            }
        }
    }
}

#[test]
fn dane_ee_ignores_names_times_and_purposes_and_nothing_else_does() {
    for leaf in [
        Leaf::domain("other.example"),
        Leaf::default().common_name("a.example"),
        Leaf::domain("a.example").validity(Validity::Expired),
        Leaf::domain("a.example").validity(Validity::NotYet),
        Leaf::domain("a.example").purpose(Purpose::Client),
    ] {
        let shown = Shown::of(&leaf);
        for way in ways() {
            let check = |usage, certificate, want| {
                let record = record(usage, way, certificate);
                assert_eq!(shown.matched(&record), want, "{record} of {leaf:?}");
            };
            check(Usage::DaneEe, shown.leaf(), BOTH);
            check(Usage::PkixEe, shown.leaf(), NEITHER);
            check(Usage::DaneTa, shown.middle.der(), NEITHER);
            check(Usage::PkixTa, shown.middle.der(), NEITHER);
            check(Usage::PkixTa, shown.root.der(), NEITHER);
        }
    }
}

#[test]
fn dane_ee_takes_a_self_signed_certificate() {
    let issued = Issued::self_signed(&Leaf::default().common_name("whoever"));
    let shown = Shown {
        chain: issued.chain(),
        ..a_example()
    };
    for way in ways() {
        let record = record(Usage::DaneEe, way, shown.leaf());
        assert_eq!(shown.matched(&record), BOTH, "{record}");
    }
}

#[test]
fn any_of_the_names_is_enough() {
    let shown = Shown::of(&Leaf::domain("x.example").xmpp_addr("c.example"));
    let way = (Selector::Cert, Matching::Sha256);
    for usage in [Usage::DaneTa, Usage::PkixTa] {
        let records = [record(usage, way, shown.middle.der())];
        let chain = PeerChain::new(&shown.chain).unwrap();
        let names = |names: &[&str]| {
            let names: Vec<Domain> = names
                .iter()
                .map(|name| Domain::parse(name).unwrap())
                .collect();
            let now = UnixTime::now();
            matches(&set(&records), &chain, &shown.roots(), &names, now).is_some()
        };
        assert!(names(&["a.example", "x.example"]));
        assert!(names(&["x.example"]));
        assert!(names(&["c.example"]));
        assert!(!names(&["a.example"]));
        assert!(!names(&[]));
    }
}

#[test]
fn an_authority_that_may_sign_some_names_only_vouches_for_no_others() {
    let root = Ca::new("root");
    let middle = root.intermediate_with("middle", |params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("b.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    for (leaf, name, want) in [
        (Leaf::domain("b.example"), "b.example", true),
        (Leaf::domain("a.example"), "a.example", false),
        (
            Leaf::domain("b.example").xmpp_addr("a.example"),
            "a.example",
            false,
        ),
    ] {
        let shown = Shown {
            chain: middle.issue(&leaf).chain(),
            root: Ca::new("another"),
            middle: Ca::new("another"),
        };
        for way in ways() {
            let record = record(Usage::DaneTa, way, middle.der());
            let found = shown.asked(&[record], &Roots::default(), name);
            assert_eq!(found.is_some(), want, "{leaf:?}");
        }
    }
}

#[test]
fn an_authority_is_one_within_its_own_limits() {
    let root = Ca::new("root");
    let limits = |until_leaf: u8, change: fn(&mut rcgen::CertificateParams)| {
        let mut below = root.intermediate_with("limited", change);
        let limited = below.der().clone();
        for _ in 0..until_leaf {
            below = below.intermediate("below");
        }
        let shown = Shown {
            chain: below.issue(&Leaf::domain("a.example")).chain(),
            ..a_example()
        };
        ways()
            .map(|way| shown.matched(&record(Usage::DaneTa, way, &limited)))
            .collect::<Vec<_>>()
    };
    let path = |params: &mut rcgen::CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    };
    assert_eq!(limits(0, path), [BOTH; 6]);
    assert_eq!(limits(1, path), [BOTH; 6]);
    assert_eq!(limits(2, path), [NEITHER; 6]);
    assert_eq!(
        limits(0, |params| params.is_ca = IsCa::ExplicitNoCa),
        [NEITHER; 6]
    );
    assert_eq!(
        limits(0, |params| params.not_after =
            params.not_before + Duration::from_secs(60)),
        [NEITHER; 6]
    );
    assert_eq!(
        limits(0, |params| params.not_before =
            params.not_after - Duration::from_secs(60)),
        [NEITHER; 6]
    );
}

#[test]
fn what_is_revoked_is_no_authoritys() {
    let shown = a_example();
    let issued = shown.middle.issue(&Leaf::domain("a.example"));
    let list = shown.middle.revoke(&[&issued], Validity::Now);
    let lists = super::super::Revocations::read("list.pem".as_ref(), list.as_bytes()).unwrap();
    let roots = shown.roots().without(lists);
    for (chain, revoked) in [(issued.chain(), true), (shown.chain.clone(), false)] {
        let shown = Shown {
            chain,
            ..a_example()
        };
        let way = (Selector::Spki, Matching::Sha256);
        let check = |usage, certificate: &Der, want: bool| {
            let found = shown.asked(&[record(usage, way, certificate)], &roots, "a.example");
            assert_eq!(found.is_some(), want, "{usage:?} {revoked}");
        };
        let middle = &shown.chain[1].clone();
        check(Usage::DaneTa, middle, !revoked);
        check(Usage::PkixTa, middle, !revoked);
        check(Usage::PkixEe, shown.leaf(), !revoked);
        // RFC 7671 §5.1: the record itself would be taken back.
        check(Usage::DaneEe, shown.leaf(), true);
    }
}

#[test]
fn one_record_that_matches_is_enough_and_the_one_that_proves_most_is_told() {
    let (shown, other) = (a_example(), a_example());
    let way = (Selector::Spki, Matching::Sha256);
    let wrong = USAGES.map(|usage| record(usage, way, other.leaf()));
    let roots = shown.roots();
    assert_eq!(shown.asked(&wrong, &roots, "a.example"), None);
    let good = [
        (Usage::PkixTa, shown.root.der()),
        (Usage::PkixEe, shown.leaf()),
        (Usage::DaneTa, shown.middle.der()),
        (Usage::DaneEe, shown.leaf()),
    ]
    .map(|(usage, certificate)| record(usage, way, certificate));
    let mut records = wrong.to_vec();
    for good in good {
        records.push(good.clone());
        let told = match shown.asked(&records, &roots, "a.example").unwrap() {
            Matched::Proves(told) | Matched::Constrains(told) => told,
        };
        // What binds the server itself comes before what binds its authority.
        assert_eq!(told, good);
    }
}

#[test]
fn the_strongest_hash_of_a_kind_counts() {
    let (shown, other) = (a_example(), a_example());
    let roots = Roots::default();
    for selector in SELECTORS {
        let of =
            |matching, shown: &Shown| record(Usage::DaneEe, (selector, matching), shown.leaf());
        let asked = |records: &[Tlsa]| shown.asked(records, &roots, "a.example");
        // SHA-256 alone would match; SHA-512 is there and does not.
        assert_eq!(
            asked(&[of(Matching::Sha256, &shown), of(Matching::Sha512, &other)]),
            None
        );
        assert!(asked(&[of(Matching::Sha256, &other), of(Matching::Sha512, &shown)]).is_some());
        // The thing itself needs no hash.
        assert!(asked(&[of(Matching::Exact, &shown), of(Matching::Sha512, &other)]).is_some());
        // Of another selector or usage it says nothing.
        let another = Tlsa {
            usage: Usage::DaneTa,
            ..of(Matching::Sha512, &other)
        };
        assert!(asked(&[of(Matching::Sha256, &shown), another]).is_some());
    }
}

#[test]
fn what_cannot_be_used_is_no_record() {
    let shown = a_example();
    let (hash, long) = (vec![0; 32], vec![0; 64]);
    let der = shown.leaf().to_vec();
    let spki = Tlsa::of(Usage::DaneEe, Selector::Spki, Matching::Exact, shown.leaf()).unwrap();
    let with_rest = |bytes: &[u8]| [bytes, &[0]].concat();
    for (numbers, data, usable) in [
        ([3, 1, 1], hash.clone(), true),
        ([0, 0, 2], long.clone(), true),
        ([3, 0, 0], der.clone(), true),
        ([3, 1, 0], spki.data.clone(), true),
        ([4, 1, 1], hash.clone(), false),
        ([255, 1, 1], hash.clone(), false),
        ([3, 2, 1], hash.clone(), false),
        ([3, 255, 1], hash.clone(), false),
        ([3, 1, 3], hash.clone(), false),
        ([3, 1, 255], hash.clone(), false),
        ([3, 1, 2], hash.clone(), false),
        ([3, 1, 1], long, false),
        ([3, 1, 1], Vec::new(), false),
        ([3, 0, 0], Vec::new(), false),
        ([3, 1, 0], Vec::new(), false),
        ([3, 0, 0], spki.data.clone(), false),
        ([3, 1, 0], der.clone(), false),
        ([3, 0, 0], with_rest(&der), false),
        ([3, 1, 0], with_rest(&spki.data), false),
    ] {
        let [usage, selector, matching] = numbers;
        let made = Tlsa::new(usage, selector, matching, data);
        assert_eq!(made.is_some(), usable, "{numbers:?}");
    }
}

#[test]
fn a_record_reads_as_in_a_zone_file_and_not_for_ever() {
    let tlsa = Tlsa::new(3, 1, 1, [[0xab, 0xcd].repeat(16)].concat()).unwrap();
    assert_eq!(tlsa.to_string(), "3 1 1 abcdabcd…");
    assert_eq!(tlsa.hex(), "abcd".repeat(16));
}

#[test]
fn a_set_has_an_order_and_an_end() {
    let tlsa = |usage, last: u16| {
        let mut data = vec![0; 32];
        data[30..].copy_from_slice(&last.to_be_bytes());
        Tlsa::new(usage, 1, 1, data).unwrap()
    };
    assert_eq!(TlsaSet::new("x", []), None);
    let many: Vec<Tlsa> = (0..1_000)
        .flat_map(|n| [tlsa(0, n), tlsa(3, 500 - n / 2)])
        .collect();
    let set = TlsaSet::new("x", many.clone()).unwrap();
    assert_eq!(set.records.len(), MAX_RECORDS);
    assert!(set.records.iter().all(|tlsa| tlsa.usage == Usage::DaneEe));
    // Neither the order in which they come nor what comes twice makes another set.
    let reversed = many.iter().rev().chain(&many).cloned();
    assert_eq!(TlsaSet::new("x", reversed), Some(set));
}

/// Certificates of one world for all cases of a property: making keys takes its time.
fn world() -> &'static (Shown, Vec<Tlsa>) {
    static WORLD: std::sync::OnceLock<(Shown, Vec<Tlsa>)> = std::sync::OnceLock::new();
    WORLD.get_or_init(|| {
        let shown = a_example();
        let root = shown.root.der().clone();
        let shown = shown.and(&root);
        let mut records = Vec::new();
        for usage in USAGES {
            for way in ways() {
                for certificate in &shown.chain {
                    records.push(record(usage, way, certificate));
                }
            }
        }
        (shown, records)
    })
}

proptest! {
    #[test]
    fn arbitrary_records_do_no_harm_and_match_nothing(
        records in prop::collection::vec(
            (0_u8..=4, 0_u8..=2, 0_u8..=3, prop::collection::vec(any::<u8>(), 0..80), 0_usize..4), 1..40,
        )
    ) {
        let (shown, _) = world();
        let records = records.into_iter().filter_map(|(usage, selector, matching, mut data, fit)| {
            // Most random data is of no length that counts.
            match fit {
                0 => data.resize(32, 0x55),
                1 => data.resize(64, 0x55),
                _ => {}
            }
            Tlsa::new(usage, selector, matching, data)
        });
        if let Some(set) = TlsaSet::new("x", records) {
            let chain = PeerChain::new(&shown.chain).unwrap();
            let names = [Domain::parse("a.example").unwrap()];
            let found = matches(&set, &chain, &shown.roots(), &names, UnixTime::now());
            prop_assert_eq!(found, None);
        }
    }

    #[test]
    fn arbitrary_chains_do_no_harm_and_match_nothing(
        chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6)
    ) {
        let (shown, records) = world();
        let chain: Vec<Der> = chain.into_iter().map(Der::from).collect();
        let chain = PeerChain::new(&chain).unwrap();
        let names = [Domain::parse("a.example").unwrap()];
        for record in records {
            let set = set(std::slice::from_ref(record));
            prop_assert_eq!(matches(&set, &chain, &shown.roots(), &names, UnixTime::now()), None);
        }
    }

    #[test]
    fn a_certificate_that_was_changed_matches_by_its_key_or_not_at_all(
        at in any::<prop::sample::Index>(), bit in 0_u8..8, way in 0_usize..6
    ) {
        let (shown, _) = world();
        let way = ways().nth(way).unwrap();
        let mut changed = shown.leaf().to_vec();
        changed[at.index(shown.leaf().len())] ^= 1 << bit;
        let chain = PeerChain::new(&[Der::from(changed.clone()), shown.chain[1].clone()]).unwrap();
        let key = Tlsa::of(Usage::DaneEe, Selector::Spki, Matching::Exact, shown.leaf()).unwrap().data;
        let same_key = changed.windows(key.len()).any(|window| window == key);
        let names = [Domain::parse("a.example").unwrap()];
        for usage in USAGES {
            let certificate = match usage {
                Usage::DaneEe | Usage::PkixEe => shown.leaf(),
                Usage::DaneTa | Usage::PkixTa => &shown.chain[1],
            };
            let set = set(&[record(usage, way, certificate)]);
            let found = matches(&set, &chain, &shown.roots(), &names, UnixTime::now());
            let may = usage == Usage::DaneEe && way.0 == Selector::Spki && same_key;
            prop_assert!(found.is_none() || may, "{usage:?} {way:?}");
        }
    }
}
