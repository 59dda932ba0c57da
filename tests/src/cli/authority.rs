//! `lab authority`: an authoritative server that only answers dialback questions.

use std::{net::SocketAddr, path::PathBuf};

use xmpp_dialback::{Secret, Verdict};

use crate::authoritative::{Asked, Authoritative, Says};

use super::{
    Exit, identity,
    run::{self, say},
};

/// Serves as the authoritative server of a domain: answers db:verify, until SIGTERM.
///
/// (It also says valid to every db:result, because Prosody asks nothing before its own stream is proved. Stanzas go
/// nowhere.)
///
/// The zone that leads a receiving server here instead of to the real server makes it a wrong key. Prints
/// `listening ADDRESS`, `ready`, and a line for each question:
///
///   verify SENDER TARGET valid|invalid|error|silence tls|plain
///
/// SENDER is the domain that is being verified, TARGET the one whose server asks.
///
/// Features offer STARTTLS if there is a certificate.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Where to listen; port 0 takes one that is free.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// What to answer.
    #[arg(long, value_enum, default_value_t = AuthorityAnswer::Secret)]
    answer: AuthorityAnswer,
    /// The dialback secret (XEP-0185) for `--answer secret`.
    #[arg(long, default_value = "not the secret of anybody else")]
    secret: String,
    /// The certificate chain to show.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum AuthorityAnswer {
    /// What the secret says.
    Secret,
    Valid,
    Invalid,
    /// type='error' with item-not-found.
    Error,
    /// Never answers.
    Silence,
}

pub(super) async fn run(args: Args, end: run::End) -> anyhow::Result<Exit> {
    let says = match args.answer {
        AuthorityAnswer::Secret => Says::Secret(Secret::from_text(&args.secret)?),
        AuthorityAnswer::Valid => Says::Valid,
        AuthorityAnswer::Invalid => Says::Invalid,
        AuthorityAnswer::Error => Says::Error,
        AuthorityAnswer::Silence => Says::Silence,
    };
    let identity = identity(args.cert.as_ref(), args.key.as_ref())?;
    let server = Authoritative::start(args.listen, says, identity).await?;
    let mut questions = server.watch();
    let end = end.reached();
    tokio::pin!(end);
    say(&format!("listening {}", server.addr()))?;
    say("ready")?;
    loop {
        tokio::select! {
            ended = &mut end => return ended.map(|()| Exit::Well),
            asked = questions.recv() => if let Ok(asked) = asked {
                say(&line(&asked))?;
            }
        }
    }
}

fn line(asked: &Asked) -> String {
    let answer = match &asked.verdict {
        None => "silence",
        Some(Verdict::Valid) => "valid",
        Some(Verdict::Invalid) => "invalid",
        Some(Verdict::Error(_)) => "error",
    };
    let pair = &asked.question.pair;
    let how = if asked.encrypted { "tls" } else { "plain" };
    format!("verify {} {} {answer} {how}", pair.sender, pair.target)
}
