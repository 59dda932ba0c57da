//! What s2sd said or did, as a transcript prints it: for `UPDATE=1`, and for messages about what does not fit.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use s2sd::tools::demo::xml::fold;

use super::{
    names::Names,
    script::{Note, Role, Stream},
};
use crate::wire::Event;

/// Lines are not much longer than this.
const WIDTH: usize = 100;

/// The line for something said; lines that continue it are indented.
pub(super) fn line(role: Role, stream: Stream, event: &Event) -> String {
    let tag = match (stream, role) {
        (Stream::Main, Role::Receiving) => "S".to_owned(),
        (Stream::Main, Role::Initiating) => "C".to_owned(),
        (Stream::Question(1), _) => "R".to_owned(),
        (Stream::Question(number), _) => format!("R{number}"),
    };
    let indent = " ".repeat(tag.len() + 2);
    let text = self::event(event);
    let text = text.trim_end().replace('\n', &format!("\n{indent}"));
    format!("{tag}: {text}\n")
}

/// What was said.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Header(header) => {
            let mut bytes = BytesMut::new();
            header.write(&mut bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let text = text.replacen("<?xml version='1.0'?>", "", 1);
            text.replace("' ", "'\n    ")
                .replacen("stream xmlns", "stream\n    xmlns", 1)
        }
        Event::Element(element) => pretty(&String::from_utf8_lossy(element.bytes())),
        Event::Footer => "</stream:stream>".to_owned(),
        Event::Closed => "(the connection is closed)".to_owned(),
        Event::Nothing => "(nothing)".to_owned(),
    }
}

pub(super) fn note(note: &Note) -> String {
    match note {
        Note::Closed(cause) => format!("-- closed: {cause}\n"),
        Note::Delivered(stanza) => format!("-- delivered {stanza}\n"),
        Note::Proved(from, to, method) => format!("-- proved from {from} to {to} by {method}\n"),
        Note::Answered(condition) => format!("-- answered {condition}\n"),
        Note::Refused(from, to, cause) => format!("-- refused from {from} to {to}: {cause}\n"),
        Note::Bounced(condition, cause) => format!("-- bounced {condition}: {cause}\n"),
        Note::ConnectsAgain => "-- connects again\n".to_owned(),
    }
}

/// Puts names in place of what is fresh, so that the line holds for the next conversation too.
pub(super) fn general(names: &Names, event: &Event, text: &str) -> String {
    let mut text = text.to_owned();
    if let Event::Header(header) = event
        && let Some(id) = &header.id
        && !names.known().any(|(_, value)| value == id)
    {
        let name = names.free("id");
        text = text.replace(&format!("id='{id}'"), &format!("id='{{{name}}}'"));
    }
    if let Event::Element(element) = event {
        if matches!(element.name(), "challenge" | "response" | "auth")
            && let Ok(decoded) = STANDARD.decode(element.text())
            && let Ok(decoded) = String::from_utf8(decoded)
            && !decoded.is_empty()
        {
            let decoded = digest(names, element.name(), &decoded);
            text = text.replace(&element.text(), &format!("{{base64 {decoded}}}"));
        }
        if matches!(element.name(), "result" | "verify") && element.text().len() == 64 {
            text = text.replace(&element.text(), "{dialback-key}");
        }
    }
    for (name, value) in names.known() {
        if value.len() >= 8 {
            text = text.replace(value, &format!("{{{name}}}"));
        }
    }
    text
}

/// The fresh parts of a message of DIGEST-MD5.
fn digest(names: &Names, element: &str, message: &str) -> String {
    let directives = message.split(',').map(|directive| {
        let fresh = |name: &str| format!("{name}=\"{{{}}}\"", names.free(name));
        match directive.split_once('=') {
            // In a response it is the server's, and either known or written in the script.
            Some(("nonce", _)) if element == "challenge" => fresh("nonce"),
            Some(("cnonce", _)) => fresh("cnonce"),
            Some(("response", _)) => "response={digest-response secret}".to_owned(),
            Some(("rspauth", _)) => "rspauth={rspauth secret}".to_owned(),
            _ => directive.to_owned(),
        }
    });
    directives.collect::<Vec<_>>().join(",")
}

/// Elements that contain elements get lines of their own, if the whole is long.
fn pretty(xml: &str) -> String {
    match xml.len() <= WIDTH {
        true => xml.to_owned(),
        false => fold(xml.as_bytes(), usize::MAX).join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_elements_are_printed_on_several_lines() {
        let xml = format!("<a><b x='{}'/><c>text</c><d></d></a>", "y".repeat(WIDTH));
        let want = format!(
            "<a>\n  <b x='{}'/>\n  <c>text</c>\n  <d></d>\n</a>",
            "y".repeat(WIDTH)
        );
        assert_eq!(pretty(&xml), want);
        assert_eq!(pretty("<a><b/></a>"), "<a><b/></a>");
    }
}
