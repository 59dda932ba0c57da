//! The SASL mechanisms by themselves, against the programs of other implementations: `lab sasl` is one side, the
//! program the other. A table of exchanges; one file a program. Nothing here needs a server or the network.

mod cyrus;
mod gsasl;
pub(super) mod realm;
mod rsasl;

use self::realm::Realm;
use super::{
    fixtures::Fixtures,
    programs::{find, has_library, kerberos_is_installed},
    setup::Direction,
};
use anyhow::{Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// A program with both sides of its mechanisms.
pub(super) struct Tool {
    /// Its name on our command line.
    pub(super) name: &'static str,
    /// Its line protocol on `lab`'s.
    style: &'static str,
    /// What people call it.
    title: &'static str,
    /// The packages of Debian that bring it.
    pub(super) packages: &'static [&'static str],
    programs: &'static [&'static str],
    libraries: &'static [&'static str],
    /// How to start it for its part in an exchange.
    command: fn(&Part<'_>) -> Result<Vec<String>>,
    /// What it asks on its terminal or standard input for its part, and the answer.
    prompt: fn(&Part<'_>) -> Option<Prompt>,
    /// What it says when it does not believe us.
    disbelief: fn(Ends) -> &'static str,
    /// What it says when it has let us in, besides ending well.
    belief: Option<&'static str>,
    /// Why it cannot play an exchange of this mechanism, if it cannot. Each was tried.
    cannot: fn(&Exchange, Direction) -> Option<&'static str>,
    /// Its version, as it says itself.
    version: fn() -> Option<String>,
}

/// The end of a question, and its answer.
struct Prompt {
    question: &'static str,
    answer: &'static str,
}

pub(super) const TOOLS: [Tool; 3] = [gsasl::TOOL, cyrus::TOOL, rsasl::TOOL];

/// One exchange, in both directions.
pub(super) struct Exchange {
    pub(super) name: &'static str,
    mechanism: &'static str,
    /// The type of channel binding, where there is one.
    binding: Option<&'static str>,
    ends: Ends,
}

/// What has to come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    /// Both sides are content.
    Well,
    /// A no: the password is wrong, or, with EXTERNAL and GSSAPI, the identity is not the one that is proved.
    Badly,
    /// A no: the two sides are on two connections, somebody sits in between.
    Apart,
}

const fn of(name: &'static str, mechanism: &'static str, ends: Ends) -> Exchange {
    Exchange {
        name,
        mechanism,
        binding: None,
        ends,
    }
}

const fn right(name: &'static str, mechanism: &'static str) -> Exchange {
    of(name, mechanism, Ends::Well)
}

const fn wrong(name: &'static str, mechanism: &'static str) -> Exchange {
    of(name, mechanism, Ends::Badly)
}

const fn bound(exchange: Exchange, to: &'static str) -> Exchange {
    Exchange {
        binding: Some(to),
        ..exchange
    }
}

const fn relayed(name: &'static str, mechanism: &'static str) -> Exchange {
    bound(of(name, mechanism, Ends::Apart), EXPORTER)
}

/// RFC 9266, RFC 5929 §4.
const EXPORTER: &str = "tls-exporter";
const END_POINT: &str = "tls-server-end-point";

pub(super) const ALL: [Exchange; 27] = [
    right("external", "EXTERNAL"),
    right("gssapi", "GSSAPI"),
    bound(right("scram-sha-512-plus", "SCRAM-SHA-512-PLUS"), EXPORTER),
    bound(right("scram-sha-256-plus", "SCRAM-SHA-256-PLUS"), EXPORTER),
    bound(right("scram-sha-1-plus", "SCRAM-SHA-1-PLUS"), EXPORTER),
    bound(
        right("end-point-scram-sha-512-plus", "SCRAM-SHA-512-PLUS"),
        END_POINT,
    ),
    bound(
        right("end-point-scram-sha-256-plus", "SCRAM-SHA-256-PLUS"),
        END_POINT,
    ),
    bound(
        right("end-point-scram-sha-1-plus", "SCRAM-SHA-1-PLUS"),
        END_POINT,
    ),
    right("scram-sha-512", "SCRAM-SHA-512"),
    right("scram-sha-256", "SCRAM-SHA-256"),
    right("scram-sha-1", "SCRAM-SHA-1"),
    right("digest-md5", "DIGEST-MD5"),
    right("plain", "PLAIN"),
    right("anonymous", "ANONYMOUS"),
    wrong("wrong-external", "EXTERNAL"),
    wrong("wrong-gssapi", "GSSAPI"),
    bound(
        wrong("wrong-scram-sha-512-plus", "SCRAM-SHA-512-PLUS"),
        EXPORTER,
    ),
    bound(
        wrong("wrong-scram-sha-256-plus", "SCRAM-SHA-256-PLUS"),
        EXPORTER,
    ),
    bound(
        wrong("wrong-scram-sha-1-plus", "SCRAM-SHA-1-PLUS"),
        EXPORTER,
    ),
    relayed("relayed-scram-sha-512-plus", "SCRAM-SHA-512-PLUS"),
    relayed("relayed-scram-sha-256-plus", "SCRAM-SHA-256-PLUS"),
    relayed("relayed-scram-sha-1-plus", "SCRAM-SHA-1-PLUS"),
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
/// What the connection below is said to give to bind to, in base64, and what another one gives. There is none.
const CONNECTION: &str = "MzIgb2N0ZXRzIG9mIHRoaXMgVExTIGNvbm5lY3Rpb24=";
const OTHER_CONNECTION: &str = "MzIgb2N0ZXRzIG9mIGFub3RoZXIgY29ubmVjdGlvbiE=";

impl Exchange {
    /// Is it by Kerberos 5?
    fn needs_kerberos(&self) -> bool {
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
    /// The type of channel binding, and its data.
    binding: Option<(&'static str, &'static str)>,
    /// The program `lab`, which brings `rsasl`.
    lab: &'a Path,
}

impl Part<'_> {
    /// Does it have to know the password?
    fn by_password(&self) -> bool {
        !["EXTERNAL", "GSSAPI", "ANONYMOUS"].contains(&self.mechanism)
    }
}

impl Tool {
    pub(super) fn is_installed(&self) -> bool {
        let kerberos = ALL.iter().any(|exchange| self.needs_kerberos(exchange));
        let mut programs = self.programs.iter();
        programs.all(|program| find(program).is_some())
            && (!kerberos || kerberos_is_installed())
            && self.libraries.iter().all(|library| has_library(library))
    }

    /// What it calls itself and its version.
    pub(super) fn version(&self) -> Option<String> {
        Some(format!("{} {}", self.title, (self.version)()?))
    }

    /// Does it need a `lab` with the feature `gssapi` for this exchange?
    pub(super) fn needs_kerberos(&self, exchange: &Exchange) -> bool {
        let plays = |direction| self.cannot(exchange, direction).is_none();
        exchange.needs_kerberos() && Direction::BOTH.into_iter().any(plays)
    }

    pub(super) fn cannot(&self, exchange: &Exchange, direction: Direction) -> Option<&'static str> {
        (self.cannot)(exchange, direction)
    }

    /// Both sides come to the same end: a good one if what is proved with is right, else a no for that reason.
    pub(super) fn exchange(
        &self,
        fixtures: &Fixtures,
        exchange: &Exchange,
        direction: Direction,
        directory: &Path,
    ) -> Result<()> {
        let &Exchange {
            mechanism,
            binding,
            ends,
            ..
        } = exchange;
        let right = ends != Ends::Badly;
        let external = mechanism == "EXTERNAL";
        let realm = match exchange.needs_kerberos() {
            true => {
                let service = format!("xmpp/{HOST}");
                let principals = [(USER, "user.keytab"), (&service, "service.keytab")];
                Some(Realm::start(directory, &principals)?)
            }
            false => None,
        };
        // Who proves himself has the wrong one, or asks for more than is proved outside.
        let by_password = !external && realm.is_none() && mechanism != "ANONYMOUS";
        let shown = if right { PASSWORD } else { WRONG_PASSWORD };
        let wanted = (!by_password && !right).then_some(NOT_PROVED);
        let principal = format!("{USER}@{}", realm::NAME);
        let user = realm.as_ref().map_or(USER, |_| principal.as_str());
        let (side, ours, theirs) = match direction {
            Direction::FromPeer => ("server", PASSWORD, shown),
            Direction::ToPeer => ("client", shown, PASSWORD),
        };
        let connection = match ends {
            Ends::Apart => OTHER_CONNECTION,
            Ends::Well | Ends::Badly => CONNECTION,
        };
        let part = Part {
            mechanism,
            direction,
            directory,
            password: theirs,
            authzid: wanted,
            binding: binding.map(|kind| (kind, connection)),
            lab: &fixtures.programs.lab,
        };
        let command = (self.command)(&part)?;
        let ours_is = binding.map(|kind| format!("{kind}={CONNECTION}"));
        let mut arguments = vec!["sasl", side, "--style", self.style];
        arguments.extend(["--mechanism", mechanism, "--host", HOST, "--username", user]);
        if external {
            arguments.extend(["--external", PROVED]);
        }
        if by_password {
            arguments.extend(["--password", ours]);
        }
        if let Some(binding) = &ours_is {
            arguments.extend(["--channel-binding", binding]);
        }
        if let (Direction::ToPeer, Some(wanted)) = (direction, wanted) {
            arguments.extend(["--authzid", wanted]);
        }
        if let Some(Prompt { question, answer }) = (self.prompt)(&part) {
            arguments.extend(["--prompt-for", question, "--prompt", answer]);
        }
        arguments.push("--");
        arguments.extend(command.iter().map(String::as_str));
        let environment = realm.as_ref().map(|realm| realm.environment.as_slice());
        let environment = environment.unwrap_or_default();
        let verdict = fixtures.verdict_with("sasl", &arguments, directory, environment)?;
        let verdict = ToolVerdict(verdict);
        let identity = if external { PROVED } else { user };
        match (direction, ends) {
            (Direction::FromPeer, Ends::Well) => verdict.let_in(identity),
            (Direction::FromPeer, _) => verdict.we_refuse(by_password),
            (Direction::ToPeer, Ends::Well) => verdict.lets_us_in(self.belief),
            (Direction::ToPeer, _) => verdict.refuses_us((self.disbelief)(ends)),
        }
    }
}

/// What `lab sasl` prints.
struct ToolVerdict(Value);

impl ToolVerdict {
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
            let prefix = match (exchange.ends, exchange.binding) {
                (Ends::Well, Some(END_POINT)) => "end-point-",
                (Ends::Well, _) => "",
                (Ends::Badly, _) => "wrong-",
                (Ends::Apart, _) => "relayed-",
            };
            assert_eq!(exchange.name, format!("{prefix}{name}"));
            assert_eq!(exchange.binding.is_some(), name.ends_with("-plus"));
        }
    }

    #[test]
    fn a_good_end_is_one_of_both_sides_and_a_no_has_its_reason() {
        let verdict = |ok: bool, ours: &str, said: &[&str]| {
            ToolVerdict(json!({ "ok": ok, "ours": ours, "identity": "alice", "said": said }))
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
