//! The ways to prove which domain a peer speaks for: their names, and what each of them needs.

use toml::{Spanned, de::DeValue};
use xmpp_sasl::ScramHash;

use super::{
    diagnostics::Diagnostic,
    kind::{Kind, List, Of, of, show},
    reader::At,
    values::one_of,
    wrong::Wrong,
};

/// A way to prove which domain a peer speaks for. In the order of their strength.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Method {
    /// SASL EXTERNAL with the certificate of the TLS handshake (XEP-0178).
    External,
    /// SASL GSSAPI (RFC 4752): Kerberos 5.
    Gssapi,
    /// SASL SCRAM-SHA-512-PLUS (RFC 5802): a password, bound to the TLS connection.
    ScramSha512Plus,
    /// SASL SCRAM-SHA-256-PLUS (RFC 7677).
    ScramSha256Plus,
    /// SASL SCRAM-SHA-1-PLUS (RFC 5802).
    ScramSha1Plus,
    /// SASL SCRAM-SHA-512: a password.
    ScramSha512,
    /// SASL SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SASL SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// SASL DIGEST-MD5 (RFC 2831).
    DigestMd5,
    /// SASL KERBEROS_V4 (RFC 2222 §7.1): a shared DES key. Historic.
    KerberosV4,
    /// SASL PLAIN (RFC 4616): the password itself.
    Plain,
    /// Server dialback (XEP-0220).
    Dialback,
}

/// The secrets that two servers agreed on beforehand. They stand in `credentials` and `accept` of a `[[peer]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// A password.
    Password,
    /// A Kerberos realm that knows both.
    Realm,
    /// A Kerberos 4 key.
    Key,
}

/// What a method may not be used without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Any stream will do.
    Anything,
    /// TLS, or a peer entry that switches TLS off by itself.
    TlsOrAgreed,
    /// TLS.
    Tls,
}

/// Each method with its word in the configuration and its name for people, which is the mechanism's for SASL.
const NAMES: [(Method, &str, &str); 12] = [
    (Method::External, "external", "EXTERNAL"),
    (Method::Gssapi, "gssapi", "GSSAPI"),
    (
        Method::ScramSha512Plus,
        "scram-sha-512-plus",
        "SCRAM-SHA-512-PLUS",
    ),
    (
        Method::ScramSha256Plus,
        "scram-sha-256-plus",
        "SCRAM-SHA-256-PLUS",
    ),
    (
        Method::ScramSha1Plus,
        "scram-sha-1-plus",
        "SCRAM-SHA-1-PLUS",
    ),
    (Method::ScramSha512, "scram-sha-512", "SCRAM-SHA-512"),
    (Method::ScramSha256, "scram-sha-256", "SCRAM-SHA-256"),
    (Method::ScramSha1, "scram-sha-1", "SCRAM-SHA-1"),
    (Method::DigestMd5, "digest-md5", "DIGEST-MD5"),
    (Method::KerberosV4, "kerberos-v4", "KERBEROS_V4"),
    (Method::Plain, "plain", "PLAIN"),
    (Method::Dialback, "dialback", "dialback"),
];

impl Method {
    /// What `"scram"` stands for, strongest first.
    pub const SCRAM: [Self; 6] = [
        Self::ScramSha512Plus,
        Self::ScramSha256Plus,
        Self::ScramSha1Plus,
        Self::ScramSha512,
        Self::ScramSha256,
        Self::ScramSha1,
    ];

    /// The word in the configuration.
    pub fn word(self) -> &'static str {
        self.names().0
    }

    /// The name for people and logs: the mechanism's, where it is one of SASL.
    pub fn name(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        let found = NAMES.iter().find(|(method, ..)| *method == self);
        found.map_or(("", ""), |&(_, word, name)| (word, name))
    }

    /// The method that a SASL mechanism stands for.
    pub fn of_mechanism(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(.., mechanism)| *mechanism == name);
        found
            .map(|(method, ..)| *method)
            .filter(|method| method.mechanism().is_some())
    }

    /// The SASL mechanism, if it is one.
    pub fn mechanism(self) -> Option<&'static str> {
        match self {
            Self::Dialback => None,
            method => Some(method.name()),
        }
    }

    /// What must be agreed on with the peer before, if anything must.
    pub fn agreement(self) -> Option<Agreement> {
        match self {
            Self::External | Self::Dialback => None,
            Self::Gssapi => Some(Agreement::Realm),
            Self::KerberosV4 => Some(Agreement::Key),
            Self::ScramSha512Plus
            | Self::ScramSha256Plus
            | Self::ScramSha1Plus
            | Self::ScramSha512
            | Self::ScramSha256
            | Self::ScramSha1
            | Self::DigestMd5
            | Self::Plain => Some(Agreement::Password),
        }
    }

    /// Does it need a password on both sides?
    pub fn is_password(self) -> bool {
        self.agreement() == Some(Agreement::Password)
    }

    /// Does the server that it is used with prove itself, too?
    pub fn is_mutual(self) -> bool {
        self.agreement().is_some() && self != Self::Plain
    }

    /// Is the exchange bound to the TLS connection below?
    pub fn is_plus(self) -> bool {
        matches!(
            self,
            Self::ScramSha512Plus | Self::ScramSha256Plus | Self::ScramSha1Plus
        )
    }

    /// SCRAM's hash function, if it is SCRAM.
    pub fn hash(self) -> Option<ScramHash> {
        match self {
            Self::ScramSha512Plus | Self::ScramSha512 => Some(ScramHash::Sha512),
            Self::ScramSha256Plus | Self::ScramSha256 => Some(ScramHash::Sha256),
            Self::ScramSha1Plus | Self::ScramSha1 => Some(ScramHash::Sha1),
            Self::External
            | Self::Gssapi
            | Self::DigestMd5
            | Self::KerberosV4
            | Self::Plain
            | Self::Dialback => None,
        }
    }

    /// On which streams it may be used.
    pub fn over(self) -> Over {
        match self {
            Self::Dialback => Over::Anything,
            // Kerberos protects its proof, but nothing that follows, since no security layer is used.
            Self::Gssapi
            | Self::ScramSha512
            | Self::ScramSha256
            | Self::ScramSha1
            | Self::DigestMd5
            | Self::KerberosV4 => Over::TlsOrAgreed,
            Self::External
            | Self::Plain
            | Self::ScramSha512Plus
            | Self::ScramSha256Plus
            | Self::ScramSha1Plus => Over::Tls,
        }
    }
}

const METHODS: &[(&str, &[Method])] = &[
    ("external", &[Method::External]),
    ("gssapi", &[Method::Gssapi]),
    ("scram", &Method::SCRAM),
    ("scram-sha-512-plus", &[Method::ScramSha512Plus]),
    ("scram-sha-256-plus", &[Method::ScramSha256Plus]),
    ("scram-sha-1-plus", &[Method::ScramSha1Plus]),
    ("scram-sha-512", &[Method::ScramSha512]),
    ("scram-sha-256", &[Method::ScramSha256]),
    ("scram-sha-1", &[Method::ScramSha1]),
    ("digest-md5", &[Method::DigestMd5]),
    ("kerberos-v4", &[Method::KerberosV4]),
    ("plain", &[Method::Plain]),
    ("dialback", &[Method::Dialback]),
];

/// `auth`: each word at most once.
pub(super) struct Methods;

impl Kind for Methods {
    type Value = Vec<Method>;

    fn name(&self) -> String {
        "list of word".to_owned()
    }

    fn read(&self, value: &Spanned<DeValue<'_>>, at: At<'_>) -> Option<Vec<Method>> {
        let mut all = Vec::new();
        for (span, Group(group)) in List(method()).members(value, at)? {
            if let Some(method) = group.iter().find(|method| all.contains(*method)) {
                let title = format!("\"{}\" is in `auth` twice", method.word());
                let finding = Diagnostic::fault(Some(span), title);
                at.add(finding.label("its first place is its rank"));
            } else {
                all.extend_from_slice(group);
            }
        }
        Some(all)
    }
}

/// What a word of `auth` stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(pub(super) &'static [Method]);

show! {
    Method: |method| method.word();
    Group: |group| group.0.iter().map(|method| method.word()).collect::<Vec<_>>();
}

/// A word of `auth`.
pub(super) fn method() -> Of<impl Fn(&DeValue<'_>) -> Result<Group, Wrong>> {
    of("word", |value: &DeValue<'_>| {
        one_of(METHODS, value).map(Group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_names_and_sasl_knows_its_mechanism() {
        for (method, word, name) in NAMES {
            assert_eq!((method.word(), method.name()), (word, name));
            assert_eq!(
                Method::of_mechanism(name),
                method.mechanism().and(Some(method))
            );
            if let Some(mechanism) = method.mechanism() {
                assert!(xmpp_sasl::STRENGTH.contains(&mechanism), "{name}");
                assert_eq!(mechanism.ends_with("-PLUS"), method.is_plus());
            }
        }
        assert_eq!(Method::of_mechanism("ANONYMOUS"), None);
        assert_eq!(Method::of_mechanism("dialback"), None);
    }

    #[test]
    fn methods_are_in_the_order_of_their_strength() {
        let mut all = xmpp_sasl::STRENGTH.iter();
        for name in NAMES.iter().filter_map(|(method, ..)| method.mechanism()) {
            assert!(all.any(|strong| *strong == name), "{name}");
        }
    }

    #[test]
    fn kerberos_goes_without_tls_only_where_that_is_agreed() {
        for method in [Method::Gssapi, Method::KerberosV4] {
            assert_eq!(method.over(), Over::TlsOrAgreed);
            assert!(!method.is_password() && method.agreement().is_some());
        }
    }

    #[test]
    fn nothing_that_gives_the_password_away_goes_without_tls() {
        assert_eq!(Method::Plain.over(), Over::Tls);
        for method in Method::SCRAM {
            assert_eq!(method.over() == Over::Tls, method.is_plus());
            assert!(method.is_password());
        }
    }
}
