//! The three messages of DIGEST-MD5, read by their rules (RFC 2831 §2.1.1 to §2.1.3).

use super::digest::HexDigest;
use super::directives::{Directives, Malformed, Message};

/// §2.1.1: "The size of a digest-challenge MUST be less than 2048 bytes."
pub(super) const CHALLENGE_BOUND: usize = 2048;
/// §2.1.2: "The size of a digest-response MUST be less than 4096 bytes."
pub(super) const RESPONSE_BOUND: usize = 4096;

/// `digest-challenge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realms: Vec<Vec<u8>>,
    pub(super) nonce: Vec<u8>,
    /// Whether plain authentication, without a security layer, is on offer.
    pub(super) auth: bool,
    /// Whether names and passwords are in UTF-8, else in ISO 8859-1.
    pub(super) utf8: bool,
}

impl Challenge {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut directives = Directives::parse(message, CHALLENGE_BOUND)?;
        let realms = directives.all("realm");
        let nonce = directives.required("nonce")?;
        let qop = directives.once("qop")?;
        // "not used in initial authentication", but never twice.
        directives.once("stale")?;
        check_maxbuf(&mut directives)?;
        let utf8 = charset(&mut directives)?;
        if !directives
            .required("algorithm")?
            .eq_ignore_ascii_case(b"md5-sess")
        {
            return Err(Malformed("the algorithm is not md5-sess"));
        }
        let cipher = directives.once("cipher")?;

        let offers = |wanted: &[u8]| {
            qop.as_deref()
                .unwrap_or(b"auth")
                .split(|&byte| byte == b',')
                .any(|offer| offer.trim_ascii().eq_ignore_ascii_case(wanted))
        };
        // "This directive must be present exactly once if "auth-conf" is offered"
        if cipher.is_some() != offers(b"auth-conf") {
            return Err(Malformed("auth-conf and cipher go together"));
        }
        Ok(Self {
            realms,
            nonce,
            auth: offers(b"auth"),
            utf8,
        })
    }

    /// In the order in which RFC 3920 §6.6 prints it.
    pub(super) fn write(realms: &[String], nonce: &str) -> Vec<u8> {
        realms
            .iter()
            .fold(Message::default(), |message, realm| {
                message.quoted("realm", realm.as_bytes())
            })
            .quoted("nonce", nonce.as_bytes())
            .quoted("qop", b"auth")
            .plain("charset", b"utf-8")
            .plain("algorithm", b"md5-sess")
            .finish()
    }
}

/// `digest-response`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) username: Vec<u8>,
    pub(super) realm: Option<Vec<u8>>,
    pub(super) nonce: Vec<u8>,
    pub(super) cnonce: Vec<u8>,
    pub(super) nc: Vec<u8>,
    /// As the peer spelled it, since that is hashed.
    pub(super) qop: Vec<u8>,
    pub(super) digest_uri: Vec<u8>,
    pub(super) response: HexDigest,
    pub(super) utf8: bool,
    pub(super) authzid: Option<Vec<u8>>,
}

impl Response {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut directives = Directives::parse(message, RESPONSE_BOUND)?;
        let response = Self {
            username: directives.required("username")?,
            realm: directives.once("realm")?,
            nonce: directives.required("nonce")?,
            cnonce: directives.required("cnonce")?,
            // The RFC lets nc and digest-uri be absent but hashes them all the same.
            nc: directives.required("nc")?,
            qop: directives.once("qop")?.unwrap_or_else(|| b"auth".to_vec()),
            digest_uri: directives.required("digest-uri")?,
            response: hex_digest(directives.required("response")?)?,
            utf8: charset(&mut directives)?,
            authzid: directives.once("authzid")?,
        };
        check_maxbuf(&mut directives)?;
        directives.once("cipher")?;
        if response.nc.len() != 8 || !response.nc.iter().all(is_lower_hex) {
            return Err(Malformed("nc is not eight lower-case hexadecimal digits"));
        }
        Ok(response)
    }

    /// In the order in which RFC 3920 §6.6 prints it.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut message = Message::default().quoted("username", &self.username);
        if let Some(realm) = &self.realm {
            message = message.quoted("realm", realm);
        }
        message = message
            .quoted("nonce", &self.nonce)
            .quoted("cnonce", &self.cnonce)
            .plain("nc", &self.nc)
            .plain("qop", &self.qop)
            .quoted("digest-uri", &self.digest_uri)
            .plain("response", &self.response);
        if self.utf8 {
            message = message.plain("charset", b"utf-8");
        }
        if let Some(authzid) = &self.authzid {
            message = message.quoted("authzid", authzid);
        }
        message.finish()
    }
}

/// `response-auth`: the server's own proof.
pub(super) struct Rspauth;

impl Rspauth {
    pub(super) fn parse(message: &[u8]) -> Result<HexDigest, Malformed> {
        hex_digest(Directives::parse(message, CHALLENGE_BOUND)?.required("rspauth")?)
    }

    pub(super) fn write(digest: &HexDigest) -> Vec<u8> {
        Message::default().plain("rspauth", digest).finish()
    }
}

fn charset(directives: &mut Directives) -> Result<bool, Malformed> {
    match directives.once("charset")? {
        None => Ok(false),
        Some(name) if name.eq_ignore_ascii_case(b"utf-8") => Ok(true),
        Some(_) => Err(Malformed("the charset is not utf-8")),
    }
}

fn check_maxbuf(directives: &mut Directives) -> Result<(), Malformed> {
    match directives.once("maxbuf")? {
        Some(size) if size.is_empty() || !size.iter().all(u8::is_ascii_digit) => {
            Err(Malformed("maxbuf is not a number"))
        }
        Some(_) | None => Ok(()),
    }
}

fn hex_digest(value: Vec<u8>) -> Result<HexDigest, Malformed> {
    // §2.1.2: "the alphabetic characters MUST be lower case, because MD5 is not case insensitive".
    HexDigest::try_from(value)
        .ok()
        .filter(|digest| digest.iter().all(is_lower_hex))
        .ok_or(Malformed(
            "a digest is not 32 lower-case hexadecimal digits",
        ))
}

fn is_lower_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_challenge(message: &str, ok: bool) {
        assert_eq!(
            Challenge::parse(message.as_bytes()).is_ok(),
            ok,
            "{message}"
        );
    }

    #[track_caller]
    fn check_response(message: &str, ok: bool) {
        assert_eq!(Response::parse(message.as_bytes()).is_ok(), ok, "{message}");
    }

    #[track_caller]
    fn check_rspauth(message: &str, ok: bool) {
        assert_eq!(Rspauth::parse(message.as_bytes()).is_ok(), ok, "{message}");
    }

    // Cases of GNU SASL's lib/digest-md5/test-parser.c.

    #[test]
    fn challenges_of_gsasl() {
        check_challenge("nonce=4711, foo=bar, algorithm=md5-sess", true);
        check_challenge(
            "qop=\"auth, auth-conf\", nonce=42, algorithm=md5-sess",
            false,
        );
        check_challenge("cipher=\"des\", nonce=42, algorithm=md5-sess", false);
        check_challenge(
            "qop=\"auth, auth-conf\", nonce=42, algorithm=md5-sess, cipher=\"des\"",
            true,
        );
        check_challenge("bar=foo, foo=bar", false);
        check_challenge("realm=foo, realm=bar, nonce=42, algorithm=md5-sess", true);
    }

    #[test]
    fn responses_and_proofs_of_gsasl() {
        check_response("bar=foo, foo=bar", false);
        check_response(
            "username=jas, nonce=42, cnonce=4711, nc=00000001, digest-uri=foo, response=01234567890123456789012345678901",
            true,
        );
        check_rspauth("rspauth=\"6a204da26b9888ee40bb3052ff056a67\"", true);
        check_rspauth("bar=foo, foo=bar", false);
    }

    // Cases of perl Authen::SASL's t/server/digest_md5.t.

    #[test]
    fn responses_of_authen_sasl() {
        check_response(
            "charset=utf-8,cnonce=\"3858f62230ac3c915f300c664312c63f\",digest-uri=\"ldap/elwood.innosoft.com\",\
             digest-uri=\"ldap/elwood.innosoft.com\",nc=00000001,nonce=\"80338e79d2ca9b9c090ebaaa2ef293c7\",qop=auth-conf,\
             realm=\"elwood.innosoft.com\",response=e3c8b38d9bd9556761253e9879c4a8a2,username=\"gbarr\"",
            false,
        );
        check_response(
            "charset=utf-8,cnonce=\"3858f62230ac3c915f300c664312c63f\",digest-uri=\"ldap/elwood.innosoft.com\",nc=00000001,\
             nonce=\"80338e79d2ca9b9c090ebaaa2ef293c7\",qop=auth-conf,realm=\"elwood.innosoft.com\",\
             response=nottherightone,username=\"gbarr\"",
            false,
        );
    }

    // Cases of Twisted's test_jabbersaslmechanisms.py.

    #[test]
    fn challenges_of_twisted() {
        check_challenge(
            "nonce=\"1234\",qop=\"auth,auth-conf\",charset=utf-8,algorithm=md5-sess,cipher=\"des,3des\"",
            true,
        );
        check_challenge(
            "nonce=\"1234\",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
            true,
        );
        check_challenge(
            "realm=\"échec.example.org\",nonce=\"1234\",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
            true,
        );
    }

    #[test]
    fn a_challenge_says_what_it_says() {
        let challenge = Challenge::parse(
            b"realm=\"a\",REALM=b,nonce=\"n\\\"\",qop=\"token,AUTH\",algorithm=MD5-Sess",
        )
        .unwrap();
        let want = Challenge {
            realms: vec![b"a".to_vec(), b"b".to_vec()],
            nonce: b"n\"".to_vec(),
            auth: true,
            utf8: false,
        };
        assert_eq!(challenge, want);
        assert!(
            !Challenge::parse(b"nonce=n,qop=\"auth-int\",algorithm=md5-sess")
                .unwrap()
                .auth
        );
        assert!(
            !Challenge::parse(b"nonce=n,qop=\"\",algorithm=md5-sess")
                .unwrap()
                .auth
        );
        assert!(
            Challenge::parse(b"nonce=n,algorithm=md5-sess,charset=UTF-8")
                .unwrap()
                .utf8
        );
    }

    #[test]
    fn no_directive_of_a_challenge_but_realm_and_unknown_ones_appears_twice() {
        let directives = [
            "nonce=\"1\"",
            "qop=\"auth,auth-conf\"",
            "stale=true",
            "maxbuf=9",
            "charset=utf-8",
            "algorithm=md5-sess",
            "cipher=\"des\"",
        ];
        let whole = directives.join(",");
        check_challenge(&whole, true);
        for directive in directives {
            check_challenge(&format!("{whole},{directive}"), false);
        }
        check_challenge(
            &format!("{whole},realm=a,realm=a,foo=1,foo=1,opaque=1,domain=1"),
            true,
        );
    }

    #[test]
    fn no_directive_of_a_response_but_unknown_ones_appears_twice() {
        let whole = "username=a,realm=b,nonce=c,cnonce=d,nc=00000001,qop=auth,digest-uri=e,\
                     response=01234567890123456789012345678901,maxbuf=1,charset=utf-8,cipher=des,authzid=f";
        check_response(whole, true);
        for directive in whole.split(',') {
            check_response(&format!("{whole},{directive}"), false);
        }
        check_response(
            &format!("{whole},foo=1,foo=1,algorithm=md5-sess,algorithm=md5-sess"),
            true,
        );
    }

    #[test]
    fn what_must_be_there_must_be_there() {
        for missing in ["nonce", "algorithm"] {
            check_challenge(
                &["nonce=1", "algorithm=md5-sess"]
                    .into_iter()
                    .filter(|d| !d.starts_with(missing))
                    .collect::<String>(),
                false,
            );
        }
        let whole = "username=a,nonce=c,cnonce=d,nc=00000001,digest-uri=e,response=01234567890123456789012345678901";
        check_response(whole, true);
        for directive in whole.split(',') {
            check_response(&whole.replace(directive, "foo=bar"), false);
        }
    }

    #[test]
    fn digests_counts_and_sizes_are_in_lower_case() {
        check_rspauth("rspauth=ea40f60335c427b5527b84dbabcdfffd", true);
        check_rspauth("rspauth=ea40f60335c427b5527b84dbabcdfffd\n", true);
        check_rspauth("rspauth=EA40f60335c427b5527b84dbabcdfffd", false);
        check_rspauth("rspauth=ea40f60335c427b5527b84dbabcdfff", false);
        check_rspauth(
            "rspauth=ea40f60335c427b5527b84dbabcdfffd,rspauth=ea40f60335c427b5527b84dbabcdfffd",
            false,
        );
        let with = |nc: &str, tail: &str| {
            format!(
                "username=a,nonce=c,cnonce=d,nc={nc},digest-uri=e,response=01234567890123456789012345678901{tail}"
            )
        };
        check_response(&with("0000000a", ""), true);
        check_response(&with("0000000A", ""), false);
        check_response(&with("1", ""), false);
        check_response(&with("000000001", ""), false);
        check_response(&with("00000001", ",charset=iso-8859-1"), false);
        check_response(&with("00000001", ",maxbuf=-1"), false);
    }
}
