//! From the tables of the file to a [`Config`], default by default.

mod rules;

use std::{collections::HashMap, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use toml::de::DeValue;

use super::{
    CertificateFiles, ComponentAccount, Config, Dialback, Dns, Dnssec, Limits, Listen, Log, Policy,
    Queue, Secret, ServedDomain, addresses, check,
    diagnostics::Diagnostic,
    kerberos,
    reader::{Reader, Sink},
    secret::DIALBACK_SECRET,
    secret_file::{read_secret_file, warn_if_public},
    values::{self, DNSSEC_MODES, LOG_FORMATS, LOG_LEVELS, Wrong},
};

/// RFC 6120 §13.12: a server must not refuse stanzas smaller than this.
const LEAST_STANZA: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);
/// A secret shorter than this can be guessed, or computed from one handshake or one key that it made.
const SHORT_SECRET: usize = 16;
/// With less there is hardly room for a connection and a stanza.
const LEAST_MEMORY: usize = 4 << 20;
/// More of anything is a slip of the pen.
const MAX_COUNT: usize = 1_000_000_000;

/// Reads everything. `whole` is false if the file has mistakes of syntax: then nothing is said about what is missing.
pub(super) fn config(root: &Reader<'_>, whole: bool) -> Config {
    let mut config = Config::default();
    root.set("data_dir", &mut config.data_dir, |value| {
        values::path(value).map(PathBuf::from)
    });
    config.data_dir = root.sink.base.join(&config.data_dir);
    config.listen = root
        .table("listen", "listen")
        .map(|table| listen(&table))
        .unwrap_or_default();
    config.limits = root
        .table("limits", "limits")
        .map(|table| limits(&table))
        .unwrap_or_default();
    config.queue = root
        .table("queue", "queue")
        .map(|table| queue(&table))
        .unwrap_or_default();
    config.dns = root
        .table("dns", "dns")
        .map(|table| dns(&table))
        .unwrap_or_default();
    config.log = root
        .table("log", "log")
        .map(|table| log(&table))
        .unwrap_or_default();
    config.dialback = root
        .table("dialback", "dialback")
        .map(|table| dialback(&table))
        .unwrap_or_default();
    if config.dialback.secret.is_none() {
        // The one that the daemon made.
        let made = config.data_dir.join(DIALBACK_SECRET);
        warn_if_public(&made, root.span_of("data_dir"), root.sink);
    }
    let domains = domains(root, whole, config.limits.max_stanza);

    let general = Policy {
        max_stanza: config.limits.max_stanza,
        ..Policy::default()
    };
    let before = root.sink.faults();
    let table = root.table("policy", "policy");
    let general = table.map_or(general.clone(), |table| rules::policy(&table, general));
    config.access = table.map(|table| rules::access(&table)).unwrap_or_default();
    // What follows from a mistake is not another one.
    let sound = whole && root.sink.faults() == before;
    if sound {
        check::policy(table.as_ref(), &general);
        check::access(table.as_ref(), &config.access);
    }
    let peers = rules::peers(root, whole, sound, &general);
    if sound {
        check::certificates(&domains, table.as_ref(), &general, &peers);
        check::dane(table.as_ref(), &general, &peers, config.dns.dnssec);
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

fn listen(table: &Reader<'_>) -> Listen {
    let mut taken: HashMap<std::net::SocketAddr, Range<usize>> = HashMap::new();
    let mut unsaid = Vec::new();
    let mut addresses = |key: &'static str, default| {
        let Some(list) = table.list(key, addresses::listen_address) else {
            unsaid.push(key);
            return default;
        };
        for (span, address) in &list {
            if let Some(first) = taken
                .insert(*address, span.clone())
                .filter(|_| address.port() != 0)
            {
                let finding = Diagnostic::fault(
                    Some(span.clone()),
                    format!("{address} is in [listen] twice"),
                );
                table.sink.add(finding.other(first, "here first"));
            }
        }
        list.into_iter().map(|(_, address)| address).collect()
    };
    let default = Listen::default();
    let admin = addresses("admin", default.admin);
    if let Some(open) = admin.iter().find(|address| !address.ip().is_loopback()) {
        let title = format!("{open} in `admin` can be reached from elsewhere");
        let finding = Diagnostic::fault(table.span_of("admin"), title);
        let help =
            "it has no authentication: use an address of this machine, such as \"127.0.0.1:5280\"";
        table.sink.add(finding.help(help));
    }
    let s2s = addresses("s2s", default.s2s);
    let s2s_tls = addresses("s2s_tls", default.s2s_tls);
    let components = addresses("components", default.components);
    if let Some(open) = components
        .iter()
        .find(|address| !address.ip().is_loopback())
    {
        let title = format!("{open} in `components` can be reached from elsewhere");
        let finding = Diagnostic::warning(table.span_of("components"), title);
        let help = "components are not encrypted, and who knows a secret speaks for its domain: keep them on this \
                    machine, or on a network of their own";
        table.sink.add(finding.help(help));
    }
    Listen {
        unsaid,
        admin,
        s2s,
        s2s_tls,
        components,
    }
}

fn limits(table: &Reader<'_>) -> Limits {
    let mut limits = Limits::default();
    let many = |least| values::number(least, MAX_COUNT);
    table.set(
        "max_stanza",
        &mut limits.max_stanza,
        values::size(LEAST_STANZA),
    );
    table.set(
        "preauth_stanza",
        &mut limits.preauth_stanza,
        values::size(LEAST_STANZA),
    );
    table.set(
        "preauth_bytes",
        &mut limits.preauth_bytes,
        values::size(LEAST_STANZA),
    );
    table.set("preauth_elements", &mut limits.preauth_elements, many(8));
    table.set("depth", &mut limits.depth, many(8));
    table.set("attributes", &mut limits.attributes, many(8));
    table.set("connect", &mut limits.connect, values::duration(SECOND));
    table.set(
        "negotiation",
        &mut limits.negotiation,
        values::duration(SECOND),
    );
    table.set("dialback", &mut limits.dialback, values::duration(SECOND));
    table.set("keepalive", &mut limits.keepalive, values::duration(SECOND));
    table.set("idle", &mut limits.idle, values::duration(SECOND));
    table.set("stall", &mut limits.stall, values::duration(SECOND));
    table.set(
        "stanza_time",
        &mut limits.stanza_time,
        values::duration(SECOND),
    );
    table.set("drain", &mut limits.drain, values::duration(Duration::ZERO));
    table.set("pairs_per_stream", &mut limits.pairs_per_stream, many(1));
    table.set("dialback_failures", &mut limits.dialback_failures, many(0));
    table.set("sasl_retries", &mut limits.sasl_retries, many(0));
    table.set("inbound", &mut limits.inbound, many(1));
    table.set(
        "inbound_per_address",
        &mut limits.inbound_per_address,
        many(1),
    );
    table.set(
        "inbound_per_network",
        &mut limits.inbound_per_network,
        many(1),
    );
    table.set(
        "inbound_per_domain",
        &mut limits.inbound_per_domain,
        many(1),
    );
    table.set("components", &mut limits.components, many(1));
    table.set(
        "memory",
        &mut limits.memory,
        values::size_or_auto(LEAST_MEMORY),
    );
    table.set("questions", &mut limits.questions, many(1));
    table.set(
        "questions_per_network",
        &mut limits.questions_per_network,
        many(1),
    );
    table.set("descriptors", &mut limits.descriptors, many(0));
    limits
}

fn queue(table: &Reader<'_>) -> Queue {
    let mut queue = Queue::default();
    table.set("stanzas", &mut queue.stanzas, values::number(1, MAX_COUNT));
    table.set("bytes", &mut queue.bytes, values::size(LEAST_STANZA));
    table.set("lanes", &mut queue.lanes, values::number(1, MAX_COUNT));
    table.set("give_up", &mut queue.give_up, values::duration(SECOND));
    if let Some(backoff) = table.table("backoff", "queue.backoff") {
        let least = Duration::from_millis(10);
        backoff.set("first", &mut queue.backoff_first, values::duration(least));
        backoff.set("max", &mut queue.backoff_max, values::duration(least));
        if queue.backoff_first > queue.backoff_max {
            let span = backoff.span_of("max").or_else(|| backoff.span_of("first"));
            backoff.sink.add(Diagnostic::fault(
                span,
                "`max` of the back-off is shorter than `first`",
            ));
        }
    }
    queue
}

fn dns(table: &Reader<'_>) -> Dns {
    let servers = table
        .list("servers", addresses::name_server)
        .unwrap_or_default();
    let mut dns = Dns {
        servers: servers.into_iter().map(|(_, server)| server).collect(),
        ..Dns::default()
    };
    if let Some(named) = table.get("resolv_conf", values::path) {
        dns.resolv_conf = table.sink.base.join(named);
        if !dns.servers.is_empty() {
            let title = "`resolv_conf` is of no use where `servers` names the name servers";
            let finding = Diagnostic::warning(table.span_of("resolv_conf"), title);
            table.sink.add(finding.help("leave out one of them"));
        }
    }
    table.set("dnssec", &mut dns.dnssec, values::word(DNSSEC_MODES));
    // The empty name is the default, so that it can be written down.
    let default = table
        .value("trust_anchor")
        .is_some_and(|value| value.get_ref().as_str() == Some(""));
    if !default {
        let named = table.get("trust_anchor", values::path);
        dns.trust_anchor = named.map(|named| table.sink.base.join(named));
    }
    if dns.trust_anchor.is_some() && dns.dnssec == Dnssec::Off {
        let title = "`trust_anchor` is of no use while nothing is validated";
        let finding = Diagnostic::warning(table.span_of("trust_anchor"), title);
        table.sink.add(finding.help("`dnssec = \"use\"`"));
    }
    dns
}

fn log(table: &Reader<'_>) -> Log {
    let mut log = Log::default();
    table.set("format", &mut log.format, values::word(LOG_FORMATS));
    table.set("level", &mut log.level, values::word(LOG_LEVELS));
    log.targets = table
        .entries("targets", values::word(LOG_LEVELS))
        .unwrap_or_default();
    log
}

fn dialback(table: &Reader<'_>) -> Dialback {
    // The empty name is the default, so that it can be written down.
    let is_default = table
        .value("secret_file")
        .is_some_and(|value| value.get_ref().as_str() == Some(""));
    let named =
        table.value("secret").is_some() || (table.value("secret_file").is_some() && !is_default);
    let secret = match named {
        true => secret(table, "secret", "secret_file"),
        false => None,
    };
    if let Some(secret) = &secret {
        let why = "every peer gets keys to compare guesses with, and who guesses it speaks for all domains";
        warn_if_short(secret, "the dialback secret", why, table);
    }
    Dialback { secret }
}

fn domains<'a>(
    root: &Reader<'a>,
    whole: bool,
    max_stanza: usize,
) -> Vec<(Reader<'a>, ServedDomain)> {
    let mut served: Vec<(Reader<'a>, ServedDomain)> = Vec::new();
    let none = root.value("domain").is_none_or(|value| {
        value
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
    });
    if none && whole {
        let finding = Diagnostic::fault(None, "no domain is served");
        root.sink
            .add(finding.help("add [[domain]] with its `name`"));
    }
    for table in root.tables("domain", "domain") {
        let certificate = certificate(&table, whole);
        let component = table.table("component", "domain.component");
        let component = component.and_then(|table| account(&table, max_stanza));
        let contact = table.list("contact", addresses::uri).unwrap_or_default();
        let contact = contact.into_iter().map(|(_, uri)| uri).collect();
        let Some(name) = required(&table, "name", whole, addresses::domain) else {
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
    let max_stanza = table
        .get("max_stanza", values::size(LEAST_STANZA))
        .unwrap_or(max_stanza);
    let secret = secret(table, "secret", "secret_file")?;
    warn_if_short(
        &secret,
        "the component's secret",
        "who guesses it speaks for the domain",
        table,
    );
    Some(ComponentAccount { secret, max_stanza })
}

/// A secret that can be guessed.
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

fn certificate(table: &Reader<'_>, whole: bool) -> Option<CertificateFiles> {
    let file = |key| {
        table
            .get(key, values::path)
            .map(|name| table.sink.base.join(name))
    };
    let (chain, key) = (file("certificate"), file("key"));
    for (given, missing) in [("certificate", "key"), ("key", "certificate")] {
        if whole && table.span_of(given).is_some() && table.span_of(missing).is_none() {
            let title = format!("`{given}` in [[domain]] without `{missing}`");
            table
                .sink
                .add(Diagnostic::fault(table.span_of(given), title));
        }
    }
    if let Some(key) = &key {
        warn_if_public(key, table.span_of("key"), table.sink);
    }
    Some(CertificateFiles {
        chain: chain?,
        key: key?,
    })
}

/// A secret in a configuration that everybody can read is one no more.
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

fn required<T>(
    table: &Reader<'_>,
    key: &str,
    whole: bool,
    kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
) -> Option<T> {
    if whole && table.value(key).is_none() {
        table.sink.add(Diagnostic::fault(
            Some(table.span()),
            format!("`{key}` is missing in {}", table.name()),
        ));
    }
    table.get(key, kind)
}

/// A secret, written in place or in a file; one of both must be there.
fn secret(table: &Reader<'_>, inline: &str, file: &str) -> Option<Secret> {
    let written = table.get(inline, values::secret);
    let named = table.get(file, values::path);
    match (table.span_of(inline), table.span_of(file)) {
        (Some(span), Some(other)) => {
            let title = format!("`{inline}` and `{file}` in {}: which one?", table.name());
            table
                .sink
                .add(Diagnostic::fault(Some(span), title).other(other, "the other"));
            None
        }
        (None, None) => {
            let title = format!("`{inline}` or `{file}` is missing in {}", table.name());
            table.sink.add(Diagnostic::fault(Some(table.span()), title));
            None
        }
        (Some(span), None) => {
            warn_if_seen(inline, file, span, table);
            written
        }
        (None, Some(span)) => read_secret_file(&table.sink.base.join(named?), span, table.sink),
    }
}

/// The bytes of the file that hold secrets, wherever they stand, for hiding them in messages.
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
