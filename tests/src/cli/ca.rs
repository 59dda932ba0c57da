//! `lab ca`: a certificate authority for one run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, ensure};
use s2sd::tools::demo::ca::{Authority, Issued, Leaf, Purpose, Validity};
use sha2::{Digest as _, Sha256};

use super::{Exit, read, run::say};

/// Makes a certificate authority and certificates.
///
/// Writes into DIR, and prints the path of each file as it is written:
///
///   ca.pem               the authority's certificate (OTHER.pem for each further issuer named)
///   NAME.pem             the certificate, and intermediates if any
///   NAME.key             its key (PKCS #8)
///   NAME.full.pem        key and chain in one file (ejabberd, jabberd2)
///   NAME.tlsa            what a TLSA record says of it: 3 0 1 and the SHA-256 of the certificate (RFC 6698)
///
/// A leaf is NAME followed by words KEY=VALUE; a spec file has one leaf a line and # comments:
///
///   dns=NAME             a dNSName (may be repeated, as srv and xmpp)
///   srv=NAME             an SRVName for the service _xmpp-server
///   xmpp=NAME            an id-on-xmppAddr
///   cn=NAME              the common name (default: NAME)
///   purpose=both|server|client|none    the extended key usage (default: both)
///   validity=now|expired|not-yet       (default: now)
///   issuer=ca|self|OTHER               who signs it: ca, its own key, or another authority (default: ca)
///   intermediate=yes|no                an intermediate authority between (default: no)
///
/// With none of dns, srv and xmpp the leaf gets dns=NAME.
///
///   lab ca --dir certs --leaf a.test --leaf 'a.test-wrong dns=b.test' --leaf 'a.test-stranger dns=a.test issuer=other'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Where to write; made if it is not there.
    #[arg(long)]
    dir: PathBuf,
    /// A file of leaves, one a line.
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// A leaf.
    #[arg(long = "leaf", value_name = "NAME [KEY=VALUE]…")]
    leaves: Vec<Wanted>,
}

/// One certificate that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    leaf: Leaf,
    issuer: String,
    intermediate: bool,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("a leaf needs a name")?.to_owned();
        if name.contains(['/', '=']) {
            return Err(format!("{name:?} is not a name for a file"));
        }
        let mut wanted = Self {
            leaf: Leaf::default().common_name(&name),
            issuer: "ca".to_owned(),
            intermediate: false,
            name,
        };
        for word in words {
            wanted = wanted
                .word(word)
                .ok_or_else(|| format!("not understood: {word}"))?;
        }
        let leaf = &wanted.leaf;
        if leaf.dns.is_empty() && leaf.srv.is_empty() && leaf.xmpp_addr.is_empty() {
            wanted.leaf = wanted.leaf.dns(&wanted.name);
        }
        Ok(wanted)
    }
}

impl Wanted {
    fn word(mut self, word: &str) -> Option<Self> {
        let leaf = self.leaf;
        self.leaf = match word.split_once('=')? {
            ("dns", name) => leaf.dns(name),
            ("srv", name) => leaf.srv(&format!("_xmpp-server.{name}")),
            ("xmpp", name) => leaf.xmpp_addr(name),
            ("cn", name) => leaf.common_name(name),
            ("purpose", "both") => leaf.purpose(Purpose::Both),
            ("purpose", "server") => leaf.purpose(Purpose::Server),
            ("purpose", "client") => leaf.purpose(Purpose::Client),
            ("purpose", "none") => leaf.purpose(Purpose::None),
            ("validity", "now") => leaf.validity(Validity::Now),
            ("validity", "expired") => leaf.validity(Validity::Expired),
            ("validity", "not-yet") => leaf.validity(Validity::NotYet),
            ("intermediate", answer @ ("yes" | "no")) => {
                self.intermediate = answer == "yes";
                leaf
            }
            ("issuer", name) if !name.is_empty() && !name.contains('/') => {
                name.clone_into(&mut self.issuer);
                leaf
            }
            _ => return None,
        };
        Some(self)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut wanted = args.leaves.clone();
    if let Some(file) = &args.spec {
        for (at, line) in read(file)?.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                wanted.push(
                    line.parse().map_err(|error| {
                        anyhow::anyhow!("{}:{}: {error}", file.display(), at + 1)
                    })?,
                );
            }
        }
    }
    for path in write_all(&args.dir, &wanted)? {
        say(&path.display().to_string())?;
    }
    Ok(Exit::Well)
}

fn write_all(dir: &Path, wanted: &[Wanted]) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut issuers = BTreeMap::from([("ca", Authority::new("s2sd lab ca"))]);
    for Wanted { issuer, .. } in wanted {
        if issuer != "self" && !issuers.contains_key(issuer.as_str()) {
            issuers.insert(issuer, Authority::new(&format!("s2sd lab {issuer}")));
        }
    }
    let mut files = Vec::new();
    let mut write = |name: String, text: &str| -> anyhow::Result<()> {
        let path = dir.join(name);
        ensure!(
            !files.contains(&path),
            "{} would be written twice",
            path.display()
        );
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
        Ok(())
    };
    for (name, issuer) in &issuers {
        write(format!("{name}.pem"), issuer.pem())?;
    }
    for wanted in wanted {
        let issued = match issuers.get(wanted.issuer.as_str()) {
            None => Issued::self_signed(&wanted.leaf),
            Some(issuer) if wanted.intermediate => issuer
                .intermediate("s2sd lab intermediate")
                .issue(&wanted.leaf),
            Some(issuer) => issuer.issue(&wanted.leaf),
        };
        let leaf = issued.chain();
        let digest = Sha256::digest(leaf.first().context("a chain without a certificate")?);
        let Issued { chain_pem, key_pem } = issued;
        write(format!("{}.pem", wanted.name), &chain_pem)?;
        write(format!("{}.key", wanted.name), &key_pem)?;
        write(format!("{}.full.pem", wanted.name), &(key_pem + &chain_pem))?;
        write(
            format!("{}.tlsa", wanted.name),
            &format!("3 0 1 {digest:x}\n"),
        )?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_without_names_is_named_by_its_name() {
        let wanted: Wanted = "a.test".parse().unwrap();
        assert_eq!(wanted.leaf, Leaf::domain("a.test").common_name("a.test"));
        assert_eq!(wanted.issuer, "ca");
    }

    #[test]
    fn words_say_what_differs() {
        let text = "x dns=*.a.test srv=b.test xmpp=c.test purpose=server validity=expired issuer=other intermediate=yes";
        let leaf = Leaf::default()
            .common_name("x")
            .dns("*.a.test")
            .srv("_xmpp-server.b.test")
            .xmpp_addr("c.test")
            .purpose(Purpose::Server)
            .validity(Validity::Expired);
        let wanted = Wanted {
            name: "x".to_owned(),
            leaf,
            issuer: "other".to_owned(),
            intermediate: true,
        };
        assert_eq!(text.parse(), Ok(wanted));
        for bad in ["", "x purpose=all", "x y", "a/b", "x issuer=../up"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_files_are_a_chain_a_key_both_and_a_digest() {
        let dir = std::env::temp_dir().join(format!("s2sd-lab-ca-{}", std::process::id()));
        let wanted = [
            "a.test",
            "b.test issuer=self",
            "c.test issuer=other intermediate=yes",
        ];
        let wanted = wanted.map(|text| text.parse().unwrap());
        let files = write_all(&dir, &wanted).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|f| f.strip_prefix(&dir).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names[..3], ["ca.pem", "other.pem", "a.test.pem"]);
        assert_eq!(names.len(), 2 + 3 * 4);
        let count = |name: &str, what| {
            fs::read_to_string(dir.join(name))
                .unwrap()
                .matches(what)
                .count()
        };
        assert_eq!(count("a.test.pem", "BEGIN CERTIFICATE"), 1);
        assert_eq!(count("c.test.pem", "BEGIN CERTIFICATE"), 2);
        assert_eq!(count("c.test.full.pem", "BEGIN"), 3);
        assert_eq!(count("a.test.key", "BEGIN PRIVATE KEY"), 1);
        assert_eq!(count("a.test.tlsa", "3 0 1 "), 1);
        assert!(write_all(&dir, &[wanted[0].clone(), wanted[0].clone()]).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
