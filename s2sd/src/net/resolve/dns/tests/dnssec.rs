//! RFC 7673 §3, case by case, against a zone server that signs.

use std::path::PathBuf;

use super::*;
use crate::tools::demo::zone::{Costly, Flaw, ZoneKey};

const SRV: &str = "_xmpp-server._tcp.a.example";
const TLSA: &str = "_5269._tcp.x.example";
const DATA: [u8; 32] = [7; 32];

/// `a.example` at `x.example`, with what `x.example` says of its certificate.
fn example() -> Zone {
    Zone::new()
        .srv(SRV, 0, 0, 5269, "x.example")
        .a("x.example", [192, 0, 2, 7].into())
        .tlsa(TLSA, [3, 1, 1], &DATA)
}

/// A file that is removed in the end.
struct AnchorFile(PathBuf);

impl AnchorFile {
    fn of(key: &ZoneKey) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("s2sd-anchor-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, key.anchor()).unwrap();
        Self(path)
    }
}

impl Drop for AnchorFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Asked {
    server: ZoneServer,
    dns: Dns,
    key: ZoneKey,
}

impl Asked {
    fn of(zone: Zone, dnssec: Dnssec) -> Self {
        let key = ZoneKey::generate();
        let zone = zone.signed(&key);
        Self::as_it_is(zone, dnssec, key)
    }

    fn as_it_is(zone: Zone, dnssec: Dnssec, key: ZoneKey) -> Self {
        let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap();
        let anchor = AnchorFile::of(&key);
        let config = config::Dns {
            servers: vec![server.addr()],
            dnssec,
            trust_anchor: Some(anchor.0.clone()),
            ..config::Dns::default()
        };
        let dns = Dns::new(&config).unwrap();
        Self { server, dns, key }
    }

    async fn targets(&self) -> Result<Vec<(String, bool)>, ResolveError> {
        let domain = Domain::parse("a.example").unwrap();
        let targets = self.dns.targets(&domain, TlsMode::Disabled).await?;
        let said = targets
            .iter()
            .map(|target| (target.to_string(), target.secure));
        Ok(said.collect())
    }

    async fn security(&self, host: &str) -> Result<Security, ResolveError> {
        Ok(self.dns.addresses(&target(host)).await?.security)
    }

    /// What `a.example`'s first place says of its certificate.
    async fn tlsa(&self) -> Result<Option<String>, ResolveError> {
        let domain = Domain::parse("a.example").unwrap();
        let targets = self.dns.targets(&domain, TlsMode::Disabled).await?;
        let found = self.dns.tlsa(&targets[0]).await?;
        Ok(found.map(|set| {
            let records: Vec<String> = set.records.iter().map(ToString::to_string).collect();
            format!("{}: {}", set.name, records.join(", "))
        }))
    }

    fn asked_for(&self, what: &str) -> bool {
        self.server.asked().iter().any(|line| line.ends_with(what))
    }
}

/// The text of what refutes an answer.
#[track_caller]
fn refuted<T: std::fmt::Debug>(result: Result<T, ResolveError>) -> String {
    match result {
        Err(ResolveError::Bogus(what)) => what.to_string(),
        other => panic!("{other:?}"),
    }
}

fn at(place: &str, secure: bool) -> Result<Vec<(String, bool)>, ResolveError> {
    Ok(vec![(place.to_owned(), secure)])
}

#[tokio::test]
async fn what_is_signed_is_secure_all_the_way() {
    for dnssec in [Dnssec::Use, Dnssec::Require] {
        for zone in [
            example(),
            example()
                .zone("a.example")
                .zone("x.example")
                .zone("example"),
        ] {
            let asked = Asked::of(zone, dnssec);
            assert_eq!(asked.targets().await, at("x.example:5269", true));
            assert_eq!(asked.security("x.example").await, Ok(Security::Secure));
            assert_eq!(
                asked.tlsa().await,
                Ok(Some(format!("{TLSA}: 3 1 1 07070707…")))
            );
        }
    }
}

#[tokio::test]
async fn with_dnssec_off_nothing_is_proved_and_no_certificate_is_asked_for() {
    let asked = Asked::of(example().flaw(SRV, Flaw::Broken), Dnssec::Off);
    assert_eq!(asked.targets().await, at("x.example:5269", false));
    assert_eq!(asked.security("x.example").await, Ok(Security::Unvalidated));
    assert_eq!(asked.tlsa().await, Ok(None));
    assert!(!asked.asked_for("TLSA") && !asked.asked_for("DNSKEY"));
}

#[tokio::test]
async fn what_is_proved_to_be_unsigned_counts_as_before() {
    for zone in [
        example().unsigned("example"),
        example().unsigned("a.example").unsigned("x.example"),
    ] {
        let asked = Asked::of(zone.clone(), Dnssec::Use);
        assert_eq!(asked.targets().await, at("x.example:5269", false));
        assert_eq!(asked.security("x.example").await, Ok(Security::Insecure));
        assert_eq!(asked.tlsa().await, Ok(None));
        // Without SRV records too.
        assert_eq!(
            asked.security("gone.x.example").await,
            Err(ResolveError::NotFound)
        );
        assert!(!asked.asked_for("TLSA"));

        let asked = Asked::of(zone, Dnssec::Require);
        let unsigned = |name: &str| ResolveError::Unsigned(name.into());
        assert_eq!(asked.targets().await, Err(unsigned(SRV)));
        assert_eq!(
            asked.security("x.example").await,
            Err(unsigned("x.example"))
        );
    }
}

#[tokio::test]
async fn tlsa_records_are_asked_for_only_where_all_before_is_secure() {
    // The SRV records are not, the addresses are.
    let asked = Asked::of(example().unsigned("a.example"), Dnssec::Use);
    assert_eq!(asked.security("x.example").await, Ok(Security::Secure));
    assert_eq!(asked.tlsa().await, Ok(None));
    assert!(!asked.asked_for("TLSA"));
    // The other way round.
    let asked = Asked::of(example().unsigned("x.example"), Dnssec::Use);
    assert_eq!(asked.targets().await, at("x.example:5269", true));
    assert_eq!(asked.tlsa().await, Ok(None));
    assert!(!asked.asked_for("TLSA"));
    // Both are, and only they themselves are not.
    let asked = Asked::of(example().unsigned("_tcp.x.example"), Dnssec::Use);
    assert_eq!(asked.tlsa().await, Ok(None));
    assert!(asked.asked_for("TLSA"));
}

#[tokio::test]
async fn an_srv_answer_that_is_refuted_leads_nowhere_and_says_why() {
    for (zone, want) in [
        (
            example().flaw(SRV, Flaw::Broken),
            "its signature is not that of the keys of the root; the zone has to be signed anew",
        ),
        (
            example().zone("a.example").flaw(SRV, Flaw::Broken),
            "its signature is not that of the keys of a.example; the zone has to be signed anew",
        ),
        (
            example().wrong_ds("a.example"),
            "the keys of a.example are not those that the zone above vouches for; its DS records there have to be \
             renewed",
        ),
        (
            example().flaw(SRV, Flaw::Stripped),
            "it is not signed, though its zone is; either a name server on the way takes signatures away, or an \
             attacker forges answers",
        ),
    ] {
        for dnssec in [Dnssec::Use, Dnssec::Require] {
            let asked = Asked::of(zone.clone(), dnssec);
            let why = refuted(asked.targets().await);
            assert_eq!(why, format!("{SRV} SRV: {want}"));
            // Nothing of it is kept: who repairs it is believed at once.
            asked.server.replace(example().signed(&asked.key));
            assert_eq!(asked.targets().await, at("x.example:5269", true));
        }
    }
    for (flaw, begin, end) in [
        (
            Flaw::Expired,
            "its signature expired on 2",
            "; the zone has to be signed anew",
        ),
        (
            Flaw::Early,
            "its signature is not valid before 2",
            "; a clock is wrong, there or here",
        ),
    ] {
        let asked = Asked::of(example().flaw(SRV, flaw), Dnssec::Use);
        let why = refuted(asked.targets().await);
        let why = why.strip_prefix(&format!("{SRV} SRV: ")).unwrap();
        assert!(why.starts_with(begin) && why.ends_with(end), "{why}");
    }
}

#[tokio::test]
async fn a_service_with_tls_that_is_refuted_is_one_too() {
    let direct = "_xmpps-server._tcp.a.example";
    let zone = example().srv(direct, 0, 0, 5270, "x.example");
    let domain = Domain::parse("a.example").unwrap();
    let asked = Asked::of(zone.flaw(direct, Flaw::Expired), Dnssec::Use);
    let why = refuted(asked.dns.targets(&domain, TlsMode::Required).await);
    assert!(
        why.starts_with("_xmpps-server._tcp.a.example SRV: "),
        "{why}"
    );
    // Its absence has to be proved.
    let asked = Asked::of(example().flaw(direct, Flaw::Stripped), Dnssec::Use);
    let why = refuted(asked.dns.targets(&domain, TlsMode::Required).await);
    assert!(
        why.contains("there is no proof that there is no such record"),
        "{why}"
    );
}

#[tokio::test]
async fn an_address_that_is_refuted_is_not_used_in_either_family() {
    let v6 = "2001:db8::7".parse().unwrap();
    for (flaw, want) in [
        (
            Flaw::Broken,
            "its signature is not that of the keys of the root",
        ),
        (Flaw::Expired, "its signature expired on "),
        (Flaw::Stripped, "it is not signed, though its zone is"),
    ] {
        let asked = Asked::of(
            example().aaaa("x.example", v6).flaw("x.example", flaw),
            Dnssec::Use,
        );
        let why = refuted(asked.security("x.example").await);
        assert!(why.starts_with("x.example A"), "{why}");
        assert!(why.contains(want), "{why}");
        assert_eq!(why, refuted(asked.tlsa().await));
    }
    // One family is well, and the other is not.
    for family in ["x.example A", "x.example AAAA"] {
        let zone = example().aaaa("x.example", v6);
        let asked = Asked::of(zone.flaw(family, Flaw::Broken), Dnssec::Use);
        let why = refuted(asked.security("x.example").await);
        assert!(why.starts_with(&format!("{family}: ")), "{why}");
        refuted(asked.tlsa().await);
    }
    // One family is there, and that the other is not is not proved.
    let other = example().without("x.example").aaaa("x.example", v6);
    for zone in [example(), other] {
        let asked = Asked::of(zone.flaw("x.example", Flaw::Stripped), Dnssec::Use);
        refuted(asked.security("x.example").await);
    }
}

#[tokio::test]
async fn a_tlsa_answer_that_is_refuted_or_missing_makes_the_place_unusable() {
    for (flaw, want) in [
        (
            Flaw::Broken,
            "its signature is not that of the keys of the root",
        ),
        (Flaw::Expired, "its signature expired on "),
        (Flaw::Stripped, "it is not signed, though its zone is"),
    ] {
        let asked = Asked::of(example().flaw(TLSA, flaw), Dnssec::Use);
        let why = refuted(asked.tlsa().await);
        assert!(why.starts_with(&format!("{TLSA} TLSA: {want}")), "{why}");
    }
    // That there are none has to be proved too.
    let none = || example().without(TLSA);
    assert_eq!(Asked::of(none(), Dnssec::Use).tlsa().await, Ok(None));
    let asked = Asked::of(none().flaw(TLSA, Flaw::Stripped), Dnssec::Use);
    let why = refuted(asked.tlsa().await);
    assert!(
        why.contains("there is no proof that there is no such record"),
        "{why}"
    );
    // No answer at all is not "none".
    let asked = Asked::of(none().fails(TLSA), Dnssec::Use);
    let result = asked.tlsa().await;
    assert!(matches!(result, Err(ResolveError::Failed(_))), "{result:?}");
}

#[tokio::test]
async fn records_that_nobody_understands_count_as_absent() {
    let unusable = || {
        Zone::new()
            .srv(SRV, 0, 0, 5269, "x.example")
            .a("x.example", [192, 0, 2, 7].into())
            .tlsa(TLSA, [4, 1, 1], &DATA)
            .tlsa(TLSA, [3, 1, 1], &DATA[1..])
    };
    assert_eq!(Asked::of(unusable(), Dnssec::Use).tlsa().await, Ok(None));
    let asked = Asked::of(unusable().tlsa(TLSA, [2, 0, 1], &DATA), Dnssec::Use);
    assert_eq!(
        asked.tlsa().await,
        Ok(Some(format!("{TLSA}: 2 0 1 07070707…")))
    );
}

#[tokio::test]
async fn without_srv_records_the_proof_of_that_leads_to_the_domain() {
    let own = || {
        Zone::new().a("a.example", [192, 0, 2, 7].into()).tlsa(
            "_5269._tcp.a.example",
            [3, 1, 1],
            &DATA,
        )
    };
    for zone in [own(), own().zone("a.example")] {
        let asked = Asked::of(zone, Dnssec::Require);
        assert_eq!(asked.targets().await, at("a.example:5269", true));
        let want = "_5269._tcp.a.example: 3 1 1 07070707…".to_owned();
        assert_eq!(asked.tlsa().await, Ok(Some(want)));
    }
    // RFC 7673 §3.1: a lookup that fails for another reason is no absence.
    let asked = Asked::of(own().flaw(SRV, Flaw::Stripped), Dnssec::Use);
    let why = refuted(asked.targets().await);
    assert_eq!(
        why,
        format!(
            "{SRV} SRV: there is no proof that there is no such record, though its zone is signed; either a name server \
             on the way takes proofs away, or an attacker forges answers"
        )
    );
    let asked = Asked::of(own().flaw(SRV, Flaw::Expired), Dnssec::Use);
    let why = refuted(asked.targets().await);
    assert!(
        why.starts_with(&format!("{SRV} SRV: its signature expired on ")),
        "{why}"
    );
}

#[tokio::test]
async fn absence_is_proved_for_all_kinds_of_it() {
    let zone = || example().a("*.load.example", [192, 0, 2, 7].into());
    for (dnssec, zone) in [
        (Dnssec::Require, zone()),
        (Dnssec::Require, zone().zone("example")),
        (Dnssec::Use, zone().unsigned("example")),
    ] {
        let asked = Asked::of(zone, dnssec);
        for host in [
            "nowhere.example",   // no such name
            "a.example",         // names below it only
            "_tcp.x.example",    // the same
            "zzz.example",       // behind all others
            "0.example",         // before all others
            SRV,                 // other records
            "nowhere.x.example", // below a name with records
        ] {
            assert_eq!(
                asked.security(host).await,
                Err(ResolveError::NotFound),
                "{host}"
            );
        }
        // Made of a wildcard: also with a proof, that there is nothing nearer.
        assert!(asked.security("7.load.example").await.is_ok());
        let tlsa = Target {
            secure: true,
            ..target("7.load.example")
        };
        assert_eq!(asked.dns.tlsa(&tlsa).await, Ok(None));
    }
}

#[tokio::test]
async fn what_is_made_of_a_wildcard_without_the_proof_that_there_is_nothing_nearer_is_refuted() {
    let zone = || example().a("*.load.example", [192, 0, 2, 7].into());
    let asked = Asked::of(zone(), Dnssec::Use);
    assert_eq!(asked.security("7.load.example").await, Ok(Security::Secure));
    let asked = Asked::of(zone().flaw("7.load.example", Flaw::Broken), Dnssec::Use);
    refuted(asked.security("7.load.example").await);
}

#[tokio::test]
async fn aliases_count_as_far_as_all_of_them_are_proved() {
    let alias = "_xmpp-server._tcp.hosting.example";
    let zone = || {
        Zone::new()
            .cname(SRV, alias)
            .srv(alias, 0, 0, 5269, "y.h.example")
            .cname("y.h.example", "x.k.example")
            .a("x.k.example", [192, 0, 2, 7].into())
            .tlsa("_5269._tcp.y.h.example", [3, 1, 1], &DATA)
    };
    let want = "_5269._tcp.y.h.example: 3 1 1 07070707…".to_owned();
    for (zone, srv, addresses) in [
        (zone(), true, Security::Secure),
        (
            zone()
                .zone("a.example")
                .zone("hosting.example")
                .zone("h.example"),
            true,
            Security::Secure,
        ),
        // The alias is not, what it leads to is.
        (
            zone().unsigned("a.example").unsigned("h.example"),
            false,
            Security::Insecure,
        ),
        // The other way round.
        (
            zone().unsigned("hosting.example").unsigned("k.example"),
            false,
            Security::Insecure,
        ),
    ] {
        let asked = Asked::of(zone, Dnssec::Use);
        assert_eq!(asked.targets().await, at("y.h.example:5269", srv));
        assert_eq!(asked.security("y.h.example").await, Ok(addresses));
        assert_eq!(asked.tlsa().await, Ok(srv.then(|| want.clone())));
    }
    // Also where it takes several questions: what is made of a wildcard is asked for again, by its own name.
    let split = || {
        Zone::new()
            .cname("y.h.example", "7.load.example")
            .a("*.load.example", [192, 0, 2, 7].into())
    };
    for (zone, want) in [
        (split(), Security::Secure),
        (split().unsigned("h.example"), Security::Insecure),
    ] {
        let asked = Asked::of(zone, Dnssec::Use);
        assert_eq!(asked.security("y.h.example").await, Ok(want));
        assert!(asked.asked_for("7.load.example A"));
    }
    // Without DNSSEC they are followed as well.
    let (_server, dns) = ask(zone());
    assert_eq!(
        targets(&dns, "a.example", TlsMode::Disabled).await,
        texts(&["y.h.example:5269"])
    );
    for link in [SRV, alias] {
        let asked = Asked::of(zone().flaw(link, Flaw::Broken), Dnssec::Use);
        refuted(asked.targets().await);
    }
    for link in ["y.h.example", "x.k.example"] {
        let asked = Asked::of(zone().flaw(link, Flaw::Expired), Dnssec::Use);
        refuted(asked.security("y.h.example").await);
    }
}

#[tokio::test]
async fn aliases_have_an_end() {
    let mut zone = Zone::new().cname("loop.example", "loop.example");
    for n in 0..200 {
        zone = zone.cname(&format!("n{n}.example"), &format!("n{}.example", n + 1));
    }
    for dnssec in [Dnssec::Off, Dnssec::Use] {
        let asked = Asked::of(
            zone.clone().a("n200.example", [192, 0, 2, 7].into()),
            dnssec,
        );
        for host in ["loop.example", "n0.example"] {
            let result = asked.security(host).await;
            assert!(
                matches!(result, Err(ResolveError::Failed(_))),
                "{host}: {result:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_alias_of_nothing_is_nothing() {
    let zone = example().cname("y.example", "gone.example");
    let asked = Asked::of(zone.clone(), Dnssec::Require);
    assert_eq!(
        asked.security("y.example").await,
        Err(ResolveError::NotFound)
    );
    let asked = Asked::of(zone.flaw("gone.example", Flaw::Stripped), Dnssec::Use);
    refuted(asked.security("y.example").await);
}

#[tokio::test]
async fn a_dname_vouches_for_the_alias_that_is_made_of_it() {
    let zone = || {
        example()
            .dname("old.example", "new.example")
            .a("x.new.example", [192, 0, 2, 7].into())
    };
    for (zone, want) in [
        (zone(), Security::Secure),
        (
            zone().zone("old.example").zone("new.example"),
            Security::Secure,
        ),
        (zone().unsigned("old.example"), Security::Insecure),
        (zone().unsigned("new.example"), Security::Insecure),
    ] {
        let asked = Asked::of(zone, Dnssec::Use);
        assert_eq!(asked.security("x.old.example").await, Ok(want));
    }
    let asked = Asked::of(zone().flaw("x.old.example", Flaw::Broken), Dnssec::Use);
    refuted(asked.security("x.old.example").await);
    let asked = Asked::of(zone().flaw("x.old.example", Flaw::Stripped), Dnssec::Use);
    refuted(asked.security("x.old.example").await);
}

#[tokio::test]
async fn a_name_server_that_validates_hides_the_reason_and_we_find_it() {
    let asked = Asked::of(example().flaw(SRV, Flaw::Expired).checked(), Dnssec::Use);
    let why = refuted(asked.targets().await);
    assert!(
        why.starts_with(&format!("{SRV} SRV: its signature expired on ")),
        "{why}"
    );
    // What fails for another reason stays what it is.
    let asked = Asked::of(example().fails(SRV).checked(), Dnssec::Use);
    let result = asked.targets().await;
    assert!(matches!(result, Err(ResolveError::Failed(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_takes_dnssec_away_is_put_up_with_or_not() {
    let key = ZoneKey::generate();
    let asked = Asked::as_it_is(example(), Dnssec::Use, key.clone());
    assert_eq!(asked.targets().await, at("x.example:5269", false));
    assert_eq!(asked.security("x.example").await, Ok(Security::Unvalidated));
    assert_eq!(asked.tlsa().await, Ok(None));
    // After five minutes it is tried again, and then there is no way back.
    asked.server.replace(example().signed(&key));
    assert_eq!(asked.targets().await, at("x.example:5269", false));
    tokio::time::sleep(std::time::Duration::from_secs(5 * 60)).await;
    assert_eq!(asked.targets().await, at("x.example:5269", true));
    asked.server.replace(example());
    assert!(refuted(asked.targets().await).contains("it is not signed"));
    tokio::time::sleep(std::time::Duration::from_secs(5 * 60)).await;
    refuted(asked.targets().await);

    // Signed by somebody else's key is not better than not signed.
    let other = ZoneKey::generate();
    let asked = Asked::as_it_is(example().signed(&other), Dnssec::Use, key.clone());
    assert_eq!(asked.targets().await, at("x.example:5269", false));
    let asked = Asked::as_it_is(example().signed(&other), Dnssec::Require, key.clone());
    let why = refuted(asked.targets().await);
    assert!(
        why.contains("the keys of the root are not those of the trust anchor; "),
        "{why}"
    );

    let asked = Asked::as_it_is(example(), Dnssec::Require, key);
    refuted(asked.targets().await);
    refuted(asked.security("x.example").await);
}

#[tokio::test]
async fn answers_that_are_proved_are_kept_with_their_proof() {
    let asked = Asked::of(example().ttl(60), Dnssec::Use);
    assert_eq!(asked.targets().await, at("x.example:5269", true));
    assert!(asked.tlsa().await.unwrap().is_some());
    let none = target("none.example");
    assert_eq!(
        asked.dns.addresses(&none).await,
        Err(ResolveError::NotFound)
    );
    let before = asked.server.asked().len();
    // Not even the keys are asked for again, nor is what is now wrong seen.
    let now = example().ttl(60).signed(&asked.key);
    asked.server.replace(now.flaw(SRV, Flaw::Broken));
    assert_eq!(asked.targets().await, at("x.example:5269", true));
    assert!(asked.tlsa().await.unwrap().is_some());
    assert_eq!(
        asked.dns.addresses(&none).await,
        Err(ResolveError::NotFound)
    );
    assert_eq!(asked.server.asked().len(), before);
}

#[tokio::test]
async fn addresses_and_this_machine_need_no_proof() {
    for dnssec in [Dnssec::Use, Dnssec::Require] {
        let asked = Asked::of(example(), dnssec);
        assert_eq!(asked.security("192.0.2.9").await, Ok(Security::Unvalidated));
        for host in ["192.0.2.9", "x.onion"] {
            let secure = Target {
                secure: true,
                ..target(host)
            };
            let result = asked.dns.tlsa(&secure).await;
            assert!(
                matches!(result, Ok(None) | Err(ResolveError::Onion)),
                "{result:?}"
            );
        }
        assert_eq!(asked.server.asked(), Vec::<String>::new());
    }
    let (_server, dns) = ask(Zone::new());
    assert_eq!(
        addresses(&dns, "localhost").await,
        texts(&["[::1]:5269", "127.0.0.1:5269"])
    );
}

#[tokio::test]
async fn the_answers_of_both_services_say_how_far_they_are_proved() {
    let asked = Asked::of(example(), Dnssec::Use);
    let domain = Domain::parse("a.example").unwrap();
    let services = asked.dns.services(&domain, TlsMode::Required).await;
    assert!(matches!(
        services.xmpp,
        SrvAnswer::Records(_, Security::Secure)
    ));
    assert_eq!(services.xmpps, SrvAnswer::Absent(Security::Secure));
    let services = asked.dns.services(&domain, TlsMode::Disabled).await;
    assert_eq!(services.xmpps, SrvAnswer::NotAsked);
}

/// The library by itself goes on in one thread for longer than anybody waits, so this is done in another.
#[test]
fn signatures_that_lead_in_circles_end() {
    let (ends, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let zone = example().zone("a.example");
            let asked = Asked::of(zone.costly("a.example", Costly::Circles(9)), Dnssec::Use);
            let targets = asked.targets().await;
            let _ = ends.send((targets, asked.server.asked().len()));
        });
    });
    let ended = ended.recv_timeout(std::time::Duration::from_secs(30));
    let (targets, questions) = ended.expect("an end");
    targets.unwrap_err();
    // Of the look-up, and whether the name server passes signatures on.
    assert!(questions < 100, "{questions} questions");
}

#[tokio::test]
async fn what_comes_with_an_answer_unasked_makes_no_questions() {
    let plain = Asked::of(example(), Dnssec::Use);
    let stuffed = Asked::of(
        example().costly("a.example", Costly::Stuffed(20)),
        Dnssec::Use,
    );
    for asked in [&plain, &stuffed] {
        assert_eq!(asked.targets().await, at("x.example:5269", true));
    }
    let [plain, stuffed] = [plain, stuffed].map(|asked| asked.server.asked().len());
    assert_eq!(plain, stuffed);
}
