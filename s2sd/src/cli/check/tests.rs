//! A configuration on the disk, certificates of an authority made for it, a zone of our own.

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use crate::tools::demo::zone::{Flaw, Zone, ZoneKey, ZoneServer};
use crate::trust::{Matching, Selector, Tlsa, Usage};

/// A directory that goes when the test ends.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "s2sd-check-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn certificate(&self, issued: &Issued) {
        self.write("a.pem", &issued.chain_pem);
        self.write("a.key", &issued.key_pem);
    }

    /// What `check` finds in `a.example`'s configuration, without the DNS.
    fn checked(&self) -> Report {
        let text = "[[domain]]\nname = 'a.example'\ncertificate = 'a.pem'\nkey = 'a.key'\n[policy]\ntrust = ['ca.pem']\n";
        let file = self.write("s2sd.toml", text);
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        look_at(&file, UnixTime::now(), &mut report);
        report
    }

    /// The text without the name of the directory.
    fn text(&self, report: &Report) -> String {
        report
            .for_people()
            .replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn directory() -> (Directory, Authority) {
    let (directory, authority) = (Directory::new(), Authority::new("Authority"));
    directory.write("ca.pem", authority.pem());
    directory.certificate(&authority.issue(&Leaf::domain("a.example")));
    (directory, authority)
}

#[test]
fn a_sound_configuration_is_well() {
    let (directory, _) = directory();
    let report = directory.checked();
    assert!(report.is_well(), "{}", report.for_people());
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["well"], true);
    assert_eq!(json["domains"][0]["name"], "a.example");
    assert!(
        json["domains"][0]["certificate"]["days_left"]
            .as_u64()
            .unwrap()
            > 0
    );
}

#[test]
fn a_configuration_with_a_fault_has_its_certificates_looked_at_too() {
    let (directory, authority) = directory();
    directory.certificate(&authority.issue(&Leaf::domain("a.example").validity(Validity::Expired)));
    let text = "[limits]\nidle = 'long'\n[[domain]]\nname = 'a.example'\ncertificate = 'a.pem'\nkey = 'a.key'\n\
                [[domain]]\nname = 'b.example'\ncertificate = 'b.pem'\nkey = 'b.key'\n[policy]\ntrust = ['ca.pem']\n";
    let file = directory.write("s2sd.toml", text);
    // Without the file that is not there, and with it: files that cannot be read are told before what is in the others.
    for want in ["b.pem", "a.pem: your certificate expired on "] {
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        assert!(look_at(&file, UnixTime::now(), &mut report).is_none());
        let said = directory.text(&report);
        assert!(said.contains("idle") && said.contains(want), "{said}");
        assert!(!report.is_well() && report.domains.is_empty());
        let issued = authority.issue(&Leaf::domain("b.example"));
        directory.write("b.pem", &issued.chain_pem);
        directory.write("b.key", &issued.key_pem);
    }
}

#[test]
fn a_certificate_that_has_expired_is_a_fault() {
    let (directory, authority) = directory();
    directory.certificate(&authority.issue(&Leaf::domain("a.example").validity(Validity::Expired)));
    let report = directory.checked();
    assert!(!report.is_well());
    assert!(
        directory
            .text(&report)
            .starts_with("error: a.pem: your certificate expired on "),
        "{}",
        report.for_people()
    );
}

#[test]
fn what_strict_peers_refuse_is_found_and_said_with_what_to_do() {
    let (directory, authority) = directory();
    let issued = authority
        .intermediate("between")
        .issue(&Leaf::domain("a.example"));
    directory.certificate(&issued);
    assert!(!directory.text(&directory.checked()).contains("warning:"));
    // Without what is between.
    let end = "-----END CERTIFICATE-----\n";
    let (own, _) = issued.chain_pem.split_once(end).unwrap();
    directory.write("a.pem", &format!("{own}{end}"));
    let report = directory.checked();
    let text = directory.text(&report);
    let words = "warning: a.pem: the certificate of a.example: certificate number 1 was signed by \"CN=between\"";
    assert!(report.is_well() && text.starts_with(words), "{text}");
    assert!(
        text.contains("\n  = help: put the certificate of \"CN=between\" after it"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["findings"][0]["severity"], "warning");
    assert!(json["findings"][0]["help"].is_string());
    // More than anybody takes.
    directory.write("a.pem", &issued.chain_pem.repeat(5));
    let text = directory.text(&directory.checked());
    assert!(
        text.contains("error: a.pem: the certificate of a.example: it has 10 certificates"),
        "{text}"
    );
}

#[test]
fn a_certificate_for_servers_alone_is_warned_of_where_nothing_else_may_prove_us() {
    let (directory, authority) = directory();
    let text = |auth: &str| {
        let text = format!(
            "[[domain]]\nname = 'a.example'\ncertificate = 'a.pem'\nkey = 'a.key'\n\
             [policy]\ntrust = ['ca.pem']\nauth = {auth}\n"
        );
        let file = directory.write("s2sd.toml", &text);
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        look_at(&file, UnixTime::now(), &mut report);
        assert!(report.is_well(), "{}", report.for_people());
        directory.text(&report)
    };
    let told = "for servers alone, without clientAuth: ejabberd before 25.08";
    let warned = "[policy] allows nothing but \"external\"";
    let both = text("['external']");
    assert!(!both.contains(told) && !both.contains(warned), "{both}");
    let leaf = Leaf::domain("a.example").purpose(Purpose::Server);
    directory.certificate(&authority.issue(&leaf));
    let alone = text("['external', 'dialback']");
    assert!(alone.contains(told) && !alone.contains(warned), "{alone}");
    let strict = text("['external']");
    assert!(strict.contains(told) && strict.contains(warned), "{strict}");
}

#[test]
fn a_trust_anchor_that_is_none_is_a_fault() {
    let directory = Directory::new();
    let text = "[[domain]]\nname = 'a.example'\n[policy]\ntls = 'optional'\n[dns]\ndnssec = 'use'\ntrust_anchor = 'root.key'\n";
    let file = directory.write("s2sd.toml", text);
    let look = || {
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        look_at(&file, UnixTime::now(), &mut report);
        (report.is_well(), directory.text(&report))
    };
    directory.write("root.key", "");
    let (well, text) = look();
    assert!(!well);
    assert!(
        text.contains("error: the trust anchor root.key: it has no DNSKEY record\n"),
        "{text}"
    );
    let key = ". IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=\n";
    directory.write("root.key", key);
    assert!(look().0, "{}", look().1);
}

#[test]
fn what_is_exposed_or_short_is_told_of() {
    let directory = Directory::new();
    let text = "data_dir = '.'\n[[domain]]\nname = 'a.example'\ncomponent = { secret = 's3cr3t' }\n\
                [policy]\ntls = 'optional'\n[listen]\ncomponents = ['[::]:5347']\n";
    let file = directory.write("s2sd.toml", text);
    let look = || {
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        look_at(&file, UnixTime::now(), &mut report);
        (report.is_well(), directory.text(&report))
    };
    let (well, text) = look();
    assert!(well, "{text}");
    assert!(
        text.contains("warning: the component's secret has only 6 characters"),
        "{text}"
    );
    assert!(
        text.contains("warning: [::]:5347 in `components` can be reached from elsewhere"),
        "{text}"
    );
    assert!(text.ends_with("0 faults, 2 warnings\n"), "{text}");
    // One that s2sd made, and that was cut off.
    directory.write("dialback.secret", "");
    let (well, text) = look();
    assert!(!well);
    assert!(text.contains("dialback.secret: it is empty"), "{text}");
    let secret = directory.write("dialback.secret", "0123456789abcdef\n");
    assert!(look().0);
    #[cfg(unix)]
    {
        fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o622)).unwrap();
        let (well, text) = look();
        assert!(well, "{text}");
        assert!(
            text.contains("can be changed by every user of this machine"),
            "{text}"
        );
    }
}

#[test]
fn a_certificate_for_another_domain_is_a_fault() {
    let (directory, authority) = directory();
    directory.certificate(&authority.issue(&Leaf::domain("b.example")));
    let report = directory.checked();
    assert!(!report.is_well());
    let text = directory.text(&report);
    assert!(
        text.starts_with("error: a.pem: your certificate is not for a.example"),
        "{text}"
    );
}

#[test]
fn a_key_that_is_not_the_certificates_is_a_fault() {
    let (directory, authority) = directory();
    let other = authority.issue(&Leaf::domain("a.example"));
    directory.write("a.key", &other.key_pem);
    let report = directory.checked();
    assert!(!report.is_well());
    assert!(
        directory.text(&report).contains("a.key"),
        "{}",
        report.for_people()
    );
}

#[test]
fn files_that_are_missing_are_faults_all_at_once() {
    let (directory, _) = directory();
    fs::remove_file(directory.0.join("a.pem")).unwrap();
    fs::remove_file(directory.0.join("ca.pem")).unwrap();
    let report = directory.checked();
    let text = directory.text(&report);
    assert!(
        text.contains("ca.pem: does not exist") && text.contains(" a.pem: does not exist"),
        "{text}"
    );
    assert!(
        text.ends_with("s2sd.toml: 2 faults, 0 warnings\n"),
        "{text}"
    );
}

/// What `check` says of the DNS of these domains.
async fn asked(zone: Zone, domains: &[&str], addresses: &str) -> Report {
    let server = ZoneServer::start((Ipv4Addr::LOCALHOST, 0).into(), zone).unwrap();
    let mut text = format!(
        "[dns]\nservers = ['{}']\n[policy]\ntls = 'optional'\naddresses = '{addresses}'\n",
        server.addr()
    );
    for domain in domains {
        text += &format!("[[domain]]\nname = '{domain}'\n");
    }
    let config = Config::from_toml(&text, "s2sd.toml", Path::new(""))
        .unwrap()
        .config;
    let mut report = Report::new("s2sd.toml".to_owned(), false);
    for found in places(&config, DNS_TIMEOUT).await.unwrap() {
        let (name, component) = (found.domain.to_string(), false);
        report.domains.push(report::Domain {
            name,
            component,
            certificate: None,
            found_at: Vec::new(),
        });
        found.tell(&mut report);
    }
    report
}

#[tokio::test]
async fn where_others_find_us_is_told() {
    let zone = Zone::new()
        .srv("_xmpp-server._tcp.a.example", 10, 0, 5269, "xmpp.a.example")
        .srv("_xmpp-server._tcp.a.example", 20, 0, 5269, "gone.a.example")
        .srv("_xmpps-server._tcp.a.example", 0, 0, 5270, "xmpp.a.example")
        .a("xmpp.a.example", Ipv4Addr::LOCALHOST)
        .a("b.example", Ipv4Addr::LOCALHOST)
        .service_absent("_xmpp-server._tcp.c.example");
    let domains = ["a.example", "b.example", "c.example", "d.example"];
    let report = asked(zone, &domains, "any").await;
    assert!(report.is_well());
    let want = "\
warning: others look for a.example at gone.a.example, which has no address

warning: others cannot find c.example: its DNS says that it offers no XMPP service to servers

warning: others cannot find d.example: its name does not exist in the DNS or has no address

a.example
  certificate  none
  answers      s2sd
  found at     tls://xmpp.a.example:5270, xmpp.a.example:5269

b.example
  certificate  none
  answers      s2sd
  found at     b.example:5269

c.example
  certificate  none
  answers      s2sd
  found at     nowhere

d.example
  certificate  none
  answers      s2sd
  found at     nowhere

s2sd.toml: 0 faults, 3 warnings
";
    assert_eq!(report.for_people(), want);
}

#[tokio::test]
async fn a_place_without_a_public_address_is_told_with_the_key_that_leaves_it_out() {
    let zone = Zone::new()
        .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, "x.example")
        .a("x.example", [10, 0, 0, 1].into())
        .a("b.example", [10, 0, 0, 1].into())
        .a("b.example", [1, 0, 0, 1].into());
    let report = asked(zone, &["a.example", "b.example"], "public").await;
    let text = report.for_people();
    let want = "\
warning: others look for a.example at x.example:5269, where servers with `addresses = \"public\"` do not connect: \
10.0.0.1 (private); in a network of your own, set `addresses = \"any\"` in [policy]
";
    assert!(text.starts_with(want), "{text}");
    assert!(text.ends_with("0 faults, 1 warning\n"), "{text}");
}

#[tokio::test]
async fn what_the_dns_says_of_our_own_certificate_is_compared_with_it() {
    let (directory, authority) = directory();
    let key = ZoneKey::generate();
    directory.write("root.key", &key.anchor());
    let issued = authority.issue(&Leaf::domain("a.example"));
    directory.certificate(&issued);
    let (usage, selector, matching) = (Usage::DaneEe, Selector::Spki, Matching::Sha256);
    let right = Tlsa::of(usage, selector, matching, &issued.chain()[0]).unwrap();
    let zone = |data: &[u8]| {
        Zone::new()
            .srv("_xmpp-server._tcp.a.example", 0, 0, 5269, "x.example")
            .a("x.example", Ipv4Addr::LOCALHOST)
            .tlsa("_5269._tcp.x.example", [3, 1, 1], data)
            .signed(&key)
    };
    let asked = async |zone: Zone, more: &str| {
        let server = ZoneServer::start((Ipv4Addr::LOCALHOST, 0).into(), zone).unwrap();
        let text = format!(
            "[dns]\nservers = ['{}']\ndnssec = 'use'\ntrust_anchor = 'root.key'\n[policy]\ntls = 'optional'\n\
             addresses = 'any'\n\
             trust = ['ca.pem']\n[[domain]]\nname = 'a.example'\n{more}",
            server.addr()
        );
        let config = Config::from_toml(&text, "s2sd.toml", &directory.0)
            .unwrap()
            .config;
        let mut found = places(&config, DNS_TIMEOUT).await.unwrap();
        found.remove(0).faults
    };
    let own = "certificate = 'a.pem'\nkey = 'a.key'\n";
    assert_eq!(asked(zone(&right.data), own).await, Vec::<String>::new());
    assert_eq!(
        asked(zone(&[7; 32]), own).await,
        [format!(
            "x.example:5269, but those who know DANE do not believe the certificate: no TLSA record at \
             _5269._tcp.x.example is for it; \"3 1 1 {}\" would be",
            right.hex()
        )]
    );
    assert_eq!(
        asked(zone(&right.data), "").await,
        [
            "x.example:5269, but those who know DANE do not: there are TLSA records at _5269._tcp.x.example, and no \
             certificate here"
        ]
    );
    let broken = zone(&right.data).flaw("_5269._tcp.x.example", Flaw::Stripped);
    let faults = asked(broken, own).await;
    assert!(
        faults[0].starts_with("x.example:5269, but those who know DANE do not: ")
            && faults[0].contains("it is not signed, though its zone is"),
        "{faults:?}"
    );
}
