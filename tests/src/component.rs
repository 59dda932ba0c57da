//! A component (XEP-0114) at a server's component listener.

use std::{net::SocketAddr, time::Duration};

use anyhow::bail;
use bytes::BytesMut;
use xmpp_stream::{StreamError, component::Connecting};

use crate::wire::{Event, Wire};

/// Connects and shows that it knows the secret. Gives the connection, ready for stanzas.
pub async fn attach(
    addr: SocketAddr,
    domain: &str,
    secret: &str,
    within: Duration,
) -> anyhow::Result<Wire> {
    let wire = Wire::connect(addr, within).await?;
    attach_over(wire, domain, secret, within).await
}

/// The same by a connection that exists.
pub async fn attach_over(
    mut wire: Wire,
    domain: &str,
    secret: &str,
    within: Duration,
) -> anyhow::Result<Wire> {
    let (connecting, header) = Connecting::new(domain, secret);
    let mut text = BytesMut::new();
    header.write(&mut text);
    wire.send(text).await?;
    let header = match wire.next(within).await? {
        Event::Header(header) => header,
        other => bail!("no stream header but {other:?}"),
    };
    let (accepted, handshake) = connecting.header(&header).map_err(refused)?;
    wire.send(handshake).await?;
    match wire.next(within).await? {
        Event::Element(element) => accepted.element(&element).map_err(refused)?,
        other => bail!("no answer to the handshake but {other:?}"),
    }
    Ok(wire)
}

fn refused(error: StreamError) -> anyhow::Error {
    anyhow::anyhow!("{error:?}").context("the component was refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay_server::{RelayServer, SECRET};

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn the_right_secret_attaches_and_a_wrong_one_does_not() {
        let relay_server = RelayServer::start(|_, stanza| vec![stanza]).await;
        assert!(
            attach(relay_server.addr, "a.test", SECRET, TIMEOUT)
                .await
                .is_ok()
        );
        let Err(error) = attach(relay_server.addr, "a.test", "wrong", TIMEOUT).await else {
            panic!("attached");
        };
        assert!(format!("{error:#}").contains("NotAuthorized"), "{error:#}");
    }
}
