//! Accepts connections, and gives each that is admitted to its task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain as Family, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{field::Empty, warn};

use crate::component;
use crate::descriptors::{Permit, Share, is_exhausted};
use crate::guests::{Bounds, Guests};
use crate::inbound;
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

impl Door {
    fn share(self) -> Share {
        match self {
            Self::S2s | Self::S2sTls => Share::Servers,
            Self::Components => Share::Components,
        }
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
    let descriptors = &router.means().descriptors;
    let accept = async || {
        // Where there is none, the kernel holds those that come.
        let permit = descriptors.wait(door.share()).await;
        (listener.accept().await, permit)
    };
    loop {
        let (accepted, permit) = tokio::select! {
            accepted = accept() => accepted,
            () = router.means().stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, peer)) => admit(&router, tcp, peer, permit, door, &guests, &tasks),
            Err(error) => {
                if is_exhausted(&error) {
                    descriptors.tell("a connection could not be accepted");
                } else {
                    warn!(unproved = Empty, %error, "a connection could not be accepted");
                }
                // Trying at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(
    router: &Arc<Router>,
    tcp: TcpStream,
    peer: SocketAddr,
    permit: Permit,
    door: Door,
    guests: &Arc<Guests>,
    tasks: &TaskTracker,
) {
    let house = router.means().house.load();
    let (limits, served) = (&house.config.limits, house.config.domains.len());
    let bounds = match door {
        Door::S2s | Door::S2sTls => Bounds::servers(limits, served),
        Door::Components => Bounds::components(limits),
    };
    // Who is refused is counted there.
    let Ok(admission) = guests.admit(peer.ip(), bounds) else {
        return;
    };
    let router = Arc::clone(router);
    tasks.spawn(async move {
        match door {
            Door::S2s => inbound::serve(router, tcp, false, admission).await,
            Door::S2sTls => inbound::serve(router, tcp, true, admission).await,
            Door::Components => component::serve(router, tcp, admission).await,
        }
        drop(permit);
    });
}
