//! The answers of a served domain itself while no component is attached to it: XEP-0199 ping, XEP-0030 discovery with
//! the contact addresses of XEP-0157, XEP-0092 version, XEP-0202 time. It answers everything else with
//! `service-unavailable`. Functions of their arguments; they send nothing.

use std::time::SystemTime;

use xmpp_stream::{
    Element, ErrorType, StanzaCondition, StanzaError, StanzaKind, Tree, Writer, error_reply, ns,
    reply, split_jid,
};

use crate::protocol::time::date_time;

/// Answers a stanza to a served domain, or to an address under it, in place of a component.
///
/// `contacts` are the domain's contact addresses, as URIs. That `to` names the domain and `from` its sender
/// has been checked before. `None`: it has no answer, as presence and what must not be answered (RFC 6120 §8.2.3, §8.3.1).
pub fn answer(stanza: &Element, contacts: &[String], now: SystemTime) -> Option<Writer> {
    match stanza.stanza_kind() {
        Some(StanzaKind::Iq) => match stanza.type_attr().as_deref() {
            Some("get") => get(stanza, contacts, now),
            Some("set") => refuse(
                stanza,
                ErrorType::Cancel,
                StanzaCondition::ServiceUnavailable,
            ),
            Some("result" | "error") => None,
            // RFC 6120 §8.2.3 rule 2.
            _ => refuse(stanza, ErrorType::Modify, StanzaCondition::BadRequest),
        },
        // RFC 6120 §10.5.3.1, and for the domain itself §10.5.1 (b).
        Some(StanzaKind::Message) => refuse(
            stanza,
            ErrorType::Cancel,
            StanzaCondition::ServiceUnavailable,
        ),
        // RFC 6120 §10.5.3.1: "the server SHOULD ignore the stanza".
        Some(StanzaKind::Presence) | None => None,
    }
}

/// Answers for a served domain whose component is away. `None`: only the component could answer.
///
/// The arguments are those of [`answer`].
pub fn answer_for_absent(stanza: &Element, contacts: &[String], now: SystemTime) -> Option<Writer> {
    let is_get = stanza.stanza_kind() == Some(StanzaKind::Iq)
        && stanza.type_attr().as_deref() == Some("get");
    if !is_get || !is_bare_domain(stanza) {
        return None;
    }
    let tree = stanza.tree();
    let mut children = tree.elements();
    match (children.next(), children.next()) {
        (Some(query), None) if !has_node(query) => {
            let payload = known(query, contacts, now)?;
            result(stanza, payload)
        }
        _ => None,
    }
}

fn get(iq: &Element, contacts: &[String], now: SystemTime) -> Option<Writer> {
    let tree = iq.tree();
    // RFC 6120 §8.2.3 rule 5: exactly one child element.
    let mut children = tree.elements();
    let (Some(query), None) = (children.next(), children.next()) else {
        return refuse(iq, ErrorType::Modify, StanzaCondition::BadRequest);
    };
    if !is_bare_domain(iq) {
        return refuse(iq, ErrorType::Cancel, StanzaCondition::ServiceUnavailable);
    }
    match (query.namespace.as_str(), query.name.as_str()) {
        (ns::DISCO_INFO | ns::DISCO_ITEMS, "query") if has_node(query) => {
            // XEP-0030 §7: the JID has no such node.
            refuse(iq, ErrorType::Cancel, StanzaCondition::ItemNotFound)
        }
        _ => match known(query, contacts, now) {
            Some(payload) => result(iq, payload),
            None => refuse(iq, ErrorType::Cancel, StanzaCondition::ServiceUnavailable),
        },
    }
}

/// The content of the result for this query, perhaps none. `None`: the query has no answer here.
fn known(query: &Tree, contacts: &[String], now: SystemTime) -> Option<Option<Writer>> {
    match (query.namespace.as_str(), query.name.as_str()) {
        (ns::PING, "ping") => Some(None),
        (ns::VERSION, "query") => Some(Some(version())),
        (ns::TIME, "time") => Some(Some(time(now))),
        (ns::DISCO_INFO, "query") => Some(Some(info(contacts))),
        // XEP-0030 §4.1: no items is an empty query.
        (ns::DISCO_ITEMS, "query") => Some(Some(Writer::new("query").xmlns(ns::DISCO_ITEMS))),
        _ => None,
    }
}

fn is_bare_domain(iq: &Element) -> bool {
    iq.to()
        .is_some_and(|to| matches!(split_jid(&to), (None, _, None)))
}

fn has_node(query: &Tree) -> bool {
    query.attr("node").is_some_and(|node| !node.is_empty())
}

fn result(iq: &Element, payload: Option<Writer>) -> Option<Writer> {
    let result = reply(iq)?;
    Some(match payload {
        Some(payload) => result.child(payload),
        None => result,
    })
}

fn refuse(stanza: &Element, kind: ErrorType, condition: StanzaCondition) -> Option<Writer> {
    error_reply(stanza, &StanzaError::new(kind, condition))
}

/// XEP-0030 §3.1, with the form of XEP-0157 §3 as XEP-0128 wants it.
fn info(contacts: &[String]) -> Writer {
    let identity = Writer::new("identity")
        .attr("category", "server")
        .attr("type", "im")
        .attr("name", "s2sd");
    let mut query = Writer::new("query").xmlns(ns::DISCO_INFO).child(identity);
    for feature in [
        ns::DISCO_INFO,
        ns::DISCO_ITEMS,
        ns::VERSION,
        ns::PING,
        ns::TIME,
    ] {
        query = query.child(Writer::new("feature").attr("var", feature));
    }
    if contacts.is_empty() {
        return query;
    }
    let form_type = Writer::new("field")
        .attr("var", "FORM_TYPE")
        .attr("type", "hidden")
        .child(Writer::new("value").text("http://jabber.org/network/serverinfo"));
    let mut form = Writer::new("x")
        .xmlns(ns::DATA_FORMS)
        .attr("type", "result")
        .child(form_type);
    // One list of addresses is configured, and it stands for all three roles.
    for role in ["abuse-addresses", "admin-addresses", "security-addresses"] {
        let field = Writer::new("field").attr("var", role);
        form = form.child(contacts.iter().fold(field, |field, contact| {
            field.child(Writer::new("value").text(contact))
        }));
    }
    query.child(form)
}

/// XEP-0092 §2. No `<os/>`: XEP-0092 §5.
fn version() -> Writer {
    Writer::new("query")
        .xmlns(ns::VERSION)
        .child(Writer::new("name").text("s2sd"))
        .child(Writer::new("version").text(env!("CARGO_PKG_VERSION")))
}

/// XEP-0202 §2. A server has no place, so its zone is UTC.
fn time(now: SystemTime) -> Writer {
    Writer::new("time")
        .xmlns(ns::TIME)
        .child(Writer::new("tzo").text("+00:00"))
        .child(Writer::new("utc").text(&date_time(now)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bytes::Bytes;
    use xmpp_stream::{ContentNamespace, Context};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn parse(xml: &str) -> Element {
        Element::parse(xml.to_owned(), &Context::new(ContentNamespace::Server)).unwrap()
    }

    fn ask(xml: &str, contacts: &[&str]) -> Option<Bytes> {
        let contacts: Vec<String> = contacts.iter().map(|&contact| contact.to_owned()).collect();
        answer(&parse(xml), &contacts, at(1_166_551_115)).map(Writer::finish)
    }

    #[track_caller]
    fn replies(xml: &str, want: &str) {
        match ask(xml, &[]) {
            Some(reply) => {
                assert_eq!(std::str::from_utf8(&reply).unwrap(), want);
                // It is one stanza for the stream it goes to.
                assert!(parse(want).stanza_kind().is_some());
            }
            None => panic!("dropped {xml}"),
        }
    }

    #[track_caller]
    fn refuses(xml: &str, kind: &str, condition: &str) {
        let Some(reply) = ask(xml, &["mailto:a@b"]) else {
            panic!("dropped {xml}");
        };
        let (asked, reply) = (parse(xml), parse(std::str::from_utf8(&reply).unwrap()));
        assert_eq!(reply.type_attr().as_deref(), Some("error"));
        assert_eq!(reply.name(), asked.name());
        let addresses = (reply.from(), reply.to(), reply.id());
        assert_eq!(addresses, (asked.to(), asked.from(), asked.id()));
        let error = StanzaError::from_element(&reply).unwrap();
        assert_eq!(
            (error.kind.name(), error.condition.name()),
            (kind, condition),
            "{xml}"
        );
    }

    #[track_caller]
    fn drops(xml: &str) {
        assert_eq!(ask(xml, &["mailto:a@b"]), None, "{xml}");
    }

    fn iq(payload: &str) -> String {
        format!("<iq type='get' from='capulet.lit' to='montague.lit' id='s2s1'>{payload}</iq>")
    }

    const HEAD: &str = "<iq type='result' from='montague.lit' to='capulet.lit' id='s2s1'";

    #[test]
    fn ping_is_answered_as_xep_0199_prints_it() {
        replies(&iq("<ping xmlns='urn:xmpp:ping'/>"), &format!("{HEAD}/>"));
    }

    #[test]
    fn version_tells_name_and_version_and_no_more() {
        let want = format!(
            "{HEAD}><query xmlns='jabber:iq:version'><name>s2sd</name><version>{}</version></query></iq>",
            env!("CARGO_PKG_VERSION")
        );
        replies(&iq("<query xmlns='jabber:iq:version'/>"), &want);
    }

    #[test]
    fn time_is_told_in_utc() {
        let want = format!(
            "{HEAD}><time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2006-12-19T17:58:35Z</utc></time></iq>"
        );
        replies(&iq("<time xmlns='urn:xmpp:time'/>"), &want);
    }

    #[test]
    fn discovery_lists_what_is_answered_here() {
        let want = format!(
            "{HEAD}><query xmlns='http://jabber.org/protocol/disco#info'>\
             <identity category='server' type='im' name='s2sd'/>\
             <feature var='http://jabber.org/protocol/disco#info'/>\
             <feature var='http://jabber.org/protocol/disco#items'/>\
             <feature var='jabber:iq:version'/>\
             <feature var='urn:xmpp:ping'/>\
             <feature var='urn:xmpp:time'/></query></iq>"
        );
        replies(
            &iq("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
            &want,
        );
        let want = format!("{HEAD}><query xmlns='http://jabber.org/protocol/disco#items'/></iq>");
        replies(
            &iq("<query xmlns='http://jabber.org/protocol/disco#items'/>"),
            &want,
        );
    }

    #[test]
    fn every_feature_listed_is_answered() {
        let Some(reply) = ask(
            &iq("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
            &[],
        ) else {
            panic!("dropped");
        };
        let tree = parse(std::str::from_utf8(&reply).unwrap()).tree();
        let query = tree.child(ns::DISCO_INFO, "query").unwrap();
        let features: Vec<&str> = query
            .children_named(ns::DISCO_INFO, "feature")
            .map(|feature| feature.attr("var").unwrap())
            .collect();
        assert_eq!(features.len(), 5);
        for feature in features {
            let name = match feature {
                ns::PING => "ping",
                ns::TIME => "time",
                _ => "query",
            };
            let Some(reply) = ask(&iq(&format!("<{name} xmlns='{feature}'/>")), &[]) else {
                panic!("dropped {feature}");
            };
            assert!(reply.starts_with(HEAD.as_bytes()), "{feature}");
        }
    }

    #[test]
    fn while_a_component_is_away_only_what_is_known_is_answered() {
        let absent = |xml: &str| answer_for_absent(&parse(xml), &[], at(0)).map(Writer::finish);
        for payload in [
            "<ping xmlns='urn:xmpp:ping'/>",
            "<query xmlns='jabber:iq:version'/>",
            "<time xmlns='urn:xmpp:time'/>",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        ] {
            let Some(reply) = answer(&parse(&iq(payload)), &[], at(0)) else {
                panic!("dropped {payload}");
            };
            assert_eq!(absent(&iq(payload)), Some(reply.finish()), "{payload}");
        }
        let ping = iq("<ping xmlns='urn:xmpp:ping'/>");
        for other in [
            iq(""),
            iq("<query xmlns='jabber:iq:roster'/>"),
            iq(
                "<query xmlns='http://jabber.org/protocol/disco#info' node='the component has it'/>",
            ),
            iq("<ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/>"),
            ping.replace("'get'", "'set'"),
            ping.replace("'get'", "'result'"),
            ping.replace("to='", "to='user@"),
            ping.replace("from='capulet.lit'", ""),
            "<message from='capulet.lit' to='montague.lit'/>".to_owned(),
            "<presence from='capulet.lit' to='montague.lit' type='probe'/>".to_owned(),
        ] {
            assert_eq!(absent(&other), None, "{other}");
        }
    }

    #[test]
    fn contact_addresses_are_a_form_of_xep_0157() {
        let contacts = ["mailto:abuse@montague.lit", "https://montague.lit/?a&b"];
        let info = iq("<query xmlns='http://jabber.org/protocol/disco#info'/>");
        let Some(reply) = ask(&info, &contacts) else {
            panic!("dropped");
        };
        let tree = parse(std::str::from_utf8(&reply).unwrap()).tree();
        let query = tree.child(ns::DISCO_INFO, "query").unwrap();
        let form = query.child(ns::DATA_FORMS, "x").unwrap();
        assert_eq!(form.attr("type"), Some("result"));
        let mut fields = Vec::new();
        for field in form.children_named(ns::DATA_FORMS, "field") {
            let values: Vec<String> = field
                .children_named(ns::DATA_FORMS, "value")
                .map(Tree::text)
                .collect();
            fields.push((field.attr("var").unwrap(), field.attr("type"), values));
        }
        let contacts = contacts.map(str::to_owned).to_vec();
        let serverinfo = vec!["http://jabber.org/network/serverinfo".to_owned()];
        let want = [
            ("FORM_TYPE", Some("hidden"), serverinfo),
            ("abuse-addresses", None, contacts.clone()),
            ("admin-addresses", None, contacts.clone()),
            ("security-addresses", None, contacts),
        ];
        assert_eq!(fields, want);
    }

    #[test]
    fn a_node_that_nobody_has_is_not_found() {
        for namespace in [ns::DISCO_INFO, ns::DISCO_ITEMS] {
            let query = format!("<query xmlns='{namespace}' node='secret'/>");
            refuses(&iq(&query), "cancel", "item-not-found");
        }
    }

    #[test]
    fn everything_else_is_unavailable() {
        for payload in [
            "<query xmlns='jabber:iq:roster'/>",
            "<query xmlns='urn:xmpp:ping'/>",
            "<ping/>",
            "<ping xmlns='jabber:iq:version'/>",
        ] {
            refuses(&iq(payload), "cancel", "service-unavailable");
        }
        for to in [
            "user@montague.lit",
            "montague.lit/resource",
            "user@montague.lit/resource",
        ] {
            let ping = "<ping xmlns='urn:xmpp:ping'/>";
            let xml = format!("<iq type='get' from='a@capulet.lit/b' to='{to}' id='1'>{ping}</iq>");
            refuses(&xml, "cancel", "service-unavailable");
        }
        let set = iq("<ping xmlns='urn:xmpp:ping'/>").replace("'get'", "'set'");
        refuses(&set, "cancel", "service-unavailable");
        for to in ["montague.lit", "user@montague.lit"] {
            let xml =
                format!("<message from='a@capulet.lit' to='{to}' id='1'><body>x</body></message>");
            refuses(&xml, "cancel", "service-unavailable");
        }
    }

    #[test]
    fn an_iq_that_breaks_the_rules_is_a_bad_request() {
        refuses(&iq(""), "modify", "bad-request");
        let two = "<ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/>";
        refuses(&iq(two), "modify", "bad-request");
        let ping = iq("<ping xmlns='urn:xmpp:ping'/>");
        refuses(&ping.replace("type='get'", ""), "modify", "bad-request");
        refuses(&ping.replace("'get'", "'GET'"), "modify", "bad-request");
    }

    #[test]
    fn answers_and_presence_are_not_answered() {
        let ping = iq("<ping xmlns='urn:xmpp:ping'/>");
        drops(&ping.replace("'get'", "'result'"));
        drops(&ping.replace("'get'", "'error'"));
        drops(&ping.replace("from='capulet.lit'", ""));
        drops("<message type='error' from='a@capulet.lit' to='montague.lit'/>");
        for kind in ["", "type='probe'", "type='subscribe'", "type='error'"] {
            drops(&format!(
                "<presence {kind} from='a@capulet.lit' to='montague.lit'/>"
            ));
        }
        drops("<iq xmlns='other' type='get' from='a' to='b'><ping xmlns='urn:xmpp:ping'/></iq>");
    }
}
