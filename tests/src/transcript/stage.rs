//! What a scene needs before it begins: the configuration of s2sd, certificates, and the steps that lead to its depth.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::bail;
use s2sd::config::{Config, TlsMode};
use s2sd::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use xmpp_stream::Domain;

use super::{
    names::SECRET,
    script::{Depth, Item, Role, Scene, Settings, Shown, Shows},
};

/// The secret of s2sd's component.
pub(super) const COMPONENT: &str = "component";

/// A scene, and all it needs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) role: Role,
    pub(super) depth: Depth,
    pub(super) settings: Settings,
    /// The domain that s2sd speaks for.
    pub(super) local: Domain,
    /// The domain at the other end.
    pub(super) remote: Domain,
    pub(super) items: Vec<Item>,
    pub(super) authority: Authority,
    /// What the peer shows as a TLS client.
    pub(super) identity: Option<Issued>,
    /// What it shows as a TLS server, which shows something always.
    pub(super) server: Issued,
    directory: Directory,
}

impl Stage {
    pub(super) fn new(scene: &Scene, depth: Depth) -> anyhow::Result<Self> {
        let settings = scene.settings.clone();
        let (from, to) = (Domain::parse(&settings.from)?, Domain::parse(&settings.to)?);
        let (local, remote) = match scene.role {
            Role::Receiving => (to, from),
            Role::Initiating => (from, to),
        };
        let authority = Authority::new("the authority");
        let shown = certificate(&authority, settings.shows.as_ref(), remote.ascii());
        let server = shown
            .clone()
            .unwrap_or_else(|| authority.issue(&Leaf::domain(remote.ascii())));
        // With a certificate that proves the domain there would be no dialback.
        let identity = shown.filter(|_| depth != Depth::DialbackTls || settings.shows.is_some());
        let directory = Directory::new()?;
        let own = Leaf::domain(local.ascii());
        let own = settings
            .serves
            .iter()
            .fold(own, |leaf, domain| leaf.dns(domain));
        let own = authority.issue(&own);
        fs::write(directory.0.join("ca.pem"), authority.pem())?;
        fs::write(directory.0.join("own.pem"), &own.chain_pem)?;
        fs::write(directory.0.join("own.key"), &own.key_pem)?;
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        for (name, line) in &settings.files {
            let _ = writeln!(files.entry(name).or_default(), "{line}");
        }
        for (name, text) in files {
            fs::write(directory.0.join(name), text)?;
        }
        Ok(Self {
            role: scene.role,
            depth,
            settings,
            local,
            remote,
            items: scene.items.clone(),
            authority,
            identity,
            server,
            directory,
        })
    }

    /// The configuration. The peer and its authoritative server are at `peer`.
    pub(super) fn config(&self, peer: SocketAddr) -> anyhow::Result<Config> {
        let text = self.toml(peer);
        match Config::from_toml(&text, "s2sd.toml", &self.directory.0) {
            Ok(loaded) => Ok(loaded.config),
            Err(faults) => bail!("{}", faults.render(false)),
        }
    }

    /// Does s2sd insist on TLS with the peer?
    pub(super) fn requires_tls(&self) -> bool {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 5269));
        self.config(anywhere)
            .is_ok_and(|config| config.policy_for(&self.remote).tls == TlsMode::Required)
    }

    fn toml(&self, peer: SocketAddr) -> String {
        let any = "[\"127.0.0.1:0\"]";
        let direct = if self.settings.without_certificate {
            "[]"
        } else {
            any
        };
        let mut toml = format!(
            "data_dir = {:?}\n[listen]\ns2s = {any}\ns2s_tls = {direct}\ncomponents = {any}\n\
             [dns]\nservers = [\"127.0.0.1:9\"]\n[dialback]\nsecret = \"{SECRET}\"\n",
            self.directory.0
        );
        let mut table = |title: &str, defaults: &[(&str, &str)]| {
            let name = title.trim_matches(['[', ']']);
            let mut keys: BTreeMap<String, String> = defaults
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            for ((table, key), value) in &self.settings.tables {
                if *table == name {
                    keys.insert(key.clone(), value.clone());
                }
            }
            let _ = writeln!(toml, "{title}");
            for (key, value) in keys {
                let _ = writeln!(toml, "{key} = {value}");
            }
        };
        table("[limits]", &[("drain", "\"1s\"")]);
        table(
            "[policy]",
            &[
                ("tls", "\"optional\""),
                ("auth", "[\"external\", \"dialback\"]"),
                ("trust", "[\"ca.pem\"]"),
                ("addresses", "\"any\""),
                // Conversations of one direction: a scene says so where it is about both.
                ("bidi", "false"),
            ],
        );
        let scheme = match (self.role, self.depth) {
            (Role::Initiating, Depth::DirectTls) => "tls://",
            _ => "",
        };
        let connect = format!("[\"{scheme}{peer}\"]");
        let remote = format!("{:?}", self.remote.as_str());
        table("[[peer]]", &[("domain", &remote), ("connect", &connect)]);
        for domain in &self.settings.also {
            let _ = writeln!(toml, "[[peer]]\ndomain = {domain:?}\nconnect = {connect}");
        }
        let own = [self.local.as_str()].into_iter();
        for domain in own.chain(self.settings.serves.iter().map(String::as_str)) {
            let _ = writeln!(
                toml,
                "[[domain]]\nname = {domain:?}\ncomponent = {{ secret = \"{COMPONENT}\" }}"
            );
            if !self.settings.without_certificate {
                toml.push_str("certificate = \"own.pem\"\nkey = \"own.key\"\n");
            }
        }
        toml
    }

    /// The stanza that waits for the stream where s2sd opens it.
    pub(super) fn waiting(&self) -> String {
        format!(
            "<message from='romeo@{}' to='juliet@{}' id='first'/>",
            self.local, self.remote
        )
    }
}

fn certificate(authority: &Authority, shows: Option<&Shows>, remote: &str) -> Option<Issued> {
    let Some(Shows { what, names }) = shows else {
        return Some(authority.issue(&Leaf::domain(remote)));
    };
    let leaf = names
        .iter()
        .fold(Leaf::default(), |leaf, name| leaf.dns(name));
    match what {
        Shown::Nothing => None,
        Shown::Good => Some(authority.issue(&leaf)),
        Shown::Expired => Some(authority.issue(&leaf.validity(Validity::Expired))),
        Shown::SelfSigned => Some(Issued::self_signed(&leaf)),
        Shown::ServerAuth => Some(authority.issue(&leaf.purpose(Purpose::Server))),
    }
}

/// A directory that is removed in the end.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("s2sd-transcript-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
