//! How the two programs write an exchange in lines.
//!
//! ```text
//! gsasl: a line of base64 a message, after a line with the mechanism's name. It steps before it listens, so the side
//! whose turn it is not says an empty line first; and after the last step it waits for one more line.
//!
//! Cyrus:  S: base64 of the list of mechanisms
//!         C: base64 of the name, and after a zero byte of the initial response if there is one
//!         S: base64 of a challenge       C: base64 of the response
//!         Negotiation complete
//!         S: a message of the server     C: a message of the client; both programs compare them with their own
//! ```

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Tool, program::Program};

/// Whose lines they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Style {
    /// `gsasl --client` and `gsasl --server`, without the data after it.
    Gsasl,
    /// `sasl-sample-client` and `sasl-sample-server`.
    Cyrus,
}

/// What comes from the program when it is its turn.
pub(super) enum Heard {
    Data(Vec<u8>),
    Success,
    Failure,
}

/// A program that we speak with in its lines.
pub(super) struct Dialect {
    style: Style,
    program: Program,
    said: Vec<String>,
}

impl Dialect {
    pub(super) fn start(tool: &Tool, deadline: Instant) -> Result<Self> {
        Ok(Self {
            style: tool.style,
            program: Program::start(&tool.command, tool.prompt.clone(), deadline)?,
            said: Vec::new(),
        })
    }

    /// We are the client: says which mechanism, and our initial response.
    pub(super) fn choose(&mut self, name: &str, initial: Option<&[u8]>) -> Result<()> {
        match self.style {
            Style::Gsasl => {
                self.gsasl_names(name)?;
                if let Some(initial) = initial {
                    let line = self.line()?.context("it has not begun")?;
                    ensure!(line.is_empty(), "it begins with {line:?}");
                    self.say("", initial);
                }
            }
            Style::Cyrus => {
                let offer = self.data("S:")?.context("it offers nothing")?;
                let offer = String::from_utf8_lossy(&offer).into_owned();
                let mut names = offer.split(' ');
                ensure!(names.any(|one| one == name), "it offers {offer:?}");
                let mut message = name.as_bytes().to_vec();
                if let Some(initial) = initial {
                    message.push(0);
                    message.extend(initial);
                }
                self.say("C: ", &message);
            }
        }
        Ok(())
    }

    /// We are the client: what the server says.
    pub(super) fn challenge(&mut self) -> Result<Heard> {
        match self.style {
            Style::Gsasl => match self.line()? {
                // Nothing is a message in no mechanism that it is asked for; it has taken its last step.
                Some(line) if line.is_empty() => Ok(self.end("")),
                Some(line) => Ok(Heard::Data(decode(&line)?)),
                None => Ok(self.end("")),
            },
            Style::Cyrus => match self.data("S:")? {
                Some(data) if self.is_complete() => {
                    self.said
                        .push(String::from_utf8_lossy(&data).trim_end_matches('\0').into());
                    let last = STANDARD.encode(b"client message 1\0");
                    Ok(self.end(&format!("C: {last}")))
                }
                Some(data) => Ok(Heard::Data(data)),
                None => Ok(self.end("")),
            },
        }
    }

    /// We are the client: our response.
    pub(super) fn respond(&mut self, data: &[u8]) -> Result<()> {
        match self.style {
            Style::Gsasl => self.say("", data),
            Style::Cyrus => self.say("C: ", data),
        }
        Ok(())
    }

    /// We are the server: the initial response with which the client begins this mechanism.
    pub(super) fn chosen(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.style {
            Style::Gsasl => {
                self.gsasl_names(name)?;
                let first = decode(&self.line()?.context("it has not begun")?)?;
                // RFC 2831 §2.1: the server begins.
                Ok((name != "DIGEST-MD5").then_some(first))
            }
            Style::Cyrus => {
                self.say("S: ", name.as_bytes());
                let first = self.data("C:")?.context("it chooses nothing")?;
                let mut parts = first.splitn(2, |byte| *byte == 0);
                let chosen = parts.next().unwrap_or_default();
                ensure!(
                    chosen == name.as_bytes(),
                    "it chooses {}",
                    chosen.escape_ascii()
                );
                Ok(parts.next().map(<[u8]>::to_vec))
            }
        }
    }

    /// We are the server: our challenge, and what the client says to it.
    pub(super) fn ask(&mut self, data: &[u8]) -> Result<Heard> {
        let response = match self.style {
            Style::Gsasl => {
                self.say("", data);
                self.line()?.map(|line| decode(&line)).transpose()?
            }
            Style::Cyrus => {
                self.say("S: ", data);
                self.data("C:")?
            }
        };
        Ok(response.map_or(Heard::Failure, Heard::Data))
    }

    /// We are the server: yes. What follows is up to the program, until its end.
    pub(super) fn let_in(&mut self, data: Option<&[u8]>) -> Result<()> {
        match self.style {
            Style::Gsasl => {
                if let Some(data) = data {
                    self.say("", data);
                }
                self.program.say("");
            }
            Style::Cyrus => {
                if let Some(data) = data {
                    self.say("S: ", data);
                    // The program answers also the last word.
                    let answer = self.data("C:")?;
                    ensure!(
                        answer.as_deref() == Some(b""),
                        "it has something to say to success: {answer:?}"
                    );
                }
                self.say("S: ", b"srv message 1\0");
                let answer = self.data("C:")?;
                ensure!(answer.is_some() && self.is_complete(), "it is not content");
            }
        }
        Ok(())
    }

    /// Ends it, if it has not ended: its exit code, and what it said besides.
    pub(super) fn close(mut self) -> (Option<i32>, Vec<String>) {
        self.program.say_no_more();
        while let Ok(Some(line)) = self.program.line() {
            self.said.push(line);
        }
        let status = self.program.status();
        self.said.extend(self.program.complaints());
        self.said.retain(|line| !line.is_empty());
        (status, self.said)
    }

    /// After the program's last step: gives it the last line that it waits for. Its exit code is its verdict.
    fn end(&mut self, last: &str) -> Heard {
        self.program.say(last);
        self.program.say_no_more();
        match self.program.status() {
            Some(0) => Heard::Success,
            _ => Heard::Failure,
        }
    }

    fn gsasl_names(&mut self, name: &str) -> Result<()> {
        let line = self.line()?.context("it has not begun")?;
        ensure!(line == name, "it begins {line:?}");
        Ok(())
    }

    /// Cyrus: has it said that the exchange has come to a good end?
    fn is_complete(&self) -> bool {
        self.said.iter().any(|line| line == "Negotiation complete")
    }

    /// Cyrus: the next message with this mark. All else is talk.
    fn data(&mut self, mark: &str) -> Result<Option<Vec<u8>>> {
        while let Some(line) = self.line()? {
            match line.strip_prefix(mark) {
                Some(text) => return decode(text.trim()).map(Some),
                None => self.said.push(line),
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>> {
        self.program.line()
    }

    fn say(&mut self, mark: &str, data: &[u8]) {
        self.program
            .say(&format!("{mark}{}", STANDARD.encode(data)));
    }
}

fn decode(text: &str) -> Result<Vec<u8>> {
    match STANDARD.decode(text) {
        Ok(data) => Ok(data),
        Err(error) => bail!("{text:?} is no base64: {error}"),
    }
}
