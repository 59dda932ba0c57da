//! Accepts connections, counts them, and gives each to its task.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain as Family, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::component;
use crate::inbound::{self, Admission};
use crate::router::Router;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Server-to-server, STARTTLS.
    S2s,
    /// Server-to-server, TLS from the first byte (XEP-0368).
    S2sTls,
    /// Components (XEP-0114).
    Components,
}

/// The connections there are.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    total: Arc<AtomicUsize>,
    unauthenticated: Mutex<HashMap<IpAddr, Arc<AtomicUsize>>>,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now < most).then_some(now + 1)
            })
            .ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Guests {
    /// Admits a connection, or says which bound it is over.
    fn admit(
        &self,
        address: IpAddr,
        most: usize,
        most_per_address: usize,
    ) -> Result<Admission, &'static str> {
        let total = Ticket::take(&self.total, most).ok_or("too many connections")?;
        let mut strangers = self
            .unauthenticated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Addresses that nobody holds a ticket of are forgotten, so the map is bounded by the connections.
        if strangers.len() > 1024 {
            strangers.retain(|_, count| count.load(Ordering::Acquire) > 0);
        }
        let count = Arc::clone(strangers.entry(address).or_default());
        drop(strangers);
        let unauthenticated = Ticket::take(&count, most_per_address)
            .ok_or("too many unauthenticated connections from this address")?;
        Ok(Admission {
            _total: total,
            unauthenticated: Some(unauthenticated),
        })
    }
}

/// Binds a listener. IPv6 listeners take IPv6 only where an IPv4 listener could stand beside them.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Family::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until the server stops.
pub(crate) async fn serve(
    router: Arc<Router>,
    listener: TcpListener,
    door: Door,
    guests: Arc<Guests>,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = router.means().stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, peer)) => admit(&router, tcp, peer, door, &guests, &tasks),
            Err(error) => {
                // Out of descriptors, as a rule: trying at once would spin.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(
    router: &Arc<Router>,
    tcp: TcpStream,
    peer: SocketAddr,
    door: Door,
    guests: &Guests,
    tasks: &TaskTracker,
) {
    let house = router.means().house.load();
    let limits = &house.config.limits;
    match guests.admit(peer.ip(), limits.inbound, limits.inbound_per_address) {
        Ok(admission) => {
            let router = Arc::clone(router);
            match door {
                Door::S2s => tasks.spawn(inbound::serve(router, tcp, false, admission)),
                Door::S2sTls => tasks.spawn(inbound::serve(router, tcp, true, admission)),
                Door::Components => tasks.spawn(component::serve(router, tcp, admission)),
            };
        }
        Err(why) => debug!(%peer, "refused: {why}"),
    }
}
