//! Names in braces, for what is fresh in every conversation, and for what has to be computed.
//!
//! ```text
//! {id} {nonce} …           what s2sd said there the first time, the same ever after; two names never mean the same text
//! {=name}                  whatever s2sd says there, which the name means from now on
//! {any}                    whatever s2sd says there
//! {stream-id}              the id of the main stream as it is now
//! {base64 TEXT}            the text, encoded
//! {dialback-key}           in db:result and db:verify: the key of s2sd's secret for these addresses and this id
//! {key SENDER TARGET ID}   the key for these
//! {digest-response PASS}   in a digest-response: its proof (RFC 2831 §2.1.2.1)
//! {rspauth PASS}           the proof that answers the last digest-response
//! {scram-proof PASS}       in the last message of a client of SCRAM-SHA-256: its proof (RFC 5802 §3)
//! {scram-signature PASS}   the proof that answers it
//! {v4-challenge 0000002A}  the first message of KERBEROS_V4; without the number, whatever s2sd says there
//! {v4-request C S V KEY}   the answer: a ticket of client C for service S under this key (RFC 2222 §7.1)
//! {v4-proof}               the answer to that
//! {v4-last AUTHZID}        the answer to that
//! {bytes FF 00}            these bytes
//! {repeat N TEXT}          the text, N times
//! ```

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use xmpp_dialback::{Pair, Secret};

use super::{kerberos_v4, scram};

/// The secret of which s2sd makes its dialback keys.
pub(super) const SECRET: &str = "d14lb4ck43v3r";

/// What the names stand for so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<String, String>,
    /// The same for names that may mean what others mean.
    given: BTreeMap<String, String>,
    /// The id of the main stream, for dialback keys.
    pub(super) stream_id: String,
    /// The last digest-response, for `rspauth`.
    digest: BTreeMap<String, String>,
    scram: scram::Exchange,
    v4: kerberos_v4::Exchange,
}

/// What stands round a text: the addresses of the element it is in.
#[derive(Clone, Debug, Default)]
pub(super) struct Enclosing {
    pub(super) element: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) id: String,
}

/// A piece of a text with names.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

impl Names {
    /// Gives a name its meaning, whatever it meant before.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.known.insert(name.to_owned(), value.to_owned());
    }

    /// The names that mean something, with what they mean.
    pub(super) fn known(&self) -> impl Iterator<Item = (&str, &str)> {
        self.known
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first of `id`, `id2`, `id3` … that is free.
    pub(super) fn free(&self, stem: &str) -> String {
        let numbered = (2..).map(|number| format!("{stem}{number}"));
        std::iter::once(stem.to_owned())
            .chain(numbered)
            .find(|name| !self.known.contains_key(name))
            .unwrap_or_default()
    }

    /// The text that a script says.
    pub(super) fn fill(&mut self, text: &str) -> anyhow::Result<Vec<u8>> {
        let enclosing = Enclosing::of_text(text, &self.stream_id);
        self.filled(text, &enclosing)
    }

    fn filled(&mut self, text: &str, enclosing: &Enclosing) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        for piece in pieces(text)? {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Name(name) => {
                    let value = self.value(name, enclosing, text)?;
                    out.extend(value.with_context(|| format!("nothing is known of {{{name}}}"))?);
                }
            }
        }
        Ok(out)
    }

    /// What a name stands for; `None` if that is not known yet. `around` is the text it stands in.
    fn value(
        &mut self,
        name: &str,
        enclosing: &Enclosing,
        around: &str,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let (word, rest) = name.split_once(' ').unwrap_or((name, ""));
        Ok(Some(match word {
            "base64" => {
                let message = self.filled(rest, enclosing)?;
                self.scram.said(&String::from_utf8_lossy(&message));
                STANDARD.encode(message).into_bytes()
            }
            "bytes" => rest
                .split_whitespace()
                .map(|digits| u8::from_str_radix(digits, 16).context("two hexadecimal digits"))
                .collect::<anyhow::Result<_>>()?,
            "repeat" => {
                let (count, text) = rest.split_once(' ').context("{repeat N TEXT}")?;
                self.filled(text, enclosing)?.repeat(count.parse()?)
            }
            "dialback-key" => enclosing.key()?.into_bytes(),
            "key" => match rest.split_whitespace().collect::<Vec<_>>()[..] {
                [sender, target, id] => key(&Pair::new(sender, target), id).into_bytes(),
                _ => bail!("{{key SENDER TARGET ID}}"),
            },
            "digest-response" => {
                // The rest of the message, with this one word left out, says what is to be proved.
                let message = around.replace(&format!("{{{name}}}"), "");
                let message = self.filled(&message, enclosing)?;
                self.digest = directives(&String::from_utf8_lossy(&message));
                digest(&self.digest, rest, "AUTHENTICATE:")?.into_bytes()
            }
            "scram-proof" => {
                let message = around.replace(&format!("{{{name}}}"), "");
                let message = self.filled(&message, enclosing)?;
                let message = String::from_utf8_lossy(&message);
                self.scram.proof(&message, rest)?.into_bytes()
            }
            "scram-signature" => self.scram.signature(rest)?.into_bytes(),
            "v4-challenge" => {
                self.v4.challenge = u32::from_str_radix(rest, 16)?.to_be_bytes();
                STANDARD.encode(self.v4.challenge).into_bytes()
            }
            "v4-request" => STANDARD.encode(self.v4.request(rest)?).into_bytes(),
            "v4-proof" => STANDARD.encode(self.v4.proof()).into_bytes(),
            "v4-last" => STANDARD.encode(self.v4.last(rest)).into_bytes(),
            "rspauth" => digest(&self.digest, rest, ":")?.into_bytes(),
            "stream-id" => self.stream_id.clone().into_bytes(),
            _ => {
                let value = self.known.get(name).or_else(|| self.given.get(name));
                return Ok(value.map(|value| value.clone().into_bytes()));
            }
        }))
    }

    /// Is `said` what is written? A name that means nothing yet now means what stands in its place.
    pub(super) fn fits(
        &mut self,
        written: &str,
        said: &str,
        enclosing: &Enclosing,
    ) -> anyhow::Result<()> {
        if !written.contains('{') {
            ensure!(written == said, "'{said}' where '{written}' is written");
            return Ok(());
        }
        let pieces = pieces(written)?;
        let mut rest = said;
        for (index, piece) in pieces.iter().enumerate() {
            let name = match piece {
                Piece::Text(text) => {
                    rest = rest
                        .strip_prefix(text)
                        .with_context(|| format!("'{said}' where '{written}' is written"))?;
                    continue;
                }
                Piece::Name(name) => name,
            };
            let end = match pieces.get(index + 1) {
                Some(Piece::Text(next)) => rest
                    .find(next)
                    .with_context(|| format!("'{said}' where '{written}' is written"))?,
                Some(Piece::Name(_)) => bail!("two names without a text between them"),
                None => rest.len(),
            };
            let (here, after) = rest.split_at(end);
            self.name_fits(name, here, enclosing, said)?;
            rest = after;
        }
        ensure!(rest.is_empty(), "'{said}' where '{written}' is written");
        Ok(())
    }

    fn name_fits(
        &mut self,
        name: &str,
        said: &str,
        enclosing: &Enclosing,
        around: &str,
    ) -> anyhow::Result<()> {
        if name == "any" {
            return Ok(());
        }
        if let Some(name) = name.strip_prefix('=') {
            self.given.insert(name.to_owned(), said.to_owned());
            return Ok(());
        }
        if let Some(text) = name.strip_prefix("base64 ") {
            let decoded = STANDARD.decode(said).context("not base64")?;
            let decoded = String::from_utf8(decoded).context("not UTF-8 within base64")?;
            self.fits(text, &decoded, enclosing)?;
            self.scram.said(&decoded);
            return Ok(());
        }
        if name == "v4-challenge" {
            let challenge = STANDARD.decode(said).context("not base64")?;
            let challenge: [u8; 4] = challenge.as_slice().try_into().context("not four octets")?;
            ensure!(challenge != self.v4.challenge, "the same challenge again");
            self.v4.challenge = challenge;
            return Ok(());
        }
        if let Some(words) = name.strip_prefix("v4-request ") {
            let message = STANDARD.decode(said).context("not base64")?;
            return self.v4.check_request(words, &message);
        }
        if let Some(password) = name.strip_prefix("scram-proof ") {
            let right = self.scram.proof(around, password)?;
            ensure!(said == right, "p={said} where {right} is right");
            return Ok(());
        }
        if let Some(password) = name.strip_prefix("digest-response ") {
            self.digest = directives(around);
            let right = digest(&self.digest, password, "AUTHENTICATE:")?;
            ensure!(said == right, "response={said} where {right} is right");
            return Ok(());
        }
        match self.value(name, enclosing, around)? {
            Some(value) => ensure!(
                said.as_bytes() == value,
                "'{said}' where {{{name}}} is '{}'",
                String::from_utf8_lossy(&value)
            ),
            None => {
                ensure!(!said.is_empty(), "nothing where {{{name}}} is written");
                let twin = self.known.iter().find(|(_, value)| *value == said);
                if let Some((twin, _)) = twin {
                    bail!("{{{name}}} is the same as {{{twin}}}: '{said}'");
                }
                self.set(name, said);
            }
        }
        Ok(())
    }
}

impl Enclosing {
    /// From the text of an element as it stands in a script.
    fn of_text(text: &str, stream_id: &str) -> Self {
        let attribute = |name: &str| {
            let start = text.find(&format!(" {name}='"))? + name.len() + 3;
            let length = text[start..].find('\'')?;
            Some(text[start..start + length].to_owned())
        };
        let element = text.trim_start_matches('<');
        let end = element.find([' ', '/', '>']).unwrap_or(element.len());
        Self {
            element: element[..end].to_owned(),
            from: attribute("from").unwrap_or_default(),
            to: attribute("to").unwrap_or_default(),
            id: attribute("id")
                .filter(|id| !id.contains('{'))
                .unwrap_or_else(|| stream_id.to_owned()),
        }
    }

    /// `db:result` asks in the sender's name, `db:verify` asks the sender's server.
    fn key(&self) -> anyhow::Result<String> {
        let pair = match self.element.rsplit(':').next() {
            Some("result") => Pair::new(&*self.from, &*self.to),
            Some("verify") => Pair::new(&*self.to, &*self.from),
            _ => bail!("a dialback key in <{}/>", self.element),
        };
        Ok(key(&pair, &self.id))
    }
}

/// XEP-0185, with s2sd's secret.
fn key(pair: &Pair, id: &str) -> String {
    Secret::new(SECRET).key(pair, id).as_str().to_owned()
}

/// Is there a stream header in what is said?
pub(super) fn opens(said: &[u8]) -> bool {
    let header = b"<stream:stream";
    said.windows(header.len()).any(|window| window == header)
}

/// Splits a text at its names. Names may contain names.
fn pieces(text: &str) -> anyhow::Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => {
                if depth == 0 {
                    if at > start {
                        pieces.push(Piece::Text(&text[start..at]));
                    }
                    start = at + 1;
                }
                depth += 1;
            }
            '}' => {
                depth = depth.checked_sub(1).context("a brace too many")?;
                if depth == 0 {
                    pieces.push(Piece::Name(&text[start..at]));
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    ensure!(depth == 0, "a brace is not closed");
    if start < text.len() {
        pieces.push(Piece::Text(&text[start..]));
    }
    Ok(pieces)
}

/// `a="b",c=d` of DIGEST-MD5. No value in a transcript holds a comma or a quote.
fn directives(message: &str) -> BTreeMap<String, String> {
    message
        .split(',')
        .filter_map(|directive| directive.trim().split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// RFC 2831 §2.1.2.1, written down once more, so that s2sd's own is not the judge of itself.
fn digest(
    message: &BTreeMap<String, String>,
    password: &str,
    method: &str,
) -> anyhow::Result<String> {
    let get = |name: &str| {
        let value = message.get(name).map(String::as_str);
        value.with_context(|| format!("a digest-response without {name}"))
    };
    let secret = Md5::digest(format!(
        "{}:{}:{password}",
        get("username")?,
        get("realm").unwrap_or_default()
    ));
    let mut a1 = secret.to_vec();
    a1.extend_from_slice(format!(":{}:{}", get("nonce")?, get("cnonce")?).as_bytes());
    if let Ok(authzid) = get("authzid") {
        a1.extend_from_slice(format!(":{authzid}").as_bytes());
    }
    let a2 = format!("{method}{}", get("digest-uri")?);
    let middle = format!(
        "{}:{}:{}:{}",
        get("nonce")?,
        get("nc")?,
        get("cnonce")?,
        get("qop")?
    );
    let hex = |bytes: &[u8]| HEXLOWER.encode(&Md5::digest(bytes));
    let (a1, a2) = (hex(&a1), hex(a2.as_bytes()));
    Ok(hex(format!("{a1}:{middle}:{a2}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(names: &mut Names, written: &str, said: &str) -> anyhow::Result<()> {
        names.fits(written, said, &Enclosing::default())
    }

    #[test]
    fn a_name_means_what_it_meant_first_and_nothing_else_means_the_same() {
        let mut names = Names::default();
        fits(&mut names, "{id}", "abc").unwrap();
        fits(&mut names, "<{id}>", "<abc>").unwrap();
        fits(&mut names, "{id}", "abd").unwrap_err();
        fits(&mut names, "{id2}", "abc").unwrap_err();
        fits(&mut names, "{id2}", "abd").unwrap();
        fits(&mut names, "{id3}", "").unwrap_err();
        assert_eq!(names.fill("x{id2}{bytes 41 ff}").unwrap(), b"xabdA\xff");
        assert_eq!(names.fill("{repeat 3 {id}.}").unwrap(), b"abc.abc.abc.");
        names.fill("{nobody}").unwrap_err();
        assert_eq!(names.free("id"), "id3");
    }

    #[test]
    fn base64_is_looked_into() {
        let mut names = Names::default();
        let written = "{base64 nonce=\"{nonce}\",qop=auth}";
        let said = STANDARD.encode("nonce=\"n0\",qop=auth");
        fits(&mut names, written, &said).unwrap();
        assert_eq!(names.fill(written).unwrap(), said.as_bytes());
        fits(&mut names, "{base64 nonce=x}", &said).unwrap_err();
    }

    // The example of RFC 2831 §4, with the "imap" service.
    #[test]
    fn proofs_are_those_of_rfc_2831() {
        let mut names = Names::default();
        let message = "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",\
             nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",digest-uri=\"imap/elwood.innosoft.com\",\
             response={digest-response secret},qop=auth";
        let filled = String::from_utf8(names.fill(message).unwrap()).unwrap();
        assert!(
            filled.contains("response=d388dad90d4bbd760a152321f2143af7,"),
            "{filled}"
        );
        let proof = b"rspauth=ea40f60335c427b5527b84dbabcdfffd";
        assert_eq!(names.fill("rspauth={rspauth secret}").unwrap(), proof);
        let mut names = Names::default();
        fits(&mut names, message, &filled).unwrap();
        assert_eq!(names.fill("rspauth={rspauth secret}").unwrap(), proof);
        fits(&mut names, &message.replace("secret", "other"), &filled).unwrap_err();
    }

    // The example of XEP-0220 §2.2.2 has other words in it than that of XEP-0185; the order is the same.
    #[test]
    fn dialback_keys_are_those_of_xep_0185_in_both_elements() {
        let mut names = Names {
            stream_id: "x".to_owned(),
            ..Names::default()
        };
        let result = names
            .fill("<db:result from='a' to='b'>{dialback-key}</db:result>")
            .unwrap();
        let verify = names
            .fill("<db:verify from='b' to='a' id='x'>{dialback-key}</db:verify>")
            .unwrap();
        let key = |text: &[u8]| text[text.len() - 76..][..64].to_vec();
        assert_eq!(key(&result), key(&verify));
        let right = Secret::new(SECRET).key(&Pair::new("a", "b"), "x");
        assert_eq!(key(&result), right.as_str().as_bytes());
    }
}
