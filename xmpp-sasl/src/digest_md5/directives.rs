//! The list of directives that every DIGEST-MD5 message is (RFC 2831 §7): `name=token, name="quoted \" string"`.

/// Why a message is not one; the text names the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The directives of a message, in order, names in lower case, values unquoted.
pub(super) struct Directives(Vec<(String, Vec<u8>)>);

impl Directives {
    /// Reads a message of fewer than `bound` bytes.
    pub(super) fn parse(message: &[u8], bound: usize) -> Result<Self, Malformed> {
        if message.len() >= bound {
            return Err(Malformed("it is too long"));
        }
        // COMPAT(RFC 3920): the base64 printed in §6.5 and §6.6 decodes to text that ends in a line feed
        // (`one_line_feed_at_the_end_is_tolerated`).
        let mut rest = message.strip_suffix(b"\n").unwrap_or(message);
        let mut directives = Vec::new();
        loop {
            // §7.1: null elements are allowed in a list, and do not count.
            rest = skip_space(rest);
            while let Some(tail) = rest.strip_prefix(b",") {
                rest = skip_space(tail);
            }
            if rest.is_empty() {
                return Ok(Self(directives));
            }
            let (name, tail) = token(rest).ok_or(Malformed("a directive has no name"))?;
            let tail = skip_space(tail)
                .strip_prefix(b"=")
                .ok_or(Malformed("a directive has no value"))?;
            let tail = skip_space(tail);
            let (value, tail) = match tail.strip_prefix(b"\"") {
                Some(tail) => quoted(tail)?,
                None => token(tail)
                    .map(|(value, tail)| (value.to_vec(), tail))
                    .ok_or(Malformed("a value is empty"))?,
            };
            directives.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value));
            rest = skip_space(tail);
            if !rest.is_empty() && !rest.starts_with(b",") {
                return Err(Malformed("there is no comma after a directive"));
            }
        }
    }

    /// All values of a directive that may be repeated.
    pub(super) fn all(&mut self, name: &str) -> Vec<Vec<u8>> {
        self.0
            .extract_if(.., |(found, _)| found == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a directive that may not.
    pub(super) fn once(&mut self, name: &str) -> Result<Option<Vec<u8>>, Malformed> {
        let mut values = self.all(name);
        let value = values.pop();
        if values.is_empty() {
            Ok(value)
        } else {
            Err(Malformed("a directive appears twice"))
        }
    }

    /// The value of a directive that must appear exactly once.
    pub(super) fn required(&mut self, name: &str) -> Result<Vec<u8>, Malformed> {
        self.once(name)?
            .ok_or(Malformed("a required directive is missing"))
    }
}

/// §7.2: `LWS = [CRLF] 1*( SP | HT )`.
fn skip_space(mut rest: &[u8]) -> &[u8] {
    loop {
        let unfolded = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        rest = match unfolded {
            [b' ' | b'\t', tail @ ..] => tail,
            _ => return rest,
        }
    }
}

/// §7.2: `token = 1*<any CHAR except CTLs or separators>`.
fn token(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest
        .iter()
        .position(|&byte| !is_token(byte))
        .unwrap_or(rest.len());
    if end == 0 {
        None
    } else {
        rest.split_at_checked(end)
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte)
}

/// §7.2: what follows the opening quotation mark, to the closing one. Only a backslash escapes. Folding lines within
/// it is legal there but never seen, and ambiguous in what is hashed, so control characters need a backslash.
fn quoted(rest: &[u8]) -> Result<(Vec<u8>, &[u8]), Malformed> {
    let mut value = Vec::new();
    let mut bytes = rest.iter();
    loop {
        match bytes.next() {
            Some(b'"') => return Ok((value, bytes.as_slice())),
            Some(b'\\') => match bytes.next() {
                Some(&byte) if byte.is_ascii() => value.push(byte),
                Some(_) | None => return Err(Malformed("a backslash escapes nothing")),
            },
            Some(&byte) if byte.is_ascii_control() && byte != b'\t' => {
                return Err(Malformed("a control character in a quoted string"));
            }
            Some(&byte) => value.push(byte),
            None => return Err(Malformed("a quoted string has no end")),
        }
    }
}

/// Writes a message.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn quoted(mut self, name: &str, value: &[u8]) -> Self {
        self.name(name);
        self.0.push(b'"');
        for &byte in value {
            if byte.is_ascii_control() || matches!(byte, b'"' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(byte);
        }
        self.0.push(b'"');
        self
    }

    /// `value` must be a token.
    pub(super) fn plain(mut self, name: &str, value: &[u8]) -> Self {
        self.name(name);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn name(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(message: &str, want: Result<&[(&str, &str)], &'static str>) {
        let got = Directives::parse(message.as_bytes(), 2048).map(|directives| directives.0);
        let want = want.map_err(Malformed).map(|pairs| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect::<Vec<_>>()
        });
        assert_eq!(got, want, "{message:?}");
    }

    #[test]
    fn values_are_tokens_or_quoted_strings() {
        check("a=b", Ok(&[("a", "b")]));
        check("a=\"b\"", Ok(&[("a", "b")]));
        check("a=\"\"", Ok(&[("a", "")]));
        check("Charset=UTF-8", Ok(&[("charset", "UTF-8")]));
        check("a=\"x,y=z\",b=c", Ok(&[("a", "x,y=z"), ("b", "c")]));
        check("a=", Err("a value is empty"));
        check("a=,b=c", Err("a value is empty"));
        check("a", Err("a directive has no value"));
        check("a b", Err("a directive has no value"));
        check("=b", Err("a directive has no name"));
        check("\"a\"=b", Err("a directive has no name"));
        check("a=b=c", Err("there is no comma after a directive"));
        check("a=b/c", Err("there is no comma after a directive"));
        check("a=é", Err("a value is empty"));
    }

    #[test]
    fn a_backslash_escapes_within_quotation_marks_only() {
        check(r#"a="\"""#, Ok(&[("a", "\"")]));
        check(r#"a="\\""#, Ok(&[("a", "\\")]));
        check(r#"a="\a\,""#, Ok(&[("a", "a,")]));
        check(r#"a="\"#, Err("a backslash escapes nothing"));
        check(r#"a="\""#, Err("a quoted string has no end"));
        check(r#"a="\é""#, Err("a backslash escapes nothing"));
        check(r"a=\b", Err("a value is empty"));
        check("a=\"b\"c\"", Err("there is no comma after a directive"));
        check("a=\"", Err("a quoted string has no end"));
        check("a=\"b\n\"", Err("a control character in a quoted string"));
        check("a=\"b\0\"", Err("a control character in a quoted string"));
        check("a=\"b\t c\"", Ok(&[("a", "b\t c")]));
        check("a=\" é \"", Ok(&[("a", " é ")]));
    }

    #[test]
    fn space_and_empty_elements_between_directives_do_not_count() {
        check("a=b, c=d", Ok(&[("a", "b"), ("c", "d")]));
        check(" a = b ,\t c\t=\t\"d\" ", Ok(&[("a", "b"), ("c", "d")]));
        check(",, a=b,, ,c=d,", Ok(&[("a", "b"), ("c", "d")]));
        check("a=b,\r\n c=d", Ok(&[("a", "b"), ("c", "d")]));
        check("a=b,\r\nc=d", Err("a directive has no name"));
        check("a=b,\nc=d", Err("a directive has no name"));
        check("a=b c=d", Err("there is no comma after a directive"));
        check("", Ok(&[]));
        check(",", Ok(&[]));
    }

    #[test]
    fn one_line_feed_at_the_end_is_tolerated() {
        check("a=b\n", Ok(&[("a", "b")]));
        check("a=\"b\"\n", Ok(&[("a", "b")]));
        check("a=b\n\n", Err("there is no comma after a directive"));
        check("a=b\r\n", Err("there is no comma after a directive"));
        check("\na=b", Err("a directive has no name"));
    }

    #[test]
    fn a_message_is_shorter_than_its_bound() {
        let longest = format!("a={}", "b".repeat(2045));
        assert_eq!(longest.len(), 2047);
        assert!(Directives::parse(longest.as_bytes(), 2048).is_ok());
        assert!(Directives::parse(format!("{longest}b").as_bytes(), 2048).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Directives::parse(&bytes, 2048);
        }

        #[test]
        fn what_is_quoted_is_read_back(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = Message::default().plain("x", b"1").quoted("value", &value).plain("y", b"2").finish();
            let mut directives = Directives::parse(&message, 2048).unwrap();
            prop_assert_eq!(directives.required("value"), Ok(value));
        }
    }
}
