//! From the tables of the file to a [`Config`]: the [tables](super::table) read each key, this module reads keys that
//! belong together.

mod rules;

use std::{collections::HashMap, net::SocketAddr, ops::Range, path::PathBuf, sync::Arc};

use toml::de::DeValue;

use super::{
    CertificateFiles, ComponentAccount, Config, Dialback, Dns, Dnssec, Listen, Policy, Queue,
    Secret, ServedDomain, addresses, check,
    diagnostics::Diagnostic,
    kerberos,
    reader::{Reader, Sink},
    secret::DIALBACK_SECRET,
    secret_file::{read_secret_file, warn_if_public},
    table::{OneOf, Said, Table},
    tables::{ComponentKeys, DialbackKeys, DomainKeys, TopKeys},
};

/// An attacker can guess a secret shorter than this, or compute it from one handshake or one key.
const SHORT_SECRET: usize = 16;

/// Reads everything.
pub(super) fn config(root: &Reader<'_>) -> Config {
    let whole = root.sink.whole;
    let mut config = Config {
        data_dir: TopKeys::read(root).data_dir,
        listen: table(root, "listen", listen),
        limits: table(root, "limits", Table::read),
        queue: table(root, "queue", queue),
        dns: table(root, "dns", dns),
        log: table(root, "log", Table::read),
        dialback: table(root, "dialback", dialback),
        ..Config::default()
    };
    if config.dialback.secret.is_none() {
        // The one that the daemon made.
        let made = config.data_dir.join(DIALBACK_SECRET);
        warn_if_public(&made, root.span_of("data_dir"), root.sink);
    }
    let domains = domains(root, config.limits.max_stanza);

    let general = Policy {
        max_stanza: config.limits.max_stanza,
        ..Policy::default()
    };
    let before = root.sink.faults();
    let policy = root.table("policy", "policy");
    let general = policy.map_or(general.clone(), |table| rules::policy(&table, general));
    config.access = policy.as_ref().map(Table::read).unwrap_or_default();
    // A consequence of a mistake is not reported as another one.
    let sound = whole && root.sink.faults() == before;
    if sound {
        check::policy(policy.as_ref(), &general);
        check::access(policy.as_ref(), &config.access);
    }
    let peers = rules::peers(root, sound, &general);
    if sound {
        check::certificates(&domains, policy.as_ref(), &general, &peers);
        check::dane(policy.as_ref(), &general, &peers, config.dns.dnssec);
    }
    config.domains = domains.into_iter().map(|(_, domain)| domain).collect();
    if whole {
        check::order(&peers);
        check::usernames(&peers);
        kerberos::clients(&peers, &config.domains);
    }
    config.policy = Arc::new(general);
    config.peers = peers.into_iter().map(|(_, peer)| peer).collect();
    config
}

/// A table of the top level, which has its own name.
fn table<T: Default>(root: &Reader<'_>, key: &'static str, read: impl Fn(&Reader<'_>) -> T) -> T {
    let table = root.table(key, key);
    table.as_ref().map(read).unwrap_or_default()
}

fn listen(table: &Reader<'_>) -> Listen {
    let mut listen = Listen::read(table);
    listen.unsaid.retain(|key| table.value(key).is_none());
    let mut taken: HashMap<SocketAddr, Range<usize>> = HashMap::new();
    for key in ["admin", "s2s", "s2s_tls", "components"] {
        for (span, address) in table.members(key, addresses::listen_address) {
            let first = taken.insert(address, span.clone());
            if let Some(first) = first.filter(|_| address.port() != 0) {
                let title = format!("{address} is in [listen] twice");
                let finding = Diagnostic::fault(Some(span), title);
                table.sink.add(finding.other(first, "here first"));
            }
        }
    }
    let open = |key: &str, addresses: &[SocketAddr]| {
        let open = addresses.iter().find(|address| !address.ip().is_loopback());
        open.map(|open| format!("{open} in `{key}` can be reached from elsewhere"))
    };
    if let Some(title) = open("admin", &listen.admin) {
        let finding = Diagnostic::fault(table.span_of("admin"), title);
        let help =
            "it has no authentication: use an address of this machine, such as \"127.0.0.1:5280\"";
        table.sink.add(finding.help(help));
    }
    if let Some(title) = open("components", &listen.components) {
        let finding = Diagnostic::warning(table.span_of("components"), title);
        let help = "components are not encrypted, and who knows a secret speaks for its domain: keep them on this \
                    machine, or on a network of their own";
        table.sink.add(finding.help(help));
    }
    listen
}

fn queue(table: &Reader<'_>) -> Queue {
    let mut queue = Queue::read(table);
    let Some(table) = table.table("backoff", "queue.backoff") else {
        return queue;
    };
    queue.backoff.set(&table);
    if queue.backoff.first > queue.backoff.max {
        let span = table.span_of("max").or_else(|| table.span_of("first"));
        let title = "`max` of the back-off is shorter than `first`";
        table.sink.add(Diagnostic::fault(span, title));
    }
    queue
}

fn dns(table: &Reader<'_>) -> Dns {
    let dns = Dns::read(table);
    let useless = |key: &str, why: &str, help: &str| {
        let title = format!("`{key}` is of no use {why}");
        let finding = Diagnostic::warning(table.span_of(key), title);
        table.sink.add(finding.help(help));
    };
    if !dns.servers.is_empty() && table.span_of("resolv_conf").is_some() {
        useless(
            "resolv_conf",
            "where `servers` names the name servers",
            "leave out one of them",
        );
    }
    if dns.trust_anchor.is_some() && dns.dnssec == Dnssec::Off {
        useless(
            "trust_anchor",
            "while nothing is validated",
            "`dnssec = \"use\"`",
        );
    }
    dns
}

fn dialback(table: &Reader<'_>) -> Dialback {
    let DialbackKeys {
        secret: written,
        secret_file,
    } = DialbackKeys::read(table);
    // The empty name is the default, so that it can be written down.
    let secret_file = match secret_file.value {
        Some(None) => Said {
            span: None,
            value: None,
            ..secret_file
        },
        _ => secret_file,
    };
    if written.span.is_none() && secret_file.span.is_none() {
        return Dialback::default();
    }
    let secret = secret(written, secret_file.map(Option::flatten), table);
    if let Some(secret) = &secret {
        let why = "every peer gets keys to compare guesses with, and who guesses it speaks for all domains";
        warn_if_short(secret, "the dialback secret", why, table);
    }
    Dialback { secret }
}

fn domains<'a>(root: &Reader<'a>, max_stanza: usize) -> Vec<(Reader<'a>, ServedDomain)> {
    let mut served: Vec<(Reader<'a>, ServedDomain)> = Vec::new();
    let none = root.value("domain").is_none_or(|value| {
        value
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
    });
    if none && root.sink.whole {
        let finding = Diagnostic::fault(None, "no domain is served");
        root.sink
            .add(finding.help("add [[domain]] with its `name`"));
    }
    for table in root.tables("domain", "domain") {
        let mut keys = DomainKeys::read(&table);
        let certificate = certificate(&mut keys, &table);
        let component = table.table("component", "domain.component");
        let component = component.and_then(|table| account(&table, max_stanza));
        let contact = keys.contact;
        let Some(name) = keys.name.required(&table) else {
            continue;
        };
        if let Some((first, _)) = served.iter().find(|(_, other)| other.name == name) {
            let finding =
                Diagnostic::fault(table.span_of("name"), format!("{name} is served twice"));
            root.sink
                .add(finding.other(first.span_of("name").unwrap_or(first.span()), "here first"));
            continue;
        }
        served.push((
            table,
            ServedDomain {
                name,
                certificate,
                component,
                contact,
            },
        ));
    }
    served
}

fn account(table: &Reader<'_>, max_stanza: usize) -> Option<ComponentAccount> {
    let keys = ComponentKeys::read(table);
    let max_stanza = keys.max_stanza.value.unwrap_or(max_stanza);
    let secret = secret(keys.secret, keys.secret_file, table)?;
    warn_if_short(
        &secret,
        "the component's secret",
        "who guesses it speaks for the domain",
        table,
    );
    Some(ComponentAccount {
        secret,
        max_stanza,
        hold: keys.hold,
    })
}

/// Warns about a secret that can be guessed.
fn warn_if_short(secret: &Secret, whose: &str, why: &str, table: &Reader<'_>) {
    let length = secret.as_str().chars().count();
    if length >= SHORT_SECRET {
        return;
    }
    let characters = match length {
        1 => "1 character".to_owned(),
        more => format!("{more} characters"),
    };
    let title = format!("{whose} has only {characters}");
    let span = table
        .span_of("secret")
        .or_else(|| table.span_of("secret_file"));
    let help = format!("take at least {SHORT_SECRET}, made by chance: {why}");
    let finding = Diagnostic::warning(span, title);
    table.sink.add(finding.help(help));
}

fn certificate(keys: &mut DomainKeys, table: &Reader<'_>) -> Option<CertificateFiles> {
    for (given, missing) in [("certificate", "key"), ("key", "certificate")] {
        let span = table.span_of(given);
        if table.sink.whole && span.is_some() && table.span_of(missing).is_none() {
            let title = format!("`{given}` in [[domain]] without `{missing}`");
            table.sink.add(Diagnostic::fault(span, title));
        }
    }
    if let Some(key) = &keys.key.value {
        warn_if_public(key, keys.key.span.clone(), table.sink);
    }
    Some(CertificateFiles {
        chain: keys.certificate.value.take()?,
        key: keys.key.value.take()?,
    })
}

/// Warns about a secret in a configuration that every user of the machine can read.
fn warn_if_seen(inline: &str, file: &str, span: Range<usize>, table: &Reader<'_>) {
    if let Some(exposure) = table.sink.public {
        let title = format!("`{inline}` stands in a file that can be {exposure}");
        let finding = Diagnostic::warning(Some(span), title);
        table.sink.add(finding.help(format!(
            "chmod {}, or put it in a file of its own and name it by `{file}`",
            exposure.remedy()
        )));
    }
}

/// A secret, written in place or in a file; exactly one of the two.
fn secret(inline: Said<Secret>, file: Said<PathBuf>, table: &Reader<'_>) -> Option<Secret> {
    let (inline_key, file_key) = (inline.key, file.key);
    match inline.or(file, table) {
        OneOf::Both => None,
        OneOf::Neither => {
            table.missing(&format!("`{inline_key}` or `{file_key}` is"));
            None
        }
        OneOf::First(span, written) => {
            warn_if_seen(inline_key, file_key, span, table);
            written
        }
        OneOf::Second(span, named) => read_secret_file(&named?, span, table.sink),
    }
}

/// The bytes of all secrets in the file, so that messages hide them.
pub(super) fn secret_spans(value: &DeValue<'_>, spans: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                let name = key.get_ref();
                // A proxy may have a login in it.
                let has_login = || {
                    value
                        .get_ref()
                        .as_str()
                        .is_none_or(|text| text.contains('@'))
                };
                let secret = name.contains("secret")
                    || name.contains("pass")
                    || (name == "proxy" && has_login());
                if secret && !name.ends_with("_file") {
                    spans.push(value.span());
                }
                secret_spans(value.get_ref(), spans);
            }
        }
        DeValue::Array(list) => list
            .iter()
            .for_each(|value| secret_spans(value.get_ref(), spans)),
        _ => {}
    }
}

/// Starts reading a parsed file.
pub(super) fn root<'a>(
    document: &'a toml::Spanned<toml::de::DeTable<'a>>,
    sink: &'a Sink<'a>,
) -> Reader<'a> {
    Reader::new("", document.get_ref(), document.span(), sink)
}
