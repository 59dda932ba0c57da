//! Server dialback with all three roles in one process: `cargo run --example three_roles`.
//!
//! Prints what goes over the wire, first for an honest server, then for one that has no secret.

use xmpp_dialback::wire::Nonza;
use xmpp_dialback::{
    DialbackLimits, Initiating, Pair, Receiving, Request, RequestOutcome, Secret, Verifying, verify,
};
use xmpp_stream::{ContentNamespace, Context, Element, StreamHeader};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    println!("capulet.example is honest:\n");
    run(&Secret::new("s3cr3tf0rd14lb4ck"))?;
    println!("\nSomebody else says he is capulet.example:\n");
    run(&Secret::new("a guess"))
}

/// One run of XEP-0220; `secret` is what the initiating server makes its key with.
fn run(secret: &Secret) -> Result<(), Error> {
    let pair = Pair::new("capulet.example", "montague.example");
    let stream_id = "D60000229F"; // montague's response header on the stream it was called on
    let mut initiating = Initiating::new(64);
    let mut receiving = Receiving::new(DialbackLimits::default());

    // Step 1, on the stream from capulet to montague.
    let request = initiating.request(pair, stream_id, secret)?;
    let Nonza::Request(request) = send("Initiating -> Receiving", Nonza::Request(request))? else {
        return Err("not a request".into());
    };
    let Request { pair, key } = request; // to and from are to be prepared here

    // Step 2, on a stream from montague to the server that DNS names for capulet.example.
    let question = receiving.request(Request { pair, key }, stream_id)?;
    let mut verifying = Verifying::new(question.clone());
    let Nonza::Question(question) = send("Receiving -> Authoritative", Nonza::Question(question))?
    else {
        return Err("not a question".into());
    };

    // Step 3. The authoritative server needs nothing but its secret.
    let answer = Nonza::Answer {
        verdict: verify(&Secret::new("s3cr3tf0rd14lb4ck"), &question),
        pair: question.pair,
        stream_id: question.stream_id,
    };
    let Nonza::Answer {
        pair,
        stream_id,
        verdict,
    } = send("Authoritative -> Receiving", answer)?
    else {
        return Err("not an answer".into());
    };

    // Step 4, back on the first stream.
    let verdict = verifying.answer(&pair, &stream_id, verdict)?;
    let reply = receiving.answered(&pair, verdict)?;
    let result = Nonza::Result {
        pair,
        verdict: reply.verdict,
    };
    let Nonza::Result { pair, verdict } = send("Receiving -> Initiating", result)? else {
        return Err("not a result".into());
    };
    match initiating.answer(&pair, verdict)? {
        RequestOutcome::Proved => println!("{pair}: stanzas may flow"),
        outcome => println!("{pair}: {outcome:?}, then {:?}", reply.close),
    }
    Ok(())
}

/// Prints an element, and reads it as the other side does.
fn send(way: &str, nonza: Nonza) -> Result<Nonza, Error> {
    let bytes = nonza.to_bytes();
    println!("{way:27} {}", String::from_utf8_lossy(&bytes));
    let header = StreamHeader::new(ContentNamespace::Server).with_dialback();
    let element = Element::parse(bytes, &Context::of(&header))?;
    Ok(Nonza::from_element(&element).ok_or("not dialback")??)
}
