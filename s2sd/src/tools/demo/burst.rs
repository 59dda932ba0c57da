//! Many stanzas from component to component, over a stream proved by EXTERNAL: how many a second.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use tokio::sync::watch;
use tokio::time::timeout;

use super::component::{Ear, Mouth};
use super::stage::{Plan, Stage};
use super::{DemoError, Show, walk};

const STANZAS: usize = 20_000;
/// At most so many are on their way: half of what a lane takes before it answers that it is full.
const WINDOW: usize = 5_000;
/// No more are sent after this time.
const SENDING: Duration = Duration::from_secs(15);
/// All that were sent have arrived by then.
const WAITING: Duration = Duration::from_secs(30);
/// How many are written at once.
const BATCH: usize = 50;

pub(super) async fn play(show: &mut Show<'_>) -> Result<(), DemoError> {
    show.page.heading("A burst")?;
    show.page.text(&format!(
        "{STANZAS} messages from romeo to juliet, over TLS, with nothing between the daemons this time. Two daemons and two \
         components share the processors of this machine, and each stanza is parsed three times on its way.",
    ))?;
    let plan = Plan {
        montague: walk::external::RULES,
        capulet: walk::external::RULES,
        certificates: true,
        relays: false,
    };
    let mut stage = Stage::set(&plan, &show.events).await?;
    let burst = match stage.ends() {
        Some((mouth, ear)) => measure(mouth, ear).await,
        None => Err("no address to listen on".into()),
    };
    stage.strike().await;
    let Burst {
        stanzas,
        bytes,
        took,
    } = burst?;
    let seconds = took.as_secs_f64().max(f64::EPSILON);
    show.page
        .result(&format!("{:.0} stanzas/s", stanzas as f64 / seconds))?;
    show.page.lines(&[&format!(
        "{stanzas} stanzas, {:.1} MB of XML in {seconds:.2} s; all arrived, in order.",
        bytes as f64 / 1e6
    )])?;
    if cfg!(debug_assertions) {
        show.page
            .text("This is a build for debugging. For a number that means something: cargo run --release.")?;
    }
    Ok(())
}

struct Burst {
    stanzas: usize,
    bytes: usize,
    took: Duration,
}

async fn measure(mouth: &mut Mouth, ear: &mut Ear) -> Result<Burst, DemoError> {
    // The stream is made by the first stanza; it is not what is measured.
    mouth.say(&stanza(0)).await?;
    arrival(ear, 0).await?;
    let (arrived, seen) = watch::channel(0);
    let began = Instant::now();
    let (sent, heard) = tokio::try_join!(send(mouth, seen), async {
        let heard = timeout(SENDING + WAITING, hear(ear, &arrived)).await;
        heard.unwrap_or_else(|_| Err("not all that was sent arrived".into()))
    },)?;
    Ok(Burst {
        stanzas: heard,
        bytes: sent,
        took: began.elapsed(),
    })
}

/// Sends them, and then one that says that there are no more; how many bytes it was.
async fn send(mouth: &mut Mouth, mut arrived: watch::Receiver<usize>) -> Result<usize, DemoError> {
    let until = Instant::now() + SENDING;
    let (mut bytes, mut number) = (0, 0);
    while number < STANZAS {
        // An error means that the listener is gone, which was reported already.
        arrived
            .wait_for(|arrived| number < arrived + WINDOW)
            .await?;
        let last_batch = Instant::now() > until;
        let mut batch = BytesMut::new();
        for _ in 0..BATCH.min(STANZAS - number) {
            number += 1;
            batch.extend_from_slice(&stanza(number));
        }
        bytes += batch.len();
        mouth.say(&batch).await?;
        if last_batch {
            break;
        }
    }
    mouth.say(END).await?;
    Ok(bytes)
}

/// Counts them, and sees to it that none is missing and none comes before its time.
async fn hear(ear: &mut Ear, arrived: &watch::Sender<usize>) -> Result<usize, DemoError> {
    let mut count = 0;
    while arrival(ear, count + 1).await? {
        count += 1;
        if count % BATCH == 0 {
            arrived.send_replace(count);
        }
    }
    Ok(count)
}

/// The next stanza is this one; or, with `false`, it is the one that ends it all.
async fn arrival(ear: &mut Ear, number: usize) -> Result<bool, DemoError> {
    let stanza = timeout(WAITING, ear.hear())
        .await
        .map_err(|_| format!("stanza {number} did not arrive"))??
        .ok_or("the daemon closed the component's stream")?;
    let id = stanza.id();
    match id.as_deref() {
        Some("end") => Ok(false),
        Some(id) if id.parse() == Ok(number) => Ok(true),
        other => Err(format!("stanza {number} was due, and {other:?} arrived").into()),
    }
}

const END: &[u8] = b"<message from='romeo@montague.example' to='juliet@capulet.example' id='end'/>";

fn stanza(number: usize) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(
        format!(
            "<message from='romeo@montague.example/orchard' to='juliet@capulet.example/balcony' id='{number}' \
             type='chat'><body>Parting is such sweet sorrow, that I shall say good night till it be morrow.</body>\
             </message>"
        )
        .as_bytes(),
    );
    out
}
