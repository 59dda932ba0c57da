//! How one domain is treated: the rule that is for it, and every value as it is in the end.

use serde_json::{Map, Value, json};
use xmpp_sasl::{gssapi::Initiator, kerberos_v4::Principal};
use xmpp_stream::Domain;

use crate::config::{
    Account, Config, Known, KnownAccount, PeerAccept, PeerCredentials, Policy, Shown, Tickets,
};

/// The lines about a domain.
#[derive(Debug)]
pub(super) struct EffectivePolicy {
    domain: Domain,
    /// Nothing of what follows counts for a domain that is served here: it needs no stream.
    served: bool,
    /// Why it may not federate, if it may not.
    denied: Option<String>,
    rule: String,
    values: Vec<Shown>,
}

impl EffectivePolicy {
    pub(super) fn of(config: &Config, domain: Domain) -> Self {
        let policy = config.policy_for(&domain);
        let denied = config.admits(&domain).err();
        Self {
            served: config.served(&domain).is_some(),
            denied: denied.map(|denied| denied.to_string()),
            rule: policy.rule.clone(),
            values: values(&policy),
            domain,
        }
    }

    pub(super) fn json(&self) -> Value {
        let values = self.values.iter();
        let values = values.map(|it| (it.key.to_owned(), it.value.clone()));
        json!({
            "domain": self.domain.as_str(),
            "served_here": self.served,
            "federates": self.denied.is_none(),
            "denied": self.denied,
            "rule": self.rule,
            "values": Value::Object(values.collect::<Map<_, _>>()),
        })
    }

    pub(super) fn for_people(&self) -> String {
        if self.served {
            return format!("{}\n  is served here\n\n", self.domain);
        }
        let mut text = format!("{}\n", self.domain);
        let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<20}{value}\n"));
        line("rule", &self.rule);
        match &self.denied {
            Some(why) => line("federates", &format!("no: {why}")),
            None => line("federates", "yes"),
        }
        for Shown { key, text, .. } in &self.values {
            line(key, text);
        }
        text + "\n"
    }
}

/// The keys that it shares with every rule, then those of its own.
fn values(policy: &Policy) -> Vec<Shown> {
    let mut values = policy.shown();
    let (none, connect) = (|| "none".to_owned(), &policy.connect);
    let connect: Vec<String> = connect.iter().map(|place| place.to_string()).collect();
    let proxy = policy.proxy.as_ref().map(|proxy| proxy.to_string());
    values.extend([
        Shown {
            key: "proxy",
            value: json!(proxy),
            text: proxy.unwrap_or_else(none),
        },
        Shown {
            key: "connect",
            text: match connect.is_empty() {
                true => "as the DNS says".to_owned(),
                false => connect.join(", "),
            },
            value: json!(connect),
        },
    ]);
    for (key, shown) in [
        ("credentials", policy.credentials.as_ref().map(said)),
        ("accept", policy.accept.as_ref().map(heard)),
    ] {
        let (value, text) = shown.unwrap_or_else(|| (Value::Null, none()));
        values.push(Shown { key, value, text });
    }
    values
}

/// Without the password.
fn said(credentials: &PeerCredentials) -> (Value, String) {
    let PeerCredentials {
        account,
        authzid,
        gssapi,
        kerberos_v4,
    } = credentials;
    let mut ways = Vec::new();
    let mut value = json!({ "authzid": authzid });
    if let Some(Account {
        username,
        password: _,
        realm,
    }) = account
    {
        value["username"] = json!(username);
        value["realm"] = json!(realm);
        ways.push(login(username, &[("realm", realm)]));
    }
    if let Some(Initiator {
        principal,
        keytab,
        service,
    }) = gssapi
    {
        value["gssapi"] = json!({ "principal": principal, "keytab": keytab, "service": service });
        let name = principal.as_deref().unwrap_or("xmpp/ and our domain");
        ways.push(login(name, &[("to", service)]));
    }
    if let Some(keys) = kerberos_v4 {
        let principals = principals(keys.iter().map(|key| &key.client));
        value["kerberos-v4"] = json!({ "principals": principals });
        ways.push(format!("as {} (Kerberos 4)", principals.join(", ")));
    }
    let mut text = ways.join("; ");
    if let Some(authzid) = authzid {
        text.push_str(&format!(", for {authzid}"));
    }
    (value, text)
}

/// Without the password.
fn heard(accept: &PeerAccept) -> (Value, String) {
    let PeerAccept {
        account,
        gssapi,
        kerberos_v4,
    } = accept;
    let mut ways = Vec::new();
    let mut value = json!({});
    if let Some(KnownAccount {
        username,
        known,
        realm,
    }) = account
    {
        let keys = match known {
            Known::Password(_) => None,
            Known::Keys(keys) => {
                let names: Vec<&str> = keys.iter().map(|keys| keys.hash().mechanism()).collect();
                Some(names.join(" and "))
            }
        };
        value["username"] = json!(username);
        value["realm"] = json!(realm);
        value["keys"] = json!(keys);
        ways.push(login(username, &[("realm", realm), ("keys for", &keys)]));
    }
    if let Some(Tickets {
        acceptor,
        principals,
    }) = gssapi
    {
        value["gssapi"] = json!({ "keytab": acceptor.keytab });
        value["principals"] = json!(principals);
        ways.push(match principals.as_slice() {
            [] => "as xmpp/ and its domain, of our own realm".to_owned(),
            some => format!("as {}", some.join(", ")),
        });
    }
    if let Some(keys) = kerberos_v4 {
        let principals = principals(keys.iter().map(|key| &key.client));
        value["kerberos-v4"] = json!({ "principals": principals });
        ways.push(format!("as {} (Kerberos 4)", principals.join(", ")));
    }
    (value, ways.join("; "))
}

/// Each once, in their order.
fn principals<'a>(all: impl Iterator<Item = &'a Principal>) -> Vec<String> {
    let mut names: Vec<String> = all.map(Principal::to_string).collect();
    names.sort();
    names.dedup();
    names
}

fn login(username: &str, more: &[(&str, &Option<String>)]) -> String {
    let more = more.iter().filter_map(|(what, value)| {
        let value = value.as_ref()?;
        Some(format!(", {what} {value}"))
    });
    format!("as {username}{}", more.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::keys;

    fn rule(text: &str, domain: &str) -> EffectivePolicy {
        let text = format!("{text}\n[[domain]]\nname = 'example.org'\n");
        let loaded = Config::from_toml(&text, "s2sd.toml", Path::new("/etc/s2sd")).unwrap();
        EffectivePolicy::of(&loaded.config, Domain::parse(domain).unwrap())
    }

    const LEGACY: &str = "
        [policy]
        tls = 'optional'
        trust = ['a.pem', '/b.pem']
        crl = ['a.crl']
        stanzas_per_second = 20
        deny = ['*.spam.example']
        [[peer]]
        domain = 'legacy.example'
        auth = ['digest-md5', 'dialback']
        bytes_per_second = '1MiB'
        max_stanza = '10001B'
        source = ['192.0.2.1', '::1']
        proxy = 'socks5://me:hunter2@127.0.0.1:9050'
        connect = ['tls://x.example:5270', '[::1]:5269']
        credentials = { username = 'us', password = 'hunter2', authzid = 'example.org' }
        accept = { username = 'them', password = 'hunter2', realm = 'here' }
        [[peer]]
        domain = '*.spam.example'
        verify = 'dialback'";

    #[test]
    fn every_value_is_said_as_it_is_in_the_end() {
        let want = "\
legacy.example
  rule                [[peer]] legacy.example
  federates           yes
  tls                 optional
  min_tls             1.2
  require_ems         true
  auth                digest-md5, dialback
  verify              strict
  dane                use
  posh                false
  bidi                true
  stream_management   true
  multiplex           true
  trust               /etc/s2sd/a.pem, /b.pem
  crl                 /etc/s2sd/a.crl
  max_stanza          10001B
  stanzas_per_second  20
  bytes_per_second    1MiB
  addresses           public
  source              192.0.2.1, ::1
  proxy               socks5://me:…@127.0.0.1:9050
  connect             tls://x.example:5270, [::1]:5269
  credentials         as us, for example.org
  accept              as them, realm here

";
        let rule = rule(LEGACY, "Legacy.Example");
        assert_eq!(rule.for_people(), want);
        let json = rule.json();
        assert_eq!(json["rule"], "[[peer]] legacy.example");
        assert_eq!(json["values"]["max_stanza"], 10_001);
        assert_eq!(json["values"]["auth"], json!(["digest-md5", "dialback"]));
        assert_eq!(json["values"]["credentials"]["authzid"], "example.org");
        assert!(!json.to_string().contains("hunter2"), "{json}");
    }

    #[test]
    fn kerberos_is_said_by_its_principals() {
        let directory = std::env::temp_dir();
        let name = format!("s2sd-rule-{}.keys", std::process::id());
        let keys = "xmpp.a@A xmpp.example@B 1 133457799bbcdff1\nxmpp.example@B xmpp.a@A 1 0123456789abcdef";
        std::fs::write(directory.join(&name), keys).unwrap();
        let text = format!(
            "[[domain]]\nname = 'example.org'\n[policy]\ntls = 'optional'\n[[peer]]\ndomain = 'a.example'\n\
             auth = ['kerberos-v4', 'scram-sha-256']\n\
             credentials = {{ kerberos-v4 = {{ key_file = '{name}' }} }}\n\
             accept = {{ username = 'u', password = 'hunter2', kerberos-v4 = {{ key_file = '{name}' }} }}\n"
        );
        let loaded = Config::from_toml(&text, "s2sd.toml", &directory).unwrap();
        std::fs::remove_file(directory.join(name)).unwrap();
        let rule = EffectivePolicy::of(&loaded.config, Domain::parse("a.example").unwrap());
        let (text, json) = (rule.for_people(), rule.json().to_string());
        let principals = "xmpp.a@A, xmpp.example@B (Kerberos 4)";
        assert!(
            text.contains(&format!("  credentials         as {principals}\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("  accept              as u; as {principals}\n")),
            "{text}"
        );
        assert!(
            !json.contains("133457799bbcdff1") && !json.contains("hunter2"),
            "{json}"
        );
    }

    #[test]
    fn defaults_are_said_in_words() {
        let want = "\
a.example
  rule                [policy]
  federates           yes
  tls                 optional
  min_tls             1.2
  require_ems         true
  auth                external, dialback
  verify              strict
  dane                use
  posh                false
  bidi                true
  stream_management   true
  multiplex           true
  trust               system
  crl                 none
  max_stanza          512KiB
  stanzas_per_second  no limit
  bytes_per_second    no limit
  addresses           public
  source              chosen by the system
  proxy               none
  connect             as the DNS says
  credentials         none
  accept              none

";
        let rule = rule("[policy]\ntls = 'optional'", "a.example");
        assert_eq!(rule.for_people(), want);
        assert_eq!(rule.json()["values"]["proxy"], Value::Null);
        assert_eq!(rule.json()["values"]["source"], json!([]));
    }

    #[test]
    fn who_may_not_federate_hears_why() {
        let rule = rule(LEGACY, "x.spam.example");
        let text = rule.for_people();
        assert!(
            text.contains("  federates           no: `deny` in [policy] has \"*.spam.example\"\n"),
            "{text}"
        );
        assert!(text.contains("  rule                [[peer]] *.spam.example\n"));
        assert_eq!(rule.json()["federates"], false);
    }

    #[test]
    fn a_domain_of_our_own_has_no_rule() {
        let rule = rule(LEGACY, "example.org");
        assert_eq!(rule.for_people(), "example.org\n  is served here\n\n");
        assert_eq!(rule.json()["served_here"], true);
    }

    #[test]
    fn no_key_of_a_rule_is_left_out() {
        let shown = values(&Policy::default());
        for key in keys().filter(|key| ["policy", "peer"].contains(&key.table)) {
            let elsewhere = ["allow", "deny", "domain"].contains(&key.name);
            if !elsewhere && !key.name.ends_with("_file") {
                assert!(shown.iter().any(|it| it.key == key.name), "{key:?}");
            }
        }
    }
}
