//! Messages as nobody honest sends them: their records have been validated, and what they say together has not.

use hickory_resolver::proto::{
    dnssec::{
        Algorithm,
        rdata::{NSEC, sig::SigInput},
    },
    rr::rdata::{A, CNAME, NULL, SOA},
    serialize::binary::BinEncodable as _,
};

use super::*;

const NAME: &str = "x.load.example.";

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, data: RData, proof: Proof) -> Record {
    let mut record = Record::from_rdata(name(owner), 60, data);
    record.proof = proof;
    record
}

fn address(owner: &str, proof: Proof) -> Record {
    record(owner, RData::A(A::new(192, 0, 2, 7)), proof)
}

fn alias(owner: &str, target: &str, proof: Proof) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))), proof)
}

fn dname(owner: &str, target: &str, proof: Proof) -> Record {
    let rdata = NULL::with(name(target).to_bytes().unwrap());
    let code = RecordType::DNAME;
    record(owner, RData::Unknown { code, rdata }, proof)
}

fn soa(owner: &str, proof: Proof) -> Record {
    let root = Name::root();
    let data = SOA::new(root.clone(), root, 1, 1, 1, 1, 30);
    record(owner, RData::SOA(data), proof)
}

/// Says that there is nothing between two names.
fn nsec(owner: &str, next: &str, kinds: &[RecordType], proof: Proof) -> Record {
    let nsec = NSEC::new(name(next), kinds.iter().copied());
    record(owner, RData::DNSSEC(DNSSECRData::NSEC(nsec)), proof)
}

/// A signature in its time. With fewer labels than its owner has it was made for a wildcard.
fn signature(owner: &str, kind: RecordType, labels: u8, signer: &str) -> Record {
    signature_until(owner, kind, labels, signer, u32::MAX / 2)
}

fn signature_until(owner: &str, kind: RecordType, labels: u8, signer: &str, until: u32) -> Record {
    let input = SigInput {
        type_covered: kind,
        algorithm: Algorithm::ED25519,
        num_labels: labels,
        original_ttl: 60,
        sig_expiration: SerialNumber::new(until),
        sig_inception: SerialNumber::new(1),
        key_tag: 1,
        signer_name: name(signer),
    };
    let data = RRSIG::from_sig(input, vec![0; 64]);
    let proof = Proof::Secure;
    record(owner, RData::DNSSEC(DNSSECRData::RRSIG(data)), proof)
}

fn message(answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    let mut message = Message::query();
    message.insert_answers(answers);
    message.insert_authorities(authorities);
    message
}

fn asked(answers: Vec<Record>, authorities: Vec<Record>, denial: Denial) -> Result<Said, Bogus> {
    read(
        &message(answers, authorities),
        &name(NAME),
        RecordType::A,
        denial,
    )
}

fn found(said: &Result<Said, Bogus>) -> Option<Security> {
    match said {
        Ok(said) => {
            assert!(matches!(said.what, What::Records(_)), "{said:?}");
            Some(said.security)
        }
        Err(_) => None,
    }
}

#[test]
fn a_record_counts_as_far_as_it_is_proved() {
    for (proof, want) in [
        (Proof::Secure, Some(Security::Secure)),
        (Proof::Insecure, Some(Security::Insecure)),
        (Proof::Bogus, None),
        (Proof::Indeterminate, None),
    ] {
        let answers = vec![
            address(NAME, proof),
            address("other.example.", Proof::Bogus),
        ];
        assert_eq!(found(&asked(answers.clone(), vec![], Denial::Proved)), want);
        let plain = asked(answers, vec![], Denial::Unvalidated);
        assert_eq!(found(&plain), Some(Security::Unvalidated));
    }
    // All of them, and nobody else's.
    let answers = vec![address(NAME, Proof::Secure), address(NAME, Proof::Bogus)];
    assert_eq!(found(&asked(answers, vec![], Denial::Proved)), None);
    let answers = vec![address("other.example.", Proof::Secure)];
    let said = asked(answers, vec![], Denial::Proved).unwrap();
    assert_eq!(said.what, What::Nothing);
}

#[test]
fn a_flood_of_records_is_cut() {
    let answers = vec![address(NAME, Proof::Secure); 5_000];
    match asked(answers, vec![], Denial::Proved).unwrap().what {
        What::Records(records) => assert_eq!(records.len(), 8),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_absence_that_a_zone_without_signatures_claims_is_its_own() {
    let said = |authorities| asked(vec![], authorities, Denial::Proved).map(|said| said.security);
    for zone in ["example.", "load.example.", NAME] {
        assert_eq!(
            said(vec![soa(zone, Proof::Insecure)]),
            Ok(Security::Insecure)
        );
    }
    for zone in ["insecure.test.", "y.load.example.", "a.x.load.example."] {
        let refuted = said(vec![soa(zone, Proof::Insecure)]).unwrap_err();
        assert_eq!(refuted.about, "x.load.example A");
        assert_eq!(refuted.why, Flaw::NoProof);
    }
    let proof = nsec("example.", "z.example.", &[], Proof::Secure);
    assert_eq!(
        said(vec![soa("example.", Proof::Secure), proof]),
        Ok(Security::Secure)
    );
    // Looked at and found to be unproved it is that, whatever else there is.
    let proof = nsec("example.", "z.example.", &[], Proof::Secure);
    let refuted = asked(
        vec![],
        vec![soa("example.", Proof::Secure), proof],
        Denial::Refuted,
    );
    assert_eq!(refuted.unwrap_err().why, Flaw::NoProof);
    // What costs too much to look at is as if it were not signed.
    let proof = nsec("example.", "z.example.", &[], Proof::Secure);
    let costly = asked(vec![], vec![proof], Denial::Costly).unwrap();
    assert_eq!(
        (costly.what, costly.security),
        (What::Nothing, Security::Insecure)
    );
}

#[test]
fn the_reason_is_in_the_signature() {
    let bogus = |signature: Option<Record>| {
        let answers = [address(NAME, Proof::Bogus)].into_iter().chain(signature);
        asked(answers.collect(), vec![], Denial::Proved)
            .unwrap_err()
            .why
    };
    let until = |until| signature_until(NAME, RecordType::A, 3, "example.", until);
    assert_eq!(bogus(None), Flaw::Unsigned);
    assert!(matches!(bogus(Some(until(2))), Flaw::Expired(_)));
    assert_eq!(
        bogus(Some(until(u32::MAX / 2))),
        Flaw::Wrong(name("example."))
    );
    let of_others = signature(NAME, RecordType::AAAA, 3, "example.");
    assert_eq!(bogus(Some(of_others)), Flaw::Unsigned);
}

/// An address made of `*.example`, and these proofs beside it.
fn of_wildcard(proofs: Vec<Record>, denial: Denial) -> Option<Security> {
    let made = vec![
        address(NAME, Proof::Secure),
        signature(NAME, RecordType::A, 1, "example."),
    ];
    found(&asked(made, proofs, denial))
}

#[test]
fn a_record_made_of_a_wildcard_needs_a_proof_that_there_is_nothing_nearer() {
    let signed = |record: Record, signer: &str| {
        let owner = record.name.to_ascii();
        vec![record, signature(&owner, RecordType::NSEC, 2, signer)]
    };
    let between = |owner, next, kinds: &[RecordType]| {
        signed(nsec(owner, next, kinds, Proof::Secure), "example.")
    };
    let secure = Some(Security::Secure);
    let check = |proofs: Vec<Record>, want| {
        assert_eq!(
            of_wildcard(proofs.clone(), Denial::Refuted),
            want,
            "{proofs:?}"
        );
    };
    check(between("a.example.", "z.example.", &[]), secure);
    check(between("*.example.", "z.example.", &[]), secure);
    // The last one, after which the zone begins again.
    check(between("a.example.", "example.", &[]), secure);
    // Nothing, or nothing of it.
    check(vec![], None);
    check(between("m.example.", "z.example.", &[]), None);
    check(between("a.example.", "b.example.", &[]), None);
    // `load.example` itself is there, or there is something below it.
    check(between("load.example.", "z.example.", &[]), None);
    check(between("a.example.", "load.example.", &[]), None);
    check(between("a.example.", "b.load.example.", &[]), None);
    // What another zone says, or says of another.
    check(
        signed(nsec("a.example.", "z.example.", &[], Proof::Secure), "."),
        None,
    );
    check(
        vec![nsec("a.example.", "z.example.", &[], Proof::Secure)],
        None,
    );
    check(between("example.", "z.example.", &[RecordType::NS]), None);
    check(
        between("example.", "z.example.", &[RecordType::DNAME]),
        None,
    );
    check(
        between("example.", "z.example.", &[RecordType::NS, RecordType::SOA]),
        secure,
    );
    // What is not proved itself.
    let unproved = nsec("a.example.", "z.example.", &[], Proof::Insecure);
    check(signed(unproved, "example."), None);

    let none = || vec![];
    assert_eq!(of_wildcard(none(), Denial::Proved), secure);
    assert_eq!(
        of_wildcard(none(), Denial::Costly),
        Some(Security::Insecure)
    );
    assert_eq!(
        of_wildcard(none(), Denial::Unvalidated),
        Some(Security::Unvalidated)
    );
    // What was not made of one needs none.
    let own = vec![
        address(NAME, Proof::Secure),
        signature(NAME, RecordType::A, 3, "example."),
    ];
    assert_eq!(found(&asked(own, none(), Denial::Refuted)), secure);
}

#[test]
fn two_signatures_leave_open_of_which_wildcard_it_was_made() {
    let made = vec![
        address(NAME, Proof::Secure),
        signature(NAME, RecordType::A, 1, "example."),
        signature(NAME, RecordType::A, 2, "example."),
    ];
    let proofs = vec![
        nsec("a.example.", "z.example.", &[], Proof::Secure),
        signature("a.example.", RecordType::NSEC, 2, "example."),
    ];
    assert_eq!(found(&asked(made, proofs, Denial::Refuted)), None);
}

#[test]
fn what_an_alias_leads_to_is_asked_for_where_the_message_does_not_prove_it() {
    let leads_to = |answers, want: &str| {
        let said = asked(answers, vec![], Denial::Proved).unwrap();
        assert_eq!(said.what, What::Alias(name(want)));
        assert_eq!(said.security, Security::Secure);
    };
    let first = || alias(NAME, "y.example.", Proof::Secure);
    leads_to(vec![first()], "y.example.");
    leads_to(
        vec![first(), alias("y.example.", "z.example.", Proof::Secure)],
        "z.example.",
    );
    // Whether there is something nearer than the wildcard was not looked at for this name.
    let made = signature("y.example.", RecordType::A, 1, "example.");
    leads_to(
        vec![first(), address("y.example.", Proof::Secure), made],
        "y.example.",
    );
    let made = signature("y.example.", RecordType::CNAME, 1, "example.");
    leads_to(
        vec![
            first(),
            alias("y.example.", "z.example.", Proof::Secure),
            made,
        ],
        "y.example.",
    );
    // A circle is none.
    leads_to(vec![alias(NAME, NAME, Proof::Secure)], NAME);

    let said = |answers| found(&asked(answers, vec![], Denial::Proved));
    let there = |proof| address("y.example.", proof);
    assert_eq!(
        said(vec![first(), there(Proof::Secure)]),
        Some(Security::Secure)
    );
    assert_eq!(
        said(vec![first(), there(Proof::Insecure)]),
        Some(Security::Insecure)
    );
    assert_eq!(said(vec![first(), there(Proof::Bogus)]), None);
    let insecure = alias(NAME, "y.example.", Proof::Insecure);
    assert_eq!(
        said(vec![insecure, there(Proof::Secure)]),
        Some(Security::Insecure)
    );
    let bogus = alias(NAME, "y.example.", Proof::Bogus);
    assert_eq!(said(vec![bogus, there(Proof::Secure)]), None);
}

#[test]
fn an_alias_is_made_of_a_dname_or_it_is_not() {
    let said = |of: Record, target: &str| {
        let answers = vec![of, alias(NAME, target, Proof::Bogus)];
        asked(answers, vec![], Denial::Proved).map(|said| said.security)
    };
    let secure = || dname("load.example.", "new.test.", Proof::Secure);
    assert_eq!(said(secure(), "x.new.test."), Ok(Security::Secure));
    let of_parent = dname("example.", "new.test.", Proof::Secure);
    assert_eq!(said(of_parent, "x.load.new.test."), Ok(Security::Secure));
    let insecure = dname("load.example.", "new.test.", Proof::Insecure);
    assert_eq!(said(insecure, "x.new.test."), Ok(Security::Insecure));
    for (of, target) in [
        (secure(), "y.new.test."),
        (secure(), "new.test."),
        (secure(), "x.evil.test."),
        (
            dname("load.example.", "new.test.", Proof::Bogus),
            "x.new.test.",
        ),
        (
            dname("other.example.", "new.test.", Proof::Secure),
            "x.new.test.",
        ),
        // Of what is below it only (RFC 6672 §2.3).
        (dname(NAME, "new.test.", Proof::Secure), "new.test."),
    ] {
        assert!(said(of.clone(), target).is_err(), "{of:?} {target}");
    }
}

#[test]
fn an_answer_is_good_for_the_shortest_of_its_times() {
    let mut short = alias(NAME, "y.example.", Proof::Secure);
    short.ttl = 7;
    let answers = vec![short, address("y.example.", Proof::Secure)];
    let said = asked(answers, vec![], Denial::Proved).unwrap();
    assert_eq!(said.ttl, Duration::from_secs(7));
    let said = asked(
        vec![],
        vec![soa("example.", Proof::Insecure)],
        Denial::Proved,
    )
    .unwrap();
    assert_eq!(said.ttl, Duration::from_secs(30));
    let said = asked(vec![], vec![], Denial::Unvalidated).unwrap();
    assert_eq!(said.ttl, Duration::ZERO);
}

#[test]
fn names_are_shown_without_what_upsets_a_terminal() {
    let strange = Name::from_labels([&b"\x1b[31m"[..], b"example"]).unwrap();
    let mut bogus = address(NAME, Proof::Bogus);
    bogus.name = strange.clone();
    let said = read(
        &message(vec![bogus], vec![]),
        &strange,
        RecordType::A,
        Denial::Proved,
    );
    let about = said.unwrap_err().about;
    assert!(
        about.ends_with(".example A") && !about.contains('\x1b'),
        "{about:?}"
    );
}

#[test]
fn any_message_says_what_was_asked_for_and_no_better_proved_than_it_is() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let reached = std::cell::RefCell::new(attack::Reached::new());
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(3000)
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    let result = runner.run(&bytes, |bytes| {
        reached.borrow_mut().extend(attack::answer(&bytes));
        Ok(())
    });
    result.unwrap();
    for wanted in ["bogus", "secure records", "records", "alias", "nothing"] {
        assert!(reached.borrow().contains(wanted), "never: {wanted}");
    }
}
