//! GSSAPI by MIT's libraries against a KDC of our own, on loopback: `krb5-kdc`, `krb5-admin-server` must be installed.

#![cfg(feature = "gssapi")]
#![allow(clippy::unwrap_used)]

mod damage;
mod realm;
mod scripts;

use std::path::Path;

use realm::{file_name, old_file_name, within};
use xmpp_sasl::gssapi::{Acceptor, Initiator, is_service_of};
use xmpp_sasl::*;

const HOST: &str = "montague.example";
const OURS: &str = "xmpp/montague.example";
const THEIRS: &str = "xmpp/capulet.example";

/// Says yes to the obvious principal of the peer's domain.
struct Montague {
    allowed: bool,
    asked: u32,
    explained: Vec<String>,
}

fn montague() -> Montague {
    Montague {
        allowed: true,
        asked: 0,
        explained: Vec::new(),
    }
}

impl Host for Montague {
    fn random(&mut self, _: &mut [u8]) {
        unreachable!("Kerberos has its own")
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        unreachable!("there are no passwords here")
    }

    fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        unreachable!("authorize_principal() decides")
    }

    fn authorize_principal(
        &mut self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        self.asked += 1;
        let domain = authzid.unwrap_or("capulet.example");
        if self.allowed && is_service_of(principal, ours, "xmpp", domain) {
            Ok(())
        } else {
            Err(Failure::InvalidAuthzid)
        }
    }

    fn explain(&mut self, why: &str) {
        self.explained.push(why.to_owned());
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        unreachable!("this is not EXTERNAL")
    }
}

fn keytab(realm: &Path, principal: &str) -> Option<std::path::PathBuf> {
    Some(realm.join(file_name(principal)))
}

fn asking(acceptor: Acceptor) -> Box<dyn Server> {
    let mut options = ServerOptions::new("xmpp", HOST);
    options.gssapi = Some(acceptor);
    server("GSSAPI", &options).unwrap()
}

fn acceptor(realm: &Path) -> Acceptor {
    Acceptor {
        keytab: keytab(realm, OURS),
        service: None,
    }
}

fn initiator(realm: &Path) -> Initiator {
    Initiator {
        principal: Some(format!("{THEIRS}@{}", realm::NAME)),
        keytab: keytab(realm, THEIRS),
        service: None,
    }
}

fn proving(initiator: Initiator, authzid: Option<&str>) -> Box<dyn Client> {
    let mut credentials = ClientCredentials::new("xmpp", HOST).with_gssapi(initiator);
    credentials.authzid = authzid.map(str::to_owned);
    client("GSSAPI", &credentials).unwrap()
}

fn no_random(_: &mut [u8]) {
    unreachable!("Kerberos has its own")
}

#[track_caller]
fn start(client: Box<dyn Client>) -> (Vec<u8>, Box<dyn Client>) {
    match client.step(ClientInput::Start, &mut no_random) {
        ClientStep::Respond(token, next) => (token, next),
        step => panic!("{step:?}"),
    }
}

/// Both sides to their end; what each came to.
fn run(
    mut proving: Box<dyn Client>,
    mut asking: Box<dyn Server>,
    host: &mut Montague,
) -> Result<Identity, Failure> {
    let mut theirs = None;
    loop {
        let input = theirs
            .as_deref()
            .map_or(ClientInput::Start, ClientInput::Challenge);
        let ours = match proving.step(input, &mut no_random) {
            ClientStep::Respond(message, next) => {
                proving = next;
                message
            }
            step => panic!("{step:?}"),
        };
        match asking.step(Some(&ours), host) {
            ServerStep::Challenge(message, next) => {
                asking = next;
                theirs = Some(message);
            }
            ServerStep::Success { identity, data } => {
                assert_eq!(data, None);
                let end = proving.step(ClientInput::Success(None), &mut no_random);
                assert!(matches!(end, ClientStep::Authenticated), "{end:?}");
                return Ok(identity);
            }
            ServerStep::Failure(failure) => return Err(failure),
        }
    }
}

#[test]
fn who_has_the_key_of_its_domain_acts_for_it() {
    within(
        "who_has_the_key_of_its_domain_acts_for_it",
        &[OURS, THEIRS],
        |realm| {
            assert_eq!(acceptor(realm).check(), Ok(()));
            assert_eq!(initiator(realm).check(), Ok(()));
            for authzid in [None, Some("capulet.example")] {
                let mut host = montague();
                let identity = run(
                    proving(initiator(realm), authzid),
                    asking(acceptor(realm)),
                    &mut host,
                )
                .unwrap();
                assert_eq!(identity.mechanism, "GSSAPI");
                assert_eq!(identity.authcid, Some(format!("{THEIRS}@{}", realm::NAME)));
                assert_eq!(identity.authzid.as_deref(), authzid);
                assert_eq!(host.asked, 1);
            }
            // Without an initial response there is an empty challenge, once.
            let ServerStep::Challenge(empty, next) =
                asking(acceptor(realm)).step(None, &mut montague())
            else {
                panic!("no challenge")
            };
            assert!(empty.is_empty());
            assert!(run(proving(initiator(realm), None), next, &mut montague()).is_ok());
            let ServerStep::Challenge(_, next) =
                asking(acceptor(realm)).step(None, &mut montague())
            else {
                panic!("no challenge")
            };
            assert!(matches!(
                next.step(None, &mut montague()),
                ServerStep::Failure(Failure::MalformedRequest)
            ));
        },
    );
}

#[test]
fn who_may_not_act_for_a_domain_does_not() {
    within(
        "who_may_not_act_for_a_domain_does_not",
        &[OURS, THEIRS, "ali"],
        |realm| {
            let run = |initiator, authzid, host: &mut Montague| {
                run(proving(initiator, authzid), asking(acceptor(realm)), host)
            };
            let mut host = montague();
            assert_eq!(
                run(initiator(realm), Some("mercutio.example"), &mut host),
                Err(Failure::InvalidAuthzid)
            );
            assert_eq!(
                run(initiator(realm), Some(HOST), &mut host),
                Err(Failure::InvalidAuthzid)
            );
            let ali = Initiator {
                principal: Some("ali".to_owned()),
                keytab: keytab(realm, "ali"),
                service: None,
            };
            assert_eq!(
                run(ali, Some("capulet.example"), &mut host),
                Err(Failure::InvalidAuthzid)
            );
            host.allowed = false;
            assert_eq!(
                run(initiator(realm), None, &mut host),
                Err(Failure::InvalidAuthzid)
            );
            assert_eq!(host.asked, 4);
        },
    );
}

#[test]
fn a_keytab_that_does_not_do_is_refused_and_explained() {
    let chat = "xmpp/chat.montague.example";
    within(
        "a_keytab_that_does_not_do_is_refused_and_explained",
        &[OURS, THEIRS, chat],
        |realm| {
            let token = || start(proving(initiator(realm), None)).0;
            let refused = |acceptor: Acceptor| {
                let mut host = montague();
                match asking(acceptor).step(Some(&token()), &mut host) {
                    ServerStep::Failure(failure) => (failure, host.explained.concat()),
                    step => panic!("{step:?}"),
                }
            };
            let missing = Acceptor {
                keytab: Some(realm.join("nothing here")),
                service: None,
            };
            assert!(missing.check().unwrap_err().contains("nothing here"));
            let (failure, why) = refused(missing);
            assert_eq!(failure, Failure::TemporaryAuthFailure);
            assert!(why.contains("nothing here"), "{why}");

            // Of another service: the ticket is for a name that is not in it.
            let (failure, why) = refused(Acceptor {
                keytab: keytab(realm, chat),
                service: None,
            });
            assert_eq!(
                (failure, why.is_empty()),
                (Failure::NotAuthorized, false),
                "{why}"
            );

            // A key that is no longer the service's.
            let (failure, why) = refused(Acceptor {
                keytab: Some(realm.join(old_file_name(OURS))),
                service: None,
            });
            assert_eq!(
                (failure, why.is_empty()),
                (Failure::NotAuthorized, false),
                "{why}"
            );

            // The right key, but it is not what clients of ours ask for.
            let (failure, why) = refused(Acceptor {
                keytab: keytab(realm, OURS),
                service: Some(format!("{chat}@{}", realm::NAME)),
            });
            assert_eq!(failure, Failure::NotAuthorized);
            assert!(
                why.contains("has a ticket for xmpp/montague.example@"),
                "{why}"
            );
            let for_chat = Initiator {
                service: Some(format!("{chat}@{}", realm::NAME)),
                ..initiator(realm)
            };
            let acceptor = Acceptor {
                keytab: keytab(realm, chat),
                service: None,
            };
            let mut host = montague();
            assert_eq!(
                run(
                    proving(for_chat.clone(), None),
                    asking(acceptor.clone()),
                    &mut host
                ),
                Err(Failure::NotAuthorized)
            );
            let named = Acceptor {
                service: for_chat.service.clone(),
                ..acceptor
            };
            assert!(run(proving(for_chat, None), asking(named), &mut host).is_ok());
        },
    );
}

#[test]
fn a_client_without_credentials_or_service_says_why() {
    within(
        "a_client_without_credentials_or_service_says_why",
        &[THEIRS],
        |realm| {
            let aborts = |initiator| match proving(initiator, None)
                .step(ClientInput::Start, &mut no_random)
            {
                ClientStep::Abort(ClientError::Kerberos(why)) => why,
                step => panic!("{step:?}"),
            };
            // Nobody made a principal for the service.
            let why = aborts(initiator(realm));
            assert!(
                why.contains("xmpp/montague.example@") && why.contains("not found"),
                "{why}"
            );
            let missing = Initiator {
                keytab: Some(realm.join("nothing here")),
                ..initiator(realm)
            };
            let why = missing.check();
            assert!(
                why.as_ref().is_err_and(|why| why.contains("nothing here")),
                "{why:?}"
            );
            let why = aborts(missing);
            assert!(why.contains("nothing here"), "{why}");
            let unknown = Initiator {
                principal: Some("xmpp/nobody.example".to_owned()),
                ..initiator(realm)
            };
            aborts(unknown);
            aborts(Initiator::default());
            let nul = Initiator {
                principal: Some("xmpp/\0".to_owned()),
                keytab: Some("a\0b".into()),
                service: None,
            };
            aborts(nul);
        },
    );
}

#[test]
fn many_exchanges_at_once_share_the_tickets() {
    within(
        "many_exchanges_at_once_share_the_tickets",
        &[OURS, THEIRS],
        |realm| {
            std::thread::scope(|scope| {
                for _ in 0..16 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            let mut host = montague();
                            let identity = run(
                                proving(initiator(realm), None),
                                asking(acceptor(realm)),
                                &mut host,
                            );
                            assert!(identity.is_ok(), "{:?}", host.explained);
                        }
                    });
                }
            });
        },
    );
}
