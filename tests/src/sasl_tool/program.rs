//! A program on pipes: its lines as they come, what it asks for, and its end. No wait is longer than the deadline.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// What is typed when the program asks for something without ending the line.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The end of its question.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// What a program does.
enum Event {
    /// A line on standard output.
    Line(String),
    /// It has asked the question of the prompt.
    Asked,
    /// A line on standard error.
    Complaint(String),
    /// Standard output has ended.
    End,
}

/// A running program. Ends when dropped.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<Event>,
    prompt: Option<Prompt>,
    deadline: Instant,
    /// What it has complained about.
    complaints: Vec<String>,
}

impl Program {
    pub(super) fn start(
        command: &[String],
        prompt: Option<Prompt>,
        deadline: Instant,
    ) -> Result<Self> {
        let (name, arguments) = command.split_first().context("no program is named")?;
        let mut child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let (sender, events) = channel();
        if let Some(errors) = child.stderr.take() {
            let sender = sender.clone();
            thread::spawn(move || read(errors, None, Event::Complaint, &sender));
        }
        if let Some(output) = child.stdout.take() {
            let question = prompt.as_ref().map(|prompt| prompt.question.clone());
            thread::spawn(move || {
                read(output, question.as_deref(), Event::Line, &sender);
                let _ = sender.send(Event::End);
            });
        }
        Ok(Self {
            input: child.stdin.take(),
            child,
            events,
            prompt,
            deadline,
            complaints: Vec::new(),
        })
    }

    /// The next line of its standard output; `None` at the end.
    pub(super) fn line(&mut self) -> Result<Option<String>> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Line(line)) => return Ok(Some(line)),
                Ok(Event::Complaint(line)) => self.complaints.push(line),
                Ok(Event::Asked) => {
                    let answer = self.prompt.as_ref().map(|prompt| prompt.answer.clone());
                    self.say(&answer.unwrap_or_default());
                }
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => bail!("waited in vain for the program"),
            }
        }
    }

    /// A line on its standard input. Whether it is still there to read it shows in what it does next.
    pub(super) fn say(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Ends its standard input.
    pub(super) fn say_no_more(&mut self) {
        self.input = None;
    }

    /// Waits for its end: its exit code, `None` if a signal or our patience ended it.
    pub(super) fn status(&mut self) -> Option<i32> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.code(),
                Ok(None) if Instant::now() < self.deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                _ => return None,
            }
        }
    }

    /// Its complaints until now.
    pub(super) fn complaints(&mut self) -> Vec<String> {
        // The pipe of standard error ends with the program; a moment for what is still on its way.
        let moment = Duration::from_millis(200);
        while let Ok(event) = self.events.recv_timeout(moment) {
            if let Event::Complaint(line) = event {
                self.complaints.push(line);
            }
        }
        std::mem::take(&mut self.complaints)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; then both are refused, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as events, and the question where it stands at the end of what there is.
fn read(
    mut from: impl Read,
    question: Option<&str>,
    event: fn(String) -> Event,
    to: &Sender<Event>,
) {
    let (mut held, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        held.extend(buffer.iter().take(count));
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            // A terminal ends lines with two characters.
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if to.send(event(line)).is_err() {
                return;
            }
        }
        if question.is_some_and(|question| held.ends_with(question.as_bytes())) {
            held.clear();
            let _ = to.send(Event::Asked);
        }
    }
    if !held.is_empty() {
        let _ = to.send(event(String::from_utf8_lossy(&held).into_owned()));
    }
}
