//! The results of a probe: each verdict and warning once, with its name, the side that has to change something, the
//! rule that it rests on, and what to do. The table of codes in `docs/probe.md` is made from this one.
//!
//! In the texts `{peer}` is the probed domain, `{us}` our own, `{at}` the address, `{operator}` who runs the peer's
//! server, `{policy}` the rule for the peer, `{key tls}` one of its keys as it stands in the configuration, and
//! `{exception}` the beginning of an entry that makes an exception. Other names are for what was found; where nothing
//! stands for one, it is left out.

use serde::{Serialize, Serializer};

use super::Side;

/// A row of the table.
#[derive(Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "a test makes the page"))]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) side: Side,
    /// For `docs/probe.md`, in lines.
    pub(super) found: &'static [&'static str],
    pub(super) because: &'static str,
    pub(super) rule: &'static str,
    pub(super) change: &'static str,
}

macro_rules! codes {
    ($(
        $(#[doc = $found:literal])*
        $Code:ident = $name:literal, $Side:ident {
            because: $because:literal,
            rule: $rule:literal,
            change: $change:literal,
        }
    )*) => {
        /// What was found, for programs.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code {
            $( $(#[doc = $found])* $Code, )*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$Code ),*];

            pub(super) fn entry(self) -> &'static Entry {
                match self {
                    $( Self::$Code => &Entry {
                        name: $name,
                        side: Side::$Side,
                        found: &[$($found),*],
                        because: $because,
                        rule: $rule,
                        change: $change,
                    }, )*
                }
            }
        }
    };
}

codes! {
    /// No fault.
    Works = "works", Nobody {
        because: "{peer} believes {us} by {method}{over}",
        rule: "{key auth}",
        change: "",
    }
    /// No fault was seen, but not everything could be tried.
    WorksAsFarAsSeen = "works-as-far-as-seen", Nobody {
        because: "{peer} speaks XMPP{over}{certificate}; the probe did not authenticate",
        rule: "{key auth}",
        change: "give the domain a certificate, or start the daemon once, and probe again",
    }
    /// `allow` and `deny` here do not admit the domain.
    Denied = "denied", Us {
        because: "{peer} is not admitted here",
        rule: "{said}",
        change: "if {peer} shall federate with you, change `allow` or `deny` in [policy]",
    }
    /// The DNS has neither SRV records nor an address of the domain.
    NoSuchDomain = "no-such-domain", Peer {
        because: "{peer} has neither SRV records for XMPP servers nor an address in the DNS",
        rule: "RFC 6120 §3.2.2",
        change: "look whether the name is spelt right; if it is, its operator has to publish \
                 _xmpp-server._tcp.{peer} (SRV) or an address",
    }
    /// The domain says in the DNS that it has no service for servers (SRV ".").
    NoService = "no-service", Peer {
        because: "{peer} says in the DNS that it offers no XMPP service to servers (SRV \".\")",
        rule: "RFC 2782; XEP-0368 §5",
        change: "if {peer} shall be reached by XMPP, its operator has to publish SRV records that name a server",
    }
    /// The SRV records lead to a machine without an address.
    TargetWithoutAddress = "target-without-address", Peer {
        because: "the SRV records of {peer} lead to {host}, which has no address in the DNS",
        rule: "RFC 6120 §3.2.1",
        change: "{operator} has to give {host} an address, or to name another machine",
    }
    /// The DNS does not answer.
    Dns = "dns", Between {
        because: "the DNS gave no answer for {peer}: {said}",
        rule: "RFC 6120 §3.2.1",
        change: "see whether any name is found here (`servers` in [dns], /etc/resolv.conf); if others are, the name \
                 servers of {peer} are at fault",
    }
    /// The domain is reached through Tor only, and there is no `proxy`.
    Onion = "onion", Us {
        because: "{peer} is reached through Tor only",
        rule: "RFC 7686 §2",
        change: "have {exception} proxy = \"socks5://127.0.0.1:9050\", where Tor listens",
    }
    /// Answers of the DNS that their signatures refute.
    DnssecBogus = "dnssec-bogus", Peer {
        because: "the DNS answers for {peer} are not what their DNSSEC signatures vouch for: {said}",
        rule: "{dnssec}; RFC 7673 §3.1; RFC 4035 §5.5",
        change: "{operator} has to have its zone signed anew, and to see that the DS records above it fit; unless \
                 an attacker changes the answers on the way to you",
    }
    /// Answers without signatures, and `dnssec` is `"require"`.
    DnssecUnsigned = "dnssec-unsigned", Us {
        because: "{said}",
        rule: "`dnssec = \"require\"` in [dns]",
        change: "{operator} has to sign the zone; or be content here with `dnssec = \"use\"`; or use a name \
                 server that passes signatures on, if yours does not",
    }
    /// The addresses are not public, and `addresses = "public"` leaves such out.
    NotPublic = "not-public", Between {
        because: "{said}",
        rule: "{key addresses}",
        change: "{operator} has to publish public addresses; in a network of your own, have {exception} \
                 addresses = \"any\"",
    }
    /// Nothing listens there, or a firewall refuses.
    Refused = "refused", Peer {
        because: "nothing listens at {at}, or a firewall there refuses",
        rule: "{way}",
        change: "{operator} has to start the server, to open the port, or to correct the SRV records; servers usually \
                 listen on {port}",
    }
    /// The machine does not answer.
    NoAnswer = "no-answer", Between {
        because: "{at} does not answer",
        rule: "{way}",
        change: "{operator} has to see whether the machine runs and its firewall lets the port in{more}",
    }
    /// This machine has no way there.
    NoRoute = "no-route", Us {
        because: "there is no way from here to {at}: {said}",
        rule: "{way}",
        change: "see to the routes of this machine",
    }
    /// The proxy does not connect.
    Proxy = "proxy", Us {
        because: "no connection: {said}",
        rule: "`proxy` in {policy}",
        change: "see whether {proxy} runs and may connect to {peer}",
    }
    /// The addresses of `source` cannot be used.
    Source = "source", Us {
        because: "no connection: {said}",
        rule: "`source` in {policy}",
        change: "name addresses there that this machine has, of the family that is needed",
    }
    /// Another failure of TCP.
    Connect = "connect", Between {
        because: "no connection to {at}: {said}",
        rule: "{way}",
        change: "see whether other servers can be reached from this machine",
    }
    /// What listens there takes the connection and says nothing.
    NoStream = "no-stream", Peer {
        because: "{at} takes the connection and says nothing where {what} is to begin",
        rule: "`negotiation` in [limits]",
        change: "{operator} has to see what listens there, and whether it is overloaded",
    }
    /// What listens there closes the connection without a word.
    ClosedAtOnce = "closed-at-once", Peer {
        because: "{at} closes the connection {after}without a word: {said}",
        rule: "RFC 6120 §4.2",
        change: "{operator} has to see what listens there, and whether it has blocked your address",
    }
    /// What listens there does not speak XMPP.
    NotXmpp = "not-xmpp", Peer {
        because: "what listens at {at} does not speak XMPP{said}",
        rule: "RFC 6120 §4.2",
        change: "{operator} has to correct the SRV records, or what listens there",
    }
    /// What listens there speaks XMPP with clients or components.
    NotForServers = "not-for-servers", Peer {
        because: "what listens at {at} speaks XMPP with {users}, and not with servers",
        rule: "RFC 6120 §4.8.2",
        change: "{operator} has to correct the port in {service}.{peer} (SRV); servers usually listen for others on \
                 port {port}",
    }
    /// What listens there wants TLS from the first byte, and the DNS does not say so.
    TlsAtOnce = "tls-at-once", Peer {
        because: "what listens at {at} wants TLS from the first byte, where a stream in clear is to begin",
        rule: "XEP-0368 §3",
        change: "{operator} has to announce this port by _xmpps-server._tcp.{peer}, and another by \
                 _xmpp-server._tcp.{peer}",
    }
    /// The server does not offer TLS, and it is required.
    NoStarttls = "no-starttls", Peer {
        because: "{peer} does not offer STARTTLS",
        rule: "{key tls}",
        change: "{operator} has to switch TLS on between servers, with a certificate; or, if the network may read \
                 the stream, have {exception} tls = \"optional\"",
    }
    /// The server offers STARTTLS and refuses it.
    StarttlsRefused = "starttls-refused", Peer {
        because: "no TLS with {peer}: {said}",
        rule: "RFC 6120 §5.4.2.2",
        change: "{operator} has to see why; most often a certificate for {peer} is missing there",
    }
    /// What listens there does not speak TLS where TLS is to begin.
    NotTls = "not-tls", Peer {
        because: "what listens at {at} does not speak TLS where TLS is to begin: {said}",
        rule: "RFC 6120 §5.4.3.2",
        change: "{operator} has to mend STARTTLS",
    }
    /// The server speaks only versions of TLS older than `min_tls`.
    TlsVersion = "tls-version", Peer {
        because: "{peer} speaks no version of TLS that is allowed here: {said}",
        rule: "{key min_tls}",
        change: "{operator} has to allow TLS {floor} or newer",
    }
    /// The server speaks TLS 1.2 without the extended master secret.
    TlsNoEms = "tls-no-ems", Peer {
        because: "{peer} speaks TLS 1.2 without the extended master secret (RFC 7627)",
        rule: "{key require_ems}",
        change: "{operator} has to update its TLS library, or to allow TLS 1.3; or have {exception} \
                 require_ems = false",
    }
    /// The server has no cipher, group or signature in common with us.
    TlsNothingInCommon = "tls-nothing-in-common", Peer {
        because: "{peer} has no cipher, group or signature in common with us: {said}",
        rule: "RFC 6120 §5.4.3.2",
        change: "{operator} has to allow what RFC 9325 §4.2 recommends; a certificate that is missing there looks \
                 the same",
    }
    /// The server has no certificate for the domain.
    TlsName = "tls-name", Peer {
        because: "the server there has no certificate for {peer}: {said}",
        rule: "RFC 6120 §5.4.3.2",
        change: "{operator} has to give it one, or to correct the SRV records",
    }
    /// The server goes away in the TLS handshake.
    TlsClosed = "tls-closed", Peer {
        because: "{at} goes away in the TLS handshake: {said}",
        rule: "RFC 6120 §5.4.3.2",
        change: "{operator} has to see why: no certificate for {peer}, or versions and ciphers that do not fit",
    }
    /// Another failure of the TLS handshake.
    Tls = "tls", Peer {
        because: "the TLS handshake with {at} failed: {said}",
        rule: "RFC 6120 §5.4.3.2",
        change: "{operator} has to see why; the log there may say more",
    }
    /// The server ends the TLS handshake because of our certificate.
    OurCertificateRefused = "our-certificate-refused", Us {
        because: "{peer} does not take our certificate in the TLS handshake: {said}",
        rule: "RFC 6120 §13.7.2.2",
        change: "show a certificate for {us} that {peer} believes, with its full chain",
    }
    /// The server ends the TLS handshake because it was shown no certificate.
    CertificateWanted = "certificate-wanted", Us {
        because: "{peer} wants a certificate in the TLS handshake, and was shown none: {said}",
        rule: "RFC 6120 §13.7.2.2",
        change: "get a certificate for {us}",
    }
    /// Its certificate, or that of its authority, has expired.
    CertificateExpired = "certificate-expired", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to renew the certificate, and to have the server take it",
    }
    /// Its certificate is not valid yet.
    CertificateNotYetValid = "certificate-not-yet-valid", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to use a certificate that is valid already; is the clock of this machine right?",
    }
    /// No authority that is known here signed its certificate, or the chain is not complete.
    CertificateUnknownIssuer = "certificate-unknown-issuer", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to use an authority that others know; or, if you have reason to believe it, have \
                 {exception} `trust` with the authority's certificate",
    }
    /// The server signed its certificate itself.
    CertificateSelfSigned = "certificate-self-signed", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to get a certificate from an authority; or, if you have reason to believe it, have \
                 {exception} `trust` with this certificate{by dialback}",
    }
    /// Its certificate has other names.
    CertificateWrongName = "certificate-wrong-name", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to use a certificate with the name {peer}; that of the machine does not count, nor \
                 does the common name; if the server has one, it shows it only where it knows {peer} by the name in \
                 the handshake (SNI)",
    }
    /// Its certificate is not for servers.
    CertificateWrongPurpose = "certificate-wrong-purpose", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to get a certificate for servers",
    }
    /// Its certificate was revoked.
    CertificateRevoked = "certificate-revoked", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to get a new certificate, with a new key",
    }
    /// Its certificate is not the one that its zone names.
    CertificateNotInTlsa = "certificate-not-in-tlsa", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; {key dane}; RFC 7673 §4.2",
        change: "{operator} has to publish this certificate{records} (TLSA), or to show the one that is published; a \
                 new certificate needs its record before it is used (RFC 7671 §8.4)",
    }
    /// Its zone names no certificate, and `dane` is `"require"`.
    CertificateNoTlsa = "certificate-no-tlsa", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; {key dane}; RFC 7673 §4.2",
        change: "{operator} has to sign the zone and to publish TLSA records; or be content with an authority: have \
                 {exception} dane = \"use\"",
    }
    /// Its name servers do not say whether its zone names a certificate.
    CertificateUntold = "certificate-untold", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; {key dane}; RFC 7673 §4.2",
        change: "{operator} has to see that the name servers answer for TLSA records, and that the zone is signed well",
    }
    /// Its certificate is missing, or bad in another way.
    Certificate = "certificate", Peer {
        because: "the certificate of {peer}'s server does not prove {peer}: {said}",
        rule: "{key verify}; RFC 6120 §13.7.2",
        change: "{operator} has to get another certificate",
    }
    /// The server does not serve the domain.
    HostUnknown = "host-unknown", Peer {
        because: "the server there does not serve {peer}: {said}",
        rule: "{condition}",
        change: "{operator} has to serve the domain there, or to correct the SRV records",
    }
    /// The server does not believe that we are our domain.
    NotBelieved = "not-believed", Us {
        because: "{peer} does not believe that we are {us}: {said}",
        rule: "{condition}",
        change: "show a certificate for {us} that {peer} believes, with its full chain; {operator} can say what is \
                 wrong with this one",
    }
    /// A rule of the server is against it.
    PeerPolicy = "peer-policy", Peer {
        because: "a rule of {peer} is against it: {said}",
        rule: "{condition}",
        change: "ask {operator} whether {us} is blocked, or what else is wanted: encryption, a certificate",
    }
    /// The server says nothing to a stream that has no `from`.
    WantsAName = "wants-a-name", Us {
        because: "{peer} says nothing to who does not say who it is: {said}",
        rule: "{condition}",
        change: "name a domain: --from, or a configuration (-c)",
    }
    /// The server is overloaded, going down, or broken for a time.
    PeerInTrouble = "peer-in-trouble", Peer {
        because: "{peer} ends the stream: {said}",
        rule: "{condition}",
        change: "try again later; if it stays so, tell {operator}",
    }
    /// The server does not know what we speak.
    PeerOutdated = "peer-outdated", Peer {
        because: "{peer} ends the stream: {said}",
        rule: "{condition}",
        change: "{operator} has to update the server",
    }
    /// Another stream error.
    StreamError = "stream-error", Peer {
        because: "{peer} ends the stream: {said}",
        rule: "{condition}",
        change: "ask {operator}; the log there may say more",
    }
    /// Encryption is switched off here and wanted there.
    Policy = "policy", Us {
        because: "{said}",
        rule: "{key tls}",
        change: "allow encryption with {peer}: tls = \"optional\" or \"required\"",
    }
    /// The server breaks the protocol.
    Protocol = "protocol", Peer {
        because: "{peer} breaks the protocol: {said}",
        rule: "{condition}",
        change: "{operator} has to mend or update the server",
    }
    /// The server is too slow.
    Timeout = "timeout", Peer {
        because: "{peer} is too slow: {said}",
        rule: "`negotiation` in [limits]",
        change: "ask {operator} whether the server is overloaded",
    }
    /// The connection broke.
    Lost = "lost", Between {
        because: "the connection to {at} broke: {said}",
        rule: "RFC 6120 §4.4",
        change: "try again; if it stays so, the log of {peer}'s server says why it closed",
    }
    /// The server closed the stream without a reason.
    Closed = "closed", Peer {
        because: "{peer} closes the stream without saying why",
        rule: "RFC 6120 §4.4",
        change: "ask {operator}; the log there may say more",
    }
    /// `--timeout` was over before everything was seen.
    OutOfTime = "out-of-time", Nobody {
        because: "time was over after {seconds} s, before everything was seen",
        rule: "--timeout",
        change: "give it more time: --timeout 120s",
    }
    /// The server was shown our certificate and offers no SASL mechanism.
    NothingOffered = "nothing-offered", Us {
        because: "{peer} offers {offered}, not even EXTERNAL: it was shown the certificate of {us} and does not believe \
                  it, or it has EXTERNAL switched off",
        rule: "{key auth}; XEP-0178 §3",
        change: "show a certificate that {peer} believes: for {us}, valid, with its full chain, from an authority that \
                 is trusted there{or dialback}",
    }
    /// The server did not ask for our certificate in the TLS handshake.
    NotAsked = "not-asked", Peer {
        because: "{peer} {asked}, so it has not seen that of {us}, and offers {offered}",
        rule: "XEP-0178 §3; RFC 6120 §13.7.2.2",
        change: "{operator} has to have the certificates of others asked for, also by a proxy that makes TLS in front \
                 of the server{or dialback}",
    }
    /// The server offers EXTERNAL, and we have no certificate.
    NoCertificate = "no-certificate", Us {
        because: "{peer} offers EXTERNAL, and {us} has no certificate to show",
        rule: "{key auth}",
        change: "get a certificate for {us}{or dialback}",
    }
    /// The server offers no method that `auth` has.
    NothingInCommon = "nothing-in-common", Us {
        because: "{peer} offers {offered}, and nothing of that may be used here",
        rule: "{key auth}",
        change: "agree with {operator} on a method, and name it in `auth`{or dialback}",
    }
    /// The server refuses our certificate (SASL EXTERNAL).
    ExternalRefused = "external-refused", Us {
        because: "{peer} refuses {said}",
        rule: "{condition}; XEP-0178 §3",
        change: "ask {operator} why: the certificate of {us} looks well from here. Is its full chain in the \
                 file, and is its authority trusted there?{or dialback}",
    }
    /// The server refuses a password or a Kerberos proof.
    PasswordRefused = "password-refused", Us {
        because: "{peer} refuses {said}",
        rule: "{condition}",
        change: "compare `credentials` in {policy} with what {operator} expects{what}",
    }
    /// The server does not prove that it knows the password or the key.
    Mechanism = "mechanism", Between {
        because: "{peer} does not prove to us that it knows the {secret} for {said}",
        rule: "`credentials` in {policy}",
        change: "compare the {secret} with that of {operator}; if they are the same, an attacker stands between you",
    }
    /// There is no Kerberos ticket for the server.
    Kerberos = "kerberos", Us {
        because: "there is no Kerberos ticket for the server of {peer}: {said}",
        rule: "`credentials` in {policy}",
        change: "see whether the KDC answers, and knows both our principal and the other server's",
    }
    /// The server cannot authenticate anybody for a time.
    Temporary = "temporary", Peer {
        because: "{peer} refuses {said}",
        rule: "RFC 6120 §6.5.11",
        change: "try again later; if it stays so, tell the operator of the other side",
    }
    /// The server asked another server about our dialback key than one of ours.
    DialbackInvalid = "dialback-invalid", Us {
        because: "{peer} asked the server where the DNS leads for {us}{found}, and that one does not know our \
                  key{said}",
        rule: "XEP-0220 §2.2.2",
        change: "have the daemon with this configuration and its `secret` in [dialback] run where the DNS leads for \
                 {us}, and no other server",
    }
    /// The server does not find us in the DNS.
    DialbackNotFound = "dialback-not-found", Us {
        because: "{peer} does not find {us} in the DNS: {said}",
        rule: "XEP-0220 §2.5",
        change: "publish _xmpp-server._tcp.{us} (SRV), and see that the name has an address everywhere",
    }
    /// The server does not reach our server.
    DialbackNoWayBack = "dialback-no-way-back", Us {
        because: "{peer} cannot connect to the server of {us}: {said}",
        rule: "{condition}",
        change: "see that the daemon for {us} runs, that the SRV records lead to it, and that its firewall lets others \
                 in (5269, 5270)",
    }
    /// The server does not take dialback.
    DialbackUnwanted = "dialback-unwanted", Peer {
        because: "{peer} does not take dialback from {us}: {said}",
        rule: "XEP-0220 §2.5",
        change: "show {peer} a certificate for {us} that it believes, or ask its operator to take dialback",
    }
    /// Dialback failed in another way.
    Dialback = "dialback", Peer {
        because: "dialback with {peer} failed: {said}",
        rule: "XEP-0220 §2.5",
        change: "try again later; if it stays so, ask {operator}",
    }
    /// The server took the proof and not the first stanza.
    PingRefused = "ping-refused", Peer {
        because: "{peer} takes the proof and ends the stream at the first stanza: {said}",
        rule: "XEP-0199 §4.3; RFC 6120 §4.9.3",
        change: "ask {operator}; the log there may say more",
    }
    /// Anything else.
    Other = "other", Between {
        because: "{said}",
        rule: "RFC 6120 §4.4",
        change: "try again; if it stays so, ask {operator}",
    }
    /// A warning: its certificate expires within 14 days.
    CertificateRunsOut = "certificate-runs-out", Peer {
        because: "the certificate of {peer}'s server is good for {days} more days",
        rule: "RFC 6120 §13.7.2",
        change: "{operator} has to renew it in time",
    }
    /// A warning: our own certificate has a fault.
    OurCertificate = "our-certificate", Us {
        because: "{said}",
        rule: "RFC 6120 §13.7.2",
        change: "get a certificate for {us}",
    }
    /// A warning: others do not find our domain in the DNS.
    WeAreNotFound = "we-are-not-found", Us {
        because: "others do not find {us}, so nothing comes back, and dialback fails: {said}",
        rule: "RFC 6120 §3.2.1",
        change: "publish _xmpp-server._tcp.{us} (SRV) with the name of this machine",
    }
    /// A warning: the server takes smaller stanzas than we do.
    StanzaLimit = "stanza-limit", Peer {
        because: "{peer} takes no stanza larger than {size} ({ours} here): larger ones bounce",
        rule: "XEP-0478 §3.1",
        change: "send smaller ones; if that is too little, ask {operator} for more",
    }
}

impl Code {
    /// Its name in `--json`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::fill::fill, *};

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/probe.md");

    fn rows() -> String {
        let word = |name: &str| {
            match name {
                "peer" => "example.net",
                "us" => "example.org",
                "operator" => "the operator of example.net",
                "policy" => "the rule",
                "exception" => "a `[[peer]]` with",
                "host" => "it",
                "port" => "5269 or 5270",
                "proxy" => "the proxy",
                "floor" => "`min_tls`",
                "service" => "_xmpp-server._tcp",
                "secret" => "password",
                _ => "",
            }
            .to_owned()
        };
        let row = |code: &Code| {
            let entry = code.entry();
            let side = serde_json::to_value(entry.side).unwrap();
            let (found, change) = (entry.found.concat(), fill(entry.change, word));
            let row = [code.name(), side.as_str().unwrap(), found.trim(), &change];
            format!(
                "| `{}` | `{}` | {} | {} |\n",
                row[0], row[1], row[2], row[3]
            )
            .replace("|  |", "| |")
        };
        Code::ALL.iter().map(row).collect()
    }

    /// With `UPDATE=1` in the environment the page is written anew.
    #[test]
    fn the_table_of_codes_on_the_page_is_made_from_the_codes() {
        let page = fs::read_to_string(PAGE).unwrap();
        let head = "| code | side | what was found | what to change |\n|---|---|---|---|\n";
        let start = page.find(head).unwrap() + head.len();
        let mut made = page.clone();
        made.replace_range(start.., &rows());
        if std::env::var_os("UPDATE").is_some() {
            fs::write(PAGE, &made).unwrap();
        }
        let other = made
            .lines()
            .zip(page.lines())
            .find(|(made, page)| made != page);
        assert_eq!(other, None, "UPDATE=1 writes the page");
        assert!(made == page, "UPDATE=1 writes the page");
    }

    #[test]
    fn every_code_has_its_own_name() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
