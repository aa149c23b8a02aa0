// SPDX-License-Identifier: GPL-2.0

//! What goes wrong beside the flights: no memory, and waits that take long.

use super::flights::calls;
use crate::scene::{self, load, Call, End, Scene};
use kernel::{
    error::code::EDEADLK,
    world::{self, Event},
};

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

/// One waits for 12 s, one in line behind it, and one follows that.
pub fn delayed(scene: Scene, _: usize) {
    let leader = scene.leader(load(1, 1));
    calls(scene, 1, load(1, 1));
    calls(scene, 2, load(1, 2));
    calls(scene, 3, load(1, 2));
    world::sleep(12_000);
    scene.lead(leader, End::Result).unwrap();
    world::end();
    assert_eq!(
        scene::delayed(),
        [2],
        "a delay is reported once, with all who wait"
    );
}

/// The task that watches how long it takes is interrupted, and another one, that waits already,
/// takes over. Or one in line is woken for that, and interrupted, too; or one that waits in vain.
pub fn heir(scene: Scene, variant: usize) {
    if variant == 2 {
        return refused_heir(scene);
    }
    let leader = scene.leader(load(1, 1));
    let watches = victim(scene, 1, load(1, 1));
    if variant == 0 {
        calls(scene, 2, load(1, 1));
        world::spawn(3, move || world::post(watches, Event::Signal));
    } else {
        let in_line = victim(scene, 2, load(1, 2));
        calls(scene, 3, load(1, 1));
        world::sleep_until_idle();
        world::post(watches, Event::Signal);
        world::sleep_until_idle();
        world::post(in_line, Event::Signal);
    }
    world::sleep(12_000);
    scene.lead(leader, End::Result).unwrap();
    world::end();
    assert_told_once();
}

fn refused_heir(scene: Scene) {
    scene::is_busy(11);
    let loading = scene.loading(load(1, 1), 1, 11);
    let watches = victim(scene, 1, load(1, 1));
    world::spawn(12, move || {
        let result = scene.call_as(load(1, 1), End::Result, Some(world::task_id(12)));
        assert_eq!(result, Err(EDEADLK));
    });
    world::sleep_until_idle();
    calls(scene, 3, load(1, 1));
    world::sleep_until_idle();
    scene::waits_for_child(11, 12);
    world::post(watches, Event::Signal);
    world::sleep(12_000);
    scene.loaded(loading);
    world::end();
    assert_told_once();
}

fn victim(scene: Scene, pid: i32, key: Call) -> world::Index {
    let victim = world::spawn_exposed(pid, move || {
        let _ = scene.call(key, End::Result);
    });
    world::sleep_until_idle();
    victim
}

fn assert_told_once() {
    assert_eq!(
        scene::delayed().len(),
        1,
        "a delay is reported when it is 10 s long, whoever has left"
    );
}
