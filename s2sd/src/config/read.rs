//! From the tables of the file to a [`Config`], default by default.

use std::{collections::HashMap, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use toml::de::DeValue;
use xmpp_sasl::{Password, ScramKeys};

use super::{
    Access, CertificateFiles, ComponentAccount, Config, Dialback, Dns, Known, Limits, Listen, Log,
    Peer, PeerAccept, PeerCredentials, Policy, Proxy, Queue, Secret, ServedDomain, Trust, check,
    findings::Finding,
    places,
    reader::{Reader, Sink},
    secret::{read_secret_file, read_secret_lines, warn_if_public},
    values::{self, LOG_FORMATS, LOG_LEVELS, METHODS, MIN_TLS, TLS_MODES, VERIFY, Wrong},
};

/// RFC 6120 §13.12: a server must not refuse stanzas smaller than this.
const LEAST_STANZA: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);
/// More of anything is a slip of the pen.
const MANY: usize = 1_000_000_000;

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
    let domains = domains(root, whole, config.limits.max_stanza);

    let general = Policy {
        max_stanza: config.limits.max_stanza,
        ..Policy::default()
    };
    let before = root.sink.faults();
    let table = root.table("policy", "policy");
    let general = table.map_or(general.clone(), |table| policy(&table, general));
    config.access = table.map(|table| access(&table)).unwrap_or_default();
    // What follows from a mistake is not another one.
    let sound = whole && root.sink.faults() == before;
    if sound {
        check::policy(table.as_ref(), &general);
        check::access(table.as_ref(), &config.access);
    }
    let peers = peers(root, whole, sound, &general);
    if sound {
        check::certificates(&domains, table.as_ref(), &general, &peers);
    }
    if whole {
        check::order(&peers);
        check::usernames(&peers);
    }
    config.domains = domains.into_iter().map(|(_, domain)| domain).collect();
    config.policy = Arc::new(general);
    config.peers = peers.into_iter().map(|(_, peer)| peer).collect();
    config
}

fn listen(table: &Reader<'_>) -> Listen {
    let mut taken: HashMap<std::net::SocketAddr, Range<usize>> = HashMap::new();
    let mut addresses = |key: &str, default| {
        let Some(list) = table.list(key, places::listen_address) else {
            return default;
        };
        for (span, address) in &list {
            if let Some(first) = taken
                .insert(*address, span.clone())
                .filter(|_| address.port() != 0)
            {
                let finding = Finding::fault(
                    Some(span.clone()),
                    format!("{address} is in [listen] twice"),
                );
                table.sink.add(finding.other(first, "here first"));
            }
        }
        list.into_iter().map(|(_, address)| address).collect()
    };
    let default = Listen::default();
    Listen {
        s2s: addresses("s2s", default.s2s),
        s2s_tls: addresses("s2s_tls", default.s2s_tls),
        components: addresses("components", default.components),
    }
}

fn limits(table: &Reader<'_>) -> Limits {
    let mut limits = Limits::default();
    let many = |least| values::number(least, MANY);
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
    limits
}

fn queue(table: &Reader<'_>) -> Queue {
    let mut queue = Queue::default();
    table.set("stanzas", &mut queue.stanzas, values::number(1, MANY));
    table.set("bytes", &mut queue.bytes, values::size(LEAST_STANZA));
    table.set("give_up", &mut queue.give_up, values::duration(SECOND));
    if let Some(backoff) = table.table("backoff", "queue.backoff") {
        let least = Duration::from_millis(10);
        backoff.set("first", &mut queue.backoff_first, values::duration(least));
        backoff.set("max", &mut queue.backoff_max, values::duration(least));
        if queue.backoff_first > queue.backoff_max {
            let span = backoff.span_of("max").or_else(|| backoff.span_of("first"));
            backoff.sink.add(Finding::fault(
                span,
                "`max` of the back-off is shorter than `first`",
            ));
        }
    }
    queue
}

fn dns(table: &Reader<'_>) -> Dns {
    let servers = table
        .list("servers", places::name_server)
        .unwrap_or_default();
    Dns {
        servers: servers.into_iter().map(|(_, server)| server).collect(),
    }
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
    Dialback {
        secret: if named {
            secret(table, "secret", "secret_file")
        } else {
            None
        },
    }
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
        let finding = Finding::fault(None, "no domain is served");
        root.sink
            .add(finding.help("add [[domain]] with its `name`"));
    }
    for table in root.tables("domain", "domain") {
        let certificate = certificate(&table, whole);
        let component = table.table("component", "domain.component");
        let component = component.and_then(|table| account(&table, max_stanza));
        let contact = table.list("contact", places::uri).unwrap_or_default();
        let contact = contact.into_iter().map(|(_, uri)| uri).collect();
        let Some(name) = required(&table, "name", whole, places::domain) else {
            continue;
        };
        if let Some((first, _)) = served.iter().find(|(_, other)| other.name == name) {
            let finding = Finding::fault(table.span_of("name"), format!("{name} is served twice"));
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
    Some(ComponentAccount { secret, max_stanza })
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
            table.sink.add(Finding::fault(table.span_of(given), title));
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

fn access(table: &Reader<'_>) -> Access {
    let patterns = |key: &str| {
        let list = table.list(key, places::anybody)?;
        Some(list.into_iter().map(|(_, pattern)| pattern).collect())
    };
    let default = Access::default();
    Access {
        allow: patterns("allow").unwrap_or(default.allow),
        deny: patterns("deny").unwrap_or(default.deny),
    }
}

/// The keys that `[policy]` and `[[peer]]` share, over what holds without them.
fn policy(table: &Reader<'_>, base: Policy) -> Policy {
    let mut policy = base;
    table.set("tls", &mut policy.tls, values::word(TLS_MODES));
    table.set("min_tls", &mut policy.min_tls, values::word(MIN_TLS));
    table.set("verify", &mut policy.verify, values::word(VERIFY));
    table.set(
        "max_stanza",
        &mut policy.max_stanza,
        values::size(LEAST_STANZA),
    );
    table.set(
        "stanzas_per_second",
        &mut policy.stanzas_per_second,
        values::number(0, MANY),
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
                    .add(Finding::fault(Some(span), title).label("its first place is its rank"));
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
    if let Some(source) = table.list("source", places::own_address) {
        policy.source = source.into_iter().map(|(_, address)| address).collect();
    }
    if let Some(proxy) = proxy(table) {
        policy.proxy = proxy;
    }
    policy
}

/// `proxy` or `proxy_file`, if one of them is there; the empty proxy is none.
fn proxy(table: &Reader<'_>) -> Option<Option<Proxy>> {
    let written = table.get("proxy", places::proxy);
    let named = table.get("proxy_file", values::path);
    match (table.span_of("proxy"), table.span_of("proxy_file")) {
        (Some(span), Some(other)) => {
            let title = format!("`proxy` and `proxy_file` in {}: which one?", table.name());
            table
                .sink
                .add(Finding::fault(Some(span), title).other(other, "the other"));
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
                table.sink.add(Finding::fault(Some(span), title));
            });
            proxy.ok().map(Some)
        }
        (None, None) => None,
    }
}

/// A secret in a configuration that everybody can read is one no more.
fn warn_if_seen(inline: &str, file: &str, span: Range<usize>, table: &Reader<'_>) {
    if table.sink.public {
        let title = format!("`{inline}` stands in a file that every user of this machine can read");
        let finding = Finding::warning(Some(span), title);
        table.sink.add(finding.help(format!(
            "chmod o-r, or put it in a file of its own and name it by `{file}`"
        )));
    }
}

fn trust(table: &Reader<'_>) -> Option<Trust> {
    let value = table.value("trust")?;
    if value.get_ref().is_array() {
        let files = table.list("trust", values::path)?;
        if value
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
        {
            let finding = Finding::fault(
                Some(value.span()),
                "`trust` is an empty list: nobody would be believed",
            );
            table
                .sink
                .add(finding.help("write \"system\", or name a PEM file"));
        }
        return Some(Trust::Files(
            files
                .into_iter()
                .map(|(_, name)| table.sink.base.join(name))
                .collect(),
        ));
    }
    table.get("trust", |value| match value.as_str() {
        Some("system") => Ok(Trust::System),
        _ => Err(Wrong::new("\"system\" or a list of PEM files", value)),
    })
}

fn peers<'a>(
    root: &Reader<'a>,
    whole: bool,
    sound: bool,
    general: &Policy,
) -> Vec<(Reader<'a>, Peer)> {
    let mut peers = Vec::new();
    let mut before = root.sink.faults();
    for table in root.tables("peer", "peer") {
        let mut policy = policy(&table, general.clone());
        let connect = table.list("connect", places::connect).unwrap_or_default();
        policy.connect = connect.into_iter().map(|(_, place)| place).collect();
        policy.credentials = table
            .table("credentials", "peer.credentials")
            .and_then(|it| credentials(&it, whole));
        policy.accept = table
            .table("accept", "peer.accept")
            .and_then(|it| accept(&it, whole));
        let pattern = required(&table, "domain", whole, places::pattern);
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
    let username = required(table, "username", whole, values::text);
    let password = password(table);
    let realm = table.get("realm", values::text);
    let authzid = table.get("authzid", places::domain);
    let authzid = authzid.map(|domain| domain.as_str().to_owned());
    Some(PeerCredentials {
        username: username?,
        password: password?,
        realm,
        authzid,
    })
}

fn accept(table: &Reader<'_>, whole: bool) -> Option<PeerAccept> {
    let username = required(table, "username", whole, values::text);
    let known = match table.span_of("scram_file") {
        Some(_) => scram_keys(table).map(Known::Keys),
        None => password(table).map(Known::Password),
    };
    let realm = table.get("realm", values::text);
    Some(PeerAccept {
        username: username?,
        known: known?,
        realm,
    })
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
            let finding = Finding::fault(Some(span), title);
            table.sink.add(finding.other(other_span, "the other"));
            return None;
        }
    }
    let path = table.sink.base.join(named?);
    let lines = read_secret_lines(&path, span.clone(), table.sink)?;
    let fault = |line: usize, why: &str| {
        let title = format!("{}, line {line}: {why}", path.display());
        table.sink.add(Finding::fault(Some(span.clone()), title));
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

fn required<T>(
    table: &Reader<'_>,
    key: &str,
    whole: bool,
    kind: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
) -> Option<T> {
    if whole && table.value(key).is_none() {
        table.sink.add(Finding::fault(
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
                .add(Finding::fault(Some(span), title).other(other, "the other"));
            None
        }
        (None, None) => {
            let title = format!("`{inline}` or `{file}` is missing in {}", table.name());
            table.sink.add(Finding::fault(Some(table.span()), title));
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
