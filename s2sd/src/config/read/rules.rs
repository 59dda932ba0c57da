//! `[policy]` and `[[peer]]`: the keys they share, and those of one of them. See [`read`](super).

use std::sync::Arc;

use xmpp_sasl::{Password, ScramKeys};

use super::{
    super::{
        Access, Account, Known, KnownAccount, Peer, PeerAccept, PeerCredentials, Policy, Proxy,
        TrustStore, addresses, check,
        diagnostics::Diagnostic,
        kerberos,
        reader::Reader,
        secret_file::{read_secret_file, read_secret_lines},
        values::{self, ADDRESSES, DANE, METHODS, MIN_TLS, TLS_MODES, VERIFY, Wrong},
    },
    LEAST_STANZA, MAX_COUNT, required, secret, warn_if_seen,
};

pub(super) fn access(table: &Reader<'_>) -> Access {
    let patterns = |key: &str| {
        let list = table.list(key, addresses::anybody)?;
        Some(list.into_iter().map(|(_, pattern)| pattern).collect())
    };
    let default = Access::default();
    Access {
        allow: patterns("allow").unwrap_or(default.allow),
        deny: patterns("deny").unwrap_or(default.deny),
    }
}

/// The keys that `[policy]` and `[[peer]]` share, over what holds without them.
pub(super) fn policy(table: &Reader<'_>, base: Policy) -> Policy {
    let mut policy = base;
    table.set("tls", &mut policy.tls, values::word(TLS_MODES));
    table.set("min_tls", &mut policy.min_tls, values::word(MIN_TLS));
    table.set("require_ems", &mut policy.require_ems, values::bool);
    table.set("verify", &mut policy.verify, values::word(VERIFY));
    table.set("dane", &mut policy.dane, values::word(DANE));
    table.set("posh", &mut policy.posh, values::bool);
    table.set(
        "max_stanza",
        &mut policy.max_stanza,
        values::size(LEAST_STANZA),
    );
    table.set(
        "stanzas_per_second",
        &mut policy.stanzas_per_second,
        values::number(0, MAX_COUNT),
    );
    table.set(
        "bytes_per_second",
        &mut policy.bytes_per_second,
        values::size_or_none,
    );
    if let Some(methods) = table.list("auth", values::word(METHODS)) {
        policy.auth.clear();
        for (span, group) in methods {
            if let Some(method) = group.iter().find(|method| policy.allows(**method)) {
                let title = format!("\"{}\" is in `auth` twice", method.word());
                table
                    .sink
                    .add(Diagnostic::fault(Some(span), title).label("its first place is its rank"));
            } else {
                policy.auth.extend_from_slice(group);
            }
        }
    }
    if let Some(trusted) = trust(table) {
        policy.trust = trusted;
    }
    if let Some(files) = table.list("crl", values::path) {
        let files = files
            .into_iter()
            .map(|(_, name)| table.sink.base.join(name));
        policy.crl = files.collect();
    }
    table.set("addresses", &mut policy.addresses, values::word(ADDRESSES));
    if let Some(source) = table.list("source", addresses::own_address) {
        policy.source = source.into_iter().map(|(_, address)| address).collect();
    }
    if let Some(proxy) = proxy(table) {
        policy.proxy = proxy;
    }
    policy
}

/// `proxy` or `proxy_file`, if one of them is there; the empty proxy is none.
fn proxy(table: &Reader<'_>) -> Option<Option<Proxy>> {
    let written = table.get("proxy", addresses::proxy);
    let named = table.get("proxy_file", values::path);
    match (table.span_of("proxy"), table.span_of("proxy_file")) {
        (Some(span), Some(other)) => {
            let title = format!("`proxy` and `proxy_file` in {}: which one?", table.name());
            table
                .sink
                .add(Diagnostic::fault(Some(span), title).other(other, "the other"));
            None
        }
        (Some(span), None) => {
            let login = written
                .as_ref()
                .and_then(|proxy| proxy.as_ref()?.login.as_ref());
            if login.is_some() {
                warn_if_seen("proxy", "proxy_file", span, table);
            }
            written
        }
        (None, Some(span)) => {
            let path = table.sink.base.join(named?);
            let text = read_secret_file(&path, span.clone(), table.sink)?;
            let proxy = Proxy::parse(text.as_str()).map_err(|why| {
                let title = format!("{}: is no proxy: {why}", path.display());
                table.sink.add(Diagnostic::fault(Some(span), title));
            });
            proxy.ok().map(Some)
        }
        (None, None) => None,
    }
}

fn trust(table: &Reader<'_>) -> Option<TrustStore> {
    let value = table.value("trust")?;
    if value.get_ref().is_array() {
        let files = table.list("trust", values::path)?;
        if value
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
        {
            let finding = Diagnostic::fault(
                Some(value.span()),
                "`trust` is an empty list: no certificate would be valid",
            );
            table
                .sink
                .add(finding.help("write \"system\", or name a PEM file"));
        }
        return Some(TrustStore::Files(
            files
                .into_iter()
                .map(|(_, name)| table.sink.base.join(name))
                .collect(),
        ));
    }
    table.get("trust", |value| match value.as_str() {
        Some("system") => Ok(TrustStore::System),
        _ => Err(Wrong::new("\"system\" or a list of PEM files", value)),
    })
}

pub(super) fn peers<'a>(
    root: &Reader<'a>,
    whole: bool,
    sound: bool,
    general: &Policy,
) -> Vec<(Reader<'a>, Peer)> {
    let mut peers = Vec::new();
    let mut before = root.sink.faults();
    for table in root.tables("peer", "peer") {
        let mut policy = policy(&table, general.clone());
        let connect = table
            .list("connect", addresses::connect)
            .unwrap_or_default();
        policy.connect = connect.into_iter().map(|(_, place)| place).collect();
        policy.credentials = table
            .table("credentials", "peer.credentials")
            .and_then(|it| credentials(&it, whole));
        policy.accept = table
            .table("accept", "peer.accept")
            .and_then(|it| accept(&it, whole));
        let pattern = required(&table, "domain", whole, addresses::pattern);
        if let Some(pattern) = pattern {
            policy.rule = format!("[[peer]] {pattern}");
            if sound && root.sink.faults() == before {
                check::peer(&table, &pattern, &policy);
            }
            peers.push((
                table,
                Peer {
                    pattern,
                    policy: Arc::new(policy),
                },
            ));
        }
        before = root.sink.faults();
    }
    peers
}

fn credentials(table: &Reader<'_>, whole: bool) -> Option<PeerCredentials> {
    let gssapi = table.table("gssapi", "peer.credentials.gssapi");
    let kerberos_v4 = table.table("kerberos-v4", "peer.credentials.kerberos-v4");
    let account = has_account(table).then(|| {
        let username = required(table, "username", whole, values::text);
        let password = password(table);
        let realm = table.get("realm", values::text);
        Some(Account {
            username: username?,
            password: password?,
            realm,
        })
    });
    let authzid = table.get("authzid", addresses::domain);
    Some(PeerCredentials {
        account: sound(account)?,
        authzid: authzid.map(|domain| domain.as_str().to_owned()),
        gssapi: sound(gssapi.map(|it| kerberos::initiator(&it, whole)))?,
        kerberos_v4: sound(kerberos_v4.map(|it| kerberos::keys(&it, whole)))?,
    })
}

fn accept(table: &Reader<'_>, whole: bool) -> Option<PeerAccept> {
    let kerberos_v4 = table.table("kerberos-v4", "peer.accept.kerberos-v4");
    let account = has_account(table).then(|| {
        let username = required(table, "username", whole, values::text);
        let known = match table.span_of("scram_file") {
            Some(_) => scram_keys(table).map(Known::Keys),
            None => password(table).map(Known::Password),
        };
        let realm = table.get("realm", values::text);
        Some(KnownAccount {
            username: username?,
            known: known?,
            realm,
        })
    });
    Some(PeerAccept {
        account: sound(account)?,
        gssapi: kerberos::tickets(table, whole),
        kerberos_v4: sound(kerberos_v4.map(|it| kerberos::keys(&it, whole)))?,
    })
}

/// Is a password meant? A table with nothing in it lacks one.
fn has_account(table: &Reader<'_>) -> bool {
    let has = |key: &&str| table.span_of(key).is_some();
    let account = [
        "username",
        "password",
        "password_file",
        "scram_file",
        "realm",
    ];
    let kerberos = ["gssapi", "kerberos-v4", "principals"];
    account.iter().any(has) || !kerberos.iter().any(has)
}

/// What is there must be right; what is not there may be left out.
fn sound<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}

fn password(table: &Reader<'_>) -> Option<Password> {
    let secret = secret(table, "password", "password_file");
    secret.map(|secret| Password::new(secret.as_str()))
}

/// Stored keys: a file with a line for each hash function (RFC 5803).
fn scram_keys(table: &Reader<'_>) -> Option<Vec<ScramKeys>> {
    let named = table.get("scram_file", values::path);
    let span = table.span_of("scram_file")?;
    for other in ["password", "password_file"] {
        if let Some(other_span) = table.span_of(other) {
            let title = format!("`scram_file` and `{other}` in {}: which one?", table.name());
            let finding = Diagnostic::fault(Some(span), title);
            table.sink.add(finding.other(other_span, "the other"));
            return None;
        }
    }
    let path = table.sink.base.join(named?);
    let lines = read_secret_lines(&path, span.clone(), table.sink)?;
    let fault = |line: usize, why: &str| {
        let title = format!("{}, line {line}: {why}", path.display());
        table.sink.add(Diagnostic::fault(Some(span.clone()), title));
    };
    let mut all: Vec<ScramKeys> = Vec::new();
    let mut sound = true;
    for (line, text) in lines {
        match ScramKeys::parse(text.as_str()) {
            Ok(keys) if all.iter().any(|other| other.hash() == keys.hash()) => {
                fault(line, "a second line for the same hash function");
                sound = false;
            }
            Ok(keys) => all.push(keys),
            Err(why) => {
                fault(line, &why.to_string());
                sound = false;
            }
        }
    }
    sound.then_some(all)
}
