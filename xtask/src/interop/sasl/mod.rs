//! The SASL mechanisms by themselves, against the programs of other implementations: `lab sasl` is one side, the
//! program the other. A table of exchanges; one file a program. Nothing here needs a server or the network.

mod cyrus;
mod gsasl;
mod realm;

use self::realm::Realm;
use super::{
    bed::Bed,
    peers::{find, has_library, packaged},
    setup::Direction,
};
use anyhow::{Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// A program with both sides of its mechanisms.
pub(super) struct Tool {
    /// Its name on our command line, and that of its line protocol on `lab`'s.
    pub(super) name: &'static str,
    /// What people call it.
    title: &'static str,
    /// The packages of Debian that bring it, the one with its version first.
    pub(super) packages: &'static [&'static str],
    programs: &'static [&'static str],
    libraries: &'static [&'static str],
    /// How to start it for its part in an exchange.
    command: fn(&Part<'_>) -> Result<Vec<String>>,
    /// What it says when it does not believe us.
    disbelief: &'static str,
    /// What it says when it has let us in, besides ending well.
    belief: Option<&'static str>,
    /// Why it cannot play an exchange of this mechanism, if it cannot. Each was tried.
    cannot: fn(&str, Direction) -> Option<&'static str>,
}

pub(super) const TOOLS: [Tool; 2] = [gsasl::TOOL, cyrus::TOOL];

/// One exchange, in both directions.
pub(super) struct Exchange {
    pub(super) name: &'static str,
    mechanism: &'static str,
    /// Is the password right, or, with EXTERNAL and GSSAPI, the identity the one that is proved?
    right: bool,
}

const fn right(name: &'static str, mechanism: &'static str) -> Exchange {
    Exchange {
        name,
        mechanism,
        right: true,
    }
}

const fn wrong(name: &'static str, mechanism: &'static str) -> Exchange {
    Exchange {
        name,
        mechanism,
        right: false,
    }
}

pub(super) const ALL: [Exchange; 14] = [
    right("external", "EXTERNAL"),
    right("gssapi", "GSSAPI"),
    right("scram-sha-512", "SCRAM-SHA-512"),
    right("scram-sha-256", "SCRAM-SHA-256"),
    right("scram-sha-1", "SCRAM-SHA-1"),
    right("digest-md5", "DIGEST-MD5"),
    right("plain", "PLAIN"),
    wrong("wrong-external", "EXTERNAL"),
    wrong("wrong-gssapi", "GSSAPI"),
    wrong("wrong-scram-sha-512", "SCRAM-SHA-512"),
    wrong("wrong-scram-sha-256", "SCRAM-SHA-256"),
    wrong("wrong-scram-sha-1", "SCRAM-SHA-1"),
    wrong("wrong-digest-md5", "DIGEST-MD5"),
    wrong("wrong-plain", "PLAIN"),
];

/// The receiving side's domain.
const HOST: &str = "s2sd.test";
/// The account, and its password.
const USER: &str = "alice";
const PASSWORD: &str = "secret";
const WRONG_PASSWORD: &str = "other";
/// EXTERNAL: what the outer layer is said to prove. There is none.
const PROVED: &str = "prosody.test";
const NOT_PROVED: &str = "ejabberd.test";

/// The libraries and programs that Kerberos needs: `krb5kdc` for the realm, the others to build `lab` with it.
const KERBEROS: [&str; 5] = [
    "krb5kdc",
    "kadmin.local",
    "krb5-config",
    "pkg-config",
    "clang",
];
const LIBCLANG: &str = "lib/libclang.so";

impl Exchange {
    /// Does it need a `lab` with the feature `gssapi`?
    pub(super) fn needs_kerberos(&self) -> bool {
        self.mechanism == "GSSAPI"
    }
}

/// The program's part in an exchange.
struct Part<'a> {
    mechanism: &'static str,
    direction: Direction,
    /// Where it may write.
    directory: &'a Path,
    /// What it proves itself with, or knows of the account.
    password: &'static str,
    /// As the client: the identity it asks for.
    authzid: Option<&'static str>,
}

impl Tool {
    pub(super) fn is_installed(&self) -> bool {
        let mut programs = self.programs.iter().chain(&KERBEROS);
        programs.all(|program| find(program).is_some())
            && has_library(LIBCLANG)
            && self.libraries.iter().all(|library| has_library(library))
    }

    /// What it calls itself and its version.
    pub(super) fn version(&self) -> Option<String> {
        let version = packaged(self.packages.first()?)?;
        Some(format!("{} {version}", self.title))
    }

    pub(super) fn cannot(&self, exchange: &Exchange, direction: Direction) -> Option<&'static str> {
        (self.cannot)(exchange.mechanism, direction)
    }

    /// Both sides come to the same end: a good one if what is proved with is right, else a no for that reason.
    pub(super) fn exchange(
        &self,
        bed: &Bed,
        exchange: &Exchange,
        direction: Direction,
        directory: &Path,
    ) -> Result<()> {
        let &Exchange {
            mechanism, right, ..
        } = exchange;
        let external = mechanism == "EXTERNAL";
        let realm = match exchange.needs_kerberos() {
            true => Some(Realm::start(directory)?),
            false => None,
        };
        // Who proves himself has the wrong one, or asks for more than is proved outside.
        let by_password = !external && realm.is_none();
        let shown = if right { PASSWORD } else { WRONG_PASSWORD };
        let wanted = (!by_password && !right).then_some(NOT_PROVED);
        let user = realm.as_ref().map_or(USER, |_| realm::PRINCIPAL);
        let (side, ours, theirs) = match direction {
            Direction::FromPeer => ("server", PASSWORD, shown),
            Direction::ToPeer => ("client", shown, PASSWORD),
        };
        let command = (self.command)(&Part {
            mechanism,
            direction,
            directory,
            password: theirs,
            authzid: wanted,
        })?;
        let mut arguments = vec!["sasl", side, "--style", self.name];
        arguments.extend(["--mechanism", mechanism, "--host", HOST, "--username", user]);
        if external {
            arguments.extend(["--external", PROVED]);
        }
        if by_password {
            arguments.extend(["--password", ours]);
        }
        match (direction, wanted) {
            (Direction::ToPeer, Some(wanted)) => arguments.extend(["--authzid", wanted]),
            (Direction::FromPeer, None) if by_password => arguments.extend(["--prompt", theirs]),
            _ => {}
        }
        arguments.push("--");
        arguments.extend(command.iter().map(String::as_str));
        let environment = realm.as_ref().map(|realm| realm.environment.as_slice());
        let environment = environment.unwrap_or_default();
        let verdict = bed.verdict_with("sasl", &arguments, directory, environment)?;
        let verdict = Verdict(verdict);
        let identity = if external { PROVED } else { user };
        match (direction, right) {
            (Direction::FromPeer, true) => verdict.let_in(identity),
            (Direction::FromPeer, false) => verdict.we_refuse(by_password),
            (Direction::ToPeer, true) => verdict.lets_us_in(self.belief),
            (Direction::ToPeer, false) => verdict.refuses_us(self.disbelief),
        }
    }
}

/// What `lab sasl` prints.
struct Verdict(Value);

impl Verdict {
    fn let_in(&self, whom: &str) -> Result<()> {
        self.is_well()?;
        ensure!(
            self.text("identity") == whom,
            "somebody else came in: {}",
            self.0
        );
        Ok(())
    }

    fn lets_us_in(&self, belief: Option<&str>) -> Result<()> {
        self.is_well()?;
        belief.map_or(Ok(()), |text| self.says(text))
    }

    fn we_refuse(&self, password: bool) -> Result<()> {
        let failure = match password {
            true => "not-authorized",
            false => "invalid-authzid",
        };
        ensure!(self.text("ours") == failure, "not refused: {}", self.0);
        Ok(())
    }

    fn refuses_us(&self, disbelief: &str) -> Result<()> {
        ensure!(self.text("ours") == "refused", "not refused: {}", self.0);
        self.says(disbelief)
    }

    fn is_well(&self) -> Result<()> {
        match self.0.get("ok") {
            Some(Value::Bool(true)) => Ok(()),
            _ => bail!("{}", self.0),
        }
    }

    /// Is this part of one of the program's lines?
    fn says(&self, text: &str) -> Result<()> {
        let lines = self.0.get("said").and_then(Value::as_array);
        let mut lines = lines.into_iter().flatten().filter_map(Value::as_str);
        ensure!(
            lines.any(|line| line.contains(text)),
            "it does not say {text:?}: {}",
            self.0
        );
        Ok(())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_exchange_has_its_own_name_and_those_that_must_fail_say_so() {
        let mut names = ALL.map(|exchange| exchange.name);
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b));
        for exchange in ALL {
            let name = exchange.mechanism.to_lowercase();
            let prefix = if exchange.right { "" } else { "wrong-" };
            assert_eq!(exchange.name, format!("{prefix}{name}"));
        }
    }

    #[test]
    fn a_good_end_is_one_of_both_sides_and_a_no_has_its_reason() {
        let verdict = |ok: bool, ours: &str, said: &[&str]| {
            Verdict(json!({ "ok": ok, "ours": ours, "identity": "alice", "said": said }))
        };
        let well = verdict(true, "authenticated", &["Username: alice@s2sd.test"]);
        assert!(well.let_in("alice").is_ok());
        assert!(well.let_in("bob").is_err());
        assert!(well.lets_us_in(Some("Username: alice")).is_ok());
        assert!(well.lets_us_in(Some("Username: bob")).is_err());
        assert!(well.we_refuse(true).is_err());
        assert!(well.refuses_us("Username").is_err());
        assert!(
            verdict(false, "authenticated", &[])
                .let_in("alice")
                .is_err()
        );
        let refused = verdict(false, "refused", &["authentication failure"]);
        assert!(refused.refuses_us("authentication failure").is_ok());
        assert!(refused.refuses_us("no mechanism available").is_err());
        assert!(
            verdict(false, "not-authorized", &[])
                .we_refuse(true)
                .is_ok()
        );
        assert!(
            verdict(false, "not-authorized", &[])
                .we_refuse(false)
                .is_err()
        );
        assert!(verdict(false, "broken: x", &[]).we_refuse(true).is_err());
    }
}
