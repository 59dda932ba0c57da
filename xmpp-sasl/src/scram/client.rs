//! The side that proves who it is, and has the other one prove that it knows the account.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::Malformed;
use super::message::{MESSAGE_BOUND, ServerFinal, ServerFirst, escape};
use super::{NONCE, Name, auth_message, cbind_input, downgrade_protection, nonce, xor};
use crate::mechanism::AwaitOutcome;
use crate::saslprep;
use crate::scram_keys::{SecretBytes, prepare};
use crate::{
    ChannelBindingType, ChannelBindings, Client, ClientError, ClientInput, ClientStep,
    IterationBounds, Offer, Password, Random, SaltedPassword, ScramHash,
};

/// What a client has, and what it knows of the server.
pub(crate) struct Claim {
    pub(crate) username: String,
    pub(crate) password: Option<Password>,
    pub(crate) salted: Option<SaltedPassword>,
    pub(crate) authzid: Option<String>,
    pub(crate) bindings: ChannelBindings,
    pub(crate) offer: Offer,
    /// XEP-0474 §7, new rule 6: only with a server that proves its offer.
    pub(crate) withheld: bool,
    pub(crate) bounds: IterationBounds,
}

pub(crate) fn client(name: Name, claim: Claim) -> Option<Box<dyn Client>> {
    let binding = if name.plus {
        let (kind, data) = choose_binding(&claim)?;
        Binding::Bound(kind, data)
    } else if claim.bindings.is_empty() || !claim.offer.is_known() {
        Binding::None
    } else if claim.offer.has_plus() {
        // We do have channel binding and so has the server, but there is no common type, or our policy does not want
        // it. "y" would claim that the server has none (XEP-0474 §7, new rule 6).
        Binding::None
    } else {
        Binding::NotOffered
    };
    Some(Box::new(ClientStart {
        name,
        binding,
        username: claim.username,
        secret: Secret::of(claim.password, claim.salted, name.hash)?,
        // RFC 6120 §6.6: an empty one is the same as none.
        authzid: claim.authzid.filter(|authzid| !authzid.is_empty()),
        offer: claim.offer,
        withheld: claim.withheld,
        bounds: claim.bounds,
    }))
}

/// The strongest type that we have data of, and that the server advertised if it advertised any.
fn choose_binding(claim: &Claim) -> Option<(ChannelBindingType, Vec<u8>)> {
    let advertised = |kind: &ChannelBindingType| match &claim.offer.channel_bindings {
        None => true,
        Some(types) => types.iter().any(|name| name == kind.name()),
    };
    let bindings = &claim.bindings;
    let kind = bindings.types().find(advertised)?;
    Some((kind, bindings.get(kind)?.to_vec()))
}

pub(super) enum Binding {
    None,
    NotOffered,
    Bound(ChannelBindingType, Vec<u8>),
}

impl Binding {
    fn flag(&self) -> String {
        match self {
            Self::None => "n".to_owned(),
            Self::NotOffered => "y".to_owned(),
            Self::Bound(kind, _) => format!("p={kind}"),
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::None | Self::NotOffered => &[],
            Self::Bound(_, data) => data,
        }
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flag())
    }
}

/// What we have to prove ourselves with.
#[derive(Debug)]
pub(super) enum Secret {
    Password(Password),
    /// Made before; and what to make another one of, if there is that.
    Salted(SaltedPassword, Option<Password>),
}

impl Secret {
    fn of(
        password: Option<Password>,
        salted: Option<SaltedPassword>,
        hash: ScramHash,
    ) -> Option<Self> {
        match salted {
            Some(salted) if salted.hash() == hash => Some(Self::Salted(salted, password)),
            _ => password.map(Self::Password),
        }
    }

    fn password(&self) -> Option<&Password> {
        match self {
            Self::Password(password) => Some(password),
            Self::Salted(_, password) => password.as_ref(),
        }
    }

    fn salted(self) -> Option<SaltedPassword> {
        match self {
            Self::Password(_) => None,
            Self::Salted(salted, _) => Some(salted),
        }
    }
}

#[derive(Debug)]
pub(super) struct ClientStart {
    pub(super) name: Name,
    pub(super) binding: Binding,
    pub(super) username: String,
    pub(super) secret: Secret,
    pub(super) authzid: Option<String>,
    pub(super) offer: Offer,
    /// XEP-0474 §7, new rule 6: only with a server that proves its offer.
    pub(super) withheld: bool,
    pub(super) bounds: IterationBounds,
}

impl Client for ClientStart {
    fn name(&self) -> &'static str {
        self.name.as_str()
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, random: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Start => {
                let mut octets = [0; NONCE];
                random.fill(&mut octets);
                match self.begin(nonce(octets)) {
                    Ok((message, next)) => ClientStep::Respond(message, Box::new(next)),
                    Err(error) => ClientStep::Abort(error),
                }
            }
            ClientInput::Challenge(_) | ClientInput::Success(_) => {
                ClientStep::Abort(ClientError::Unexpected)
            }
        }
    }
}

impl ClientStart {
    pub(super) fn begin(self, nonce: String) -> Result<(Vec<u8>, AwaitChallenge), ClientError> {
        let username = saslprep::name(&self.username).and_then(|name| escape(&name));
        let username = username.ok_or(ClientError::NotEncodable(
            "the name is empty or has characters that SASLprep does not allow",
        ))?;
        let authzid = match &self.authzid {
            None => String::new(),
            Some(authzid) => format!(
                "a={}",
                escape(authzid).ok_or(ClientError::NotEncodable(
                    "there is a NUL in the authorization identity"
                ))?
            ),
        };
        let password = self.secret.password().map(prepare).transpose();
        let password = password.map_err(|_| {
            ClientError::NotEncodable("the password has characters that SASLprep does not allow")
        })?;
        let gs2_header = format!("{},{authzid},", self.binding.flag());
        let bare = format!("n={username},r={nonce}");
        let message = [gs2_header.as_bytes(), bare.as_bytes()].concat();
        if message.len() > MESSAGE_BOUND {
            return Err(ClientError::NotEncodable("the message would be too long"));
        }
        let next = AwaitChallenge {
            name: self.name,
            salted: self.secret.salted(),
            password,
            cbind_input: cbind_input(&gs2_header, self.binding.data()),
            bare,
            nonce,
            downgrade_protection: downgrade_protection(&self.offer, self.name.hash),
            withheld: self.withheld,
            bounds: self.bounds,
        };
        Ok((message, next))
    }
}

/// Our first message is out. What the server sends now says how long we have to compute.
pub(super) struct AwaitChallenge {
    name: Name,
    salted: Option<SaltedPassword>,
    /// Prepared.
    password: Option<Zeroizing<String>>,
    cbind_input: String,
    bare: String,
    nonce: String,
    /// What `h=` has to be, if it comes.
    downgrade_protection: Option<String>,
    /// It has to come.
    withheld: bool,
    bounds: IterationBounds,
}

impl Client for AwaitChallenge {
    fn name(&self) -> &'static str {
        self.name.as_str()
    }

    fn is_heavy(&self) -> bool {
        self.password.is_some()
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            ClientInput::Challenge(challenge) => match self.answer(challenge) {
                Ok((response, next)) => ClientStep::Respond(response, Box::new(next)),
                Err(error) => ClientStep::Abort(error),
            },
            ClientInput::Success(_) => ClientStep::Abort(ClientError::ServerNotAuthenticated),
            ClientInput::Start => ClientStep::Abort(ClientError::Unexpected),
        }
    }
}

impl AwaitChallenge {
    pub(super) fn answer(
        &self,
        challenge: &[u8],
    ) -> Result<(Vec<u8>, AwaitSignature), ClientError> {
        if let Some(error) = ServerFinal::error(challenge) {
            return Err(ClientError::Refused(error));
        }
        let first = ServerFirst::parse(challenge)?;
        // §5.1: it must begin with ours, or it may be of another exchange; and the server's part is not empty.
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(ClientError::Malformed(
                "the nonce is not ours with one of the server's after it",
            ));
        }
        let iterations = match first.iterations {
            Some(count) if self.bounds.contains(count) => count,
            Some(count) if count < self.bounds.min => {
                return Err(ClientError::Unsupported("too low an iteration count"));
            }
            Some(_) | None => {
                return Err(ClientError::Unsupported("too high an iteration count"));
            }
        };
        // XEP-0474 §6.2. An attacker who writes the right hash here changes what is signed.
        match (first.downgrade_protection, &self.downgrade_protection) {
            (Some(said), Some(expected)) if said != expected => {
                return Err(ClientError::OfferChanged);
            }
            (None, _) if self.withheld => return Err(ClientError::BindingWithheld),
            _ => {}
        }

        // The message was read as UTF-8.
        let challenge = std::str::from_utf8(challenge).unwrap_or_default();
        let hash = self.name.hash;
        let keys = self.salted(&first.salt, iterations)?.keys();
        let without_proof = format!("c={},r={}", self.cbind_input, first.nonce);
        let signed = auth_message(&self.bare, challenge, &without_proof);
        let signature = hash.hmac(&keys.stored_key, signed.as_bytes());
        let proof = STANDARD.encode(xor(&keys.client_key, &signature).as_slice());
        let next = AwaitSignature {
            name: self.name,
            expected: hash.hmac(&keys.server_key, signed.as_bytes()),
        };
        Ok((format!("{without_proof},p={proof}").into_bytes(), next))
    }
}

impl AwaitChallenge {
    /// What was made before, if it was for this; else made now.
    fn salted(&self, salt: &[u8], iterations: u32) -> Result<SaltedPassword, ClientError> {
        let hash = self.name.hash;
        let kept = self.salted.as_ref();
        if let Some(kept) = kept.filter(|kept| kept.is_for(hash, salt, iterations)) {
            return Ok(kept.clone());
        }
        let password = self
            .password
            .as_ref()
            .ok_or(ClientError::Unsupported("another salt or count than ours"))?;
        SaltedPassword::derive_prepared(hash, password, salt, iterations)
            .map_err(|_| ClientError::Malformed("the salt is empty"))
    }
}

impl fmt::Debug for AwaitChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitChallenge({})", self.name.as_str())
    }
}

/// Our proof is out; now the server has to show that it knows the account.
pub(super) struct AwaitSignature {
    name: Name,
    expected: SecretBytes,
}

impl AwaitSignature {
    fn check(&self, message: &[u8]) -> Result<(), ClientError> {
        match ServerFinal::parse(message)? {
            ServerFinal::Verifier(signature) if signature.ct_eq(&self.expected).into() => Ok(()),
            ServerFinal::Verifier(_) => Err(ClientError::ServerNotAuthenticated),
            ServerFinal::Error(error) => Err(ClientError::Refused(error)),
        }
    }
}

impl Client for AwaitSignature {
    fn name(&self) -> &'static str {
        self.name.as_str()
    }

    fn step(self: Box<Self>, input: ClientInput<'_>, _: &mut dyn Random) -> ClientStep {
        match input {
            // "returns additional data together with a server's indication of a successful outcome" (§5).
            ClientInput::Success(Some(message)) => match self.check(message) {
                Ok(()) => ClientStep::Authenticated,
                Err(error) => ClientStep::Abort(error),
            },
            // RFC 4422 §3.6: a protocol without room for it sends it as a challenge.
            ClientInput::Challenge(message) => match self.check(message) {
                Ok(()) => {
                    ClientStep::Respond(Vec::new(), Box::new(AwaitOutcome(self.name.as_str())))
                }
                Err(error) => ClientStep::Abort(error),
            },
            ClientInput::Success(None) => ClientStep::Abort(ClientError::ServerNotAuthenticated),
            ClientInput::Start => ClientStep::Abort(ClientError::Unexpected),
        }
    }
}

impl fmt::Debug for AwaitSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwaitSignature({})", self.name.as_str())
    }
}

impl From<Malformed> for ClientError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.why)
    }
}
