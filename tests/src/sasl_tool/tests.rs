//! Shells play the programs: what is tested is the adapter.

use std::time::Duration;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);

fn plain(password: &str) -> Exchange {
    Exchange {
        mechanism: "PLAIN".to_owned(),
        username: "alice".to_owned(),
        password: Some(Password::new(password)),
        authzid: None,
        host: "s2sd.test".to_owned(),
        external: None,
        channel_bindings: ChannelBindings::none(),
    }
}

fn shell(style: Style, script: &str) -> Tool {
    Tool {
        style,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        prompt: None,
    }
}

#[track_caller]
fn check(outcome: &ToolOutcome, ours: &str, status: Option<i32>) {
    assert_eq!(
        (outcome.ours.to_string().as_str(), outcome.status),
        (ours, status)
    );
    assert_eq!(
        outcome.is_well(),
        ours == "authenticated" && status == Some(0)
    );
}

#[test]
fn a_client_with_the_password_comes_in_and_one_without_does_not() {
    // NUL alice NUL secret; then the line after the last step, at which it is content.
    let client = "echo PLAIN; echo AGFsaWNlAHNlY3JldA==; read last";
    let client = shell(Style::Gsasl, client);
    let outcome = ask(&plain("secret"), &client, Instant::now() + TIMEOUT).unwrap();
    check(&outcome, "authenticated", Some(0));
    assert_eq!(outcome.to_json()["identity"], "alice");
    let outcome = ask(&plain("other"), &client, Instant::now() + TIMEOUT).unwrap();
    check(&outcome, "not-authorized", Some(1));
    assert!(outcome.to_json()["identity"].is_null());
}

#[test]
fn the_exit_code_of_a_server_is_its_answer() {
    let server =
        |code| format!("echo PLAIN; echo; read proof; echo; read last; echo why >&2; exit {code}");
    let run = |script: &str| {
        let server = shell(Style::Gsasl, script);
        prove(&plain("secret"), &server, Instant::now() + TIMEOUT).unwrap()
    };
    check(&run(&server(0)), "authenticated", Some(0));
    let refused = run(&server(1));
    check(&refused, "refused", Some(1));
    assert_eq!(refused.said, ["why"]);
}

#[test]
fn another_mechanism_than_the_one_asked_for_is_nothing() {
    let client = shell(Style::Gsasl, "echo LOGIN; read last; exit 0");
    let outcome = ask(&plain("secret"), &client, Instant::now() + TIMEOUT).unwrap();
    assert!(!outcome.is_well());
    let server = shell(Style::Cyrus, "echo S: TE9HSU4=; read choice; exit 0");
    let outcome = prove(&plain("secret"), &server, Instant::now() + TIMEOUT).unwrap();
    assert!(!outcome.is_well());
    assert!(outcome.ours.to_string().contains("it offers \"LOGIN\""));
}

#[test]
fn a_prompt_is_answered_when_it_is_there() {
    // PLAIN NUL NUL alice NUL secret.
    let script = "read offer; printf 'Password: '; read typed; test $typed = secret || exit 3
        echo C: UExBSU4AAGFsaWNlAHNlY3JldA==; echo Negotiation complete; read message; echo C:";
    let client = Tool {
        prompt: Some(Prompt {
            question: "Password: ".to_owned(),
            answer: "secret".to_owned(),
        }),
        ..shell(Style::Cyrus, script)
    };
    let outcome = ask(&plain("secret"), &client, Instant::now() + TIMEOUT).unwrap();
    check(&outcome, "authenticated", Some(0));
}

#[test]
fn a_program_that_never_answers_is_not_waited_for() {
    let silent = shell(Style::Gsasl, "exec tail -f /dev/null");
    let patience = Duration::from_millis(50);
    let outcome = ask(&plain("secret"), &silent, Instant::now() + patience).unwrap();
    check(&outcome, "broken: waited in vain for the program", None);
}
