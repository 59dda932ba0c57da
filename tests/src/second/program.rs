//! The lines of `gsasl`, which [`sasl_tool`](crate::sasl_tool) can speak.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Either, Side, Stepped};

/// Plays its side on these lines: the mechanism's name, then a line of base64 a message. The server, which listens
/// first, says an empty line before; and after its last step each waits for one more. An error is a no, whoever says it.
pub fn run(mut side: Side, name: &str, input: impl BufRead, mut output: impl Write) -> Result<()> {
    let mut lines = input.lines();
    let mut hear = || -> Result<Vec<u8>> {
        let line = lines.next().context("the other side has gone")??;
        STANDARD.decode(line.trim_end()).context("no base64")
    };
    let mut say = |text: &str| -> Result<()> {
        writeln!(output, "{text}")?;
        Ok(output.flush()?)
    };
    say(name)?;
    let mut heard = match side.0 {
        Either::Client(_) => None,
        Either::Server(_) => {
            say("")?;
            Some(hear()?)
        }
    };
    loop {
        match side.step(heard.as_deref())? {
            Stepped::Message(message) => say(&STANDARD.encode(message))?,
            Stepped::Content(message, _) => {
                say(&STANDARD.encode(message.unwrap_or_default()))?;
                return hear().map(|_| ());
            }
        }
        heard = Some(hear()?);
    }
}
