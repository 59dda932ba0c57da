//! What SASL mechanisms on the receiving side are told about this server and the peer.

use xmpp_sasl::{Failure, Host, Identity, Password, Random};
use xmpp_stream::Domain;

use crate::config::{self, Policy, TlsMode, Verify};
use crate::negotiate::{House, Transport};

/// Answers a mechanism's questions, and remembers which domain the answer was for.
pub(super) struct Desk<'a> {
    pub(super) house: &'a House,
    pub(super) random: &'a mut (dyn Random + Send),
    pub(super) transport: &'a Transport,
    /// `from` of the stream header.
    pub(super) remote: Option<&'a Domain>,
    /// The domain the certificate was found good for.
    pub(super) certified: Option<&'a Domain>,
    /// The domain whose proof is being given.
    pub(super) proving: &'a mut Option<Domain>,
}

impl Desk<'_> {
    /// Whether the peer entry behind a username may be used on this stream: what the header would have decided
    /// had it carried `from`.
    fn entry_fits(&self, domain: &Domain, policy: &Policy) -> bool {
        let tls_fits = self.transport.is_tls() != (policy.tls == TlsMode::Disabled);
        let certificate_fits = match self.transport {
            Transport::Tls(secured)
                if secured.certificate_shown && policy.verify == Verify::Strict =>
            {
                self.certified == Some(domain)
            }
            _ => true,
        };
        tls_fits && certificate_fits && policy.auth.contains(&config::Method::DigestMd5)
    }
}

/// The realms to choose from: what the peer entries that may be meant ask for, or `host` where one asks for none.
pub(super) fn realms(house: &House, remote: Option<&Domain>, host: &str) -> Vec<String> {
    let mut realms = Vec::new();
    let mut add = |policy: &Policy| {
        if let Some(accept) = &policy.accept {
            let realm = accept.realm.as_deref().unwrap_or(host);
            if !realms.iter().any(|known| known == realm) {
                realms.push(realm.to_owned());
            }
        }
    };
    match remote {
        Some(remote) => add(&house.policy(remote)),
        None => house.config.accepting().for_each(|(_, policy)| add(policy)),
    }
    realms
}

impl Host for Desk<'_> {
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
        let (domain, accept) = match self.remote {
            Some(remote) => {
                let policy = self.house.policy(remote);
                (
                    remote.clone(),
                    policy
                        .accept
                        .clone()
                        .filter(|accept| accept.username == authcid)?,
                )
            }
            None => {
                let (domain, policy) = self.house.config.peer_accepting(authcid)?;
                if !self.entry_fits(domain, policy) {
                    return None;
                }
                (domain.clone(), policy.accept.clone()?)
            }
        };
        // Another peer's realm is among those offered where the header does not say who asks.
        if accept.realm.is_some() && accept.realm.as_deref() != realm {
            return None;
        }
        *self.proving = Some(domain);
        Some(accept.password)
    }

    fn authorize(&mut self, _authcid: &str, authzid: Option<&str>) -> Result<(), Failure> {
        // The authorization identity of a server is its domain (RFC 6120 §6.3.8); any other is not for this peer.
        let Some(domain) = self.proving.as_ref() else {
            return Err(Failure::NotAuthorized);
        };
        match authzid {
            Some(authzid) if !domain.is_named_by(authzid) => Err(Failure::InvalidAuthzid),
            _ => Ok(()),
        }
    }

    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        let certified = self.certified.ok_or(Failure::NotAuthorized)?;
        match authzid {
            Some(authzid) if !certified.is_named_by(authzid) => Err(Failure::InvalidAuthzid),
            _ => {
                *self.proving = Some(certified.clone());
                Ok(Identity {
                    authcid: None,
                    authzid: Some(certified.as_str().to_owned()),
                    mechanism: "EXTERNAL",
                })
            }
        }
    }
}
