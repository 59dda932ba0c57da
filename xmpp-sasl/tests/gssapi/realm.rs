//! A Kerberos realm for the time of a test: MIT's KDC on loopback, with files of its own.
//!
//! libkrb5 takes its configuration from the environment. Tests do not change their own: what needs the realm runs in a
//! child process, which is this test program again, told to run the one test.
//!
//! The tests of daemons use it too: `tests/tests/gssapi/main.rs`.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) const NAME: &str = "VERONA.EXAMPLE";

/// Another realm, with which that one has keys in common, so that its principals get tickets there. It is made where a
/// principal of it is asked for: `xmpp/capulet.example@MANTUA.EXAMPLE`.
pub(crate) const FOREIGN: &str = "MANTUA.EXAMPLE";

/// A realm without a KDC. A test may listen where that would be, and not answer.
#[allow(dead_code)] // Not every test that has a realm needs it.
pub(crate) const SILENT: &str = "SILENT.EXAMPLE";

/// In the realm's directory: the address where [`SILENT`] would have its KDC.
const SILENT_ADDRESS: &str = "silent-kdc";

/// Says to the child that it is one, and where the realm's files are.
const DIRECTORY: &str = "S2SD_TEST_REALM";

/// Runs `body` with a realm that knows `principals`: in a child process that runs the test `name` only.
#[track_caller]
pub(crate) fn within(name: &str, principals: &[&str], body: impl FnOnce(&Path)) {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return body(Path::new(&directory));
    }
    let realm = Realm::start(name, principals);
    let output = realm
        .command(env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .output()
        .expect("this program runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A running KDC. It ends when this is dropped, or when this process ends in whatever way.
struct Realm {
    directory: PathBuf,
    kdc: Child,
}

impl Realm {
    fn start(name: &str, principals: &[&str]) -> Self {
        let directory = env::temp_dir();
        let directory = directory.join(format!(
            "s2sd-{}-{}",
            name.replace("::", "-"),
            std::process::id()
        ));
        fs::create_dir_all(&directory).expect("a directory for the realm");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("only for us");
        // A port that was free a moment ago, on an address that hardly anybody else uses.
        let [_, high, low, _] = std::process::id().to_le_bytes();
        let address = Ipv4Addr::new(127, 88, high, low.max(1));
        let free = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
        let kdc_address = free.expect("a free port");
        let free = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
        let silent = free.expect("a free port");
        fs::write(directory.join(SILENT_ADDRESS), silent.to_string()).expect("an address");
        let at = directory.display();
        let client = format!(
            "[libdefaults]\n default_realm = {NAME}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n default_ccache_name = FILE:{at}/no-such-cache\n \
             default_keytab_name = FILE:{at}/no-such-keytab\n default_client_keytab_name = FILE:{at}/no-such-keytab\n\
             [realms]\n {NAME} = {{\n  kdc = {kdc_address}\n }}\n {FOREIGN} = {{\n  kdc = {kdc_address}\n }}\n \
             {SILENT} = {{\n  kdc = {silent}\n }}\n\
             [domain_realm]\n .example = {NAME}\n .test = {NAME}\n\
             [logging]\n kdc = STDERR\n"
        );
        let database = |realm: &str| {
            format!(
                " {realm} = {{\n  database_name = {at}/{realm}\n  key_stash_file = {at}/{realm}.stash\n  \
                 acl_file = {at}/acl\n  max_life = 10h\n }}\n"
            )
        };
        let server = format!(
            "[kdcdefaults]\n kdc_listen = {kdc_address}\n kdc_tcp_listen = {kdc_address}\n[realms]\n{}{}",
            database(NAME),
            database(FOREIGN)
        );
        fs::write(directory.join("krb5.conf"), client).expect("a configuration");
        fs::write(directory.join("kdc.conf"), server).expect("a configuration");

        // Not started yet, but its directory is to be removed whatever happens.
        let mut realm = Self {
            directory,
            kdc: Command::new("true").spawn().expect("a process"),
        };
        let realms: &[&str] = match principals.iter().any(|name| realm_of(name) == FOREIGN) {
            true => &[NAME, FOREIGN],
            false => &[NAME],
        };
        for name in realms {
            realm.run(
                "kdb5_util",
                &["-r", name, "create", "-s", "-P", "a master password"],
            );
        }
        if realms.len() > 1 {
            // The key that they have in common, for the way from there to here.
            for name in realms {
                let add = format!("addprinc -pw common krbtgt/{NAME}@{FOREIGN}");
                realm.run("kadmin.local", &["-r", name, "-q", &add]);
            }
        }
        for principal in principals {
            let name = realm_of(principal);
            realm.run(
                "kadmin.local",
                &["-r", name, "-q", &format!("addprinc -randkey {principal}")],
            );
            // Each time the keys are new ones.
            for keytab in [old_file_name(principal), file_name(principal)] {
                let keytab = realm.directory.join(keytab);
                let command = format!("ktadd -k {} {principal}", keytab.display());
                realm.run("kadmin.local", &["-r", name, "-q", &command]);
            }
        }
        // The shell ends the KDC when our end of its standard input is closed, by drop or by death.
        let kdc = format!(
            "{} -n -r {} & kdc=$!; read line; kill $kdc; wait $kdc",
            program("krb5kdc"),
            realms.join(" -r ")
        );
        realm.kdc = realm
            .command("sh")
            .args(["-c", &kdc])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let log = BufReader::new(realm.kdc.stderr.take().expect("it is piped"));
        let mut lines = log.lines();
        assert!(
            lines.any(|line| line.is_ok_and(|line| line.contains("commencing operation"))),
            "krb5kdc did not start"
        );
        // What it says later is not wanted, but it must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        realm
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let file = |name: &str| self.directory.join(name);
        command
            .env("KRB5_CONFIG", file("krb5.conf"))
            .env("KRB5_KDC_PROFILE", file("kdc.conf"))
            .env("KRB5RCACHEDIR", &self.directory)
            .env(DIRECTORY, &self.directory)
            .env_remove("KRB5CCNAME")
            .env_remove("KRB5_KTNAME")
            .env_remove("KRB5_CLIENT_KTNAME");
        command
    }

    #[track_caller]
    fn run(&self, name: &str, arguments: &[&str]) {
        let output = self
            .command(program(name))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{name} (of krb5-kdc, krb5-admin-server): {error}"));
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        drop(self.kdc.stdin.take());
        let _ = self.kdc.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Where [`SILENT`] would have its KDC.
#[allow(dead_code)] // Not every test that has a realm needs it.
pub(crate) fn silent_kdc(directory: &Path) -> SocketAddr {
    let text = fs::read_to_string(directory.join(SILENT_ADDRESS)).expect("the realm wrote it");
    text.parse().expect("an address")
}

/// A keytab with the principal's keys, as if they were of [`SILENT`]: its name is as long.
#[allow(dead_code)] // Not every test that has a realm needs it.
pub(crate) fn silent_keytab(directory: &Path, principal: &str) -> PathBuf {
    let mut keys = fs::read(directory.join(file_name(principal))).expect("a keytab");
    let (name, other) = (NAME.as_bytes(), SILENT.as_bytes());
    for at in 0..=keys.len() - name.len() {
        if keys[at..].starts_with(name) {
            keys[at..at + name.len()].copy_from_slice(other);
        }
    }
    let file = directory.join(format!("silent-{}", file_name(principal)));
    fs::write(&file, keys).expect("a keytab");
    file
}

fn realm_of(principal: &str) -> &str {
    principal.split_once('@').map_or(NAME, |(_, realm)| realm)
}

/// The file with this principal's keys, in the realm's directory.
pub(crate) fn file_name(principal: &str) -> String {
    format!("{}.keytab", principal.replace('/', "-"))
}

/// The file with keys that this principal had before.
pub(crate) fn old_file_name(principal: &str) -> String {
    format!("old-{}", file_name(principal))
}

/// Debian has these where an ordinary user's PATH does not look.
fn program(name: &str) -> String {
    ["/usr/sbin", "/usr/local/sbin", "/sbin"]
        .iter()
        .map(|directory| format!("{directory}/{name}"))
        .find(|path| Path::new(path).exists())
        .unwrap_or_else(|| name.to_owned())
}
