//! `lab rsasl`: a second implementation of SASL as a program.

use std::io;

use crate::second::{self, Account, Side};

use super::{Exit, sasl::Binding};

/// Plays one side of an exchange with the crate rsasl, in the lines of `gsasl`.
///
/// It is there for `lab sasl`, which is the other side and starts it:
///
///   lab sasl client --style gsasl --mechanism SCRAM-SHA-512 --username alice --password secret --host s2sd.test -- \
///     lab rsasl server --mechanism SCRAM-SHA-512 --username alice --password secret
///
/// Exits with 0 if it is content at the end, else with 1 and a reason on standard error.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Which side it is.
    #[arg(value_enum)]
    side: super::sasl::Side,
    /// The mechanism.
    #[arg(long, value_name = "NAME")]
    mechanism: String,
    /// The account.
    #[arg(long, default_value = "alice")]
    username: String,
    /// The password that it knows.
    #[arg(long, default_value = "")]
    password: String,
    /// As the client: the identity to act as.
    #[arg(long)]
    authzid: Option<String>,
    /// EXTERNAL, as the server: the identity that the outer layer is taken to prove.
    #[arg(long, value_name = "IDENTITY")]
    external: Option<String>,
    /// What to bind to.
    #[arg(long, value_name = "TYPE=BASE64")]
    channel_binding: Option<Binding>,
}

pub(super) fn run(args: Args) -> anyhow::Result<Exit> {
    let name = args.mechanism.clone();
    let account = Account {
        mechanism: args.mechanism,
        username: args.username,
        password: args.password,
        authzid: args.authzid,
        external: args.external,
        channel_binding: args
            .channel_binding
            .map(|binding| (binding.kind.name().to_owned(), binding.data)),
    };
    let side = match args.side {
        super::sasl::Side::Client => Side::client(account),
        super::sasl::Side::Server => Side::server(account),
    };
    second::run(side?, &name, io::stdin().lock(), io::stdout().lock())?;
    Ok(Exit::Well)
}
