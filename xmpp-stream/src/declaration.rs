//! The XML declaration that a stream may begin with (XML 1.0 §2.8, RFC 6120 §11.4 and §11.5).
//!
//! Not left to rxml, which wants `encoding` before `standalone` and takes no `standalone='no'`.

use crate::DecodeError;
use crate::tag::is_space;

/// No pseudo-attribute is longer.
const LONGEST: usize = 1024;

/// Reads a declaration from its `<?xml` on, as it grows.
#[derive(Debug, Default)]
pub(crate) struct Declaration {
    /// Up to here it is good.
    at: usize,
    next: Next,
    spaced: bool,
}

/// Which pseudo-attribute may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Next {
    #[default]
    Version,
    Encoding,
    Standalone,
    None,
}

impl Declaration {
    /// How far it looked.
    pub(crate) fn looked_at(&self) -> usize {
        self.at
    }

    /// `Some`: it is whole, and this long.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        if self.at == 0 {
            self.at = b"<?xml".len();
        }
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            match rest {
                [] | [b'?'] => return Ok(None),
                [byte, ..] if is_space(*byte) => {
                    self.at += 1;
                    self.spaced = true;
                }
                [b'?', b'>', ..] if self.next != Next::Version => return Ok(Some(self.at + 2)),
                _ if !self.spaced => return Err(DecodeError::NotWellFormed),
                _ => match pseudo_attribute(rest)? {
                    Some((name, value, length)) => {
                        self.next = self.after(name, value)?;
                        self.at += length;
                        self.spaced = false;
                    }
                    None if rest.len() > LONGEST => return Err(DecodeError::NotWellFormed),
                    None => return Ok(None),
                },
            }
        }
    }

    fn after(&self, name: &[u8], value: &[u8]) -> Result<Next, DecodeError> {
        match (self.next, name) {
            (Next::Version, b"version") if value == b"1.0" => Ok(Next::Encoding),
            (Next::Encoding, b"encoding") if value.eq_ignore_ascii_case(b"utf-8") => {
                Ok(Next::Standalone)
            }
            (Next::Encoding, b"encoding") => Err(DecodeError::Encoding),
            (Next::Encoding | Next::Standalone, b"standalone")
                if matches!(value, b"yes" | b"no") =>
            {
                Ok(Next::None)
            }
            _ => Err(DecodeError::NotWellFormed),
        }
    }
}

/// Name, value and length of what stands there; `None` if it is not complete.
type Found<'a> = Option<(&'a [u8], &'a [u8], usize)>;

fn pseudo_attribute(rest: &[u8]) -> Result<Found<'_>, DecodeError> {
    let skip_space = |mut at: usize| {
        while rest.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        at
    };
    let run = |from: usize, taken: fn(u8) -> bool| {
        let rest = rest.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| taken(**byte)).count()
    };
    let name = run(0, |byte| byte.is_ascii_lowercase());
    if name == 0 {
        return Err(DecodeError::NotWellFormed);
    }
    let equals = skip_space(name);
    let quote = match rest.get(equals) {
        None => return Ok(None),
        Some(b'=') => skip_space(equals + 1),
        Some(_) => return Err(DecodeError::NotWellFormed),
    };
    let (start, mark) = match rest.get(quote) {
        None => return Ok(None),
        Some(mark @ (b'\'' | b'"')) => (quote + 1, *mark),
        Some(_) => return Err(DecodeError::NotWellFormed),
    };
    let end = run(start, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':')
    });
    match rest.get(end) {
        None => Ok(None),
        Some(byte) if *byte == mark => Ok(Some((
            rest.get(..name).unwrap_or_default(),
            rest.get(start..end).unwrap_or_default(),
            end + 1,
        ))),
        Some(_) => Err(DecodeError::NotWellFormed),
    }
}
