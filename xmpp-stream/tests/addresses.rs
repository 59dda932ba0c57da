//! Addresses: what is one, what is not, and which are the same (RFC 7622).
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use proptest::prelude::*;
use xmpp_stream::{
    BadAddress, ContentNamespace, Context, Domain, Element, Jid, Spelling, split_jid,
};

/// Localpart, domainpart and resourcepart after preparation, or that it is no address.
#[track_caller]
fn check(text: &str, want: Option<(Option<&str>, &str, Option<&str>)>) {
    let found = Jid::parse(text);
    let parts = found
        .as_ref()
        .ok()
        .map(|jid| (jid.local(), jid.domain().as_str(), jid.resource()));
    assert_eq!(parts, want, "{text:?}");
    if let Ok(jid) = found {
        assert_eq!(Jid::parse(jid.as_str()).unwrap(), jid, "{text:?} twice");
        assert_eq!(jid.to_string(), jid.as_str());
    }
}

#[test]
fn addresses_have_three_parts() {
    let a = Some("juliet");
    check("juliet@example.com", Some((a, "example.com", None)));
    check(
        "juliet@example.com/foo",
        Some((a, "example.com", Some("foo"))),
    );
    check(
        "juliet@example.com/foo@bar",
        Some((a, "example.com", Some("foo@bar"))),
    );
    check(
        "juliet@example.com/ foo",
        Some((a, "example.com", Some(" foo"))),
    );
    check(
        "juliet@example.com//@//",
        Some((a, "example.com", Some("/@//"))),
    );
    check("juliet@example.com/@", Some((a, "example.com", Some("@"))));
    check(
        "example.com/foobar",
        Some((None, "example.com", Some("foobar"))),
    );
    check(
        "a.example.com/b@example.net",
        Some((None, "a.example.com", Some("b@example.net"))),
    );
    check(
        "server/resource@foo/bar",
        Some((None, "server", Some("resource@foo/bar"))),
    );
    check(
        "foo\\20bar@example.com",
        Some((Some("foo\\20bar"), "example.com", None)),
    );
    check("node@server./r", Some((Some("node"), "server", Some("r"))));
    check(
        "user@[2001:638:a000:4134::ffff:40]",
        Some((Some("user"), "[2001:638:a000:4134::ffff:40]", None)),
    );
    check(
        "user@[fe80::40%eno1]",
        Some((Some("user"), "[fe80::40%eno1]", None)),
    );
    check("user@1.2.3.4", Some((Some("user"), "1.2.3.4", None)));
    check(
        "user@_xmpp.example",
        Some((Some("user"), "_xmpp.example", None)),
    );
}

#[test]
fn case_is_folded_but_not_in_resources() {
    check(
        "USER@EXAMPLE.COM/Res",
        Some((Some("user"), "example.com", Some("Res"))),
    );
    check(
        "user@CaSe-InSeNsItIvE",
        Some((Some("user"), "case-insensitive", None)),
    );
}

#[test]
fn other_scripts_are_prepared() {
    check("π@example.com", Some((Some("π"), "example.com", None)));
    check(
        "müller@example.com",
        Some((Some("müller"), "example.com", None)),
    );
    check(
        "user@MÜLLER.example",
        Some((Some("user"), "müller.example", None)),
    );
    check(
        "user@xn--mller-kva.example",
        Some((Some("user"), "müller.example", None)),
    );
    check(
        "king@example.com/\u{265a}",
        Some((Some("king"), "example.com", Some("\u{265a}"))),
    );
    check(
        "user@example.com/\u{a0}x",
        Some((Some("user"), "example.com", Some(" x"))),
    );
    // As PRECIS has it and stringprep had not: these are other people than strasse and fi.
    check(
        "straße@example.com",
        Some((Some("straße"), "example.com", None)),
    );
    check("\u{fb01}@example.com", None);
    check(
        "example.com/\u{fb01}",
        Some((None, "example.com", Some("\u{fb01}"))),
    );
    // Emoji of Unicode 9 and 15, letters of Unicode 7: newer than the tables.
    check(
        "example.com/\u{1f923}\u{1fae8}",
        Some((None, "example.com", Some("\u{1f923}\u{1fae8}"))),
    );
    check(
        "\u{10d00}@example.com",
        Some((Some("\u{10d00}"), "example.com", None)),
    );
    check(
        "\u{ff55}ser@example.com",
        Some((Some("user"), "example.com", None)),
    );
}

#[test]
fn what_is_no_address() {
    for text in [
        "",
        "/",
        "@",
        "user@@",
        "user@@host",
        "user@@host/",
        "/foobar",
        "node@/server",
        "@server/resource",
        "@/resource",
        "server/",
        "foo@example@resource",
        "test@/test",
        "jul\u{1}iet@example.com",
        "\"juliet\"@example.com",
        "foo bar@example.com",
        "<invalid node>@server",
        "b&d@example.net",
        "b'd@example.net",
        "b>d@example.net",
        " user@example.com",
        "node@server/invalid-\0-resource",
        "user@example.com/\u{7}",
        "[127.0.0.1]",
        "[::1",
        "::1",
        "[::1]x",
        "[::1%]",
        "[]",
        "user@exa mple.com",
        "user@-bad.example",
        "user@bad-.example",
        "user@a..b",
        "user@.example",
        "user@example..",
        ".",
        "user@xn--a",
        "user@xn--.example",
        "user@a\u{ff0f}b.example",
        "user@\u{2024}\u{2024}",
        // Nothing to be seen: soft hyphen, zero width joiner, the order of writing turned round.
        "us\u{ad}er@example.com",
        "us\u{200d}er@example.com",
        "us\u{202e}er@example.com",
        "example.com/\u{202e}",
        "example.com/\u{ad}",
        "example.com/\u{fdd0}",
        "exam\u{ad}ple.com",
        "exam\u{200b}ple.com",
        "exam\u{fe0f}ple.com",
        "exam\u{202e}ple.com",
        // No letters.
        "\u{2665}@example.com",
        "\u{1f923}@example.com",
        // Fullwidth, and then what may not stand there.
        "\u{ff07}@example.com",
    ] {
        check(text, None);
    }
}

#[test]
fn parts_have_bounds() {
    let at = |length: usize| format!("{}@example.com", "a".repeat(length));
    assert!(Jid::parse(&at(1023)).is_ok());
    assert!(Jid::parse(&at(1024)).is_err());
    let slash = |length: usize| format!("example.com/{}", "a".repeat(length));
    assert!(Jid::parse(&slash(1023)).is_ok());
    assert!(Jid::parse(&slash(1024)).is_err());
    for (parts, good) in [(511, true), (512, false)] {
        assert_eq!(
            Jid::parse(&format!("{}@example.com", "é".repeat(parts))).is_ok(),
            good
        );
        assert_eq!(
            Jid::parse(&format!("example.com/{}", "é".repeat(parts))).is_ok(),
            good
        );
    }
    let label = |length: usize| format!("{}.example", "a".repeat(length));
    assert!(Domain::parse(&label(63)).is_ok());
    assert!(Domain::parse(&label(64)).is_err());
    assert!(Domain::parse(&[&*"a".repeat(63); 4].join(".")).is_err());
}

#[test]
fn a_domain_is_the_same_in_every_spelling() {
    let domain = Domain::parse("Straße.EXAMPLE.").unwrap();
    assert_eq!(domain.as_str(), "straße.example");
    // IDNA 2008: not strasse.example, which is someone else's.
    assert_eq!(domain.ascii(), "xn--strae-oqa.example");
    for same in [
        "straße.example",
        "STRAßE.example",
        "xn--strae-oqa.example",
        "XN--STRAE-OQA.Example",
        "straße.example.",
        "straße\u{3002}example",
    ] {
        assert!(domain.is_named_by(same), "{same}");
        assert_eq!(Domain::parse(same).unwrap(), domain, "{same}");
    }
    for other in [
        "strasse.example",
        "a.straße.example",
        "example",
        "",
        " straße.example",
        "straße.example/",
    ] {
        assert!(!domain.is_named_by(other), "{other}");
    }
    let all: HashSet<Domain> = ["straße.example", "xn--strae-oqa.example", "b.example"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    assert_eq!(all.len(), 2);
}

#[test]
fn an_address_is_spelt_as_prepared_or_in_another_way_or_is_none() {
    let domain = Domain::parse("straße.example").unwrap();
    let other = |text: &str| Spelling::Other(Jid::parse(text).unwrap());
    for (address, want) in [
        ("straße.example", Spelling::Prepared),
        ("a@straße.example/R \u{e9}", Spelling::Prepared),
        ("\u{e9}@straße.example", Spelling::Prepared),
        ("A@straße.example", other("a@straße.example")),
        ("a@xn--strae-oqa.example", other("a@straße.example")),
        ("a@STRAßE.example./R", other("a@straße.example/R")),
        ("E\u{301}@straße.example", other("\u{e9}@straße.example")),
        ("@straße.example", Spelling::Malformed),
        ("a@straße.example/", Spelling::Malformed),
        ("a b@STRASSE.example", Spelling::Elsewhere),
        ("a@strasse.example", Spelling::Elsewhere),
        ("a@b@straße.example", Spelling::Elsewhere),
        ("", Spelling::Elsewhere),
    ] {
        assert_eq!(domain.spelling(address), want, "{address}");
    }
}

#[test]
fn an_element_is_readdressed_in_its_head_alone() {
    let context = Context::new(ContentNamespace::Server);
    let text = "<message  to = \"A@b\" x='to' from='C&amp;@d'\n xmlns:s='jabber:server' id='1'><s:x to='A@b'/></message>";
    let element = Element::parse(text, &context).unwrap();
    let both = element.readdressed(Some("c'\"@d"), Some("a@b"));
    let want = text
        .replacen("A@b", "a@b", 1)
        .replace("C&amp;@d", "c&apos;&quot;@d");
    assert_eq!(both.bytes(), &want);
    assert_eq!(both, Element::parse(want, &context).unwrap());
    assert_eq!(
        (both.from().as_deref(), both.to().as_deref()),
        (Some("c'\"@d"), Some("a@b"))
    );
    assert_eq!((both.id().as_deref(), both.name()), (Some("1"), "message"));
    // What forwarding has to know of what is within is still known.
    let [mut one, mut other] = [bytes::BytesMut::new(), bytes::BytesMut::new()];
    both.write_for(ContentNamespace::Component, &mut one);
    Element::parse(both.bytes().clone(), &context)
        .unwrap()
        .write_for(ContentNamespace::Component, &mut other);
    assert_eq!(one, other);
    assert_eq!(element.readdressed(None, None), element);
    let bare = Element::parse("<iq/>", &context).unwrap();
    assert_eq!(bare.readdressed(Some("a"), Some("b")), bare);
}

#[test]
fn ip_addresses_are_known_as_such() {
    for (text, ascii) in [
        ("192.0.2.1", "192.0.2.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ] {
        let domain = Domain::parse(text).unwrap();
        assert!(domain.is_ip());
        assert_eq!((domain.ascii(), domain.as_str()), (ascii, ascii));
    }
    assert!(!Domain::parse("a.example").unwrap().is_ip());
    assert_eq!(Domain::parse("a b"), Err(BadAddress));
}

proptest! {
    #[test]
    fn any_text_is_an_address_that_stays_one_or_none(text in ".{0,20}(@|)[a-zA-Zäßé.]{0,9}(/.{0,9}|)") {
        let (local, domain, resource) = split_jid(&text);
        let length = local.map_or(0, |local| local.len() + 1) + domain.len() + resource.map_or(0, |resource| resource.len() + 1);
        prop_assert_eq!(length, text.len());
        if let Ok(jid) = Jid::parse(&text) {
            prop_assert_eq!(&Jid::parse(jid.as_str()).unwrap(), &jid);
            prop_assert_eq!(split_jid(jid.as_str()), (jid.local(), jid.domain().as_str(), jid.resource()));
            prop_assert!(jid.domain().is_named_by(domain));
            let spelling = jid.domain().spelling(&text);
            match jid.as_str() == text {
                true => prop_assert_eq!(spelling, Spelling::Prepared),
                false => prop_assert_eq!(spelling, Spelling::Other(jid)),
            }
        }
        if let Ok(domain) = Domain::parse(&text) {
            prop_assert!(domain.ascii().is_ascii());
            prop_assert_eq!(&Domain::parse(domain.ascii()).unwrap(), &domain);
            prop_assert_eq!(&Domain::parse(domain.as_str()).unwrap(), &domain);
        }
    }

    #[test]
    fn any_characters_are_prepared_once_and_for_all(local in "\\PC{0,5}", resource in "\\PC{0,5}") {
        let text = format!("{local}@a.example/{resource}");
        if let Ok(jid) = Jid::parse(&text) {
            prop_assert_eq!(&Jid::parse(jid.as_str()).unwrap(), &jid);
        }
    }

    #[test]
    fn any_text_with_a_label_prefix_is_judged_once_and_for_all(text in "(xn--|)[a-z0-9ü-]{0,8}(\\.|)(xn--[a-z0-9-]{0,6}|)") {
        if let Ok(domain) = Domain::parse(&text) {
            prop_assert_eq!(&Domain::parse(domain.ascii()).unwrap(), &domain);
            prop_assert_eq!(&Domain::parse(domain.as_str()).unwrap(), &domain);
        }
    }
}
