//! `gssapi` and `kerberos-v4`: what is taken, what is refused, and what is warned of.

use super::*;

const ENTRY: &str = "[[peer]]\ndomain = 'capulet.example'\n";

/// All findings, one line each, of an entry for `capulet.example` in a directory with keys.
fn findings(lines: &str) -> Vec<String> {
    let directory = Directory::new();
    directory.write("x.keytab", keytab("VERONA", &["xmpp", "example.org"]));
    directory.write("x.keys", V4_KEYS);
    directory.write("away.keys", "a@A xmpp.elsewhere@B 1 133457799bbcdff1");
    directory.write("bad.keys", "a@A xmpp.example@B 1 133457799bbcdff0");
    directory.write("none.keys", "# nothing yet\n");
    directory.write("bad.keytab", "no keys");
    let text = format!("{MINIMAL}{ENTRY}{lines}");
    let base = directory.0.display().to_string() + "/";
    match Config::from_toml(&text, "s2sd.toml", &directory.0) {
        Ok(loaded) => loaded.warnings.lines().map(|it| it.to_string()).collect(),
        Err(findings) => findings.lines().map(|it| it.replace(&base, "")).collect(),
    }
}

#[track_caller]
fn says(lines: &str, want: &[&str]) {
    assert_eq!(findings(lines), want, "\n{lines}");
}

/// With Kerberos in the build these, else its lack.
#[track_caller]
fn says_of_gssapi(lines: &str, want: &[&str]) {
    match *WITHOUT_GSSAPI {
        None => says(lines, want),
        Some(how) => {
            let line = format!("s2sd.toml:7:1: \"gssapi\" in `auth` cannot be used ({how})");
            assert_eq!(findings(lines).first(), Some(&line), "\n{lines}");
        }
    }
}

const HISTORIC: &str = "s2sd.toml:7:1: \"kerberos-v4\" is historic, and breakable: its DES keys are found in hours from \
     one exchange (only for a peer that has nothing else, on a wire that you trust otherwise)";

#[test]
fn gssapi_is_taken_where_the_build_has_it() {
    for lines in [
        "auth = ['gssapi']\ncredentials = { gssapi = { keytab = 'x.keytab' } }",
        "auth = ['gssapi']\naccept = { gssapi = { keytab = 'x.keytab' } }",
        "auth = ['external', 'gssapi', 'scram']\n\
         credentials = { username = 'u', password = 'p', gssapi = { keytab = 'x.keytab' } }\n\
         accept = { gssapi = { keytab = 'x.keytab' }, principals = ['xmpp/capulet.example@MANTUA'] }",
    ] {
        says_of_gssapi(lines, &[]);
    }
    says_of_gssapi(
        "auth = ['gssapi']\ntls = 'disabled'\naccept = { gssapi = { keytab = 'x.keytab' } }",
        &["s2sd.toml:8:1: \"gssapi\" without TLS: the network on the way can read everything"],
    );
}

#[test]
fn a_keytab_that_will_not_do_is_told_when_it_is_read() {
    let entry =
        |name: &str| format!("auth = ['gssapi']\naccept = {{ gssapi = {{ keytab = '{name}' }} }}");
    says_of_gssapi(
        &entry("gone.keytab"),
        &["s2sd.toml:8:23: gone.keytab: cannot be read: No such file or directory"],
    );
    if WITHOUT_GSSAPI.is_none() {
        let found = findings(&entry("bad.keytab"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("s2sd.toml:8:23: bad.keytab: "),
            "{found:?}"
        );
    }
}

#[test]
fn a_mechanism_has_its_keys_and_keys_their_mechanism() {
    says(
        "auth = ['gssapi']",
        &[
            "s2sd.toml:7:1: \"gssapi\" in `auth` of [[peer]], but there is no key for it (add `gssapi` to \
           `credentials` (what we say), `accept` (what we want to hear), or both)",
        ],
    );
    says(
        "auth = ['kerberos-v4']\naccept = { username = 'u', password = 'p' }",
        &[
            "s2sd.toml:7:1: \"kerberos-v4\" in `auth` of [[peer]], but there is no key for it (add `kerberos-v4` to \
             `credentials` (what we say), `accept` (what we want to hear), or both)",
            "s2sd.toml:8:1: `accept` in [[peer]], but `auth` has no mechanism that uses a password (add \"scram\" to \
             `auth` of this entry)",
        ],
    );
    says(
        "credentials = { kerberos-v4 = { key_file = 'x.keys' } }",
        &[
            "s2sd.toml:7:1: `kerberos-v4` in `credentials` of [[peer]], but `auth` has no \"kerberos-v4\" (add \
           \"kerberos-v4\" to `auth` of this entry)",
        ],
    );
    says(
        "auth = ['scram']\naccept = { kerberos-v4 = { key_file = 'x.keys' } }",
        &[
            "s2sd.toml:7:1: \"scram-sha-512-plus\" in `auth` of [[peer]], but there is no password (add `credentials` \
             (what we say), `accept` (what we want to hear), or both)",
            "s2sd.toml:8:1: `kerberos-v4` in `accept` of [[peer]], but `auth` has no \"kerberos-v4\" (add \
             \"kerberos-v4\" to `auth` of this entry)",
        ],
    );
    says(
        "auth = ['gssapi']\naccept = { principals = ['xmpp/capulet.example@VERONA'] }",
        &[
            "s2sd.toml:8:12: `principals` in `accept` of [[peer]] without `gssapi` (add gssapi = { keytab = \"…\" }: what \
           the tickets of these principals are judged with)",
        ],
    );
    says(
        "auth = ['kerberos-v4']\naccept = { kerberos-v4 = {} }",
        &["s2sd.toml:8:26: `key_file` is missing in `accept.kerberos-v4` of [[peer]]"],
    );
}

#[test]
fn neither_is_for_everybody() {
    for word in ["gssapi", "kerberos-v4"] {
        let text = format!("{MINIMAL}[policy]\nauth = ['external', '{word}']");
        let line = format!(
            "s2sd.toml:6:1: \"{word}\" in `auth` of [policy]: its keys stand in a [[peer]] (put it in `auth` of a [[peer]])"
        );
        let found = read(&text).unwrap_err();
        assert_eq!(found.lines().collect::<Vec<_>>(), [line]);
    }
}

#[test]
fn a_principal_is_written_in_full() {
    for (value, help) in [
        ("'xmpp/capulet.example'", " (with its realm)"),
        ("'@VERONA'", ""),
        ("'xmpp/a@B@C'", ""),
        ("'xmpp/a\\\\@B@C'", ""),
    ] {
        let toml = format!(
            "auth = ['gssapi']\naccept = {{ principals = [{value}], gssapi = {{ keytab = 'x.keytab' }} }}"
        );
        let found = findings(&toml).concat();
        let want = format!(
            "`principals` in `accept` of [[peer]] must be a principal such as \"xmpp/example.org@EXAMPLE.ORG\"{help}"
        );
        assert!(found.contains(&want), "{found}");
    }
}

#[test]
fn kerberos_v4_is_taken_with_a_warning() {
    says(
        "auth = ['kerberos-v4']\ncredentials = { kerberos-v4 = { key_file = 'x.keys' } }\n\
         accept = { kerberos-v4 = { key_file = 'x.keys' } }",
        &[HISTORIC],
    );
    says(
        "auth = ['kerberos-v4']\ntls = 'disabled'\naccept = { kerberos-v4 = { key_file = 'x.keys' } }",
        &[
            HISTORIC,
            "s2sd.toml:8:1: \"kerberos-v4\" without TLS: the network on the way can read everything",
        ],
    );
}

#[test]
fn a_key_file_has_good_keys_for_both_ends() {
    let heard = |name: &str| {
        format!("auth = ['kerberos-v4']\naccept = {{ kerberos-v4 = {{ key_file = '{name}' }} }}")
    };
    says(
        &heard("bad.keys"),
        &[
            "s2sd.toml:8:28: bad.keys, line 1: the key is not a DES key with odd parity, or a weak one",
        ],
    );
    says(
        &heard("none.keys"),
        &["s2sd.toml:8:28: none.keys: has no key"],
    );
    says(
        &heard("gone.keys"),
        &["s2sd.toml:8:28: gone.keys: cannot be read: No such file or directory"],
    );
    says(
        &heard("away.keys"),
        &[
            HISTORIC,
            "s2sd.toml:8:1: `key_file` in `accept` has no key for a domain served here (a service xmpp.example@…)",
        ],
    );
    says(
        "auth = ['kerberos-v4']\ncredentials = { kerberos-v4 = { key_file = 'away.keys' } }",
        &[
            HISTORIC,
            "s2sd.toml:8:1: `key_file` in `credentials` has no key for capulet.example (a service xmpp.capulet@…)",
        ],
    );
}

#[test]
fn a_client_with_a_key_is_one_peer() {
    let other = |domain: &str, file: &str| {
        format!(
            "auth = ['kerberos-v4']\naccept = {{ kerberos-v4 = {{ key_file = 'x.keys' }} }}\n\
             [[peer]]\ndomain = '{domain}'\nauth = ['kerberos-v4']\naccept = {{ kerberos-v4 = {{ key_file = '{file}' }} }}"
        )
    };
    let found = findings(&other("montague.example", "x.keys"));
    let want = "s2sd.toml:12:1: two peers have the principal xmpp.capulet@CAPULET.EXAMPLE: which one is it?";
    assert_eq!(found.last().map(String::as_str), Some(want), "{found:?}");
    let found = findings(&other("*.capulet.example", "x.keys"));
    assert!(
        found
            .iter()
            .any(|line| line.contains("a key stands for one domain")),
        "{found:?}"
    );
}

#[test]
fn a_pattern_takes_tickets_in_whose_name_the_domain_is() {
    let text = |accept: &str| {
        format!(
            "[[peer]]\ndomain = '*.capulet.example'\nauth = ['gssapi']\naccept = {{ gssapi = {{ keytab = 'x.keytab' }}{accept} }}"
        )
    };
    let directory = Directory::new();
    directory.write("x.keytab", keytab("VERONA", &["xmpp", "example.org"]));
    let load = |accept: &str| {
        Config::from_toml(
            &format!("{MINIMAL}{}", text(accept)),
            "s2sd.toml",
            &directory.0,
        )
    };
    assert_eq!(load("").is_ok(), WITHOUT_GSSAPI.is_none());
    let found = load(", principals = ['xmpp/a.capulet.example@VERONA']").unwrap_err();
    assert!(
        found
            .to_string()
            .contains("each of these principals could speak for all of them"),
        "{found}"
    );
}

#[test]
fn a_principal_speaks_for_its_domain_in_our_own_realm_or_as_it_is_named() {
    let domain = |name: &str| Domain::parse(name).unwrap();
    let ours = "xmpp/example.org@VERONA";
    let default = Tickets {
        acceptor: Default::default(),
        principals: Vec::new(),
    };
    let speaks = |principal: &str, name: &str| default.are_of(&domain(name), principal, ours);
    assert!(speaks("xmpp/capulet.example@VERONA", "capulet.example"));
    assert!(speaks(
        "xmpp/xn--mller-kva.example@VERONA",
        "müller.example"
    ));
    for (principal, name) in [
        ("xmpp/capulet.example@MANTUA", "capulet.example"),
        ("xmpp/chat.capulet.example@VERONA", "capulet.example"),
        ("xmpp/capulet.example@VERONA", "chat.capulet.example"),
        ("host/capulet.example@VERONA", "capulet.example"),
        ("capulet.example@VERONA", "capulet.example"),
        ("xmpp/capulet.example/admin@VERONA", "capulet.example"),
    ] {
        assert!(!speaks(principal, name), "{principal}");
    }
    let named = Tickets {
        principals: vec!["s2s@MANTUA".to_owned()],
        ..default
    };
    assert!(named.are_of(&domain("capulet.example"), "s2s@MANTUA", ours));
    assert!(!named.are_of(
        &domain("capulet.example"),
        "xmpp/capulet.example@VERONA",
        ours
    ));
    assert!(!named.are_of(&domain("capulet.example"), "s2s@MANTUA.EXAMPLE", ours));
}

#[test]
fn each_kind_of_credentials_is_for_its_own_methods() {
    let keys = xmpp_sasl::kerberos_v4::Keys::parse(V4_KEYS).unwrap();
    let own = PeerCredentials {
        kerberos_v4: Some(keys.clone()),
        ..PeerCredentials::default()
    };
    let theirs = PeerAccept {
        kerberos_v4: Some(keys),
        ..PeerAccept::default()
    };
    for method in [
        Method::External,
        Method::Gssapi,
        Method::ScramSha256,
        Method::Plain,
    ] {
        assert!(
            !own.do_for(method) && !theirs.does_for(method),
            "{method:?}"
        );
    }
    assert!(own.do_for(Method::KerberosV4) && theirs.does_for(Method::KerberosV4));
    let own = PeerCredentials {
        gssapi: Some(xmpp_sasl::gssapi::Initiator::default()),
        ..PeerCredentials::default()
    };
    assert!(own.do_for(Method::Gssapi) && !own.do_for(Method::KerberosV4));
    let named = own
        .initiator(&Domain::parse("müller.example").unwrap())
        .unwrap();
    assert_eq!(
        named.principal.as_deref(),
        Some("xmpp/xn--mller-kva.example")
    );
}
