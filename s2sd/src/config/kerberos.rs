//! Kerberos in `credentials` and `accept` of a `[[peer]]`: keytabs for GSSAPI (RFC 4752), key files for KERBEROS_V4
//! (RFC 2222 §7.1), and what goes together.

use std::{fs::File, path::PathBuf};

use xmpp_sasl::{
    built_without,
    gssapi::{Acceptor, Initiator},
    kerberos_v4::{Keys, SharedKey},
};

use super::{
    Method, Pattern, Peer, PeerAccept, PeerCredentials, Policy, ServedDomain, Tickets,
    diagnostics::Diagnostic,
    reader::Reader,
    secret_file::{read_text, reason, warn_if_public},
    table::{Said, Table},
    tables::{AcceptTicketKeys, AcceptV4Keys, TicketKeys, V4Keys},
};

/// `gssapi` of `credentials`.
pub(super) fn initiator(table: &Reader<'_>) -> Option<Initiator> {
    let keys = TicketKeys::read(table);
    Some(Initiator {
        keytab: Some(keytab(keys.keytab, table)?),
        principal: keys.principal.value,
        service: keys.service.value,
    })
}

/// `gssapi` and `principals` of `accept`.
pub(super) fn tickets(principals: Said<Vec<String>>, accept: &Reader<'_>) -> Option<Tickets> {
    let table = accept.table("gssapi", "peer.accept.gssapi");
    if let (Some(span), None) = (principals.span.clone(), accept.span_of("gssapi")) {
        let title = format!("`principals` in {} without `gssapi`", accept.name());
        let finding = Diagnostic::fault(Some(span), title);
        accept.sink.add(finding.help(
            "add gssapi = { keytab = \"…\" }: what the tickets of these principals are judged with",
        ));
    }
    if principals.value.as_ref().is_some_and(Vec::is_empty) {
        let title = format!(
            "`principals` in {} is empty: it would refuse every principal",
            accept.name()
        );
        let finding = Diagnostic::fault(principals.span, title);
        accept
            .sink
            .add(finding.help("leave it out, or name a principal"));
    }
    let table = table?;
    let keytab = keytab(AcceptTicketKeys::read(&table).keytab, &table)?;
    Some(Tickets {
        acceptor: Acceptor {
            keytab: Some(keytab),
            service: None,
        },
        principals: principals.value.unwrap_or_default(),
    })
}

/// A keytab that s2sd can read and that has keys. Without the libraries this reports no fault of the keytab: the
/// libraries are what is missing.
fn keytab(named: Said<PathBuf>, table: &Reader<'_>) -> Option<PathBuf> {
    let span = named.span.clone();
    let path = named.required(table)?;
    if built_without("GSSAPI").is_some() {
        return Some(path);
    }
    let checked = File::open(&path)
        .map_err(|why| format!("cannot be read: {}", reason(&why)))
        .and_then(|_| {
            let acceptor = Acceptor {
                keytab: Some(path.clone()),
                service: None,
            };
            acceptor.check()
        });
    if let Err(why) = checked {
        let title = format!("{}: {why}", path.display());
        table.sink.add(Diagnostic::fault(span, title));
        return None;
    }
    warn_if_public(&path, span, table.sink);
    Some(path)
}

/// `kerberos-v4` of `credentials`.
pub(super) fn initiating_keys(table: &Reader<'_>) -> Option<Keys> {
    keys(V4Keys::read(table).key_file, table)
}

/// `kerberos-v4` of `accept`.
pub(super) fn accepting_keys(table: &Reader<'_>) -> Option<Keys> {
    keys(AcceptV4Keys::read(table).key_file, table)
}

/// Keys that two sides share.
fn keys(named: Said<PathBuf>, table: &Reader<'_>) -> Option<Keys> {
    let span = named.span.clone();
    let path = named.required(table)?;
    let span = span?;
    let text = read_text(&path, &span, table.sink)?;
    warn_if_public(&path, Some(span.clone()), table.sink);
    let keys = Keys::parse(&text).map_err(|bad| format!("line {}: {}", bad.line, bad.what));
    match keys {
        Ok(keys) if !keys.is_empty() => Some(keys),
        Ok(_) => {
            let title = format!("{}: has no key", path.display());
            table.sink.add(Diagnostic::fault(Some(span), title));
            None
        }
        Err(why) => {
            let title = format!("{}, {why}", path.display());
            table.sink.add(Diagnostic::fault(Some(span), title));
            None
        }
    }
}

/// One entry: each of the two mechanisms has what it needs, and no key is without use.
pub(super) fn check(table: &Reader<'_>, pattern: &Pattern, policy: &Policy) {
    for (method, key) in [
        (Method::Gssapi, "gssapi"),
        (Method::KerberosV4, "kerberos-v4"),
    ] {
        let said = policy.credentials.as_ref();
        let heard = policy.accept.as_ref();
        let said = said.is_some_and(|it: &PeerCredentials| it.do_for(method));
        let heard = heard.is_some_and(|it: &PeerAccept| it.does_for(method));
        let auth = table.span_of("auth");
        match (policy.allows(method), said || heard) {
            (false, true) => {
                let place = if said { "credentials" } else { "accept" };
                let title =
                    format!("`{key}` in `{place}` of [[peer]], but `auth` has no \"{key}\"");
                let finding = Diagnostic::fault(table.span_of(place), title);
                table
                    .sink
                    .add(finding.help(format!("add \"{key}\" to `auth` of this entry")));
            }
            (true, false) => {
                let title = format!("\"{key}\" in `auth` of [[peer]], but there is no key for it");
                let finding = Diagnostic::fault(auth, title);
                table.sink.add(finding.help(format!(
                    "add `{key}` to `credentials` (what we say), `accept` (what we want to hear), or both"
                )));
            }
            (true, true) => usable(table, pattern, policy, method),
            (false, false) => {}
        }
    }
}

fn usable(table: &Reader<'_>, pattern: &Pattern, policy: &Policy, method: Method) {
    let auth = table.span_of("auth");
    if let Some(how) = method.mechanism().and_then(built_without) {
        let title = format!("\"{}\" in `auth` cannot be used", method.word());
        table.sink.add(Diagnostic::fault(auth, title).help(how));
        return;
    }
    if method != Method::KerberosV4 {
        return;
    }
    let title = "\"kerberos-v4\" is historic, and breakable: its DES keys are found in hours from one exchange";
    table.sink.add(
        Diagnostic::warning(auth, title)
            .help("only for a peer that has nothing else, on a wire that you trust otherwise"),
    );
    let keys = policy
        .credentials
        .as_ref()
        .and_then(|it| it.kerberos_v4.as_ref());
    if let (Some(keys), Pattern::Exactly(peer)) = (keys, pattern)
        && keys.to("xmpp", peer.ascii()).is_none()
    {
        let title = format!(
            "`key_file` in `credentials` has no key for {} (a service xmpp.{}@…)",
            peer,
            first_label(peer.ascii())
        );
        table
            .sink
            .add(Diagnostic::fault(table.span_of("credentials"), title));
    }
}

/// A service of Kerberos 4 has the first part of its host's name (RFC 2222 §7.1).
fn first_label(domain: &str) -> &str {
    domain.split('.').next().unwrap_or_default()
}

/// All entries: a Kerberos 4 ticket for a domain served here proves one peer only.
pub(super) fn clients(peers: &[(Reader<'_>, Peer)], domains: &[ServedDomain]) {
    let mut all = Keys::default();
    for (at, (table, peer)) in peers.iter().enumerate() {
        let span = || table.span_of("accept");
        if domains.is_empty() || heard(peer).is_none() {
            continue;
        }
        let ours = shown(peer, domains);
        if ours.is_empty() {
            let services: Vec<String> = domains
                .iter()
                .map(|served| format!("xmpp.{}@…", first_label(served.name.ascii())))
                .collect();
            let title = format!(
                "`key_file` in `accept` has no key for a domain served here (a service {})",
                services.join(" or ")
            );
            table.sink.add(Diagnostic::fault(span(), title));
        }
        for key in ours {
            let same = |(_, earlier): &&(Reader<'_>, Peer)| {
                shown(earlier, domains)
                    .iter()
                    .any(|it| it.client == key.client)
            };
            if let Some((first, _)) = peers[..at].iter().find(same) {
                let title = format!(
                    "two peers have the principal {}: which one is it?",
                    key.client
                );
                let other = first.span_of("accept").unwrap_or(first.span());
                let finding = Diagnostic::fault(span(), title);
                table.sink.add(finding.other(other, "the other"));
                return;
            }
            if let Err(why) = all.add(key.clone()) {
                let title = format!("`key_file` in `accept`, with those of other entries: {why}");
                table.sink.add(Diagnostic::fault(span(), title));
                return;
            }
        }
    }
}

fn heard(peer: &Peer) -> Option<&Keys> {
    peer.policy.accept.as_ref()?.kerberos_v4.as_ref()
}

/// The keys that seal a peer's tickets for domains served here. Keys of the other direction may stand in the same file.
fn shown<'a>(peer: &'a Peer, domains: &[ServedDomain]) -> Vec<&'a SharedKey> {
    let ours = |key: &&SharedKey| {
        domains
            .iter()
            .any(|served| key.service.is_service("xmpp", served.name.ascii()))
    };
    heard(peer)
        .into_iter()
        .flat_map(Keys::iter)
        .filter(ours)
        .collect()
}
