//! `s2sd demo` as a new user meets it: the program, its output in a pipe, what it leaves behind.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory for temporary files, to see what is left in it.
fn place(name: &str) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    place
}

fn demo(arguments: &[&str], place: &PathBuf) -> Output {
    Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", place)
        .output()
        .unwrap()
}

/// What is told of one scenario, which must reach its end and leave nothing behind.
#[track_caller]
fn told(scenario: &str) -> String {
    let place = place(scenario);
    let output = demo(&["--scenario", scenario], &place);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(errors, "");
    assert!(!text.contains('\x1b'), "{text:?}");
    for line in text.lines() {
        assert!(line.chars().count() < 80, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    let left: Vec<_> = fs::read_dir(&place).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    text
}

/// The steps are told, all of them, in order, and once.
#[track_caller]
fn steps(text: &str, of: usize) {
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("Step "))
        .map(|line| line.split_once(".example").unwrap().0)
        .map(|line| line.rsplit_once(' ').unwrap().0.trim_end())
        .collect();
    let wanted: Vec<String> = (1..=of)
        .map(|step| format!("Step {step} of {of}"))
        .collect();
    assert_eq!(told, wanted);
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn dialback_is_told_in_its_eight_steps_and_once_more_the_other_way_round() {
    let text = told("dialback");
    steps(&text, 8);
    has(
        &text,
        &[
            "ok: the key is that of step 3, and the id that of step 2.",
            "ok: made again by the demo",
            "because=\"its authoritative server knows the key\"",
            "method=\"dialback\"",
            "juliet@capulet.example has it",
            "   8  montague.example -> capulet.example   <db:result type='valid'/>",
            "romeo@montague.example has it",
        ],
    );
}

#[test]
fn digest_md5_is_told_in_its_eleven_steps_and_decoded() {
    let text = told("digest-md5");
    steps(&text, 11);
    has(
        &text,
        &[
            "algorithm=md5-sess",
            "digest-uri=\"xmpp/capulet.example\"",
            "rspauth=",
            "ok: its id is not that of step 2.",
            "incoming stream authenticated because=\"DIGEST-MD5\"",
            "juliet@capulet.example has it",
        ],
    );
    // In the configuration, and never on the wire.
    assert_eq!(text.matches("a rose").count(), 2);
}

#[test]
fn external_is_told_as_far_as_it_can_be_seen_and_then_by_the_daemons() {
    let text = told("external");
    steps(&text, 6);
    has(
        &text,
        &[
            "<required/>",
            "Encrypted from here on",
            "certificate judged because=\"dNSName capulet.example\"",
            "certificate judged because=\"dNSName montague.example\"",
            "incoming stream authenticated",
            "method=\"EXTERNAL\"",
            "juliet@capulet.example has it",
        ],
    );
}

#[test]
fn a_burst_is_counted() {
    has(&told("burst"), &["stanzas/s", "all arrived, in order."]);
}

#[test]
fn what_does_not_reach_its_end_is_a_fault() {
    let place = place("nowhere").join("not-there");
    let output = demo(&["--scenario", "dialback"], &place);
    assert_eq!(output.status.code(), Some(1));
    has(
        &String::from_utf8_lossy(&output.stdout),
        &["This did not reach its end:"],
    );
    has(
        &String::from_utf8_lossy(&output.stderr),
        &["s2sd demo: did not reach its end: dialback"],
    );
}

#[test]
fn a_scenario_that_does_not_exist_is_wrong_usage() {
    let output = demo(&["--scenario", "magic"], &place("magic"));
    assert_eq!(output.status.code(), Some(2));
}
