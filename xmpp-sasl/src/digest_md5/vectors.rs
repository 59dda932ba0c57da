//! Exchanges of other implementations, with the values that they computed.

pub(super) struct Vector {
    pub(super) name: &'static str,
    pub(super) username: &'static str,
    pub(super) realm: &'static str,
    pub(super) password: &'static str,
    pub(super) authzid: Option<&'static str>,
    pub(super) nonce: &'static str,
    pub(super) cnonce: &'static str,
    pub(super) nc: &'static str,
    pub(super) qop: &'static str,
    pub(super) digest_uri: &'static str,
    pub(super) response: &'static str,
    pub(super) rspauth: &'static str,
    pub(super) challenge: Option<&'static str>,
    pub(super) client_message: Option<&'static str>,
}

const USUAL: Vector = Vector {
    name: "",
    username: "",
    realm: "",
    password: "",
    authzid: None,
    nonce: "",
    cnonce: "",
    nc: "00000001",
    qop: "auth",
    digest_uri: "",
    response: "",
    rspauth: "",
    challenge: None,
    client_message: None,
};

pub(super) const VECTORS: [Vector; 19] = [
    // RFC 2831 §4, first example.
    Vector {
        name: "rfc2831-imap",
        username: "chris",
        realm: "elwood.innosoft.com",
        password: "secret",
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "OA6MHXh6VqTrRk",
        digest_uri: "imap/elwood.innosoft.com",
        response: "d388dad90d4bbd760a152321f2143af7",
        rspauth: "ea40f60335c427b5527b84dbabcdfffd",
        challenge: Some(
            "realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",qop=\"auth\",algorithm=md5-sess,charset=utf-8",
        ),
        client_message: Some(
            "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",digest-uri=\"imap/elwood.innosoft.com\",response=d388dad90d4bbd760a152321f2143af7,qop=auth",
        ),
        ..USUAL
    },
    // RFC 2831 §4, second example.
    Vector {
        name: "rfc2831-acap",
        username: "chris",
        realm: "elwood.innosoft.com",
        password: "secret",
        nonce: "OA9BSXrbuRhWay",
        cnonce: "OA9BSuZWMSpW8m",
        digest_uri: "acap/elwood.innosoft.com",
        response: "6084c6db3fede7352c551284490fd0fc",
        rspauth: "2f0b3d7c3c2e486600ef710726aa2eae",
        challenge: Some(
            "realm=\"elwood.innosoft.com\",nonce=\"OA9BSXrbuRhWay\",qop=\"auth\",algorithm=md5-sess,charset=utf-8",
        ),
        client_message: Some(
            "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"OA9BSXrbuRhWay\",nc=00000001,cnonce=\"OA9BSuZWMSpW8m\",digest-uri=\"acap/elwood.innosoft.com\",response=6084c6db3fede7352c551284490fd0fc,qop=auth",
        ),
        ..USUAL
    },
    // Twisted, test_jabbersaslmechanisms.py, test_calculateResponse.
    Vector {
        name: "twisted-cyrillic",
        username: "Иchris",
        realm: "Иelwood.innosoft.com",
        password: "Иsecret",
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "OA6MHXh6VqTrRk",
        digest_uri: "imap/Иelwood.innosoft.com",
        response: "7928f233258be88392424d094453c5e3",
        rspauth: "539ddfc0adbe6fad05e96fbe69ccc792",
        ..USUAL
    },
    // perl Authen::SASL, t/digest_md5.t.
    Vector {
        name: "authen-sasl-client",
        username: "gbarr",
        realm: "elwood.innosoft.com",
        password: "fred",
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "3858f62230ac3c915f300c664312c63f",
        digest_uri: "ldap/localhost",
        response: "9c81619e12f61fb2eed6bc8ed504ad28",
        rspauth: "d1273170c120bae49cea49de9b4c5bdc",
        challenge: Some(
            "realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",qop=\"auth,auth-inf\",algorithm=md5-sess,charset=utf-8",
        ),
        ..USUAL
    },
    Vector {
        name: "authen-sasl-client-authzid-nc2",
        username: "gbarr",
        realm: "elwood.innosoft.com",
        password: "fred",
        authzid: Some("meme"),
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "3858f62230ac3c915f300c664312c63f",
        nc: "00000002",
        digest_uri: "ldap/localhost",
        response: "8d8afc5ff9cf3add40e50a5eaabb9aac",
        rspauth: "dcb2b36dcd0750d3a7d0482fe1872769",
        ..USUAL
    },
    // perl Authen::SASL, t/digest_md5_verified.t.
    Vector {
        name: "authen-sasl-sieve",
        username: "fred",
        realm: "imap.spodhuis.org",
        password: "gladys",
        nonce: "YPymzyi3YH8OILTBvSIuaul7RD3fIANDT2akHE6auBE=",
        cnonce: "3858f62230ac3c915f300c664312c63f",
        digest_uri: "sieve/imap.spodhuis.org",
        response: "3743421076899a855bafec1f7a9ed58a",
        rspauth: "4593215e1a0613328324b8325b975d96",
        challenge: Some(
            "nonce=\"YPymzyi3YH8OILTBvSIuaul7RD3fIANDT2akHE6auBE=\",realm=\"imap.spodhuis.org\",qop=\"auth\",maxbuf=4096,charset=utf-8,algorithm=md5-sess",
        ),
        ..USUAL
    },
    // perl Authen::SASL, t/server/digest_md5.t.
    Vector {
        name: "authen-sasl-server",
        username: "gbarr",
        realm: "elwood.innosoft.com",
        password: "fred",
        nonce: "80338e79d2ca9b9c090ebaaa2ef293c7",
        cnonce: "3858f62230ac3c915f300c664312c63f",
        digest_uri: "ldap/elwood.innosoft.com",
        response: "39ab7388b1f52492b1b87cda55177d04",
        rspauth: "dbf4b44d397bafd53be835344988ec9d",
        ..USUAL
    },
    Vector {
        name: "authen-sasl-server-authzid",
        username: "gbarr",
        realm: "elwood.innosoft.com",
        password: "fred",
        authzid: Some("meme"),
        nonce: "80338e79d2ca9b9c090ebaaa2ef293c7",
        cnonce: "3858f62230ac3c915f300c664312c63f",
        nc: "00000002",
        digest_uri: "ldap/elwood.innosoft.com",
        response: "e01f51543754aa665cfa2c621d59ee9e",
        rspauth: "d10458627b2b6bb553d796f4d805fdd1",
        ..USUAL
    },
    Vector {
        name: "authen-sasl-server-auth-conf",
        username: "gbarr",
        realm: "elwood.innosoft.com",
        password: "fred",
        nonce: "80338e79d2ca9b9c090ebaaa2ef293c7",
        cnonce: "3858f62230ac3c915f300c664312c63f",
        qop: "auth-conf",
        digest_uri: "ldap/elwood.innosoft.com",
        response: "e3c8b38d9bd9556761253e9879c4a8a2",
        rspauth: "1b1156d0e7f046bd0ea1476eb7d63a7b",
        ..USUAL
    },
    // GNU SASL 2.2.0, client and server run against each other, recorded.
    Vector {
        name: "gsasl-s2s-domain",
        username: "example.com",
        realm: "example.org",
        password: "secret",
        nonce: "3NCzS4qONwfL3cJhOYFy1Q==",
        cnonce: "h6KZsq10ZEg4chTrSW6qhw==",
        digest_uri: "xmpp/example.org",
        response: "b3eb643e745f8d3524c7969068a9c0ae",
        rspauth: "1581c9000dacd611e291f1f599e3d427",
        challenge: Some(
            "realm=\"example.org\", nonce=\"3NCzS4qONwfL3cJhOYFy1Q==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.com\", realm=\"example.org\", nonce=\"3NCzS4qONwfL3cJhOYFy1Q==\", cnonce=\"h6KZsq10ZEg4chTrSW6qhw==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.org\", response=b3eb643e745f8d3524c7969068a9c0ae, charset=utf-8",
        ),
        ..USUAL
    },
    Vector {
        name: "gsasl-s2s-domain-authzid",
        username: "example.com",
        realm: "example.org",
        password: "secret",
        authzid: Some("example.com"),
        nonce: "QfKM/Q1zKG4NmvOsavWzBg==",
        cnonce: "bMNmWdy+Dj9S1aIJIUGhng==",
        digest_uri: "xmpp/example.org",
        response: "76b5d1629dcaa355c29b69783016d130",
        rspauth: "414cace021fef94ad1d71e021cf0ebd6",
        challenge: Some(
            "realm=\"example.org\", nonce=\"QfKM/Q1zKG4NmvOsavWzBg==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.com\", realm=\"example.org\", nonce=\"QfKM/Q1zKG4NmvOsavWzBg==\", cnonce=\"bMNmWdy+Dj9S1aIJIUGhng==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.org\", response=76b5d1629dcaa355c29b69783016d130, charset=utf-8, authzid=\"example.com\"",
        ),
        ..USUAL
    },
    Vector {
        name: "gsasl-s2s-subdomain",
        username: "conference.example.com",
        realm: "example.org",
        password: "correct horse battery staple",
        authzid: Some("conference.example.com"),
        nonce: "GKFJFwX2n9ezze0SyWpqbA==",
        cnonce: "pFSvXL6cG0ThGX2Kqhh0EQ==",
        digest_uri: "xmpp/example.org",
        response: "c59f951364a3eb358becff9532b3efc4",
        rspauth: "8adbed0a86c84436ca310a6440a7873e",
        challenge: Some(
            "realm=\"example.org\", nonce=\"GKFJFwX2n9ezze0SyWpqbA==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"conference.example.com\", realm=\"example.org\", nonce=\"GKFJFwX2n9ezze0SyWpqbA==\", cnonce=\"pFSvXL6cG0ThGX2Kqhh0EQ==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.org\", response=c59f951364a3eb358becff9532b3efc4, charset=utf-8, authzid=\"conference.example.com\"",
        ),
        ..USUAL
    },
    Vector {
        name: "gsasl-s2s-realm-differs",
        username: "example.com",
        realm: "somerealm",
        password: "secret",
        nonce: "4rx1yxu6HadPvb2zb871uA==",
        cnonce: "ZEIAWPvjMxPN2qTK4YVjdw==",
        digest_uri: "xmpp/example.org",
        response: "8c73f003d88b8659ea1a4c0d9c55542c",
        rspauth: "0ff0e0dc19afe37642f467ccfb59f9a0",
        challenge: Some(
            "realm=\"somerealm\", nonce=\"4rx1yxu6HadPvb2zb871uA==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.com\", realm=\"somerealm\", nonce=\"4rx1yxu6HadPvb2zb871uA==\", cnonce=\"ZEIAWPvjMxPN2qTK4YVjdw==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.org\", response=8c73f003d88b8659ea1a4c0d9c55542c, charset=utf-8",
        ),
        ..USUAL
    },
    Vector {
        name: "gsasl-s2s-somerealm-example.org",
        username: "example.org",
        realm: "somerealm",
        password: "secret",
        nonce: "m9/kG8uS08Rf8U0tSECvcA==",
        cnonce: "3aSiTshHEZc4gAoS08TqkA==",
        digest_uri: "xmpp/example.com",
        response: "361c0ec459a5296abf6fb268040c800a",
        rspauth: "d2693a0605bc61079c014a3d8dd05695",
        challenge: Some(
            "realm=\"somerealm\", nonce=\"m9/kG8uS08Rf8U0tSECvcA==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.org\", realm=\"somerealm\", nonce=\"m9/kG8uS08Rf8U0tSECvcA==\", cnonce=\"3aSiTshHEZc4gAoS08TqkA==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.com\", response=361c0ec459a5296abf6fb268040c800a, charset=utf-8",
        ),
        ..USUAL
    },
    Vector {
        name: "gsasl-cyrillic",
        username: "Иexample",
        realm: "Иrealm",
        password: "Иsecret",
        nonce: "4kkYMZ2dBMHkZ1OMnQWXUA==",
        cnonce: "gs0hJHtkRlk1pf7tK1MpzA==",
        digest_uri: "xmpp/example.org",
        response: "bc31468e3014520f1a1244aab5511546",
        rspauth: "3082a2a37f474c155a159c7531d8248a",
        challenge: Some(
            "realm=\"Иrealm\", nonce=\"4kkYMZ2dBMHkZ1OMnQWXUA==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"Иexample\", realm=\"Иrealm\", nonce=\"4kkYMZ2dBMHkZ1OMnQWXUA==\", cnonce=\"gs0hJHtkRlk1pf7tK1MpzA==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.org\", response=bc31468e3014520f1a1244aab5511546, charset=utf-8",
        ),
        ..USUAL
    },
    Vector {
        name: "gsasl-special-password",
        username: "example.com",
        realm: "example.org",
        password: "p:a,s=\"s\\w=rd ",
        nonce: "OPKCVmYZ8lol56JXfpWAxg==",
        cnonce: "8lG4hZ1I+pg08BPB+vaigw==",
        digest_uri: "xmpp/example.org",
        response: "656e374e5c5f326914acb70d1c941e0f",
        rspauth: "da8440dc9083fb715028ca081f82ddb3",
        challenge: Some(
            "realm=\"example.org\", nonce=\"OPKCVmYZ8lol56JXfpWAxg==\", qop=\"auth\", charset=utf-8, algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.com\", realm=\"example.org\", nonce=\"OPKCVmYZ8lol56JXfpWAxg==\", cnonce=\"8lG4hZ1I+pg08BPB+vaigw==\", nc=00000001, qop=auth, digest-uri=\"xmpp/example.org\", response=656e374e5c5f326914acb70d1c941e0f, charset=utf-8",
        ),
        ..USUAL
    },
    // Cyrus SASL 2.1.28, sample client answering a fixed challenge, recorded.
    Vector {
        name: "cyrus-s2s-domain",
        username: "example.com",
        realm: "example.org",
        password: "secret",
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "qdqKFm9TCarO7ElQ3mkeu2as1N6Q/K0WmmCKRuWSupE=",
        digest_uri: "xmpp/example.org",
        response: "11be0db0378974ba667c9c0961334e8e",
        rspauth: "fd3c58af728457b58784395388ea9787",
        challenge: Some(
            "realm=\"example.org\",nonce=\"OA6MG9tEQGm2hh\",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.com\",realm=\"example.org\",nonce=\"OA6MG9tEQGm2hh\",cnonce=\"qdqKFm9TCarO7ElQ3mkeu2as1N6Q/K0WmmCKRuWSupE=\",nc=00000001,qop=auth,maxbuf=2048,digest-uri=\"xmpp/example.org\",response=11be0db0378974ba667c9c0961334e8e",
        ),
        ..USUAL
    },
    Vector {
        name: "cyrus-rfc3920-params",
        username: "example.org",
        realm: "somerealm",
        password: "secret",
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "HBKBHZxKewQPy+uq5S7nWw8RVohsz43MUccR7qhWhCs=",
        digest_uri: "xmpp/example.org",
        response: "bd3dd1a4245b940500f9f3668bddba75",
        rspauth: "368339c9db3525e0d50381fa2320cbee",
        challenge: Some(
            "realm=\"somerealm\",nonce=\"OA6MG9tEQGm2hh\",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"example.org\",realm=\"somerealm\",nonce=\"OA6MG9tEQGm2hh\",cnonce=\"HBKBHZxKewQPy+uq5S7nWw8RVohsz43MUccR7qhWhCs=\",nc=00000001,qop=auth,maxbuf=2048,digest-uri=\"xmpp/example.org\",response=bd3dd1a4245b940500f9f3668bddba75",
        ),
        ..USUAL
    },
    Vector {
        name: "cyrus-latin1",
        username: "ré",
        realm: "example.org",
        password: "päss",
        nonce: "OA6MG9tEQGm2hh",
        cnonce: "SplyCnwyLQCfN6rNY5lnZgNjZklQZwCwbrq5hTjqM5I=",
        digest_uri: "xmpp/example.org",
        response: "73eb882282a1f66d8584787dd0a92a97",
        rspauth: "d12a20a4f1d580b852fc2ed790a31cc9",
        challenge: Some(
            "realm=\"example.org\",nonce=\"OA6MG9tEQGm2hh\",qop=\"auth\",charset=utf-8,algorithm=md5-sess",
        ),
        client_message: Some(
            "username=\"ré\",realm=\"example.org\",nonce=\"OA6MG9tEQGm2hh\",cnonce=\"SplyCnwyLQCfN6rNY5lnZgNjZklQZwCwbrq5hTjqM5I=\",nc=00000001,qop=auth,maxbuf=2048,digest-uri=\"xmpp/example.org\",response=73eb882282a1f66d8584787dd0a92a97",
        ),
        ..USUAL
    },
];
