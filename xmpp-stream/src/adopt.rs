//! Stanzas in the content namespace of another kind of stream, taken as stanzas of their own stream.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::{memchr, memmem};

use crate::head::Head;
use crate::tag::{self, Attributes};
use crate::{ContentNamespace, Context, writer};

/// The bytes of the stanza in the content namespace of its stream. `None`: it is there already, or it is no stanza.
pub(crate) fn adopt(bytes: &[u8], context: &Context, head: &Head) -> Option<Bytes> {
    let content = context.content();
    let foreign = ContentNamespace::from_uri(&head.namespace).filter(|uri| *uri != content)?;
    head.stanza_anywhere(bytes)?;
    let mut out = BytesMut::with_capacity(bytes.len() + 64);
    let mut copied = 0;
    let root = Attributes::of(bytes, 0);
    let prefix = tag::prefix(root.element().of(bytes));
    if !root
        .clone()
        .any(|found| found.declares(bytes) == Some(prefix))
    {
        // The stream's header declares it.
        copied = head.qualified.end;
        out.put_slice(bytes.get(..copied)?);
        let name = format!("xmlns:{}", String::from_utf8_lossy(prefix));
        writer::write_attribute(&name, content.uri(), &mut out);
    }
    for (depth, attributes) in outer_start_tags(bytes) {
        let prefix = tag::prefix(attributes.element().of(bytes));
        for attribute in attributes {
            let declared = attribute.declares(bytes);
            let counts = declared.is_some() && (depth == 0 || declared == Some(prefix));
            if counts && tag::attribute_value(attribute.value.text(bytes)) == foreign.uri() {
                out.put_slice(bytes.get(copied..attribute.value.start)?);
                out.put_slice(content.uri().as_bytes());
                copied = attribute.value.end;
            }
        }
    }
    out.put_slice(bytes.get(copied..)?);
    Some(out.freeze())
}

/// The start tags of the root and of the elements directly within it, with their depth.
fn outer_start_tags(bytes: &[u8]) -> impl Iterator<Item = (usize, Attributes<'_>)> {
    let (mut at, mut depth) = (0, 0_usize);
    std::iter::from_fn(move || {
        loop {
            at += memchr(b'<', bytes.get(at..)?)?;
            let markup = bytes.get(at..)?;
            if markup.starts_with(b"<![CDATA[") {
                at += memmem::find(markup, b"]]>")? + 3;
            } else if markup.get(1) == Some(&b'/') {
                at += memchr(b'>', markup)? + 1;
                depth = depth.saturating_sub(1);
            } else {
                let attributes = Attributes::of(bytes, at);
                at = attributes.clone().end();
                let found = depth;
                let is_empty = at.checked_sub(2).and_then(|slash| bytes.get(slash)) == Some(&b'/');
                depth += usize::from(!is_empty);
                if found < 2 {
                    return Some((found, attributes));
                }
            }
        }
    })
}
