//! What SASL mechanisms on the receiving side learn about this server and the peer.

use std::sync::Arc;

use xmpp_sasl::{
    Failure, Host, Identity, Password, Random as _, ScramKeys, ScramParameters, Server, ServerStep,
};
use xmpp_stream::Domain;

use crate::config::{Known, KnownAccount, Method, Policy, TlsMode, Verify};
use crate::peer_text::PeerText;
use crate::protocol::negotiate::accepts::candidates;
use crate::protocol::negotiate::seeded::Seeded;
use crate::protocol::negotiate::{Snapshot, Transport};

/// One step of an exchange that is still to be made. It may take long, and can be made on any thread.
#[derive(Debug)]
pub struct InboundSaslStep {
    pub(super) exchange: Box<dyn Server>,
    pub(super) input: Option<Vec<u8>>,
    pub(super) sasl_host: SaslHost,
}

/// The result of a step.
#[derive(Debug)]
pub struct InboundSaslStepDone {
    pub(super) step: ServerStep,
    /// The domain that the peer proves.
    pub(super) proving: Option<Domain>,
    /// Why it failed, if the peer learns less.
    pub(super) explained: Option<PeerText>,
}

impl InboundSaslStep {
    /// Makes the step.
    pub fn run(self) -> InboundSaslStepDone {
        let mut sasl_host = self.sasl_host;
        let step = self.exchange.step(self.input.as_deref(), &mut sasl_host);
        InboundSaslStepDone {
            step,
            proving: sasl_host.proving,
            explained: sasl_host.explained,
        }
    }

    /// Whether it may take long, as the derivation of a key from a password does by intent.
    pub(super) fn is_heavy(&self) -> bool {
        // With stored keys PLAIN derives keys, too.
        self.exchange.is_heavy() || self.sasl_host.method == Method::Plain
    }
}

/// Answers a mechanism's questions, and remembers which domain the answer was for.
#[derive(Debug)]
pub(super) struct SaslHost {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) random: Seeded,
    pub(super) transport: Transport,
    pub(super) method: Method,
    /// `from` of the stream header.
    pub(super) remote: Option<Domain>,
    /// The domain the certificate was found good for.
    pub(super) certified: Option<Domain>,
    /// The domain that the peer proves.
    pub(super) proving: Option<Domain>,
    /// Why a step fails, for our own eyes.
    pub(super) explained: Option<PeerText>,
}

impl SaslHost {
    /// Whether the peer entry behind a username may be used on this stream: what the header would have decided
    /// had it carried `from`.
    pub(super) fn entry_fits(&self, domain: &Domain, policy: &Policy) -> bool {
        let certificate_fits = match &self.transport {
            Transport::Tls(secured)
                if secured.certificate_shown && policy.verify == Verify::Strict =>
            {
                self.certified.as_ref() == Some(domain)
            }
            _ => true,
        };
        let tls_fits = (self.transport.is_tls() || policy.tls == TlsMode::Disabled)
            && self.transport.lacks(policy).is_none();
        tls_fits && certificate_fits && policy.accepts_over(self.method, self.transport.is_tls())
    }

    /// The peer of this username, and its account.
    fn account(&self, authcid: &str) -> Option<(Domain, KnownAccount)> {
        let (domain, accept) = match &self.remote {
            Some(remote) => (remote, self.snapshot.policy(remote).accept.clone()?),
            None => {
                let (domain, policy) = self.snapshot.config.peer_accepting(authcid)?;
                if !self.entry_fits(domain, policy) {
                    return None;
                }
                (domain, policy.accept.clone()?)
            }
        };
        let account = accept.account?;
        (account.username == authcid).then(|| (domain.clone(), account))
    }

    /// Whether any peer that the username may stand for has a password here, not only keys.
    fn has_passwords(&self) -> bool {
        accounts(&self.snapshot, self.remote.as_ref())
            .any(|account| matches!(account.known, Known::Password(_)))
    }
}

fn accounts(snapshot: &Snapshot, remote: Option<&Domain>) -> impl Iterator<Item = KnownAccount> {
    let all = candidates(snapshot, remote).into_iter();
    all.filter_map(|accept| accept.account)
}

/// The realms to choose from: what the peer entries that may be meant ask for, or `host` where one asks for none.
pub(super) fn realms(snapshot: &Snapshot, remote: Option<&Domain>, host: &str) -> Vec<String> {
    let mut realms: Vec<String> = Vec::new();
    for account in accounts(snapshot, remote) {
        let realm = account.realm.as_deref().unwrap_or(host);
        if !realms.iter().any(|known| known == realm) {
            realms.push(realm.to_owned());
        }
    }
    realms
}

/// The count that SCRAM shows for an unknown name: that of the stored keys, if there are some, so that it looks like
/// one of them.
pub(super) fn iterations(
    snapshot: &Snapshot,
    remote: Option<&Domain>,
    method: Method,
) -> Option<u32> {
    let hash = method.hash()?;
    accounts(snapshot, remote).find_map(|account| match &account.known {
        Known::Keys(keys) => keys
            .iter()
            .find(|keys| keys.hash() == hash)
            .map(ScramKeys::iterations),
        Known::Password(_) => None,
    })
}

impl Host for SaslHost {
    fn random(&mut self, out: &mut [u8]) {
        self.random.fill(out);
    }

    fn password(&mut self, authcid: &str, realm: Option<&str>) -> Option<Password> {
        let (domain, account) = self.account(authcid)?;
        // Without `from`, another peer's realm is among those offered. Only DIGEST-MD5 has one.
        if self.method == Method::DigestMd5
            && account.realm.is_some()
            && account.realm.as_deref() != realm
        {
            return None;
        }
        match account.known {
            Known::Password(password) => {
                self.proving = Some(domain);
                Some(password)
            }
            Known::Keys(_) => None,
        }
    }

    fn scram_keys(&mut self, authcid: &str, unknown: &ScramParameters) -> Option<ScramKeys> {
        let (known, password) = match self.account(authcid) {
            Some((domain, account)) => {
                self.proving = Some(domain);
                match account.known {
                    Known::Keys(keys) => {
                        return keys.into_iter().find(|keys| keys.hash() == unknown.hash);
                    }
                    Known::Password(password) => (true, password),
                }
            }
            // As slowly for an unknown name, if others are as slow.
            None if self.has_passwords() => (false, Password::new("")),
            None => return None,
        };
        unknown.derive(&password).ok().filter(|_| known)
    }

    fn check_password(&mut self, authcid: &str, given: &Password) -> bool {
        let Some((domain, account)) = self.account(authcid) else {
            return false;
        };
        let right = match &account.known {
            Known::Password(password) => password.is_same_as(given),
            Known::Keys(keys) => keys.first().is_some_and(|keys| keys.is_of(given)),
        };
        if right {
            self.proving = Some(domain);
        }
        right
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

    fn authorize_principal(
        &mut self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        match self.speaks_for(principal, ours, authzid) {
            Ok(domain) => {
                self.proving = Some(domain);
                Ok(())
            }
            Err(failure) => {
                let claimed = authzid.or(self.remote.as_ref().map(Domain::as_str));
                let claimed = claimed.unwrap_or("any one peer");
                self.explain(&format!("{principal} does not speak for {claimed} here"));
                Err(failure)
            }
        }
    }

    fn explain(&mut self, why: &str) {
        self.explained = Some(why.into());
    }

    fn external(&mut self, authzid: Option<&str>) -> Result<Identity, Failure> {
        let certified = self.certified.as_ref().ok_or(Failure::NotAuthorized)?;
        // Without `from` the rules are known only here.
        let policy = self.snapshot.policy(certified);
        if !policy.allows_over(self.method, self.transport.is_tls())
            || self.transport.lacks(&policy).is_some()
        {
            return Err(Failure::NotAuthorized);
        }
        match authzid {
            Some(authzid) if !certified.is_named_by(authzid) => Err(Failure::InvalidAuthzid),
            _ => {
                self.proving = Some(certified.clone());
                Ok(Identity::new().with_authzid(certified.as_str()))
            }
        }
    }
}
