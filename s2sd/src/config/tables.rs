//! The tables that only serve to read the file: a [`Config`](super::Config) is put together from them.

use std::path::PathBuf;
use std::time::Duration;

use xmpp_stream::Domain;

use super::{
    Connect, Pattern, Secret, addresses,
    kind::{List, Name, NameOrNone, of},
    server::LEAST_STANZA,
    table::{Said, table},
    values::{duration, secret, size, text},
};

table! {
    /// The top level.
    #[derive(Debug)]
    pub(super) struct TopKeys in "" {
        /// The directory for files that s2sd creates: the dialback secret, and `s2sd.sock`, the socket of
        /// `s2sd status` and the other commands. Only the user of s2sd and root can use the socket. If s2sd
        /// cannot create it, s2sd warns and runs without it. If another s2sd answers at it, s2sd does not
        /// start.
        pub(super) data_dir: PathBuf = Name, "/var/lib/s2sd";
    }
    tables {
        /// [Addresses to listen on](#listen).
        "listen": "table" => "";
        /// [The domains that s2sd serves](#domain), one `[[domain]]` each. At least one.
        "domain": "tables" => "";
        /// [The rules for every peer](#policy).
        "policy": "table" => "";
        /// [Exceptions](#peer), one `[[peer]]` each.
        "peer": "tables" => "";
        /// [Our side of dialback](#dialback).
        "dialback": "table" => "";
        /// [Name servers and DNSSEC](#dns).
        "dns": "table" => "";
        /// [Limits of size, number and time](#limits).
        "limits": "table" => "";
        /// [Queues for each pair of domains](#queue).
        "queue": "table" => "";
        /// [The log](#log).
        "log": "table" => "";
    }
}

table! {
    /// `[[domain]]`.
    #[derive(Debug)]
    pub(super) struct DomainKeys in "domain" {
        /// The domain.
        pub(super) name: Said<Domain> = of("domain", addresses::domain) => "required";
        /// Its certificate and the chain to a root, PEM. Without one, s2sd does not offer TLS for this
        /// domain and shows peers no certificate. On an outgoing stream s2sd shows it only where `auth` has
        /// `external`, and not again to a server that broke off TLS because of it. It must name the domain
        /// as dNSName, SRVName or id-on-xmppAddr and be good for servers (serverAuth).
        pub(super) certificate: Said<PathBuf> = Name => "none";
        /// The private key of the certificate, PEM. s2sd warns if every user of the machine can read it.
        pub(super) key: Said<PathBuf> = Name => "none";
        /// Where to write to about this domain (XEP-0157).
        pub(super) contact: Vec<String> = List(of("URI", addresses::uri)), [];
    }
    tables {
        /// [The component for this domain](#component-of-domain). Without one, s2sd itself answers pings
        /// and service discovery only.
        "component": "table" => "none";
    }
}

table! {
    /// `component` of `[[domain]]`.
    #[derive(Debug)]
    pub(super) struct ComponentKeys in "domain.component" {
        /// The secret that the component must know. After a wrong one, the next handshake from that address
        /// for that domain waits: half a second, then twice as long each time, up to 15 seconds.
        pub(super) secret: Said<Secret> = secret() => "this or `secret_file`";
        /// The file with it.
        pub(super) secret_file: Said<PathBuf> = Name => "this or `secret`";
        /// The largest stanza the component may send.
        pub(super) max_stanza: Said<usize> = size(LEAST_STANZA) => "`max_stanza` of `[limits]`";
        /// Keep messages for this long while the component is away, up to `stanzas` and `bytes` of `[queue]`. When it
        /// comes back they come first, in order, with the time when they were accepted (XEP-0203). s2sd bounces what it cannot
        /// deliver in this time or when it stops, and at once what is not kept: IQ, presence, headlines and messages with the
        /// hint `no-store`. `"0s"` keeps nothing.
        pub(super) hold: Duration = duration(Duration::ZERO), "0s";
    }
}

table! {
    /// `[[peer]]`, but for what it shares with `[policy]`.
    #[derive(Debug)]
    pub(super) struct PeerKeys in "peer" {
        /// The domains that the entry is for. `"*.example.net"` is every domain below `example.net`, at any
        /// depth, but not `example.net` itself.
        pub(super) domain: Said<Pattern> = of("domain or pattern", addresses::pattern) => "required";
        /// Where to connect, in this order, instead of asking the DNS: `"192.0.2.7:5269"`, `"[::1]:5269"`,
        /// `"xmpp.example.net:5269"`, or with TLS from the first byte `"tls://xmpp.example.net:5270"` (not
        /// with `tls = "disabled"`). The certificate must still name the peer.
        pub(super) connect: Vec<Connect> = List(of("host:port", addresses::connect)), [];
    }
    tables {
        /// [Our credentials for this peer](#credentials-of-peer): a password or a Kerberos ticket.
        "credentials": "table" => "none";
        /// [Credentials we accept from this peer](#accept-of-peer). Only in an entry for one domain, unless
        /// it has `gssapi` only.
        "accept": "table" => "none";
    }
}

table! {
    /// `credentials` of `[[peer]]`.
    #[derive(Debug)]
    pub(super) struct CredentialKeys in "peer.credentials" {
        /// Our name for this peer.
        pub(super) username: Said<String> = text() => "required for a password";
        /// Our password.
        pub(super) password: Said<Secret> = secret() => "this or `password_file`";
        /// The file with it.
        pub(super) password_file: Said<PathBuf> = Name => "this or `password`";
        /// The realm to choose.
        pub(super) realm: Said<String> = text() => "the one offered";
        /// The domain to act for, where it does not follow from `username` or the principal.
        pub(super) authzid: Said<Domain> = of("domain", addresses::domain) => "none";
    }
    tables {
        /// [Kerberos 5](#credentialsgssapi-of-peer).
        "gssapi": "table" => "none";
        /// [Kerberos 4](#credentialskerberos-v4-of-peer).
        "kerberos-v4": "table" => "none";
    }
}

table! {
    /// `gssapi` of `credentials`.
    #[derive(Debug)]
    pub(super) struct TicketKeys in "peer.credentials.gssapi" {
        /// The keytab with our key.
        pub(super) keytab: Said<PathBuf> = Name => "required";
        /// Our principal. By default in the default realm of `krb5.conf`.
        pub(super) principal: Said<String> = of("principal", addresses::principal) => "`xmpp/` and the domain we speak for";
        /// The service that the ticket is for. Set it if `krb5.conf` does not lead to the peer's realm, or
        /// if the peer's principal has three parts (XEP-0233 §3).
        pub(super) service: Said<String> = of("principal", addresses::principal) => "`xmpp/` and the peer's domain";
    }
}

table! {
    /// `kerberos-v4` of `credentials`.
    #[derive(Debug)]
    pub(super) struct V4Keys in "peer.credentials.kerberos-v4" {
        /// The file with the key to the peer.
        pub(super) key_file: Said<PathBuf> = Name => "required";
    }
}

table! {
    /// `accept` of `[[peer]]`.
    #[derive(Debug)]
    pub(super) struct AcceptKeys in "peer.accept" {
        /// The peer's name. It must be unique: if a stream has no `from`, s2sd knows the peer by this name
        /// alone.
        pub(super) username: Said<String> = text() => "required for a password";
        /// Its password.
        pub(super) password: Said<Secret> = secret() => "this, `password_file` or `scram_file`";
        /// The file with it.
        pub(super) password_file: Said<PathBuf> = Name => "this, `password` or `scram_file`";
        /// The file with SCRAM keys instead of the password (RFC 5803), a line
        /// `SCRAM-SHA-256$4096:SALT$STORED-KEY:SERVER-KEY` for each hash function. A reader of the file
        /// cannot log in with it. `s2sd secret scram` creates it. It works for SCRAM with these hash
        /// functions and for `"plain"`.
        pub(super) scram_file: Said<PathBuf> = Name => "this, `password` or `password_file`";
        /// The realm the peer must choose (`"digest-md5"`).
        pub(super) realm: Said<String> = text() => "any";
        /// The principals that may speak for the peer (`"gssapi"`), see [above](#kerberos).
        pub(super) principals: Said<Vec<String>> = List(of("principal", addresses::principal)) => "`xmpp/DOMAIN` of our own realm";
    }
    tables {
        /// [Kerberos 5](#acceptgssapi-of-peer).
        "gssapi": "table" => "none";
        /// [Kerberos 4](#acceptkerberos-v4-of-peer).
        "kerberos-v4": "table" => "none";
    }
}

table! {
    /// `gssapi` of `accept`.
    #[derive(Debug)]
    pub(super) struct AcceptTicketKeys in "peer.accept.gssapi" {
        /// The keytab with the key of our own service, which opens the tickets. It may hold the keys of
        /// several domains or realms. For a stream without `from`, only entries for one domain count, not
        /// for a pattern, and all of them have to name one keytab. Otherwise s2sd does not offer `"gssapi"`
        /// there.
        pub(super) keytab: Said<PathBuf> = Name => "required";
    }
}

table! {
    /// `kerberos-v4` of `accept`.
    #[derive(Debug)]
    pub(super) struct AcceptV4Keys in "peer.accept.kerberos-v4" {
        /// The file with the keys that the peer shares with domains served here.
        pub(super) key_file: Said<PathBuf> = Name => "required";
    }
}

table! {
    /// `[dialback]`.
    #[derive(Debug)]
    pub(super) struct DialbackKeys in "dialback" {
        /// The secret that s2sd makes dialback keys from (XEP-0185).
        pub(super) secret: Said<Secret> = secret() => "none";
        /// The file with it. Without either, s2sd makes a secret once and keeps it in `dialback.secret`
        /// under `data_dir`. If that file is empty or cut off, s2sd does not start: put a copy back, or
        /// remove it. Two machines that answer for one domain need the same secret.
        pub(super) secret_file: Said<Option<PathBuf>> = NameOrNone, "";
    }
}
