// SPDX-License-Identifier: GPL-2.0

//! Requests, and what goes wrong beside the flights.

use super::flights::calls;
use crate::scene::{self, load, request, End, Scene};
use kernel::{
    error::code::ERESTARTSYS,
    module_dedup::{Ended, Entry},
    world::{self, Event},
};

/// Only a signal that kills ends the wait for a request.
pub fn killable(scene: Scene, variant: usize) {
    let event = [Event::Signal, Event::Kill][variant];
    let leader = scene.leader(request(1));
    let victim = world::spawn_exposed(1, move || {
        let result = scene.call(request(1), End::Result);
        assert!(result.is_ok() || (result == Err(ERESTARTSYS) && event == Event::Kill));
    });
    world::spawn(2, move || world::post(victim, event));
    scene.lead(leader, End::Result).unwrap();
}

/// A patience that ends at any point, or by the clock.
pub fn patience(scene: Scene, variant: usize) {
    let leader = scene.leader(request(1));
    let impatient = world::spawn_exposed(1, move || match scene.enter(request(1)) {
        Entry::Follower(follower, _) => {
            let ended = scene.follow(follower, None, Some(5_000)).ended;
            assert!(variant == 0 || ended == Ok(Ended::TooLong));
        }
        Entry::Leader(leader) if variant == 0 => drop(scene.lead(leader, End::Result)),
        _ => panic!("the flight was gone before its end"),
    });
    if variant == 0 {
        world::spawn(2, move || world::post(impatient, Event::Timer));
    } else {
        world::sleep(6_000);
    }
    scene.lead(leader, End::Result).unwrap();
}

/// Beside one that waits there is one that does not.
pub fn nowait(scene: Scene, _: usize) {
    let leader = scene.leader(request(1));
    calls(scene, 1, request(1));
    world::spawn(2, move || match scene.enter(request(1)) {
        Entry::Follower(follower, _) => scene.join_only(follower),
        Entry::Leader(leader) => drop(scene.lead(leader, End::Private)),
        _ => panic!("somebody is in the way"),
    });
    scene.lead(leader, End::Result).unwrap();
}

/// The helper exits, and later whoever has made the request wakes up; one waits, and one comes.
pub fn helper_exits(scene: Scene, _: usize) {
    scene::may_exit(2);
    let leader = scene.leader(request(1));
    let asks = scene.requesting(9, 2);
    leader.set_request(&asks);
    calls(scene, 3, request(1));
    world::sleep_until_idle();
    calls(scene, 4, request(1));
    scene.begin(&leader);
    scene::exits(2, &leader);
    drop(asks);
    scene.end(leader, End::Result).unwrap();
}

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
