// SPDX-License-Identifier: GPL-2.0

//! Several flights: of two files in one bucket, and of one file, one behind the other.

use super::flights::calls;
use crate::scene::{load, End, Scene};
use kernel::{
    error::code::ERESTARTSYS,
    world::{self, Event},
};

pub fn two_keys(scene: Scene, _: usize) {
    let leader = scene.leader(load(1, 1));
    calls(scene, 1, load(1, 1));
    world::sleep_until_idle();
    calls(scene, 2, load(2, 1));
    calls(scene, 3, load(2, 1));
    scene.lead(leader, End::Result).unwrap();
}

/// That turns come in order of arrival is checked for all scenarios.
pub fn in_line(scene: Scene, variant: usize) {
    let leader = scene.leader(load(1, 1));
    calls(scene, 1, load(1, 2));
    calls(scene, 2, load(1, [3, 2][variant]));
    scene.lead(leader, End::Result).unwrap();
}

/// A caller that stands in line already gives up at any point, and another one follows it.
pub fn in_line_interrupted(scene: Scene, _: usize) {
    let leader = scene.leader(load(1, 1));
    let victim = world::spawn_exposed(1, move || {
        let result = scene.call(load(1, 2), End::Result);
        assert!(matches!(result, Ok(_) | Err(ERESTARTSYS)));
    });
    world::sleep_until_idle();
    calls(scene, 2, load(1, 2));
    world::spawn(3, move || world::post(victim, Event::Signal));
    scene.lead(leader, End::Result).unwrap();
}

/// Two come while the flight closes, and ends. Or it was closed before, and joins nobody itself.
pub fn closed(scene: Scene, variant: usize) {
    let leader = scene.leader(load(1, 1));
    if variant == 1 {
        calls(scene, 1, load(1, 1));
        let closed = scene.enters_closed(load(1, 1));
        calls(scene, 2, load(1, 1));
        scene.lead(leader, End::Result).unwrap();
        scene.lead_in_turn(closed, End::Result, None).unwrap();
        return;
    }
    calls(scene, 1, load(1, 1));
    calls(scene, 2, load(1, 1));
    scene.begin(&leader);
    scene.close(&leader);
    scene.end(leader, End::Result).unwrap();
}

/// Behind a closed flight, which has a follower, there is one for the same call that gives up.
pub fn by_identity(scene: Scene, _: usize) {
    let leader = scene.leader(load(1, 1));
    calls(scene, 1, load(1, 1));
    world::sleep_until_idle();
    scene.close(&leader);
    let victim = world::spawn_exposed(2, move || {
        let result = scene.call(load(1, 1), End::Result);
        assert!(matches!(result, Ok(_) | Err(ERESTARTSYS)));
    });
    scene.begin(&leader);
    world::post(victim, Event::Signal);
    scene.end(leader, End::Result).unwrap();
}
