//! What is asked, and what comes of it without DNSSEC.

mod dnssec;

use std::collections::HashSet;

use super::*;
use crate::net::descriptors::LOOK_UP;
use crate::tools::demo::zone::{Zone, ZoneServer};

fn ask(zone: Zone) -> (ZoneServer, Dns) {
    ask_with(zone, Dnssec::Off)
}

fn ask_with(zone: Zone, dnssec: Dnssec) -> (ZoneServer, Dns) {
    let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap();
    let servers = vec![server.addr()];
    let config = config::Dns {
        servers,
        dnssec,
        ..config::Dns::default()
    };
    let dns = Dns::new(&config).unwrap();
    (server, dns)
}

async fn targets(dns: &Dns, domain: &str, tls: TlsMode) -> Result<Vec<String>, ResolveError> {
    let domain = Domain::parse(domain).unwrap();
    let targets = dns.targets(&domain, tls).await?;
    Ok(targets.iter().map(Target::to_string).collect())
}

fn target(host: &str) -> Target {
    Target {
        configured: false,
        host: Host::parse(host),
        port: 5269,
        direct_tls: false,
        secure: false,
    }
}

async fn addresses(dns: &Dns, host: &str) -> Result<Vec<String>, ResolveError> {
    let found = dns.addresses(&target(host)).await?;
    Ok(found.all.iter().map(ToString::to_string).collect())
}

fn texts(texts: &[&str]) -> Result<Vec<String>, ResolveError> {
    Ok(texts.iter().map(|&text| text.to_owned()).collect())
}

/// With the clock stopped each wait is over as soon as nothing else is to do.
#[tokio::test(start_paused = true)]
async fn a_look_up_without_an_answer_holds_no_more_sockets_than_are_kept_for_it() {
    let silent = [(); 3].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let config = config::Dns {
        servers: silent.iter().map(|it| it.local_addr().unwrap()).collect(),
        ..config::Dns::default()
    };
    let dns = Dns::new(&config).unwrap();
    let name = absolute("_xmpp-server._tcp.a.example").unwrap();
    let resolver = dns.source.resolver.load_full();
    let found = resolver.ask(
        &name,
        RecordType::SRV,
        Asker::Unauthenticated,
        Ipv4Addr::LOCALHOST.into(),
    );
    let found = found.await;
    assert!(
        matches!(found, Err(ResolveError::Unanswered(_))),
        "{found:?}"
    );
    let mut sockets = HashSet::new();
    for server in silent {
        server.set_nonblocking(true).unwrap();
        while let Ok((_, socket)) = server.recv_from(&mut [0; 512]) {
            sockets.insert(socket);
        }
    }
    assert!((2..=LOOK_UP).contains(&sockets.len()), "{sockets:?}");
}

#[tokio::test]
async fn a_name_server_that_fails_or_refuses_does_not_hide_the_answer_of_another() {
    let name = "_xmpp-server._tcp.a.example";
    let fails = || Zone::new().fails(name);
    let knows = Zone::new().srv(name, 0, 0, 5269, "s.a.example");
    let mut servers = Vec::new();
    for zone in [fails(), fails(), knows] {
        servers.push(ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap());
    }
    let mut config = config::Dns {
        servers: servers.iter().map(ZoneServer::addr).collect(),
        ..config::Dns::default()
    };
    let dns = Dns::new(&config).unwrap();
    let want = texts(&["s.a.example:5269"]);
    assert_eq!(targets(&dns, "a.example", TlsMode::Disabled).await, want);
    // Where all fail, that is what comes of it.
    config.servers.pop();
    let dns = Dns::new(&config).unwrap();
    let found = targets(&dns, "a.example", TlsMode::Disabled).await;
    assert!(matches!(found, Err(ResolveError::Failed(_))), "{found:?}");
}

#[tokio::test]
async fn both_services_are_asked_for_and_merged() {
    let (server, dns) = ask(Zone::new()
        .srv("_xmpp-server._tcp.a.example", 10, 0, 5269, "x.a.example")
        .srv("_xmpps-server._tcp.a.example", 5, 0, 5270, "x.a.example"));
    assert_eq!(
        targets(&dns, "a.example", TlsMode::Required).await,
        texts(&["tls://x.a.example:5270", "x.a.example:5269"])
    );
    let mut asked = server.asked();
    asked.sort();
    assert_eq!(
        asked,
        [
            "_xmpp-server._tcp.a.example SRV",
            "_xmpps-server._tcp.a.example SRV"
        ]
    );
}

#[tokio::test]
async fn without_tls_the_service_with_tls_is_not_asked_for() {
    let (server, dns) = ask(Zone::new()
        .srv("_xmpp-server._tcp.a.example", 10, 0, 5269, "x.a.example")
        .srv("_xmpps-server._tcp.a.example", 5, 0, 5270, "x.a.example"));
    assert_eq!(
        targets(&dns, "a.example", TlsMode::Disabled).await,
        texts(&["x.a.example:5269"])
    );
    assert_eq!(server.asked(), ["_xmpp-server._tcp.a.example SRV"]);
}

#[tokio::test]
async fn a_domain_without_srv_is_its_own_host() {
    let (_server, dns) = ask(Zone::new().a("a.example", [192, 0, 2, 7].into()));
    assert_eq!(
        targets(&dns, "a.example", TlsMode::Required).await,
        texts(&["a.example:5269"])
    );
    assert_eq!(
        addresses(&dns, "a.example").await,
        texts(&["192.0.2.7:5269"])
    );
    // The target is the same for a name that does not exist; its addresses tell.
    assert_eq!(
        addresses(&dns, "b.example").await,
        Err(ResolveError::NotFound)
    );
}

#[tokio::test]
async fn a_service_that_is_absent_is_no_failure() {
    let (_server, dns) = ask(Zone::new()
        .service_absent("_xmpp-server._tcp.a.example")
        .a("a.example", [192, 0, 2, 7].into()));
    assert_eq!(
        targets(&dns, "a.example", TlsMode::Required).await,
        Err(ResolveError::NoService)
    );
}

#[tokio::test]
async fn a_server_that_fails_is_told_from_a_name_that_is_not_there() {
    let (_server, dns) = ask(Zone::new()
        .fails("_xmpp-server._tcp.a.example")
        .fails("x.example"));
    for result in [
        targets(&dns, "a.example", TlsMode::Disabled).await,
        addresses(&dns, "x.example").await,
    ] {
        assert!(matches!(result, Err(ResolveError::Failed(_))), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_failure() {
    let (_server, dns) = ask(Zone::new().silent("_xmpp-server._tcp.a.example"));
    let result = targets(&dns, "a.example", TlsMode::Disabled).await;
    assert!(
        matches!(result, Err(ResolveError::Unanswered(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn addresses_are_of_both_families() {
    let (server, dns) = ask(Zone::new()
        .a("x.example", [192, 0, 2, 7].into())
        .aaaa("x.example", "2001:db8::7".parse().unwrap()));
    assert_eq!(
        addresses(&dns, "x.example").await,
        texts(&["[2001:db8::7]:5269", "192.0.2.7:5269"])
    );
    let before = server.asked().len();
    assert_eq!(
        addresses(&dns, "192.0.2.9").await,
        texts(&["192.0.2.9:5269"])
    );
    assert_eq!(server.asked().len(), before);
}

#[tokio::test]
async fn answers_and_absences_are_kept_for_their_time() {
    for (ttl, asked_again) in [(60, false), (0, true)] {
        let zone = Zone::new()
            .ttl(ttl)
            .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, "x.example");
        let (server, dns) = ask(zone);
        for name in ["a.example", "b.example"] {
            let first = targets(&dns, name, TlsMode::Disabled).await;
            let before = server.asked().len();
            assert_eq!(targets(&dns, name, TlsMode::Disabled).await, first);
            assert_eq!(
                server.asked().len() > before,
                asked_again,
                "{name}, {ttl} s"
            );
        }
    }
}

#[tokio::test]
async fn an_address_is_not_asked_for() {
    let (server, dns) = ask(Zone::new());
    assert_eq!(
        targets(&dns, "192.0.2.7", TlsMode::Required).await,
        texts(&["192.0.2.7:5269"])
    );
    assert_eq!(
        targets(&dns, "[2001:db8::7]", TlsMode::Required).await,
        texts(&["[2001:db8::7]:5269"])
    );
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn onion_services_are_never_asked_for() {
    let (server, dns) = ask(Zone::new()
        .srv("_xmpp-server._tcp.x.onion", 0, 0, 5269, "x.onion")
        .a("x.onion", [127, 0, 0, 1].into()));
    assert_eq!(
        targets(&dns, "X.Onion", TlsMode::Required).await,
        texts(&["x.onion:5269"])
    );
    for name in ["x.onion", "a.X.ONION.", "onion"] {
        assert_eq!(addresses(&dns, name).await, Err(ResolveError::Onion));
    }
    assert_eq!(server.asked(), Vec::<String>::new());
    assert_eq!(
        addresses(&dns, "onion.example").await,
        Err(ResolveError::NotFound)
    );
}

#[tokio::test]
async fn international_domains_are_asked_for_as_a_labels() {
    let name = "_xmpp-server._tcp.xn--mller-kva.example";
    let (_server, dns) = ask(Zone::new().srv(name, 0, 0, 5269, "x.example"));
    assert_eq!(
        targets(&dns, "müller.example", TlsMode::Disabled).await,
        texts(&["x.example:5269"])
    );
}

#[tokio::test]
async fn a_name_is_asked_for_as_it_is() {
    let (server, dns) = ask(Zone::new());
    // No search list, and no file with local names: the machine's own name is in it on many systems.
    let own = std::fs::read_to_string("/etc/hostname").unwrap_or_else(|_| "printer".to_owned());
    assert_eq!(
        addresses(&dns, own.trim()).await,
        Err(ResolveError::NotFound)
    );
    let mut asked = server.asked();
    asked.sort();
    let own = own.trim().to_ascii_lowercase();
    assert_eq!(asked, [format!("{own} A"), format!("{own} AAAA")]);
}

#[tokio::test]
async fn a_name_that_the_dns_cannot_hold_is_not_found() {
    let (_server, dns) = ask(Zone::new());
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(addresses(&dns, &long).await, Err(ResolveError::NotFound));
}

#[test]
fn random_numbers_stay_in_range() {
    assert_eq!(random(0), 0);
    for most in [1, 5, u32::MAX] {
        assert!((0..1_000).all(|_| random(most) <= most));
    }
}

#[tokio::test]
async fn a_name_server_without_edns_is_asked_again_without_it_and_then_at_once() {
    use hickory_resolver::proto::op::ResponseCode;
    for (code, dnssec) in [
        (ResponseCode::FormErr, Dnssec::Off),
        (ResponseCode::NotImp, Dnssec::Off),
        (ResponseCode::FormErr, Dnssec::Use),
        (ResponseCode::FormErr, Dnssec::Require),
    ] {
        let zone = Zone::new()
            .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, "x.a.example")
            .srv("_xmpp-server._tcp.b.example", 0, 0, 5269, "x.b.example")
            .without_edns(code, true);
        let (server, dns) = ask_with(zone, dnssec);
        let found = targets(&dns, "a.example", TlsMode::Disabled).await;
        if dnssec == Dnssec::Require {
            let Err(ResolveError::Unanswered(why)) = found else {
                panic!("{found:?}");
            };
            assert!(why.contains("does not know EDNS"), "{why}");
            continue;
        }
        assert_eq!(found, texts(&["x.a.example:5269"]), "{code} {dnssec:?}");
        // It is known now.
        let before = server.asked().len();
        let found = targets(&dns, "b.example", TlsMode::Disabled).await;
        assert_eq!(found, texts(&["x.b.example:5269"]), "{code} {dnssec:?}");
        assert_eq!(server.asked().len(), before + 1);
    }
}

#[tokio::test]
async fn a_name_server_without_edns_that_does_not_repeat_the_question_is_understood() {
    use hickory_resolver::proto::op::ResponseCode;
    for dnssec in [Dnssec::Off, Dnssec::Use] {
        let zone = Zone::new()
            .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, "x.a.example")
            .without_edns(ResponseCode::FormErr, false);
        let (_server, dns) = ask_with(zone, dnssec);
        let found = targets(&dns, "a.example", TlsMode::Disabled).await;
        assert_eq!(found, texts(&["x.a.example:5269"]));
    }
}

#[tokio::test]
async fn other_name_servers_of_the_system_are_asked_as_soon_as_they_are_named() {
    let lead = |host: &str| {
        let zone = Zone::new()
            .ttl(3600)
            .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, host);
        ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap()
    };
    let (old, new) = (lead("old.example"), lead("new.example"));
    let path = std::env::temp_dir().join(format!("s2sd-resolv-conf-{}", std::process::id()));
    let name = |server: &ZoneServer| {
        let addr = server.addr();
        let text = format!("nameserver [{}]:{}\n", addr.ip(), addr.port());
        std::fs::write(&path, text).unwrap();
    };
    name(&old);
    let config = config::Dns {
        resolv_conf: path.clone(),
        ..config::Dns::default()
    };
    let dns = Dns::new(&config).unwrap();
    let asked = || targets(&dns, "a.example", TlsMode::Disabled);
    assert_eq!(asked().await, texts(&["old.example:5269"]));
    name(&new);
    // What a clone of it asks, too.
    let other = dns.asked_by(
        Asker::Unauthenticated,
        Ipv4Addr::LOCALHOST.into(),
        Account::default(),
    );
    assert!(other.look_again());
    assert_eq!(asked().await, texts(&["new.example:5269"]));
    assert!(!dns.look_again());
    // By itself, a few seconds later.
    name(&old);
    assert_eq!(asked().await, texts(&["new.example:5269"]));
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(4)).await;
    tokio::time::resume();
    assert_eq!(asked().await, texts(&["old.example:5269"]));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn what_is_there_is_not_held_up_by_what_is_not_answered() {
    let [plain, direct] = [
        "_xmpp-server._tcp.a.example",
        "_xmpps-server._tcp.a.example",
    ];
    let soon = async |zone: Zone| {
        let (_server, dns) = ask(zone);
        let domain = Domain::parse("a.example").unwrap();
        let began = std::time::Instant::now();
        let targets = dns.targets_soon(&domain, TlsMode::Optional).await;
        let (targets, unanswered) = targets.unwrap();
        assert!(matches!(unanswered, Some(ResolveError::Unanswered(_))));
        // A look-up that fails takes 15 seconds.
        assert!(began.elapsed().as_secs() < 10);
        targets[0].to_string()
    };
    let found = soon(Zone::new().srv(plain, 0, 0, 1, "x.example").silent(direct));
    assert_eq!(found.await, "x.example:1");
    let found = soon(Zone::new().srv(direct, 0, 0, 1, "x.example").silent(plain));
    assert_eq!(found.await, "tls://x.example:1");
    let found = soon(Zone::new().silent(direct));
    assert_eq!(found.await, "a.example:5269");
    for (kind, address) in [("A", "[::1]:5269"), ("AAAA", "127.0.0.1:5269")] {
        let zone = Zone::new().silent_about("x.example", kind);
        let (_server, dns) = ask(match kind {
            "A" => zone.aaaa("x.example", Ipv6Addr::LOCALHOST),
            _ => zone.a("x.example", Ipv4Addr::LOCALHOST),
        });
        let found = dns.addresses_soon(&target("x.example")).await.unwrap();
        assert_eq!(found.all, [address.parse().unwrap()]);
        assert!(!found.is_complete);
    }
    let (_server, dns) = ask(Zone::new().a("x.example", Ipv4Addr::LOCALHOST));
    let found = dns.addresses_soon(&target("x.example")).await.unwrap();
    assert!(found.is_complete);
}
