//! Streams we make: one lane per domain pair that has stanzas, and one stream per question to an authoritative server.

mod carried;
pub(crate) mod connector;
mod drive;
mod lanes;
pub(crate) mod onlooker;
mod stall;

use tokio::time::timeout;
use tracing::{debug, field::Empty, info};
use xmpp_dialback::{DialbackError, ErrorCondition, Question, Verdict};

use crate::closed::Cause;
use crate::means::Means;
use crate::negotiate::{DomainPair, Purpose};

pub(crate) use lanes::Lanes;

/// Asks the authoritative server of the pair's remote domain whether a dialback key is its own (XEP-0220 §2.2.1).
pub(crate) async fn ask(means: &Means, pair: DomainPair, question: Question) -> Verdict {
    let house = means.house();
    let within = house.config.limits.dialback;
    let remote = pair.remote.clone();
    let answer = timeout(
        within,
        connector::connect(means, &house, &pair, &Purpose::Verify(question)),
    )
    .await;
    match answer {
        Ok(Ok(connector::Outcome::Answered(verdict))) => {
            debug!(%remote, ?verdict, "the authoritative server answered");
            verdict
        }
        Ok(Ok(connector::Outcome::Ready(_))) => {
            no(ErrorCondition::RemoteServerTimeout, "no answer")
        }
        Ok(Err(cause)) => {
            info!(unproved = Empty, %remote, cause = cause.name(), "the authoritative server could not be asked: {cause}");
            let condition = match &cause {
                Cause::NoSuchHost(_) | Cause::NoService | Cause::NoWay(_) | Cause::Dnssec(_) => {
                    ErrorCondition::RemoteServerNotFound
                }
                Cause::Connect(_)
                | Cause::Tls(_)
                | Cause::TlsNotOffered
                | Cause::Certificate(_)
                | Cause::Policy(_)
                | Cause::NotPublic(_) => ErrorCondition::RemoteConnectionFailed,
                // It refuses us, and would again.
                Cause::StreamError(_) if cause.is_permanent() => {
                    ErrorCondition::RemoteConnectionFailed
                }
                // A look-up without an answer among them: of a domain of which nothing is known it is not said that it
                // is not there.
                _ => ErrorCondition::RemoteServerTimeout,
            };
            no(condition, &cause.to_string())
        }
        Err(_) => {
            info!(unproved = Empty, %remote, "the authoritative server did not answer in time");
            no(
                ErrorCondition::RemoteServerTimeout,
                "the authoritative server did not answer in time",
            )
        }
    }
}

fn no(condition: ErrorCondition, text: &str) -> Verdict {
    Verdict::Error(DialbackError::new(condition).with_text(text))
}
