//! A zone server in this process, for `s2sd demo` and for tests: authoritative for everything, UDP and TCP.
//!
//! Answers SRV, A, AAAA and TLSA, follows CNAME and DNAME, tells NXDOMAIN from NODATA (RFC 8020, with empty
//! non-terminals), knows wildcards (RFC 4592), and can also fail or keep silent for a name. With a key it is signed
//! (RFC 4035): see [`Zone::signed`]. Times to live are 0 unless set, so that [`ZoneServer::replace`] is seen at once.

mod hostile;
mod server;
mod signed;
mod text;

pub use hostile::Costly;
pub use server::ZoneServer;
pub use signed::{Flaw, ZoneKey};

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_resolver::proto::{
    op::{Edns, Message, Metadata, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, NULL, SOA, SRV, TLSA},
    },
    serialize::binary::BinEncodable as _,
};
use signed::Cut;

/// As many as a resolver follows.
const MAX_ALIASES: usize = 8;

/// What the zone server answers. Names are compared without case; a final dot is of no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    names: BTreeMap<String, Node>,
    ttl: u32,
    key: Option<ZoneKey>,
    /// Zones below the root, and how they are delegated.
    cuts: BTreeMap<String, Cut>,
    flaws: BTreeMap<String, Flaw>,
    costly: BTreeMap<String, Costly>,
    checks: bool,
    /// The answer to a question with EDNS.
    refuses_edns: Option<(ResponseCode, bool)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    records: Vec<Data>,
    fault: Option<ZoneFault>,
    /// These are not answered.
    unanswered: Vec<RecordType>,
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
    Cname(String),
    Dname(String),
    Tlsa([u8; 3], Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ZoneFault {
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

    /// Makes the name an alias (RFC 1034 §3.6.2).
    pub fn cname(self, name: &str, target: &str) -> Self {
        self.with(name, Data::Cname(target.to_owned()))
    }

    /// Makes everything below the name an alias of what is below the target (RFC 6672).
    pub fn dname(self, name: &str, target: &str) -> Self {
        self.with(name, Data::Dname(target.to_owned()))
    }

    /// Adds a TLSA record: usage, selector and matching type, and the data.
    pub fn tlsa(self, name: &str, numbers: [u8; 3], data: &[u8]) -> Self {
        self.with(name, Data::Tlsa(numbers, data.to_owned()))
    }

    /// Takes out everything that was said about this name.
    pub fn without(mut self, name: &str) -> Self {
        self.names.remove(&key(name));
        self
    }

    /// Every question for this name is answered by SERVFAIL.
    pub fn fails(self, name: &str) -> Self {
        self.troubled(name, ZoneFault::Fails)
    }

    /// No question for this name is answered.
    pub fn silent(self, name: &str) -> Self {
        self.troubled(name, ZoneFault::Silent)
    }

    /// No question for a record of this kind (`AAAA`) of the name is answered.
    pub fn silent_about(mut self, name: &str, kind: &str) -> Self {
        let node = self.names.entry(key(name)).or_default();
        node.unanswered.extend(kind.parse::<RecordType>().ok());
        self
    }

    /// Like a server without EDNS (RFC 6891 §7), it says this to any question with it; some repeat the question and some do
    /// not.
    pub fn without_edns(self, says: ResponseCode, repeats_the_question: bool) -> Self {
        Self {
            refuses_edns: Some((says, repeats_the_question)),
            ..self
        }
    }

    fn with(mut self, name: &str, data: Data) -> Self {
        self.names.entry(key(name)).or_default().records.push(data);
        self
    }

    fn troubled(mut self, name: &str, fault: ZoneFault) -> Self {
        self.names.entry(key(name)).or_default().fault = Some(fault);
        self
    }

    /// The node that answers for a name: its own, or the wildcard's at the closest encloser (RFC 4592 §3.3.1).
    fn find(&self, name: &str) -> Found<'_> {
        if let Some(node) = self.names.get(name) {
            return Found::Node(node);
        }
        if self.exists(name) {
            return Found::Empty;
        }
        let wildcard = wildcard_at(self.closest_encloser(name));
        match self.names.get(&wildcard) {
            Some(node) => Found::Wildcard(node, wildcard),
            None => Found::Nothing,
        }
    }

    /// Of the names above this one the nearest that is there.
    fn closest_encloser<'n>(&self, name: &'n str) -> &'n str {
        let mut rest = name;
        loop {
            rest = rest.split_once('.').map_or("", |(_, parent)| parent);
            if rest.is_empty() || self.exists(rest) {
                return rest;
            }
        }
    }

    fn exists(&self, name: &str) -> bool {
        let below = |key: &String| {
            key.strip_suffix(name)
                .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        self.names.keys().any(below) || self.cuts.keys().any(below)
    }

    /// The answer to a query message; `None`: keep silent.
    fn answer(&self, request: &Message) -> Option<Message> {
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&request.metadata);
        answer.metadata.authoritative = true;
        // Stub resolvers ask with RD and some want RA; there is nothing to recurse to.
        answer.metadata.recursion_available = true;
        let mut signs = false;
        if let (Some((says, repeats)), Some(_)) = (self.refuses_edns, &request.edns) {
            answer.metadata.response_code = says;
            if repeats {
                answer.add_queries(request.queries.iter().cloned());
            }
            return Some(answer);
        }
        if let Some(asked) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().max(512));
            signs = asked.flags().dnssec_ok;
            edns.set_dnssec_ok(signs);
            answer.set_edns(edns);
        }
        let (OpCode::Query, [query]) = (request.metadata.op_code, request.queries.as_slice())
        else {
            answer.metadata.response_code = ResponseCode::NotImp;
            return Some(answer);
        };
        answer.add_query(query.clone());
        let checked = self.checks && !request.metadata.checking_disabled;
        let mut name = query.name.clone();
        let mut said = Vec::new();
        while said.len() <= MAX_ALIASES && !said.contains(&name) {
            let flaw = self.flaw_of(&key(&name.to_ascii()), query.query_type);
            if checked && flaw.is_some() {
                answer.answers.clear();
                answer.metadata.response_code = ResponseCode::ServFail;
                return Some(answer);
            }
            match self.say(&name, query.query_type, signs, &mut answer) {
                Next::Silent => return None,
                Next::Done => break,
                Next::Alias(target) => said.push(std::mem::replace(&mut name, target)),
            }
        }
        self.make_costly(query, &mut answer);
        Some(answer)
    }

    /// Adds what is to be said of one name.
    fn say(&self, name: &Name, kind: RecordType, signs: bool, answer: &mut Message) -> Next {
        let text = key(&name.to_ascii());
        let sign = |answer: &mut Message, owner: &Name, records: Vec<Record>| {
            if signs && let Some(signature) = self.signature(owner, name, &records) {
                answer.add_answer(signature);
            }
            answer.add_answers(records);
        };
        if let Some((dname, alias, target)) = self.dname_above(name, &text) {
            sign(answer, &dname.name.clone(), vec![dname]);
            answer.add_answer(alias);
            return Next::Alias(target);
        }
        let of_apex = self.of_apex(name, &text, kind);
        if !of_apex.is_empty() {
            sign(answer, name, of_apex);
            return Next::Done;
        }
        let (node, wildcard) = match self.find(&text) {
            Found::Node(node) => (node, None),
            Found::Wildcard(node, wildcard) => (node, Some(wildcard)),
            found @ (Found::Empty | Found::Nothing) => {
                if matches!(found, Found::Nothing) && !self.is_apex(&text) {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                answer.add_authorities(self.absence(name, &text, kind, None, signs));
                return Next::Done;
            }
        };
        match node.fault {
            Some(ZoneFault::Silent) => return Next::Silent,
            Some(ZoneFault::Fails) => {
                answer.metadata.response_code = ResponseCode::ServFail;
                return Next::Done;
            }
            None if node.unanswered.contains(&kind) => return Next::Silent,
            None => {}
        }
        let records = |kind| -> Vec<Record> {
            let records = node.records.iter();
            records
                .filter_map(|data| data.record(name, kind, self.ttl))
                .collect()
        };
        let owner = wildcard
            .as_deref()
            .map_or_else(|| Some(name.clone()), absolute);
        let owner = owner.unwrap_or_else(|| name.clone());
        let (found, next) = match (records(kind), records(RecordType::CNAME)) {
            (found, _) if !found.is_empty() => (found, Next::Done),
            (_, alias) if !alias.is_empty() => {
                let target = alias.first().and_then(|alias| match &alias.data {
                    RData::CNAME(target) => Some(target.0.clone()),
                    _ => None,
                });
                (alias, target.map_or(Next::Done, Next::Alias))
            }
            _ => {
                answer.add_authorities(self.absence(name, &text, kind, wildcard.as_deref(), signs));
                return Next::Done;
            }
        };
        sign(answer, &owner, found);
        if wildcard.is_some() && signs {
            answer.add_authorities(self.nothing_nearer(name, &text, kind));
        }
        next
    }

    /// The DNAME above this name, the CNAME that it makes of it, and where that leads.
    fn dname_above(&self, name: &Name, text: &str) -> Option<(Record, Record, Name)> {
        let mut rest = text;
        while let Some((_, parent)) = rest.split_once('.') {
            rest = parent;
            let of_parent = self.names.get(parent).into_iter();
            for data in of_parent.flat_map(|node| &node.records) {
                let Data::Dname(target) = data else { continue };
                let (owner, to) = (absolute(parent)?, absolute(target)?);
                let labels = name.iter().count() - owner.iter().count();
                let front: Vec<&[u8]> = name.iter().take(labels).collect();
                let target = Name::from_labels(front).ok()?.append_domain(&to).ok()?;
                let alias = RData::CNAME(CNAME(target.clone()));
                return Some((
                    data.record(&owner, RecordType::DNAME, self.ttl)?,
                    Record::from_rdata(name.clone(), self.ttl, alias),
                    target,
                ));
            }
        }
        None
    }
}

/// What follows on what was said of a name.
enum Next {
    Done,
    Alias(Name),
    Silent,
}

fn wildcard_at(encloser: &str) -> String {
    match encloser {
        "" => "*".to_owned(),
        _ => format!("*.{encloser}"),
    }
}

/// A name with its final dot, if it is one.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

enum Found<'a> {
    Node(&'a Node),
    /// That of the wildcard, whose name this is.
    Wildcard(&'a Node, String),
    /// No records, but names below it (RFC 4592 §2.2.2, empty non-terminal).
    Empty,
    Nothing,
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Data {
    /// Itself as a record of this name, if it is one of this kind. A target that is no DNS name is left out.
    fn record(&self, name: &Name, kind: RecordType, ttl: u32) -> Option<Record> {
        if kind != self.kind() && kind != RecordType::ANY {
            return None;
        }
        let data = match self {
            Self::Srv {
                priority,
                weight,
                port,
                target,
            } => RData::SRV(SRV::new(*priority, *weight, *port, absolute(target)?)),
            Self::A(address) => RData::A(A(*address)),
            Self::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Self::Cname(target) => RData::CNAME(CNAME(absolute(target)?)),
            // RFC 6672 §2.1: its target is not compressed, which is how a name by itself is written.
            Self::Dname(target) => RData::Unknown {
                code: RecordType::DNAME,
                rdata: NULL::with(absolute(target)?.to_bytes().ok()?),
            },
            Self::Tlsa([usage, selector, matching], data) => RData::TLSA(TLSA::new(
                (*usage).into(),
                (*selector).into(),
                (*matching).into(),
                data.clone(),
            )),
        };
        Some(Record::from_rdata(name.clone(), ttl, data))
    }

    fn kind(&self) -> RecordType {
        match self {
            Self::Srv { .. } => RecordType::SRV,
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
            Self::Cname(_) => RecordType::CNAME,
            Self::Dname(_) => RecordType::DNAME,
            Self::Tlsa(..) => RecordType::TLSA,
        }
    }
}

/// RFC 2308 §2: negative answers carry it, and its minimum says how long they may be kept.
fn start_of_authority(zone: Name, ttl: u32) -> Record {
    let root = Name::root();
    let data = SOA::new(root.clone(), root, 1, 3600, 600, 86400, ttl);
    Record::from_rdata(zone, ttl, RData::SOA(data))
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::Query;

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
}
