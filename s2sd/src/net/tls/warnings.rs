//! What the operator should look at before a peer complains: our certificates that expire or are bad, and revocation
//! lists that are out of date.

use std::{fmt, path::Path};

use rustls::pki_types::UnixTime;

use crate::net::tls::{OwnCertificate, Tls};
use crate::trust::Day;

/// Automatic renewal happens earlier than this; when so few days are left it has failed.
const DAYS_TO_WARN: u64 = 14;
const DAY: u64 = 86_400;

/// Something to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsWarning {
    /// Peers that are strict refuse us for it now.
    Now(String),
    /// It still works.
    Soon(String),
}

impl fmt::Display for TlsWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Now(text) | Self::Soon(text)) = self;
        f.write_str(text)
    }
}

impl OwnCertificate {
    /// Whole days until it runs out.
    pub fn days_left(&self, now: UnixTime) -> u64 {
        self.not_after.as_secs().saturating_sub(now.as_secs()) / DAY
    }

    fn warning(&self, now: UnixTime) -> Option<TlsWarning> {
        let (file, domain) = (self.file.display(), &self.domain);
        let days = match self.days_left(now) {
            _ if self.fault.is_some() => {
                let fault = self.fault.as_ref()?;
                return Some(TlsWarning::Now(format!("{file}: {}", fault.to_it())));
            }
            DAYS_TO_WARN.. => return None,
            0 => "in less than a day".to_owned(),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        };
        let text = format!("{file}: the certificate of {domain} runs out {days}");
        Some(TlsWarning::Soon(text))
    }
}

impl Tls {
    /// Everything there is to look at, in the order of the configuration.
    pub fn warnings(&self, now: UnixTime) -> Vec<TlsWarning> {
        let own = self.own_certificates(now).into_iter();
        let mut warnings: Vec<TlsWarning> = own
            .filter_map(|certificate| certificate.warning(now))
            .collect();
        let loaded = self.loaded.load();
        let trusts = loaded.sources.trusts.iter();
        let roots = trusts.filter_map(|trusted| loaded.roots.get(trusted));
        for (file, until) in roots.flat_map(|roots| roots.revoked().stale(now)) {
            let warning = stale(file, until);
            // Several policies may name the same file.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }
}

fn stale(file: &Path, until: UnixTime) -> TlsWarning {
    let (file, until) = (file.display(), Day::of(until));
    TlsWarning::Soon(format!(
        "{file}: a newer list was to come by {until}; certificates that were revoked since are still believed"
    ))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use xmpp_stream::Domain;

    use super::*;
    use crate::trust::BadCertificate;

    const NOW: u64 = 1_800_000_000;

    #[track_caller]
    fn check(seconds_left: u64, fault: Option<BadCertificate>, want: Option<TlsWarning>) {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let certificate = OwnCertificate {
            domain: Domain::parse("a.example").unwrap(),
            file: PathBuf::from("a.pem"),
            not_after: time(NOW + seconds_left),
            fault,
        };
        assert_eq!(certificate.warning(time(NOW)), want);
    }

    #[test]
    fn a_certificate_that_runs_out_is_told_fourteen_days_ahead() {
        let soon = |when: &str| {
            let text = format!("a.pem: the certificate of a.example runs out {when}");
            Some(TlsWarning::Soon(text))
        };
        check(14 * DAY, None, None);
        check(14 * DAY - 1, None, soon("in 13 days"));
        check(2 * DAY, None, soon("in 2 days"));
        check(DAY, None, soon("in 1 day"));
        check(DAY - 1, None, soon("in less than a day"));
    }

    #[test]
    fn a_fault_is_told_and_nothing_else() {
        let text = "a.pem: your certificate is self-signed".to_owned();
        let now = Some(TlsWarning::Now(text));
        check(0, Some(BadCertificate::SelfSigned), now.clone());
        check(90 * DAY, Some(BadCertificate::SelfSigned), now);
    }
}
