//! Which order comes of which answers.

use super::*;

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv {
        priority,
        weight,
        port,
        target: target.to_owned(),
    }
}

fn at(records: &[(u16, u16, u16, &str)]) -> SrvAnswer {
    SrvAnswer::Records(
        records
            .iter()
            .map(|&(priority, weight, port, target)| srv(priority, weight, port, target))
            .collect(),
        Security::Unvalidated,
    )
}

const ABSENT: SrvAnswer = SrvAnswer::Absent(Security::Unvalidated);

fn failed() -> SrvAnswer {
    SrvAnswer::Failed(ResolveError::Failed("SERVFAIL".into()))
}

/// The same answer, proved.
fn proved(answer: SrvAnswer) -> SrvAnswer {
    match answer {
        SrvAnswer::Absent(_) => SrvAnswer::Absent(Security::Secure),
        SrvAnswer::Records(records, _) => SrvAnswer::Records(records, Security::Secure),
        other => other,
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Plans for `a.example` with the given random numbers, and prints the targets.
#[track_caller]
fn check(xmpp: SrvAnswer, xmpps: SrvAnswer, random: &[u32], want: Result<&[&str], ResolveError>) {
    let mut random = random.iter().copied();
    let got = plan(&domain("a.example"), xmpp, xmpps, &mut |most| {
        let shown = random.next().unwrap_or(0);
        assert!(shown <= most, "the random number is {shown} of {most}");
        shown
    });
    let got = got.map(|targets| targets.iter().map(Target::to_string).collect::<Vec<_>>());
    let want = want.map(|texts| texts.iter().map(|&text| text.to_owned()).collect());
    assert_eq!(got, want);
}

#[test]
fn lower_priority_comes_first_whatever_the_weight() {
    check(
        at(&[
            (20, 500, 5269, "c.example."),
            (10, 0, 5269, "b.example."),
            (5, 1, 5299, "a.example."),
        ]),
        ABSENT,
        &[],
        Ok(&["a.example:5299", "b.example:5269", "c.example:5269"]),
    );
}

#[test]
fn records_are_chosen_by_weight() {
    // RFC 2782's example: one quarter old-slow-box, three quarters new-fast-box.
    let foobar = || at(&[(0, 1, 9, "old-slow-box."), (0, 3, 9, "new-fast-box.")]);
    for (shown, first) in [(0, "old"), (1, "old"), (2, "new"), (3, "new"), (4, "new")] {
        let mut random = [shown, 0].into_iter();
        let targets = plan(&domain("a.example"), foobar(), ABSENT, &mut |most| {
            assert!([4, 1, 3].contains(&most));
            random.next().unwrap()
        })
        .unwrap();
        assert_eq!(targets.len(), 2);
        assert!(targets[0].to_string().starts_with(first), "{shown}");
    }
}

#[test]
fn weight_zero_is_drawn_only_by_zero() {
    let records = || {
        at(&[
            (1, 10, 1, "heavy.example."),
            (1, 0, 2, "light.example."),
            (1, 20, 3, "heavier.example."),
        ])
    };
    let last = "light.example:2";
    check(
        records(),
        ABSENT,
        &[0],
        Ok(&["light.example:2", "heavy.example:1", "heavier.example:3"]),
    );
    check(
        records(),
        ABSENT,
        &[1, 1],
        Ok(&["heavy.example:1", "heavier.example:3", last]),
    );
    check(
        records(),
        ABSENT,
        &[30, 10],
        Ok(&["heavier.example:3", "heavy.example:1", last]),
    );
}

#[test]
fn weights_are_kept_in_proportion() {
    let mut state = 1_u32;
    let mut random = move |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * (u64::from(most) + 1)) >> 32) as u32
    };
    let first_of = |random: &mut dyn FnMut(u32) -> u32| {
        let records = at(&[(0, 100, 1, "one.example."), (0, 300, 3, "three.example.")]);
        plan(&domain("a.example"), records, ABSENT, random).unwrap()[0].port
    };
    let threes = (0..10_000).filter(|_| first_of(&mut random) == 3).count();
    assert!((7_300..7_700).contains(&threes), "{threes} of 10000");
}

#[test]
fn starttls_and_direct_tls_are_one_list() {
    check(
        at(&[(10, 0, 5269, "b.example."), (30, 0, 5269, "d.example.")]),
        at(&[(5, 0, 5270, "a.example."), (20, 0, 443, "c.example.")]),
        &[],
        Ok(&[
            "tls://a.example:5270",
            "b.example:5269",
            "tls://c.example:443",
            "d.example:5269",
        ]),
    );
    // The weights of both kinds are in one draw.
    check(
        at(&[(1, 1, 5269, "a.example.")]),
        at(&[(1, 9, 5270, "a.example.")]),
        &[2],
        Ok(&["tls://a.example:5270", "a.example:5269"]),
    );
}

#[test]
fn a_dot_means_that_there_is_no_service() {
    let dot = || at(&[(0, 0, 0, ".")]);
    let some = || at(&[(0, 0, 7, "x.example.")]);
    check(dot(), ABSENT, &[], Err(ResolveError::NoService));
    check(dot(), dot(), &[], Err(ResolveError::NoService));
    // XEP-0368 §5: no fallback to addresses either.
    check(ABSENT, dot(), &[], Err(ResolveError::NoService));
    // One kind is denied, the other is offered.
    check(some(), dot(), &[], Ok(&["x.example:7"]));
    check(dot(), some(), &[], Ok(&["tls://x.example:7"]));
}

#[test]
fn a_dot_among_others_is_passed_over() {
    check(
        at(&[(0, 0, 0, "."), (1, 0, 5269, "b.example.")]),
        ABSENT,
        &[],
        Ok(&["b.example:5269"]),
    );
}

#[test]
fn without_srv_the_domain_itself_is_tried() {
    check(ABSENT, ABSENT, &[], Ok(&["a.example:5269"]));
    check(at(&[]), ABSENT, &[], Ok(&["a.example:5269"]));
}

#[test]
fn silence_is_not_absence() {
    let some = || at(&[(0, 0, 7, "x.example.")]);
    let dot = || at(&[(0, 0, 0, ".")]);
    let silent = || Err(ResolveError::Failed("SERVFAIL".into()));
    check(failed(), failed(), &[], silent());
    check(failed(), ABSENT, &[], silent());
    check(failed(), dot(), &[], silent());
    check(dot(), failed(), &[], silent());
    // What is known can be used.
    check(failed(), some(), &[], Ok(&["tls://x.example:7"]));
    check(some(), failed(), &[], Ok(&["x.example:7"]));
    // RFC 6120 alone would fall back here, and so does whoever does not know XEP-0368.
    check(ABSENT, failed(), &[], Ok(&["a.example:5269"]));
    assert!(!ResolveError::Failed(Default::default()).is_permanent());
    assert!(ResolveError::NotFound.is_permanent());
}

#[test]
fn an_address_or_localhost_as_a_target_is_no_place() {
    for target in [
        "192.0.2.7.",
        "2001:db8::7",
        "localhost.",
        "x.LOCALHOST.",
        "127.1.",
    ] {
        let host = target.trim_end_matches('.').to_ascii_lowercase();
        let no_host = || Err(ResolveError::NoHost(host.as_str().into()));
        let leads = || at(&[(1, 0, 5269, target)]);
        check(leads(), ABSENT, &[], no_host());
        check(ABSENT, leads(), &[], no_host());
        check(leads(), leads(), &[], no_host());
        let nothing = || at(&[(0, 0, 0, ".")]);
        check(leads(), nothing(), &[], no_host());
        check(nothing(), leads(), &[], no_host());
        // What else is there counts.
        check(
            at(&[(1, 0, 5269, target), (2, 0, 5269, "b.example.")]),
            ABSENT,
            &[],
            Ok(&["b.example:5269"]),
        );
        check(
            leads(),
            at(&[(1, 0, 1, "b.example.")]),
            &[],
            Ok(&["tls://b.example:1"]),
        );
    }
    assert!(ResolveError::NoHost("".into()).is_permanent());
}

#[test]
fn a_host_of_the_configuration_may_be_an_address() {
    assert_eq!(
        Host::parse("[2001:db8::7]"),
        Host::Address("2001:db8::7".parse().unwrap())
    );
    assert_eq!(Host::parse("[192.0.2.7]"), Host::Name("[192.0.2.7]".into()));
    assert_eq!(Host::parse("B.example."), Host::Name("b.example".into()));
}

#[test]
fn a_domain_that_is_an_address_needs_no_dns() {
    for (text, want) in [
        ("192.0.2.7", "192.0.2.7:5269"),
        ("[2001:db8::7]", "[2001:db8::7]:5269"),
    ] {
        let target = fallback(&domain(text));
        assert_eq!(target.to_string(), want);
        assert_eq!(target.address(), Some(want.parse().unwrap()));
    }
    assert_eq!(fallback(&domain("a.example")).address(), None);
}

#[test]
fn an_international_domain_falls_back_to_its_a_label() {
    let target = fallback(&domain("müller.example"));
    assert_eq!(target.to_string(), "xn--mller-kva.example:5269");
}

#[test]
fn a_configured_place_is_a_target() {
    let connect = Connect {
        host: "2001:db8::7".to_owned(),
        port: 5270,
        direct_tls: true,
    };
    assert_eq!(Target::from(&connect).to_string(), connect.to_string());
    assert!(Target::from(&connect).address().is_some());
}

#[test]
fn a_flood_of_records_is_cut_after_ordering() {
    let mut records: Vec<Srv> = (0..1_000).map(|n| srv(9, n, 1, "far.example.")).collect();
    records.push(srv(0, 0, 2, "near.example."));
    let targets = plan(
        &domain("a.example"),
        SrvAnswer::Records(records, Security::Insecure),
        ABSENT,
        &mut |most| most,
    )
    .unwrap();
    assert_eq!(targets.len(), MAX_TARGETS);
    assert_eq!(targets[0].port, 2);
}

/// As many records as are read, with the largest weights and the smallest: no sum is too large, and each place is there.
#[test]
fn the_largest_weights_are_drawn_like_others() {
    for weights in [[u16::MAX; 64], [0; 64]] {
        let mut records: Vec<Srv> = (0..64)
            .map(|port| srv(u16::MAX, weights[usize::from(port)], port, "x.example."))
            .collect();
        records[0].priority = 0;
        for drawn in [0, 1, 2] {
            let answer = SrvAnswer::Records(records.clone(), Security::Insecure);
            let targets = plan(&domain("a.example"), answer.clone(), answer, &mut |most| {
                assert!(most <= 2 * 63 * u32::from(u16::MAX), "{most}");
                most / 2 * drawn
            });
            let targets = targets.unwrap();
            assert_eq!(targets.len(), MAX_TARGETS);
            assert_eq!((targets[0].port, targets[1].port), (0, 0));
        }
    }
}

#[test]
fn random_numbers_beyond_the_range_do_no_harm() {
    let records = at(&[(0, 1, 1, "a."), (0, 65_535, 2, "b.")]);
    let targets = plan(&domain("a.example"), records, ABSENT, &mut |_| u32::MAX);
    assert_eq!(targets.unwrap().len(), 2);
}

#[test]
fn a_signed_domain_has_no_other_place_while_an_answer_is_missing() {
    let silent = || Err(ResolveError::Failed("SERVFAIL".into()));
    check(proved(ABSENT), failed(), &[], silent());
    check(
        SrvAnswer::Absent(Security::Insecure),
        failed(),
        &[],
        Ok(&["a.example:5269"]),
    );
}

#[test]
fn an_answer_that_is_refuted_ends_it_whatever_the_other_says() {
    let some = || at(&[(0, 0, 7, "x.example.")]);
    let bogus = || ResolveError::Bogus("it is not signed".into());
    let unsigned = || ResolveError::Unsigned("a.example".into());
    for why in [bogus(), unsigned()] {
        let refuted = || SrvAnswer::Failed(why.clone());
        for other in [
            some(),
            proved(some()),
            ABSENT,
            SrvAnswer::NotAsked,
            failed(),
        ] {
            check(refuted(), other.clone(), &[], Err(why.clone()));
            check(other, refuted(), &[], Err(why.clone()));
        }
    }
    assert!(!bogus().is_permanent());
    assert!(unsigned().is_permanent());
}

#[test]
fn a_target_is_as_secure_as_the_answer_that_led_to_it() {
    let secure = |xmpp, xmpps| {
        let targets = plan(&domain("a.example"), xmpp, xmpps, &mut |_| 0).unwrap();
        let said = targets
            .iter()
            .map(|target| (target.to_string(), target.secure));
        said.collect::<Vec<_>>()
    };
    let some = || at(&[(0, 0, 7, "x.example.")]);
    let (plain, direct) = ("x.example:7".to_owned(), "tls://x.example:7".to_owned());
    let own = "a.example:5269".to_owned();
    assert_eq!(
        secure(proved(some()), some()),
        [(plain.clone(), true), (direct.clone(), false)]
    );
    assert_eq!(
        secure(some(), proved(some())),
        [(plain.clone(), false), (direct, true)]
    );
    assert_eq!(secure(proved(some()), failed()), [(plain, true)]);
    // That there are none has to be proved of both.
    assert_eq!(
        secure(proved(ABSENT), proved(ABSENT)),
        [(own.clone(), true)]
    );
    assert_eq!(
        secure(proved(ABSENT), SrvAnswer::NotAsked),
        [(own.clone(), true)]
    );
    assert_eq!(secure(proved(ABSENT), ABSENT), [(own.clone(), false)]);
    assert_eq!(secure(ABSENT, proved(ABSENT)), [(own, false)]);
    assert!(!fallback(&domain("a.example")).secure);
    let connect = Connect {
        host: "x.example".to_owned(),
        port: 5269,
        direct_tls: false,
    };
    assert!(!Target::from(&connect).secure);
}

#[test]
fn one_secure_family_of_addresses_is_enough_to_ask_what_the_certificate_is() {
    use Security::{Insecure, Secure, Unvalidated};
    for (one, other, both) in [
        (Secure, Secure, Secure),
        (Secure, Insecure, Secure),
        (Insecure, Secure, Secure),
        (Insecure, Insecure, Insecure),
        (Unvalidated, Insecure, Insecure),
    ] {
        assert_eq!(one.or(other), both);
    }
}

#[test]
fn another_host_is_a_name_or_an_address_with_a_port_or_not() {
    for (text, read) in [
        ("host.example", Some(("host.example", None))),
        (" Host.Example:9222\n", Some(("host.example", Some(9222)))),
        ("192.0.2.7:5269", Some(("192.0.2.7", Some(5269)))),
        (
            "[2001:41D0:1:A49b::1]:9222",
            Some(("[2001:41d0:1:a49b::1]", Some(9222))),
        ),
        ("[::1]", Some(("[::1]", None))),
        ("", None),
        (":5269", None),
        ("2001:db8::1", None),
        ("[2001:db8::1", None),
        ("[2001:db8::1]5269", None),
        ("[192.0.2.7]:5269", None),
        ("host.example:", None),
        ("host.example:0", None),
        ("host.example:70000", None),
        ("host.example:52:69", None),
        ("a b", None),
        ("user@host.example", None),
        ("localhost:5269", None),
        ("127.1:22", None),
    ] {
        let host = other_host(text).map(|(host, port)| (host.to_string(), port));
        let read = read.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(host, read, "{text:?}");
    }
}
