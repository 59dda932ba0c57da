//! What rxml does not say of a start tag, or lets pass: two `xmlns`, reserved namespaces, what not every parser takes.

use std::borrow::Cow;

use crate::tag::{self, Attributes, Span};
use crate::{ContentNamespace, Context, DecodeError, names, ns};

/// What a start tag has besides what rxml reports.
pub(crate) struct Tag {
    pub(crate) attributes: usize,
    pub(crate) declarations: usize,
    /// Which content namespaces it declares, see [`ContentNamespace::bit`].
    pub(crate) content: u8,
    /// Whether every parser takes them.
    pub(crate) portable_names: bool,
    pub(crate) portable_namespaces: bool,
}

/// Checks what rxml does not.
pub(crate) fn check_tag(bytes: &[u8], start: usize) -> Result<Tag, DecodeError> {
    let attributes = Attributes::of(bytes, start);
    let mut tag = Tag {
        attributes: 0,
        declarations: 0,
        content: 0,
        portable_names: names::is_portable_name(attributes.element().of(bytes)),
        portable_namespaces: true,
    };
    let mut default = false;
    for attribute in attributes {
        tag.attributes += 1;
        tag.portable_names &= names::is_portable_name(attribute.name.of(bytes));
        let Some(prefix) = attribute.declares(bytes) else {
            continue;
        };
        tag.declarations += 1;
        if prefix.is_empty() && std::mem::replace(&mut default, true) {
            return Err(DecodeError::DuplicateNamespace);
        }
        let uri = tag::attribute_value(attribute.value.text(bytes));
        // Namespaces in XML 1.0 §3: nothing may be bound to either, except `xml` to its own.
        if uri == ns::XMLNS || (uri == ns::XML && prefix != b"xml") {
            return Err(DecodeError::ReservedNamespace);
        }
        tag.portable_namespaces &= names::is_portable_namespace(&uri);
        if let Some(content) = ContentNamespace::from_uri(&uri) {
            tag.content |= content.bit();
        }
    }
    Ok(tag)
}

/// The namespace of the element that `bytes` begin with.
pub(crate) fn root_namespace<'a>(
    bytes: &'a [u8],
    context: &'a Context,
) -> Result<Cow<'a, str>, DecodeError> {
    let mut attributes = Attributes::of(bytes, 0);
    let prefix = tag::prefix(attributes.element().of(bytes));
    let declared = attributes.find(|found| found.declares(bytes) == Some(prefix));
    if let Some(declared) = declared {
        return Ok(tag::attribute_value(declared.value.text(bytes)));
    }
    let inherited = match prefix {
        b"" => Some(context.content().uri()),
        b"stream" => Some(ns::STREAMS),
        b"xml" => Some(ns::XML),
        _ => context.namespace_of(prefix),
    };
    inherited
        .map(Cow::Borrowed)
        .ok_or(DecodeError::UndeclaredPrefix)
}

pub(crate) fn uses_prefix_of(context: &Context, bytes: &[u8], start: usize) -> bool {
    let attributes = Attributes::of(bytes, start);
    let declared = |name: Span| {
        let prefix = tag::prefix(name.of(bytes));
        !prefix.is_empty() && context.declares(prefix)
    };
    declared(attributes.element()) || attributes.into_iter().any(|found| declared(found.name))
}
