//! How the two servers of one row are set up: what both are told, in one value. Each peer's file and
//! `s2sd_pair.rs` turn it into a configuration.

/// A domain that nobody serves.
pub(super) const NOBODY: &str = "nosuch.test";

/// What the connections run over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Plain,
    StartTls,
    /// XEP-0368: the zone has `_xmpps-server` records and no others.
    DirectTls,
}

/// What counts as proof of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    Dialback,
    External,
    /// EXTERNAL, and dialback where that fails.
    Either,
    /// What the two were given. Only between two of us.
    Agreed(Agreed),
}

/// What two servers were given to know each other by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Agreed {
    DigestMd5,
    ScramSha256Plus,
    /// Tickets of a realm that is made for the row.
    Gssapi,
    KerberosV4,
}

impl Agreed {
    /// The mechanism, as SASL has it and as our `auth` has it.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::DigestMd5 => ("DIGEST-MD5", "digest-md5"),
            Self::ScramSha256Plus => ("SCRAM-SHA-256-PLUS", "scram-sha-256-plus"),
            Self::Gssapi => ("GSSAPI", "gssapi"),
            Self::KerberosV4 => ("KERBEROS_V4", "kerberos-v4"),
        }
    }
}

/// The certificate that a server shows. Each is made for each domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Certificate {
    /// Signed by the lab's authority, both purposes.
    Good,
    /// Signed by its own key.
    SelfSigned,
    /// Signed by the lab's authority for another domain.
    WrongName,
    /// Signed by an authority that nobody knows.
    Stranger,
    /// Good, but no longer.
    Expired,
    /// As public authorities sign since 2026: serverAuth only.
    ServerOnly,
    /// With an SRVName for `_xmpp-server` (RFC 4985) beside the dNSName.
    SrvName,
    /// With an id-on-xmppAddr (RFC 6120 §13.7.1.4) and no other name.
    XmppAddr,
    /// With both.
    XmppAddrToo,
    /// For the domain and those directly below it.
    Wildcard,
}

impl Certificate {
    pub(super) const ALL: [Self; 10] = [
        Self::Good,
        Self::SelfSigned,
        Self::WrongName,
        Self::Stranger,
        Self::Expired,
        Self::ServerOnly,
        Self::SrvName,
        Self::XmppAddr,
        Self::XmppAddrToo,
        Self::Wildcard,
    ];

    /// The name of its files, and what it says as a leaf of `lab ca`.
    pub(super) fn leaf(self, domain: &str) -> (String, String) {
        let (suffix, words) = match self {
            Self::Good => ("", format!("dns={domain}")),
            Self::SelfSigned => (".self", format!("dns={domain} issuer=self")),
            Self::WrongName => (".wrong", "dns=elsewhere.test".to_owned()),
            Self::Stranger => (".stranger", format!("dns={domain} issuer=stranger")),
            Self::Expired => (".expired", format!("dns={domain} validity=expired")),
            Self::ServerOnly => (".server", format!("dns={domain} purpose=server")),
            Self::SrvName => (".srv", format!("dns={domain} srv={domain}")),
            Self::XmppAddr => (".xmpp", format!("xmpp={domain}")),
            Self::Wildcard => (".wildcard", format!("dns={domain} dns=*.{domain}")),
            Self::XmppAddrToo => (".xmpp-dns", format!("dns={domain} xmpp={domain}")),
        };
        (format!("{domain}{suffix}"), words)
    }
}

/// Who opens the stream that a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// The peer is the initiating server.
    FromPeer,
    /// The peer is the receiving server.
    ToPeer,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::FromPeer, Self::ToPeer];

    /// The peer's part, in the RFC's words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FromPeer => "initiating",
            Self::ToPeer => "receiving",
        }
    }
}

/// The setup of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) transport: Transport,
    pub(super) proof: Proof,
    /// Does s2sd fall back to dialback where a certificate is bad? (The peers do where `proof` lets them.)
    pub(super) lenient: bool,
    /// Does s2sd require TLS, whatever the transport is, which is then the peer's alone?
    pub(super) insists: bool,
    /// Is the DNS signed, with TLSA records for what both servers show (RFC 7673)?
    pub(super) dane: bool,
    /// Does the peer send and take stanzas in both directions on one stream (XEP-0288), if it can? s2sd does by itself.
    pub(super) bidi: bool,
    /// So many further domains of ours are below the first, each with its component.
    pub(super) further: usize,
    pub(super) our_certificate: Certificate,
    pub(super) peer_certificate: Certificate,
}

impl Setup {
    pub(super) const fn new(transport: Transport, proof: Proof) -> Self {
        Self {
            transport,
            proof,
            lenient: false,
            insists: false,
            dane: false,
            bidi: false,
            further: 0,
            our_certificate: Certificate::Good,
            peer_certificate: Certificate::Good,
        }
    }

    pub(super) const fn certificates(self, certificate: Certificate) -> Self {
        Self {
            our_certificate: certificate,
            peer_certificate: certificate,
            ..self
        }
    }

    pub(super) fn tls(&self) -> bool {
        self.transport != Transport::Plain
    }

    pub(super) fn dialback(&self) -> bool {
        matches!(self.proof, Proof::Dialback | Proof::Either)
    }

    /// Does the row need a Kerberos realm?
    pub(super) fn kerberos(&self) -> bool {
        self.proof == Proof::Agreed(Agreed::Gssapi)
    }
}
