//! The rules for a peer: what may prove its domain, and how to reach it.
//!
//! `[policy]` holds for all peers, a `[[peer]]` entry for those that its pattern matches. Both end as a complete
//! [`Policy`], which does not say where it came from.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use serde_json::json;
use toml::{Spanned, de::DeValue};
use xmpp_sasl::{
    Password, ScramKeys,
    gssapi::{self, Acceptor, Initiator},
    kerberos_v4,
};
use xmpp_stream::Domain;

use super::{
    Agreement, Connect, Limits, Method, Over, Pattern, Proxy, addresses,
    diagnostics::Diagnostic,
    kind::{Else, Kind, List, Name, of, show},
    method::Methods,
    reader::At,
    server::{LEAST_STANZA, MAX_COUNT},
    table::{Said, Shown, Table, table},
    values::{number, size, size_or_none, truth, word, words},
    wrong::Wrong,
};

table! {
    /// How the streams with one peer are secured and proved.
    #[derive(Clone, Debug)]
    pub struct Policy in "policy" {
        /// `"disabled"`: s2sd neither offers nor uses TLS; a peer that connects to `s2s_tls` all the same
        /// can prove itself by dialback only. `"optional"`: s2sd uses TLS where both sides can. If the
        /// handshake fails, the attempt ends; it never falls back to plain text. `"required"`: s2sd
        /// negotiates nothing else before TLS.
        pub tls: TlsMode = word::<TlsMode>(), "required";
        /// The oldest TLS version: `"1.2"` or `"1.3"`.
        pub min_tls: MinTls = word::<MinTls>(), "1.2";
        /// Whether TLS 1.2 needs the extended master secret (RFC 7627). Without it, an attacker in between
        /// can have two sessions with the same keys. TLS 1.3 does not need it. With `false`, s2sd accepts
        /// peers whose TLS library lacks it. Over TLS 1.2 it then neither offers nor uses the channel
        /// binding `tls-exporter` (RFC 9266 §2), only `tls-server-end-point`.
        pub require_ems: bool = truth(), true;
        /// What counts as proof, strongest first. `"external"`: a certificate (SASL EXTERNAL). Where it
        /// proves the domain of a dialback key, s2sd does not call back (XEP-0344). `"dialback"`: the DNS
        /// (XEP-0220). Only in a `[[peer]]`, by a [password](#passwords): `"scram"`, which is short for
        /// `"scram-sha-512-plus"`, `"scram-sha-256-plus"`, `"scram-sha-1-plus"`, `"scram-sha-512"`,
        /// `"scram-sha-256"`, `"scram-sha-1"` (RFC 5802, RFC 7677); `"digest-md5"` (RFC 2831); `"plain"`
        /// (RFC 4616); or by [Kerberos](#kerberos): `"gssapi"` (RFC 4752), `"kerberos-v4"` (RFC 2222,
        /// historic).
        pub auth: Vec<Method> = Methods, ["external", "dialback"] => "nothing";
        /// What s2sd does if the peer shows a certificate that is not good. `"strict"`: it ends the
        /// attempt. `"dialback"`: dialback has to prove the domain instead, and `auth` must have it. On
        /// outgoing streams, only the DNS then proves whose server it is.
        pub verify: Verify = word::<Verify>(), "strict";
        /// Whether certificates are judged by records in the DNS that DNSSEC proves. Without
        /// [`dns.dnssec`](#dns) this key has no effect. `"use"`: if a domain publishes usable TLSA records
        /// for its servers (RFC 7673), its certificate has to match one. It is then good, whatever
        /// authority signed it, and s2sd uses TLS unless `tls = "disabled"`. If the domain publishes none,
        /// its certificate may name a server of the SRV records instead of the domain. Both hold for
        /// outgoing and for incoming streams (RFC 7712). `"require"`: a domain without such records has no
        /// good certificate; needs `tls = "required"` and `dnssec`. `"off"`: s2sd ignores TLSA records.
        pub dane: Dane = word::<Dane>(), "use";
        /// Whether a certificate that no authority signed, or that has another name, is good if the domain
        /// publishes it at `https://DOMAIN/.well-known/posh/xmpp-server.json` (RFC 7711). It holds for
        /// outgoing and for incoming streams. An authority of `trust` has to sign the web server's
        /// certificate. s2sd asks the web server only if neither `dane` nor an authority has proved the
        /// domain. It connects by the rule of `addresses`, and through `proxy` if there is one. It follows
        /// references and redirects to `https://HOST/.well-known/posh/NAME.json` on port 443 only. The log
        /// and the errors to our own senders have the result; the peer learns only that it is not known by
        /// POSH.
        pub posh: bool = truth(), false;
        /// Whether a stream carries stanzas in both directions ([bidi](flow.md#both-directions), XEP-0288), if the peer can do that.
        /// s2sd offers and uses it within TLS only, and only where the stream proves as much of the peer as this policy asks of a
        /// stream in the other direction.
        pub bidi: bool = truth(), true;
        /// Whether s2sd asks the peer to acknowledge what it takes (XEP-0198), if the peer can do that. What is not acknowledged
        /// when the connection breaks goes by the next stream, with a delay that says that it may have arrived before.
        pub stream_management: bool = truth(), true;
        /// Whether our domains share a stream to the peer ([further pairs on a stream](flow.md#further-pairs)). Each domain is proved
        /// by itself, by dialback (XEP-0220 §2.6). s2sd does so if the peer takes dialback keys, if `auth` allows dialback, and if
        /// the certificate that the stream was opened with names the further domain, too, or, where none was shown, the peer
        /// announces that it can refuse one domain alone. Otherwise, and if the peer refuses, that domain gets a stream of its own.
        pub multiplex: bool = truth(), true;
        /// The authorities that may sign certificates. `"system"`: those that the operating system trusts.
        /// A list of PEM files: those and no others.
        pub trust: TrustStore = Trust, "system" => "none";
        /// Files with lists of revoked certificates (CRL, RFC 5280), PEM or DER, of the authorities of
        /// `trust` and those below them. A certificate on the list of its issuer is bad, whether it is the
        /// server's own or one above it. s2sd does not check certificates of an authority without a list. A
        /// list whose nextUpdate has passed still counts, and s2sd warns about it. s2sd reads a file again
        /// when it changes.
        pub crl: Vec<PathBuf> = List(Name), [] => "none";
        /// The largest stanza that s2sd accepts from a peer, at least `"10000B"`. s2sd announces it
        /// (XEP-0478).
        pub max_stanza: usize = Else(size(LEAST_STANZA), || Limits::default().max_stanza) => "`max_stanza` of `[limits]`";
        /// How many stanzas s2sd reads from a peer in a second, over all streams that the peer made; `0` is
        /// no limit. Above the limit s2sd refuses nothing: it stops reading for a while, and so slows the
        /// peer down. The stanzas of one second may come at once.
        pub stanzas_per_second: usize = number(0, MAX_COUNT), 0 => "no limit";
        /// The same in bytes, once the peer is authenticated. Bytes of a stream that carries several
        /// domains count for each of them.
        pub bytes_per_second: usize = size_or_none(), 0 => "no limit";
        /// The addresses from the DNS or a POSH document that s2sd connects to. `"public"`: not to
        /// [special-purpose addresses](#addresses) such as loopback, private and link-local ones, since the
        /// owner of any domain can publish those of your own network. `"any"`: to all, for a network of
        /// your own.
        pub addresses: Addresses = word::<Addresses>(), "public";
        /// Our own addresses to connect from, the first of each family. s2sd does not use a family that is
        /// not in the list. An empty list leaves the choice to the system.
        pub source: Vec<IpAddr> = List(of("address", addresses::own_address)), [] => "chosen by the system";
    }
    and {
        /// The proxy for outgoing connections.
        pub proxy: Option<Proxy> = None;
        /// Where to connect instead of asking the DNS; empty: ask the DNS.
        pub connect: Vec<Connect> = Vec::new();
        /// Our credentials for this peer, if we agreed on some: a password, Kerberos.
        pub credentials: Option<PeerCredentials> = None;
        /// The credentials we accept from this peer, likewise.
        pub accept: Option<PeerAccept> = None;
        /// The rule's name, for people: `[policy]` or `[[peer]] legacy.example`.
        pub rule: String = "[policy]".to_owned();
    }
}

table! {
    /// The proxy for outgoing connections, which one of two keys names.
    #[derive(Debug)]
    pub(super) struct ProxyKeys in "policy" {
        /// Proxy for outgoing connections: `"socks5://127.0.0.1:9050"` (RFC 1928), or with a login
        /// `"socks5://user:password@host:port"` (RFC 1929; `%40` for an `@`). The empty string means no
        /// proxy, and in a `[[peer]]` it overrides the proxy of `[policy]`.
        pub(super) proxy: Said<Option<Proxy>> = of("proxy", addresses::proxy), "";
        /// The file with it, for a proxy with a login.
        pub(super) proxy_file: Said<PathBuf> = Name => "this or `proxy`";
    }
}

impl Policy {
    /// Each key of `[policy]` that has a field, with its value.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        Table::shown(self)
    }

    /// May this method prove the peer?
    pub fn allows(&self, method: Method) -> bool {
        self.auth.contains(&method)
    }

    /// May it on a stream like this one, with or without TLS?
    pub fn allows_over(&self, method: Method, tls: bool) -> bool {
        self.allows(method)
            && match method.over() {
                Over::Anything => true,
                // Without TLS only where the peer entry itself switches TLS off; with `optional` after TLS only.
                Over::TlsOrAgreed => tls != (self.tls == TlsMode::Disabled),
                Over::Tls => tls && self.tls != TlsMode::Disabled,
            }
    }

    /// Whether a peer has the same rules in both. Credentials are not compared: if there are any, this is `false`.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let Self {
            tls,
            min_tls,
            require_ems,
            auth,
            verify,
            dane,
            posh,
            // How many of our domains share a stream does not decide whether there is one.
            multiplex: _,
            // Which stream carries a stanza has no part in whether there is one.
            bidi: _,
            // Nor has what is known of it afterwards.
            stream_management: _,
            trust,
            crl,
            // What the peer may send does not decide whether there is a stream to it.
            max_stanza: _,
            stanzas_per_second: _,
            bytes_per_second: _,
            addresses,
            source,
            proxy,
            connect,
            credentials,
            accept: _,
            rule: _,
        } = self;
        *tls == other.tls
            && *min_tls == other.min_tls
            && *require_ems == other.require_ems
            && *auth == other.auth
            && *verify == other.verify
            && *dane == other.dane
            && *posh == other.posh
            && *trust == other.trust
            && *crl == other.crl
            && *addresses == other.addresses
            && *source == other.source
            && *connect == other.connect
            && proxy.is_none()
            && other.proxy.is_none()
            && credentials.is_none()
            && other.credentials.is_none()
    }

    /// What a handshake with the peer must have at least.
    pub fn tls_floor(&self) -> TlsFloor {
        TlsFloor {
            min: self.min_tls,
            ems: self.require_ems,
        }
    }

    /// May the peer prove itself on such a stream by this method, which needs an agreement, and do we have what we need
    /// to check it?
    pub fn accepts_over(&self, method: Method, tls: bool) -> bool {
        let accepts = |accept: &PeerAccept| accept.does_for(method);
        self.accept.as_ref().is_some_and(accepts) && self.allows_over(method, tls)
    }
}

words! {
    /// Whether TLS is used with a peer.
    pub enum TlsMode {
        /// Neither offered nor used.
        Disabled = "disabled",
        /// Used when the other side offers it; a failed handshake ends the attempt.
        Optional = "optional",
        /// Nothing else is negotiated before it (RFC 6120 §5.3.1).
        Required = "required",
    }
}

words! {
    /// The oldest TLS version that is spoken.
    pub enum MinTls {
        /// RFC 5246.
        V1_2 = "1.2",
        /// RFC 8446.
        V1_3 = "1.3",
    }
}

/// What a TLS handshake must have at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TlsFloor {
    /// The oldest version.
    pub min: MinTls,
    /// With TLS 1.2 the extended master secret (RFC 7627), without which two sessions may have the same one.
    pub ems: bool,
}

/// With the extended master secret.
impl From<MinTls> for TlsFloor {
    fn from(min: MinTls) -> Self {
        Self { min, ems: true }
    }
}

words! {
    /// What follows if a peer shows a certificate that is not good.
    pub enum Verify {
        /// It ends the attempt.
        Strict = "strict",
        /// Dialback has to prove the domain instead.
        Dialback = "dialback",
    }
}

words! {
    /// Whether TLSA records that DNSSEC proves decide about certificates (RFC 7673).
    pub enum Dane {
        /// They do not.
        Off = "off",
        /// Where a domain publishes TLSA records, its certificate has to match one.
        Use = "use",
        /// A domain has to publish TLSA records.
        Require = "require",
    }
}

words! {
    /// The addresses from the DNS that s2sd connects to. Addresses in `connect` are not limited.
    pub enum Addresses {
        /// Those that are reachable from everywhere.
        Public = "public",
        /// All.
        Any = "any",
    }
}

/// The authorities whose signature under a certificate counts.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum TrustStore {
    /// The authorities the operating system trusts.
    System,
    /// Those in these PEM files, and no others.
    Files(Vec<PathBuf>),
}

/// Our credentials for a peer, at least one.
#[derive(Clone, Debug, Default)]
pub struct PeerCredentials {
    /// For the mechanisms that use a password.
    pub account: Option<Account>,
    /// The identity to act as; none: the one that follows from what is proved.
    pub authzid: Option<String>,
    /// For GSSAPI. Without a principal it is that of the domain we speak for.
    pub gssapi: Option<Initiator>,
    /// For KERBEROS_V4.
    pub kerberos_v4: Option<kerberos_v4::Keys>,
}

/// Our account at a peer that wants a password.
#[derive(Clone, Debug)]
pub struct Account {
    /// The authentication identity.
    pub username: String,
    /// Its password.
    pub password: Password,
    /// The realm to pick; none: the one offered, or the peer's domain.
    pub realm: Option<String>,
}

impl PeerCredentials {
    /// Are they enough for this method?
    pub fn do_for(&self, method: Method) -> bool {
        method.agreement().is_some_and(|agreement| match agreement {
            Agreement::Password => self.account.is_some(),
            Agreement::Realm => self.gssapi.is_some(),
            Agreement::Key => self.kerberos_v4.is_some(),
        })
    }

    /// For GSSAPI, in this domain's name.
    pub fn initiator(&self, local: &Domain) -> Option<Initiator> {
        let initiator = self.gssapi.clone()?;
        // In the realm that krb5.conf has as the default one.
        let own = || format!("xmpp/{}", local.ascii());
        Some(Initiator {
            principal: initiator.principal.or_else(|| Some(own())),
            ..initiator
        })
    }
}

/// The credentials that we accept from a peer, at least one.
#[derive(Clone, Debug, Default)]
pub struct PeerAccept {
    /// For the mechanisms that use a password.
    pub account: Option<KnownAccount>,
    /// For GSSAPI.
    pub gssapi: Option<Tickets>,
    /// For KERBEROS_V4: one of these keys proves the peer.
    pub kerberos_v4: Option<kerberos_v4::Keys>,
}

/// The account of a peer that we want a password from.
#[derive(Clone, Debug)]
pub struct KnownAccount {
    /// The authentication identity.
    pub username: String,
    /// What we know of its password.
    pub known: Known,
    /// The realm it must name; none: any realm that we offered.
    pub realm: Option<String>,
}

/// The principals whose Kerberos tickets are the peer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tickets {
    /// What they are judged with.
    pub acceptor: Acceptor,
    /// The principals, in full. Empty: `xmpp/DOMAIN@REALM` with the peer's domain and the realm of our own principal.
    pub principals: Vec<String>,
}

impl PeerAccept {
    /// Is it enough to see this method's proof?
    pub fn does_for(&self, method: Method) -> bool {
        method.agreement().is_some_and(|agreement| match agreement {
            Agreement::Password => self
                .account
                .as_ref()
                .is_some_and(|account| account.known.does_for(method)),
            Agreement::Realm => self.gssapi.is_some(),
            Agreement::Key => self.kerberos_v4.is_some(),
        })
    }
}

impl Tickets {
    /// May `principal`, which showed a ticket for our principal `ours`, speak for this domain?
    pub fn are_of(&self, domain: &Domain, principal: &str, ours: &str) -> bool {
        if self.principals.is_empty() {
            // Only in our own realm: another realm that shares keys with ours may give its principals any name.
            gssapi::is_service_of(principal, ours, "xmpp", domain.ascii())
        } else {
            self.principals.iter().any(|known| known == principal)
        }
    }
}

/// What we know of the password of a peer.
#[derive(Clone, Debug)]
pub enum Known {
    /// The password.
    Password(Password),
    /// The keys that SCRAM makes of it, at most one for each hash function.
    Keys(Vec<ScramKeys>),
}

impl Known {
    /// Is it enough for this mechanism?
    pub fn does_for(&self, method: Method) -> bool {
        match self {
            Self::Password(_) => method.is_password(),
            Self::Keys(keys) => match method.hash() {
                Some(hash) => keys.iter().any(|keys| keys.hash() == hash),
                None => method == Method::Plain,
            },
        }
    }
}

/// One `[[peer]]` entry: a pattern and its rules.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The domains that the entry is for.
    pub pattern: Pattern,
    /// The rules, completed from `[policy]`.
    pub policy: Arc<Policy>,
}

/// `trust`: `"system"`, or the authorities in these files.
pub(super) struct Trust;

show! {
    TrustStore: |trust| match trust {
        TrustStore::System => json!("system"),
        TrustStore::Files(files) => files.show(),
    };
}

impl Kind for Trust {
    type Value = TrustStore;

    fn name(&self) -> String {
        "word or list of path".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<TrustStore> {
        match value.get_ref() {
            DeValue::String(word) if word == "system" => Some(TrustStore::System),
            DeValue::Array(list) => {
                if list.is_empty() {
                    let title = "`trust` is an empty list: no certificate would be valid";
                    let finding = Diagnostic::fault(Some(value.span()), title);
                    at.add(finding.help("write \"system\", or name a PEM file"));
                }
                List(Name).read(value, at).map(TrustStore::Files)
            }
            other => at.wrong(
                value,
                Wrong::new("\"system\" or a list of PEM files", other),
            ),
        }
    }
}
