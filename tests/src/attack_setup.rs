//! A daemon that is attacked: what its component gets, and background traffic that must not notice.

use anyhow::{Context, bail, ensure};
use xmpp_sasl::{Client, ClientInput, ClientStep, Failure, wire::Nonza};
use xmpp_stream::{Condition, Element};

use crate::{
    background_traffic::BackgroundTraffic,
    component_client::ComponentClient,
    fake_peer::FakePeer,
    peer::Peer,
    wire::Event,
    world::{Daemon, TIMEOUT, World},
};

/// The domain that is attacked.
pub const HERE: &str = "here.test";

/// A daemon for [`HERE`], to be described further.
pub fn daemon() -> Daemon {
    BackgroundTraffic::daemon(HERE)
}

/// The daemon in its world, with background traffic, and its component.
pub async fn start(daemon: Daemon) -> anyhow::Result<(World, BackgroundTraffic, ComponentClient)> {
    let (world, background_traffic) = beside(daemon).await?;
    let component = world.component(HERE).await?;
    Ok((world, background_traffic, component))
}

/// The same without the component.
pub async fn beside(daemon: Daemon) -> anyhow::Result<(World, BackgroundTraffic)> {
    let mut world = World::new()?;
    world.start(daemon).await?;
    let background_traffic = BackgroundTraffic::beside(&mut world, HERE).await?;
    Ok((world, background_traffic))
}

/// The attacker's stream, after the features.
pub async fn open(world: &World) -> anyhow::Result<Peer> {
    let mut peer = world.connect(HERE).await?;
    peer.open("evil.test", HERE).await?;
    Ok(peer)
}

/// A stream of whom its header says, or of nobody, on which this mechanism and no other is offered.
pub async fn offered(world: &World, from: Option<&str>, mechanism: &str) -> anyhow::Result<Peer> {
    let mut peer = world.connect(HERE).await?;
    peer.send_header(from, HERE).await?;
    peer.expect_header().await?;
    let features = peer.expect_features().await?;
    ensure!(
        features.mechanisms == [mechanism],
        "offered are {:?}",
        features.mechanisms
    );
    Ok(peer)
}

/// A message to [`HERE`].
pub fn message(from: &str, id: &str) -> String {
    format!("<message from='{from}' to='{HERE}' id='{id}'/>")
}

/// What arrives next at the component is this, so nothing did before it.
pub async fn arrives(component: &mut ComponentClient, id: &str) -> anyhow::Result<Element> {
    let next = component.expect("a stanza", TIMEOUT, |_| true).await?;
    ensure!(next.id().as_deref() == Some(id), "not {id} but {next:?}");
    Ok(next)
}

/// Nothing that was not proved arrived: the message of a peer that proves itself is the first. It does so in clear, so
/// the daemon has to allow that.
pub async fn nothing_arrived(
    world: &mut World,
    component: &mut ComponentClient,
) -> anyhow::Result<()> {
    let good = FakePeer::at(world, "good.test").await?;
    let mut peer = good.proved(world, HERE, HERE).await?;
    peer.send(message("good.test", "the first")).await?;
    arrives(component, "the first").await.map(drop)
}

/// A whole SASL exchange of the peer's. `Ok(())` within: success, and the stream is new.
pub async fn log_in(
    peer: &mut Peer,
    client: Box<dyn Client>,
) -> anyhow::Result<Result<(), Failure>> {
    let mechanism = client.name().to_owned();
    let mut random = |out: &mut [u8]| getrandom::fill(out).expect("the system has random numbers");
    let (initial, mut client) = match client.step(ClientInput::Start, &mut random) {
        ClientStep::Respond(initial, next) => (Some(initial), next),
        ClientStep::Wait(next) => (None, next),
        step => bail!("{mechanism} does not begin: {step:?}"),
    };
    peer.send(Nonza::Auth { mechanism, initial }.to_bytes())
        .await?;
    loop {
        let next = peer.next().await?;
        let Event::Element(element) = next else {
            bail!("nothing of SASL but {next:?}");
        };
        match Nonza::from_element(&element) {
            Some(Ok(Nonza::Challenge(challenge))) => {
                match client.step(ClientInput::Challenge(&challenge), &mut random) {
                    ClientStep::Respond(response, next) => {
                        client = next;
                        peer.send(Nonza::Response(response).to_bytes()).await?;
                    }
                    step => bail!("no response: {step:?}"),
                }
            }
            Some(Ok(Nonza::Success(_))) => {
                peer.restart();
                return Ok(Ok(()));
            }
            Some(Ok(Nonza::Failure { failure, .. })) => return Ok(Err(failure)),
            other => bail!("not an answer: {other:?}"),
        }
    }
}

/// The peer's stream ends with this stream error.
pub async fn is_refused(peer: &mut Peer, condition: Condition) -> anyhow::Result<()> {
    let error = peer.expect_stream_error().await;
    let error = error.with_context(|| format!("{:#?}", peer.transcript()))?;
    ensure!(
        error.condition == condition,
        "not {condition:?} but {error:?} after {:#?}",
        peer.transcript()
    );
    Ok(())
}
