//! The names of all verdicts and warnings. docs/probe.md has them too, and a test compares.

use serde::{Serialize, Serializer};

/// What was found, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// It works.
    Works,
    /// No fault was seen, and not everything could be tried.
    WorksAsFarAsSeen,
    /// Our own lists do not admit the domain.
    Denied,
    /// The name does not exist in the DNS, or has no server there.
    NoSuchDomain,
    /// SRV says ".".
    NoService,
    /// SRV leads to a machine without address.
    TargetWithoutAddress,
    /// The DNS gave no answer.
    Dns,
    /// It is reached through Tor only, and there is no proxy.
    Onion,
    /// DNSSEC refutes an answer.
    DnssecBogus,
    /// An answer is not signed, and has to be.
    DnssecUnsigned,
    /// Its addresses are not public, and others are left out here.
    NotPublic,
    /// Nothing listens there.
    Refused,
    /// TCP is not answered.
    NoAnswer,
    /// There is no way from here to there.
    NoRoute,
    /// The proxy does not get there.
    Proxy,
    /// Our own address cannot be used.
    Source,
    /// Another failure of TCP.
    Connect,
    /// It takes the connection and says nothing.
    NoStream,
    /// It closes the connection without a word.
    ClosedAtOnce,
    /// It speaks something else.
    NotXmpp,
    /// It speaks XMPP, with clients or components.
    NotForServers,
    /// It wants TLS where a stream in clear is to begin.
    TlsAtOnce,
    /// It offers no STARTTLS, and we require it.
    NoStarttls,
    /// It offers STARTTLS and refuses it.
    StarttlsRefused,
    /// It does not speak TLS where TLS is to begin.
    NotTls,
    /// No version of TLS in common.
    TlsVersion,
    /// TLS 1.2 without the extended master secret.
    TlsNoEms,
    /// No cipher, group or signature in common.
    TlsNothingInCommon,
    /// It has no certificate for the name.
    TlsName,
    /// It goes away in the handshake.
    TlsClosed,
    /// Another failure of the handshake.
    Tls,
    /// It refuses our certificate in the handshake.
    OurCertificateRefused,
    /// It wants a certificate in the handshake, and was shown none.
    CertificateWanted,
    /// Its certificate is too old.
    CertificateExpired,
    /// Its certificate is too new.
    CertificateNotYetValid,
    /// Nobody whom we trust signed it, or the chain is not whole.
    CertificateUnknownIssuer,
    /// It signed its certificate itself.
    CertificateSelfSigned,
    /// Its certificate has other names.
    CertificateWrongName,
    /// Its certificate is not for servers.
    CertificateWrongPurpose,
    /// Its certificate was taken back.
    CertificateRevoked,
    /// Its certificate is not the one that its zone names.
    CertificateNotInTlsa,
    /// Its zone names no certificate, and has to.
    CertificateNoTlsa,
    /// Whether its zone names one cannot be told.
    CertificateUntold,
    /// Its certificate is bad in another way, or missing.
    Certificate,
    /// The server does not serve the domain.
    HostUnknown,
    /// It does not believe that we are who we say.
    NotBelieved,
    /// A rule of its own is against it.
    PeerPolicy,
    /// It says nothing to nobody.
    WantsAName,
    /// It is overloaded, going down, or broken for a time.
    PeerInTrouble,
    /// It does not know what we speak.
    PeerOutdated,
    /// Another stream error.
    StreamError,
    /// Our own rule about encryption is against it.
    Policy,
    /// It breaks the protocol.
    Protocol,
    /// It is too slow.
    Timeout,
    /// The connection broke.
    Lost,
    /// It closes the stream without saying why.
    Closed,
    /// We gave it too little time.
    OutOfTime,
    /// It offers no mechanism at all, though we have a certificate.
    NothingOffered,
    /// It did not ask for a certificate, though we have one.
    NotAsked,
    /// It offers EXTERNAL, and we have no certificate.
    NoCertificate,
    /// It offers nothing that may be used here.
    NothingInCommon,
    /// It refuses EXTERNAL.
    ExternalRefused,
    /// It refuses a password.
    PasswordRefused,
    /// It does not prove that it knows the password.
    Mechanism,
    /// There is no Kerberos ticket to show.
    Kerberos,
    /// It cannot authenticate anybody for a time.
    Temporary,
    /// Whoever it asked about our key does not know it.
    DialbackInvalid,
    /// It does not find us in the DNS.
    DialbackNotFound,
    /// It does not reach our server.
    DialbackNoWayBack,
    /// It does not take dialback.
    DialbackUnwanted,
    /// Dialback failed in another way.
    Dialback,
    /// It took the proof, and not the first stanza.
    PingRefused,
    /// Anything else.
    Other,
    /// Its certificate is good, but not for long.
    CertificateRunsOut,
    /// Our own certificate has a fault.
    OurCertificate,
    /// Others do not find us in the DNS.
    WeAreNotFound,
    /// It takes smaller stanzas than we do.
    StanzaLimit,
}

const NAMES: [(Code, &str); 77] = [
    (Code::Works, "works"),
    (Code::WorksAsFarAsSeen, "works-as-far-as-seen"),
    (Code::Denied, "denied"),
    (Code::NoSuchDomain, "no-such-domain"),
    (Code::NoService, "no-service"),
    (Code::TargetWithoutAddress, "target-without-address"),
    (Code::Dns, "dns"),
    (Code::Onion, "onion"),
    (Code::DnssecBogus, "dnssec-bogus"),
    (Code::DnssecUnsigned, "dnssec-unsigned"),
    (Code::NotPublic, "not-public"),
    (Code::Refused, "refused"),
    (Code::NoAnswer, "no-answer"),
    (Code::NoRoute, "no-route"),
    (Code::Proxy, "proxy"),
    (Code::Source, "source"),
    (Code::Connect, "connect"),
    (Code::NoStream, "no-stream"),
    (Code::ClosedAtOnce, "closed-at-once"),
    (Code::NotXmpp, "not-xmpp"),
    (Code::NotForServers, "not-for-servers"),
    (Code::TlsAtOnce, "tls-at-once"),
    (Code::NoStarttls, "no-starttls"),
    (Code::StarttlsRefused, "starttls-refused"),
    (Code::NotTls, "not-tls"),
    (Code::TlsVersion, "tls-version"),
    (Code::TlsNoEms, "tls-no-ems"),
    (Code::TlsNothingInCommon, "tls-nothing-in-common"),
    (Code::TlsName, "tls-name"),
    (Code::TlsClosed, "tls-closed"),
    (Code::Tls, "tls"),
    (Code::OurCertificateRefused, "our-certificate-refused"),
    (Code::CertificateWanted, "certificate-wanted"),
    (Code::CertificateExpired, "certificate-expired"),
    (Code::CertificateNotYetValid, "certificate-not-yet-valid"),
    (Code::CertificateUnknownIssuer, "certificate-unknown-issuer"),
    (Code::CertificateSelfSigned, "certificate-self-signed"),
    (Code::CertificateWrongName, "certificate-wrong-name"),
    (Code::CertificateWrongPurpose, "certificate-wrong-purpose"),
    (Code::CertificateRevoked, "certificate-revoked"),
    (Code::CertificateNotInTlsa, "certificate-not-in-tlsa"),
    (Code::CertificateNoTlsa, "certificate-no-tlsa"),
    (Code::CertificateUntold, "certificate-untold"),
    (Code::Certificate, "certificate"),
    (Code::HostUnknown, "host-unknown"),
    (Code::NotBelieved, "not-believed"),
    (Code::PeerPolicy, "peer-policy"),
    (Code::WantsAName, "wants-a-name"),
    (Code::PeerInTrouble, "peer-in-trouble"),
    (Code::PeerOutdated, "peer-outdated"),
    (Code::StreamError, "stream-error"),
    (Code::Policy, "policy"),
    (Code::Protocol, "protocol"),
    (Code::Timeout, "timeout"),
    (Code::Lost, "lost"),
    (Code::Closed, "closed"),
    (Code::OutOfTime, "out-of-time"),
    (Code::NothingOffered, "nothing-offered"),
    (Code::NotAsked, "not-asked"),
    (Code::NoCertificate, "no-certificate"),
    (Code::NothingInCommon, "nothing-in-common"),
    (Code::ExternalRefused, "external-refused"),
    (Code::PasswordRefused, "password-refused"),
    (Code::Mechanism, "mechanism"),
    (Code::Kerberos, "kerberos"),
    (Code::Temporary, "temporary"),
    (Code::DialbackInvalid, "dialback-invalid"),
    (Code::DialbackNotFound, "dialback-not-found"),
    (Code::DialbackNoWayBack, "dialback-no-way-back"),
    (Code::DialbackUnwanted, "dialback-unwanted"),
    (Code::Dialback, "dialback"),
    (Code::PingRefused, "ping-refused"),
    (Code::Other, "other"),
    (Code::CertificateRunsOut, "certificate-runs-out"),
    (Code::OurCertificate, "our-certificate"),
    (Code::WeAreNotFound, "we-are-not-found"),
    (Code::StanzaLimit, "stanza-limit"),
];

impl Code {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(code, _)| *code)
    }

    /// Its name in `--json`.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(code, _)| *code == self);
        found.map_or("", |(_, name)| name)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../../docs/probe.md");

    /// The left column of the table of codes.
    fn documented() -> Vec<String> {
        let table = DOCUMENT.split("| code | what was found |").nth(1).unwrap();
        let rows = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap());
        let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        names.map(str::to_owned).collect()
    }

    #[test]
    fn every_code_has_its_own_name_and_is_documented() {
        let mut names: Vec<_> = Code::all().map(|code| code.name().to_owned()).collect();
        let mut documented = documented();
        names.sort();
        documented.sort();
        assert_eq!(names, documented);
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }
}
