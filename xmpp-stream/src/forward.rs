//! Moving an element from one stream to another without printing it: copying, and changing only
//! what the new surroundings would give another meaning.

use bytes::{BufMut, BytesMut};

use crate::head::Head;
use crate::tag::{self, Attributes, Span};
use crate::{ContentNamespace, Context, writer};

/// The most that is written for any target.
pub(crate) fn size(bytes: &[u8], context: &Context, head: &Head) -> usize {
    let renames = ContentNamespace::Server.bit() | ContentNamespace::Component.bit();
    if head.declares & renames == 0 && !head.uses_context {
        let inherited = match head.lang {
            Some(_) => 0,
            None => context.lang_size(),
        };
        return bytes.len() + inherited;
    }
    let mut out = BytesMut::new();
    let sizes = [ContentNamespace::Server, ContentNamespace::Component].map(|target| {
        out.clear();
        write(bytes, context, head, target, &mut out);
        out.len()
    });
    sizes[0].max(sizes[1])
}

pub(crate) fn write(
    bytes: &[u8],
    context: &Context,
    head: &Head,
    target: ContentNamespace,
    out: &mut BytesMut,
) {
    let source = context.content();
    let rename = source != target && head.declares & (source.bit() | target.bit()) != 0;
    let lang = match head.lang {
        Some(_) => None,
        None => context.lang(),
    };
    if !rename && !head.uses_context && lang.is_none() {
        out.extend_from_slice(bytes);
        return;
    }

    let names = Names { source, target };
    out.reserve(bytes.len() + 256);
    // The root's new attributes come right after its name.
    let mut copied = head.qualified.end;
    out.put_slice(bytes.get(..copied).unwrap_or_default());
    if let Some(lang) = lang {
        writer::write_attribute("xml:lang", lang, out);
    }
    if head.uses_context {
        for (prefix, uri) in missing(bytes, context) {
            out.put_slice(b" xmlns:");
            out.put_slice(prefix.as_bytes());
            out.put_slice(b"='");
            writer::escape_attribute(names.map(uri).unwrap_or(uri), out);
            out.put_u8(b'\'');
        }
    }
    if rename {
        for value in declarations(bytes) {
            let uri = tag::attribute_value(value.text(bytes));
            if let Some(renamed) = names.map(&uri) {
                out.put_slice(bytes.get(copied..value.start).unwrap_or_default());
                out.put_slice(renamed.as_bytes());
                copied = value.end;
            }
        }
    }
    out.put_slice(bytes.get(copied..).unwrap_or_default());
}

/// The two content namespaces change places.
struct Names {
    source: ContentNamespace,
    target: ContentNamespace,
}

impl Names {
    fn map(&self, uri: &str) -> Option<&'static str> {
        if self.source == self.target {
            None
        } else if uri == self.source.uri() {
            Some(self.target.uri())
        } else if uri == self.target.uri() {
            Some(self.source.uri())
        } else {
            None
        }
    }
}

fn start_tags(bytes: &[u8]) -> impl Iterator<Item = Attributes<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = tag::next_start_tag(bytes, at)?;
        let attributes = Attributes::of(bytes, start);
        at = attributes.clone().end();
        Some(attributes)
    })
}

/// The values of all namespace declarations.
fn declarations(bytes: &[u8]) -> impl Iterator<Item = Span> {
    start_tags(bytes)
        .flatten()
        .filter(|attribute| attribute.declares(bytes).is_some())
        .map(|attribute| attribute.value)
}

/// What the root must declare: the prefixes of the old stream's header that are used anywhere and
/// that the root does not declare itself. A use below another declaration asks for one too many,
/// which changes nothing.
fn missing<'a>(
    bytes: &[u8],
    context: &'a Context,
) -> impl Iterator<Item = &'a (String, String)> + use<'a> {
    let declared = context.prefixes();
    let mut wanted = vec![false; declared.len()];
    let mut mark = |prefix: &[u8], used: bool| {
        let found = declared
            .iter()
            .position(|(declared, _)| declared.as_bytes() == prefix);
        if let Some(wanted) = found.and_then(|at| wanted.get_mut(at)) {
            *wanted = used;
        }
    };
    for tag in start_tags(bytes) {
        mark(tag::prefix(tag.element().of(bytes)), true);
        for attribute in tag {
            mark(tag::prefix(attribute.name.of(bytes)), true);
        }
    }
    for attribute in Attributes::of(bytes, 0) {
        if let Some(prefix) = attribute.declares(bytes) {
            mark(prefix, false);
        }
    }
    declared
        .iter()
        .zip(wanted)
        .filter_map(|(declared, wanted)| wanted.then_some(declared))
}
