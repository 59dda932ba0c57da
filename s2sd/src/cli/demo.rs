//! `s2sd demo`: the transcript goes to standard output.

use std::io;

use super::Outcome;
use crate::demo::{self, Scenario};
use crate::logging;

pub(super) fn demo(scenario: Option<Scenario>) -> Outcome {
    let colours = logging::colours(&io::stdout());
    match demo::run(scenario, &mut io::stdout(), colours) {
        Ok(()) => Outcome::Well,
        Err(trouble) => {
            eprintln!("s2sd demo: {trouble}");
            Outcome::Fault
        }
    }
}
