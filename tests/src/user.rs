//! A user of some other server: RFC 6120 client-to-server with SASL PLAIN on a plain connection and resource
//! binding, as much as it takes to exchange stanzas. Only for servers on loopback that are told to allow it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use xmpp_stream::{Element, Features, Writer, ns, split_jid};

use crate::wire::{Event, Wire};

/// RFC 6120 §7.
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// RFC 3921 §3: needed by old servers, made optional by RFC 6121.
const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";

/// Logs in, binds a resource, sends initial presence. Gives the connection and the full address.
pub async fn login(
    addr: SocketAddr,
    jid: &str,
    password: &str,
    within: Duration,
) -> anyhow::Result<(Wire, String)> {
    let (local, domain, _) = split_jid(jid);
    let local = local.context("a user has a local part")?;
    let mut user = Login {
        wire: Wire::connect(addr, within).await?,
        domain,
        within,
    };
    let features = user.open().await?;
    let mechanisms = Features::from_element(&features)
        .context("no features")?
        .mechanisms;
    ensure!(
        mechanisms.iter().any(|name| name == "PLAIN"),
        "the server offers no PLAIN without TLS, only {mechanisms:?}"
    );
    user.authenticate(local, password).await?;
    user.wire.restart();
    let features = user.open().await?;
    let address = user.bind().await?;
    if features.tree().child(SESSION, "session").is_some() {
        let session = Writer::new("session").xmlns(SESSION);
        user.request("session", session).await?;
    }
    user.wire.send("<presence/>").await?;
    Ok((user.wire, address))
}

struct Login<'a> {
    wire: Wire,
    domain: &'a str,
    within: Duration,
}

impl Login<'_> {
    async fn open(&mut self) -> anyhow::Result<Element> {
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' to='{}' version='1.0'>",
            self.domain
        );
        self.wire.send(header).await?;
        match self.wire.next(self.within).await? {
            Event::Header(_) => {}
            other => bail!("no stream header but {other:?}"),
        }
        let features = self.element().await?;
        ensure!(
            features.is(ns::STREAMS, "features"),
            "no features but {features:?}"
        );
        Ok(features)
    }

    async fn element(&mut self) -> anyhow::Result<Element> {
        match self.wire.next(self.within).await? {
            Event::Element(element) => Ok(element),
            other => bail!("no element but {other:?}"),
        }
    }

    /// RFC 4616.
    async fn authenticate(&mut self, local: &str, password: &str) -> anyhow::Result<()> {
        let message = BASE64_STANDARD.encode(format!("\0{local}\0{password}"));
        let auth = Writer::new("auth")
            .xmlns(ns::SASL)
            .attr("mechanism", "PLAIN");
        self.wire.send(auth.text(&message).finish()).await?;
        let answer = self.element().await?;
        // An element of SASL does not show what is in it.
        let tree = answer.tree();
        let conditions: Vec<_> = tree.elements().map(|child| child.name.as_str()).collect();
        ensure!(
            answer.is(ns::SASL, "success"),
            "no success but {} {}",
            answer.name(),
            conditions.join(" ")
        );
        Ok(())
    }

    async fn bind(&mut self) -> anyhow::Result<String> {
        let resource = Writer::new("resource").text("lab");
        let bind = Writer::new("bind").xmlns(BIND).child(resource);
        let result = self.request("bind", bind).await?;
        let jid = result
            .tree()
            .child(BIND, "bind")
            .and_then(|bind| bind.child(BIND, "jid").map(|jid| jid.text()));
        jid.context("the result of binding has no address")
    }

    /// An iq set to the server, and its result. Other stanzas that come meanwhile are dropped.
    async fn request(&mut self, id: &str, content: Writer) -> anyhow::Result<Element> {
        let iq = Writer::new("iq").attr("type", "set").attr("id", id);
        self.wire.send(iq.child(content).finish()).await?;
        loop {
            let element = self.element().await?;
            if element.id().as_deref() == Some(id) {
                ensure!(
                    element.type_attr().as_deref() == Some("result"),
                    "refused: {element:?}"
                );
                return Ok(element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                          id='1' from='a.test' version='1.0'>";

    /// A server for one user that offers this mechanism, and knows one password.
    async fn server(listener: TcpListener, mechanism: &str) -> anyhow::Result<()> {
        let mut wire = Wire::over(listener.accept().await?.0);
        wire.next(TIMEOUT).await?;
        wire.send(format!(
            "{HEADER}<stream:features><mechanisms xmlns='{}'><mechanism>{mechanism}</mechanism>\
             </mechanisms></stream:features>",
            ns::SASL
        ))
        .await?;
        let Event::Element(auth) = wire.next(TIMEOUT).await? else {
            return Ok(());
        };
        // "\0alice\0secret"
        if auth.text() != "AGFsaWNlAHNlY3JldA==" {
            let failure =
                "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
            return wire.send(failure).await;
        }
        wire.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await?;
        wire.restart();
        wire.next(TIMEOUT).await?;
        wire.send(format!(
            "{HEADER}<stream:features><bind xmlns='{BIND}'/><session xmlns='{SESSION}'/></stream:features>"
        ))
        .await?;
        wire.next(TIMEOUT).await?;
        wire.send(format!(
            "<iq type='result' id='bind'><bind xmlns='{BIND}'><jid>alice@a.test/given</jid></bind></iq>"
        ))
        .await?;
        wire.next(TIMEOUT).await?;
        wire.send("<iq type='result' id='session'/>").await?;
        let Event::Element(presence) = wire.next(TIMEOUT).await? else {
            bail!("no presence");
        };
        ensure!(presence.is(ns::CLIENT, "presence"));
        Ok(())
    }

    async fn login_at(mechanism: &str, password: &str) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (address, served) = tokio::join!(
            login(addr, "alice@a.test", password, TIMEOUT),
            server(listener, mechanism)
        );
        served?;
        address.map(|(_, address)| address)
    }

    #[tokio::test]
    async fn a_user_logs_in_and_has_the_address_that_the_server_gives() {
        let address = login_at("PLAIN", "secret").await.unwrap();
        assert_eq!(address, "alice@a.test/given");
    }

    #[tokio::test]
    async fn why_a_user_cannot_log_in_is_told() {
        let error = login_at("PLAIN", "wrong").await.unwrap_err();
        assert!(error.to_string().contains("not-authorized"), "{error}");
        let error = login_at("SCRAM-SHA-1", "secret").await.unwrap_err();
        assert!(error.to_string().contains("offers no PLAIN"), "{error}");
    }
}
