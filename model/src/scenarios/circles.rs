// SPDX-License-Identifier: GPL-2.0

//! Waits that would never end, and some that only look like it.

use crate::scene::{self, load, Call, End, Scene};
use kernel::{error::code::EDEADLK, module_dedup::TaskId, world};

/// A task that carries out a request, or is a child of one that does.
fn me(pid: i32) -> Option<TaskId> {
    Some(world::task_id(pid))
}

/// Two loads, each of which has asked a helper, which asks for the other one.
pub fn at_once(scene: Scene, _: usize) {
    two_loads(scene, load(2, 1), load(1, 1));
}

/// The same, but one of them only stands in line.
pub fn in_line(scene: Scene, _: usize) {
    two_loads(scene, load(2, 2), load(1, 1));
}

/// A helper asks for a load that stands in line behind the one that waits for the helper.
pub fn behind_the_line(scene: Scene, _: usize) {
    let loading = scene.loading(load(1, 1), 1, 11);
    let in_line = scene.leader(load(1, 2));
    world::spawn(11, move || {
        let result = scene.call_as(load(1, 2), End::Result, me(11));
        assert_eq!(result, Err(EDEADLK));
        scene.loaded(loading);
    });
    scene.lead_in_turn(in_line, End::Result, None).unwrap();
    world::end();
    assert_one_refused();
}

fn two_loads(scene: Scene, first_asks: Call, second_asks: Call) {
    let first = scene.loading(load(1, 1), 1, 11);
    let second = scene.loading(load(2, 1), 2, 12);
    for (helper, loading, asks) in [(11, first, first_asks), (12, second, second_asks)] {
        world::spawn(helper, move || {
            let result = scene.call_as(asks, End::Result, me(helper));
            assert!(matches!(result, Ok(_) | Err(EDEADLK)));
            scene.loaded(loading);
        });
    }
    world::end();
    assert_one_refused();
}

fn assert_one_refused() {
    let refused = scene::refused();
    assert!(
        refused.len() == 1,
        "of two that close a circle, exactly one is to be refused: {refused:?} were"
    );
}

/// A helper has a child that asks for the load of all this; at some point it waits for the child.
pub fn later(scene: Scene, _: usize) {
    scene::is_busy(11);
    let loading = scene.loading(load(1, 1), 1, 11);
    world::spawn(12, move || {
        let result = scene.call_as(load(1, 1), End::Result, me(12));
        assert_eq!(result, Err(EDEADLK));
        assert!(world::now() <= 1_500, "a circle was seen late");
        scene.loaded(loading);
    });
    world::spawn(11, || scene::waits_for_child(11, 12));
    world::end();
    assert_eq!(scene::refused(), [12]);
}

/// A load waits for its helper, that for the answer to a request of its own, and the helper of that
/// asks for the load.
pub fn through_a_request(scene: Scene, _: usize) {
    let loading = scene.loading(load(1, 1), 1, 11);
    let asks = scene.requesting(11, 12);
    world::spawn(12, move || {
        let result = scene.call_as(load(1, 1), End::Result, me(12));
        assert_eq!(result, Err(EDEADLK));
        drop(asks);
        scene.loaded(loading);
    });
    world::spawn(2, move || {
        scene.call(load(1, 1), End::Result).unwrap();
    });
    world::end();
    assert_one_refused();
}

/// A helper waits for a load. That ends, and then its helper waits for the load of the first.
pub fn no_false_alarm(scene: Scene, _: usize) {
    let first = scene.loading(load(1, 1), 1, 11);
    let second = scene.loading(load(2, 1), 2, 12);
    world::spawn(11, move || {
        scene.call_as(load(2, 1), End::Result, me(11)).unwrap();
        scene.loaded(first);
    });
    world::spawn(12, move || {
        scene.loaded(second);
        let asks = scene.requesting(2, 12);
        scene.call_as(load(1, 1), End::Result, me(12)).unwrap();
        drop(asks);
    });
    world::end();
    assert!(scene::refused().is_empty(), "a wait was refused that ends");
}
