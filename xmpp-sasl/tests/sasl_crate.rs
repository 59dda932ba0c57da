//! The traits of the crate `sasl`: its mechanisms and ours understand each other, and what is wrong with its is not
//! wrong with ours.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use sasl::client::{Mechanism as ClientMechanism, MechanismError as ClientMechanismError};
use sasl::common::scram::{ScramProvider, Sha1, Sha256};
use sasl::common::{ChannelBinding, Credentials, Identity, Password, Secret};
use sasl::secret::{self, Pbkdf2Sha1, Pbkdf2Sha256};
use sasl::server::{
    Mechanism as ServerMechanism, MechanismError as ServerMechanismError, Provider, ProviderError,
    Response, Validator, ValidatorError,
};
use xmpp_sasl::adapter::{client, server};
use xmpp_sasl::{
    ChannelBindingType, ChannelBindings, ClientCredentials, Failure, Host, Offer, Pbkdf2Sha512,
    ScramHash, ScramKeys, ServerOptions, ServerSecret, Sha512,
};

const USERNAME: &str = "user";
const PASSWORD: &str = "pencil";
const SALT: &[u8] = b"0123456789abcdef";
const ITERATIONS: u32 = 4096;

/// As in the documentation of `sasl`.
#[derive(Debug)]
struct Accounts;

impl Accounts {
    fn derive<H: ScramProvider>(identity: &Identity) -> Result<Vec<u8>, ProviderError> {
        if identity != &Identity::Username(USERNAME.to_owned()) {
            return Err(ProviderError::AuthenticationFailed);
        }
        Ok(H::derive(&Password::from(PASSWORD), SALT, ITERATIONS)?)
    }
}

impl Validator<secret::Plain> for Accounts {
    fn validate(&self, identity: &Identity, value: &secret::Plain) -> Result<(), ValidatorError> {
        let secret::Plain(password) = value;
        if identity == &Identity::Username(USERNAME.to_owned()) && password == PASSWORD {
            Ok(())
        } else {
            Err(ValidatorError::AuthenticationFailed)
        }
    }
}

impl Provider<Pbkdf2Sha1> for Accounts {
    fn provide(&self, identity: &Identity) -> Result<Pbkdf2Sha1, ProviderError> {
        let digest = Self::derive::<Sha1>(identity)?;
        let (salt, iterations) = (SALT.to_vec(), ITERATIONS);
        Ok(Pbkdf2Sha1 {
            salt,
            iterations,
            digest,
        })
    }
}

impl Provider<Pbkdf2Sha256> for Accounts {
    fn provide(&self, identity: &Identity) -> Result<Pbkdf2Sha256, ProviderError> {
        let digest = Self::derive::<Sha256>(identity)?;
        let (salt, iterations) = (SALT.to_vec(), ITERATIONS);
        Ok(Pbkdf2Sha256 {
            salt,
            iterations,
            digest,
        })
    }
}

impl Provider<Pbkdf2Sha512> for Accounts {
    fn provide(&self, identity: &Identity) -> Result<Pbkdf2Sha512, ProviderError> {
        let digest = Self::derive::<Sha512>(identity)?;
        let (salt, iterations) = (SALT.to_vec(), ITERATIONS);
        Ok(Pbkdf2Sha512 {
            salt,
            iterations,
            digest,
        })
    }
}

sasl::impl_validator_using_provider!(Accounts, Pbkdf2Sha1);
sasl::impl_validator_using_provider!(Accounts, Pbkdf2Sha256);
sasl::impl_validator_using_provider!(Accounts, Pbkdf2Sha512);

fn credentials() -> Credentials {
    Credentials::default()
        .with_username(USERNAME)
        .with_password(PASSWORD)
}

#[derive(Debug, PartialEq)]
enum MechanismError {
    Client(ClientMechanismError),
    Server(ServerMechanismError),
}

impl From<ClientMechanismError> for MechanismError {
    fn from(error: ClientMechanismError) -> Self {
        Self::Client(error)
    }
}

impl From<ServerMechanismError> for MechanismError {
    fn from(error: ServerMechanismError) -> Self {
        Self::Server(error)
    }
}

/// Code that was written for `sasl`: this is the function of its documentation.
fn finish(
    client: &mut impl ClientMechanism,
    server: &mut impl ServerMechanism,
) -> Result<Identity, MechanismError> {
    let mut response = server.respond(&client.initial())?;
    loop {
        match response {
            Response::Proceed(data) => {
                let message = client.response(&data)?;
                response = server.respond(&message)?;
            }
            Response::Success(identity, data) => {
                client.success(&data)?;
                return Ok(identity);
            }
        }
    }
}

fn user() -> Result<Identity, MechanismError> {
    Ok(Identity::Username(USERNAME.to_owned()))
}

const REFUSED: Result<Identity, MechanismError> = Err(MechanismError::Server(
    ServerMechanismError::AuthenticationFailed,
));

fn all_bindings() -> [ChannelBinding; 4] {
    [
        ChannelBinding::None,
        ChannelBinding::Unsupported,
        ChannelBinding::TlsUnique(b"unique".to_vec()),
        ChannelBinding::TlsExporter(b"exported".to_vec()),
    ]
}

/// Ours against ours, and the client of `sasl` against our server.
fn check_hash<H>()
where
    H: xmpp_sasl::adapter::Hash,
    H::Secret: secret::Pbkdf2Secret,
    Accounts: Provider<H::Secret>,
{
    for binding in all_bindings() {
        let plus = matches!(
            binding,
            ChannelBinding::TlsUnique(_) | ChannelBinding::TlsExporter(_)
        );
        let suffix = if plus { "-PLUS" } else { "" };
        let name = format!("SCRAM-{}{suffix}", H::name());
        let credentials = credentials().with_channel_binding(binding.clone());
        let mut asking = server::Scram::<H, _>::new(Accounts, binding.clone());
        let mut proving = client::Scram::<H>::from_credentials(credentials.clone()).unwrap();
        assert_eq!(
            (asking.name(), proving.name()),
            (name.as_str(), name.as_str())
        );
        assert_eq!(finish(&mut proving, &mut asking), user(), "{name}");
        assert!(proving.is_authenticated());

        let mut asking = server::Scram::<H, _>::new(Accounts, binding);
        let mut proving =
            sasl::client::mechanisms::Scram::<H>::from_credentials(credentials.clone()).unwrap();
        assert_eq!(finish(&mut proving, &mut asking), user(), "{name}");

        let wrong = credentials.with_password("Pencil");
        let mut asking = server::Scram::<H, _>::new(Accounts, wrong.channel_binding.clone());
        let mut proving = client::Scram::<H>::from_credentials(wrong).unwrap();
        assert_eq!(finish(&mut proving, &mut asking), REFUSED);
        assert!(!proving.is_authenticated());
    }
}

#[test]
fn ours_take_the_place_of_theirs_with_sha_1() {
    check_hash::<Sha1>();
}

#[test]
fn ours_take_the_place_of_theirs_with_sha_256() {
    check_hash::<Sha256>();
}

#[test]
fn ours_take_the_place_of_theirs_with_sha_512() {
    check_hash::<Sha512>();
}

#[test]
fn our_client_is_understood_by_their_server() {
    // It takes nothing but "y": a client that has channel binding, and saw none on offer.
    let ours = |name: &str| {
        let credentials = ClientCredentials::new("", "")
            .with_password(USERNAME, PASSWORD)
            .with_channel_bindings(
                ChannelBindings::none().with(ChannelBindingType::TlsExporter, *b"exported"),
            )
            .with_offer(Offer::new([name]));
        client::Adapter::of(xmpp_sasl::client(name, &credentials).unwrap()).unwrap()
    };
    let binding = ChannelBinding::None;
    let mut asking = sasl::server::mechanisms::Scram::<Sha1, _>::new(Accounts, binding.clone());
    assert_eq!(finish(&mut ours("SCRAM-SHA-1"), &mut asking), user());
    let mut asking = sasl::server::mechanisms::Scram::<Sha256, _>::new(Accounts, binding);
    assert_eq!(finish(&mut ours("SCRAM-SHA-256"), &mut asking), user());
}

#[test]
fn plain_and_anonymous_take_the_place_of_theirs() {
    let mut asking = server::Plain::new(Accounts);
    let mut proving = client::Plain::from_credentials(credentials()).unwrap();
    assert_eq!(finish(&mut proving, &mut asking), user());
    let mut asking = server::Plain::new(Accounts);
    let mut proving = sasl::client::mechanisms::Plain::from_credentials(credentials()).unwrap();
    assert_eq!(finish(&mut proving, &mut asking), user());
    let mut asking = sasl::server::mechanisms::Plain::new(Accounts);
    let mut proving = client::Plain::from_credentials(credentials()).unwrap();
    assert_eq!(finish(&mut proving, &mut asking), user());

    let mut asking = server::Anonymous::new();
    let mut proving = client::Anonymous::from_credentials(Credentials::default()).unwrap();
    assert!(finish(&mut proving, &mut asking).is_ok());
}

#[test]
fn any_other_mechanism_of_ours_stands_behind_those_traits() {
    struct Cave;
    impl Host for Cave {
        fn random(&mut self, out: &mut [u8]) {
            getrandom::fill(out).unwrap();
        }
        fn password(&mut self, _: &str, _: Option<&str>) -> Option<xmpp_sasl::Password> {
            Some(xmpp_sasl::Password::new(PASSWORD))
        }
        fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
            Ok(())
        }
        fn external(&mut self, authzid: Option<&str>) -> Result<xmpp_sasl::Identity, Failure> {
            let mut identity = xmpp_sasl::Identity::new();
            identity.authzid = authzid.map(str::to_owned);
            Ok(identity)
        }
    }
    let options = ServerOptions::new("demo", "cave.example");
    let credentials =
        ClientCredentials::new("demo", "cave.example").with_password(USERNAME, PASSWORD);
    let proving = xmpp_sasl::client("DIGEST-MD5", &credentials).unwrap();
    let mut proving = client::Adapter::of(proving).unwrap();
    let asking = xmpp_sasl::server("DIGEST-MD5", &options).unwrap();
    let mut asking = server::Adapter::of(asking, Cave);
    assert_eq!(finish(&mut proving, &mut asking), user());

    let asking = xmpp_sasl::server("EXTERNAL", &options).unwrap();
    let mut asking = server::Adapter::of(asking, Cave);
    let named = Credentials::default().with_username(USERNAME);
    let mut proving = client::External::from_credentials(named).unwrap();
    assert_eq!(finish(&mut proving, &mut asking), user());

    // By default the strongest there is.
    let bound = self::credentials().with_channel_binding(ChannelBinding::TlsExporter(vec![1]));
    let proving: client::Adapter = client::Adapter::from_credentials(bound).unwrap();
    assert_eq!(proving.name(), "SCRAM-SHA-512-PLUS");
}

// What is wrong with `sasl` 0.5.2, one by one.

#[test]
fn a_server_without_channel_binding_takes_clients_without() {
    for first in ["n,,n=user,r=abc", "y,,n=user,r=abc"] {
        let mut asking = server::Scram::<Sha1, _>::new(Accounts, ChannelBinding::None);
        let answer = asking.respond(first.as_bytes());
        assert!(matches!(answer, Ok(Response::Proceed(_))), "{answer:?}");
    }
}

#[test]
fn a_server_with_tls_exporter_works_and_is_called_plus() {
    let binding = ChannelBinding::TlsExporter(b"exported".to_vec());
    let mut asking = server::Scram::<Sha256, _>::new(Accounts, binding.clone());
    assert_eq!(asking.name(), "SCRAM-SHA-256-PLUS");
    let credentials = credentials().with_channel_binding(binding);
    let mut proving =
        sasl::client::mechanisms::Scram::<Sha256>::from_credentials(credentials).unwrap();
    assert_eq!(finish(&mut proving, &mut asking), user());
}

#[test]
fn a_server_refuses_a_binding_that_it_has_no_data_of() {
    let binding = ChannelBinding::TlsUnique(b"unique".to_vec());
    for kind in ["tls-exporter", "tls-server-end-point", "tls-sourdough"] {
        let mut asking = server::Scram::<Sha1, _>::new(Accounts, binding.clone());
        let first = format!("p={kind},,n=user,r=abc");
        assert_eq!(
            asking.respond(first.as_bytes()),
            Err(ServerMechanismError::AuthenticationFailed)
        );
    }
}

#[test]
fn a_server_that_offered_plus_refuses_a_client_that_did_not_see_it() {
    let options = ServerOptions::new("", "")
        .with_channel_bindings(
            ChannelBindings::none().with(ChannelBindingType::TlsExporter, *b"exported"),
        )
        .with_offer(Offer::new(["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"]));
    let respond = |first: &[u8]| {
        let asking = server::Scram::<Sha1, _>::with_options(Accounts, false, &options);
        asking.unwrap().respond(first)
    };
    assert!(respond(b"n,,n=user,r=abc").is_ok());
    assert!(respond(b"y,,n=user,r=abc").is_err());
    let bound = server::Scram::<Sha1, _>::with_options(Accounts, true, &options).unwrap();
    assert_eq!(bound.name(), "SCRAM-SHA-1-PLUS");
    let nothing = ServerOptions::new("", "");
    assert!(server::Scram::<Sha1, _>::with_options(Accounts, true, &nothing).is_none());
}

#[test]
fn a_server_does_not_ignore_authorization_identities() {
    for (authzid, want) in [("user", user()), ("admin", REFUSED)] {
        let ours = ClientCredentials::new("", "")
            .with_password(USERNAME, PASSWORD)
            .with_authzid(authzid);
        let of = |name: &str| client::Adapter::of(xmpp_sasl::client(name, &ours).unwrap()).unwrap();
        let mut asking = server::Scram::<Sha1, _>::new(Accounts, ChannelBinding::None);
        assert_eq!(finish(&mut of("SCRAM-SHA-1"), &mut asking), want);
        let mut asking = server::Plain::new(Accounts);
        assert_eq!(finish(&mut of("PLAIN"), &mut asking), want);
    }
}

/// What the client of a nonce says to this.
fn answer(challenge: impl Fn(&str) -> String) -> Result<Vec<u8>, ClientMechanismError> {
    let mut proving = client::Scram::<Sha1>::from_credentials(credentials()).unwrap();
    let initial = String::from_utf8(proving.initial()).unwrap();
    let (_, nonce) = initial.split_once("r=").unwrap();
    proving.response(challenge(nonce).as_bytes())
}

#[test]
fn a_client_checks_that_the_nonce_begins_with_its_own() {
    assert!(answer(|nonce| format!("r={nonce}more,s=QSXC,i=4096")).is_ok());
    for wrong in ["EVIL", "EVILmore"] {
        let refused = answer(|_| format!("r={wrong},s=QSXC,i=4096"));
        assert_eq!(refused, Err(ClientMechanismError::CannotDecodeChallenge));
    }
    let refused = answer(|nonce| format!("r={nonce},s=QSXC,i=4096"));
    assert_eq!(refused, Err(ClientMechanismError::CannotDecodeChallenge));
}

#[test]
fn a_client_computes_neither_too_little_nor_too_long() {
    let began = Instant::now();
    for count in ["0", "1", "4095", "1000001", "4294967295", "99999999999"] {
        assert!(answer(|nonce| format!("r={nonce}more,s=QSXC,i={count}")).is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_client_does_not_ignore_mandatory_extensions() {
    assert!(answer(|nonce| format!("m=x,r={nonce}more,s=QSXC,i=4096")).is_err());
    assert!(answer(|nonce| format!("r={nonce}more,s=QSXC,i=4096,m=x")).is_err());
    assert!(answer(|nonce| format!("r={nonce}more,s=QSXC,i=4096,x=x")).is_ok());
}

#[test]
fn a_password_that_was_derived_before_is_good_for_its_own_salt_and_count() {
    let derived = |salt: &[u8], iterations| {
        let data = Sha256::derive(&Password::from(PASSWORD), salt, iterations).unwrap();
        let mut credentials = credentials();
        credentials.secret = Secret::password_pbkdf2("SHA-256", salt.to_vec(), iterations, data);
        let mut proving = client::Scram::<Sha256>::from_credentials(credentials).unwrap();
        let mut asking = server::Scram::<Sha256, _>::new(Accounts, ChannelBinding::None);
        let end = finish(&mut proving, &mut asking);
        (end, proving.error().cloned())
    };
    assert_eq!(derived(SALT, ITERATIONS), (user(), None));
    let unusable = Some(xmpp_sasl::ClientError::Unsupported(
        "another salt or count than ours",
    ));
    assert_eq!(derived(b"other", ITERATIONS).1, unusable);
    assert_eq!(derived(SALT, ITERATIONS + 1).1, unusable);
    // Of another hash: not at all.
    let mut credentials = credentials();
    credentials.secret = Secret::password_pbkdf2("SHA-1", SALT.to_vec(), ITERATIONS, vec![0; 20]);
    assert!(matches!(
        client::Scram::<Sha256>::from_credentials(credentials),
        Err(ClientMechanismError::ScramRequiresPassword)
    ));
}

#[test]
fn names_are_escaped() {
    let named = credentials().with_username("a,b=c");
    let mut proving = client::Scram::<Sha1>::from_credentials(named).unwrap();
    let initial = String::from_utf8(proving.initial()).unwrap();
    assert!(initial.starts_with("n,,n=a=2Cb=3Dc,r="), "{initial}");
}

#[test]
fn names_and_passwords_are_prepared() {
    let odd = credentials()
        .with_username("us\u{ad}er")
        .with_password("pe\u{ad}ncil");
    let mut proving = client::Scram::<Sha1>::from_credentials(odd).unwrap();
    let mut asking = server::Scram::<Sha1, _>::new(Accounts, ChannelBinding::None);
    assert_eq!(finish(&mut proving, &mut asking), user());
    let forbidden = credentials().with_username("us\u{7}er");
    assert!(client::Scram::<Sha1>::from_credentials(forbidden).is_err());
}

#[test]
fn a_guest_has_a_name_like_a_name() {
    let name = || match server::Anonymous::new().respond(b"").unwrap() {
        Response::Success(Identity::Username(name), _) => name,
        response => panic!("{response:?}"),
    };
    let (one, other) = (name(), name());
    assert_ne!(one, other);
    assert_eq!(one.len(), 32);
    assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn plain_has_three_parts_and_a_name() {
    let respond = |message: &[u8]| server::Plain::new(Accounts).respond(message);
    assert!(respond(b"\0user\0pencil").is_ok());
    assert_eq!(
        respond(b"\0user\0Pencil"),
        Err(ServerMechanismError::AuthenticationFailed)
    );
    for malformed in [
        b"\0user\0pencil\0junk".as_slice(),
        b"\0\0pencil",
        b"user\0pencil",
    ] {
        assert_eq!(
            respond(malformed),
            Err(ServerMechanismError::FailedToDecodeMessage)
        );
    }
}

#[test]
fn a_comparison_does_not_stop_at_the_first_difference() {
    let right = "a".repeat(4 << 20);
    let time = |at: usize| {
        let mut wrong = right.clone().into_bytes();
        wrong[at] = b'b';
        let right = xmpp_sasl::Password::new(right.as_str());
        let wrong = xmpp_sasl::Password::new(String::from_utf8(wrong).unwrap());
        let mut times = [(); 7].map(|()| {
            let began = Instant::now();
            assert_ne!(right, wrong);
            began.elapsed()
        });
        times.sort();
        times[3]
    };
    let (first, last) = (time(0), time((4 << 20) - 1));
    assert!(
        first > last / 4,
        "{first:?} for the first, {last:?} for the last"
    );
}

#[test]
fn what_a_server_keeps_is_not_enough_to_log_in() {
    let password = xmpp_sasl::Password::new(PASSWORD);
    let keys = ScramKeys::derive(ScramHash::Sha256, &password, SALT, ITERATIONS).unwrap();
    let text = keys.to_text();
    let mut stolen = text.rsplit('$').next().unwrap().split(':');
    use base64::Engine as _;
    for _ in 0..2 {
        let key = base64::engine::general_purpose::STANDARD
            .decode(stolen.next().unwrap())
            .unwrap();
        let mut credentials = credentials();
        credentials.secret = Secret::password_pbkdf2("SHA-256", SALT.to_vec(), ITERATIONS, key);
        let mut proving = client::Scram::<Sha256>::from_credentials(credentials).unwrap();
        let mut asking = server::Scram::<Sha256, _>::new(Accounts, ChannelBinding::None);
        assert_eq!(finish(&mut proving, &mut asking), REFUSED);
    }
}

#[test]
fn a_name_that_nobody_has_is_refused_like_a_wrong_password() {
    let options = ServerOptions::new("", "")
        .with_secret(ServerSecret::new(*b"a secret of the server's"))
        .with_iterations(ITERATIONS);
    let asking = || server::Scram::<Sha1, _>::with_options(Accounts, false, &options).unwrap();
    let shown = |name: &str| match asking().respond(format!("n,,n={name},r=abc").as_bytes()) {
        Ok(Response::Proceed(challenge)) => {
            let challenge = String::from_utf8(challenge).unwrap();
            let (_, rest) = challenge.split_once(",s=").unwrap();
            rest.to_owned()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(shown("nobody"), shown("nobody"));
    assert_ne!(shown("nobody"), shown("no one"));
    assert_eq!(shown("nobody").len(), shown(USERNAME).len());
    let nobody = credentials().with_username("nobody");
    let mut proving = client::Scram::<Sha1>::from_credentials(nobody).unwrap();
    assert_eq!(finish(&mut proving, &mut asking()), REFUSED);
}

#[test]
fn what_is_over_is_over() {
    let mut asking = server::Plain::new(Accounts);
    assert!(asking.respond(b"\0user\0wrong").is_err());
    assert_eq!(
        asking.respond(b"\0user\0pencil"),
        Err(ServerMechanismError::SaslSessionAlreadyOver)
    );
    let mut proving = client::Scram::<Sha1>::from_credentials(credentials()).unwrap();
    assert_eq!(
        proving.success(b""),
        Err(ClientMechanismError::NoSignatureInSuccessResponse)
    );
    assert_eq!(
        proving.response(b""),
        Err(ClientMechanismError::InvalidState)
    );
    assert_eq!(
        proving.success(b""),
        Err(ClientMechanismError::InvalidState)
    );
}

#[test]
fn what_lacks_credentials_says_so() {
    assert!(matches!(
        client::Scram::<Sha1>::from_credentials(Credentials::default()),
        Err(ClientMechanismError::ScramRequiresUsername)
    ));
    let named = Credentials::default().with_username(USERNAME);
    assert!(matches!(
        client::Scram::<Sha1>::from_credentials(named.clone()),
        Err(ClientMechanismError::ScramRequiresPassword)
    ));
    assert!(matches!(
        client::Plain::from_credentials(named.clone()),
        Err(ClientMechanismError::PlainRequiresPlaintextPassword)
    ));
    assert!(matches!(
        client::Anonymous::from_credentials(named),
        Err(ClientMechanismError::AnonymousRequiresNoCredentials)
    ));
}
