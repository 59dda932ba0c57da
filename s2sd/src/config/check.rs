//! Checks of keys together: each is right by itself, and they contradict each other.

use std::ops::Range;

use xmpp_sasl::Password;

use super::{
    Access, Account, Agreement, Dane, Dnssec, Known, KnownAccount, Method, Over, Pattern, Peer,
    PeerAccept, Policy, ServedDomain, TlsMode, Verify,
    diagnostics::Diagnostic,
    kerberos,
    method::{Group, method},
    reader::Reader,
};

/// `[policy]` by itself. Without such a table the defaults hold, and they go together.
pub(super) fn policy(table: Option<&Reader<'_>>, policy: &Policy) {
    let Some(table) = table else { return };
    for method in &policy.auth {
        let what = match method.agreement() {
            None => continue,
            Some(Agreement::Password) => "a password is between us and one peer",
            Some(Agreement::Realm | Agreement::Key) => "its keys stand in a [[peer]]",
        };
        let title = format!("\"{}\" in `auth` of [policy]: {what}", method.word());
        table.sink.add(
            Diagnostic::fault(table.span_of("auth"), title).help("put it in `auth` of a [[peer]]"),
        );
    }
    proof(table, policy);
}

/// `allow` and `deny`. Nothing in them is a fault: federation may be switched off for a while, and deny wins.
pub(super) fn access(table: Option<&Reader<'_>>, access: &Access) {
    let Some(table) = table else { return };
    let warn = |key: &str, title: String| {
        table
            .sink
            .add(Diagnostic::warning(table.span_of(key), title));
    };
    if access.allow.is_empty() {
        warn(
            "allow",
            "`allow` is empty: it refuses every domain".to_owned(),
        );
    }
    if access.deny.contains(&Pattern::Everyone) {
        warn(
            "deny",
            "`deny` has \"*\": it refuses every domain".to_owned(),
        );
        return;
    }
    for allowed in &access.allow {
        if let Some(denied) = access.deny.iter().find(|denied| denied.covers(allowed)) {
            let title = format!("\"{allowed}\" is allowed and denied (by \"{denied}\"): deny wins");
            warn("allow", title);
        }
    }
}

/// One `[[peer]]`, completed from `[policy]`.
pub(super) fn peer(table: &Reader<'_>, pattern: &Pattern, policy: &Policy) {
    passwords(table, policy);
    kerberos::check(table, pattern, policy);
    if policy.tls == TlsMode::Disabled {
        in_clear(table, policy);
        places_in_clear(table, policy);
    }
    if let (Some(accept), Pattern::Below(_)) = (&policy.accept, pattern) {
        one_domain(table, pattern, accept);
    }
    // Said once, at `[policy]`: an entry without these keys inherits them from there.
    if ["auth", "tls", "verify"]
        .iter()
        .any(|key| table.span_of(key).is_some())
    {
        proof(table, policy);
    }
}

/// A name stands for one domain, unless it has the domain in it.
fn one_domain(table: &Reader<'_>, pattern: &Pattern, accept: &PeerAccept) {
    let (what, help) = if accept.account.is_some() {
        (
            "a username stands for one domain",
            "make an entry for each domain, with a username of its own",
        )
    } else if accept.kerberos_v4.is_some() {
        (
            "a key stands for one domain",
            "make an entry for each domain, with a `key_file` of its own",
        )
    } else if accept
        .gssapi
        .as_ref()
        .is_some_and(|it| !it.principals.is_empty())
    {
        (
            "each of these principals could speak for all of them",
            "leave `principals` out: a principal xmpp/DOMAIN speaks for DOMAIN; or make an entry for each domain",
        )
    } else {
        return;
    };
    let title = format!("`accept` for \"{pattern}\": {what}");
    let finding = Diagnostic::fault(table.span_of("accept"), title);
    table.sink.add(finding.help(help));
}

/// Can anything prove the peer?
fn proof(table: &Reader<'_>, policy: &Policy) {
    let at = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| table.span_of(key))
            .or(Some(table.span()))
    };
    if policy.auth.is_empty() {
        let finding = Diagnostic::fault(
            at(&["auth"]),
            "`auth` is empty: nothing would count as proof",
        );
        table
            .sink
            .add(finding.help("write [\"external\", \"dialback\"], or leave it out"));
        return;
    }
    let needs_tls = |method: &Method| method.over() == Over::Tls;
    if policy.tls == TlsMode::Disabled
        && policy.auth.iter().all(needs_tls)
        && !policy.allows(Method::Plain)
    {
        let words: Vec<String> = policy
            .auth
            .iter()
            .map(|method| format!("\"{}\"", method.word()))
            .collect();
        let (need, words) = match words.as_slice() {
            [one] => ("needs", one.clone()),
            all => ("need", all.join(", ")),
        };
        let title = format!("`auth` has only {words}, which {need} TLS, and `tls` is \"disabled\"");
        table
            .sink
            .add(Diagnostic::fault(at(&["tls", "auth"]), title));
    }
    if policy.verify == Verify::Dialback && !policy.allows(Method::Dialback) {
        let title = "`verify` is \"dialback\", but `auth` has no \"dialback\"";
        let finding = Diagnostic::fault(at(&["verify", "auth"]), title);
        table
            .sink
            .add(finding.help("add \"dialback\" to `auth`, or write verify = \"strict\""));
    }
}

/// A password mechanism needs passwords, and passwords need a mechanism.
fn passwords(table: &Reader<'_>, policy: &Policy) {
    let passwords: Vec<Method> = policy
        .auth
        .iter()
        .copied()
        .filter(|m| m.is_password())
        .collect();
    let said = policy
        .credentials
        .as_ref()
        .and_then(|it| it.account.as_ref());
    let heard = policy.accept.as_ref().and_then(|it| it.account.as_ref());
    for (key, given) in [("credentials", said.is_some()), ("accept", heard.is_some())] {
        let used = |method: &Method| match heard {
            Some(heard) if key == "accept" => heard.known.does_for(*method),
            _ => true,
        };
        if !given || passwords.iter().any(used) {
            continue;
        }
        let title = if passwords.is_empty() {
            format!("`{key}` in [[peer]], but `auth` has no mechanism that uses a password")
        } else {
            format!("`{key}` in [[peer]], but `auth` has no mechanism that its keys are for")
        };
        let finding = Diagnostic::fault(table.span_of(key), title);
        table
            .sink
            .add(finding.help("add \"scram\" to `auth` of this entry"));
        return;
    }
    let Some(first) = passwords.first() else {
        return;
    };
    if said.is_none() && heard.is_none() {
        let title = format!(
            "\"{}\" in `auth` of [[peer]], but there is no password",
            first.word()
        );
        let help =
            "add `credentials` (what we say), `accept` (what we want to hear), or both".to_owned();
        let finding = Diagnostic::fault(table.span_of("auth"), title);
        table.sink.add(finding.help(help));
        return;
    }
    // We have the password itself, which is enough for all of them.
    if let (None, Some(heard)) = (said, heard) {
        useless(table, heard);
    }
    unpreparable(table, said, heard, &passwords);
}

/// A word in `auth` for which the keys that we have of the peer's password are not enough.
fn useless(table: &Reader<'_>, heard: &KnownAccount) {
    for (span, Group(group)) in table.members("auth", method().value) {
        if let Some(method) = group.first().filter(|method| method.is_password())
            && !group.iter().any(|method| heard.known.does_for(*method))
        {
            let title = format!(
                "\"{}\" in `auth` of [[peer]], but `scram_file` has no keys for it",
                method.word()
            );
            table.sink.add(Diagnostic::fault(Some(span), title));
        }
    }
}

/// A password that SASLprep (RFC 4013) refuses. Every mechanism but DIGEST-MD5 has it prepare the password.
fn unpreparable(
    table: &Reader<'_>,
    said: Option<&Account>,
    heard: Option<&KnownAccount>,
    passwords: &[Method],
) {
    let Some(method) = passwords.iter().find(|m| **m != Method::DigestMd5) else {
        return;
    };
    let said = said.map(|it| &it.password);
    let heard = heard.and_then(|it| match &it.known {
        Known::Password(password) => Some(password),
        Known::Keys(_) => None,
    });
    for (key, password) in [("credentials", said), ("accept", heard)] {
        if password.is_none_or(Password::is_preparable) {
            continue;
        }
        let title = format!(
            "the password in `{key}` of [[peer]] has characters that SASLprep (RFC 4013) does not allow: \"{}\" cannot use it",
            method.word()
        );
        let finding = Diagnostic::fault(table.span_of(key), title);
        table
            .sink
            .add(finding.help(
                "take another; the characters of ASCII but for control characters always do",
            ));
    }
}

/// Without TLS only if the entry itself says so, and the password itself never.
fn in_clear(table: &Reader<'_>, policy: &Policy) {
    let agreed = policy.credentials.is_some() || policy.accept.is_some();
    if policy.allows(Method::Plain) && agreed {
        let title = "\"plain\" in `auth`, and `tls` is \"disabled\": the password itself would be sent in clear";
        let finding = Diagnostic::fault(table.span_of("auth"), title);
        table.sink.add(finding.help("write \"scram\""));
        return;
    }
    let Some(method) = policy
        .auth
        .iter()
        .find(|m| m.over() == Over::TlsOrAgreed && agreed)
    else {
        return;
    };
    let name = method.word();
    table.sink.add(match table.span_of("tls") {
        Some(span) => Diagnostic::warning(
            Some(span),
            format!("\"{name}\" without TLS: the network on the way can read everything"),
        ),
        None => Diagnostic::fault(
            table.span_of("auth"),
            format!("\"{name}\" without TLS, which [policy] disables"),
        )
        .help("if that is meant, write tls = \"disabled\" in this entry too"),
    });
}

/// A target with TLS from the first byte has no use if TLS is disabled.
fn places_in_clear(table: &Reader<'_>, policy: &Policy) {
    let Some(place) = policy.connect.iter().find(|place| place.direct_tls) else {
        return;
    };
    let title = format!("{place} in `connect` is a place for TLS, and `tls` is \"disabled\"");
    let finding = Diagnostic::fault(table.span_of("connect"), title);
    let help = "write it without tls://, or tls = \"optional\"";
    table.sink.add(finding.help(help));
}

/// Where TLS is required, our side needs a certificate.
pub(super) fn certificates(
    domains: &[(Reader<'_>, ServedDomain)],
    table: Option<&Reader<'_>>,
    general: &Policy,
    peers: &[(Reader<'_>, Peer)],
) {
    let rule: Option<(Option<Range<usize>>, &str)> = if general.tls == TlsMode::Required {
        let default = "TLS is required for every peer (the default of [policy])";
        let said = table.and_then(|table| table.span_of("tls"));
        Some((
            said,
            if table.is_some_and(|table| table.span_of("tls").is_some()) {
                "required here"
            } else {
                default
            },
        ))
    } else {
        let strict = peers
            .iter()
            .find(|(_, peer)| peer.policy.tls == TlsMode::Required);
        strict.map(|(table, _)| (table.span_of("tls"), "required here"))
    };
    let Some((place, why)) = rule else { return };
    for (domain, served) in domains {
        if domain.span_of("certificate").is_some() || domain.span_of("key").is_some() {
            continue;
        }
        let title = format!("{} has no certificate, but TLS is required", served.name);
        let mut finding = Diagnostic::fault(domain.span_of("name"), title)
            .help("give it `certificate` and `key`, or write tls = \"optional\" in [policy]");
        finding = match &place {
            Some(span) => finding.other(span.clone(), why),
            None => finding.label(why),
        };
        domain.sink.add(finding);
    }
}

/// What `dane = "require"` needs.
pub(super) fn dane(
    table: Option<&Reader<'_>>,
    general: &Policy,
    peers: &[(Reader<'_>, Peer)],
    dnssec: Dnssec,
) {
    let entries = peers.iter().map(|(table, peer)| (table, &*peer.policy));
    for (table, policy) in table
        .map(|table| (table, general))
        .into_iter()
        .chain(entries)
    {
        // Said once, at `[policy]`.
        let keys = ["dane", "tls", "connect"];
        let span = keys.iter().find_map(|key| table.span_of(key));
        if policy.dane != Dane::Require || span.is_none() {
            continue;
        }
        let fault = |title: &str, help: &str| {
            let title = format!("`dane` is \"require\", {title}");
            table
                .sink
                .add(Diagnostic::fault(span.clone(), title).help(help));
        };
        if dnssec == Dnssec::Off && table.span_of("dane").is_some() {
            fault(
                "but no answer of the DNS is proved",
                "write dnssec = \"use\" in [dns]",
            );
        }
        if policy.tls != TlsMode::Required {
            fault("but `tls` is not \"required\"", "write tls = \"required\"");
        }
        if !policy.connect.is_empty() {
            fault(
                "but with `connect` the DNS is not asked for the server",
                "leave out `connect`, or write dane = \"use\"",
            );
        }
    }
}

/// The first entry that matches wins, so an entry has no effect after one that covers it.
pub(super) fn order(peers: &[(Reader<'_>, Peer)]) {
    for (at, (table, peer)) in peers.iter().enumerate() {
        if let Some((first, winner)) = peers[..at]
            .iter()
            .find(|(_, earlier)| earlier.pattern.covers(&peer.pattern))
        {
            let title = format!(
                "[[peer]] {} is never used: an earlier entry matches first",
                peer.pattern
            );
            let finding = Diagnostic::fault(table.span_of("domain"), title);
            let finding = if winner.pattern == peer.pattern {
                finding
            } else {
                finding.help("move it up")
            };
            table
                .sink
                .add(finding.other(first.span_of("domain").unwrap_or(first.span()), "this one"));
        }
    }
}

/// A stream without `from` is known by its username alone.
pub(super) fn usernames(peers: &[(Reader<'_>, Peer)]) {
    fn username(peer: &Peer) -> Option<&str> {
        let account = peer.policy.accept.as_ref()?.account.as_ref()?;
        Some(account.username.as_str())
    }
    for (at, (table, peer)) in peers.iter().enumerate() {
        let Some(name) = username(peer) else { continue };
        if let Some((first, _)) = peers[..at]
            .iter()
            .find(|(_, earlier)| username(earlier) == Some(name))
        {
            let title = format!("two peers have the username {name:?}: which one is it?");
            let finding = Diagnostic::fault(table.span_of("accept"), title);
            table
                .sink
                .add(finding.other(first.span_of("accept").unwrap_or(first.span()), "the other"));
        }
    }
}
