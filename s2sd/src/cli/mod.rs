//! The command line. A command is a file here; each ends 0 when all is well, 1 when it found a fault, 2 when it was
//! called wrongly.

mod check;
#[cfg(feature = "demo")]
mod demo;
mod operate;
mod probe;
mod run;
mod secret;

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use xmpp_stream::Domain;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Well,
    Fault,
    /// It was called wrongly, as only showed when the configuration was read.
    Misused,
}

impl From<Exit> for ExitCode {
    fn from(outcome: Exit) -> Self {
        match outcome {
            Exit::Well => Self::SUCCESS,
            Exit::Fault => Self::FAILURE,
            Exit::Misused => Self::from(2),
        }
    }
}

/// XMPP federation server.
///
/// Speaks server-to-server XMPP for the domains it serves, and hands stanzas to components (XEP-0114).
#[derive(Debug, Parser)]
#[command(
    name = "s2sd",
    version,
    arg_required_else_help = true,
    subcommand_required = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
    #[cfg(feature = "demo")]
    Demo(Demo),
    Check(Check),
    Probe(Probe),
    Status(operate::Status),
    Streams(operate::Streams),
    Lanes(operate::Lanes),
    Retry(operate::Retry),
    Close(operate::Close),
    Reload(operate::Reload),
    Secret(secret::SecretArguments),
}

/// Serve until SIGTERM; SIGHUP reloads
///
/// SIGTERM takes no new connections, sends what waits while there is time, and closes every stream. SIGHUP reads the
/// configuration and the certificates again; open streams stay.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  s2sd run -c /etc/s2sd/s2sd.toml")]
struct Run {
    #[command(flatten)]
    configuration: Configuration,
}

/// Two domains federate on loopback, with nothing to install
///
/// Two daemons in this process, with a DNS and a certificate authority of their own: a transcript of how they meet, step
/// by step, and why they believe each other. Nothing is left behind.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  s2sd demo\n  s2sd demo --scenario dialback | less")]
struct Demo {
    /// Show only this
    #[arg(long, value_name = "NAME")]
    scenario: Option<crate::tools::demo::Scenario>,
}

#[derive(Debug, Args)]
struct Configuration {
    /// The configuration; docs/config.md describes it
    #[arg(short, long, value_name = "FILE", default_value = "s2sd.toml")]
    config: PathBuf,
}

/// Look for faults without starting anything
///
/// Reads the configuration, the certificates and the keys, and says everything that is wrong with them at once.
/// Warnings are not faults.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  s2sd check -c /etc/s2sd/s2sd.toml && systemctl reload s2sd\n  s2sd check -c /etc/s2sd/s2sd.toml conference.example.net"
)]
struct Check {
    #[command(flatten)]
    configuration: Configuration,
    /// Say how this domain is treated: the rule that is for it, and every value that follows
    #[arg(value_parser = domain)]
    domain: Option<Domain>,
    /// One JSON object instead of text for people
    #[arg(long)]
    json: bool,
}

/// Why federation with a domain works or does not
///
/// Makes streams to every place and address of DOMAIN as the daemon would, shows each step with its time (DNS, TCP, TLS,
/// certificate, features, authentication, ping), and ends with what decided, by which rule, and who has to change what.
/// Needs no running daemon. Without a configuration it cannot authenticate, and says what it could not try.
/// docs/probe.md describes the output. Ends 0 when no fault was found, 1 when one was, 2 when it was called wrongly.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  s2sd probe example.net\n  s2sd probe -c /etc/s2sd/s2sd.toml --from example.org example.net\n  s2sd probe --json example.net | jq .verdict"
)]
struct Probe {
    /// The domain to federate with
    #[arg(value_parser = domain)]
    domain: Domain,
    /// Whose rules, certificates and secrets count; without it the defaults do, and there is nothing to show
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Who asks: a domain of the configuration (the first one, if not said), or without one any name
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    from: Option<Domain>,
    /// For everything together: 30s, 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// One JSON object instead of text for people
    #[arg(long)]
    json: bool,
}

/// Tells the operator on standard error, if it has a reader.
fn complain(what: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(what);
}

/// As in the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text)
        .filter(|span| !span.is_zero())
        .ok_or_else(|| "a time such as 90s is meant; the units are ms, s, m, h and d".to_owned())
}

fn domain(text: &str) -> Result<Domain, String> {
    if text.ends_with(".toml") {
        return Err("a domain is meant here; the configuration is named by -c".to_owned());
    }
    Domain::parse(text).map_err(|_| "this is no domain".to_owned())
}

/// Does what the arguments say (the first is the name of the program).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => match line.command {
            Command::Run(run) => run::run(&run.configuration.config).into(),
            #[cfg(feature = "demo")]
            Command::Demo(demo) => demo::demo(demo.scenario).into(),
            Command::Check(check) => {
                check::check(&check.configuration.config, check.domain, check.json).into()
            }
            Command::Probe(probe) => probe::probe(probe).into(),
            Command::Status(status) => operate::status(&status).into(),
            Command::Streams(streams) => operate::streams(&streams).into(),
            Command::Lanes(lanes) => operate::lanes(&lanes).into(),
            Command::Retry(retry) => operate::retry(&retry).into(),
            Command::Close(close) => operate::close(&close).into(),
            Command::Reload(reload) => operate::reload(&reload).into(),
            Command::Secret(arguments) => secret::secret(&arguments).into(),
        },
        Err(usage) => {
            // Help goes to standard output and is no mistake; a mistake goes to standard error and is 2.
            let _ = usage.print();
            ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        let parsed = CommandLine::try_parse_from(line.split(' '));
        parsed
            .map(|line| line.command)
            .map_err(|usage| usage.kind())
    }

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in CommandLine::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            let example = format!("Example:\n  s2sd {}", command.get_name());
            assert!(help.contains(&example), "{help}");
            for below in command.get_subcommands() {
                let help = below.clone().render_long_help().to_string();
                let example = format!("s2sd {} {}", command.get_name(), below.get_name());
                let (_, examples) = help.split_once("Example:\n").unwrap();
                assert!(examples.contains(&example), "{help}");
            }
        }
    }

    #[test]
    fn the_configuration_is_beside_us_unless_said() {
        let Ok(Command::Check(check)) = parse("s2sd check") else {
            panic!("not a check")
        };
        assert_eq!(check.configuration.config, PathBuf::from("s2sd.toml"));
        let Ok(Command::Check(check)) = parse("s2sd check -c a.toml --json") else {
            panic!("not a check")
        };
        assert_eq!(check.configuration.config, PathBuf::from("a.toml"));
        assert!(check.json);
    }

    #[test]
    fn a_probe_needs_no_configuration_and_has_a_limit() {
        let Ok(Command::Probe(probe)) = parse("s2sd probe a.example") else {
            panic!("not a probe")
        };
        assert_eq!((probe.config, probe.from), (None, None));
        assert_eq!(probe.timeout, Duration::from_secs(60));
        let Ok(Command::Probe(probe)) = parse("s2sd probe --timeout 2m --from b.example a.example")
        else {
            panic!("not a probe")
        };
        assert_eq!(probe.timeout, Duration::from_secs(120));
        for line in [
            "s2sd probe --timeout 0s a.example",
            "s2sd probe --timeout 9 a.example",
            "s2sd probe a.toml",
        ] {
            assert_eq!(
                parse(line).unwrap_err(),
                ErrorKind::ValueValidation,
                "{line}"
            );
        }
    }

    #[test]
    fn one_domain_is_tried_again_or_all_are() {
        assert!(parse("s2sd retry a.example").is_ok());
        assert!(parse("s2sd retry --all -c a.toml --json").is_ok());
        for (line, kind) in [
            ("s2sd retry", ErrorKind::MissingRequiredArgument),
            ("s2sd retry --all a.example", ErrorKind::ArgumentConflict),
            ("s2sd retry a.toml", ErrorKind::ValueValidation),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_noticed() {
        assert_eq!(
            parse("s2sd chekc").unwrap_err(),
            ErrorKind::InvalidSubcommand
        );
        // Who forgot the -c does not want to know of a domain.
        for line in ["s2sd check a.toml", "s2sd check exa/mple"] {
            assert_eq!(parse(line).unwrap_err(), ErrorKind::ValueValidation);
        }
        assert_eq!(
            parse("s2sd run a.toml").unwrap_err(),
            ErrorKind::UnknownArgument
        );
        assert_eq!(
            parse("s2sd").unwrap_err(),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
    }
}
