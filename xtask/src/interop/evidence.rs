//! What a log must show. Delivery alone says nothing about how a stream was proved, so each row also asks
//! both servers' logs.

use super::setup::{Direction, Transport};

/// The way a stream must have been proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Dialback,
    External,
    /// A mechanism of SASL that the two have agreed on, by its registered name.
    Agreed(&'static str),
}

/// What a row claims about the stream that the initiating server opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) method: Method,
    pub(super) transport: Transport,
    pub(super) direction: Direction,
}

impl Claim {
    pub(super) fn tls(&self) -> bool {
        self.transport != Transport::Plain
    }
}

/// Why a stream must have been refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The initiating server's certificate is no proof of its domain.
    Certificate,
    /// The receiving server's certificate is no proof of its domain.
    Impostor,
    /// The authoritative server does not know the dialback key.
    Key,
    /// The receiving server does not serve the domain.
    Host,
    /// s2sd requires TLS, and the peer has none.
    NoTls,
}

/// Is there a line with all these texts on it?
pub(super) fn line_with(log: &str, texts: &[&str]) -> Result<(), String> {
    if log
        .lines()
        .any(|line| texts.iter().all(|text| line.contains(text)))
    {
        return Ok(());
    }
    Err(format!(
        "no line with {}",
        texts
            .iter()
            .map(|text| format!("{text:?}"))
            .collect::<Vec<_>>()
            .join(" and ")
    ))
}

/// Is there no such line?
pub(super) fn no_line_with(log: &str, texts: &[&str]) -> Result<(), String> {
    match log
        .lines()
        .find(|line| texts.iter().all(|text| line.contains(text)))
    {
        Some(line) => Err(format!("a line that should not be there: {line}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_the_texts_stand_on_one_line() {
        let log = "a b\nc d\n";
        assert!(line_with(log, &["a", "b"]).is_ok());
        assert_eq!(
            line_with(log, &["a", "d"]),
            Err("no line with \"a\" and \"d\"".to_owned())
        );
        assert!(no_line_with(log, &["a", "d"]).is_ok());
        assert!(no_line_with(log, &["c"]).is_err());
    }
}
