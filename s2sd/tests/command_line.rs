//! The binary as an operator meets it: exit codes, signals, what is printed where.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

#[cfg(feature = "demo")]
use s2sd::tools::demo::ca::{Issued, Leaf, Validity};
use s2sd::tools::demo::zone::{Zone, ZoneServer};

/// Serves on ports of the system's choice, without a certificate.
const CONFIGURATION: &str = "\
data_dir = 'data'
[listen]
s2s = ['127.0.0.1:0']
s2s_tls = []
components = ['127.0.0.1:0']
[policy]
tls = 'optional'
[log]
format = 'json'
[[domain]]
name = 'a.example'
";

/// A directory with a configuration.
fn directory(name: &str, configuration: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("s2sd.toml"), configuration).unwrap();
    directory
}

fn s2sd(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s2sd"));
    command.current_dir(directory).args(arguments);
    command
}

fn output(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = s2sd(directory, arguments).output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[test]
fn wrong_usage_is_two() {
    let directory = directory("usage", CONFIGURATION);
    let (code, stdout, stderr) = output(&directory, &["serve"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("unrecognized subcommand 'serve'"),
        "{stderr}"
    );
    let (code, stdout, _) = output(&directory, &["run", "--help"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("s2sd run -c /etc/s2sd/s2sd.toml"),
        "{stdout}"
    );
}

#[test]
fn a_mistake_in_the_configuration_is_one_without_colours_in_a_pipe() {
    let directory = directory("mistake", &CONFIGURATION.replace("'optional'", "'optionl'"));
    let want = "\
error: `tls` in [policy] must be \"disabled\", \"optional\" or \"required\"
 --> s2sd.toml:7:7
  |
7 | tls = 'optionl'
  |       ^^^^^^^^^ found \"optionl\"
  |
  = help: did you mean \"optional\"?

";
    assert_eq!(
        output(&directory, &["run"]),
        (Some(1), String::new(), want.to_owned())
    );
    let (code, stdout, stderr) = output(&directory, &["check"]);
    assert_eq!((code, stderr.as_str()), (Some(1), ""));
    assert_eq!(stdout, format!("{want}s2sd.toml: 1 fault, 0 warnings\n"));
    let (code, stdout, _) = output(&directory, &["check", "--json"]);
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&json["findings"][0]["line"], &json["findings"][0]["column"]),
        (&7.into(), &7.into())
    );
}

#[test]
fn check_says_how_a_domain_is_treated() {
    let peer = "[[peer]]\ndomain = '*.example.net'\nmax_stanza = '100KiB'\n";
    let directory = directory("rule", &format!("{CONFIGURATION}{peer}"));
    let (code, stdout, stderr) = output(&directory, &["check", "X.example.net"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.starts_with("x.example.net\n  rule                [[peer]] *.example.net\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("\n  max_stanza          100KiB\n"),
        "{stdout}"
    );
    assert!(
        stdout.ends_with("s2sd.toml: 0 faults, 0 warnings\n"),
        "{stdout}"
    );
    let (code, stdout, _) = output(&directory, &["check", "--json", "example.net"]);
    assert_eq!(code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["rule"]["rule"], "[policy]");
    assert_eq!(json["rule"]["values"]["max_stanza"], 512 << 10);
    let (code, _, stderr) = output(&directory, &["check", "s2sd.toml"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("the configuration is named by -c"),
        "{stderr}"
    );
}

#[test]
fn an_address_in_use_is_one() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = directory(
        "in-use",
        &CONFIGURATION.replacen("127.0.0.1:0", &address, 1),
    );
    let (code, _, stderr) = output(&directory, &["run"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&format!("cannot listen on {address}")),
        "{stderr}"
    );
}

/// A daemon that runs, and its log.
struct Daemon {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Daemon {
    fn start(directory: &Path) -> Self {
        Self::run(s2sd(directory, &["run"]))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (to, log) = mpsc::channel();
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| to.send(line))
        });
        Self { child, log }
    }

    /// The log up to a line with this text.
    #[track_caller]
    fn until(&self, text: &str) -> String {
        let mut log = String::new();
        while let Ok(line) = self.log.recv_timeout(Duration::from_secs(60)) {
            log += &line;
            log += "\n";
            if line.contains(text) {
                return log;
            }
        }
        panic!("{text:?} is not in the log:\n{log}");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Only after a failed test is it still there.
        let _ = self.child.kill();
    }
}

#[test]
fn it_serves_reloads_and_stops() {
    let directory = directory("signals", CONFIGURATION);
    let mut daemon = Daemon::start(&directory);
    daemon.until("serving a.example");

    let more = format!("{CONFIGURATION}[[domain]]\nname = 'b.example'\n");
    fs::write(directory.join("s2sd.toml"), &more).unwrap();
    daemon.signal("HUP");
    daemon.until("reloaded: serving a.example, b.example");

    fs::write(directory.join("s2sd.toml"), format!("{more}[limit]\n")).unwrap();
    daemon.signal("HUP");
    let log = daemon.until("not reloaded: what was in force stays in force");
    assert!(
        log.contains(
            "s2sd.toml:14:2: unknown key `limit` at the top level (did you mean `limits`?)"
        ),
        "{log}"
    );

    daemon.signal("TERM");
    daemon.until("stopped");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

#[cfg(feature = "demo")]
#[test]
fn a_certificate_that_runs_out_is_told_of_at_the_start_and_at_a_reload() {
    let text = CONFIGURATION.replace(
        "name = 'a.example'\n",
        "name = 'a.example'\ncertificate = 'a.pem'\nkey = 'a.key'\n",
    );
    let directory = directory("runs-out", &text);
    let renew = |validity| {
        let issued = Issued::self_signed(&Leaf::domain("a.example").validity(validity));
        fs::write(directory.join("a.pem"), issued.chain_pem).unwrap();
        fs::write(directory.join("a.key"), issued.key_pem).unwrap();
    };
    renew(Validity::Days(5));
    let (code, stdout, _) = output(&directory, &["check"]);
    assert_eq!(code, Some(0));
    let soon = "a.pem: the certificate of a.example runs out in 5 days";
    assert!(stdout.contains(soon), "{stdout}");

    let daemon = Daemon::start(&directory);
    let log = daemon.until("serving a.example");
    assert!(log.contains(soon), "{log}");
    renew(Validity::Now);
    daemon.signal("HUP");
    let log = daemon.until("reloaded: serving");
    assert!(!log.contains("runs out"), "{log}");
    renew(Validity::Expired);
    daemon.signal("HUP");
    let log = daemon.until("reloaded: serving");
    assert!(log.contains("a.pem: your certificate expired on"), "{log}");
    daemon.signal("TERM");
    daemon.until("stopped");
}

/// The lines of this level.
#[cfg(feature = "demo")]
fn at<'a>(log: &'a str, level: &str) -> Vec<&'a str> {
    let level = format!("\"level\":\"{level}\"");
    // Tests run as anybody, and this is said of one.
    let lines = log.lines().filter(|line| !line.contains("running as root"));
    lines.filter(|line| line.contains(&level)).collect()
}

#[cfg(feature = "demo")]
#[test]
fn a_key_that_does_not_fit_its_certificate_is_a_warning_that_the_old_pair_stays() {
    let text = CONFIGURATION.replace(
        "name = 'a.example'\n",
        "name = 'a.example'\ncertificate = 'a.pem'\nkey = 'a.key'\n",
    );
    let directory = directory("misfit", &text);
    let issue = || Issued::self_signed(&Leaf::domain("a.example"));
    let (first, second) = (issue(), issue());
    fs::write(directory.join("a.pem"), &first.chain_pem).unwrap();
    fs::write(directory.join("a.key"), &first.key_pem).unwrap();
    let daemon = Daemon::start(&directory);
    daemon.until("serving a.example");
    fs::write(directory.join("a.pem"), &second.chain_pem).unwrap();
    daemon.signal("HUP");
    let log = daemon.until("reloaded: serving");
    let warnings = at(&log, "WARN");
    let stays = "not reloaded, what was loaded before stays: the certificate of a.example";
    assert!(warnings.iter().any(|line| line.contains(stays)), "{log}");
    // What needs a restart is one more thing that is not as it was asked for.
    fs::write(directory.join("a.key"), &second.key_pem).unwrap();
    let other = text.replace("s2s_tls = []", "s2s_tls = ['127.0.0.1:1']");
    fs::write(directory.join("s2sd.toml"), other).unwrap();
    daemon.signal("HUP");
    let log = daemon.until("reloaded: serving");
    let info = at(&log, "INFO");
    let taken = |line: &&str| line.contains("reloaded: the certificate of a.example");
    assert!(info.iter().any(taken), "{log}");
    let warnings = at(&log, "WARN");
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("[listen] has changed")),
        "{log}"
    );
    daemon.signal("TERM");
    daemon.until("stopped");
}

#[cfg(all(unix, feature = "demo"))]
#[test]
fn a_start_warns_of_nothing_that_does_not_matter() {
    use std::os::unix::fs::PermissionsExt as _;
    let component = "component = { secret = '0123456789abcdef' }\n";
    for (name, more, warnings) in [
        ("start", "", 0),
        // Who wrote a number down means it.
        ("start-large", "[limits]\ninbound = 30000\n", 1),
    ] {
        let directory = directory(name, &format!("{CONFIGURATION}{component}{more}"));
        let file = directory.join("s2sd.toml");
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        // The limit that a login has, as a rule.
        let run = format!("ulimit -n 1024 && exec {} run", env!("CARGO_BIN_EXE_s2sd"));
        let mut command = Command::new("sh");
        command.current_dir(&directory).args(["-c", &run]);
        let daemon = Daemon::run(command);
        let log = daemon.until("serving a.example");
        assert_eq!(at(&log, "WARN").len(), warnings, "{log}");
        daemon.signal("TERM");
        daemon.until("stopped");
    }
}

#[cfg(feature = "demo")]
#[test]
fn who_has_seen_enough_of_the_demo_may_go() {
    let directory = directory("demo-head", CONFIGURATION);
    let mut command = s2sd(&directory, &["demo", "--scenario", "dialback"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = command.spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let Output { status, stderr, .. } = demo.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_complaint_that_nobody_reads_changes_no_outcome() {
    let directory = directory("unheard", "");
    for (arguments, code) in [
        (&["run", "-c", "missing.toml"] as &[&str], 1),
        (&["probe", "-c", "missing.toml", "a.example"], 1),
        (&["check", "-c", "missing.toml"], 1),
        (&["serve"], 2),
    ] {
        // A pipe whose other end is closed.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = s2sd(&directory, arguments);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(
            command.status().unwrap().code(),
            Some(code),
            "{arguments:?}"
        );
    }
}

#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread")]
async fn probe_finds_faults_and_says_whose_they_are() {
    let zone = Zone::new().service_absent("_xmpp-server._tcp.b.example");
    let server = ZoneServer::start("127.0.0.1:0".parse().unwrap(), zone).unwrap();
    let dns = format!("[dns]\nservers = ['{}']\n", server.addr());
    let directory = directory("probe", &format!("{CONFIGURATION}{dns}"));
    let ask = |arguments: &[&str]| output(&directory, arguments);
    let (code, stdout, stderr) = ask(&["probe", "-c", "s2sd.toml", "b.example"]);
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "{stdout}");
    assert!(
        stdout.starts_with("b.example, probed as a.example, by [policy]\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("\n✗ Federation with b.example does not work.\n")
            && !stdout.contains('\x1b'),
        "{stdout}"
    );
    let (code, stdout, _) = ask(&["probe", "-c", "s2sd.toml", "--json", "c.example"]);
    assert_eq!(code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let verdict = &json["verdict"];
    assert_eq!(
        (&verdict["code"], &verdict["side"], &verdict["works"]),
        (&"no-such-domain".into(), &"peer".into(), &"no".into())
    );
    assert_eq!(json["places"][0]["target"], "c.example:5269");
    // Nothing was made where nothing was: the secret is the daemon's to make.
    assert!(!directory.join("data").exists());
    for wrong in [
        vec!["probe"],
        vec!["probe", "-c", "s2sd.toml", "a.example"],
        vec![
            "probe",
            "-c",
            "s2sd.toml",
            "--from",
            "c.example",
            "b.example",
        ],
        vec!["probe", "--timeout", "0s", "b.example"],
    ] {
        let (code, stdout, stderr) = ask(&wrong);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{wrong:?}: {stderr}"
        );
        assert!(!stderr.is_empty());
    }
    let (code, _, stderr) = ask(&["probe", "-c", "absent.toml", "b.example"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("absent.toml"), "{stderr}");
}
