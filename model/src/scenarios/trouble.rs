// SPDX-License-Identifier: GPL-2.0

//! What goes wrong beside the flights: no memory, and waits that take long.

use super::flights::calls;
use crate::scene::{self, load, End, Scene};
use kernel::world::{self, Event};

/// One of three callers has no memory for a flight, or for a part of it.
pub fn no_memory(scene: Scene, variant: usize) {
    world::spawn(1, move || {
        world::run_out_of_memory(variant);
        scene.call(load(1, 1), End::Result).unwrap();
    });
    calls(scene, 2, load(1, 1));
    scene.call(load(1, 1), End::Result).unwrap();
}

/// There is no memory for the part of a follower in the wait graph, which is none of its own.
pub fn no_memory_to_wait(scene: Scene, _: usize) {
    let loading = scene.loading(load(1, 1), 1, 11);
    world::spawn(11, move || {
        world::run_out_of_memory(0);
        let result = scene.call_as(load(1, 1), End::Result, Some(world::task_id(11)));
        assert!(result.is_err(), "a circle was not seen for lack of memory");
        scene.loaded(loading);
    });
}

/// Two wait for 12 s, and one in line behind them.
pub fn delayed(scene: Scene, _: usize) {
    let leader = scene.leader(load(1, 1));
    calls(scene, 1, load(1, 1));
    calls(scene, 2, load(1, 1));
    calls(scene, 3, load(1, 2));
    world::sleep(12_000);
    scene.lead(leader, End::Result).unwrap();
    world::end();
    assert_eq!(
        scene::delayed(),
        [3],
        "a delay is reported once, with all who wait"
    );
}

/// Who watches how long it takes is interrupted, and another one, who waits already, takes over. Or
/// one in line is woken for that, who is interrupted, too.
pub fn heir(scene: Scene, variant: usize) {
    let leader = scene.leader(load(1, 1));
    let victim = |pid, key| {
        let victim = world::spawn_exposed(pid, move || {
            let _ = scene.call(key, End::Result);
        });
        world::sleep_until_idle();
        victim
    };
    let watches = victim(1, load(1, 1));
    if variant == 0 {
        calls(scene, 2, load(1, 1));
        world::spawn(3, move || world::post(watches, Event::Signal));
    } else {
        let in_line = victim(2, load(1, 2));
        calls(scene, 3, load(1, 1));
        world::sleep_until_idle();
        world::post(watches, Event::Signal);
        world::sleep_until_idle();
        world::post(in_line, Event::Signal);
    }
    world::sleep(12_000);
    scene.lead(leader, End::Result).unwrap();
    world::end();
    assert_eq!(
        scene::delayed().len(),
        1,
        "a delay is reported when it is 10 s long, whoever has left"
    );
}
