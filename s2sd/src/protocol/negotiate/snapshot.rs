//! What negotiation needs to know of this server: the domains it serves, the rules for peers, the dialback secret.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use xmpp_dialback::{Pair, Secret};
use xmpp_sasl::ServerSecret;
use xmpp_stream::{Domain, XmlLimits};

use crate::config::{Config, Denied, Policy, ServedDomain};

/// Served domains, policies and secrets as loaded. Made at start and at every reload; a stream keeps the one it began
/// with.
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// Keys for server dialback are made from it (XEP-0185).
    pub secret: Secret,
    /// SCRAM shows salts made from it for unknown names.
    pub salts: ServerSecret,
    served: HashMap<Domain, usize>,
    with_certificate: HashSet<Domain>,
}

impl Snapshot {
    /// `certified` says for which served domains a certificate is loaded.
    pub fn new(config: Arc<Config>, secret: Secret, certified: impl Fn(&Domain) -> bool) -> Self {
        let served = config
            .domains
            .iter()
            .enumerate()
            .map(|(index, served)| (served.name.clone(), index))
            .collect();
        let names = config.domains.iter().map(|served| served.name.clone());
        Self {
            with_certificate: names.filter(|name| certified(name)).collect(),
            served,
            salts: salts(&secret),
            secret,
            config,
        }
    }

    /// The served domain of that name.
    pub fn served(&self, domain: &Domain) -> Option<&ServedDomain> {
        self.served
            .get(domain)
            .and_then(|index| self.config.domains.get(*index))
    }

    /// Whether the domain is served here.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.served.contains_key(domain)
    }

    /// Whether TLS can be offered in that domain's name.
    pub fn has_certificate(&self, domain: &Domain) -> bool {
        self.with_certificate.contains(domain)
    }

    /// The rules for a peer.
    pub fn policy(&self, remote: &Domain) -> Arc<Policy> {
        self.config.policy_for(remote)
    }

    /// May this domain federate with us at all?
    pub fn admits(&self, remote: &Domain) -> Result<(), Denied> {
        self.config.admits(remote)
    }

    /// Whether both make the same dialback keys.
    pub fn has_secret_of(&self, other: &Self) -> bool {
        let pair = Pair::new("a", "b");
        let key = |snapshot: &Self| snapshot.secret.key(&pair, "");
        key(self).as_str() == key(other).as_str()
    }

    /// What a peer may send before it is authenticated.
    pub fn limits_before_authentication(&self) -> XmlLimits {
        let own = &self.config.limits;
        let default = XmlLimits::before_authentication();
        default
            .with_header_bytes(own.preauth_stanza)
            .with_element_bytes(own.preauth_stanza)
            .with_depth(own.depth.min(default.depth))
            .with_attributes(own.attributes.min(default.attributes))
            .with_total_bytes(own.preauth_bytes)
            .with_total_elements(own.preauth_elements)
    }

    /// What may be sent on a stream once a domain is proved, but for the size of a stanza, which is the policy's.
    pub fn limits_for_open_streams(&self) -> XmlLimits {
        let own = &self.config.limits;
        XmlLimits::after_authentication()
            .with_header_bytes(own.preauth_stanza)
            .with_depth(own.depth)
            .with_attributes(own.attributes)
    }
}

/// A secret for another purpose than dialback. No dialback key is made from the same text: a domain has no colon.
fn salts(secret: &Secret) -> ServerSecret {
    let words = Pair::new("s2sd:scram:salts", "s2sd:scram:salts");
    ServerSecret::new(secret.key(&words, "").as_str().as_bytes())
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("domains", &self.config.domains.len())
            .finish_non_exhaustive()
    }
}
