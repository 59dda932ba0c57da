//! A Kerberos realm for one row: MIT's KDC on loopback, the files of which are all in the row's directory.

use crate::interop::{process::Process, programs::search_path};
use anyhow::{Context, Result, ensure};
use std::{ffi::OsString, fs, net::Ipv4Addr, path::Path, process::Command};

/// Its name.
pub(in crate::interop) const NAME: &str = "LAB.TEST";

/// In the namespace nobody else has it.
const KDC: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 77, 88), 8888);

/// A running KDC. Ends when dropped.
pub(in crate::interop) struct Realm {
    _kdc: Process,
    /// What makes libkrb5 use it: keys of both sides are in keytabs that its configuration names.
    pub(in crate::interop) environment: Vec<(&'static str, OsString)>,
}

impl Realm {
    /// With these principals, each with the name of the keytab that its key goes to.
    pub(in crate::interop) fn start(directory: &Path, principals: &[(&str, &str)]) -> Result<Self> {
        let at = directory.display();
        let (address, port) = KDC;
        let kdc = format!("{address}:{port}");
        let client = format!(
            "[libdefaults]\n default_realm = {NAME}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n default_ccache_name = FILE:{at}/tickets\n \
             default_keytab_name = FILE:{at}/service.keytab\n default_client_keytab_name = FILE:{at}/user.keytab\n\
             [realms]\n {NAME} = {{\n  kdc = {kdc}\n }}\n\
             [domain_realm]\n .test = {NAME}\n\
             [logging]\n kdc = STDERR\n"
        );
        let server = format!(
            "[kdcdefaults]\n kdc_listen = {kdc}\n kdc_tcp_listen = {kdc}\n\
             [realms]\n {NAME} = {{\n  database_name = {at}/principal\n  key_stash_file = {at}/stash\n  \
             acl_file = {at}/acl\n  max_life = 10h\n }}\n"
        );
        fs::write(directory.join("krb5.conf"), client).context("writing krb5.conf")?;
        fs::write(directory.join("kdc.conf"), server).context("writing kdc.conf")?;
        let environment = vec![
            ("KRB5_CONFIG", directory.join("krb5.conf").into()),
            ("KRB5_KDC_PROFILE", directory.join("kdc.conf").into()),
            ("KRB5RCACHEDIR", directory.into()),
        ];
        let command = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command
                .args(["-r", NAME])
                .args(arguments)
                .envs(environment.iter().cloned())
                .env("PATH", search_path());
            command
        };
        let run = |program: &str, arguments: &[&str]| -> Result<()> {
            let output = command(program, arguments).output();
            let output = output.with_context(|| format!("starting {program}"))?;
            ensure!(
                output.status.success(),
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(())
        };
        run("kdb5_util", &["create", "-s", "-P", "a master password"])?;
        for (principal, keytab) in principals {
            run(
                "kadmin.local",
                &["-q", &format!("addprinc -randkey {principal}")],
            )?;
            let add = format!("ktadd -k {at}/{keytab} {principal}");
            run("kadmin.local", &["-q", &add])?;
        }
        let mut kdc = Process::start("krb5kdc", command("krb5kdc", &["-n"]), directory)?;
        kdc.prints("commencing operation")?;
        Ok(Self {
            _kdc: kdc,
            environment,
        })
    }
}
