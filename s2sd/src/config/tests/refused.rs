//! What is refused, word for word: this is what an operator reads.

use super::*;

/// With the frame around it.
#[track_caller]
fn says(toml: &str, want: &str) {
    let got = read(toml).map(|_| ()).unwrap_err().to_string();
    let got: Vec<&str> = got.lines().map(str::trim_end).collect();
    let want: Vec<&str> = want.trim().lines().map(str::trim_end).collect();
    assert_eq!(
        got.join("\n").trim_end(),
        want.join("\n"),
        "\n{}",
        got.join("\n")
    );
}

/// One line each.
#[track_caller]
fn faults(toml: &str, want: &[&str]) {
    let findings = read(toml).map(|_| ()).unwrap_err();
    assert_eq!(findings.lines().collect::<Vec<_>>(), want, "\n{findings}");
}

/// One fault in what follows a valid beginning.
#[track_caller]
fn fault(more: &str, want: &str) {
    faults(&format!("{MINIMAL}{more}"), &[want]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    says(
        r#"
tls = "required"
[[domain]]
name = "exa mple.org"
certifcate = "a.pem"
component = { secret = "hunter2-hunter2!", max_stanza = 524288 }
[policy]
verify = "none"
auth = ["external", "dailback"]
[limits]
connect = "20"
auth = []
"#,
        r#"
error: unknown key `tls` at the top level
 --> s2sd.toml:2:1
  |
2 | tls = "required"
  | ^^^
  |
  = help: `tls` belongs in [policy] or in [[peer]]

error: `name` in [[domain]] must be a domain such as "example.org"
 --> s2sd.toml:4:8
  |
4 | name = "exa mple.org"
  |        ^^^^^^^^^^^^^^ found "exa mple.org"

error: unknown key `certifcate` in [[domain]]
 --> s2sd.toml:5:1
  |
5 | certifcate = "a.pem"
  | ^^^^^^^^^^
  |
  = help: did you mean `certificate`?

error: `max_stanza` in `component` of [[domain]] must be a size such as "512KiB"
 --> s2sd.toml:6:57
  |
6 | component = { secret = ******************, max_stanza = 524288 }
  |                                                         ^^^^^^ found the number 524288
  |
  = help: write "512KiB"

error: `verify` in [policy] must be "strict" or "dialback"
 --> s2sd.toml:8:10
  |
8 | verify = "none"
  |          ^^^^^^ found "none"

error: `auth` in [policy] must be "external", "gssapi", "scram", "scram-sha-512-plus", "scram-sha-256-plus", "scram-sha-1-plus", "scram-sha-512", "scram-sha-256", "scram-sha-1", "digest-md5", "kerberos-v4", "plain" or "dialback"
 --> s2sd.toml:9:21
  |
9 | auth = ["external", "dailback"]
  |                     ^^^^^^^^^^ found "dailback"
  |
  = help: did you mean "dialback"?

error: `connect` in [limits] must be a duration such as "90s"
  --> s2sd.toml:11:11
   |
11 | connect = "20"
   |           ^^^^ found "20"
   |
   = help: the units are ms, s, m, h and d

error: unknown key `auth` in [limits]
  --> s2sd.toml:12:1
   |
12 | auth = []
   | ^^^^
   |
   = help: `auth` belongs in [policy] or in [[peer]]
"#,
    );
}

#[test]
fn mistakes_of_syntax_come_with_the_others() {
    says(
        "[listen\n[policy]\ntls = 'never'\nverify = strict\n",
        r#"
error: unclosed table, expected `]`
 --> s2sd.toml:1:8
  |
1 | [listen
  |        ^

error: `tls` in [policy] must be "disabled", "optional" or "required"
 --> s2sd.toml:3:7
  |
3 | tls = 'never'
  |       ^^^^^^^ found "never"

error: string values must be quoted, expected literal string
 --> s2sd.toml:4:10
  |
4 | verify = strict
  |          ^^^^^^
"#,
    );
}

#[test]
fn two_places_are_shown() {
    says(
        "[[domain]]\nname = 'example.org'\n[[domain]]\nname = 'EXAMPLE.org'\n[policy]\ntls = 'optional'\n",
        r#"
error: example.org is served twice
 --> s2sd.toml:4:1
  |
2 | name = 'example.org'
  | -------------------- here first
3 | [[domain]]
4 | name = 'EXAMPLE.org'
  | ^^^^^^^^^^^^^^^^^^^^
"#,
    );
}

#[test]
fn what_is_not_there_is_told() {
    says(
        "",
        "error: no domain is served\n--> s2sd.toml\n = help: add [[domain]] with its `name`",
    );
    faults(
        "[[domain]]",
        &["s2sd.toml:1:1: `name` is missing in [[domain]]"],
    );
    fault("[[peer]]", "s2sd.toml:5:1: `domain` is missing in [[peer]]");
    faults(
        "[[domain]]\nname = 'a.example'\ncertificate = 'a.pem'",
        &["s2sd.toml:3:1: `certificate` in [[domain]] without `key`"],
    );
    faults(
        "[[domain]]\nname = 'a.example'\nkey = 'a.pem'",
        &["s2sd.toml:3:1: `key` in [[domain]] without `certificate`"],
    );
    fault(
        "component = {}",
        "s2sd.toml:5:13: `secret` or `secret_file` is missing in `component` of [[domain]]",
    );
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let gone = Config::load(Path::new("/nowhere/s2sd.toml")).unwrap_err();
    assert_eq!(
        gone.to_string().trim_end(),
        "error: cannot be read: No such file or directory\n--> /nowhere/s2sd.toml"
    );
    fault(
        "component = { secret_file = 'c' }",
        "s2sd.toml:5:15: /nowhere/c: cannot be read: No such file or directory",
    );
}

#[test]
fn a_secret_is_one_line_in_one_place() {
    let directory = Directory::new();
    for (content, why) in [
        (&b"\n"[..], "is empty"),
        (b"  \n", "is empty"),
        (b"a\nb\n", "has more than one line"),
        (b"\xff\n", "not a text in UTF-8"),
    ] {
        let path = directory.write("c", content);
        let text = format!("{MINIMAL}component = {{ secret_file = 'c' }}");
        let findings = Config::from_toml(&text, "s2sd.toml", &directory.0).unwrap_err();
        let want = format!("s2sd.toml:5:15: {}: {why}", path.display());
        assert_eq!(findings.lines().collect::<Vec<_>>(), [want]);
    }
    fault(
        "component = { secret_file = 'c', secret = 'x' }",
        "s2sd.toml:5:34: `secret` and `secret_file` in `component` of [[domain]]: which one?",
    );
}

#[test]
fn a_secret_is_never_shown() {
    for more in [
        "component = { secret = 'hunter2', maxstanza = 1 }",
        "component = { secert = 1, secret = ['hunter2'] }",
        "[compnent]\nsecret = 'hunter2'\nother = 1",
        "[domain.component]\nsecret = hunter2",
        "[domain.component]\nsecret = 'hunter2",
        "component = { secret = 'hunter2'",
        "[policy]\nproxy = 'socks5://me:hunter2@127.0.0.1'",
        "[policy]\nproxy = 'socks5://me:hunter2@127.0.0.1:1'\nproxy_file = 'x'",
        "[[peer]]\ndomain = 'x.example'\nproxy = ['socks5://me:hunter2@127.0.0.1:1']",
    ] {
        let findings = read(&format!("{MINIMAL}{more}")).unwrap_err();
        assert!(!findings.to_string().contains("hunter2"), "{findings}");
        assert!(
            !findings.lines().any(|line| line.contains("hunter2")),
            "{findings}"
        );
    }
}

#[test]
fn keys_of_what_does_not_exist_yet_are_unknown() {
    let findings = read(&format!("{MINIMAL}[policy]\nspool = true")).unwrap_err();
    assert!(
        findings
            .iter()
            .all(|finding| finding.title.starts_with("unknown key")),
        "{findings}"
    );
    for table in ["[admin]", "[proxy_protocol]"] {
        assert!(read(&format!("{MINIMAL}{table}")).is_err());
    }
}

#[test]
fn who_may_federate_is_said_for_all_peers_together() {
    fault(
        "[[peer]]\ndomain = 'example.net'\ndeny = []",
        "s2sd.toml:7:1: unknown key `deny` in [[peer]] (`deny` belongs in [policy])",
    );
    fault(
        "deny = ['example.net']",
        "s2sd.toml:5:1: unknown key `deny` in [[domain]] (`deny` belongs in [policy])",
    );
    for (value, wrong) in [
        ("'exa mple'", "10"),
        ("'*example.net'", "10"),
        ("'*.'", "10"),
        ("'*.192.0.2.7'", "10"),
    ] {
        let findings = read(&format!("{MINIMAL}[policy]\nallow = [{value}]")).unwrap_err();
        let line = findings.lines().next().unwrap();
        let want = format!("s2sd.toml:6:{wrong}: `allow` in [policy] must be domains and patterns");
        assert!(line.starts_with(&want), "{line}");
    }
}

#[test]
fn a_way_out_that_is_none_is_refused() {
    fault(
        "[policy]\nproxy = 'http://127.0.0.1:3128'",
        "s2sd.toml:6:9: `proxy` in [policy] must be a proxy such as \"socks5://127.0.0.1:9050\" (the only kind of proxy is socks5://)",
    );
    fault(
        "[policy]\nproxy = ''\nproxy_file = 'tor'",
        "s2sd.toml:6:1: `proxy` and `proxy_file` in [policy]: which one?",
    );
    fault(
        "[policy]\nsource = ['0.0.0.0']",
        "s2sd.toml:6:11: `source` in [policy] must be an IP address of this machine such as \"192.0.2.1\" or \"2001:db8::1\" (leave it out to let the system choose)",
    );
    fault(
        "[policy]\nsource = ['192.0.2.1:5269']",
        "s2sd.toml:6:11: `source` in [policy] must be an IP address of this machine such as \"192.0.2.1\" or \"2001:db8::1\" (without a port: each connection has its own)",
    );
    fault(
        "proxy = 'socks5://127.0.0.1:9050'",
        "s2sd.toml:5:1: unknown key `proxy` in [[domain]] (`proxy` belongs in [policy] or in [[peer]])",
    );
}

#[test]
fn a_list_is_a_list_and_a_table_a_table() {
    fault(
        "[listen]\ns2s = '[::]:5269'",
        "s2sd.toml:6:7: `s2s` in [listen] must be a list (put it in brackets: [\"…\"])",
    );
    fault(
        "[[policy]]\ntls = 'optional'",
        "s2sd.toml:5:1: `policy` must be a table (write [policy])",
    );
    fault(
        "[peer]\ndomain = 'a.example'",
        "s2sd.toml:5:1: `peer` must be a list of tables (write [[peer]])",
    );
    fault(
        "[listen]\ns2s = ['[::]:5269', '[::]:5270']\ns2s_tls = ['[::]:5269']",
        "s2sd.toml:7:12: [::]:5269 is in [listen] twice",
    );
}

#[test]
fn who_asks_about_the_server_is_on_the_machine() {
    says(
        "listen = { admin = ['127.0.0.1:0', '[::]:5280'] }\n[policy]\ntls = 'optional'\n[[domain]]\nname = 'a.example'",
        r#"
error: [::]:5280 in `admin` can be reached from elsewhere
 --> s2sd.toml:1:12
  |
1 | listen = { admin = ['127.0.0.1:0', '[::]:5280'] }
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: it has no authentication: use an address of this machine, such as "127.0.0.1:5280"
"#,
    );
}

#[test]
fn a_place_for_tls_is_none_where_tls_is_disabled() {
    let connect = "connect = ['192.0.2.7:5269', 'tls://b.example:5270']";
    says(
        &format!(
            "[[domain]]\nname = 'a.example'\n[policy]\ntls = 'optional'\n[[peer]]\ndomain = 'b.example'\n\
             tls = 'disabled'\nauth = ['dialback']\n{connect}"
        ),
        r#"
error: tls://b.example:5270 in `connect` is a place for TLS, and `tls` is "disabled"
 --> s2sd.toml:9:1
  |
9 | connect = ['192.0.2.7:5269', 'tls://b.example:5270']
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write it without tls://, or tls = "optional"
"#,
    );
}

#[test]
fn tls_that_is_required_needs_a_certificate() {
    says(
        "[[domain]]\nname = 'a.example'\n",
        r#"
error: a.example has no certificate, but TLS is required
 --> s2sd.toml:2:1
  |
2 | name = 'a.example'
  | ^^^^^^^^^^^^^^^^^^ TLS is required for every peer (the default of [policy])
  |
  = help: give it `certificate` and `key`, or write tls = "optional" in [policy]
"#,
    );
    says(
        "[[domain]]\nname = 'a.example'\n[policy]\ntls = 'optional'\n[[peer]]\ndomain = 'b.example'\ntls = 'required'",
        r#"
error: a.example has no certificate, but TLS is required
 --> s2sd.toml:2:1
  |
2 | name = 'a.example'
  | ^^^^^^^^^^^^^^^^^^
...
7 | tls = 'required'
  | ---------------- required here
  |
  = help: give it `certificate` and `key`, or write tls = "optional" in [policy]
"#,
    );
}

#[test]
fn a_password_mechanism_is_for_one_peer_with_a_password() {
    fault(
        "[policy]\nauth = ['external', 'digest-md5']",
        "s2sd.toml:6:1: \"digest-md5\" in `auth` of [policy]: a password is between us and one peer \
         (put it in `auth` of a [[peer]])",
    );
    fault(
        "[[peer]]\ndomain = 'a.example'\nauth = ['digest-md5']",
        "s2sd.toml:7:1: \"digest-md5\" in `auth` of [[peer]], but there is no password \
         (add `credentials` (what we say), `accept` (what we want to hear), or both)",
    );
    fault(
        "[[peer]]\ndomain = 'a.example'\ncredentials = { username = 'u', password = 'p' }",
        "s2sd.toml:7:1: `credentials` in [[peer]], but `auth` has no mechanism that uses a password \
         (add \"scram\" to `auth` of this entry)",
    );
}

#[test]
fn a_password_without_tls_is_said_in_the_entry_itself() {
    fault(
        "[policy]\ntls = 'disabled'\n[[peer]]\ndomain = 'a.example'\nauth = ['digest-md5']\n\
         accept = { username = 'u', password = 'p' }",
        "s2sd.toml:9:1: \"digest-md5\" without TLS, which [policy] disables \
         (if that is meant, write tls = \"disabled\" in this entry too)",
    );
}

#[test]
fn a_password_that_saslprep_refuses_is_none_for_scram_and_plain() {
    let entry = |auth: &str, key: &str, password: &str| {
        format!(
            "[[peer]]\ndomain = 'a.example'\nauth = [{auth}]\n{key} = {{ username = 'u', password = \"{password}\" }}"
        )
    };
    for (auth, key, password, word) in [
        ("'scram'", "accept", "\u{1f511}", "scram-sha-512-plus"),
        ("'plain'", "credentials", "\\u0007", "plain"),
        (
            "'digest-md5', 'scram-sha-1'",
            "credentials",
            "\u{627}1",
            "scram-sha-1",
        ),
    ] {
        let want = format!(
            "s2sd.toml:8:1: the password in `{key}` of [[peer]] has characters that SASLprep (RFC 4013) does not \
             allow: \"{word}\" cannot use it (take another; the characters of ASCII but for control characters always do)"
        );
        fault(&entry(auth, key, password), &want);
    }
    let digest = entry("'digest-md5'", "accept", "\u{1f511}");
    read(&format!("{MINIMAL}{digest}")).unwrap();
    let both = entry("'scram'", "accept", "p\u{e8}ncil");
    read(&format!("{MINIMAL}{both}")).unwrap();
}

#[test]
fn plain_is_never_without_tls() {
    fault(
        "[[peer]]\ndomain = 'a.example'\ntls = 'disabled'\nauth = ['plain']\n\
         accept = { username = 'u', password = 'p' }",
        "s2sd.toml:8:1: \"plain\" in `auth`, and `tls` is \"disabled\": the password itself would be sent in \
         clear (write \"scram\")",
    );
    fault(
        "[[peer]]\ndomain = 'a.example'\ntls = 'disabled'\nauth = ['external', 'scram-sha-1-plus']\n\
         accept = { username = 'u', password = 'p' }",
        "s2sd.toml:7:1: `auth` has only \"external\", \"scram-sha-1-plus\", which need TLS, and `tls` is \
         \"disabled\"",
    );
}

#[test]
fn a_method_is_in_the_list_once() {
    fault(
        "[[peer]]\ndomain = 'a.example'\nauth = ['scram-sha-1', 'scram']\n\
         accept = { username = 'u', password = 'p' }",
        "s2sd.toml:7:24: \"scram-sha-1\" is in `auth` twice",
    );
}

#[test]
fn stored_keys_are_for_a_mechanism_in_the_list_and_whole() {
    let directory = Directory::new();
    let file = |text: &str| {
        let file = directory.write("keys", text);
        #[cfg(unix)]
        set_mode(&file, 0o600);
        file.display().to_string()
    };
    let entry = |auth: &str, file: &str| {
        format!(
            "[[peer]]\ndomain = 'a.example'\nauth = [{auth}]\naccept = {{ username = 'u', scram_file = {file:?} }}"
        )
    };
    let keys = super::documented::KEYS_OF_PENCIL;
    let name = file(keys);
    fault(
        &entry("'digest-md5'", &name),
        "s2sd.toml:8:1: `accept` in [[peer]], but `auth` has no mechanism that its keys are for \
         (add \"scram\" to `auth` of this entry)",
    );
    fault(
        &entry("'scram', 'digest-md5'", &name),
        "s2sd.toml:7:18: \"digest-md5\" in `auth` of [[peer]], but `scram_file` has no keys for it",
    );
    file(&format!("{keys}\n{keys}"));
    fault(
        &entry("'scram'", &name),
        &format!("s2sd.toml:8:28: {name}, line 3: a second line for the same hash function"),
    );
    file("SCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d=:wfPL=");
    fault(
        &entry("'scram'", &name),
        &format!(
            "s2sd.toml:8:28: {name}, line 1: the iteration count is not between 4096 and 1000000"
        ),
    );
    fault(
        "[[peer]]\ndomain = 'a.example'\nauth = ['scram']\n\
         accept = { username = 'u', scram_file = 'x', password = 'p' }",
        "s2sd.toml:8:28: `scram_file` and `password` in `accept` of [[peer]]: which one?",
    );
}

#[test]
fn a_username_is_one_peer() {
    let entry = |name: &str| {
        format!(
            "[[peer]]\ndomain = '{name}'\nauth = ['digest-md5']\naccept = {{ username = 'u', password = 'p' }}\n"
        )
    };
    fault(
        &(entry("a.example") + &entry("b.example")),
        "s2sd.toml:12:1: two peers have the username \"u\": which one is it?",
    );
    fault(
        &entry("*.example"),
        "s2sd.toml:8:1: `accept` for \"*.example\": a username stands for one domain \
         (make an entry for each domain, with a username of its own)",
    );
}

#[test]
fn required_dane_needs_dnssec_and_tls_and_the_dns() {
    let dnssec = "[dns]\ndnssec = 'use'\n";
    fault(
        "[policy]\ndane = 'require'",
        "s2sd.toml:6:1: `dane` is \"require\", but no answer of the DNS is proved \
         (write dnssec = \"use\" in [dns])",
    );
    fault(
        &format!("{dnssec}[policy]\ntls = 'optional'\ndane = 'require'"),
        "s2sd.toml:9:1: `dane` is \"require\", but `tls` is not \"required\" (write tls = \"required\")",
    );
    fault(
        &format!(
            "{dnssec}[policy]\ndane = 'require'\n[[peer]]\ndomain = 'a.example'\nconnect = ['192.0.2.7:5269']"
        ),
        "s2sd.toml:11:1: `dane` is \"require\", but with `connect` the DNS is not asked for the server \
         (leave out `connect`, or write dane = \"use\")",
    );
}

#[test]
fn something_must_be_able_to_prove_a_peer() {
    fault(
        "[policy]\nauth = []",
        "s2sd.toml:6:1: `auth` is empty: nothing would count as proof \
         (write [\"external\", \"dialback\"], or leave it out)",
    );
    fault(
        "[policy]\nauth = ['external']\nverify = 'dialback'",
        "s2sd.toml:7:1: `verify` is \"dialback\", but `auth` has no \"dialback\" \
         (add \"dialback\" to `auth`, or write verify = \"strict\")",
    );
    // The entry alone is right, [policy] alone is right; together they are not.
    fault(
        "[policy]\nverify = 'dialback'\n[[peer]]\ndomain = 'a.example'\nauth = ['external']",
        "s2sd.toml:9:1: `verify` is \"dialback\", but `auth` has no \"dialback\" \
         (add \"dialback\" to `auth`, or write verify = \"strict\")",
    );
    fault(
        "[[peer]]\ndomain = 'a.example'\nauth = ['external']\ntls = 'disabled'",
        "s2sd.toml:8:1: `auth` has only \"external\", which needs TLS, and `tls` is \"disabled\"",
    );
    fault(
        "[policy]\nauth = ['dialback', 'external', 'dialback']",
        "s2sd.toml:6:33: \"dialback\" is in `auth` twice",
    );
    fault(
        "[policy]\ntrust = []",
        "s2sd.toml:6:9: `trust` is an empty list: no certificate would be valid (write \"system\", or name a PEM file)",
    );
}

#[test]
fn an_entry_that_never_wins_is_a_mistake() {
    let entries = |first: &str, second: &str| {
        format!("[[peer]]\ndomain = '{first}'\n[[peer]]\ndomain = '{second}'\n")
    };
    fault(
        &entries("*.example.net", "a.b.example.net"),
        "s2sd.toml:8:1: [[peer]] a.b.example.net is never used: an earlier entry matches first (move it up)",
    );
    fault(
        &entries("*.example.net", "*.b.example.net"),
        "s2sd.toml:8:1: [[peer]] *.b.example.net is never used: an earlier entry matches first (move it up)",
    );
    fault(
        &entries("example.net", "example.net"),
        "s2sd.toml:8:1: [[peer]] example.net is never used: an earlier entry matches first",
    );
    for (first, second) in [
        ("example.net", "*.example.net"),
        ("*.example.net", "example.net"),
        ("*.b.example.net", "*.example.net"),
        ("a.example.net", "b.example.net"),
    ] {
        loaded(&format!("{MINIMAL}{}", entries(first, second)));
    }
}

#[test]
fn a_mistake_in_an_entry_is_told_once() {
    fault(
        "[[peer]]\ndomain = 'a.example'\nauth = ['digest-md5']\ncredentails = { username = 'u', password = 'p' }",
        "s2sd.toml:8:1: unknown key `credentails` in [[peer]] (did you mean `credentials`?)",
    );
}

#[test]
fn what_follows_from_a_mistake_is_not_told() {
    faults(
        "[[domain]]\nname = 'a.example'\n[policy]\ntls = 'optionl'\n[[peer]]\ndomain = 'b.example'\nverify = 'dialback'",
        &[
            "s2sd.toml:4:7: `tls` in [policy] must be \"disabled\", \"optional\" or \"required\" \
           (did you mean \"optional\"?)",
        ],
    );
}
