//! A zone as text, one record a line.

use hickory_resolver::proto::rr::Name;

use super::{
    Zone,
    signed::{Cut, Flaw},
};

impl Zone {
    /// Reads the text form, one record a line; `#` begins a comment.
    ///
    /// ```text
    /// srv NAME PRIORITY WEIGHT PORT TARGET
    /// a NAME ADDRESS
    /// aaaa NAME ADDRESS
    /// cname NAME TARGET
    /// dname NAME TARGET
    /// tlsa NAME USAGE SELECTOR MATCHING HEX
    /// none NAME           the service is decidedly absent: an SRV record with the target "."
    /// fail NAME           SERVFAIL
    /// silent NAME         no answer at all
    /// ```
    ///
    /// and, which is of no meaning until it is signed:
    ///
    /// ```text
    /// zone NAME signed|unsigned|wrong-ds      a zone of its own, and how it is delegated
    /// flaw NAME broken|expired|early|stripped what is wrong with the signatures for a name
    /// ```
    ///
    /// # Errors
    ///
    /// The line that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut zone = Self::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() {
                zone = zone
                    .line(&words)
                    .ok_or_else(|| format!("line {}: not understood: {}", at + 1, line.trim()))?;
            }
        }
        Ok(zone)
    }

    fn line(self, words: &[&str]) -> Option<Self> {
        let name = |name: &str| Name::from_ascii(name).is_ok();
        match *words {
            ["srv", owner, priority, weight, port, target] if name(owner) && name(target) => {
                let (priority, weight) = (priority.parse().ok()?, weight.parse().ok()?);
                Some(self.srv(owner, priority, weight, port.parse().ok()?, target))
            }
            ["a", owner, address] if name(owner) => Some(self.a(owner, address.parse().ok()?)),
            ["aaaa", owner, address] if name(owner) => {
                Some(self.aaaa(owner, address.parse().ok()?))
            }
            ["cname", owner, target] if name(owner) && name(target) => {
                Some(self.cname(owner, target))
            }
            ["dname", owner, target] if name(owner) && name(target) => {
                Some(self.dname(owner, target))
            }
            ["tlsa", owner, usage, selector, matching, data] if name(owner) => {
                let numbers = [usage, selector, matching].map(|number| number.parse().ok());
                let [Some(usage), Some(selector), Some(matching)] = numbers else {
                    return None;
                };
                Some(self.tlsa(owner, [usage, selector, matching], &bytes(data)?))
            }
            ["none", owner] if name(owner) => Some(self.service_absent(owner)),
            ["fail", owner] if name(owner) => Some(self.fails(owner)),
            ["silent", owner] if name(owner) => Some(self.silent(owner)),
            ["zone", owner, kind] if name(owner) => Some(match Cut::named(kind)? {
                Cut::Signed => self.zone(owner),
                Cut::Unsigned => self.unsigned(owner),
                Cut::WrongDs => self.wrong_ds(owner),
            }),
            ["flaw", owner, kind] if name(owner) => Some(self.flaw(owner, Flaw::named(kind)?)),
            _ => None,
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok()))
        .collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::example, *};

    #[test]
    fn the_text_form_is_the_same_zone() {
        let text = "# comment\n\
            srv _xmpp-server._tcp.A.example. 1 2 5269 host.a.example  # more\n\
            none _xmpp-server._tcp.none.example\n\n\
            a host.a.example 127.0.0.1\n  aaaa host.a.example ::1\n\
            a *.load.example 127.0.0.1\nfail broken.example\nsilent silent.example\n";
        assert_eq!(Zone::parse(text), Ok(example()));
        assert_eq!(
            Zone::parse("a x.example 127.0.0.1\nsrv x 1 2 3\n"),
            Err("line 2: not understood: srv x 1 2 3".to_owned())
        );
    }

    #[test]
    fn what_is_about_signing_has_a_text_form_too() {
        let text = "cname a.example b.example\ndname c.example d.example\n\
            tlsa _5269._tcp.b.example 3 1 1 00fFa0\nzone s.example signed\nzone u.example unsigned\n\
            zone w.example wrong-ds\nflaw b.example broken\nflaw e.example expired\nflaw f.example early\n\
            flaw g.example stripped\n";
        let zone = Zone::new()
            .cname("a.example", "b.example")
            .dname("c.example", "d.example")
            .tlsa("_5269._tcp.b.example", [3, 1, 1], &[0, 255, 160])
            .zone("s.example")
            .unsigned("u.example")
            .wrong_ds("w.example")
            .flaw("b.example", Flaw::Broken)
            .flaw("e.example", Flaw::Expired)
            .flaw("f.example", Flaw::Early)
            .flaw("g.example", Flaw::Stripped);
        assert_eq!(Zone::parse(text), Ok(zone));
        for wrong in [
            "tlsa x 3 1 1 abc",
            "tlsa x 3 1 1 xx",
            "tlsa x 3 1 256 ab",
            "zone x bogus",
            "flaw x none",
        ] {
            assert!(Zone::parse(wrong).is_err(), "{wrong}");
        }
    }
}
