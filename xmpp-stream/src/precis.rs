//! Localparts and resourceparts as RFC 7622 prepares them: the PRECIS profiles UsernameCaseMapped (RFC 8265 §3.3) and
//! OpaqueString (RFC 8265 §4.2).
//!
//! The tables of precis-core are those of the IANA registry, of Unicode 6.3. A server that forwards other people's stanzas
//! would refuse what was assigned since, emoji in the nicknames of a room above all, so that is let pass: in a resource
//! all of it, in a localpart letters and digits.

use precis_profiles::precis_core::profile::Rules;
use precis_profiles::precis_core::{
    DerivedPropertyValue, FreeformClass, IdentifierClass, StringClass,
};
use precis_profiles::{OpaqueString, UsernameCaseMapped};

/// RFC 7622 §3.3 and §3.4: no part has more bytes.
pub(crate) const LONGEST: usize = 1023;

/// RFC 7622 §3.3, and the characters that §3.3.1 excludes.
pub(crate) fn localpart(text: &str) -> Option<String> {
    let part = stable(text, |text| {
        let profile = UsernameCaseMapped::new();
        let text = profile.width_mapping_rule(text).ok()?;
        let class = IdentifierClass::default();
        class
            .allows(known(&text, &class, char::is_alphanumeric))
            .ok()?;
        let text = profile.case_mapping_rule(text).ok()?;
        let text = profile.normalization_rule(text).ok()?;
        profile
            .directionality_rule(text)
            .ok()
            .map(|text| text.into_owned())
    })?;
    (!part.contains(['"', '&', '\'', '/', ':', '<', '>', '@'])).then_some(part)
}

/// RFC 7622 §3.4.
pub(crate) fn resourcepart(text: &str) -> Option<String> {
    stable(text, |text| {
        let profile = OpaqueString::new();
        let class = FreeformClass::default();
        class.allows(known(text, &class, |_| true)).ok()?;
        let text = profile.additional_mapping_rule(text).ok()?;
        profile
            .normalization_rule(text)
            .ok()
            .map(|text| text.into_owned())
    })
}

/// RFC 8264 §7: the rules are applied until nothing changes any more, and what never settles is refused.
fn stable(text: &str, enforce: impl Fn(&str) -> Option<String>) -> Option<String> {
    // No rule makes so much shorter.
    if text.len() > 4 * LONGEST {
        return None;
    }
    let mut part = enforce(text)?;
    for _ in 0..3 {
        let again = enforce(&part)?;
        if again == part {
            return (1..=LONGEST).contains(&part.len()).then_some(part);
        }
        part = again;
    }
    None
}

/// The same text with a letter in place of each character that was assigned after the tables, if it `may` stand there.
fn known(text: &str, class: &impl StringClass, may: fn(char) -> bool) -> String {
    text.chars()
        .map(|character| {
            let unassigned = !character.is_ascii()
                && class.get_value_from_char(character) == DerivedPropertyValue::Unassigned;
            match unassigned && may(character) && !is_noncharacter(character) {
                true => 'x',
                false => character,
            }
        })
        .collect()
}

fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    matches!(code, 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe
}
