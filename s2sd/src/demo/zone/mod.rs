//! A zone server in this process, for `s2sd demo` and for tests: authoritative for everything, UDP and TCP.
//!
//! Answers SRV, A and AAAA, tells NXDOMAIN from NODATA (RFC 8020, with empty non-terminals), knows wildcards
//! (RFC 4592), and can also fail or keep silent for a name. Times to live are 0 unless set, so that
//! [`ZoneServer::replace`] is seen at once. It leaves out zone cuts, CNAME and DNSSEC.

mod server;

pub use server::ZoneServer;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_resolver::proto::{
    op::{Edns, Message, Metadata, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, SOA, SRV},
    },
};
/// What the zone server answers. Names are compared without case; a final dot is of no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    names: BTreeMap<String, Node>,
    ttl: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    records: Vec<Data>,
    trouble: Option<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Fails,
    Silent,
}

impl Zone {
    /// A zone without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time to live of all answers, in seconds; it is 0 at first.
    pub fn ttl(self, ttl: u32) -> Self {
        Self { ttl, ..self }
    }

    /// Adds an SRV record.
    pub fn srv(self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Self {
        let target = target.to_owned();
        self.with(
            name,
            Data::Srv {
                priority,
                weight,
                port,
                target,
            },
        )
    }

    /// Adds an A record. The name may be a wildcard.
    pub fn a(self, name: &str, address: Ipv4Addr) -> Self {
        self.with(name, Data::A(address))
    }

    /// Adds an AAAA record. The name may be a wildcard.
    pub fn aaaa(self, name: &str, address: Ipv6Addr) -> Self {
        self.with(name, Data::Aaaa(address))
    }

    /// Adds an A or AAAA record.
    pub fn address(self, name: &str, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.a(name, address),
            IpAddr::V6(address) => self.aaaa(name, address),
        }
    }

    /// Adds the SRV record that says: this service is decidedly not here (RFC 2782, target ".").
    pub fn service_absent(self, name: &str) -> Self {
        self.srv(name, 0, 0, 0, ".")
    }

    /// Takes out everything that was said about this name.
    pub fn without(mut self, name: &str) -> Self {
        self.names.remove(&key(name));
        self
    }

    /// Every question for this name is answered by SERVFAIL.
    pub fn fails(self, name: &str) -> Self {
        self.troubled(name, Trouble::Fails)
    }

    /// No question for this name is answered.
    pub fn silent(self, name: &str) -> Self {
        self.troubled(name, Trouble::Silent)
    }

    /// Reads the text form, one record a line; `#` begins a comment.
    ///
    /// ```text
    /// srv NAME PRIORITY WEIGHT PORT TARGET
    /// a NAME ADDRESS
    /// aaaa NAME ADDRESS
    /// none NAME           the service is decidedly absent: an SRV record with the target "."
    /// fail NAME           SERVFAIL
    /// silent NAME         no answer at all
    /// ```
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
            ["none", owner] if name(owner) => Some(self.service_absent(owner)),
            ["fail", owner] if name(owner) => Some(self.fails(owner)),
            ["silent", owner] if name(owner) => Some(self.silent(owner)),
            _ => None,
        }
    }

    fn with(mut self, name: &str, data: Data) -> Self {
        self.names.entry(key(name)).or_default().records.push(data);
        self
    }

    fn troubled(mut self, name: &str, trouble: Trouble) -> Self {
        self.names.entry(key(name)).or_default().trouble = Some(trouble);
        self
    }

    /// The node that answers for a name: its own, or the wildcard's at the closest encloser (RFC 4592 §3.3.1).
    fn find(&self, name: &str) -> Found<'_> {
        if let Some(node) = self.names.get(name) {
            return Found::Node(node);
        }
        if self.has_below(name) {
            return Found::Empty;
        }
        let mut rest = name;
        loop {
            let encloser = rest.split_once('.').map_or("", |(_, parent)| parent);
            let exists = self.names.contains_key(encloser) || self.has_below(encloser);
            if exists || encloser.is_empty() {
                let wildcard = match encloser {
                    "" => "*".to_owned(),
                    _ => format!("*.{encloser}"),
                };
                return match self.names.get(&wildcard) {
                    Some(node) => Found::Node(node),
                    None => Found::Nothing,
                };
            }
            rest = encloser;
        }
    }

    fn has_below(&self, name: &str) -> bool {
        self.names.keys().any(|key| {
            key.strip_suffix(name)
                .is_some_and(|front| front.ends_with('.'))
        })
    }

    /// The answer to a query message; `None`: keep silent.
    fn answer(&self, request: &Message) -> Option<Message> {
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&request.metadata);
        answer.metadata.authoritative = true;
        // Stub resolvers ask with RD and some want RA; there is nothing to recurse to.
        answer.metadata.recursion_available = true;
        if let Some(asked) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().max(512));
            answer.set_edns(edns);
        }
        let (OpCode::Query, [query]) = (request.metadata.op_code, request.queries.as_slice())
        else {
            answer.metadata.response_code = ResponseCode::NotImp;
            return Some(answer);
        };
        answer.add_query(query.clone());
        match self.find(&key(&query.name.to_ascii())) {
            Found::Node(node) => match node.trouble {
                Some(Trouble::Silent) => return None,
                Some(Trouble::Fails) => answer.metadata.response_code = ResponseCode::ServFail,
                None => {
                    answer.answers = node
                        .records
                        .iter()
                        .filter_map(|data| data.record(query, self.ttl))
                        .collect();
                }
            },
            Found::Empty => {}
            Found::Nothing => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        if answer.answers.is_empty() && answer.metadata.response_code != ResponseCode::ServFail {
            answer.add_authority(start_of_authority(self.ttl));
        }
        Some(answer)
    }
}

enum Found<'a> {
    Node(&'a Node),
    /// No records, but names below it (RFC 4592 §2.2.2, empty non-terminal).
    Empty,
    Nothing,
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Data {
    /// Itself as an answer to the query, if it is one. A target that is no DNS name is left out.
    fn record(&self, query: &Query, ttl: u32) -> Option<Record> {
        let data = match (self, query.query_type) {
            (
                Self::Srv {
                    priority,
                    weight,
                    port,
                    target,
                },
                RecordType::SRV | RecordType::ANY,
            ) => {
                let mut target = Name::from_ascii(target).ok()?;
                target.set_fqdn(true);
                RData::SRV(SRV::new(*priority, *weight, *port, target))
            }
            (Self::A(address), RecordType::A | RecordType::ANY) => RData::A(A(*address)),
            (Self::Aaaa(address), RecordType::AAAA | RecordType::ANY) => {
                RData::AAAA(AAAA(*address))
            }
            _ => return None,
        };
        Some(Record::from_rdata(query.name.clone(), ttl, data))
    }
}

/// RFC 2308 §2: negative answers carry it, and its minimum says how long they may be kept.
fn start_of_authority(ttl: u32) -> Record {
    let root = Name::root();
    let data = SOA::new(root.clone(), root.clone(), 1, 3600, 600, 86400, ttl);
    Record::from_rdata(root, ttl, RData::SOA(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

    pub(super) fn example() -> Zone {
        Zone::new()
            .srv("_xmpp-server._tcp.A.example.", 1, 2, 5269, "host.a.example")
            .service_absent("_xmpp-server._tcp.none.example")
            .a("host.a.example", LOCAL)
            .aaaa("host.a.example", Ipv6Addr::LOCALHOST)
            .a("*.load.example", LOCAL)
            .fails("broken.example")
            .silent("silent.example")
    }

    fn ask(zone: &Zone, name: &str, kind: RecordType) -> Option<Message> {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        zone.answer(&request)
    }

    #[track_caller]
    fn check(name: &str, kind: RecordType, code: ResponseCode, want: &[&str]) {
        let answer = ask(&example(), name, kind).unwrap();
        let found: Vec<String> = answer.answers.iter().map(|r| r.data.to_string()).collect();
        assert_eq!(
            (answer.metadata.response_code, found.as_slice()),
            (
                code,
                want.iter()
                    .map(|w| w.to_string())
                    .collect::<Vec<_>>()
                    .as_slice()
            )
        );
        assert_eq!(
            answer.authorities.len() == 1,
            want.is_empty() && code != ResponseCode::ServFail
        );
        assert!(answer.metadata.authoritative);
    }

    #[test]
    fn a_name_with_records_answers_by_type_and_without_case() {
        use ResponseCode::NoError;
        check(
            "_XMPP-server._tcp.a.EXAMPLE.",
            RecordType::SRV,
            NoError,
            &["1 2 5269 host.a.example."],
        );
        check(
            "_xmpp-server._tcp.none.example.",
            RecordType::SRV,
            NoError,
            &["0 0 0 ."],
        );
        check("host.a.example", RecordType::A, NoError, &["127.0.0.1"]);
        check("host.a.example.", RecordType::AAAA, NoError, &["::1"]);
    }

    #[test]
    fn no_data_is_not_no_name() {
        check(
            "host.a.example.",
            RecordType::SRV,
            ResponseCode::NoError,
            &[],
        );
        check("a.example.", RecordType::A, ResponseCode::NoError, &[]);
        check("_tcp.a.example.", RecordType::A, ResponseCode::NoError, &[]);
        check("b.example.", RecordType::A, ResponseCode::NXDomain, &[]);
        check(
            "x.host.a.example.",
            RecordType::A,
            ResponseCode::NXDomain,
            &[],
        );
    }

    #[test]
    fn a_wildcard_answers_at_any_depth_below_it_only() {
        check(
            "x.load.example.",
            RecordType::A,
            ResponseCode::NoError,
            &["127.0.0.1"],
        );
        check(
            "y.x.load.example.",
            RecordType::A,
            ResponseCode::NoError,
            &["127.0.0.1"],
        );
        check(
            "x.load.example.",
            RecordType::SRV,
            ResponseCode::NoError,
            &[],
        );
        check("load.example.", RecordType::A, ResponseCode::NoError, &[]);
    }

    #[test]
    fn trouble_is_served_when_asked_for() {
        check(
            "broken.example.",
            RecordType::A,
            ResponseCode::ServFail,
            &[],
        );
        assert_eq!(ask(&example(), "silent.example.", RecordType::A), None);
    }

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
}
