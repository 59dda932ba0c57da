use super::*;

const BOUNDS: Bounds = Bounds {
    total: 40,
    reserved: 8,
    host_unauthenticated: 4,
    site_unauthenticated: 8,
    site: 12,
    domain: 3,
    silence: Duration::from_secs(60),
};

/// Connections, and a clock.
struct Case {
    connections: Connections,
    now: Instant,
    heard: HashMap<Id, Instant>,
}

impl Case {
    fn new() -> Self {
        Self {
            connections: Connections::default(),
            now: Instant::now(),
            heard: HashMap::new(),
        }
    }

    fn admit(&mut self, address: &str) -> Result<Id, Refusal> {
        let address = address.parse().unwrap();
        let id = self.connections.admit(address, &BOUNDS, self.now)?;
        self.heard.insert(id, self.now);
        Ok(id)
    }

    fn prove(&mut self, id: Id, domain: &str) -> Result<Option<Id>, Refusal> {
        let domain = Domain::parse(domain).unwrap();
        let heard = |id| self.heard[&id];
        self.connections
            .authenticate(id, &domain, &BOUNDS, self.now, heard)
    }

    fn proved(&mut self, address: &str, domain: &str) -> Result<Id, Refusal> {
        let id = self.admit(address)?;
        self.prove(id, domain).map(|_| id)
    }

    fn close(&mut self, id: Id) {
        self.connections.close(id, self.now);
    }
}

#[test]
fn strangers_have_so_many_from_each_network() {
    for (addresses, taken, refusal) in [
        (&["192.0.2.1"; 5][..], 4, Some(Refusal::HostUnauthenticated)),
        // One address in both of its forms.
        (
            &[
                "192.0.2.1",
                "::ffff:192.0.2.1",
                "192.0.2.1",
                "::ffff:192.0.2.1",
                "::ffff:192.0.2.1",
            ],
            4,
            Some(Refusal::HostUnauthenticated),
        ),
        // IPv4 as a listener for both families shows it: no one network.
        (
            &[
                "::ffff:192.0.2.1",
                "::ffff:198.51.100.1",
                "::ffff:203.0.113.1",
                "::ffff:10.0.0.1",
                "::ffff:172.16.0.1",
            ],
            5,
            None,
        ),
        // Any address of a /64.
        (
            &[
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8::3:0:0:1",
                "2001:db8::4",
                "2001:db8::5",
            ],
            4,
            Some(Refusal::HostUnauthenticated),
        ),
        // A /24.
        (
            &[
                "192.0.2.1",
                "192.0.2.2",
                "192.0.2.3",
                "192.0.2.4",
                "192.0.2.5",
                "192.0.2.6",
                "192.0.2.7",
                "192.0.2.8",
                "192.0.2.9",
            ],
            8,
            Some(Refusal::SiteUnauthenticated),
        ),
        // The /64 of a /48.
        (
            &[
                "2001:db8:0:1::1",
                "2001:db8:0:2::1",
                "2001:db8:0:3::1",
                "2001:db8:0:4::1",
                "2001:db8:0:5::1",
                "2001:db8:0:6::1",
                "2001:db8:0:7::1",
                "2001:db8:0:8::1",
                "2001:db8:0:9::1",
            ],
            8,
            Some(Refusal::SiteUnauthenticated),
        ),
    ] {
        let mut case = Case::new();
        let admitted: Vec<_> = addresses.iter().map(|it| case.admit(it)).collect();
        let well = admitted.iter().take_while(|it| it.is_ok()).count();
        let refused = admitted.iter().find_map(|it| it.err());
        assert_eq!((well, refused), (taken, refusal), "{addresses:?}");
        // Another network is another's.
        assert!(case.admit("233.252.0.1").is_ok(), "{addresses:?}");
    }
}

#[test]
fn who_proves_himself_makes_room_and_who_begins_tls_takes_it_again() {
    let mut case = Case::new();
    let ids: Vec<Id> = (0..4).map(|_| case.admit("192.0.2.1").unwrap()).collect();
    assert_eq!(case.admit("192.0.2.1"), Err(Refusal::HostUnauthenticated));
    assert_eq!(case.prove(ids[0], "a.test"), Ok(None));
    let fifth = case.admit("192.0.2.1").unwrap();
    assert_eq!(case.connections.numbers(), (1, 4));
    // It would be the fifth stranger.
    let refused = case.connections.forget(ids[0], &BOUNDS);
    assert_eq!(refused, Err(Refusal::HostUnauthenticated));
    case.close(fifth);
    assert_eq!(case.connections.forget(ids[0], &BOUNDS), Ok(()));
    assert_eq!(case.connections.numbers(), (0, 4));
    assert_eq!(case.admit("192.0.2.1"), Err(Refusal::HostUnauthenticated));
    // It is no stream of the domain's any more.
    assert!(case.connections.domains.is_empty());
    // One that proved nothing has nothing to forget.
    assert_eq!(case.connections.forget(ids[1], &BOUNDS), Ok(()));
    assert_eq!(case.connections.numbers(), (0, 4));
}

#[test]
fn a_site_has_so_many_whatever_its_domains_are_called() {
    let mut case = Case::new();
    for number in 0..12 {
        let address = format!("192.0.2.{number}");
        case.proved(&address, &format!("{number}.evil.test"))
            .unwrap();
    }
    assert_eq!(case.admit("192.0.2.200"), Err(Refusal::Site));
    assert!(case.admit("198.51.100.1").is_ok());
}

#[test]
fn a_domain_has_so_many_streams_wherever_they_come_from() {
    let mut case = Case::new();
    for number in 1..=3 {
        case.proved(&format!("198.51.{number}.1"), "a.test")
            .unwrap();
    }
    assert_eq!(case.proved("203.0.113.1", "a.test"), Err(Refusal::Domain));
    let other = case.proved("203.0.113.1", "b.test").unwrap();
    // A further pair on a stream of another domain counts too, and the same domain on the same stream once.
    assert_eq!(case.prove(other, "a.test"), Err(Refusal::Domain));
    assert_eq!(case.prove(other, "b.test"), Ok(None));
    assert_eq!(case.connections.domains.len(), 2);
}

#[test]
fn the_stream_that_was_silent_longest_gives_way_to_a_new_one() {
    let mut case = Case::new();
    let streams: Vec<Id> = (0..3)
        .map(|_| case.proved("192.0.2.1", "a.test").unwrap())
        .collect();
    case.now += Duration::from_secs(59);
    let new = case.admit("192.0.2.1").unwrap();
    assert_eq!(case.prove(new, "a.test"), Err(Refusal::Domain));
    case.heard.insert(streams[0], case.now);
    case.now += Duration::from_secs(1);
    assert_eq!(case.prove(new, "a.test"), Ok(Some(streams[1])));
    // It counts among the connections until it is closed, and among the domain's no more.
    let next = case.admit("192.0.2.1").unwrap();
    assert_eq!(case.prove(next, "a.test"), Ok(Some(streams[2])));
    let last = case.admit("192.0.2.1").unwrap();
    assert_eq!(case.prove(last, "a.test"), Err(Refusal::Domain));
    case.close(streams[1]);
    assert_eq!(case.prove(last, "a.test"), Err(Refusal::Domain));
    case.close(streams[0]);
    assert_eq!(case.prove(last, "a.test"), Ok(None));
}

#[test]
fn the_last_places_are_for_those_who_authenticated_lately() {
    let mut case = Case::new();
    let known = case.proved("203.0.113.1", "calm.test").unwrap();
    case.close(known);
    for number in 0..32 {
        case.admit(&format!("10.0.{number}.1")).unwrap();
    }
    assert_eq!(case.admit("10.1.0.1"), Err(Refusal::Reserved));
    // A neighbour of the known is not known.
    assert_eq!(case.admit("203.0.113.2"), Err(Refusal::Reserved));
    let ids: Vec<Id> = (0..3).map(|_| case.admit("203.0.113.1").unwrap()).collect();
    // The last places are not for one alone.
    assert_eq!(case.admit("203.0.113.1"), Err(Refusal::Reserved));
    case.close(ids[0]);
    assert!(case.admit("203.0.113.1").is_ok());
    // That was long ago.
    case.now += Duration::from_secs(30 * 24 * 60 * 60);
    case.close(ids[1]);
    assert_eq!(case.admit("203.0.113.1"), Err(Refusal::Reserved));
}

#[test]
fn all_places_may_be_taken_by_those_who_are_known() {
    let mut case = Case::new();
    let addresses: Vec<String> = (0..20).map(|number| format!("10.0.{number}.1")).collect();
    for address in &addresses {
        case.proved(address, &format!("{address}.test")).unwrap();
    }
    for address in &addresses {
        case.proved(address, &format!("{address}.test")).unwrap();
    }
    assert_eq!(case.admit(&addresses[0]), Err(Refusal::Full));
}

#[test]
fn nothing_is_left_when_all_are_closed() {
    let mut case = Case::new();
    for round in 0..3 {
        let mut ids = Vec::new();
        for number in 0..30 {
            let id = case.admit(&format!("10.{round}.{number}.1")).unwrap();
            if number % 3 == 0 {
                case.prove(id, &format!("{number}.test")).unwrap();
                case.prove(id, "b.test").ok();
            }
            if number % 6 == 0 {
                case.connections.forget(id, &BOUNDS).unwrap();
            }
            ids.push(id);
        }
        for id in ids {
            case.close(id);
            case.close(id);
        }
        let left = &case.connections;
        assert!(left.open.is_empty() && left.domains.is_empty());
        assert!(left.hosts.0.is_empty() && left.sites.0.is_empty());
        assert_eq!(left.numbers(), (0, 0));
    }
}

#[test]
fn the_bounds_follow_the_configuration() {
    let limits = Limits::default();
    let servers = Bounds::servers(&limits, 3, usize::MAX);
    assert_eq!((servers.total, servers.reserved), (20_000, 2_500));
    assert_eq!(
        (servers.host_unauthenticated, servers.site_unauthenticated),
        (256, 1024)
    );
    assert_eq!((servers.site, servers.domain), (2000, 16));
    assert_eq!(servers.silence, Duration::from_secs(60));
    // A peer may have a stream to each of our domains.
    assert_eq!(Bounds::servers(&limits, 50, usize::MAX).domain, 50);
    assert_eq!(Bounds::components(&limits).total, 1000);
    // Where there are descriptors for fewer, no site has most of them, and the last ones are kept all the same.
    let few = Bounds::servers(&limits, 3, 480);
    assert_eq!((few.total, few.reserved, few.site), (480, 60, 120));
    assert_eq!(
        (few.host_unauthenticated, few.site_unauthenticated),
        (30, 120)
    );
    // What an operator wrote for few places is as it is.
    let limits = Limits {
        inbound: 100,
        ..limits
    };
    let written = Bounds::servers(&limits, 3, 480);
    assert_eq!((written.total, written.host_unauthenticated), (100, 256));
}
