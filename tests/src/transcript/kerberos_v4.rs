//! KERBEROS_V4 (RFC 2222 §7.1) written down once more, so that s2sd's own is not the judge of itself: what a scripted end
//! says, and what s2sd must have said. Tickets and authenticators have the formats of MIT's libkrb; all numbers are in
//! network byte order.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use des::{
    Des,
    cipher::{BlockDecrypt, BlockEncrypt, KeyInit},
};

type Block = [u8; 8];

/// What a scripted client takes as the key of its session.
const SESSION: Block = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

/// One exchange, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    pub(super) challenge: [u8; 4],
    session: Block,
}

/// `CLIENT SERVICE VERSION KEY`, as in a key file.
struct Shared<'a> {
    client: &'a str,
    service: &'a str,
    version: u8,
    key: Block,
}

impl<'a> Shared<'a> {
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [client, service, version, key] = words[..] else {
            bail!("{{v4-request CLIENT SERVICE VERSION KEY}}")
        };
        Ok(Self {
            client,
            service,
            version: version.parse()?,
            key: u64::from_str_radix(key, 16)?.to_be_bytes(),
        })
    }
}

/// `name.instance@REALM`, each part with a zero at its end.
fn counted(principal: &str) -> anyhow::Result<[Vec<u8>; 3]> {
    let (who, realm) = principal.split_once('@').context("no realm")?;
    let (name, instance) = who.split_once('.').unwrap_or((who, ""));
    Ok([name, instance, realm].map(|part| [part.as_bytes(), &[0]].concat()))
}

impl Exchange {
    /// The second message: the ticket, sealed for the service, and the authenticator, sealed for the session.
    pub(super) fn request(&mut self, words: &str) -> anyhow::Result<Vec<u8>> {
        let shared = Shared::parse(words)?;
        self.session = SESSION;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let now = u32::try_from(now)?.to_be_bytes();
        let client = counted(shared.client)?.concat();
        let [name, instance, realm] = counted(shared.service)?;
        let ticket = [
            &[0][..], // network byte order
            &client,
            &[0; 4], // from any address
            &SESSION,
            &[12], // for an hour
            &now,
            &name,
            &instance,
        ];
        let authenticator = [&client, &self.challenge[..], &[0], &now];
        let ticket = sealed(ticket.concat(), shared.key);
        let authenticator = sealed(authenticator.concat(), SESSION);
        let lengths = [
            u8::try_from(ticket.len())?,
            u8::try_from(authenticator.len())?,
        ];
        let head = [4, 3 << 1, shared.version]; // Kerberos 4, a request, the version of the key
        Ok([&head, &realm[..], &lengths, &ticket, &authenticator].concat())
    }

    /// Is this such a message, for the last challenge? The key of its session is kept.
    pub(super) fn check_request(&mut self, words: &str, message: &[u8]) -> anyhow::Result<()> {
        let shared = Shared::parse(words)?;
        let client = counted(shared.client)?.concat();
        let [name, instance, realm] = counted(shared.service)?;
        let head = [&[4, 3 << 1, shared.version], &realm[..]].concat();
        let rest = message.strip_prefix(&head[..]).context("another head")?;
        let (lengths, rest) = rest.split_at_checked(2).context("no lengths")?;
        let (ticket, authenticator) = rest
            .split_at_checked(usize::from(lengths[0]))
            .context("no ticket")?;
        ensure!(
            authenticator.len() == usize::from(lengths[1]),
            "another length"
        );
        let ticket = opened(ticket, shared.key)?;
        let ticket = ticket.strip_prefix(&[0]).context("another byte order")?;
        let ticket = ticket.strip_prefix(&client[..]).context("another client")?;
        let ticket = ticket.strip_prefix(&[0; 4]).context("an address")?;
        let (session, ticket) = ticket.split_at_checked(8).context("no session")?;
        self.session = session.try_into()?;
        let (_life_and_time, ticket) = ticket.split_at_checked(5).context("no time")?;
        let service = [name, instance].concat();
        let padding = ticket
            .strip_prefix(&service[..])
            .context("another service")?;
        ensure!(
            padding.iter().all(|octet| *octet == 0),
            "more in the ticket"
        );
        let authenticator = opened(authenticator, self.session)?;
        let proved = [&client, &self.challenge[..]].concat();
        ensure!(
            authenticator.starts_with(&proved),
            "another client or challenge"
        );
        Ok(())
    }

    /// The third message: the challenge and one, no security layer.
    pub(super) fn proof(&self) -> Vec<u8> {
        let [a, b, c, d] = u32::from_be_bytes(self.challenge)
            .wrapping_add(1)
            .to_be_bytes();
        let mut block = [a, b, c, d, 1, 0, 0, 0];
        Des::new(&self.session.into()).encrypt_block((&mut block).into());
        block.to_vec()
    }

    /// The last message: the challenge, no security layer, for whom.
    pub(super) fn last(&self, authzid: &str) -> Vec<u8> {
        let message = [&self.challenge[..], &[1, 0, 0, 0], authzid.as_bytes(), &[0]];
        sealed(message.concat(), self.session)
    }
}

/// PCBC, where each block is mixed with the one before, plain and sealed, and the first with the key.
fn sealed(mut message: Vec<u8>, key: Block) -> Vec<u8> {
    message.resize(message.len().next_multiple_of(8), 0);
    let cipher = Des::new(&key.into());
    let mut before = key;
    for block in message.chunks_exact_mut(8) {
        let plain: Block = std::array::from_fn(|at| block[at]);
        let mut mixed: Block = std::array::from_fn(|at| plain[at] ^ before[at]);
        cipher.encrypt_block((&mut mixed).into());
        before = std::array::from_fn(|at| plain[at] ^ mixed[at]);
        block.copy_from_slice(&mixed);
    }
    message
}

fn opened(message: &[u8], key: Block) -> anyhow::Result<Vec<u8>> {
    ensure!(message.len().is_multiple_of(8), "not whole blocks");
    let cipher = Des::new(&key.into());
    let mut before = key;
    let mut out = Vec::new();
    for block in message.chunks_exact(8) {
        let mut plain: Block = std::array::from_fn(|at| block[at]);
        cipher.decrypt_block((&mut plain).into());
        plain = std::array::from_fn(|at| plain[at] ^ before[at]);
        before = std::array::from_fn(|at| plain[at] ^ block[at]);
        out.extend(plain);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "xmpp.a@A xmpp.b@B 1 133457799bbcdff1";

    #[test]
    fn a_request_is_what_it_is_checked_for_and_nothing_else() {
        let mut client = Exchange {
            challenge: [1, 2, 3, 4],
            ..Exchange::default()
        };
        let request = client.request(SHARED).unwrap();
        let mut server = client.clone();
        server.check_request(SHARED, &request).unwrap();
        assert_eq!(server.session, SESSION);
        for other in [
            "xmpp.c@A xmpp.b@B 1 133457799bbcdff1",
            "xmpp.a@A xmpp.c@B 1 133457799bbcdff1",
            "xmpp.a@A xmpp.b@B 2 133457799bbcdff1",
            "xmpp.a@A xmpp.b@B 1 0123456789abcdef",
        ] {
            server.check_request(other, &request).unwrap_err();
        }
        server.challenge = [1, 2, 3, 5];
        server.check_request(SHARED, &request).unwrap_err();
    }

    #[test]
    fn what_is_sealed_can_be_opened_with_its_key() {
        let message = b"0123456789abcdefghijklmn".to_vec();
        assert_eq!(
            opened(&sealed(message.clone(), SESSION), SESSION).unwrap(),
            message
        );
        assert_ne!(
            opened(&sealed(message.clone(), SESSION), [7; 8]).unwrap(),
            message
        );
    }
}
