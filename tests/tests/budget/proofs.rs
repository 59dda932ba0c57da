//! Attacks by the owner of a domain whose DNS is signed: what it costs to find out whether its answers are proved.

use std::time::Duration;

use s2sd::tools::demo::zone::Costly;
use s2sd_tests::world::World;

use crate::{
    Budget, Row,
    attacks::{Doing, USUAL, as_it_is, keys},
    stage::Stage,
};

pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "answers stuffed with names",
        world: World::signed,
        daemon: as_it_is,
        attack: stuffed,
        budget: Budget { cpu: 400, ..USUAL },
        before: "152 ms a connection and 8 s, asking all the time",
    },
    Row {
        name: "signatures in circles",
        world: World::signed,
        daemon: as_it_is,
        attack: circles,
        // Some thirty look-ups, each of 64 questions.
        budget: Budget { cpu: 800, ..USUAL },
        before: "877 ms a connection, 85,372 KiB held, 14,696 kept, 155 ms late",
    },
];

fn costly(stage: &mut Stage, how: Costly) {
    stage.world.change_zone(|zone| {
        zone.zone("evil.test")
            .zone("z.evil.test")
            .srv("*.z.evil.test", 0, 0, 1, "none.test")
            .costly("z.evil.test", how)
    });
}

fn stuffed(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        costly(stage, Costly::Stuffed(300));
        keys(stage, 4, 4, "z.evil.test", Duration::from_secs(8)).await;
        Ok(())
    })
}

fn circles(stage: &mut Stage) -> Doing<'_> {
    Box::pin(async {
        costly(stage, Costly::Circles(9));
        let deep = format!("{}z.evil.test", "d.".repeat(20));
        keys(stage, 4, 4, &deep, Duration::from_secs(8)).await;
        Ok(())
    })
}
