//! Connects to the first of several addresses that answers: RFC 8305 ("Happy Eyeballs") §4 and §5.
//!
//! Left out: the sorting of RFC 6724 (an address we have no route to fails at once and costs nothing). The look-up of §3
//! is in `dns.rs`, and a family that is late has its turn when the other has failed.

use std::{
    fmt::Write as _,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};

use crate::net::descriptors::{Account, Exhausted, Permit, is_exhausted};
use crate::net::until::until;
use crate::protocol::admission::{AttemptLimit, Causer};

/// RFC 8305 §5: the Connection Attempt Delay, "one recommended value".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// So many addresses of one machine are tried.
const MAX_ADDRESSES: usize = 8;
/// So many are named when all fail.
const NAMED: usize = 3;

/// How many connections may still be tried for one stream, or one question. Without a bound, the owner of a domain
/// could make us connect to as many ports as its DNS answers have room for.
#[derive(Debug)]
pub struct Attempts {
    left: usize,
    made: usize,
    /// The peer that causes them, and its limit; none for our own.
    limit: Option<(Arc<Mutex<AttemptLimit>>, Causer)>,
    /// The causer has paid for the next.
    is_paid: bool,
}

/// So many are made even if other causers of the site have used up its limit: one for each family.
const IN_ANY_CASE: usize = 2;

impl Default for Attempts {
    fn default() -> Self {
        Self {
            left: 16,
            made: 0,
            limit: None,
            is_paid: false,
        }
    }
}

impl Attempts {
    /// No more may be tried.
    pub fn are_over(&self) -> bool {
        self.left == 0
    }

    /// Attempts that a peer causes.
    pub(crate) fn because_of(limit: &Arc<Mutex<AttemptLimit>>, causer: &Causer) -> Self {
        Self {
            limit: Some((Arc::clone(limit), causer.clone())),
            ..Self::default()
        }
    }

    /// Whether another may be made now. None has to be waited for once there was one.
    pub(crate) fn may_go_on(&mut self) -> bool {
        !self.are_over() && self.pay().is_ok()
    }

    /// Waits until the first may be made because of the causer.
    pub(crate) async fn ready(&mut self) {
        while let Err(when) = self.pay() {
            until(when).await;
        }
    }

    fn pay(&mut self) -> Result<(), std::time::Instant> {
        if let Some((limit, causer)) = &self.limit
            && !self.is_paid
        {
            limit
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take_of_one(causer, std::time::Instant::now())?;
        }
        self.is_paid = true;
        Ok(())
    }

    /// The last one reached its target: it does not count against the causer.
    pub(crate) fn led_somewhere(&self) {
        if let Some((limit, causer)) = &self.limit {
            let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
            limit.give_back(causer);
        }
    }

    /// One is about to be made. `false`: it may not be, now or, if they are over, at all.
    fn take(&mut self) -> bool {
        if self.left == 0 || self.pay().is_err() {
            return false;
        }
        self.is_paid = false;
        let is_allowed = match &self.limit {
            Some((limit, causer)) => {
                let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
                limit.take_of_site(causer, std::time::Instant::now()) || self.made < IN_ANY_CASE
            }
            None => true,
        };
        if !is_allowed {
            self.left = 0;
            return false;
        }
        self.left -= 1;
        self.made += 1;
        true
    }
}

impl Drop for Attempts {
    /// Gives back an attempt that was paid for and not made.
    fn drop(&mut self) {
        if self.is_paid {
            self.led_somewhere();
        }
    }
}

/// Connects to one of `addresses`. The families take turns, and a new attempt begins every 250 ms or as soon as one
/// fails. The first connection wins; the other attempts are dropped. Sets `TCP_NODELAY`. Tries eight at most, and as
/// many as `attempts` allows.
///
/// `source` are our addresses to connect from, the first of the right family; if it is empty, the system chooses. Each
/// attempt takes a descriptor from the account.
///
/// The error names three addresses with their failures and counts the others, unless this server had no descriptor.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    source: &[IpAddr],
    account: &Account,
    attempts: &mut Attempts,
    within: Duration,
) -> io::Result<Dialed> {
    let connect = |address| async move {
        let permit = account.take(1)?;
        let tcp = from(source, address).await?;
        Ok(Dialed { tcp, permit })
    };
    let dialed = race(addresses, attempts, within, connect).await?;
    dialed.tcp.set_nodelay(true)?;
    Ok(dialed)
}

/// A connection, and the permit for its descriptor: it is counted as long as that lives.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) tcp: TcpStream,
    pub(crate) permit: Permit,
}

async fn from(source: &[IpAddr], address: SocketAddr) -> io::Result<TcpStream> {
    let (socket, family) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, "IPv4"),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, "IPv6"),
    };
    // A `source` forbids all other addresses.
    if !source.is_empty() {
        let own = source.iter().find(|own| own.is_ipv4() == address.is_ipv4());
        let own = own.ok_or_else(|| {
            Stuck::error(format!("`source` in the policy has no {family} address"))
        })?;
        socket
            .bind(SocketAddr::new(*own, 0))
            .map_err(|error| Stuck::error(format!("from {own}: {}", error.kind())))?;
    }
    socket.connect(address).await
}

async fn race<T, F>(
    addresses: &[SocketAddr],
    attempts: &mut Attempts,
    within: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let over = || io::Error::other("as many connections as may be have been tried");
    if attempts.are_over() {
        return Err(over());
    }
    let mut waiting = interleave(addresses);
    waiting.truncate(MAX_ADDRESSES.min(attempts.left));
    let mut waiting = waiting.into_iter();
    let end = Instant::now() + within;
    let mut next = Instant::now();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failures = Vec::new();
    loop {
        let one_waits = !waiting.as_slice().is_empty();
        if running.is_empty() && !one_waits {
            return Err(all_failed(failures));
        }
        let event = timeout_at(end, async {
            tokio::select! {
                biased;
                (address, result) = first_done(&mut running) => Some((address, result)),
                () = until(next), if one_waits => None,
            }
        });
        match event.await {
            Ok(Some((_, Ok(connection)))) => return Ok(connection),
            Ok(Some((address, Err(error)))) => {
                failures.push((address, error));
                next = Instant::now();
            }
            Ok(None) => {
                if !attempts.take() {
                    if running.is_empty() && failures.is_empty() {
                        return Err(over());
                    }
                    waiting = Vec::new().into_iter();
                } else if let Some(address) = waiting.next() {
                    running.push((address, Box::pin(connect(address))));
                }
                next = Instant::now() + ATTEMPT_DELAY;
            }
            Err(_) => {
                let silent = running.iter().map(|(address, _)| *address).chain(waiting);
                let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
                failures.extend(silent.map(|address| (address, late())));
                return Err(all_failed(failures));
            }
        }
    }
}

/// The next attempt that ends, taken out of those that run; waits for ever when none runs.
async fn first_done<T, F>(
    running: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
) -> (SocketAddr, io::Result<T>)
where
    F: Future<Output = io::Result<T>>,
{
    poll_fn(|context| {
        for (index, (address, attempt)) in running.iter_mut().enumerate() {
            if let Poll::Ready(result) = attempt.as_mut().poll(context) {
                let address = *address;
                drop(running.swap_remove(index));
                return Poll::Ready((address, result));
            }
        }
        Poll::Pending
    })
    .await
}

/// RFC 8305 §4: one family, then the other, beginning with the first address's.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = addresses
        .iter()
        .rev()
        .copied()
        .partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut ordered = Vec::with_capacity(addresses.len());
    while !ours.is_empty() || !theirs.is_empty() {
        ordered.extend(ours.pop());
        ordered.extend(theirs.pop());
    }
    ordered
}

fn all_failed(failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let Some((_, last)) = failures.last() else {
        return io::Error::new(io::ErrorKind::NotFound, "no address to connect to");
    };
    let kind = last.kind();
    if failures.iter().any(|(_, error)| is_exhausted(error)) {
        return Exhausted.into();
    }
    let mut text = String::new();
    for (address, error) in failures.iter().take(NAMED) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        // The kind reads better than the error of an operating system with its number.
        let _ = match error.kind() {
            io::ErrorKind::Other => write!(text, "{address}: {error}"),
            // A host on our own network that does not answer, and a router at the other end, give the same error.
            io::ErrorKind::HostUnreachable => {
                write!(
                    text,
                    "{address}: no way to that machine, from here or further on"
                )
            }
            kind => write!(text, "{address}: {kind}"),
        };
    }
    if failures.len() > NAMED {
        let _ = write!(text, "; and {} more", failures.len() - NAMED);
    }
    match failures.iter().all(|(_, error)| is_stuck(error)) {
        true => io::Error::new(kind, Stuck(text)),
        false => io::Error::new(kind, text),
    }
}

/// This machine has no way out; the other end has no part in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Stuck(String);

impl Stuck {
    pub(super) fn error(why: String) -> io::Error {
        io::Error::other(Self(why))
    }
}

/// Whether it is this machine that does not get out. (`EHOSTUNREACH` may also be what a router far away says.)
pub(super) fn is_stuck(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let says_so = error.get_ref().is_some_and(|error| error.is::<Stuck>());
    says_so
        || matches!(
            Errno::from_io_error(error),
            Some(
                Errno::NETUNREACH
                    | Errno::NETDOWN
                    | Errno::ADDRNOTAVAIL
                    | Errno::ACCESS
                    | Errno::PERM
                    | Errno::NOBUFS
                    | Errno::NOMEM
            )
        )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{net::TcpListener, time::sleep};

    use super::*;
    use crate::net::descriptors::{Descriptors, Share};

    const WITHIN: Duration = Duration::from_secs(20);

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What an address does: after so many milliseconds it accepts or refuses.
    type Script<'a> = &'a [(&'a str, u64, bool)];

    /// Races the addresses of a script; gives the winner, and when each attempt began.
    async fn run(script: Script<'_>) -> (io::Result<SocketAddr>, Vec<(String, u64)>) {
        let begin = Instant::now();
        let began = Mutex::new(Vec::new());
        let all = addresses(&script.iter().map(|line| line.0).collect::<Vec<_>>());
        let result = race(&all, &mut Attempts::default(), WITHIN, |address| {
            let elapsed = begin.elapsed().as_millis() as u64;
            began.lock().unwrap().push((address.to_string(), elapsed));
            let (_, after, accepts) = *script
                .iter()
                .find(|line| line.0 == address.to_string())
                .unwrap();
            async move {
                sleep(Duration::from_millis(after)).await;
                match accepts {
                    true => Ok(address),
                    false => Err(io::ErrorKind::ConnectionRefused.into()),
                }
            }
        })
        .await;
        (result, began.into_inner().unwrap())
    }

    fn began(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter()
            .map(|&(address, at)| (address.to_owned(), at))
            .collect()
    }

    #[test]
    fn families_take_turns_from_the_first_addresss_on() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let want = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(&given), want);
        let given = addresses(&["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]);
        let want = addresses(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"]);
        assert_eq!(interleave(&given), want);
        assert_eq!(interleave(&[]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_family_costs_a_quarter_of_a_second() {
        let (result, order) = run(&[("[::1]:1", 60_000, true), ("1.0.0.1:1", 30, true)]).await;
        assert_eq!(result.unwrap().to_string(), "1.0.0.1:1");
        assert_eq!(order, began(&[("[::1]:1", 0), ("1.0.0.1:1", 250)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_starts_the_next_at_once() {
        let (result, order) = run(&[("[::1]:1", 10, false), ("1.0.0.1:1", 10, true)]).await;
        assert_eq!(result.unwrap().to_string(), "1.0.0.1:1");
        assert_eq!(order, began(&[("[::1]:1", 0), ("1.0.0.1:1", 10)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_still_wins_if_it_is_first_to_answer() {
        let (result, order) = run(&[("[::1]:1", 300, true), ("1.0.0.1:1", 500, true)]).await;
        assert_eq!(result.unwrap().to_string(), "[::1]:1");
        assert_eq!(order.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn all_refusals_are_in_the_error() {
        let (result, _) = run(&[("[::1]:1", 5, false), ("1.0.0.1:1", 5, false)]).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "[::1]:1: connection refused; 1.0.0.1:1: connection refused"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_out_for_all_together() {
        let begin = Instant::now();
        let (result, _) = run(&[("[::1]:1", 5, false), ("1.0.0.1:1", 90_000, true)]).await;
        let error = result.unwrap_err();
        assert_eq!(begin.elapsed(), WITHIN);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(
            error.to_string(),
            "[::1]:1: connection refused; 1.0.0.1:1: timed out"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_with_many_addresses_is_tried_at_eight_and_all_machines_at_sixteen() {
        let many: Vec<SocketAddr> = (0..=255).map(|n| ([192, 0, 2, n], 1).into()).collect();
        let tried = Mutex::new(0);
        let mut attempts = Attempts::default();
        let mut texts = Vec::new();
        for _ in 0..4 {
            let result: io::Result<()> = race(&many, &mut attempts, WITHIN, |_| {
                *tried.lock().unwrap() += 1;
                async { Err(io::ErrorKind::ConnectionRefused.into()) }
            })
            .await;
            texts.push(result.unwrap_err().to_string());
            texts.push(tried.lock().unwrap().to_string());
        }
        let refused = |n| format!("192.0.2.{n}:1: connection refused");
        let want = [refused(0), refused(1), refused(2), "and 5 more".to_owned()].join("; ");
        assert_eq!(
            texts[..4],
            [want.clone(), "8".to_owned(), want, "16".to_owned()]
        );
        assert!(attempts.are_over());
        assert_eq!(texts[4], "as many connections as may be have been tried");
        assert_eq!(texts[7], "16");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_both_families_are_among_the_eight() {
        let mut many: Vec<SocketAddr> = (0..20)
            .map(|n| ([0, 0, 0, 0, 0, 0, 0, n], 1).into())
            .collect();
        many.extend((0..20).map(|n| SocketAddr::from(([192, 0, 2, n], 1))));
        let tried = Mutex::new(Vec::new());
        let result: io::Result<()> = race(&many, &mut Attempts::default(), WITHIN, |address| {
            tried.lock().unwrap().push(address.is_ipv4());
            async { Err(io::ErrorKind::ConnectionRefused.into()) }
        })
        .await;
        assert!(result.is_err());
        let tried = tried.into_inner().unwrap();
        assert_eq!(tried, [false, true].repeat(4));
    }

    async fn dial_to(addresses: &[SocketAddr], source: &[IpAddr]) -> io::Result<Dialed> {
        let (account, mut attempts) = (Account::default(), Attempts::default());
        dial(addresses, source, &account, &mut attempts, WITHIN).await
    }

    #[tokio::test]
    async fn no_address_is_an_error() {
        let error = dial_to(&[], &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "no address to connect to");
    }

    #[tokio::test]
    async fn a_connection_is_from_the_address_of_its_family() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = [open.local_addr().unwrap()];
        let source = ["::1", "127.0.0.1", "192.0.2.1"].map(|text| text.parse().unwrap());
        let dialed = dial_to(&to, &source).await.unwrap();
        assert_eq!(dialed.tcp.local_addr().unwrap().ip(), source[1]);
        let error = dial_to(&to, &source[..1]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: `source` in the policy has no IPv4 address", to[0])
        );
        let error = dial_to(&to, &source[2..]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: from 192.0.2.1: address not available", to[0])
        );
    }

    #[tokio::test]
    async fn a_real_listener_is_reached_behind_a_closed_port() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed_address = closed.local_addr().unwrap();
        drop(closed);
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open_address = open.local_addr().unwrap();
        let addresses = [closed_address, open_address];
        let Dialed { tcp, .. } = dial_to(&addresses, &[]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open_address);
        assert!(tcp.nodelay().unwrap());
    }

    async fn dial_on(account: &Account, to: &[SocketAddr]) -> io::Result<Dialed> {
        dial(to, &[], account, &mut Attempts::default(), WITHIN).await
    }

    #[test]
    fn what_leads_somewhere_or_is_not_made_is_not_used_up() {
        let limit = Arc::default();
        let causer = Causer::Connection("192.0.2.1:1024".parse().unwrap());
        let one = || Attempts::because_of(&limit, &causer);
        for _ in 0..100 {
            assert!(one().may_go_on());
            let mut one = one();
            assert!(one.take());
            one.led_somewhere();
        }
        let used = (0..100).take_while(|_| one().take()).count();
        // Another second may have begun.
        assert!((16..20).contains(&used), "{used}");
        assert!(!one().may_go_on());
        let other = Causer::Connection("192.0.2.1:1025".parse().unwrap());
        assert!(Attempts::because_of(&limit, &other).take());
    }

    #[tokio::test]
    async fn every_attempt_and_the_connection_that_stands_are_counted() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = [silent.local_addr().unwrap()];
        let descriptors = Descriptors::new(64);
        let account = Account::new(&descriptors, Share::Questions);
        let mut held = Vec::new();
        while let Ok(dialed) = dial_on(&account, &to).await {
            held.push(dialed);
            assert_eq!(descriptors.taken(Share::Questions), held.len());
        }
        let error = dial_on(&account, &to).await.unwrap_err();
        assert!(is_exhausted(&error), "{error}");
        // Our own streams still get there.
        let lanes = Account::new(&descriptors, Share::Lanes);
        dial_on(&lanes, &to).await.unwrap();
        held.clear();
        assert_eq!(descriptors.taken(Share::Questions), 0);
        dial_on(&account, &to).await.unwrap();
    }
}
