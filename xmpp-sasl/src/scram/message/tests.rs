use super::*;

#[track_caller]
fn check_first(message: &str, want: ScramError) {
    assert_eq!(
        ClientFirst::parse(message.as_bytes()).unwrap_err().error,
        want,
        "{message}"
    );
}

#[test]
fn a_first_message_is_taken_apart() {
    assert_eq!(
        ClientFirst::parse(b"p=tls-exporter,a=x=3Dy=2Cz,n=a=2Cb=3Dc,r=CEu6+/,x=y=z").unwrap(),
        ClientFirst {
            gs2_header: "p=tls-exporter,a=x=3Dy=2Cz,",
            flag: BindingFlag::Bound("tls-exporter"),
            authzid: Some("x=y,z".to_owned()),
            bare: "n=a=2Cb=3Dc,r=CEu6+/,x=y=z",
            username: "a,b=c".to_owned(),
            nonce: "CEu6+/",
        }
    );
    // esl/fast_scram: unknown extensions are ignored, escapes read, "n" is for those who have no channel binding.
    for (message, username) in [
        (
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,g=extra1,h=extra2",
            "user",
        ),
        ("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "user"),
        ("y,,n=u=2Cser,r=fyko+d2lbbFgONRv9qkxdawL", "u,ser"),
    ] {
        assert_eq!(
            ClientFirst::parse(message.as_bytes()).unwrap().username,
            username
        );
    }
}

// Of the tests of esl/fast_scram, ongres/scram and tigase.

#[test]
fn what_is_no_first_message_is_refused() {
    use ScramError::*;
    for message in [
        "",
        "n,,,r=fyko+d2lbbFgONRv9qkxdawL",
        "n,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        ",,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        ",n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "n,,n=user,",
        "n,,wrong,r=fyko+d2lbbFgONRv9qkxdawL",
        "wrong,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "n,,n=user,wrong",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,9=invalid",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,zz=invalid",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=toomuch",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,x=",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,",
        "n,,r=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "n,,z=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "n,,n=user",
        "n,",
        "n,,",
        "n,,n=user,r",
        "n,,n=user,r=",
        "n,,n=,r=abc",
        "Z,",
        "n,Z=blah",
        "n,a=,n=user,r=abc",
        "p,",
        "p=,,n=user,r=abc",
        "n=a,",
        "n=a,,n=user,r=abc",
        "y=,,n=user,r=abc",
        "N,,n=user,r=abc",
        "p=some_client_type,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "n,,n=user,r=a b",
        "n,,n=user,r=a\u{7f}b",
        "n,,n=user,r=a\u{e9}b",
        "n,,n=us\0er,r=ab",
    ] {
        check_first(message, OtherError);
    }
    check_first(
        "n,,m=ext,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        ExtensionsNotSupported,
    );
    check_first(
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL,m=ext",
        ExtensionsNotSupported,
    );
    check_first(
        "n,,n=u=ser,r=fyko+d2lbbFgONRv9qkxdawL",
        InvalidUsernameEncoding,
    );
    check_first(
        "n,,n=u=2cser,r=fyko+d2lbbFgONRv9qkxdawL",
        InvalidUsernameEncoding,
    );
    check_first(
        "n,a=u=,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        InvalidUsernameEncoding,
    );
    assert_eq!(
        ClientFirst::parse(b"n,,n=\xff,r=ab").unwrap_err().error,
        InvalidEncoding
    );
    check_first(
        &format!("n,,n={},r=ab", "u".repeat(MESSAGE_BOUND)),
        OtherError,
    );
}

#[test]
fn names_are_escaped() {
    // ongres/scram.
    for (name, escaped) in [
        (",", "=2C"),
        ("=", "=3D"),
        ("a,b", "a=2Cb"),
        ("===", "=3D=3D=3D"),
        ("a=", "a=3D"),
        (",=,", "=2C=3D=2C"),
        ("=2C", "=3D2C"),
        ("=3D", "=3D3D"),
    ] {
        assert_eq!(escape(name).as_deref(), Some(escaped));
        assert_eq!(unescape(escaped).as_deref(), Ok(name));
    }
    for invalid in ["=", "a=b", "   ttt???=2D"] {
        assert!(unescape(invalid).is_err(), "{invalid}");
    }
    assert_eq!(escape(""), None);
    assert_eq!(escape("a\0b"), None);
}

#[test]
fn a_server_first_message_is_taken_apart() {
    assert_eq!(
        ServerFirst::parse(b"r=ab%cd,s=QSXCR+Q6sek8bf92,i=4096,h=G6k/=,t=0304").unwrap(),
        ServerFirst {
            nonce: "ab%cd",
            salt: STANDARD.decode("QSXCR+Q6sek8bf92").unwrap(),
            iterations: Some(4096),
            downgrade_protection: Some("G6k/="),
        }
    );
    assert_eq!(
        ServerFirst::parse(b"r=ab,s=QSXC,i=99999999999999999999")
            .unwrap()
            .iterations,
        None
    );
    for message in [
        "",
        "r=ab,,i=4096",
        "r=ab,s=QSXCR+Q6sek8bf92,",
        "r=ab,wrong,i=4096",
        "r=ab,s=QSXCR+Q6sek8bf92,wrong",
        "r=ab,s=QSXCR+Q6sek8bf92,i=wrong",
        "r=ab,s=QSXCR+Q6sek8bf92,i=0",
        "r=ab,s=QSXCR+Q6sek8bf92,i=-1",
        "r=ab,s=QSXCR+Q6sek8bf92,i=+1",
        "r=ab,s=QSXCR+Q6sek8bf92,i=04096",
        "r=ab,s=QSXCR+Q6sek8bf9,i=4096",
        "r=ab,s=,i=4096",
        "r=ab,i=4096,s=QSXCR+Q6sek8bf92",
        "s=QSXCR+Q6sek8bf92,i=4096",
        "m=mext,r=ab,s=QSXCR+Q6sek8bf92,i=4096",
        "r=ab,s=QSXCR+Q6sek8bf92,i=4096,m=mext",
        "r=ab,s=QSXCR+Q6sek8bf92,i=4096,h=a,h=a",
        "r=server,nonce,s=QSXCR+Q6sek8bf92,i=4096",
        "r=server nonce,s=QSXCR+Q6sek8bf92,i=4096",
        "r=servernonce\u{7f},s=QSXCR+Q6sek8bf92,i=4096",
    ] {
        assert!(ServerFirst::parse(message.as_bytes()).is_err(), "{message}");
    }
}

#[test]
fn a_final_message_is_taken_apart() {
    assert_eq!(
        ClientFinal::parse(b"c=biws,r=ab,x=y,p=v0X8").unwrap(),
        ClientFinal {
            without_proof: "c=biws,r=ab,x=y",
            channel_binding: "biws",
            nonce: "ab",
            proof: STANDARD.decode("v0X8").unwrap(),
        }
    );
    for message in [
        "",
        "c=biws,r=ab,p=wrong_proof",
        "c=biws,r=ab",
        "c=biws,r=ab,p=",
        "c=biws,r=ab,",
        "r=ab,p=v0X8",
        ",r=ab,p=v0X8",
        "c=,r=ab,p=v0X8",
        "c=biws,r=ab,p=v0X8,p=v0X8",
        "c=biws,r=ab,c=biws,p=v0X8",
        "c=biws,r=ab,m=x,p=v0X8",
        "c=biws,r=ab,p=v0X8,x=y",
    ] {
        assert!(ClientFinal::parse(message.as_bytes()).is_err(), "{message}");
    }
}

#[test]
fn the_end_is_a_signature_or_an_error() {
    let verifier = ServerFinal::Verifier(STANDARD.decode("rmF9").unwrap());
    assert_eq!(ServerFinal::parse(b"v=rmF9,x=y"), Ok(verifier));
    for (message, error) in [
        ("e=invalid-proof", ScramError::InvalidProof),
        ("e=no-such-thing,x=y", ScramError::OtherError),
    ] {
        assert_eq!(
            ServerFinal::parse(message.as_bytes()),
            Ok(ServerFinal::Error(error))
        );
        assert_eq!(ServerFinal::error(message.as_bytes()), Some(error));
    }
    for message in ["", "x=abc", "v=", "v=!", "v=rmF9,v=rmF9", "v=rmF9,"] {
        assert!(ServerFinal::parse(message.as_bytes()).is_err(), "{message}");
    }
}
