//! s2sd itself in a row: one served domain, to which a component attaches.

use super::{
    evidence::{Claim, Method, Refusal, line_with},
    process::Process,
    server_dir::{ANCHOR, SECRET, ServerDir},
    setup::{Agreed, Certificate, Direction, Proof, Setup, Transport},
    template::fill,
};
use anyhow::{Result, bail};
use serde_json::Value;
use std::{net::Ipv4Addr, process::Command};

const TEMPLATE: &str = include_str!("../../peers/s2sd.toml.tmpl");

pub(super) const DOMAIN: &str = "s2sd.test";
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 77, 6);

/// Which of us it is: as the server under test, or as its peer.
pub(super) struct Instance {
    pub(super) domain: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) certificate: Certificate,
    /// The domain of the other server.
    pub(super) other: &'static str,
}

/// Writes the configuration, starts the daemon and waits until it serves.
pub(super) fn start(instance: &Instance, place: &ServerDir<'_>, setup: &Setup) -> Result<Process> {
    let (certificate, _) = instance.certificate.leaf(instance.domain);
    let (auth, entry) = match setup.proof {
        Proof::Dialback => ("\"dialback\"", String::new()),
        Proof::External => ("\"external\"", String::new()),
        Proof::Either => ("\"external\", \"dialback\"", String::new()),
        Proof::Agreed(agreed) => ("\"external\"", agreement(instance, place, agreed)?),
    };
    let dnssec = match setup.dane {
        true => format!(
            "dnssec = \"use\"\ntrust_anchor = \"{}\"",
            place.shared(ANCHOR)
        ),
        false => String::new(),
    };
    let further: String = (0..setup.further)
        .map(|number| {
            let name = further(instance.domain, number);
            format!(
                "[[domain]]\nname = \"{name}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
                 component = {{ secret = \"{SECRET}\" }}\n\n",
                place.certificate(&format!("{certificate}.pem")),
                place.certificate(&format!("{certificate}.key")),
            )
        })
        .collect();
    let lenient = setup.lenient || setup.proof == Proof::Dialback;
    let config = fill(
        TEMPLATE,
        &[
            ("dir", &place.path("")),
            ("address", &instance.address.to_string()),
            ("domain", instance.domain),
            (
                "certificate",
                &place.certificate(&format!("{certificate}.pem")),
            ),
            ("key", &place.certificate(&format!("{certificate}.key"))),
            ("secret", SECRET),
            ("further", &further),
            (
                "tls",
                if setup.tls() || setup.insists {
                    "required"
                } else {
                    "disabled"
                },
            ),
            ("auth", auth),
            ("verify", if lenient { "dialback" } else { "strict" }),
            ("ca", &place.certificate("ca.pem")),
            ("resolver", super::namespace::RESOLVER),
            ("entry", &entry),
            ("dnssec", &dnssec),
        ],
    )?;
    place.write("s2sd.toml", &config)?;
    place.make_directory("data")?;
    let mut command = Command::new(place.s2sd);
    command.args(["run", "-c", &place.path("s2sd.toml")]);
    command.envs(place.environment.iter().cloned());
    let mut process = Process::start("s2sd", command, place.directory)?;
    // It says so itself: a connection made to find out would be in its log, as one that came to nothing.
    process.prints("\"message\":\"serving ")?;
    Ok(process)
}

/// The entry for the other, with what both were given.
fn agreement(instance: &Instance, place: &ServerDir<'_>, agreed: Agreed) -> Result<String> {
    let Instance { domain, other, .. } = instance;
    let (_, auth) = agreed.names();
    let (says, hears) = match agreed {
        Agreed::DigestMd5 | Agreed::ScramSha256Plus => {
            let account = |name| format!("username = \"{name}\", password = \"of {name}\"");
            (account(domain), account(other))
        }
        Agreed::Gssapi => {
            let keytab = place.shared(&keytab(domain));
            let own = format!("gssapi = {{ keytab = \"{keytab}\" }}");
            (own.clone(), own)
        }
        Agreed::KerberosV4 => {
            // RFC 2222 §7.1: `xmpp`, and the first part of the domain.
            let service = |domain: &str| {
                domain
                    .split('.')
                    .next()
                    .map(|host| format!("xmpp.{host}@LAB"))
            };
            let (Some(own), Some(theirs)) = (service(domain), service(other)) else {
                bail!("a domain without a part");
            };
            let mut keys = [(own.clone(), theirs.clone()), (theirs, own)];
            // The same file on both sides.
            keys.sort_unstable();
            let lines = keys.iter().zip(["133457799bbcdff1", "0123456789abcdef"]);
            let lines =
                lines.map(|((client, service), key)| format!("{client} {service} 1 {key}\n"));
            place.write("v4.keys", &lines.collect::<String>())?;
            let both = "kerberos-v4 = { key_file = \"v4.keys\" }".to_owned();
            (both.clone(), both)
        }
    };
    Ok(format!(
        "[[peer]]\ndomain = \"{other}\"\nauth = [\"{auth}\"]\n\
         credentials = {{ {says} }}\naccept = {{ {hears} }}\n"
    ))
}

/// The keytab of a domain in the row's realm.
pub(super) fn keytab(domain: &str) -> String {
    format!("{domain}.keytab")
}

/// An end for `lab check`: the component.
pub(super) fn end() -> String {
    component(DOMAIN, ADDRESS)
}

pub(super) fn component(domain: &str, address: Ipv4Addr) -> String {
    format!("component,addr={address}:5347,domain={domain},secret={SECRET}")
}

/// A further domain, below the first.
pub(super) fn further(domain: &str, number: usize) -> String {
    format!("d{number}.{domain}")
}

/// Where its log is: it writes to standard error.
pub(super) const LOG: &str = "s2sd.err";

/// Does the log say that the stream of the claim was proved that way?
pub(super) fn proved(log: &str, peer: &str, claim: &Claim) -> Result<(), String> {
    let entries = authenticated(log, peer, claim.direction)?;
    let method = match claim.method {
        Method::Dialback => "dialback",
        Method::External => "external",
        Method::Agreed(name) => name,
    };
    for entry in entries {
        let (found, tls) = (entry.value("method"), entry.value("tls"));
        if !found.eq_ignore_ascii_case(method) {
            return Err(format!("proved by {found}, not by {method}"));
        }
        if tls.starts_with("TLS") != claim.tls() {
            return Err(format!("the stream's TLS is {tls}"));
        }
        if claim.direction == Direction::FromPeer
            && entry.on_tls_port() != (claim.transport == Transport::DirectTls)
        {
            return Err("came to the wrong port for its transport".to_owned());
        }
    }
    Ok(())
}

/// Does it say that all further domains use the one stream that there is to the peer?
pub(super) fn shared(log: &str, peer: &str, further: usize) -> Result<(), String> {
    let streams = authenticated(log, peer, Direction::ToPeer)?.len();
    let message = "\"message\":\"outgoing stream authenticated for a further domain\"";
    let domains = log.lines().filter(|line| line.contains(message)).count();
    match (streams, domains == further) {
        (1, true) => Ok(()),
        _ => Err(format!(
            "{streams} streams, and {domains} further domains on them; not one and {further}"
        )),
    }
}

/// Does it say that the one stream with the peer, which the row's initiating server opened, carries both directions? Or, with a
/// peer that has no bidi, that there is one stream for each, and that it carries no other?
pub(super) fn both_ways(
    log: &str,
    peer: &str,
    direction: Direction,
    has_bidi: bool,
) -> Result<(), String> {
    let count = |message: &str| {
        let with_peer = |entry: &Entry| entry.is(message) && entry.says("remote", peer);
        entries(log).filter(with_peer).count()
    };
    let found = (
        count("incoming stream authenticated"),
        count("outgoing stream authenticated"),
        count("the stream carries both directions"),
    );
    let wanted = match (has_bidi, direction) {
        (true, Direction::FromPeer) => (1, 0, 1),
        (true, Direction::ToPeer) => (0, 1, 1),
        (false, _) => (1, 1, 0),
    };
    match found == wanted {
        true => Ok(()),
        false => Err(format!(
            "incoming streams, outgoing ones, and those for both directions: {found:?}, not {wanted:?}"
        )),
    }
}

/// Does it say that the peer acknowledged stanzas, and that no stream with it broke over them?
pub(super) fn acknowledged(log: &str) -> Result<(), String> {
    let says = |message: &str| entries(log).any(|entry| entry.is(message));
    match says("the other server acknowledges what it takes") {
        true if says("the other server has taken stanzas") => Ok(()),
        true => Err("no stanza was acknowledged".to_owned()),
        false => Err("the peer does not count".to_owned()),
    }
}

/// Does it say why the peer of such a stream was believed, or how much not, in words that begin so?
pub(super) fn believed(
    log: &str,
    peer: &str,
    direction: Direction,
    because: &str,
) -> Result<(), String> {
    for entry in authenticated(log, peer, direction)? {
        let found = entry.value("because");
        if !found.starts_with(because) {
            return Err(format!("believed because of {found:?}, not of {because:?}"));
        }
    }
    Ok(())
}

/// Does it say that the certificate shown on such a stream is by an unknown authority?
pub(super) fn distrusted(log: &str, direction: Direction) -> Result<(), String> {
    let span = match direction {
        Direction::FromPeer => "\"name\":\"in\"",
        Direction::ToPeer => "\"name\":\"out\"",
    };
    line_with(
        log,
        &["certificate judged", "no authority trusted here", span],
    )
}

/// The entries for streams with this peer that were proved; there is one at least.
fn authenticated(log: &str, peer: &str, direction: Direction) -> Result<Vec<Entry>, String> {
    let message = match direction {
        Direction::FromPeer => "incoming stream authenticated",
        Direction::ToPeer => "outgoing stream authenticated",
    };
    let entries: Vec<Entry> = entries(log)
        .filter(|entry| entry.is(message) && entry.says("remote", peer))
        .collect();
    match entries.is_empty() {
        true => Err(format!("no {message:?} with {peer}")),
        false => Ok(entries),
    }
}

/// Does the log say that a stream ended for that reason, and that none was proved?
pub(super) fn refused(
    log: &str,
    peer: &str,
    direction: Direction,
    why: Refusal,
) -> Result<(), String> {
    let (proved, ended) = match direction {
        Direction::FromPeer => ("incoming stream authenticated", "incoming stream"),
        Direction::ToPeer => ("outgoing stream authenticated", "no stream: "),
    };
    if entries(log).any(|entry| entry.is(proved) && entry.says("remote", peer)) {
        return Err(format!("{proved} with {peer} all the same"));
    }
    let causes: &[&str] = match (direction, why) {
        (Direction::FromPeer, Refusal::Certificate) | (Direction::ToPeer, Refusal::Impostor) => {
            &["certificate"]
        }
        // A header without `to`, as RFC 3920's servers send it, leaves only dialback to say that there is no such host;
        // jabberd2 then ends the stream itself.
        (Direction::FromPeer, Refusal::Host) => &["protocol", "stream-error"],
        (Direction::FromPeer, Refusal::Key) => &["dialback"],
        (Direction::ToPeer, Refusal::NoTls) => &["tls-not-offered"],
        // The peer ends what it cannot begin without TLS, or we do.
        (Direction::FromPeer, Refusal::NoTls) => &["stream-error", "protocol"],
        // The peer refuses; what we hear depends on how it does that.
        _ => &[
            "stream-error",
            "refused",
            "no-mechanism",
            "dialback",
            "lost",
            "finished",
            "tls",
        ],
    };
    let mut ends = entries(log).filter(|entry| entry.value("message").starts_with(ended));
    if ends.any(|entry| causes.contains(&entry.value("cause"))) {
        return Ok(());
    }
    Err(format!(
        "no {ended:?} with the cause {}",
        causes.join(" or ")
    ))
}

/// Does the log show, as it came over the wire, the header of an incoming stream without `version`?
pub(super) fn saw_header_without_version(log: &str) -> Result<(), String> {
    line_with(
        log,
        &[
            "\"received\"",
            "Header(StreamHeader",
            "version: None",
            "\"name\":\"in\"",
        ],
    )
}

/// One line of the JSON log.
struct Entry(Value);

fn entries(log: &str) -> impl Iterator<Item = Entry> + '_ {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok().map(Entry))
}

impl Entry {
    /// A field of the event, or of the span around it.
    fn value(&self, name: &str) -> &str {
        let Self(event) = self;
        let field = event.get(name).or_else(|| event.get("span")?.get(name));
        field.and_then(Value::as_str).unwrap_or_default()
    }

    /// Was the connection taken by a listener for direct TLS?
    fn on_tls_port(&self) -> bool {
        self.0.get("span").and_then(|span| span.get("tls")) == Some(&Value::Bool(true))
    }

    fn is(&self, message: &str) -> bool {
        self.value("message") == message
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.value(name) == value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN: &str = r#"{"level":"INFO","message":"incoming stream authenticated","local":"s2sd.test","remote":"prosody.test","method":"EXTERNAL","tls":"TLS 1.3","span":{"peer":"127.0.0.1:1","tls":false,"name":"in"}}"#;
    const ENDED: &str = r#"{"level":"WARN","message":"incoming stream refused: x","by":"us","cause":"certificate"}"#;

    fn claim(method: Method, transport: Transport) -> Claim {
        Claim {
            method,
            transport,
            direction: Direction::FromPeer,
        }
    }

    #[test]
    fn the_method_and_the_transport_are_those_claimed() {
        let check =
            |method, transport| proved(IN, "prosody.test", &claim(method, transport)).is_ok();
        assert!(check(Method::External, Transport::StartTls));
        assert!(!check(Method::Dialback, Transport::StartTls));
        assert!(!check(Method::External, Transport::Plain));
        assert!(!check(Method::External, Transport::DirectTls));
        assert!(
            proved(
                IN,
                "ejabberd.test",
                &claim(Method::External, Transport::StartTls)
            )
            .is_err()
        );
        assert!(
            proved(
                "",
                "prosody.test",
                &claim(Method::External, Transport::StartTls)
            )
            .is_err()
        );
    }

    #[test]
    fn one_stream_for_both_directions_is_one_and_says_so() {
        let both = IN.replace(
            "incoming stream authenticated",
            "the stream carries both directions",
        );
        let out = IN.replace("incoming", "outgoing");
        let check = |log: &[&str], has_bidi| {
            both_ways(
                &log.join("\n"),
                "prosody.test",
                Direction::FromPeer,
                has_bidi,
            )
            .is_ok()
        };
        assert!(check(&[IN, &both], true));
        assert!(!check(&[IN], true));
        assert!(!check(&[IN, &both, &out], true));
        assert!(check(&[IN, &out], false));
        assert!(!check(&[IN, &out, &both], false));
        assert!(!check(&[], false));
    }

    #[test]
    fn a_refusal_has_its_cause_and_no_proof_beside_it() {
        let check = |log: &str, why| refused(log, "prosody.test", Direction::FromPeer, why).is_ok();
        assert!(check(ENDED, Refusal::Certificate));
        assert!(!check(ENDED, Refusal::Key));
        assert!(!check(&format!("{ENDED}\n{IN}"), Refusal::Certificate));
        assert!(!check("", Refusal::Certificate));
    }
}
