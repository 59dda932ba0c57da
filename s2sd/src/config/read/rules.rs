//! `[policy]` and `[[peer]]`: the keys they share, and those of one of them. See [`read`](super).

use std::{ops::Range, path::Path, sync::Arc};

use xmpp_sasl::{Password, ScramKeys};

use super::{
    super::{
        Account, Known, KnownAccount, Peer, PeerAccept, PeerCredentials, Policy, Proxy, check,
        diagnostics::Diagnostic,
        kerberos,
        policy::ProxyKeys,
        reader::Reader,
        secret_file::{read_secret_file, read_secret_lines},
        table::{OneOf, Table},
        tables::{AcceptKeys, CredentialKeys, PeerKeys},
    },
    secret, warn_if_seen,
};

/// The keys that `[policy]` and `[[peer]]` share, over what holds without them.
pub(super) fn policy(table: &Reader<'_>, base: Policy) -> Policy {
    let mut policy = base;
    policy.set(table);
    if let Some(proxy) = proxy(table) {
        policy.proxy = proxy;
    }
    policy
}

/// `proxy` or `proxy_file`, if one of them is there; the empty proxy is none.
fn proxy(table: &Reader<'_>) -> Option<Option<Proxy>> {
    let ProxyKeys { proxy, proxy_file } = ProxyKeys::read(table);
    match proxy.or(proxy_file, table) {
        OneOf::First(span, written) => {
            if matches!(&written, Some(Some(proxy)) if proxy.login.is_some()) {
                warn_if_seen("proxy", "proxy_file", span, table);
            }
            written
        }
        OneOf::Second(span, named) => {
            let path = named?;
            let text = read_secret_file(&path, span.clone(), table.sink)?;
            let proxy = Proxy::parse(text.as_str()).map_err(|why| {
                let title = format!("{}: is no proxy: {why}", path.display());
                table.sink.add(Diagnostic::fault(Some(span), title));
            });
            proxy.ok().map(Some)
        }
        OneOf::Both | OneOf::Neither => None,
    }
}

pub(super) fn peers<'a>(
    root: &Reader<'a>,
    sound: bool,
    general: &Policy,
) -> Vec<(Reader<'a>, Peer)> {
    let mut peers = Vec::new();
    let mut before = root.sink.faults();
    for table in root.tables("peer", "peer") {
        let mut policy = policy(&table, general.clone());
        let keys = PeerKeys::read(&table);
        policy.connect = keys.connect;
        policy.credentials = table
            .table("credentials", "peer.credentials")
            .and_then(|it| credentials(&it));
        policy.accept = table
            .table("accept", "peer.accept")
            .and_then(|it| accept(&it));
        if let Some(pattern) = keys.domain.required(&table) {
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

fn credentials(table: &Reader<'_>) -> Option<PeerCredentials> {
    let keys = CredentialKeys::read(table);
    let gssapi = table.table("gssapi", "peer.credentials.gssapi");
    let kerberos_v4 = table.table("kerberos-v4", "peer.credentials.kerberos-v4");
    let account = has_account(table).then(|| {
        let username = keys.username.required(table);
        let password = secret(keys.password, keys.password_file, table);
        Some(Account {
            username: username?,
            password: Password::new(password?.as_str()),
            realm: keys.realm.value,
        })
    });
    Some(PeerCredentials {
        account: sound(account)?,
        authzid: keys.authzid.value.map(|domain| domain.as_str().to_owned()),
        gssapi: sound(gssapi.map(|it| kerberos::initiator(&it)))?,
        kerberos_v4: sound(kerberos_v4.map(|it| kerberos::initiating_keys(&it)))?,
    })
}

fn accept(table: &Reader<'_>) -> Option<PeerAccept> {
    let keys = AcceptKeys::read(table);
    let kerberos_v4 = table.table("kerberos-v4", "peer.accept.kerberos-v4");
    let gssapi = kerberos::tickets(keys.principals, table);
    let account = has_account(table).then(|| {
        let username = keys.username.required(table);
        let known = match keys.scram_file.span.clone() {
            None => secret(keys.password, keys.password_file, table)
                .map(|secret| Known::Password(Password::new(secret.as_str()))),
            Some(span) => {
                let others = [keys.password.span, keys.password_file.span];
                scram_keys(keys.scram_file.value.as_deref(), span, others, table).map(Known::Keys)
            }
        };
        Some(KnownAccount {
            username: username?,
            known: known?,
            realm: keys.realm.value,
        })
    });
    Some(PeerAccept {
        account: sound(account)?,
        gssapi,
        kerberos_v4: sound(kerberos_v4.map(|it| kerberos::accepting_keys(&it)))?,
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

/// Stored keys: a file with a line for each hash function (RFC 5803).
fn scram_keys(
    path: Option<&Path>,
    span: Range<usize>,
    others: [Option<Range<usize>>; 2],
    table: &Reader<'_>,
) -> Option<Vec<ScramKeys>> {
    for (other, other_span) in ["password", "password_file"].into_iter().zip(others) {
        if let Some(other_span) = other_span {
            let title = format!("`scram_file` and `{other}` in {}: which one?", table.name());
            let finding = Diagnostic::fault(Some(span), title);
            table.sink.add(finding.other(other_span, "the other"));
            return None;
        }
    }
    let path = path?;
    let lines = read_secret_lines(path, span.clone(), table.sink)?;
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
