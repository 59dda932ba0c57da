//! Scripts made of bytes, as a fuzzer has them, and what has to be true of each.

use xmpp_sasl::{IterationBounds, ScramKeys};
use xmpp_stream::{ContentNamespace, Context, Element};

use super::{Denial, MUTUAL, Move, PROVING, attack_client, attack_server};

/// Takes bytes as they are wanted; zeros when there are none left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn some(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some.to_vec()
    }

    fn of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[usize::from(self.byte()) % N]
    }

    /// One of these, or KERBEROS_V4, whose tests have a file of their own.
    fn of_these(&mut self, all: &[&'static str]) -> &'static str {
        let at = usize::from(self.byte()) % (all.len() + 1);
        all.get(at).copied().unwrap_or("KERBEROS_V4")
    }

    /// A move; honest ones often, or nothing is ever reached.
    fn step(&mut self) -> Move {
        match self.byte() % 16 {
            0 => Move::Changed(self.number(), self.byte() | 1),
            1 => Move::Cut(self.number()),
            2 => Move::More(self.some()),
            3 => Move::Repeat,
            4 => Move::Mirror,
            5 => Move::Nothing,
            6..=8 => Move::Noise(self.some()),
            _ => Move::Honest,
        }
    }

    fn script(&mut self) -> Vec<Move> {
        let mut script = Vec::new();
        while !self.0.is_empty() && script.len() < 8 {
            script.push(self.step());
        }
        script
    }
}

/// No order of messages opens a door that is closed.
pub(crate) fn server(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mechanism = bytes.of_these(&PROVING);
    let why = bytes.of([
        Denial::NotAllowed,
        Denial::OtherSecret(""),
        Denial::OtherSecret("wherefore art thou?"),
        Denial::Unknown,
        Denial::OtherConnection,
    ]);
    let why = match (mechanism, why) {
        ("EXTERNAL", _) | ("KERBEROS_V4", Denial::Unknown) => Denial::NotAllowed,
        (mechanism, Denial::OtherConnection) if !mechanism.ends_with("-PLUS") => Denial::NotAllowed,
        _ => why,
    };
    let outcome = attack_server(mechanism, why, &bytes.script());
    assert!(!outcome.open, "{mechanism} {why:?}: it opened");
    if xmpp_sasl::names().any(|name| name == "ANONYMOUS") {
        attack_server("ANONYMOUS", Denial::NotAllowed, &bytes.script());
    }
}

/// No order of messages satisfies a client of a server that does not know the password.
pub(crate) fn client(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mechanism = bytes.of_these(&MUTUAL);
    let ends = bytes.byte();
    let script: Vec<_> = bytes
        .script()
        .into_iter()
        .enumerate()
        .map(|(at, step)| (step, ends >> at & 1 == 1))
        .collect();
    let (satisfied, _) = attack_client(mechanism, &script);
    assert!(!satisfied, "{mechanism}: it is satisfied");
}

/// An element is a nonza or is refused, and what was read is written the same.
pub(crate) fn wire(data: &[u8]) {
    use xmpp_sasl::wire::Nonza;

    let context = Context::new(ContentNamespace::Server);
    let Ok(element) = Element::parse(data.to_vec(), &context) else {
        return;
    };
    let Some(Ok(nonza)) = Nonza::from_element(&element) else {
        return;
    };
    let written = Element::parse(nonza.to_bytes(), &context).expect("we write well-formed XML");
    assert_eq!(Nonza::from_element(&written), Some(Ok(nonza)));
}

/// Stored keys are read or refused, and what was read is written the same.
pub(crate) fn keys(data: &[u8]) {
    let bounds = IterationBounds { min: 1, max: 50 };
    let check = |text: &str| {
        if let Ok(keys) = ScramKeys::parse_within(text, bounds) {
            assert_eq!(ScramKeys::parse_within(&keys.to_text(), bounds), Ok(keys));
        }
    };
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    check(text);
    // Deeper, for who does not know the names: with a good beginning, and with a good end.
    for (name, length) in [
        ("SCRAM-SHA-1", 28),
        ("SCRAM-SHA-256", 44),
        ("SCRAM-SHA-512", 88),
    ] {
        let key = format!("{}=", "A".repeat(length - 1));
        check(&format!("{name}${text}"));
        check(&format!("{name}$9:c2FsdA==${text}"));
        check(&format!("{name}${text}${key}:{key}"));
    }
}
