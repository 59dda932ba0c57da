//! `lab sasl`: our SASL mechanisms against another implementation's program.

use std::{str::FromStr, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use xmpp_sasl::{ChannelBindingType, ChannelBindings, Password};

use crate::sasl_tool::{self, Exchange, Prompt, Style, Tool};

use super::{Exit, Time, run::say};

/// Runs a program of another SASL implementation and is the other side.
///
/// Prints one JSON object, and exits with 0 if both sides came to a good end, else with 1:
///
///   {"ok":true,"ours":"authenticated","identity":"alice","status":0,"said":["Negotiation complete"]}
///
/// `ours` is `authenticated`, `refused` (by the program), the name of the failure with which we refuse, or
/// `broken: …`; `identity` is whom we let in; `status` and `said` are the program's exit code, and its lines besides
/// the exchange.
///
/// For example:
///
///   lab sasl client --style gsasl --mechanism PLAIN --username alice --password secret --host s2sd.test -- \
///     gsasl -d --server --quiet -m PLAIN -a alice -p secret --service xmpp --hostname s2sd.test
///
/// GSSAPI needs a build with the feature `gssapi`, takes keys and tickets from where the libraries look, and a principal
/// as --username.
///
/// A program that asks for the password on its terminal gets one from `script -qec 'PROGRAM …' /dev/null`.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Which side we are.
    #[arg(value_enum)]
    side: Side,
    /// Whose line protocol it is.
    #[arg(long, value_enum)]
    style: Style,
    /// The mechanism.
    #[arg(long, value_name = "NAME")]
    mechanism: String,
    /// The account; ANONYMOUS: the trace.
    #[arg(long, default_value = "alice")]
    username: String,
    /// The password that we know.
    #[arg(long)]
    password: Option<String>,
    /// As the client: the identity to act as.
    #[arg(long)]
    authzid: Option<String>,
    /// The host of the service `xmpp`.
    #[arg(long)]
    host: String,
    /// EXTERNAL: the identity that the outer layer is taken to prove.
    #[arg(long, value_name = "IDENTITY")]
    external: Option<String>,
    /// The mechanisms in -PLUS: what to bind to.
    #[arg(long, value_name = "TYPE=BASE64")]
    channel_binding: Option<Binding>,
    /// What to type where the program asks for something.
    #[arg(long, value_name = "ANSWER")]
    prompt: Option<String>,
    /// The end of its question.
    #[arg(long, value_name = "QUESTION", default_value = "Password: ")]
    prompt_for: String,
    /// How long all of it may take.
    #[arg(long, default_value = "20s")]
    timeout: Time,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Side {
    /// We prove ourselves to the program.
    Client,
    /// The program proves itself to us.
    Server,
}

/// Data of the connection below, as it is written on the command line.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) kind: ChannelBindingType,
    pub(super) data: Vec<u8>,
}

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, data) = text.split_once('=').ok_or("TYPE=BASE64 is meant")?;
        let kind = ChannelBindingType::from_name(kind)
            .ok_or_else(|| format!("there is no type {kind:?} of channel binding"))?;
        let data = STANDARD.decode(data).map_err(|error| error.to_string())?;
        Ok(Self { kind, data })
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let Time(within) = args.timeout;
    let exchange = Exchange {
        mechanism: args.mechanism,
        username: args.username,
        password: args.password.map(Password::new),
        authzid: args.authzid,
        host: args.host,
        external: args.external,
        channel_bindings: match args.channel_binding {
            Some(Binding { kind, data }) => ChannelBindings::none().with(kind, data),
            None => ChannelBindings::none(),
        },
    };
    let tool = Tool {
        style: args.style,
        command: args.program,
        prompt: args.prompt.map(|answer| Prompt {
            question: args.prompt_for,
            answer,
        }),
    };
    let run = match args.side {
        Side::Client => sasl_tool::prove,
        Side::Server => sasl_tool::ask,
    };
    let outcome = run(&exchange, &tool, Instant::now() + within)?;
    say(&outcome.to_json().to_string())?;
    Ok(match outcome.is_well() {
        true => Exit::Well,
        false => Exit::Failed,
    })
}
