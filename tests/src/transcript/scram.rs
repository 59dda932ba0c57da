//! SCRAM-SHA-256 (RFC 5802, RFC 7677) written down once more, so that s2sd's own is not the judge of itself.

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// What was said so far: the bare first message of the client, the server's, the client's last one without its proof.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    messages: Vec<String>,
}

impl Exchange {
    /// A message of SASL, decoded. Those of other mechanisms do no harm.
    pub(super) fn said(&mut self, message: &str) {
        let first = ["n,", "y,", "p="]
            .iter()
            .any(|flag| message.starts_with(flag));
        match message.splitn(3, ',').nth(2) {
            // After the GS2 header.
            Some(bare) if first => self.messages = vec![bare.to_owned()],
            _ => self.messages.push(message.to_owned()),
        }
    }

    /// The proof for a last message of the client, which is complete but for that.
    pub(super) fn proof(&mut self, message: &str, password: &str) -> anyhow::Result<String> {
        let (bare, _) = message.split_once(",p=").context("no proof in it")?;
        self.messages.truncate(2);
        self.messages.push(bare.to_owned());
        let client = mac(&self.salted(password)?, b"Client Key");
        let signature = mac(&Sha256::digest(client), self.all()?.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        Ok(STANDARD.encode(proof))
    }

    /// What shows that the server knows the password's keys.
    pub(super) fn signature(&self, password: &str) -> anyhow::Result<String> {
        let server = mac(&self.salted(password)?, b"Server Key");
        Ok(STANDARD.encode(mac(&server, self.all()?.as_bytes())))
    }

    fn all(&self) -> anyhow::Result<String> {
        ensure!(
            self.messages.len() >= 3,
            "the exchange has not come that far"
        );
        Ok(self.messages[..3].join(","))
    }

    fn salted(&self, password: &str) -> anyhow::Result<[u8; 32]> {
        let challenge = self.messages.get(1).context("no challenge yet")?;
        let get = |name: &str| {
            challenge
                .split(',')
                .find_map(|part| part.strip_prefix(name))
        };
        let salt = STANDARD.decode(get("s=").context("no salt")?)?;
        let count: u32 = get("i=").context("no iteration count")?.parse()?;
        let mut round = mac(
            password.as_bytes(),
            &[&salt[..], &1_u32.to_be_bytes()].concat(),
        );
        let mut salted = round;
        for _ in 1..count {
            round = mac(password.as_bytes(), &round);
            salted
                .iter_mut()
                .zip(round)
                .for_each(|(to, from)| *to ^= from);
        }
        Ok(salted)
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7677 §3.
    #[test]
    fn proof_and_signature_are_those_of_rfc_7677() {
        let mut exchange = Exchange::default();
        exchange.said("n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        exchange.said(
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=";
        let proof = exchange.proof(last, "pencil").unwrap();
        assert_eq!(proof, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = exchange.signature("pencil").unwrap();
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }
}
