use std::{
    fs,
    io::Write,
    sync::{Arc, Mutex},
};

use tokio::time::sleep;
use tracing::subscriber::set_default;

use super::*;
use crate::config::Log;
use crate::logging::{Look, build};
use crate::tools::demo::ca::{Authority, Leaf, Validity};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The clock is the test's: three days take a moment.
#[tokio::test(start_paused = true)]
async fn a_certificate_that_runs_out_is_told_of_every_day() {
    let name = format!("s2sd-daily-{}", std::process::id());
    let base = std::env::temp_dir().join(name);
    fs::create_dir_all(&base).unwrap();
    let leaf = Leaf::domain("a.test").validity(Validity::Days(3));
    let root = Authority::new("root");
    let issued = root.issue(&leaf);
    fs::write(base.join("root.pem"), root.pem()).unwrap();
    fs::write(base.join("a.pem"), &issued.chain_pem).unwrap();
    fs::write(base.join("a.key"), &issued.key_pem).unwrap();
    let toml = format!(
        "data_dir = '{}'\n[listen]\ns2s = []\ns2s_tls = []\ncomponents = []\n[dns]\nservers = ['127.0.0.1:9']\n\
         [dialback]\nsecret = 'of this test'\n[policy]\ntrust = ['root.pem']\n\
         [[domain]]\nname = 'a.test'\ncertificate = 'a.pem'\nkey = 'a.key'\n",
        base.display()
    );
    let file = base.join("s2sd.toml");
    let config = Config::from_toml(&toml, "s2sd.toml", &base).unwrap().config;
    let written = Written::default();
    let writer = written.clone();
    let look = Look {
        colours: false,
        time: false,
    };
    let (subscriber, logging) = build(&Log::default(), look, move || writer.clone());
    let _log = set_default(subscriber);
    let told = || {
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let about = |line: &&str| line.contains("a.test") && line.contains("in 3 days");
        text.lines().filter(about).count()
    };

    let running = app::start(config).await.unwrap();
    assert_eq!(told(), 1, "at the start");
    let mut signals = Signals::new().unwrap();
    select! {
        () = until_stop(&file, &running, &logging, &mut signals) => panic!("nobody said stop"),
        () = sleep(3 * DAY + DAY / 2) => {}
    }
    assert_eq!(told(), 1 + 3);
    fs::remove_dir_all(&base).unwrap();
}

#[cfg(unix)]
#[test]
fn root_is_told_that_it_need_not_be_root() {
    let written = Written::default();
    let writer = written.clone();
    let look = Look {
        colours: false,
        time: false,
    };
    let (subscriber, _logging) = build(&Log::default(), look, move || writer.clone());
    let _log = set_default(subscriber);
    warn_of_root();
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines = usize::from(rustix::process::geteuid().is_root());
    assert_eq!(
        text.lines()
            .filter(|it| it.contains("running as root"))
            .count(),
        lines
    );
    assert_eq!(text.lines().count(), lines);
}
