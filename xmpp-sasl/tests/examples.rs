//! The examples do what they say.
#![allow(clippy::unwrap_used)]

use xmpp_sasl::Failure;

#[allow(dead_code)]
#[path = "../examples/plain_server.rs"]
mod plain_server;

#[allow(dead_code)]
#[path = "../examples/mail_login.rs"]
mod mail_login;

#[tokio::test]
async fn the_mail_login_notices_a_wrong_password_and_who_sits_between_two_tls_connections() {
    mail_login::run("r0m30", false).await.unwrap();
    let refused = async |password: &str, between: bool| {
        let outcome = mail_login::run(password, between).await;
        outcome.unwrap_err().to_string()
    };
    assert_eq!(refused("h0ney", false).await, "a1 NO not-authorized");
    assert_eq!(refused("r0m30", true).await, "a1 NO not-authorized");
}

#[test]
fn the_plain_server_lets_in_who_is_in_its_table() {
    let log_in = |message: &[u8]| {
        let outcome = plain_server::log_in(message).unwrap();
        outcome.map(|identity| identity.authcid)
    };
    assert_eq!(log_in(b"\0juliet\0r0m30"), Ok(Some("juliet".to_owned())));
    assert_eq!(
        log_in(b"juliet\0juliet\0r0m30"),
        Ok(Some("juliet".to_owned()))
    );
    assert_eq!(log_in(b"\0juliet\0h0ney"), Err(Failure::NotAuthorized));
    assert_eq!(log_in(b"\0romeo\0r0m30"), Err(Failure::NotAuthorized));
    assert_eq!(
        log_in(b"nurse\0juliet\0r0m30"),
        Err(Failure::InvalidAuthzid)
    );
    assert_eq!(log_in(b"juliet"), Err(Failure::MalformedRequest));
}
