//! `s2sd check` and `s2sd run` where there is a Kerberos realm, made for the test: MIT's `krb5-kdc` and `krb5-admin-server` must be installed.
#![cfg(all(feature = "gssapi", feature = "demo"))]
#![allow(clippy::unwrap_used)]

#[path = "../../xmpp-sasl/tests/gssapi/realm.rs"]
mod realm;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use s2sd::tools::demo::zone::{Zone, ZoneServer};

use realm::{NAME, SILENT, file_name, old_file_name, silent_kdc, silent_keytab, within};

const OURS: &str = "xmpp/a.example";

/// The lines of `check` about tickets. The realm is this process's, and so the program's.
fn said(realm: &Path, gssapi: &str) -> Vec<String> {
    // It answers on threads of its own while the program runs.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let zone = ZoneServer::start(([127, 0, 0, 1], 0).into(), Zone::new()).unwrap();
    let dns = zone.addr();
    let configuration = format!(
        "[policy]\ntls = 'optional'\n[dns]\nservers = ['{dns}']\n[[domain]]\nname = 'a.example'\n\
         [[peer]]\ndomain = 'b.example'\nauth = ['gssapi']\ncredentials = {{ gssapi = {{ {gssapi} }} }}\n"
    );
    fs::write(realm.join("s2sd.toml"), configuration).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_s2sd"))
        .current_dir(realm)
        .arg("check")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter(|line| line.contains("Kerberos"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_ticket_that_cannot_be_had_is_a_warning_of_check() {
    let name = "a_ticket_that_cannot_be_had_is_a_warning_of_check";
    within(name, &[OURS], |realm| {
        let keytab = format!("keytab = '{}'", file_name(OURS));
        assert_eq!(said(realm, &keytab), [""; 0]);
        // A key that the KDC does not have any more.
        let old = said(realm, &format!("keytab = '{}'", old_file_name(OURS)));
        assert_eq!(old.len(), 1, "{old:?}");
        assert!(
            old[0].starts_with("warning: no Kerberos ticket as xmpp/a.example: "),
            "{old:?}"
        );
        // A principal that is not in the keytab.
        let other = said(
            realm,
            &format!("{keytab}, principal = 'xmpp/c.example@{NAME}'"),
        );
        assert!(
            other[0].starts_with(&format!(
                "warning: no Kerberos ticket as xmpp/c.example@{NAME}: "
            )),
            "{other:?}"
        );
    });
}

/// Reads up to and with this text.
fn read_until(from: &mut impl Read, text: &str) -> String {
    let mut said = Vec::new();
    let mut octet = [0];
    while !said.ends_with(text.as_bytes()) {
        from.read_exact(&mut octet).unwrap();
        said.extend(octet);
    }
    String::from_utf8(said).unwrap()
}

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The program, which ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const STREAM: &str = "xmlns:stream='http://etherx.jabber.org/streams'";

/// Another server, of which nothing is wanted but to be asked for GSSAPI.
fn offers_gssapi(listener: TcpListener) {
    let (mut peer, _) = listener.accept().unwrap();
    read_until(&mut peer, "version='1.0'>");
    let features = format!(
        "<stream:stream xmlns='jabber:server' {STREAM} from='b.example' id='1' version='1.0'>\
         <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
         <mechanism>GSSAPI</mechanism></mechanisms></stream:features>"
    );
    peer.write_all(features.as_bytes()).unwrap();
    read_until(&mut peer, "</stream:stream>");
}

/// A component that sends one message.
fn write_to_the_peer(listener: &str) -> TcpStream {
    let mut wire = TcpStream::connect(listener).unwrap();
    wire.set_read_timeout(Some(TIMEOUT)).unwrap();
    let header = format!("<stream:stream xmlns='jabber:component:accept' {STREAM} to='a.example'>");
    wire.write_all(header.as_bytes()).unwrap();
    read_until(&mut wire, " id=");
    let mut quote = [0];
    wire.read_exact(&mut quote).unwrap();
    let quote = char::from(quote[0]);
    let id = read_until(&mut wire, &quote.to_string());
    let id = id.trim_end_matches(quote);
    read_until(&mut wire, ">");
    let digest = xmpp_stream::component::digest(id, "secret");
    write!(wire, "<handshake>{digest}</handshake>").unwrap();
    read_until(&mut wire, "<handshake/>");
    wire.write_all(b"<message from='x@a.example' to='y@b.example'/>")
        .unwrap();
    wire
}

#[test]
fn a_kdc_that_does_not_answer_does_not_hold_up_the_end() {
    let name = "a_kdc_that_does_not_answer_does_not_hold_up_the_end";
    within(name, &[OURS], |realm| {
        let kdc = silent_kdc(realm);
        let questions = UdpSocket::bind(kdc).unwrap();
        let _more_questions = TcpListener::bind(kdc).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        thread::spawn(move || offers_gssapi(listener));
        let keytab = silent_keytab(realm, OURS).display().to_string();
        let any = "['127.0.0.1:0']";
        let configuration = format!(
            "data_dir = 'data'\n[listen]\ns2s = {any}\ns2s_tls = []\ncomponents = {any}\n[policy]\ntls = 'optional'\n\
             [log]\nformat = 'json'\n[limits]\ndrain = '0s'\n\
             [[domain]]\nname = 'a.example'\ncomponent = {{ secret = 'secret' }}\n\
             [[peer]]\ndomain = 'b.example'\ntls = 'disabled'\nauth = ['gssapi']\nconnect = ['{peer}']\n\
             credentials = {{ gssapi = {{ keytab = '{keytab}', principal = '{OURS}@{SILENT}' }} }}\n"
        );
        fs::write(realm.join("s2sd.toml"), configuration).unwrap();
        let daemon = Command::new(env!("CARGO_BIN_EXE_s2sd"))
            .current_dir(realm)
            .arg("run")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut daemon = Running(daemon);
        let mut log = BufReader::new(daemon.0.stderr.take().unwrap()).lines();
        let line = log.find(|line| line.as_ref().is_ok_and(|line| line.contains("components")));
        let line: serde_json::Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        let text = line.to_string();
        let (_, rest) = text.split_once("127.0.0.1:").unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let component = write_to_the_peer(&format!("127.0.0.1:{port}"));
        questions.set_read_timeout(Some(TIMEOUT)).unwrap();
        questions.recv(&mut [0; 64]).unwrap();
        // It need not be waited for.
        drop(component);

        let kill = format!("kill -TERM {}", daemon.0.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        let asked = Instant::now();
        assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
        assert!(asked.elapsed() < TIMEOUT, "{:?}", asked.elapsed());
    });
}
