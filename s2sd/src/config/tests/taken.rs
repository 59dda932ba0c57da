//! What is accepted, and what it becomes.

use super::*;

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

#[test]
fn a_domain_is_enough() {
    let config = loaded(MINIMAL);
    assert_eq!(config.data_dir, Path::new("/var/lib/s2sd"));
    let served = config.served(&domain("example.org")).unwrap();
    assert_eq!(
        served.certificate.as_ref().unwrap().chain,
        Path::new("/nowhere/a.pem")
    );
    assert_eq!(config.policy.auth, [Method::External, Method::Dialback]);
    assert_eq!(config.policy.tls, TlsMode::Required);
    assert!(config.served(&domain("example.com")).is_none());
}

#[test]
fn a_domain_is_prepared() {
    let config = loaded(&MINIMAL.replace("example.org", "EXAMPLE.org"));
    assert!(config.served(&domain("example.org")).is_some());
}

#[test]
fn the_first_peer_that_matches_wins_and_policy_fills_in() {
    let config = loaded(&format!(
        "{MINIMAL}
        [policy]
        min_tls = '1.3'
        [[peer]]
        domain = 'special.example.net'
        auth = ['dialback']
        [[peer]]
        domain = '*.example.net'
        auth = ['external']
        min_tls = '1.2'
        require_ems = false"
    ));
    let policy = |name| config.policy_for(&domain(name));
    assert_eq!(policy("special.example.net").auth, [Method::Dialback]);
    assert_eq!(policy("special.example.net").min_tls, MinTls::V1_3);
    assert_eq!(policy("a.example.net").auth, [Method::External]);
    assert_eq!(policy("a.example.net").min_tls, MinTls::V1_2);
    assert!(policy("special.example.net").require_ems);
    assert!(!policy("a.example.net").require_ems);
    assert_eq!(policy("a.b.example.net").rule, "[[peer]] *.example.net");
    assert_eq!(policy("example.net").rule, "[policy]");
    assert_eq!(policy("notexample.net").rule, "[policy]");
    assert_eq!(policy("example.org").rule, "[policy]");
}

#[test]
fn everybody_may_federate_unless_the_lists_say_otherwise() {
    assert_eq!(loaded(MINIMAL).access, Access::default());
    let config = loaded(&format!(
        "{MINIMAL}
        [policy]
        allow = ['*.example.net', 'MÜLLER.example', '*']
        deny = ['*.spam.example', 'x.example.net']"
    ));
    let admits = |name| config.access.admits(&domain(name)).is_ok();
    for name in [
        "a.example.net",
        "xn--mller-kva.example",
        "b.example",
        "spam.example",
    ] {
        assert!(admits(name), "{name}");
    }
    for name in ["x.example.net", "a.spam.example", "a.b.spam.example"] {
        assert!(!admits(name), "{name}");
    }
}

#[test]
fn a_rate_limit_is_inherited_and_can_be_taken_away() {
    let config = loaded(&format!(
        "{MINIMAL}
        [policy]
        stanzas_per_second = 50
        bytes_per_second = '64KiB'
        [[peer]]
        domain = 'fast.example'
        stanzas_per_second = 0
        [[peer]]
        domain = 'free.example'
        stanzas_per_second = 0
        bytes_per_second = 0"
    ));
    let pace = |name| {
        let policy = config.policy_for(&domain(name));
        (policy.stanzas_per_second, policy.bytes_per_second)
    };
    assert_eq!(pace("a.example"), (50, 64 << 10));
    assert_eq!(pace("fast.example"), (0, 64 << 10));
    assert_eq!(pace("free.example"), (0, 0));
}

#[test]
fn the_way_out_is_inherited_and_can_be_changed() {
    let directory = Directory::new();
    directory.write("tor", "socks5://me:hunter2@127.0.0.1:9150\n");
    let text = format!(
        "{MINIMAL}
        [policy]
        source = ['192.0.2.1', '2001:db8::1']
        proxy = 'socks5://127.0.0.1:9050'
        [[peer]]
        domain = 'near.example'
        source = []
        proxy = ''
        [[peer]]
        domain = '*.onion'
        proxy_file = 'tor'"
    );
    let loaded = Config::from_toml(&text, "s2sd.toml", &directory.0).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let way = |name| {
        let policy = loaded.config.policy_for(&domain(name));
        (
            policy.source.len(),
            policy.proxy.as_ref().map(ToString::to_string),
        )
    };
    let proxy = |text: &str| Some(text.to_owned());
    assert_eq!(way("far.example"), (2, proxy("socks5://127.0.0.1:9050")));
    assert_eq!(way("near.example"), (0, None));
    assert_eq!(way("x.onion"), (2, proxy("socks5://me:…@127.0.0.1:9150")));
}

#[test]
fn lists_that_shut_somebody_out_who_is_named_get_a_warning() {
    let warnings = |lines: &str| {
        let loaded = read(&format!("{MINIMAL}[policy]\n{lines}\n")).unwrap();
        loaded.warnings.lines().collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("allow = []"),
        ["s2sd.toml:6:1: `allow` is empty: it refuses every domain"]
    );
    assert_eq!(
        warnings("deny = ['*']"),
        ["s2sd.toml:6:1: `deny` has \"*\": it refuses every domain"]
    );
    assert_eq!(
        warnings("allow = ['a.example.net', 'example.net', '*']\ndeny = ['*.example.net']"),
        [
            "s2sd.toml:6:1: \"a.example.net\" is allowed and denied (by \"*.example.net\"): deny wins"
        ]
    );
}

#[test]
fn the_largest_stanza_is_inherited() {
    let config = loaded(&format!(
        "{MINIMAL}
        component = {{ secret = 'correct horse battery' }}
        [limits]
        max_stanza = '100KiB'
        [[peer]]
        domain = 'a.example'
        max_stanza = '20KiB'"
    ));
    assert_eq!(
        config.domains[0].component.as_ref().unwrap().max_stanza,
        100 << 10
    );
    assert_eq!(config.policy.max_stanza, 100 << 10);
    assert_eq!(config.policy_for(&domain("a.example")).max_stanza, 20 << 10);
}

#[test]
fn passwords_are_found_by_the_username() {
    let directory = Directory::new();
    directory.write("in", "hunter2\r\n");
    let text = format!(
        "{MINIMAL}
        [[peer]]
        domain = 'legacy.example'
        auth = ['digest-md5']
        accept = {{ username = 'legacy', password_file = 'in', realm = 'r' }}
        credentials = {{ username = 'me', password = 'mine' }}"
    );
    let config = Config::from_toml(&text, "s2sd.toml", &directory.0)
        .unwrap()
        .config;
    let (name, policy) = config.peer_accepting("legacy").unwrap();
    assert_eq!(name.as_str(), "legacy.example");
    let account = policy.accept.as_ref().unwrap().account.as_ref();
    let known = &account.unwrap().known;
    assert!(matches!(known, Known::Password(password) if password.as_str() == "hunter2"));
    let account = policy.credentials.as_ref().unwrap().account.as_ref();
    assert_eq!(account.unwrap().password.as_str(), "mine");
    assert!(config.peer_accepting("me").is_none());
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("mine"),
        "{shown}"
    );
}

#[test]
fn a_password_without_tls_is_a_warning_if_the_entry_says_so() {
    let text = format!(
        "{MINIMAL}
[[peer]]
domain = 'legacy.example'
tls = 'disabled'
auth = ['digest-md5']
accept = {{ username = 'legacy', password = 'hunter2' }}"
    );
    let warnings = read(&text).unwrap().warnings;
    let lines: Vec<String> = warnings.lines().collect();
    assert_eq!(
        lines,
        ["s2sd.toml:8:1: \"digest-md5\" without TLS: the network on the way can read everything"]
    );
}

#[cfg(unix)]
#[test]
fn a_secret_that_everybody_can_read_is_a_warning() {
    let directory = Directory::new();
    set_mode(&directory.write("c.secret", "a secret of length\n"), 0o644);
    let text = "[[domain]]\nname = 'example.org'\ncomponent = { secret_file = 'c.secret' }\npolicy.tls = 'optional'\n";
    let text = text.replace("policy.tls = 'optional'\n", "[policy]\ntls = 'optional'\n");
    let Loaded { config, warnings } = Config::from_toml(&text, "s2sd.toml", &directory.0).unwrap();
    assert_eq!(
        config.domains[0]
            .component
            .as_ref()
            .unwrap()
            .secret
            .as_str(),
        "a secret of length"
    );
    let title = &warnings.iter().next().unwrap().title;
    assert!(
        title.ends_with("c.secret can be read by every user of this machine"),
        "{title}"
    );

    // One that stands in the configuration is as public as that is.
    let inline = directory.write(
        "s2sd.toml",
        text.replace("secret_file = 'c.secret'", "secret = 'a secret of length'"),
    );
    assert!(Config::load(&inline).unwrap().warnings.is_empty());
    set_mode(&inline, 0o644);
    let warnings = Config::load(&inline).unwrap().warnings;
    assert_eq!(
        warnings.iter().next().unwrap().title,
        "`secret` stands in a file that can be read by every user of this machine"
    );
}

#[test]
fn everything_else() {
    let config = loaded(&format!(
        "data_dir = 'state'
        {MINIMAL}
        [listen]
        s2s = ['192.0.2.1:5269', '[::1]:0']
        s2s_tls = []
        [policy]
        trust = ['a.pem', '/b.pem']
        [[peer]]
        domain = 'a.example'
        trust = 'system'
        connect = ['192.0.2.7:5269', 'tls://host.example:5270', '[::1]:5269']
        [dialback]
        secret = 'correct horse battery'
        [dns]
        servers = ['127.0.0.1:5353']
        dnssec = 'require'
        trust_anchor = 'root.key'
        [queue]
        backoff.first = '2s'
        [log]
        format = 'json'
        level = 'debug'
        targets = {{ 's2sd::protocol::negotiate' = 'trace' }}"
    ));
    assert_eq!(config.data_dir, Path::new("/nowhere/state"));
    assert_eq!(config.listen.s2s.len(), 2);
    assert!(config.listen.s2s_tls.is_empty());
    assert_eq!(config.listen.components, Listen::default().components);
    assert_eq!(
        config.policy.trust,
        TrustStore::Files(vec!["/nowhere/a.pem".into(), "/b.pem".into()])
    );
    let policy = config.policy_for(&domain("a.example"));
    assert_eq!(policy.trust, TrustStore::System);
    let places: Vec<String> = policy.connect.iter().map(Connect::to_string).collect();
    assert_eq!(
        places,
        ["192.0.2.7:5269", "tls://host.example:5270", "[::1]:5269"]
    );
    assert_eq!(
        config.dialback.secret.as_ref().unwrap().as_str(),
        "correct horse battery"
    );
    assert_eq!(config.dns.servers, ["127.0.0.1:5353".parse().unwrap()]);
    assert_eq!(config.dns.dnssec, Dnssec::Require);
    assert_eq!(config.dns.trust_anchor, Some("/nowhere/root.key".into()));
    assert_eq!(config.queue.backoff.first.as_secs(), 2);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(
        config.log.targets,
        [("s2sd::protocol::negotiate".to_owned(), LogLevel::Trace)]
    );
}

#[cfg(unix)]
#[test]
fn a_private_key_that_everybody_can_read_is_a_warning() {
    let directory = Directory::new();
    let key = directory.write("a.key", "");
    let warnings = || {
        Config::from_toml(MINIMAL, "s2sd.toml", &directory.0)
            .unwrap()
            .warnings
    };
    assert!(warnings().is_empty());
    set_mode(&key, 0o644);
    let title = &warnings().iter().next().unwrap().title.clone();
    assert!(
        title.ends_with("a.key can be read by every user of this machine"),
        "{title}"
    );
}

#[test]
fn dnssec_is_off_and_then_a_trust_anchor_is_of_no_use() {
    let dns = |lines: &str| {
        let loaded = read(&format!("{MINIMAL}\n[dns]\n{lines}")).unwrap();
        (loaded.config.dns, loaded.warnings.to_string())
    };
    let (config, warnings) = dns("");
    assert_eq!(config, Dns::default());
    assert_eq!(config.dnssec, Dnssec::Off);
    assert_eq!(warnings, "");
    assert_eq!(dns("trust_anchor = ''"), (config, String::new()));
    let (config, warnings) = dns("resolv_conf = 'resolv.conf'");
    assert!(config.resolv_conf.ends_with("resolv.conf") && warnings.is_empty());
    let (_, warnings) = dns("resolv_conf = 'resolv.conf'\nservers = ['192.0.2.1']");
    assert!(
        warnings.contains("`resolv_conf` is of no use"),
        "{warnings}"
    );
    let (config, warnings) = dns("dnssec = 'use'\ntrust_anchor = 'root.key'");
    assert_eq!((config.dnssec, warnings.as_str()), (Dnssec::Use, ""));
    let (config, warnings) = dns("trust_anchor = 'root.key'");
    assert!(config.trust_anchor.is_some());
    assert!(
        warnings.contains("`trust_anchor` is of no use while nothing is validated"),
        "{warnings}"
    );
}
