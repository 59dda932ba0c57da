//! A stranger's words are shown and never obeyed: a line end in them begins no line in the log, and neither there nor in a
//! bounce do they turn the direction of writing, hide, or fill pages. One row of the tables for each source of words.
//!
//! The log that is read here is written without the last line of defence that `s2sd run` has.
#![allow(clippy::unwrap_used)]

#[path = "log/mod.rs"]
mod log;

use s2sd::tools::demo::ca::Leaf;
use s2sd_tests::{
    peer::{Peer, answering_header, header_text},
    tls::TlsIdentity,
    world::{Daemon, RawServer, TIMEOUT, World},
};
use tokio::time::Instant;
use xmpp_stream::{Features, StreamHeader, Writer, ns};

const HERE: &str = "here.test";
const TABLES: &str = "[queue]\ngive_up = '1s'\nbackoff = { first = '50ms', max = '100ms' }\n\
    [[peer]]\ndomain = 'out-mechanisms.test'\nauth = ['external']\n";

/// What would be a line of the log that lies, with everything that a terminal or a reader may obey, and long.
fn evil(row: &str) -> String {
    let lie = format!("INFO in{{peer=192.0.2.1:1}}: incoming stream authenticated forged={row}");
    format!("{row}\n{lie}\u{202e}\u{2028}\u{200b}\u{2066}") + &"x".repeat(14_000)
}

/// The same as the value of an attribute; a line end would be a space there (XML 1.0 §3.3.3).
fn attribute(row: &str) -> String {
    evil(row).replace('\n', "&#10;").replace('x', "")
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// Shown at all, in one piece, without anything that is obeyed, and not in full.
#[track_caller]
fn harmless(row: &str, text: &str) {
    assert!(text.contains(row), "{row}: not shown: {text}");
    let bad = text.chars().find(|c| is_deceptive(*c));
    assert_eq!(bad, None, "{row}: {text}");
    assert!(text.len() < 2_000, "{row}: {} bytes", text.len());
}

/// Waits for the row's words in the log, and looks at every line that they have a part in.
async fn is_logged(row: &str) {
    let log = log::log();
    let mark = format!("{row}\\u{{a}}");
    let deadline = Instant::now() + TIMEOUT;
    while !log.text().contains(&mark) {
        assert!(Instant::now() < deadline, "{row}: not in the log");
        // The line is written when the connection is gone.
        tokio::task::yield_now().await;
    }
    let text = log.text();
    let lines = text.split('\n');
    for line in lines.filter(|line| line.contains(row) || line.contains(&format!("forged={row}"))) {
        harmless(row, line);
        assert!(
            line.contains("s2sd::"),
            "{row}: a line that nobody wrote: {line}"
        );
    }
}

fn stream_error(row: &str) -> Vec<u8> {
    let text = Writer::new("text")
        .xmlns(ns::STREAM_ERRORS)
        .text(&evil(row));
    let error = Writer::new("stream:error")
        .child(Writer::new("undefined-condition").xmlns(ns::STREAM_ERRORS))
        .child(text);
    error.finish().to_vec()
}

fn offers(mechanisms: &[&str]) -> Features {
    Features::new().with_mechanisms(mechanisms.iter().copied())
}

async fn world(policy: &str) -> World {
    log::log();
    let mut world = World::new().unwrap();
    let daemon = Daemon::serving(HERE).policy(policy).tables(TABLES);
    world.start(daemon).await.unwrap();
    world
}

/// To the daemon, by who has proved nothing.
#[tokio::test]
async fn what_a_stranger_says_when_it_calls() {
    let mut world = world("tls = 'optional'\nauth = ['dialback']").await;
    let open = async |world: &World| {
        let mut peer = world.connect(HERE).await.unwrap();
        peer.open("evil.test", HERE).await.unwrap();
        peer
    };

    let row = "in-stream-error";
    let mut peer = open(&world).await;
    peer.send(stream_error(row)).await.unwrap();
    peer.expect_end().await.unwrap();
    drop(peer);
    is_logged(row).await;

    let row = "in-unasked-dialback";
    let mut peer = open(&world).await;
    let name = attribute(row);
    let answer = format!("<db:result from='{name}' to='{HERE}' type='valid'/>");
    peer.send(answer).await.unwrap();
    peer.expect_stream_error().await.unwrap();
    drop(peer);
    is_logged(row).await;

    // The server that is asked about its key.
    let row = "in-authoritative";
    let asked = world.listen("evil.test").await.unwrap();
    let mut peer = open(&world).await;
    let key = format!("<db:result from='evil.test' to='{HERE}'>key</db:result>");
    peer.send(key).await.unwrap();
    let mut server = asked.accept().await.unwrap();
    let header = server.expect_header().await.unwrap();
    let answer = answering_header(&header, "1");
    server.send(header_text(&answer)).await.unwrap();
    server.send(stream_error(row)).await.unwrap();
    drop(server);
    is_logged(row).await;
}

/// An authority that lets its customers write what they like into a certificate.
#[tokio::test]
async fn what_a_certificate_says() {
    let world = world("auth = ['external']").await;
    for (row, kind) in [
        ("cert-dns", 0),
        ("cert-srv", 1),
        ("cert-xmpp", 2),
        ("cert-issuer", 3),
    ] {
        let words: String = evil(row).chars().take(300).collect();
        let ascii: String = words.chars().filter(char::is_ascii).collect();
        let issued = match kind {
            0 => world.issue(&Leaf::domain(&ascii)),
            1 => world.issue(&Leaf::default().srv(&format!("_xmpp-server.{ascii}"))),
            2 => world.issue(&Leaf::default().xmpp_addr(&words)),
            _ => s2sd::tools::demo::ca::Authority::new(&words).issue(&Leaf::domain("evil.test")),
        };
        let mut peer = world.connect(HERE).await.unwrap();
        peer.open("evil.test", HERE).await.unwrap();
        let identity = TlsIdentity::from(&issued);
        peer.starttls(HERE, Some(&identity)).await.unwrap();
        peer.send_header(Some("evil.test"), HERE).await.unwrap();
        peer.expect_header().await.unwrap();
        let error = peer.expect_stream_error().await.unwrap();
        // The words go back to who said them, and may be shown there too.
        harmless(row, &error.text.unwrap());
        drop(peer);
        is_logged(row).await;
    }
}

/// A server that we call: its words are in the log, and in what comes back to the sender.
#[tokio::test]
async fn what_a_server_says_that_is_called() {
    let mut world = world("tls = 'optional'\nauth = ['external', 'dialback']").await;
    let mut component = world.component(HERE).await.unwrap();
    let rows: [(&str, bool); 4] = [
        ("out-stream-error", true),
        ("out-mechanisms", true),
        ("out-dialback", true),
        ("out-stream-id", false),
    ];
    for (row, bounces) in rows {
        let domain = format!("{row}.test");
        let server = world.listen(&domain).await.unwrap();
        let playing = tokio::spawn(play(row, server));
        let message = Writer::new("message")
            .attr("from", component.address())
            .attr("to", &domain)
            .attr("id", row);
        component.send(message.finish()).await.unwrap();
        if bounces {
            let bounce = component
                .expect("the bounce", TIMEOUT, |_| true)
                .await
                .unwrap();
            let tree = bounce.tree();
            let error = tree.elements().find(|child| child.name == "error").unwrap();
            harmless(row, &error.child(ns::STANZA_ERRORS, "text").unwrap().text());
        }
        is_logged(row).await;
        if !bounces {
            log::log().line(&["outgoing stream authenticated", row]);
        }
        playing.abort();
    }
}

async fn play(row: &str, server: RawServer) {
    loop {
        let mut peer: Peer = server.accept_at_leisure().await.unwrap();
        // It is told that nothing more is wanted, or aborted.
        let _ = say(row, &mut peer).await;
    }
}

async fn say(row: &str, peer: &mut Peer) -> anyhow::Result<()> {
    match row {
        "out-stream-error" => {
            peer.answer_open("1", &offers(&[])).await?;
            peer.send(stream_error(row)).await?;
        }
        "out-mechanisms" => {
            let words = evil(row);
            let many: Vec<&str> = (0..30).map(|_| &words[..300]).collect();
            peer.answer_open("1", &offers(&many)).await?;
        }
        "out-dialback" => {
            peer.answer_open("1", &offers(&[])).await?;
            let request = peer.expect(ns::DIALBACK, "result").await?;
            let (from, to) = (request.to().unwrap(), request.from().unwrap());
            let text = Writer::new("text")
                .xmlns(ns::STANZA_ERRORS)
                .text(&evil(row))
                .finish();
            let text = String::from_utf8(text.to_vec())?;
            let none = "<not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
            peer.send(format!(
                "<db:result from='{from}' to='{to}' type='error'>\
                 <error type='cancel'>{none}{text}</error></db:result>"
            ))
            .await?;
        }
        _ => {
            let header = peer.expect_header().await?;
            let answer = StreamHeader {
                id: Some(evil(row).replace('x', "")),
                ..answering_header(&header, "1")
            };
            peer.send(header_text(&answer)).await?;
            peer.send(offers(&[]).to_bytes()).await?;
            let request = peer.expect(ns::DIALBACK, "result").await?;
            let (from, to) = (request.to().unwrap(), request.from().unwrap());
            peer.send(format!("<db:result from='{from}' to='{to}' type='valid'/>"))
                .await?;
        }
    }
    peer.expect_closed().await
}
