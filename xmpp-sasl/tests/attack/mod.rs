//! Exchanges in which one side does not keep to the rules. The bodies of the tests in `any_input.rs`, which make
//! scripts under proptest, and of the fuzz targets in `fuzz/`, which make them of bytes.

#![allow(dead_code, reason = "each user of this file uses a part of it")]

pub(crate) mod bodies;
mod host;

pub(crate) use host::{Counter, Denial, TestHost, credentials, options};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sasl::common::Password as SaslPassword;
use sasl::common::scram::{ScramProvider, Sha1, Sha256};
use xmpp_sasl::{
    Client, ClientInput, ClientStep, Failure, Identity, Server, ServerStep, client as proving,
    server as asking,
};

/// What the honest side is called, and knows.
pub(crate) const USER: &str = "capulet.example";
/// Of whom it asks to be let in.
pub(crate) const HOST: &str = "montague.example";
/// What both know, if nothing is wrong.
pub(crate) const PASSWORD: &str = "wherefore art thou";

/// The mechanisms that show a proof of something.
pub(crate) const PROVING: [&str; 9] = [
    "EXTERNAL",
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "DIGEST-MD5",
    "PLAIN",
];

/// The mechanisms in which the server has to prove itself, too.
pub(crate) const MUTUAL: [&str; 7] = [
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "DIGEST-MD5",
];

/// What one side does with the message that the honest exchange has at this point.
#[derive(Debug, Clone)]
pub(crate) enum Move {
    Honest,
    /// The honest one with a byte changed.
    Changed(usize, u8),
    /// The honest one, cut.
    Cut(usize),
    /// The honest one with something after it.
    More(Vec<u8>),
    /// What was sent before, again.
    Repeat,
    /// What the other side sent, sent back.
    Mirror,
    Nothing,
    Noise(Vec<u8>),
}

impl Move {
    /// `None`: send nothing where nothing is possible.
    pub(crate) fn message(&self, honest: &[u8], before: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Honest => Some(honest.to_vec()),
            Self::Changed(at, with) => {
                let mut message = honest.to_vec();
                let length = message.len().max(1);
                if let Some(byte) = message.get_mut(at % length) {
                    *byte ^= with;
                }
                Some(message)
            }
            Self::Cut(length) => Some(honest.get(..*length).unwrap_or(honest).to_vec()),
            Self::More(more) => Some([honest, more].concat()),
            Self::Repeat => Some(before.to_vec()),
            Self::Mirror => Some(theirs.to_vec()),
            Self::Nothing => None,
            Self::Noise(noise) => Some(noise.clone()),
        }
    }
}

/// How a script against an asking side ended.
#[derive(Debug)]
pub(crate) struct ServerOutcome {
    pub(crate) open: bool,
    pub(crate) failure: Option<Failure>,
    /// How often it was challenged.
    pub(crate) challenges: u32,
    /// How often the host had to give its reason.
    pub(crate) asked: u32,
}

impl ServerOutcome {
    /// Whether it was the last check that said no, and not one before it.
    pub(crate) fn is_at_the_last_check(&self, mechanism: &str) -> bool {
        let needed = u32::from(MUTUAL.contains(&mechanism));
        let no = matches!(
            self.failure,
            Some(Failure::NotAuthorized | Failure::InvalidAuthzid)
        );
        no && self.challenges >= needed && self.asked > 0
    }
}

/// Runs a script against the asking side, which has a reason to let nobody in.
pub(crate) fn attack_server(mechanism: &str, why: Denial, script: &[Move]) -> ServerOutcome {
    let mut host = TestHost::closed(1, why);
    let mut random = Counter(2);
    let mut exchange = asking(mechanism, &options(why)).expect("all mechanisms exist");
    let mut client = proving(mechanism, &credentials()).ok();
    let (mut before, mut theirs) = (Vec::new(), Vec::new());
    let mut challenges = 0;
    let mut end = (false, None);
    for (round, step) in script.iter().enumerate() {
        let input = if round == 0 {
            ClientInput::Start
        } else {
            ClientInput::Challenge(&theirs)
        };
        let (honest, next) = match client.take().map(|client| client.step(input, &mut random)) {
            Some(ClientStep::Respond(message, next)) => (Some(message), Some(next)),
            Some(ClientStep::Wait(next)) => (None, Some(next)),
            Some(ClientStep::Authenticated | ClientStep::Abort(_)) | None => {
                (Some(Vec::new()), None)
            }
        };
        client = next;
        let message = match (step, &honest) {
            (Move::Honest, None) => None,
            (step, honest) => step.message(honest.as_deref().unwrap_or_default(), &before, &theirs),
        };
        before = honest.unwrap_or_default();
        match exchange.step(message.as_deref(), &mut host) {
            ServerStep::Challenge(challenge, next) => {
                (exchange, theirs) = (next, challenge);
                challenges += 1;
            }
            ServerStep::Success { .. } => {
                end = (true, None);
                break;
            }
            ServerStep::Failure(failure) => {
                end = (false, Some(failure));
                break;
            }
        }
    }
    ServerOutcome {
        open: end.0,
        failure: end.1,
        challenges,
        asked: host.asked,
    }
}

/// Runs a script as an asking side that does not know the password, against a client. True: it is satisfied. The
/// number is how many challenges it answered.
///
/// In a pair the second says whether the message comes with success.
pub(crate) fn attack_client(mechanism: &str, script: &[(Move, bool)]) -> (bool, u32) {
    let mut random = Counter(3);
    let mut host = TestHost::closed(4, Denial::OtherSecret("guess"));
    let client = proving(mechanism, &credentials()).expect("all mechanisms exist");
    let (mut client, mut said) = match client.step(ClientInput::Start, &mut random) {
        ClientStep::Respond(message, next) => (next, Some(message)),
        ClientStep::Wait(next) => (next, None),
        step => panic!("{step:?}"),
    };
    let first = said.clone().unwrap_or_default();
    let mut server = asking(mechanism, &options(Denial::OtherSecret("guess"))).ok();
    let mut messages = Vec::new();
    let (mut before, mut answers) = (Vec::new(), 0);
    for (step, with_success) in script {
        let next = server
            .take()
            .map(|server| server.step(said.as_deref(), &mut host));
        let theirs = said.clone().unwrap_or_default();
        let honest = match next {
            Some(ServerStep::Challenge(challenge, next)) => {
                server = Some(next);
                challenge
            }
            // It knows that it is found out, and claims what it can.
            Some(ServerStep::Success { .. } | ServerStep::Failure(_)) | None => {
                forge(mechanism, &first, &messages, &theirs).unwrap_or_default()
            }
        };
        let message = step.message(&honest, &before, &theirs);
        before.clone_from(&honest);
        messages.push(message.clone().unwrap_or_default());
        let input = match (&message, with_success) {
            (Some(message), false) => ClientInput::Challenge(message),
            (message, true) => ClientInput::Success(message.as_deref()),
            (None, false) => ClientInput::Challenge(&[]),
        };
        match client.step(input, &mut random) {
            ClientStep::Respond(response, next) => {
                (client, said) = (next, Some(response));
                answers += 1;
            }
            ClientStep::Wait(next) => client = next,
            ClientStep::Authenticated => return (true, answers),
            ClientStep::Abort(_) => break,
        }
    }
    (false, answers)
}

/// SCRAM: the signature of a server that has the right salt and count, and another password.
fn forge(mechanism: &str, first: &[u8], messages: &[Vec<u8>], last: &[u8]) -> Option<Vec<u8>> {
    fn sign<H: ScramProvider>(signed: &str, salt: &[u8], count: u32) -> Option<Vec<u8>> {
        let salted = H::derive(&SaslPassword::from("guess"), salt, count).ok()?;
        let key = H::hmac(b"Server Key", &salted).ok()?;
        H::hmac(signed.as_bytes(), &key).ok()
    }
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let bare = text(first)?.splitn(3, ',').nth(2)?;
    let challenge = text(messages.first()?)?;
    let (without_proof, _) = text(last)?.rsplit_once(",p=")?;
    let signed = [bare, challenge, without_proof].join(",");
    let value = |name: &str| {
        challenge
            .split(',')
            .find_map(|part| part.strip_prefix(name))
    };
    let salt = STANDARD.decode(value("s=")?).ok()?;
    let count: u32 = value("i=")?.parse().ok().filter(|count| *count < 100)?;
    let signature = match mechanism.trim_end_matches("-PLUS") {
        "SCRAM-SHA-1" => sign::<Sha1>(&signed, &salt, count),
        "SCRAM-SHA-256" => sign::<Sha256>(&signed, &salt, count),
        "SCRAM-SHA-512" => Some(sign_512(&signed, &salt, count)),
        _ => None,
    }?;
    Some(format!("v={}", STANDARD.encode(signature)).into_bytes())
}

/// The same with SHA-512, which the crate `sasl` does not have.
fn sign_512(signed: &str, salt: &[u8], count: u32) -> Vec<u8> {
    let mac = |key: &[u8], data: &[u8]| {
        let mac = Hmac::<sha2::Sha512>::new_from_slice(key);
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    };
    // `Hi` of RFC 5802 §2.2.
    let mut block = mac(b"guess", &[salt, &[0, 0, 0, 1]].concat());
    let mut salted = block.clone();
    for _ in 1..count {
        block = mac(b"guess", &block);
        salted
            .iter_mut()
            .zip(&block)
            .for_each(|(sum, one)| *sum ^= one);
    }
    mac(&mac(&salted, b"Server Key"), signed.as_bytes())
}

/// Who sent a message: the proving side, or the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// An honest exchange, with somebody on the wire who may change what passes. Numbers count the messages of both.
///
/// `None`: somebody was not satisfied.
pub(crate) fn pass(
    mechanism: &str,
    seed: u64,
    mut wire: impl FnMut(usize, Sender, Vec<u8>) -> Vec<u8>,
) -> Option<Identity> {
    let mut host = TestHost::open(seed);
    let mut random = Counter(seed.wrapping_add(1));
    let mut server: Box<dyn Server> = asking(mechanism, &options(Denial::NotAllowed)).ok()?;
    let mut client: Box<dyn Client> = proving(mechanism, &credentials()).ok()?;
    let mut number = 0;
    let mut pass = |from, message| {
        number += 1;
        wire(number - 1, from, message)
    };
    let mut challenge: Option<Vec<u8>> = None;
    loop {
        let input = match &challenge {
            None => ClientInput::Start,
            Some(challenge) => ClientInput::Challenge(challenge),
        };
        let response = match client.step(input, &mut random) {
            ClientStep::Respond(response, next) => {
                client = next;
                Some(pass(Sender::Client, response))
            }
            ClientStep::Wait(next) => {
                client = next;
                None
            }
            ClientStep::Authenticated | ClientStep::Abort(_) => return None,
        };
        match server.step(response.as_deref(), &mut host) {
            ServerStep::Challenge(message, next) => {
                server = next;
                challenge = Some(pass(Sender::Server, message));
            }
            ServerStep::Success { identity, data } => {
                let data = data.map(|data| pass(Sender::Server, data));
                let end = client.step(ClientInput::Success(data.as_deref()), &mut random);
                return matches!(end, ClientStep::Authenticated).then_some(identity);
            }
            ServerStep::Failure(_) => return None,
        }
    }
}
