//! `s2sd secret scram` as an operator meets it: what it makes, `scram_file` reads, and SCRAM logs in with.

#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use s2sd::config::{Config, Known};
use xmpp_sasl::{
    ClientCredentials, ClientInput, ClientStep, Failure, Host, Identity, Password, ScramKeys,
    ScramParameters, ServerOptions, ServerStep,
};

fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("secret")
        .join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

fn scram(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2sd"));
    command.args(["secret", "scram"]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Exit code, standard output, standard error, for this on standard input.
fn output(input: &[u8], arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut child = scram(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // One that does not read is not our concern.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// The keys of the only peer of a configuration whose `scram_file` has this text, as the daemon reads them.
fn loaded(directory: &Path, text: &str) -> Vec<ScramKeys> {
    use std::os::unix::fs::PermissionsExt as _;
    let file = directory.join("partner.scram");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let configuration = "\
[policy]
tls = 'optional'
[[domain]]
name = 'a.example'
[[peer]]
domain = 'partner.example'
auth = ['scram']
accept = { username = 'partner', scram_file = 'partner.scram' }
";
    let path = directory.join("s2sd.toml");
    fs::write(&path, configuration).unwrap();
    let loaded = Config::load(&path).unwrap_or_else(|findings| panic!("{findings}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let accept = loaded.config.peers[0].policy.accept.clone().unwrap();
    match accept.account.unwrap().known {
        Known::Keys(keys) => keys,
        Known::Password(_) => panic!("there is no password"),
    }
}

/// A server that knows `partner` by stored keys.
struct Accounts(Vec<ScramKeys>);

impl Host for Accounts {
    fn random(&mut self, out: &mut [u8]) {
        getrandom::fill(out).unwrap();
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        None
    }

    fn scram_keys(&mut self, name: &str, parameters: &ScramParameters) -> Option<ScramKeys> {
        let mut own = self.0.iter().filter(|_| name == "partner");
        own.find(|keys| keys.hash() == parameters.hash).cloned()
    }

    fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        Ok(())
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}

/// A SCRAM exchange with a server that has these keys.
fn log_in(mechanism: &str, keys: Vec<ScramKeys>, password: &str) -> Result<(), Failure> {
    let credentials =
        ClientCredentials::new("xmpp", "a.example").with_password("partner", password);
    let options = ServerOptions::new("xmpp", "a.example").with_iterations(keys[0].iterations());
    let mut random = |out: &mut [u8]| getrandom::fill(out).unwrap();
    let mut client = xmpp_sasl::client(mechanism, &credentials).unwrap();
    let mut server = xmpp_sasl::server(mechanism, &options).unwrap();
    let mut host = Accounts(keys);
    let mut challenge = None;
    loop {
        let input = challenge
            .as_deref()
            .map_or(ClientInput::Start, ClientInput::Challenge);
        let response = match client.step(input, &mut random) {
            ClientStep::Respond(data, next) => {
                client = next;
                data
            }
            other => panic!("{other:?}"),
        };
        match server.step(Some(&response), &mut host) {
            ServerStep::Challenge(data, next) => {
                server = next;
                challenge = Some(data);
            }
            ServerStep::Success { data, .. } => {
                let end = client.step(ClientInput::Success(data.as_deref()), &mut random);
                assert!(matches!(end, ClientStep::Authenticated), "{end:?}");
                return Ok(());
            }
            ServerStep::Failure(failure) => return Err(failure),
        }
    }
}

#[test]
fn a_password_becomes_keys_that_the_daemon_reads_and_the_peer_logs_in_with() {
    let password = "p\u{e8}ncil and paper";
    let line = format!("{password}\n");
    let arguments = [
        "--hash",
        "sha-512,sha-1",
        "--hash",
        "sha-256",
        "--iterations",
        "4096",
    ];
    let (code, stdout, stderr) = output(line.as_bytes(), &arguments);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let schemes: Vec<&str> = stdout
        .lines()
        .map(|line| line.split('$').next().unwrap())
        .collect();
    assert_eq!(schemes, ["SCRAM-SHA-512", "SCRAM-SHA-1", "SCRAM-SHA-256"]);

    let keys = loaded(&directory("logs-in"), &stdout);
    for mechanism in schemes {
        assert_eq!(log_in(mechanism, keys.clone(), password), Ok(()));
        let wrong = log_in(mechanism, keys.clone(), "p\u{e8}ncil and papers");
        assert_eq!(wrong, Err(Failure::NotAuthorized));
    }
}

#[test]
fn the_salt_is_another_one_each_time_and_the_default_is_as_the_help_says() {
    let (code, first, _) = output(b"pencil", &[]);
    let (_, second, _) = output(b"pencil\r\n", &[]);
    assert_eq!(code, Some(0));
    assert_ne!(first, second);
    for text in [&first, &second] {
        let keys = ScramKeys::parse(text.trim_end()).unwrap();
        assert_eq!(
            (keys.hash().mechanism(), keys.iterations()),
            ("SCRAM-SHA-256", 100_000)
        );
        assert_eq!(keys.salt().len(), 16);
        assert!(keys.is_of(&Password::new("pencil")));
    }
    let (code, help, _) = output(b"", &["--help"]);
    assert_eq!(code, Some(0));
    assert!(
        help.contains("[default: sha-256]") && help.contains("[default: 100000]"),
        "{help}"
    );
    assert!(
        help.contains("(umask 077 && s2sd secret scram > partner.scram)"),
        "{help}"
    );
}

#[test]
fn a_password_that_cannot_be_used_is_one_and_is_not_shown() {
    let cheap = ["--iterations", "4096"];
    for (input, want) in [
        (&b""[..], "there is no password on standard input"),
        (b" \n", "there is no password on standard input"),
        (
            b"hunter2\nhunter3\n",
            "there is more than one line on standard input; a password is one",
        ),
        (b"hunter2\xff\n", "the password is no text in UTF-8"),
        (&[b'h'; 1025], "the password is longer than 1024 bytes"),
        (&[b'h'; 100_000], "the password is longer than 1024 bytes"),
    ] {
        let want = format!("s2sd secret scram: {want}\n");
        assert_eq!(output(input, &cheap), (Some(1), String::new(), want));
    }
    for refused in ["hunter2\u{7}", "hunter2\u{1f511}", "\u{627}hunter2"] {
        let (code, stdout, stderr) = output(refused.as_bytes(), &cheap);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(
            stderr.contains("SASLprep (RFC 4013) does not allow"),
            "{stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    let (code, ..) = output(&[b'h'; 1024], &cheap);
    assert_eq!(code, Some(0));
}

#[test]
fn wrong_usage_is_two() {
    for arguments in [
        &["--hash", "md5"][..],
        &["--iterations", "4095"],
        &["--iterations", "1000001"],
        &["hunter2"],
    ] {
        let (code, stdout, stderr) = output(b"pencil", arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_the_password_is_asked_for_twice_and_not_shown() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let asked = |first: &str, second: &str| {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let mut person = File::from(openpt(flags).unwrap());
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().unwrap())
                .unwrap()
        };
        // Ours keeps it open, so that what it showed can be read to the end.
        let kept = open();
        let mut child = scram(&["--iterations", "4096"])
            .stdin(open())
            .spawn()
            .unwrap();
        let mut questions = child.stderr.take().unwrap();
        let mut said = String::new();
        for (question, answer) in [("Password: ", first), ("The same again: ", second)] {
            while !said.ends_with(question) {
                let mut byte = [0];
                questions.read_exact(&mut byte).unwrap();
                said.push(char::from(byte[0]));
            }
            person.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        questions.read_to_string(&mut said).unwrap();
        // The terminal shows again what is typed, and has shown nothing before but the ends of lines.
        person.write_all(b"shown\n").unwrap();
        let mut shown = String::new();
        while !shown.ends_with("shown\r\n") {
            let mut byte = [0];
            person.read_exact(&mut byte).unwrap();
            shown.push(char::from(byte[0]));
        }
        drop(kept);
        assert_eq!(shown, "\r\n\r\nshown\r\n");
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            said,
        )
    };

    let (code, stdout, said) = asked("hunter2", "hunter2");
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "Password: The same again: ")
    );
    let keys = ScramKeys::parse(stdout.trim_end()).unwrap();
    assert!(keys.is_of(&Password::new("hunter2")));

    let (code, stdout, said) = asked("hunter2", "hunter3");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        said.ends_with("s2sd secret scram: these were two passwords\n"),
        "{said}"
    );
    assert!(!said.contains("hunter"), "{said}");
}
