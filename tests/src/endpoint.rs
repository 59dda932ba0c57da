//! One end of an exchange, as written on a command line or in a test: `component,addr=…,domain=…,secret=…`.

use std::{collections::BTreeMap, net::SocketAddr, str::FromStr};

/// Who takes part in an exchange of stanzas.
#[derive(Clone, PartialEq, Eq)]
pub enum End {
    /// An XEP-0114 component at a server.
    Component {
        /// The server's component listener.
        addr: SocketAddr,
        /// The component's domain.
        domain: String,
        /// The shared secret.
        secret: String,
        /// The local part of the address that it uses; none: the bare domain.
        node: Option<String>,
    },
    /// A user of a server, over client-to-server.
    User {
        /// The server's client listener.
        addr: SocketAddr,
        /// `local@domain`.
        jid: String,
        /// The password (SASL PLAIN).
        password: String,
    },
    /// A host that is only asked things: it has no driver here.
    Host {
        /// Its domain.
        domain: String,
    },
}

impl FromStr for End {
    type Err = String;

    /// `component,addr=IP:PORT,domain=D,secret=S[,node=N]`, `user,addr=IP:PORT,jid=L@D,password=P`, `host,domain=D`.
    /// A value cannot hold a comma.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let kind = words.next().unwrap_or_default();
        let mut values = BTreeMap::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?} is not KEY=VALUE"))?;
            if values.insert(key, value).is_some() {
                return Err(format!("{key} is given twice"));
            }
        }
        let mut take = |key: &str| {
            values
                .remove(key)
                .map(str::to_owned)
                .ok_or_else(|| format!("{kind} needs {key}="))
        };
        let addr = |text: String| {
            text.parse()
                .map_err(|_| format!("{text:?} is not ADDRESS:PORT"))
        };
        let end = match kind {
            "component" => Self::Component {
                addr: addr(take("addr")?)?,
                domain: take("domain")?,
                secret: take("secret")?,
                node: take("node").ok(),
            },
            "user" => Self::User {
                addr: addr(take("addr")?)?,
                jid: take("jid")?,
                password: take("password")?,
            },
            "host" => Self::Host {
                domain: take("domain")?,
            },
            _ => return Err(format!("{kind:?} is not component, user or host")),
        };
        match values.keys().next() {
            Some(key) => Err(format!("{kind} has no {key}")),
            None => Ok(end),
        }
    }
}

/// Without secrets.
impl std::fmt::Debug for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Component { addr, domain, .. } => write!(out, "component {domain} at {addr}"),
            Self::User { addr, jid, .. } => write!(out, "user {jid} at {addr}"),
            Self::Host { domain } => write!(out, "host {domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read() {
        let component = End::Component {
            addr: "127.0.0.1:5347".parse().unwrap(),
            domain: "a.test".to_owned(),
            secret: "s=1".to_owned(),
            node: None,
        };
        let text = "component,addr=127.0.0.1:5347,domain=a.test,secret=s=1";
        assert_eq!(text.parse(), Ok(component));
        let host = End::Host {
            domain: "a.test".to_owned(),
        };
        assert_eq!("host,domain=a.test".parse(), Ok(host));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<End>().unwrap_err();
        assert_eq!(error("user,jid=a@b"), "user needs addr=");
        assert_eq!(error("host,domain=a,port=1"), "host has no port");
        assert_eq!(error("host,domain=a,domain=b"), "domain is given twice");
        assert_eq!(error("hosts"), "\"hosts\" is not component, user or host");
    }

    #[test]
    fn secrets_are_not_printed() {
        let end: End = "user,addr=127.0.0.1:5222,jid=a@b,password=geheim"
            .parse()
            .unwrap();
        assert_eq!(format!("{end:?}"), "user a@b at 127.0.0.1:5222");
    }
}
