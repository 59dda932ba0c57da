//! What was written, as an element: as it would be read, without reading it.

use std::sync::Arc;

use crate::head::Head;
use crate::{Context, Element, Writer};

impl Writer {
    /// The element, as one that came on a stream with this context. What has a prefix or a [`raw`](Self::raw) piece is
    /// read again for it; nothing else is.
    ///
    /// `None`: it would not be one element there.
    pub fn element(self, context: &Arc<Context>) -> Option<Element> {
        let (plain, declares, namespace) = (self.plain, self.declares, self.namespace.clone());
        let bytes = self.finish();
        if !plain {
            return Element::parse(bytes, context).ok();
        }
        let namespace = namespace.as_deref().unwrap_or(context.content().uri());
        let head = Head {
            declares,
            ..Head::new(&bytes, namespace, context)
        };
        Some(Element::new(bytes, Arc::clone(context), Box::new(head)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ContentNamespace;

    /// An element with a namespace of its own or none, addresses, and others like it within.
    fn any_element() -> impl Strategy<Value = Writer> {
        let name = prop::sample::select(vec!["message", "iq", "body", "stream:x", "db:y"]);
        let spaces = vec![
            "",
            "jabber:server",
            "jabber:component:accept",
            "urn:x",
            "jabber:client",
        ];
        let xmlns = prop::option::of(prop::sample::select(spaces));
        let attributes = prop::collection::btree_map(
            prop::sample::select(vec![
                "from",
                "to",
                "id",
                "type",
                "xml:lang",
                "other",
                "xml:space",
            ]),
            any::<String>(),
            0..4,
        );
        let one = (name, xmlns, attributes).prop_map(|(name, xmlns, attributes)| {
            let mut element = Writer::new(name);
            if let Some(xmlns) = xmlns {
                element = element.xmlns(xmlns);
            }
            attributes
                .iter()
                .fold(element, |element, (name, value)| element.attr(name, value))
        });
        one.prop_recursive(3, 12, 3, |inner| {
            let parts = prop::collection::vec((any::<String>(), inner.clone()), 0..3);
            (inner, parts).prop_map(|(outer, parts)| {
                parts
                    .into_iter()
                    .fold(outer, |outer, (text, inner)| outer.text(&text).child(inner))
            })
        })
    }

    proptest! {
        #[test]
        fn an_element_that_is_written_is_the_one_that_would_be_read(writer in any_element()) {
            let context = Context::new(ContentNamespace::Server);
            let bytes = writer.clone().finish();
            let (written, read) = (writer.element(&context), Element::parse(bytes, &context).ok());
            prop_assert_eq!(format!("{:?}", written.as_ref().map(Element::head)), format!("{:?}", read.as_ref().map(Element::head)));
            prop_assert_eq!(written, read);
        }
    }
}
