//! The rules of Kerberos, with KERBEROS_V4, which needs no KDC: who is believed, and what follows a failure.

use super::*;

/// `a.test` to `b.test`, and others; all for the service `xmpp.b`.
const KEYS: &str = "xmpp.a@A xmpp.b@B 1 133457799bbcdff1";
const OTHER_KEY: &str = "xmpp.a@A xmpp.b@B 1 0123456789abcdef";
const OTHER_CLIENT: &str = "xmpp.c@C xmpp.b@B 1 fedcba9876543210";

/// A snapshot whose one file of keys says this.
fn snapshot_with(served: &str, keys: &str, entries: &str) -> Arc<Snapshot> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("s2sd-v4-{}-{count}", std::process::id()));
    std::fs::write(&file, keys).unwrap();
    let snapshot = snapshot(
        served,
        &entries.replace("FILE", &file.display().to_string()),
    );
    std::fs::remove_file(file).unwrap();
    snapshot
}

fn shows(keys: &str, auth: &str, more: &str) -> Arc<Snapshot> {
    let entry = format!(
        "[[peer]]\ndomain = 'b.test'\nauth = [{auth}]\n\
         credentials = {{ {more}kerberos-v4 = {{ key_file = 'FILE' }} }}\n"
    );
    snapshot_with("a.test", keys, &entry)
}

fn is_shown(keys: &str, auth: &str) -> Arc<Snapshot> {
    let entry = format!(
        "[[peer]]\ndomain = 'a.test'\nauth = [{auth}]\naccept = {{ kerberos-v4 = {{ key_file = 'FILE' }} }}\n"
    );
    snapshot_with("b.test", keys, &entry)
}

const V4: &str = "'kerberos-v4'";

fn both() -> [Transport; 2] {
    [tls(b"one"), tls(b"one")]
}

#[test]
fn a_shared_key_proves_both_ends_over_tls() {
    let ends = federate(&shows(KEYS, V4, ""), &is_shown(KEYS, V4), both());
    assert_eq!(
        ends.initiating.proved,
        Some(Method::KerberosV4),
        "{}",
        ends.said
    );
    assert_eq!(ends.receiving.proved, Some(Method::KerberosV4));
    let own = shows(KEYS, V4, "authzid = 'a.test', ");
    let ends = federate(&own, &is_shown(KEYS, V4), both());
    assert_eq!(
        ends.receiving.proved,
        Some(Method::KerberosV4),
        "{}",
        ends.said
    );
}

#[test]
fn it_is_not_offered_unless_an_entry_names_it_nor_before_tls() {
    let silent = snapshot("b.test", "");
    let ends = federate(&shows(KEYS, V4, ""), &silent, both());
    assert!(!ends.said.contains("KERBEROS_V4"), "{}", ends.said);
    let clear = || [Transport::Plain, Transport::Plain];
    let with = format!("{V4}, 'dialback'");
    let ends = federate(&shows(KEYS, &with, ""), &is_shown(KEYS, &with), clear());
    assert!(!ends.said.contains("KERBEROS_V4"), "{}", ends.said);
    // Keys for another domain served here are none for this one.
    let two = "[[domain]]\nname = 'c.test'\n[[peer]]\ndomain = 'a.test'\nauth = ['kerberos-v4', 'dialback']\n\
         accept = { kerberos-v4 = { key_file = 'FILE' } }\n";
    let two = snapshot_with("b.test", "xmpp.a@A xmpp.c@C 1 133457799bbcdff1", two);
    let ends = federate(&shows(KEYS, &with, ""), &two, both());
    assert!(!ends.said.contains("KERBEROS_V4"), "{}", ends.said);
}

#[test]
fn a_key_that_is_not_the_peers_is_not_authorized() {
    for keys in [OTHER_KEY, OTHER_CLIENT] {
        let ends = federate(&shows(keys, V4, ""), &is_shown(KEYS, V4), both());
        assert_eq!(
            (ends.initiating.proved, ends.receiving.proved),
            (None, None)
        );
        assert!(
            matches!(
                ends.initiating.cause(),
                Some(Cause::Refused {
                    mechanism: "KERBEROS_V4",
                    failure: Failure::NotAuthorized
                })
            ),
            "{}",
            ends.said
        );
    }
}

#[test]
fn another_domain_than_the_keys_is_an_invalid_authzid() {
    for other in ["c.test", "b.test", "chat.a.test"] {
        let own = shows(KEYS, V4, &format!("authzid = '{other}', "));
        let ends = federate(&own, &is_shown(KEYS, V4), both());
        assert_eq!(ends.receiving.proved, None);
        assert!(ends.said.contains("<invalid-authzid"), "{}", ends.said);
        // It closes the stream.
        assert!(ends.said.ends_with("</stream:stream>"), "{}", ends.said);
    }
}

#[test]
fn after_a_refusal_what_else_is_allowed_follows() {
    let auth = "'kerberos-v4', 'dialback'";
    let ends = federate(&shows(OTHER_KEY, auth, ""), &is_shown(KEYS, auth), both());
    assert!(ends.said.contains("db:result"), "{}", ends.said);
    // A password is no worse for it.
    let auth = "'kerberos-v4', 'scram-sha-256'";
    let own = shows(
        OTHER_KEY,
        auth,
        "username = 'a.test', password = 'correct horse', ",
    );
    let entry = format!(
        "[[peer]]\ndomain = 'a.test'\nauth = [{auth}]\naccept = {{ username = 'a.test', \
         password = 'correct horse', kerberos-v4 = {{ key_file = 'FILE' }} }}\n"
    );
    let theirs = snapshot_with("b.test", KEYS, &entry);
    let ends = federate(&own, &theirs, both());
    assert_eq!(
        ends.receiving.proved,
        Some(Method::ScramSha256),
        "{}",
        ends.said
    );
}

/// Plays a client of KERBEROS_V4 against a stream without `from`: whose key, and for whom.
fn without_from(snapshot: &Arc<Snapshot>, keys: &str, authzid: Option<&str>) -> Ends {
    use xmpp_sasl::{ClientCredentials, ClientInput, ClientStep, kerberos_v4::Keys};
    let mut random = Counting(9);
    let mut credentials =
        ClientCredentials::new("xmpp", "b.test").with_kerberos_v4(Keys::parse(keys).unwrap());
    credentials.authzid = authzid.map(str::to_owned);
    let client = xmpp_sasl::client("KERBEROS_V4", &credentials).unwrap();
    let ClientStep::Wait(mut client) = client.step(ClientInput::Start, &mut random) else {
        panic!("it begins with the server")
    };
    let mut words = vec![
        HEADER.to_owned(),
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='KERBEROS_V4'/>".to_owned(),
    ];
    loop {
        let said: Vec<&str> = words.iter().map(String::as_str).collect();
        // Each time from the beginning: the same random numbers, the same challenge.
        let ends = said_to(snapshot, tls(b"one"), None, &said);
        let context = Context::new(ContentNamespace::Server);
        let last = ends.said.rsplit_once("<challenge").map(|(_, last)| last);
        let count = ends.said.matches("<challenge").count();
        let (Some(last), true) = (last, count == words.len() - 1) else {
            return ends;
        };
        let element = Element::parse(format!("<challenge{last}"), &context).unwrap();
        let Some(Ok(Nonza::Challenge(challenge))) = Nonza::from_element(&element) else {
            panic!("{last}")
        };
        match client.step(ClientInput::Challenge(&challenge), &mut random) {
            ClientStep::Respond(message, next) => {
                client = next;
                let bytes = Nonza::Response(message).to_bytes();
                words.push(String::from_utf8(bytes.to_vec()).unwrap());
            }
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn without_from_the_principal_says_who_it_is_and_its_own_entry_decides() {
    let entry = |domain: &str, more: &str| {
        format!(
            "[[peer]]\ndomain = '{domain}'\nauth = ['kerberos-v4']\n{more}\n\
             accept = {{ kerberos-v4 = {{ key_file = '{domain}' }} }}\n"
        )
    };
    let directory = std::env::temp_dir().join(format!("s2sd-v4-dir-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("a.test"), KEYS).unwrap();
    std::fs::write(directory.join("c.test"), OTHER_CLIENT).unwrap();
    let toml = |entries: &str| {
        let toml = format!("[[domain]]\nname = 'b.test'\n[policy]\ntls = 'optional'\n{entries}");
        let loaded = Config::from_toml(&toml, "s2sd.toml", &directory).unwrap();
        let secret = Secret::new("b");
        Arc::new(Snapshot::new(Arc::new(loaded.config), secret, |_| false))
    };
    let snapshot = toml(&(entry("a.test", "") + &entry("c.test", "")));
    let only_a = toml(&entry("a.test", ""));
    let in_clear = toml(&(entry("a.test", "") + &entry("c.test", "tls = 'disabled'")));
    std::fs::remove_dir_all(&directory).unwrap();

    let ends = without_from(&snapshot, KEYS, None);
    assert_eq!(
        ends.receiving.proved,
        Some(Method::KerberosV4),
        "{}",
        ends.said
    );
    let ends = without_from(&snapshot, OTHER_CLIENT, Some("c.test"));
    assert_eq!(
        ends.receiving.proved,
        Some(Method::KerberosV4),
        "{}",
        ends.said
    );
    for (keys, other) in [(KEYS, "c.test"), (OTHER_CLIENT, "a.test"), (KEYS, "b.test")] {
        let ends = without_from(&snapshot, keys, Some(other));
        assert_eq!(ends.receiving.proved, None);
        assert!(ends.said.contains("<invalid-authzid"), "{}", ends.said);
    }
    // Who is not there, and whose own entry wants another kind of stream.
    for snapshot in [&only_a, &in_clear] {
        let ends = without_from(snapshot, OTHER_CLIENT, None);
        assert_eq!(ends.receiving.proved, None);
        assert!(ends.said.contains("<not-authorized"), "{}", ends.said);
    }
}

#[test]
fn what_was_said_before_is_not_believed_again() {
    // The same words to another stream, whose challenge is another.
    let snapshot = is_shown(KEYS, V4);
    let ends = federate(&shows(KEYS, V4, ""), &snapshot, both());
    assert_eq!(ends.receiving.proved, Some(Method::KerberosV4));
    let response = |at: usize| {
        let (_, rest) = ends.said.split_once("<response").unwrap();
        let all = format!("<response{rest}");
        let mut parts = all.match_indices("<response").map(|(from, _)| {
            let end = all[from..].find("</response>").unwrap() + "</response>".len();
            all[from..from + end].to_owned()
        });
        parts.nth(at).unwrap()
    };
    let header = HEADER.replace("to='b.test'", "from='a.test' to='b.test'");
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='KERBEROS_V4'/>";
    let again = said_to(&snapshot, tls(b"one"), None, &[&header, auth, &response(0)]);
    assert!(again.said.contains("<not-authorized"), "{}", again.said);
    assert_eq!(again.receiving.proved, None);
    assert_eq!(
        again.said.matches("<challenge").count(),
        1,
        "{}",
        again.said
    );
}
